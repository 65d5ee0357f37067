//! Real clients and the OCI conformance suite against the real daemon.
//!
//!     cargo test --test conformance -- [FILTER…] [--list]
//!
//! One line for each case, `PASS`, `FAIL` or `SKIP`, and a closing count. A client that is absent
//! is skipped by name; with `CI=true` or `PACKHOUSE_CONFORMANCE_STRICT=1` that is a failure.
//! `. .ci/setup/env.sh` puts the pinned clients on the PATH. See README.md beside this file.

mod containerd;
mod containers_image;
mod copies;
mod daemon;
mod docker;
mod go_clients;
mod harness;
mod helm;
mod http;
mod images;
mod large;
mod management;
mod oras;
mod prometheus;
mod signing;
mod suite;
mod teams;
mod uploads;

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use tempfile::TempDir;

use harness::{Case, Ctx, Failure, Result, fail, find};

fn cases() -> Vec<&'static Case> {
    let families = [
        suite::CASES,
        docker::CASES,
        containers_image::CASES,
        containerd::CASES,
        go_clients::CASES,
        oras::CASES,
        helm::CASES,
        signing::CASES,
        copies::CASES,
        uploads::CASES,
        teams::CASES,
        management::CASES,
        prometheus::CASES,
        large::CASES,
    ];
    families.into_iter().flatten().filter(|case| helm::wanted(case.name)).collect()
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let filters: Vec<&String> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    let wanted = |case: &&Case| filters.is_empty() || filters.iter().any(|f| case.name.contains(f.as_str()));
    let cases: Vec<&Case> = cases().into_iter().filter(wanted).collect();
    if args.iter().any(|arg| arg == "--list") {
        cases.iter().for_each(|case| println!("{}", case.name));
        return ExitCode::SUCCESS;
    }
    // A filter that matches nothing must not look like success.
    if cases.is_empty() {
        println!("no case matches {filters:?}");
        return ExitCode::FAILURE;
    }
    let shared = match directory("shared") {
        Ok(dir) => dir,
        Err(error) => {
            println!("no temporary directory: {error}");
            return ExitCode::FAILURE;
        }
    };
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for case in cases {
        let start = Instant::now();
        match run(case, shared.path()) {
            Ok(()) => {
                passed += 1;
                println!("PASS {}", case.name);
            }
            Err(Failure::Skip(why)) => {
                skipped += 1;
                println!("SKIP {}: {why}", case.name);
            }
            Err(Failure::Fail(why)) => {
                failed += 1;
                report(case.name, &why);
            }
        }
        eprintln!("     {} took {:.1} s", case.name, start.elapsed().as_secs_f64());
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What the client printed, then the one line.
fn report(name: &str, why: &str) {
    let (first, rest) = why.split_once('\n').unwrap_or((why, ""));
    for line in rest.lines() {
        println!("     | {line}");
    }
    println!("FAIL {name}: {first}");
}

/// Runs one case in a directory of its own.
fn run(case: &Case, shared: &Path) -> Result {
    for program in case.needs {
        if find(program).is_none() {
            let why = format!("no `{program}` on the PATH");
            return if strict() { fail(why) } else { Err(Failure::Skip(why)) };
        }
    }
    let dir = directory(case.name)?;
    let ctx = Ctx::new(case, dir.path().to_owned(), shared.to_owned())?;
    let outcome = (case.run)(&ctx);
    unmount_below(dir.path());
    match outcome {
        Err(Failure::Fail(why)) => fail(format!("{why}\n{}", ctx.log_tails())),
        other => other.and(Ok(dir.close()?)),
    }
}

/// A name without capitals: podman makes an image's name of it.
fn directory(name: &str) -> std::io::Result<TempDir> {
    let name = format!("packhouse-{}-{name}", std::process::id());
    tempfile::Builder::new().prefix(&name).rand_bytes(0).tempdir()
}

/// In CI every client must be there.
fn strict() -> bool {
    let is = |key: &str, value: &str| std::env::var(key).is_ok_and(|v| v == value);
    is("CI", "true") || is("PACKHOUSE_CONFORMANCE_STRICT", "1")
}

/// A container engine that was killed leaves mounts, which would keep its directory.
fn unmount_below(dir: &Path) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for mount in mounts.lines().rev().filter_map(|line| line.split(' ').nth(1)) {
        if Path::new(mount).starts_with(dir) {
            let _ = Command::new("umount").args(["-l", mount]).status();
        }
    }
}
