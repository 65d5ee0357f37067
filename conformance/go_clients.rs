//! crane and regctl.

use std::fs;

use crate::daemon::{Hub, USER};
use crate::harness::{Case, Cmd, Ctx, HTTP, Result, TLS, check, same};
use crate::images::{blob_path, images, text};

pub const CASES: &[Case] = &[
    Case { name: "crane", needs: &["crane"], seconds: 120, mode: HTTP, run: crane },
    Case { name: "crane-tls", needs: &["crane"], seconds: 120, mode: TLS, run: crane },
    Case { name: "crane-anonymous", needs: &["crane"], seconds: 60, mode: HTTP, run: anonymous },
    Case { name: "regctl", needs: &["regctl"], seconds: 120, mode: HTTP, run: regctl },
    Case { name: "regctl-tls", needs: &["regctl"], seconds: 120, mode: TLS, run: regctl },
    Case { name: "regctl-referrers", needs: &["regctl"], seconds: 60, mode: HTTP, run: regctl_referrers },
];

pub fn crane_login<'a>(hub: &Hub<'a>, secret: &str) -> Cmd<'a> {
    let cmd = hub.ctx.cmd("crane").args(["auth", "login", &hub.host, "-u", USER, "--password-stdin"]);
    cmd.input(secret)
}

fn crane(ctx: &Ctx) -> Result {
    let (images, hub) = (images(ctx)?, Hub::start(ctx)?);
    let crane = |args: &[&str]| ctx.cmd("crane").args(args);
    let (app, mirror) = (hub.repo("app"), hub.repo("mirror"));
    let (one, arm, multi) = (format!("{app}:1"), format!("{app}:arm"), format!("{app}:multi"));
    crane(&["push"]).arg(&images.app_layout).arg(&one).refused()?;
    // crane's own login only stores what it is given, so the wrong secret shows at the first request.
    crane_login(&hub, "wrong").run()?;
    crane(&["push"]).arg(&images.app_layout).arg(&one).refused()?;
    crane_login(&hub, &hub.token).run()?;

    crane(&["push"]).arg(&images.app_layout).arg(&one).run()?;
    crane(&["push"]).arg(&images.arm_layout).arg(&arm).run()?;
    same("digest by tag", crane(&["digest", &one]).run()?.line(), images.app.as_str())?;
    crane(&["validate", "--remote", &one]).run()?;
    let by_digest = format!("{app}@{}", images.app);
    crane(&["pull", "--format=oci", &by_digest]).arg(ctx.path("pulled")).run()?;
    let index: serde_json::Value = serde_json::from_slice(&fs::read(ctx.path("pulled/index.json"))?)?;
    same("digest of the pulled image", text(&index["manifests"][0]["digest"])?, images.app.clone())?;
    crane(&["export", &by_digest]).arg(ctx.path("files.tar")).run()?;
    let listed = ctx.cmd("tar").arg("-tf").arg(ctx.path("files.tar")).run()?;
    check(listed.mentions("bin/busybox"), || "the exported tree has no busybox".into())?;

    crane(&["index", "append", "-m", &one, "-m", &arm, "-t", &multi]).run()?;
    for (arch, digest) in [("amd64", &images.app), ("arm64", &images.arm)] {
        let found = crane(&["digest", "--platform", &format!("linux/{arch}"), &multi]).run()?;
        same("digest of a platform", found.line(), digest.as_str())?;
    }
    let copied = crane(&["copy", "-v", &multi, &format!("{mirror}:multi")]).run()?;
    check(copied.mentions("mounted blob"), || format!("nothing was mounted\n{}", copied.stderr))?;
    crane(&["validate", "--remote", &format!("{mirror}:multi")]).run()?;

    crane(&["tag", &one, "2"]).run()?;
    same("tags", crane(&["ls", &app]).run()?.lines(), vec!["1", "2", "arm", "multi"])?;
    let catalog = crane(&["catalog", &hub.host]).run()?;
    same("repositories", catalog.lines(), vec!["acme/app", "acme/mirror"])?;
    crane(&["delete", &format!("{app}:2")]).run()?;
    crane(&["digest", &format!("{app}:2")]).refused()?;
    same("digest after a tag was deleted", crane(&["digest", &one]).run()?.line(), images.app.as_str())?;
    let of_mirror = crane(&["digest", &format!("{mirror}:multi")]).run()?;
    crane(&["delete", &format!("{mirror}@{}", of_mirror.line())]).run()?;
    crane(&["manifest", &format!("{mirror}:multi")]).refused()?;
    crane(&["auth", "logout", &hub.host]).run()?;
    crane(&["manifest", &one]).refused()?;
    Ok(())
}

fn anonymous(ctx: &Ctx) -> Result {
    let (images, hub) = (images(ctx)?, Hub::start(ctx)?);
    let crane = |args: &[&str]| ctx.cmd("crane").args(args);
    let one = format!("{}:1", hub.repo("app"));
    crane_login(&hub, &hub.token).run()?;
    crane(&["push"]).arg(&images.app_layout).arg(&one).run()?;
    crane(&["auth", "logout", &hub.host]).run()?;
    crane(&["validate", "--remote", &one]).refused()?;
    hub.cli(&["package", "visibility", "acme/app", "public"], "")?;
    crane(&["validate", "--remote", &one]).run()?;
    crane(&["ls", &hub.repo("app")]).run()?;
    crane(&["tag", &one, "2"]).refused()?;
    crane(&["delete", &one]).refused()?;
    Ok(())
}

/// regctl, told how to reach the daemon and logged in.
pub fn regctl_login(hub: &Hub) -> Result {
    // Its check would fail: there are no credentials yet.
    let set = hub.ctx.cmd("regctl").args(["registry", "set", "--skip-check", &hub.host]);
    match hub.ca() {
        Some(ca) => set.args(["--cacert", &fs::read_to_string(ca)?]).run()?,
        None => set.args(["--tls", "disabled"]).run()?,
    };
    let login = |secret: &str| {
        let cmd = hub.ctx.cmd("regctl").args(["registry", "login", &hub.host, "-u", USER, "--pass-stdin"]);
        cmd.input(secret)
    };
    login("wrong").refused()?;
    login(&hub.token).run()?;
    Ok(())
}

fn regctl(ctx: &Ctx) -> Result {
    let (images, hub) = (images(ctx)?, Hub::start(ctx)?);
    let regctl = |args: &[&str]| ctx.cmd("regctl").args(args);
    regctl_login(&hub)?;
    let (app, mirror) = (hub.repo("app"), hub.repo("mirror"));
    let (one, multi) = (format!("{app}:1"), format!("{app}:multi"));
    let local = |name: &str| format!("ocidir://{}:{name}", images.layout.display());

    regctl(&["image", "copy", &local("app"), &one]).run()?;
    // Small chunks, so that the next copy takes the chunked way: PATCH by PATCH, then PUT.
    regctl(&["registry", "set", &hub.host, "--blob-chunk", "262144", "--blob-max", "262144"]).run()?;
    regctl(&["image", "copy", &local("multi"), &multi]).run()?;
    let chunked = hub.repo("chunked");
    regctl(&["blob", "put", &chunked]).input(fs::read(&images.layer)?).run()?;

    same("digest by tag", regctl(&["image", "digest", &multi]).run()?.line(), images.multi.as_str())?;
    let copied = format!("ocidir://{}:copy", ctx.path("pulled").display());
    regctl(&["image", "copy", &format!("{app}@{}", images.multi), &copied]).run()?;
    same(
        "digest of the pulled index",
        regctl(&["image", "digest", &copied]).run()?.line(),
        images.multi.as_str(),
    )?;
    let arm = blob_path(&ctx.path("pulled"), &images.arm);
    check(arm.exists(), || "the arm64 image was not pulled".into())?;

    regctl(&["image", "copy", &multi, &format!("{mirror}:multi")]).run()?;
    let pair = [
        "index",
        "create",
        &format!("{mirror}:pair"),
        "--ref",
        &one,
        "--ref",
        &format!("{app}@{}", images.arm),
    ];
    regctl(&pair).run()?;
    let arch = regctl(&["image", "inspect", "-p", "linux/arm64", &format!("{mirror}:pair")]).run()?.json()?;
    same("platform of the pair", arch["architecture"].clone(), "arm64".into())?;

    same("tags", regctl(&["tag", "ls", &mirror]).run()?.lines(), vec!["multi", "pair"])?;
    let repos = regctl(&["repo", "ls", &hub.host]).run()?;
    check(repos.mentions("acme/mirror"), || format!("repositories: {}", repos.stdout))?;
    regctl(&["tag", "delete", &format!("{mirror}:pair")]).run()?;
    same("tags after a delete", regctl(&["tag", "ls", &mirror]).run()?.lines(), vec!["multi"])?;
    regctl(&["manifest", "delete", &format!("{mirror}@{}", images.multi)]).run()?;
    regctl(&["manifest", "head", &format!("{mirror}:multi")]).refused()?;
    regctl(&["registry", "logout", &hub.host]).run()?;
    regctl(&["manifest", "head", &one]).refused()?;
    Ok(())
}

/// Artifacts that refer to an image: put, listed, filtered by type, got, copied along.
fn regctl_referrers(ctx: &Ctx) -> Result {
    let (images, hub) = (images(ctx)?, Hub::start(ctx)?);
    let regctl = |args: &[&str]| ctx.cmd("regctl").args(args);
    regctl_login(&hub)?;
    let (app, mirror) = (hub.repo("app"), hub.repo("mirror"));
    let one = format!("{app}:1");
    regctl(&["image", "copy", &format!("ocidir://{}:app", images.layout.display()), &one]).run()?;
    let sbom = r#"{"spdxVersion":"SPDX-2.3","name":"app"}"#;
    for (kind, body) in [("application/spdx+json", sbom), ("application/vnd.acme.note", "checked by hand")] {
        regctl(&["artifact", "put", "--artifact-type", kind, "--subject", &one]).input(body).run()?;
    }
    let list = |of: &str, more: &[&str]| {
        let all = regctl(&[
            "artifact",
            "list",
            of,
            "--format",
            "{{range .Descriptors}}{{println .ArtifactType}}{{end}}",
        ]);
        all.args(more).run()
    };
    let all = vec!["application/spdx+json", "application/vnd.acme.note"];
    same("referrers", list(&one, &[])?.lines(), all.clone())?;
    let filtered = list(&one, &["--filter-artifact-type", "application/spdx+json"])?;
    same("referrers of one type", filtered.lines(), vec!["application/spdx+json"])?;
    let got =
        regctl(&["artifact", "get", "--subject", &one, "--filter-artifact-type", "application/spdx+json"]);
    same("the artifact", got.run()?.line(), sbom)?;
    regctl(&["image", "copy", "--referrers", &one, &format!("{mirror}:1")]).run()?;
    same("referrers of the copy", list(&format!("{mirror}:1"), &[])?.lines(), all)?;
    // The registry keeps the list itself: no client had to write a fallback tag.
    same("tags", regctl(&["tag", "ls", &app]).run()?.lines(), vec!["1"])
}
