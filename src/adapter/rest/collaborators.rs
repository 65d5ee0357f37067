//! Roles on source repositories: of users, and of teams.

use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Asked, Cx, input,
    page::Page,
    repositories::{Address, below, role_shape},
};
use crate::{
    auth::{ManageRepository, ReadRepository, ReadTeam},
    error::{Error, Result, What},
    http::{Body, Reply, query::Query},
    model::{RepositoryRole, TeamName},
    registry::repositories::CollaboratorName,
};

/// The names of its routes.
pub(super) const ROUTES: &[&str] = &[
    "collaborators",
    "collaborator_check",
    "collaborator_put",
    "collaborator_remove",
    "collaborator_permission",
    "repository_teams",
    "team_repository",
    "team_repository_put",
    "team_repository_remove",
];

/// Whose role.
#[derive(Debug, Clone)]
pub(super) enum Whose {
    User(String),
    /// An organization, and a team of it.
    Team(String, String),
}

#[derive(Debug, Clone)]
pub(super) enum Ask {
    /// `GET /repos/{owner}/{repo}/collaborators`, `/teams`.
    List(Address, Kind, Page),
    /// `GET …/collaborators/{username}`, `/orgs/{org}/teams/{slug}/repos/{owner}/{repo}`.
    Check(Address, Whose),
    /// `PUT` of the same.
    Put(Address, Whose),
    /// `DELETE` of the same.
    Remove(Address, Whose),
    /// `GET …/collaborators/{username}/permission`.
    Permission(Address, String),
}

/// Of whom the roles are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Users,
    Teams,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Put {
    permission: Option<String>,
}

/// `pull` and `push` are what clients call read and write.
fn role(word: &str) -> Result<RepositoryRole> {
    match word {
        "pull" => Ok(RepositoryRole::Read),
        "push" => Ok(RepositoryRole::Write),
        word => word.parse(),
    }
}

impl Ask {
    pub(super) fn parse(method: &Method, path: &[&str], query: &Query) -> Result<Option<Self>> {
        if let ["orgs", org, "teams", slug, "repos", owner, name] = path {
            let address = Address { owner: (*owner).to_owned(), name: (*name).to_owned() };
            return Ok(one(method, address, Whose::Team((*org).to_owned(), (*slug).to_owned())));
        }
        let Some((address, rest)) = below(path) else { return Ok(None) };
        Ok(match (method.as_str(), rest) {
            ("GET", ["collaborators"]) => Some(Self::List(address, Kind::Users, Page::read(query)?)),
            ("GET", ["teams"]) => Some(Self::List(address, Kind::Teams, Page::read(query)?)),
            ("GET", ["collaborators", user, "permission"]) => {
                Some(Self::Permission(address, (*user).to_owned()))
            }
            (_, ["collaborators", user]) => one(method, address, Whose::User((*user).to_owned())),
            _ => None,
        })
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::List(_, Kind::Users, _) => "collaborators",
            Self::List(_, Kind::Teams, _) => "repository_teams",
            Self::Check(_, Whose::User(_)) => "collaborator_check",
            Self::Put(_, Whose::User(_)) => "collaborator_put",
            Self::Remove(_, Whose::User(_)) => "collaborator_remove",
            Self::Permission(..) => "collaborator_permission",
            Self::Check(_, Whose::Team(..)) => "team_repository",
            Self::Put(_, Whose::Team(..)) => "team_repository_put",
            Self::Remove(_, Whose::Team(..)) => "team_repository_remove",
        }
    }

    pub(super) async fn handle(&self, cx: Cx<'_>, asked: &Asked, body: Body) -> Result<Reply> {
        match self {
            Self::List(address, kind, page) => {
                let grant = address.authorize::<ManageRepository>(cx).await?;
                let all = cx.registry.repository_roles(&grant).await?;
                let shapes: Vec<Value> =
                    all.iter().filter_map(|on| shape(*kind, &on.principal, on.role)).collect();
                let (some, more) = page.window().of(shapes);
                Ok(asked.list(cx, *page, &some, more))
            }
            Self::Check(address, whose) => {
                let grant = address.authorize::<ManageRepository>(cx).await?;
                whose.known(cx).await?;
                let principal = whose.principal();
                let all = cx.registry.repository_roles(&grant).await?;
                match all.iter().any(|on| on.principal.eq_ignore_ascii_case(&principal)) {
                    true => Ok(Reply::new(StatusCode::NO_CONTENT)),
                    false => {
                        Err(Error::not_found(What::Owner, "no role was given to them on this repository"))
                    }
                }
            }
            Self::Put(address, whose) => {
                let grant = address.manage(cx).await?;
                whose.known(cx).await?;
                let put: Put = input::read(body).await?;
                let role = role(put.permission.as_deref().unwrap_or("push"))?;
                cx.registry.set_repository_role(&grant, &whose.name()?, Some(role)).await?;
                Ok(Reply::new(StatusCode::NO_CONTENT))
            }
            Self::Remove(address, whose) => {
                let grant = address.manage(cx).await?;
                whose.known(cx).await?;
                cx.registry.set_repository_role(&grant, &whose.name()?, None).await?;
                Ok(Reply::new(StatusCode::NO_CONTENT))
            }
            Self::Permission(address, user) => permission(cx, address, user).await,
        }
    }
}

fn one(method: &Method, address: Address, whose: Whose) -> Option<Ask> {
    match *method {
        Method::GET => Some(Ask::Check(address, whose)),
        Method::PUT => Some(Ask::Put(address, whose)),
        Method::DELETE => Some(Ask::Remove(address, whose)),
        _ => None,
    }
}

impl Whose {
    /// As roles are listed.
    fn principal(&self) -> String {
        match self {
            Self::User(name) => format!("user:{name}"),
            Self::Team(organization, team) => format!("team:{organization}/{team}"),
        }
    }

    fn name(&self) -> Result<CollaboratorName> {
        Ok(match self {
            Self::User(name) => CollaboratorName::User(name.clone()),
            Self::Team(organization, team) => {
                CollaboratorName::Team(TeamName::parse(&format!("{organization}/{team}"))?)
            }
        })
    }

    /// Who may not know of a team is told that it is not there.
    async fn known(&self, cx: Cx<'_>) -> Result<()> {
        if let Self::Team(organization, team) = self {
            cx.policy().authorize_team::<ReadTeam>(cx.caller, organization, team).await?;
        }
        Ok(())
    }
}

fn shape(kind: Kind, principal: &str, role: RepositoryRole) -> Option<Value> {
    let (word, permissions) = role_shape(Some(role));
    match (kind, principal.split_once(':')?) {
        (Kind::Users, ("user", name)) => {
            Some(json!({ "login": name, "type": "User", "role_name": word, "permissions": permissions }))
        }
        (Kind::Teams, ("team", name)) => {
            let slug = name.split_once('/')?.1;
            Some(json!({ "name": slug, "slug": slug, "permission": word, "permissions": permissions }))
        }
        _ => None,
    }
}

/// What somebody comes to on a repository: one's own for everybody who sees it, others' for those who say so.
async fn permission(cx: Cx<'_>, address: &Address, user: &str) -> Result<Reply> {
    let grant = address.authorize::<ReadRepository>(cx).await?;
    let own = cx.registry.own_profile(cx.caller).await?;
    if !own.name.eq_ignore_ascii_case(user) {
        address.authorize::<ManageRepository>(cx).await?;
    }
    let role = cx.registry.repository_role_of(&grant, user).await?;
    let (word, permissions) = role_shape(role);
    let permission = role.map_or("none", |role| RepositoryRole::on_packages(role).word());
    let user = cx.registry.profile(cx.caller, user).await?.name;
    let shape = json!({
        "permission": permission,
        "role_name": word,
        "user": { "login": user, "permissions": permissions },
    });
    Ok(Reply::json(StatusCode::OK, &shape))
}
