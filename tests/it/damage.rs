//! A disk that damages what it holds, under the real program: found, refused, repaired.

use std::path::PathBuf;

use serde_json::Value;

use crate::support::{
    Client, Server,
    content::{self, noise, sha256},
};

const REPOSITORY: &str = "ada/app";

/// The only file that holds these bytes.
fn file_with(server: &Server, bytes: &[u8]) -> PathBuf {
    let folders = std::fs::read_dir(server.data().join("blobs")).unwrap();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
    let mut found =
        files.map(|file| file.unwrap().path()).filter(|path| std::fs::read(path).unwrap() == bytes);
    let first = found.next().unwrap();
    assert!(found.next().is_none());
    first
}

fn flip(path: &PathBuf) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

fn blob(digest: &str) -> String {
    format!("/v2/{REPOSITORY}/blobs/{digest}")
}

/// An image of two layers that lie in files, and its layers.
fn pushed(client: &Client) -> [Vec<u8>; 2] {
    let layers = [noise(1, 40_000), noise(2, 50_000)];
    let config = b"{\"architecture\":\"amd64\",\"os\":\"linux\"}";
    client.push_blob(REPOSITORY, config);
    for layer in &layers {
        client.push_blob(REPOSITORY, layer);
    }
    let image = content::image(config, &[&layers[0], &layers[1]]);
    client.put_manifest(REPOSITORY, "one", &image).expect(201);
    layers
}

/// The codes that a check prints, and whether it ended well.
fn fsck(server: &Server, args: &[&str]) -> (Vec<String>, bool) {
    let output = server.admin(&[&["fsck", "--json"], args].concat());
    let lines = String::from_utf8(output.stdout).unwrap();
    let findings = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let codes = findings.map(|finding| finding["code"].as_str().unwrap().to_owned()).collect();
    assert!(matches!(output.status.code(), Some(0 | 1)));
    (codes, output.status.success())
}

#[test]
fn a_flipped_bit_is_found_refused_and_repaired_by_a_push() {
    let mut server = Server::with(&[("PACKHOUSE_SCRUB_RATE", "0")]);
    let client = server.signed_in("ada");
    let [layer, other] = pushed(&client);
    let digest = sha256(&layer);
    client.get(&blob(&digest)).expect(200);
    flip(&file_with(&server, &layer));
    for running in [true, false] {
        if !running {
            server.kill();
        }
        assert_eq!(fsck(&server, &[]), (vec![], true), "it is there, and as long as it was");
        assert_eq!(fsck(&server, &["--deep"]), (vec!["blob-altered".to_owned()], false));
    }
    server.crash_and_restart();
    let client = server.signed_in("ada");
    let scrub = server.admin(&["scrub", "--now", "--json"]);
    assert_eq!(scrub.status.code(), Some(1));
    let listed: Value = serde_json::from_slice(&scrub.stdout).unwrap();
    assert_eq!(listed[0]["digest"], digest.as_str());
    assert_eq!((&listed[0]["damage"], &listed[0]["packages"]), (&"altered".into(), &REPOSITORY.into()));
    assert_eq!(listed.as_array().unwrap().len(), 1);

    client.get(&blob(&digest)).expect(500);
    client.head(&blob(&digest)).expect(404);
    client.get(&blob(&sha256(&other))).expect(200);
    assert!(server.log().contains("is in quarantine"));
    assert_eq!(fsck(&server, &[]), (vec!["blob-quarantined".to_owned()], false));
    client.push_blob(REPOSITORY, &layer);
    assert!(client.get(&blob(&digest)).expect(200).body == layer);
    assert_eq!(server.admin(&["scrub", "--report"]).status.code(), Some(0));
    server.is_sound();
}

#[test]
fn a_lost_and_a_cut_file_are_repaired_by_a_push_though_they_are_held_open() {
    let server = Server::start();
    let client = server.signed_in("ada");
    let [first, second] = pushed(&client);
    // The program has both open from now on.
    for layer in [&first, &second] {
        client.get(&blob(&sha256(layer))).expect(200);
    }
    std::fs::remove_file(file_with(&server, &first)).unwrap();
    let cut = file_with(&server, &second);
    std::fs::OpenOptions::new().write(true).open(cut).unwrap().set_len(100).unwrap();
    let (mut codes, clean) = fsck(&server, &[]);
    codes.sort();
    assert_eq!((codes, clean), (vec!["blob-missing".to_owned(), "blob-size".to_owned()], false));
    for layer in [&first, &second] {
        client.push_blob(REPOSITORY, layer);
        assert!(client.get(&blob(&sha256(layer))).expect(200).body == *layer);
    }
    server.is_sound();
}

#[test]
fn two_swapped_files_are_both_found_and_a_repair_keeps_them_from_everybody() {
    let server = Server::with(&[("PACKHOUSE_SCRUB_RATE", "0")]);
    let client = server.signed_in("ada");
    client.push_blob(REPOSITORY, b"the repository is there");
    let (first, second) = (noise(3, 30_000), noise(4, 30_000));
    for bytes in [&first, &second] {
        client.push_blob(REPOSITORY, bytes);
    }
    let (one, two) = (file_with(&server, &first), file_with(&server, &second));
    std::fs::write(&one, &second).unwrap();
    std::fs::write(&two, &first).unwrap();
    assert_eq!(fsck(&server, &[]), (vec![], true));
    assert_eq!(fsck(&server, &["--deep", "--repair"]), (vec!["blob-altered".to_owned(); 2], true));
    for bytes in [&first, &second] {
        client.get(&blob(&sha256(bytes))).expect(500);
        client.push_blob(REPOSITORY, bytes);
        assert!(client.get(&blob(&sha256(bytes))).expect(200).body == *bytes);
    }
    server.is_sound();
}

#[test]
fn a_verified_download_of_damaged_bytes_breaks_off() {
    let server = Server::with(&[("PACKHOUSE_SCRUB_VERIFY_READS", "true"), ("PACKHOUSE_SCRUB_RATE", "0")]);
    let client = server.signed_in("ada");
    let bytes = noise(5, 3_000_000);
    client.push_blob(REPOSITORY, &bytes);
    let target = blob(&sha256(&bytes));
    assert!(client.get(&target).expect(200).body == bytes);
    flip(&file_with(&server, &bytes));
    let broken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| client.get(&target)));
    assert!(broken.is_err_and(|_| true), "the connection breaks before the body is whole");
    crate::oci::eventually("the blob is in quarantine", || client.head(&target).status == 404);
    client.get(&target).expect(500);
}

#[test]
fn the_job_finds_damage_by_itself_and_the_metrics_page_says_so() {
    let server = Server::with(&[("PACKHOUSE_SCRUB_RATE", "1GiB/s")]);
    let client = server.signed_in("ada");
    let [layer, _] = pushed(&client);
    flip(&file_with(&server, &layer));
    crate::oci::eventually("the blob is in quarantine", || client.head(&blob(&sha256(&layer))).status == 404);
    let page = || Client::new(&server.metrics).get("/metrics").expect(200).text();
    crate::oci::eventually("it is counted", || page().contains("packhouse_scrub_damaged_total 1\n"));
    assert!(server.log().contains("a blob is damaged and is served no more"));
}

/// What changes while it is looked at is no finding: pushes, half uploads, moves, deletions, collection every moment.
#[test]
fn a_check_beside_a_busy_registry_finds_nothing() {
    let server = Server::with(&[
        ("PACKHOUSE_GC_INTERVAL", "50ms"),
        ("PACKHOUSE_GC_GRACE", "0"),
        ("PACKHOUSE_LIMITS_LEASE_TTL", "1s"),
        ("PACKHOUSE_SCRUB_RATE", "1GiB/s"),
        ("PACKHOUSE_SCRUB_EVERY", "0"),
    ]);
    let client = server.signed_in("ada");
    pushed(&client);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let stopped = || stop.load(std::sync::atomic::Ordering::Relaxed);
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let (client, stopped) = (client.clone(), &stopped);
            scope.spawn(move || {
                let repository = format!("ada/busy{}", thread % 2);
                for turn in (0u64..10_000).take_while(|_| !stopped()) {
                    // A lease of a second may end at any moment here: what is refused is of no interest.
                    let layer = noise(turn % 7, 17_000 + usize::try_from(thread).unwrap());
                    let place = client.post(&format!("/v2/{repository}/blobs/uploads/"), b"");
                    let Some(place) = place.header("location").map(str::to_owned) else { continue };
                    let half = client.patch(&place, &[], &layer[..9000]);
                    if let Some(next) = half.header("location").filter(|_| turn % 5 != 0) {
                        let end = format!("{next}&digest={}", sha256(&layer));
                        client.put(&end, &layer[9000..]);
                    }
                    let image = content::image(&layer, &[&layer]);
                    client.put_manifest(&repository, &format!("t{}", turn % 3), &image);
                    let digest = sha256(&content::bytes(&image));
                    match turn % 4 {
                        0 => client.delete(&format!("/v2/{repository}/manifests/{digest}")),
                        1 => client.delete(&format!("/v2/{repository}/manifests/t{}", turn % 3)),
                        2 => client.delete(&format!("/v2/{repository}/blobs/{}", sha256(&layer))),
                        _ => client.delete(&place),
                    };
                }
            });
        }
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..12 {
                server.is_sound();
            }
        }));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        checked.unwrap();
    });
    server.kill();
    server.is_sound();
}
