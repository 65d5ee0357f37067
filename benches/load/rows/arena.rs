//! Where measurements happen: the folders, the running peers, the files to push.

use std::{collections::HashMap, path::PathBuf, rc::Rc, time::Duration};

use super::{Phase, Sample};
use crate::{
    Options, Result,
    client::{End, Script, Tally, run},
    content::Bulk,
    peers::{Certificate, Instance, Peer, start},
};

/// Which disk a peer's data folder is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    Disk,
    Memory,
}

pub struct Arena {
    pub options: Options,
    pub folder: tempfile::TempDir,
    /// The same in memory, made when it is first needed.
    memory: Option<tempfile::TempDir>,
    standing: HashMap<(Peer, bool), Rc<Instance>>,
    certificate: Option<Rc<Certificate>>,
    bulk: Option<Bulk>,
    upload: Option<Bulk>,
    numbers: u64,
}

/// Where files are in memory.
const SHM: &str = "/dev/shm";

impl Arena {
    /// # Errors
    /// When the folder cannot be made.
    pub fn new(options: Options) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("packhouse-load-").tempdir_in(&options.within)?;
        Ok(Self {
            options,
            folder,
            memory: None,
            standing: HashMap::new(),
            certificate: None,
            bulk: None,
            upload: None,
            // Contents differ from run to run by it; nothing else does.
            numbers: u64::from(std::process::id()) << 12,
        })
    }

    /// A number no other content has.
    pub fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// How long a measurement lasts.
    pub fn lasts(&self, phase: Phase) -> Duration {
        let seconds = self.options.seconds;
        Duration::from_secs_f64(if phase == Phase::WarmUp { (seconds / 4.0).min(0.5) } else { seconds })
    }

    /// # Errors
    /// When there is no place for it.
    pub fn place(&mut self, place: Place) -> Result<PathBuf> {
        if place == Place::Disk {
            return Ok(self.folder.path().to_owned());
        }
        if self.memory.is_none() {
            let memory = tempfile::Builder::new().prefix("packhouse-load-").tempdir_in(SHM);
            self.memory = Some(memory.map_err(|error| format!("{SHM}: {error}"))?);
        }
        Ok(self.memory.as_ref().ok_or("no memory")?.path().to_owned())
    }

    /// # Errors
    /// When it cannot be made.
    pub fn certificate(&mut self) -> Result<Rc<Certificate>> {
        if self.certificate.is_none() {
            self.certificate = Some(Rc::new(Certificate::make(self.folder.path())?));
        }
        self.certificate.clone().ok_or_else(|| "no certificate".into())
    }

    /// The peer that all rows without a place of their own share.
    ///
    /// # Errors
    /// When it does not start.
    pub fn standing(&mut self, peer: Peer, tls: bool) -> Result<Rc<Instance>> {
        if let Some(instance) = self.standing.get(&(peer, tls)) {
            return Ok(instance.clone());
        }
        let certificate = if tls { Some(self.certificate()?) } else { None };
        let instance = Rc::new(start(peer, self.folder.path(), certificate.as_deref())?);
        self.standing.insert((peer, tls), instance.clone());
        Ok(instance)
    }

    /// A peer of its own, over an empty folder.
    ///
    /// # Errors
    /// When it does not start.
    pub fn fresh(&mut self, peer: Peer, place: Place) -> Result<Instance> {
        let within = self.place(place)?;
        start(peer, &within, None)
    }

    /// Ends the peers that run.
    pub fn clear(&mut self) {
        self.standing.clear();
    }

    /// The big file that is pulled.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn bulk(&mut self) -> Result<&mut Bulk> {
        if self.bulk.is_none() {
            let path = self.folder.path().join("bulk");
            self.bulk = Some(Bulk::make(&path, 1, self.options.bulk_size)?);
        }
        self.bulk.as_mut().ok_or_else(|| "no file".into())
    }

    /// A big file that nobody has seen. Another one than the one that is pulled, for peers may have linked that.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn upload(&mut self) -> Result<&Bulk> {
        let number = self.number();
        if self.upload.is_none() {
            let path = self.folder.path().join("upload");
            self.upload = Some(Bulk::make(&path, 2, self.options.bulk_size)?);
        }
        let upload = self.upload.as_mut().ok_or("no file")?;
        upload.renew(number)?;
        Ok(upload)
    }
}

/// Runs a script against a peer, and says what that took.
///
/// # Errors
/// When the run fails.
pub fn measured(
    instance: &Instance,
    connections: usize,
    script: &mut dyn Script,
    end: End,
) -> Result<(Tally, Sample)> {
    instance.process.forget_peak();
    let before = instance.process.usage()?;
    let tally = run(&instance.target, connections, script, end)
        .map_err(|error| format!("{}: {error}\n{}", instance.peer.name(), instance.log()))?;
    let after = instance.process.usage()?;
    let sample = Sample::of(&tally, tally.received as f64, before, after);
    Ok((tally, sample))
}
