//! Things as management clients read them. Every shape has its schema in the OpenAPI document; a test compares.

use serde_json::{Value, json};

use crate::{
    auth::Caller,
    http::{Site, query::encode},
    model::{Ecosystem, Numbered, Timestamp, Visibility},
    registry::{
        DeletedPackage, PackageView, Profile, RepositoryView, TeamView, Version, records::Membership,
    },
};

/// What shapes are made with: whose eyes, and where this installation is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pen<'a> {
    pub(super) site: &'a Site,
    pub(super) caller: &'a Caller,
}

/// A segment of a path.
pub(super) fn segment(text: &str) -> String {
    encode(text).replace('/', "%2F").replace(':', "%3A")
}

/// RFC 3339, which has room for four digits of a year.
pub(super) fn time(at: Timestamp) -> String {
    at.to_string()
}

impl Pen<'_> {
    /// The address of something of this API.
    pub(super) fn api(self, path: &str) -> String {
        format!("{}/api/v3/{path}", self.site.base)
    }

    /// An account in short.
    pub(super) fn account(self, account: &Profile) -> Value {
        let name = segment(&account.name);
        let kind = if account.is_organization() { "Organization" } else { "User" };
        let mut shape = json!({
            "login": account.name,
            "id": account.id.number(),
            "node_id": account.id.to_string(),
            "type": kind,
            "url": self.api(&format!("users/{name}")),
            "html_url": format!("{}/{name}", self.site.base),
            "avatar_url": "",
        });
        // Who administers the installation is for those who belong to it to know.
        if let Some(shape) = shape.as_object_mut().filter(|_| !self.caller.is_anonymous()) {
            shape.insert("site_admin".into(), account.administrator.into());
        }
        shape
    }

    /// A user whole.
    pub(super) fn user(self, account: &Profile) -> Value {
        let mut shape = self.account(account);
        if let Some(shape) = shape.as_object_mut() {
            shape.insert("name".into(), Value::Null);
            shape.insert("email".into(), Value::Null);
            shape.insert("created_at".into(), time(account.created).into());
            shape.insert("updated_at".into(), time(account.created).into());
            if let Some(settings) = account.settings {
                shape.insert("anonymous_reads".into(), settings.anonymous_reads.into());
            }
            if let Some(suspended) = account.suspended {
                shape.insert("suspended".into(), suspended.into());
            }
        }
        shape
    }

    /// An organization in short.
    pub(super) fn organization(self, account: &Profile) -> Value {
        let name = segment(&account.name);
        json!({
            "login": account.name,
            "id": account.id.number(),
            "node_id": account.id.to_string(),
            "url": self.api(&format!("orgs/{name}")),
            "members_url": self.api(&format!("orgs/{name}/members{{/member}}")),
            "description": Value::Null,
            "avatar_url": "",
        })
    }

    /// An organization whole.
    pub(super) fn organization_whole(self, account: &Profile) -> Value {
        let mut shape = self.organization(account);
        if let Some(shape) = shape.as_object_mut() {
            shape.insert("type".into(), "Organization".into());
            shape.insert("html_url".into(), format!("{}/{}", self.site.base, segment(&account.name)).into());
            shape.insert("created_at".into(), time(account.created).into());
            shape.insert("updated_at".into(), time(account.created).into());
            if let Some(settings) = account.settings {
                let role = settings.base_role.map_or("none", |role| role.word());
                shape.insert("default_repository_permission".into(), role.into());
                shape.insert("anonymous_reads".into(), settings.anonymous_reads.into());
            }
        }
        shape
    }

    /// What somebody is in an organization.
    pub(super) fn membership(self, organization: &Profile, user: &Profile, membership: Membership) -> Value {
        let (org, name) = (segment(&organization.name), segment(&user.name));
        let role = match membership {
            Membership::Owner => "admin",
            Membership::Member => "member",
        };
        json!({
            "url": self.api(&format!("orgs/{org}/memberships/{name}")),
            "organization_url": self.api(&format!("orgs/{org}")),
            "state": "active",
            "role": role,
            "organization": self.organization(organization),
            "user": self.account(user),
        })
    }

    /// A team.
    pub(super) fn team(self, team: &TeamView) -> Value {
        let organization = segment(&team.organization.name);
        let path = |name: &str| self.api(&format!("orgs/{organization}/teams/{}", segment(name)));
        let own = path(&team.name);
        let parent = team.parent.as_ref().map(|(id, name)| {
            json!({ "id": id.number(), "node_id": id.to_string(), "name": name, "slug": name, "url": path(name) })
        });
        json!({
            "id": team.id.number(),
            "node_id": team.id.to_string(),
            "name": team.name,
            "slug": team.name,
            "description": Value::Null,
            "privacy": "closed",
            "permission": "pull",
            "url": own,
            "html_url": format!("{}/{organization}", self.site.base),
            "members_url": format!("{own}/members{{/member}}"),
            "repositories_url": format!("{own}/repos"),
            "parent": parent,
        })
    }

    /// A team whole.
    pub(super) fn team_whole(self, team: &TeamView) -> Value {
        let mut shape = self.team(team);
        if let Some(shape) = shape.as_object_mut() {
            shape.insert("members_count".into(), team.members.into());
            shape.insert("created_at".into(), time(team.created).into());
            shape.insert("updated_at".into(), time(team.created).into());
            shape.insert("organization".into(), self.organization_whole(&team.organization));
        }
        shape
    }

    /// A source repository.
    pub(super) fn repository(self, view: &RepositoryView) -> Value {
        let (repository, owner) = (&view.repository, &view.owner);
        let path = format!("{}/{}", segment(&owner.name), segment(&repository.name));
        let license = (!repository.license.is_empty())
            .then(|| json!({ "spdx_id": repository.license, "name": repository.license }));
        json!({
            "id": repository.id.number(),
            "node_id": repository.id.to_string(),
            "name": repository.name,
            "full_name": format!("{}/{}", owner.name, repository.name),
            "owner": self.account(owner),
            "private": repository.visibility != Visibility::Public,
            "visibility": repository.visibility.word(),
            "description": (!repository.description.is_empty()).then_some(&repository.description),
            "homepage": (!repository.url.is_empty()).then_some(&repository.url),
            "topics": repository.topics,
            "license": license,
            "url": self.api(&format!("repos/{path}")),
            "html_url": format!("{}/{path}", self.site.base),
            "collaborators_url": self.api(&format!("repos/{path}/collaborators{{/collaborator}}")),
            "created_at": time(Timestamp(repository.created)),
            "synced_at": repository.synced.map(|at| time(Timestamp(at))),
        })
    }

    fn root(self, owner: &Profile) -> String {
        let kind = if owner.is_organization() { "orgs" } else { "users" };
        format!("{kind}/{}", segment(&owner.name))
    }

    /// A package.
    pub(super) fn package(self, view: &PackageView) -> Value {
        let name = &view.package.name;
        let kind = name.ecosystem().word();
        let path = format!("{}/packages/{kind}/{}", self.root(&view.owner), segment(name.rest()));
        json!({
            "id": view.package.id.number(),
            "name": name.rest(),
            "package_type": kind,
            "owner": self.account(&view.owner),
            "version_count": view.versions,
            "visibility": view.package.visibility.word(),
            "url": self.api(&path),
            "html_url": format!("{}/{name}", self.site.base),
            "created_at": time(view.created),
            "updated_at": time(view.updated),
        })
    }

    /// A package that can be restored.
    pub(super) fn deleted_package(self, owner: &Profile, gone: &DeletedPackage) -> Value {
        json!({
            "id": gone.id.number(),
            "name": gone.name.rest(),
            "package_type": gone.name.ecosystem().word(),
            "owner": self.account(owner),
            "deleted_at": time(gone.deleted),
            "restorable_until": time(gone.until),
        })
    }

    /// A version of a package.
    pub(super) fn version(self, of: &PackageView, version: &Version) -> Value {
        let name = &of.package.name;
        let kind = name.ecosystem().word();
        let number = version.digest.number();
        let path = format!("{}/packages/{kind}/{}", self.root(&of.owner), segment(name.rest()));
        let mut metadata = json!({ "package_type": kind });
        if let Some(metadata) = metadata.as_object_mut().filter(|_| name.ecosystem() == Ecosystem::Container)
        {
            metadata.insert("container".into(), json!({ "tags": version.tags }));
        }
        let mut shape = json!({
            "id": number,
            "name": version.digest.to_string(),
            "url": self.api(&format!("{path}/versions/{number}")),
            "package_html_url": format!("{}/{name}", self.site.base),
            "html_url": format!("{}/{name}@{}", self.site.base, version.digest),
            "created_at": time(version.pushed),
            "updated_at": time(version.pushed),
            "media_type": version.kind,
            "size": version.size,
            "metadata": metadata,
        });
        if let (Some((at, until)), Some(shape)) = (version.deleted, shape.as_object_mut()) {
            shape.insert("deleted_at".into(), time(at).into());
            shape.insert("restorable_until".into(), time(until).into());
        }
        shape
    }
}
