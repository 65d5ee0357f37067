//! Many clients push, mount, ask, delete and pull the same few digests while a collection runs every 100 ms and nothing
//! but leases keeps what no manifest names. Each client knows what it may rely on, and since when.
//!
//! A short run is part of `cargo test`. `make soak` runs 100,000 operations; `PACKHOUSE_SOAK_OPS`, `_CLIENTS`, `_SEED` and
//! `_LEASE` (seconds) change it. The seed chooses what each client does, not how clients interleave.

mod client;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use client::Client;

use super::{Dice, Wire, remains, setting, until};
use crate::support::{
    Server,
    content::{noise, sha256},
};

/// Digests in all, those in use at a time, and those that are pushed and dropped again at once.
const POOL: usize = 48;
const WINDOW: usize = 12;
const CHURN: usize = 8;
/// Repositories in which every client pushes and deletes manifests.
const SHARED: usize = 3;

/// One run.
pub struct Plan {
    pub ops: u64,
    pub clients: usize,
    pub seed: u64,
    pub lease: Duration,
}

/// What all clients of a run share.
pub struct Run {
    pub address: String,
    pub secret: String,
    pub lease: Duration,
    pub blobs: Vec<Vec<u8>>,
    pub digests: Vec<String>,
    pub by_digest: BTreeMap<String, usize>,
    budget: AtomicI64,
    window: AtomicUsize,
    over: AtomicBool,
    broken: Mutex<Vec<String>>,
    counts: Mutex<BTreeMap<&'static str, u64>>,
    /// Every manifest that was ever put, by repository.
    put: Mutex<BTreeSet<(String, String)>>,
}

impl Run {
    /// A run against a daemon.
    pub fn new(server: &Server, plan: &Plan) -> Self {
        // Some small enough to lie in metadata, most not.
        let size =
            |number: usize| if number.is_multiple_of(3) { 200 + number * 300 } else { 17_000 + number * 900 };
        let blobs: Vec<Vec<u8>> =
            (0..POOL + CHURN).map(|number| noise(plan.seed ^ number as u64, size(number))).collect();
        let digests: Vec<String> = blobs.iter().map(|bytes| sha256(bytes)).collect();
        server.user("soak", "correct horse battery");
        Self {
            address: server.address.clone(),
            secret: server.token("soak", &["read:packages", "write:packages", "delete:packages"]),
            lease: plan.lease,
            by_digest: digests.iter().cloned().enumerate().map(|(number, digest)| (digest, number)).collect(),
            blobs,
            digests,
            budget: AtomicI64::new(i64::try_from(plan.ops).unwrap()),
            window: AtomicUsize::new(0),
            over: AtomicBool::new(false),
            broken: Mutex::default(),
            counts: Mutex::default(),
            put: Mutex::default(),
        }
    }

    pub fn wire(&self) -> Wire {
        Wire::new(&self.address, "soak", &self.secret)
    }

    /// A blob that is in use now. Which are changes all the time, so that leases end and blobs come back.
    fn any_blob(&self, dice: &mut Dice) -> usize {
        (self.window.load(Relaxed) + dice.below(WINDOW)) % POOL
    }

    fn shift_window(&self, dice: &mut Dice) {
        while !self.over.load(Relaxed) {
            self.window.store(dice.below(POOL / 6) * 6, Relaxed);
            let longest = usize::try_from(self.lease.as_millis()).unwrap();
            std::thread::sleep(Duration::from_millis(50 + dice.below(longest) as u64));
        }
    }

    fn goes_on(&self) -> bool {
        self.budget.load(Relaxed) > 0 && self.broken.lock().unwrap().len() < 20
    }

    /// Counts an operation.
    fn did(&self, what: &'static str) {
        self.budget.fetch_sub(1, Relaxed);
        self.note(what);
    }

    fn note(&self, what: &'static str) {
        *self.counts.lock().unwrap().entry(what).or_default() += 1;
    }

    /// A promise was broken.
    fn broke(&self, text: String) {
        eprintln!("BROKEN: {text}");
        self.broken.lock().unwrap().push(text);
    }

    /// Lets the clients work until the operations are used up.
    pub fn work(&self, plan: &Plan) {
        std::thread::scope(|scope| {
            scope.spawn(|| self.shift_window(&mut Dice::new(plan.seed)));
            let clients: Vec<_> = (0..plan.clients)
                .map(|number| scope.spawn(move || Client::new(self, number, plan.seed).work()))
                .collect();
            let ended: Vec<_> = clients.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
            self.over.store(true, Relaxed);
            for client in ended {
                client.unwrap();
            }
        });
    }

    /// Pulls every manifest that is there, whole; says how many, and how many bytes were hashed.
    fn pull_all(&self) -> (u64, u64) {
        let mut wire = self.wire();
        let (mut objects, mut bytes) = (0, 0);
        for (repository, digest) in self.put.lock().unwrap().iter() {
            let answer = wire.send("GET", &format!("/v2/{repository}/manifests/{digest}"), None, b"");
            if answer.status == 404 {
                continue;
            }
            assert_eq!(sha256(&answer.expect(200).body), *digest);
            objects += 1;
            for blob in client::named(
                &wire.send("GET", &format!("/v2/{repository}/manifests/{digest}"), None, b"").body,
            ) {
                let answer =
                    wire.send("GET", &format!("/v2/{repository}/blobs/{blob}"), None, b"").expect(200);
                assert_eq!(sha256(&answer.body), blob);
                objects += 1;
                bytes += answer.body.len() as u64;
            }
        }
        (objects, bytes)
    }
}

/// The settings under which collection has the most to do: no grace anywhere but leases.
pub fn settings(lease: &str) -> Vec<(&'static str, &str)> {
    vec![
        ("PACKHOUSE_LIMITS_LEASE_TTL", lease),
        ("PACKHOUSE_GC_INTERVAL", "100ms"),
        ("PACKHOUSE_GC_GRACE", "0s"),
        ("PACKHOUSE_GC_RATE", "0"),
        ("PACKHOUSE_TRASH_KEEP", "0s"),
        ("PACKHOUSE_LIMITS_SESSIONS_PER_CALLER", "100000"),
        ("PACKHOUSE_LIMITS_IDENTITY_READS", "off"),
        ("PACKHOUSE_LIMITS_IDENTITY_WRITES", "off"),
        ("PACKHOUSE_LIMITS_IDENTITY_SIGN_INS", "off"),
    ]
}

fn soak(plan: &Plan) {
    println!("soak: seed {}, {} operations, {} clients", plan.seed, plan.ops, plan.clients);
    let lease = format!("{}s", plan.lease.as_secs());
    let server = Server::with(&settings(&lease));
    let run = Run::new(&server, plan);
    let begun = Instant::now();
    run.work(plan);
    let took = begun.elapsed();
    let figures = || {
        let listed = server.admin_ok(&["gc", "--json"]);
        serde_json::from_str::<serde_json::Value>(&listed).unwrap()[0].clone()
    };
    let number = |name: &str| figures()[name].as_str().unwrap().parse::<u64>().unwrap();
    // Everything goes that is not referenced, by itself: every lease ends, and then the queues are empty.
    std::thread::sleep(plan.lease);
    until("the queues are empty", || number("due") == 0 && number("trash_files") == 0);
    std::thread::sleep(Duration::from_millis(300));
    let (objects, bytes) = run.pull_all();
    let counts = run.counts.lock().unwrap().clone();
    println!(
        "soak: {:.0} s; {counts:?}; collected {} blobs of {} bytes, deleted {} files; pulled {objects} objects, {bytes} bytes hashed",
        took.as_secs_f64(),
        number("collected"),
        number("collected_bytes"),
        number("deleted"),
    );
    let broken = run.broken.lock().unwrap();
    assert!(broken.is_empty(), "{} promises broken, the first: {}", broken.len(), broken[0]);
    // A soak in which nothing is collected proves nothing.
    assert!(number("collected") > plan.ops / 200, "too little was collected");
    assert!(server.terminate().success());
    let remains = remains::verify(&server.data());
    println!("soak: on disk {remains:?}");
}

#[test]
fn what_was_acknowledged_stays_while_collection_runs() {
    soak(&Plan {
        ops: setting("PACKHOUSE_SOAK_OPS", 3000),
        clients: usize::try_from(setting("PACKHOUSE_SOAK_CLIENTS", 12)).unwrap(),
        seed: setting("PACKHOUSE_SOAK_SEED", u64::from(std::process::id())),
        lease: Duration::from_secs(setting("PACKHOUSE_SOAK_LEASE", 1)),
    });
}
