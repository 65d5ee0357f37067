//! Two clients on one session, in random turns, against a model of ten lines.

use proptest::prelude::*;

use super::{DAEMON, and, bare, blob, location, uploads};
use crate::support::{
    Client, Response,
    content::{noise, sha256},
};

/// What one of two clients does next. Offsets are relative to where the session ends, so most of them are near it.
#[derive(Debug, Clone)]
enum Step {
    /// PATCH at the address that this client was told last.
    Patch { who: usize, length: usize, streamed: bool },
    /// PATCH with a `Content-Range` that begins so far from the end of the session.
    PatchAt { who: usize, off: i64, length: usize },
    /// PATCH with a `Content-Range` that says another length than the body has.
    Lie { who: usize, more: usize },
    /// Ask where it stands, and believe it from then on.
    Ask { who: usize },
    /// Close without bytes, rightly or not.
    Close { who: usize, right: bool },
    /// Close with last bytes at the address that this client was told last.
    CloseWith { who: usize, length: usize },
    /// Give it up.
    Cancel,
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0usize..2;
    let length = prop_oneof![4 => 1usize..600, 2 => 15_000usize..40_000];
    prop_oneof![
        6 => (who.clone(), length.clone(), any::<bool>()).prop_map(|(who, length, streamed)| Step::Patch { who, length, streamed }),
        3 => (who.clone(), -3i64..4, length.clone()).prop_map(|(who, off, length)| Step::PatchAt { who, off, length }),
        1 => (who.clone(), 1usize..9).prop_map(|(who, more)| Step::Lie { who, more }),
        3 => who.clone().prop_map(|who| Step::Ask { who }),
        1 => (who.clone(), any::<bool>()).prop_map(|(who, right)| Step::Close { who, right }),
        1 => (who, length).prop_map(|(who, length)| Step::CloseWith { who, length }),
        1 => Just(Step::Cancel),
    ]
}

/// What is true of the session, and what each client believes.
struct World {
    client: Client,
    repository: String,
    session: String,
    /// The bytes it holds; `None` once it has ended.
    held: Option<Vec<u8>>,
    /// The blob that it became.
    stored: Option<String>,
    told: [usize; 2],
    fresh: u64,
}

impl World {
    fn new() -> Self {
        let client = DAEMON.signed_in("alice");
        let repository = DAEMON.repository("alice");
        let session = bare(&client.begin(&repository)).to_owned();
        Self {
            client,
            repository,
            session,
            held: Some(Vec::new()),
            stored: None,
            told: [0; 2],
            fresh: DAEMON.number() << 20,
        }
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        self.fresh += 1;
        noise(self.fresh, length)
    }

    fn at(&self, who: usize) -> String {
        format!("{}?at={}", self.session, self.told[who])
    }

    /// An answer that says where the session stands must say the truth; its reader believes it.
    fn is_told(&mut self, who: usize, answer: &Response, status: u16) {
        let length = self.held.as_ref().unwrap().len();
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(location(answer), format!("{}?at={length}", self.session));
        assert_eq!(answer.header("range"), Some(format!("0-{}", length.saturating_sub(1)).as_str()));
        self.told[who] = length;
    }

    /// Bytes were sent to begin at an offset.
    fn sent(&mut self, who: usize, at: usize, bytes: &[u8], answer: &Response) {
        let Some(held) = self.held.as_mut() else { return is_gone(answer) };
        if at == held.len() {
            held.extend_from_slice(bytes);
            self.is_told(who, answer, 202);
        } else {
            self.is_told(who, answer, 416);
        }
    }

    /// It was closed with the digest of these bytes.
    fn closed(&mut self, bytes: &[u8], answer: &Response) {
        assert_eq!(answer.status, 201, "{}", answer.text());
        let target = blob(&self.repository, &sha256(bytes));
        assert_eq!(location(answer), target);
        assert!(self.client.get(&target).expect(200).body == bytes);
        self.stored = Some(sha256(bytes));
        self.held = None;
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Patch { who, length, streamed } => {
                let (bytes, target) = (self.bytes(length), self.at(who));
                let pieces: Vec<&[u8]> = bytes.chunks(length / 2 + 1).collect();
                let answer = match streamed {
                    true => self.client.send_chunked("PATCH", &target, &[], &pieces),
                    false => self.client.patch(&target, &[], &bytes),
                };
                self.sent(who, self.told[who], &bytes, &answer);
            }
            Step::PatchAt { who, off, length } => {
                let end = self.held.as_ref().map_or(0, Vec::len);
                let at = end.saturating_add_signed(off as isize);
                let (bytes, target) = (self.bytes(length), self.at(who));
                let range = format!("{at}-{}", at + length - 1);
                let answer = self.client.patch(&target, &[("Content-Range", &range)], &bytes);
                self.sent(who, at, &bytes, &answer);
            }
            Step::Lie { who, more } => {
                let end = self.held.as_ref().map_or(0, Vec::len);
                let (bytes, target) = (self.bytes(50), self.at(who));
                let range = format!("{end}-{}", end + 49 + more);
                let answer =
                    self.client.send_chunked("PATCH", &target, &[("Content-Range", &range)], &[&bytes]);
                match self.held {
                    None => is_gone(&answer),
                    Some(_) => assert_eq!((answer.status, answer.code().as_str()), (400, "SIZE_INVALID")),
                }
            }
            Step::Ask { who } => {
                let answer = self.client.get(&self.at(who));
                match self.held {
                    None => is_gone(&answer),
                    Some(_) => self.is_told(who, &answer, 204),
                }
            }
            Step::Close { who, right } => self.close(who, right),
            Step::CloseWith { who, length } => self.close_with(who, length),
            Step::Cancel => {
                let answer = self.client.delete(&self.session);
                match self.held.take() {
                    None => is_gone(&answer),
                    Some(_) => assert_eq!(answer.status, 204),
                }
            }
        }
    }

    /// An old address is as good as any where there are no bytes to append.
    fn close(&mut self, who: usize, right: bool) {
        let whole = self.held.clone().unwrap_or_default();
        let digest = if right { sha256(&whole) } else { sha256(b"something else") };
        let answer = self.client.put(&and(&self.at(who), &format!("digest={digest}")), b"");
        match (&self.held, right) {
            // Closed before with these bytes: they are here.
            (None, _) if self.stored.as_ref() == Some(&digest) => assert_eq!(answer.status, 201),
            (None, _) => is_gone(&answer),
            (Some(_), true) => self.closed(&whole, &answer),
            (Some(_), false) => {
                assert_eq!((answer.status, answer.code().as_str()), (400, "DIGEST_INVALID"));
                self.held = None;
            }
        }
    }

    fn close_with(&mut self, who: usize, length: usize) {
        let last = self.bytes(length);
        let whole = [self.held.clone().unwrap_or_default(), last.clone()].concat();
        let target = and(&self.at(who), &format!("digest={}", sha256(&whole)));
        let answer = self.client.put(&target, &last);
        match &self.held {
            None => is_gone(&answer),
            Some(held) if held.len() == self.told[who] => self.closed(&whole, &answer),
            Some(_) => self.is_told(who, &answer, 416),
        }
    }
}

#[track_caller]
fn is_gone(answer: &Response) {
    assert_eq!((answer.status, answer.code().as_str()), (404, "BLOB_UPLOAD_UNKNOWN"), "{}", answer.text());
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(0x7061_636b),
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    })]

    #[test]
    fn two_clients_on_one_session_agree_with_the_model(steps in prop::collection::vec(step(), 1..14)) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
        }
        // However it went, the repository takes a new session, and nothing half is left under any digest.
        if let Some(held) = world.held.clone() {
            let target = blob(&world.repository, &sha256(&held));
            world.client.head(&target).expect(404);
            world.close(0, true);
        }
        world.client.post(&uploads(&world.repository), b"").expect(202);
        // Beside all the tests that share the daemon: what changes meanwhile is no finding.
        DAEMON.server().is_sound();
    }
}
