//! What collection costs: rounds with it and without it in turn, in one run, against one daemon.
//!
//! `make gc-bench`. In rounds without it the work for it piles up, and the next round with it has that to do as well: the
//! figures are worse than an installation would see. `PACKHOUSE_BENCH_ROUNDS` pairs of `PACKHOUSE_BENCH_SECONDS`.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use super::{Dice, Wire, setting};
use crate::support::{
    Server,
    content::{self, OCI_MANIFEST, noise, sha256},
};

/// What one round gave: operations a second, and the 99th percentile of their durations in seconds.
#[derive(Debug, Clone, Copy)]
struct Round {
    rate: f64,
    p99: f64,
}

struct Worker {
    wire: Wire,
    dice: Dice,
    number: usize,
    pushed: u64,
}

impl Worker {
    /// Times one request.
    fn timed(
        &mut self,
        times: &mut Vec<f64>,
        method: &str,
        target: &str,
        kind: Option<&str>,
        body: &[u8],
        wants: u16,
    ) {
        let begun = Instant::now();
        let answer = self.wire.send(method, target, kind, body);
        times.push(begun.elapsed().as_secs_f64());
        assert_eq!(answer.status, wants, "{method} {target}: {}", answer.text());
    }

    /// Pushes an image of two layers of its own, pulls it, and leaves a blob behind that nobody names.
    fn work(&mut self, times: &mut Vec<f64>) {
        let repository = format!("bench/r{}", self.number);
        let mut blobs = Vec::new();
        for size in [300, 20_000, 60_000, 40_000] {
            self.pushed += 1;
            let bytes = noise((self.number as u64) << 40 | self.pushed, size + self.dice.below(1000));
            let digest = sha256(&bytes);
            let target = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
            self.timed(times, "POST", &target, Some("application/octet-stream"), &bytes, 201);
            blobs.push((digest, bytes));
        }
        let layers: Vec<&[u8]> = blobs[1..3].iter().map(|(_, bytes)| bytes.as_slice()).collect();
        let manifest = content::bytes(&content::image(&blobs[0].1, &layers));
        let tag = format!("/v2/{repository}/manifests/t{}", self.dice.below(20));
        self.timed(times, "PUT", &tag, Some(OCI_MANIFEST), &manifest, 201);
        self.timed(times, "GET", &tag, None, b"", 200);
        for (digest, _) in &blobs[..3] {
            self.timed(times, "GET", &format!("/v2/{repository}/blobs/{digest}"), None, b"", 200);
        }
        let dropped = format!("/v2/{repository}/blobs/{}", blobs[3].0);
        self.timed(times, "DELETE", &dropped, None, b"", 202);
    }
}

fn round(workers: &mut [Worker], lasts: Duration) -> Round {
    let all = Mutex::new(Vec::new());
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for worker in workers {
            scope.spawn(|| {
                let mut times = Vec::new();
                while begun.elapsed() < lasts {
                    worker.work(&mut times);
                }
                all.lock().unwrap().extend(times);
            });
        }
    });
    let took = begun.elapsed().as_secs_f64();
    let mut times = all.into_inner().unwrap();
    times.sort_by(f64::total_cmp);
    Round { rate: times.len() as f64 / took, p99: times[times.len() * 99 / 100] }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[test]
#[ignore = "a measurement: make gc-bench"]
fn what_collection_costs() {
    let (rounds, seconds) = (setting("PACKHOUSE_BENCH_ROUNDS", 10), setting("PACKHOUSE_BENCH_SECONDS", 6));
    let server = Server::with(&[
        ("PACKHOUSE_LIMITS_LEASE_TTL", "5s"),
        ("PACKHOUSE_GC_GRACE", "1s"),
        ("PACKHOUSE_LIMITS_IDENTITY_READS", "off"),
        ("PACKHOUSE_LIMITS_IDENTITY_WRITES", "off"),
    ]);
    server.user("bench", "correct horse battery");
    let token = server.token("bench", &["read:packages", "write:packages", "delete:packages"]);
    let mut workers: Vec<Worker> = (0..16)
        .map(|number| Worker {
            wire: Wire::new(&server.address, "bench", &token),
            dice: Dice::new(number as u64 + 1),
            number,
            pushed: 0,
        })
        .collect();
    let lasts = Duration::from_secs(seconds);
    round(&mut workers, lasts);
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for pair in 0..rounds {
        // The machine's mood changes: which of the two comes first changes too.
        for collecting in [pair % 2 == 0, pair % 2 == 1] {
            server.admin_ok(&["gc", if collecting { "--resume" } else { "--pause" }]);
            let found = round(&mut workers, lasts);
            println!("gc-bench: collection {}: {found:?}", if collecting { "on" } else { "off" });
            if collecting { with.push(found) } else { without.push(found) }
        }
    }
    println!("gc-bench: {}", server.admin_ok(&["gc", "--json"]));
    let rates = with.iter().zip(&without).map(|(with, without)| with.rate / without.rate);
    let tails = with.iter().zip(&without).map(|(with, without)| with.p99 / without.p99);
    println!(
        "gc-bench: {rounds} pairs of {seconds} s: throughput {:.0}/s with, {:.0}/s without, median ratio {:.3}; p99 {:.1} ms with, {:.1} ms without, median ratio {:.3}",
        median(with.iter().map(|round| round.rate)),
        median(without.iter().map(|round| round.rate)),
        median(rates),
        median(with.iter().map(|round| round.p99)) * 1000.0,
        median(without.iter().map(|round| round.p99)) * 1000.0,
        median(tails),
    );
}
