//! What a request to `/v2/` or `/token` asks (distribution-spec, "Endpoints"). Pure.
//!
//! Paths are read from the right, since names hold any number of slashes and may hold every word of the protocol; and
//! undecoded, since nothing a path may name needs an encoding.

use http::Method;

use crate::{
    adapter::Head,
    error::{Error, Kind, Result, What},
    http::query::Query,
    model::{Algorithm, Digest, PackageName, Reference, Tag, UploadId},
};

/// A page asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// How many, clamped; `None`: as many as one answer holds.
    pub n: Option<usize>,
    /// After which.
    pub last: Option<String>,
}

/// Most entries in one answer.
pub const MAX_PAGE: usize = 10_000;

/// A request, understood.
#[derive(Debug, Clone)]
pub enum Route {
    /// `GET /v2/`.
    Ping,
    /// `GET /v2/_catalog`.
    Catalog(Page),
    /// `GET /v2/_oci/ext/discover`, of the registry or of a repository.
    Discover(Option<PackageName>),
    /// `GET /token`.
    TokenGet(Query),
    /// `POST /token`.
    TokenPost,
    /// `GET …/tags/list`.
    Tags(PackageName, Page),
    /// `GET …/manifests/R`.
    ManifestGet(PackageName, Reference),
    /// `HEAD …/manifests/R`.
    ManifestHead(PackageName, Reference),
    /// `PUT …/manifests/R`, with further tags.
    ManifestPut(PackageName, Reference, Vec<Tag>),
    /// `DELETE …/manifests/D`.
    ManifestDelete(PackageName, Digest),
    /// `DELETE …/manifests/TAG`.
    TagDelete(PackageName, Tag),
    /// `GET …/blobs/D`.
    BlobGet(PackageName, Digest),
    /// `HEAD …/blobs/D`.
    BlobHead(PackageName, Digest),
    /// `DELETE …/blobs/D`.
    BlobDelete(PackageName, Digest),
    /// `POST …/blobs/uploads/`.
    UploadBegin(PackageName, Option<Algorithm>),
    /// `POST …/blobs/uploads/?digest=D`.
    BlobPost(PackageName, Digest),
    /// `POST …/blobs/uploads/?mount=D[&from=N]`.
    BlobMount(PackageName, Digest, Option<PackageName>),
    /// `GET …/blobs/uploads/ID`.
    UploadStatus(PackageName, UploadId),
    /// `PATCH …/blobs/uploads/ID`, at the offset its address was made for.
    UploadPatch(PackageName, UploadId, Option<u64>),
    /// `PUT …/blobs/uploads/ID?digest=D`.
    UploadPut(PackageName, UploadId, Option<u64>, Digest),
    /// `DELETE …/blobs/uploads/ID`.
    UploadCancel(PackageName, UploadId),
    /// `GET …/referrers/D`.
    Referrers(PackageName, Digest, Vec<String>, Option<Vec<u8>>),
}

/// The name of every route.
pub const ROUTES: &[&str] = &[
    "ping",
    "catalog",
    "discover",
    "token_get",
    "token_post",
    "tags",
    "manifest_get",
    "manifest_head",
    "manifest_put",
    "manifest_delete",
    "tag_delete",
    "blob_get",
    "blob_head",
    "blob_delete",
    "upload_begin",
    "blob_post",
    "blob_mount",
    "upload_status",
    "upload_patch",
    "upload_put",
    "upload_cancel",
    "referrers",
];

impl Route {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Catalog(_) => "catalog",
            Self::Discover(_) => "discover",
            Self::TokenGet(_) => "token_get",
            Self::TokenPost => "token_post",
            Self::Tags(..) => "tags",
            Self::ManifestGet(..) => "manifest_get",
            Self::ManifestHead(..) => "manifest_head",
            Self::ManifestPut(..) => "manifest_put",
            Self::ManifestDelete(..) => "manifest_delete",
            Self::TagDelete(..) => "tag_delete",
            Self::BlobGet(..) => "blob_get",
            Self::BlobHead(..) => "blob_head",
            Self::BlobDelete(..) => "blob_delete",
            Self::UploadBegin(..) => "upload_begin",
            Self::BlobPost(..) => "blob_post",
            Self::BlobMount(..) => "blob_mount",
            Self::UploadStatus(..) => "upload_status",
            Self::UploadPatch(..) => "upload_patch",
            Self::UploadPut(..) => "upload_put",
            Self::UploadCancel(..) => "upload_cancel",
            Self::Referrers(..) => "referrers",
        }
    }

    /// The scope a challenge asks for: what this route needs, and pull on a mount's source.
    pub fn scope(&self) -> Option<String> {
        let (name, verbs) = match self {
            Self::Ping | Self::Discover(None) | Self::TokenGet(_) | Self::TokenPost => return None,
            Self::Catalog(_) => return Some("registry:catalog:*".to_owned()),
            Self::Discover(Some(name))
            | Self::Tags(name, _)
            | Self::ManifestGet(name, _)
            | Self::ManifestHead(name, _)
            | Self::BlobGet(name, _)
            | Self::BlobHead(name, _)
            | Self::Referrers(name, ..) => (name, "pull"),
            Self::ManifestDelete(name, _) | Self::TagDelete(name, _) | Self::BlobDelete(name, _) => {
                (name, "delete")
            }
            Self::BlobMount(name, _, Some(from)) => {
                return Some(format!("repository:{name}:pull,push repository:{from}:pull"));
            }
            // Cancelling an upload is part of pushing: clients do it with the token they push with.
            Self::ManifestPut(name, ..)
            | Self::UploadBegin(name, _)
            | Self::BlobPost(name, _)
            | Self::BlobMount(name, _, None)
            | Self::UploadStatus(name, _)
            | Self::UploadPatch(name, ..)
            | Self::UploadPut(name, ..)
            | Self::UploadCancel(name, _) => (name, "pull,push"),
        };
        Some(format!("repository:{name}:{verbs}"))
    }

    /// Reads a request's head.
    pub fn parse(head: Head<'_>) -> Result<Self> {
        let query = Query::parse(head.uri.query().unwrap_or_default())?;
        let path = head.uri.path();
        let method = head.method;
        match path {
            "/v2" | "/v2/" => return get(method).map(|()| Self::Ping),
            "/v2/_catalog" => return get(method).and_then(|()| Ok(Self::Catalog(page(&query)?))),
            "/v2/_oci/ext/discover" => return get(method).map(|()| Self::Discover(None)),
            "/token" if *method == Method::POST => return Ok(Self::TokenPost),
            "/token" => return get(method).map(|()| Self::TokenGet(query)),
            _ => {}
        }
        let rest = path.strip_prefix("/v2/").ok_or_else(no_such_path)?;
        let segments: Vec<&str> = rest.split('/').collect();
        match segments.as_slice() {
            [name @ .., "_oci", "ext", "discover"] => {
                get(method)?;
                Ok(Self::Discover(Some(package(name)?)))
            }
            [name @ .., "tags", "list"] => {
                get(method)?;
                Ok(Self::Tags(package(name)?, page(&query)?))
            }
            [name @ .., "manifests", reference] => manifest(method, package(name)?, reference, &query),
            [name @ .., "referrers", digest] => {
                get(method)?;
                referrers(package(name)?, digest, &query)
            }
            [name @ .., "blobs", "uploads"] | [name @ .., "blobs", "uploads", ""] => {
                begin(method, package(name)?, &query)
            }
            [name @ .., "blobs", "uploads", id] => session(method, package(name)?, id, &query),
            [name @ .., "blobs", digest] => blob(method, package(name)?, digest),
            _ => Err(no_such_path()),
        }
    }
}

fn no_such_path() -> Error {
    Error::not_found(What::Request, "there is nothing at this path")
}

fn no_such_method(allowed: &'static str) -> Error {
    Error::new(Kind::Method(allowed), format!("the methods here are {allowed}"))
}

fn get(method: &Method) -> Result<()> {
    if method == Method::GET || method == Method::HEAD { Ok(()) } else { Err(no_such_method("GET, HEAD")) }
}

fn package(name: &[&str]) -> Result<PackageName> {
    PackageName::parse(&name.join("/"))
}

fn page(query: &Query) -> Result<Page> {
    let n = match query.get("n") {
        None => None,
        Some(text) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => {
            Some(text.parse().unwrap_or(MAX_PAGE).min(MAX_PAGE))
        }
        Some(_) => return Err(Error::invalid(What::Page, "n is a number of entries")),
    };
    Ok(Page { n, last: query.get("last").filter(|last| !last.is_empty()).map(str::to_owned) })
}

fn manifest(method: &Method, name: PackageName, reference: &str, query: &Query) -> Result<Route> {
    let reference = Reference::parse(reference)?;
    match (method, reference) {
        (&Method::GET, reference) => Ok(Route::ManifestGet(name, reference)),
        (&Method::HEAD, reference) => Ok(Route::ManifestHead(name, reference)),
        (&Method::DELETE, Reference::Digest(digest)) => Ok(Route::ManifestDelete(name, digest)),
        (&Method::DELETE, Reference::Tag(tag)) => Ok(Route::TagDelete(name, tag)),
        (&Method::PUT, reference) => {
            let tags = query.all("tag").map(Tag::parse).collect::<Result<Vec<_>>>()?;
            if !tags.is_empty() && matches!(reference, Reference::Tag(_)) {
                return Err(Error::invalid(What::Tag, "?tag= goes with a digest, not with a tag"));
            }
            Ok(Route::ManifestPut(name, reference, tags))
        }
        _ => Err(no_such_method("GET, HEAD, PUT, DELETE")),
    }
}

fn referrers(name: PackageName, digest: &str, query: &Query) -> Result<Route> {
    let types = query.all("artifactType").filter(|text| !text.is_empty()).map(str::to_owned).collect();
    let cursor = query.get("last").map(hex::decode).transpose();
    let cursor = cursor.map_err(|_| Error::invalid(What::Page, "last is not a cursor this registry gave"))?;
    Ok(Route::Referrers(name, Digest::parse(digest)?, types, cursor))
}

fn begin(method: &Method, name: PackageName, query: &Query) -> Result<Route> {
    if method != Method::POST {
        return Err(no_such_method("POST"));
    }
    if let Some(digest) = query.get("mount").filter(|text| !text.is_empty()) {
        let from = query.get("from").filter(|text| !text.is_empty()).map(PackageName::parse);
        // A source this registry cannot have is one that does not hold the blob: an upload, not an error.
        return match from {
            Some(Err(_)) => Ok(Route::UploadBegin(name, None)),
            None => Ok(Route::BlobMount(name, Digest::parse(digest)?, None)),
            Some(Ok(from)) => Ok(Route::BlobMount(name, Digest::parse(digest)?, Some(from))),
        };
    }
    let algorithm = query.get("digest-algorithm").map(Algorithm::parse).transpose()?;
    match query.get("digest") {
        None => Ok(Route::UploadBegin(name, algorithm)),
        Some(digest) => {
            let digest = Digest::parse(digest)?;
            if algorithm.is_some_and(|algorithm| algorithm != digest.algorithm()) {
                return Err(Error::invalid(What::Digest, "digest and digest-algorithm disagree"));
            }
            Ok(Route::BlobPost(name, digest))
        }
    }
}

fn session(method: &Method, name: PackageName, id: &str, query: &Query) -> Result<Route> {
    // A malformed id is one that was never given out.
    let id = UploadId::parse(id)
        .ok_or_else(|| Error::not_found(What::Upload, "there is no such upload session here"))?;
    // The offset this address was made for: a replay of a chunk that arrived after all is told apart by it.
    let at = match query.get("at") {
        None => None,
        Some(text) => Some(
            text.parse()
                .map_err(|_| Error::invalid(What::Upload, "the upload's address was tampered with"))?,
        ),
    };
    match *method {
        Method::GET | Method::HEAD => Ok(Route::UploadStatus(name, id)),
        Method::PATCH => Ok(Route::UploadPatch(name, id, at)),
        Method::DELETE => Ok(Route::UploadCancel(name, id)),
        Method::PUT => {
            let digest = query
                .get("digest")
                .ok_or_else(|| Error::invalid(What::Digest, "closing an upload needs ?digest="))?;
            Ok(Route::UploadPut(name, id, at, Digest::parse(digest)?))
        }
        _ => Err(no_such_method("GET, PATCH, PUT, DELETE")),
    }
}

fn blob(method: &Method, name: PackageName, digest: &str) -> Result<Route> {
    let digest = Digest::parse(digest)?;
    match *method {
        Method::GET => Ok(Route::BlobGet(name, digest)),
        Method::HEAD => Ok(Route::BlobHead(name, digest)),
        Method::DELETE => Ok(Route::BlobDelete(name, digest)),
        _ => Err(no_such_method("GET, HEAD, DELETE")),
    }
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
