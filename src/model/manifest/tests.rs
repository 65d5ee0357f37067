use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::sha256(content).to_string(), "size": content.len()})
}

fn image() -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": media::OCI_MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", b"{}"),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", b"layer")],
    })
}

fn parse(value: &Value, content_type: Option<&str>) -> Result<Manifest> {
    Manifest::parse(value.to_string().as_bytes(), content_type, 8192)
}

fn refused(value: &Value, content_type: Option<&str>) -> String {
    let error = parse(value, content_type).unwrap_err();
    assert_eq!(error.kind(), crate::error::Kind::Invalid(What::Manifest));
    error.public().to_owned()
}

#[test]
fn an_image_names_its_config_and_layers() {
    let manifest =
        parse(&image(), Some("application/vnd.oci.image.manifest.v1+json; charset=utf-8")).unwrap();
    assert_eq!(manifest.media_type, media::OCI_MANIFEST);
    assert_eq!(manifest.links.len(), 2);
    assert_eq!(manifest.artifact_type.as_deref(), Some("application/vnd.oci.image.config.v1+json"));
}

#[test]
fn header_and_body_must_agree() {
    assert!(refused(&image(), Some(media::DOCKER_MANIFEST)).contains("mediaType"));
    assert!(parse(&image(), Some("application/json")).is_ok());
    let mut bare = image();
    bare.as_object_mut().unwrap().remove("mediaType");
    assert_eq!(parse(&bare, None).unwrap().media_type, media::OCI_MANIFEST);
    assert_eq!(parse(&bare, Some(media::DOCKER_MANIFEST)).unwrap().media_type, media::DOCKER_MANIFEST);
    refused(&json!({"schemaVersion": 2}), None);
    refused(&image(), Some("application/x\"y"));
}

#[test]
fn a_document_is_one_kind_of_thing() {
    let mut both = image();
    both["manifests"] = json!([]);
    refused(&both, None);
    refused(&json!({"schemaVersion": 2, "manifests": []}), Some(media::OCI_MANIFEST));
    refused(
        &json!({"schemaVersion": 2, "config": descriptor("a/b", b"x"), "layers": []}),
        Some(media::OCI_INDEX),
    );
    assert!(parse(&json!({"schemaVersion": 2, "manifests": []}), Some(media::OCI_INDEX)).is_ok());
}

#[test]
fn schema_1_is_refused_with_advice() {
    assert!(
        refused(&json!({"schemaVersion": 1, "fsLayers": []}), Some(media::DOCKER_SCHEMA1[1]))
            .contains("schema 1")
    );
    refused(&json!({"schemaVersion": 1, "mediaType": media::OCI_INDEX, "manifests": []}), None);
}

#[test]
fn the_last_of_repeated_keys_counts() {
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{}],"manifests":[]}}"#,
        media::OCI_INDEX,
        descriptor("a/b", b"x")
    );
    assert!(Manifest::parse(text.as_bytes(), None, 8192).unwrap().links.is_empty());
}

#[test]
fn embedded_data_must_match() {
    let mut good = image();
    good["config"]["data"] = json!("e30=");
    assert!(parse(&good, None).is_ok());
    good["config"]["data"] = json!("e31=");
    refused(&good, None);
    good["config"]["data"] = json!("not base64!");
    refused(&good, None);
}

#[test]
fn foreign_layers_are_not_asked_for() {
    let mut foreign = image();
    foreign["layers"][0]["urls"] = json!(["http://127.0.0.1:1/x"]);
    let manifest = parse(&foreign, None).unwrap();
    assert_eq!(manifest.links.iter().filter(|link| link.role == LinkRole::Foreign).count(), 1);
}

#[test]
fn bombs_and_lies_are_refused() {
    assert!(Manifest::parse("[".repeat(100_000).as_bytes(), None, 10).is_err());
    assert!(Manifest::parse("{\"a\":".repeat(100_000).as_bytes(), None, 10).is_err());
    let many: Vec<_> = (0..11).map(|n| descriptor("a/b", &[n])).collect();
    let index = json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": many});
    assert!(Manifest::parse(index.to_string().as_bytes(), None, 10).is_err());
    assert!(Manifest::parse(index.to_string().as_bytes(), None, 11).is_ok());
    let mut two_sizes = image();
    two_sizes["layers"] = json!([descriptor("a/b", b"x"), descriptor("a/b", b"x")]);
    assert_eq!(parse(&two_sizes, None).unwrap().links.len(), 2);
    two_sizes["layers"][0]["size"] = json!(7);
    refused(&two_sizes, None);
    for (pointer, value) in [
        ("/layers/0/size", json!(-1)),
        ("/layers/0/size", json!("5")),
        ("/layers/0/digest", json!("sha256:abc")),
        ("/layers/0/digest", json!("md5:d41d8cd98f00b204e9800998ecf8427e")),
        ("/layers", json!({})),
        ("/config", json!(null)),
        ("/schemaVersion", json!("2")),
    ] {
        let mut bad = image();
        *bad.pointer_mut(pointer).unwrap() = value;
        refused(&bad, None);
    }
}

proptest! {
    #[test]
    fn nothing_panics(bytes: Vec<u8>, content_type: Option<String>) {
        let _ = Manifest::parse(&bytes, content_type.as_deref(), 8192);
    }
}
