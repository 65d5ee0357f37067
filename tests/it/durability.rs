//! An answer of 201 is a promise: what was pushed survives a power cut. This looks at the system calls of the real
//! daemon and wants every sync to have come to its end before the answer's first byte is written.

use crate::support::{
    Server,
    content::{self, noise},
    strace::{Call, Strace, calls},
};

const WRITES: &[&str] = &["write", "writev", "pwrite64", "pwritev", "pwritev2"];
const SENDS: &[&str] = &["write", "writev", "sendto", "sendmsg"];
const SYNCS: &[&str] = &["fdatasync", "fsync"];
const RENAMES: &[&str] = &["rename", "renameat", "renameat2"];

/// The calls between two answers, the second included: what was done for it.
struct Request<'a> {
    calls: &'a [Call],
    answer: &'a Call,
}

/// What was done for each answer with this status, in order.
fn answered<'a>(calls: &'a [Call], status: &str) -> Vec<Request<'a>> {
    let is_answer = |call: &Call| {
        let socket = |path: &str| path.starts_with("socket:") || path.starts_with("TCP");
        call.on(SENDS, socket) && call.writes(b"HTTP/1.1 ")
    };
    let mut found = Vec::new();
    let mut from = 0;
    for (at, answer) in calls.iter().enumerate().filter(|(_, call)| is_answer(call)) {
        if answer.writes(format!("HTTP/1.1 {status} ").as_bytes()) {
            found.push(Request { calls: &calls[from..at], answer });
        }
        from = at + 1;
    }
    found
}

/// The first call after a moment that is such a one and did its work; says when that was done.
fn next(calls: &[Call], after: usize, what: &str, is: impl Fn(&Call) -> bool) -> Result<usize, String> {
    let found = calls.iter().find(|call| call.began > after && call.ended.is_some() && is(call));
    found.and_then(|call| call.ended).ok_or_else(|| format!("no {what} came to its end in time"))
}

/// The record of a digest is written to the log after a moment, and the log synced, before the answer begins.
fn record_is_durable(request: &Request<'_>, after: Option<usize>, hash: &[u8]) -> Result<(), String> {
    let log = |path: &str| path.contains("/meta/") && path.ends_with(".log");
    let record = |call: &&Call| call.on(WRITES, log) && call.writes(hash);
    let written: Vec<_> = request.calls.iter().filter(record).collect();
    let first = written.first().ok_or("no record with this digest is in the log")?;
    if after.is_some_and(|after| first.began <= after) {
        return Err("a record was written before the bytes it promises were durable".to_owned());
    }
    let last = written.iter().filter_map(|call| call.ended).max().ok_or("no write of a record ended")?;
    let synced = next(request.calls, last, "sync of the log", |call| call.on(SYNCS, log))?;
    before(synced, request.answer.began, "the answer began before the log was synced")
}

/// The bytes, then their name, then its folder, then the record, then the answer.
fn blob_is_durable(request: &Request<'_>, hash: &[u8]) -> Result<(), String> {
    let named = |call: &&Call| {
        RENAMES.contains(&call.name.as_str())
            && call.args.contains("/uploads/")
            && call.args.contains("/blobs/")
    };
    let mut renames = request.calls.iter().filter(named);
    let rename = renames.next().ok_or("no upload was renamed")?;
    let renamed = rename.ended.ok_or("the rename failed")?;
    let paths: Vec<_> = rename.args.split('"').skip(1).step_by(2).collect();
    let [upload, blob] = paths[..] else { return Err(format!("no two paths: {}", rename.args)) };
    let folder = blob.rsplit_once('/').ok_or("no folder")?.0;

    let bytes = |call: &&Call| call.on(WRITES, |path| path == upload);
    let written = request.calls.iter().filter(bytes).map(|call| call.ended).max().flatten();
    let written = written.ok_or("no bytes were written to the upload")?;
    let synced = next(request.calls, written, "sync of the upload's bytes", |call| {
        call.on(SYNCS, |path| path == upload)
    })?;
    before(synced, rename.began, "the upload got its name before its bytes were synced")?;
    let kept = next(request.calls, renamed, "sync of the blob's folder", |call| {
        call.on(&["fsync"], |path| path == folder)
    })?;
    record_is_durable(request, Some(kept), hash)
}

fn before(ended: usize, began: usize, why: &str) -> Result<(), String> {
    if ended < began { Ok(()) } else { Err(why.to_owned()) }
}

fn hash_of(bytes: &[u8]) -> Vec<u8> {
    hex::decode(&content::sha256(bytes)["sha256:".len()..]).unwrap()
}

/// Whether strace follows the daemon; says by name what is skipped if not, which must not happen in CI.
fn strace(server: &Server) -> Option<Strace> {
    match Strace::attach(server) {
        Ok(strace) => Some(strace),
        Err(why) => {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{why}");
            eprintln!("SKIP durability::an_answer_of_201_is_written_after_all_syncs: {why}");
            None
        }
    }
}

#[test]
fn an_answer_of_201_is_written_after_all_syncs() {
    let server = Server::start();
    let client = server.signed_in("ada");
    // The package exists before: the trace then holds pushes and nothing else.
    client.push_blob("ada/app", b"{}");
    let (large, small) = (noise(1, 40_000), noise(2, 300));
    let image = content::image(b"{}", &[&large, &small]);

    let Some(strace) = strace(&server) else { return };
    client.push_blob("ada/app", &large);
    client.push_blob("ada/app", &small);
    client.put_manifest("ada/app", "latest", &image).expect(201);
    let calls = strace.end();

    let created = answered(&calls, "201");
    assert_eq!(created.len(), 3, "one answer for each push:\n{calls:#?}");
    blob_is_durable(&created[0], &hash_of(&large)).unwrap_or_else(|why| panic!("a large blob: {why}"));
    record_is_durable(&created[1], None, &hash_of(&small))
        .unwrap_or_else(|why| panic!("a small blob: {why}"));
    let manifest = hash_of(&content::bytes(&image));
    record_is_durable(&created[2], None, &manifest).unwrap_or_else(|why| panic!("a manifest: {why}"));
}

/// A push of a large blob, as strace prints it.
const PUSH: [&str; 8] = [
    r#"7 sendto(9<socket:[1]>, "HTTP/1.1 202 Accepted\r\n\r\n", 25, MSG_NOSIGNAL, NULL, 0) = 25"#,
    r#"8 pwritev2(10</d/uploads/ab12>, [{iov_base="abc", iov_len=3}], 1, 0, 0) = 3"#,
    r#"8 fdatasync(10</d/uploads/ab12>) = 0"#,
    r#"8 renameat2(AT_FDCWD</>, "/d/uploads/ab12", AT_FDCWD</>, "/d/blobs/ab/ab12", RENAME_NOREPLACE) = 0"#,
    r#"9 fsync(11</d/blobs/ab>) = 0"#,
    r#"5 write(6</d/meta/000008.log>, "\x00\x62\xfe\xff\x01", 5) = 5"#,
    r#"5 fdatasync(6</d/meta/000008.log>) = 0"#,
    r#"7 sendto(9<socket:[1]>, "HTTP/1.1 201 Created\r\n\r\n", 24, MSG_NOSIGNAL, NULL, 0) = 24"#,
];

fn judge(lines: &[&str]) -> Result<(), String> {
    let calls = calls(&lines.join("\n"));
    match &answered(&calls, "201")[..] {
        [request] => blob_is_durable(request, &[0xfe, 0xff]),
        _ => Err("not one answer".to_owned()),
    }
}

/// The proof that the test above would notice: each step left out, too late, failed or not ended is an error.
#[test]
fn a_trace_in_another_order_is_refused() {
    judge(&PUSH).unwrap();
    for (step, line) in PUSH.into_iter().enumerate().skip(1) {
        let mut without = PUSH.to_vec();
        without.remove(step);
        judge(&without).expect_err(line);
        for other in 1..PUSH.len() {
            if step != other {
                let mut moved = PUSH.to_vec();
                moved.remove(step);
                moved.insert(other, line);
                judge(&moved).expect_err(&format!("moved to {other}: {line}"));
            }
        }
    }
    for step in 1..PUSH.len() - 1 {
        let failed = PUSH[step].rsplit_once(" = ").unwrap().0.to_owned() + " = -1 EIO (Input/output error)";
        let mut lines = PUSH.to_vec();
        lines[step] = &failed;
        judge(&lines).expect_err(&failed);
    }
}

/// What a thread has begun is not done: the line that says `resumed` counts.
#[test]
fn a_call_under_way_is_not_at_its_end() {
    let begun = |line: &str| line.rsplit_once(')').unwrap().0.to_owned() + " <unfinished ...>";
    for step in [2, 3, 4, 6] {
        let (thread, rest) = PUSH[step].split_once(' ').unwrap();
        let name = rest.split_once('(').unwrap().0;
        let resumed = format!("{thread} <... {name} resumed>) = 0");
        let unfinished = begun(PUSH[step]);
        let mut good = PUSH.to_vec();
        good[step] = &unfinished;
        judge(&good).expect_err("never resumed");
        let mut late = good.clone();
        good.insert(step + 1, &resumed);
        judge(&good).unwrap();
        late.insert(step + 2, &resumed);
        judge(&late).expect_err(&resumed);
    }
    // The answer counts from its beginning.
    let answer = begun(PUSH[7]);
    let mut lines = PUSH.to_vec();
    lines[7] = PUSH[6];
    lines[6] = &answer;
    judge(&lines).unwrap_err();
}
