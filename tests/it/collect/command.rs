//! `packhouse gc`, with and without a daemon, and what the metrics page says of collection.

use serde_json::Value;

use super::{remains::blob_files, until};
use crate::support::{Server, content::noise};

/// Collection that does nothing by itself, and keeps no bytes once it is told to collect.
const QUIET: &[(&str, &str)] = &[("PACKHOUSE_GC_ENABLED", "false"), ("PACKHOUSE_GC_GRACE", "0s")];

fn json(server: &Server, args: &[&str]) -> Value {
    let printed = server.admin_ok(&[&["gc", "--json"], args].concat());
    serde_json::from_str(&printed).unwrap()
}

/// Two blobs that nothing holds, and an image.
fn litter(server: &Server) -> Vec<String> {
    let client = server.signed_in("alice");
    client.push_image("alice/app", "v1", 1);
    [20_000, 30_000_usize]
        .map(|size| {
            let digest = client.push_blob("alice/app", &noise(size as u64, size));
            client.delete(&format!("/v2/alice/app/blobs/{digest}")).expect(202);
            digest
        })
        .to_vec()
}

#[test]
fn a_dry_run_says_what_goes_and_now_takes_it() {
    let server = Server::with(QUIET);
    let mut litter = litter(&server);
    assert_eq!(json(&server, &[])[0]["state"], "off");
    let listed = json(&server, &["--dry-run"]);
    let mut named: Vec<_> =
        listed.as_array().unwrap().iter().map(|row| row["digest"].as_str().unwrap()).collect();
    named.sort_unstable();
    litter.sort();
    assert_eq!(named, litter);
    let spoken = server.admin(&["gc", "--dry-run"]);
    let note = String::from_utf8(spoken.stderr).unwrap();
    assert!(note.contains("2 blobs of 50000 bytes would be collected now, and 0 files"), "{note}");
    // A dry run changes nothing.
    assert_eq!(json(&server, &["--dry-run"]), listed);
    assert_eq!(blob_files(&server.data().join("blobs")).len(), 2);

    let total = &json(&server, &["--now"])[0];
    for (figure, value) in
        [("collected", 2), ("collected_bytes", 50_000), ("deleted", 2), ("freed_bytes", 50_000)]
    {
        assert_eq!(total[figure], value, "{total}");
    }
    assert!(blob_files(&server.data().join("blobs")).is_empty());
    assert_eq!(json(&server, &["--dry-run"]), serde_json::json!([]));
    let manifest = server.signed_in("alice").get("/v2/alice/app/manifests/v1").expect(200).json();
    let layer = manifest["layers"][0]["digest"].as_str().unwrap();
    server.signed_in("alice").get(&format!("/v2/alice/app/blobs/{layer}")).expect(200);
}

#[test]
fn without_a_daemon_it_is_the_same() {
    let server = Server::with(&[("PACKHOUSE_GC_ENABLED", "false")]);
    litter(&server);
    assert!(server.terminate().success());
    // The grace of an hour is a setting of whoever collects.
    let total = &json(&server, &["--now"])[0];
    assert_eq!(
        (&total["collected"], &total["deleted"], &total["left_trash"]),
        (&2.into(), &0.into(), &2.into())
    );
    assert_eq!(blob_files(&server.data().join("blobs")).len(), 2);
    assert_eq!(json(&server, &[])[0]["trash_bytes"], "50000");
    let again = server.admin(&["gc", "--now"]);
    let said = String::from_utf8(again.stderr).unwrap();
    assert!(said.contains("2 files of 50000 bytes wait in the trash"), "{said}");
}

#[test]
fn paused_it_stays_paused_over_a_restart_until_it_is_resumed() {
    let mut server = Server::with(&[("PACKHOUSE_GC_INTERVAL", "50ms"), ("PACKHOUSE_GC_GRACE", "0s")]);
    server.admin_ok(&["gc", "--pause"]);
    litter(&server);
    server.crash_and_restart();
    assert_eq!(json(&server, &[])[0]["state"], "paused");
    let refused = server.admin(&["gc", "--now"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8(refused.stderr).unwrap().contains("packhouse gc --resume"));
    until("the page says so", || metric(&server, "packhouse_gc_due") == 2.0);
    assert_eq!(metric(&server, "packhouse_gc_paused"), 1.0);
    assert!(metric(&server, "packhouse_gc_oldest_due_seconds") > 0.0);
    assert_eq!(blob_files(&server.data().join("blobs")).len(), 2);
    server.admin_ok(&["gc", "--resume"]);
    until("both files are gone", || blob_files(&server.data().join("blobs")).is_empty());
    until("the page says so", || metric(&server, "packhouse_gc_freed_bytes_total") == 50_000.0);
    assert_eq!(metric(&server, "packhouse_gc_collected_blobs_total"), 2.0);
    until("nothing is due", || metric(&server, "packhouse_gc_due") == 0.0);
    assert_eq!(metric(&server, "packhouse_gc_paused"), 0.0);
}

#[test]
fn one_thing_at_a_time_can_be_asked() {
    let server = Server::with(QUIET);
    assert_eq!(server.admin(&["gc", "--now", "--dry-run"]).status.code(), Some(2));
    assert_eq!(server.admin(&["gc", "--pause", "--resume"]).status.code(), Some(2));
}

/// A read-only registry takes no changes, from collection neither.
#[test]
fn read_only_nothing_goes() {
    let mut server = Server::with(&[("PACKHOUSE_GC_GRACE", "0s"), ("PACKHOUSE_GC_INTERVAL", "50ms")]);
    server.admin_ok(&["gc", "--pause"]);
    litter(&server);
    server.admin_ok(&["gc", "--resume"]);
    server.crash_and_restart_with(&[("PACKHOUSE_SERVER_READ_ONLY", "true")]);
    assert_eq!(json(&server, &[])[0]["state"], "read-only");
    assert_eq!(server.admin(&["gc", "--now"]).status.code(), Some(1));
}

fn metric(server: &Server, name: &str) -> f64 {
    let page = crate::support::Client::new(&server.metrics).get("/metrics").expect(200).text();
    let line = page.lines().find(|line| line.starts_with(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("{name}\n{page}")).split(' ').nth(1).unwrap().parse().unwrap()
}
