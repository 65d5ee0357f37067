//! What the clients that people use send, request by request: those that push and pull images.

use serde_json::{Value, json};

use super::{DAEMON, alice, and, auth::token, blob, bob, fresh_bytes, location, manifest, uploads};
use crate::support::{
    Client, Response,
    content::{self, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, sha256},
};

const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// An address as Go's `url.Values` writes it again: decoded, sorted, encoded.
fn reencoded(location: &str, more: &[(&str, &str)]) -> String {
    let (path, query) = location.split_once('?').unwrap_or((location, ""));
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .chain(more.iter().copied())
        .map(|(name, value)| (name.to_owned(), value.replace("%3A", ":").replace(':', "%3A")))
        .collect();
    pairs.sort();
    let query: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{path}?{}", query.join("&"))
}

/// What docker reads from an answer about an upload; "bad range format" ends its push.
#[track_caller]
fn docker_reads(answer: &Response) -> String {
    assert!(answer.header("docker-upload-uuid").is_some_and(|id| !id.is_empty()));
    let (first, last) = answer.header("range").unwrap().split_once('-').unwrap();
    assert!(last.parse::<u64>().unwrap() >= first.parse::<u64>().unwrap());
    location(answer)
}

/// HEAD, a mount that fails, a POST, one streamed PATCH, an empty PUT, HEAD again; the manifest last.
#[test]
fn docker_pushes_and_pulls() {
    let (alice, repository) = alice();
    let other = DAEMON.repository("alice");
    let scope = format!("repository:{repository}:pull,push repository:{other}:pull");
    let docker = DAEMON.anonymous().bearer(&token(&alice, &scope));
    let config =
        b"{\"architecture\":\"amd64\",\"os\":\"linux\",\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]}}";
    let layers = [fresh_bytes(100_000), fresh_bytes(0), fresh_bytes(700)];
    for bytes in layers.iter().map(Vec::as_slice).chain([config.as_slice()]) {
        let digest = sha256(bytes);
        docker.head(&blob(&repository, &digest)).expect(404);
        let target = format!(
            "{}?from={}&mount={}",
            uploads(&repository),
            other.replace('/', "%2F"),
            digest.replace(':', "%3A")
        );
        let place = docker_reads(&docker.post(&target, b"").expect(202));
        let chunks: Vec<&[u8]> = bytes.chunks(32_768).collect();
        let place = docker_reads(&docker.send_chunked("PATCH", &place, &[], &chunks).expect(202));
        docker.put(&reencoded(&place, &[("digest", &digest)]), b"").expect(201);
        docker.head(&blob(&repository, &digest)).expect(200);
    }
    // A session that turns out to be of no use is cancelled.
    let unused = docker_reads(&docker.post(&uploads(&repository), b"").expect(202));
    docker.delete(&unused).expect(204);
    let value = json!({
        "schemaVersion": 2, "mediaType": DOCKER_MANIFEST,
        "config": content::descriptor("application/vnd.docker.container.image.v1+json", config),
        "layers": layers.iter().map(|layer| content::descriptor(DOCKER_LAYER, layer)).collect::<Vec<_>>(),
    });
    let stored = docker.put_manifest(&repository, "latest", &value).expect(201);
    assert_eq!(stored.header("docker-content-digest"), Some(sha256(&content::bytes(&value)).as_str()));

    let accept = format!(
        "{DOCKER_MANIFEST}, {DOCKER_LIST}, {OCI_INDEX}, {OCI_MANIFEST}, application/vnd.docker.distribution.manifest.v1+prettyjws"
    );
    let pulled =
        docker.send("GET", &manifest(&repository, "latest"), &[("Accept", &accept)], b"").expect(200);
    assert_eq!(pulled.header("content-type"), Some(DOCKER_MANIFEST));
    assert_eq!(pulled.body, content::bytes(&value));
    // A broken download goes on where it stopped.
    let target = blob(&repository, &sha256(&layers[0]));
    let rest = docker.send("GET", &target, &[("Range", "bytes=60000-")], b"").expect(206);
    assert!(rest.body == layers[0][60_000..]);
}

/// HEAD by tag with `ns`, a mount with an extra scope, the whole blob in one PUT to an address it encodes anew.
#[test]
fn containerd_pushes_and_pulls() {
    let (alice, repository) = alice();
    let from = DAEMON.repository("alice");
    let mounted = fresh_bytes(500);
    alice.push_blob(&from, &mounted);
    let scope = format!("repository:{repository}:pull,push repository:{from}:pull");
    let containerd = DAEMON.anonymous().bearer(&token(&alice, &scope));
    let ns = "ns=registry.example.org";
    let answer = containerd.head(&and(&manifest(&repository, "v1"), ns));
    assert_eq!(answer.status, 404);

    let mount = format!("{}?from={from}&mount={}&{ns}", uploads(&repository), sha256(&mounted));
    containerd.post(&mount, b"").expect(201);
    let (config, layer) = (b"{}".to_vec(), fresh_bytes(50_000));
    for bytes in [&config, &layer] {
        containerd.head(&and(&blob(&repository, &sha256(bytes)), ns)).expect(404);
        let begun = containerd.post(&and(&uploads(&repository), ns), b"").expect(202);
        let target =
            reencoded(&location(&begun), &[("digest", &sha256(bytes)), ("ns", "registry.example.org")]);
        containerd.put(&target, bytes).expect(201);
    }
    let image = content::image(&config, &[&mounted, &layer]);
    containerd.put_manifest(&repository, &format!("v1?{ns}"), &image).expect(201);

    let accept = [("Accept", format!("{DOCKER_MANIFEST}, {OCI_MANIFEST}, {OCI_INDEX}, */*"))];
    let accept = [("Accept", accept[0].1.as_str())];
    let head = containerd.send("HEAD", &and(&manifest(&repository, "v1"), ns), &accept, b"").expect(200);
    let digest = head.header("docker-content-digest").unwrap().to_owned();
    assert_eq!(head.header("content-length"), Some(content::bytes(&image).len().to_string().as_str()));
    assert_eq!(head.header("content-type"), Some(OCI_MANIFEST));
    let pulled = containerd.send("GET", &and(&manifest(&repository, &digest), ns), &accept, b"").expect(200);
    assert_eq!(pulled.body, content::bytes(&image));
    // Layers in parallel parts, with encodings offered that must not be used.
    let encodings = ("Accept-Encoding", "zstd;q=1.0, gzip;q=0.8, deflate;q=0.5");
    let target = and(&blob(&repository, &sha256(&layer)), ns);
    let parts = super::at_once(4, |index| {
        let range = format!("bytes={}-{}", index * 12_500, (index + 1) * 12_500 - 1);
        containerd.send("GET", &target, &[encodings, ("Range", &range)], b"").expect(206).body
    });
    assert!(parts.concat() == layer);
}

/// A ping, HEAD in candidate repositories, a PATCH with a length, a PUT, parts of a zstd:chunked layer.
#[test]
fn skopeo_podman_and_buildah_push_and_pull() {
    let (alice, repository) = alice();
    DAEMON.anonymous().get("/v2/").expect(401);
    let version = ("Docker-Distribution-Api-Version", "registry/2.0");
    let skopeo = DAEMON.anonymous().bearer(&token(&alice, &format!("repository:{repository}:pull,push")));
    let layer = fresh_bytes(90_000);
    let candidate = DAEMON.repository("alice");
    for name in [&repository, &candidate] {
        let answer = skopeo.send("HEAD", &blob(name, &sha256(&layer)), &[version], b"");
        assert!(matches!(answer.status, 401 | 404), "{name}: {}", answer.status);
    }
    let begun = skopeo.send("POST", &uploads(&repository), &[version], b"").expect(202);
    let stream = [version, ("Content-Type", "application/octet-stream")];
    let patched = skopeo.send("PATCH", &location(&begun), &stream, &layer).expect(202);
    let target = reencoded(&location(&patched), &[("digest", &sha256(&layer))]);
    skopeo.send("PUT", &target, &stream, b"").expect(201);
    skopeo.push_blob(&repository, b"{}");
    skopeo.put_manifest(&repository, "v1", &content::image(b"{}", &[&layer])).expect(201);
    // A download that broke off: it checks the answer's range strictly.
    let target = blob(&repository, &sha256(&layer));
    let rest = skopeo.send("GET", &target, &[("Range", "bytes=45000-")], b"").expect(206);
    assert_eq!(rest.header("content-range"), Some("bytes 45000-89999/90000"));
    // The table of contents of a zstd:chunked layer and some of its parts.
    let parts = skopeo.send("GET", &target, &[("Range", "bytes=10-19,500-999,80000-89999")], b"").expect(206);
    assert!(parts.header("content-type").unwrap().starts_with("multipart/byteranges; boundary="));
    for part in [&layer[10..20], &layer[500..1000], &layer[80_000..]] {
        assert!(parts.body.windows(part.len()).any(|window| window == part));
    }
}

/// podman and skopeo cancel with what they push with (containers/image says that some registries want more).
#[test]
fn podman_cancels_an_upload_with_a_token_for_pushing() {
    let (alice, repository) = alice();
    let podman = DAEMON.anonymous().bearer(&token(&alice, &format!("repository:{repository}:pull,push")));
    let place = podman.begin(&repository);
    podman.delete(&place).expect(204);
}

/// POST with `mount`, `from` and `origin` and a JSON content type, a PATCH with a length, a PUT; relative addresses.
#[test]
fn crane_ko_and_kaniko_push() {
    let (crane, repository) = alice();
    let layer = fresh_bytes(40_000);
    crane.head(&blob(&repository, &sha256(&layer))).expect(404);
    let target = format!(
        "{}?from=library%2Falpine&mount={}&origin=index.docker.io",
        uploads(&repository),
        sha256(&layer)
    );
    let begun = crane.send("POST", &target, &[("Content-Type", "application/json")], b"").expect(202);
    assert!(
        location(&begun).starts_with('/'),
        "a private address in an absolute one is refused by its guard"
    );
    let patched = crane.patch(&location(&begun), &[], &layer).expect(202);
    crane.put(&reencoded(&location(&patched), &[("digest", &sha256(&layer))]), b"").expect(201);
    crane.push_blob(&repository, b"{}");
    let image = content::image(b"{}", &[&layer]);
    crane.put_manifest(&repository, "latest", &image).expect(201);
    // crane copies by digest, tags by the same manifest, and lists.
    crane.put_manifest(&repository, "copy", &image).expect(201);
    let list = crane.get(&format!("/v2/{repository}/tags/list?n=1000")).expect(200).json();
    assert_eq!(list["tags"], json!(["copy", "latest"]));
}

/// jib sends a PATCH again when its answer was lost; appended twice, the digest would never fit.
#[test]
fn jib_replays_a_patch() {
    let (jib, repository) = alice();
    let layer = fresh_bytes(30_000);
    let place = jib.begin(&repository);
    jib.send_chunked("PATCH", &place, &[], &[&layer]).expect(202);
    let replayed = jib.send_chunked("PATCH", &place, &[], &[&layer]).expect(416);
    jib.put(&and(&location(&replayed), &format!("digest={}", sha256(&layer))), b"").expect(201);
    assert!(jib.get(&blob(&repository, &sha256(&layer))).expect(200).body == layer);
}

/// The .NET SDK sends chunks and goes on after the `Range` that it is told.
#[test]
fn dotnet_sends_chunks_by_the_range_it_is_told() {
    let (dotnet, repository) = alice();
    let layer = fresh_bytes(70_000);
    let mut answer = dotnet.post(&uploads(&repository), b"").expect(202);
    assert_eq!(answer.header("oci-chunk-min-length"), None);
    let mut sent = 0;
    while sent < layer.len() {
        let end = (sent + 16_384).min(layer.len());
        let range = format!("{sent}-{}", end - 1);
        answer =
            dotnet.patch(&location(&answer), &[("Content-Range", &range)], &layer[sent..end]).expect(202);
        let told: usize = answer.header("range").unwrap().split_once('-').unwrap().1.parse().unwrap();
        assert_eq!(told + 1, end, "it grows with every chunk");
        sent = told + 1;
    }
    dotnet.put(&and(&location(&answer), &format!("digest={}", sha256(&layer))), b"").expect(201);
}

/// Lists whose children are here, and copies from another repository: mounts, then the manifests again.
#[test]
fn buildx_imagetools_and_docker_manifest_make_lists() {
    let (client, from) = alice();
    let into = DAEMON.repository("alice");
    let images: Vec<Value> =
        (0..2).map(|seed| client.push_image(&from, &format!("arch{seed}"), seed)).collect();
    for image in &images {
        for descriptor in [&image["config"], &image["layers"][0]] {
            let digest = descriptor["digest"].as_str().unwrap();
            client.post(&format!("{}?mount={digest}&from={from}", uploads(&into)), b"").expect(201);
        }
        client.put_manifest(&into, &sha256(&content::bytes(image)), image).expect(201);
    }
    let mut list = content::index(&images.iter().collect::<Vec<_>>());
    list["mediaType"] = json!(DOCKER_LIST);
    for (child, architecture) in ["amd64", "arm64"].into_iter().enumerate() {
        list["manifests"][child]["platform"] = json!({"architecture": architecture, "os": "linux"});
    }
    client.put_manifest(&into, "latest", &list).expect(201);
    let pulled = client.send("GET", &manifest(&into, "latest"), &[("Accept", DOCKER_LIST)], b"").expect(200);
    assert_eq!(pulled.header("content-type"), Some(DOCKER_LIST));
    for entry in pulled.json()["manifests"].as_array().unwrap() {
        client.get(&manifest(&into, entry["digest"].as_str().unwrap())).expect(200);
    }
}

/// What only pulls what is public, without any account.
#[test]
fn anonymous_pulls_of_what_is_public_by_docker_and_by_curl() {
    let (alice, repository) = alice();
    let image = alice.push_image(&repository, "latest", 7);
    DAEMON.server().admin_ok(&["package", "visibility", &repository, "public"]);
    let anonymous = DAEMON.anonymous();
    let docker = anonymous.bearer(&token(&anonymous, &format!("repository:{repository}:pull")));
    let layer = blob(&repository, image["layers"][0]["digest"].as_str().unwrap());
    for client in [&docker, &anonymous] {
        client.head(&manifest(&repository, "latest")).expect(200);
        client.get(&manifest(&repository, "latest")).expect(200);
        client.get(&layer).expect(200);
    }
    let (bob, _) = bob();
    pulls(&bob, &repository, &image);
}

fn pulls(client: &Client, repository: &str, image: &Value) {
    assert_eq!(client.get(&manifest(repository, "latest")).expect(200).body, content::bytes(image));
    let layer = &image["layers"][0];
    assert_eq!(layer["mediaType"], OCI_LAYER);
    client.get(&blob(repository, layer["digest"].as_str().unwrap())).expect(200);
}
