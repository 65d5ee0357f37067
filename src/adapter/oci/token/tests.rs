use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::{
    auth::{Operate, Pull},
    error::{Challenge, Kind},
    http::{Site, reply::Content},
    model::{OwnerName, Scope, Scopes, Timestamp, Visibility},
    registry::{Settings, accounts::NewUser, tests::InMemory},
};

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const PASSWORD: &str = "correct horse battery";
const INVALID: Kind = Kind::Unauthenticated(Challenge::Invalid);

struct Desk(InMemory);

impl std::ops::Deref for Desk {
    type Target = InMemory;
    fn deref(&self) -> &InMemory {
        &self.0
    }
}

impl Desk {
    /// ada and bob; ada has a password, ada/public is public, ada/private is not.
    async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    async fn with(settings: Settings) -> Self {
        let desk = Self(InMemory::new(settings, NOW).await);
        let password = Secret::new(PASSWORD);
        for (name, password) in [("ada", Some(&password)), ("bob", None)] {
            let name = OwnerName::parse(name).unwrap();
            let user = NewUser { name: &name, administrator: false, password };
            let grant = desk.registry.policy().authorize_system::<Operate>(&desk.operator()).unwrap();
            desk.registry.create_user(&grant, user).await.unwrap();
        }
        for (path, visibility) in [("ada/public", Visibility::Public), ("ada/private", Visibility::Private)] {
            desk.package(&desk.operator(), path, visibility).await;
        }
        desk
    }

    fn operator(&self) -> Caller {
        Caller::operator(NOW, "test".into())
    }

    async fn token(&self, user: &str, scopes: &[Scope]) -> String {
        let operator = self.operator();
        let grant = self.registry.policy().authorize_owner(&operator, user).await.unwrap();
        let token = self.registry.issue_token(&grant, Scopes::of(scopes), 3600).await.unwrap();
        token.secret.reveal().to_owned()
    }

    async fn get(&self, authorization: Option<&str>, query: &str) -> Result<Value> {
        self.ask(authorization, async |cx| get(cx, &Query::parse(query)?).await).await
    }

    async fn post(&self, form: &str) -> Result<Value> {
        self.ask(None, async |cx| exchange(cx, &Query::parse(form)?).await).await
    }

    async fn ask(
        &self,
        authorization: Option<&str>,
        work: impl AsyncFn(Cx<'_>) -> Result<Reply>,
    ) -> Result<Value> {
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        let caller = Caller::anonymous(NOW, "test".into());
        let site = Site { base: "http://localhost:5000".into(), bearer: true };
        let cx = Cx::new(&caller, &self.registry, self.registry.policy(), &site, &headers);
        let reply = work(cx).await?;
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(reply.headers[header::CACHE_CONTROL], "no-store");
        let Content::Bytes(bytes) = reply.content else { panic!() };
        let body: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(body["token"], body["access_token"]);
        assert_eq!(body["expires_in"], 900);
        assert_eq!(body["issued_at"], "2023-11-14T22:13:20Z");
        Ok(body)
    }

    /// What a bearer token is bound to, as scopes.
    async fn bound(&self, body: &Value) -> String {
        let mut headers = HeaderMap::new();
        let value = format!("Bearer {}", body["token"].as_str().unwrap());
        headers.insert(header::AUTHORIZATION, HeaderValue::from_str(&value).unwrap());
        let authenticator = self.registry.authenticator();
        let caller =
            authenticator.authenticate(&headers, Caller::anonymous(NOW, "test".into())).await.unwrap();
        caller.bound.unwrap().iter().map(written).collect::<Vec<_>>().join(" ")
    }
}

fn basic(user: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{secret}")))
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> Kind {
    result.unwrap_err().kind()
}

#[tokio::test]
async fn docker_login_asks_for_nothing_and_learns_of_a_wrong_password() {
    let desk = Desk::new().await;
    let query = "account=ada&client_id=docker&offline_token=true&service=localhost%3A5000";
    let body = desk.get(Some(&basic("ada", PASSWORD)), query).await.unwrap();
    assert_eq!(desk.bound(&body).await, "");
    assert!(body["refresh_token"].as_str().unwrap().starts_with("phr_"));
    for bad in [basic("ada", "wrong"), basic("nobody", PASSWORD), basic("ada", ""), "Bearer x".into()] {
        assert_eq!(kind(desk.get(Some(&bad), query).await), INVALID);
        assert_eq!(kind(desk.get(Some(&bad), "").await), INVALID, "also when nothing is asked for");
    }
}

#[tokio::test]
async fn the_answer_is_what_is_asked_for_and_allowed() {
    let desk = Desk::new().await;
    let all = "scope=repository:ada/public:*&scope=repository:ada/private:pull,push,delete";
    let ada = basic("ada", PASSWORD);
    for (who, asked, granted) in [
        (None, "scope=repository:ada/public:pull", "repository:ada/public:pull"),
        (None, "scope=repository:ada/public:pull,push", "repository:ada/public:pull"),
        (None, "scope=repository:ada/private:pull", ""),
        (None, "scope=repository:nobody/none:pull", ""),
        (None, all, "repository:ada/public:pull"),
        (Some(&ada), all, "repository:ada/public:pull,push,delete repository:ada/private:pull,push,delete"),
        (Some(&ada), "scope=repository:ada/new:push,pull", "repository:ada/new:pull,push"),
        (Some(&ada), "scope=repository:bob/new:push,pull", ""),
        (Some(&ada), "scope=repository:nobody/new:push,pull", ""),
        (
            Some(&ada),
            "scope=repository:ada/public:pull+repository:ada/private:push",
            "repository:ada/public:pull repository:ada/private:push",
        ),
        (
            Some(&ada),
            "scope=repository:ada/public:pull&scope=repository:ada/public:push",
            "repository:ada/public:pull,push",
        ),
        (Some(&ada), "scope=registry:catalog:*", "registry:catalog:*"),
        (None, "scope=registry:catalog:*", "registry:catalog:*"),
        (Some(&ada), "scope=repository(plugin):ada/public:pull", "repository:ada/public:pull"),
        (Some(&ada), "scope=&scope=+&scope=x&scope=repository:ada/public:", ""),
        (Some(&ada), "", ""),
    ] {
        let body = desk.get(who.map(String::as_str), asked).await.unwrap();
        assert_eq!(desk.bound(&body).await, granted, "{who:?} {asked}");
        assert!(body.get("refresh_token").is_none(), "not asked for");
    }
}

#[tokio::test]
async fn a_tokens_scopes_bound_the_answer() {
    let desk = Desk::new().await;
    let asked = "scope=repository:ada/private:*&scope=repository:ada/new:*";
    for (scopes, granted) in [
        (&[Scope::ReadPackages][..], "repository:ada/private:pull"),
        (&[Scope::WritePackages], "repository:ada/private:pull,push repository:ada/new:pull,push"),
        (&[Scope::DeletePackages], "repository:ada/private:pull,delete"),
        (&[Scope::Admin], ""),
    ] {
        let token = desk.token("ada", scopes).await;
        for sent in [basic("ada", &token), basic("token", &token), format!("Bearer {token}")] {
            let body = desk.get(Some(&sent), asked).await.unwrap();
            assert_eq!(desk.bound(&body).await, granted, "{scopes:?}");
        }
    }
}

#[tokio::test]
async fn nothing_is_written_but_a_refresh_token_that_is_asked_for() {
    let desk = Desk::new().await;
    let token = desk.token("ada", Scope::ALL).await;
    let before = desk.everything().await;
    let scope = "scope=repository:ada/private:*&scope=repository:ada/new:push,pull&scope=registry:catalog:*";
    for who in
        [None, Some(basic("ada", PASSWORD)), Some(basic("ada", &token)), Some(format!("Bearer {token}"))]
    {
        desk.get(who.as_deref(), scope).await.unwrap();
        desk.get(who.as_deref(), &format!("{scope}&offline_token=false")).await.unwrap();
    }
    desk.get(None, &format!("{scope}&offline_token=true")).await.unwrap();
    desk.post(&format!("grant_type=password&username=ada&password={}", PASSWORD.replace(' ', "+")))
        .await
        .unwrap();
    assert_eq!(kind(desk.get(Some(&basic("ada", "no no no no")), "offline_token=true").await), INVALID);
    // A token is its own refresh token.
    let body = desk.get(Some(&basic("ada", &token)), "offline_token=true").await.unwrap();
    assert_eq!(body["refresh_token"], token.as_str());
    assert_eq!(desk.everything().await, before);
    desk.get(Some(&basic("ada", PASSWORD)), "offline_token=true").await.unwrap();
    assert_eq!(desk.tokens().await, 2);
}

#[tokio::test]
async fn the_form_signs_in_and_refreshes() {
    let desk = Desk::new().await;
    let password = PASSWORD.replace(' ', "+");
    let form = format!(
        "grant_type=password&service=x&client_id=y&username=ada&password={password}&access_type=offline&\
         scope=repository:ada/private:pull,push+repository:ada/public:pull"
    );
    let body = desk.post(&form).await.unwrap();
    let scope = "repository:ada/private:pull,push repository:ada/public:pull";
    assert_eq!(body["scope"], scope, "required in this form's answer");
    assert_eq!(desk.bound(&body).await, scope);
    let refresh = body["refresh_token"].as_str().unwrap().to_owned();
    assert!(refresh.starts_with("phr_"));

    let form = format!("grant_type=refresh_token&refresh_token={refresh}&scope=repository:ada/private:pull");
    let body = desk.post(&form).await.unwrap();
    assert_eq!(body["scope"], "repository:ada/private:pull");
    assert!(body.get("refresh_token").is_none());
    let body = desk.post(&format!("{form}&access_type=offline")).await.unwrap();
    assert_eq!(body["refresh_token"], refresh.as_str(), "no second one");
    assert_eq!(desk.tokens().await, 1);
    // As the password of Basic too, as docker sends it when it holds an identity token.
    let body = desk.get(Some(&basic("ada", &refresh)), "scope=repository:ada/private:pull").await.unwrap();
    assert_eq!(desk.bound(&body).await, "repository:ada/private:pull");

    let token = desk.token("ada", &[Scope::ReadPackages]).await;
    for form in [
        format!("grant_type=refresh_token&refresh_token={token}"),
        format!("grant_type=password&username=ada&password={token}"),
        format!("grant_type=password&password={token}"),
    ] {
        let body = desk.post(&format!("{form}&scope=repository:ada/private:pull,push")).await.unwrap();
        assert_eq!(body["scope"], "repository:ada/private:pull", "{form}");
    }
    assert_eq!(
        desk.post(&format!("grant_type=password&username=ada&password={token}")).await.unwrap()["scope"],
        ""
    );
}

#[tokio::test]
async fn forms_that_are_wrong_are_refused() {
    let desk = Desk::new().await;
    let good = desk.token("ada", Scope::ALL).await;
    for bad in [
        String::new(),
        "grant_type=client_credentials".into(),
        "grant_type=password&username=ada".into(),
        "grant_type=refresh_token".into(),
        format!("grant_type=password&username=ada&username=bob&password={good}"),
        format!("grant_type=password&username=ada&password={good}&password=x"),
        format!("grant_type=password&grant_type=refresh_token&refresh_token={good}"),
    ] {
        assert_eq!(kind(desk.post(&bad).await), Kind::Invalid(What::Request), "{bad}");
    }
    for bad in [
        "grant_type=password&username=ada&password=wrong+wrong".to_owned(),
        format!("grant_type=password&username=bob&password={good}"),
        "grant_type=refresh_token&refresh_token=".into(),
        format!("grant_type=refresh_token&refresh_token={good}x"),
    ] {
        assert_eq!(kind(desk.post(&bad).await), INVALID, "{bad}");
    }
    let form = format!("grant_type=refresh_token&refresh_token={good}");
    let both =
        desk.ask(Some(&basic("ada", &good)), async |cx| exchange(cx, &Query::parse(&form)?).await).await;
    assert_eq!(kind(both), Kind::Invalid(What::Request), "two places for credentials");
}

#[tokio::test]
async fn a_short_token_buys_no_other() {
    let desk = Desk::new().await;
    let body = desk.get(Some(&basic("ada", PASSWORD)), "scope=repository:ada/private:pull").await.unwrap();
    let bearer = body["token"].as_str().unwrap();
    assert_eq!(kind(desk.get(Some(&format!("Bearer {bearer}")), "").await), INVALID);
    assert_eq!(kind(desk.post(&format!("grant_type=refresh_token&refresh_token={bearer}")).await), INVALID);
}

#[tokio::test]
async fn a_bound_token_is_judged_by_the_rights_of_the_moment() {
    let desk = Desk::new().await;
    let body = desk.get(None, "scope=repository:ada/public:pull").await.unwrap();
    let value = format!("Bearer {}", body["token"].as_str().unwrap());
    let name = PackageName::parse("ada/public").unwrap();
    let policy = desk.registry.policy();
    let pull = async || {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_str(&value).unwrap());
        let caller = desk
            .registry
            .authenticator()
            .authenticate(&headers, Caller::anonymous(NOW, "x".into()))
            .await
            .unwrap();
        policy.authorize::<Pull>(&caller, &name).await.is_ok()
    };
    assert!(pull().await);
    let manage = policy.authorize(&desk.operator(), &name).await.unwrap();
    desk.registry.set_visibility(&manage, Visibility::Private).await.unwrap();
    assert!(!pull().await);
}

#[tokio::test]
async fn without_anonymous_reads_nobody_gets_something() {
    let desk = Desk::with(Settings { anonymous_reads: false, ..Settings::default() }).await;
    let asked = "scope=repository:ada/public:pull&scope=registry:catalog:*";
    let body = desk.get(None, asked).await.unwrap();
    assert_eq!(desk.bound(&body).await, "");
    let token = desk.token("bob", &[Scope::ReadPackages]).await;
    let body = desk.get(Some(&basic("bob", &token)), asked).await.unwrap();
    assert_eq!(desk.bound(&body).await, "repository:ada/public:pull registry:catalog:*");
}

#[tokio::test]
async fn too_many_scopes_are_refused() {
    let desk = Desk::new().await;
    let ask = |count: usize| {
        (0..count).map(|n| format!("scope=repository:ada/p{n}:pull")).collect::<Vec<_>>().join("&")
    };
    assert!(desk.get(None, &ask(100)).await.is_ok());
    assert_eq!(kind(desk.get(None, &ask(101)).await), Kind::Invalid(What::Request));
    let long = format!("scope=repository:ada/{}:pull", "x/".repeat(7000));
    assert_eq!(kind(desk.get(None, &long).await), Kind::Invalid(What::Request));
}

#[test]
fn the_grammar_of_scopes() {
    let repository = |name: &str, verbs: &[Verb]| {
        Some(Asked::Repository(PackageName::parse(name).unwrap(), verbs.to_vec()))
    };
    assert_eq!(read_scope("repository:a/b:pull"), repository("a/b", &[Verb::Pull]));
    assert_eq!(read_scope("repository:a/b:push,pull"), repository("a/b", &[Verb::Push, Verb::Pull]));
    assert_eq!(read_scope("repository:a/b:*"), repository("a/b", &[Verb::Pull, Verb::Push, Verb::Delete]));
    assert_eq!(read_scope("repository(plugin):a/b:pull"), repository("a/b", &[Verb::Pull]));
    assert_eq!(read_scope("repository:npm/a/b:pull,frob"), repository("npm/a/b", &[Verb::Pull]));
    assert_eq!(read_scope("repository:a/b:manage"), repository("a/b", &[]));
    assert_eq!(read_scope("registry:catalog:*"), Some(Asked::Catalog));
    for nothing in [
        "",
        "repository",
        "repository:a/b",
        "repository:alpine:pull",
        "repository:A/B:pull",
        "repository:localhost:5000/a/b:pull",
        "repository(plugin:a/b:pull",
        "Repository:a/b:pull",
        "registry:catalog:pull",
        "registry:other:*",
        "repository:*:pull",
        "::",
        ":::",
    ] {
        assert_eq!(read_scope(nothing), None, "{nothing:?}");
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_back(path in "[a-z]{1,5}/[a-z]{1,5}", bits in 1u8..8) {
        let verbs: Vec<Verb> = [Verb::Pull, Verb::Push, Verb::Delete]
            .into_iter().enumerate().filter(|(n, _)| bits & (1 << n) != 0).map(|(_, verb)| verb).collect();
        let Ok(name) = PackageName::parse(&path) else { return Ok(()) };
        let text = written(&Access { name: path, verbs: verbs.clone() });
        prop_assert_eq!(read_scope(&text), Some(Asked::Repository(name, verbs)));
    }

    #[test]
    fn nothing_panics(text: String) {
        let _ = read_scope(&text);
        let _ = read_scope(&format!("repository:{text}"));
    }
}
