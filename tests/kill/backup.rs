//! Backups while clients push and the daemon is killed. One that was made, and one that only looks as if it were, holds
//! what was acknowledged before it began; of one that was cut short nothing looks like a backup.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use crate::{
    Result,
    daemon::Said,
    model::{Reg, Val},
    worker::{Flow, Worker},
    world::{World, lock},
};

pub struct Backups {
    /// Counts beginnings and ends: odd while one is made.
    pub epoch: Arc<AtomicU64>,
    /// Where they are, on the file system of the data.
    folder: PathBuf,
    /// Where they are restored to.
    restored: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Those that were looked at.
    known: BTreeSet<String>,
    /// What the last one came to, until it is looked at.
    last: Option<Last>,
}

#[derive(Clone, Copy, PartialEq)]
enum Last {
    Made,
    /// Nobody was told.
    Unanswered,
}

impl Backups {
    pub fn beside(data: &Path, beside: &Path) -> Self {
        let folder = data.with_file_name("backups");
        let restored = beside.join("restored");
        Self { epoch: Arc::default(), folder, restored, state: Mutex::default() }
    }

    /// The names in the folder that are backups, by whether they say that they are finished.
    fn names(&self, finished: bool) -> BTreeSet<String> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let is_backup = |name: &String| name.starts_with(|first: char| first.is_ascii_digit());
        names.filter(is_backup).filter(|name| name.ends_with(".partial") != finished).collect()
    }
}

impl World {
    /// Makes a backup after a while, unless the daemon is killed first or the one before was not looked at yet.
    pub fn back_up(&self, after: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < after {
            if self.killed() {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let backups = &self.backups;
        if lock(&backups.state).last.is_some() {
            return;
        }
        backups.epoch.fetch_add(1, SeqCst);
        let folder = backups.folder.to_string_lossy();
        let said = self.site.cli(&["backup", &folder]);
        backups.epoch.fetch_add(1, SeqCst);
        let last = match said {
            Ok(Said::Done { .. }) => Last::Made,
            Ok(Said::Nothing) => Last::Unanswered,
            Ok(Said::Refused(_)) if self.killed() => Last::Unanswered,
            Ok(Said::Refused(why)) => return self.fail(&format!("no backup: {why}")),
            Err(error) => return self.fail(&format!("no backup: {error}")),
        };
        lock(&backups.state).last = Some(last);
        self.stats.asked("backup");
        match last {
            Last::Made => {
                self.stats.backups.add(1);
                self.acked("backup");
            }
            Last::Unanswered => self.stats.backups_cut.add(1),
        }
    }
}

/// Looks at the last backup. Whether it is taken for one is looked at always; what it holds, if it is to be `restored`.
pub fn verify(world: &World, workers: &mut [Worker], address: &str, restored: bool) -> Result {
    let backups = &world.backups;
    let mut state = lock(&backups.state);
    let Some(last) = state.last else { return Ok(()) };
    let finished = backups.names(true);
    let new: Vec<&String> = finished.difference(&state.known).collect();
    for partial in backups.names(false) {
        let path = backups.folder.join(&partial);
        if world.site.run(&[OsStr::new("restore"), OsStr::new("--check"), path.as_os_str()])?.0 {
            world.fail(&format!("{partial} was cut short and is taken for a backup"));
        }
    }
    match (last, new.as_slice()) {
        (Last::Made, [_]) | (Last::Unanswered, [_]) if !restored => return Ok(()),
        (_, [_]) => {}
        // Nothing looks like it, so nothing is promised.
        (Last::Unanswered, []) => {
            state.last = None;
            return Ok(());
        }
        (_, new) => world.fail(&format!("a backup was made, and new are {new:?}")),
    }
    restore(world, workers)?;
    for worker in workers {
        worker.connect(address);
    }
    state.known = finished;
    state.last = None;
    Ok(())
}

/// Restores the newest backup, checks the folder, starts a daemon on it and asks it for everything.
fn restore(world: &World, workers: &mut [Worker]) -> Result {
    let backups = &world.backups;
    let (data, beside) = (backups.restored.join("data"), &backups.restored);
    fs::create_dir_all(beside)?;
    let words = [OsStr::new("restore"), backups.folder.as_os_str(), OsStr::new("--data"), data.as_os_str()];
    let (good, said) = world.site.run(&words)?;
    if !good {
        world.fail(&format!("the last backup is not restored: {said}"));
        return Ok(());
    }
    let site = world.site.from_backup(&data, beside);
    if let Some((false, said)) = site.fsck(true)? {
        world.fail(&format!("fsck of a restored backup: {said}"));
    }
    let (daemon, _) = site.start()?;
    std::thread::scope(|scope| {
        for worker in workers {
            worker.connect(&daemon.address);
            scope.spawn(move || {
                let _ = worker.check_backup();
            });
        }
    });
    for complaint in site.complaints() {
        world.fail(&format!("the log of a restored daemon: {complaint}"));
    }
    world.stats.backups_restored.add(1);
    daemon.kill()?;
    fs::remove_dir_all(beside)?;
    Ok(())
}

impl Worker {
    /// Compares what is here with what was acknowledged before the backup began.
    fn check_backup(&mut self) -> Flow {
        let facts = self.model.backed_up();
        // A role shows only where not everybody may read.
        let mut open: BTreeSet<Reg> =
            self.model.regs.keys().filter(|reg| matches!(reg, Reg::Public(_))).cloned().collect();
        for (reg, known) in &facts {
            if *known == Val::Absent {
                open.remove(reg);
            }
        }
        for (reg, known) in &facts {
            if matches!(reg, Reg::Guest(repo) if open.contains(&Reg::Public(*repo))) {
                continue;
            }
            if let Some(found) = self.read(reg)?
                && found != *known
            {
                self.fail(format!(
                    "in a restored backup {reg:?} of {:?} is {found:?}, acknowledged was {known:?}",
                    self.repos
                ));
            }
            self.world.stats.backups_facts.add(1);
        }
        Ok(())
    }
}
