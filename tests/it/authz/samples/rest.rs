//! The rows of the management API.

use super::{Cell, Effect, Package, Request, Response, Sample, sample};
use crate::{authz::callers::Home, support::Client};

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

    pub(super) fn api(&self, method: &'static str, path: &str) -> Request {
        self.at(method, format!("/api/v3/{path}"))
    }

    /// Something of the package.
    fn of_package(&self, method: &'static str, rest: &str) -> Request {
        let path = format!("{}/packages/container/{}{rest}", self.root(), self.package_name());
        self.api(method, &path)
    }
}

impl<'a> Cell<'a> {
    pub(super) fn manager(&self) -> Client {
        self.world.manager(self.caller.home)
    }

    /// Another package like this one, on which the caller has what it has here: to be changed by this cell alone.
    fn twin(&self) -> Cell<'a> {
        let Cell { world, caller, package, .. } = *self;
        let number = world.number();
        let twin =
            Cell { world, caller, package, repository: format!("{}/twin{number}", caller.namespace()) };
        if package == Package::Absent {
            return twin;
        }
        self.owner().push_image(&twin.repository, "latest", 1);
        let manager = self.manager();
        let send = |method: &'static str, rest: &str, body: String| {
            let target = twin.of_package(method, rest).target;
            manager.send(method, &target, &[], body.as_bytes()).expect(200);
        };
        let role = match caller.user {
            "rita" if package == Package::Private => Some(("users/rita", "read")),
            "wren" => Some(("users/wren", "write")),
            "sue" => Some(("users/sue", "write")),
            "adam" => Some(("users/adam", "admin")),
            _ if caller.home == Home::Organization => Some(("teams/eng", "write")),
            _ => None,
        };
        if let Some((whom, role)) = role {
            send("PUT", &format!("/access/{whom}"), format!(r#"{{"role":"{role}"}}"#));
        }
        if package == Package::Public {
            let body = format!(r#"{{"visibility":"public","confirm":"{}"}}"#, twin.repository);
            send("PATCH", "", body);
        }
        twin
    }

    /// A version of its own, deleted or not.
    fn version(&self, deleted: bool) -> String {
        let (tag, digest) = self.doomed();
        if deleted && self.package != Package::Absent {
            self.owner().delete(&format!("/v2/{}/manifests/{digest}", self.repository)).expect(202);
            assert!(tag.starts_with('t'));
        }
        digest
    }

    fn manifest(&self, reference: &str) -> String {
        format!("/v2/{}/manifests/{reference}", self.repository)
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
    sample("deleted_packages", "", |cell| {
        cell.api("GET", &format!("{}/packages?state=deleted", cell.root()))
    }),
    sample("package", "", |cell| cell.of_package("GET", "")),
    sample("versions", "", |cell| cell.of_package("GET", "/versions")),
    sample("versions", "deleted", |cell| cell.of_package("GET", "/versions?state=deleted")),
    sample("version", "", |cell| cell.of_package("GET", &format!("/versions/{}", cell.world.image_digest()))),
    sample("version", "absent", |cell| cell.of_package("GET", "/versions/1")),
];

pub(super) fn ends(cell: &Cell<'_>, seen_by: Client, target: String, request: Request) -> Request {
    let there = cell.package != Package::Absent;
    Request { effect: if there { Effect::Ends(seen_by, target) } else { Effect::None }, ..request }
}

pub(super) fn makes(cell: &Cell<'_>, seen_by: Client, target: String, request: Request) -> Request {
    let there = cell.package != Package::Absent;
    Request { effect: if there { Effect::Makes(seen_by, target) } else { Effect::None }, ..request }
}

pub(super) fn with(request: Request, body: String) -> Request {
    Request { body: body.into_bytes(), ..request }
}

/// Makes what is private public, and the other way round.
fn change(cell: &Cell<'_>) -> Request {
    let twin = cell.twin();
    let to = if cell.package == Package::Public { "private" } else { "public" };
    let body = format!(r#"{{"visibility":"{to}","confirm":"{}"}}"#, twin.repository);
    let request = with(twin.of_package("PATCH", ""), body);
    let (anybody, seen) = (cell.world.server.anonymous(), twin.manifest("latest"));
    match cell.package {
        Package::Public => ends(cell, anybody, seen, request),
        Package::Private | Package::Absent => makes(cell, anybody, seen, request),
    }
}

const RHEA: &str = "/access/users/rhea";

fn give_rhea(cell: &Cell<'_>) {
    if cell.package != Package::Absent {
        let target = cell.of_package("PUT", RHEA).target;
        cell.manager().put(&target, br#"{"role":"read"}"#).expect(200);
    }
}

pub(super) const CHANGES: &[Sample] = &[
    sample("package_change", "visibility", change),
    sample("package_delete", "", |cell| {
        let twin = cell.twin();
        ends(cell, cell.owner(), twin.manifest("latest"), twin.of_package("DELETE", ""))
    }),
    sample("package_restore", "", |cell| {
        let twin = cell.twin();
        if cell.package != Package::Absent {
            cell.owner().delete(&twin.of_package("DELETE", "").target).expect(204);
        }
        makes(cell, cell.owner(), twin.manifest("latest"), twin.of_package("POST", "/restore"))
    }),
    sample("version_delete", "", |cell| {
        let digest = cell.version(false);
        let request = cell.of_package("DELETE", &format!("/versions/{digest}"));
        ends(cell, cell.owner(), cell.manifest(&digest), request)
    }),
    sample("version_restore", "", |cell| {
        let digest = cell.version(true);
        let request = cell.of_package("POST", &format!("/versions/{digest}/restore"));
        makes(cell, cell.owner(), cell.manifest(&digest), request)
    }),
    sample("access", "", |cell| cell.of_package("GET", "/access")),
    sample("access_get", "", |cell| {
        let twin = cell.twin();
        give_rhea(&twin);
        twin.of_package("GET", RHEA)
    }),
    sample("access_put", "", |cell| {
        let twin = cell.twin();
        let request = twin.of_package("PUT", RHEA);
        let target = request.target.clone();
        makes(cell, cell.manager(), target, with(request, r#"{"role":"write"}"#.into()))
    }),
    sample("access_delete", "", |cell| {
        let twin = cell.twin();
        give_rhea(&twin);
        let request = twin.of_package("DELETE", RHEA);
        let target = request.target.clone();
        ends(cell, cell.manager(), target, request)
    }),
    sample("link", "", |cell| cell.of_package("GET", "/link")),
    sample("link_put", "", |cell| {
        let twin = cell.twin();
        let source = super::repositories::source(cell);
        let request = twin.of_package("PUT", "/link");
        let body = format!(r#"{{"repository":"{}/{source}"}}"#, cell.caller.namespace());
        makes(cell, cell.manager(), request.target.clone(), with(request, body))
    }),
    sample("link_delete", "", |cell| {
        let twin = cell.twin();
        let request = twin.of_package("DELETE", "/link");
        if cell.package != Package::Absent {
            let source = super::repositories::source(cell);
            let body = format!(r#"{{"repository":"{}/{source}"}}"#, cell.caller.namespace());
            cell.manager().put(&request.target, body.as_bytes()).expect(204);
        }
        ends(cell, cell.manager(), request.target.clone(), request)
    }),
    sample("workflows", "", |cell| cell.of_package("GET", "/access/workflows")),
    sample("workflow_put", "", |cell| {
        let twin = cell.twin();
        let source = super::repositories::source(cell);
        let path = format!("/access/workflows/{}/{source}", cell.caller.namespace());
        with(twin.of_package("PUT", &path), r#"{"role":"read"}"#.into())
    }),
    sample("workflow_delete", "", |cell| {
        let twin = cell.twin();
        let source = super::repositories::source(cell);
        let path = format!("/access/workflows/{}/{source}", cell.caller.namespace());
        let request = twin.of_package("DELETE", &path);
        if cell.package != Package::Absent {
            cell.manager().put(&request.target, br#"{"role":"read"}"#).expect(204);
        }
        request
    }),
    sample("policy", "package", |cell| cell.of_package("GET", "/policy")),
    sample("policy_put", "package", |cell| {
        let twin = cell.twin();
        let request = twin.of_package("PUT", "/policy");
        let target = request.target.clone();
        makes(cell, cell.manager(), target, with(request, r#"{"immutable":["v*"]}"#.into()))
    }),
    sample("policy_delete", "package", |cell| {
        let twin = cell.twin();
        let request = twin.of_package("DELETE", "/policy");
        let target = request.target.clone();
        if cell.package != Package::Absent {
            cell.manager().put(&target, br#"{"immutable":["v*"]}"#).expect(200);
        }
        ends(cell, cell.manager(), target, request)
    }),
    sample("permission", "", |cell| cell.of_package("GET", "/permission")),
    sample("permission_of", "", |cell| cell.of_package("GET", "/permission/rhea?action=push")),
];

pub(super) const PEOPLE: &[Sample] = &[
    sample("api_root", "", |cell| cell.api("GET", "")),
    sample("api_meta", "", |cell| cell.api("GET", "meta")),
    sample("api_description", "", |cell| cell.api("GET", "openapi.json")),
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
