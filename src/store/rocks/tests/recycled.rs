//! Logs that are written over: what was synced comes back, and nothing of what lay there before.

use std::{collections::BTreeSet, path::PathBuf};

use super::*;

/// The logs of a database and how long they are.
fn logs(folder: &Path) -> Vec<(PathBuf, u64)> {
    let entries = folder.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let logs = entries.filter(|path| path.extension().is_some_and(|ending| ending == "log"));
    // A log may go while they are listed.
    logs.filter_map(|path| Some((path.clone(), path.metadata().ok()?.len()))).collect()
}

/// A batch of one large value and one small one.
fn filling(number: usize) -> Batch {
    let mut batch = Batch::new();
    batch.put(key(&format!("large{number:04}")), vec![number as u8; 128 << 10]);
    batch.put(key(&format!("small{number:04}")), format!("{number}"));
    batch
}

/// Fills a database until a log is written over, and says how many batches that took and which log it is.
async fn fill(folder: &Path, small: &RocksOptions) -> (usize, PathBuf) {
    let store = RocksStore::open(folder, small.clone()).unwrap();
    let (mut seen, mut number) = (BTreeSet::new(), 0);
    let over = loop {
        assert!(number < 4000, "no log was written over");
        store.commit(filling(number)).await.unwrap();
        number += 1;
        // A new one has a batch or two when it is first seen; one that is written over is as long as it was before.
        let fresh =
            logs(folder).into_iter().find(|(path, length)| seen.insert(path.clone()) && *length > 1 << 20);
        if let Some((path, _)) = fresh {
            break path;
        }
    };
    // These are in it, before what the earlier log left there.
    for _ in 0..3 {
        store.commit(filling(number)).await.unwrap();
        number += 1;
    }
    (number, over)
}

#[tokio::test]
async fn a_log_that_is_written_over_gives_back_what_was_synced_and_no_more() {
    let small = RocksOptions { memory: 16 << 20, ..RocksOptions::default() };
    let folder = tempfile::tempdir().unwrap();
    let (written, log) = fill(folder.path(), &small).await;
    let numbers = |store: RocksStore| async move {
        let found = store.scan(&key("small"), None, 10_000).await.unwrap();
        found.iter().map(|(_, value)| String::from_utf8_lossy(value).parse::<usize>().unwrap()).collect()
    };
    let whole: Vec<usize> =
        numbers(RocksStore::open(with_log(folder.path(), |_| {}).path(), small.clone()).unwrap()).await;
    assert_eq!(whole.iter().copied().collect::<BTreeSet<_>>(), (0..written).collect());

    // Torn where the last batch lies, as by a power cut before its sync: all before it is there, in one piece.
    let torn = with_log(folder.path(), |_| {});
    std::fs::remove_file(torn.path().join("packhouse.synced")).unwrap();
    let place = torn.path().join(log.file_name().unwrap());
    let mut bytes = std::fs::read(&place).unwrap();
    let last = vec![(written - 1) as u8; 16 << 10];
    let at = bytes.windows(last.len()).position(|window| window == last).expect("the last batch");
    bytes[at] ^= 1;
    std::fs::write(&place, bytes).unwrap();
    let left: Vec<usize> = numbers(RocksStore::open(torn.path(), small).unwrap()).await;
    assert_eq!(left, (0..written - 1).collect::<Vec<_>>());
}
