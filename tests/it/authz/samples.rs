//! A request at least for every route: the rows of the matrix.

mod organizations;
mod repositories;
mod rest;

use serde_json::Value;

use super::{
    callers::{Caller, Home, Presents},
    world::World,
};
use crate::support::{
    Client, Response,
    content::{self, OCI_INDEX, sha256},
};

/// A package of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Package {
    Private,
    Public,
    Absent,
}

/// One cell: who asks, of what.
pub(super) struct Cell<'a> {
    pub(super) world: &'a World,
    pub(super) caller: &'a Caller,
    pub(super) package: Package,
    /// The repository; an absent one is another in every cell.
    pub(super) repository: String,
}

/// What to send.
pub(super) struct Request {
    pub(super) client: Client,
    pub(super) method: &'static str,
    pub(super) target: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
    pub(super) effect: Effect,
}

/// What a request does if it is allowed, seen by the owner at an address.
pub(super) enum Effect {
    None,
    /// It is there afterwards, and not if it was refused.
    Makes(Client, String),
    /// It is gone afterwards, and still there if it was refused.
    Ends(Client, String),
}

/// A row.
pub(super) struct Sample {
    pub(super) route: &'static str,
    /// Tells apart several of one route.
    pub(super) variant: &'static str,
    pub(super) make: fn(&Cell<'_>) -> Request,
    /// What the cell shows besides the status.
    pub(super) mark: fn(&Cell<'_>, &Response) -> String,
}

impl<'a> Cell<'a> {
    pub(super) fn new(world: &'a World, caller: &'a Caller, package: Package) -> Self {
        let name = match package {
            Package::Private => "private".to_owned(),
            Package::Public => "public".to_owned(),
            Package::Absent => format!("absent{}", world.number()),
        };
        Self { world, caller, package, repository: format!("{}/{name}", caller.namespace()) }
    }

    fn is_there(&self) -> bool {
        self.package != Package::Absent
    }

    fn owner(&self) -> Client {
        self.world.owner(self.caller.home)
    }

    fn request(&self, method: &'static str, path: &str) -> Request {
        self.at(method, format!("/v2/{}/{path}", self.repository))
    }

    fn at(&self, method: &'static str, target: String) -> Request {
        let client = self.caller.client(self.world, &self.repository);
        Request { client, method, target, headers: Vec::new(), body: Vec::new(), effect: Effect::None }
    }

    /// A tag of its own on a manifest of its own; says the tag and the digest.
    fn doomed(&self) -> (String, String) {
        let (value, tag) = (self.world.manifest(), format!("t{}", self.world.number()));
        if self.is_there() {
            self.owner().put_manifest(&self.repository, &tag, &value).expect(201);
        }
        (tag, sha256(&content::bytes(&value)))
    }

    /// A blob of its own that only a private package of olga's holds.
    fn canary(&self) -> String {
        self.world.owner(Home::User).push_blob("olga/secret", &self.world.blob())
    }

    /// A session, the caller's own where it could have opened one.
    fn session(&self) -> (Client, String) {
        let target = format!("/v2/{}/blobs/uploads/", self.repository);
        if !self.is_there() {
            return (self.owner(), format!("{target}0123456789abcdef0123456789abcdef?at=0"));
        }
        if let Some(own) = self.caller.at_its_best(self.world) {
            let begun = own.post(&target, b"");
            if begun.status == 202 {
                return (own, begun.header("location").unwrap().to_owned());
            }
        }
        let owner = self.owner();
        let place = owner.begin(&self.repository);
        (owner, place)
    }
}

fn nothing(_: &Cell<'_>, _: &Response) -> String {
    String::new()
}

/// Whether the repository is among those listed.
fn listed(cell: &Cell<'_>, answer: &Response) -> String {
    let named = |value: &Value| {
        value["repositories"].as_array().is_some_and(|all| all.contains(&cell.repository.as_str().into()))
    };
    if answer.status != 200 {
        String::new()
    } else {
        if named(&answer.json()) { "+" } else { "-" }.to_owned()
    }
}

/// Whether referrers are listed.
fn referred(_: &Cell<'_>, answer: &Response) -> String {
    let some = |value: &Value| value["manifests"].as_array().is_some_and(|all| !all.is_empty());
    if answer.status != 200 { String::new() } else { if some(&answer.json()) { "+" } else { "-" }.to_owned() }
}

/// The verbs granted: p, w, d.
fn granted(_: &Cell<'_>, answer: &Response) -> String {
    if answer.status != 200 {
        return String::new();
    }
    let value = answer.json();
    let verbs = value["scope"].as_str().unwrap_or_default().rsplit(':').next().unwrap_or_default().to_owned();
    let letters = [("pull", "p"), ("push", "w"), ("delete", "d")];
    let found: String =
        letters.iter().filter(|(verb, _)| verbs.split(',').any(|v| v == *verb)).map(|(_, l)| *l).collect();
    if found.is_empty() { "-".to_owned() } else { found }
}

const fn sample(route: &'static str, variant: &'static str, make: fn(&Cell<'_>) -> Request) -> Sample {
    Sample { route, variant, make, mark: nothing }
}

/// The rows about a package, in their order.
pub(super) const SAMPLES: &[&[Sample]] = &[OCI, rest::PACKAGES, rest::CHANGES];

/// The rows about none.
pub(super) const ONCE: &[&[Sample]] =
    &[rest::PEOPLE, organizations::ROWS, organizations::ADMIN, repositories::ROWS];

const OCI: &[Sample] = &[
    sample("ping", "", |cell| cell.at("GET", "/v2/".into())),
    Sample {
        mark: listed,
        ..sample("catalog", "lists it", |cell| cell.at("GET", "/v2/_catalog?n=1000".into()))
    },
    sample("discover", "registry", |cell| cell.at("GET", "/v2/_oci/ext/discover".into())),
    sample("discover", "", |cell| cell.request("GET", "_oci/ext/discover")),
    sample("token_get", "", |cell| {
        cell.at("GET", format!("/token?scope=repository:{}:pull,push,delete", cell.repository))
    }),
    Sample { mark: granted, ..sample("token_post", "grants", token_form) },
    sample("tags", "", |cell| cell.request("GET", "tags/list")),
    sample("manifest_get", "tag", |cell| cell.request("GET", "manifests/latest")),
    sample("manifest_get", "digest", |cell| {
        cell.request("GET", &format!("manifests/{}", cell.world.image_digest()))
    }),
    sample("manifest_get", "absent", |cell| cell.request("GET", "manifests/absent")),
    sample("manifest_head", "", |cell| cell.request("HEAD", "manifests/latest")),
    sample("manifest_put", "new tag", |cell| put(cell, format!("t{}", cell.world.number()))),
    sample("manifest_put", "moves tag", |cell| {
        let (tag, _) = cell.doomed();
        Request { effect: Effect::None, ..put(cell, tag) }
    }),
    sample("manifest_delete", "", |cell| {
        let (_, digest) = cell.doomed();
        ends(cell, &format!("manifests/{digest}"))
    }),
    sample("tag_delete", "", |cell| {
        let (tag, _) = cell.doomed();
        ends(cell, &format!("manifests/{tag}"))
    }),
    sample("blob_get", "", |cell| cell.request("GET", &format!("blobs/{}", layer(cell)))),
    sample("blob_get", "absent", |cell| cell.request("GET", &format!("blobs/{}", sha256(b"never pushed")))),
    sample("blob_head", "", |cell| cell.request("HEAD", &format!("blobs/{}", layer(cell)))),
    sample("blob_delete", "", |cell| {
        let bytes = cell.world.blob();
        if cell.is_there() {
            cell.owner().push_blob(&cell.repository, &bytes);
        }
        ends(cell, &format!("blobs/{}", sha256(&bytes)))
    }),
    sample("upload_begin", "", |cell| cell.request("POST", "blobs/uploads/")),
    sample("blob_post", "", |cell| {
        let bytes = cell.world.blob();
        let digest = sha256(&bytes);
        let made = format!("/v2/{}/blobs/{digest}", cell.repository);
        let request = cell.request("POST", &format!("blobs/uploads/?digest={digest}"));
        Request { body: bytes, effect: Effect::Makes(cell.owner(), made), ..request }
    }),
    sample("blob_mount", "public", |cell| {
        cell.request("POST", &format!("blobs/uploads/?mount={}&from=olga/open", cell.world.open))
    }),
    sample("blob_mount", "secret", |cell| {
        cell.request("POST", &format!("blobs/uploads/?mount={}&from=olga/secret", cell.canary()))
    }),
    sample("blob_mount", "anywhere", |cell| {
        cell.request("POST", &format!("blobs/uploads/?mount={}", cell.canary()))
    }),
    sample("upload_status", "", |cell| cell.at("GET", cell.session().1)),
    sample("upload_patch", "", |cell| Request { body: b"x".to_vec(), ..cell.at("PATCH", cell.session().1) }),
    sample("upload_put", "", |cell| {
        let bytes = cell.world.blob();
        let target = format!("{}&digest={}", cell.session().1, sha256(&bytes));
        let made = format!("/v2/{}/blobs/{}", cell.repository, sha256(&bytes));
        Request { body: bytes, effect: Effect::Makes(cell.owner(), made), ..cell.at("PUT", target) }
    }),
    sample("upload_cancel", "", |cell| {
        let (opener, place) = cell.session();
        let effect = if cell.is_there() { Effect::Ends(opener, place.clone()) } else { Effect::None };
        Request { effect, ..cell.at("DELETE", place) }
    }),
    Sample {
        mark: referred,
        ..sample("referrers", "lists some", |cell| {
            cell.request("GET", &format!("referrers/{}", cell.world.image_digest()))
        })
    },
    sample("health", "live", |cell| cell.at("GET", "/healthz".into())),
    sample("health", "ready", |cell| cell.at("GET", "/readyz".into())),
];

fn layer(cell: &Cell<'_>) -> String {
    cell.world.image["layers"][0]["digest"].as_str().unwrap().to_owned()
}

fn put(cell: &Cell<'_>, tag: String) -> Request {
    let value = cell.world.manifest();
    let made = format!("/v2/{}/manifests/{tag}", cell.repository);
    let request = cell.request("PUT", &format!("manifests/{tag}"));
    Request {
        headers: vec![("Content-Type", OCI_INDEX.to_owned())],
        body: content::bytes(&value),
        effect: Effect::Makes(cell.owner(), made),
        ..request
    }
}

fn ends(cell: &Cell<'_>, path: &str) -> Request {
    let request = cell.request("DELETE", path);
    let effect =
        if cell.is_there() { Effect::Ends(cell.owner(), request.target.clone()) } else { Effect::None };
    Request { effect, ..request }
}

/// The form carries the credentials; who has none that fit into it sends what it has beside it.
fn token_form(cell: &Cell<'_>) -> Request {
    let scope = format!("repository:{}:pull,push,delete", cell.repository);
    let (user, secret) = match cell.caller.presents {
        Presents::Token => (cell.caller.user, cell.world.secret(cell.caller.user, cell.caller.token)),
        Presents::Password => (cell.caller.user, super::world::PASSWORD),
        Presents::Nothing | Presents::Bearer(_) => ("", ""),
    };
    let mut request = cell.at("POST", "/token".into());
    if !user.is_empty() {
        request.client = cell.world.server.anonymous();
    }
    let form = format!(
        "grant_type=password&service=x&username={user}&password={}&scope={scope}",
        secret.replace(' ', "+")
    );
    Request {
        headers: vec![("Content-Type", "application/x-www-form-urlencoded".into())],
        body: form.into_bytes(),
        ..request
    }
}
