//! Robots of users and organizations.

use serde::{Deserialize, Serialize};

use super::{
    Answer, AskedLimits, done,
    execute::{Desk, table},
};
use crate::{
    error::Result,
    model::{RobotName, Scope, Scopes, Timestamp},
};

/// What can be asked of robots. Each is named `OWNER+NAME`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum RobotCommand {
    /// Makes one.
    Create {
        /// Which.
        robot: String,
    },
    /// Lists an owner's.
    List {
        /// Whose.
        owner: String,
    },
    /// Suspends one, or lets it back in.
    Suspend {
        /// Which.
        robot: String,
        /// Suspend it, or not.
        suspended: bool,
    },
    /// Removes one.
    Remove {
        /// Which.
        robot: String,
    },
    /// Makes a token for one.
    Token {
        /// Which.
        robot: String,
        /// What for.
        scopes: Vec<Scope>,
        /// Seconds it lives.
        lifetime: u64,
        /// What it is limited to besides.
        limits: AskedLimits,
    },
}

impl Desk<'_> {
    pub(super) async fn robot(&self, command: RobotCommand) -> Result<Answer> {
        match command {
            RobotCommand::Create { robot } => {
                let name = RobotName::parse(&robot)?;
                self.registry.create_robot(&self.owner(name.owner()).await?, name.robot()).await?;
                done(format!(
                    "{name} is a robot; it may what it is given: packhouse package grant PACKAGE {name} write"
                ))
            }
            RobotCommand::List { owner } => self.robot_list(&owner).await,
            RobotCommand::Suspend { robot, suspended } => {
                let name = RobotName::parse(&robot)?;
                let owner = self.owner(name.owner()).await?;
                self.registry.set_robot_suspended(&owner, name.robot(), suspended).await?;
                done(format!("{name} is {}", if suspended { "suspended" } else { "no longer suspended" }))
            }
            RobotCommand::Remove { robot } => {
                let name = RobotName::parse(&robot)?;
                self.registry.remove_robot(&self.owner(name.owner()).await?, name.robot()).await?;
                done(format!("{name} is removed, with its tokens and its roles"))
            }
            RobotCommand::Token { robot, scopes, lifetime, limits } => {
                self.robot_token(&RobotName::parse(&robot)?, Scopes::of(&scopes), lifetime, &limits).await
            }
        }
    }

    async fn robot_list(&self, owner: &str) -> Result<Answer> {
        let robots = self.registry.robots(&self.owner(owner).await?).await?;
        let rows = robots.into_iter().map(|robot| {
            let state = if robot.suspended { "suspended" } else { "active" };
            [robot.name, state.to_owned(), Timestamp(robot.created).to_string()]
        });
        table(["robot", "state", "created"], rows.collect())
    }

    pub(super) async fn robot_token(
        &self,
        name: &RobotName,
        scopes: Scopes,
        lifetime: u64,
        limits: &AskedLimits,
    ) -> Result<Answer> {
        let owner = self.owner(name.owner()).await?;
        let limits = self.registry.limits_named(&self.caller, &limits.named()?).await?;
        let token = self.registry.issue_robot_token(&owner, name.robot(), scopes, lifetime, limits).await?;
        let note = format!("token {} of {name}, good until {}; it is shown once", token.id, token.expires);
        Ok(Answer { value: Some(token.secret.reveal().to_owned()), note: Some(note), ..Answer::default() })
    }
}
