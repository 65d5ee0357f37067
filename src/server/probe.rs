//! `/healthz`: the process answers. `/readyz`: it can do its work, and is not on its way out. Neither tells a stranger
//! anything else.

use http::{Method, StatusCode, header};

use tokio::sync::watch;

use super::{pipeline::own_error, tasks::Phase};
use crate::{
    error::{Error, Kind, Result},
    http::Reply,
    registry::Registry,
};

/// Answers health questions.
#[derive(Debug)]
pub(super) struct Probe {
    phase: watch::Receiver<Phase>,
    reserve: u64,
}

impl Probe {
    pub(super) fn new(phase: watch::Receiver<Phase>, reserve: u64) -> Self {
        Self { phase, reserve }
    }

    /// The answer, if this is a health question.
    pub(super) fn answer(&self, method: &Method, path: &str, registry: &Registry) -> Option<Reply> {
        let (status, text) = match path {
            "/healthz" => (StatusCode::OK, "ok"),
            "/readyz" => match self.obstacle(registry) {
                None => (StatusCode::OK, "ready"),
                Some(why) => (StatusCode::SERVICE_UNAVAILABLE, why),
            },
            _ => return None,
        };
        if !matches!(*method, Method::GET | Method::HEAD) {
            return Some(
                own_error(&Error::new(Kind::Unsupported, "GET or HEAD")).header(header::ALLOW, "GET, HEAD"),
            );
        }
        let reply = Reply::new(status)
            .header(header::CONTENT_TYPE, "text/plain; charset=utf-8")
            .header(header::CACHE_CONTROL, "no-store");
        Some(reply.bytes(format!("{text}\n")))
    }

    /// Why not to send requests here.
    pub(super) fn obstacle(&self, registry: &Registry) -> Option<&'static str> {
        obstacle(*self.phase.borrow(), &registry.health(), &registry.space(), self.reserve)
    }
}

fn obstacle(phase: Phase, health: &Result<()>, space: &Result<u64>, reserve: u64) -> Option<&'static str> {
    match (phase, health, space) {
        (Phase::Draining | Phase::Closing, _, _) => Some("draining"),
        (Phase::Running, Err(_), _) => Some("the store cannot be written"),
        (Phase::Running, Ok(()), Err(_)) => Some("free space is unknown"),
        (Phase::Running, Ok(()), Ok(free)) => (*free < reserve).then_some("free space is below the reserve"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_the_way() {
        let broken = || Error::internal("a disk");
        assert_eq!(obstacle(Phase::Running, &Ok(()), &Ok(10), 10), None);
        assert_eq!(obstacle(Phase::Draining, &Ok(()), &Ok(10), 10), Some("draining"));
        assert!(obstacle(Phase::Running, &Err(broken()), &Ok(10), 10).is_some());
        assert!(obstacle(Phase::Running, &Ok(()), &Err(broken()), 10).is_some());
        assert!(obstacle(Phase::Running, &Ok(()), &Ok(9), 10).is_some());
    }
}
