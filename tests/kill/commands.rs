//! What a client does by the command line.

use crate::{
    daemon::Said,
    model::{Reg, Val},
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

    /// Makes a token. One whose name was not heard is of no use to anybody, and no harm.
    pub fn new_token(&mut self) -> Flow {
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
