//! The kinds of content that the conformance suite pushes, each the way it does: blobs; manifests by digest, then by tag;
//! list, HEAD, GET, referrers; then tags, manifests from the outermost inward, and blobs are deleted, each gone at once.

use serde_json::{Value, json};

use super::{DAEMON, blob, fresh_bytes, manifest};
use crate::support::{
    Client, Shared,
    content::{self, OCI_INDEX, OCI_MANIFEST, sha256, sha512},
};

/// The suite's own configuration: anything may be missing.
static SPARSE: Shared = Shared::new(&[("PACKHOUSE_OCI_SPARSE", "all")]);

const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const EXAMPLE: &str = "application/vnd.example.oci.conformance";

/// A thing to be pushed: its blobs, its manifests from the innermost outward, and the tags of some of them.
#[derive(Default)]
struct Kind {
    blobs: Vec<Vec<u8>>,
    manifests: Vec<Value>,
    tags: Vec<(&'static str, usize)>,
    sha512: bool,
    tag_parameters: bool,
}

impl Kind {
    fn digest(&self, bytes: &[u8]) -> String {
        if self.sha512 { sha512(bytes) } else { sha256(bytes) }
    }

    fn descriptor(&self, media_type: &str, bytes: &[u8]) -> Value {
        json!({"mediaType": media_type, "digest": self.digest(bytes), "size": bytes.len()})
    }

    fn blob(&mut self, media_type: &str, bytes: Vec<u8>) -> Value {
        let descriptor = self.descriptor(media_type, &bytes);
        self.blobs.push(bytes);
        descriptor
    }

    /// Adds a manifest; says its descriptor.
    fn add(&mut self, value: Value) -> Value {
        let media_type = value["mediaType"].as_str().unwrap().to_owned();
        let descriptor = self.descriptor(&media_type, &content::bytes(&value));
        self.manifests.push(value);
        descriptor
    }

    /// Adds an image of so many layers, with further fields.
    fn image(&mut self, layers: usize, more: Value) -> Value {
        let config = json!({"architecture": "amd64", "os": "linux", "number": DAEMON.number()});
        let config = self.blob(content::OCI_CONFIG, content::bytes(&config));
        let layers: Vec<Value> =
            (0..layers).map(|_| self.blob(content::OCI_LAYER, fresh_bytes(700))).collect();
        self.add(merged(
            json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers}),
            more,
        ))
    }

    fn artifact(&mut self, artifact_type: &str, more: Value) -> Value {
        let config = self.blob(EMPTY, b"{}".to_vec());
        let layer = self.blob(artifact_type, fresh_bytes(50));
        let value = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": artifact_type, "config": config,
            "layers": [layer],
        });
        self.add(merged(value, more))
    }

    fn index(&mut self, children: Vec<Value>, more: Value) -> Value {
        let number = DAEMON.number().to_string();
        let value = json!({
            "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children, "annotations": {"number": number},
        });
        self.add(merged(value, more))
    }

    fn tag(&mut self, tag: &'static str) {
        self.tags.push((tag, self.manifests.len() - 1));
    }
}

fn merged(mut value: Value, more: Value) -> Value {
    for (name, field) in more.as_object().into_iter().flatten() {
        value[name] = field.clone();
    }
    value
}

/// Pushes, lists, reads and deletes a kind in a repository of its own.
#[track_caller]
fn goes_round(daemon: &'static Shared, kind: &Kind) {
    let client = daemon.signed_in("alice");
    let repository = daemon.repository("alice");
    for bytes in &kind.blobs {
        let place = super::and(&client.begin(&repository), &format!("digest={}", kind.digest(bytes)));
        client.put(&place, bytes).expect(201);
    }
    push_manifests(&client, &repository, kind);
    read_back(&client, &repository, kind);
    referrers_are_listed(&client, &repository, kind);
    delete(&client, &repository, kind);
}

fn push_manifests(client: &Client, repository: &str, kind: &Kind) {
    for (index, value) in kind.manifests.iter().enumerate() {
        let digest = kind.digest(&content::bytes(value));
        let tags: Vec<&str> = kind.tags.iter().filter(|(_, of)| *of == index).map(|(tag, _)| *tag).collect();
        let query: Vec<String> = tags.iter().map(|tag| format!("tag={tag}")).collect();
        let query = if kind.tag_parameters { format!("?{}", query.join("&")) } else { String::new() };
        let stored = client.put_manifest(repository, &format!("{digest}{query}"), value).expect(201);
        assert_eq!(stored.header("docker-content-digest"), Some(digest.as_str()));
        let subject = value["subject"]["digest"].as_str();
        assert_eq!(stored.header("oci-subject"), subject, "by digest");
        if kind.tag_parameters {
            let named: Vec<&str> =
                stored.header("oci-tag").unwrap_or_default().split(',').map(str::trim).collect();
            assert!(tags.iter().all(|tag| named.contains(tag)), "{named:?} names {tags:?}");
            continue;
        }
        for tag in tags {
            let stored = client.put_manifest(repository, tag, value).expect(201);
            assert_eq!(stored.header("oci-subject"), subject, "by tag");
            assert_eq!(super::location(&stored), manifest(repository, &digest));
        }
    }
}

fn read_back(client: &Client, repository: &str, kind: &Kind) {
    let list = client.get(&format!("/v2/{repository}/tags/list")).expect(200).json();
    let mut expected: Vec<&str> = kind.tags.iter().map(|(tag, _)| *tag).collect();
    expected.sort_unstable();
    assert_eq!(list, json!({"name": repository, "tags": expected}));
    let references = kind.manifests.iter().enumerate().flat_map(|(index, value)| {
        let digest = kind.digest(&content::bytes(value));
        let tags = kind.tags.iter().filter(move |(_, of)| *of == index).map(|(tag, _)| (*tag).to_owned());
        tags.chain([digest]).map(move |reference| (reference, value))
    });
    for (reference, value) in references {
        let bytes = content::bytes(value);
        let target = manifest(repository, &reference);
        for answer in [client.head(&target).expect(200), client.get(&target).expect(200)] {
            assert_eq!(
                answer.header("content-type"),
                value["mediaType"].as_str(),
                "exactly, without parameters"
            );
            assert_eq!(answer.header("docker-content-digest"), Some(kind.digest(&bytes).as_str()));
            assert_eq!(answer.header("content-length"), Some(bytes.len().to_string().as_str()));
            assert!(answer.body.is_empty() || answer.body == bytes);
        }
    }
    for bytes in &kind.blobs {
        assert!(client.get(&blob(repository, &kind.digest(bytes))).expect(200).body == *bytes);
    }
}

fn referrers_are_listed(client: &Client, repository: &str, kind: &Kind) {
    for value in kind.manifests.iter().filter(|value| value["subject"].is_object()) {
        let subject = value["subject"]["digest"].as_str().unwrap();
        let own = value["artifactType"].as_str().or_else(|| value["config"]["mediaType"].as_str());
        let listed = client.get(&format!("/v2/{repository}/referrers/{subject}")).expect(200).json();
        let digest = kind.digest(&content::bytes(value));
        let found =
            listed["manifests"].as_array().unwrap().iter().find(|entry| entry["digest"] == digest.as_str());
        let found = found.unwrap_or_else(|| panic!("{digest} is listed: {listed}"));
        assert_eq!(found["mediaType"], value["mediaType"]);
        assert_eq!(found["size"], content::bytes(value).len());
        assert_eq!(found["artifactType"].as_str(), own);
        assert_eq!(found["annotations"], value["annotations"]);
    }
}

fn delete(client: &Client, repository: &str, kind: &Kind) {
    for (tag, _) in &kind.tags {
        client.delete(&manifest(repository, tag)).expect(202);
        client.head(&manifest(repository, tag)).expect(404);
    }
    for value in kind.manifests.iter().rev() {
        let target = manifest(repository, &kind.digest(&content::bytes(value)));
        client.delete(&target).expect(202);
        client.head(&target).expect(404);
    }
    let mut blobs = kind.blobs.clone();
    blobs.sort();
    blobs.dedup();
    for bytes in blobs {
        let target = blob(repository, &kind.digest(&bytes));
        client.delete(&target).expect(202);
        client.head(&target).expect(404);
    }
}

#[test]
fn an_image_and_one_without_layers() {
    let mut kind = Kind::default();
    kind.image(2, json!({}));
    kind.tag("image");
    kind.image(0, json!({}));
    kind.tag("no-layers");
    goes_round(&DAEMON, &kind);
}

#[test]
fn an_image_with_a_large_manifest() {
    let annotations: serde_json::Map<String, Value> =
        (0..390).map(|index| (format!("large-annotation-{index}"), json!("A".repeat(10_000)))).collect();
    let mut kind = Kind::default();
    kind.image(1, json!({"annotations": annotations}));
    kind.tag("large-manifest");
    goes_round(&DAEMON, &kind);
}

#[test]
fn an_index_a_nested_one_and_an_empty_one() {
    let mut kind = Kind::default();
    let mut indexes = Vec::new();
    for _ in 0..2 {
        let children = vec![kind.image(1, json!({})), kind.image(1, json!({}))];
        indexes.push(kind.index(children, json!({})));
    }
    kind.tag("index");
    kind.index(indexes, json!({}));
    kind.tag("index-of-index");
    kind.index(vec![], json!({}));
    kind.tag("empty-index");
    goes_round(&DAEMON, &kind);
}

#[test]
fn artifacts_and_an_index_of_them() {
    let mut kind = Kind::default();
    let children = vec![kind.artifact(EXAMPLE, json!({})), kind.artifact(EXAMPLE, json!({}))];
    kind.tag("artifact");
    kind.index(children, json!({"artifactType": EXAMPLE}));
    kind.tag("artifact-index");
    let config = kind.blob(EMPTY, b"{}".to_vec());
    kind.add(json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": EXAMPLE, "config": config, "layers": [config],
    }));
    kind.tag("artifact-without-layers");
    goes_round(&DAEMON, &kind);
}

#[test]
fn artifacts_with_a_subject() {
    let mut kind = Kind::default();
    let subject = kind.image(1, json!({}));
    kind.tag("image");
    kind.image(1, json!({"subject": subject}));
    for (tag, artifact_type) in
        [("tagged-artifact1", EXAMPLE), ("tagged-artifact2", "application/vnd.example.two")]
    {
        kind.artifact(artifact_type, json!({"subject": subject, "annotations": {"for": tag}}));
        kind.tag(tag);
    }
    let subject = kind.index(vec![subject], json!({}));
    kind.index(vec![], json!({"artifactType": EXAMPLE, "subject": subject, "annotations": {"for": "index"}}));
    kind.tag("tagged-index");
    goes_round(&DAEMON, &kind);
}

#[test]
fn an_artifact_whose_subject_is_missing() {
    let mut kind = Kind::default();
    let subject = json!({"mediaType": OCI_MANIFEST, "digest": sha256(&fresh_bytes(9)), "size": 123});
    kind.artifact(EXAMPLE, json!({"subject": subject}));
    kind.tag("tagged-artifact");
    goes_round(&DAEMON, &kind);
}

#[test]
fn descriptors_that_carry_their_data_and_unknown_fields() {
    let mut kind = Kind::default();
    let mut config = kind.blob(EMPTY, b"{}".to_vec());
    config["data"] = json!("e30=");
    config["org.example.unknown"] = json!({"x": [1]});
    let value = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [config],
        "org.example.unknown": DAEMON.number().to_string(),
    });
    let child = kind.add(value);
    kind.tag("data-field");
    kind.index(vec![child], json!({"org.example.unknown": "here too"}));
    kind.tag("custom-fields");
    goes_round(&DAEMON, &kind);
}

#[test]
fn layers_that_need_not_be_pushed() {
    let mut kind = Kind::default();
    let layer = kind.blob(content::OCI_LAYER, fresh_bytes(100));
    let foreign = |kind: &str| {
        let digest = sha256(&fresh_bytes(9));
        let url = format!("https://store.example.com/blobs/{digest}");
        json!({"mediaType": kind, "digest": digest, "size": 123_456, "urls": [url]})
    };
    let layers = json!([
        foreign("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"),
        foreign("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
        layer
    ]);
    kind.image(0, json!({"layers": layers}));
    kind.tag("non-distributable-image");
    goes_round(&DAEMON, &kind);
}

#[test]
fn everything_by_sha512() {
    let mut kind = Kind { sha512: true, ..Kind::default() };
    let children = vec![kind.image(1, json!({})), kind.image(1, json!({}))];
    kind.index(children, json!({}));
    goes_round(&DAEMON, &kind);
}

#[test]
fn tags_as_parameters_of_both_algorithms() {
    for sha512 in [false, true] {
        let mut kind = Kind { sha512, tag_parameters: true, ..Kind::default() };
        let child = kind.image(1, json!({}));
        kind.tag("child");
        kind.index(vec![child], json!({}));
        kind.tag("index");
        kind.tag("index-again");
        goes_round(&DAEMON, &kind);
    }
}

#[test]
fn sparse_images_and_indexes_where_all_may_be_missing() {
    let absent = |media_type: &str, size: usize| json!({"mediaType": media_type, "digest": sha256(&fresh_bytes(size)), "size": size});
    let mut kind = Kind::default();
    let layer = kind.blob(content::OCI_LAYER, fresh_bytes(100));
    let child = kind.image(0, json!({"layers": [absent(content::OCI_LAYER, 500), layer]}));
    kind.tag("sparse-image");
    kind.index(vec![child, absent(OCI_MANIFEST, 1024)], json!({}));
    kind.tag("sparse-index");
    goes_round(&SPARSE, &kind);
}
