//! skopeo, podman and buildah: three programs over one library.

use std::path::Path;

use crate::daemon::{Hub, USER};
use crate::harness::{Case, Cmd, Ctx, HTTP, Result, TLS, check, same};
use crate::images::images;

pub const CASES: &[Case] = &[
    Case { name: "skopeo", needs: &["skopeo"], seconds: 120, mode: HTTP, run: skopeo },
    Case { name: "skopeo-tls", needs: &["skopeo"], seconds: 120, mode: TLS, run: skopeo },
    Case { name: "skopeo-layouts", needs: &["skopeo"], seconds: 120, mode: HTTP, run: layouts },
    Case { name: "podman", needs: &["podman"], seconds: 180, mode: HTTP, run: podman },
    Case { name: "podman-tls", needs: &["podman"], seconds: 180, mode: TLS, run: podman },
    Case { name: "podman-anonymous", needs: &["podman", "skopeo"], seconds: 120, mode: HTTP, run: anonymous },
    Case { name: "buildah", needs: &["buildah"], seconds: 180, mode: HTTP, run: buildah },
    Case { name: "buildah-tls", needs: &["buildah"], seconds: 180, mode: TLS, run: buildah },
];

/// How these clients are told to trust the daemon: `prefix` is "", "src-" or "dest-".
pub fn trust(hub: &Hub, prefix: &str) -> String {
    match hub.ca().and_then(Path::parent) {
        Some(dir) => format!("--{prefix}cert-dir={}", dir.join("certs").display()),
        None => format!("--{prefix}tls-verify=false"),
    }
}

pub fn login<'a>(hub: &Hub<'a>, program: &str, secret: &str) -> Cmd<'a> {
    let cmd = hub.ctx.cmd(program).args(["login", "-u", USER, "--password-stdin"]);
    cmd.arg(trust(hub, "")).arg(&hub.host).input(secret)
}

/// What is imported, exported and imported again is what skopeo wrote and reads.
fn layouts(ctx: &Ctx) -> Result {
    let (images, hub) = (images(ctx)?, Hub::start(ctx)?);
    let shown = |path: &Path| path.display().to_string();
    let (out, tar) = (ctx.path("out"), ctx.path("out.tar"));
    let (again, its) = (ctx.path("again"), ctx.path("its.tar"));
    hub.cli(&["import", "acme/app", &shown(&images.layout)], "")?;
    hub.cli(&["export", "acme/app", &shown(&out)], "")?;
    hub.cli(&["export", "acme/app", "--tar", &shown(&tar)], "")?;
    let copy =
        |args: &[&str]| ctx.cmd("skopeo").args(["copy", "--all", "--preserve-digests"]).args(args).run();
    for (from, name, digest) in [
        (format!("oci:{}", out.display()), "app", &images.app),
        (format!("oci-archive:{}", tar.display()), "multi", &images.multi),
    ] {
        let reference = format!("{from}:{name}");
        let raw = ctx.cmd("skopeo").args(["inspect", "--raw", &reference]).run()?;
        same(name, crate::http::digest(raw.stdout.as_bytes()), digest.clone())?;
        copy(&[&reference, &format!("oci:{}:{name}", again.display())])?;
    }
    copy(&[&format!("oci:{}:multi", again.display()), &format!("oci-archive:{}:multi", its.display())])?;
    hub.cli(&["import", "acme/back", &shown(&its)], "")?;
    login(&hub, "skopeo", &hub.token).run()?;
    let back = format!("docker://{}:multi", hub.repo("back"));
    let inspect = ctx.cmd("skopeo").args(["inspect", &trust(&hub, ""), "--raw", &back]).run()?;
    same("the index that came back", crate::http::digest(inspect.stdout.as_bytes()), images.multi.clone())
}

fn skopeo(ctx: &Ctx) -> Result {
    let (images, hub) = (images(ctx)?, Hub::start(ctx)?);
    login(&hub, "skopeo", "wrong").refused()?;
    login(&hub, "skopeo", &hub.token).run()?;
    let (tls, src, dest) = (trust(&hub, ""), trust(&hub, "src-"), trust(&hub, "dest-"));
    let digest_of = |reference: &str| -> Result<String> {
        let inspect = ctx.cmd("skopeo").args(["inspect", &tls, "--format", "{{.Digest}}", reference]);
        Ok(inspect.run()?.line().to_owned())
    };
    let local = |name: &str| format!("oci:{}:{name}", images.layout.display());
    let app = format!("docker://{}", hub.repo("app"));
    let (one, multi) = (format!("{app}:1"), format!("{app}:multi"));

    ctx.cmd("skopeo").args(["copy", &dest, &local("app"), &one]).run()?;
    ctx.cmd("skopeo").args(["copy", "--all", &dest, &local("multi"), &multi]).run()?;
    same("digest by tag", digest_of(&one)?, images.app.clone())?;
    let by_digest = format!("{app}@{}", images.multi);
    let raw = ctx.cmd("skopeo").args(["inspect", &tls, "--raw", &by_digest]).run()?;
    same("digest of the index as served", crate::http::digest(raw.stdout.as_bytes()), images.multi.clone())?;

    // Each platform from the index, the image by digest, into a folder that checks every blob.
    for arch in ["amd64", "arm64"] {
        let out = format!("oci:{}:{arch}", ctx.path("pulled").display());
        ctx.cmd("skopeo").args(["--override-arch", arch, "copy", &src, &by_digest, &out]).run()?;
    }
    let config =
        ctx.cmd("skopeo").args(["--override-arch", "arm64", "inspect", &tls, "--config", &multi]).run()?;
    same("architecture", config.json()?["architecture"].clone(), "arm64".into())?;

    // Into another repository: blobs are mounted, the digest stays.
    let mirror = format!("docker://{}:multi", hub.repo("mirror"));
    ctx.cmd("skopeo").args(["copy", "--all", &src, &dest, &multi, &mirror]).run()?;
    let raw = ctx.cmd("skopeo").args(["inspect", &tls, "--raw", &mirror]).run()?;
    same("digest of the mirrored index", crate::http::digest(raw.stdout.as_bytes()), images.multi.clone())?;

    let tags = ctx.cmd("skopeo").args(["list-tags", &tls, &app]).run()?.json()?;
    same("tags", tags["Tags"].clone(), serde_json::json!(["1", "multi"]))?;
    ctx.cmd("skopeo").args(["delete", &tls, &mirror]).run()?;
    ctx.cmd("skopeo").args(["inspect", &tls, &mirror]).refused()?;
    ctx.cmd("skopeo").args(["logout", &hub.host]).run()?;
    ctx.cmd("skopeo").args(["inspect", &tls, &one]).refused()?;
    Ok(())
}

/// podman or buildah with a store of its own.
pub fn engine<'a>(ctx: &'a Ctx, program: &str, args: &[&str]) -> Cmd<'a> {
    let cmd = ctx.cmd(program).args(["--storage-driver", "vfs", "--root"]).arg(ctx.path("store"));
    cmd.arg("--runroot").arg(ctx.path("runroot")).args(args)
}

fn podman(ctx: &Ctx) -> Result {
    let (images, hub) = (images(ctx)?, Hub::start(ctx)?);
    login(&hub, "podman", "wrong").refused()?;
    login(&hub, "podman", &hub.token).run()?;
    let tls = trust(&hub, "");
    let podman = |args: &[&str]| engine(ctx, "podman", args);
    let (app, mirror) = (hub.repo("app"), hub.repo("mirror"));
    let (one, copy) = (format!("{app}:1"), format!("{mirror}:1"));
    let source = |name: &str| format!("oci:{}:{name}", images.layout.display());

    let id = podman(&["pull", "-q", &source("app")]).run()?.line().to_owned();
    for reference in [&one, &copy] {
        podman(&["push", &tls, &id, reference]).run()?;
    }
    let digest_file = ctx.path("digest");
    podman(&["push", &tls, "--digestfile"]).arg(&digest_file).args([&id, &one]).run()?;
    let digest = std::fs::read_to_string(&digest_file)?;
    podman(&["rmi", "-f", &id]).run()?;
    for reference in [one.clone(), format!("{app}@{digest}"), copy.clone()] {
        let pulled = podman(&["pull", "-q", &tls, &reference]).run()?;
        same("id of the pulled image", pulled.line(), id.as_str())?;
        podman(&["rmi", "-f", &id]).run()?;
    }

    // An index of two platforms, made by podman from what it holds.
    let amd = podman(&["pull", "-q", &source("app")]).run()?.line().to_owned();
    let arm = podman(&["pull", "-q", "--arch", "arm64", &source("arm")]).run()?.line().to_owned();
    podman(&["manifest", "create", "pair"]).run()?;
    podman(&["manifest", "add", "pair", &format!("containers-storage:{amd}")]).run()?;
    podman(&["manifest", "add", "pair", &format!("containers-storage:{arm}")]).run()?;
    let multi = format!("{app}:multi");
    podman(&["manifest", "push", &tls, "--all", "pair", &format!("docker://{multi}")]).run()?;
    podman(&["manifest", "rm", "pair"]).run()?;
    podman(&["rmi", "-f", &amd, &arm]).run()?;
    podman(&["pull", "-q", &tls, "--arch", "arm64", &multi]).run()?;
    let arch = podman(&["image", "inspect", "-f", "{{.Architecture}}", &multi]).run()?;
    same("pulled platform", arch.line(), "arm64")?;

    // This command knows no --cert-dir; the environment names our authority.
    let verify = format!("--tls-verify={}", ctx.mode.tls);
    let tags = podman(&["search", &verify, "--list-tags", "--format", "json", &app]).run()?.json()?;
    same("tags", tags[0]["Tags"].clone(), serde_json::json!(["1", "multi"]))?;
    podman(&["logout", &hub.host]).run()?;
    podman(&["pull", &tls, &copy]).refused()?;
    Ok(())
}

/// A public package is pulled without a login, by tag and by digest; a private one is not.
fn anonymous(ctx: &Ctx) -> Result {
    let (images, hub) = (images(ctx)?, Hub::start(ctx)?);
    let tls = trust(&hub, "");
    let app = hub.repo("app");
    login(&hub, "skopeo", &hub.token).run()?;
    let source = format!("oci:{}:app", images.layout.display());
    ctx.cmd("skopeo").args(["copy", &trust(&hub, "dest-"), &source, &format!("docker://{app}:1")]).run()?;
    ctx.cmd("skopeo").args(["logout", &hub.host]).run()?;
    let podman = |args: &[&str]| engine(ctx, "podman", args);
    podman(&["pull", "-q", &tls, &format!("{app}:1")]).refused()?;
    hub.cli(&["package", "visibility", "acme/app", "public"], "")?;
    podman(&["pull", "-q", &tls, &format!("{app}:1")]).run()?;
    podman(&["pull", "-q", &tls, &format!("{app}@{}", images.app)]).run()?;
    let pushed = podman(&["push", &tls, &format!("{app}:1"), &format!("{app}:2")]).refused()?;
    check(!pushed.mentions("panic"), || pushed.stderr.clone())
}

fn buildah(ctx: &Ctx) -> Result {
    let (images, hub) = (images(ctx)?, Hub::start(ctx)?);
    login(&hub, "buildah", "wrong").refused()?;
    login(&hub, "buildah", &hub.token).run()?;
    let tls = trust(&hub, "");
    let buildah = |args: &[&str]| engine(ctx, "buildah", args);
    let app = hub.repo("app");
    // Two images of real trees, and an index of them, as a build script makes them.
    for (arch, busybox) in [("amd64", &images.busybox), ("arm64", &images.busybox_arm)] {
        let work = buildah(&["from", "--name", arch, "scratch"]).run()?.line().to_owned();
        buildah(&["add", &work]).arg(busybox).arg("/").run()?;
        buildah(&["add", &work]).arg(&images.certificates).arg("/").run()?;
        buildah(&["config", "--arch", arch, "--os", "linux", "--cmd", "/bin/busybox sh", &work]).run()?;
        let local = format!("localhost/app:{arch}");
        buildah(&["commit", "--rm", &work, &local]).run()?;
        buildah(&["push", &tls, &local, &format!("docker://{app}:{arch}")]).run()?;
    }
    let digest_file = ctx.path("digest");
    buildah(&["manifest", "create", "pair", "localhost/app:amd64", "localhost/app:arm64"]).run()?;
    let push = buildah(&["manifest", "push", &tls, "--all", "--digestfile"]).arg(&digest_file);
    push.args(["pair", &format!("docker://{app}:multi")]).run()?;
    let by_digest = format!("{app}@{}", std::fs::read_to_string(&digest_file)?);
    buildah(&["manifest", "rm", "pair"]).run()?;

    for arch in ["amd64", "arm64"] {
        let id = |image: &str| -> Result<String> {
            Ok(buildah(&["inspect", "--type", "image", "-f", "{{.FromImageID}}", image])
                .run()?
                .line()
                .to_owned())
        };
        let want = id(&format!("localhost/app:{arch}"))?;
        let pulled =
            buildah(&["pull", "-q", &tls, "--policy", "always", "--arch", arch, &by_digest]).run()?;
        same("id of the pulled image", pulled.line(), want.as_str())?;
        // Pushed to another repository from what was pulled: its layers are mounted.
        buildah(&["push", &tls, &want, &format!("docker://{}:{arch}", hub.repo("mirror"))]).run()?;
    }
    buildah(&["logout", &hub.host]).run()?;
    buildah(&["pull", &tls, "--policy", "always", &format!("{app}:amd64")]).refused()?;
    Ok(())
}
