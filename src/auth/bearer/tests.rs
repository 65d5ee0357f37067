use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn ring(audience: &str) -> Keyring {
    let key = |id, created| SigningKey { id, created: Timestamp(created), secret: [id as u8; 32] };
    Keyring::new(audience.to_owned(), vec![key(1, 10), key(2, 20)])
}

fn claims() -> Claims {
    Claims {
        user: Some(OwnerId(7)),
        repository: None,
        means: Means::Token(TokenId(9)),
        access: vec![Access { name: "acme/app".into(), verbs: vec![Verb::Pull, Verb::Push] }],
        issued: NOW,
    }
}

/// A token signed with the right key over claims we would never write.
fn forged(payload: &str) -> Option<Claims> {
    ring("here").open(&ring("here").seal(payload.as_bytes()).unwrap(), NOW)
}

#[test]
fn a_token_reads_back_until_it_expires() {
    let token = ring("here").sign(&claims()).unwrap();
    assert!(token.starts_with("phb_00000002."), "the newest key signs: {token}");
    assert_eq!(ring("here").open(&token, NOW), Some(claims()));
    assert_eq!(ring("here").open(&token, NOW.plus_seconds(LIFETIME - 1)), Some(claims()));
    assert_eq!(ring("here").open(&token, NOW.plus_seconds(LIFETIME)), None);
    let early = Timestamp(NOW.0 - 61_000);
    assert_eq!(ring("here").open(&token, early), None, "issued in the future");
    assert!(
        token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b)),
        "b64token of RFC 6750"
    );
}

#[test]
fn an_old_key_verifies_and_a_forgotten_one_does_not() {
    let old =
        Keyring::new("here".into(), vec![SigningKey { id: 1, created: Timestamp(10), secret: [1; 32] }]);
    let token = old.sign(&claims()).unwrap();
    assert_eq!(ring("here").open(&token, NOW), Some(claims()));
    let new =
        Keyring::new("here".into(), vec![SigningKey { id: 2, created: Timestamp(20), secret: [2; 32] }]);
    assert_eq!(new.open(&token, NOW), None);
    assert!(Keyring::new("here".into(), Vec::new()).sign(&claims()).is_err());
}

#[test]
fn another_installation_refuses_it_even_with_the_same_keys() {
    let token = ring("here").sign(&claims()).unwrap();
    assert_eq!(ring("there").open(&token, NOW), None);
}

const GOOD: &str = r#"{"aud":"here","sub":7,"by":{"token":9},"iat":1700000000,"exp":1700000900,"access":[]}"#;

/// What a part of the good claims is replaced by.
const SWAPS: &[(&str, &[&str])] = &[
    (
        r#""aud":"here""#,
        &[r#""aud":"there""#, r#""aud":"""#, r#""aud":["here"]"#, r#""aud":null"#, r#""aud":1"#],
    ),
    (r#""aud":"here","#, &["", r#""aud":"here","aud":"here","#, r#""aud":"here","iss":"x","#]),
    (
        r#""sub":7"#,
        &[r#""sub":null"#, r#""sub":"7""#, r#""sub":-7"#, r#""sub":7.0"#, r#""sub":[7]"#, r#""sub":1e400"#],
    ),
    (
        r#""by":{"token":9}"#,
        &[
            r#""by":"anonymous""#,
            r#""by":{"token":"9"}"#,
            r#""by":{"token":9,"password":1}"#,
            r#""by":"token""#,
            r#""by":null"#,
            r#""by":{}"#,
            r#""by":{"root":1}"#,
        ],
    ),
    (
        r#""iat":1700000000"#,
        &[
            r#""iat":"1700000000""#,
            r#""iat":1700000000.0"#,
            r#""iat":null"#,
            r#""iat":-1"#,
            r#""iat":[1700000000]"#,
            r#""iat":1700000061"#,
            r#""iat":1e400"#,
            r#""iat":0"#,
            r#""iat":18446744073709551615"#,
            r#""iat":true"#,
        ],
    ),
    (
        r#""exp":1700000900"#,
        &[
            r#""exp":"1700000900""#,
            r#""exp":1700000900.5"#,
            r#""exp":null"#,
            r#""exp":-1"#,
            r#""exp":[1700000900]"#,
            r#""exp":1700000000"#,
            r#""exp":1699999999"#,
            r#""exp":1700000901"#,
            r#""exp":1e400"#,
            r#""exp":0"#,
            r#""exp":18446744073709551615"#,
            r#""exp":false"#,
        ],
    ),
    (
        r#""access":[]"#,
        &[
            r#""access":null"#,
            r#""access":{}"#,
            r#""access":"*""#,
            r#""access":[null]"#,
            r#""access":[{"name":"a/b"}]"#,
            r#""access":[{"name":"a/b","actions":["*"]}]"#,
            r#""access":[{"name":"a/b","actions":["manage"]}]"#,
            r#""access":[{"name":"a/b","actions":"pull"}]"#,
            r#""access":[{"name":1,"actions":["pull"]}]"#,
            r#""access":[{"name":"a/b","actions":["pull"],"type":"repository"}]"#,
        ],
    ),
];

#[test]
fn claims_of_other_shapes_are_refused_though_signed() {
    assert!(forged(GOOD).is_some());
    let mut mutants = 0;
    for (from, tos) in SWAPS {
        for to in *tos {
            let payload = GOOD.replacen(from, to, 1);
            assert_ne!(payload, GOOD);
            assert_eq!(forged(&payload), None, "{payload}");
            mutants += 1;
        }
    }
    for payload in
        ["", "null", "[]", "{}", "7", "\"\"", &GOOD[1..], &format!("{GOOD} {GOOD}"), &format!("{GOOD}\0")]
    {
        assert_eq!(forged(payload), None, "{payload}");
        mutants += 1;
    }
    assert!(mutants >= 60, "{mutants}");
}

#[test]
fn tokens_of_other_shapes_are_refused() {
    let token = ring("here").sign(&claims()).unwrap();
    let parts: Vec<&str> = token.splitn(3, '.').collect();
    let [key, payload, mac] = parts[..] else { panic!() };
    let empty_mac = BASE64.encode(b"");
    let none = BASE64.encode(r#"{"alg":"none"}"#);
    for bad in [
        String::new(),
        "phb_".into(),
        "phb_.".into(),
        format!("{key}.{payload}"),
        format!("{key}.{payload}."),
        format!("{key}.{payload}.{empty_mac}"),
        format!("{key}.{payload}.{}", &mac[..mac.len() - 2]),
        format!("{key}.{payload}.{mac}="),
        format!("{key}.{payload}=.{mac}"),
        format!("{key}.{payload}.{mac}.{mac}"),
        format!("{key}..{mac}"),
        format!(" {token}"),
        format!("{token} "),
        format!("{token}\n"),
        format!("phb_00000001.{payload}.{mac}"),
        format!("phb_00000003.{payload}.{mac}"),
        format!("phb_2.{payload}.{mac}"),
        format!("phb_+0000002.{payload}.{mac}"),
        format!("phb_../../k.{payload}.{mac}"),
        format!("php_00000002.{payload}.{mac}"),
        format!("PHB_00000002.{payload}.{mac}"),
        format!("{none}.{payload}."),
        format!("{none}.{payload}.{mac}"),
        "a".repeat(MAX + 1),
    ] {
        assert_eq!(ring("here").open(&bad, NOW), None, "{bad}");
    }
}

proptest! {
    #[test]
    fn no_changed_token_is_good(position in 0usize..400, with in "[0-9A-Za-z._-]") {
        let token = ring("here").sign(&claims()).unwrap();
        let position = position % token.len();
        let mut changed = token.clone();
        changed.replace_range(position..=position, &with);
        prop_assert_eq!(ring("here").open(&changed, NOW).is_some(), changed == token);
    }

    #[test]
    fn no_byte_moves_between_the_parts(cut in 0usize..100) {
        let key = SigningKey { id: 1, created: Timestamp(0), secret: [1; 32] };
        let bytes = [7u8; 100];
        let whole = key.mac(&[&bytes]).unwrap().finalize().into_bytes();
        let (first, second) = bytes.split_at(cut);
        prop_assert_ne!(key.mac(&[first, second]).unwrap().finalize().into_bytes(), whole);
    }

    #[test]
    fn nothing_panics(text: String) {
        ring("here").open(&text, NOW);
        ring("here").open(&format!("phb_00000002.{text}.{text}"), NOW);
        forged(&text);
    }
}
