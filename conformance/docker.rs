//! docker, through a real `dockerd` of its own. A loopback registry is "insecure" to docker: over
//! TLS it does not check the certificate, without TLS it first tries a handshake on the plain port.

use std::fs;
use std::path::{Path, PathBuf};

use crate::daemon::{Hub, USER};
use crate::harness::{Case, Cmd, Ctx, HTTP, Result, Server, TLS, check, find, same};
use crate::http::Raw;
use crate::images::{Images, images, text};

const NEEDS: &[&str] = &["docker", "dockerd"];

pub const CASES: &[Case] = &[
    Case { name: "docker", needs: NEEDS, seconds: 300, mode: HTTP, run: docker },
    Case { name: "docker-tls", needs: NEEDS, seconds: 300, mode: TLS, run: docker },
    Case { name: "docker-anonymous", needs: NEEDS, seconds: 180, mode: HTTP, run: anonymous },
];

pub struct Docker<'a> {
    ctx: &'a Ctx,
    client: PathBuf,
    socket: String,
    _server: Server,
}

impl<'a> Docker<'a> {
    pub fn start(ctx: &'a Ctx) -> Result<Docker<'a>> {
        let daemon = find("dockerd").unwrap_or_default();
        // The client that came with this daemon: another on the PATH may be too new for it.
        let beside = Path::new("/usr/bin/docker").to_owned();
        let client = if beside.exists() { beside } else { find("docker").unwrap_or_default() };
        let socket = format!("unix://{}", ctx.path("docker.sock").display());
        let server = ctx.spawn(&daemon, "dockerd.log", |command| {
            // Experimental: only so does 20.10 build an image for another platform.
            command.args(["--experimental", "--storage-driver", "vfs", "--iptables=false", "--bridge=none"]);
            command
                .arg("--data-root")
                .arg(ctx.path("docker-data"))
                .arg("--exec-root")
                .arg(ctx.path("docker-exec"));
            command.arg("--pidfile").arg(ctx.path("docker.pid")).args(["-H", &socket]);
        })?;
        let docker = Docker { ctx, client, socket, _server: server };
        ctx.wait_for("dockerd", || docker.cmd(&["version"]).finish().is_ok_and(|(up, _)| up))?;
        Ok(docker)
    }

    pub fn cmd(&self, args: &[&str]) -> Cmd<'a> {
        let cmd = self.ctx.cmd(&self.client).args(["-H", &self.socket]).args(args);
        // The classic builder needs no plugin and no network.
        cmd.env("DOCKER_BUILDKIT", "0").env("DOCKER_CLI_EXPERIMENTAL", "enabled")
    }

    fn login(&self, hub: &Hub, secret: &str) -> Cmd<'a> {
        self.cmd(&["login", "-u", USER, "--password-stdin", &hub.host]).input(secret)
    }

    /// What the engine knows of an image.
    pub fn inspect(&self, image: &str, what: &str) -> Result<String> {
        Ok(self.cmd(&["image", "inspect", "-f", what, image]).run()?.line().to_owned())
    }

    /// The registry's digest of an image that was pushed.
    fn digest(&self, image: &str, repo: &str) -> Result<String> {
        let digests = self.inspect(image, "{{range .RepoDigests}}{{println .}}{{end}}")?;
        let found = digests.lines().find_map(|line| line.strip_prefix(repo)?.strip_prefix('@'));
        check(found.is_some(), || format!("no digest of {repo} in {digests:?}"))?;
        Ok(found.unwrap_or_default().to_owned())
    }

    /// Builds an image of two real trees, one layer each.
    pub fn build(&self, image: &str, platform: &str, busybox: &Path, images: &Images) -> Result {
        let dir = self.ctx.path("build");
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir)?;
        fs::copy(busybox, dir.join("busybox.tar"))?;
        fs::copy(&images.certificates, dir.join("certificates.tar"))?;
        let steps =
            "FROM scratch\nADD busybox.tar /\nADD certificates.tar /\nCMD [\"/bin/busybox\", \"sh\"]\n";
        fs::write(dir.join("Dockerfile"), steps)?;
        self.cmd(&["build", "-q", "--platform", platform, "-t", image, "."]).dir(&dir).run()?;
        Ok(())
    }
}

fn docker(ctx: &Ctx) -> Result {
    let (images, hub, docker) = (images(ctx)?, Hub::start(ctx)?, Docker::start(ctx)?);
    log_in(ctx, &hub, &docker)?;
    let (app, mirror) = (hub.repo("app"), hub.repo("mirror"));
    let one = format!("{app}:1");
    docker.build(&one, "linux/amd64", &images.busybox, &images)?;
    docker.cmd(&["push", &one]).run()?;
    let id = docker.inspect(&one, "{{.Id}}")?;
    let digest = docker.digest(&one, &app)?;

    // The layers are mounted into the second repository, not sent again.
    let copy = format!("{mirror}:1");
    docker.cmd(&["tag", &one, &copy]).run()?;
    let pushed = docker.cmd(&["push", &copy]).run()?;
    check(pushed.mentions("Mounted from acme/app"), || format!("not mounted\n{}", pushed.stdout))?;

    let by_digest = format!("{app}@{digest}");
    docker.cmd(&["rmi", "-f", &id]).run()?;
    for reference in [&one, &by_digest, &copy] {
        docker.cmd(&["pull", reference]).run()?;
        same("id of the pulled image", docker.inspect(reference, "{{.Id}}")?, id.clone())?;
        docker.cmd(&["rmi", "-f", &id]).run()?;
    }
    docker.cmd(&["pull", "-a", &app]).run()?;
    let said =
        docker.cmd(&["run", "--rm", "--network", "none", &one, "/bin/busybox", "echo", "it runs"]).run()?;
    same("output of the pulled image", said.line(), "it runs")?;

    if !ctx.mode.tls {
        // Not over TLS: `docker manifest push` insists on plain HTTP to a loopback registry.
        let list = multi_platform(&docker, &images, &app)?;
        deleted(&hub, &docker, &list, &digest)?;
    }
    docker.cmd(&["logout", &hub.host]).run()?;
    docker.cmd(&["pull", &copy]).refused()?;
    Ok(())
}

fn log_in(ctx: &Ctx, hub: &Hub, docker: &Docker) -> Result {
    docker.login(hub, "wrong").refused()?;
    // With Basic no password is sent to a token service, and elsewhere only tokens are taken.
    if ctx.mode.challenge == "bearer" {
        docker.login(hub, &hub.password).run()?;
        docker.cmd(&["logout", &hub.host]).run()?;
    }
    docker.login(hub, &hub.token).run()?;
    Ok(())
}

/// A manifest list of two platforms, made and pushed by docker; each platform pulled from it.
/// Returns its digest.
fn multi_platform(docker: &Docker, images: &Images, app: &str) -> Result<String> {
    let (amd, arm, multi) = (format!("{app}:1"), format!("{app}:arm"), format!("{app}:multi"));
    docker.build(&arm, "linux/arm64", &images.busybox_arm, images)?;
    docker.cmd(&["push", &arm]).run()?;
    docker.cmd(&["manifest", "create", "--insecure", &multi, &amd, &arm]).run()?;
    let pushed = docker.cmd(&["manifest", "push", "--insecure", "--purge", &multi]).run()?;
    let list = docker.cmd(&["manifest", "inspect", "--insecure", &multi]).run()?.json()?;
    let entries = list["manifests"].as_array().cloned().unwrap_or_default();
    let architectures: Result<Vec<String>> =
        entries.iter().map(|entry| text(&entry["platform"]["architecture"])).collect();
    let mut architectures = architectures?;
    architectures.sort();
    same("platforms of the list", architectures, vec!["amd64".into(), "arm64".into()])?;
    for platform in ["amd64", "arm64"] {
        docker.cmd(&["pull", "--platform", &format!("linux/{platform}"), &multi]).run()?;
        same("pulled platform", docker.inspect(&multi, "{{.Architecture}}")?, platform.to_owned())?;
    }
    Ok(pushed.line().to_owned())
}

/// docker has no command that deletes from a registry; a pull must notice that someone did.
fn deleted(hub: &Hub, docker: &Docker, list: &str, digest: &str) -> Result {
    let app = hub.repo("app");
    let raw = Raw::new(hub);
    let tags: serde_json::Value = serde_json::from_slice(&raw.get("/v2/acme/app/tags/list")?.body)?;
    same("tags", tags["tags"].clone(), serde_json::json!(["1", "arm", "multi"]))?;
    // The list first: a registry may hold on to what a list still names.
    for digest in [list, digest] {
        let manifest = format!("/v2/acme/app/manifests/{digest}");
        raw.send("DELETE", &manifest, &[], b"")?.expect("deleting a manifest", 202)?;
        raw.get(&manifest)?.expect("a deleted manifest", 404)?;
    }
    // Not by digest: docker would find that in its own store.
    for reference in [format!("{app}:multi"), format!("{app}:1")] {
        docker.cmd(&["pull", &reference]).refused()?;
    }
    docker.cmd(&["pull", &format!("{app}:arm")]).run()?;
    Ok(())
}

/// A public package needs no login; a private one is refused without.
fn anonymous(ctx: &Ctx) -> Result {
    let (images, hub, docker) = (images(ctx)?, Hub::start(ctx)?, Docker::start(ctx)?);
    let one = format!("{}:1", hub.repo("app"));
    docker.login(&hub, &hub.token).run()?;
    docker.build(&one, "linux/amd64", &images.busybox, &images)?;
    docker.cmd(&["push", &one]).run()?;
    docker.cmd(&["logout", &hub.host]).run()?;
    docker.cmd(&["rmi", "-f", &one]).run()?;
    docker.cmd(&["pull", &one]).refused()?;
    hub.cli(&["package", "visibility", "acme/app", "public"], "")?;
    docker.cmd(&["pull", &one]).run()?;
    // Reading is all that a stranger may do.
    docker.cmd(&["tag", &one, &format!("{}:2", hub.repo("app"))]).run()?;
    docker.cmd(&["push", &format!("{}:2", hub.repo("app"))]).refused()?;
    Ok(())
}
