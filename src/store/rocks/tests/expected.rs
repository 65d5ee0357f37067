//! What the committer remembers of keys is never more than what the database says.

use super::*;

fn moves(from: Option<&str>, to: &str) -> Batch {
    let mut batch = Batch::new();
    batch.expect_equals(key("it"), from.map(|value| value.to_owned().into()));
    batch.put(key("it"), to.to_owned());
    batch
}

async fn refused(store: &RocksStore, batch: Batch) {
    assert!(matches!(store.commit(batch).await, Err(CommitError::Conflict(_))));
}

#[tokio::test]
async fn an_expectation_is_judged_by_what_was_written_last() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.commit(moves(None, "a")).await.unwrap();
    refused(&store, moves(None, "x")).await;
    store.commit(moves(Some("a"), "b")).await.unwrap();
    refused(&store, moves(Some("a"), "x")).await;
    let mut batch = Batch::new();
    batch.delete(key("it"));
    store.commit(batch).await.unwrap();
    refused(&store, moves(Some("b"), "x")).await;
    // In one group: the second stands on the first, and the one that fails leaves nothing behind.
    let group = [moves(None, "c"), moves(Some("x"), "y"), moves(Some("c"), "d")];
    let verdicts = futures_util::future::join_all(send(&store, group).await).await;
    assert_eq!(verdicts.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    store.commit(moves(Some("d"), "e")).await.unwrap();
}

#[tokio::test]
async fn after_a_failed_write_it_is_judged_by_what_the_disk_has() {
    for (fault, stands) in [(Inject::BeforeWrite, "a"), (Inject::AfterWrite, "b")] {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        store.commit(moves(None, "a")).await.unwrap();
        *lock(&store.state.inject) = Some(fault);
        failure(store.commit(moves(Some("a"), "b")).await);
        healed(&store).await;
        let other = if stands == "a" { "b" } else { "a" };
        refused(&store, moves(Some(other), "x")).await;
        store.commit(moves(Some(stands), "c")).await.unwrap();
    }
}
