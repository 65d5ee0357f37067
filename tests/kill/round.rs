//! The life of one data folder: set up, then rounds of load, kill, start and check, then a check of everything.

use std::{path::PathBuf, sync::Arc, time::Duration};

use rustix::process::Signal;

use crate::{
    Options, Result, arena,
    backup::{self, Backups},
    daemon::{Daemon, Site},
    history::RETAINED,
    http::{Body, Http},
    model::Model,
    place::Place,
    rng::Rng,
    stats::Stats,
    worker::Worker,
    world::World,
};

/// Bytes pushed after which a fresh folder is begun.
const FULL: u64 = 2500 << 20;
/// How long a round waits for a backup.
const LONGEST_BACKUP: Duration = Duration::from_secs(8);
/// Rounds between two checks of the folder by the program itself.
const CHECK_EVERY: u64 = 6;

/// What a kill may follow at once.
const KINDS: [Option<&str>; 18] = [
    None,
    None,
    Some("post"),
    Some("finish"),
    Some("mount"),
    Some("put"),
    Some("contended"),
    Some("delete-tag"),
    Some("delete-manifest"),
    Some("delete-blob"),
    Some("revoke"),
    Some("visibility"),
    Some("delete-package"),
    Some("restore-package"),
    Some("restore-manifest"),
    Some("policy"),
    Some("retain"),
    Some("backup"),
];

pub struct Folder<'a> {
    options: &'a Options,
    rng: Rng,
    world: Arc<World>,
    workers: Vec<Worker>,
    place: Place,
    seed: [u64; 2],
    rounds: u64,
}

impl<'a> Folder<'a> {
    pub fn new(options: &'a Options, seed: u64, number: u64, stats: &Arc<Stats>) -> Result<Self> {
        let mut rng = Rng::of(&[seed, number]);
        let within = options.within.as_deref();
        let place = if options.power { Place::loops(within, &mut rng)? } else { Place::folder(within)? };
        // In one half of the folders what is deleted is soon gone for good; in the other all of it comes back if asked.
        let keep = ["1s", "30d"][rng.index(2)];
        let site = Site::new(&options.program(), &place.data, place.beside(), keep);
        let backups = Backups::beside(&place.data, place.beside());
        let world = World::new(site, backups, Arc::clone(stats), options.power, &mut rng);
        stats.worlds.add(1);
        let seed = [seed, number];
        Ok(Self { options, rng, world: Arc::new(world), workers: Vec::new(), place, seed, rounds: 0 })
    }

    pub fn keep(&mut self) -> Result<PathBuf> {
        self.place.keep()
    }

    pub fn summary(&self) -> String {
        let held: usize = self.workers.iter().map(Worker::holds).sum();
        format!(
            "folder {}: {}, {} rounds, {held} facts held at its end",
            self.seed[1], self.place.shown, self.rounds
        )
    }

    /// Lives until `over`, or until the folder is full. Ends with a check of everything.
    pub fn live(&mut self, over: impl Fn() -> bool) -> Result {
        let mut daemon = self.set_up()?;
        let pushed = self.world.stats.pushed.get();
        loop {
            self.load_and_kill(daemon)?;
            self.rounds += 1;
            let full = self.world.stats.pushed.get() - pushed > FULL;
            let last = over() || full || self.rounds >= self.options.kills_per_folder;
            if last || self.rounds.is_multiple_of(CHECK_EVERY) {
                self.check_folder()?;
            }
            daemon = self.start()?;
            self.verify(&daemon, last)?;
            if last {
                return daemon.kill();
            }
        }
    }

    /// The first start, accounts, and what all need.
    fn set_up(&mut self) -> Result<Daemon> {
        let daemon = self.start()?;
        let site = &self.world.site;
        site.let_commands(true);
        let scopes = ["--scope", "read:packages", "--scope", "write:packages", "--scope", "delete:packages"];
        let token = |user: &str| site.admin(&[&["token", "create", "--user", user], &scopes[..]].concat());
        site.admin(&["user", "add", "guest"])?;
        let mut secrets = Vec::new();
        for id in 0..self.options.clients {
            let user = format!("client{id}");
            site.admin(&["user", "add", &user])?;
            if id == 0 {
                site.admin(&["org", "add", "kill", "--owner", &user])?;
            }
            site.admin(&["org", "member", "add", "kill", &user, "--owner"])?;
            secrets.push((user.clone(), token(&user)?));
        }
        let guest_secret = token("guest")?;
        Arc::get_mut(&mut self.world).ok_or("the world is shared already")?.guest_secret = guest_secret;
        for (id, (user, secret)) in secrets.into_iter().enumerate() {
            let repos = (0..=RETAINED).map(|repo| format!("kill/c{id}-{repo}")).collect();
            let http = || Http::new(&daemon.address);
            self.workers.push(Worker {
                id,
                user,
                secret,
                repos,
                model: Model {
                    keeps: self.world.site.keep != "1s",
                    epoch: Arc::clone(&self.world.backups.epoch),
                    ..Model::default()
                },
                rng: Rng::of(&[0]),
                world: Arc::clone(&self.world),
                http: http(),
                anonymous: http(),
                guest: http(),
                address: String::new(),
            });
        }
        for worker in &mut self.workers {
            worker.connect(&daemon.address);
        }
        let first = self.workers.first_mut().ok_or("no clients")?;
        let empty = crate::content::digest_of(arena::EMPTY);
        let target = format!("/v2/{}/blobs/uploads/?digest={empty}", arena::REPO);
        match first.http.send("POST", &target, &[], Body::Bytes(arena::EMPTY)) {
            Ok(reply) if reply.status == 201 => {}
            other => return Err(format!("the first push: {other:?}").into()),
        }
        Ok(daemon)
    }

    /// Starts the daemon; now and then it is killed on the way up first.
    fn start(&mut self) -> Result<Daemon> {
        while self.rng.chance(12) {
            let after = Duration::from_millis(self.rng.below(70));
            let daemon = self.world.site.begin()?;
            std::thread::sleep(after);
            if self.options.power {
                self.cut(daemon)?;
            } else {
                daemon.kill()?;
            }
            self.world.stats.stillborn.add(1);
        }
        let (daemon, took) = self.world.site.start()?;
        self.world.stats.started(took);
        Ok(daemon)
    }

    fn load_and_kill(&mut self, daemon: Daemon) -> Result {
        let world = Arc::clone(&self.world);
        world.set_killed(false);
        let round = self.rounds;
        let seed = self.seed;
        // Mostly short, since what is interesting happens at the ends.
        let span = Duration::from_millis(
            self.rng.between(1, 4) * self.rng.between(3, self.options.longest_round.max(16) / 4),
        );
        // Half of the kills follow an acknowledgement at once, of the rare kinds as often as of the common ones; and now
        // and then few clients are at work, whose promises no flush for others keeps.
        let kind = KINDS[self.rng.index(KINDS.len())];
        let after =
            if self.rng.chance(50) { self.rng.between(1, if kind.is_none() { 40 } else { 3 }) } else { 0 };
        // Some backups get the time to be made.
        let backup = self.rng.chance(40).then(|| span.mul_f64(self.rng.below(80) as f64 / 100.0));
        let whole = backup.is_some() && self.rng.chance(50);
        let (span, after, kind) =
            if whole { (LONGEST_BACKUP, 1, Some("backup")) } else { (span, after, kind) };
        let kill_at = world.kill_after(after, kind);
        let busy =
            if whole || self.rng.chance(30) { self.rng.between(1, 2) as usize } else { self.workers.len() };
        let first = self.rng.index(self.workers.len());
        self.workers.rotate_left(first);
        std::thread::scope(|scope| -> Result {
            for worker in self.workers.iter_mut().take(busy) {
                worker.connect(&daemon.address);
                worker.rng = Rng::of(&[seed[0], seed[1], round, worker.id as u64]);
                scope.spawn(move || while !worker.world.killed() && worker.step().is_ok() {});
            }
            if let Some(after) = backup {
                let world = &world;
                scope.spawn(move || world.back_up(after));
            }
            let _ = kill_at.recv_timeout(span);
            // Known to all before anything can fail by it.
            world.set_killed(true);
            world.site.let_commands(false);
            if self.options.power {
                // The commands first: one that finds no daemon would open the folder itself.
                world.site.signal_commands(Signal::STOP);
                daemon.freeze()?;
                self.place.cut()?;
                daemon.kill()?;
                world.site.signal_commands(Signal::KILL);
            } else {
                daemon.kill()?;
                if self.rng.chance(50) {
                    world.site.signal_commands(Signal::KILL);
                }
            }
            Ok(())
        })?;
        world.stats.kills.add(1);
        if self.options.power {
            self.place.restore()?;
        }
        self.stop_if_broken()
    }

    fn cut(&self, daemon: Daemon) -> Result {
        daemon.freeze()?;
        self.place.cut()?;
        daemon.kill()?;
        self.place.restore()
    }

    fn verify(&mut self, daemon: &Daemon, everything: bool) -> Result {
        self.world.set_killed(false);
        self.world.site.let_commands(true);
        let mut http = None;
        std::thread::scope(|scope| {
            for worker in &mut self.workers {
                worker.connect(&daemon.address);
                http.get_or_insert_with(|| Http::basic(&daemon.address, &worker.user, &worker.secret));
                scope.spawn(move || {
                    let _ = worker.verify(everything);
                });
            }
        });
        if let Some(http) = &mut http {
            arena::verify(&self.world, http);
        }
        let restored = everything || self.rng.chance(30);
        backup::verify(&self.world, &mut self.workers, &daemon.address, restored)?;
        for complaint in self.world.site.complaints() {
            // Nothing in this workload is the program's own fault.
            self.world.fail(&format!("the daemon's log: {complaint}"));
        }
        self.stop_if_broken()
    }

    /// The program's own check of its folder, while nothing runs.
    fn check_folder(&self) -> Result {
        if let Some((clean, said)) = self.world.site.fsck(true)? {
            self.world.stats.checks.add(1);
            if !clean {
                self.world.fail(&format!("fsck: {said}"));
            }
        }
        self.stop_if_broken()
    }

    fn stop_if_broken(&self) -> Result {
        match self.world.findings() {
            0 => Ok(()),
            count => {
                let [seed, number] = self.seed;
                Err(format!(
                    "{count} findings in folder {number} ({}), round {}, of seed {seed}",
                    self.place.shown, self.rounds
                )
                .into())
            }
        }
    }
}
