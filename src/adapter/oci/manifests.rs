//! Manifests, and deleting.

use http::{HeaderValue, StatusCode, header};

use super::{
    CONTENT_DIGEST, Cx, OCI_SUBJECT, OCI_TAG, publish,
    read::{FOREVER, unchanged},
};
use crate::{
    auth::{Delete, Pull},
    error::{Error, Kind, Result, What},
    http::{Body, Reply},
    model::{Digest, Manifest, PackageName, Reference, Tag},
    registry::{Condition, ManifestHead, PutManifest},
};

/// Most tags that one put may move; ten is what the specification asks for at least.
const MAX_TAGS: usize = 64;

pub(super) async fn head(cx: Cx<'_>, name: &PackageName, reference: &Reference) -> Result<Reply> {
    let grant = cx.authorize::<Pull>(name).await?;
    let found = cx.registry.stat_manifest(&grant, reference).await?;
    if unchanged(cx, &found.digest) {
        return Ok(headers(Reply::new(StatusCode::NOT_MODIFIED), reference, &found));
    }
    let reply = headers(Reply::new(StatusCode::OK), reference, &found);
    Ok(reply.header(header::CONTENT_LENGTH, found.size.to_string()))
}

/// The stored bytes under the stored type, whatever the client accepts: a manifest that is rewritten has another digest.
pub(super) async fn get(cx: Cx<'_>, name: &PackageName, reference: &Reference) -> Result<Reply> {
    let grant = cx.authorize::<Pull>(name).await?;
    let found = cx.registry.stat_manifest(&grant, reference).await?;
    if unchanged(cx, &found.digest) {
        return Ok(headers(Reply::new(StatusCode::NOT_MODIFIED), reference, &found));
    }
    let bytes = cx.registry.manifest_bytes(&grant, &found).await?;
    Ok(headers(Reply::new(StatusCode::OK), reference, &found).bytes(bytes))
}

fn headers(reply: Reply, reference: &Reference, found: &ManifestHead) -> Reply {
    let cache = match reference {
        Reference::Digest(_) => FOREVER,
        Reference::Tag(_) => "private, no-cache",
    };
    reply
        .header(header::CONTENT_TYPE, &found.media_type)
        .header(CONTENT_DIGEST, found.digest.to_string())
        .header(header::ETAG, format!("\"{}\"", found.digest))
        .header(header::CACHE_CONTROL, cache)
        .header(header::VARY, "Authorization")
        .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
}

pub(super) async fn put(
    cx: Cx<'_>,
    name: &PackageName,
    reference: &Reference,
    tags: &[Tag],
    body: Body,
) -> Result<Reply> {
    if tags.len() > MAX_TAGS {
        return Err(Error::new(Kind::TooLarge(What::Target), format!("at most {MAX_TAGS} tags at once")));
    }
    // The right is asked for before the body is read: nobody fills memory without it.
    let exists = cx.may_publish(name).await?;
    let bytes = body.small(cx.registry.max_manifest(), What::Manifest).await?;
    let condition = condition(cx)?;
    let content_type = text_header(cx, &header::CONTENT_TYPE)?;
    if !exists {
        // A package is not allocated for what could not be stored in it.
        Manifest::parse(&bytes, content_type.as_deref(), usize::MAX)?;
    }
    let stored = publish(cx, name, async |grant| {
        let put = PutManifest {
            reference: reference.clone(),
            tags: tags.to_vec(),
            content_type: content_type.clone(),
            condition: condition.clone(),
            bytes: bytes.clone(),
        };
        cx.registry.put_manifest(&grant, put).await
    })
    .await?;
    let mut reply = Reply::new(StatusCode::CREATED)
        .header(header::LOCATION, format!("/v2/{name}/manifests/{}", stored.digest))
        .header(CONTENT_DIGEST, stored.digest.to_string())
        .header(header::ETAG, format!("\"{}\"", stored.digest));
    if let Some(subject) = stored.subject {
        reply = reply.header(OCI_SUBJECT, subject.to_string());
    }
    if !tags.is_empty() {
        let list = tags.iter().map(Tag::as_str).collect::<Vec<_>>().join(", ");
        reply = reply.header(OCI_TAG, list);
    }
    Ok(reply)
}

fn text_header(cx: Cx<'_>, name: &http::HeaderName) -> Result<Option<String>> {
    let value = cx.headers.get(name).map(HeaderValue::to_str).transpose();
    let value = value.map_err(|_| Error::invalid(What::Request, format!("the header {name} is not text")))?;
    Ok(value.map(str::to_owned))
}

/// `If-Match` and `If-None-Match` make a put of a tag a compare-and-swap.
fn condition(cx: Cx<'_>) -> Result<Condition> {
    let tags = |text: &str| {
        text.split(',').map(|tag| tag.trim().trim_start_matches("W/").trim_matches('"').to_owned()).collect()
    };
    if let Some(text) = text_header(cx, &header::IF_MATCH)? {
        return Ok(if text.trim() == "*" { Condition::Exists } else { Condition::Names(tags(&text)) });
    }
    match text_header(cx, &header::IF_NONE_MATCH)? {
        Some(text) if text.trim() == "*" => Ok(Condition::Absent),
        Some(_) => Err(Error::invalid(What::Request, "If-None-Match on a put takes only *")),
        None => Ok(Condition::None),
    }
}

pub(super) async fn delete(cx: Cx<'_>, name: &PackageName, digest: &Digest) -> Result<Reply> {
    erase(cx, name, Doomed::Manifest(digest)).await
}

pub(super) async fn delete_tag(cx: Cx<'_>, name: &PackageName, tag: &Tag) -> Result<Reply> {
    erase(cx, name, Doomed::Tag(tag)).await
}

pub(super) async fn delete_blob(cx: Cx<'_>, name: &PackageName, digest: &Digest) -> Result<Reply> {
    erase(cx, name, Doomed::Blob(digest)).await
}

#[derive(Clone, Copy)]
enum Doomed<'a> {
    Manifest(&'a Digest),
    Tag(&'a Tag),
    Blob(&'a Digest),
}

/// Deletes under a grant that is renewed once if rights change meanwhile.
async fn erase(cx: Cx<'_>, name: &PackageName, doomed: Doomed<'_>) -> Result<Reply> {
    match erase_once(cx, name, doomed).await {
        Err(error) if error.kind() == Kind::StaleGrant => erase_once(cx, name, doomed).await?,
        other => other?,
    }
    Ok(Reply::new(StatusCode::ACCEPTED).header(header::CONTENT_LENGTH, "0"))
}

async fn erase_once(cx: Cx<'_>, name: &PackageName, doomed: Doomed<'_>) -> Result<()> {
    let grant = cx.authorize::<Delete>(name).await?;
    match doomed {
        Doomed::Manifest(digest) => cx.registry.delete_manifest(&grant, digest).await,
        Doomed::Tag(tag) => cx.registry.delete_tag(&grant, tag).await,
        Doomed::Blob(digest) => cx.registry.delete_blob(&grant, digest).await,
    }
}
