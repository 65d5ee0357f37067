//! The client goes away: the future of each operation is dropped at its first await, its second, and so on. Whatever was
//! begun is then there or not, as a whole, and nothing stays behind.

use std::{future::Future as _, task::Poll};

use super::{
    bench::World,
    invariants::{self, Orphans},
    steps::{Base, OPS},
};
use crate::error::Result;

/// Lets what runs apart from its request come to its end.
async fn settle(world: &World) {
    let (mut calls, mut quiet) = (world.faults.calls().len(), 0);
    while quiet < 64 {
        tokio::task::yield_now().await;
        let now = world.faults.calls().len();
        quiet = if now == calls { quiet + 1 } else { 0 };
        calls = now;
    }
}

/// Drops an operation at its `at`th await; `None` when it had fewer.
pub(super) async fn dropped(
    base: &World,
    at: usize,
    operation: impl AsyncFnOnce(&World) -> Result<()>,
) -> Option<World> {
    let world = base.restarted();
    world.faults.arm(None);
    world.faults.give_way(true);
    let ended = {
        let mut work = Box::pin(operation(&world));
        let mut left = at;
        std::future::poll_fn(|context| match work.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => {
                left -= 1;
                Poll::Pending
            }
        })
        .await
    };
    if let Some(done) = ended {
        done.unwrap();
        return None;
    }
    settle(&world).await;
    world.faults.give_way(false);
    Some(world)
}

#[tokio::test]
async fn every_operation_dropped_at_every_await() {
    let base = Base::new().await;
    let mut cases = 0;
    for op in OPS {
        let world = base.world.restarted();
        let before = world.seen().await;
        op.attempt(&base, &world, &mut None).await.unwrap();
        let wanted = world.seen().await;
        for at in 0.. {
            let Some(world) =
                dropped(&base.world, at, async |world| op.attempt(&base, world, &mut None).await).await
            else {
                break;
            };
            let world = if op.is_job() { world.restarted() } else { world };
            cases += 1;
            let what = format!("{op:?} dropped at {at}");
            let orphans = invariants::check(&world.stored());
            assert!(orphans == Orphans::default() || op.is_job(), "{what}: {orphans:?}");
            let seen = world.seen().await;
            assert!(seen == before || seen == wanted, "{what}: {seen:#?}");
            assert_eq!(world.registry.sessions.at_work(), 0, "{what}: a session is still taken");
            let again = op.attempt(&base, &world, &mut None).await;
            assert!(again.is_ok() || seen == wanted, "{what}: {again:?}");
            assert_eq!(world.seen().await, wanted, "{what}: after the retry");
            world.years_later().await.unwrap();
            assert_eq!(invariants::check(&world.stored()), Orphans::default(), "{what}, years later");
            assert!(world.stored().uploads.is_empty(), "{what}");
        }
    }
    println!("{cases} cases");
    assert!(cases > 300, "{cases}");
}
