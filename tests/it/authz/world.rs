//! The daemon, users, packages and tokens of the matrix.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use serde_json::{Value, json};

use super::callers::Home;
use crate::support::{
    Client, Server,
    content::{self, OCI_INDEX, OCI_MANIFEST, sha256},
};

pub(super) const PASSWORD: &str = "correct horse battery";

const ALL: [&str; 3] = ["read:packages", "write:packages", "delete:packages"];

/// Everything that is there before anybody asks.
pub(super) struct World {
    pub(super) server: Server,
    secrets: BTreeMap<(&'static str, &'static str), String>,
    next: AtomicU64,
    /// The image in every package, under `latest`.
    pub(super) image: Value,
    /// A blob that a public package outside the matrix holds.
    pub(super) open: String,
}

impl World {
    pub(super) fn new() -> Self {
        let server = Server::with(&[
            ("PACKHOUSE_LIMITS_SESSIONS_PER_CALLER", "1000000"),
            ("PACKHOUSE_LIMITS_PENDING_PER_OWNER", "1000000"),
        ]);
        let mut secrets = BTreeMap::new();
        for user in
            ["olga", "rita", "wren", "adam", "stan", "memo", "orla", "sue", "rhea", "tess", "basil", "exa"]
        {
            server.user(user, PASSWORD);
            secrets.insert((user, "all"), server.token(user, &ALL));
        }
        secrets.insert(
            ("admin", "all"),
            server.token("admin", &["read:packages", "write:packages", "delete:packages", "admin"]),
        );
        for scope in ["read:packages", "write:packages", "delete:packages", "admin"] {
            secrets.insert(("olga", scope), server.token("olga", &[scope]));
        }
        server.user("mina", PASSWORD);
        for user in ["stan", "adam", "olga", "memo", "orla", "mina"] {
            secrets.insert((user, "manage"), server.token(user, &[&ALL[..], &["admin"]].concat()));
        }
        secrets.insert(("mina", "all"), server.token("mina", &ALL));
        server.admin_ok(&["org", "add", "acme", "--owner", "orla"]);
        server.admin_ok(&["org", "member", "add", "acme", "memo"]);
        server.admin_ok(&["org", "add", "beta", "--owner", "orla"]);
        server.admin_ok(&["org", "base-role", "beta", "read"]);
        server.admin_ok(&["org", "member", "add", "beta", "basil"]);
        server.admin_ok(&["team", "add", "acme/eng"]);
        server.admin_ok(&["team", "add", "acme/core", "--under", "eng"]);
        server.admin_ok(&["org", "member", "add", "acme", "mina"]);
        // Who cannot sign in any more: roles and teams that are tried on her change nobody's cell.
        server.admin_ok(&["org", "member", "add", "acme", "rhea"]);
        server.admin_ok(&["team", "member", "add", "acme/eng", "mina", "--maintainer"]);
        for robot in ["acme+ci", "olga+idle"] {
            server.admin_ok(&["robot", "create", robot]);
            let scopes = ALL.map(|scope| ["--scope", scope]).concat();
            let args = [&["robot", "token", robot], scopes.as_slice()].concat();
            secrets.insert((robot, "robot"), server.admin_ok(&args));
        }
        for user in ["tess", "exa"] {
            server.admin_ok(&["org", "member", "add", "acme", user]);
            server.admin_ok(&["team", "member", "add", "acme/core", user]);
        }
        let mut world =
            Self { server, secrets, next: AtomicU64::new(0), image: Value::Null, open: String::new() };
        world.furnish();
        world.limit_tokens();
        world.end_tokens();
        world
    }

    fn furnish(&mut self) {
        for (home, namespace) in
            [(Home::User, "olga"), (Home::Organization, "acme"), (Home::OpenOrganization, "beta")]
        {
            let owner = self.owner(home);
            for visibility in ["private", "public"] {
                let repository = format!("{namespace}/{visibility}");
                self.image = owner.push_image(&repository, "latest", 1);
                let mut referrer = self.manifest();
                referrer["subject"] = content::descriptor(OCI_MANIFEST, &content::bytes(&self.image));
                owner.put_manifest(&repository, "referrer", &referrer).expect(201);
                self.server.admin_ok(&["package", "visibility", &repository, visibility]);
            }
        }
        self.server.admin_ok(&["package", "grant", "olga/private", "rita", "read"]);
        for package in ["olga/private", "olga/public"] {
            for (user, role) in [("wren", "write"), ("adam", "admin"), ("sue", "write"), ("acme+ci", "write")]
            {
                self.server.admin_ok(&["package", "grant", package, user, role]);
            }
        }
        for package in ["acme/private", "acme/public"] {
            self.server.admin_ok(&["package", "grant", package, "team:acme/eng", "write"]);
        }
        let exa = self.server.anonymous().basic("exa", self.secret("exa", "all"));
        exa.get("/v2/acme/private/manifests/latest").expect(200);
        self.server.admin_ok(&["org", "member", "remove", "acme", "exa"]);
        let olga = self.owner(Home::User);
        olga.push_image("olga/secret", "latest", 2);
        self.open =
            olga.push_image("olga/open", "latest", 3)["layers"][0]["digest"].as_str().unwrap().to_owned();
        self.server.admin_ok(&["package", "visibility", "olga/open", "public"]);
    }

    /// The owner's tokens with limits.
    fn limit_tokens(&mut self) {
        for (token, limits) in [
            ("package", &["--package", "olga/private"][..]),
            ("pull", &["--action", "pull", "--network", "127.0.0.0/8"]),
            ("elsewhere", &["--owner", "acme"]),
            ("network", &["--network", "192.0.2.0/24"]),
        ] {
            let scopes = ALL.map(|scope| ["--scope", scope]).concat();
            let args = [&["token", "create", "--user", "olga"], scopes.as_slice(), limits].concat();
            self.secrets.insert(("olga", token), self.server.admin_ok(&args));
        }
    }

    /// Ends the tokens that must have ended.
    fn end_tokens(&mut self) {
        self.server.admin_ok(&["user", "suspend", "sue"]);
        self.server.revoke_tokens("rhea");
        let args = ["token", "create", "--user", "olga", "--expires", "1s"];
        let scopes = ALL.map(|scope| ["--scope", scope]).concat();
        let expired = self.server.admin_ok(&[args.as_slice(), &scopes].concat());
        let client = self.server.anonymous().basic("olga", &expired);
        while client.get("/v2/").status != 401 {
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        self.secrets.insert(("olga", "expired"), expired);
    }

    pub(super) fn secret(&self, user: &'static str, token: &'static str) -> &str {
        &self.secrets[&(user, token)]
    }

    /// Who may do everything in a name space.
    pub(super) fn owner(&self, home: Home) -> Client {
        let user = match home {
            Home::User => "olga",
            Home::Organization | Home::OpenOrganization => "orla",
        };
        self.server.anonymous().basic(user, self.secret(user, "all"))
    }

    /// The same, with a token for managing besides.
    pub(super) fn manager(&self, home: Home) -> Client {
        let user = match home {
            Home::User => "olga",
            Home::Organization | Home::OpenOrganization => "orla",
        };
        self.server.anonymous().basic(user, self.secret(user, "manage"))
    }

    /// Who runs the installation.
    pub(super) fn administrator(&self) -> Client {
        self.server.anonymous().basic("admin", self.secret("admin", "all"))
    }

    pub(super) fn number(&self) -> u64 {
        self.next.fetch_add(1, Relaxed)
    }

    /// An index that nobody else has.
    pub(super) fn manifest(&self) -> Value {
        let number = self.number().to_string();
        json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], "annotations": {"number": number}})
    }

    /// A blob that nobody else has.
    pub(super) fn blob(&self) -> Vec<u8> {
        format!("blob {}", self.number()).into_bytes()
    }

    pub(super) fn image_digest(&self) -> String {
        sha256(&content::bytes(&self.image))
    }
}
