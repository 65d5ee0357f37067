//! Manifests: what is stored, what is refused.

use serde_json::{Value, json};

use super::{alice, fresh_bytes, manifest};
use crate::support::{
    Client, Response,
    content::{self, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, sha256, sha512},
};

const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

#[track_caller]
fn put(client: &Client, target: &str, media_type: &str, bytes: &[u8]) -> Response {
    client.send("PUT", target, &[("Content-Type", media_type)], bytes)
}

/// A repository that holds one blob, `{}`, and the text of an image over it.
fn with_blob() -> (Client, String, String) {
    let (client, repository) = alice();
    client.push_blob(&repository, b"{}");
    let config = format!("{{\"mediaType\":\"{OCI_CONFIG}\",\"digest\":\"{}\",\"size\":2}}", sha256(b"{}"));
    (client, repository, config)
}

#[track_caller]
fn round_trip(client: &Client, repository: &str, media_type: &str, bytes: &[u8]) {
    let stored = put(client, &manifest(repository, "bytes"), media_type, bytes).expect(201);
    let digest = sha256(bytes);
    assert_eq!(stored.header("docker-content-digest"), Some(digest.as_str()));
    assert_eq!(stored.header("location"), Some(manifest(repository, &digest).as_str()));
    for reference in ["bytes", &digest] {
        let answer = client.get(&manifest(repository, reference)).expect(200);
        assert!(answer.body == bytes, "bit for bit");
        assert_eq!(answer.header("content-type"), Some(media_type));
        assert_eq!(answer.header("content-length"), Some(bytes.len().to_string().as_str()));
        assert_eq!(answer.header("docker-content-digest"), Some(digest.as_str()));
    }
    put(client, &manifest(repository, &digest), media_type, bytes).expect(201);
}

#[test]
fn b07_the_bytes_of_a_manifest_are_kept_bit_for_bit() {
    let (client, repository, config) = with_blob();
    let body =
        format!("\"schemaVersion\":2,\"mediaType\":\"{OCI_MANIFEST}\",\"config\":{config},\"layers\":[]");
    for bytes in [
        format!("{{{body}}}"),
        format!("\n\t {{{body}}} \r\n\n"),
        format!("{{ {}\n}}   ", body.replace(',', " ,\n  ")),
        format!("{{{body},\"unknown\":{{\"deep\":[1,2.50,1e3,\"\\u00e9é\\/\",null]}},\"z\":-0.0}}"),
        format!("{{\"layers\":[1],{body}}}"),
        format!("{{\"unknown\":1,\"unknown\":2,{body}}}"),
        format!("{{{body},\"annotations\":{{\"a\":\"x\\r\\nX-Injected: 1\",\"b\":\"\\u0000\"}}}}"),
    ] {
        round_trip(&client, &repository, OCI_MANIFEST, bytes.as_bytes());
    }
}

#[test]
fn b07_a_manifest_of_four_megabytes_is_kept() {
    let (client, repository, config) = with_blob();
    let head =
        format!("{{\"schemaVersion\":2,\"mediaType\":\"{OCI_MANIFEST}\",\"config\":{config},\"layers\":[]");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(b",\"annotations\":{\"large\":\"");
    bytes.resize((4 << 20) - 3, b'A');
    bytes.extend_from_slice(b"\"}}");
    assert_eq!(bytes.len(), 4 << 20);
    round_trip(&client, &repository, OCI_MANIFEST, &bytes);
    bytes.push(b' ');
    put(&client, &manifest(&repository, "over"), OCI_MANIFEST, &bytes).refuses(413, "MANIFEST_INVALID");
}

#[test]
fn b08_the_content_type_is_given_back_without_parameters() {
    let (client, repository, _) = with_blob();
    let bytes = content::bytes(&content::image(b"{}", &[]));
    for sent in ["; charset=utf-8", ";charset=utf-8; x=y", " ; q=1"] {
        put(&client, &manifest(&repository, "typed"), &format!("{OCI_MANIFEST}{sent}"), &bytes).expect(201);
        let answer = client.get(&manifest(&repository, "typed")).expect(200);
        assert_eq!(answer.header("content-type"), Some(OCI_MANIFEST));
    }
}

#[test]
fn b08_header_and_body_must_agree_on_the_media_type() {
    let (client, repository, _) = with_blob();
    let bytes = content::bytes(&content::image(b"{}", &[]));
    for other in [OCI_INDEX, DOCKER_MANIFEST, "application/vnd.example+json"] {
        put(&client, &manifest(&repository, "typed"), other, &bytes).refuses(400, "MANIFEST_INVALID");
    }
    client.get(&manifest(&repository, "typed")).refuses(404, "MANIFEST_UNKNOWN");
    client.get(&manifest(&repository, &sha256(&bytes))).refuses(404, "MANIFEST_UNKNOWN");
}

#[test]
fn b08_one_of_header_and_body_is_enough() {
    let (client, repository, _) = with_blob();
    let typed = content::image(b"{}", &[]);
    let mut untyped = typed.clone();
    untyped.as_object_mut().unwrap().remove("mediaType");
    put(&client, &manifest(&repository, "header"), OCI_MANIFEST, &content::bytes(&untyped)).expect(201);
    client.put(&manifest(&repository, "body"), &content::bytes(&typed)).expect(201);
    for tag in ["header", "body"] {
        let answer = client.get(&manifest(&repository, tag)).expect(200);
        assert_eq!(answer.header("content-type"), Some(OCI_MANIFEST), "{tag}");
    }
    // Neither: an index or an image shows by its fields; anything else does not.
    let index = json!({"schemaVersion": 2, "manifests": []});
    let answer = client.put(&manifest(&repository, "neither"), &content::bytes(&index));
    if answer.status == 201 {
        let answer = client.get(&manifest(&repository, "neither")).expect(200);
        assert_eq!(answer.header("content-type"), Some(OCI_INDEX));
    } else {
        answer.refuses(400, "MANIFEST_INVALID");
    }
    client.put(&manifest(&repository, "nothing"), b"{}").refuses(400, "MANIFEST_INVALID");
}

/// The same digest must not read as two kinds of thing to two clients (T005).
#[test]
fn b08_a_digest_keeps_the_type_it_was_first_stored_under() {
    let (client, repository, _) = with_blob();
    let mut value = content::image(b"{}", &[]);
    value.as_object_mut().unwrap().remove("mediaType");
    let bytes = content::bytes(&value);
    put(&client, &manifest(&repository, "first"), OCI_MANIFEST, &bytes).expect(201);
    put(&client, &manifest(&repository, "second"), DOCKER_MANIFEST, &bytes).refuses(400, "MANIFEST_INVALID");
    client.get(&manifest(&repository, "second")).refuses(404, "MANIFEST_UNKNOWN");
    let answer = client.get(&manifest(&repository, &sha256(&bytes))).expect(200);
    assert_eq!(answer.header("content-type"), Some(OCI_MANIFEST));
}

#[test]
fn b09_schema_1_is_refused_with_advice() {
    let (client, repository, _) = with_blob();
    let bytes = br#"{"schemaVersion":1,"name":"a/b","tag":"c","architecture":"amd64","fsLayers":[],"history":[],"signatures":[]}"#;
    for kind in ["v1+json", "v1+prettyjws"] {
        let media_type = format!("application/vnd.docker.distribution.manifest.{kind}");
        let answer =
            put(&client, &manifest(&repository, "old"), &media_type, bytes).refuses(400, "MANIFEST_INVALID");
        assert!(answer.text().contains("schema 2"), "it says what to do: {}", answer.text());
    }
    put(&client, &manifest(&repository, "old"), "application/json", bytes).refuses(400, "MANIFEST_INVALID");
}

#[test]
fn b09_schema_2_lists_and_artifacts_of_any_type_are_taken_as_they_are() {
    let (client, repository, _) = with_blob();
    let layer = fresh_bytes(300);
    client.push_blob(&repository, &layer);
    let docker = json!({
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": content::descriptor("application/vnd.docker.container.image.v1+json", b"{}"),
        "layers": [content::descriptor("application/vnd.docker.image.rootfs.diff.tar.gzip", &layer)],
    });
    let child = content::descriptor(DOCKER_MANIFEST, &content::bytes(&docker));
    let list = "application/vnd.docker.distribution.manifest.list.v2+json";
    let oras = "application/vnd.oci.artifact.manifest.v1+json";
    for value in [
        docker,
        json!({"schemaVersion": 2, "mediaType": list, "manifests": [child]}),
        json!({"mediaType": oras, "artifactType": "a/b", "blobs": [content::descriptor("x/y", &layer)]}),
        json!({"schemaVersion": 2, "mediaType": "application/vnd.example.thing+json", "anything": [1, 2]}),
    ] {
        round_trip(&client, &repository, value["mediaType"].as_str().unwrap(), &content::bytes(&value));
    }
}

/// Documents that two clients may read as two things (CVE-2021-41190), or that nobody can read.
#[test]
fn b09_ambiguous_and_malformed_manifests_are_refused_and_leave_nothing() {
    let (client, repository, _) = with_blob();
    let config = content::descriptor(OCI_CONFIG, b"{}");
    let documents: Vec<(&str, Value)> = vec![
        (OCI_MANIFEST, json!({"schemaVersion": 2, "config": config, "layers": [], "manifests": []})),
        (OCI_INDEX, json!({"schemaVersion": 2, "manifests": [], "layers": []})),
        (OCI_INDEX, json!({"schemaVersion": 2, "manifests": [], "config": config})),
        (OCI_INDEX, json!({"schemaVersion": 2, "config": config, "layers": []})),
        (OCI_MANIFEST, json!({"schemaVersion": 2, "manifests": []})),
        (OCI_MANIFEST, json!({"schemaVersion": 2, "layers": []})),
        (OCI_MANIFEST, json!({"schemaVersion": 1, "config": config, "layers": []})),
        (OCI_MANIFEST, json!({"schemaVersion": "2", "config": config, "layers": []})),
        (OCI_MANIFEST, json!({"config": config, "layers": []})),
        (OCI_MANIFEST, json!({"schemaVersion": 2, "config": config, "layers": {}})),
        (OCI_MANIFEST, json!({"schemaVersion": 2, "config": "sha256:x", "layers": []})),
        (OCI_MANIFEST, json!({"schemaVersion": 2, "config": {"mediaType": "a/b", "size": 2}, "layers": []})),
        (OCI_MANIFEST, json!({"schemaVersion": 2, "config": {"mediaType": "a/b", "digest": "x", "size": 2}})),
        (OCI_MANIFEST, json!({"schemaVersion": 2, "config": config, "annotations": {"a": 1}})),
        (OCI_INDEX, json!({"schemaVersion": 2, "manifests": null})),
        (OCI_INDEX, json!({"schemaVersion": 2, "manifests": [], "subject": "sha256:x"})),
        (OCI_MANIFEST, json!([])),
        (OCI_MANIFEST, json!("text")),
        (OCI_MANIFEST, json!(null)),
    ];
    for (media_type, document) in documents {
        let bytes = content::bytes(&document);
        let answer = put(&client, &manifest(&repository, "bad"), media_type, &bytes);
        assert_eq!((answer.status, answer.code().as_str()), (400, "MANIFEST_INVALID"), "{document}");
        client.get(&manifest(&repository, &sha256(&bytes))).refuses(404, "MANIFEST_UNKNOWN");
    }
    for bytes in [b"".as_slice(), b"{", b"{}{}", b"\xef\xbb\xbf{}", b"{\"a\":\xff}", b"\0", b"not json"] {
        put(&client, &manifest(&repository, "bad"), OCI_MANIFEST, bytes).refuses(400, "MANIFEST_INVALID");
    }
    client.get(&manifest(&repository, "bad")).refuses(404, "MANIFEST_UNKNOWN");
}

#[test]
fn b09_a_media_type_that_no_header_could_carry_is_refused() {
    let (client, repository, _) = with_blob();
    for media_type in
        ["no-slash", "a/b c", "a/\u{e9}", "a/b\r\nX-Injected: 1", &format!("a/{}", "b".repeat(300))]
    {
        let document = json!({"schemaVersion": 2, "mediaType": media_type});
        let answer = client.put(&manifest(&repository, "typed"), &content::bytes(&document));
        assert_eq!((answer.status, answer.code().as_str()), (400, "MANIFEST_INVALID"), "{media_type:?}");
    }
}

#[test]
fn b10_nesting_is_bounded() {
    let (client, repository, config) = with_blob();
    for depth in [200, 100_000] {
        let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let bytes = format!("{{\"schemaVersion\":2,\"config\":{config},\"layers\":[],\"x\":{deep}}}");
        let answer = put(&client, &manifest(&repository, "deep"), OCI_MANIFEST, bytes.as_bytes());
        answer.refuses(400, "MANIFEST_INVALID");
    }
    let wide = format!("[{}]", vec!["{}"; 300_000].join(","));
    let bytes = format!("{{\"schemaVersion\":2,\"config\":{config},\"layers\":{wide}}}");
    put(&client, &manifest(&repository, "wide"), OCI_MANIFEST, bytes.as_bytes())
        .refuses(400, "MANIFEST_INVALID");
}

#[test]
fn b14_what_a_client_accepts_never_changes_what_it_gets() {
    let (client, repository) = alice();
    let image = client.push_image(&repository, "image", 14);
    let index = content::index(&[&image]);
    client.put_manifest(&repository, "index", &index).expect(201);
    let list = "application/vnd.docker.distribution.manifest.list.v2+json";
    let several = format!("{DOCKER_MANIFEST}, {list}, */*;q=0.1");
    for (tag, value) in [("image", &image), ("index", &index)] {
        let media_type = value["mediaType"].as_str().unwrap();
        for accept in [
            "",
            "*/*",
            "application/*",
            "application/json",
            "text/html",
            DOCKER_MANIFEST,
            media_type,
            &several,
        ] {
            let answer =
                client.send("GET", &manifest(&repository, tag), &[("Accept", accept)], b"").expect(200);
            assert_eq!(answer.header("content-type"), Some(media_type), "{accept}");
            assert!(answer.body == content::bytes(value));
            let head =
                client.send("HEAD", &manifest(&repository, tag), &[("Accept", accept)], b"").expect(200);
            assert_eq!(head.header("docker-content-digest"), answer.header("docker-content-digest"));
        }
    }
}

/// A descriptor may carry its bytes; they must be what it names (T023).
#[test]
fn embedded_data_must_be_what_its_digest_says() {
    let (client, repository, _) = with_blob();
    let mut value = content::image(b"{}", &[]);
    value["config"]["data"] = json!("e30=");
    client.put_manifest(&repository, "data", &value).expect(201);
    for data in ["e30", "e31=", "", "!!!", "e30K"] {
        value["config"]["data"] = json!(data);
        client.put_manifest(&repository, "lie", &value).refuses(400, "MANIFEST_INVALID");
    }
}

#[test]
fn a_descriptor_must_say_the_true_size() {
    let (client, repository, _) = with_blob();
    let layer = fresh_bytes(100);
    client.push_blob(&repository, &layer);
    let mut value = content::image(b"{}", &[&layer]);
    for size in [json!(99), json!(101), json!(0), json!(-1), json!(1.5), json!(null), json!(u64::MAX)] {
        value["layers"][0]["size"] = size;
        client.put_manifest(&repository, "lie", &value).refuses(400, "MANIFEST_INVALID");
    }
    // Twice, with two sizes: one of them lies.
    let truth = content::descriptor(OCI_LAYER, &layer);
    let mut lie = truth.clone();
    lie["size"] = json!(7);
    value["layers"] = json!([truth, lie]);
    client.put_manifest(&repository, "lie", &value).refuses(400, "MANIFEST_INVALID");
    value["layers"] = json!([truth, truth]);
    client.put_manifest(&repository, "truth", &value).expect(201);
}

#[test]
fn a_body_that_is_not_what_its_digest_says_is_refused() {
    let (client, repository, _) = with_blob();
    let bytes = content::bytes(&content::image(b"{}", &[]));
    let spaced = [bytes.as_slice(), b"  "].concat();
    for digest in [sha256(&bytes), sha512(&bytes)] {
        put(&client, &manifest(&repository, &digest), OCI_MANIFEST, &spaced).refuses(400, "DIGEST_INVALID");
        client.get(&manifest(&repository, &digest)).refuses(404, "MANIFEST_UNKNOWN");
    }
    let malformed = manifest(&repository, "sha256:baddigeststring");
    put(&client, &malformed, OCI_MANIFEST, &bytes).refuses(400, "DIGEST_INVALID");
    client.get(&malformed).refuses(400, "DIGEST_INVALID");
}

/// Layers with addresses of their own are never fetched by the server (T022).
#[test]
fn the_addresses_of_foreign_layers_are_not_followed() {
    let (client, repository, _) = with_blob();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let mut value = content::image(b"{}", &[]);
    value["layers"] = json!([{
        "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "digest": sha256(&fresh_bytes(10)),
        "size": 123_456,
        "urls": [format!("http://{}/layer", listener.local_addr().unwrap())],
    }]);
    client.put_manifest(&repository, "foreign", &value).expect(201);
    client.get(&manifest(&repository, "foreign")).expect(200);
    let layer = value["layers"][0]["digest"].as_str().unwrap();
    client.get(&super::blob(&repository, layer)).refuses(404, "BLOB_UNKNOWN");
    assert!(listener.accept().is_err(), "nobody came");
}
