//! Rates: so many requests a second from one caller or one address, of one class. Generous, for a limit that honest
//! clients meet is an outage of its own making; local, for the same reason.
//!
//! Each pair of (who, class) has one number, the moment at which its bucket would be empty again (GCRA). The table of
//! them is bounded; past the bound the one nearest to empty is forgotten, which can only be generous.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use http::{HeaderMap, Method};
use ipnet::IpNet;
use tokio::time::Instant;

use crate::{
    auth::Actor,
    config::{Limits, Rate},
    error::{Error, Kind, Result},
    model::TokenId,
};

/// What a request does, as far as rates are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Class {
    Read,
    Write,
    SignIn,
}

impl Class {
    /// The class of a request.
    pub(super) fn of(method: &Method, signs_in: bool) -> Self {
        if signs_in {
            Self::SignIn
        } else if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
            Self::Read
        } else {
            Self::Write
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::SignIn => "sign_in",
        }
    }
}

/// Whose requests are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Who {
    /// A client's address; of IPv6 its /64, which one client owns whole.
    Address([u8; 16]),
    /// A token.
    Token(TokenId),
    /// A user signed in without a token of its own.
    User(crate::model::OwnerId),
}

impl Who {
    /// An address that is counted: every one but loopback, which is the machine itself or a proxy on it.
    pub(super) fn address(address: IpAddr) -> Option<Self> {
        if address.is_loopback() {
            return None;
        }
        Some(Self::Address(match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => (u128::from(v6) >> 64 << 64).to_be_bytes(),
        }))
    }

    /// A signed-in caller.
    pub(super) fn identity(caller: &crate::auth::Caller) -> Option<Self> {
        match (caller.credential, caller.actor) {
            (Some(token), _) => Some(Self::Token(token)),
            (None, Actor::User(id)) => Some(Self::User(id)),
            (None, Actor::Anonymous | Actor::Repository(_) | Actor::Operator | Actor::Job(_)) => None,
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Address(_) => "address",
            Self::Token(_) | Self::User(_) => "identity",
        }
    }
}

const SHARDS: usize = 16;
/// Pairs remembered in one shard: 65,536 in all, about 2 MiB.
const SHARD: usize = 4096;

/// The rates of everybody.
#[derive(Debug)]
pub(super) struct Limiter {
    limits: Limits,
    began: Instant,
    hasher: RandomState,
    /// By hash of (who, class): nanoseconds after `began` at which the bucket is empty again.
    shards: [Mutex<HashMap<u64, u64>>; SHARDS],
}

impl Limiter {
    pub(super) fn new(limits: Limits) -> Self {
        let shards = std::array::from_fn(|_| Mutex::default());
        Self { limits, began: Instant::now(), hasher: RandomState::new(), shards }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// Too many, with the seconds to wait.
    pub(super) fn count(&self, who: Who, class: Class) -> Result<()> {
        self.judge(who, class, true)
    }

    /// Asks whether a request would be allowed, without counting it.
    pub(super) fn ask(&self, who: Who, class: Class) -> Result<()> {
        self.judge(who, class, false)
    }

    fn rate(&self, who: Who, class: Class) -> Rate {
        let limits = &self.limits;
        match (who, class) {
            (Who::Address(_), Class::Read) => limits.address_reads,
            (Who::Address(_), Class::Write) => limits.address_writes,
            (Who::Address(_), Class::SignIn) => limits.address_sign_ins,
            (Who::Token(_) | Who::User(_), Class::Read) => limits.identity_reads,
            (Who::Token(_) | Who::User(_), Class::Write) => limits.identity_writes,
            (Who::Token(_) | Who::User(_), Class::SignIn) => limits.identity_sign_ins,
        }
    }

    fn judge(&self, who: Who, class: Class, counts: bool) -> Result<()> {
        let Rate::Limit { per_second, burst } = self.rate(who, class) else { return Ok(()) };
        let interval = 1_000_000_000 / u64::from(per_second).max(1);
        let tolerance = interval.saturating_mul(burst.into());
        let now = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let hash = self.hasher.hash_one((who, class));
        let shard = &self.shards[usize::try_from(hash >> 60).unwrap_or(0) % SHARDS];
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let empty = shard.get(&hash).map_or(now, |empty| now.max(*empty)).saturating_add(interval);
        if let Some(over) = (empty - now).checked_sub(tolerance).filter(|over| *over > 0) {
            let seconds = Duration::from_nanos(over).as_secs() + 1;
            let retry_after = u32::try_from(seconds).unwrap_or(u32::MAX);
            let text = format!("too many requests; try again in {retry_after} s");
            return Err(Error::new(Kind::TooMany { retry_after }, text));
        }
        if counts {
            make_room(&mut shard, now);
            shard.insert(hash, empty);
        }
        Ok(())
    }
}

/// Keeps a shard within its bound: forgets what has run empty, else the emptiest of a few.
fn make_room(shard: &mut HashMap<u64, u64>, now: u64) {
    if shard.len() < SHARD {
        return;
    }
    shard.retain(|_, empty| *empty > now);
    if shard.len() >= SHARD
        && let Some(hash) = shard.iter().take(8).min_by_key(|(_, empty)| **empty).map(|(hash, _)| *hash)
    {
        shard.remove(&hash);
    }
}

/// The client's address: the peer's, or, when the peer is a trusted proxy, the last in `X-Forwarded-For` that is none.
/// What stands left of it was written by the client itself and proves nothing.
pub(super) fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut client = peer.to_canonical();
    if !is_trusted(&client) {
        return client;
    }
    for value in headers.get_all("x-forwarded-for").iter().rev() {
        let Ok(value) = value.to_str() else { return client };
        for hop in value.rsplit(',') {
            let Some(hop) = parse_hop(hop.trim()) else { return client };
            client = hop;
            if !is_trusted(&client) {
                return client;
            }
        }
    }
    client
}

/// An address, with or without a port.
fn parse_hop(text: &str) -> Option<IpAddr> {
    let bare =
        text.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or(text, |(address, _)| address);
    let address = bare.parse().ok().or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|a| a.ip()))?;
    Some(IpAddr::to_canonical(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(rate: Rate) -> Limiter {
        Limiter::new(Limits { address_reads: rate, ..Limits::default() })
    }

    fn address(text: &str) -> Option<Who> {
        Who::address(text.parse().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_then_the_rate_then_a_wait() {
        let limiter = limiter(Rate::Limit { per_second: 2, burst: 3 });
        let who = address("192.0.2.1").unwrap();
        for _ in 0..3 {
            limiter.count(who, Class::Read).unwrap();
        }
        assert!(limiter.ask(who, Class::Read).is_err());
        assert!(matches!(
            limiter.count(who, Class::Read).unwrap_err().kind(),
            Kind::TooMany { retry_after: 1 }
        ));
        limiter.count(who, Class::Write).unwrap();
        limiter.count(address("192.0.2.2").unwrap(), Class::Read).unwrap();
        tokio::time::advance(Duration::from_millis(501)).await;
        limiter.count(who, Class::Read).unwrap();
        assert!(limiter.count(who, Class::Read).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded() {
        let limiter = limiter(Rate::Limit { per_second: 1, burst: 1000 });
        for number in 0..(SHARDS * SHARD * 2) as u32 {
            let who = Who::address(IpAddr::from((number + (11 << 24)).to_be_bytes())).unwrap();
            limiter.count(who, Class::Read).unwrap();
        }
        assert!(limiter.shards.iter().all(|shard| shard.lock().unwrap().len() <= SHARD));
    }

    #[test]
    fn neighbours_on_ipv6_are_one_and_loopback_is_none() {
        assert_eq!(address("2001:db8::1"), address("2001:db8::2"));
        assert_ne!(address("2001:db8::1"), address("2001:db8:0:1::1"));
        assert_ne!(address("192.0.2.1"), address("192.0.2.2"));
        assert_eq!(address("127.0.0.1"), None);
        assert_eq!(address("::1"), None);
    }

    #[test]
    fn forwarded_addresses_count_only_from_trusted_proxies() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let client = |peer: &str, forwarded: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in forwarded {
                headers.append("x-forwarded-for", value.parse().unwrap());
            }
            client_address(peer.parse().unwrap(), &headers, &trusted).to_string()
        };
        assert_eq!(client("192.0.2.9", &["1.1.1.1"]), "192.0.2.9");
        assert_eq!(client("10.0.0.1", &["1.1.1.1"]), "1.1.1.1");
        assert_eq!(client("10.0.0.1", &["6.6.6.6, 1.1.1.1, 10.2.3.4"]), "1.1.1.1");
        assert_eq!(client("10.0.0.1", &["6.6.6.6", "1.1.1.1"]), "1.1.1.1");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["junk"]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["junk, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(client("::ffff:10.0.0.1", &["[2001:db8::1]:443"]), "2001:db8::1");
        assert_eq!(client("fd00::1", &["1.1.1.1:99"]), "1.1.1.1");
    }
}
