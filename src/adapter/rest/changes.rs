//! Deleting and restoring packages and versions, and who may read a package.

use http::{Method, StatusCode};
use serde::Deserialize;

use super::{
    Asked, Cx, input,
    packages::{Address, Number, below},
};
use crate::{
    auth::{Delete, Manage, Pull, Restore},
    error::{Error, Result, What},
    http::{Body, Reply},
    model::{Digest, Visibility},
};

/// The names of its routes.
pub(super) const ROUTES: &[&str] =
    &["package_change", "package_delete", "package_restore", "version_delete", "version_restore"];

#[derive(Debug, Clone)]
pub(super) enum Ask {
    /// `PATCH {root}/packages/{type}/{name}`.
    Change(Address),
    /// `DELETE {root}/packages/{type}/{name}`.
    Delete(Address),
    /// `POST …/restore`.
    Restore(Address),
    /// `DELETE …/versions/{id}`.
    DeleteVersion(Address, Number),
    /// `POST …/versions/{id}/restore`.
    RestoreVersion(Address, Number),
}

/// What can be changed about a package.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    visibility: Option<Visibility>,
    /// The package's `OWNER/NAME`, typed by whoever changes who may read it.
    confirm: Option<String>,
}

impl Ask {
    pub(super) fn parse(method: &Method, path: &[&str]) -> Result<Option<Self>> {
        let Some((address, rest)) = below(path)? else { return Ok(None) };
        Ok(match (method.as_str(), rest) {
            ("PATCH", []) => Some(Self::Change(address)),
            ("DELETE", []) => Some(Self::Delete(address)),
            ("POST", ["restore"]) => Some(Self::Restore(address)),
            ("DELETE", ["versions", number]) => Some(Self::DeleteVersion(address, Number::parse(number)?)),
            ("POST", ["versions", number, "restore"]) => {
                Some(Self::RestoreVersion(address, Number::parse(number)?))
            }
            _ => None,
        })
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Change(_) => "package_change",
            Self::Delete(_) => "package_delete",
            Self::Restore(_) => "package_restore",
            Self::DeleteVersion(..) => "version_delete",
            Self::RestoreVersion(..) => "version_restore",
        }
    }

    pub(super) async fn handle(&self, cx: Cx<'_>, asked: &Asked, body: Body) -> Result<Reply> {
        match self {
            Self::Change(address) => return change(cx, asked, address, body).await,
            Self::Delete(address) => {
                let grant = address.authorize::<Delete>(cx).await?;
                cx.registry.delete_package(&grant).await?;
            }
            Self::Restore(address) => {
                let grant = address.authorize_deleted(cx).await?;
                cx.registry.restore_package(&grant).await?;
            }
            Self::DeleteVersion(address, number) => {
                let grant = address.authorize::<Delete>(cx).await?;
                let read = cx.authorize::<Pull>(&grant.target().name).await?;
                let digest = number.find(cx, &read).await?.digest;
                cx.registry.delete_manifest(&grant, &digest).await?;
            }
            Self::RestoreVersion(address, number) => {
                let grant = address.authorize::<Restore>(cx).await?;
                let digest: Digest = match number {
                    Number::Is(number) => cx.registry.deleted_numbered(&grant, *number).await?,
                    Number::Digest(digest) => *digest,
                };
                cx.registry.restore_manifest(&grant, &digest).await?;
            }
        }
        Ok(Reply::new(StatusCode::NO_CONTENT))
    }
}

/// Changes a package. Who may read it changes either way only with its name typed: what was public was copied, perhaps, and
/// whoever reads what was private cannot be made to forget it.
async fn change(cx: Cx<'_>, asked: &Asked, address: &Address, body: Body) -> Result<Reply> {
    let grant = address.authorize::<Manage>(cx).await?;
    let change: Change = input::read(body).await?;
    let package = grant.target();
    if let Some(visibility) = change.visibility.filter(|wanted| *wanted != package.visibility) {
        let name = package.name.to_string();
        if change.confirm.as_deref() != Some(name.as_str()) {
            let text = format!(
                "{name} is {} and would be {visibility}; say \"confirm\": \"{name}\" beside it",
                package.visibility
            );
            return Err(Error::invalid(What::Request, text));
        }
        cx.registry.set_visibility(&grant, visibility).await?;
    }
    let view = cx.registry.package_view(&grant).await?;
    Ok(Reply::json(StatusCode::OK, &asked.pen(cx).package(&view)))
}
