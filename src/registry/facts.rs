//! Facts about callers and names, compiled from records and kept while their revisions hold.
//!
//! Nothing here decides: `auth::policy` does. What is kept is checked against revisions read afresh on every request, and
//! it is compiled from a snapshot that the revisions were read in too, so a fact is never older than its revision. What
//! is not there is not kept: a name that is free now may be taken a moment later, and counts no revision.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use quick_cache::sync::Cache;

use super::{
    accounts, packages, permissions,
    records::{AccountKind, AccountRecord, Membership, PackageRecord, State},
    revisions, tokens,
};
use crate::{
    auth::{
        self, Acl, Actor, Caller, Credential, Facts, Identities, Identity, Keyring, OwnerTarget, Revision,
        Subject, TokenHash,
    },
    error::Result,
    model::{OwnerId, PackageId, PackageName, Role, TokenId},
    store::{MetadataRead, MetadataStore},
};

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
            return Ok(Facts { anonymous_reads: self.anonymous_reads, ..Facts::default() });
        };
        let package = match which {
            Which::Package(name) => packages::by_name(view, name).await?,
            Which::Deleted(name, id) => packages::deleted_by_name(view, name, id).await?,
            Which::Owner => None,
        };
        let package = package.filter(|package| package.owner == owner.id);
        let standing = standing(view, actor, &owner).await?;
        let direct = match (actor, &package) {
            (Actor::User(user), Some(package)) if standing.active => {
                permissions::role_of(view, package.id, user).await?
            }
            _ => None,
        };
        let mut subjects = vec![Subject::Owner(owner.id)];
        subjects.extend(package.as_ref().map(|package| Subject::Package(package.id)));
        if let Actor::User(user) = actor {
            subjects.push(Subject::Principal(user));
        }
        Ok(Facts {
            role: package.as_ref().and_then(|package| role(actor, package, &standing, direct)),
            package: package.map(|package| package.target()).transpose()?,
            owner_role: standing.owner_role,
            may_create: standing.may_create,
            anonymous_reads: self.anonymous_reads && owner.anonymous_reads,
            owner: Some(OwnerTarget { id: owner.id, name: owner.folded() }),
            revisions: revisions::read(view, &subjects).await?,
        })
    }

    async fn load_token(
        &self,
        view: &dyn MetadataRead,
        id: TokenId,
    ) -> Result<Option<(Identity, Credential)>> {
        let Some(token) = tokens::by_id(view, id).await? else { return Ok(None) };
        let Some(identity) = self.load_user(view, token.user).await? else { return Ok(None) };
        let credential = Credential {
            id,
            kind: token.kind()?,
            scopes: token.scopes(),
            expires: crate::model::Timestamp(token.expires),
            sign_in: token.sign_in,
            revision: one(view, Subject::Credential(id)).await?,
        };
        Ok(Some((identity, credential)))
    }

    async fn load_user(&self, view: &dyn MetadataRead, id: OwnerId) -> Result<Option<Identity>> {
        let Some(account) = accounts::by_id(view, id).await? else { return Ok(None) };
        if account.kind != AccountKind::User {
            return Ok(None);
        }
        Ok(Some(Identity {
            user: id,
            name: account.folded(),
            active: !account.suspended,
            administrator: account.administrator,
            sign_in: account.sign_in,
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
    pub(crate) owner_role: Option<Role>,
    pub(crate) may_create: bool,
}

/// A user rules its own name space, an organization's owners rule the organization's, its members may create there, the
/// operator may everything. An administrator of the installation is nobody special here.
pub(crate) async fn standing(
    view: &dyn MetadataRead,
    actor: Actor,
    owner: &AccountRecord,
) -> Result<Standing> {
    let rules = Standing { active: true, owner_role: Some(Role::Admin), may_create: true };
    let user = match actor {
        Actor::Anonymous | Actor::Job(_) => return Ok(Standing::default()),
        Actor::Operator => return Ok(rules),
        Actor::User(user) => user,
    };
    let account = if user == owner.id { Some(owner.clone()) } else { accounts::by_id(view, user).await? };
    if account.is_none_or(|account| account.suspended) {
        return Ok(Standing::default());
    }
    if user == owner.id {
        return Ok(rules);
    }
    let membership = match owner.kind {
        AccountKind::User => None,
        AccountKind::Organization => accounts::membership(view, owner.id, user).await?,
    };
    Ok(match membership {
        Some(Membership::Owner) => rules,
        Some(Membership::Member) => Standing { active: true, owner_role: None, may_create: true },
        None => Standing { active: true, owner_role: None, may_create: false },
    })
}

/// The greatest role somebody has on a package. One that is pending belongs to who created it, and
/// to the owner: what was uploaded there is nobody else's yet.
pub(crate) fn role(
    actor: Actor,
    package: &PackageRecord,
    standing: &Standing,
    direct: Option<Role>,
) -> Option<Role> {
    if !standing.active {
        return None;
    }
    let creator = matches!(actor, Actor::User(user) if package.creator == Some(user));
    let creating = (package.state == State::Pending && standing.may_create && creator).then_some(Role::Admin);
    standing.owner_role.max(direct).max(creating)
}

#[async_trait]
impl Acl for Directory {
    async fn package_facts(&self, actor: Actor, name: &PackageName) -> Result<Facts> {
        let key = (actor, name.clone());
        if let Some(known) = self.facts.get(&key)
            && revisions::hold(self.meta.as_ref(), &known.revisions).await?
        {
            return Ok(known);
        }
        let view = self.meta.snapshot()?;
        let facts = self.load_facts(view.as_ref(), actor, name.owner(), Which::Package(name)).await?;
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
        let Some(id) = tokens::id_by_hash(view.as_ref(), hash).await? else { return Ok(None) };
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
        let Some(account) = accounts::by_name(view.as_ref(), name).await? else { return Ok(None) };
        self.load_user(view.as_ref(), account.id).await
    }

    async fn password(&self, user: OwnerId) -> Result<Option<String>> {
        accounts::password(self.meta.as_ref(), user).await
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
