//! One request from its first header to its answer's last byte: what is counted and written down about it, once.

use std::{net::IpAddr, sync::Arc};

use http::{Method, StatusCode, Version};
use tokio::time::Instant;

use super::{lanes, metrics::Metrics, pulse::Pulse};
use crate::{auth::Caller, error::Error, http::Leftover};

/// Most of a path or an error that is written to the log, in bytes.
const LOGGED: usize = 512;

/// What is known about a request, filled in as it goes through the pipeline.
#[derive(Debug)]
pub struct Record {
    pub(super) id: Arc<str>,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) version: Version,
    pub(super) address: IpAddr,
    pub(super) adapter: &'static str,
    pub(super) route: &'static str,
    pub(super) caller: Option<String>,
    /// Why it was refused: what the client was told, and the cause that only we know.
    pub(super) error: Option<String>,
    pub(super) fault: bool,
}

impl Record {
    /// Notes who asks. Names no secret: ids only.
    pub(super) fn caller(&mut self, caller: &Caller) {
        self.caller = Some(match caller.credential {
            Some(token) => format!("{} token:{token}", caller.actor),
            None => caller.actor.to_string(),
        });
    }

    /// Notes why it was refused.
    pub(super) fn refused(&mut self, error: &Error) {
        self.fault |= error.is_fault();
        self.error = Some(error.to_string());
    }
}

/// A request under way. Dropping it ends it: in the metrics, in the log, for the connection's idle deadline.
#[derive(Debug)]
pub(super) struct Flight {
    record: Record,
    began: Instant,
    status: Option<StatusCode>,
    sent: u64,
    complete: bool,
    bulk: bool,
    body: Leftover,
    metrics: Arc<Metrics>,
    pulse: Arc<Pulse>,
}

impl Flight {
    /// Begins. The pulse has counted the request already.
    pub(super) fn new(record: Record, body: Leftover, metrics: Arc<Metrics>, pulse: Arc<Pulse>) -> Self {
        metrics.in_flight.inc();
        let (status, sent, complete, bulk) = (None, 0, false, false);
        Self { record, began: Instant::now(), status, sent, complete, bulk, body, metrics, pulse }
    }

    pub(super) fn record(&mut self) -> &mut Record {
        &mut self.record
    }

    /// It has a body of so many bytes, or of an unknown number: a large one makes its connection one of the bulk lane.
    pub(super) fn carries(&mut self, length: Option<u64>) {
        if !self.bulk && length.is_none_or(|length| length >= lanes::LARGE) {
            self.bulk = true;
            self.pulse.bulk_began();
        }
    }

    /// The answer begins.
    pub(super) fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// Bytes of its body were handed over.
    pub(super) fn sent(&mut self, bytes: u64) {
        self.sent += bytes;
    }

    /// Its body broke.
    pub(super) fn failed(&mut self, error: &Error) {
        self.record.refused(error);
        self.record.fault = true;
    }

    /// All of it was handed over.
    pub(super) fn complete(&mut self) {
        self.complete = true;
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if self.bulk {
            self.pulse.bulk_ended();
        }
        self.pulse.request_ended();
        self.metrics.in_flight.dec();
        let took = self.began.elapsed();
        self.metrics.request(&self.record, self.status, took, self.body.bytes(), self.sent);
        let record = &self.record;
        let status = self.status.map_or(0, |status| status.as_u16());
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: "packhouse::request",
                    request = %record.id,
                    // A method may be any token, as long as the head may be.
                    method = %record.method.as_str().get(..32).unwrap_or(record.method.as_str()),
                    path = visible(&record.path),
                    route = record.route,
                    status,
                    received = self.body.bytes(),
                    sent = self.sent,
                    ms = took.as_secs_f64() * 1000.0,
                    remote = %record.address,
                    version = ?record.version,
                    caller = record.caller.as_deref(),
                    error = record.error.as_deref().map(visible),
                    aborted = (!self.complete).then_some(true),
                )
            };
        }
        match record.adapter {
            _ if record.fault => line!(error),
            "server" => line!(debug),
            _ => line!(info),
        }
    }
}

/// What clients sent, without what could forge or disguise a line: control characters, marks of direction, exotic spaces.
fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(LOGGED));
    for letter in text[..text.floor_char_boundary(LOGGED)].chars() {
        match letter {
            ' '..='~' => shown.push(letter),
            _ if letter.is_alphanumeric() => shown.push(letter),
            _ => shown.extend(letter.escape_unicode()),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_log_is_one_line_and_reads_as_it_is() {
        assert_eq!(visible("the upload's \"größe\" \\"), "the upload's \"größe\" \\");
        assert_eq!(visible("a\nb\u{1b}[2J\u{202e}\u{2028}"), "a\\u{a}b\\u{1b}[2J\\u{202e}\\u{2028}");
        assert_eq!(visible(&"ü".repeat(1000)).len(), LOGGED);
    }
}
