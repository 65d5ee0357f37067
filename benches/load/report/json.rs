//! The same for programs: every sample.

use serde_json::{Value, json};

use super::{About, Found};
use crate::{peers::Peer, rows::Sample};

/// The whole report. Rates are per second, times in seconds, sizes in bytes.
pub fn json(about: &About, all: &[Found]) -> Value {
    json!({
        "date": about.date,
        "machine": about.machine,
        "load": about.load,
        "rounds": about.rounds,
        "seconds": about.seconds,
        "absent": about.absent,
        "rows": all.iter().map(|found| row(found, all)).collect::<Vec<_>>(),
    })
}

fn row(found: &Found, all: &[Found]) -> Value {
    let peer = |(peer, samples): &(Peer, Vec<Sample>)| {
        let value = json!({
            "median": found.median(*peer),
            "server_cpu": found.server_cpu(*peer),
            "client_cpu": found.client_cpu(*peer),
            "samples": samples.iter().map(sample).collect::<Vec<_>>(),
        });
        (peer.name().to_owned(), value)
    };
    let verdicts = found.verdicts(all);
    json!({
        "name": found.row.name,
        "title": found.row.title,
        "unit": format!("{:?}", found.row.unit).to_lowercase(),
        "peers": found.results.iter().map(peer).collect::<serde_json::Map<_, _>>(),
        "failed": found.errors.iter().map(|(peer, error)| json!({ "peer": peer.name(), "error": error }))
            .collect::<Vec<_>>(),
        "wishes": verdicts.iter().map(|verdict| json!({ "text": verdict.text, "met": verdict.met }))
            .collect::<Vec<_>>(),
    })
}

fn sample(sample: &Sample) -> Value {
    json!({
        "value": sample.value,
        "p50": sample.p50,
        "p99": sample.p99,
        "server_cpu": sample.server_cpu,
        "client_cpu": sample.client_cpu,
        "operations": sample.operations,
        "bytes": sample.bytes,
        "peak": sample.peak,
        "note": sample.note,
    })
}
