//! What paths mean.

use http::{HeaderMap, Uri};
use proptest::prelude::*;

use super::*;

fn parsed(method: &str, target: &str) -> Result<Route> {
    let uri: Uri = target.parse().map_err(|_| Error::not_found(What::Request, "no target"))?;
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    Rest::parse(Head { method: &method, uri: &uri, headers: &HeaderMap::new() })
}

fn name(method: &str, path: &str) -> &'static str {
    Rest::name(&parsed(method, &format!("/api/v3{path}")).unwrap())
}

#[test]
fn every_endpoint() {
    assert_eq!(name("GET", ""), "api_root");
    assert_eq!(name("HEAD", "/"), "api_root");
    assert_eq!(name("GET", "/meta"), "api_meta");
    assert_eq!(name("GET", "/user"), "me");
    assert_eq!(name("GET", "/users/ada"), "user");
    assert_eq!(name("GET", "/orgs/acme"), "organization");
    for root in ["/user", "/users/ada", "/orgs/acme"] {
        assert_eq!(name("GET", &format!("{root}/packages?package_type=container")), "packages");
        assert_eq!(name("GET", &format!("{root}/packages/container/a%2Fb")), "package");
        assert_eq!(name("GET", &format!("{root}/packages/container/a/versions")), "versions");
        assert_eq!(name("GET", &format!("{root}/packages/container/a/versions/5")), "version");
        assert_eq!(name("GET", &format!("{root}/docker/conflicts")), "docker_conflicts");
    }
}

/// What the document says is there, and nothing that is there is missing in it.
#[test]
fn the_document_names_every_route() {
    let document: Value = serde_json::from_str(root::DESCRIPTION).unwrap();
    let mut described = std::collections::BTreeSet::from(["deleted_packages"]);
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let mut target = path.clone();
            for parameter in operation["parameters"].as_array().unwrap() {
                let name = parameter["name"].as_str().unwrap_or_default();
                if parameter["in"] != "path" {
                    continue;
                }
                let sample = match name {
                    "package_type" => "container",
                    "package_version_id" => "7",
                    "token_id" => "0123456789abcdef",
                    _ => "some",
                };
                target = target.replace(&format!("{{{name}}}"), sample);
            }
            assert!(!target.contains('{'), "a parameter of {path} is not described");
            let route = operation["x-route"].as_str().unwrap();
            assert_eq!(name(&method.to_uppercase(), &target), route, "{method} {path}");
            described.insert(NAMES.iter().find(|name| **name == route).copied().unwrap());
        }
    }
    let missing: Vec<_> = NAMES.iter().filter(|name| !described.contains(*name)).collect();
    assert!(missing.is_empty(), "the document lacks {missing:?}");
}

#[test]
fn what_is_no_endpoint() {
    for (method, path) in [
        ("GET", "/api"),
        ("GET", "/api/v2/user"),
        ("GET", "/api/v3x"),
        ("GET", "/api/v3/user/"),
        ("GET", "/api/v3//user"),
        ("POST", "/api/v3/user"),
        ("GET", "/api/v3/orgs/acme/packages/container/a/b"),
        ("GET", "/api/v3/orgs/ac%00me"),
        ("GET", "/api/v3/orgs/%ff"),
        ("GET", "/api/v3/orgs/acme/packages/container/a/versions/+5"),
        ("GET", "/api/v3/orgs/acme/packages/container/a/versions/-5"),
    ] {
        let error = parsed(method, path).unwrap_err();
        assert!(matches!(error.kind(), crate::error::Kind::NotFound(_)), "{method} {path}");
    }
    for path in [
        "/api/v3/user/packages?package_type=apk",
        "/api/v3/user/packages?visibility=secret",
        "/api/v3/user/packages?page=a",
        "/api/v3/orgs/acme/packages/container/a/versions?state=gone",
    ] {
        assert!(matches!(parsed("GET", path).unwrap_err().kind(), crate::error::Kind::Invalid(_)), "{path}");
    }
}

proptest! {
    #[test]
    fn nothing_panics(method in "GET|POST|PUT|PATCH|DELETE", path in "/api/v3(/[a-z0-9%._:-]{0,8}){0,7}(\\?[a-z=&0-9%]{0,16})?") {
        let _ = parsed(&method, &path);
    }
}
