//! Uploading blobs.

use http::{HeaderValue, StatusCode, header};

use super::{CONTENT_DIGEST, Cx, Route, UPLOAD_UUID, publish};
use crate::{
    auth::{Pull, Push},
    error::{Challenge, Error, Kind, Result, What},
    http::{Body, Reply, range},
    model::{Algorithm, Digest, PackageName, UploadId},
    registry::Chunk,
};

/// Adds to an answer where an upload goes on and how much of it is here. The address holds the offset it is meant for, so
/// that a replayed chunk is told apart from the next one. Docker cannot read a range that ends before it begins, so an
/// empty upload says `0-0`.
pub(super) fn place(reply: Reply, name: &PackageName, id: UploadId, offset: u64) -> Reply {
    reply
        .header(header::LOCATION, format!("/v2/{name}/blobs/uploads/{id}?at={offset}"))
        .header(header::RANGE, format!("0-{}", offset.saturating_sub(1)))
        .header(UPLOAD_UUID, id.to_string())
}

fn created(name: &PackageName, digest: &Digest) -> Reply {
    Reply::new(StatusCode::CREATED)
        .header(header::LOCATION, format!("/v2/{name}/blobs/{digest}"))
        .header(CONTENT_DIGEST, digest.to_string())
        .header(header::CONTENT_LENGTH, "0")
}

pub(super) async fn begin(cx: Cx<'_>, name: &PackageName, algorithm: Option<Algorithm>) -> Result<Reply> {
    let id = publish(cx, name, async |grant| cx.registry.begin_upload(&grant, algorithm).await).await?;
    let reply = Reply::new(StatusCode::ACCEPTED).header(header::CONTENT_LENGTH, "0");
    Ok(place(reply, name, id, 0))
}

/// Mounts, or opens a session where it cannot: for what the caller may not read, the same answer as for what does not
/// exist. The one refusal is a challenge, to a caller whose bearer token does not name a source that its account may read.
pub(super) async fn mount(
    cx: Cx<'_>,
    name: &PackageName,
    digest: Digest,
    from: Option<&PackageName>,
) -> Result<Reply> {
    let into = cx.authorize_publish(name).await?;
    let sources = match from {
        Some(from) => vec![from.clone()],
        None => cx.registry.mount_sources(&into, &digest).await?,
    };
    let mut narrow = None;
    for source in &sources {
        match cx.authorize::<Pull>(source).await {
            Ok(grant) => {
                if cx.registry.mount_blob(&into, &grant, &digest).await? {
                    return Ok(created(name, &digest));
                }
            }
            // The caller may pull there and the bearer token was not issued for it: a wider one is to be had.
            Err(error) if error.kind() == Kind::Unauthenticated(Challenge::Insufficient) => {
                narrow.get_or_insert((source, error));
            }
            Err(error) if error.is_fault() => return Err(error),
            Err(_) => {}
        }
    }
    if let Some((source, error)) = narrow {
        let asked = Route::BlobMount(name.clone(), digest, Some(source.clone()));
        return Ok(super::error::render(&error, Some(&asked), cx.site));
    }
    begin(cx, name, None).await
}

/// A whole blob in one request.
pub(super) async fn post(cx: Cx<'_>, name: &PackageName, digest: Digest, body: Body) -> Result<Reply> {
    let grant = cx.authorize_publish(name).await?;
    let chunk =
        Chunk { at: None, length: body.length(), bytes: body.stream(cx.registry.max_blob(), What::Blob)? };
    cx.registry.put_blob(grant, chunk, digest).await?;
    Ok(created(name, &digest))
}

pub(super) async fn status(cx: Cx<'_>, name: &PackageName, id: UploadId) -> Result<Reply> {
    let grant = cx.authorize::<Push>(name).await?;
    let offset = cx.registry.upload_offset(&grant, id).await?;
    Ok(place(Reply::new(StatusCode::NO_CONTENT), name, id, offset))
}

pub(super) async fn patch(
    cx: Cx<'_>,
    name: &PackageName,
    id: UploadId,
    at: Option<u64>,
    body: Body,
) -> Result<Reply> {
    let grant = cx.authorize::<Push>(name).await?;
    let chunk = chunk(cx, at, body)?;
    let offset = cx.registry.append(&grant, id, chunk).await?;
    let reply = Reply::new(StatusCode::ACCEPTED).header(header::CONTENT_LENGTH, "0");
    Ok(place(reply, name, id, offset))
}

pub(super) async fn put(
    cx: Cx<'_>,
    name: &PackageName,
    id: UploadId,
    at: Option<u64>,
    digest: Digest,
    body: Body,
) -> Result<Reply> {
    let grant = cx.authorize::<Push>(name).await?;
    // Without bytes the address may be an older one: nothing can be appended twice.
    let last = if body.is_empty() { None } else { Some(chunk(cx, at, body)?) };
    let bare = last.is_none();
    match cx.registry.finish_upload(grant, id, last, digest).await {
        // The bytes are in; only the decision has to be taken again.
        Err(error) if error.kind() == Kind::StaleGrant => {
            let grant = cx.authorize::<Push>(name).await?;
            cx.registry.finish_upload(grant, id, None, digest).await?;
        }
        // The answer to a first try may have been lost: whoever closes a session twice learns that the blob is here.
        Err(error) if bare && error.kind() == Kind::NotFound(What::Upload) => {
            let (into, from) = (cx.authorize::<Push>(name).await?, cx.authorize::<Pull>(name).await?);
            if !cx.registry.mount_blob(&into, &from, &digest).await? {
                return Err(error);
            }
        }
        other => {
            other?;
        }
    }
    Ok(created(name, &digest))
}

pub(super) async fn cancel(cx: Cx<'_>, name: &PackageName, id: UploadId) -> Result<Reply> {
    let grant = cx.authorize::<Push>(name).await?;
    cx.registry.cancel_upload(&grant, id).await?;
    Ok(Reply::new(StatusCode::NO_CONTENT))
}

/// A chunk with what the client says of it: its `Content-Range`, else the offset in the address it was sent to.
fn chunk(cx: Cx<'_>, at: Option<u64>, body: Body) -> Result<Chunk> {
    let declared = body.length();
    let range = match cx.headers.get(header::CONTENT_RANGE).map(HeaderValue::to_str) {
        None => None,
        Some(Ok(text)) => Some(range::parse_chunk(text)?),
        Some(Err(_)) => return Err(Error::invalid(What::Range, "Content-Range is not text")),
    };
    if let (Some((_, length)), Some(declared)) = (range, declared)
        && length != declared
    {
        return Err(Error::invalid(What::Size, "Content-Range and Content-Length disagree"));
    }
    let length = range.map(|(_, length)| length).or(declared);
    let at = range.map(|(first, _)| first).or(at);
    Ok(Chunk { at, length, bytes: body.stream(cx.registry.max_blob(), What::Blob)? })
}
