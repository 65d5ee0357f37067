//! Management clients: an organization, a team, a package and a token for CI are set up by what people have at hand.

use std::fs;

use crate::daemon::{Hub, USER};
use crate::harness::{Case, Cmd, Ctx, HTTP, Result, TLS, check, fail, same};
use crate::http::Raw;

pub const CASES: &[Case] = &[
    Case { name: "octokit", needs: &["octokit"], seconds: 120, mode: HTTP, run: octokit },
    Case { name: "readme-api", needs: &["bash", "curl"], seconds: 60, mode: HTTP, run: readme },
    Case { name: "gh", needs: &["gh"], seconds: 120, mode: TLS, run: gh },
];

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn index(note: &str) -> String {
    format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[],"annotations":{{"note":"{note}"}}}}"#)
}

/// A token that may manage, too.
fn manager(hub: &Hub, user: &str) -> Result<String> {
    let scopes = ["read:packages", "write:packages", "delete:packages", "admin"];
    let mut args = vec!["token", "create", "--user", user];
    args.extend(scopes.iter().flat_map(|scope| ["--scope", *scope]));
    hub.cli(&args, "")
}

fn octokit(ctx: &Ctx) -> Result {
    let hub = Hub::start(ctx)?;
    let raw = Raw::new(&hub);
    for (repository, tag) in [("acme/tools/app", "1"), ("acme/tools/app", "2"), ("acme/tools/web", "1")] {
        let body = index(&format!("{repository} {tag}"));
        raw.push_manifest(repository, tag, INDEX, body.as_bytes())?;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/conformance/octokit.mjs");
    let base = format!("http://{}/api/v3", hub.host);
    let (admin, owner) = (manager(&hub, "admin")?, manager(&hub, USER)?);
    let said = ctx.cmd("octokit").args([script, &base, &admin, &owner]).run()?;
    // The token that it made for CI pushes where it may, and nowhere else.
    let ci = Raw::with(&hub, USER, said.line());
    let push = |repository: &str| {
        let target = format!("/v2/{repository}/manifests/3");
        ci.send("PUT", &target, &[("Content-Type", INDEX)], index("ci").as_bytes())
    };
    push("acme/tools/app")?.expect("a push by CI", 201)?;
    check(push("acme/tools/web")?.status >= 400, || "CI pushed elsewhere".into())
}

/// The commands of the README's section, as they stand there.
fn readme(ctx: &Ctx) -> Result {
    let hub = Hub::start(ctx)?;
    for user in ["ada", "grace"] {
        hub.cli(&["user", "add", user, "--password-stdin"], "another-password")?;
    }
    let owner = Raw::with(&hub, USER, &manager(&hub, USER)?);
    let role = br#"{"role":"admin"}"#;
    owner.send("PUT", "/api/v3/orgs/acme/memberships/ada", &[], role)?.expect("another owner", 200)?;
    Raw::new(&hub).push_manifest("acme/app", "1", INDEX, index("readme").as_bytes())?;
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"))?;
    let section = page.split("\n## The management API\n").nth(1).and_then(|rest| rest.split("\n## ").next());
    let block =
        section.and_then(|text| text.split("```sh\n").nth(1)).and_then(|text| text.split("```").next());
    let Some(block) = block else { return fail("the README has no such section") };
    let packhouse = format!("packhouse() {{ {} \"$@\" --data {}; }}\n", hub.program(), hub.folder());
    let script = format!("{packhouse}{}", block.replace("localhost:5000", &hub.host));
    let said = ctx.cmd("bash").args(["-euo", "pipefail", "-s"]).input(script).run()?;
    check(said.mentions("the role write from team:acme/builders"), || "nobody says why".into())?;
    check(said.mentions("\"visibility\":\"public\""), || "it is not public".into())
}

fn gh(ctx: &Ctx) -> Result {
    let hub = Hub::start(ctx)?;
    let (admin, owner) = (manager(&hub, "admin")?, manager(&hub, USER)?);
    let gh = |token: &str, args: &[&str]| -> Cmd<'_> {
        let cmd = ctx.cmd("gh").env("GH_HOST", &hub.host).env("GH_ENTERPRISE_TOKEN", token);
        cmd.env("GH_NO_UPDATE_NOTIFIER", "1").arg("api").args(args)
    };
    same("who gh is", gh(&owner, &["user", "--jq", ".login"]).run()?.line(), USER)?;
    gh(&admin, &["admin/users", "-f", "login=heidi"]).run()?;
    gh(&owner, &["-X", "PUT", "orgs/acme/memberships/heidi", "-f", "role=member"]).run()?;
    let members = ["--paginate", "orgs/acme/members?per_page=1", "--jq", ".[].login"];
    same("members over pages", gh(&owner, &members).run()?.lines(), vec![USER, "heidi"])?;

    let made = ["orgs/acme/teams", "-f", "name=platform", "--jq", ".id"];
    let id = gh(&owner, &made).run()?.line().to_owned();
    gh(&owner, &["orgs/acme/teams", "-f", "name=web", "-F", &format!("parent_team_id={id}")]).run()?;
    gh(&owner, &["-X", "PUT", "orgs/acme/teams/web/memberships/heidi"]).run()?;

    let body = ctx.path("index.json");
    fs::write(&body, index("gh"))?;
    let push = |token: &str, tag: &str| {
        let target = format!("https://{}/v2/acme/app/manifests/{tag}", hub.host);
        let kind = format!("Content-Type: {INDEX}");
        gh(token, &["-X", "PUT", &target, "-H", &kind, "--input"]).arg(&body)
    };
    push(&owner, "1").run()?;
    let heidi = manager(&hub, "heidi")?;
    let package = "orgs/acme/packages/container/app";
    gh(&heidi, &[package]).refused()?;
    let given = gh(&owner, &["-X", "PUT", &format!("{package}/access/teams/platform"), "-f", "role=write"]);
    given.run()?;
    same("the package", gh(&heidi, &[package, "--jq", ".visibility"]).run()?.line(), "private")?;
    push(&heidi, "2").run()?;
    let refused = gh(&heidi, &["-X", "DELETE", package]).refused()?;
    check(refused.mentions("needs the role admin"), || "gh does not say why".into())?;

    let wanted = ctx.path("token.json");
    fs::write(&wanted, r#"{"scopes":["write:packages"],"packages":["acme/app"],"expires_in":3600}"#)?;
    let ci = gh(&owner, &["user/tokens", "--jq", ".token", "--input"]).arg(&wanted).run()?.line().to_owned();
    push(&ci, "3").run()?;
    gh(&ci, &["-X", "PUT", "orgs/acme/memberships/heidi", "-f", "role=admin"]).refused()?;
    gh(&owner, &["-X", "DELETE", "orgs/acme/memberships/heidi"]).run()?;
    gh(&heidi, &[package]).refused()?;
    Ok(())
}
