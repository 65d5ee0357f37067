//! The limit: a loop that receives and writes on one thread and hashes on another, and sends files with `sendfile`.
//!
//! No permissions, no records, nothing that can be asked of it but what the rows measure. A process of its own (this program
//! with `bare` as its first argument), so that its cost is counted as a server's.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
};

use rustix::fs::sendfile;
use sha2::{Digest, Sha256};

use crate::Result;

struct Bare {
    root: PathBuf,
    sync: bool,
    numbers: AtomicU64,
    /// What was received and not yet named: by its place, file and digest.
    received: Mutex<HashMap<String, (PathBuf, File, String)>>,
}

/// Listens on a free port of loopback, prints it, and serves for ever.
///
/// # Errors
/// When it cannot listen.
pub fn serve(root: &Path, sync: bool) -> Result {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    let bare = Bare { root: root.to_owned(), sync, numbers: AtomicU64::new(0), received: Mutex::default() };
    let bare = Arc::new(bare);
    fs::create_dir_all(root.join("uploads"))?;
    for socket in listener.incoming() {
        let (socket, bare) = (socket?, bare.clone());
        socket.set_nodelay(true)?;
        std::thread::spawn(move || {
            // The other side is the harness: it sees that the connection broke.
            if let Err(error) = bare.connection(socket) {
                eprintln!("{error}");
            }
        });
    }
    Ok(())
}

/// Buffers go round full: small enough to stay in the processor's cache, big enough that few are handed over.
const BUFFER: usize = 256 << 10;
const BUFFERS: usize = 8;

/// A request's line, and what it brings.
struct Request {
    method: String,
    path: String,
    length: u64,
}

/// What belongs to one connection: a few buffers going round between it and its hashing thread.
struct Hasher {
    full: SyncSender<Option<(Vec<u8>, usize)>>,
    empty: Receiver<Vec<u8>>,
    digest: Receiver<String>,
}

impl Hasher {
    fn start() -> Result<Self> {
        let (full, to_hash) = sync_channel::<Option<(Vec<u8>, usize)>>(BUFFERS);
        let (give_back, empty) = sync_channel(BUFFERS);
        let (tell, digest) = sync_channel(1);
        for _ in 0..BUFFERS {
            give_back.send(vec![0; BUFFER])?;
        }
        std::thread::spawn(move || {
            let mut hash = Sha256::new();
            for piece in to_hash {
                let Some((buffer, size)) = piece else {
                    let done = std::mem::take(&mut hash).finalize();
                    if tell.send(format!("sha256:{}", hex::encode(done))).is_err() {
                        return;
                    }
                    continue;
                };
                hash.update(&buffer[..size]);
                if give_back.send(buffer).is_err() {
                    return;
                }
            }
        });
        Ok(Self { full, empty, digest })
    }
}

impl Bare {
    fn connection(&self, mut socket: TcpStream) -> Result {
        let hasher = Hasher::start()?;
        let mut inbox = Vec::new();
        while let Some(request) = head(&mut socket, &mut inbox)? {
            let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
            match request.method.as_str() {
                "GET" => self.send(&mut socket, path)?,
                "POST" => {
                    let location = format!("{path}{}", self.numbers.fetch_add(1, Relaxed));
                    answer(&mut socket, "202 Accepted", &location)?;
                }
                "PATCH" => {
                    self.receive(&mut socket, &mut inbox, path, request.length, &hasher)?;
                    answer(&mut socket, "202 Accepted", path)?;
                }
                "PUT" => {
                    if request.length > 0 {
                        self.receive(&mut socket, &mut inbox, path, request.length, &hasher)?;
                    }
                    let wanted = query.rsplit_once("digest=").map_or("", |(_, digest)| digest);
                    let place = self.name(path, wanted)?;
                    answer(&mut socket, "201 Created", &place)?;
                }
                other => return Err(format!("bare knows no {other}").into()),
            }
        }
        Ok(())
    }

    fn send(&self, socket: &mut TcpStream, path: &str) -> Result {
        let file = File::open(self.root.join(path.trim_start_matches('/')))?;
        let length = file.metadata()?.len();
        socket.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes())?;
        let mut sent = 0;
        while sent < length {
            let piece = usize::try_from(length - sent)?.min(BUFFER);
            sendfile(&*socket, &file, Some(&mut sent), piece)?;
        }
        Ok(())
    }

    fn receive(
        &self,
        socket: &mut TcpStream,
        inbox: &mut Vec<u8>,
        path: &str,
        length: u64,
        hasher: &Hasher,
    ) -> Result {
        let upload = self.root.join("uploads").join(path.replace('/', "_"));
        let mut file = File::create(&upload)?;
        let mut left = length;
        while left > 0 {
            let mut buffer = hasher.empty.recv()?;
            let size = buffer.len().min(usize::try_from(left)?);
            // What came with the head is the body's beginning.
            let mut filled = inbox.len().min(size);
            buffer[..filled].copy_from_slice(&inbox[..filled]);
            inbox.drain(..filled);
            while filled < size {
                match socket.read(&mut buffer[filled..size])? {
                    0 => return Err("the client went away within a body".into()),
                    some => filled += some,
                }
            }
            file.write_all(&buffer[..size])?;
            left -= size as u64;
            hasher.full.send(Some((buffer, size)))?;
        }
        hasher.full.send(None)?;
        let digest = hasher.digest.recv()?;
        let mut received = self.received.lock().map_err(|_| "a connection broke off")?;
        received.insert(path.to_owned(), (upload, file, digest));
        Ok(())
    }

    /// Gives what was received its lasting name, and waits for the disk if it has to.
    fn name(&self, path: &str, wanted: &str) -> Result<String> {
        let found = self.received.lock().map_err(|_| "a connection broke off")?.remove(path);
        let (upload, file, digest) = found.ok_or("nothing was received")?;
        if digest != wanted {
            return Err(format!("{digest} is not {wanted}").into());
        }
        let repository = path.split_once("/blobs/").map_or(path, |(repository, _)| repository);
        let place = format!("{repository}/blobs/{digest}");
        let lasting = self.root.join(place.trim_start_matches('/'));
        let folder = lasting.parent().ok_or("no folder")?;
        fs::create_dir_all(folder)?;
        if self.sync {
            file.sync_data()?;
        }
        fs::rename(upload, &lasting)?;
        if self.sync {
            File::open(folder)?.sync_all()?;
        }
        Ok(place)
    }
}

fn answer(socket: &mut TcpStream, status: &str, location: &str) -> Result {
    let answer = format!("HTTP/1.1 {status}\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
    Ok(socket.write_all(answer.as_bytes())?)
}

/// Reads a head; what came behind it stays in the inbox.
fn head(socket: &mut TcpStream, inbox: &mut Vec<u8>) -> Result<Option<Request>> {
    let mut piece = [0; 8192];
    let end = loop {
        if let Some(at) = inbox.windows(4).position(|part| part == b"\r\n\r\n") {
            break at + 4;
        }
        let size = socket.read(&mut piece)?;
        if size == 0 {
            return Ok(None);
        }
        inbox.extend_from_slice(&piece[..size]);
    };
    let head: Vec<u8> = inbox.drain(..end).collect();
    let head = std::str::from_utf8(&head)?;
    let mut words = head.split_whitespace();
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Err("no request".into()) };
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    Ok(Some(Request { method: method.to_owned(), path: path.to_owned(), length: length.unwrap_or(0) }))
}
