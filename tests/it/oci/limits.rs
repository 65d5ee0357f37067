//! Limits, against a daemon that has small ones.

use super::{and, blob, eventually, fresh_bytes, location, manifest, uploads};
use crate::support::{
    Shared,
    content::{self, OCI_INDEX, sha256},
};

static SMALL: Shared = Shared::new(&[
    ("PACKHOUSE_LIMITS_LAYER_SIZE", "100000"),
    ("PACKHOUSE_LIMITS_MANIFEST_SIZE", "20000"),
    ("PACKHOUSE_LIMITS_DESCRIPTORS", "10"),
    ("PACKHOUSE_LIMITS_SESSIONS_PER_CALLER", "4"),
]);

/// Sessions that nobody goes on with live for four seconds.
static SHORT: Shared =
    Shared::new(&[("PACKHOUSE_LIMITS_SESSION_TTL", "4s"), ("PACKHOUSE_LIMITS_SESSIONS_PER_CALLER", "2")]);

const LAYER: usize = 100_000;

#[test]
fn b24_a_blob_over_the_limit_is_413_by_every_way_and_nothing_of_it_stays() {
    let client = SMALL.signed_in("layers");
    let repository = SMALL.repository("layers");
    let over = fresh_bytes(LAYER + 1);
    let digest = sha256(&over);
    let single = format!("{}?digest={digest}", uploads(&repository));
    client.post(&single, &over).refuses(413, "SIZE_INVALID");
    client.send_chunked("POST", &single, &[], &[&over]).refuses(413, "SIZE_INVALID");

    let place = client.begin(&repository);
    client.patch(&place, &[], &over).refuses(413, "SIZE_INVALID");
    client.put(&and(&place, &format!("digest={digest}")), &over).refuses(413, "SIZE_INVALID");
    client.delete(&place).expect(204);

    let place = client.begin(&repository);
    client
        .send_chunked("PATCH", &place, &[], &[&over[..50_000], &over[50_000..]])
        .refuses(413, "SIZE_INVALID");
    client.delete(&place).expect(204);

    // Each chunk within the limit, all of them not.
    let place = client.begin(&repository);
    let next = location(&client.patch(&place, &[], &over[..60_000]).expect(202));
    client.patch(&next, &[], &over[60_000..]).refuses(413, "SIZE_INVALID");
    client.put(&and(&next, &format!("digest={digest}")), &over[60_000..]).refuses(413, "SIZE_INVALID");
    client.delete(&next).expect(204);
    client.head(&blob(&repository, &digest)).expect(404);
}

#[test]
fn b24_a_blob_of_exactly_the_limit_is_taken() {
    let client = SMALL.signed_in("exact");
    let repository = SMALL.repository("exact");
    let bytes = fresh_bytes(LAYER);
    client.push_blob(&repository, &bytes);
    let streamed = fresh_bytes(LAYER);
    let target = format!("{}?digest={}", uploads(&repository), sha256(&streamed));
    client.send_chunked("POST", &target, &[], &[&streamed]).expect(201);
}

#[test]
fn b10_a_manifest_over_the_limit_is_413() {
    let client = SMALL.signed_in("manifests");
    let repository = SMALL.repository("manifests");
    let empty =
        br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
    let mut exact = empty.to_vec();
    exact.resize(20_000, b' ');
    let typed = [("Content-Type", OCI_INDEX)];
    client.send("PUT", &manifest(&repository, "exact"), &typed, &exact).expect(201);
    let over = [exact.as_slice(), b" "].concat();
    client.send("PUT", &manifest(&repository, "over"), &typed, &over).refuses(413, "MANIFEST_INVALID");
    let streamed = client.send_chunked("PUT", &manifest(&repository, "over"), &typed, &[&over]);
    streamed.refuses(413, "MANIFEST_INVALID");
    client.get(&manifest(&repository, "over")).refuses(404, "MANIFEST_UNKNOWN");
    assert_eq!(client.get(&manifest(&repository, "exact")).expect(200).body.len(), 20_000);
}

#[test]
fn b10_descriptors_are_counted() {
    let client = SMALL.signed_in("descriptors");
    let repository = SMALL.repository("descriptors");
    let layers: Vec<Vec<u8>> = (0..10).map(|index| vec![index; 8]).collect();
    client.push_blob(&repository, b"{}");
    for layer in &layers {
        client.push_blob(&repository, layer);
    }
    let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    client.put_manifest(&repository, "ten", &content::image(b"{}", &layers[..9])).expect(201);
    let eleven = content::image(b"{}", &layers);
    client.put_manifest(&repository, "eleven", &eleven).refuses(400, "MANIFEST_INVALID");
    // Also where they all name the same.
    let same: Vec<&[u8]> = vec![layers[0]; 100];
    client.put_manifest(&repository, "same", &content::image(b"{}", &same)).refuses(400, "MANIFEST_INVALID");
}

#[test]
fn b35_too_many_open_sessions_are_429_until_one_ends() {
    let client = SMALL.signed_in("sessions");
    let repository = SMALL.repository("sessions");
    let mut places: Vec<String> = (0..4).map(|_| client.begin(&repository)).collect();
    let refused = client.post(&uploads(&repository), b"").refuses(429, "TOOMANYREQUESTS");
    let wait: u64 = refused.header("retry-after").expect("how long to wait").parse().unwrap();
    assert!(wait > 0);
    // The limit is the caller's, whatever the repository; others have their own.
    let other = SMALL.repository("sessions");
    client.post(&uploads(&other), b"").refuses(429, "TOOMANYREQUESTS");
    let mount = format!("{}?mount={}", uploads(&other), sha256(b"nowhere"));
    client.post(&mount, b"").refuses(429, "TOOMANYREQUESTS");
    let neighbour = SMALL.signed_in("neighbour");
    neighbour.begin(&SMALL.repository("neighbour"));
    // A single request needs no session.
    client.post(&format!("{}?digest={}", uploads(&repository), sha256(b"one")), b"one").expect(201);

    client.delete(&places.pop().unwrap()).expect(204);
    places.push(client.begin(&repository));
    client.put(&and(&places.pop().unwrap(), &format!("digest={}", sha256(b"x"))), b"x").expect(201);
    client.begin(&repository);
}

#[test]
fn b35_abandoned_sessions_expire_and_free_their_place() {
    let client = SHORT.signed_in("leaver");
    let repository = SHORT.repository("leaver");
    let begun = client.post(&uploads(&repository), b"").expect(202);
    client.post(&uploads(&repository), b"").expect(202);
    client.post(&uploads(&repository), b"").refuses(429, "TOOMANYREQUESTS");
    eventually("the session is gone", || client.get(&location(&begun)).status == 404);
    client.patch(&location(&begun), &[], b"x").refuses(404, "BLOB_UPLOAD_UNKNOWN");
    let close = and(&location(&begun), &format!("digest={}", sha256(b"x")));
    client.put(&close, b"x").refuses(404, "BLOB_UPLOAD_UNKNOWN");
    eventually("its place is free", || client.post(&uploads(&repository), b"").status == 202);
}
