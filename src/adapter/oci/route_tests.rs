use http::{HeaderMap, Uri};
use proptest::prelude::*;

use super::*;

fn parse(method: &str, target: &str) -> Result<Route> {
    let uri: Uri = target.parse().map_err(|_| no_such_path())?;
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    Route::parse(Head { method: &method, uri: &uri, headers: &HeaderMap::new() })
}

fn name(method: &str, target: &str) -> &'static str {
    parse(method, target).unwrap().name()
}

const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const ID: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn every_endpoint() {
    assert_eq!(name("GET", "/v2"), "ping");
    assert_eq!(name("HEAD", "/v2/"), "ping");
    assert_eq!(name("GET", "/v2/_catalog?n=5"), "catalog");
    assert_eq!(name("GET", "/v2/_oci/ext/discover"), "discover");
    assert_eq!(name("GET", "/v2/a/b/_oci/ext/discover"), "discover");
    assert_eq!(name("GET", "/token?service=x"), "token_get");
    assert_eq!(name("POST", "/token"), "token_post");
    assert_eq!(name("GET", "/v2/a/b/tags/list"), "tags");
    assert_eq!(name("GET", "/v2/a/b/manifests/latest"), "manifest_get");
    assert_eq!(name("HEAD", &format!("/v2/a/b/manifests/{D}")), "manifest_head");
    assert_eq!(name("PUT", &format!("/v2/a/b/manifests/{D}?tag=a&tag=b")), "manifest_put");
    assert_eq!(name("DELETE", &format!("/v2/a/b/manifests/{D}")), "manifest_delete");
    assert_eq!(name("DELETE", "/v2/a/b/manifests/latest"), "tag_delete");
    assert_eq!(name("GET", &format!("/v2/a/b/blobs/{D}")), "blob_get");
    assert_eq!(name("HEAD", &format!("/v2/a/b/blobs/{D}")), "blob_head");
    assert_eq!(name("DELETE", &format!("/v2/a/b/blobs/{D}")), "blob_delete");
    assert_eq!(name("POST", "/v2/a/b/blobs/uploads/"), "upload_begin");
    assert_eq!(name("POST", "/v2/a/b/blobs/uploads"), "upload_begin");
    assert_eq!(name("POST", "/v2/a/b/blobs/uploads/?digest-algorithm=sha512"), "upload_begin");
    assert_eq!(name("POST", &format!("/v2/a/b/blobs/uploads/?digest={D}")), "blob_post");
    assert_eq!(name("POST", &format!("/v2/a/b/blobs/uploads/?mount={D}&from=a/c")), "blob_mount");
    assert_eq!(name("POST", &format!("/v2/a/b/blobs/uploads/?mount={D}")), "blob_mount");
    assert_eq!(name("POST", &format!("/v2/a/b/blobs/uploads/?mount={D}&from=UPPER")), "upload_begin");
    assert_eq!(name("GET", &format!("/v2/a/b/blobs/uploads/{ID}?digest={D}")), "upload_status");
    assert_eq!(name("PATCH", &format!("/v2/a/b/blobs/uploads/{ID}?at=5")), "upload_patch");
    assert_eq!(
        name("PUT", &format!("/v2/a/b/blobs/uploads/{ID}?at=5&digest=sha256%3A{}", &D[7..])),
        "upload_put"
    );
    assert_eq!(name("DELETE", &format!("/v2/a/b/blobs/uploads/{ID}")), "upload_cancel");
    assert_eq!(name("GET", &format!("/v2/a/b/referrers/{D}?artifactType=a/b&artifactType=c/d")), "referrers");
}

#[test]
fn names_may_hold_the_words_of_the_protocol() {
    for (target, expected) in [
        ("/v2/a/blobs/uploads/manifests/latest", "a/blobs/uploads"),
        ("/v2/a/manifests/tags/list", "a/manifests"),
        ("/v2/a/tags/list/manifests/x", "a/tags/list"),
        ("/v2/a/referrers/blobs/manifests/x", "a/referrers/blobs"),
        ("/v2/a/manifests/manifests/manifests", "a/manifests"),
        ("/v2/npm/acme/left-pad/manifests/1.3.0", "npm/acme/left-pad"),
    ] {
        match parse("GET", target).unwrap() {
            Route::ManifestGet(name, _) | Route::Tags(name, _) => assert_eq!(name.to_string(), expected),
            other => panic!("{target}: {other:?}"),
        }
    }
}

#[test]
fn malformed_targets_are_refused_before_anything_else() {
    for target in [
        "/v2/a/../b/manifests/x",
        "/v2/a/%2e%2e/b/manifests/x",
        "/v2/a%2fb/manifests/x",
        "/v2//a/b/manifests/x",
        "/v2/a/b//manifests/x",
        "/v2/a/b/manifests/",
        "/v2/a/b/manifests/.x",
        "/v2/a/b/manifests/sha256:baddigeststring",
        "/v2/A/b/manifests/x",
        "/v2/a/b;c/manifests/x",
        "/v2/a\\b/c/manifests/x",
        "/v2/a/b/manifests/x%00",
        "/v2/a/b/blobs/latest",
        "/v2/a/b/referrers/latest",
        "/v2/a/b/tags/list?n=-1",
        "/v2/a/b/tags/list?n=1e9",
        "/v2/a/b/tags/list?n=",
        "/v2/./a/b/manifests/x",
        "//v2/a/b/manifests/x",
        "/%76%32/",
    ] {
        let kind = parse("GET", target).unwrap_err().kind();
        assert!(matches!(kind, Kind::Invalid(_) | Kind::NotFound(What::Request)), "{target}: {kind:?}");
    }
    assert_eq!(parse("GET", "/v2/alpine/manifests/x").unwrap_err().kind(), Kind::NotFound(What::Name));
    assert_eq!(parse("PATCH", "/v2/a/b/blobs/uploads/xyz").unwrap_err().kind(), Kind::NotFound(What::Upload));
    assert_eq!(parse("PUT", "/v2/a/b/tags/list").unwrap_err().kind(), Kind::Method("GET, HEAD"));
    assert_eq!(parse("POST", "/v2/").unwrap_err().kind(), Kind::Method("GET, HEAD"));
    let tags = "/v2/a/b/tags/list?n=99999999999999999999999";
    assert!(matches!(parse("GET", tags).unwrap(), Route::Tags(_, Page { n: Some(MAX_PAGE), .. })));
}

proptest! {
    #[test]
    fn nothing_panics_and_nothing_escapes(target in "/(v2|token)?[a-z0-9/:%._?=&-]{0,60}") {
        if let Ok(route) = parse("GET", &target) {
            prop_assert!(ROUTES.contains(&route.name()));
        }
        // A query may say anything, and is never part of a path; so the path is looked at alone.
        let path = target.split('?').next().unwrap_or_default();
        if let Ok(route) = parse("GET", path) {
            let shown = format!("{route:?}");
            prop_assert!(!shown.contains("..") && !shown.contains("\\0"), "{}", shown);
        }
    }
}
