//! Ways for a blob to arrive.

use super::{alice, and, bare, blob, fresh_bytes, location, uploads};
use crate::support::{
    Client, Response,
    content::{sha256, sha512},
};

/// Around everything that is treated differently by size: nothing, a byte, what stays in metadata, what becomes a file.
const SIZES: [usize; 6] = [0, 1, 16 << 10, (16 << 10) + 1, 100_000, 300_000];

type Way = fn(&Client, &str, &[u8], &str) -> Response;

const WAYS: [(&str, Way); 8] = [
    ("POST, then PUT", |client, repository, bytes, digest| {
        client.put(&and(&client.begin(repository), &format!("digest={digest}")), bytes)
    }),
    ("POST alone", |client, repository, bytes, digest| {
        client.post(&format!("{}?digest={digest}", uploads(repository)), bytes)
    }),
    ("POST alone, streamed", |client, repository, bytes, digest| {
        client.send_chunked("POST", &format!("{}?digest={digest}", uploads(repository)), &[], &pieces(bytes))
    }),
    ("one streamed PATCH", |client, repository, bytes, digest| {
        let place = client.begin(repository);
        let patched = client.send_chunked("PATCH", &place, &[], &pieces(bytes)).expect(202);
        client.put(&and(&location(&patched), &format!("digest={digest}")), b"")
    }),
    ("one PATCH with a length", |client, repository, bytes, digest| {
        let patched = client.patch(&client.begin(repository), &[], bytes).expect(202);
        client.put(&and(&location(&patched), &format!("digest={digest}")), b"")
    }),
    ("chunks", |client, repository, bytes, digest| {
        let place = chunks(client, client.begin(repository), bytes, 3);
        client.put(&and(&place, &format!("digest={digest}")), b"")
    }),
    ("chunks, the last of them in the PUT", |client, repository, bytes, digest| {
        let (first, last) = bytes.split_at(bytes.len() * 2 / 3);
        let place = chunks(client, client.begin(repository), first, 2);
        client.put(&and(&place, &format!("digest={digest}")), last)
    }),
    ("a streamed PATCH, then a streamed PUT", |client, repository, bytes, digest| {
        let (first, last) = bytes.split_at(bytes.len() / 2);
        let patched =
            client.send_chunked("PATCH", &client.begin(repository), &[], &pieces(first)).expect(202);
        let place = and(&location(&patched), &format!("digest={digest}"));
        client.send_chunked("PUT", &place, &[], &pieces(last))
    }),
];

fn pieces(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.chunks(30_011).collect()
}

/// Sends so many chunks with a `Content-Range` each; says where it goes on.
fn chunks(client: &Client, mut place: String, bytes: &[u8], count: usize) -> String {
    let size = bytes.len().div_ceil(count).max(1);
    for (index, chunk) in bytes.chunks(size).enumerate() {
        let first = index * size;
        let range = format!("{first}-{}", first + chunk.len() - 1);
        let patched = client.patch(&place, &[("Content-Range", &range)], chunk).expect(202);
        assert_eq!(patched.header("range"), Some(format!("0-{}", first + chunk.len() - 1).as_str()));
        place = location(&patched);
    }
    place
}

#[track_caller]
fn is_stored(client: &Client, repository: &str, stored: &Response, bytes: &[u8], digest: &str) {
    assert_eq!(stored.status, 201, "{}", stored.text());
    assert_eq!(location(stored), blob(repository, digest), "the address to pull it from");
    assert_eq!(stored.header("docker-content-digest"), Some(digest));
    let head = client.head(&location(stored)).expect(200);
    assert_eq!(head.header("content-length"), Some(bytes.len().to_string().as_str()));
    assert_eq!(head.header("docker-content-digest"), Some(digest));
    let pulled = client.get(&location(stored)).expect(200);
    assert_eq!(pulled.header("docker-content-digest"), Some(digest));
    assert!(pulled.body == bytes, "what was pushed is pulled");
}

/// Nothing of a blob stays after it is deleted, at once.
#[track_caller]
fn goes(client: &Client, repository: &str, digest: &str) {
    client.delete(&blob(repository, digest)).expect(202);
    client.head(&blob(repository, digest)).expect(404);
    client.delete(&blob(repository, digest)).refuses(404, "BLOB_UNKNOWN");
}

#[test]
fn b24_a_blob_of_any_size_arrives_by_every_way() {
    let (client, repository) = alice();
    for (name, way) in WAYS {
        for size in SIZES {
            let bytes = fresh_bytes(size);
            let digest = sha256(&bytes);
            let stored = way(&client, &repository, &bytes, &digest);
            assert_eq!(stored.status, 201, "{name}, {size} bytes: {}", stored.text());
            is_stored(&client, &repository, &stored, &bytes, &digest);
            goes(&client, &repository, &digest);
        }
    }
}

/// The suite opens its sessions without saying that it will close them with SHA-512.
#[test]
fn b36_a_session_without_a_hint_is_closed_with_sha512_by_every_way() {
    let (client, repository) = alice();
    for (name, way) in WAYS {
        for size in SIZES {
            let bytes = fresh_bytes(size);
            let digest = sha512(&bytes);
            let stored = way(&client, &repository, &bytes, &digest);
            assert_eq!(stored.status, 201, "{name}, {size} bytes: {}", stored.text());
            is_stored(&client, &repository, &stored, &bytes, &digest);
            goes(&client, &repository, &digest);
        }
    }
}

#[test]
fn b36_a_hinted_session_is_closed_with_its_own_algorithm_only() {
    let (client, repository) = alice();
    for size in [5, 40_000] {
        let bytes = fresh_bytes(size);
        for (hint, right, wrong) in
            [("sha512", sha512(&bytes), sha256(&bytes)), ("sha256", sha256(&bytes), sha512(&bytes))]
        {
            let begin = || {
                let target = format!("{}?digest-algorithm={hint}", uploads(&repository));
                location(&client.post(&target, b"").expect(202))
            };
            let patched = client.patch(&begin(), &[], &bytes).expect(202);
            let stored = client.put(&and(&location(&patched), &format!("digest={right}")), b"");
            is_stored(&client, &repository, &stored, &bytes, &right);
            goes(&client, &repository, &right);
            client.put(&and(&begin(), &format!("digest={wrong}")), &bytes).refuses(400, "DIGEST_INVALID");
            client.head(&blob(&repository, &wrong)).expect(404);
        }
    }
}

#[test]
fn b36_an_unknown_or_contradictory_hint_is_refused() {
    let (client, repository) = alice();
    for hint in ["md5", "sha384", "SHA256", "", "sha256:"] {
        let answer = client.post(&format!("{}?digest-algorithm={hint}", uploads(&repository)), b"");
        answer.refuses(400, "DIGEST_INVALID");
    }
    let target = format!("{}?digest={}&digest-algorithm=sha512", uploads(&repository), sha256(b"x"));
    client.post(&target, b"x").refuses(400, "DIGEST_INVALID");
    client.head(&blob(&repository, &sha256(b"x"))).expect(404);
}

#[test]
fn b36_no_least_chunk_length_is_asked_for_and_single_bytes_add_up() {
    let (client, repository) = alice();
    let begun = client.post(&uploads(&repository), b"").expect(202);
    assert_eq!(begun.header("oci-chunk-min-length"), None);
    let mut place = location(&begun);
    for byte in b"chunk" {
        place = location(&client.patch(&place, &[], &[*byte]).expect(202));
    }
    client.put(&and(&place, &format!("digest={}", sha256(b"chunk"))), b"").expect(201);
}

/// `Docker-Upload-UUID`, `Location` and `Range` on everything that tells where an upload stands.
#[test]
fn b34_every_answer_about_a_session_says_where_it_goes_on() {
    let (client, repository) = alice();
    let begun = client.post(&uploads(&repository), b"").expect(202);
    let id = begun.header("docker-upload-uuid").expect("docker reads it").to_owned();
    assert_eq!(begun.header("range"), Some("0-0"));
    assert_eq!(begun.header("content-length"), Some("0"));
    assert_eq!(
        bare(&location(&begun)),
        format!("{}{id}", uploads(&repository)),
        "relative; the id is its last part"
    );
    let says = |answer: &Response, at: usize| {
        assert_eq!(location(answer), format!("{}{id}?at={at}", uploads(&repository)));
        assert_eq!(answer.header("range"), Some(format!("0-{}", at.saturating_sub(1)).as_str()));
        assert_eq!(answer.header("docker-upload-uuid"), Some(id.as_str()));
    };
    says(&begun, 0);
    says(&client.get(&location(&begun)).expect(204), 0);
    let patched = client.patch(&location(&begun), &[], b"0123456789").expect(202);
    says(&patched, 10);
    says(&client.get(&location(&patched)).expect(204), 10);
    says(&client.head(&location(&patched)).expect(204), 10);
    says(&client.patch(&location(&begun), &[], b"0123456789").expect(416), 10);
}

#[test]
fn b30_bytes_under_a_wrong_digest_are_refused_and_gone() {
    let (client, repository) = alice();
    for size in [100, 50_000] {
        for algorithm in [sha256, sha512] {
            let bytes = fresh_bytes(size);
            let wrong = algorithm(&fresh_bytes(size));
            for (name, way) in WAYS {
                let answer = way(&client, &repository, &bytes, &wrong);
                assert_eq!((answer.status, answer.code().as_str()), (400, "DIGEST_INVALID"), "{name}");
                client.head(&blob(&repository, &wrong)).expect(404);
                client.head(&blob(&repository, &algorithm(&bytes))).expect(404);
            }
        }
    }
}

#[test]
fn b30_a_session_closed_with_a_wrong_digest_is_closed() {
    let (client, repository) = alice();
    for size in [100, 50_000] {
        let bytes = fresh_bytes(size);
        let place = location(&client.patch(&client.begin(&repository), &[], &bytes).expect(202));
        client.put(&and(&place, &format!("digest={}", sha256(b"other"))), b"").refuses(400, "DIGEST_INVALID");
        client.get(&place).refuses(404, "BLOB_UPLOAD_UNKNOWN");
        client
            .put(&and(&place, &format!("digest={}", sha256(&bytes))), b"")
            .refuses(404, "BLOB_UPLOAD_UNKNOWN");
    }
}

/// Cut, extended, one bit off, or somebody else's bytes (T007).
#[test]
fn b30_nothing_but_the_very_bytes_goes_under_a_digest() {
    let (client, repository) = alice();
    let bytes = fresh_bytes(20_000);
    let digest = sha256(&bytes);
    let mut flipped = bytes.clone();
    flipped[12_345] ^= 1;
    let longer = [bytes.as_slice(), b"\0"].concat();
    for other in [&bytes[..19_999], &longer, &flipped, b"", &fresh_bytes(20_000)] {
        client
            .post(&format!("{}?digest={digest}", uploads(&repository)), other)
            .refuses(400, "DIGEST_INVALID");
        client.head(&blob(&repository, &digest)).expect(404);
    }
    client.post(&format!("{}?digest={digest}", uploads(&repository)), &bytes).expect(201);
}

#[test]
fn a_session_is_closed_with_a_digest_or_not_at_all() {
    let (client, repository) = alice();
    let place = client.begin(&repository);
    client.put(&place, b"x").refuses(400, "DIGEST_INVALID");
    for digest in ["", "sha256", "sha256:", "sha256:xyz", "md5:d41d8cd98f00b204e9800998ecf8427e"] {
        client.put(&and(&place, &format!("digest={digest}")), b"x").refuses(400, "DIGEST_INVALID");
        client
            .post(&format!("{}?digest={digest}", uploads(&repository)), b"x")
            .refuses(400, "DIGEST_INVALID");
    }
    // None of that touched the session.
    client.put(&and(&place, &format!("digest={}", sha256(b"x"))), b"x").expect(201);
}

#[test]
fn the_same_blob_twice_is_the_same_blob() {
    let (client, repository) = alice();
    for size in [10, 60_000] {
        let bytes = fresh_bytes(size);
        let digest = sha256(&bytes);
        client.push_blob(&repository, &bytes);
        client.push_blob(&repository, &bytes);
        assert!(client.get(&blob(&repository, &digest)).expect(200).body == bytes);
        goes(&client, &repository, &digest);
        // And once more after it was deleted.
        client.push_blob(&repository, &bytes);
        assert!(client.get(&blob(&repository, &digest)).expect(200).body == bytes);
    }
}

/// A client whose first answer was lost closes the session once more.
#[test]
fn closing_a_session_twice_says_twice_that_the_blob_is_here() {
    let (client, repository) = alice();
    for size in [10, 60_000] {
        let bytes = fresh_bytes(size);
        let digest = sha256(&bytes);
        let place = location(&client.patch(&client.begin(&repository), &[], &bytes).expect(202));
        let close = and(&place, &format!("digest={digest}"));
        for _ in 0..2 {
            let answer = client.put(&close, b"").expect(201);
            assert_eq!(location(&answer), blob(&repository, &digest));
        }
        // Not for other content, not where the blob is not, and not for a session that is sent bytes.
        let other = and(&place, &format!("digest={}", sha256(b"other")));
        client.put(&other, b"").refuses(404, "BLOB_UPLOAD_UNKNOWN");
        client.put(&close, b"x").refuses(404, "BLOB_UPLOAD_UNKNOWN");
        goes(&client, &repository, &digest);
        client.put(&close, b"").refuses(404, "BLOB_UPLOAD_UNKNOWN");
    }
}
