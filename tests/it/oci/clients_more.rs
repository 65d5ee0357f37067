//! What the clients that people use send, request by request: artifacts, charts, signatures, caches, lazy pulls.

use serde_json::{Value, json};

use super::{DAEMON, alice, and, blob, fresh_bytes, location, manifest, uploads};
use crate::support::{
    Client,
    content::{self, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, sha256},
};

const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// POST and a whole PUT with the credentials of the POST; a probe of the referrers API; a seek.
#[test]
fn oras_and_what_is_built_on_it() {
    let (oras, repository) = alice();
    let probe = format!("/v2/{repository}/referrers/sha256:{}", "0".repeat(64));
    let answer = oras.get(&probe).expect(200);
    assert_eq!(answer.header("content-type"), Some(OCI_INDEX), "anything else means: no such API");
    let file = fresh_bytes(20_000);
    for bytes in [b"{}".as_slice(), &file] {
        oras.head(&blob(&repository, &sha256(bytes))).expect(404);
        let begun = oras.post(&uploads(&repository), b"").expect(202);
        let octets = [("Content-Type", "application/octet-stream")];
        let target = and(&location(&begun), &format!("digest={}", sha256(bytes).replace(':', "%3A")));
        oras.send("PUT", &target, &octets, bytes).expect(201);
    }
    let artifact = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": "application/vnd.example.doc",
        "config": content::descriptor(EMPTY, b"{}"), "layers": [content::descriptor("text/plain", &file)],
        "annotations": {"org.opencontainers.image.created": "2026-01-01T00:00:00Z"},
    });
    let stored = oras.put_manifest(&repository, "v1", &artifact).expect(201);
    assert_eq!(stored.header("docker-content-digest"), Some(sha256(&content::bytes(&artifact)).as_str()));
    let head = oras.head(&blob(&repository, &sha256(&file))).expect(200);
    assert_eq!(head.header("accept-ranges"), Some("bytes"), "it seeks only where it sees this");
    assert_eq!(head.header("content-length"), Some("20000"));
    // attach, discover
    let attached = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": "application/vnd.example.sbom",
        "config": content::descriptor(EMPTY, b"{}"), "layers": [content::descriptor(EMPTY, b"{}")],
        "subject": content::descriptor(OCI_MANIFEST, &content::bytes(&artifact)),
    });
    let stored = oras.put_manifest(&repository, &sha256(&content::bytes(&attached)), &attached).expect(201);
    assert!(stored.header("oci-subject").is_some(), "without it a fallback tag would be written");
    let subject = sha256(&content::bytes(&artifact));
    let found = oras
        .get(&format!("/v2/{repository}/referrers/{subject}?artifactType=application%2Fvnd.example.sbom"));
    assert_eq!(found.expect(200).json()["manifests"][0]["digest"], sha256(&content::bytes(&attached)));
}

/// Chunks; after a 416 it asks where it stands and goes on; tags deleted by themselves; mounts without a source.
#[test]
fn regctl_uploads_in_chunks_and_recovers() {
    let (regctl, repository) = alice();
    let bytes = fresh_bytes(50_000);
    let begun = regctl.post(&uploads(&repository), b"").expect(202);
    let first =
        regctl.patch(&location(&begun), &[("Content-Range", "0-19999")], &bytes[..20_000]).expect(202);
    // It believes that the chunk was lost.
    let lost = regctl.patch(&location(&first), &[("Content-Range", "0-19999")], &bytes[..20_000]);
    let lost = lost.refuses(416, "BLOB_UPLOAD_INVALID");
    let status = regctl.get(&location(&lost)).expect(204);
    assert_eq!(status.header("range"), Some("0-19999"));
    let rest =
        regctl.patch(&location(&status), &[("Content-Range", "20000-49999")], &bytes[20_000..]).expect(202);
    regctl.put(&and(&location(&rest), &format!("digest={}", sha256(&bytes))), b"").expect(201);
    let other = DAEMON.repository("alice");
    regctl.post(&format!("{}?mount={}", uploads(&other), sha256(&bytes)), b"").expect(201);

    regctl.push_image(&repository, "gone", 1);
    let kept = regctl.push_image(&repository, "kept", 2);
    regctl.delete(&manifest(&repository, "gone")).expect(202);
    regctl.get(&manifest(&repository, "gone")).expect(404);
    assert_eq!(regctl.get(&manifest(&repository, "kept")).expect(200).body, content::bytes(&kept));
}

/// A cache as an image manifest, the default; and as an index whose children are blobs, as older ones write it.
#[test]
fn buildkit_exports_and_imports_its_cache() {
    let (buildkit, repository) = alice();
    let layers = [fresh_bytes(30_000), fresh_bytes(400)];
    let config = json!({"layers": [{"blob": sha256(&layers[0])}], "records": []});
    let config = content::bytes(&config);
    for bytes in layers.iter().chain([&config]) {
        buildkit.push_blob(&repository, bytes);
    }
    let cache_type = "application/vnd.buildkit.cacheconfig.v0";
    let image = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": content::descriptor(cache_type, &config),
        "layers": layers.iter().map(|layer| content::descriptor(OCI_LAYER, layer)).collect::<Vec<_>>(),
    });
    buildkit.put_manifest(&repository, "cache", &image).expect(201);
    for media_type in [OCI_INDEX, "application/vnd.docker.distribution.manifest.list.v2+json"] {
        let mut children: Vec<Value> =
            layers.iter().map(|layer| content::descriptor(OCI_LAYER, layer)).collect();
        children.push(content::descriptor(cache_type, &config));
        let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": children});
        buildkit.put_manifest(&repository, "cache-index", &index).expect(201);
        let pulled = buildkit.get(&manifest(&repository, "cache-index")).expect(200);
        assert_eq!(pulled.header("content-type"), Some(media_type));
        for entry in pulled.json()["manifests"].as_array().unwrap() {
            buildkit.get(&blob(&repository, entry["digest"].as_str().unwrap())).expect(200);
        }
    }
    // Only the index names them now, and it holds them.
    buildkit.delete(&manifest(&repository, &sha256(&content::bytes(&image)))).expect(202);
    for layer in &layers {
        buildkit.delete(&blob(&repository, &sha256(layer))).refuses(405, "UNSUPPORTED");
        assert!(buildkit.get(&blob(&repository, &sha256(layer))).expect(200).body == *layer);
    }
}

/// Attestations are children without a platform that name the image they are about.
#[test]
fn buildkit_pushes_attestations() {
    let (buildkit, repository) = alice();
    let image = buildkit.push_image(&repository, "image", 1);
    let statement = fresh_bytes(300);
    buildkit.push_blob(&repository, &statement);
    buildkit.push_blob(&repository, b"{}");
    let attestation = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": content::descriptor(content::OCI_CONFIG, b"{}"),
        "layers": [content::descriptor("application/vnd.in-toto+json", &statement)],
    });
    buildkit.put_manifest(&repository, &sha256(&content::bytes(&attestation)), &attestation).expect(201);
    let mut index = content::index(&[&image, &attestation]);
    index["manifests"][0]["platform"] = json!({"architecture": "amd64", "os": "linux"});
    index["manifests"][1]["platform"] = json!({"architecture": "unknown", "os": "unknown"});
    index["manifests"][1]["annotations"] = json!({
        "vnd.docker.reference.digest": sha256(&content::bytes(&image)),
        "vnd.docker.reference.type": "attestation-manifest",
    });
    buildkit.put_manifest(&repository, "latest", &index).expect(201);
    assert_eq!(buildkit.get(&manifest(&repository, "latest")).expect(200).body, content::bytes(&index));
}

/// A chart, its provenance, and a version whose `+` a tag cannot hold.
#[test]
fn helm_pushes_a_chart() {
    let (helm, repository) = alice();
    let (chart, provenance) = (fresh_bytes(9000), fresh_bytes(800));
    let config = br#"{"name":"app","version":"1.0.0+build.5","apiVersion":"v2"}"#;
    for bytes in [config.as_slice(), &chart, &provenance] {
        helm.push_blob(&repository, bytes);
    }
    let value = json!({
        "schemaVersion": 2,
        "config": content::descriptor("application/vnd.cncf.helm.config.v1+json", config),
        "layers": [
            content::descriptor("application/vnd.cncf.helm.chart.content.v1.tar+gzip", &chart),
            content::descriptor("application/vnd.cncf.helm.chart.provenance.v1.prov", &provenance),
        ],
        "annotations": {"org.opencontainers.image.title": "app", "org.opencontainers.image.version": "1.0.0+build.5"},
    });
    helm.put_manifest(&repository, "1.0.0_build.5", &value).expect(201);
    let list = helm.get(&format!("/v2/{repository}/tags/list")).expect(200).json();
    assert_eq!(list["tags"], json!(["1.0.0_build.5"]));
    let pulled = helm.get(&manifest(&repository, "1.0.0_build.5")).expect(200);
    assert_eq!(pulled.header("content-type"), Some(OCI_MANIFEST));
    assert_eq!(pulled.body, content::bytes(&value));
    helm.put_manifest(&repository, "1.0.0+build.5", &value).refuses(400, "TAG_INVALID");
}

/// Signatures under a tag made of the digest, and as referrers.
#[test]
fn cosign_and_notation_sign_and_verify() {
    let (cosign, repository) = alice();
    let image = cosign.push_image(&repository, "latest", 3);
    let digest = sha256(&content::bytes(&image));
    let payload = fresh_bytes(200);
    cosign.push_blob(&repository, &payload);
    cosign.push_blob(&repository, b"{}");
    let mut layer = content::descriptor("application/vnd.dev.cosign.simplesigning.v1+json", &payload);
    layer["annotations"] = json!({"dev.cosignproject.cosign/signature": "MEUCIQ=="});
    let signature = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": [layer],
        "config": content::descriptor(content::OCI_CONFIG, b"{}"),
    });
    for suffix in ["sig", "att", "sbom"] {
        let tag = format!("{}.{suffix}", digest.replace(':', "-"));
        cosign.head(&manifest(&repository, &tag)).expect(404);
        cosign.get(&manifest(&repository, &tag)).refuses(404, "MANIFEST_UNKNOWN");
        cosign.put_manifest(&repository, &tag, &signature).expect(201);
        cosign.head(&manifest(&repository, &tag)).expect(200);
        assert_eq!(cosign.get(&manifest(&repository, &tag)).expect(200).body, content::bytes(&signature));
    }
    for kind in ["application/vnd.dev.sigstore.bundle.v0.3+json", "application/vnd.cncf.notary.signature"] {
        let mut bundle = signature.clone();
        bundle["artifactType"] = json!(kind);
        bundle["config"] = content::descriptor(EMPTY, b"{}");
        bundle["subject"] = content::descriptor(OCI_MANIFEST, &content::bytes(&image));
        cosign.put_manifest(&repository, &sha256(&content::bytes(&bundle)), &bundle).expect(201);
        let target = format!("/v2/{repository}/referrers/{digest}?artifactType={}", kind.replace('+', "%2B"));
        let found = cosign.get(&target).expect(200).json();
        assert_eq!(found["manifests"].as_array().unwrap().len(), 1, "{kind}");
        assert_eq!(found["manifests"][0]["artifactType"], kind);
    }
}

/// Flux, Argo and the kubelet ask every minute whether a tag has moved.
#[test]
fn flux_argo_and_the_kubelet_poll() {
    let (client, repository) = alice();
    client.push_image(&repository, "latest", 1);
    let head = client.head(&manifest(&repository, "latest")).expect(200);
    let tag = head.header("etag").unwrap().to_owned();
    let poll = |client: &Client| {
        client.send("GET", &manifest(&repository, "latest"), &[("If-None-Match", &tag)], b"")
    };
    poll(&client).expect(304);
    let moved = client.push_image(&repository, "latest", 2);
    assert_eq!(poll(&client).expect(200).body, content::bytes(&moved));
    let digest = client.head(&manifest(&repository, "latest")).expect(200);
    assert_eq!(digest.header("docker-content-digest"), Some(sha256(&content::bytes(&moved)).as_str()));
}

/// Two bytes to learn the size, the table of contents at the end, then several parts or one.
#[test]
fn stargz_soci_and_nydus_pull_lazily() {
    let (client, repository) = alice();
    let layer = fresh_bytes(80_000);
    let target = blob(&repository, &client.push_blob(&repository, &layer));
    let get =
        |range: &str| client.send("GET", &target, &[("Range", range), ("Accept-Encoding", "identity")], b"");
    let size = get("bytes=0-1").expect(206);
    assert_eq!(size.header("content-range"), Some("bytes 0-1/80000"));
    assert_eq!(size.body, layer[..2]);
    let footer = get("bytes=79949-79999").expect(206);
    assert!(footer.body == layer[79_949..]);
    let parts = get("bytes=0-4095,40960-45055").expect(206);
    assert!(parts.header("content-type").unwrap().starts_with("multipart/byteranges"));
    assert!(get("bytes=40960-45055").expect(206).body == layer[40_960..45_056]);
}
