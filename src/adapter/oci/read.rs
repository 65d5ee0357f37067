//! Reading blobs and lists.

use http::{HeaderValue, StatusCode, header};
use oci_spec::{
    distribution::{RepositoryListBuilder, TagListBuilder},
    image::{Descriptor, DescriptorBuilder, ImageIndexBuilder, MediaType},
};
use serde_json::json;

use super::{
    CONTENT_DIGEST, Cx, OCI_FILTERS,
    route::{MAX_PAGE, Page},
};
use crate::{
    auth::{Pull, Push},
    error::{Error, Kind, Result},
    http::{
        FilePart, Reply, conditional, multipart,
        query::encode,
        range::{self, ByteRange},
    },
    model::{Digest, PackageName, manifest::media},
    registry::{Blob, BlobHead, Referrer, Referrers},
};

/// What is named by digest never changes; who may read it can, so only the client's own cache may keep it.
pub(super) const FOREVER: &str = "private, max-age=31536000, immutable";

pub(super) async fn blob_head(cx: Cx<'_>, name: &PackageName, digest: &Digest) -> Result<Reply> {
    let grant = cx.authorize::<Pull>(name).await?;
    let BlobHead { size, waning } = cx.registry.stat_blob(&grant, digest).await?;
    if waning {
        match cx.authorize::<Push>(name).await {
            Ok(pusher) => drop(cx.registry.keep_blob(&pusher, digest).await?),
            Err(error) if error.is_fault() => return Err(error),
            Err(_) => {}
        }
    }
    if unchanged(cx, digest) {
        return Ok(blob_headers(Reply::new(StatusCode::NOT_MODIFIED), digest));
    }
    let reply = Reply::new(StatusCode::OK).header(header::CONTENT_TYPE, "application/octet-stream");
    Ok(blob_headers(reply, digest).header(header::CONTENT_LENGTH, size.to_string()))
}

pub(super) async fn blob(cx: Cx<'_>, name: &PackageName, digest: &Digest) -> Result<Reply> {
    let grant = cx.authorize::<Pull>(name).await?;
    let blob = cx.registry.blob(&grant, digest).await?;
    if unchanged(cx, digest) {
        return Ok(blob_headers(Reply::new(StatusCode::NOT_MODIFIED), digest));
    }
    let ranges = match wanted_ranges(cx, digest) {
        Some(header) => range::parse(header, blob.size)?,
        None => None,
    };
    let reply = match ranges.as_deref() {
        None => {
            let whole = Reply::new(StatusCode::OK).header(header::CONTENT_TYPE, "application/octet-stream");
            send(whole, &blob, 0, blob.size)
        }
        Some([range]) => {
            let text = format!("bytes {}-{}/{}", range.first, range.last, blob.size);
            let part = Reply::new(StatusCode::PARTIAL_CONTENT)
                .header(header::CONTENT_TYPE, "application/octet-stream")
                .header(header::CONTENT_RANGE, text);
            send(part, &blob, range.first, range.len())
        }
        Some(ranges) => {
            let unique = format!("packhouse-{}", cx.caller.request);
            let size = blob.size;
            let parts = multipart::byteranges(ranges, size, &unique, move |range: ByteRange| {
                blob.send(range.first, range.len())
            });
            Reply::new(StatusCode::PARTIAL_CONTENT)
                .header(header::CONTENT_TYPE, &parts.content_type)
                .stream(parts.length, parts.body)
        }
    };
    Ok(blob_headers(reply, digest))
}

fn send(reply: Reply, blob: &Blob, first: u64, length: u64) -> Reply {
    if let Some(bytes) = blob.in_memory(first, length) {
        return reply.bytes(bytes);
    }
    let Some(file) = blob.file() else { return reply.stream(length, blob.send(first, length)) };
    let blob = blob.clone();
    let read = Box::new(move |first, length| blob.send(first, length));
    reply.file(FilePart { file, first, length, read })
}

/// Ranges hold for the content the client has in mind: `If-Range` with another digest asks for the whole.
fn wanted_ranges<'a>(cx: Cx<'a>, digest: &Digest) -> Option<&'a str> {
    let range = cx.headers.get(header::RANGE)?.to_str().ok()?;
    match cx.headers.get(header::IF_RANGE).map(HeaderValue::to_str) {
        None => Some(range),
        Some(Ok(tag)) if tag == format!("\"{digest}\"") => Some(range),
        Some(_) => None,
    }
}

/// Whether the client has this content already.
pub(super) fn unchanged(cx: Cx<'_>, digest: &Digest) -> bool {
    let tags = cx.headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    tags.is_some_and(|tags| conditional::names(tags, &digest.to_string()))
}

fn blob_headers(reply: Reply, digest: &Digest) -> Reply {
    let digest = digest.to_string();
    reply
        .header(header::ETAG, format!("\"{digest}\""))
        .header(CONTENT_DIGEST, digest)
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::CACHE_CONTROL, FOREVER)
        .header(header::VARY, "Authorization")
        // A blob is whatever somebody pushed: no browser may take it for a page of this host.
        .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
        .header(header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox")
}

pub(super) async fn tags(cx: Cx<'_>, name: &PackageName, page: &Page) -> Result<Reply> {
    let grant = cx.authorize::<Pull>(name).await?;
    let limit = page.n.unwrap_or(MAX_PAGE);
    // One more than asked for tells whether there is more.
    let fetch = if limit == 0 { 0 } else { limit + 1 };
    let mut tags = cx.registry.tags(&grant, page.last.as_deref(), fetch).await?;
    let more = tags.len() > limit;
    tags.truncate(limit);
    let next = tags
        .last()
        .filter(|_| more)
        .map(|last| format!("/v2/{name}/tags/list?n={limit}&last={}", encode(last)));
    let list =
        TagListBuilder::default().name(name.to_string()).tags(tags).build().map_err(Error::internal)?;
    Ok(linked(Reply::json(StatusCode::OK, &list), next).header(header::CACHE_CONTROL, "no-cache"))
}

pub(super) async fn catalog(cx: Cx<'_>, page: &Page) -> Result<Reply> {
    if cx.caller.is_anonymous() && cx.caller.bound.is_none() {
        let missing = crate::error::Challenge::Missing;
        return Err(Error::new(Kind::Unauthenticated(missing), "authentication required"));
    }
    let limit = page.n.unwrap_or(1000).min(1000);
    let fetch = if limit == 0 { 0 } else { limit + 1 };
    let mut names = cx.registry.catalog(cx.caller, page.last.as_deref(), fetch).await?;
    let more = names.len() > limit;
    names.truncate(limit);
    let next =
        names.last().filter(|_| more).map(|last| format!("/v2/_catalog?n={limit}&last={}", encode(last)));
    let list = RepositoryListBuilder::default().repositories(names).build().map_err(Error::internal)?;
    Ok(linked(Reply::json(StatusCode::OK, &list), next).header(header::CACHE_CONTROL, "no-cache"))
}

fn linked(reply: Reply, next: Option<String>) -> Reply {
    match next {
        Some(target) => reply.header(header::LINK, format!("<{target}>; rel=\"next\"")),
        None => reply,
    }
}

/// What refers to a digest. A repository that is absent, or that this signed-in caller may not read, has no referrers:
/// the specification wants an empty list there, and so the two cannot be told apart.
pub(super) async fn referrers(
    cx: Cx<'_>,
    name: &PackageName,
    digest: &Digest,
    types: &[String],
    cursor: Option<&[u8]>,
) -> Result<Reply> {
    let page = match cx.authorize::<Pull>(name).await {
        Ok(grant) => cx.registry.referrers(&grant, digest, types, cursor).await?,
        Err(error) if matches!(error.kind(), Kind::NotFound(_)) => Referrers::default(),
        Err(error) => return Err(error),
    };
    let list = page.list.into_iter().map(descriptor).collect::<Result<Vec<_>>>()?;
    let index = ImageIndexBuilder::default()
        .schema_version(2u32)
        .media_type(MediaType::ImageIndex)
        .manifests(list)
        .build()
        .map_err(Error::internal)?;
    let mut next =
        page.next.map(|cursor| format!("/v2/{name}/referrers/{digest}?last={}", hex::encode(cursor)));
    let mut reply = Reply::json(StatusCode::OK, &index);
    if !types.is_empty() {
        reply = reply.header(OCI_FILTERS, "artifactType");
        for artifact_type in types {
            next = next.map(|target| format!("{target}&artifactType={}", encode(artifact_type)));
        }
    }
    Ok(linked(reply, next)
        .header(header::CONTENT_TYPE, media::OCI_INDEX)
        .header(header::CACHE_CONTROL, "no-cache"))
}

fn descriptor(referrer: Referrer) -> Result<Descriptor> {
    let digest: oci_spec::image::Digest = referrer.digest.to_string().parse().map_err(Error::internal)?;
    let mut builder = DescriptorBuilder::default()
        .media_type(MediaType::from(referrer.media_type.as_str()))
        .digest(digest)
        .size(referrer.size);
    if let Some(artifact_type) = referrer.artifact_type {
        builder = builder.artifact_type(MediaType::from(artifact_type.as_str()));
    }
    if !referrer.annotations.is_empty() {
        let map: std::collections::HashMap<String, String> =
            serde_json::from_str(&referrer.annotations).map_err(Error::internal)?;
        builder = builder.annotations(map);
    }
    builder.build().map_err(Error::internal)
}

/// The extensions offered: none beyond the discovery of extensions itself, and the catalog that everybody has.
pub(super) async fn discover(cx: Cx<'_>, name: Option<&PackageName>) -> Result<Reply> {
    let extensions = match name {
        Some(name) => {
            cx.authorize::<Pull>(name).await?;
            json!([])
        }
        None => json!([{
            "name": "_catalog",
            "url": "https://distribution.github.io/distribution/spec/api/#listing-repositories",
            "description": "The repositories that the caller may read.",
            "endpoints": ["_catalog"],
        }]),
    };
    Ok(Reply::json(StatusCode::OK, &json!({ "extensions": extensions })))
}
