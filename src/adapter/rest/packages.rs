//! Packages and their versions.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Asked, Cx, page::Page};
use crate::{
    auth::{Action, Grant, PackageTarget, Pull, Restore},
    error::{Error, Kind, Result, What},
    http::{Reply, query::Query},
    model::{Digest, Ecosystem, OwnerName, PackageName, Visibility},
    registry::{PackageView, Shelf, Version},
};

/// The names of its routes.
pub(super) const ROUTES: &[&str] =
    &["packages", "deleted_packages", "package", "versions", "version", "docker_conflicts"];

/// Below whom packages are addressed.
#[derive(Debug, Clone)]
pub(super) enum Root {
    /// `/user`: the caller.
    Me,
    /// `/users/{username}`.
    User(String),
    /// `/orgs/{org}`.
    Organization(String),
}

/// A package as it is addressed.
#[derive(Debug, Clone)]
pub(super) struct Address {
    root: Root,
    /// `None`: a type that no package has.
    ecosystem: Option<Ecosystem>,
    name: String,
}

/// A version as it is addressed: by number, or by digest where a number is not enough.
#[derive(Debug, Clone, Copy)]
pub(super) enum Number {
    Is(u64),
    Digest(Digest),
}

#[derive(Debug, Clone)]
pub(super) enum Ask {
    /// `GET {root}/packages`.
    List(Root, Filter, Page),
    /// `GET {root}/packages?state=deleted`.
    Deleted(Root, Page),
    /// `GET {root}/packages/{type}/{name}`.
    One(Address),
    /// `GET …/versions`.
    Versions(Address, State, Page),
    /// `GET …/versions/{id}`.
    Version(Address, Number),
    /// `GET {root}/docker/conflicts`: names that clashed in a migration which there never was here.
    Conflicts(Root),
}

/// Which packages are listed.
#[derive(Debug, Clone)]
pub(super) enum Filter {
    /// None: of a type or visibility that no package has.
    Nothing,
    /// These.
    Of(Option<Ecosystem>, Option<Visibility>),
}

/// Which versions are listed.
#[derive(Debug, Clone, Copy)]
pub(super) enum State {
    Active,
    Deleted,
}

fn no_such_type() -> Error {
    Error::invalid(What::Request, "package_type is one of: npm, maven, rubygems, docker, nuget, container")
}

/// `docker` is a type that clients ask for, and no package here has.
fn ecosystem(word: &str) -> Result<Option<Ecosystem>> {
    let known = Ecosystem::ALL.into_iter().find(|ecosystem| ecosystem.word() == word);
    if known.is_none() && word != "docker" {
        return Err(no_such_type());
    }
    Ok(known)
}

impl Filter {
    fn read(query: &Query) -> Result<Self> {
        let word = |name: &'static str| query.get(name).filter(|word| !word.is_empty());
        let mut of = (None, None);
        if let Some(found) = word("package_type") {
            match ecosystem(found)? {
                None => return Ok(Self::Nothing),
                known => of.0 = known,
            }
        }
        if let Some(found) = word("visibility") {
            match found.parse::<Visibility>() {
                Ok(known) => of.1 = Some(known),
                Err(_) if found == "internal" => return Ok(Self::Nothing),
                Err(_) => {
                    let text = "visibility is one of: public, private, internal";
                    return Err(Error::invalid(What::Request, text));
                }
            }
        }
        Ok(Self::Of(of.0, of.1))
    }
}

impl State {
    fn read(query: &Query) -> Result<Self> {
        match query.get("state") {
            None | Some("" | "active") => Ok(Self::Active),
            Some("deleted") => Ok(Self::Deleted),
            Some(_) => Err(Error::invalid(What::Request, "state is one of: active, deleted")),
        }
    }
}

impl Number {
    pub(super) fn parse(text: &str) -> Result<Self> {
        if let Ok(digest) = Digest::parse(text) {
            return Ok(Self::Digest(digest));
        }
        let number = text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
        number.map(Self::Is).ok_or_else(no_such_version)
    }
}

fn no_such_version() -> Error {
    Error::not_found(What::Manifest, "this package has no such version")
}

/// What is below an owner, and which.
fn split<'a>(path: &'a [&'a str]) -> Option<(Root, &'a [&'a str])> {
    Some(match path {
        ["user", rest @ ..] => (Root::Me, rest),
        ["users", name, rest @ ..] => (Root::User((*name).to_owned()), rest),
        ["orgs", name, rest @ ..] => (Root::Organization((*name).to_owned()), rest),
        _ => return None,
    })
}

/// The package that a path is below, and what follows.
pub(super) fn below<'a>(path: &'a [&'a str]) -> Result<Option<(Address, &'a [&'a str])>> {
    let Some((root, ["packages", kind, name, rest @ ..])) = split(path) else { return Ok(None) };
    Ok(Some((Address { root, ecosystem: ecosystem(kind)?, name: (*name).to_owned() }, rest)))
}

impl Ask {
    pub(super) fn parse(method: &Method, path: &[&str], query: &Query) -> Result<Option<Self>> {
        let Some((root, rest)) = split(path) else { return Ok(None) };
        if method != Method::GET {
            return Ok(None);
        }
        if let Some((address, rest)) = below(path)? {
            return Ok(match rest {
                [] => Some(Self::One(address)),
                ["versions"] => Some(Self::Versions(address, State::read(query)?, Page::read(query)?)),
                ["versions", number] => Some(Self::Version(address, Number::parse(number)?)),
                _ => None,
            });
        }
        Ok(match rest {
            ["packages"] if matches!(State::read(query)?, State::Deleted) => {
                Some(Self::Deleted(root, Page::read(query)?))
            }
            ["packages"] => Some(Self::List(root, Filter::read(query)?, Page::read(query)?)),
            ["docker", "conflicts"] => Some(Self::Conflicts(root)),
            _ => None,
        })
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::List(..) => "packages",
            Self::Deleted(..) => "deleted_packages",
            Self::One(_) => "package",
            Self::Versions(..) => "versions",
            Self::Version(..) => "version",
            Self::Conflicts(_) => "docker_conflicts",
        }
    }

    pub(super) async fn handle(&self, cx: Cx<'_>, asked: &Asked) -> Result<Reply> {
        let pen = asked.pen(cx);
        let shape = match self {
            Self::List(root, filter, page) => return list(cx, asked, root, filter, *page).await,
            Self::Deleted(root, page) => return deleted(cx, asked, root, *page).await,
            Self::One(address) => {
                let (_, view) = address.read(cx).await?;
                pen.package(&view)
            }
            Self::Versions(address, state, page) => {
                return versions(cx, asked, address, *state, *page).await;
            }
            Self::Version(address, number) => {
                let (grant, view) = address.read(cx).await?;
                pen.version(&view, &number.find(cx, &grant).await?)
            }
            Self::Conflicts(root) => {
                root.owner(cx).await?;
                json!([])
            }
        };
        Ok(Reply::json(StatusCode::OK, &shape))
    }
}

impl Root {
    /// The owner's name. Whether there is such an owner is for those to know who sign in, and is not said here.
    async fn owner(&self, cx: Cx<'_>) -> Result<String> {
        match self {
            Self::Me => Ok(cx.registry.own_profile(cx.caller).await?.name),
            Self::User(name) | Self::Organization(name) => Ok(name.clone()),
        }
    }
}

impl Address {
    /// Its name. What cannot be one is absent, in the words in which everything else is.
    async fn name(&self, cx: Cx<'_>) -> Result<PackageName> {
        let owner = self.root.owner(cx).await?.to_ascii_lowercase();
        let path = match self.ecosystem {
            _ if OwnerName::parse(&owner).is_err() => None,
            None => None,
            Some(Ecosystem::Container) => Some(format!("{owner}/{}", self.name)),
            Some(other) => Some(format!("{}/{owner}/{}", other.word(), self.name)),
        };
        path.and_then(|path| PackageName::parse(&path).ok()).ok_or_else(|| match cx.caller.is_anonymous() {
            true => {
                let kind = Kind::Unauthenticated(crate::error::Challenge::Missing);
                Error::new(kind, "authentication required")
            }
            false => absent(),
        })
    }

    /// The right to do something to it.
    pub(super) async fn authorize<A>(&self, cx: Cx<'_>) -> Result<Grant<A>>
    where
        A: Action<Target = PackageTarget>,
    {
        let grant = cx.authorize::<A>(&self.name(cx).await?).await?;
        self.belongs(cx, &grant).await?;
        Ok(grant)
    }

    /// The right to restore the one of this name that was deleted last.
    pub(super) async fn authorize_deleted(&self, cx: Cx<'_>) -> Result<Grant<Restore>> {
        let name = self.name(cx).await?;
        let grant = cx.policy().authorize_deleted::<Restore>(cx.caller, &name, None).await?;
        cx.writable()?;
        self.belongs(cx, &grant).await?;
        Ok(grant)
    }

    async fn read(&self, cx: Cx<'_>) -> Result<(Grant<Pull>, PackageView)> {
        let grant = self.authorize::<Pull>(cx).await?;
        let view = cx.registry.package_view(&grant).await?;
        Ok((grant, view))
    }

    /// Below `/orgs` are packages of organizations.
    async fn belongs<A>(&self, cx: Cx<'_>, grant: &Grant<A>) -> Result<()>
    where
        A: Action<Target = PackageTarget>,
    {
        match self.root {
            Root::Organization(_) if !cx.registry.owner_of(grant).await?.is_organization() => Err(absent()),
            _ => Ok(()),
        }
    }
}

/// As the policy says it.
fn absent() -> Error {
    Error::not_found(What::Package, "there is no such repository, or you may not read it")
}

impl Number {
    pub(super) async fn find(self, cx: Cx<'_>, grant: &Grant<Pull>) -> Result<Version> {
        match self {
            Self::Is(number) => cx.registry.version_numbered(grant, number).await,
            Self::Digest(digest) => cx.registry.version_of(grant, &digest).await,
        }
    }
}

async fn list(cx: Cx<'_>, asked: &Asked, root: &Root, filter: &Filter, page: Page) -> Result<Reply> {
    let owner = root.owner(cx).await?;
    let (ecosystem, visibility) = match filter {
        Filter::Nothing => (None, None),
        Filter::Of(ecosystem, visibility) => (*ecosystem, *visibility),
    };
    let shelf = Shelf {
        owner,
        ecosystem,
        visibility,
        organization: matches!(root, Root::Organization(_)),
        nothing: matches!(filter, Filter::Nothing),
    };
    let (views, more) = cx.registry.package_page(cx.caller, &shelf, page.window()).await?;
    let shapes: Vec<Value> = views.iter().map(|view| asked.pen(cx).package(view)).collect();
    Ok(asked.list(cx, page, &shapes, more))
}

/// The packages of an owner that the caller may restore.
async fn deleted(cx: Cx<'_>, asked: &Asked, root: &Root, page: Page) -> Result<Reply> {
    let owner = cx.registry.profile(cx.caller, &root.owner(cx).await?).await?;
    let window = page.window();
    let most = window.skip + window.limit + 1;
    let all = cx.registry.deleted_packages(cx.caller, Some(&owner.name), None, most).await?;
    let (some, more) = window.of(all);
    let shapes: Vec<Value> = some.iter().map(|gone| asked.pen(cx).deleted_package(&owner, gone)).collect();
    Ok(asked.list(cx, page, &shapes, more))
}

async fn versions(cx: Cx<'_>, asked: &Asked, address: &Address, state: State, page: Page) -> Result<Reply> {
    let (grant, view) = address.read(cx).await?;
    let (versions, more) = match state {
        State::Active => cx.registry.version_page(&grant, page.window()).await?,
        State::Deleted => {
            let grant = cx.authorize::<Restore>(&grant.target().name).await?;
            cx.registry.deleted_version_page(&grant, page.window()).await?
        }
    };
    let pen = asked.pen(cx);
    let shapes: Vec<Value> = versions.iter().map(|version| pen.version(&view, version)).collect();
    Ok(asked.list(cx, page, &shapes, more))
}
