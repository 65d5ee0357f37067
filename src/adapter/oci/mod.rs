//! The OCI distribution protocol: what docker, podman, skopeo, oras, helm and the rest speak.

mod error;
mod manifests;
mod read;
mod route;
mod token;
mod uploads;

use http::{HeaderName, StatusCode, header};

use super::{Adapter, Cx, Head};
use crate::{
    auth::{Grant, Push},
    error::{Error, Kind, Result},
    http::{Body, Reply, Site},
    model::PackageName,
};

pub use route::Route;

/// How long before a token's end its user is warned, in seconds: clients print the warning.
const WARN_BEFORE: u64 = 7 * 24 * 3600;

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");
const OCI_FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");

/// The adapter.
#[derive(Debug)]
pub struct Oci;

impl Adapter for Oci {
    const NAME: &'static str = "oci";
    const ROUTES: &'static [&'static str] = route::ROUTES;
    type Route = Route;

    fn parse(head: Head<'_>) -> Result<Route> {
        Route::parse(head)
    }

    fn name(route: &Route) -> &'static str {
        route.name()
    }

    /// The token endpoint takes passwords, which nothing else does, so it reads the credentials itself.
    fn signs_in(route: &Route) -> bool {
        matches!(route, Route::TokenGet(_) | Route::TokenPost)
    }

    fn downloads(route: &Route) -> bool {
        matches!(route, Route::ManifestGet(..))
    }

    async fn handle(cx: Cx<'_>, route: &Route, body: Body) -> Result<Reply> {
        let reply = match route {
            Route::Ping => ping(cx),
            Route::Discover(name) => read::discover(cx, name.as_ref()).await,
            Route::TokenGet(query) => token::get(cx, query).await,
            Route::TokenPost => token::post(cx, body).await,
            Route::Catalog(page) => read::catalog(cx, page).await,
            Route::Tags(name, page) => again(|| read::tags(cx, name, page)).await,
            Route::Referrers(name, digest, types, cursor) => {
                again(|| read::referrers(cx, name, digest, types, cursor.as_deref())).await
            }
            Route::BlobGet(name, digest) => read::blob(cx, name, digest).await,
            Route::BlobHead(name, digest) => read::blob_head(cx, name, digest).await,
            Route::ManifestGet(name, reference) => again(|| manifests::get(cx, name, reference)).await,
            Route::ManifestHead(name, reference) => again(|| manifests::head(cx, name, reference)).await,
            Route::ManifestPut(name, reference, tags) => {
                manifests::put(cx, name, reference, tags, body).await
            }
            Route::ManifestDelete(name, digest) => manifests::delete(cx, name, digest).await,
            Route::TagDelete(name, tag) => manifests::delete_tag(cx, name, tag).await,
            Route::BlobDelete(name, digest) => manifests::delete_blob(cx, name, digest).await,
            Route::UploadBegin(name, algorithm) => uploads::begin(cx, name, *algorithm).await,
            Route::BlobPost(name, digest) => uploads::post(cx, name, *digest, body).await,
            Route::BlobMount(name, digest, from) => uploads::mount(cx, name, *digest, from.as_ref()).await,
            Route::UploadStatus(name, id) => uploads::status(cx, name, *id).await,
            Route::UploadPatch(name, id, at) => uploads::patch(cx, name, *id, *at, body).await,
            Route::UploadPut(name, id, at, digest) => uploads::put(cx, name, *id, *at, *digest, body).await,
            Route::UploadCancel(name, id) => uploads::cancel(cx, name, *id).await,
        };
        let mut reply = reply?.header(API_VERSION, "registry/2.0");
        if let Some(expires) = cx
            .caller
            .expires
            .filter(|end| cx.caller.user().is_some() && *end < cx.caller.at.plus_seconds(WARN_BEFORE))
        {
            let name = cx.caller.credential.map(|id| id.to_string()).unwrap_or_default();
            let text = format!("299 - \"the token {name} expires at {expires}; make another one in time\"");
            reply = reply.header(header::WARNING, text);
        }
        Ok(reply)
    }

    fn render(error: &Error, route: Option<&Route>, site: &Site) -> Reply {
        error::render(error, route, site).header(API_VERSION, "registry/2.0")
    }
}

/// Clients choose their way of signing in from this answer alone. One that says 200 to a caller without credentials
/// keeps them from ever sending any, so it challenges; pulling what is public still needs no account, since an
/// anonymous token is given for it.
fn ping(cx: Cx<'_>) -> Result<Reply> {
    if cx.caller.is_anonymous() && cx.caller.bound.is_none() {
        let missing = crate::error::Challenge::Missing;
        return Err(Error::new(Kind::Unauthenticated(missing), "authentication required"));
    }
    Ok(Reply::json(StatusCode::OK, &serde_json::json!({})))
}

/// Reads something. If the caller's rights change between the decision and what was read, the decision is taken once more,
/// and whoever has none now learns it in the usual words.
async fn again<T, F>(read: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    match read().await {
        Err(error) if error.kind() == Kind::StaleGrant => read().await,
        result => result,
    }
}

/// Does something under a grant to push. If the caller's rights change between the decision and the commit, the decision
/// is taken once more.
async fn publish<T, F>(cx: Cx<'_>, name: &PackageName, work: impl Fn(Grant<Push>) -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    match work(cx.authorize_publish(name).await?).await {
        Err(error) if error.kind() == Kind::StaleGrant => work(cx.authorize_publish(name).await?).await,
        result => result,
    }
}
