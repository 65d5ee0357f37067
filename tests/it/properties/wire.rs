//! The same over HTTP, where a caller sees statuses, headers and bodies: P12 to P15.

use std::collections::BTreeMap;

use proptest::{prelude::*, strategy::ValueTree as _};
use serde_json::{Value, json};

use crate::support::{
    Client, Response, Server,
    content::{self, OCI_INDEX, OCI_MANIFEST, sha256},
};

const PASSWORD: &str = "correct horse battery";

/// A daemon in which ada has a package that nobody else may read; what is in it goes by `content`.
struct Side {
    server: Server,
    tokens: BTreeMap<&'static str, String>,
}

/// Everything that differs between the two: the number in each layer, and how much there is of it. 0: not even a package.
fn side(content: u64) -> Side {
    let server = Server::with(&[
        ("PACKHOUSE_LIMITS_SESSIONS_PER_CALLER", "100000"),
        ("PACKHOUSE_LIMITS_PENDING_PER_OWNER", "100000"),
    ]);
    let mut tokens = BTreeMap::new();
    for user in ["ada", "carl", "memo"] {
        server.user(user, PASSWORD);
        tokens.insert(user, server.token(user, &["read:packages", "write:packages", "delete:packages"]));
    }
    server.admin_ok(&["org", "add", "acme", "--owner", "ada"]);
    server.admin_ok(&["org", "member", "add", "acme", "memo"]);
    server.admin_ok(&["org", "add", "beta", "--owner", "carl"]);
    server.admin_ok(&["team", "add", "acme/core"]);
    server.admin_ok(&["team", "member", "add", "acme/core", "memo"]);
    let ada = server.anonymous().basic("ada", &tokens["ada"]);
    let image = ada.push_image("ada/open", "latest", 7);
    server.admin_ok(&["package", "visibility", "ada/open", "public"]);
    for number in 0..content {
        let image = ada.push_image("ada/secret", &format!("v{number}"), 100 * content + number);
        let referrer = json!({
            "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [],
            "artifactType": format!("application/x-{content}"),
            "subject": content::descriptor(OCI_MANIFEST, &content::bytes(&image)),
        });
        ada.put_manifest("ada/secret", &format!("r{number}"), &referrer).expect(201);
    }
    if content > 1 {
        server.admin_ok(&["package", "grant", "ada/secret", "org:beta", "read"]);
        server.admin_ok(&["package", "grant", "ada/secret", "carl", "none"]);
        server.admin_ok(&["package", "grant", "ada/secret", "org:beta", "none"]);
    }
    drop(image);
    Side { server, tokens }
}

/// One request of a sequence.
#[derive(Debug, Clone)]
struct Step {
    caller: usize,
    method: &'static str,
    target: usize,
    bearer: bool,
}

/// Who has no business in the package: nobody in particular, a stranger, a member of an organization of the owner's, a
/// wrong password.
const CALLERS: usize = 4;

/// Digests that are in one of the sides, in both or in none; a name is known to whoever guesses well.
fn digests() -> Vec<String> {
    let in_one = sha256(&content::bytes(&json!({"schemaVersion": 2})));
    let layer = |number: u64| sha256(&content::noise(number, 2000));
    vec![in_one, layer(100), layer(200), layer(201), layer(7)]
}

fn targets() -> Vec<String> {
    let mut all = vec![
        "/v2/".to_owned(),
        "/v2/_catalog".to_owned(),
        "/v2/_catalog?n=1&last=ada%2Fa".to_owned(),
        "/v2/ada/secret/tags/list".to_owned(),
        "/v2/ada/open/tags/list".to_owned(),
        "/v2/ada/secret/manifests/v0".to_owned(),
        "/v2/ada/secret/manifests/v1".to_owned(),
        "/v2/ada/secret/blobs/uploads/".to_owned(),
        "/v2/ada/secret/blobs/uploads/0123456789abcdef0123456789abcdef?at=0".to_owned(),
        "/token?service=packhouse&scope=repository:ada/secret:pull,push,delete".to_owned(),
        "/token?service=packhouse&scope=repository:ada/open:pull".to_owned(),
        "/v2/ada/secret/_oci/ext/discover".to_owned(),
        "/v2/ADA/secret/tags/list".to_owned(),
        "/nowhere".to_owned(),
    ];
    for digest in digests() {
        all.push(format!("/v2/ada/secret/manifests/{digest}"));
        all.push(format!("/v2/ada/secret/blobs/{digest}"));
        all.push(format!("/v2/ada/open/blobs/{digest}"));
        all.push(format!("/v2/ada/secret/referrers/{digest}"));
        all.push(format!("/v2/carl/own/blobs/uploads/?mount={digest}&from=ada%2Fsecret"));
        all.push(format!("/v2/carl/own/blobs/uploads/?mount={digest}"));
        all.push(format!("/v2/ada/secret/blobs/uploads/?digest={digest}"));
    }
    all
}

fn step() -> impl Strategy<Value = Step> {
    let method = prop::sample::select(vec!["GET", "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"]);
    (0..CALLERS, method, 0..targets().len(), any::<bool>())
        .prop_map(|(caller, method, target, bearer)| Step { caller, method, target, bearer })
}

impl Side {
    fn client(&self, step: &Step) -> Client {
        let anonymous = self.server.anonymous();
        let user = ["", "carl", "memo", "nobody"][step.caller];
        let client = match step.caller {
            0 => anonymous,
            3 => anonymous.basic(user, "a wrong password"),
            _ => anonymous.basic(user, &self.tokens[user]),
        };
        if !step.bearer || step.caller == 3 {
            return client;
        }
        let asked = client.get("/token?service=packhouse&scope=repository:ada/secret:pull,push").expect(200);
        self.server.anonymous().bearer(asked.json()["token"].as_str().unwrap())
    }

    fn answers(&self, step: &Step) -> String {
        let body: &[u8] = if step.method == "PUT" { b"{\"schemaVersion\":2}" } else { b"" };
        let headers: &[_] = if step.method == "PUT" { &[("Content-Type", OCI_MANIFEST)] } else { &[] };
        let answer = self.client(step).send(step.method, &targets()[step.target], headers, body);
        plain(&answer, &self.server.address)
    }
}

/// An answer without what is made anew for each one.
fn plain(answer: &Response, address: &str) -> String {
    let mut text = format!("{}\n", answer.status);
    for (name, value) in &answer.headers {
        let name = name.to_lowercase();
        // A token holds numbers that are not alike in any two installations.
        let of_token = name == "content-length" && answer.header("cache-control") == Some("no-store");
        if matches!(name.as_str(), "date" | "x-request-id" | "docker-upload-uuid") || of_token {
            continue;
        }
        // The address of a session ends with its number.
        let value = match name.as_str() {
            "location" if value.contains("/uploads/") => value.rsplit_once('/').unwrap().0,
            _ => value,
        };
        text.push_str(&format!("{name}: {}\n", value.replace(address, "HOST")));
    }
    match serde_json::from_slice::<Value>(&answer.body) {
        Ok(Value::Object(mut object)) if object.contains_key("token") => {
            for secret in ["token", "access_token", "issued_at"] {
                object.remove(secret);
            }
            text.push_str(&Value::from(object).to_string());
        }
        _ => text.push_str(&answer.text().replace(address, "HOST")),
    }
    text
}

/// P13. Two daemons that differ only inside a package of ada's: in one it is not even there, in the others it holds other
/// things. Nobody who may not read it can tell them apart, whatever is asked in whatever order.
#[test]
fn p13_what_one_may_not_read_changes_no_answer() {
    let sides = [side(0), side(1), side(2)];
    let mut runner = proptest::test_runner::TestRunner::default();
    for _ in 0..600 {
        let step = step().new_tree(&mut runner).unwrap().current();
        let says: Vec<String> = sides.iter().map(|side| side.answers(&step)).collect();
        assert_eq!(says[0], says[1], "{step:?} {}", targets()[step.target]);
        assert_eq!(says[1], says[2], "{step:?} {}", targets()[step.target]);
    }
    // The requests reach what they are about: its owner gets other answers in each.
    let owner = |side: &Side| {
        let ada = side.server.anonymous().basic("ada", &side.tokens["ada"]);
        plain(&ada.get("/v2/ada/secret/tags/list"), &side.server.address)
    };
    assert_ne!(owner(&sides[0]), owner(&sides[1]));
    assert_ne!(owner(&sides[1]), owner(&sides[2]));
}

/// P12. A list shows exactly what a request for one thing gives, for each caller: catalog, tags, referrers.
#[test]
fn p12_lists_show_what_requests_get() {
    let side = side(2);
    let server = &side.server;
    let ada = server.anonymous().basic("ada", &side.tokens["ada"]);
    for (package, tag) in [("ada/shared", "a"), ("acme/team", "b"), ("acme/base", "c"), ("beta/other", "d")] {
        let owner = if package.starts_with("beta") {
            server.anonymous().basic("carl", &side.tokens["carl"])
        } else {
            ada.clone()
        };
        owner.push_image(package, tag, 300);
    }
    server.admin_ok(&["package", "grant", "ada/shared", "carl", "read"]);
    server.admin_ok(&["package", "grant", "acme/team", "team:acme/core", "read"]);
    server.admin_ok(&["package", "grant", "acme/base", "org:beta", "write"]);
    let packages =
        ["ada/open", "ada/secret", "ada/shared", "acme/team", "acme/base", "beta/other", "acme/none"];
    let mut seen = Vec::new();
    for user in ["ada", "carl", "memo"] {
        let client = server.anonymous().basic(user, &side.tokens[user]);
        let catalog = client.get("/v2/_catalog").expect(200).json();
        let catalog: Vec<_> = catalog["repositories"]
            .as_array()
            .unwrap()
            .iter()
            .map(|name| name.as_str().unwrap().to_owned())
            .collect();
        for package in packages {
            let tags = client.get(&format!("/v2/{package}/tags/list"));
            assert_eq!(catalog.iter().any(|name| name == package), tags.status == 200, "{package} by {user}");
            if tags.status != 200 {
                continue;
            }
            seen.push((user, package));
            for tag in tags.json()["tags"].as_array().unwrap() {
                let tag = tag.as_str().unwrap();
                let got = client.get(&format!("/v2/{package}/manifests/{tag}")).expect(200);
                let digest = got.header("docker-content-digest").unwrap().to_owned();
                let referrers = client.get(&format!("/v2/{package}/referrers/{digest}")).expect(200).json();
                for referrer in referrers["manifests"].as_array().unwrap() {
                    let digest = referrer["digest"].as_str().unwrap();
                    client.get(&format!("/v2/{package}/manifests/{digest}")).expect(200);
                }
            }
        }
    }
    assert_eq!(
        seen,
        [
            ("ada", "ada/open"),
            ("ada", "ada/secret"),
            ("ada", "ada/shared"),
            ("ada", "acme/team"),
            ("ada", "acme/base"),
            ("carl", "ada/open"),
            ("carl", "ada/shared"),
            ("carl", "acme/base"),
            ("carl", "beta/other"),
            ("memo", "ada/open"),
            ("memo", "acme/team"),
        ]
    );
}

/// P14. One token means the same however it is presented: Basic with its user's name, Bearer, by way of `/token`.
#[test]
fn p14_the_way_a_token_is_sent_decides_nothing() {
    let side = side(1);
    let server = &side.server;
    server.admin_ok(&["package", "grant", "ada/secret", "carl", "write"]);
    let scopes: [&[&str]; 4] = [&["read:packages"], &["write:packages"], &["delete:packages"], &["admin"]];
    for (user, scopes) in
        ["ada", "carl", "memo"].into_iter().flat_map(|user| scopes.map(|scopes| (user, scopes)))
    {
        let token = server.token(user, scopes);
        let basic = server.anonymous().basic(user, &token);
        let exchanged = |scope: &str| {
            let asked = basic.get(&format!("/token?service=packhouse&scope=repository:{scope}")).expect(200);
            server.anonymous().bearer(asked.json()["token"].as_str().unwrap())
        };
        for (method, target, scope) in [
            ("GET", "/v2/ada/secret/manifests/v0", "ada/secret:pull"),
            ("GET", "/v2/ada/open/manifests/latest", "ada/open:pull"),
            ("POST", "/v2/ada/secret/blobs/uploads/", "ada/secret:pull,push"),
            ("POST", "/v2/ada/open/blobs/uploads/", "ada/open:pull,push"),
            ("DELETE", "/v2/ada/secret/manifests/nothing", "ada/secret:pull,delete"),
        ] {
            let status = |client: &Client| client.send(method, target, &[], b"").status;
            let by_basic = status(&basic);
            assert_eq!(
                by_basic,
                status(&server.anonymous().bearer(&token)),
                "{method} {target} {user} {scopes:?}"
            );
            // A token for less than is asked says so in its own way (401, asking for more), never by doing it.
            let by_exchange = status(&exchanged(scope));
            assert_eq!(
                by_basic < 300,
                by_exchange < 300,
                "{method} {target} {user} {scopes:?}: {by_exchange}"
            );
        }
    }
}

/// P15. However a path is spelled, it is refused or means the same thing: no spelling opens what another one does not.
#[test]
fn p15_no_spelling_of_a_path_gets_more() {
    let side = side(1);
    let server = &side.server;
    let ada = server.anonymous().basic("ada", &side.tokens["ada"]);
    let carl = server.anonymous().basic("carl", &side.tokens["carl"]);
    let right = ada.get("/v2/ada/secret/manifests/v0").expect(200);
    let digest = right.header("docker-content-digest").unwrap().to_owned();
    let spellings = [
        "/v2/ada/secret/manifests/v0",
        "/v2/ada%2Fsecret/manifests/v0",
        "/v2/ada%2fsecret/manifests/v0",
        "/v2/%61da/secret/manifests/v0",
        "/v2/ada/%73ecret/manifests/v0",
        "/v2/Ada/secret/manifests/v0",
        "/v2/ada/SECRET/manifests/v0",
        "/v2//ada/secret/manifests/v0",
        "//v2/ada/secret/manifests/v0",
        "/v2/ada//secret/manifests/v0",
        "/v2/./ada/secret/manifests/v0",
        "/v2/carl/../ada/secret/manifests/v0",
        "/v2/carl/%2e%2e/ada/secret/manifests/v0",
        "/v2/carl/..%2fada/secret/manifests/v0",
        "/V2/ada/secret/manifests/v0",
        "/v2/ada/secret/manifests/v0/",
        "/v2/ada/secret/manifests/./v0",
        "/v2/ada/secret/manifests/%76%30",
        "/v2/ada/secret/manifests/V0",
        "/v2/ada/secret/Manifests/v0",
        "/v2/ada/secret;x=1/manifests/v0",
        "/v2/ada/secret/manifests/v0;x=1",
        "/v2/ada/secret/manifests/v0?name=carl/own",
        "/v2/ada/open/../secret/manifests/v0",
        "/v2/ada/open/blobs/../manifests/v0",
        "/v2/ada\\secret/manifests/v0",
        "/v2/ada%5csecret/manifests/v0",
        "/v2/ada/secret%00/manifests/v0",
        "/v2/container/ada/secret/manifests/v0",
        "/v2/ad\u{0430}/secret/manifests/v0",
    ];
    let mut same = 0;
    for spelling in spellings {
        let owners = ada.get(spelling);
        match owners.status {
            200 => {
                assert_eq!(owners.header("docker-content-digest"), Some(digest.as_str()), "{spelling}");
                same += 1;
            }
            status => assert!((400..500).contains(&status), "{spelling}: {status}"),
        }
        for client in [&carl, &server.anonymous()] {
            let answer = client.get(spelling);
            assert!((400..500).contains(&answer.status), "{spelling}: {}", answer.status);
            assert!(!answer.text().contains(&digest), "{spelling}");
        }
    }
    assert!((2..spellings.len() / 2).contains(&same), "{same} of them mean the manifest");
}
