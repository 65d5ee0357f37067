//! What all clients of one installation share: the daemon, whether it was killed, findings, blobs to be mounted.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    mpsc,
};

use crate::{arena::Arena, backup::Backups, content::Content, daemon::Site, rng::Rng, stats::Stats};

pub struct World {
    pub site: Site,
    pub stats: Arc<Stats>,
    /// Whether this run cuts the power: what was not synced may be gone.
    pub power: bool,
    pub guest_secret: String,
    /// Blobs that several clients push.
    pub contents: Vec<Content>,
    pub arena: Arena,
    pub backups: Backups,
    killed: AtomicBool,
    /// Acknowledgements until the kill, where one of them is to bring it about.
    until_kill: AtomicU64,
    trigger: Mutex<Option<(mpsc::Sender<()>, Option<&'static str>)>>,
    offers: Mutex<Vec<(String, Content)>>,
    findings: Mutex<Vec<String>>,
    notes: Mutex<Vec<String>>,
}

impl World {
    pub fn new(site: Site, backups: Backups, stats: Arc<Stats>, power: bool, rng: &mut Rng) -> Self {
        let mut contents = Vec::new();
        for place in 0..40u32 {
            let most = 1 << (4 + place % 18);
            contents.push(Content::new(rng.next(), rng.between(1, most)));
        }
        Self {
            site,
            stats,
            power,
            guest_secret: String::new(),
            contents,
            arena: Arena::default(),
            backups,
            killed: AtomicBool::new(false),
            until_kill: AtomicU64::new(0),
            trigger: Mutex::default(),
            offers: Mutex::default(),
            findings: Mutex::default(),
            notes: Mutex::default(),
        }
    }

    /// Whether the daemon was killed, or is about to be.
    pub fn killed(&self) -> bool {
        self.killed.load(SeqCst)
    }

    pub fn set_killed(&self, killed: bool) {
        self.killed.store(killed, SeqCst);
    }

    /// Has the kill follow an acknowledgement at once, the `after`th from now, of one kind or of any: who hears of it.
    pub fn kill_after(&self, after: u64, kind: Option<&'static str>) -> mpsc::Receiver<()> {
        let (sender, receiver) = mpsc::channel();
        *lock(&self.trigger) = Some((sender, kind));
        self.until_kill.store(after, SeqCst);
        receiver
    }

    /// A request of this kind was acknowledged.
    pub fn acked(&self, kind: &'static str) {
        self.stats.acked.add(1);
        let mut trigger = lock(&self.trigger);
        let Some((sender, wanted)) = &*trigger else { return };
        if wanted.is_none_or(|wanted| wanted == kind)
            && self.until_kill.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)) == Ok(1)
        {
            let _ = sender.send(());
            *trigger = None;
        }
    }

    /// Takes note of a broken promise.
    pub fn fail(&self, what: &str) {
        println!("BROKEN {what}");
        lock(&self.findings).push(what.to_owned());
    }

    pub fn findings(&self) -> usize {
        lock(&self.findings).len()
    }

    /// Takes note of something odd that breaks no promise.
    pub fn note(&self, what: &str) {
        let mut notes = lock(&self.notes);
        if notes.len() < 50 {
            println!("note: {what}");
            notes.push(what.to_owned());
        }
    }

    /// Lets others mount a blob from a repository.
    pub fn offer(&self, repo: &str, content: &Content) {
        let mut offers = lock(&self.offers);
        if offers.len() >= 300 {
            offers.remove(0);
        }
        offers.push((repo.to_owned(), content.clone()));
    }

    pub fn offered(&self, rng: &mut Rng) -> Option<(String, Content)> {
        rng.pick(&lock(&self.offers)).cloned()
    }
}

pub fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
