//! Upload sessions against a model: chunks in and out of place, finishes with the right digest and a wrong one, cancels,
//! expiry, restarts, power cuts, and stores that fail anywhere in between. A session holds what was acknowledged, byte
//! for byte, or says honestly that it begins again; what was finished stays.

use bytes::Bytes;
use proptest::prelude::*;

use super::{
    bench::{APP, World, chunk, is_gone, noise},
    invariants,
    model::config,
};
use crate::{
    auth::{Pull, Push},
    error::{Error, Kind, What},
    model::{Digest, UploadId},
    registry::Settings,
    store::faulty::{Fault, Plan},
};

#[derive(Debug, Clone)]
enum Step {
    Chunk { off: i64, length: usize },
    Finish { right: bool, length: usize },
    Cancel,
    Expire,
    Restart,
    PowerCut { lost: usize, names: bool },
}

fn steps() -> impl Strategy<Value = (Step, Option<Plan>)> {
    let length = || prop_oneof![3 => 1usize..400, 1 => 12_000usize..20_000];
    let step = prop_oneof![
        8 => (prop_oneof![6 => Just(0i64), 1 => -2i64..3], length())
            .prop_map(|(off, length)| Step::Chunk { off, length }),
        2 => (prop::bool::weighted(0.8), prop_oneof![1 => Just(0usize), 1 => length()])
            .prop_map(|(right, length)| Step::Finish { right, length }),
        1 => Just(Step::Cancel),
        1 => Just(Step::Expire),
        1 => Just(Step::Restart),
        1 => (0usize..4, any::<bool>()).prop_map(|(lost, names)| Step::PowerCut { lost, names }),
    ];
    let fault = prop::sample::select(vec![Fault::Before, Fault::After, Fault::Tear]);
    let plan = (0usize..14, fault, any::<bool>()).prop_map(|(at, fault, rest)| Plan { at, fault, rest });
    (step, prop::option::weighted(0.35, plan))
}

/// What is true, as the client knows it.
struct Model {
    session: Option<UploadId>,
    /// What the session holds: one of these.
    held: Vec<Vec<u8>>,
    /// Whether a finish failed since: its bytes may have their lasting name, and then take no more. The session begins
    /// again when more are sent.
    closing: bool,
    /// What was acknowledged as stored.
    stored: Vec<Bytes>,
    seed: u64,
}

impl Model {
    fn fresh(&mut self, length: usize) -> Bytes {
        self.seed += 1;
        noise(self.seed, length)
    }

    fn begins_again(&mut self) {
        self.session = None;
        self.held = vec![Vec::new()];
        self.closing = false;
    }
}

/// Asks where the session stands; it must be a place where it may stand. Sessions may be gone where `gone` allows it.
async fn ask(world: &World, model: &mut Model, gone: bool) -> std::result::Result<Vec<u8>, TestCaseError> {
    let grant = world.pusher(APP).await.unwrap();
    if let Some(id) = model.session {
        match world.registry.upload_offset(&grant, id).await {
            Ok(offset) => {
                let found = model.held.iter().find(|held| held.len() as u64 == offset).cloned();
                prop_assert!(found.is_some(), "it holds {offset} bytes");
                let found = found.unwrap_or_default();
                model.held = vec![found.clone()];
                return Ok(found);
            }
            Err(error) => {
                prop_assert!(is_gone(&error), "{error}");
                prop_assert!(gone, "an acknowledged session is gone");
            }
        }
    }
    model.begins_again();
    model.session = Some(world.registry.begin_upload(&grant, None).await.unwrap());
    Ok(Vec::new())
}

async fn is_stored(world: &World, bytes: &Bytes) -> bool {
    let Ok(grant) = world.grant::<Pull>(APP).await else { return false };
    match world.registry.stat_blob(&grant, &Digest::sha256(bytes)).await {
        Ok(head) => head.size == bytes.len() as u64,
        Err(error) if is_gone(&error) => false,
        Err(error) => panic!("{error}"),
    }
}

/// A failure that was put there, or one that follows from it.
fn is_trouble(error: &Error) -> bool {
    matches!(error.kind(), Kind::Unavailable | Kind::Internal | Kind::Offset { .. })
}

async fn append(
    world: &World,
    model: &mut Model,
    held: &[u8],
    (off, length): (i64, usize),
) -> std::result::Result<(), TestCaseError> {
    let (id, bytes) = (model.session.unwrap(), model.fresh(length));
    let at = (held.len() as u64).saturating_add_signed(off);
    let Ok(grant) = world.grant::<Push>(APP).await else { return Ok(()) };
    let answer = world.registry.append(&grant, id, chunk(&bytes, Some(at))).await;
    let longer = [held, &bytes].concat();
    match answer {
        Ok(offset) => {
            prop_assert_eq!(at, held.len() as u64, "a chunk out of place was taken");
            prop_assert_eq!(offset, longer.len() as u64);
            model.held = vec![longer];
        }
        Err(error) if at != held.len() as u64 && world.faults.fired().is_none() => {
            prop_assert_eq!(error.kind(), Kind::Offset { stored: held.len() as u64 });
        }
        Err(error) if model.closing && error.kind() == (Kind::Offset { stored: 0 }) => {
            model.held = vec![Vec::new()];
            model.closing = false;
        }
        // Wholly there or wholly absent, or given up altogether.
        Err(error) => {
            prop_assert!(is_trouble(&error), "{error}");
            prop_assert!(world.faults.fired().is_some(), "it failed by itself: {error}");
            if at == held.len() as u64 {
                model.held.push(longer);
            }
            model.held.push(Vec::new());
        }
    }
    Ok(())
}

async fn finish(
    world: &World,
    model: &mut Model,
    held: &[u8],
    (right, length): (bool, usize),
) -> std::result::Result<(), TestCaseError> {
    let (id, last) = (model.session.unwrap(), model.fresh(length));
    let whole = Bytes::from([held, &last].concat());
    let digest = if right { Digest::sha256(&whole) } else { Digest::sha256(b"another") };
    let rest = (length > 0).then(|| chunk(&last, Some(held.len() as u64)));
    let Ok(grant) = world.grant::<Push>(APP).await else { return Ok(()) };
    let answer = world.registry.finish_upload(grant, id, rest, digest).await;
    let fired = world.faults.heal();
    match answer {
        Ok(size) => {
            prop_assert!(right && size == whole.len() as u64);
            prop_assert!(is_stored(world, &whole).await, "acknowledged and not there");
            model.stored.push(whole);
            model.begins_again();
        }
        Err(error) if !right && error.kind() == Kind::Invalid(What::Digest) => model.begins_again(),
        Err(error) => {
            let begins_again = model.closing && error.kind() == (Kind::Offset { stored: 0 });
            prop_assert!(is_trouble(&error) && (fired.is_some() || begins_again), "{error}");
            model.closing = true;
            // The same bytes may have been stored before.
            let there = is_stored(world, &whole).await && !model.stored.contains(&whole);
            prop_assert!(right || !there, "stored under another digest than was asked for");
            if there {
                model.begins_again();
            } else {
                model.held.push(whole.to_vec());
                model.held.push(Vec::new());
                if !right {
                    // It may have been given up already.
                    model.begins_again();
                }
            }
        }
    }
    Ok(())
}

async fn give_up(world: &World, model: &mut Model, expire: bool) -> std::result::Result<(), TestCaseError> {
    let id = model.session.unwrap();
    let done = if expire {
        world.registry.expire_uploads(world.at.plus_seconds(72 * 3600), 100).await.map(|_| ())
    } else {
        match world.grant::<Push>(APP).await {
            Ok(grant) => world.registry.cancel_upload(&grant, id).await,
            Err(error) => Err(error),
        }
    };
    let fired = world.faults.heal();
    prop_assert!(done.is_ok() || fired.is_some(), "{done:?}");
    let grant = world.pusher(APP).await.unwrap();
    match world.registry.upload_offset(&grant, id).await {
        Err(error) if is_gone(&error) => model.begins_again(),
        Ok(_) => {
            prop_assert!(fired.is_some(), "given up and still there");
            model.held.push(Vec::new());
        }
        Err(error) => prop_assert!(false, "{error}"),
    }
    Ok(())
}

async fn check(base: &World, steps: Vec<(Step, Option<Plan>)>) -> std::result::Result<(), TestCaseError> {
    let (mut start, mut world) = (base.restarted(), base.restarted());
    let mut model =
        Model { session: None, held: vec![Vec::new()], closing: false, stored: Vec::new(), seed: 1 << 40 };
    let mut doubtful = false;
    for (step, plan) in steps {
        let held = ask(&world, &mut model, doubtful).await?;
        doubtful = false;
        world.faults.arm(plan);
        match step {
            Step::Chunk { off, length } => append(&world, &mut model, &held, (off, length)).await?,
            Step::Finish { right, length } => finish(&world, &mut model, &held, (right, length)).await?,
            Step::Cancel | Step::Expire => {
                give_up(&world, &mut model, matches!(step, Step::Expire)).await?;
            }
            Step::Restart => {
                world = world.restarted();
                start = world.restarted();
                world.registry.sweep_uploads().await.unwrap();
            }
            Step::PowerCut { lost, names } => {
                let lost = lost.min(world.unsynced());
                world = world.after_a_power_cut(&start, lost, names).await;
                start = world.restarted();
                world.registry.sweep_uploads().await.unwrap();
                // The row may say what an earlier one said, or not be there at all.
                let whole = held.clone();
                model.held = (0..=whole.len()).map(|length| whole[..length].to_vec()).collect();
                doubtful = true;
            }
        }
        world.faults.heal();
        invariants::check(&world.stored());
        for bytes in &model.stored {
            prop_assert!(is_stored(&world, bytes).await, "what was acknowledged is gone");
        }
    }
    let next = world.restarted();
    next.years_later().await.unwrap();
    let orphans = invariants::check(&next.stored());
    prop_assert!(orphans.uploads.is_empty() && next.stored().uploads.is_empty(), "{orphans:?}");
    Ok(())
}

#[test]
fn sessions_agree_with_the_model() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let base = runtime.block_on(World::new(Settings { space_reserve: 0, ..Settings::default() }));
    let config = config(200);
    proptest!(config, |(steps in prop::collection::vec(steps(), 1..16))| {
        runtime.block_on(check(&base, steps))?;
    });
}
