//! The real daemon, started as an operator would, with an organization, a user and a token.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::{Ctx, Result, Server, check, fail};

/// A running Packhouse: organization `acme`, owned by the user `alice`.
pub struct Hub<'a> {
    pub ctx: &'a Ctx,
    server: Server,
    /// `127.0.0.1:PORT`, as clients name it.
    pub host: String,
    pub token: String,
    pub password: String,
    name: String,
    /// Where it shows its metrics: an address or "off".
    metrics: String,
    ca: Option<PathBuf>,
}

pub const USER: &str = "alice";

impl<'a> Hub<'a> {
    pub fn start(ctx: &'a Ctx) -> Result<Hub<'a>> {
        Hub::named(ctx, "hub")
    }

    /// Several daemons of one case differ by name.
    pub fn named(ctx: &'a Ctx, name: &str) -> Result<Hub<'a>> {
        Hub::with_metrics(ctx, name, "off")
    }

    /// One that shows its metrics at an address.
    pub fn with_metrics(ctx: &'a Ctx, name: &str, metrics: &str) -> Result<Hub<'a>> {
        let ca = ctx.mode.tls.then(|| certificates(ctx)).transpose()?;
        if let Some(ca) = &ca {
            ctx.trust(ca);
        }
        fs::create_dir_all(ctx.path(name))?;
        fs::write(admin_password(ctx, name), "correct-horse-battery-staple\n")?;
        let (server, host) = serve(ctx, name, "127.0.0.1:0", metrics)?;
        let password = "hunter2-but-longer".to_owned();
        let (token, name, metrics) = (String::new(), name.to_owned(), metrics.to_owned());
        let mut hub = Hub { ctx, server, host, token, password, name, metrics, ca };
        hub.cli(&["user", "add", USER, "--password-stdin"], &hub.password)?;
        hub.cli(&["org", "add", "acme", "--owner", USER], "")?;
        hub.token = hub.token_for(USER)?;
        Ok(hub)
    }

    pub fn token_for(&self, user: &str) -> Result<String> {
        let mut args = vec!["token", "create", "--user", user];
        for scope in ["read:packages", "write:packages", "delete:packages"] {
            args.extend(["--scope", scope]);
        }
        let token = self.cli(&args, "")?;
        check(!token.is_empty(), || "`packhouse token create` printed nothing".into())?;
        Ok(token)
    }

    /// The administrator's command line, while the daemon runs.
    pub fn cli(&self, args: &[&str], input: &str) -> Result<String> {
        let cmd = self.ctx.cmd(program()).args(args).arg("--data").arg(self.data());
        Ok(cmd.input(format!("{input}\n")).run()?.line().to_owned())
    }

    fn data(&self) -> PathBuf {
        data(self.ctx, &self.name)
    }

    /// The program and its data folder, for scripts.
    pub fn program(&self) -> String {
        program().display().to_string()
    }

    pub fn folder(&self) -> String {
        self.data().display().to_string()
    }

    /// `HOST/acme/NAME`
    pub fn repo(&self, name: &str) -> String {
        format!("{}/acme/{name}", self.host)
    }

    pub fn ca(&self) -> Option<&Path> {
        self.ca.as_deref()
    }

    /// As `kill -9` does.
    pub fn kill(&mut self) -> Result {
        self.server.kill()
    }

    /// Up again on the same port and data.
    pub fn restart(&mut self) -> Result {
        (self.server, self.host) = serve(self.ctx, &self.name, &self.host, &self.metrics)?;
        Ok(())
    }
}

fn program() -> PathBuf {
    match (std::env::var_os("PACKHOUSE_BIN"), option_env!("CARGO_BIN_EXE_packhouse")) {
        (Some(path), _) => path.into(),
        (None, Some(path)) => path.into(),
        (None, None) => "packhouse".into(),
    }
}

fn data(ctx: &Ctx, name: &str) -> PathBuf {
    ctx.path(name).join("data")
}

fn admin_password(ctx: &Ctx, name: &str) -> PathBuf {
    ctx.path(name).join("admin-password")
}

fn config() -> PathBuf {
    match std::env::var_os("PACKHOUSE_CONFORMANCE_CONFIG") {
        Some(path) => path.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("config/conformance.toml"),
    }
}

/// Starts the daemon and waits for the line that names its address.
fn serve(ctx: &Ctx, name: &str, listen: &str, metrics: &str) -> Result<(Server, String)> {
    let out = ctx.path(name).join("stdout");
    let stdout = fs::File::create(&out)?;
    let mut server = ctx.spawn(&program(), &format!("{name}/log"), |command| {
        command.args(["serve", "--config"]).arg(config()).args(["--listen", listen]);
        command.arg("--data").arg(data(ctx, name)).args(["--metrics-listen", metrics]);
        command.arg("--admin-password-file").arg(admin_password(ctx, name));
        if ctx.mode.tls {
            command.arg("--tls-cert").arg(ctx.shared.join("server.crt"));
            command.arg("--tls-key").arg(ctx.shared.join("server.key"));
        }
        command.env("PACKHOUSE_AUTH_CHALLENGE", ctx.mode.challenge).stdout(stdout);
    })?;
    let mut ended = false;
    ctx.wait_for("packhouse serve", || {
        ended = !server.running();
        ended || fs::read_to_string(&out).is_ok_and(|text| text.contains('\n'))
    })?;
    check(!ended, || "packhouse serve ended at once".into())?;
    let said = fs::read_to_string(&out)?;
    let prefix = if ctx.mode.tls { "listening on https://" } else { "listening on http://" };
    match said.lines().next().and_then(|line| line.strip_prefix(prefix)) {
        Some(host) => Ok((server, host.trim_end_matches('/').to_owned())),
        None => fail(format!("packhouse serve said {said:?}, want `{prefix}ADDRESS`")),
    }
}

/// An authority and a certificate for loopback, made once a run. Returns the authority's file.
fn certificates(ctx: &Ctx) -> Result<PathBuf> {
    let ca = ctx.shared.join("ca.crt");
    if ca.exists() {
        return Ok(ca);
    }
    let ext = "subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth\n";
    fs::write(ctx.shared.join("server.ext"), ext)?;
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let openssl = |args: &[&str]| ctx.cmd("openssl").dir(&ctx.shared).args(args).run();
    let mut request =
        vec!["req", "-new", "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=127.0.0.1"];
    request.extend(key);
    openssl(&request)?;
    let mut authority = vec!["req", "-x509", "-keyout", "ca.key", "-out", "ca.pem", "-days", "2"];
    authority.extend(["-subj", "/CN=Packhouse conformance", "-addext", "keyUsage=critical,keyCertSign"]);
    authority.extend(key);
    openssl(&authority)?;
    let sign = ["x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"];
    let rest = ["-days", "2", "-extfile", "server.ext", "-out", "server.crt"];
    openssl(&[&sign[..], &rest[..]].concat())?;
    fs::rename(ctx.shared.join("ca.pem"), &ca)?;
    // podman, skopeo and buildah want a folder.
    fs::create_dir_all(ctx.shared.join("certs"))?;
    fs::copy(&ca, ctx.shared.join("certs/ca.crt"))?;
    Ok(ca)
}
