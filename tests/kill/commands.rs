//! What a client does by the command line.

use std::sync::atomic::Ordering::SeqCst;

use crate::{
    daemon::Said,
    history::{IMMUTABLE, KEPT, RETAINED},
    model::{Op, Reg, Val},
    worker::{Answer, Down, Flow, Worker},
};

impl Worker {
    /// Runs a command of this program; 0 and 1 stand for done and refused.
    pub fn command(&self, args: &[&str]) -> Answer {
        match self.world.site.cli(args) {
            Ok(Said::Done { .. }) => Answer::Status(0, String::new()),
            // It says so itself when the daemon did not answer; then it may be done.
            Ok(Said::Refused(why)) if why.contains("did not answer") => Answer::Lost(why),
            // With the daemon gone it opens the folder itself, unless another command does.
            Ok(Said::Refused(why)) if why.contains("another packhouse") && self.world.killed() => {
                Answer::Unsent
            }
            Ok(Said::Refused(why)) => Answer::Status(1, why),
            Ok(Said::Nothing) => Answer::Lost("the command was killed".to_owned()),
            Err(error) => Answer::Status(2, error.to_string()),
        }
    }

    /// What is asked of packages, their past and their policies.
    pub fn manage(&self, op: &Op) -> Answer {
        match op {
            Op::DeletePackage { repo } => self.command(&["package", "delete", self.repo(*repo)]),
            Op::RestorePackage { repo } => self.command(&["package", "restore", self.repo(*repo)]),
            Op::RestoreManifest { repo, digest } => {
                self.command(&["package", "restore", &format!("{}@{digest}", self.repo(*repo))])
            }
            Op::RestoreTag { repo, tag } => {
                self.command(&["package", "restore", &format!("{}:{tag}", self.repo(*repo))])
            }
            Op::Policy { repo, set: false } => self.command(&["policy", "clear", self.repo(*repo)]),
            Op::Policy { repo, .. } => {
                // Where the past is known to the last tag, nothing may go by itself.
                let keep = if *repo == RETAINED { KEPT } else { 100_000 }.to_string();
                let name = self.repo(*repo);
                self.command(&["policy", "set", name, "--immutable", IMMUTABLE, "--keep-last", &keep])
            }
            Op::Retain { repo } => self.command(&["policy", "run", self.repo(*repo)]),
            Op::Collect => self.command(&["gc", "--now"]),
            _ => Answer::Status(2, format!("{op:?} is no command")),
        }
    }

    /// Whether a repository has a policy of its own.
    pub fn read_policy(&mut self, repo: usize) -> Flow<Option<Val>> {
        let name = self.repo(repo);
        match self.world.site.cli(&["policy", "show", name, "--json"]) {
            Ok(Said::Done { out, .. }) => {
                Ok(Some(if out.contains(IMMUTABLE) { Val::Present } else { Val::Absent }))
            }
            // A package that is not there has none.
            Ok(Said::Refused(why)) if why.contains("there is no such repository") => Ok(Some(Val::Absent)),
            _ if self.world.killed() => Err(Down),
            Ok(Said::Refused(why)) => {
                self.fail(format!("no policy: {why}"));
                Ok(None)
            }
            Ok(Said::Nothing) => Err(Down),
            Err(error) => {
                self.fail(error);
                Err(Down)
            }
        }
    }

    /// Makes a token. One whose name was not heard is of no use to anybody, and no harm.
    pub fn new_token(&mut self) -> Flow {
        self.model.began = self.model.epoch.load(SeqCst);
        let said =
            self.world.site.cli(&["token", "create", "--user", &self.user, "--scope", "read:packages"]);
        match said {
            Ok(Said::Done { out, err }) => {
                let id = err.split_whitespace().skip_while(|word| *word != "token").nth(1).map(str::to_owned);
                let Some(id) = id else {
                    self.fail(format!("a token without a name: {err:?}"));
                    return Ok(());
                };
                self.model.tokens.insert(id.clone(), out);
                self.model.apply(vec![(Reg::Token(id), Val::Present)]);
                self.world.acked("token");
                Ok(())
            }
            Ok(_) if self.world.killed() => Err(Down),
            Ok(Said::Refused(why)) => {
                self.fail(format!("no token: {why}"));
                Ok(())
            }
            Ok(Said::Nothing) => Err(Down),
            Err(error) => {
                self.fail(error);
                Err(Down)
            }
        }
    }
}
