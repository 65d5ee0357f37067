//! The rows of the management API.

use super::{Cell, Request, Response, Sample, sample};
use crate::authz::callers::Home;

impl Cell<'_> {
    /// Below whom the packages are.
    fn root(&self) -> String {
        match self.caller.home {
            Home::User => format!("users/{}", self.caller.namespace()),
            Home::Organization | Home::OpenOrganization => format!("orgs/{}", self.caller.namespace()),
        }
    }

    fn package_name(&self) -> &str {
        self.repository.split_once('/').unwrap().1
    }

    fn api(&self, method: &'static str, path: &str) -> Request {
        self.at(method, format!("/api/v3/{path}"))
    }

    /// Something of the package.
    fn of_package(&self, method: &'static str, rest: &str) -> Request {
        let path = format!("{}/packages/container/{}{rest}", self.root(), self.package_name());
        self.api(method, &path)
    }
}

/// Whether the package is among those listed.
fn listed(cell: &Cell<'_>, answer: &Response) -> String {
    if answer.status != 200 {
        return String::new();
    }
    let all = answer.json();
    let there = all.as_array().unwrap().iter().any(|one| one["name"] == cell.package_name());
    if there { "+" } else { "-" }.to_owned()
}

pub(super) const PACKAGES: &[Sample] = &[
    Sample {
        mark: listed,
        ..sample("packages", "lists it", |cell| {
            cell.api("GET", &format!("{}/packages?package_type=container&per_page=100", cell.root()))
        })
    },
    sample("package", "", |cell| cell.of_package("GET", "")),
    sample("versions", "", |cell| cell.of_package("GET", "/versions")),
    sample("versions", "deleted", |cell| cell.of_package("GET", "/versions?state=deleted")),
    sample("version", "", |cell| cell.of_package("GET", &format!("/versions/{}", cell.world.image_digest()))),
    sample("version", "absent", |cell| cell.of_package("GET", "/versions/1")),
];

pub(super) const PEOPLE: &[Sample] = &[
    sample("api_root", "", |cell| cell.api("GET", "")),
    sample("api_meta", "", |cell| cell.api("GET", "meta")),
    sample("me", "", |cell| cell.api("GET", "user")),
    sample("my_organizations", "", |cell| cell.api("GET", "user/orgs")),
    sample("my_memberships", "", |cell| cell.api("GET", "user/memberships/orgs")),
    sample("packages", "own", |cell| cell.api("GET", "user/packages")),
    sample("user", "", |cell| cell.api("GET", "users/olga")),
    sample("user", "absent", |cell| cell.api("GET", "users/nobody")),
    sample("organization", "", |cell| cell.api("GET", "orgs/acme")),
    sample("organization", "absent", |cell| cell.api("GET", "orgs/nobody")),
    sample("docker_conflicts", "", |cell| cell.api("GET", &format!("{}/docker/conflicts", cell.root()))),
];
