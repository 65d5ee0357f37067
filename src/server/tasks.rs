//! Tasks of the daemon and how they end: told to drain, given time, then told to close. The only `tokio::spawn` outside
//! the store's workers.

use std::{future::Future, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

/// How far the daemon is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Serving.
    Running,
    /// Finishing what was begun; nothing new.
    Draining,
    /// Dropping what is left.
    Closing,
}

/// Tells tasks to stop and waits for them.
#[derive(Debug)]
pub struct Tasks {
    phase: watch::Sender<Phase>,
    /// Each task holds a sender; none left means all ended.
    alive: mpsc::Sender<()>,
    ended: mpsc::Receiver<()>,
}

/// A task's end of it. While one exists, [`Tasks::stop`] waits.
#[derive(Debug, Clone)]
pub struct Stop {
    phase: watch::Receiver<Phase>,
    _alive: mpsc::Sender<()>,
}

impl Tasks {
    /// No tasks yet.
    pub fn new() -> Self {
        let (alive, ended) = mpsc::channel(1);
        Self { phase: watch::Sender::new(Phase::Running), alive, ended }
    }

    /// The phase, for those who only look.
    pub fn watch(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// A handle for a new task.
    pub fn stop_handle(&self) -> Stop {
        Stop { phase: self.phase.subscribe(), _alive: self.alive.clone() }
    }

    /// Tells every task to drain, waits for `limit`, tells the rest to close, and waits a moment for that. Says whether
    /// all ended by themselves.
    pub async fn stop(mut self, limit: Duration) -> bool {
        /// Closing is dropping a future: what takes longer than this hangs.
        const CLOSE: Duration = Duration::from_secs(5);
        self.phase.send_replace(Phase::Draining);
        drop(self.alive);
        if tokio::time::timeout(limit, self.ended.recv()).await.is_ok() {
            return true;
        }
        self.phase.send_replace(Phase::Closing);
        // Either way the process ends next; that some task did not is said by the caller.
        let _closed = tokio::time::timeout(CLOSE, self.ended.recv()).await;
        false
    }
}

impl Default for Tasks {
    fn default() -> Self {
        Self::new()
    }
}

impl Stop {
    /// Waits until the daemon is at least this far. A daemon that is gone altogether counts as closing.
    pub async fn reached(&mut self, phase: Phase) {
        // An error means that the sender is gone.
        let _gone = self.phase.wait_for(|now| *now >= phase).await.is_err();
    }
}

/// Starts a task.
pub fn spawn<F>(task: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio::spawn(task)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tasks_that_drain_and_tasks_that_do_not() {
        let tasks = Tasks::new();
        let mut good = tasks.stop_handle();
        spawn(async move { good.reached(Phase::Draining).await });
        assert!(tasks.stop(Duration::from_secs(30)).await);

        let tasks = Tasks::new();
        let mut stubborn = tasks.stop_handle();
        let task = spawn(async move { stubborn.reached(Phase::Closing).await });
        assert!(!tasks.stop(Duration::from_millis(10)).await);
        task.await.unwrap();
    }
}
