//! One package as an OCI image layout (image-spec 1.1, image-layout.md), in a folder or a tar archive: what skopeo, oras
//! and crane read and write.

mod export;
mod import;
mod source;
mod tar;
mod target;

pub(super) use export::export;
pub(super) use import::import;

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Kind},
    model::Digest,
};

/// The annotation that holds a tag.
const NAME: &str = "org.opencontainers.image.ref.name";
const LAYOUT: &str = "oci-layout";
const INDEX: &str = "index.json";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LayoutFile {
    image_layout_version: String,
}

/// `index.json`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    manifests: Vec<Entry>,
}

/// A manifest in it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

/// Where the bytes of a digest lie in a layout.
fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().word(), digest.encoded())
}

fn unusable(path: &Path, cause: std::io::Error) -> Error {
    let kind = match cause.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Kind::NoSpace,
        _ => Kind::Unavailable,
    };
    Error::new(kind, format!("{} cannot be used", path.display())).because(cause)
}
