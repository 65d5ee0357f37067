//! Source repositories: made, described, handed over, and who may do what on them.

use packhouse::{
    adapter::control::{Command, RepoCommand},
    auth::{Action, Caller, Grant, LinkRepository, ManageRepository, ReadRepository, RepositoryTarget},
    error::{Challenge, Kind, Reason, Result, What},
    model::{Collaborator, OwnerId, RepositoryName, RepositoryRole, TeamId, TeamName, Visibility},
    registry::{
        records::{AccountKind, Membership, RepositoryRoleRecord},
        repositories::{CollaboratorName, MAX_COLLABORATORS, MAX_README, MAX_TEAMS_ON, RepositoryEdit},
    },
    store::{Batch, MetadataStore as _},
};

use super::{
    ALL, NOW, READ, World,
    commands::{done, rows, run},
    kind, words,
};

impl World {
    pub(super) async fn repo(&self, name: &str, visibility: Visibility) {
        let name = RepositoryName::parse(name).unwrap();
        let about = RepositoryEdit { visibility: Some(visibility), ..RepositoryEdit::default() };
        let owner = self.manage_owner(name.owner()).await;
        self.registry.create_repository(&owner, &name, &about).await.unwrap();
    }

    pub(super) async fn may_repo<A>(&self, caller: &Caller, name: &str) -> Result<Grant<A>>
    where
        A: Action<Target = RepositoryTarget>,
    {
        let (owner, name) = name.split_once('/').unwrap();
        self.registry.policy().authorize_repository(caller, owner, name).await
    }

    pub(super) async fn manage_repo(&self, name: &str) -> Grant<ManageRepository> {
        self.may_repo(&self.operator(), name).await.unwrap()
    }

    /// To `NAME` or `team:ORGANIZATION/TEAM`.
    pub(super) async fn repo_role(&self, name: &str, who: &str, role: Option<RepositoryRole>) {
        self.registry.set_repository_role(&self.manage_repo(name).await, &to(who), role).await.unwrap();
    }
}

fn to(who: &str) -> CollaboratorName {
    match who.strip_prefix("team:") {
        Some(team) => CollaboratorName::Team(TeamName::parse(team).unwrap()),
        None => CollaboratorName::User(who.to_owned()),
    }
}

/// ada owns acme, bob is a member, dora is not.
async fn acme() -> World {
    let world = World::new().await;
    for user in ["ada", "bob", "dora"] {
        world.user(user).await;
    }
    world.organization("acme", "ada").await;
    world.member("acme", "bob", Some(Membership::Member)).await;
    world
}

/// What somebody may do there: nothing, see it, publish for it, change it.
async fn reach(world: &World, caller: &Caller, name: &str) -> u8 {
    let may = [
        world.may_repo::<ReadRepository>(caller, name).await.is_ok(),
        world.may_repo::<LinkRepository>(caller, name).await.is_ok(),
        world.may_repo::<ManageRepository>(caller, name).await.is_ok(),
    ];
    may.into_iter().take_while(|may| *may).count() as u8
}

#[tokio::test]
async fn who_sees_a_repository_and_who_changes_it() {
    let world = acme().await;
    let (ada, bob, dora) = (world.caller("ada").await, world.caller("bob").await, world.caller("dora").await);
    let anonymous = world.anonymous();
    world.repo("acme/App", Visibility::Private).await;
    for (visibility, member, other, nobody) in
        [(Visibility::Private, 0, 0, 0), (Visibility::Internal, 1, 0, 0), (Visibility::Public, 1, 1, 1)]
    {
        let edit = RepositoryEdit { visibility: Some(visibility), ..RepositoryEdit::default() };
        world.registry.edit_repository(&world.manage_repo("acme/app").await, &edit).await.unwrap();
        let found = [&ada, &bob, &dora, &anonymous];
        let mut reached = Vec::new();
        for caller in found {
            reached.push(reach(&world, caller, "ACME/APP").await);
        }
        assert_eq!(reached, [3, member, other, nobody], "{visibility}");
    }
    let closed = world.manage_owner("acme").await;
    world.registry.set_anonymous_reads(&closed, false).await.unwrap();
    assert_eq!((reach(&world, &anonymous, "acme/app").await, reach(&world, &dora, "acme/app").await), (0, 1));

    let edit = RepositoryEdit { visibility: Some(Visibility::Private), ..RepositoryEdit::default() };
    world.registry.edit_repository(&world.manage_repo("acme/app").await, &edit).await.unwrap();
    for (role, may) in RepositoryRole::ALL.iter().zip([1, 1, 2, 2, 3]) {
        world.repo_role("acme/app", "dora", Some(*role)).await;
        assert_eq!(reach(&world, &dora, "acme/app").await, may, "{role}");
    }
    let reader = world.caller_for("dora", READ).await;
    let lacks = world.may_repo::<ManageRepository>(&reader, "acme/app").await;
    assert_eq!(kind(lacks), Kind::Forbidden(Reason::Scope));
    let grant = world.may_repo::<ManageRepository>(&dora, "acme/app").await.unwrap();
    world.repo_role("acme/app", "dora", None).await;
    let late = world.registry.rename_repository(&grant, "mine").await;
    assert_eq!(kind(late), Kind::StaleGrant, "a grant does not outlive the role");
    // What one may not see is as what is not there.
    let (hidden, absent) = (
        world.may_repo::<ReadRepository>(&dora, "acme/app").await.unwrap_err(),
        world.may_repo::<ReadRepository>(&dora, "acme/xxx").await.unwrap_err(),
    );
    assert_eq!(hidden.kind(), Kind::NotFound(What::Repository));
    assert_eq!(words(&hidden).1.replace("app", "xxx"), words(&absent).1);
    let nobody = world.may_repo::<ReadRepository>(&anonymous, "acme/app").await;
    assert_eq!(kind(nobody), Kind::Unauthenticated(Challenge::Missing));
}

#[tokio::test]
async fn base_role_and_teams_reach_repositories() {
    let world = acme().await;
    world.repo("acme/app", Visibility::Private).await;
    let bob = world.caller("bob").await;
    for (base, may) in [("read", 1), ("write", 2)] {
        let acme = world.manage_owner("acme").await;
        world.registry.set_base_role(&acme, Some(base.parse().unwrap())).await.unwrap();
        assert_eq!(reach(&world, &bob, "acme/app").await, may);
    }
    world.registry.set_base_role(&world.manage_owner("acme").await, None).await.unwrap();
    world.team("acme/core", None).await;
    world.team("acme/web", Some("core")).await;
    world.in_team("acme/web", "bob", Some(false)).await;
    world.repo_role("acme/app", "team:acme/core", Some(RepositoryRole::Maintain)).await;
    assert_eq!(reach(&world, &bob, "acme/app").await, 2, "from the team above");
    let team = world.lead("acme/core").await;
    let listed = world.registry.team_repositories(&team).await.unwrap();
    assert_eq!(listed, [("app".to_owned(), RepositoryRole::Maintain)]);
    let read = world.may_repo::<ReadRepository>(&bob, "acme/app").await.unwrap();
    for (user, role) in
        [("ada", Some(RepositoryRole::Admin)), ("bob", Some(RepositoryRole::Maintain)), ("dora", None)]
    {
        assert_eq!(world.registry.repository_role_of(&read, user).await.unwrap(), role);
    }
    world.registry.nest_team(&world.manage_owner("acme").await, "web", None).await.unwrap();
    assert_eq!(reach(&world, &bob, "acme/app").await, 0);
    world.in_team("acme/core", "bob", Some(false)).await;
    world.registry.remove_team(&world.manage_owner("acme").await, "core").await.unwrap();
    world.team("acme/core", None).await;
    world.in_team("acme/core", "bob", Some(false)).await;
    assert_eq!(reach(&world, &bob, "acme/app").await, 0, "a new team of the name inherits nothing");

    world.organization("beta", "dora").await;
    world.team("beta/core", None).await;
    let manage = world.manage_repo("acme/app").await;
    for (who, refusal) in [
        ("team:beta/core", Kind::Forbidden(Reason::Policy)),
        ("team:acme/none", Kind::NotFound(What::Owner)),
        ("nobody", Kind::NotFound(What::Owner)),
        ("acme", Kind::NotFound(What::Owner)),
    ] {
        let refused = world.registry.set_repository_role(&manage, &to(who), Some(RepositoryRole::Read)).await;
        assert_eq!(kind(refused), refusal, "{who}");
    }
}

#[tokio::test]
async fn a_repository_that_changes_hands_or_goes_leaves_no_role_behind() {
    let world = acme().await;
    let (bob, dora) = (world.caller("bob").await, world.caller("dora").await);
    world.repo("acme/app", Visibility::Internal).await;
    world.repo_role("acme/app", "bob", Some(RepositoryRole::Admin)).await;
    world.repo_role("acme/app", "dora", Some(RepositoryRole::Write)).await;
    let manage = world.manage_repo("acme/app").await;
    world.registry.rename_repository(&manage, "Web").await.unwrap();
    assert_eq!((reach(&world, &bob, "acme/web").await, reach(&world, &bob, "acme/app").await), (3, 0));
    let late = world.registry.delete_repository(&manage).await;
    assert_eq!(kind(late), Kind::StaleGrant, "what was granted was a name that is free now");
    world.repo("acme/app", Visibility::Internal).await;
    for who in ["bob", "dora"] {
        assert!(reach(&world, &world.caller(who).await, "acme/app").await <= 1, "inherits nothing");
    }

    world.repo_role("acme/app", "bob", Some(RepositoryRole::Admin)).await;
    world.repo("dora/app", Visibility::Private).await;
    let to_dora = world.manage_owner("dora").await;
    let taken = world.registry.transfer_repository(&world.manage_repo("acme/app").await, &to_dora).await;
    assert_eq!(kind(taken), Kind::Conflict(What::Repository));
    world.registry.delete_repository(&world.manage_repo("dora/app").await).await.unwrap();
    world.registry.transfer_repository(&world.manage_repo("acme/app").await, &to_dora).await.unwrap();
    assert_eq!((reach(&world, &bob, "dora/app").await, reach(&world, &dora, "dora/app").await), (0, 3));
    assert_eq!(world.manage_repo("dora/app").await.target().visibility, Visibility::Private);
    let internal = RepositoryEdit { visibility: Some(Visibility::Internal), ..RepositoryEdit::default() };
    let refused = world.registry.edit_repository(&world.manage_repo("dora/app").await, &internal).await;
    assert_eq!(kind(refused), Kind::Invalid(What::Repository), "a user has no members");

    let owns = world.registry.remove_account(&world.operate(), "dora", AccountKind::User).await;
    assert_eq!(kind(owns), Kind::Forbidden(Reason::InUse));
    world.repo("acme/lib", Visibility::Private).await;
    world.repo_role("acme/lib", "dora", Some(RepositoryRole::Write)).await;
    world.repo_role("acme/lib", "bob", Some(RepositoryRole::Write)).await;
    world.member("acme", "bob", None).await;
    assert_eq!(reach(&world, &bob, "acme/lib").await, 0, "who leaves loses the roles there");
    assert_eq!(reach(&world, &dora, "acme/lib").await, 2, "an outside collaborator does not");
    world.registry.delete_repository(&world.manage_repo("dora/app").await).await.unwrap();
    world.registry.remove_account(&world.operate(), "dora", AccountKind::User).await.unwrap();
    world.user("dora").await;
    assert_eq!(reach(&world, &world.caller("dora").await, "acme/lib").await, 0);
    let roles = world.registry.repository_roles(&world.manage_repo("acme/lib").await).await.unwrap();
    assert!(roles.is_empty());
}

#[tokio::test]
async fn of_two_changes_at_once_one_knows_of_the_other() {
    let world = acme().await;
    for round in 0..10 {
        let name = RepositoryName::parse(&format!("acme/r{round}")).unwrap();
        let (one, two) = (world.manage_owner("acme").await, world.manage_owner("acme").await);
        let about = RepositoryEdit::default();
        let (one, two) = tokio::join!(
            world.registry.create_repository(&one, &name, &about),
            world.registry.create_repository(&two, &name, &about),
        );
        assert_eq!(one.is_ok() as u8 + two.is_ok() as u8, 1, "one name, one repository");
        let repo = name.to_string();
        let (manage, acme) = (world.manage_repo(&repo).await, world.manage_owner("acme").await);
        world.member("acme", "bob", Some(Membership::Member)).await;
        let bob = to("bob");
        let (_, left) = tokio::join!(
            world.registry.set_repository_role(&manage, &bob, Some(RepositoryRole::Write)),
            world.registry.set_member(&acme, "bob", None),
        );
        left.unwrap();
        let (manage, other) = (world.manage_repo(&repo).await, world.manage_repo(&repo).await);
        let dora = to("dora");
        let (given, gone) = tokio::join!(
            world.registry.set_repository_role(&manage, &dora, Some(RepositoryRole::Read)),
            world.registry.delete_repository(&other),
        );
        assert!(gone.is_ok(), "{gone:?}");
        assert!(given.is_ok() || kind(given) == Kind::StaleGrant);
    }
    let findings = world.registry.findings(&world.operate(), Default::default()).await.unwrap();
    assert!(findings.is_empty(), "{findings:?}");
}

#[tokio::test]
async fn what_is_said_of_a_repository_has_its_limits() {
    let world = acme().await;
    world.repo("acme/app", Visibility::Private).await;
    let grant = world.manage_repo("acme/app").await;
    let id = grant.target().id;
    let edit = |change: &dyn Fn(&mut RepositoryEdit)| {
        let mut edit = RepositoryEdit::default();
        change(&mut edit);
        edit
    };
    let bad = [
        edit(&|edit| edit.description = Some("x".repeat(513))),
        edit(&|edit| edit.description = Some("two\nlines".into())),
        edit(&|edit| edit.license = Some("x".repeat(257))),
        edit(&|edit| edit.url = Some("ftp://git.example/x".into())),
        edit(&|edit| edit.url = Some(format!("https://h/{}", "x".repeat(250)))),
        edit(&|edit| edit.topics = Some(vec!["a".into(); 21])),
        edit(&|edit| edit.topics = Some(vec!["Web".into()])),
        edit(&|edit| edit.topics = Some(vec!["x".repeat(51)])),
        edit(&|edit| edit.topics = Some(vec!["wеb".into()])),
    ];
    for bad in bad {
        let refused = world.registry.edit_repository(&grant, &bad).await;
        assert_eq!(kind(refused), Kind::Invalid(What::Repository), "{bad:?}");
    }
    let long = edit(&|edit| edit.readme = Some("x".repeat(MAX_README + 1)));
    let refused = world.registry.edit_repository(&grant, &long).await;
    assert_eq!(kind(refused), Kind::TooLarge(What::Repository));
    let most = edit(&|edit| {
        edit.description = Some("x".repeat(512));
        edit.topics = Some((0..20).map(|n| format!("t{n}")).collect());
        edit.readme = Some("x".repeat(MAX_README));
    });
    world.registry.edit_repository(&grant, &most).await.unwrap();

    let owner = grant.target().owner;
    let mut batch = Batch::new();
    let collaborators = (0..MAX_COLLABORATORS as u64).map(|n| Collaborator::User(OwnerId(n)));
    let teams = (0..MAX_TEAMS_ON as u64).map(|n| Collaborator::Team(TeamId(n)));
    for of in collaborators.chain(teams) {
        let (role, since) = (RepositoryRole::Read, NOW.0);
        batch.replace(None, Some(&RepositoryRoleRecord { repository: id, of, owner, role, since }));
    }
    world.meta.commit(batch).await.unwrap();
    world.team("acme/core", None).await;
    for who in ["dora", "team:acme/core"] {
        let refused = world.registry.set_repository_role(&grant, &to(who), Some(RepositoryRole::Read)).await;
        assert_eq!(kind(refused), Kind::Forbidden(Reason::Policy), "{who}");
    }
}

#[tokio::test]
async fn repositories_at_the_command_line() {
    let world = acme().await;
    world.team("acme/core", None).await;
    let repo = |command| Command::Repo(command);
    let create = |name: &str, about: RepositoryEdit| repo(RepoCommand::Create { repo: name.into(), about });
    let about = RepositoryEdit {
        description: Some("an app".into()),
        url: Some("https://git.example/acme/app".into()),
        topics: Some(vec!["web".into(), "app".into(), "web".into()]),
        license: Some("MIT".into()),
        readme: Some("# App".into()),
        synced: true,
        ..RepositoryEdit::default()
    };
    done(&world, create("acme/App", about)).await;
    assert!(
        run(&world, create("acme/aPP", RepositoryEdit::default())).await.unwrap_err().contains("already")
    );
    let show = |name: &str| repo(RepoCommand::Show { repo: name.into() });
    let shown = rows(&done(&world, show("acme/app")).await);
    let shown: Vec<_> = shown.iter().map(|row| (row[0].as_str(), row[1].as_str())).collect();
    assert_eq!(
        shown[..7],
        [
            ("name", "acme/App"),
            ("visibility", "private"),
            ("description", "an app"),
            ("url", "https://git.example/acme/app"),
            ("topics", "app web"),
            ("license", "MIT"),
            ("readme", "5 bytes")
        ]
    );
    assert!(shown[8].0 == "synchronized" && shown[8].1 != "never");
    let edit = RepositoryEdit { readme: Some(String::new()), ..RepositoryEdit::default() };
    done(&world, repo(RepoCommand::Edit { repo: "acme/app".into(), about: edit })).await;
    let shown = rows(&done(&world, show("acme/app")).await);
    assert_eq!((shown[6][1].as_str(), shown[5][1].as_str()), ("0 bytes", "MIT"), "what is not named stays");

    let grant = |principal: &str, role| {
        repo(RepoCommand::Grant { repo: "acme/app".into(), principal: principal.into(), role })
    };
    done(&world, grant("team:acme/core", Some(RepositoryRole::Triage))).await;
    done(&world, grant("dora", Some(RepositoryRole::Write))).await;
    assert!(
        run(&world, grant("org:acme", Some(RepositoryRole::Read))).await.unwrap_err().contains("base-role")
    );
    let roles = rows(&done(&world, repo(RepoCommand::Roles { repo: "acme/app".into() })).await);
    assert_eq!(roles, [["user:dora", "write"], ["team:acme/core", "triage"]]);
    done(&world, grant("dora", None)).await;

    done(&world, create("bob/lib", RepositoryEdit::default())).await;
    let rename = RepoCommand::Rename { repo: "acme/app".into(), name: "web.2".into() };
    done(&world, repo(rename)).await;
    let list = |owner: Option<&str>| repo(RepoCommand::List { owner: owner.map(str::to_owned) });
    assert_eq!(rows(&done(&world, list(None)).await), [["acme/web.2", "private"], ["bob/lib", "private"]]);
    done(&world, repo(RepoCommand::Transfer { repo: "acme/web.2".into(), owner: "bob".into() })).await;
    assert_eq!(
        rows(&done(&world, list(Some("bob"))).await),
        [["bob/lib", "private"], ["bob/web.2", "private"]]
    );
    done(&world, repo(RepoCommand::Delete { repo: "bob/lib".into() })).await;
    assert!(run(&world, show("bob/lib")).await.unwrap_err().contains("no source repository"));
    assert!(run(&world, list(Some("nobody"))).await.is_err());
}

#[tokio::test]
async fn names_that_no_repository_has_are_refused() {
    let world = acme().await;
    let create =
        |name: &str, about: RepositoryEdit| Command::Repo(RepoCommand::Create { repo: name.into(), about });
    for (wrong, word) in [
        ("app", "OWNER/REPO"),
        ("acme/a b", "letters"),
        ("acme/app.git", ".git"),
        ("nobody/app", "nobody"),
        ("acme/аpp", "letters"),
    ] {
        let refusal = run(&world, create(wrong, RepositoryEdit::default())).await.unwrap_err();
        assert!(refusal.contains(word), "{wrong}: {refusal}");
    }
}

#[tokio::test]
async fn lists_of_repositories_come_in_pages() {
    let world = acme().await;
    for name in ["acme/b", "acme/A", "ada/x", "acme/c", "bob/y"] {
        world.repo(name, Visibility::Private).await;
    }
    world.repo_role("acme/b", "dora", Some(RepositoryRole::Read)).await;
    world.repo_role("bob/y", "dora", Some(RepositoryRole::Read)).await;
    let dora = world.caller_for("dora", ALL).await;
    for (caller, expected) in
        [(world.operator(), &["A", "b", "c", "x", "y"][..]), (dora, &["b", "y"]), (world.anonymous(), &[])]
    {
        for limit in 1..6 {
            let (mut all, mut last): (Vec<String>, Option<(String, String)>) = (Vec::new(), None);
            loop {
                let after = last.as_ref().map(|(owner, name)| (owner.as_str(), name.as_str()));
                let (page, more) = world.registry.repositories_of(&caller, None, after, limit).await.unwrap();
                assert!(page.len() <= limit && (!more || page.len() == limit));
                last = page.last().map(|at| (at.owner_name.clone(), at.name.clone()));
                all.extend(page.into_iter().map(|at| at.name));
                if !more {
                    break;
                }
            }
            assert_eq!(all, expected, "in pages of {limit}");
        }
    }
    let (of, more) = world
        .registry
        .repositories_of(&world.operator(), Some("ACME"), Some(("acme", "a")), 1)
        .await
        .unwrap();
    assert_eq!((of[0].name.as_str(), more), ("b", true));
    for nobody in ["nobody", "", "a\0"] {
        let (of, _) = world.registry.repositories_of(&world.operator(), Some(nobody), None, 9).await.unwrap();
        assert!(of.is_empty());
    }
}
