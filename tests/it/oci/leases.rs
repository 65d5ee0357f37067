//! What a blob's presence promises.

use super::{alice, blob, fresh_bytes};
use crate::support::{Server, Shared, content};

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
    client
        .put_manifest(&repository, "lost", &content::image(&kept, &[&left]))
        .refuses(404, "MANIFEST_BLOB_UNKNOWN");
    client.put_manifest(&repository, "kept", &content::image(&kept, &[])).expect(201);
    // From here on the manifest holds it, for as long as another lease takes to end.
    client.push_blob(&repository, &left);
    super::eventually("another lease ends", || client.get(&unasked).status == 404);
    client.get(&asked).expect(200);
    client.delete(&asked).refuses(405, "UNSUPPORTED");
}

/// A deleted manifest can be restored, so its blobs are kept; nobody reads them meanwhile, not even who could before.
#[test]
fn b32_blobs_of_a_deleted_manifest_are_unknown_until_they_are_pushed_again() {
    let client = BRIEF.signed_in("alice");
    let repository = BRIEF.repository("alice");
    let layer = fresh_bytes(300);
    client.push_blob(&repository, b"{}");
    let target = blob(&repository, &client.push_blob(&repository, &layer));
    let image = content::image(b"{}", &[&layer]);
    client.put_manifest(&repository, "latest", &image).expect(201);
    let digest = content::sha256(&content::bytes(&image));
    client.delete(&super::manifest(&repository, &digest)).expect(202);
    super::eventually("the upload's own lease ends", || client.get(&target).status == 404);
    client.put_manifest(&repository, "again", &image).refuses(404, "MANIFEST_BLOB_UNKNOWN");
    client.push_blob(&repository, b"{}");
    client.push_blob(&repository, &layer);
    client.put_manifest(&repository, "again", &image).expect(201);
    assert!(client.get(&target).expect(200).body == layer);
}

/// Who may only read is promised nothing: asking again and again keeps nothing of what was deleted.
#[test]
fn a_readers_question_renews_no_lease() {
    let server = Server::with(&[("PACKHOUSE_LIMITS_LEASE_TTL", "2s")]);
    let client = server.signed_in("alice");
    client.push_image("alice/app", "latest", 1);
    server.admin_ok(&["package", "visibility", "alice/app", "public"]);
    let bytes = fresh_bytes(300);
    let asked = blob("alice/app", &client.push_blob("alice/app", &bytes));
    let reader = server.anonymous();
    reader.head(&asked).expect(200);
    super::eventually("the lease ends all the same", || reader.head(&asked).status == 404);
}
