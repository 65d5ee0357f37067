//! Workflow tokens: what a job may do with the packages of its repository, and of others.

use packhouse::{
    adapter::control::{self, AskedTrust, Command, WorkflowCommand},
    auth::{
        Caller, Delete, Manage, ManageOwner, ManageRepository, Operate, Pull, Push, ReadRepository, Restore,
    },
    error::{Challenge, Kind, Reason, What},
    model::{RepositoryRole, Role, Scope, Visibility},
    registry::exchange::{MAX_TRUSTS, NewTrust},
};

use super::{World, basic, kind, later};

const INVALID: Kind = Kind::Unauthenticated(Challenge::Invalid);
const HOUR: u64 = 3600;

impl World {
    /// A workflow token's caller.
    async fn job(&self, repo: &str, write: bool) -> Caller {
        let secret = self.job_token(repo, write).await;
        self.who(&basic("whoever", &secret)).await.unwrap()
    }

    async fn job_token(&self, repo: &str, write: bool) -> String {
        let grant = self.manage_repo(repo).await;
        let token = self.registry.mint_workflow_token(&grant, write, HOUR).await.unwrap();
        token.secret.reveal().to_owned()
    }

    /// Gives a repository's workflows a role on a package, or takes it.
    async fn job_role(&self, package: &str, repo: &str, role: Option<Role>) {
        let manage = self.manage(package).await;
        match role {
            Some(role) => {
                let to = self.may_repo::<ReadRepository>(&self.operator(), repo).await.unwrap();
                self.registry.give_workflow(&manage, &to, role).await.unwrap();
            }
            None => drop(self.registry.end_workflow(&manage, &repo.parse().unwrap()).await),
        }
    }
}

/// ada owns acme, bob owns beta; each has repositories, and acme a package.
async fn world() -> World {
    let world = World::new().await;
    for user in ["ada", "bob"] {
        world.user(user).await;
    }
    world.organization("acme", "ada").await;
    world.organization("beta", "bob").await;
    for repo in ["acme/src", "acme/other", "beta/src", "ada/own"] {
        world.repo(repo, Visibility::Private).await;
    }
    world.push(&world.caller("ada").await, "acme/app").await.unwrap();
    world
}

async fn rights(world: &World, job: &Caller, path: &str) -> [bool; 5] {
    [
        world.may::<Pull>(job, path).await.is_ok(),
        world.may::<Push>(job, path).await.is_ok(),
        world.may::<Delete>(job, path).await.is_ok(),
        world.may::<Restore>(job, path).await.is_ok(),
        world.may::<Manage>(job, path).await.is_ok(),
    ]
}

/// The table of operations, every row of it: downloads of what is public for all, everything else by the repository's role and
/// the token's own bound, whatever the visibility.
#[tokio::test]
async fn the_table_of_operations() {
    let world = world().await;
    let mut rows = 0;
    for repo in ["acme/src", "beta/src", "ada/own"] {
        for write in [false, true] {
            let job = world.job(repo, write).await;
            for visibility in [Visibility::Private, Visibility::Public] {
                world.visibility("acme/app", visibility).await;
                for role in [None, Some(Role::Read), Some(Role::Write), Some(Role::Admin), None] {
                    world.job_role("acme/app", repo, role).await;
                    let public = visibility == Visibility::Public;
                    let expected = [
                        public || role.is_some(),
                        write && role >= Some(Role::Write),
                        write && role >= Some(Role::Admin),
                        write && role >= Some(Role::Admin),
                        false,
                    ];
                    let what = format!("{repo} {write} {visibility} {role:?}");
                    assert_eq!(rights(&world, &job, "acme/app").await, expected, "{what}");
                    let listed = world.registry.catalog(&job, None, 9).await.unwrap();
                    assert_eq!(listed == ["acme/app"], expected[0], "{what}: lists agree");
                    let owned = world.registry.packages_of(&job, Some("acme"), None, 9).await.unwrap();
                    assert_eq!(owned.packages.len() == 1, expected[0], "{what}");
                    rows += 1;
                }
            }
        }
    }
    assert_eq!(rows, 60);
}

#[tokio::test]
async fn a_job_of_one_repository_touches_nothing_of_anothers() {
    let world = world().await;
    let (src, other) = (world.job("acme/src", true).await, world.job("acme/other", true).await);
    world.push(&src, "acme/made").await.unwrap();
    assert_eq!(rights(&world, &src, "acme/made").await, [true, true, true, true, false]);
    assert_eq!(rights(&world, &other, "acme/made").await, [false; 5]);
    assert_eq!(kind(world.publish(&other, "acme/made").await), Kind::NotFound(What::Package));
    // A package that was there before is nobody's by its name.
    assert_eq!(kind(world.publish(&src, "acme/app").await), Kind::NotFound(What::Package));
    for elsewhere in ["beta/new", "ada/new", "nobody/new"] {
        assert_eq!(kind(world.publish(&src, elsewhere).await), Kind::NotFound(What::Package), "{elsewhere}");
    }
    let reader = world.job("acme/src", false).await;
    assert_eq!(kind(world.publish(&reader, "acme/fresh").await), Kind::NotFound(What::Package));
    assert_eq!(kind(world.may::<Push>(&reader, "acme/made").await), Kind::Forbidden(Reason::Scope));
    let policy = world.registry.policy();
    assert!(policy.authorize_owner::<ManageOwner>(&src, "acme").await.is_err());
    assert!(policy.authorize_system::<Operate>(&src).is_err());
    assert!(world.may_repo::<ManageRepository>(&src, "acme/src").await.is_err());
}

#[tokio::test]
async fn a_first_publish_links_and_takes_visibility_and_roles_of_the_repository() {
    let world = world().await;
    world.repo("acme/open", Visibility::Public).await;
    for user in ["carl", "dora"] {
        world.user(user).await;
    }
    world.repo_role("acme/src", "carl", Some(RepositoryRole::Admin)).await;
    world.push(&world.job("acme/open", true).await, "acme/shown").await.unwrap();
    world.push(&world.job("acme/src", true).await, "acme/kept").await.unwrap();
    assert!(world.may::<Pull>(&world.anonymous(), "acme/shown").await.is_ok());
    let dora = world.caller("dora").await;
    assert_eq!(kind(world.may::<Pull>(&dora, "acme/kept").await), Kind::NotFound(What::Package));
    assert!(world.may::<Manage>(&world.caller("carl").await, "acme/kept").await.is_ok(), "inherited");
    let given = world.registry.workflows(&world.manage("acme/kept").await).await.unwrap();
    assert_eq!(given, [("acme/src".to_owned(), Role::Admin)]);
    let grant = world.may::<Pull>(&world.operator(), "acme/kept").await.unwrap();
    let linked = world.registry.linked(&grant).await.unwrap().unwrap();
    assert_eq!((linked.repository.name.as_str(), linked.inherits), ("src", true));
    // One that never gets its manifest goes, and takes its link and its role along.
    let job = world.job("acme/src", true).await;
    world.publish(&job, "acme/begun").await.unwrap();
    assert_eq!(rights(&world, &job, "acme/begun").await, [true, true, true, true, false]);
    world.registry.expire_unused(later()).await.unwrap();
    assert_eq!(kind(world.may::<Pull>(&job, "acme/begun").await), Kind::NotFound(What::Package));
    world.push(&world.caller("ada").await, "acme/begun").await.unwrap();
    assert_eq!(rights(&world, &job, "acme/begun").await, [false; 5]);
}

#[tokio::test]
async fn a_workflow_tokens_rights_end_at_once() {
    let world = world().await;
    let secret = world.job_token("acme/src", true).await;
    let job = world.who(&basic("x", &secret)).await.unwrap();
    world.job_role("acme/app", "acme/src", Some(Role::Write)).await;
    let access =
        vec![packhouse::auth::Access { name: "acme/app".into(), verbs: vec![packhouse::auth::Verb::Push] }];
    let issued = world.registry.authenticator().issue(&job, access).await.unwrap();
    let bearer = format!("Bearer {}", issued.token.reveal());
    assert_eq!(world.who(&bearer).await.unwrap().actor, job.actor);
    let grant = world.may::<Push>(&job, "acme/app").await.unwrap();
    assert!(world.registry.policy().renew(&grant).await.is_ok());

    world.job_role("acme/app", "acme/src", None).await;
    assert_eq!(kind(world.may::<Push>(&job, "acme/app").await), Kind::NotFound(What::Package));
    assert_eq!(kind(world.registry.policy().renew(&grant).await), Kind::StaleGrant);
    world.job_role("acme/app", "acme/src", Some(Role::Write)).await;
    assert!(world.may::<Push>(&job, "acme/app").await.is_ok());

    assert!(world.who_at(&bearer, super::NOW.plus_seconds(899)).await.is_ok());
    assert_eq!(kind(world.who_at(&basic("x", &secret), super::NOW.plus_seconds(HOUR)).await), INVALID);
    let manage = world.manage_repo("acme/src").await;
    assert_eq!(world.registry.workflow_tokens(&manage).await.unwrap().len(), 1);
    let other = world.manage_repo("acme/other").await;
    let id = job.credential.unwrap();
    assert_eq!(kind(world.registry.revoke_workflow_token(&other, id).await), Kind::NotFound(What::Token));
    world.registry.revoke_workflow_token(&manage, id).await.unwrap();
    for authorization in [basic("x", &secret), bearer] {
        assert_eq!(kind(world.who(&authorization).await), INVALID);
    }

    // Whose the repository is decides too, and the repository itself.
    let own = world.job_token("ada/own", true).await;
    let job = world.who(&basic("", &own)).await.unwrap();
    world.job_role("acme/app", "ada/own", Some(Role::Read)).await;
    world.registry.set_suspended(&world.operate(), "ada", true).await.unwrap();
    assert!(world.may::<Pull>(&job, "acme/app").await.is_err());
    world.registry.set_suspended(&world.operate(), "ada", false).await.unwrap();
    assert!(world.may::<Pull>(&job, "acme/app").await.is_ok());
    world.registry.delete_repository(&world.manage_repo("ada/own").await).await.unwrap();
    assert_eq!(kind(world.who(&basic("", &own)).await), INVALID);
    assert!(world.may::<Pull>(&job, "acme/app").await.is_err());
    world.repo("ada/own", Visibility::Private).await;
    assert_eq!(kind(world.who(&basic("", &own)).await), INVALID, "another one of its name");
}

#[tokio::test]
async fn whoever_administers_the_repository_mints_and_trusts() {
    let world = world().await;
    world.user("carl").await;
    world.repo_role("acme/src", "carl", Some(RepositoryRole::Admin)).await;
    let trust = NewTrust { issuer: "https://ci".into(), source: "7".into(), ..NewTrust::default() };
    let may = async |caller: &Caller| {
        let grant = world.may_repo::<ManageRepository>(caller, "acme/src").await?;
        let minted = world.registry.mint_workflow_token(&grant, true, 60).await.map(|_| ());
        let trusted = world.registry.add_trust(&grant, &trust).await.map(|_| ());
        assert_eq!(minted.is_ok(), trusted.is_ok());
        minted
    };
    assert!(may(&world.caller("carl").await).await.is_ok());
    assert!(may(&world.operator()).await.is_ok());
    // Who administers the installation manages repositories, and would have the rights of this one by its token.
    assert_eq!(kind(may(&world.caller("admin").await).await), Kind::Forbidden(Reason::Role));
    assert!(may(&world.caller("bob").await).await.is_err());
    world.repo_role("acme/src", "carl", Some(RepositoryRole::Maintain)).await;
    assert_eq!(kind(may(&world.caller("carl").await).await), Kind::Forbidden(Reason::Role));

    let weak = world.caller_for("ada", &[Scope::Admin, Scope::ReadPackages]).await;
    let grant = world.may_repo::<ManageRepository>(&weak, "acme/src").await.unwrap();
    let refused = world.registry.mint_workflow_token(&grant, true, 60).await;
    assert_eq!(kind(refused), Kind::Forbidden(Reason::Scope));
    assert!(world.registry.mint_workflow_token(&grant, false, 60).await.is_ok());
    let longer = world.registry.mint_workflow_token(&grant, false, 2 * HOUR).await;
    assert_eq!(kind(longer), Kind::Forbidden(Reason::TokenLimit));
    let operator = world.manage_repo("acme/src").await;
    for lifetime in [0, 24 * HOUR + 1] {
        assert!(world.registry.mint_workflow_token(&operator, false, lifetime).await.is_err());
    }
    assert!(world.registry.mint_workflow_token(&operator, false, 24 * HOUR).await.is_ok());

    let known = world.registry.trusts(&operator).await.unwrap().len();
    for _ in known..MAX_TRUSTS {
        world.registry.add_trust(&operator, &trust).await.unwrap();
    }
    assert_eq!(kind(world.registry.add_trust(&operator, &trust).await), Kind::Forbidden(Reason::Policy));
    let empty = NewTrust { environment: Some(String::new()), ..trust.clone() };
    assert_eq!(kind(world.registry.add_trust(&operator, &empty).await), Kind::Invalid(What::Repository));
    world.registry.delete_repository(&operator).await.unwrap();
    world.repo("acme/src", Visibility::Private).await;
    let heir = world.manage_repo("acme/src").await;
    assert!(world.registry.trusts(&heir).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_commands() {
    let world = world().await;
    let run = |command| {
        let (feed, _) = tokio::sync::mpsc::channel(1);
        control::execute(&world.registry, Command::Workflow(command), feed)
    };
    let repo = || "acme/src".to_owned();
    let minted = run(WorkflowCommand::Mint { repo: repo(), write: true, lifetime: HOUR }).await.unwrap();
    let secret = minted.value.unwrap();
    assert!(secret.starts_with("phw_"));
    let now = packhouse::model::Timestamp::now();
    assert!(world.who_at(&basic("x", &secret), now).await.is_ok());
    let rows = run(WorkflowCommand::Tokens { repo: repo() }).await.unwrap().table.unwrap().1;
    assert_eq!((rows.len(), rows[0][1].as_str()), (1, "write"));
    run(WorkflowCommand::Revoke { repo: repo(), id: rows[0][0].clone() }).await.unwrap();
    assert!(world.who_at(&basic("x", &secret), now).await.is_err());
    let trust = AskedTrust {
        repo: repo(),
        issuer: "https://ci.example".into(),
        source: "7".into(),
        owner: Some("8".into()),
        reference: Some("refs/heads/main".into()),
        workflow: None,
        environment: None,
        events: ["push".to_owned()].into(),
        write: true,
    };
    run(WorkflowCommand::Trust(trust)).await.unwrap();
    let rows = run(WorkflowCommand::Trusts { repo: repo() }).await.unwrap().table.unwrap().1;
    assert_eq!(rows[0][1..], ["https://ci.example", "7", "owner=8 ref=refs/heads/main event=push", "write"]);
    run(WorkflowCommand::Distrust { repo: repo(), id: rows[0][0].clone() }).await.unwrap();
    assert!(run(WorkflowCommand::Trusts { repo: repo() }).await.unwrap().table.unwrap().1.is_empty());
    for bad in ["", "x", "0000000000000000"] {
        assert!(run(WorkflowCommand::Distrust { repo: repo(), id: bad.into() }).await.is_err());
        assert!(run(WorkflowCommand::Revoke { repo: repo(), id: bad.into() }).await.is_err());
    }
}
