//! Real images: Debian's busybox for two architectures and files of installed Debian packages,
//! kept as an OCI layout that every client copies from. Made once a run.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::{Ctx, Result, check, digest_of, fail};
use crate::http::digest;

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// `layout` holds `app` (amd64), `arm` (arm64) and `multi` (an index of both).
pub struct Images {
    pub layout: PathBuf,
    /// Layouts of one image each, for clients that cannot choose.
    pub app_layout: PathBuf,
    pub arm_layout: PathBuf,
    /// Digests of the three.
    pub app: String,
    pub arm: String,
    pub multi: String,
    /// Trees as tar files.
    pub busybox: PathBuf,
    pub busybox_arm: PathBuf,
    pub certificates: PathBuf,
    /// A real layer of some megabytes, compressed.
    pub layer: PathBuf,
}

pub fn images(ctx: &Ctx) -> Result<Images> {
    let root = ctx.shared.join("images");
    let layout = root.join("all");
    let (app_layout, arm_layout) = (root.join("app"), root.join("arm"));
    let (certificates, programs) = (root.join("certificates.tar"), root.join("programs.tar"));
    let (busybox, busybox_arm) = (cached("busybox-amd64.tar")?, cached("busybox-arm64.tar")?);
    if !layout.join("index.json").exists() {
        fs::create_dir_all(layout.join("blobs/sha256"))?;
        tree(ctx, &certificates, &["ca-certificates"])?;
        tree(ctx, &programs, &["openssl", "libssl3", "perl-base"])?;
        let app = image(ctx, &layout, "amd64", &[&busybox, &certificates, &programs])?;
        let arm = image(ctx, &layout, "arm64", &[&busybox_arm, &certificates])?;
        single(&app_layout, &layout, &app)?;
        single(&arm_layout, &layout, &arm)?;
        let both = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [app, arm]});
        let multi = blob(&layout, INDEX, both.to_string().as_bytes())?;
        let refs = [("app", app), ("arm", arm), ("multi", multi)];
        write_index(&layout, refs.map(|(name, of)| named(of, name)).to_vec())?;
    }
    let index: Value = serde_json::from_slice(&fs::read(layout.join("index.json"))?)?;
    let digest = |at: usize| text(&index["manifests"][at]["digest"]);
    let (app, arm, multi) = (digest(0)?, digest(1)?, digest(2)?);
    let manifest: Value = serde_json::from_slice(&fs::read(blob_path(&layout, &app))?)?;
    let layer = blob_path(&layout, &text(&manifest["layers"][2]["digest"])?);
    Ok(Images { layout, app_layout, arm_layout, app, arm, multi, busybox, busybox_arm, certificates, layer })
}

pub fn text(value: &Value) -> Result<String> {
    match value.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => fail(format!("not a string: {value}")),
    }
}

pub fn blob_path(layout: &Path, digest: &str) -> PathBuf {
    layout.join("blobs").join(digest.replace(':', "/"))
}

/// What `.ci/setup/images.sh` fetched.
fn cached(name: &str) -> Result<PathBuf> {
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/packhouse"));
    let cache = std::env::var_os("PACKHOUSE_CACHE").map(PathBuf::from).or(home).unwrap_or_default();
    let file = cache.join("images").join(name);
    check(file.exists(), || format!("no {}: run .ci/setup/images.sh", file.display()))?;
    Ok(file)
}

/// The files that these installed packages own, as a tar file that is the same every time.
fn tree(ctx: &Ctx, tar: &Path, packages: &[&str]) -> Result {
    let listed = ctx.cmd("dpkg").arg("-L").args(packages).run()?;
    let mut files: Vec<&str> = listed.stdout.lines().filter(|path| path.starts_with("/usr/")).collect();
    files.retain(|path| fs::symlink_metadata(path).is_ok_and(|found| !found.is_dir()));
    files.sort_unstable();
    files.dedup();
    let names: Vec<&str> = files.iter().map(|path| &path[1..]).collect();
    check(names.len() > 10, || format!("{packages:?} own {} files", names.len()))?;
    pack(ctx, Path::new("/"), &names, tar)
}

/// A reproducible tar file of `names` below `dir`.
pub fn pack(ctx: &Ctx, dir: &Path, names: &[&str], tar: &Path) -> Result {
    let options =
        ["--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "--no-recursion", "--sort=name"];
    let cmd = ctx.cmd("tar").arg("-cf").arg(tar).args(options).arg("-C").arg(dir);
    cmd.args(["-T", "-"]).input(names.join("\n") + "\n").run()?;
    Ok(())
}

/// One image of these trees; returns its descriptor.
fn image(ctx: &Ctx, layout: &Path, arch: &str, trees: &[&PathBuf]) -> Result<Value> {
    let (mut layers, mut diffs) = (Vec::new(), Vec::new());
    for tree in trees {
        diffs.push(digest_of(ctx, tree)?);
        layers.push(compressed(ctx, layout, tree)?);
    }
    let config = json!({
        "architecture": arch, "os": "linux", "created": "2026-01-01T00:00:00Z",
        "config": {"Cmd": ["/bin/busybox", "sh"], "Env": ["PATH=/usr/bin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": diffs},
    });
    let config = blob(layout, CONFIG, config.to_string().as_bytes())?;
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
    let mut descriptor = blob(layout, MANIFEST, manifest.to_string().as_bytes())?;
    descriptor["platform"] = json!({"architecture": arch, "os": "linux"});
    Ok(descriptor)
}

fn compressed(ctx: &Ctx, layout: &Path, tar: &Path) -> Result<Value> {
    let packed = ctx.path("layer.tar");
    fs::copy(tar, &packed)?;
    ctx.cmd("gzip").args(["-n", "-f"]).arg(&packed).run()?;
    let packed = ctx.path("layer.tar.gz");
    let digest = digest_of(ctx, &packed)?;
    let size = fs::copy(&packed, blob_path(layout, &digest))?;
    Ok(json!({"mediaType": LAYER, "digest": digest, "size": size}))
}

fn blob(layout: &Path, kind: &str, bytes: &[u8]) -> Result<Value> {
    let digest = digest(bytes);
    fs::write(blob_path(layout, &digest), bytes)?;
    Ok(json!({"mediaType": kind, "digest": digest, "size": bytes.len()}))
}

pub fn named(mut descriptor: Value, name: &str) -> Value {
    descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": name});
    descriptor
}

pub fn write_index(layout: &Path, manifests: Vec<Value>) -> Result {
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
    Ok(fs::write(layout.join("index.json"), index.to_string())?)
}

/// A layout that names one image and shares the blobs of another layout.
fn single(layout: &Path, all: &Path, descriptor: &Value) -> Result {
    fs::create_dir_all(layout)?;
    symlink(all.join("blobs"), layout.join("blobs"))?;
    write_index(layout, vec![descriptor.clone()])
}
