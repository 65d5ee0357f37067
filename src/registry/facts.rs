//! Facts about callers and names, compiled from records and kept while their revisions hold.
//!
//! Nothing here decides: `auth::policy` does. What is kept is checked against revisions read afresh on every request, and
//! it is compiled from a snapshot that the revisions were read in too, so a fact is never older than its revision. What
//! is not there is not kept: a name that is free now may be taken a moment later, and counts no revision.

mod workflows;

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use quick_cache::sync::Cache;

use super::{
    accounts, exchange, factors,
    groups::Groups,
    names, packages,
    records::{AccountKind, AccountRecord, Membership, PackageRecord, State},
    repositories, revisions, robots, teams, tokens,
};
use crate::{
    auth::{
        self, Acl, Actor, Caller, Credential, Facts, Given, Identities, Identity, Keyring, OwnerTarget,
        RepositoryFacts, Revision, Rule, Secret, Subject, TeamFacts, TeamTarget, TokenHash,
    },
    error::Result,
    model::{OwnerId, PackageId, PackageName, Role, Timestamp, TokenId},
    store::{MetadataRead, MetadataStore},
};

pub(crate) use workflows::workflow_given;

/// Decisions, tokens and users that are kept; some hundred bytes each.
const KEPT: usize = 16 << 10;

/// Where policies and authenticators read.
pub struct Directory {
    meta: Arc<dyn MetadataStore>,
    anonymous_reads: bool,
    facts: Cache<(Actor, PackageName), Facts>,
    tokens: Cache<TokenHash, (Identity, Credential)>,
    tokens_by_id: Cache<TokenId, (Identity, Credential)>,
    users: Cache<OwnerId, Identity>,
    keyring: Mutex<Option<Arc<Keyring>>>,
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Directory")
    }
}

impl Directory {
    /// A directory over a store. `anonymous_reads` is the installation's setting.
    pub fn new(meta: Arc<dyn MetadataStore>, anonymous_reads: bool) -> Self {
        Self {
            meta,
            anonymous_reads,
            facts: Cache::new(KEPT),
            tokens: Cache::new(KEPT),
            tokens_by_id: Cache::new(KEPT),
            users: Cache::new(KEPT),
            keyring: Mutex::new(None),
        }
    }

    async fn load_facts(
        &self,
        view: &dyn MetadataRead,
        actor: Actor,
        owner: &str,
        which: Which<'_>,
    ) -> Result<Facts> {
        let Some(owner) = accounts::by_name(view, owner).await? else {
            if let Which::Package(name) = which
                && let Some(owner) = names::moved(view, owner).await?
            {
                return self.load_renamed(view, actor, &owner, name).await;
            }
            return Ok(Facts { anonymous_reads: self.anonymous_reads, ..Facts::default() });
        };
        self.load_below(view, actor, owner, which).await
    }

    /// The same of a package that is asked for by a name its owner has no more: who may read it, may; nobody may do more.
    async fn load_renamed(
        &self,
        view: &dyn MetadataRead,
        actor: Actor,
        owner: &AccountRecord,
        name: &PackageName,
    ) -> Result<Facts> {
        let name = names::under(name, owner);
        let facts = self.load_below(view, actor, owner.clone(), Which::Package(&name)).await?;
        if facts.package.as_ref().is_none_or(|package| package.pending) {
            return Ok(Facts { anonymous_reads: self.anonymous_reads, ..Facts::default() });
        }
        let role = facts.role.map(|_| Role::Read);
        let renamed = Some(name);
        Ok(Facts { role, owner_role: None, belongs: false, may_create: false, renamed, ..facts })
    }

    async fn load_below(
        &self,
        view: &dyn MetadataRead,
        actor: Actor,
        owner: AccountRecord,
        which: Which<'_>,
    ) -> Result<Facts> {
        let package = match which {
            Which::Package(name) => packages::by_name(view, name).await?,
            Which::Deleted(name, id) => packages::deleted_by_name(view, name, id).await?,
            Which::Owner => None,
        };
        let package = package.filter(|package| package.owner == owner.id);
        let standing = standing(view, actor, &owner).await?;
        let mut found = None;
        if let Some(package) = &package {
            let all = all_roles(view, actor, package, &standing).await?;
            found = Given::greatest(&all);
        }
        let mut subjects = vec![Subject::Owner(owner.id)];
        subjects.extend(package.as_ref().map(|package| Subject::Package(package.id)));
        subjects.extend(package.as_ref().and_then(PackageRecord::inherits).map(Subject::Repository));
        match actor {
            Actor::User(user) => subjects.push(Subject::Principal(user)),
            // Whoever's the repository is may be suspended, and its workflows with it.
            Actor::Repository(id) => {
                subjects.push(Subject::Repository(id));
                let repository = repositories::by_id(view, id).await?;
                subjects.extend(repository.map(|repository| Subject::Principal(repository.owner)));
            }
            Actor::Anonymous | Actor::Operator | Actor::Job(_) => {}
        }
        subjects.dedup();
        Ok(Facts {
            role: found.map(|given| given.role),
            rule: found.map(|given| given.rule),
            package: package.map(|package| package.target()).transpose()?,
            owner_role: standing.owner_role(),
            belongs: standing.belongs,
            may_create: standing.may_create,
            anonymous_reads: self.anonymous_reads && owner.anonymous_reads,
            owner: Some(OwnerTarget { id: owner.id, name: owner.folded() }),
            renamed: None,
            revisions: revisions::read(view, &subjects).await?,
            stamp: None,
        })
    }

    async fn load_token(
        &self,
        view: &dyn MetadataRead,
        id: TokenId,
    ) -> Result<Option<(Identity, Credential)>> {
        let Some(token) = tokens::by_id(view, id).await? else { return self.load_workflow(view, id).await };
        let Some(identity) = self.load_user(view, token.user).await? else { return Ok(None) };
        let credential = Credential {
            id,
            kind: token.kind()?,
            scopes: token.scopes(),
            limits: token.limits.clone().map(Arc::new),
            expires: crate::model::Timestamp(token.expires),
            sign_in: token.sign_in,
            revision: one(view, Subject::Credential(id)).await?,
        };
        Ok(Some((identity, credential)))
    }

    async fn load_user(&self, view: &dyn MetadataRead, id: OwnerId) -> Result<Option<Identity>> {
        let Some(account) = accounts::by_id(view, id).await? else { return Ok(None) };
        if account.kind == AccountKind::Organization {
            return Ok(None);
        }
        let active = robots::active(view, &account).await?;
        Ok(Some(Identity {
            actor: Actor::User(id),
            name: account.folded(),
            active,
            administrator: account.administrator,
            sign_in: account.sign_in,
            second_factor: factors::of(view, id).await?.is_some_and(|factor| factor.confirmed),
            revision: one(view, Subject::Principal(id)).await?,
        }))
    }

    async fn fresh(&self, known: &(Identity, Credential)) -> Result<bool> {
        revisions::hold(self.meta.as_ref(), &[known.0.revision, known.1.revision]).await
    }

    fn known_keyring(&self) -> Option<Arc<Keyring>> {
        self.keyring.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets the signing keys, so that the next use reads them.
    pub(crate) fn forget_keyring(&self) {
        *self.keyring.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// What facts are asked about, below an owner.
#[derive(Clone, Copy)]
enum Which<'a> {
    /// The owner alone.
    Owner,
    /// The package of a name.
    Package(&'a PackageName),
    /// The deleted package of an id, or the one of a name that was deleted last.
    Deleted(&'a PackageName, Option<PackageId>),
}

async fn one(view: &dyn MetadataRead, of: Subject) -> Result<Revision> {
    let read = revisions::read(view, &[of]).await?;
    Ok(read.into_iter().next().unwrap_or(Revision { of, number: 0 }))
}

/// What somebody is towards an owner.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Standing {
    /// Not suspended.
    pub(crate) active: bool,
    /// The owner itself, or of the organization.
    pub(crate) belongs: bool,
    /// By which it rules the owner and all its packages.
    pub(crate) rules: Option<Rule>,
    /// The organization's base role, for its members.
    pub(crate) base_role: Option<Role>,
    pub(crate) may_create: bool,
}

impl Standing {
    pub(crate) fn owner_role(&self) -> Option<Role> {
        self.rules.map(|_| Role::Admin)
    }

    /// Whether it may read whatever the owner has.
    pub(crate) fn reads_all(&self) -> bool {
        self.rules.is_some() || self.base_role.is_some()
    }
}

/// A user rules its own name space, an organization's owners rule the organization's, its members may create there, the
/// operator may everything. A robot may what it is given. An administrator of the installation is nobody special here.
pub(crate) async fn standing(
    view: &dyn MetadataRead,
    actor: Actor,
    owner: &AccountRecord,
) -> Result<Standing> {
    let member =
        Standing { active: true, belongs: true, rules: None, base_role: owner.base_role, may_create: true };
    let rules = |rule| Standing { rules: Some(rule), ..member };
    let user = match actor {
        Actor::Anonymous | Actor::Job(_) => return Ok(Standing::default()),
        Actor::Operator => return Ok(Standing { base_role: None, ..rules(Rule::Operator) }),
        Actor::User(user) => user,
        Actor::Repository(id) => return workflows::workflow_standing(view, id, owner).await,
    };
    let account = if user == owner.id { Some(owner.clone()) } else { accounts::by_id(view, user).await? };
    let Some(account) = account else { return Ok(Standing::default()) };
    if !robots::active(view, &account).await? {
        return Ok(Standing::default());
    }
    if let Some(of) = account.robot_of {
        return Ok(Standing { active: true, belongs: of == owner.id, ..Standing::default() });
    }
    if user == owner.id {
        return Ok(rules(Rule::Own));
    }
    let membership = match owner.kind {
        AccountKind::User | AccountKind::Robot => None,
        AccountKind::Organization => accounts::membership(view, owner.id, user).await?,
    };
    Ok(match membership {
        Some(Membership::Owner) => rules(Rule::OrganizationOwner),
        Some(Membership::Member) => member,
        None => Standing { active: true, ..Standing::default() },
    })
}

/// Every role somebody has on a package, and where it comes from.
pub(crate) async fn all_roles(
    view: &dyn MetadataRead,
    actor: Actor,
    package: &PackageRecord,
    standing: &Standing,
) -> Result<Vec<Given>> {
    let given = match actor {
        Actor::User(user) if standing.active => Groups::of(view, user).given(package).await?,
        _ => workflow_given(view, actor, package).await?.into_iter().collect(),
    };
    Ok(roles(actor, package, standing, &given))
}

/// The roles somebody has on a package, when those `given` to it and its groups are known. One that is pending belongs to
/// who created it too, as long as that user may create packages there.
pub(crate) fn roles(
    actor: Actor,
    package: &PackageRecord,
    standing: &Standing,
    given: &[Given],
) -> Vec<Given> {
    if !standing.active {
        return Vec::new();
    }
    let creator = matches!(actor, Actor::User(user) if package.creator == Some(user));
    let began = (package.state == State::Pending && standing.may_create && creator).then_some(Rule::Began);
    let admin = standing.rules.into_iter().chain(began).map(|rule| Given { role: Role::Admin, rule });
    let base = standing.base_role.map(|role| Given { role, rule: Rule::BaseRole });
    admin.chain(given.iter().copied()).chain(base).collect()
}

#[async_trait]
impl Acl for Directory {
    async fn package_facts(&self, actor: Actor, name: &PackageName) -> Result<Facts> {
        let key = (actor, name.clone());
        // Before the revisions: whatever is committed after this moment, [`Registry::still`] asks again.
        let stamp = self.meta.stamp();
        if let Some(known) = self.facts.get(&key)
            && revisions::hold(self.meta.as_ref(), &known.revisions).await?
        {
            return Ok(Facts { stamp, ..known });
        }
        let view = self.meta.snapshot()?;
        let facts = self.load_facts(view.as_ref(), actor, name.owner(), Which::Package(name)).await?;
        let facts = Facts { stamp, ..facts };
        if facts.package.is_some() {
            self.facts.insert(key, facts.clone());
        }
        Ok(facts)
    }

    async fn deleted_facts(&self, actor: Actor, name: &PackageName, id: Option<PackageId>) -> Result<Facts> {
        let view = self.meta.snapshot()?;
        self.load_facts(view.as_ref(), actor, name.owner(), Which::Deleted(name, id)).await
    }

    async fn owner_facts(&self, actor: Actor, name: &str) -> Result<Facts> {
        let view = self.meta.snapshot()?;
        self.load_facts(view.as_ref(), actor, name, Which::Owner).await
    }

    async fn team_facts(&self, actor: Actor, organization: &str, team: &str) -> Result<TeamFacts> {
        let view = self.meta.snapshot()?;
        let view = view.as_ref();
        let facts = self.load_facts(view, actor, organization, Which::Owner).await?;
        let Some(owner) = accounts::by_name(view, organization).await? else {
            return Ok(TeamFacts { facts, ..TeamFacts::default() });
        };
        let standing = standing(view, actor, &owner).await?;
        let mut role = standing.owner_role();
        let found = teams::by_name(view, owner.id, team).await?;
        if let (Actor::User(user), Some(team)) = (actor, found.clone())
            && standing.belongs
            && teams::maintains(view, user, team).await?
        {
            role = Some(Role::Admin);
        }
        let team = found.map(|team| TeamTarget {
            id: team.id,
            organization: owner.id,
            owner: owner.folded(),
            name: team.name.to_ascii_lowercase(),
        });
        Ok(TeamFacts { facts, team, belongs: standing.belongs, role })
    }

    async fn repository_facts(&self, actor: Actor, owner: &str, repository: &str) -> Result<RepositoryFacts> {
        let view = self.meta.snapshot()?;
        let view = view.as_ref();
        let mut facts = self.load_facts(view, actor, owner, Which::Owner).await?;
        let Some(account) = accounts::by_name(view, owner).await? else {
            return Ok(RepositoryFacts { facts, ..RepositoryFacts::default() });
        };
        let Some(found) = repositories::by_name(view, account.id, repository).await? else {
            return Ok(RepositoryFacts { facts, ..RepositoryFacts::default() });
        };
        facts.revisions.push(one(view, Subject::Repository(found.id)).await?);
        repositories::known(view, actor, &account, &found, facts).await
    }

    async fn recheck(&self, caller: &Caller) -> Result<Caller> {
        auth::recheck(self, caller).await
    }
}

#[async_trait]
impl Identities for Directory {
    async fn token(&self, hash: &TokenHash) -> Result<Option<(Identity, Credential)>> {
        if let Some(known) = self.tokens.get(hash)
            && self.fresh(&known).await?
        {
            return Ok(Some(known));
        }
        let view = self.meta.snapshot()?;
        let id = match tokens::id_by_hash(view.as_ref(), hash).await? {
            Some(id) => Some(id),
            None => exchange::id_by_hash(view.as_ref(), hash).await?,
        };
        let Some(id) = id else { return Ok(None) };
        let loaded = self.load_token(view.as_ref(), id).await?;
        if let Some(loaded) = &loaded {
            self.tokens.insert(*hash, loaded.clone());
        }
        Ok(loaded)
    }

    async fn token_by_id(&self, id: TokenId) -> Result<Option<(Identity, Credential)>> {
        if let Some(known) = self.tokens_by_id.get(&id)
            && self.fresh(&known).await?
        {
            return Ok(Some(known));
        }
        let view = self.meta.snapshot()?;
        let loaded = self.load_token(view.as_ref(), id).await?;
        if let Some(loaded) = &loaded {
            self.tokens_by_id.insert(id, loaded.clone());
        }
        Ok(loaded)
    }

    async fn user(&self, id: OwnerId) -> Result<Option<Identity>> {
        if let Some(known) = self.users.get(&id)
            && revisions::hold(self.meta.as_ref(), &[known.revision]).await?
        {
            return Ok(Some(known));
        }
        let view = self.meta.snapshot()?;
        let loaded = self.load_user(view.as_ref(), id).await?;
        if let Some(loaded) = &loaded {
            self.users.insert(id, loaded.clone());
        }
        Ok(loaded)
    }

    async fn user_named(&self, name: &str) -> Result<Option<Identity>> {
        let view = self.meta.snapshot()?;
        let Some(account) = robots::principal(view.as_ref(), name).await? else { return Ok(None) };
        self.load_user(view.as_ref(), account.id).await
    }

    async fn password(&self, user: OwnerId) -> Result<Option<String>> {
        accounts::password(self.meta.as_ref(), user).await
    }

    async fn use_code(&self, user: OwnerId, code: &Secret, at: Timestamp) -> Result<bool> {
        factors::use_code(self.meta.as_ref(), user, code, at).await
    }

    async fn keyring(&self, wanted: Option<u32>) -> Result<Arc<Keyring>> {
        if let Some(known) = self.known_keyring()
            && wanted.is_none_or(|id| known.has(id))
        {
            return Ok(known);
        }
        let keyring = Arc::new(tokens::keyring(self.meta.as_ref()).await?);
        *self.keyring.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&keyring));
        Ok(keyring)
    }
}
