//! Doing what a command asks.

use std::sync::Arc;

use super::{Answer, Command, Feed, Line, Outcome, backup, done, fsck, layout, scrub, teams::Principal};
use crate::{
    auth::{Caller, Grant, Manage, ManageOwner, Operate, Secret},
    error::{Error, Kind, Result},
    model::{OwnerName, PackageName, Role, Timestamp},
    registry::{
        Registry, Told, Trust,
        accounts::NewUser,
        fsck::FsckOptions,
        generated_password,
        records::{AccountKind, AccountRecord, Membership},
    },
};

/// Runs a command as the operator; what it says while it runs goes to `feed`.
pub async fn execute(registry: &Registry, command: Command, feed: Feed) -> Outcome {
    let caller = Caller::operator(registry.now(), "command-line".into());
    let caller = Caller { trail: Some(Arc::default()), ..caller };
    let desk = Desk { registry, caller, feed };
    let outcome = desk.run(command).await;
    if let Err(error) = &outcome {
        desk.tell(error).await;
    }
    outcome.map_err(|error| {
        if error.is_fault() {
            tracing::error!(%error, "an administration command failed");
            return error.to_string();
        }
        error.public().to_owned()
    })
}

pub(super) struct Desk<'a> {
    pub(super) registry: &'a Registry,
    pub(super) caller: Caller,
    feed: Feed,
}

pub(super) fn table<const N: usize>(columns: [&str; N], rows: Vec<[String; N]>) -> Result<Answer> {
    let columns = columns.map(str::to_owned).to_vec();
    Ok(Answer { table: Some((columns, rows.into_iter().map(Into::into).collect())), ..Answer::default() })
}

impl Desk<'_> {
    async fn run(&self, command: Command) -> Result<Answer> {
        let notes = |text: &str| self.progress(text);
        match command {
            Command::UserAdd { name, admin, password } => self.user_add(&name, admin, password).await,
            Command::UserPassword { name, password } => self.user_password(&name, password).await,
            Command::Factor(command) => self.factor(command).await,
            Command::UserList => self.accounts(AccountKind::User).await,
            Command::UserSuspend { name, suspended } => self.user_suspend(&name, suspended).await,
            Command::UserRemove { name } => {
                self.registry.remove_account(&self.system()?, &name, AccountKind::User).await?;
                done(format!("{name} is removed"))
            }
            Command::OrgAdd { name, owner } => {
                let parsed = OwnerName::parse(&name)?;
                self.registry.create_organization(&self.system()?, &parsed, &owner).await?;
                done(format!("{name} is an organization, owned by {owner}"))
            }
            Command::OrgList => self.accounts(AccountKind::Organization).await,
            Command::OrgMember { org, user, owner } => self.org_member(&org, &user, owner).await,
            Command::OrgMembers { org } => self.org_members(&org).await,
            Command::OwnerAnonymousReads { name, allowed } => {
                self.registry.set_anonymous_reads(&self.owner(&name).await?, allowed).await?;
                let who = if allowed { "everybody may" } else { "only those who sign in may" };
                done(format!("{who} read the public packages of {name}"))
            }
            Command::Token(command) => self.token(command).await,
            Command::Gc(command) => super::gc::execute(self.registry, &self.caller, command).await,
            Command::PackageList { owner } => self.package_list(owner.as_deref()).await,
            Command::PackageVisibility { package, visibility } => {
                self.registry.set_visibility(&self.package(&package).await?, visibility).await?;
                done(format!("{package} is {visibility}"))
            }
            Command::PackageGrant { package, principal, role } => {
                self.package_grant(&package, &principal, role).await
            }
            Command::ClockShow => self.clock_show(),
            Command::ClockAccept => self.clock_accept().await,
            Command::Export { package, into, archive } => {
                layout::export(self.registry, &self.caller, &package, into, archive, &notes).await
            }
            Command::Import { package, from } => {
                layout::import(self.registry, &self.caller, &package, from, &notes).await
            }
            Command::Backup { into, verify } => {
                backup::backup(self.registry, &self.caller, into, verify, &notes).await
            }
            Command::Scrub { now } => scrub::scrub(self.registry, &self.system()?, now, &self.feed).await,
            Command::Fsck { deep, repair } => {
                let options = FsckOptions { deep, repair };
                fsck::fsck(self.registry, &self.system()?, options, &self.feed).await
            }
            Command::Version(command) => self.version(command).await,
            Command::Policy(command) => self.policy(command).await,
            Command::Org(command) => self.org(command).await,
            Command::Team(command) => self.team(command).await,
            Command::Repo(command) => self.repo(command).await,
            Command::Link(command) => self.link(command).await,
            Command::Workflow(command) => self.workflow(command).await,
            Command::Robot(command) => self.robot(command).await,
            Command::PackageRoles { package } => self.package_roles(&package).await,
            Command::Explain(asked) => self.explain(asked).await,
            Command::Audit(asked) => self.audit(asked).await,
            Command::Name(command) => self.name(command).await,
        }
    }

    /// Tells the audit log of what even the operator may not do.
    async fn tell(&self, refused: &Error) {
        if let Some(told) = Told::refusal(&self.caller, refused, "command line")
            && self.registry.tell(told)
            && let Err(error) = self.registry.write_told().await
        {
            tracing::warn!(%error, "a denial could not be written to the audit log");
        }
    }

    pub(super) fn system(&self) -> Result<Grant<Operate>> {
        self.registry.policy().authorize_system(&self.caller)
    }

    /// Says how far it is. A line that finds no room is followed by another.
    fn progress(&self, text: &str) {
        drop(self.feed.try_send(Line::Progress(text.to_owned())));
    }

    fn clock_show(&self) -> Result<Answer> {
        match self.registry.time().trust {
            Trust::Steady => done("the clock shows what it should"),
            trust => {
                let text = format!(
                    "{trust}: nothing is deleted by time until it is right again, or until `packhouse clock accept`"
                );
                Err(Error::new(Kind::Precondition, text))
            }
        }
    }

    async fn clock_accept(&self) -> Result<Answer> {
        match self.registry.accept_clock(&self.system()?).await? {
            Trust::Steady => done("the clock shows what it should; there was nothing to accept"),
            trust => done(format!("{trust}; it is accepted, and what is due by it is deleted from now on")),
        }
    }

    pub(super) async fn owner(&self, name: &str) -> Result<Grant<ManageOwner>> {
        self.registry.policy().authorize_owner(&self.caller, name).await
    }

    pub(super) async fn package(&self, name: &str) -> Result<Grant<Manage>> {
        self.registry.policy().authorize(&self.caller, &PackageName::parse(name)?).await
    }

    async fn user_add(&self, name: &str, admin: bool, password: Option<String>) -> Result<Answer> {
        let parsed = OwnerName::parse(name)?;
        let (secret, made) = match password {
            Some(password) => (Secret::new(password), false),
            None => (generated_password()?, true),
        };
        let user = NewUser { name: &parsed, administrator: admin, password: Some(&secret) };
        self.registry.create_user(&self.system()?, user).await?;
        if !made {
            return done(format!("{name} is a user"));
        }
        let note = format!("{name} is a user; this password is shown once");
        Ok(Answer { value: Some(secret.reveal().to_owned()), note: Some(note), ..Answer::default() })
    }

    async fn user_password(&self, name: &str, password: String) -> Result<Answer> {
        self.registry.set_password(&self.owner(name).await?, &Secret::new(password)).await?;
        done(format!("{name} has a new password; whatever was signed in with the old one is signed out"))
    }

    async fn user_suspend(&self, name: &str, suspended: bool) -> Result<Answer> {
        self.registry.set_suspended(&self.system()?, name, suspended).await?;
        let now = if suspended { "suspended" } else { "no longer suspended" };
        done(format!("{name} is {now}"))
    }

    /// Everything of one kind of account, in order of names.
    async fn accounts(&self, kind: AccountKind) -> Result<Answer> {
        let system = self.system()?;
        let mut rows = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page: Vec<AccountRecord> = self.registry.accounts(&system, after.as_deref(), 256).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.name.clone());
            rows.extend(page.iter().filter(|account| account.kind == kind).map(|account| {
                let state = if account.suspended { "suspended" } else { "active" };
                let admin = if account.administrator { "admin" } else { "" };
                [account.name.clone(), state.into(), admin.into(), Timestamp(account.created).to_string()]
            }));
        }
        table(["name", "state", "installation", "created"], rows)
    }

    async fn org_member(&self, org: &str, user: &str, owner: Option<bool>) -> Result<Answer> {
        let membership = owner.map(|owner| if owner { Membership::Owner } else { Membership::Member });
        self.registry.set_member(&self.owner(org).await?, user, membership).await?;
        done(match owner {
            Some(true) => format!("{user} owns {org}"),
            Some(false) => format!("{user} is a member of {org}"),
            None => format!("{user} is not a member of {org}"),
        })
    }

    async fn org_members(&self, org: &str) -> Result<Answer> {
        let members = self.registry.members(&self.owner(org).await?).await?;
        let rows = members.into_iter().map(|member| {
            let role = if member.membership == Membership::Owner { "owner" } else { "member" };
            [member.user, role.to_owned()]
        });
        table(["user", "role"], rows.collect())
    }

    async fn package_list(&self, owner: Option<&str>) -> Result<Answer> {
        if let Some(owner) = owner {
            // A name that nobody has is a mistake, not an owner without packages.
            self.owner(owner).await?;
        }
        let mut rows = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.registry.packages_of(&self.caller, owner, after.as_deref(), 256).await?;
            after = page.packages.last().map(|package| package.name.to_string());
            rows.extend(page.packages.iter().map(|package| {
                let ecosystem = package.name.ecosystem().word().to_owned();
                [package.name.to_string(), ecosystem, package.visibility.to_string()]
            }));
            if !page.more {
                return table(["package", "type", "visibility"], rows);
            }
        }
    }

    async fn package_grant(&self, package: &str, principal: &str, role: Option<Role>) -> Result<Answer> {
        let to = Principal::parse(principal)?;
        let grant = self.package(package).await?;
        match &to {
            Principal::User(name) => self.registry.set_role(&grant, name, role).await?,
            Principal::Group(group) => self.registry.set_group_role(&grant, group, role).await?,
            Principal::Repository(name) => self.workflow_grant(&grant, name, role).await?,
        }
        done(match role {
            Some(role) => format!("{principal} has the role {role} on {package}"),
            None => format!("{principal} has no role of its own on {package}"),
        })
    }

    async fn package_roles(&self, package: &str) -> Result<Answer> {
        let grant = self.package(package).await?;
        let users = self.registry.roles(&grant).await?.into_iter();
        let users = users.map(|granted| [format!("user:{}", granted.user), granted.role.word().to_owned()]);
        let groups = self.registry.group_roles(&grant).await?.into_iter();
        let groups = groups.map(|granted| [granted.group, granted.role.word().to_owned()]);
        let workflows = self.registry.workflows(&grant).await?.into_iter();
        let workflows = workflows.map(|(name, role)| [format!("repo:{name}"), role.word().to_owned()]);
        table(["principal", "role"], users.chain(groups).chain(workflows).collect())
    }
}
