//! Robots: accounts of an owner for machines. A robot is named `OWNER+NAME`, signs in with its tokens alone, owns nothing, belongs to
//! nothing, and has the roles it is given. Who rules its owner rules it; it goes with its owner.

use super::{
    Registry, accounts, events,
    facts::standing,
    records::{AccountKind, AccountRecord, RoleRecord, TokenRecord},
    revisions::{self, Outcome},
    tokens::NewToken,
};
use crate::{
    auth::{Grant, Limits, ManageOwner, Subject, TokenKind},
    error::{Error, Kind, Reason, Result, What},
    model::{Collaborator, OwnerId, RobotName, Scopes},
    store::{Batch, MetadataRead, Prefix, Record as _},
};

/// Robots an owner may have: they are suspended and removed with it, in one batch.
pub const MAX: usize = 100;

/// The robot of a name, in any case.
pub(crate) async fn by_name(view: &dyn MetadataRead, name: &RobotName) -> Result<Option<AccountRecord>> {
    let Some(owner) = accounts::by_name(view, name.owner()).await? else { return Ok(None) };
    of_name(view, owner.id, name.robot()).await
}

/// An owner's robot of this name of its own.
async fn of_name(view: &dyn MetadataRead, owner: OwnerId, robot: &str) -> Result<Option<AccountRecord>> {
    let found = view.scan(&AccountRecord::robot_prefix(owner, robot), None, 1).await?;
    match found.first().and_then(|(key, _)| AccountRecord::id_in(key)) {
        Some(id) => accounts::by_id(view, id).await,
        None => Ok(None),
    }
}

/// An owner's robots, by name.
pub(crate) async fn of(view: &dyn MetadataRead, owner: OwnerId) -> Result<Vec<AccountRecord>> {
    let mut robots = Vec::new();
    for (key, _) in accounts::walk(view, &AccountRecord::robots_of(owner)).await? {
        if let Some(id) = AccountRecord::id_in(&key) {
            robots.extend(accounts::by_id(view, id).await?);
        }
    }
    Ok(robots)
}

/// Whoever may be given roles and may sign in under a name: a user or a robot.
pub(crate) async fn principal(view: &dyn MetadataRead, name: &str) -> Result<Option<AccountRecord>> {
    if name.contains(RobotName::SIGN) {
        let Ok(name) = RobotName::parse(name) else { return Ok(None) };
        return by_name(view, &name).await;
    }
    let account = accounts::by_name(view, name).await?;
    Ok(account.filter(|account| account.kind == AccountKind::User))
}

/// Whether an account may act: it is not suspended, and neither is whom it belongs to. Who suspends an owner counts a revision
/// for each of its robots.
pub(crate) async fn active(view: &dyn MetadataRead, account: &AccountRecord) -> Result<bool> {
    if account.suspended {
        return Ok(false);
    }
    match account.robot_of {
        Some(owner) => Ok(accounts::by_id(view, owner).await?.is_some_and(|owner| !owner.suspended)),
        None => Ok(true),
    }
}

fn nobody(name: &str) -> Error {
    Error::not_found(What::Owner, format!("there is no robot named {name}"))
}

impl Registry {
    /// A user or a robot.
    ///
    /// # Errors
    /// Not found.
    pub(crate) async fn principal_account(&self, name: &str) -> Result<AccountRecord> {
        let found = principal(self.meta.as_ref(), name).await?;
        found.ok_or_else(|| Error::not_found(What::Owner, format!("there is no user or robot named {name}")))
    }

    /// Makes a robot of an owner.
    ///
    /// # Errors
    /// Conflict when there is one of this name, forbidden by policy over the limit.
    pub async fn create_robot(&self, grant: &Grant<ManageOwner>, robot: &str) -> Result<OwnerId> {
        let mut under = self.under(grant);
        loop {
            let owner = self.account(grant).await?;
            let name = RobotName::of(&owner.name, robot)?;
            let robots = of(self.meta.as_ref(), owner.id).await?;
            if robots.len() >= MAX {
                let text = format!("{} has {MAX} robots, which is the most an owner may have", owner.name);
                return Err(Error::new(Kind::Forbidden(Reason::Policy), text));
            }
            if of_name(self.meta.as_ref(), owner.id, robot).await?.is_some() {
                return Err(Error::new(
                    Kind::Conflict(What::Owner),
                    format!("there is a robot {name} already"),
                ));
            }
            let account = AccountRecord {
                robot_of: Some(owner.id),
                ..accounts::named(name.to_string(), AccountKind::Robot, grant.at())?
            };
            let mut batch = Batch::new();
            let named = AccountRecord::robot_prefix(owner.id, robot);
            batch.expect_prefix(named.clone(), Prefix::Empty, named);
            batch.replace(None, Some(&account));
            // What the grant expects: so nobody makes one too many, and none outlives its owner or escapes its suspension.
            revisions::bump(&mut batch, Subject::Owner(owner.id));
            let stream = events::stream_of_owner(owner.id);
            let detail = format!("robot:{} {name}", account.id);
            events::rights(&mut batch, stream, grant.caller(), "robot.create", detail);
            if under.commit(batch).await? == Outcome::Done {
                return Ok(account.id);
            }
        }
    }

    /// An owner's robots, by name.
    pub async fn robots(&self, grant: &Grant<ManageOwner>) -> Result<Vec<AccountRecord>> {
        let view = self.meta.snapshot()?;
        of(view.as_ref(), grant.target().id).await
    }

    /// An owner's robot.
    ///
    /// # Errors
    /// Not found.
    async fn robot(&self, grant: &Grant<ManageOwner>, robot: &str) -> Result<AccountRecord> {
        let found = of_name(self.meta.as_ref(), grant.target().id, robot).await?;
        found.ok_or_else(|| nobody(&format!("{}{}{robot}", grant.target().name, RobotName::SIGN)))
    }

    /// Suspends a robot, or lets it back in.
    pub async fn set_robot_suspended(
        &self,
        grant: &Grant<ManageOwner>,
        robot: &str,
        suspended: bool,
    ) -> Result<()> {
        let mut under = self.under(grant);
        loop {
            let old = self.robot(grant, robot).await?;
            if old.suspended == suspended {
                return Ok(());
            }
            let new = AccountRecord { suspended, ..old.clone() };
            let mut batch = Batch::new();
            batch.replace(Some(&old), Some(&new));
            revisions::bump(&mut batch, Subject::Principal(old.id));
            let action = if suspended { "robot.suspend" } else { "robot.resume" };
            let stream = events::stream_of_owner(grant.target().id);
            events::rights(&mut batch, stream, grant.caller(), action, format!("robot:{}", old.id));
            if under.commit(batch).await? == Outcome::Done {
                return Ok(());
            }
        }
    }

    /// Removes a robot with its tokens and its roles.
    pub async fn remove_robot(&self, grant: &Grant<ManageOwner>, robot: &str) -> Result<()> {
        let mut under = self.under(grant);
        loop {
            let old = self.robot(grant, robot).await?;
            let mut batch = Batch::new();
            self.end_robot(&mut batch, &old).await?;
            revisions::bump(&mut batch, Subject::Owner(grant.target().id));
            let stream = events::stream_of_owner(grant.target().id);
            let detail = format!("robot:{} {}", old.id, old.name);
            events::rights(&mut batch, stream, grant.caller(), "robot.remove", detail);
            if under.commit(batch).await? == Outcome::Done {
                return Ok(());
            }
        }
    }

    /// Ends the robots of an account that is removed.
    pub(super) async fn end_robots(&self, batch: &mut Batch, owner: OwnerId) -> Result<()> {
        for robot in of(self.meta.as_ref(), owner).await? {
            self.end_robot(batch, &robot).await?;
        }
        Ok(())
    }

    async fn end_robot(&self, batch: &mut Batch, robot: &AccountRecord) -> Result<()> {
        let known = revisions::read(self.meta.as_ref(), &[Subject::Principal(robot.id)]).await?;
        revisions::expect(batch, &known);
        self.end_tokens(batch, robot.id).await?;
        self.end_roles_of(batch, Collaborator::User(robot.id), None).await?;
        self.take_roles(batch, &RoleRecord::of_user(robot.id), robot.id).await?;
        batch.replace(Some(robot), None);
        revisions::bump(batch, Subject::Principal(robot.id));
        Ok(())
    }

    /// Counts a change for the robots of an account that is suspended or let back in: they are what it is.
    pub(super) async fn touch_robots(&self, batch: &mut Batch, owner: OwnerId) -> Result<()> {
        // Read before they are: one that is made meanwhile makes the batch fail.
        let known = revisions::read(self.meta.as_ref(), &[Subject::Owner(owner)]).await?;
        revisions::expect(batch, &known);
        for robot in of(self.meta.as_ref(), owner).await? {
            revisions::bump(batch, Subject::Principal(robot.id));
        }
        Ok(())
    }

    /// Makes a token for a robot.
    ///
    /// # Errors
    /// Forbidden when the caller does not rule the robot's owner itself (who administers the installation does not), and when the
    /// token would be able to do more than what the caller signed in with.
    pub async fn issue_robot_token(
        &self,
        grant: &Grant<ManageOwner>,
        robot: &str,
        scopes: Scopes,
        lifetime: u64,
        limits: Limits,
    ) -> Result<NewToken> {
        let account = self.robot(grant, robot).await?;
        let (token, record) =
            self.token_for(grant, account.id, TokenKind::Robot, scopes, lifetime, limits).await?;
        let mut under = self.under(grant);
        loop {
            let owner = self.account(grant).await?;
            let standing = standing(self.meta.as_ref(), grant.caller().actor, &owner).await?;
            if standing.rules.is_none() {
                let text = "only who owns a robot's owner can make a token for it";
                return Err(Error::new(Kind::Forbidden(Reason::Role), text));
            }
            let account = self.robot(grant, robot).await?;
            if account.id != record.user {
                return Err(nobody(robot));
            }
            let mut batch = Batch::new();
            // The robot must still be there when this is applied: its removal takes its tokens along.
            batch.expect_equals(account.key(), Some(account.value()));
            batch.replace(None, Some(&record));
            revisions::bump(&mut batch, Subject::Principal(account.id));
            let detail = format!("token:{} robot:{} {scopes}", record.id, account.id);
            let stream = events::stream_of_owner(owner.id);
            events::rights(&mut batch, stream, grant.caller(), "token.create", detail);
            if under.commit(batch).await? == Outcome::Done {
                return Ok(token);
            }
        }
    }

    /// A robot's tokens, oldest first.
    pub async fn robot_tokens(&self, grant: &Grant<ManageOwner>, robot: &str) -> Result<Vec<TokenRecord>> {
        let account = self.robot(grant, robot).await?;
        self.tokens_of(account.id).await
    }
}
