//! Signatures: cosign and notation, each in both of its ways of storing them.

use std::fs;

use serde_json::json;

use crate::daemon::{Hub, USER};
use crate::go_clients::crane_login;
use crate::harness::{Case, Cmd, Ctx, HTTP, Result, TLS, check, same};
use crate::images::images;

pub const CASES: &[Case] = &[
    Case { name: "cosign-tag", needs: &["cosign", "crane"], seconds: 120, mode: HTTP, run: cosign_tag },
    Case {
        name: "cosign-referrers",
        needs: &["cosign", "crane"],
        seconds: 120,
        mode: HTTP,
        run: cosign_referrers,
    },
    Case { name: "cosign-tls", needs: &["cosign", "crane"], seconds: 120, mode: TLS, run: cosign_tag },
    Case { name: "notation-tag", needs: &["notation", "crane"], seconds: 120, mode: HTTP, run: notation_tag },
    Case {
        name: "notation-referrers",
        needs: &["notation", "crane"],
        seconds: 120,
        mode: HTTP,
        run: notation_referrers,
    },
];

/// An image to sign, pushed by crane; returns it by digest.
fn pushed(ctx: &Ctx, hub: &Hub) -> Result<String> {
    let images = images(ctx)?;
    crane_login(hub, &hub.token).run()?;
    ctx.cmd("crane").arg("push").arg(&images.app_layout).arg(format!("{}:1", hub.repo("app"))).run()?;
    Ok(format!("{}@{}", hub.repo("app"), images.app))
}

struct Cosign<'a> {
    ctx: &'a Ctx,
}

impl<'a> Cosign<'a> {
    /// Logged in, with a key pair of its own; no transparency log: there is no network.
    fn start(ctx: &'a Ctx, hub: &Hub) -> Result<Cosign<'a>> {
        let cosign = Cosign { ctx };
        cosign.cmd(&["login", &hub.host, "-u", USER, "--password-stdin"]).input(hub.token.as_str()).run()?;
        for name in ["cosign", "other"] {
            cosign.cmd(&["generate-key-pair", "--output-key-prefix", name]).run()?;
        }
        Ok(cosign)
    }

    fn cmd(&self, args: &[&str]) -> Cmd<'a> {
        let cmd = self.ctx.cmd("cosign").args(args).env("COSIGN_PASSWORD", "secret");
        cmd.env("COSIGN_EXPERIMENTAL", "1")
    }

    fn sign(&self, verb: &[&str], image: &str) -> Cmd<'a> {
        let cmd = self.cmd(verb).args(["--key", "cosign.key", "--tlog-upload=false", "--yes"]);
        self.reach(cmd).arg(image)
    }

    fn verify(&self, verb: &[&str], key: &str, image: &str) -> Cmd<'a> {
        let cmd = self.cmd(verb).args(["--key", key, "--insecure-ignore-tlog"]);
        self.reach(cmd).arg(image)
    }

    fn reach(&self, cmd: Cmd<'a>) -> Cmd<'a> {
        if self.ctx.mode.tls { cmd } else { cmd.arg("--allow-http-registry") }
    }
}

fn tags(ctx: &Ctx, hub: &Hub) -> Result<Vec<String>> {
    let listed = ctx.cmd("crane").args(["ls", &hub.repo("app")]).run()?;
    Ok(listed.lines().into_iter().map(str::to_owned).collect())
}

/// `sha256-<hex>.sig` and `.att`, cosign's default.
fn cosign_tag(ctx: &Ctx) -> Result {
    let hub = Hub::start(ctx)?;
    let image = pushed(ctx, &hub)?;
    let cosign = Cosign::start(ctx, &hub)?;
    cosign.verify(&["verify"], "cosign.pub", &image).refused()?;
    cosign.sign(&["sign"], &image).run()?;
    cosign.sign(&["sign", "-a", "stage=prod"], &image).run()?;
    cosign.verify(&["verify", "-a", "stage=prod"], "cosign.pub", &image).run()?;
    cosign.verify(&["verify"], "other.pub", &image).refused()?;

    fs::write(ctx.path("predicate.json"), json!({"builder": "by hand"}).to_string())?;
    cosign.sign(&["attest", "--predicate", "predicate.json", "--type", "custom"], &image).run()?;
    let attested = cosign.verify(&["verify-attestation", "--type", "custom"], "cosign.pub", &image).run()?;
    check(attested.mentions("payload"), || format!("no attestation\n{}", attested.stdout))?;

    let stem = image.split('@').nth(1).unwrap_or_default().replace(':', "-");
    same("tags", tags(ctx, &hub)?, vec!["1".to_owned(), format!("{stem}.att"), format!("{stem}.sig")])?;
    // The signature goes where the image goes.
    let copy = format!("{}:1", hub.repo("mirror"));
    let copied = cosign.cmd(&["copy"]);
    cosign.reach(copied).args([&image, &copy]).run()?;
    cosign.verify(&["verify"], "cosign.pub", &copy).run()?;
    Ok(())
}

/// Signatures that refer to the image: nothing new among the tags.
fn cosign_referrers(ctx: &Ctx) -> Result {
    let hub = Hub::start(ctx)?;
    let image = pushed(ctx, &hub)?;
    let cosign = Cosign::start(ctx, &hub)?;
    cosign.verify(&["verify", "--experimental-oci11"], "cosign.pub", &image).refused()?;
    cosign.sign(&["sign", "--registry-referrers-mode", "oci-1-1"], &image).run()?;
    cosign.verify(&["verify", "--experimental-oci11"], "cosign.pub", &image).run()?;
    cosign.verify(&["verify", "--experimental-oci11"], "other.pub", &image).refused()?;
    same("tags", tags(ctx, &hub)?, vec!["1".to_owned()])?;

    // The newer bundles, as referrers too.
    cosign.sign(&["sign", "--new-bundle-format"], &image).run()?;
    // A key needs no authority; an empty list of them keeps cosign from asking the network for one.
    cosign.cmd(&["trusted-root", "create", "--out", "root.json"]).run()?;
    let verify = ["verify", "--new-bundle-format", "--trusted-root", "root.json"];
    cosign.verify(&verify, "cosign.pub", &image).run()?;
    cosign.verify(&verify, "other.pub", &image).refused()?;
    same("tags", tags(ctx, &hub)?, vec!["1".to_owned()])
}

/// notation keeps no password without a keychain, so every command carries the credentials.
fn notation<'a>(hub: &Hub<'a>, args: &[&str], secret: &str) -> Cmd<'a> {
    let cmd = hub.ctx.cmd("notation").args(args);
    cmd.env("NOTATION_USERNAME", USER).env("NOTATION_PASSWORD", secret)
}

/// A key and certificate of our own, trusted for every repository.
fn notation_keys(hub: &Hub) -> Result {
    notation(hub, &["cert", "generate-test", "--default", "acme.test"], "").run()?;
    let policy = json!({"version": "1.0", "trustPolicies": [{
        "name": "all", "registryScopes": ["*"], "signatureVerification": {"level": "strict"},
        "trustStores": ["ca:acme.test"], "trustedIdentities": ["*"],
    }]});
    fs::write(hub.ctx.path("policy.json"), policy.to_string())?;
    notation(hub, &["policy", "import", "policy.json"], "").run()?;
    Ok(())
}

fn notation_signs(ctx: &Ctx, mode: &str) -> Result<Vec<String>> {
    let hub = Hub::start(ctx)?;
    let image = pushed(ctx, &hub)?;
    notation_keys(&hub)?;
    let run = |args: &[&str]| notation(&hub, args, &hub.token);
    let login = ["login", "--insecure-registry", &hub.host];
    notation(&hub, &login, "wrong").refused()?;
    run(&login).run()?;
    run(&["verify", "--insecure-registry", &image]).refused()?;
    run(&["sign", "--insecure-registry", mode, &image]).run()?;
    run(&["sign", "--insecure-registry", mode, "--signature-format", "cose", "-m", "stage=prod", &image])
        .run()?;
    let verified = run(&["verify", "--insecure-registry", "-m", "stage=prod", &image]).run()?;
    check(verified.mentions("Successfully verified"), || format!("not verified\n{}", verified.stdout))?;
    let listed = run(&["ls", "--insecure-registry", &image]).run()?;
    same("signatures", listed.stdout.matches("sha256:").count(), 3)?;
    let inspected = run(&["inspect", "--insecure-registry", "--output", "json", &image]).run()?;
    let signatures = inspected.json()?["Signatures"].as_array().map_or(0, Vec::len);
    check(signatures == 2, || format!("inspected\n{}", inspected.stdout))?;
    tags(ctx, &hub)
}

/// With the fallback tag: notation writes an index of the signatures under `sha256-<hex>`. A
/// registry that keeps the list itself must not count them twice.
fn notation_tag(ctx: &Ctx) -> Result {
    let tags = notation_signs(ctx, "--force-referrers-tag=true")?;
    same("number of tags", tags.len(), 2)?;
    check(tags[1].starts_with("sha256-"), || format!("tags: {tags:?}"))
}

fn notation_referrers(ctx: &Ctx) -> Result {
    same("tags", notation_signs(ctx, "--force-referrers-tag=false")?, vec!["1".to_owned()])
}
