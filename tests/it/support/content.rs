//! Blobs, manifests, and the few steps that push them.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256, Sha512};

use super::{Client, Response};

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

pub fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

pub fn sha512(bytes: &[u8]) -> String {
    format!("sha512:{}", hex::encode(Sha512::digest(bytes)))
}

/// Bytes that no compression shortens, the same for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

pub fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": sha256(bytes), "size": bytes.len()})
}

/// An image manifest over a config and layers.
pub fn image(config: &[u8], layers: &[&[u8]]) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(OCI_CONFIG, config),
        "layers": layers.iter().map(|layer| descriptor(OCI_LAYER, layer)).collect::<Vec<_>>(),
    })
}

pub fn index(children: &[&Value]) -> Value {
    let children: Vec<_> = children
        .iter()
        .map(|child| descriptor(child["mediaType"].as_str().unwrap(), &bytes(child)))
        .collect();
    json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children})
}

pub fn bytes(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}

impl Client {
    /// Pushes a blob by POST and PUT; says its digest.
    #[track_caller]
    pub fn push_blob(&self, repository: &str, bytes: &[u8]) -> String {
        let digest = sha256(bytes);
        let location = self.begin(repository);
        self.put(&format!("{location}&digest={digest}"), bytes).expect(201);
        digest
    }

    /// Opens a session; says where it goes on.
    #[track_caller]
    pub fn begin(&self, repository: &str) -> String {
        let begun = self.post(&format!("/v2/{repository}/blobs/uploads/"), b"").expect(202);
        begun.header("location").unwrap().to_owned()
    }

    /// Puts a manifest under a tag or digest.
    pub fn put_manifest(&self, repository: &str, reference: &str, manifest: &Value) -> Response {
        let media_type = manifest["mediaType"].as_str().unwrap_or(OCI_MANIFEST);
        let target = format!("/v2/{repository}/manifests/{reference}");
        self.send("PUT", &target, &[("Content-Type", media_type)], &bytes(manifest))
    }

    /// Pushes a small image with one layer of its own; says the manifest.
    #[track_caller]
    pub fn push_image(&self, repository: &str, tag: &str, seed: u64) -> Value {
        let config = format!("{{\"architecture\":\"amd64\",\"os\":\"linux\",\"seed\":{seed}}}").into_bytes();
        let layer = noise(seed, 2000);
        self.push_blob(repository, &config);
        self.push_blob(repository, &layer);
        let manifest = image(&config, &[&layer]);
        self.put_manifest(repository, tag, &manifest).expect(201);
        manifest
    }
}
