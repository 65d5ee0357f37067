//! System calls that fail or hang: strace puts the failure in their way.

use std::{io::Read as _, path::Path};

use super::{Kept, REPOSITORY, file_of, offer, refused, skip, write_ahead_log};
use crate::support::{
    Server,
    content::{noise, sha256},
    run,
    strace::Strace,
};

/// While a call goes wrong; says by name what is skipped where strace cannot do it.
fn while_it_fails(test: &str, server: &Server, paths: &[&Path], inject: &str, act: impl FnOnce()) -> bool {
    match Strace::inject(server, paths, inject) {
        Ok(strace) => {
            act();
            let injected = strace.end();
            assert!(!injected.is_empty(), "{inject}: no such call was made");
            true
        }
        Err(why) => {
            skip(test, &why);
            false
        }
    }
}

/// Pushes while something fails, and restarts in the end: what was refused never came to be acknowledged, and what was
/// acknowledged is there.
fn pushes_fail(test: &str, inject: &str, lengths: &[usize], log_only: bool) {
    let mut server = Server::start();
    let kept = Kept::push(&server);
    // The files of what is read from here on are open.
    kept.is_there();
    let log = write_ahead_log(&server);
    let paths: Vec<&Path> = if log_only { vec![&log] } else { Vec::new() };
    let possible = while_it_fails(test, &server, &paths, inject, || {
        for (seed, length) in lengths.iter().enumerate() {
            refused(&offer(&kept.client, &noise(400 + seed as u64, *length)));
            kept.is_there();
        }
    });
    if !possible {
        return;
    }
    for (seed, length) in lengths.iter().enumerate() {
        let bytes = noise(400 + seed as u64, *length);
        let answer = kept.client.get(&format!("/v2/{REPOSITORY}/blobs/{}", sha256(&bytes)));
        assert!(answer.status == 404 || (answer.status == 200 && answer.body == bytes), "{}", answer.status);
    }
    kept.is_well_again(60);
    server.crash_and_restart();
    let kept = kept.at(&server);
    kept.is_there();
    kept.is_well_again(60);
}

#[test]
fn a_failing_sync_is_no_success() {
    pushes_fail("a_failing_sync", "fdatasync,fsync:error=EIO", &[60_000, 300, 60_000], false);
}

#[test]
fn a_failing_sync_of_the_log_is_no_success() {
    pushes_fail("a_failing_sync_of_the_log", "fdatasync,fsync:error=EIO", &[300], true);
}

/// The sync fails once and would succeed the second time without having written anything: it must not be asked again.
#[test]
fn one_failed_sync_is_enough() {
    pushes_fail("one_failed_sync", "fdatasync,fsync:error=EIO:when=1", &[300], true);
}

#[test]
fn a_failing_write_is_no_success() {
    pushes_fail("a_failing_write", "pwrite64,pwritev,?pwritev2:error=EIO", &[60_000, 60_000], false);
}

#[test]
fn a_failing_write_of_the_log_is_no_success() {
    pushes_fail("a_failing_write_of_the_log", "write,pwrite64:error=ENOSPC", &[300], true);
}

#[test]
fn a_failing_rename_is_no_success() {
    pushes_fail("a_failing_rename", "?rename,?renameat,renameat2:error=EIO", &[60_000], false);
}

#[test]
fn a_file_that_cannot_be_made_is_refused() {
    pushes_fail("a_file_that_cannot_be_made", "openat:error=ENOSPC", &[60_000], false);
}

#[test]
fn a_failing_read_breaks_the_answer_off() {
    let server = Server::start();
    let kept = Kept::push(&server);
    let file = file_of(&server, kept.large.len());
    let target = format!("/v2/{REPOSITORY}/blobs/{}", sha256(&kept.large));
    let inject = "pread64,preadv,preadv2,read:error=EIO";
    while_it_fails("a_failing_read", &server, &[&file], inject, || {
        let mut stream = kept.client.open("GET", &target, &[], Some(0));
        let answer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            crate::support::http::read(&mut stream, false)
        }));
        // Refused, or broken off: never a whole answer of other bytes.
        if let Ok(answer) = answer {
            assert!(answer.status >= 500 || answer.body.len() < kept.large.len(), "{}", answer.status);
        }
        let answer = kept.client.get(&format!("/v2/{REPOSITORY}/blobs/{}", sha256(&kept.small))).expect(200);
        assert!(answer.body == kept.small);
    });
    kept.is_there();
}

/// What the kernel sends by itself may fail too.
#[test]
fn a_file_that_cannot_be_sent_breaks_the_answer_off() {
    let server = Server::start();
    let kept = Kept::push(&server);
    let bytes = noise(9, 3 << 20);
    kept.client.push_blob(REPOSITORY, &bytes);
    let target = format!("/v2/{REPOSITORY}/blobs/{}", sha256(&bytes));
    while_it_fails("a_file_that_cannot_be_sent", &server, &[], "sendfile:error=EIO:when=2+", || {
        let mut stream = kept.client.open("GET", &target, &[], Some(0));
        let mut answer = Vec::new();
        // It ends in a reset or without one; what came before is in the vector either way.
        let _ = stream.read_to_end(&mut answer);
        let head = answer.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
        assert!(answer.starts_with(b"HTTP/1.1 200"));
        assert!(answer.len() - head < bytes.len(), "not a whole answer of other bytes");
        assert!(bytes.starts_with(&answer[head..]), "and none of others' in what came");
        kept.is_there();
    });
    assert!(kept.client.get(&target).expect(200).body == bytes);
}

/// A push waits for the disk; everybody else does not wait for it.
#[test]
fn a_slow_sync_holds_up_no_reader() {
    let server = Server::start();
    let kept = Kept::push(&server);
    let inject = "fdatasync,fsync:delay_enter=2000000";
    while_it_fails("a_slow_sync", &server, &[], inject, || {
        let pushes: Vec<_> = (0..4)
            .map(|seed| {
                let client = kept.client.clone();
                std::thread::spawn(move || offer(&client, &noise(500 + seed, 60_000)).status)
            })
            .collect();
        let mut rounds = 0;
        while !pushes.iter().any(std::thread::JoinHandle::is_finished) {
            kept.is_there();
            rounds += 1;
        }
        assert!(rounds > 3, "{rounds} rounds of reads while pushes waited");
        for push in pushes {
            assert_eq!(push.join().unwrap(), 201);
        }
    });
    kept.is_well_again(70);
}

#[test]
fn without_descriptors_it_refuses_and_recovers() {
    let server = Server::start();
    let kept = Kept::push(&server);
    // The files of what is read from here on are open.
    kept.is_there();
    let pid = server.pid().to_string();
    let limit = |soft: &str| {
        run(std::process::Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={soft}:")]))
    };
    let count = || std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    // Whether so many come to be open within a moment.
    let comes_to = |wanted: usize| {
        (0..20).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(25));
            count() == wanted
        })
    };
    // A connection is closed a moment after its answer.
    comes_to(0);
    limit(&(count() + 8).to_string());
    // Connections take all that are left, wherever among the numbers those are; the next one is turned away.
    let mut held = Vec::new();
    loop {
        let before = count();
        let another = std::net::TcpStream::connect(&server.address).unwrap();
        if !comes_to(before + 1) {
            break;
        }
        held.push(another);
        assert!(held.len() < 64, "there were descriptors left");
    }
    // One is given back: it is the connection's, and the file has none.
    let full = count();
    drop(held.pop());
    assert!(comes_to(full - 1));
    let bytes = noise(600, 60_000);
    refused(&offer(&kept.client, &bytes));
    assert!(comes_to(full - 1));
    kept.is_absent(&bytes);
    assert!(comes_to(full - 1));
    kept.is_there();
    drop(held);
    limit("20000");
    kept.is_well_again(80);
}
