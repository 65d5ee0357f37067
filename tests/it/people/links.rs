//! Links of packages to source repositories: what is inherited, and that it ends at once.

use packhouse::{
    adapter::control::{Command, LinkCommand},
    auth::{Caller, Delete, LinkRepository, Manage, Pull, Push, ReadRepository},
    error::{Kind, Reason, What},
    model::{PackageId, RepositoryId, RepositoryRole, Role, TeamName, Visibility},
    registry::{
        permissions::{GroupName, MAX_USERS},
        records::{Link, Membership, PackageRecord, RoleRecord, State, WorkflowRoleRecord},
        repositories::{Linked, MAX_LINKED, MAX_WORKFLOWS},
    },
    store::{Batch, MetadataRead as _, MetadataStore as _},
};

use super::{
    NOW, World,
    commands::{done, rows, run},
    kind, words,
};

impl World {
    async fn link(&self, package: &str, repo: &str, inherits: bool) {
        let to = self.may_repo::<LinkRepository>(&self.operator(), repo).await.unwrap();
        self.registry.link_package(&self.manage(package).await, &to).await.unwrap();
        self.registry.set_inherits(&self.manage(package).await, inherits).await.unwrap();
    }

    async fn linked(&self, caller: &Caller, package: &str) -> Option<(String, bool)> {
        let grant = self.may::<Pull>(caller, package).await.unwrap();
        let linked = self.registry.linked(&grant).await.unwrap();
        linked.map(|Linked { repository, inherits }| (repository.name, inherits))
    }

    /// The events of a package: what was done, and to what.
    async fn history(&self, package: &str) -> Vec<(String, String)> {
        let grant = self.may::<Pull>(&self.operator(), package).await.unwrap();
        let events = self.registry.events(&grant, 0, 100).await.unwrap();
        events.into_iter().map(|(_, event)| (event.action, event.detail.unwrap_or_default())).collect()
    }
}

/// ada owns acme, bob is a member and in its team core, dora is not a member; acme/app is private, so is the repository
/// acme/src.
async fn acme() -> World {
    let world = World::new().await;
    for user in ["ada", "bob", "dora"] {
        world.user(user).await;
    }
    world.organization("acme", "ada").await;
    world.member("acme", "bob", Some(Membership::Member)).await;
    world.team("acme/core", None).await;
    world.in_team("acme/core", "bob", Some(false)).await;
    world.push(&world.caller("ada").await, "acme/app").await.unwrap();
    world.repo("acme/src", Visibility::Private).await;
    world
}

async fn role(world: &World, caller: &Caller) -> Option<Role> {
    let may = [
        (Role::Admin, world.may::<Delete>(caller, "acme/app").await.is_ok()),
        (Role::Write, world.may::<Push>(caller, "acme/app").await.is_ok()),
        (Role::Read, world.may::<Pull>(caller, "acme/app").await.is_ok()),
    ];
    let listed = world.registry.catalog(caller, None, 10).await.unwrap();
    assert_eq!(listed == ["acme/app"], may[2].1, "the list shows what may be pulled");
    may.into_iter().find(|(_, may)| *may).map(|(role, _)| role)
}

#[tokio::test]
async fn what_is_inherited_is_the_repositorys_role_and_ends_with_it() {
    let world = acme().await;
    let (bob, dora) = (world.caller("bob").await, world.caller("dora").await);
    world.repo_role("acme/src", "dora", Some(RepositoryRole::Admin)).await;
    world.link("acme/app", "acme/src", false).await;
    assert_eq!(role(&world, &dora).await, None, "a link alone gives nothing");
    world.link("acme/app", "acme/src", true).await;
    let expected = [Role::Read, Role::Read, Role::Write, Role::Write, Role::Admin];
    for (on, expected) in RepositoryRole::ALL.iter().zip(expected) {
        world.repo_role("acme/src", "dora", Some(*on)).await;
        world.repo_role("acme/src", "team:acme/core", Some(*on)).await;
        let both = (role(&world, &dora).await, role(&world, &bob).await);
        assert_eq!(both, (Some(expected), Some(expected)), "{on}");
    }
    // Each of these takes it away, and a grant made before does not outlive it.
    type Change<'a> = std::pin::Pin<Box<dyn Future<Output = ()> + 'a>>;
    let changes: [(&str, fn(&World) -> Change<'_>); 5] = [
        ("the role", |world| Box::pin(world.repo_role("acme/src", "team:acme/core", None))),
        ("the team", |world| Box::pin(world.in_team("acme/core", "bob", None))),
        ("inheritance", |world| {
            Box::pin(async {
                world.registry.set_inherits(&world.manage("acme/app").await, false).await.unwrap()
            })
        }),
        ("the link", |world| {
            Box::pin(async { world.registry.unlink_package(&world.manage("acme/app").await).await.unwrap() })
        }),
        ("the repository", |world| {
            Box::pin(async {
                world.registry.delete_repository(&world.manage_repo("acme/src").await).await.unwrap();
            })
        }),
    ];
    for (what, change) in changes {
        world.in_team("acme/core", "bob", Some(false)).await;
        world.repo_role("acme/src", "team:acme/core", Some(RepositoryRole::Write)).await;
        world.link("acme/app", "acme/src", true).await;
        let grant = world.may::<Push>(&bob, "acme/app").await.unwrap();
        world.put(&grant, "1").await.unwrap();
        change(&world).await;
        assert_eq!(kind(world.put(&grant, "2").await), Kind::StaleGrant, "{what}");
        assert_eq!(role(&world, &bob).await, None, "{what}");
    }
    assert_eq!(role(&world, &dora).await, None);
    assert_eq!(world.linked(&world.operator(), "acme/app").await, None, "the package stays, unlinked");
}

#[tokio::test]
async fn switching_overwrites_and_says_what_it_dropped() {
    let world = acme().await;
    world.role("acme/app", "dora", Some(Role::Write)).await;
    let core = GroupName::Team(TeamName::parse("acme/core").unwrap());
    world.group_role("acme/app", &core, Some(Role::Read)).await;
    let dora = world.caller("dora").await;
    let unlinked = world.registry.set_inherits(&world.manage("acme/app").await, true).await;
    assert_eq!(kind(unlinked), Kind::Invalid(What::Package));
    world.link("acme/app", "acme/src", false).await;
    assert_eq!(role(&world, &dora).await, Some(Role::Write), "a link changes no role");
    world.link("acme/app", "acme/src", true).await;
    assert_eq!(role(&world, &dora).await, None);
    let manage = world.manage("acme/app").await;
    assert!(world.registry.roles(&manage).await.unwrap().is_empty());
    assert!(world.registry.group_roles(&manage).await.unwrap().is_empty());
    let history = world.history("acme/app").await;
    let ((action, switched), (dropped, roles)) = (&history[history.len() - 2], &history[history.len() - 1]);
    assert_eq!((action.as_str(), dropped.as_str()), ("package.inherit", "package.inherit.dropped"));
    assert!(switched.ends_with(" on"), "{switched}");
    let mut kinds: Vec<_> = roles
        .split(' ')
        .map(|one| (one.split(':').next().unwrap(), one.split('=').nth(1).unwrap()))
        .collect();
    kinds.sort_unstable();
    assert_eq!(kinds, [("team", "read"), ("user", "admin"), ("user", "write")]);

    for role in [Some(Role::Read), None] {
        let user = world.registry.set_role(&manage, "dora", role).await;
        let group = world.registry.set_group_role(&manage, &core, role).await;
        let refused = role.map(|_| Kind::Forbidden(Reason::Policy));
        assert_eq!((user.err().map(|e| e.kind()), group.err().map(|e| e.kind())), (refused, refused));
    }
    world.registry.set_inherits(&world.manage("acme/app").await, false).await.unwrap();
    assert_eq!(role(&world, &dora).await, None, "nothing comes back by itself");
    world.role("acme/app", "dora", Some(Role::Read)).await;
    assert_eq!(role(&world, &dora).await, Some(Role::Read));
}

#[tokio::test]
async fn a_link_is_kept_by_id_and_within_one_owner() {
    let world = acme().await;
    let (ada, bob, dora) = (world.caller("ada").await, world.caller("bob").await, world.caller("dora").await);
    world.repo_role("acme/src", "dora", Some(RepositoryRole::Read)).await;
    world.link("acme/app", "acme/src", true).await;
    world.registry.rename_repository(&world.manage_repo("acme/src").await, "Source").await.unwrap();
    assert_eq!(role(&world, &dora).await, Some(Role::Read));
    assert_eq!(world.linked(&dora, "acme/app").await, Some(("Source".into(), true)));
    world.repo("acme/src", Visibility::Private).await;
    assert_eq!(world.linked(&ada, "acme/app").await, Some(("Source".into(), true)), "not the new one");

    // Linking needs admin on the package and write on the repository, and tells nothing of one that is not seen.
    world.link("acme/app", "acme/source", false).await;
    world.role("acme/app", "bob", Some(Role::Admin)).await;
    world.may::<Manage>(&bob, "acme/app").await.unwrap();
    let (hidden, absent) = (
        world.may_repo::<LinkRepository>(&bob, "acme/src").await.unwrap_err(),
        world.may_repo::<LinkRepository>(&bob, "acme/xyz").await.unwrap_err(),
    );
    assert_eq!(hidden.kind(), Kind::NotFound(What::Repository));
    assert_eq!(words(&hidden).1.replace("src", "xyz"), words(&absent).1);
    world.repo_role("acme/src", "bob", Some(RepositoryRole::Triage)).await;
    let low = world.may_repo::<LinkRepository>(&bob, "acme/src").await;
    assert_eq!(kind(low), Kind::Forbidden(Reason::Role));
    world.repo_role("acme/src", "bob", Some(RepositoryRole::Write)).await;
    let to = world.may_repo::<LinkRepository>(&bob, "acme/src").await.unwrap();
    let manage = world.may::<Manage>(&bob, "acme/app").await.unwrap();
    world.repo_role("acme/src", "bob", None).await;
    assert_eq!(
        kind(world.registry.link_package(&manage, &to).await),
        Kind::StaleGrant,
        "both are asked again"
    );

    // Whoever reads the package does not learn the name of a repository that it may not see.
    world.visibility("acme/app", Visibility::Public).await;
    assert_eq!(world.linked(&bob, "acme/app").await, None);
    assert_eq!(world.linked(&world.anonymous(), "acme/app").await, None);
    assert_eq!(world.linked(&dora, "acme/app").await, Some(("Source".into(), false)));

    world.repo("dora/lib", Visibility::Private).await;
    let foreign = world.may_repo::<LinkRepository>(&world.operator(), "dora/lib").await.unwrap();
    let refused = world.registry.link_package(&world.manage("acme/app").await, &foreign).await;
    assert_eq!(kind(refused), Kind::Forbidden(Reason::Policy));
    world.link("acme/app", "acme/source", true).await;
    let to = world.manage_owner("dora").await;
    let source = world.manage_repo("acme/source").await;
    world.registry.transfer_repository(&source, &to).await.unwrap();
    assert_eq!(
        world.linked(&world.operator(), "acme/app").await,
        None,
        "a repository that goes is linked no more"
    );
    assert_eq!(world.history("acme/app").await.last().unwrap().0, "package.unlink");
}

#[tokio::test]
async fn of_a_link_and_its_end_at_once_one_knows_of_the_other() {
    let world = acme().await;
    for round in 0..10 {
        let repo = format!("acme/r{round}");
        world.repo(&repo, Visibility::Private).await;
        world.repo_role(&repo, "dora", Some(RepositoryRole::Read)).await;
        let to = world.may_repo::<LinkRepository>(&world.operator(), &repo).await.unwrap();
        let (manage, repository) = (world.manage("acme/app").await, world.manage_repo(&repo).await);
        let (linked, gone) = tokio::join!(
            world.registry.link_package(&manage, &to),
            world.registry.delete_repository(&repository),
        );
        gone.unwrap();
        assert!(linked.is_ok() || kind(linked) == Kind::StaleGrant);
        world.link("acme/app", "acme/src", false).await;
        let (one, two) = (world.manage("acme/app").await, world.manage("acme/app").await);
        let (given, switched) = tokio::join!(
            world.registry.set_role(&one, "dora", Some(Role::Write)),
            world.registry.set_inherits(&two, true),
        );
        switched.unwrap();
        assert!(given.is_ok() || matches!(kind(given), Kind::Forbidden(Reason::Policy)));
        assert!(world.registry.roles(&world.manage("acme/app").await).await.unwrap().is_empty());
    }
    let findings = world.registry.findings(&world.operate(), Default::default()).await.unwrap();
    assert!(findings.is_empty(), "{findings:?}");
}

#[tokio::test]
async fn a_package_that_is_deleted_and_restored_keeps_its_link_or_lost_it() {
    let world = acme().await;
    world.repo_role("acme/src", "dora", Some(RepositoryRole::Read)).await;
    for keep in [true, false] {
        world.link("acme/app", "acme/src", true).await;
        let delete = world.may::<Delete>(&world.operator(), "acme/app").await.unwrap();
        world.registry.delete_package(&delete).await.unwrap();
        if !keep {
            world.registry.delete_repository(&world.manage_repo("acme/src").await).await.unwrap();
        }
        let name = super::name("acme/app");
        let policy = world.registry.policy();
        let restore = policy.authorize_deleted(&world.operator(), &name, None).await.unwrap();
        world.registry.restore_package(&restore).await.unwrap();
        let dora = world.caller("dora").await;
        assert_eq!(role(&world, &dora).await, keep.then_some(Role::Read));
    }
}

#[tokio::test]
async fn links_and_roles_have_their_limits() {
    let world = acme().await;
    let repository = world.manage_repo("acme/src").await.target().id;
    let app = world.manage("acme/app").await;
    let (package, owner) = (app.target().id, app.target().owner);
    let mut batch = Batch::new();
    for n in 0..MAX_LINKED as u64 {
        batch.put(PackageRecord::linked_to(repository).with(&n.to_be_bytes()), Vec::new());
    }
    for n in 1..MAX_USERS as u64 {
        let user = packhouse::model::OwnerId(n);
        let (role, since, path) = (Role::Read, NOW.0, "acme/app".to_owned());
        batch.replace(None, Some(&RoleRecord { package, user, owner, role, since, path }));
    }
    world.meta.commit(batch).await.unwrap();
    let to = world.may_repo::<LinkRepository>(&world.operator(), "acme/src").await.unwrap();
    assert_eq!(kind(world.registry.link_package(&app, &to).await), Kind::Forbidden(Reason::Policy));
    let another = world.registry.set_role(&app, "dora", Some(Role::Read)).await;
    assert_eq!(kind(another), Kind::Forbidden(Reason::Policy), "ada has one too");
}

#[tokio::test]
async fn links_at_the_command_line() {
    let world = acme().await;
    let dora = world.caller("dora").await;
    world.repo_role("acme/src", "dora", Some(RepositoryRole::Maintain)).await;
    let app = || "acme/app".to_owned();
    let link =
        |repo: &str, inherit| Command::Link(LinkCommand::Link { package: app(), repo: repo.into(), inherit });
    let show = async || rows(&done(&world, Command::Link(LinkCommand::Show { package: app() })).await);
    assert!(run(&world, link("acme/none", true)).await.unwrap_err().contains("acme/none"));
    let inherit = |on| Command::Link(LinkCommand::Inherit { package: app(), on });
    assert!(run(&world, inherit(true)).await.unwrap_err().contains("package link"));
    done(&world, link("acme/src", true)).await;
    assert_eq!(show().await[3..], [["repository", "acme/src"], ["roles", "the repository's"]]);
    assert_eq!(role(&world, &dora).await, Some(Role::Write));
    let refused = Command::PackageGrant { package: app(), principal: "bob".into(), role: Some(Role::Read) };
    assert!(run(&world, refused).await.unwrap_err().contains("inherit PACKAGE off"));
    done(&world, inherit(false)).await;
    assert_eq!(show().await[4], ["roles", "its own"]);
    done(&world, Command::Link(LinkCommand::Unlink { package: app() })).await;
    assert_eq!(show().await[3], ["repository", ""]);
    assert_eq!(role(&world, &dora).await, None);
}

/// A package that no manifest came to yet may link and inherit: its pusher then is what it is on the repository.
#[tokio::test]
async fn the_first_push_gives_no_role_on_what_inherits() {
    let world = acme().await;
    let bob = world.caller("bob").await;
    let grant = world.publish(&bob, "acme/new").await.unwrap();
    world.link("acme/new", "acme/src", true).await;
    world.put(&grant, "1").await.unwrap();
    assert!(
        world.may::<Pull>(&bob, "acme/new").await.is_err(),
        "it is begun, and its roles are the repository's"
    );
    world.repo_role("acme/src", "bob", Some(RepositoryRole::Write)).await;
    let grant = world.may::<Push>(&bob, "acme/new").await.unwrap();
    assert!(world.may::<Manage>(&bob, "acme/new").await.is_err());
    let found = world.meta.get(&PackageRecord::key_of(grant.target().id)).await.unwrap().unwrap();
    let package = PackageRecord::decode(&found).unwrap();
    assert_eq!(package.state, State::Visible);
    assert!(matches!(package.link, Some(Link { repository: RepositoryId(_), inherits: true })));
    assert!(world.registry.roles(&world.manage("acme/new").await).await.unwrap().is_empty());
    let _: PackageId = package.id;
}

#[tokio::test]
async fn workflow_access_is_given_by_id_and_ends_with_the_repository() {
    let world = acme().await;
    world.role("acme/app", "bob", Some(Role::Admin)).await;
    let bob = world.caller("bob").await;
    let grant = |principal: &str, role| Command::PackageGrant {
        package: "acme/app".into(),
        principal: principal.into(),
        role,
    };
    let listed = async || world.registry.workflows(&world.manage("acme/app").await).await.unwrap();
    let hidden = world.may_repo::<ReadRepository>(&bob, "acme/src").await.unwrap_err();
    assert_eq!(hidden.kind(), Kind::NotFound(What::Repository), "an administrator names what it sees");
    for wrong in ["repo:acme/none", "repo:acme", "repo:acme/a b"] {
        assert!(run(&world, grant(wrong, Some(Role::Read))).await.is_err(), "{wrong}");
    }
    world.repo("dora/lib", Visibility::Public).await;
    for repo in ["repo:acme/src", "repo:dora/LIB"] {
        done(&world, grant(repo, Some(Role::Write))).await;
    }
    done(&world, grant("repo:acme/src", Some(Role::Admin))).await;
    assert_eq!(listed().await, [("acme/src".into(), Role::Admin), ("dora/lib".into(), Role::Write)]);
    let shown = rows(&done(&world, Command::PackageRoles { package: "acme/app".into() }).await);
    assert_eq!(shown[2..], [["repo:acme/src", "admin"], ["repo:dora/lib", "write"]]);

    // Neither a link nor a switch of what people inherit touches it.
    world.link("acme/app", "acme/src", true).await;
    world.registry.unlink_package(&world.manage("acme/app").await).await.unwrap();
    world.registry.rename_repository(&world.manage_repo("acme/src").await, "source").await.unwrap();
    assert_eq!(listed().await, [("acme/source".into(), Role::Admin), ("dora/lib".into(), Role::Write)]);
    let to = world.manage_owner("acme").await;
    world.registry.transfer_repository(&world.manage_repo("dora/lib").await, &to).await.unwrap();
    assert_eq!(listed().await, [("acme/source".into(), Role::Admin)], "another owner's jobs are others");
    world.registry.delete_repository(&world.manage_repo("acme/source").await).await.unwrap();
    world.repo("acme/source", Visibility::Private).await;
    assert!(listed().await.is_empty(), "a new one of the name has nothing");
    let none = run(&world, grant("repo:acme/source", None)).await.unwrap_err();
    let absent = run(&world, grant("repo:acme/xource", None)).await.unwrap_err();
    assert_eq!(none.replace("acme/source", "acme/xource"), absent);
    done(&world, grant("repo:acme/source", Some(Role::Read))).await;
    done(&world, grant("repo:acme/source", None)).await;
    assert!(listed().await.is_empty());

    let (manage, repo) = (world.manage("acme/app").await, world.manage_repo("acme/source").await);
    let to = world.may_repo::<ReadRepository>(&world.operator(), "acme/source").await.unwrap();
    let package = manage.target().id;
    let mut batch = Batch::new();
    for n in 0..MAX_WORKFLOWS as u64 {
        batch.put(WorkflowRoleRecord::on(package).with(&n.to_be_bytes()), Vec::new());
    }
    world.meta.commit(batch).await.unwrap();
    let full = world.registry.give_workflow(&manage, &to, Role::Read).await;
    assert_eq!(kind(full), Kind::Forbidden(Reason::Policy));
    world.registry.delete_repository(&repo).await.unwrap();
}
