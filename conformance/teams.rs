//! A team's story, with three engines: what it is given its members do, and what is taken away is gone with the next command.

use crate::containers_image::{engine, login, trust};
use crate::daemon::{Hub, USER};
use crate::docker::Docker;
use crate::harness::{Case, Cmd, Ctx, HTTP, Result, check, same};
use crate::images::images;
use crate::oras;

pub const CASES: &[Case] = &[
    Case { name: "team-docker", needs: &["docker", "dockerd"], seconds: 300, mode: HTTP, run: docker },
    Case { name: "team-podman", needs: &["podman"], seconds: 180, mode: HTTP, run: podman },
    Case { name: "team-oras", needs: &["oras"], seconds: 120, mode: HTTP, run: oras },
];

/// The commands by which one of two users pushes and pulls `acme/app`.
struct Engine<'a, P: Fn(&str, &str) -> Result<Cmd<'a>>, G: Fn(&str) -> Result<Cmd<'a>>> {
    /// Pushes what there is under a tag.
    push: P,
    /// Pulls the tag `1`.
    pull: G,
}

const GRACE: &str = "grace";

/// Organization, team, repository, inherited pull, denied push, grant, push, revoke, denied.
fn story<'a, P, G>(hub: &Hub<'a>, engine: &Engine<'a, P, G>) -> Result
where
    P: Fn(&str, &str) -> Result<Cmd<'a>>,
    G: Fn(&str) -> Result<Cmd<'a>>,
{
    let cli = |args: &[&str]| hub.cli(args, "");
    let (push, pull) = (|user: &str, tag: &str| (engine.push)(user, tag), || (engine.pull)(GRACE));
    let explained = |action: &str| cli(&["explain", "acme/app", "--user", GRACE, "--action", action]);
    push(USER, "1")?.run()?;
    pull()?.refused()?;
    cli(&["org", "member", "add", "acme", GRACE])?;
    cli(&["team", "add", "acme/platform"])?;
    cli(&["team", "add", "acme/web", "--under", "platform"])?;
    cli(&["team", "member", "add", "acme/web", GRACE])?;
    cli(&["repo", "create", "acme/site"])?;
    cli(&["repo", "grant", "acme/site", "team:acme/platform", "triage"])?;
    pull()?.refused()?;

    // By the repository it links to, once it inherits from that: triage there is read here.
    cli(&["package", "link", "acme/app", "acme/site"])?;
    pull()?.refused()?;
    cli(&["package", "inherit", "acme/app", "on"])?;
    pull()?.run()?;
    push(GRACE, "2")?.refused()?;
    cli(&["repo", "grant", "acme/site", "team:acme/platform", "maintain"])?;
    push(GRACE, "2")?.run()?;
    let why = explained("push")?;
    check(why.contains("allowed") && why.contains("acme/site"), || why.clone())?;
    cli(&["repo", "grant", "acme/site", "team:acme/platform", "none"])?;
    push(GRACE, "3")?.refused()?;
    pull()?.refused()?;

    // By a role on the package itself, from the team above: read, then write.
    cli(&["package", "inherit", "acme/app", "off"])?;
    cli(&["package", "grant", "acme/app", "team:acme/platform", "read"])?;
    pull()?.run()?;
    push(GRACE, "3")?.refused()?;
    cli(&["package", "grant", "acme/app", "team:acme/platform", "write"])?;
    push(GRACE, "3")?.run()?;
    let why = explained("push")?;
    check(why.contains("allowed") && why.contains("team:acme/platform"), || why.clone())?;

    // Out of the team above, in again, and out of the organization.
    cli(&["team", "nest", "acme/web", "--top"])?;
    pull()?.refused()?;
    cli(&["org", "base-role", "acme", "read"])?;
    pull()?.run()?;
    push(GRACE, "4")?.refused()?;
    cli(&["team", "nest", "acme/web", "--under", "platform"])?;
    push(GRACE, "4")?.run()?;
    cli(&["org", "member", "remove", "acme", GRACE])?;
    pull()?.refused()?;
    push(GRACE, "5")?.refused()?;
    Ok(())
}

/// A daemon with grace, and her token.
fn begin<'a>(ctx: &'a Ctx) -> Result<(Hub<'a>, String)> {
    let hub = Hub::start(ctx)?;
    hub.cli(&["user", "add", GRACE, "--password-stdin"], "another-password")?;
    let token = hub.token_for(GRACE)?;
    Ok((hub, token))
}

fn podman(ctx: &Ctx) -> Result {
    let (images, (hub, token)) = (images(ctx)?, begin(ctx)?);
    let (tls, app) = (trust(&hub, ""), hub.repo("app"));
    let creds = |user: &str| format!("{user}:{}", if user == GRACE { &token } else { &hub.token });
    // podman wants a file of credentials; those that each command brings along go before it.
    login(&hub, "podman", &hub.token).run()?;
    let local = format!("oci:{}:app", images.layout.display());
    let id = engine(ctx, "podman", &["pull", "-q", &local]).run()?.line().to_owned();
    let push = |user: &str, tag: &str| {
        let to = format!("{app}:{tag}");
        Ok(engine(ctx, "podman", &["push", "--creds", &creds(user), &tls, &id, &to]))
    };
    let pull = |user: &str| {
        Ok(engine(ctx, "podman", &["pull", "-q", "--creds", &creds(user), &tls, &format!("{app}:1")]))
    };
    story(&hub, &Engine { push, pull })
}

fn oras(ctx: &Ctx) -> Result {
    let (images, (hub, token)) = (images(ctx)?, begin(ctx)?);
    let (tls, app) = (oras::trust(&hub, ""), hub.repo("app"));
    let to = oras::trust(&hub, "to-");
    let source = format!("{}:app", images.layout.display());
    let token = |user: &str| if user == GRACE { token.clone() } else { hub.token.clone() };
    let push = |user: &str, tag: &str| {
        let target = format!("{app}:{tag}");
        let cp = ctx.cmd("oras").args(["cp", "--from-oci-layout", &source, &to]);
        Ok(cp.args(["--to-username", user, "--to-password", &token(user), &target]))
    };
    let pull = |user: &str| {
        let fetch = ctx.cmd("oras").args(["manifest", "fetch", &tls]);
        Ok(fetch.args(["--username", user, "--password", &token(user), &format!("{app}:1")]))
    };
    story(&hub, &Engine { push, pull })
}

fn docker(ctx: &Ctx) -> Result {
    let (images, (hub, token), docker) = (images(ctx)?, begin(ctx)?, Docker::start(ctx)?);
    let app = hub.repo("app");
    // Two people at one machine: a folder of settings each.
    let home = |user: &str| ctx.path(&format!("docker-{user}")).display().to_string();
    for (user, token) in [(USER, &hub.token), (GRACE, &token)] {
        let login = ["--config", &home(user), "login", "-u", user, "--password-stdin", &hub.host];
        docker.cmd(&login).input(token.as_str()).run()?;
    }
    let base = format!("{app}:base");
    docker.build(&base, "linux/amd64", &images.busybox, &images)?;
    let id = docker.inspect(&base, "{{.Id}}")?;
    let push = |user: &str, tag: &str| {
        let image = format!("{app}:{tag}");
        docker.cmd(&["tag", &base, &image]).run()?;
        Ok(docker.cmd(&["--config", &home(user), "push", &image]))
    };
    let pull = |user: &str| Ok(docker.cmd(&["--config", &home(user), "pull", &format!("{app}:1")]));
    story(&hub, &Engine { push, pull })?;
    same("id of the pulled image", docker.inspect(&format!("{app}:1"), "{{.Id}}")?, id)
}
