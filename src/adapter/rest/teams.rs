//! Teams of organizations. A team's slug is its name, found in any case.

use http::{Method, StatusCode};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::{Asked, Cx, input, members::authorize, page::Page, shapes::segment};
use crate::{
    auth::{Action, Grant, ManageOwner, ManageTeam, ReadOwner, ReadTeam, TeamTarget},
    error::{Error, Result, What},
    http::{Body, Reply, query::Query},
    model::{Numbered as _, TeamName},
};

/// The names of its routes.
pub(super) const ROUTES: &[&str] = &[
    "teams",
    "team_create",
    "team",
    "team_change",
    "team_delete",
    "team_children",
    "team_members",
    "team_membership",
    "team_membership_put",
    "team_membership_remove",
    "team_packages",
    "my_teams",
];

/// A team as it is addressed.
#[derive(Debug, Clone)]
pub(super) struct Address {
    org: String,
    slug: String,
}

#[derive(Debug, Clone)]
pub(super) enum Ask {
    /// `GET /orgs/{org}/teams`.
    List(String, Page),
    /// `POST /orgs/{org}/teams`.
    Create(String),
    /// `GET /orgs/{org}/teams/{slug}`.
    One(Address),
    /// `PATCH` of the same.
    Change(Address),
    /// `DELETE` of the same.
    Delete(Address),
    /// `GET …/teams`: those right below it.
    Children(Address, Page),
    /// `GET …/members`.
    Members(Address, Option<bool>, Page),
    /// `GET …/memberships/{username}`.
    Membership(Address, String),
    /// `PUT` of the same.
    Put(Address, String),
    /// `DELETE` of the same.
    Remove(Address, String),
    /// `GET …/packages`.
    Packages(Address, Page),
    /// `GET /user/teams`.
    Mine(Page),
}

/// A team to be made. Clients send more (`description`, `permission`, …), which a team here does not have: the answer shows so.
#[derive(Debug, Deserialize)]
struct Create {
    name: String,
    #[serde(default)]
    parent_team_id: Option<u64>,
    #[serde(default)]
    privacy: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Change {
    name: Option<String>,
    /// Absent: it stays where it is; null: to the top.
    #[serde(default, deserialize_with = "said")]
    parent_team_id: Option<Option<u64>>,
    #[serde(default)]
    privacy: Option<String>,
}

fn said<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<u64>>, D::Error> {
    Option::<u64>::deserialize(from).map(Some)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Put {
    role: Option<String>,
}

fn maintainer(word: &str) -> Result<bool> {
    match word {
        "maintainer" => Ok(true),
        "member" => Ok(false),
        _ => Err(Error::invalid(What::Request, "a role in a team is maintainer or member")),
    }
}

/// Every team is seen by the members of its organization. Whoever wants a secret one must not believe to have it.
fn check_privacy(word: Option<&str>) -> Result<()> {
    match word {
        None | Some("closed") => Ok(()),
        Some(_) => {
            let text = "teams are seen by all members of their organization: privacy is closed";
            Err(Error::invalid(What::Request, text))
        }
    }
}

impl Ask {
    pub(super) fn parse(method: &Method, path: &[&str], query: &Query) -> Result<Option<Self>> {
        let (org, slug, rest) = match path {
            ["user", "teams"] if method == Method::GET => return Ok(Some(Self::Mine(Page::read(query)?))),
            ["orgs", org, "teams"] => {
                return Ok(match *method {
                    Method::GET => Some(Self::List((*org).to_owned(), Page::read(query)?)),
                    Method::POST => Some(Self::Create((*org).to_owned())),
                    _ => None,
                });
            }
            ["orgs", org, "teams", slug, rest @ ..] => (*org, *slug, rest),
            _ => return Ok(None),
        };
        let address = Address { org: org.to_owned(), slug: slug.to_owned() };
        Ok(match (method.as_str(), rest) {
            ("GET", []) => Some(Self::One(address)),
            ("PATCH", []) => Some(Self::Change(address)),
            ("DELETE", []) => Some(Self::Delete(address)),
            ("GET", ["teams"]) => Some(Self::Children(address, Page::read(query)?)),
            ("GET", ["members"]) => {
                let role = match query.get("role") {
                    None | Some("" | "all") => None,
                    Some(word) => Some(maintainer(word)?),
                };
                Some(Self::Members(address, role, Page::read(query)?))
            }
            ("GET", ["memberships", user]) => Some(Self::Membership(address, (*user).to_owned())),
            ("PUT", ["memberships", user]) => Some(Self::Put(address, (*user).to_owned())),
            ("DELETE", ["memberships", user]) => Some(Self::Remove(address, (*user).to_owned())),
            ("GET", ["packages"]) => Some(Self::Packages(address, Page::read(query)?)),
            _ => None,
        })
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::List(..) => "teams",
            Self::Create(_) => "team_create",
            Self::One(_) => "team",
            Self::Change(_) => "team_change",
            Self::Delete(_) => "team_delete",
            Self::Children(..) => "team_children",
            Self::Members(..) => "team_members",
            Self::Membership(..) => "team_membership",
            Self::Put(..) => "team_membership_put",
            Self::Remove(..) => "team_membership_remove",
            Self::Packages(..) => "team_packages",
            Self::Mine(_) => "my_teams",
        }
    }

    pub(super) async fn handle(&self, cx: Cx<'_>, asked: &Asked, body: Body) -> Result<Reply> {
        let pen = asked.pen(cx);
        match self {
            Self::Create(org) => create(cx, asked, org, body).await,
            Self::Change(address) => change(cx, asked, address, body).await,
            Self::Delete(address) => {
                let grant = address.owner(cx).await?;
                cx.registry.remove_team(&grant, &address.slug).await?;
                Ok(Reply::new(StatusCode::NO_CONTENT))
            }
            Self::One(address) => address.shown(cx, asked, StatusCode::OK).await,
            Self::Membership(address, user) => member(cx, asked, address, user).await,
            Self::Put(address, user) => {
                let grant = address.authorize::<ManageTeam>(cx).await?;
                cx.writable()?;
                let put: Put = input::read(body).await?;
                let maintainer = maintainer(put.role.as_deref().unwrap_or("member"))?;
                cx.registry.set_team_member(&grant, user, Some(maintainer)).await?;
                member(cx, asked, address, user).await
            }
            Self::Remove(address, user) => {
                let grant = address.authorize::<ManageTeam>(cx).await?;
                cx.writable()?;
                address.find(cx, user).await?;
                cx.registry.set_team_member(&grant, user, None).await?;
                Ok(Reply::new(StatusCode::NO_CONTENT))
            }
            Self::List(..) | Self::Children(..) | Self::Members(..) | Self::Packages(..) | Self::Mine(_) => {
                let (shapes, page) = match self {
                    Self::List(org, page) => {
                        let grant = authorize::<ReadOwner>(cx, org).await?;
                        let all = cx.registry.team_views(&grant).await?;
                        (all.iter().map(|team| pen.team(team)).collect(), page)
                    }
                    Self::Children(address, page) => {
                        let grant = address.authorize::<ReadTeam>(cx).await?;
                        let all = cx.registry.teams_below(&grant).await?;
                        (all.iter().map(|team| pen.team(team)).collect(), page)
                    }
                    Self::Mine(page) => {
                        let all = cx.registry.own_teams(cx.caller).await?;
                        (all.iter().map(|team| pen.team(team)).collect(), page)
                    }
                    Self::Members(address, role, page) => (members(cx, asked, address, *role).await?, page),
                    Self::Packages(address, page) => (packages(cx, address).await?, page),
                    _ => return Err(Error::internal("not a list")),
                };
                let (some, more) = page.window().of::<Value>(shapes);
                Ok(asked.list(cx, *page, &some, more))
            }
        }
    }
}

impl Address {
    async fn authorize<A>(&self, cx: Cx<'_>) -> Result<Grant<A>>
    where
        A: Action<Target = TeamTarget>,
    {
        cx.policy().authorize_team::<A>(cx.caller, &self.org, &self.slug).await
    }

    /// The right to change the tree of teams; whoever may not know of this team is told that it is not there.
    async fn owner(&self, cx: Cx<'_>) -> Result<Grant<ManageOwner>> {
        self.authorize::<ReadTeam>(cx).await?;
        let grant = authorize::<ManageOwner>(cx, &self.org).await?;
        cx.writable()?;
        Ok(grant)
    }

    async fn shown(&self, cx: Cx<'_>, asked: &Asked, status: StatusCode) -> Result<Reply> {
        let grant = self.authorize::<ReadTeam>(cx).await?;
        let team = cx.registry.team_view(&grant).await?;
        Ok(Reply::json(status, &asked.pen(cx).team_whole(&team)))
    }

    async fn find(&self, cx: Cx<'_>, user: &str) -> Result<(String, bool)> {
        let grant = self.authorize::<ReadTeam>(cx).await?;
        let all = cx.registry.team_member_profiles(&grant).await?;
        let found = all.into_iter().find(|(member, _)| member.name.eq_ignore_ascii_case(user));
        let none = || Error::not_found(What::Owner, format!("{user} is not in this team"));
        found.map(|(member, maintainer)| (member.name, maintainer)).ok_or_else(none)
    }
}

/// The name of the team of a number.
async fn numbered(cx: Cx<'_>, org: &str, number: u64) -> Result<String> {
    let grant = authorize::<ReadOwner>(cx, org).await?;
    let all = cx.registry.team_views(&grant).await?;
    let mut found = all.into_iter().filter(|team| team.id.number() == number);
    match (found.next(), found.next()) {
        (Some(team), None) => Ok(team.name),
        _ => Err(Error::invalid(What::Request, "parent_team_id is no team of this organization")),
    }
}

async fn create(cx: Cx<'_>, asked: &Asked, org: &str, body: Body) -> Result<Reply> {
    let grant = authorize::<ManageOwner>(cx, org).await?;
    cx.writable()?;
    let new: Create = input::read(body).await?;
    check_privacy(new.privacy.as_deref())?;
    let name = TeamName::parse(&format!("{org}/{}", new.name))?;
    let parent = match new.parent_team_id {
        Some(number) => Some(numbered(cx, org, number).await?),
        None => None,
    };
    cx.registry.create_team(&grant, &name, parent.as_deref()).await?;
    let address = Address { org: org.to_owned(), slug: new.name };
    address.shown(cx, asked, StatusCode::CREATED).await
}

/// Renames a team, or puts it elsewhere: each is one change, and of two in one request one might be refused and the other done.
async fn change(cx: Cx<'_>, asked: &Asked, address: &Address, body: Body) -> Result<Reply> {
    let grant = address.owner(cx).await?;
    let change: Change = input::read(body).await?;
    check_privacy(change.privacy.as_deref())?;
    let seen = address.authorize::<ReadTeam>(cx).await?;
    let team = cx.registry.team_view(&seen).await?;
    let mut address = address.clone();
    let name = change.name.filter(|name| *name != team.name);
    let now = team.parent.map(|(id, _)| id.number());
    match (name, change.parent_team_id.filter(|parent| *parent != now)) {
        (None, None) => {}
        (Some(_), Some(_)) => {
            return Err(Error::invalid(What::Request, "rename a team in a request of its own"));
        }
        (Some(name), None) => {
            let to = TeamName::parse(&format!("{}/{name}", address.org))?;
            cx.registry.rename_team(&grant, &address.slug, &to).await?;
            address.slug = name;
        }
        (None, Some(parent)) => {
            let parent = match parent {
                Some(number) => Some(numbered(cx, &address.org, number).await?),
                None => None,
            };
            cx.registry.nest_team(&grant, &address.slug, parent.as_deref()).await?;
        }
    }
    address.shown(cx, asked, StatusCode::OK).await
}

async fn members(cx: Cx<'_>, asked: &Asked, address: &Address, role: Option<bool>) -> Result<Vec<Value>> {
    let grant = address.authorize::<ReadTeam>(cx).await?;
    let all = cx.registry.team_member_profiles(&grant).await?;
    let wanted = all.iter().filter(|(_, maintainer)| role.is_none_or(|role| role == *maintainer));
    Ok(wanted.map(|(member, _)| asked.pen(cx).account(member)).collect())
}

async fn member(cx: Cx<'_>, asked: &Asked, address: &Address, user: &str) -> Result<Reply> {
    let (name, maintainer) = address.find(cx, user).await?;
    let path = format!(
        "orgs/{}/teams/{}/memberships/{}",
        segment(&address.org),
        segment(&address.slug),
        segment(&name)
    );
    let shape = json!({
        "url": asked.pen(cx).api(&path),
        "role": if maintainer { "maintainer" } else { "member" },
        "state": "active",
    });
    Ok(Reply::json(StatusCode::OK, &shape))
}

async fn packages(cx: Cx<'_>, address: &Address) -> Result<Vec<Value>> {
    let grant = address.authorize::<ManageTeam>(cx).await?;
    let all = cx.registry.team_packages_seen(&grant).await?;
    let shape = |(name, role): &(crate::model::PackageName, crate::model::Role)| {
        json!({
            "name": name.rest(),
            "package_type": name.ecosystem().word(),
            "owner": name.owner(),
            "role": role.word(),
        })
    };
    Ok(all.iter().map(shape).collect())
}
