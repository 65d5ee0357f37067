//! Why somebody may do something to a package, or may not: for whoever runs the installation.

use std::{net::IpAddr, sync::Arc};

use super::{
    Registry, accounts,
    facts::{all_roles, standing},
    groups, packages, permissions,
    records::AccountRecord,
    repositories, tokens,
};
use crate::{
    auth::{self, Actor, Caller, Decided, Facts, Given, Grant, Limits, Manage, Operate, Pull, Rule, Verb},
    error::{Error, Kind, Reason, Result, What},
    model::{Collaborator, Group, PackageName, Role, Scope, Scopes, TokenId, Visibility},
    store::MetadataRead,
};

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Who would do it; nobody in particular without a name.
    pub user: Option<&'a str>,
    /// With which token; it says who, and what for.
    pub token: Option<TokenId>,
    /// From where; with a token that is good from some networks, and without this, from one of them.
    pub from: Option<IpAddr>,
    /// What the credential would be good for, when no token is named.
    pub scopes: Scopes,
    /// What would be done.
    pub verb: Verb,
    /// To which package.
    pub name: &'a PackageName,
}

/// An answer.
#[derive(Debug)]
pub struct Explained {
    /// Whether it is allowed.
    pub allowed: bool,
    /// The rule that gives or denies it, in one word.
    pub code: &'static str,
    /// The same in a sentence.
    pub because: String,
    /// What the caller is told when it is refused, which may be less than the truth.
    pub told: Option<String>,
    /// Who may read the package, if it is there.
    pub visibility: Option<Visibility>,
    /// Every role the user has on it, and where each comes from.
    pub roles: Vec<(String, Role)>,
}

impl Registry {
    /// Explains a decision: it is made by what judges requests ([`crate::auth::Policy::decide`]), and told with what it was
    /// made from.
    ///
    /// # Errors
    /// Not found when there is no such user.
    pub async fn explain(&self, grant: &Grant<Operate>, asked: Question<'_>) -> Result<Explained> {
        let anonymous = Caller::anonymous(grant.at(), Arc::clone(&grant.caller().request));
        self.explained(anonymous, asked).await
    }

    /// The same for those who administer the package: what a user with a credential of every scope may do to it.
    ///
    /// # Errors
    /// Not found when there is no such user; forbidden by policy while the package has a role for an organization that the
    /// caller does not belong to: who belongs to that would show in the answer.
    pub async fn explain_package(&self, grant: &Grant<Manage>, user: &str, verb: Verb) -> Result<Explained> {
        let anonymous = Caller::anonymous(grant.at(), Arc::clone(&grant.caller().request));
        self.knows_groups(grant).await?;
        let name = &grant.target().name;
        let (user, scopes) = (Some(user), Scopes::ALL);
        let asked = Question { user, token: None, from: None, scopes, verb, name };
        let explained = self.explained(anonymous, asked).await?;
        if explained.code == "suspended" && !grant.caller().administrator {
            // Who is suspended is for administrators of the installation to know.
            let (code, because) = ("role", "the user has no role on it".to_owned());
            return Ok(Explained { code, because, ..explained });
        }
        Ok(explained)
    }

    /// Refuses whoever would learn who belongs to an organization that it does not belong to itself.
    async fn knows_groups(&self, grant: &Grant<Manage>) -> Result<()> {
        let caller = grant.caller();
        if caller.administrator {
            return Ok(());
        }
        let view = self.meta.snapshot()?;
        for role in groups::roles_on(view.as_ref(), grant.target().id).await? {
            let (Group::Organization(organization), Some(user)) = (role.group, caller.user()) else {
                continue;
            };
            if accounts::membership(view.as_ref(), organization, user).await?.is_none() {
                let text = "the package has a role for an organization that you do not belong to; who does is not told";
                return Err(Error::new(Kind::Forbidden(Reason::Policy), text));
            }
        }
        Ok(())
    }

    /// What the caller itself may do to a package that it may read, with the credential it uses, and its greatest role.
    pub async fn own_permission(&self, grant: &Grant<Pull>) -> Result<(Option<Role>, Vec<Verb>)> {
        let (mut role, mut verbs) = (None, Vec::new());
        for verb in [Verb::Pull, Verb::Push, Verb::Delete, Verb::Manage] {
            let decided = self.policy().decide(grant.caller(), &grant.target().name, verb).await?;
            role = decided.facts.role;
            if decided.refusal.is_none() {
                verbs.push(verb);
            }
        }
        Ok((role, verbs))
    }

    async fn explained(&self, anonymous: Caller, asked: Question<'_>) -> Result<Explained> {
        let Asker { caller, account, void } = self.asker(anonymous, asked).await?;
        let asked = Question { user: account.as_ref().map(|account| account.name.as_str()), ..asked };
        let Decided { facts, refusal } = self.policy().decide(&caller, asked.name, asked.verb).await?;
        let view = self.meta.snapshot()?;
        let roles = roles(view.as_ref(), caller.actor, &facts).await?;
        let rule = match facts.rule {
            Some(rule) => Some(words(view.as_ref(), rule, asked).await?),
            None => None,
        };
        let visibility = facts.package.as_ref().map(|package| package.visibility);
        let mut shown = Vec::new();
        for given in roles {
            shown.push((words(view.as_ref(), given.rule, asked).await?, given.role));
        }
        let suspended = account.as_ref().is_some_and(|account: &AccountRecord| account.suspended);
        let (code, because) = match &refusal {
            _ if suspended => {
                ("suspended", "the user is suspended, and no credential of it is good".to_owned())
            }
            _ if void.is_some() => ("credentials", void.clone().unwrap_or_default()),
            Some(refusal) => denied(&facts, refusal, &caller, asked),
            None => allowed(&facts, rule, asked),
        };
        Ok(Explained {
            allowed: refusal.is_none() && !suspended && void.is_none(),
            code,
            because,
            told: void.or(refusal.map(|refusal| refusal.public().to_owned())),
            visibility,
            roles: shown,
        })
    }
}

/// Who would ask.
struct Asker {
    caller: Caller,
    account: Option<AccountRecord>,
    /// Why the token would be refused before anything is asked.
    void: Option<String>,
}

impl Registry {
    async fn asker(&self, anonymous: Caller, asked: Question<'_>) -> Result<Asker> {
        if let Some(id) = asked.token {
            return self.asker_by_token(anonymous, id, asked.from).await;
        }
        let Some(user) = asked.user else {
            return Ok(Asker { caller: anonymous, account: None, void: None });
        };
        let account = self.principal_account(user).await?;
        let caller = Caller {
            actor: Actor::User(account.id),
            scopes: asked.scopes,
            administrator: account.administrator,
            ..anonymous
        };
        Ok(Asker { caller, account: Some(account), void: None })
    }

    async fn asker_by_token(&self, anonymous: Caller, id: TokenId, from: Option<IpAddr>) -> Result<Asker> {
        let unknown = || Error::not_found(What::Token, format!("there is no token {id}"));
        let token = tokens::by_id(self.meta.as_ref(), id).await?.ok_or_else(unknown)?;
        let account = accounts::by_id(self.meta.as_ref(), token.user).await?.ok_or_else(unknown)?;
        let own = |limits: &Limits| limits.networks.first().map(|network| network.addr());
        let caller = Caller {
            actor: Actor::User(token.user),
            credential: Some(id),
            sign_in: token.sign_in,
            scopes: token.scopes(),
            administrator: account.administrator,
            address: from.or_else(|| token.limits.as_ref().and_then(own)),
            limits: token.limits.map(Arc::new),
            ..anonymous
        };
        // By what checks every request's credentials.
        match auth::recheck(self.directory.as_ref(), &caller).await {
            Ok(caller) => Ok(Asker { caller, account: Some(account), void: None }),
            Err(error) if matches!(error.kind(), Kind::Unauthenticated(_)) => {
                Ok(Asker { caller, account: Some(account), void: Some(error.public().to_owned()) })
            }
            Err(error) => Err(error),
        }
    }
}

async fn roles(view: &dyn MetadataRead, actor: Actor, facts: &Facts) -> Result<Vec<Given>> {
    let Some(target) = &facts.package else { return Ok(Vec::new()) };
    let Some(package) = packages::by_id(view, target.id).await? else { return Ok(Vec::new()) };
    let Some(owner) = accounts::by_id(view, package.owner).await? else { return Ok(Vec::new()) };
    let standing = standing(view, actor, &owner).await?;
    all_roles(view, actor, &package, &standing).await
}

/// Where a role comes from, for people.
async fn words(view: &dyn MetadataRead, rule: Rule, asked: Question<'_>) -> Result<String> {
    let owner = asked.name.owner();
    Ok(match rule {
        Rule::Operator => "operator".to_owned(),
        Rule::Own => "owner of the package".to_owned(),
        Rule::OrganizationOwner => format!("owner of {owner}"),
        Rule::Began => "began the package".to_owned(),
        Rule::User => format!("user:{}", asked.user.unwrap_or_default()),
        Rule::Group(group) => permissions::shown(view, group).await?,
        Rule::Repository(repository, of) => {
            let source = match repositories::by_id(view, repository).await? {
                Some(found) => format!("{owner}/{}", found.name),
                None => repository.to_string(),
            };
            let whose = match of {
                Collaborator::User(user) => {
                    let account = accounts::by_id(view, user).await?;
                    account.map_or_else(|| of.to_string(), |account| format!("user:{}", account.name))
                }
                Collaborator::Team(team) => permissions::shown(view, Group::Team(team)).await?,
            };
            format!("{whose} on the repository {source}")
        }
        Rule::Workflow(repository) => format!("workflows of the repository {repository}"),
        Rule::BaseRole => format!("base role of {owner}"),
    })
}

fn needed(verb: Verb) -> Role {
    match verb {
        Verb::Pull => Role::Read,
        Verb::Push => Role::Write,
        Verb::Delete | Verb::Manage => Role::Admin,
    }
}

fn allowed(facts: &Facts, rule: Option<String>, asked: Question<'_>) -> (&'static str, String) {
    if facts.package.is_none() {
        return (
            "create",
            format!("there is no such package yet, and members of {} create some", asked.name.owner()),
        );
    }
    match (facts.role, rule) {
        (Some(role), Some(rule)) if role >= needed(asked.verb) => {
            ("role", format!("the role {role} from {rule}"))
        }
        _ => ("visibility", "it is public".to_owned()),
    }
}

/// The true reason of a refusal, which a caller without any right is not told.
fn denied(facts: &Facts, refusal: &Error, caller: &Caller, asked: Question<'_>) -> (&'static str, String) {
    let owner = asked.name.owner();
    // There is a right, and the credential is not good for it.
    let short = |scope: Scope| match caller.scopes.has(scope) {
        true => ("token-limit", "the token is limited to other packages or actions".to_owned()),
        false => ("scope", format!("the token lacks the scope {scope}")),
    };
    match (refusal.kind(), &facts.package) {
        (Kind::Forbidden(Reason::Scope), _) => ("scope", refusal.public().to_owned()),
        (Kind::Forbidden(Reason::TokenLimit), _) => ("token-limit", refusal.public().to_owned()),
        (Kind::Forbidden(Reason::Role), _) => ("role", refusal.public().to_owned()),
        (Kind::Forbidden(_), _) => ("policy", refusal.public().to_owned()),
        _ if facts.owner.is_none() => ("absent", format!("there is no user or organization {owner}")),
        (_, None) if asked.verb == Verb::Push && facts.may_create => short(Scope::WritePackages),
        (_, None) if asked.verb == Verb::Push && asked.user.is_some() => {
            ("create", format!("there is no such package, and only {owner} and its members create some"))
        }
        (_, None) => ("absent", "there is no such package".to_owned()),
        (_, Some(_)) if facts.role.is_some() => short(Scope::ReadPackages),
        (_, Some(package)) if package.visibility == Visibility::Public => {
            ("credentials", "it is public, and this needs somebody who signs in".to_owned())
        }
        (_, Some(_)) => ("visibility", "it is private, and there is no role on it".to_owned()),
    }
}
