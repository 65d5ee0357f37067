//! Between two Packhouses: an index with its platforms, and what refers to it.

use crate::containers_image;
use crate::daemon::Hub;
use crate::go_clients::{crane_login, regctl_login};
use crate::harness::{Case, Ctx, HTTP, Result, TLS, same};
use crate::http::Raw;
use crate::images::{Images, images};
use crate::oras;

pub const CASES: &[Case] = &[
    Case { name: "copy-skopeo", needs: &["skopeo"], seconds: 120, mode: HTTP, run: skopeo },
    Case { name: "copy-skopeo-tls", needs: &["skopeo"], seconds: 120, mode: TLS, run: skopeo },
    Case { name: "copy-crane", needs: &["skopeo", "crane"], seconds: 120, mode: HTTP, run: crane },
    Case { name: "copy-regctl", needs: &["regctl"], seconds: 120, mode: HTTP, run: regctl },
    Case { name: "copy-oras", needs: &["oras"], seconds: 120, mode: HTTP, run: oras },
];

struct Pair<'a> {
    images: Images,
    from: Hub<'a>,
    to: Hub<'a>,
    /// `…/acme/app:multi` at both.
    source: String,
    target: String,
}

fn pair(ctx: &Ctx) -> Result<Pair<'_>> {
    let (images, from, to) = (images(ctx)?, Hub::named(ctx, "from")?, Hub::named(ctx, "to")?);
    let (source, target) = (format!("{}:multi", from.repo("app")), format!("{}:multi", to.repo("app")));
    Ok(Pair { images, from, to, source, target })
}

fn skopeo(ctx: &Ctx) -> Result {
    let pair = pair(ctx)?;
    for hub in [&pair.from, &pair.to] {
        containers_image::login(hub, "skopeo", &hub.token).run()?;
    }
    let (src, dest) =
        (containers_image::trust(&pair.from, "src-"), containers_image::trust(&pair.to, "dest-"));
    let copy = |from: &str, to: &str| ctx.cmd("skopeo").args(["copy", "--all", &src, &dest, from, to]).run();
    let (source, target) = (format!("docker://{}", pair.source), format!("docker://{}", pair.target));
    copy(&format!("oci:{}:multi", pair.images.layout.display()), &source)?;
    copy(&source, &target)?;
    // Back into a folder, which checks every blob of both platforms.
    copy(&target, &format!("oci:{}:multi", ctx.path("back").display()))?;
    let inspect = ["inspect", "--raw", &containers_image::trust(&pair.to, ""), &target];
    let raw = ctx.cmd("skopeo").args(inspect).run()?;
    same("digest of the copy", crate::http::digest(raw.stdout.as_bytes()), pair.images.multi.clone())?;

    // A whole repository, every tag of it.
    copy(
        &format!("oci:{}:app", pair.images.layout.display()),
        &format!("docker://{}:1", pair.from.repo("app")),
    )?;
    let all = ["--src", "docker", "--dest", "docker", "--all", &src, &dest];
    let sync = ctx.cmd("skopeo").arg("sync").args(all).args([pair.from.repo("app"), pair.to.repo("synced")]);
    sync.run()?;
    let listed = ["list-tags", &containers_image::trust(&pair.to, "")];
    let tags =
        ctx.cmd("skopeo").args(listed).arg(format!("docker://{}/app", pair.to.repo("synced"))).run()?;
    same("tags of the synced repository", tags.json()?["Tags"].clone(), serde_json::json!(["1", "multi"]))
}

fn crane(ctx: &Ctx) -> Result {
    let pair = pair(ctx)?;
    for hub in [&pair.from, &pair.to] {
        crane_login(hub, &hub.token).run()?;
    }
    let crane = |args: &[&str]| ctx.cmd("crane").args(args).run();
    let local = format!("oci:{}:multi", pair.images.layout.display());
    containers_image::login(&pair.from, "skopeo", &pair.from.token).run()?;
    let push = ["copy", "--all", "--dest-tls-verify=false", &local, &format!("docker://{}", pair.source)];
    ctx.cmd("skopeo").args(push).run()?;
    crane(&["copy", &pair.source, &pair.target])?;
    same("digest of the copy", crane(&["digest", &pair.target])?.line(), pair.images.multi.as_str())?;
    crane(&["validate", "--remote", &pair.target])?;
    // The same again sends nothing and changes nothing.
    crane(&["copy", &pair.source, &pair.target])?;
    same("tags", crane(&["ls", &pair.to.repo("app")])?.lines(), vec!["multi"])
}

fn regctl(ctx: &Ctx) -> Result {
    let pair = pair(ctx)?;
    for hub in [&pair.from, &pair.to] {
        regctl_login(hub)?;
    }
    let regctl = |args: &[&str]| ctx.cmd("regctl").args(args);
    regctl(&["image", "copy", &format!("ocidir://{}:multi", pair.images.layout.display()), &pair.source])
        .run()?;
    let put = ["artifact", "put", "--artifact-type", "application/spdx+json", "--subject", &pair.source];
    regctl(&put).input("{}").run()?;
    regctl(&["image", "copy", "--referrers", "--digest-tags", &pair.source, &pair.target]).run()?;
    let digest = regctl(&["image", "digest", &pair.target]).run()?;
    same("digest of the copy", digest.line(), pair.images.multi.as_str())?;
    let list = [
        "artifact",
        "list",
        &pair.target,
        "--format",
        "{{range .Descriptors}}{{println .ArtifactType}}{{end}}",
    ];
    same("referrers of the copy", regctl(&list).run()?.lines(), vec!["application/spdx+json"])
}

fn oras(ctx: &Ctx) -> Result {
    let pair = pair(ctx)?;
    for hub in [&pair.from, &pair.to] {
        oras::login(hub)?;
    }
    let (from, to) = (oras::trust(&pair.from, "from-"), oras::trust(&pair.to, "to-"));
    let local = format!("{}:multi", pair.images.layout.display());
    ctx.cmd("oras")
        .args(["cp", "--from-oci-layout", &local, &oras::trust(&pair.from, "to-"), &pair.source])
        .run()?;
    std::fs::write(ctx.path("note.txt"), "checked by hand\n")?;
    let attach = ["attach", &oras::trust(&pair.from, ""), "--artifact-type", "application/vnd.acme.note"];
    ctx.cmd("oras").args(attach).args([&pair.source, "note.txt"]).run()?;
    ctx.cmd("oras").args(["cp", "-r", &from, &pair.source, &to, &pair.target]).run()?;
    let target = format!("/v2/acme/app/referrers/{}", pair.images.multi);
    let found = Raw::new(&pair.to).get(&target)?.expect("referrers of the copy", 200)?;
    let found: serde_json::Value = serde_json::from_slice(&found.body)?;
    same("referrers of the copy", found["manifests"].as_array().map_or(0, Vec::len), 1)
}
