//! Every answer these tests get is compared with the document that describes it.

use std::sync::LazyLock;

use serde_json::Value;

/// As it is served; a test compares.
pub(super) static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../../src/adapter/rest/openapi.json")).unwrap());

fn is_parameter(segment: &str) -> bool {
    segment.starts_with('{')
}

/// What the document says of a request: the path that fits best, since `/orgs/{org}/members` is not `/orgs/{org}/{more}`.
fn operation(method: &str, path: &str) -> Option<&'static Value> {
    let asked: Vec<&str> = path.split('?').next().unwrap().trim_start_matches('/').split('/').collect();
    let fits = |template: &str| {
        let parts: Vec<&str> = template.trim_start_matches('/').split('/').collect();
        let alike = parts.iter().zip(&asked).all(|(part, asked)| is_parameter(part) || part == asked);
        (parts.len() == asked.len() && alike).then(|| parts.iter().filter(|part| is_parameter(part)).count())
    };
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let best = paths.iter().filter_map(|(template, found)| Some((fits(template)?, found)));
    let found = best.min_by_key(|(parameters, _)| *parameters)?.1;
    found.get(method.to_ascii_lowercase())
}

/// Compares an answer with what the document says of it.
///
/// # Panics
/// When the document does not know of such an answer, or it is of another shape.
pub(super) fn check(method: &str, path: &str, status: u16, body: &[u8]) {
    let what = format!("{method} {path} answered {status}");
    let Some(operation) = operation(method, path) else {
        assert!(matches!(status, 401 | 404), "{what}, and the document has no such request");
        return;
    };
    let answers = &operation["responses"];
    let answer = match answers.get(status.to_string()) {
        Some(answer) => answer,
        None => {
            assert!(status >= 400, "{what}, which the document does not say");
            resolved(&answers["default"])
        }
    };
    let Some(schema) = answer["content"]["application/json"].get("schema") else {
        assert!(body.is_empty(), "{what} with a body, which the document does not say");
        return;
    };
    let value: Value = serde_json::from_slice(body).unwrap_or_else(|error| panic!("{what}: {error}"));
    if let Err(why) = fits(schema, &value, "") {
        panic!("{what}: {why}\n{value:#}");
    }
}

fn resolved(schema: &'static Value) -> &'static Value {
    match schema["$ref"].as_str() {
        Some(name) => {
            DOCUMENT.pointer(name.strip_prefix('#').unwrap()).unwrap_or_else(|| panic!("no {name}"))
        }
        None => schema,
    }
}

/// The part of JSON Schema that the document uses; another word in it is a failure here, so that none goes unheeded.
fn fits(schema: &'static Value, value: &Value, at: &str) -> Result<(), String> {
    let schema = resolved(schema);
    for (word, says) in schema.as_object().unwrap() {
        match word.as_str() {
            "description" => {}
            "type" => has_type(says, value).then_some(()).ok_or(format!("{at} is not {says}"))?,
            "enum" => {
                let known = says.as_array().unwrap().contains(value);
                known.then_some(()).ok_or(format!("{at} is none of {says}"))?;
            }
            "minimum" => {
                (value.as_i64() >= says.as_i64()).then_some(()).ok_or(format!("{at} is too small"))?
            }
            "maximum" => {
                (value.as_u64() <= says.as_u64()).then_some(()).ok_or(format!("{at} is too great"))?
            }
            "format" => {
                let text = value.as_str().unwrap_or_default();
                let time = text.len() == 20 && text.ends_with('Z') && text.as_bytes()[10] == b'T';
                (says != "date-time" || time).then_some(()).ok_or(format!("{at} is no time: {text}"))?;
            }
            "items" => {
                for (number, item) in value.as_array().into_iter().flatten().enumerate() {
                    fits(says, item, &format!("{at}/{number}"))?;
                }
            }
            "properties" => {
                for (name, schema) in says.as_object().unwrap() {
                    if let Some(value) = value.get(name) {
                        fits(schema, value, &format!("{at}/{name}"))?;
                    }
                }
            }
            "required" => {
                for name in says.as_array().unwrap() {
                    let name = name.as_str().unwrap();
                    value.get(name).map(|_| ()).ok_or(format!("{at} lacks {name}"))?;
                }
            }
            "additionalProperties" => {
                let known = schema["properties"].as_object().unwrap();
                let unknown =
                    value.as_object().and_then(|all| all.keys().find(|name| !known.contains_key(*name)));
                unknown.map_or(Ok(()), |name| Err(format!("{at} has {name}")))?;
            }
            "anyOf" => {
                let any = says.as_array().unwrap().iter().any(|one| fits(one, value, at).is_ok());
                any.then_some(()).ok_or(format!("{at} fits nothing of {says}"))?;
            }
            other => panic!("the document uses {other}, which is not compared"),
        }
    }
    Ok(())
}

fn has_type(says: &Value, value: &Value) -> bool {
    let is = |word: &str| match word {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("the document has a type {other}"),
    };
    match says {
        Value::String(word) => is(word),
        several => several.as_array().unwrap().iter().any(|word| is(word.as_str().unwrap())),
    }
}

#[test]
fn the_comparison_bites() {
    let error = serde_json::json!({"message": "no", "status": "404", "documentation_url": "x"});
    let schema = &DOCUMENT["components"]["schemas"]["Error"];
    assert_eq!(fits(schema, &error, ""), Ok(()));
    for (name, value) in [("message", Value::Null), ("reason", "because".into()), ("more", 1.into())] {
        let mut other = error.clone();
        other[name] = value;
        assert!(fits(schema, &other, "").is_err(), "{name}");
    }
    let mut less = error.clone();
    less.as_object_mut().unwrap().remove("status");
    assert!(fits(schema, &less, "").is_err());
    let package = &DOCUMENT["components"]["schemas"]["Package"]["properties"];
    assert!(fits(&package["id"], &serde_json::json!(1u64 << 53), "").is_err(), "no double holds it");
    assert!(fits(&package["created_at"], &serde_json::json!("yesterday"), "").is_err());
}
