//! `ctr`, against a containerd of its own.

use std::fs;

use crate::daemon::{Hub, USER};
use crate::harness::{Case, Cmd, Ctx, HTTP, Result, Server, TLS, check, find, same};
use crate::images::{Images, images};

const NEEDS: &[&str] = &["ctr", "containerd", "skopeo"];

pub const CASES: &[Case] = &[
    Case { name: "ctr", needs: NEEDS, seconds: 120, mode: HTTP, run: ctr },
    Case { name: "ctr-tls", needs: NEEDS, seconds: 120, mode: TLS, run: ctr },
];

struct Containerd<'a> {
    ctx: &'a Ctx,
    _server: Server,
}

impl<'a> Containerd<'a> {
    fn start(ctx: &'a Ctx) -> Result<Containerd<'a>> {
        let config = "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n";
        fs::write(ctx.path("containerd.toml"), config)?;
        let program = find("containerd").unwrap_or_default();
        let server = ctx.spawn(&program, "containerd.log", |command| {
            command.arg("--config").arg(ctx.path("containerd.toml"));
            command.arg("--root").arg(ctx.path("c-root")).arg("--state").arg(ctx.path("c-state"));
            command.arg("--address").arg(ctx.path("c.sock"));
        })?;
        let containerd = Containerd { ctx, _server: server };
        ctx.wait_for("containerd", || containerd.cmd(&["version"]).finish().is_ok_and(|(up, _)| up))?;
        Ok(containerd)
    }

    fn cmd(&self, args: &[&str]) -> Cmd<'a> {
        self.ctx.cmd("ctr").arg("-a").arg(self.ctx.path("c.sock")).args(args)
    }

    /// `ctr images push|pull`; there is no login, credentials come with each command.
    fn remote(&self, hub: &Hub, verb: &str, secret: Option<&str>) -> Cmd<'a> {
        let mut cmd = self.cmd(&["images", verb]);
        if let Some(secret) = secret {
            cmd = cmd.args(["--user", &format!("{USER}:{secret}")]);
        }
        if hub.ca().is_some() {
            cmd.arg("--hosts-dir").arg(self.ctx.path("hosts"))
        } else {
            cmd.arg("--plain-http")
        }
    }

    /// Without this file containerd takes every loopback registry for plain HTTP.
    fn trust(&self, hub: &Hub) -> Result {
        if let Some(ca) = hub.ca() {
            let dir = self.ctx.path("hosts").join(format!("{}_", hub.host.replace(':', "_")));
            fs::create_dir_all(&dir)?;
            let (host, ca) = (&hub.host, ca.display());
            let text = format!("server = \"https://{host}\"\n[host.\"https://{host}\"]\nca = \"{ca}\"\n");
            fs::write(dir.join("hosts.toml"), text)?;
        }
        Ok(())
    }

    /// The digest that containerd holds for a name.
    fn digest(&self, name: &str) -> Result<String> {
        let listed = self.cmd(&["images", "ls", &format!("name=={name}")]).run()?;
        let digest = listed.stdout.split_whitespace().find(|word| word.starts_with("sha256:"));
        check(digest.is_some(), || format!("containerd has no {name}\n{}", listed.stdout))?;
        Ok(digest.unwrap_or_default().to_owned())
    }

    /// Forgets images and, at once, their content.
    fn forget(&self, names: &[&str]) -> Result {
        self.cmd(&["images", "rm", "--sync"]).args(names).run()?;
        let left = self.cmd(&["content", "ls", "-q"]).run()?;
        same("content after the images are gone", left.line(), "")
    }
}

/// Puts the index into containerd's store under the name it is pushed as.
fn import(containerd: &Containerd, images: &Images, name: &str) -> Result {
    let archive = containerd.ctx.path("multi.tar");
    let source = format!("oci:{}:multi", images.layout.display());
    let target = format!("oci-archive:{}", archive.display());
    containerd.ctx.cmd("skopeo").args(["copy", "--all", &source, &target]).run()?;
    let import = containerd.cmd(&["images", "import", "--no-unpack", "--all-platforms"]);
    import.args(["--index-name", name]).arg(&archive).run()?;
    Ok(())
}

fn ctr(ctx: &Ctx) -> Result {
    let (images, hub, containerd) = (images(ctx)?, Hub::start(ctx)?, Containerd::start(ctx)?);
    let multi = format!("{}:multi", hub.repo("app"));
    containerd.trust(&hub)?;
    import(&containerd, &images, &multi)?;
    let digest = containerd.digest(&multi)?;
    containerd.remote(&hub, "push", Some("wrong")).arg(&multi).refused()?;
    containerd.remote(&hub, "push", Some(&hub.token)).arg(&multi).run()?;

    // Into another repository, where the blobs of the first are mounted.
    let mirror = format!("{}:multi", hub.repo("mirror"));
    containerd.cmd(&["images", "tag", &multi, &mirror]).run()?;
    containerd.remote(&hub, "push", Some(&hub.token)).arg(&mirror).run()?;
    containerd.forget(&[&multi, &mirror])?;

    let pull = |secret| containerd.remote(&hub, "pull", secret).args(["--snapshotter", "native"]);
    pull(None).arg(&multi).refused()?;
    let by_digest = format!("{}@{digest}", hub.repo("app"));
    for name in [&multi, &by_digest, &mirror] {
        // All platforms of the index are fetched and verified; this machine's is unpacked.
        pull(Some(hub.token.as_str())).args(["--all-platforms", name.as_str()]).run()?;
        same("digest of the pulled image", containerd.digest(name)?, digest.clone())?;
        let checked = containerd.cmd(&["images", "check", &format!("name=={name}")]).run()?;
        check(checked.mentions("complete"), || format!("not complete\n{}", checked.stdout))?;
        containerd.forget(&[name])?;
    }
    Ok(())
}
