//! Helm charts as OCI artifacts: helm 3, and helm 4 when `PACKHOUSE_HELM4=1` asks for it.

use std::fs;
use std::path::Path;

use crate::daemon::{Hub, USER};
use crate::harness::{Case, Ctx, HTTP, Result, TLS, check, digest_of, same};

pub const CASES: &[Case] = &[
    Case { name: "helm", needs: &["helm"], seconds: 120, mode: HTTP, run: helm3 },
    Case { name: "helm-tls", needs: &["helm"], seconds: 120, mode: TLS, run: helm3 },
    Case { name: "helm4", needs: &["helm4"], seconds: 120, mode: HTTP, run: helm4 },
];

/// helm 4 comes by flag only.
pub fn wanted(name: &str) -> bool {
    name != "helm4" || std::env::var("PACKHOUSE_HELM4").is_ok_and(|flag| flag == "1")
}

fn helm3(ctx: &Ctx) -> Result {
    charts(ctx, "helm")
}

fn helm4(ctx: &Ctx) -> Result {
    charts(ctx, "helm4")
}

fn trust(hub: &Hub) -> String {
    match hub.ca() {
        Some(ca) => format!("--ca-file={}", ca.display()),
        None => "--plain-http".into(),
    }
}

/// Packages `chart` under a version; returns the file's name.
fn package(ctx: &Ctx, helm: &str, version: &str) -> Result<String> {
    ctx.cmd(helm).args(["package", "web", "--version", version]).run()?;
    Ok(format!("web-{version}.tgz"))
}

fn charts(ctx: &Ctx, program: &str) -> Result {
    let hub = Hub::start(ctx)?;
    let tls = trust(&hub);
    let helm = |args: &[&str]| ctx.cmd(program).args(args);
    let login = |secret: &str| {
        let cmd = helm(&["registry", "login", &hub.host, "-u", USER, "--password-stdin", &tls]);
        cmd.input(secret)
    };
    login("wrong").refused()?;
    login(&hub.token).run()?;

    helm(&["create", "web"]).run()?;
    let charts = format!("oci://{}", hub.repo("charts"));
    let web = format!("{charts}/web");
    // A version with build metadata: OCI has no `+`, helm writes `_`.
    for version in ["0.1.0", "0.2.0", "0.2.1+build.7"] {
        let file = package(ctx, program, version)?;
        helm(&["push", &tls, &file, &charts]).run()?;
    }
    let raw = ctx.path("out");
    fs::create_dir_all(&raw)?;
    for version in ["0.1.0", "0.2.1+build.7"] {
        helm(&["pull", &tls, &web, "--version", version, "-d"]).arg(&raw).run()?;
        let name = format!("web-{version}.tgz");
        same("pulled chart", digest_of(ctx, &raw.join(&name))?, digest_of(ctx, &ctx.path(&name))?)?;
    }
    // A range makes helm list the tags and choose.
    let shown = helm(&["show", "chart", &tls, &web, "--version", "~0.2.0-0"]).run()?;
    check(shown.mentions("version: 0.2."), || format!("chart of the range\n{}", shown.stdout))?;
    let rendered = helm(&["template", "release", &tls, &web, "--version", "0.1.0"]).run()?;
    check(rendered.mentions("kind: Deployment"), || format!("rendered chart\n{}", rendered.stdout))?;
    by_digest(ctx, program, &hub, &tls, &web)?;
    dependency(ctx, program, &tls, &charts)?;
    helm(&["pull", &tls, &web, "--version", "9.9.9"]).refused()?;
    helm(&["registry", "logout", &hub.host]).run()?;
    helm(&["show", "chart", &tls, &web, "--version", "0.1.0"]).refused()?;
    Ok(())
}

/// What the push said the digest is can be pulled by.
fn by_digest(ctx: &Ctx, program: &str, hub: &Hub, tls: &str, web: &str) -> Result {
    let file = package(ctx, program, "0.3.0")?;
    let charts = format!("oci://{}", hub.repo("charts"));
    let pushed = ctx.cmd(program).args(["push", tls, &file, &charts]).run()?;
    let said = format!("{}{}", pushed.stdout, pushed.stderr);
    let digest =
        said.lines().find_map(|line| line.strip_prefix("Digest: ")).map(str::trim).unwrap_or_default();
    let pull = ctx.cmd(program).args(["pull", tls, &format!("{web}@{digest}"), "-d", "digest"]);
    fs::create_dir_all(ctx.path("digest"))?;
    pull.run()?;
    let files: Vec<_> = fs::read_dir(ctx.path("digest"))?.flatten().map(|entry| entry.path()).collect();
    same("files pulled by digest", files.len(), 1)?;
    same("chart pulled by digest", digest_of(ctx, &files[0])?, digest_of(ctx, Path::new(&ctx.path(&file)))?)
}

/// Another chart that depends on the pushed one is built from the registry.
fn dependency(ctx: &Ctx, program: &str, tls: &str, charts: &str) -> Result {
    ctx.cmd(program).args(["create", "shop"]).run()?;
    let file = ctx.path("shop/Chart.yaml");
    let mut chart = fs::read_to_string(&file)?;
    chart += &format!("\ndependencies:\n  - name: web\n    version: 0.1.0\n    repository: {charts}\n");
    fs::write(&file, chart)?;
    ctx.cmd(program).args(["dependency", "update", "shop", tls]).run()?;
    check(ctx.path("shop/charts/web-0.1.0.tgz").exists(), || "the dependency was not fetched".into())
}
