//! oras: any files as an artifact, and what refers to it.

use std::fs;

use serde_json::{Value, json};

use crate::daemon::{Hub, USER};
use crate::harness::{Case, Cmd, Ctx, HTTP, Result, TLS, digest_of, same};
use crate::images::{images, text};

pub const CASES: &[Case] = &[
    Case { name: "oras", needs: &["oras"], seconds: 120, mode: HTTP, run: oras },
    Case { name: "oras-tls", needs: &["oras"], seconds: 120, mode: TLS, run: oras },
    Case { name: "oras-referrers", needs: &["oras"], seconds: 60, mode: HTTP, run: referrers },
];

/// How oras is told to trust the daemon: `prefix` is "", "from-" or "to-".
pub fn trust(hub: &Hub, prefix: &str) -> String {
    match hub.ca() {
        Some(ca) => format!("--{prefix}ca-file={}", ca.display()),
        None => format!("--{prefix}plain-http"),
    }
}

pub fn login(hub: &Hub) -> Result {
    let login = |secret: &str| {
        let cmd = hub.ctx.cmd("oras").args(["login", "-u", USER, "--password-stdin", &trust(hub, "")]);
        cmd.arg(&hub.host).input(secret)
    };
    login("wrong").refused()?;
    login(&hub.token).run()?;
    Ok(())
}

fn oras(ctx: &Ctx) -> Result {
    let (images, hub) = (images(ctx)?, Hub::start(ctx)?);
    login(&hub)?;
    let tls = trust(&hub, "");
    let oras = |args: &[&str]| ctx.cmd("oras").args([args[0], &tls]).args(&args[1..]);
    let sub = |args: &[&str]| ctx.cmd("oras").args([args[0], args[1], &tls]).args(&args[2..]);
    let (tool, app) = (hub.repo("tool"), hub.repo("app"));
    let one = format!("{tool}:1");

    // Two real files, by their names.
    fs::copy(&images.layer, ctx.path("programs.tar.gz"))?;
    fs::copy("/usr/share/doc/libssl3/copyright", ctx.path("copyright.txt"))?;
    let push = oras(&["push", &one, "--artifact-type", "application/vnd.acme.tool"]);
    push.args(["programs.tar.gz:application/gzip", "copyright.txt:text/plain"]).run()?;
    let digest = oras(&["resolve", &one]).run()?.line().to_owned();
    for (at, reference) in [one.clone(), format!("{tool}@{digest}")].iter().enumerate() {
        let out = ctx.path(&format!("out{at}"));
        oras(&["pull", reference, "-o"]).arg(&out).run()?;
        for name in ["programs.tar.gz", "copyright.txt"] {
            same("pulled file", digest_of(ctx, &out.join(name))?, digest_of(ctx, &ctx.path(name))?)?;
        }
    }
    let manifest = sub(&["manifest", "fetch", &one]).run()?.json()?;
    same("artifact type", text(&manifest["artifactType"])?, "application/vnd.acme.tool".into())?;

    let multi = format!("{app}:multi");
    let source = format!("{}:multi", images.layout.display());
    ctx.cmd("oras").args(["cp", "--from-oci-layout", &source, &trust(&hub, "to-"), &multi]).run()?;
    same("digest of the copied index", oras(&["resolve", &multi]).run()?.line(), images.multi.as_str())?;
    let arm = oras(&["resolve", "--platform", "linux/arm64", &multi]).run()?;
    same("digest of a platform", arm.line(), images.arm.as_str())?;
    let mirror = format!("{}:multi", hub.repo("mirror"));
    ctx.cmd("oras").args(["cp", &trust(&hub, "from-"), &multi, &trust(&hub, "to-"), &mirror]).run()?;
    same("digest of the mirrored index", oras(&["resolve", &mirror]).run()?.line(), images.multi.as_str())?;

    oras(&["tag", &one, "2", "stable"]).run()?;
    same("tags", sub(&["repo", "tags", &tool]).run()?.lines(), vec!["1", "2", "stable"])?;
    let repos = sub(&["repo", "ls", &format!("{}/", hub.host)]).run()?;
    same("repositories", repos.lines(), vec!["acme/app", "acme/mirror", "acme/tool"])?;
    sub(&["blob", "push", &tool, "copyright.txt"]).run()?;
    sub(&["manifest", "delete", "-f", &format!("{tool}@{digest}")]).run()?;
    oras(&["resolve", &format!("{tool}:stable")]).refused()?;
    ctx.cmd("oras").args(["logout", &hub.host]).run()?;
    oras(&["resolve", &multi]).refused()?;
    Ok(())
}

/// What refers to a digest, as oras finds it: (type, digest), sorted.
fn discover(cmd: Cmd) -> Result<Vec<(String, String)>> {
    let found = cmd.run()?.json()?;
    let list = found["manifests"].as_array().cloned().unwrap_or_default();
    let pair = |entry: &Value| Ok((text(&entry["artifactType"])?, text(&entry["digest"])?));
    let mut pairs = list.iter().map(pair).collect::<Result<Vec<_>>>()?;
    pairs.sort();
    Ok(pairs)
}

fn referrers(ctx: &Ctx) -> Result {
    let (images, hub) = (images(ctx)?, Hub::start(ctx)?);
    login(&hub)?;
    let tls = trust(&hub, "");
    let (app, mirror) = (hub.repo("app"), hub.repo("mirror"));
    let one = format!("{app}:1");
    let source = format!("{}:app", images.layout.display());
    ctx.cmd("oras").args(["cp", "--from-oci-layout", &source, &trust(&hub, "to-"), &one]).run()?;
    fs::write(ctx.path("sbom.json"), json!({"spdxVersion": "SPDX-2.3"}).to_string())?;
    fs::write(ctx.path("note.txt"), "checked by hand\n")?;
    let attach = |of: &str, kind: &str, file: &str| -> Result<String> {
        let cmd =
            ctx.cmd("oras").args(["attach", &tls, "--artifact-type", kind, "--format", "json", of, file]);
        text(&cmd.run()?.json()?["digest"])
    };
    let sbom = attach(&one, "application/spdx+json", "sbom.json")?;
    let note = attach(&one, "application/vnd.acme.note", "note.txt")?;
    // A chain: a note about the SBOM.
    attach(&format!("{app}@{sbom}"), "application/vnd.acme.note", "note.txt")?;

    let found = |of: &str, more: &[&str]| {
        let cmd = ctx.cmd("oras").args(["discover", &tls, "--distribution-spec", "v1.1-referrers-api"]);
        discover(cmd.args(["--format", "json"]).args(more).arg(of))
    };
    let both = vec![
        ("application/spdx+json".into(), sbom.clone()),
        ("application/vnd.acme.note".into(), note.clone()),
    ];
    same("referrers", found(&one, &[])?, both.clone())?;
    let filtered = found(&one, &["--artifact-type", "application/spdx+json"])?;
    same("referrers of one type", filtered, both[..1].to_vec())?;

    let copy = format!("{mirror}:1");
    let cp = ctx.cmd("oras").args(["cp", "-r", &trust(&hub, "from-"), &one, &trust(&hub, "to-"), &copy]);
    cp.run()?;
    same("referrers of the copy", found(&copy, &[])?, both)?;
    same("what refers to the SBOM's copy", found(&format!("{mirror}@{sbom}"), &[])?.len(), 1)?;
    let delete = ctx.cmd("oras").args(["manifest", "delete", &tls, "-f", &format!("{app}@{note}")]);
    delete.run()?;
    same("referrers after a delete", found(&one, &[])?.len(), 1)
}
