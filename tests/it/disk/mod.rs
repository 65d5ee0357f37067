//! Disk trouble with the real daemon: what it answers, that reads go on, that nothing acknowledged is lost, and that it is
//! well again by itself when the cause goes.

mod calls;
mod damage;
mod full;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{
    Client, Response, Server,
    content::{self, noise, sha256},
};

const REPOSITORY: &str = "ada/app";

/// Says by name what is skipped; on the machines of CI nothing may be.
fn skip(test: &str, why: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{test}: {why}");
    eprintln!("SKIP disk::{test}: {why}");
}

/// Pushes a blob in one request; says what came of it.
fn offer(client: &Client, bytes: &[u8]) -> Response {
    client.post(&format!("/v2/{REPOSITORY}/blobs/uploads/?digest={}", sha256(bytes)), bytes)
}

/// What was acknowledged before the trouble.
struct Kept {
    client: Client,
    large: Vec<u8>,
    small: Vec<u8>,
    image: Value,
    spare: Vec<u8>,
}

impl Kept {
    fn push(server: &Server) -> Self {
        let client = server.signed_in("ada");
        let (large, small, spare) = (noise(1, 60_000), noise(2, 300), noise(3, 50_000));
        let image = content::image(&small, &[&large]);
        for bytes in [&large, &small, &spare] {
            client.push_blob(REPOSITORY, bytes);
        }
        client.put_manifest(REPOSITORY, "latest", &image).expect(201);
        client.put_manifest(REPOSITORY, "gone", &image).expect(201);
        Self { client, large, small, image, spare }
    }

    /// Everything acknowledged is there, byte for byte.
    #[track_caller]
    fn is_there(&self) {
        for bytes in [&self.large, &self.small] {
            let answer = self.client.get(&format!("/v2/{REPOSITORY}/blobs/{}", sha256(bytes))).expect(200);
            assert!(answer.body == **bytes, "other bytes");
        }
        let answer = self.client.get(&format!("/v2/{REPOSITORY}/manifests/latest")).expect(200);
        assert!(answer.body == content::bytes(&self.image));
    }

    #[track_caller]
    fn is_absent(&self, bytes: &[u8]) {
        self.client.head(&format!("/v2/{REPOSITORY}/blobs/{}", sha256(bytes))).expect(404);
    }

    fn at(&self, server: &Server) -> Self {
        let client = self.client.at(&server.address);
        Self {
            client,
            large: self.large.clone(),
            small: self.small.clone(),
            image: self.image.clone(),
            spare: self.spare.clone(),
        }
    }

    /// Offers a blob until it is taken: the trouble is over, and the daemon finds out by itself.
    #[track_caller]
    fn is_well_again(&self, seed: u64) {
        let deadline = Instant::now() + Duration::from_secs(60);
        for length in [300, 70_000] {
            let bytes = noise(seed, length);
            loop {
                let answer = offer(&self.client, &bytes);
                if answer.status == 201 {
                    break;
                }
                refused(&answer);
                assert!(Instant::now() < deadline, "not well again: {}", answer.text());
                std::thread::sleep(Duration::from_millis(100));
            }
            let answer = self.client.get(&format!("/v2/{REPOSITORY}/blobs/{}", sha256(&bytes))).expect(200);
            assert!(answer.body == bytes);
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        while ready(&self.client).0 != 200 {
            assert!(Instant::now() < deadline, "{:?}", ready(&self.client));
            std::thread::sleep(Duration::from_millis(100));
        }
        self.is_there();
    }
}

/// A refusal for want of a disk: 507 or 503, an OCI error, a reason that names no path of the machine.
#[track_caller]
fn refused(answer: &Response) -> u16 {
    assert!(matches!(answer.status, 503 | 507), "{} {}", answer.status, answer.text());
    let error = &answer.json()["errors"][0];
    assert!(error["code"].as_str().is_some_and(|code| !code.is_empty()), "{}", answer.text());
    assert!(error["message"].as_str().is_some_and(|text| text.len() > 10), "{}", answer.text());
    assert!(!answer.text().contains('/') || !answer.text().contains("tmp"), "{}", answer.text());
    answer.status
}

fn ready(client: &Client) -> (u16, String) {
    let answer = client.get("/readyz");
    (answer.status, answer.text())
}

/// The log that metadata is written to now.
fn write_ahead_log(server: &Server) -> PathBuf {
    let files = server.data().join("meta").read_dir().unwrap();
    let logs =
        files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "log"));
    logs.max().expect("RocksDB has a log")
}

/// The file of a published blob of this size.
fn file_of(server: &Server, size: usize) -> PathBuf {
    let folders = server.data().join("blobs").read_dir().unwrap();
    let files = folders.flat_map(|folder| folder.unwrap().path().read_dir().unwrap());
    let mut paths = files.map(|file| file.unwrap().path());
    paths.find(|path| path.metadata().unwrap().len() == size as u64).expect("the blob has a file")
}
