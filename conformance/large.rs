//! The large ones: a layer of 2 GiB, an image of 120 layers.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use serde_json::json;

use crate::containers_image;
use crate::daemon::Hub;
use crate::go_clients::crane_login;
use crate::harness::{Case, Ctx, HTTP, Result, check, digest_of, fail, same};
use crate::http::{Raw, reply, upload_end};
use crate::images::{MANIFEST, pack};

pub const CASES: &[Case] = &[
    Case { name: "layer-2gib", needs: &["crane", "oras"], seconds: 600, mode: HTTP, run: layer_2gib },
    Case { name: "layers-120", needs: &["crane", "skopeo"], seconds: 300, mode: HTTP, run: layers_120 },
];

const GIB: u64 = 1 << 30;

/// 2 GiB that do not compress: a key stream, quick to make.
fn two_gib(ctx: &Ctx, file: &Path) -> Result {
    let free = rustix::fs::statvfs(&ctx.dir)?;
    let room = free.f_bavail * free.f_frsize;
    // The file, the registry's copies of it, and what is pulled; each removed as soon as it can be.
    check(room > 10 * GIB, || format!("{} needs 10 GiB of room, there are {} MiB", ctx.name, room >> 20))?;
    let key = "000102030405060708090a0b0c0d0e0f";
    let make = format!(
        "head -c {} /dev/zero | openssl enc -aes-128-ctr -nosalt -K {key} -iv {key} -out \"$1\"",
        2 * GIB
    );
    ctx.cmd("sh").args(["-c", &make, "sh"]).arg(file).run()?;
    same("size of the file", fs::metadata(file)?.len(), 2 * GIB)
}

/// One streamed PATCH, as docker sends it.
fn upload(raw: &Raw, repo: &str, file: &Path, digest: &str) -> Result {
    let location = raw.begin(repo)?;
    let mut stream =
        raw.open("PATCH", &location, &[("Content-Type", "application/octet-stream")], 2 * GIB)?;
    let (mut source, mut buffer) = (File::open(file)?, vec![0; 1 << 20]);
    loop {
        let read = source.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        stream.write_all(&buffer[..read])?;
    }
    let patched = reply(stream)?.expect("the streamed PATCH", 202)?;
    same("bytes held", patched.held()?, usize::try_from(2 * GIB)?)?;
    let done = raw.send("PUT", &upload_end(&patched.location()?, digest), &[], b"")?;
    done.expect("closing the upload", 201)?;
    Ok(())
}

fn layer_2gib(ctx: &Ctx) -> Result {
    let hub = Hub::start(ctx)?;
    let raw = Raw::new(&hub);
    let file = ctx.path("layer.bin");
    two_gib(ctx, &file)?;
    let digest = digest_of(ctx, &file)?;
    upload(&raw, "acme/big", &file, &digest)?;
    let empty = raw.push_blob("acme/big", b"{}")?;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/vnd.acme.big",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2},
        "layers": [{
            "mediaType": "application/octet-stream", "digest": digest, "size": 2 * GIB,
            "annotations": {"org.opencontainers.image.title": "layer.bin"},
        }],
    });
    raw.push_manifest("acme/big", "1", MANIFEST, manifest.to_string().as_bytes())?;

    // A real client's push of the same bytes into another repository.
    crane_login(&hub, &hub.token).run()?;
    let second = format!("{}:1", hub.repo("big-too"));
    let push = ctx.cmd("oras").args(["push", "--plain-http", &second, "layer.bin:application/octet-stream"]);
    push.run()?;
    fs::remove_file(&file)?;

    let blob = format!("{}@{digest}", hub.repo("big"));
    let pull = "crane blob \"$1\" | openssl dgst -sha256 -r";
    let read = ctx.cmd("sh").args(["-c", pull, "sh", &blob]).run()?;
    check(read.stdout.starts_with(&digest[7..]), || format!("crane read other bytes: {}", read.stdout))?;
    for reference in [format!("{}:1", hub.repo("big")), second] {
        let out = ctx.path("pulled");
        ctx.cmd("oras").args(["pull", "--plain-http", &reference, "-o"]).arg(&out).run()?;
        same("digest of the pulled file", digest_of(ctx, &out.join("layer.bin"))?, digest.clone())?;
        fs::remove_dir_all(&out)?;
    }
    Ok(())
}

/// 120 layers, each with real files of this machine's packages.
fn layers_120(ctx: &Ctx) -> Result {
    let hub = Hub::start(ctx)?;
    crane_login(&hub, &hub.token).run()?;
    let many = format!("{}:120", hub.repo("many"));
    let mut append = ctx.cmd("crane").args(["append", "--oci-empty-base", "-t", &many]);
    for tar in layers(ctx)? {
        append = append.arg("-f").arg(tar);
    }
    append.run()?;
    ctx.cmd("crane").args(["validate", "--remote", &many]).run()?;
    let manifest = ctx.cmd("crane").args(["manifest", &many]).run()?.json()?;
    let count = manifest["layers"].as_array().map_or(0, Vec::len);
    same("layers", count, 120)?;

    // All at once into another repository, and out again, where skopeo checks every one.
    containers_image::login(&hub, "skopeo", &hub.token).run()?;
    let (source, copy) = (format!("docker://{many}"), format!("docker://{}:120", hub.repo("copy")));
    let (src, dest) = ("--src-tls-verify=false", "--dest-tls-verify=false");
    ctx.cmd("skopeo").args(["copy", src, dest, &source, &copy]).run()?;
    let out = ctx.path("out");
    ctx.cmd("skopeo").args(["copy", src, &copy]).arg(format!("dir:{}", out.display())).run()?;
    let blobs = fs::read_dir(&out)?.flatten().filter(|entry| entry.file_name().len() == 64).count();
    same("blobs that came out", blobs, 121)
}

fn layers(ctx: &Ctx) -> Result<Vec<std::path::PathBuf>> {
    let docs = Path::new("/usr/share/doc");
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(docs)?.flatten() {
        let file = entry.path().join("copyright");
        // Links to another package's file would make two layers alike.
        let own = fs::symlink_metadata(&file).is_ok_and(|found| found.is_file());
        if own && let Some(name) = file.to_str() {
            names.push(name[1..].to_owned());
        }
    }
    names.sort();
    if names.len() < 240 {
        return fail(format!("only {} packages with a copyright file", names.len()));
    }
    let each = names.len() / 120;
    let mut tars = Vec::new();
    for (at, part) in names.chunks(each).take(120).enumerate() {
        let tar = ctx.path(&format!("layer-{at}.tar"));
        let part: Vec<&str> = part.iter().map(String::as_str).collect();
        pack(ctx, Path::new("/"), &part, &tar)?;
        tars.push(tar);
    }
    Ok(tars)
}
