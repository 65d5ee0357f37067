//! No space, no inodes, a file system that turned read-only.

use std::process::Command;

use super::{Kept, REPOSITORY, offer, ready, refused, skip};
use crate::support::{
    Server,
    content::{noise, sha256},
    run,
};

/// A daemon on a file system of its own.
fn on_tmpfs(test: &str, options: &str, reserve: &str) -> Option<Server> {
    let probe = Command::new("unshare").args(["-m", "sh", "-c", "mount -t tmpfs none /mnt"]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        skip(test, "a file system cannot be mounted here: that needs root and unshare");
        return None;
    }
    let settings = [("PACKHOUSE_SPACE_RESERVE", reserve), ("PACKHOUSE_MEMORY_BUDGET", "16MiB")];
    let options = options.to_owned();
    Some(Server::on(&settings, |folder| {
        format!("mount -t tmpfs -o {options} none {}", folder.join("data").display())
    }))
}

fn sh(server: &Server, script: &str) {
    run(server.inside("sh").args(["-c", &format!("cd {} && {script}", server.data().display())]));
}

/// Fills the file system to the last byte, whatever dd says of that.
const FILL: &str = "{ dd if=/dev/zero of=filler bs=64k 2>/dev/null; dd if=/dev/zero of=filler2 bs=1 count=70000 2>/dev/null; true; }";

#[test]
fn below_the_reserve_uploads_are_refused_and_the_rest_works() {
    let Some(server) = on_tmpfs("below_the_reserve", "size=192m", "64MiB") else { return };
    let kept = Kept::push(&server);
    let delete = |tag: &str| kept.client.delete(&format!("/v2/{REPOSITORY}/manifests/{tag}")).status;
    sh(&server, "fallocate -l 128m filler");
    for length in [300, 60_000] {
        let bytes = noise(10, length);
        assert_eq!(refused(&offer(&kept.client, &bytes)), 507);
        kept.is_absent(&bytes);
    }
    kept.client.post(&format!("/v2/{REPOSITORY}/blobs/uploads/"), b"").expect(507);
    assert_eq!(kept.client.put_manifest(REPOSITORY, "new", &kept.image).status, 507);
    kept.is_there();
    let (status, why) = ready(&kept.client);
    assert!(status == 503 && why.contains("reserve"), "{status} {why}");
    // What gives space back works.
    assert_eq!(delete("gone"), 202);
    let spare = format!("/v2/{REPOSITORY}/blobs/{}", sha256(&kept.spare));
    kept.client.delete(&spare).expect(202);
    kept.client.head(&spare).expect(404);
    sh(&server, "rm filler");
    kept.is_well_again(20);
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let Some(server) = on_tmpfs("a_full_disk", "size=96m", "0") else { return };
    let kept = Kept::push(&server);
    sh(&server, FILL);
    // Nothing is free and nothing was reserved: metadata itself meets the full disk.
    for round in 0..3 {
        for length in [300, 15_000, 60_000] {
            let bytes = noise(100 + round, length);
            let answer = offer(&kept.client, &bytes);
            // The log may have had a page left.
            if answer.status != 201 {
                refused(&answer);
                kept.is_absent(&bytes);
            }
        }
        kept.is_there();
    }
    let session = kept.client.post(&format!("/v2/{REPOSITORY}/blobs/uploads/"), b"");
    assert!(session.status == 202 || refused(&session) > 0);
    sh(&server, "rm filler filler2");
    kept.is_well_again(30);
}

#[test]
fn without_inodes_it_refuses_and_recovers() {
    let Some(server) = on_tmpfs("without_inodes", "size=128m,nr_inodes=600", "0") else { return };
    let kept = Kept::push(&server);
    sh(&server, "mkdir full; i=0; while touch full/$i 2>/dev/null; do i=$((i+1)); done");
    for round in 0..3 {
        let bytes = noise(200 + round, 60_000);
        assert_eq!(refused(&offer(&kept.client, &bytes)), 507);
        kept.is_absent(&bytes);
        kept.is_there();
    }
    sh(&server, "rm -r full");
    kept.is_well_again(40);
}

/// ext4 that met an error of its own turns read-only under the files that are open in it, as after a failure of the disk.
#[test]
fn a_file_system_that_turned_read_only_is_read() {
    let script = |folder: &std::path::Path| {
        let (image, data) = (folder.join("image"), folder.join("data"));
        let (image, data) = (image.display(), data.display());
        format!(
            "{{ [ -e {image} ] || {{ truncate -s 128M {image} && mkfs.ext4 -q {image}; }}; }} \
             && mount -o loop,errors=remount-ro {image} {data}"
        )
    };
    let probe = tempfile::tempdir().unwrap();
    std::fs::create_dir(probe.path().join("data")).unwrap();
    let possible = Command::new("unshare").args(["-m", "sh", "-c", &script(probe.path())]).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        return skip("a_file_system_that_turned_read_only", "ext4 on a loop device cannot be mounted here");
    }
    let settings = [("PACKHOUSE_SPACE_RESERVE", "0"), ("PACKHOUSE_MEMORY_BUDGET", "16MiB")];
    let mut server = Server::on(&settings, script);
    let kept = Kept::push(&server);
    sh(
        &server,
        "device=$(basename $(findmnt -no SOURCE .)) && echo test > /sys/fs/ext4/$device/trigger_fs_error",
    );
    for round in 0..2 {
        for length in [300, 60_000] {
            let bytes = noise(300 + round, length);
            assert_eq!(refused(&offer(&kept.client, &bytes)), 503);
            kept.is_absent(&bytes);
            kept.is_there();
        }
    }
    let (status, why) = ready(&kept.client);
    assert!(status == 503 && why.len() > 10, "{status} {why}");
    // Such a file system must be unmounted; the restart does that here.
    server.crash_and_restart();
    kept.at(&server).is_well_again(50);
}
