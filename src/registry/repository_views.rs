//! Source repositories as they are shown.

use super::{Registry, accounts, overview::Window, profiles::Profile, records::RepositoryRecord};
use crate::{
    auth::{Action, Caller, Grant, ReadRepository, RepositoryTarget},
    error::{Error, Kind, Result},
};

/// A source repository as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryView {
    /// As it is recorded.
    pub repository: RepositoryRecord,
    /// Whose it is.
    pub owner: Profile,
}

impl Registry {
    /// A repository.
    ///
    /// # Errors
    /// [`Kind::StaleGrant`] when it was removed meanwhile.
    pub async fn repository_view<A>(&self, grant: &Grant<A>) -> Result<RepositoryView>
    where
        A: Action<Target = RepositoryTarget>,
    {
        let repository = self.repository_record(grant.target()).await?;
        let owner = accounts::by_id(self.meta.as_ref(), repository.owner).await?;
        let gone = || Error::new(Kind::StaleGrant, "the source repository was removed meanwhile; try again");
        self.still(grant).await?;
        Ok(RepositoryView { repository, owner: Profile::of(&owner.ok_or_else(gone)?) })
    }

    /// A part of the repositories of some owners that the viewer may see, owner by owner in order of their names, and whether
    /// there are more.
    pub async fn repository_page(
        &self,
        viewer: &Caller,
        owners: &[String],
        window: Window,
    ) -> Result<(Vec<RepositoryView>, bool)> {
        let most = window.skip.saturating_add(window.limit);
        let (mut seen, mut more) = (Vec::new(), false);
        for owner in owners {
            let (found, left) =
                self.repositories_of(viewer, Some(owner), None, most.saturating_sub(seen.len())).await?;
            more |= left;
            seen.extend(found);
        }
        let mut shown = Vec::new();
        for target in seen.iter().skip(window.skip) {
            let (owner, name) = (target.owner_name.as_str(), target.name.as_str());
            match self.policy().authorize_repository::<ReadRepository>(viewer, owner, name).await {
                Ok(grant) => shown.push(self.repository_view(&grant).await?),
                Err(error) if error.is_fault() => return Err(error),
                // It went between the list and this look at it.
                Err(_) => {}
            }
        }
        Ok((shown, more))
    }
}
