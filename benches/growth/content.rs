//! What the store is filled with: everything follows from a repository's number, so nothing need be remembered.
//!
//! A repository holds 100 manifests: 60 images, 30 indexes of two images each, 10 signatures and SBOMs of indexes. An
//! image has a configuration of its own (1.5 kB), four layers of one of 64 base images that everybody shares, one layer
//! shared with nine images of its repository, and one of its own. Layers are small here: the bytes of large ones lie in
//! files, and the metadata never sees them. All images and indexes are tagged: 90 tags.

use bytes::Bytes;
use packhouse::model::Digest;
use serde_json::{Value, json};

/// Manifests of a repository.
pub const MANIFESTS: u64 = 100;
/// Images of a repository.
pub const IMAGES: u64 = 60;
/// Indexes of a repository.
pub const INDEXES: u64 = 30;
/// Referrers of a repository.
pub const REFERRERS: u64 = 10;
/// Base images, each a repository of `base`.
pub const BASES: u64 = 64;
/// Layers of a base image.
pub const BASE_LAYERS: u64 = 4;
/// Images of a repository that share a layer.
const SHARING: u64 = 10;
/// Repositories of one owner.
pub const PER_OWNER: u64 = 10;

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// The owner of a repository.
pub fn owner(repository: u64) -> String {
    format!("team{:05}", repository / PER_OWNER)
}

/// The user who owns that organization.
pub fn user(repository: u64) -> String {
    format!("dev{:05}", repository / PER_OWNER)
}

/// A repository's name.
pub fn repository(number: u64) -> String {
    format!("{}/service{number:06}", owner(number))
}

/// The base image a repository builds on.
pub fn base_of(repository: u64) -> u64 {
    repository % BASES
}

/// One owner's repositories of so many owners' are public: lists have far more to leave out than to show.
pub const PUBLIC_EVERY: u64 = 16;

/// Whether everybody may read a repository.
pub fn is_public(repository: u64) -> bool {
    (repository / PER_OWNER).is_multiple_of(PUBLIC_EVERY)
}

/// A base image's repository.
pub fn base(number: u64) -> String {
    format!("base/os{number:02}")
}

/// Bytes that look random and follow from a seed.
fn noise(seed: u64, length: usize) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = String::with_capacity(length + 16);
    while text.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push_str(&format!("{state:016x}"));
    }
    text.truncate(length);
    text
}

/// A layer of a base image.
pub fn base_layer(base: u64, number: u64) -> Bytes {
    format!("base {base} {number} {}", noise(base * 64 + number, 24)).into()
}

/// A layer that ten images of a repository share.
pub fn shared_layer(repository: u64, image: u64) -> Bytes {
    format!("shared {repository} {}", image / SHARING).into()
}

/// Whether an image is the first that has its shared layer.
pub fn brings_shared(image: u64) -> bool {
    image.is_multiple_of(SHARING)
}

/// The layer of one image.
pub fn own_layer(repository: u64, image: u64) -> Bytes {
    format!("own {repository} {image}").into()
}

/// The configuration of one image.
pub fn config(repository: u64, image: u64) -> Bytes {
    let history: Vec<Value> = (0..6)
        .map(|step| {
            let digest = noise(repository << 20 | image << 8 | step, 64);
            json!({"created": "2026-01-01T00:00:00Z", "created_by": format!("COPY {digest} /app")})
        })
        .collect();
    let os = if image.is_multiple_of(2) { "amd64" } else { "arm64" };
    let json = json!({
        "architecture": os,
        "os": "linux",
        "config": {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"], "Entrypoint": ["/app/service"], "User": "1000"},
        "rootfs": {"type": "layers", "diff_ids": (0..6).map(|n| noise(repository << 24 | image << 8 | n, 64)).collect::<Vec<_>>()},
        "history": history,
    });
    Bytes::from(json.to_string())
}

/// An SBOM or a signature.
pub fn evidence(repository: u64, number: u64) -> Bytes {
    noise(u64::MAX - (repository << 8 | number), 120).into()
}

/// The configuration of what has none.
pub fn empty() -> Bytes {
    Bytes::from_static(b"{}")
}

fn descriptor(media_type: &str, bytes: &Bytes) -> Value {
    json!({"mediaType": media_type, "digest": Digest::sha256(bytes).to_string(), "size": bytes.len()})
}

/// An image's manifest.
pub fn image(repository: u64, number: u64) -> Bytes {
    let base = base_of(repository);
    let mut layers: Vec<Value> =
        (0..BASE_LAYERS).map(|layer| descriptor(LAYER, &base_layer(base, layer))).collect();
    layers.push(descriptor(LAYER, &shared_layer(repository, number)));
    layers.push(descriptor(LAYER, &own_layer(repository, number)));
    let json = json!({
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "config": descriptor(CONFIG, &config(repository, number)),
        "layers": layers,
        "annotations": {
            "org.opencontainers.image.base.name": base_name(base),
            "org.opencontainers.image.created": "2026-01-01T00:00:00Z",
        },
    });
    Bytes::from(json.to_string())
}

fn base_name(base: u64) -> String {
    format!("registry.example.org/{}:1", self::base(base))
}

/// A base image's manifest.
pub fn base_image(base: u64) -> Bytes {
    let layers: Vec<Value> =
        (0..BASE_LAYERS).map(|layer| descriptor(LAYER, &base_layer(base, layer))).collect();
    let json = json!({"schemaVersion": 2, "mediaType": IMAGE, "config": descriptor(CONFIG, &empty()), "layers": layers});
    Bytes::from(json.to_string())
}

/// The manifest of an index: two images.
pub fn index(repository: u64, number: u64) -> Bytes {
    let child = |image: u64, architecture: &str| {
        let mut child = descriptor(IMAGE, &self::image(repository, image));
        child["platform"] = json!({"architecture": architecture, "os": "linux"});
        child
    };
    let manifests = [child(number * 2, "amd64"), child(number * 2 + 1, "arm64")];
    Bytes::from(json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}).to_string())
}

/// What a referrer refers to: two each for the first indexes.
pub fn subject(referrer: u64) -> u64 {
    referrer / 2
}

/// The manifest of a referrer.
pub fn referrer(repository: u64, number: u64) -> Bytes {
    let kind =
        if number.is_multiple_of(2) { "application/spdx+json" } else { "application/vnd.example.signature" };
    let json = json!({
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "artifactType": kind,
        "config": descriptor("application/vnd.oci.empty.v1+json", &empty()),
        "layers": [descriptor(kind, &evidence(repository, number))],
        "subject": descriptor(INDEX, &index(repository, subject(number))),
        "annotations": {"org.opencontainers.image.created": "2026-01-01T00:00:00Z"},
    });
    Bytes::from(json.to_string())
}

/// The tag of an index.
pub fn index_tag(number: u64) -> String {
    format!("1.{number}.0")
}

/// The tag of an image.
pub fn image_tag(number: u64) -> String {
    let architecture = if number.is_multiple_of(2) { "amd64" } else { "arm64" };
    format!("1.{}.0-{architecture}", number / 2)
}
