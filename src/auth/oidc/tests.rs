//! Tokens of an issuer with keys of its own: only the exact good one passes.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::{KeyPair as RsaKey, KeySize},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::*;

const URL: &str = "https://ci.example";
const AUDIENCE: &str = "https://registry.example";
const NOW: u64 = 1_700_000_000;

struct Keyed {
    rsa: RsaKey,
    ec: EcdsaKeyPair,
}

impl Keyed {
    fn new() -> Self {
        let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self { rsa: RsaKey::generate(KeySize::Rsa2048).unwrap(), ec }
    }

    /// The modulus out of the DER form: two headers of four bytes and a zero in front of 256 bytes.
    fn modulus(&self) -> Vec<u8> {
        self.rsa.public_key().as_ref()[9..265].to_vec()
    }

    fn jwks(&self, rsa: &str, ec: &str) -> Value {
        let point = self.ec.public_key().as_ref();
        json!({"keys": [
            {"kty": "RSA", "kid": rsa, "use": "sig", "alg": "RS256", "n": BASE64.encode(self.modulus()), "e": "AQAB"},
            {"kty": "EC", "kid": ec, "crv": "P-256", "x": BASE64.encode(&point[1..33]), "y": BASE64.encode(&point[33..])},
            {"kty": "OKP", "kid": "other", "crv": "Ed25519", "x": "AA"},
        ]})
    }

    fn sign(&self, alg: &str, signed: &str) -> Vec<u8> {
        let random = SystemRandom::new();
        match alg {
            "RS256" => {
                let mut signature = vec![0; self.rsa.public_modulus_len()];
                self.rsa.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature).unwrap();
                signature
            }
            _ => self.ec.sign(&random, signed.as_bytes()).unwrap().as_ref().to_vec(),
        }
    }
}

fn part(value: &Value) -> String {
    BASE64.encode(value.to_string())
}

fn token(keys: &Keyed, header: &Value, claims: &str) -> String {
    let signed = format!("{}.{}", part(header), BASE64.encode(claims));
    let signature = keys.sign(header["alg"].as_str().unwrap_or_default(), &signed);
    format!("{signed}.{}", BASE64.encode(signature))
}

fn claims() -> Value {
    json!({
        "iss": URL, "aud": AUDIENCE, "sub": "repo:acme/app", "jti": "one", "iat": NOW - 5, "exp": NOW + 300,
        "nbf": NOW - 5, "repository_id": "17", "repository_owner_id": 18, "ref": "refs/heads/main",
    })
}

/// An issuer's documents, and how often somebody asked.
struct Served {
    jwks: Mutex<Value>,
    discovery: Mutex<Value>,
    fetches: AtomicUsize,
}

#[async_trait]
impl Fetch for Served {
    async fn get(&self, url: &str, _most: usize) -> Result<Bytes> {
        self.fetches.fetch_add(1, Relaxed);
        tokio::task::yield_now().await;
        let document = match url.strip_prefix(URL).unwrap() {
            "/.well-known/openid-configuration" => self.discovery.lock().unwrap().clone(),
            "/keys" => self.jwks.lock().unwrap().clone(),
            other => panic!("{other} was asked for"),
        };
        match document {
            Value::Null => Err(Error::internal("not now")),
            document => Ok(document.to_string().into()),
        }
    }
}

fn served(jwks: Value) -> (Issuers, Arc<Served>) {
    let discovery = json!({"issuer": URL, "jwks_uri": format!("{URL}/keys")});
    let served = Arc::new(Served {
        jwks: Mutex::new(jwks),
        discovery: Mutex::new(discovery),
        fetches: AtomicUsize::new(0),
    });
    let issuer = Issuer { url: URL.into(), audience: AUDIENCE.into(), ..Issuer::default() };
    (Issuers::new(vec![issuer], Arc::clone(&served) as _).unwrap(), served)
}

async fn verify(issuers: &Issuers, token: &str) -> Result<Verified> {
    issuers.verify(&Secret::new(token), Timestamp(NOW * 1000)).await
}

/// Claims that are wrong, each in one way.
fn wrong_claims() -> Vec<String> {
    let mut mutants = Vec::new();
    let mut with = |name: &str, value: Value| {
        let mut changed = claims();
        match value {
            Value::Null => drop(changed.as_object_mut().unwrap().remove(name)),
            value => changed[name] = value,
        }
        mutants.push(changed.to_string());
    };
    for required in ["iss", "aud", "sub", "jti", "iat", "exp"] {
        with(required, Value::Null);
        with(required, json!({}));
        with(required, json!([]));
        with(required, json!(true));
        with(required, json!(-1));
        with(required, json!(1.5));
        with(required, json!(""));
    }
    for time in ["iat", "exp", "nbf"] {
        with(time, json!(format!("{NOW}")));
        with(time, json!(NOW as f64 + 0.5));
        with(time, json!([NOW]));
    }
    with("exp", json!(NOW - LEEWAY));
    with("exp", json!(NOW - 5));
    with("exp", json!(NOW + 25 * 3600));
    with("exp", json!(u64::MAX));
    with("iat", json!(NOW + LEEWAY + 1));
    with("iat", json!(NOW + 300));
    with("nbf", json!(NOW + LEEWAY + 1));
    with("iss", json!(format!("{URL}/")));
    with("iss", json!("https://CI.example"));
    with("iss", json!([URL]));
    for audience in [
        json!(format!("{AUDIENCE}/")),
        json!("https://other.example"),
        json!([AUDIENCE, "https://other.example"]),
        json!([AUDIENCE, AUDIENCE]),
        json!([[AUDIENCE]]),
        json!({"0": AUDIENCE}),
        json!(AUDIENCE.to_uppercase()),
    ] {
        with("aud", audience);
    }
    with("jti", json!("x".repeat(1025)));
    let text = claims().to_string();
    mutants.push(text.replacen("\"aud\":", "\"aud\":\"https://other.example\",\"aud\":", 1));
    mutants.push(text.replacen("\"exp\":", "\"exp\":1,\"exp\":", 1));
    mutants.push(text.replace(&format!("\"exp\":{}", NOW + 300), "\"exp\":1e400"));
    mutants.push(format!("[{text}]"));
    mutants.push(format!("{text} {text}"));
    mutants.push(String::new());
    mutants
}

/// Headers that are wrong, each in one way.
fn wrong_headers(keys: &Keyed) -> Vec<Value> {
    let good = json!({"alg": "RS256", "kid": "r1", "typ": "JWT"});
    let mut mutants = Vec::new();
    for (name, value) in [
        ("kid", json!("r2")),
        ("kid", json!("e1")),
        ("kid", json!("R1")),
        ("kid", json!("../r1")),
        ("kid", json!("")),
        ("kid", json!(null)),
        ("kid", json!(1)),
        ("kid", json!(["r1"])),
        ("kid", json!("other")),
        ("kid", json!("x".repeat(300))),
        ("typ", json!("at+jwt")),
        ("typ", json!("JOSE")),
        ("jwk", keys.jwks("r1", "e1")["keys"][0].clone()),
        ("jku", json!(format!("{URL}/keys"))),
        ("x5c", json!(["MIIB"])),
        ("x5u", json!(URL)),
        ("crit", json!(["exp"])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("enc", json!("A256GCM")),
        ("alg", json!("RS512")),
        ("alg", json!("rs256")),
        ("alg", json!("PS256")),
        ("alg", json!("ES256")),
        ("alg", json!("none")),
        ("alg", json!("")),
        ("alg", json!(null)),
    ] {
        let mut changed = good.clone();
        changed[name] = value;
        mutants.push(changed);
    }
    mutants
}

#[tokio::test(start_paused = true)]
async fn only_the_exact_good_token_passes() {
    let keys = Keyed::new();
    let (issuers, _) = served(keys.jwks("r1", "e1"));
    let rs = json!({"alg": "RS256", "kid": "r1", "typ": "JWT"});
    let es = json!({"alg": "ES256", "kid": "e1", "x5t": "ignored"});
    for header in [&rs, &es] {
        let good = verify(&issuers, &token(&keys, header, &claims().to_string())).await.unwrap();
        assert_eq!(good.claims.subject, "repo:acme/app");
        assert_eq!(
            (good.claims.text("repository_id"), good.claims.text("repository_owner_id")),
            (Some("17"), Some("18"))
        );
        assert_eq!((good.claims.text("nothing"), good.claims.expires), (None, NOW + 300));
        assert!(good.claims.taken_until > good.claims.expires + LEEWAY);
    }
    let mut tried = 0;
    let mut refused = async |token: String| {
        let answer = verify(&issuers, &token).await;
        let kind = answer.as_ref().err().map(Error::kind);
        assert_eq!(kind, Some(Kind::Unauthenticated(Challenge::Invalid)), "{token} {answer:?}");
        tried += 1;
    };
    for header in [&rs, &es] {
        for wrong in wrong_claims() {
            refused(token(&keys, header, &wrong)).await;
        }
    }
    for header in wrong_headers(&keys) {
        refused(token(&keys, &header, &claims().to_string())).await;
    }
    let good = token(&keys, &rs, &claims().to_string());
    let parts: Vec<&str> = good.split('.').collect();
    let signed = format!("{}.{}", parts[0], parts[1]);
    // Signed with what everybody knows, by nobody, or by somebody else.
    for secret in [keys.modulus(), keys.rsa.public_key().as_ref().to_vec(), Vec::new()] {
        let header = part(&json!({"alg": "HS256", "kid": "r1"}));
        let signed = format!("{header}.{}", parts[1]);
        let mut mac = Hmac::<Sha256>::new_from_slice(&secret).unwrap();
        mac.update(signed.as_bytes());
        refused(format!("{signed}.{}", BASE64.encode(mac.finalize().into_bytes()))).await;
    }
    let none = part(&json!({"alg": "none", "kid": "r1"}));
    refused(format!("{none}.{}.", parts[1])).await;
    refused(format!("{signed}.")).await;
    refused(signed.clone()).await;
    refused(token(&Keyed::new(), &rs, &claims().to_string())).await;
    refused(format!("{signed}.{}", BASE64.encode(keys.sign("ES256", &signed)))).await;
    // Cut, grown, spelled otherwise.
    let mut other = claims();
    other["repository_id"] = json!("99");
    refused(format!("{}.{}.{}", parts[0], BASE64.encode(other.to_string()), parts[2])).await;
    for odd in [
        format!("{good}."),
        format!(".{good}"),
        format!("{good}="),
        format!("{good}A"),
        good[..good.len() - 1].to_owned(),
        format!(" {good}"),
        format!("{good}\n"),
        good.replace('.', ".."),
        String::new(),
        "..".into(),
        "x".repeat(20_000),
    ] {
        refused(odd).await;
    }
    assert!(tried >= 60, "{tried} mutants");
    assert!(verify(&issuers, &good).await.is_ok(), "and the good one still does");
}

#[tokio::test(start_paused = true)]
async fn keys_are_turned_over_and_asked_for_once_in_half_a_minute() {
    let (old, new) = (Keyed::new(), Keyed::new());
    let (issuers, served) = served(old.jwks("r1", "e1"));
    let with =
        |keys: &Keyed, kid: &str| token(keys, &json!({"alg": "RS256", "kid": kid}), &claims().to_string());
    assert_eq!(served.fetches.load(Relaxed), 0, "nobody is asked before it is needed");
    // Many at once ask as one: a discovery and a key set.
    let all = futures_util::future::join_all(
        (0..50).map(|_| async { verify(&issuers, &with(&old, "r1")).await.is_ok() }),
    );
    assert!(all.await.into_iter().all(|good| good));
    assert_eq!(served.fetches.load(Relaxed), 2);
    for number in 0..1000 {
        assert!(verify(&issuers, &with(&new, &format!("unknown {number}"))).await.is_err());
    }
    assert_eq!(served.fetches.load(Relaxed), 2, "names that somebody made up make us ask nobody");

    *served.jwks.lock().unwrap() = new.jwks("r2", "e2");
    assert!(verify(&issuers, &with(&new, "r2")).await.is_err(), "not yet");
    tokio::time::advance(Duration::from_secs(31)).await;
    assert!(verify(&issuers, &with(&new, "r2")).await.is_ok());
    assert!(verify(&issuers, &with(&old, "r1")).await.is_err(), "a key that was withdrawn");
    assert_eq!(served.fetches.load(Relaxed), 4);

    // An issuer that is away: what is known goes on for its hour, and no longer.
    *served.jwks.lock().unwrap() = Value::Null;
    tokio::time::advance(Duration::from_secs(1800)).await;
    assert!(verify(&issuers, &with(&new, "r2")).await.is_ok());
    tokio::time::advance(Duration::from_secs(1801)).await;
    assert_eq!(verify(&issuers, &with(&new, "r2")).await.unwrap_err().kind(), Kind::Unavailable);
    *served.jwks.lock().unwrap() = new.jwks("r2", "e2");
    assert_eq!(verify(&issuers, &with(&new, "r2")).await.unwrap_err().kind(), Kind::Unavailable);
    tokio::time::advance(Duration::from_secs(31)).await;
    assert!(verify(&issuers, &with(&new, "r2")).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn discovery_leads_to_the_issuers_own_host_and_nowhere_else() {
    let keys = Keyed::new();
    let good = token(&keys, &json!({"alg": "RS256", "kid": "r1"}), &claims().to_string());
    for discovery in [
        json!({"issuer": URL, "jwks_uri": "https://evil.example/keys"}),
        json!({"issuer": URL, "jwks_uri": "http://ci.example/keys"}),
        json!({"issuer": URL, "jwks_uri": "https://ci.example:444/keys"}),
        json!({"issuer": URL, "jwks_uri": "https://ci.example@evil.example/keys"}),
        json!({"issuer": URL, "jwks_uri": "file:///etc/passwd"}),
        json!({"issuer": "https://evil.example", "jwks_uri": format!("{URL}/keys")}),
        json!({"issuer": URL}),
        json!([]),
    ] {
        let (issuers, served) = served(keys.jwks("r1", "e1"));
        *served.discovery.lock().unwrap() = discovery.clone();
        assert_eq!(verify(&issuers, &good).await.unwrap_err().kind(), Kind::Unavailable, "{discovery}");
        assert_eq!(served.fetches.load(Relaxed), 1, "{discovery}");
    }
}

#[test]
fn keys_that_cannot_be_meant_are_left_out() {
    let keys = Keyed::new();
    let good = keys.jwks("r1", "e1");
    let names =
        |document: &Value| jwt::read_keys(document.to_string().as_bytes()).map_or(0, |keys| keys.len());
    assert_eq!(names(&good), 2);
    let mut twice = good.clone();
    twice["keys"][1]["kid"] = json!("r1");
    assert_eq!(names(&twice), 0, "two keys of one name");
    for (name, value) in [
        ("use", json!("enc")),
        ("alg", json!("RS512")),
        ("key_ops", json!(["sign"])),
        ("n", json!("!")),
        ("kid", json!("")),
    ] {
        let mut changed = good.clone();
        changed["keys"][0][name] = value;
        assert_eq!(names(&changed), 1, "{name}");
    }
    let many = json!({"keys": vec![good["keys"][0].clone(); 101]});
    assert_eq!(names(&many), 0);
}

#[test]
fn issuers_are_checked() {
    let issuer = |url: &str| Issuer { url: url.into(), audience: "a".into(), ..Issuer::default() };
    for good in [
        "https://ci.example",
        "https://ci.example:8443/path",
        "http://127.0.0.1:9",
        "http://[::1]:9",
        "http://localhost",
    ] {
        assert!(issuer(good).check().is_ok(), "{good}");
    }
    for bad in [
        "",
        "ci.example",
        "http://ci.example",
        "http://10.0.0.1",
        "ftp://ci.example",
        "https://a@ci.example",
        "https://ci.example#x",
        "https://ci.example:x",
    ] {
        assert!(issuer(bad).check().is_err(), "{bad}");
    }
    assert!(Issuer { audience: String::new(), ..issuer(URL) }.check().is_err());
    assert!(Issuer { kind: IssuerKind::Custom, ..issuer(URL) }.check().is_err());
    assert!(Issuer { repository_claim: "repo".into(), ..issuer(URL) }.check().is_err());
    let custom = Issuer { kind: IssuerKind::Custom, repository_claim: "repo".into(), ..issuer(URL) };
    assert!(custom.check().is_ok());
    let (_, fetch) = served(json!({}));
    assert!(Issuers::new(vec![issuer(URL), issuer(URL)], fetch).is_err());
}
