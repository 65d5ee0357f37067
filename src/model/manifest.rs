//! Manifests and indexes: what this registry reads in them. The bytes themselves are never changed.

use std::collections::HashMap;

use base64::Engine as _;
use oci_spec::image::Descriptor;
use serde::Deserialize;

use super::digest::{Algorithm, Digest};
use crate::error::{Error, Result, What};

/// Media types with a meaning here.
pub mod media {
    /// An OCI image manifest.
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// An OCI image index.
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// A Docker schema 2 manifest.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// A Docker manifest list.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker schema 1, signed or not: refused.
    pub const DOCKER_SCHEMA1: [&str; 2] = [
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    ];
    /// Longest media type kept, in bytes.
    pub const MAX: usize = 255;

    /// Whether this is one of the types of index.
    pub fn is_index(media_type: &str) -> bool {
        [OCI_INDEX, DOCKER_LIST].contains(&media_type)
    }
}

/// Something a manifest names and its repository must, or may, hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// What is named.
    pub digest: Digest,
    /// Its size according to the descriptor, in bytes.
    pub size: u64,
    /// How it is named.
    pub role: LinkRole,
}

/// How a manifest names something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkRole {
    /// Its configuration or one of its layers: a blob.
    Blob,
    /// A layer with addresses of its own, or of a non-distributable type: a blob that is never asked for.
    Foreign,
    /// A child of an index: a manifest, or a blob (BuildKit's cache indexes).
    Child,
}

/// A manifest or index as this registry reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Its media type, without parameters.
    pub media_type: String,
    /// What it names, each digest once, in order of digests.
    pub links: Vec<Link>,
    /// What it refers to.
    pub subject: Option<Digest>,
    /// What a list of referrers shows as its type: its own, or an image's configuration's.
    pub artifact_type: Option<String>,
    /// Its annotations.
    pub annotations: HashMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: Option<serde_json::Value>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    /// Of the withdrawn OCI artifact manifest and ORAS's own.
    blobs: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    annotations: Option<HashMap<String, String>>,
    signatures: Option<serde_json::Value>,
}

fn invalid(text: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::invalid(What::Manifest, text)
}

impl Manifest {
    /// Reads a manifest. `content_type` is the request's header, with or without parameters.
    ///
    /// # Errors
    /// [`What::Manifest`] invalid: no JSON object; Docker schema 1; a media type that disagrees with the header; both an
    /// index and an image; more than `max` descriptors; embedded data that is not what its descriptor says.
    pub fn parse(bytes: &[u8], content_type: Option<&str>, max: usize) -> Result<Self> {
        // By way of a Value, because a repeated key must mean its last value here as it does to the clients: the derived
        // reader would refuse what they accept.
        let value: serde_json::Value = serde_json::from_slice(bytes)
            .map_err(|cause| invalid(format!("the manifest is not JSON: {cause}")))?;
        if !value.is_object() {
            return Err(invalid("the manifest is not a JSON object"));
        }
        let document: Document = serde_json::from_value(value)
            .map_err(|cause| invalid(format!("the manifest is malformed: {cause}")))?;
        let media_type = media_type(&document, content_type)?;
        check_shape(&document, &media_type)?;
        let links = links(&document, max)?;
        let subject = document.subject.as_ref().map(digest_of).transpose()?;
        let own = document.artifact_type.filter(|text| !text.is_empty());
        let from_config = document.config.as_ref().map(|config| config.media_type().to_string());
        let artifact_type = own.or(from_config).filter(|text| !text.is_empty());
        if artifact_type.as_ref().is_some_and(|text| text.len() > media::MAX) {
            return Err(invalid("the artifact type is longer than 255 bytes"));
        }
        Ok(Self {
            media_type,
            links,
            subject,
            artifact_type,
            annotations: document.annotations.unwrap_or_default(),
        })
    }
}

/// The media type, on which header and body must agree.
fn media_type(document: &Document, content_type: Option<&str>) -> Result<String> {
    let header = content_type.map(|text| text.split(';').next().unwrap_or_default().trim()).filter(|text| {
        // What a client sends that does not say what it sends.
        !text.is_empty() && *text != "application/json" && *text != "application/octet-stream"
    });
    let body = document.media_type.as_deref().filter(|text| !text.is_empty());
    let found = match (header, body) {
        (Some(header), Some(body)) if header != body => {
            return Err(invalid(format!("Content-Type is {header} and mediaType is {body}")));
        }
        (Some(found), _) | (None, Some(found)) => found,
        (None, None) if document.manifests.is_some() => media::OCI_INDEX,
        (None, None) if document.config.is_some() => media::OCI_MANIFEST,
        (None, None) => return Err(invalid("neither Content-Type nor mediaType says what this manifest is")),
    };
    let token =
        |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b',' | b';' | b'(' | b')' | b'<' | b'>' | b'\\');
    if found.len() > media::MAX || !found.contains('/') || !found.bytes().all(token) {
        return Err(invalid("the media type is malformed"));
    }
    Ok(found.to_owned())
}

/// One document must not read as two kinds of thing to two clients (CVE-2021-41190).
fn check_shape(document: &Document, media_type: &str) -> Result<()> {
    if media::DOCKER_SCHEMA1.contains(&media_type) || document.signatures.is_some() {
        return Err(invalid(
            "Docker image manifest schema 1 is not supported; push with a client that writes schema 2 or OCI",
        ));
    }
    let version = document.schema_version.as_ref();
    if version.is_some_and(|version| version.as_u64() != Some(2)) {
        return Err(invalid("schemaVersion is not 2"));
    }
    let image = document.config.is_some() || document.layers.is_some();
    let index = document.manifests.is_some();
    if image && index {
        return Err(invalid(
            "the document has both manifests and config or layers: it is either an index or an image",
        ));
    }
    match media_type {
        media::OCI_INDEX | media::DOCKER_LIST if !index => Err(invalid("an index has a list of manifests")),
        media::OCI_MANIFEST | media::DOCKER_MANIFEST if document.config.is_none() => {
            Err(invalid("an image manifest has a config"))
        }
        media::OCI_INDEX | media::DOCKER_LIST | media::OCI_MANIFEST | media::DOCKER_MANIFEST
            if version.is_none() =>
        {
            Err(invalid("schemaVersion is missing"))
        }
        _ => Ok(()),
    }
}

fn digest_of(descriptor: &Descriptor) -> Result<Digest> {
    let text = descriptor.digest().to_string();
    Digest::parse(&text).map_err(|_| invalid(format!("a descriptor's digest is malformed: {text}")))
}

fn links(document: &Document, max: usize) -> Result<Vec<Link>> {
    let blobs =
        document.config.iter().chain(document.layers.iter().flatten()).chain(document.blobs.iter().flatten());
    let children = document.manifests.iter().flatten();
    let named = blobs.map(|d| (d, LinkRole::Blob)).chain(children.map(|d| (d, LinkRole::Child)));
    let mut links = Vec::new();
    for (count, (descriptor, role)) in named.enumerate() {
        if count >= max {
            return Err(invalid(format!("the manifest has more than {max} descriptors")));
        }
        let digest = digest_of(descriptor)?;
        check_data(descriptor, &digest)?;
        let role = if role == LinkRole::Blob && is_foreign(descriptor) { LinkRole::Foreign } else { role };
        links.push(Link { digest, size: descriptor.size(), role });
    }
    // The same layer may be named twice; with two sizes one of them lies.
    links.sort_by_key(|link| (link.digest, link.role));
    if links.windows(2).any(|pair| pair[0].digest == pair[1].digest && pair[0].size != pair[1].size) {
        return Err(invalid("two descriptors give one digest different sizes"));
    }
    links.dedup_by(|later, first| later.digest == first.digest);
    Ok(links)
}

/// Layers that their author need not push: such blobs are not asked for, and never fetched by the server.
fn is_foreign(descriptor: &Descriptor) -> bool {
    let media_type = descriptor.media_type().to_string();
    descriptor.urls().as_ref().is_some_and(|urls| !urls.is_empty())
        || media_type.starts_with("application/vnd.oci.image.layer.nondistributable.")
        || media_type.starts_with("application/vnd.docker.image.rootfs.foreign.")
}

/// Embedded data must be what the descriptor names, else one digest would stand for two contents.
fn check_data(descriptor: &Descriptor, digest: &Digest) -> Result<()> {
    let Some(data) = descriptor.data() else { return Ok(()) };
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(data)
        .map_err(|_| invalid("a descriptor's data is not base64"))?;
    if bytes.len() as u64 != descriptor.size() || Digest::of(digest.algorithm(), &bytes) != *digest {
        return Err(invalid("a descriptor's data is not what its digest and size say"));
    }
    Ok(())
}

/// The digest of the empty JSON object, which artifacts use as their configuration.
pub fn empty_json() -> Digest {
    Digest::of(Algorithm::Sha256, b"{}")
}

#[cfg(test)]
mod tests;
