//! Source repositories: what permissions are inherited from and what packages link to.

use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Asked, Cx, input, members, page::Page};
use crate::{
    auth::{Action, Grant, ManageOwner, ManageRepository, ReadRepository, RepositoryTarget},
    error::{Error, Result, What},
    http::{Body, Reply, query::Query},
    model::{RepositoryName, Visibility},
    registry::repositories::RepositoryEdit,
};

/// The names of its routes.
pub(super) const ROUTES: &[&str] = &[
    "repositories",
    "repository_create",
    "repository",
    "repository_change",
    "repository_delete",
    "repository_transfer",
];

/// Whose repositories.
#[derive(Debug, Clone)]
pub(super) enum Of {
    /// One's own and of one's organizations.
    Me,
    User(String),
    Organization(String),
}

/// A repository as it is addressed.
#[derive(Debug, Clone)]
pub(super) struct Address {
    pub(super) owner: String,
    pub(super) name: String,
}

#[derive(Debug, Clone)]
pub(super) enum Ask {
    /// `GET /user/repos`, `/users/{username}/repos`, `/orgs/{org}/repos`.
    List(Of, Page),
    /// `POST /user/repos`, `/orgs/{org}/repos`.
    Create(Of),
    /// `GET /repos/{owner}/{repo}`.
    One(Address),
    /// `PATCH` of the same.
    Change(Address),
    /// `DELETE` of the same.
    Delete(Address),
    /// `POST /repos/{owner}/{repo}/transfer`.
    Transfer(Address),
}

/// What is said of a repository. Clients say more (branches, merges, …), which a repository here does not have.
#[derive(Debug, Deserialize)]
struct About {
    name: Option<String>,
    description: Option<String>,
    homepage: Option<String>,
    private: Option<bool>,
    visibility: Option<Visibility>,
    topics: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
struct Transfer {
    new_owner: String,
}

impl About {
    fn edit(&self) -> RepositoryEdit {
        let private = self.private.map(|private| match private {
            true => Visibility::Private,
            false => Visibility::Public,
        });
        RepositoryEdit {
            visibility: self.visibility.or(private),
            description: self.description.clone(),
            url: self.homepage.clone(),
            topics: self.topics.clone(),
            ..RepositoryEdit::default()
        }
    }
}

impl Ask {
    pub(super) fn parse(method: &Method, path: &[&str], query: &Query) -> Result<Option<Self>> {
        let of = match path {
            ["user", "repos"] => Some(Of::Me),
            ["users", name, "repos"] if method == Method::GET => Some(Of::User((*name).to_owned())),
            ["orgs", name, "repos"] => Some(Of::Organization((*name).to_owned())),
            _ => None,
        };
        if let Some(of) = of {
            return Ok(match *method {
                Method::GET => Some(Self::List(of, Page::read(query)?)),
                Method::POST => Some(Self::Create(of)),
                _ => None,
            });
        }
        let Some((address, rest)) = below(path) else { return Ok(None) };
        Ok(match (method.as_str(), rest) {
            ("GET", []) => Some(Self::One(address)),
            ("PATCH", []) => Some(Self::Change(address)),
            ("DELETE", []) => Some(Self::Delete(address)),
            ("POST", ["transfer"]) => Some(Self::Transfer(address)),
            _ => None,
        })
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::List(..) => "repositories",
            Self::Create(_) => "repository_create",
            Self::One(_) => "repository",
            Self::Change(_) => "repository_change",
            Self::Delete(_) => "repository_delete",
            Self::Transfer(_) => "repository_transfer",
        }
    }

    pub(super) async fn handle(&self, cx: Cx<'_>, asked: &Asked, body: Body) -> Result<Reply> {
        match self {
            Self::List(of, page) => list(cx, asked, of, *page).await,
            Self::Create(of) => create(cx, asked, of, body).await,
            Self::One(address) => address.shown::<ReadRepository>(cx, asked, StatusCode::OK).await,
            Self::Change(address) => change(cx, asked, address, body).await,
            Self::Delete(address) => {
                let grant = address.manage(cx).await?;
                cx.registry.delete_repository(&grant).await?;
                Ok(Reply::new(StatusCode::NO_CONTENT))
            }
            Self::Transfer(address) => {
                let grant = address.manage(cx).await?;
                let to: Transfer = input::read(body).await?;
                let receiving = cx.authorize_owner::<ManageOwner>(&to.new_owner).await?;
                cx.registry.transfer_repository(&grant, &receiving).await?;
                let address = Address { owner: to.new_owner, name: address.name.clone() };
                address.shown::<ManageRepository>(cx, asked, StatusCode::ACCEPTED).await
            }
        }
    }
}

/// The repository that a path is below, and what follows.
pub(super) fn below<'a>(path: &'a [&'a str]) -> Option<(Address, &'a [&'a str])> {
    let ["repos", owner, name, rest @ ..] = path else { return None };
    Some((Address { owner: (*owner).to_owned(), name: (*name).to_owned() }, rest))
}

impl Address {
    /// The right to do something to it.
    pub(super) async fn authorize<A>(&self, cx: Cx<'_>) -> Result<Grant<A>>
    where
        A: Action<Target = RepositoryTarget>,
    {
        cx.policy().authorize_repository::<A>(cx.caller, &self.owner, &self.name).await
    }

    /// The right to change it, while anything may be changed.
    pub(super) async fn manage(&self, cx: Cx<'_>) -> Result<Grant<ManageRepository>> {
        let grant = self.authorize(cx).await?;
        cx.writable()?;
        Ok(grant)
    }

    /// Shows it to whoever may do this to it: who changed it is shown what became of it, whatever else the token is good for.
    async fn shown<A>(&self, cx: Cx<'_>, asked: &Asked, status: StatusCode) -> Result<Reply>
    where
        A: Action<Target = RepositoryTarget>,
    {
        let grant = self.authorize::<A>(cx).await?;
        let view = cx.registry.repository_view(&grant).await?;
        Ok(Reply::json(status, &asked.pen(cx).repository(&view)))
    }
}

async fn list(cx: Cx<'_>, asked: &Asked, of: &Of, page: Page) -> Result<Reply> {
    let owners = match of {
        Of::Me => {
            let mut owners = vec![cx.registry.own_profile(cx.caller).await?.name];
            let organizations = cx.registry.own_organizations(cx.caller).await?;
            owners.extend(organizations.into_iter().map(|(organization, _)| organization.name));
            owners
        }
        Of::User(name) => vec![cx.registry.profile(cx.caller, name).await?.name],
        Of::Organization(name) => {
            let account = cx.registry.profile(cx.caller, name).await?;
            match account.is_organization() {
                true => vec![account.name],
                false => return Err(super::accounts::no_organization(name)),
            }
        }
    };
    let (views, more) = cx.registry.repository_page(cx.caller, &owners, page.window()).await?;
    let shapes: Vec<Value> = views.iter().map(|view| asked.pen(cx).repository(view)).collect();
    Ok(asked.list(cx, page, &shapes, more))
}

async fn create(cx: Cx<'_>, asked: &Asked, of: &Of, body: Body) -> Result<Reply> {
    let (owner, grant) = match of {
        Of::Organization(name) => (name.clone(), members::authorize::<ManageOwner>(cx, name).await?),
        Of::Me | Of::User(_) => {
            let own = cx.registry.own_profile(cx.caller).await?.name;
            let grant = cx.authorize_owner::<ManageOwner>(&own).await?;
            (own, grant)
        }
    };
    cx.writable()?;
    let about: About = input::read(body).await?;
    let name = about.name.as_deref().ok_or_else(|| Error::invalid(What::Request, "name is missing"))?;
    let parsed = RepositoryName::parse(&format!("{owner}/{name}"))?;
    cx.registry.create_repository(&grant, &parsed, &about.edit()).await?;
    let address = Address { owner, name: name.to_owned() };
    address.shown::<ManageRepository>(cx, asked, StatusCode::CREATED).await
}

/// Describes a repository, or renames it: each is one change, and of two in one request one might be refused and the other done.
async fn change(cx: Cx<'_>, asked: &Asked, address: &Address, body: Body) -> Result<Reply> {
    let grant = address.manage(cx).await?;
    let about: About = input::read(body).await?;
    let edit = about.edit();
    let mut address = address.clone();
    match about.name.filter(|name| *name != grant.target().name) {
        Some(_) if edit != RepositoryEdit::default() => {
            return Err(Error::invalid(What::Request, "rename a repository in a request of its own"));
        }
        Some(name) => {
            cx.registry.rename_repository(&grant, &name).await?;
            address.name = name;
        }
        None => cx.registry.edit_repository(&grant, &edit).await?,
    }
    address.shown::<ManageRepository>(cx, asked, StatusCode::OK).await
}

/// A repository's role in the words that clients have for it.
pub(super) fn role_shape(role: Option<crate::model::RepositoryRole>) -> (&'static str, Value) {
    use crate::model::RepositoryRole as Role;
    let at_least = |least: Role| role >= Some(least);
    let word = role.map_or("none", Role::word);
    let permissions = json!({
        "pull": at_least(Role::Read),
        "triage": at_least(Role::Triage),
        "push": at_least(Role::Write),
        "maintain": at_least(Role::Maintain),
        "admin": at_least(Role::Admin),
    });
    (word, permissions)
}
