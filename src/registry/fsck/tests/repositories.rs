//! Source repositories: one of everything, changed at random, damaged.

use proptest::prelude::*;

use super::world::{World, name as package, now};
use crate::{
    auth::{Caller, Grant, ManageRepository},
    error::Result,
    model::{
        Collaborator, OwnerId, RepositoryId, RepositoryName, RepositoryRole, Role, TeamName, Visibility,
    },
    registry::{
        Registry,
        fsck::*,
        records::{
            AccountRecord, Link, PackageRecord, RepositoryRecord, RepositoryRoleRecord, WorkflowRoleRecord,
        },
        repositories::{self, CollaboratorName, RepositoryEdit},
    },
};

/// A repository with everything that can be said of one, and a role of each kind on it.
pub(super) async fn fill(registry: &Registry) {
    let operator = Caller::operator(now(), "test".into());
    let acme = registry.policy().authorize_owner(&operator, "acme").await.unwrap();
    let about = RepositoryEdit {
        visibility: Some(Visibility::Internal),
        description: Some("an app".into()),
        url: Some("https://git.example/acme/app".into()),
        topics: Some(vec!["web".into()]),
        license: Some("MIT".into()),
        readme: Some("# App".into()),
        synced: true,
    };
    let name = RepositoryName::parse("acme/App").unwrap();
    registry.create_repository(&acme, &name, &about).await.unwrap();
    let grant = manage(registry, &operator, "app").await.unwrap();
    let core = CollaboratorName::Team(TeamName::parse("acme/core").unwrap());
    for who in [core, CollaboratorName::User("bob".into())] {
        registry.set_repository_role(&grant, &who, Some(RepositoryRole::Triage)).await.unwrap();
    }
    let manage = registry.policy().authorize(&operator, &package()).await.unwrap();
    let to = registry.policy().authorize_repository(&operator, "acme", "app").await.unwrap();
    registry.give_workflow(&manage, &to, Role::Write).await.unwrap();
}

async fn manage(registry: &Registry, caller: &Caller, name: &str) -> Result<Grant<ManageRepository>> {
    registry.policy().authorize_repository(caller, "acme", name).await
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    Create(u8, bool),
    Edit(u8, bool),
    Rename(u8, u8),
    Transfer(u8, bool),
    Delete(u8),
    User(u8, bool),
    Team(u8, u8, bool),
    Link(u8),
    Unlink,
    Inherit(bool),
    Workflow(u8, bool),
}

pub(super) fn steps() -> impl Strategy<Value = Step> {
    let repo = || 0u8..3;
    prop_oneof![
        3 => (repo(), any::<bool>()).prop_map(|(repo, full)| Step::Create(repo, full)),
        2 => (repo(), any::<bool>()).prop_map(|(repo, full)| Step::Edit(repo, full)),
        1 => (repo(), repo()).prop_map(|(repo, to)| Step::Rename(repo, to)),
        1 => (repo(), any::<bool>()).prop_map(|(repo, back)| Step::Transfer(repo, back)),
        1 => repo().prop_map(Step::Delete),
        2 => (repo(), any::<bool>()).prop_map(|(repo, given)| Step::User(repo, given)),
        2 => (repo(), 0u8..3, any::<bool>()).prop_map(|(repo, team, given)| Step::Team(repo, team, given)),
        3 => repo().prop_map(Step::Link),
        1 => Just(Step::Unlink),
        2 => any::<bool>().prop_map(Step::Inherit),
        2 => (repo(), any::<bool>()).prop_map(|(repo, given)| Step::Workflow(repo, given)),
    ]
}

pub(super) async fn take(registry: &Registry, caller: &Caller, step: &Step) -> Result<()> {
    let policy = registry.policy();
    let name = |repo: &u8| format!("r{repo}");
    let about = |full: bool| RepositoryEdit {
        url: Some(if full { "https://git.example/x".into() } else { String::new() }),
        readme: Some(if full { "# X".into() } else { String::new() }),
        ..RepositoryEdit::default()
    };
    let role = |given: bool| given.then_some(RepositoryRole::Maintain);
    match step {
        Step::Create(repo, full) => {
            let acme = policy.authorize_owner(caller, "acme").await?;
            let name = RepositoryName::parse(&format!("acme/{}", name(repo)))?;
            registry.create_repository(&acme, &name, &about(*full)).await?;
        }
        Step::Edit(repo, full) => {
            registry.edit_repository(&manage(registry, caller, &name(repo)).await?, &about(*full)).await?;
        }
        Step::Rename(repo, to) => {
            registry.rename_repository(&manage(registry, caller, &name(repo)).await?, &name(to)).await?;
        }
        Step::Transfer(repo, back) => {
            let (from, to) = if *back { ("bob", "acme") } else { ("acme", "bob") };
            let grant = policy.authorize_repository(caller, from, &name(repo)).await?;
            let to = policy.authorize_owner(caller, to).await?;
            registry.transfer_repository(&grant, &to).await?;
        }
        Step::Delete(repo) => {
            registry.delete_repository(&manage(registry, caller, &name(repo)).await?).await?;
        }
        Step::User(repo, given) => {
            let who = CollaboratorName::User("bob".into());
            let grant = manage(registry, caller, &name(repo)).await?;
            registry.set_repository_role(&grant, &who, role(*given)).await?;
        }
        Step::Team(repo, team, given) => {
            let who = CollaboratorName::Team(TeamName::parse(&format!("acme/t{team}"))?);
            let grant = manage(registry, caller, &name(repo)).await?;
            registry.set_repository_role(&grant, &who, role(*given)).await?;
        }
        Step::Link(repo) => {
            let to = policy.authorize_repository(caller, "acme", &name(repo)).await?;
            registry.link_package(&policy.authorize(caller, &package()).await?, &to).await?;
        }
        Step::Unlink => registry.unlink_package(&policy.authorize(caller, &package()).await?).await?,
        Step::Workflow(repo, given) => {
            let manage = policy.authorize(caller, &package()).await?;
            let named = RepositoryName::parse(&format!("acme/{}", name(repo)))?;
            if *given {
                let to = policy.authorize_repository(caller, "acme", &name(repo)).await?;
                registry.give_workflow(&manage, &to, Role::Write).await?;
            } else {
                registry.end_workflow(&manage, &named).await?;
            }
        }
        Step::Inherit(on) => registry.set_inherits(&policy.authorize(caller, &package()).await?, *on).await?,
    }
    Ok(())
}

#[tokio::test]
async fn repositories_that_do_not_hold_together_are_found() {
    let world = World::new().await;
    let meta = world.memory.meta.as_ref();
    let repository = repositories::by_name(meta, world.owner, "app").await.unwrap().unwrap();
    let bob = {
        let found = world.memory.meta.scan(&AccountRecord::name_prefix("bob"), None, 1).await.unwrap();
        AccountRecord::id_in(&found[0].0).unwrap()
    };
    let key = RepositoryRoleRecord::key_of(repository.id, Collaborator::User(bob));
    let role = RepositoryRoleRecord::decode(&world.get(&key).await).unwrap();

    let wrong = RepositoryRoleRecord { owner: OwnerId(7), ..role.clone() };
    world.edit(|batch| batch.replace(Some(&role), Some(&wrong))).await;
    world.finds(&[Code::OwnerWrong]).await;
    let nobody = RepositoryRoleRecord { of: Collaborator::User(OwnerId(7)), ..role.clone() };
    world.edit(|batch| batch.replace(Some(&wrong), Some(&nobody))).await;
    world.finds_and_mends(&[Code::AccountMissing]).await;
    let nothing = RepositoryRoleRecord { repository: RepositoryId(7), ..role.clone() };
    world.edit(|batch| batch.replace(None, Some(&nothing))).await;
    world.finds_and_mends(&[Code::RepositoryMissing]).await;

    // The README and the roles that are left say something of what is gone.
    world.edit(|batch| batch.replace(Some(&repository), None)).await;
    world.finds_and_mends(&[Code::RepositoryMissing]).await;
    world.edit(|batch| batch.put(RepositoryRecord::key_of(repository.id), &b"\x01{}"[..])).await;
    world.finds(&[Code::RecordBroken]).await;
    world.edit(|batch| batch.delete(RepositoryRecord::key_of(repository.id))).await;
    let stray = [
        RepositoryRecord::name_prefix(world.owner, "app").with(&[9; 8]),
        RepositoryRecord::at_place(world.owner, "git.example/x").with(&[9; 8]),
        RepositoryRoleRecord::of_at(Collaborator::User(bob), world.owner).with(&[9; 8]),
    ];
    for key in stray {
        world.edit(|batch| batch.put(key, Bytes::new())).await;
        world.finds_and_mends(&[Code::IndexStray]).await;
    }
    let package = world.package().await;
    let link =
        |repository, inherits| PackageRecord { link: Some(Link { repository, inherits }), ..package.clone() };
    let dangling = link(RepositoryId(7), false);
    world.edit(|batch| batch.replace(Some(&package), Some(&dangling))).await;
    world.finds_and_mends(&[Code::RepositoryMissing]).await;
    world.edit(|batch| batch.replace(None, Some(&repository))).await;
    let inherits = link(repository.id, true);
    world.edit(|batch| batch.replace(Some(&package), Some(&inherits))).await;
    world.finds(&[Code::RoleIdle]).await;
    world.edit(|batch| batch.replace(Some(&inherits), Some(&package))).await;
    world.edit(|batch| batch.replace(Some(&repository), None)).await;
    let path = "acme/app".to_owned();
    let workflow = WorkflowRoleRecord {
        package: package.id,
        repository: RepositoryId(7),
        role: Role::Read,
        since: 1,
        path,
    };
    world.edit(|batch| batch.replace(None, Some(&workflow))).await;
    world.finds_and_mends(&[Code::RepositoryMissing]).await;
    let foreign = RepositoryRecord { owner: OwnerId(7), ..repository.clone() };
    world.edit(|batch| batch.replace(None, Some(&foreign))).await;
    world.finds(&[Code::AccountMissing]).await;
}
