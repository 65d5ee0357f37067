//! Blobs whose files were cut short or taken away under the daemon.

use super::{Kept, REPOSITORY, file_of, offer};
use crate::support::{Server, content::sha256};

/// A damaged blob is an error and never a short or other success; the same bytes sent again repair it.
fn damaged(damage: impl Fn(&std::path::Path), restart: bool) {
    let mut server = Server::start();
    let kept = Kept::push(&server);
    damage(&file_of(&server, kept.large.len()));
    if restart {
        server.crash_and_restart();
    }
    let kept = kept.at(&server);
    let target = format!("/v2/{REPOSITORY}/blobs/{}", sha256(&kept.large));
    if restart {
        let answer = kept.client.get(&target);
        assert!(answer.status >= 500, "{} {}", answer.status, answer.body.len());
        assert!(!answer.text().contains("data/"), "{}", answer.text());
        // Others are not touched by it.
        let small = kept.client.get(&format!("/v2/{REPOSITORY}/blobs/{}", sha256(&kept.small))).expect(200);
        assert!(small.body == kept.small);
    }
    assert_eq!(offer(&kept.client, &kept.large).status, 201);
    kept.is_there();
}

fn cut(path: &std::path::Path) {
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
}

#[test]
fn a_blob_cut_short_is_refused_and_repaired() {
    damaged(cut, true);
}

#[test]
fn a_blob_that_is_gone_is_refused_and_repaired() {
    damaged(|path| std::fs::remove_file(path).unwrap(), true);
}

/// While a handle of it is open, too.
#[test]
fn a_blob_cut_short_under_an_open_file_is_repaired() {
    damaged(cut, false);
}

#[test]
fn a_blob_cut_short_under_an_open_file_is_broken_off() {
    let server = Server::start();
    let kept = Kept::push(&server);
    let target = format!("/v2/{REPOSITORY}/blobs/{}", sha256(&kept.large));
    kept.is_there();
    cut(&file_of(&server, kept.large.len()));
    let mut stream = kept.client.open("GET", &target, &[], Some(0));
    let mut answer = Vec::new();
    let ended = std::io::Read::read_to_end(&mut stream, &mut answer);
    // The head may promise the whole; the bytes must then break off before.
    let whole = ended.is_ok() && answer.starts_with(b"HTTP/1.1 200") && answer.len() >= kept.large.len();
    assert!(!whole, "{} bytes", answer.len());
}
