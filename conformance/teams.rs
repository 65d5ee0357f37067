//! A team's story: what it is given its members do, and what is taken away is gone with the next command.

use crate::containers_image::{engine, login, trust};
use crate::daemon::{Hub, USER};
use crate::harness::{Case, Ctx, HTTP, Result, check, same};
use crate::images::images;

pub const CASES: &[Case] =
    &[Case { name: "team-podman", needs: &["podman"], seconds: 180, mode: HTTP, run: podman }];

fn podman(ctx: &Ctx) -> Result {
    let (images, hub) = (images(ctx)?, Hub::start(ctx)?);
    let (tls, app) = (trust(&hub, ""), hub.repo("app"));
    let cli = |args: &[&str]| hub.cli(args, "");
    hub.cli(&["user", "add", "grace", "--password-stdin"], "another-password")?;
    let (owner, grace) = (format!("{USER}:{}", hub.token), format!("grace:{}", hub.token_for("grace")?));
    // podman wants a file of credentials; those that each command brings along go before it.
    login(&hub, "podman", &hub.token).run()?;
    let local = format!("oci:{}:app", images.layout.display());
    let id = engine(ctx, "podman", &["pull", "-q", &local]).run()?.line().to_owned();
    let push = |creds: &str, tag: &str| {
        engine(ctx, "podman", &["push", "--creds", creds, &tls, &id, &format!("{app}:{tag}")])
    };
    let pull =
        |creds: &str| engine(ctx, "podman", &["pull", "-q", "--creds", creds, &tls, &format!("{app}:1")]);
    let explained = |action: &str| cli(&["explain", "acme/app", "--user", "grace", "--action", action]);

    push(&owner, "1").run()?;
    pull(&grace).refused()?;
    cli(&["org", "member", "add", "acme", "grace"])?;
    cli(&["team", "add", "acme/platform"])?;
    cli(&["team", "add", "acme/web", "--under", "platform"])?;
    cli(&["team", "member", "add", "acme/web", "grace"])?;
    pull(&grace).refused()?;

    // From the team above: read, then write.
    cli(&["package", "grant", "acme/app", "team:acme/platform", "read"])?;
    same("id of the pulled image", pull(&grace).run()?.line(), id.as_str())?;
    push(&grace, "2").refused()?;
    cli(&["package", "grant", "acme/app", "team:acme/platform", "write"])?;
    push(&grace, "2").run()?;
    let why = explained("push")?;
    check(why.contains("allowed") && why.contains("team:acme/platform"), || why.clone())?;

    // Out of the team above, in again, and out of the organization.
    cli(&["team", "nest", "acme/web", "--top"])?;
    pull(&grace).refused()?;
    cli(&["org", "base-role", "acme", "read"])?;
    pull(&grace).run()?;
    push(&grace, "3").refused()?;
    cli(&["team", "nest", "acme/web", "--under", "platform"])?;
    push(&grace, "3").run()?;
    cli(&["org", "member", "remove", "acme", "grace"])?;
    pull(&grace).refused()?;
    push(&grace, "4").refused()?;
    Ok(())
}
