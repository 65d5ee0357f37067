//! The OCI conformance suite. Its program is taken by path (`OCI_CONFORMANCE`, or
//! `oci-conformance` on the PATH); nothing of it is kept here.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::daemon::{Hub, USER};
use crate::harness::{Case, Ctx, Failure, Mode, Result, check, fail, find};

const fn case(name: &'static str, tls: bool, challenge: &'static str) -> Case {
    Case { name, needs: &[], seconds: 300, mode: Mode { tls, challenge }, run: suite }
}

/// The strictest run of the next version of the specification, and of the current one.
pub const CASES: &[Case] = &[
    case("suite-dev-http-bearer", false, "bearer"),
    case("suite-dev-http-basic", false, "basic"),
    case("suite-dev-tls-bearer", true, "bearer"),
    case("suite-dev-tls-basic", true, "basic"),
    case("suite-1.1-http-bearer", false, "bearer"),
    case("suite-1.1-http-basic", false, "basic"),
    case("suite-1.1-tls-bearer", true, "bearer"),
    case("suite-1.1-tls-basic", true, "basic"),
];

/// What these runs ask for beyond the suite's defaults.
const DEV: &[(&str, &str)] = &[("OCI_VERSION", "dev"), ("OCI_DATA_SPARSE", "true")];
const STABLE: &[(&str, &str)] = &[("OCI_VERSION", "1.1"), ("OCI_API_BLOBS_UPLOAD_CANCEL", "true")];

/// Rows of the report, not checks, that 1.1 does not have; nothing else may be other than Pass.
const NOT_IN_1_1: &[&str] =
    &["Manifest put with tag params", "Sparse Manifests", "Tag Param", "Tag Param sha512"];

fn program() -> Result<PathBuf> {
    let named = std::env::var_os("OCI_CONFORMANCE").map(PathBuf::from);
    if let Some(program) = named.or_else(|| find("oci-conformance")).filter(|program| program.is_file()) {
        return Ok(program);
    }
    let why = "no oci-conformance: neither OCI_CONFORMANCE nor the PATH names the suite's program".to_owned();
    let strict = std::env::var("PACKHOUSE_CONFORMANCE_STRICT").is_ok_and(|flag| flag == "1");
    Err(if strict { Failure::Fail(why) } else { Failure::Skip(why) })
}

fn suite(ctx: &Ctx) -> Result {
    let program = program()?;
    let hub = Hub::start(ctx)?;
    hub.cli(&["org", "add", "conformance", "--owner", USER], "")?;
    let results = ctx.path("results");
    let dev = ctx.name.starts_with("suite-dev");
    let mut cmd = ctx.cmd(&program).env("OCI_REGISTRY", &hub.host);
    cmd = cmd.env("OCI_TLS", if ctx.mode.tls { "enabled" } else { "disabled" });
    cmd = cmd.env("OCI_REPO1", "conformance/repo1").env("OCI_REPO2", "conformance/repo2");
    cmd = cmd.env("OCI_USERNAME", USER).env("OCI_PASSWORD", &hub.token).env("OCI_RESULTS_DIR", &results);
    for (key, value) in if dev { DEV } else { STABLE } {
        cmd = cmd.env(key, value);
    }
    // It exits with 0 on a failed set-up too: the results decide, the output explains.
    let (_, output) = cmd.finish()?;
    let file = results.join("results.yaml");
    check(file.exists(), || format!("the suite wrote no results.yaml\n{}{}", output.stdout, output.stderr))?;
    let junit = fs::read_to_string(results.join("junit.xml"))?;
    let mut verdict = Verdict::read(&fs::read_to_string(&file)?, &junit)?;
    if !dev {
        let disabled = |row: &str| NOT_IN_1_1.iter().any(|name| row == format!("{name}: Disabled"));
        verdict.not_pass.retain(|row| !disabled(row));
    }
    println!("     {}: {}", ctx.name, verdict.line());
    summarize(ctx.name, &verdict)?;
    check(verdict.perfect(), || format!("{}\n{}", verdict.line(), complaints(&output.stdout, &verdict)))
}

struct Verdict {
    commit: String,
    total: u32,
    failed: u32,
    errors: u32,
    /// The suite counts skipped and disabled checks here.
    skipped: u32,
    /// APIs and kinds of data whose status is not Pass.
    not_pass: Vec<String>,
}

impl Verdict {
    /// `results.yaml` has a status for each API and each kind of data; `junit.xml` the counts.
    fn read(yaml: &str, junit: &str) -> Result<Verdict> {
        let commit = yaml.lines().find_map(|line| line.trim().strip_prefix("commit: ")).unwrap_or("unknown");
        let statuses: Vec<&str> = yaml
            .lines()
            .skip_while(|line| *line != "apis:")
            .filter(|line| line.starts_with("  "))
            .map(str::trim)
            .collect();
        check(statuses.len() > 20, || format!("results.yaml has {} statuses", statuses.len()))?;
        let not_pass =
            statuses.iter().filter(|line| !line.ends_with(": Pass")).map(|line| (*line).to_owned());
        let head =
            junit.lines().find(|line| line.trim_start().starts_with("<testsuite ")).unwrap_or_default();
        let count = |key: &str| attribute(head, key);
        let (total, failed, errors) = (count("tests")?, count("failures")?, count("errors")?);
        // These two are absent when they are 0.
        let skipped = count("skipped").unwrap_or(0) + count("disabled").unwrap_or(0);
        let commit = commit.to_owned();
        Ok(Verdict { commit, total, failed, errors, skipped, not_pass: not_pass.collect() })
    }

    fn perfect(&self) -> bool {
        self.total > 0 && self.passed() == self.total && self.not_pass.is_empty()
    }

    fn passed(&self) -> u32 {
        self.total.saturating_sub(self.failed + self.errors + self.skipped)
    }

    fn line(&self) -> String {
        let (Verdict { total, failed, errors, skipped, .. }, passed) = (self, self.passed());
        format!("{total} checks, {passed} Pass, {failed} Fail, {errors} Error, {skipped} Skip or Disabled")
    }
}

fn attribute(element: &str, key: &str) -> Result<u32> {
    let value = element.split(&format!(" {key}=\"")).nth(1).and_then(|rest| rest.split('"').next());
    match value.map(str::parse) {
        Some(Ok(number)) => Ok(number),
        _ => fail(format!("junit.xml: no {key} in {element:?}")),
    }
}

/// The checks that did not pass, from the tree the suite prints.
fn complaints(stdout: &str, verdict: &Verdict) -> String {
    let bad = |line: &&str| line.ends_with(": FAIL") || line.ends_with(": Skip") || line.contains(" - ");
    let lines: Vec<&str> = stdout.lines().filter(bad).take(60).collect();
    format!("{}\n{}\n", verdict.not_pass.join("\n"), lines.join("\n"))
}

/// One table for all modes of a run, where `PACKHOUSE_CONFORMANCE_SUMMARY` says.
fn summarize(name: &str, verdict: &Verdict) -> Result {
    static ROWS: Mutex<String> = Mutex::new(String::new());
    let Some(file) = std::env::var_os("PACKHOUSE_CONFORMANCE_SUMMARY") else {
        return Ok(());
    };
    let Ok(mut rows) = ROWS.lock() else {
        return fail("the summary is poisoned");
    };
    let (Verdict { total, failed, errors, skipped, .. }, passed) = (verdict, verdict.passed());
    *rows += &format!("| {name} | {total} | {passed} | {failed} | {errors} | {skipped} |\n");
    let head =
        "| run | checks | Pass | Fail | Error | Skip or Disabled |\n| --- | --: | --: | --: | --: | --: |\n";
    let text = format!("OCI conformance suite, commit {}\n\n{head}{rows}", verdict.commit);
    Ok(fs::write(Path::new(&file), text)?)
}
