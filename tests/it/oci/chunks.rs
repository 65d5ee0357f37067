//! Chunks in and out of order.

use std::{
    io::{Read, Write},
    net::Shutdown,
};

use super::{alice, and, at_once, bare, blob, eventually, fresh_bytes, location, uploads};
use crate::support::{
    Client, Response,
    content::{sha256, sha512},
};

/// Bytes a session holds, as its status says them. `0-0` is nothing or one byte; the address tells which.
#[track_caller]
fn held(answer: &Response) -> usize {
    let at: usize = location(answer).split_once("?at=").unwrap().1.parse().unwrap();
    assert_eq!(answer.header("range"), Some(format!("0-{}", at.saturating_sub(1)).as_str()));
    at
}

#[track_caller]
fn refused_at(answer: Response, stored: usize) {
    let answer = answer.expect(416);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.code(), "BLOB_UPLOAD_INVALID");
    assert_eq!(held(&answer), stored, "the refusal itself says where to go on");
}

#[test]
fn b25_out_of_order_chunks_are_416_and_the_session_survives() {
    let (client, repository) = alice();
    for (size, digest_of) in
        [(3000, sha256 as fn(&[u8]) -> String), (3000, sha512), (90_000, sha256), (90_000, sha512)]
    {
        let bytes = fresh_bytes(size);
        let third = size / 3;
        let mut place = client.begin(&repository);
        for index in 0..3 {
            let (first, last) = (index * third, (index + 1) * third - 1);
            // Ahead of where the session ends, and behind it.
            let ahead = format!("{}-{}", first + third, last + third);
            refused_at(client.patch(&place, &[("Content-Range", &ahead)], &bytes[..third]), first);
            if index > 0 {
                let back = format!("0-{}", third - 1);
                refused_at(client.patch(&place, &[("Content-Range", &back)], &bytes[..third]), first);
                let overlap = format!("{}-{}", first - 1, last - 1);
                refused_at(
                    client.patch(&place, &[("Content-Range", &overlap)], &bytes[first - 1..last]),
                    first,
                );
            }
            assert_eq!(held(&client.get(&place).expect(204)), first);
            let range = format!("{first}-{last}");
            place = location(
                &client.patch(&place, &[("Content-Range", &range)], &bytes[first..=last]).expect(202),
            );
        }
        client.put(&and(&place, &format!("digest={}", digest_of(&bytes))), b"").expect(201);
        assert!(client.get(&blob(&repository, &digest_of(&bytes))).expect(200).body == bytes);
    }
}

#[test]
fn b25_a_closing_put_out_of_order_is_416_and_the_session_survives() {
    let (client, repository) = alice();
    let bytes = fresh_bytes(3000);
    let digest = format!("digest={}", sha256(&bytes));
    let place = location(&client.patch(&client.begin(&repository), &[], &bytes[..2000]).expect(202));
    for range in ["0-999", "1999-2998", "2001-3000"] {
        refused_at(
            client.send("PUT", &and(&place, &digest), &[("Content-Range", range)], &bytes[..1000]),
            2000,
        );
    }
    // The suite asks at the address it closed with.
    assert_eq!(held(&client.get(&and(&place, &digest)).expect(204)), 2000);
    let stored = client.send("PUT", &and(&place, &digest), &[("Content-Range", "2000-2999")], &bytes[2000..]);
    stored.expect(201);
    assert!(client.get(&blob(&repository, &sha256(&bytes))).expect(200).body == bytes);
}

#[test]
fn b25_a_content_range_outweighs_the_address() {
    let (client, repository) = alice();
    let first = client.begin(&repository);
    client.patch(&first, &[("Content-Range", "0-4")], b"01234").expect(202);
    // The address was made for 0, the header says 5: the header is right.
    client.patch(&first, &[("Content-Range", "5-9")], b"56789").expect(202);
    // The address is right, the header is not.
    let newest = location(&client.get(&first).expect(204));
    refused_at(client.patch(&newest, &[("Content-Range", "5-9")], b"56789"), 10);
    client.put(&and(&newest, &format!("digest={}", sha256(b"0123456789"))), b"").expect(201);
}

#[test]
fn b25_of_two_clients_one_wins_each_offset() {
    let (client, repository) = alice();
    for size in [500, 40_000] {
        let mut place = client.begin(&repository);
        let mut whole = Vec::new();
        for _ in 0..4 {
            let chunks = [fresh_bytes(size), fresh_bytes(size), fresh_bytes(size)];
            let answers = at_once(3, |index| client.patch(&place, &[], &chunks[index]));
            let won: Vec<usize> = (0..3).filter(|index| answers[*index].status == 202).collect();
            assert_eq!(won.len(), 1, "one wins: {:?}", answers.iter().map(|a| a.status).collect::<Vec<_>>());
            whole.extend_from_slice(&chunks[won[0]]);
            for (index, answer) in answers.into_iter().enumerate() {
                if index == won[0] {
                    place = location(&answer);
                } else {
                    refused_at(answer, whole.len());
                }
            }
        }
        client.put(&and(&place, &format!("digest={}", sha256(&whole))), b"").expect(201);
        assert!(client.get(&blob(&repository, &sha256(&whole))).expect(200).body == whole);
    }
}

/// jib sends a PATCH again when its answer was lost: the bytes must not be appended twice.
#[test]
fn b26_a_replayed_patch_is_told_apart_by_its_address() {
    let (client, repository) = alice();
    for size in [700, 70_000] {
        let bytes = fresh_bytes(size);
        let first = client.begin(&repository);
        let patched = client.patch(&first, &[], &bytes).expect(202);
        refused_at(client.patch(&first, &[], &bytes), size);
        refused_at(client.send_chunked("PATCH", &first, &[], &[&bytes]), size);
        // Closing without bytes appends nothing, so an older address is as good.
        let close = |place: &str| and(place, &format!("digest={}", sha256(&bytes)));
        refused_at(client.put(&close(&first), &bytes), size);
        assert_eq!(held(&client.get(&first).expect(204)), size);
        client.put(&close(&first), b"").expect(201);
        client.get(&location(&patched)).refuses(404, "BLOB_UPLOAD_UNKNOWN");
    }
}

#[test]
fn b26_an_address_that_was_tampered_with_is_refused() {
    let (client, repository) = alice();
    let place = client.begin(&repository);
    for at in ["x", "-1", "1e3", "99999999999999999999999", ""] {
        let answer = client.patch(&format!("{}?at={at}", bare(&place)), &[], b"x");
        assert_eq!(answer.status, 400, "{at:?}");
    }
    refused_at(client.patch(&format!("{}?at=7", bare(&place)), &[], b"x"), 0);
    // A client that rebuilds the query from what it knows sends the bytes to the end of the session.
    let patched = client.patch(bare(&place), &[], b"abc").expect(202);
    assert_eq!(held(&patched), 3);
    client.put(&format!("{}?digest={}", bare(&place), sha256(b"abc")), b"").expect(201);
}

/// Cuts the connection in the middle of a body.
fn break_off(
    client: &Client,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    announced: usize,
    bytes: &[u8],
) {
    let mut stream = client.open(method, target, headers, Some(announced as u64));
    stream.write_all(bytes).unwrap();
    stream.shutdown(Shutdown::Both).unwrap();
}

#[test]
fn b29_what_arrived_before_the_connection_broke_is_kept() {
    let (client, repository) = alice();
    for (size, cut) in [(9000, 4000), (200_000, 100_000)] {
        let bytes = fresh_bytes(size);
        let place = client.begin(&repository);
        break_off(&client, "PATCH", &place, &[], size, &bytes[..cut]);
        eventually("the prefix is kept", || {
            let status = client.get(&place).expect(204);
            held(&status) == cut
        });
        let newest = location(&client.get(&place).expect(204));
        let patched = client.patch(&newest, &[], &bytes[cut..]).expect(202);
        client.put(&and(&location(&patched), &format!("digest={}", sha256(&bytes))), b"").expect(201);
        assert!(client.get(&blob(&repository, &sha256(&bytes))).expect(200).body == bytes);
    }
}

#[test]
fn b29_a_closing_put_that_breaks_off_closes_nothing() {
    let (client, repository) = alice();
    let bytes = fresh_bytes(50_000);
    let close = format!("digest={}", sha256(&bytes));
    let place = client.begin(&repository);
    break_off(&client, "PUT", &and(&place, &close), &[], bytes.len(), &bytes[..20_000]);
    eventually("the prefix is kept", || held(&client.get(&place).expect(204)) == 20_000);
    client.head(&blob(&repository, &sha256(&bytes))).expect(404);
    let newest = location(&client.get(&place).expect(204));
    client.put(&and(&newest, &close), &bytes[20_000..]).expect(201);
    assert!(client.get(&blob(&repository, &sha256(&bytes))).expect(200).body == bytes);
}

#[test]
fn b29_a_single_post_that_breaks_off_stores_nothing() {
    let (client, repository) = alice();
    let bytes = fresh_bytes(30_000);
    // Even where what arrived is a whole blob by itself.
    let part = sha256(&bytes[..20_000]);
    break_off(
        &client,
        "POST",
        &format!("{}?digest={part}", uploads(&repository)),
        &[],
        30_000,
        &bytes[..20_000],
    );
    // A later upload of the same session's owner is not in its way, and proves that the server went on.
    client.push_blob(&repository, b"after");
    client.head(&blob(&repository, &part)).expect(404);
}

#[test]
fn b24_a_length_that_lies_is_400_and_the_session_stands() {
    let (client, repository) = alice();
    for scale in [1, 3000] {
        let bytes = fresh_bytes(20 * scale);
        let place = client.begin(&repository);
        let long = format!("0-{}", 20 * scale);
        let short = format!("0-{}", 10 * scale);
        for range in [long.as_str(), short.as_str()] {
            let header = [("Content-Range", range)];
            client.patch(&place, &header, &bytes).refuses(400, "SIZE_INVALID");
            client.send_chunked("PATCH", &place, &header, &[&bytes]).refuses(400, "SIZE_INVALID");
            let close = and(&place, &format!("digest={}", sha256(&bytes)));
            client.send("PUT", &close, &header, &bytes).refuses(400, "SIZE_INVALID");
            assert_eq!(held(&client.get(&place).expect(204)), 0);
        }
        client.put(&and(&place, &format!("digest={}", sha256(&bytes))), &bytes).expect(201);
        assert!(client.get(&blob(&repository, &sha256(&bytes))).expect(200).body == bytes);
    }
}

#[test]
fn b24_a_content_range_without_sense_is_400_and_the_session_stands() {
    let (client, repository) = alice();
    let place = client.begin(&repository);
    for range in ["", "4-0", "-4", "0-", "a-b", "0-99999999999999999999", "bytes */5", "0 - 4", "+0-4"] {
        let answer = client.patch(&place, &[("Content-Range", range)], b"01234");
        assert_eq!(answer.status, 400, "{range:?}: {}", answer.text());
        assert_eq!(answer.code(), "BLOB_UPLOAD_INVALID");
    }
    assert_eq!(held(&client.get(&place).expect(204)), 0);
    client.patch(&place, &[("Content-Range", "0-4")], b"01234").expect(202);
}

/// A body that contradicts its own framing is read by nobody the way it was meant.
#[test]
fn b24_a_chunked_body_cut_inside_a_chunk_is_not_a_whole_one() {
    let (client, repository) = alice();
    let place = client.begin(&repository);
    let target = and(&place, &format!("digest={}", sha256(b"abc")));
    let mut stream = client.open("PUT", &target, &[], None);
    stream.write_all(b"a\r\nabc").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    // The server may hang up on a client that broke its word; it must not say that the blob is stored.
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    client.head(&blob(&repository, &sha256(b"abc"))).expect(404);
}
