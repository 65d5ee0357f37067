//! What a blob's presence promises.

use super::{alice, blob, fresh_bytes};
use crate::support::{Shared, content};

/// An uploaded blob waits four seconds for the manifest that names it.
static BRIEF: Shared = Shared::new(&[("PACKHOUSE_LIMITS_LEASE_TTL", "4s")]);

#[test]
fn b32_a_blob_that_is_there_stays_for_its_manifest() {
    let (client, repository) = alice();
    let (config, layer) = (b"{}".as_slice(), fresh_bytes(20_000));
    for bytes in [config, &layer] {
        client.push_blob(&repository, bytes);
        client.head(&blob(&repository, &content::sha256(bytes))).expect(200);
    }
    client.put_manifest(&repository, "v1", &content::image(config, &[&layer])).expect(201);
}

/// A long push asks for its first layers again: what is asked for outlives what is not.
#[test]
fn b32_asking_for_a_blob_renews_its_lease() {
    let client = BRIEF.signed_in("alice");
    let repository = BRIEF.repository("alice");
    let (kept, left) = (fresh_bytes(300), fresh_bytes(300));
    let asked = blob(&repository, &client.push_blob(&repository, &kept));
    let unasked = blob(&repository, &client.push_blob(&repository, &left));
    super::eventually("a lease ends", || {
        client.head(&asked).expect(200);
        // A GET is no promise.
        client.get(&unasked).status == 404
    });
    client.put_manifest(&repository, "lost", &content::image(&kept, &[&left])).refuses(404, "MANIFEST_BLOB_UNKNOWN");
    client.put_manifest(&repository, "kept", &content::image(&kept, &[])).expect(201);
    // From here on the manifest holds it, for as long as another lease takes to end.
    client.push_blob(&repository, &left);
    super::eventually("another lease ends", || client.get(&unasked).status == 404);
    client.get(&asked).expect(200);
    client.delete(&asked).refuses(405, "UNSUPPORTED");
}
