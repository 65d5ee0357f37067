//! The figures as text and as JSON.

use packhouse::error::{Error, Result};
use serde_json::{Value, json};

/// What one machine promises: a read at the greatest size costs at most so many times what it costs at 1,000 manifests,
/// and the daemon is ready in so many seconds.
const RATIO: f64 = 1.3;
const READY: f64 = 2.0;

/// All rows, and the criteria.
pub fn json(rows: &[Value]) -> Result<String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let all = json!({"cores": cores, "rows": rows, "criteria": criteria(rows)});
    serde_json::to_string_pretty(&all).map_err(Error::internal)
}

fn number(row: &Value, path: &str) -> Option<f64> {
    row.pointer(path).and_then(Value::as_f64)
}

/// The part where an operation's median is, its name, and how the rows name it.
const COSTS: [(&str, &str); 29] = [
    ("cold", "get_by_tag"),
    ("cold", "tags_50"),
    ("cold", "catalog_9"),
    ("cold", "rights"),
    ("anywhere", "rights"),
    ("anywhere", "get_by_tag"),
    ("anywhere", "get_by_digest"),
    ("anywhere", "tags_50"),
    ("anywhere", "catalog_9"),
    ("anywhere", "catalog_9_few"),
    ("anywhere", "catalog_9_anonymous"),
    ("anywhere", "catalog_99"),
    ("anywhere", "referrers"),
    ("hot", "rights"),
    ("hot", "get_by_tag"),
    ("hot", "get_by_digest"),
    ("hot", "tags_50"),
    ("hot", "catalog_9"),
    ("hot", "catalog_9_few"),
    ("hot", "catalog_9_anonymous"),
    ("hot", "catalog_99"),
    ("hot", "referrers"),
    ("daemon", "get_by_tag_hot"),
    ("daemon", "get_by_tag"),
    ("daemon", "tags_50"),
    ("daemon", "catalog_9"),
    ("daemon", "catalog_9_few"),
    ("daemon", "catalog_9_anonymous"),
    ("", "put_manifest"),
];

fn costs() -> impl Iterator<Item = (String, String)> {
    COSTS.into_iter().map(|(part, what)| {
        let pointer = if part.is_empty() { format!("/{what}") } else { format!("/{part}/{what}") };
        (format!("{part} {what}").trim().to_owned(), pointer)
    })
}

/// Each read at the last size against the first, and the start.
fn criteria(rows: &[Value]) -> Vec<Value> {
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Vec::new() };
    let mut all = Vec::new();
    for (name, pointer) in costs().filter(|(name, _)| name != "put_manifest" && !name.starts_with("cold")) {
        let median = |row| number(row, &format!("{pointer}/p50_us"));
        if let (Some(small), Some(large)) = (median(first), median(last)) {
            let ratio = (large / small.max(0.1) * 100.0).round() / 100.0;
            let cpu = |row| number(row, &format!("{pointer}/cpu_us"));
            let cpu = cpu(first).zip(cpu(last)).map(|(small, large)| (large / small * 100.0).round() / 100.0);
            all.push(json!({"what": name, "ratio": ratio, "cpu": cpu, "most": RATIO, "met": ratio <= RATIO}));
        }
    }
    if let Some(ready) = number(last, "/daemon/ready_seconds") {
        all.push(json!({"what": "start-up, seconds", "ratio": ready, "most": READY, "met": ready <= READY}));
    }
    all
}

/// Says what a size came to, as soon as it is known.
pub fn print_row(row: &Value) {
    println!("{}", serde_json::to_string(row).unwrap_or_default());
}

/// The whole table: one column for each size.
pub fn table(rows: &[Value]) -> String {
    let mut text = String::from("Operations: median, p99 and, in this process, processor time.\n");
    let mut line = |name: &str, cell: &dyn Fn(&Value) -> String| {
        let cells: String = rows.iter().map(|row| format!(" {:>19}", cell(row))).collect();
        text.push_str(&format!("{name:<34}{cells}\n"));
    };
    let plain = |pointer: &'static str, unit: f64, digits: usize| {
        move |row: &Value| match number(row, pointer) {
            Some(value) => format!("{:.digits$}", value / unit),
            None => "-".to_owned(),
        }
    };
    line("manifests", &plain("/manifests", 1.0, 0));
    line("pushed manifests/s", &|row| quotient(row, "/fill/manifests", "/fill/seconds", 1.0));
    line("commits/s", &|row| quotient(row, "/fill/commits", "/fill/seconds", 1.0));
    line("commits a sync", &|row| quotient(row, "/fill/commits", "/fill/sync_count", 1.0));
    line("CPU us/commit", &|row| quotient(row, "/fill/cpu_seconds", "/fill/commits", 1e6));
    line("stalled, s", &plain("/fill/stall_micros_sum", 1e6, 2));
    line("compaction after the fill, s", &plain("/fill/compaction_rest_seconds", 1.0, 1));
    line("disk bytes / batch byte", &|row| quotient(row, "/fill/disk_bytes", "/fill/batch_bytes", 1.0));
    line("  log", &|row| quotient(row, "/fill/log_bytes", "/fill/batch_bytes", 1.0));
    line("  flushes", &|row| quotient(row, "/fill/flushed_bytes", "/fill/batch_bytes", 1.0));
    line("  compactions", &|row| quotient(row, "/fill/compacted_bytes", "/fill/batch_bytes", 1.0));
    line("metadata bytes/manifest", &plain("/size/table_bytes_per_manifest", 1.0, 0));
    line("inline bytes/manifest", &plain("/size/inline_bytes_per_manifest", 1.0, 0));
    line("start to ready, s", &plain("/daemon/ready_seconds", 1.0, 2));
    line("daemon idle, MB", &plain("/daemon/memory/idle", 1e6, 1));
    line("daemon after reads, MB", &plain("/daemon/memory/after", 1e6, 1));
    for (name, pointer) in costs() {
        line(&format!("{name}, us"), &|row| {
            let of = |which: &str| number(row, &format!("{pointer}/{which}"));
            match (of("p50_us"), of("p99_us"), of("cpu_us")) {
                (Some(p50), Some(p99), Some(cpu)) => format!("{p50:.1} {p99:.1} cpu {cpu:.1}"),
                (Some(p50), Some(p99), None) => format!("{p50:.1} {p99:.1}"),
                _ => "-".to_owned(),
            }
        });
    }
    for criterion in criteria(rows) {
        let met = if criterion["met"] == true { "met" } else { "MISSED" };
        let what = criterion["what"].as_str().unwrap_or_default();
        let cpu = criterion["cpu"].as_f64().map_or(String::new(), |cpu| format!(", processor time {cpu}"));
        let (ratio, most) = (&criterion["ratio"], &criterion["most"]);
        text.push_str(&format!("{met:<7} {what}: {ratio} (at most {most}){cpu}\n"));
    }
    text
}

fn quotient(row: &Value, above: &str, below: &str, unit: f64) -> String {
    match (number(row, above), number(row, below)) {
        (Some(above), Some(below)) if below > 0.0 => format!("{:.2}", above / below * unit),
        _ => "-".to_owned(),
    }
}
