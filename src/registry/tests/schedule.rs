//! Operations side by side, in an order that is drawn by lot and can be drawn again: every call to a store waits for its
//! turn, before its work and after.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use tokio::{sync::oneshot, task::Id};

use super::bench::World;
use crate::store::faulty::{Call, Gate};

/// Calls that wait for their turn.
#[derive(Default)]
struct Turns(Mutex<Vec<(Option<Id>, oneshot::Sender<()>)>>);

impl Turns {
    fn waiting(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Gives a turn by lot; the `last` task, if it waits, mostly goes on where the lot is in `steps` of its own.
    fn give(&self, lot: u64, steps: u64, last: Option<Id>) -> Option<Id> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let length = waiting.len() as u64;
        let again = waiting.iter().position(|(task, _)| *task == last);
        let stays = !(lot >> 32).is_multiple_of(steps);
        let by_lot = usize::try_from(lot % length).unwrap();
        let (task, turn) = waiting.remove(again.filter(|_| stays).unwrap_or(by_lot));
        // Whoever waited may have been dropped.
        let _ = turn.send(());
        task
    }
}

impl Gate for Turns {
    fn pass(&self, _: Call) -> BoxFuture<'static, ()> {
        let (turn, mine) = oneshot::channel();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((tokio::task::try_id(), turn));
        Box::pin(async move {
            let _ = mine.await;
        })
    }
}

/// Runs tasks side by side on one thread; what they answer, in their order. The same seed gives the same interleaving.
pub(super) async fn side_by_side<T: Send + 'static>(
    world: &World,
    seed: u64,
    tasks: Vec<BoxFuture<'static, T>>,
) -> Vec<T> {
    let turns = Arc::new(Turns::default());
    world.faults.schedule(Some(Arc::clone(&turns) as _));
    let running: Vec<_> = tasks.into_iter().map(tokio::spawn).collect();
    let mut lot = seed | 1;
    // From a change of tasks at nearly every call to long stretches of one.
    let steps = 1 << ((seed >> 7) % 6);
    let mut last = None;
    for step in 0.. {
        assert!(step < 100_000, "the tasks come to no end");
        // Everybody runs until they wait for a turn.
        let mut quiet = (0, 0);
        while quiet.1 < 6 {
            tokio::task::yield_now().await;
            let waiting = turns.waiting();
            quiet = if waiting == quiet.0 { (waiting, quiet.1 + 1) } else { (waiting, 0) };
        }
        if running.iter().all(tokio::task::JoinHandle::is_finished) && turns.waiting() == 0 {
            break;
        }
        if turns.waiting() > 0 {
            lot ^= lot << 13;
            lot ^= lot >> 7;
            lot ^= lot << 17;
            last = turns.give(lot >> 11, steps, last);
        }
    }
    world.faults.schedule(None);
    let mut answers = Vec::new();
    for task in running {
        answers.push(task.await.unwrap());
    }
    answers
}
