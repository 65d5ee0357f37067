//! Raw steps that no client can be made to take on demand: uploads that break off, daemons that
//! die, many senders of one blob, mounts.

use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::daemon::Hub;
use crate::harness::{Case, Ctx, HTTP, Result, check, same};
use crate::http::{Raw, digest, hang_up, upload_end};
use crate::images::MANIFEST;

pub const CASES: &[Case] = &[
    Case { name: "upload-resumed", needs: &[], seconds: 60, mode: HTTP, run: resumed },
    Case { name: "upload-resumed-after-kill", needs: &[], seconds: 60, mode: HTTP, run: resumed_after_kill },
    Case { name: "upload-same-blob", needs: &[], seconds: 60, mode: HTTP, run: same_blob },
    Case { name: "upload-mounted", needs: &[], seconds: 60, mode: HTTP, run: mounted },
];

const MIB: usize = 1024 * 1024;

/// Bytes that do not compress and differ by seed (xorshift).
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// An upload of which the first 2 MiB were acknowledged, and a second request is cut half way.
/// Returns where to go on.
fn broken(raw: &Raw, repo: &str, bytes: &[u8]) -> Result<(String, std::net::TcpStream)> {
    let location = raw.begin(repo)?;
    let range = format!("0-{}", 2 * MIB - 1);
    let first = raw.send("PATCH", &location, &[("Content-Range", &range)], &bytes[..2 * MIB])?;
    let first = first.expect("the first chunk", 202)?;
    same("bytes held after the first chunk", first.held()?, 2 * MIB)?;
    let location = first.location()?;
    let stream = raw.cut("PATCH", &location, &bytes[2 * MIB..], 3 * MIB)?;
    // Time for the daemon to take what has arrived.
    thread::sleep(Duration::from_millis(300));
    Ok((location, stream))
}

/// Asks the session what it holds, sends the rest, closes it, and reads it all back.
fn go_on(raw: &Raw, repo: &str, location: &str, bytes: &[u8]) -> Result {
    let status = raw.get(location)?.expect("the session's status", 204)?;
    let held = status.held()?;
    check((2 * MIB..=5 * MIB).contains(&held), || {
        format!("the session holds {held} bytes; 2 MiB were acknowledged, 5 MiB were sent")
    })?;
    let range = format!("{held}-{}", bytes.len() - 1);
    let rest = raw.send("PATCH", &status.location()?, &[("Content-Range", &range)], &bytes[held..])?;
    let rest = rest.expect("the rest", 202)?;
    same("bytes held at the end", rest.held()?, bytes.len())?;
    let digest = digest(bytes);
    let done = raw.send("PUT", &upload_end(&rest.location()?, &digest), &[], b"")?;
    done.expect("closing the upload", 201)?;
    reads_back(raw, repo, &digest, bytes)
}

fn reads_back(raw: &Raw, repo: &str, digest: &str, bytes: &[u8]) -> Result {
    let got = raw.get(&format!("/v2/{repo}/blobs/{digest}"))?.expect("reading the blob back", 200)?;
    check(got.body == bytes, || format!("{} bytes came back, not those that were sent", got.body.len()))
}

fn resumed(ctx: &Ctx) -> Result {
    let hub = Hub::start(ctx)?;
    let raw = Raw::new(&hub);
    let bytes = noise(8 * MIB, 1);
    let (location, stream) = broken(&raw, "acme/app", &bytes)?;
    hang_up(&stream);
    // Until the daemon has noticed, the old request may still hold the session.
    ctx.wait_for("the cut upload", || {
        thread::sleep(Duration::from_millis(100));
        raw.get(&location).is_ok_and(|status| status.status == 204)
    })?;
    go_on(&raw, "acme/app", &location, &bytes)
}

/// What was acknowledged before `kill -9` is there after it: a part of an upload, a blob, an image.
fn resumed_after_kill(ctx: &Ctx) -> Result {
    let mut hub = Hub::start(ctx)?;
    let raw = Raw::new(&hub);
    let config = noise(64 * 1024, 2);
    let config_digest = raw.push_blob("acme/app", &config)?;
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "layers": [], "config": {
        "mediaType": "application/vnd.acme.config", "digest": config_digest, "size": config.len(),
    }});
    let manifest = manifest.to_string();
    raw.push_manifest("acme/app", "1", MANIFEST, manifest.as_bytes())?;
    let bytes = noise(8 * MIB, 3);
    let (location, _stream) = broken(&raw, "acme/app", &bytes)?;

    hub.kill()?;
    hub.restart()?;
    reads_back(&raw, "acme/app", &config_digest, &config)?;
    let served = raw.get("/v2/acme/app/manifests/1")?.expect("the manifest after a kill", 200)?;
    check(served.body == manifest.as_bytes(), || "the manifest is another after a kill".into())?;
    go_on(&raw, "acme/app", &location, &bytes)?;

    // And once more: what was closed after the restart survives the next.
    hub.kill()?;
    hub.restart()?;
    reads_back(&raw, "acme/app", &digest(&bytes), &bytes)
}

/// Sixteen clients send one blob at the same time: every one of them is told 201.
fn same_blob(ctx: &Ctx) -> Result {
    let hub = Hub::start(ctx)?;
    let raw = Raw::new(&hub);
    let bytes = noise(4 * MIB, 4);
    let outcomes: Vec<Result<String>> = thread::scope(|scope| {
        let repo = |at: usize| if at.is_multiple_of(2) { "acme/even" } else { "acme/odd" };
        let send = |at: usize| {
            let (raw, bytes) = (&raw, &bytes);
            scope.spawn(move || raw.push_blob(repo(at), bytes))
        };
        let senders: Vec<_> = (0..16).map(send).collect();
        senders
            .into_iter()
            .map(|sender| sender.join().unwrap_or_else(|_| crate::harness::fail("a sender panicked")))
            .collect()
    });
    for outcome in outcomes {
        outcome?;
    }
    for repo in ["acme/even", "acme/odd"] {
        reads_back(&raw, repo, &digest(&bytes), &bytes)?;
    }
    Ok(())
}

/// A mount gives 201 where the caller may read the source, and a plain session everywhere else.
fn mounted(ctx: &Ctx) -> Result {
    let hub = Hub::start(ctx)?;
    let raw = Raw::new(&hub);
    let bytes = noise(MIB, 5);
    let digest = raw.push_blob("acme/source", &bytes)?;
    let mount = |raw: &Raw, into: &str, digest: &str, from: &str| {
        raw.send("POST", &format!("/v2/{into}/blobs/uploads/?mount={digest}&from={from}"), &[], b"")
    };
    mount(&raw, "acme/target", &digest, "acme/source")?.expect("a mount", 201)?;
    reads_back(&raw, "acme/target", &digest, &bytes)?;
    // What nobody has: a session to upload it.
    let absent = crate::http::digest(b"nobody has this");
    mount(&raw, "acme/target", &absent, "acme/source")?.expect("a mount of nothing", 202)?;

    // A stranger learns nothing: a session, as for a blob that does not exist.
    hub.cli(&["user", "add", "mallory", "--password-stdin"], "another-long-password")?;
    let stranger = Raw::with(&hub, "mallory", &hub.token_for("mallory")?);
    mount(&stranger, "mallory/loot", &digest, "acme/source")?.expect("a stranger's mount", 202)?;
    let stolen = stranger.get(&format!("/v2/mallory/loot/blobs/{digest}"))?;
    same("status of a blob that was not mounted", stolen.status, 404)
}
