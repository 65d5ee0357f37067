//! The management API over a real daemon.

mod changing;
mod organizations;
mod reading;
mod repositories;
mod schema;
mod tokens;

use serde_json::{Value, json};

use crate::support::{
    Client, Response, Server,
    content::{self, OCI_INDEX},
};

pub(crate) const SCOPES: [&str; 4] = ["read:packages", "write:packages", "delete:packages", "admin"];

/// A daemon with users who may manage what is theirs.
pub(crate) struct World {
    pub(crate) server: Server,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { server: Server::start() }
    }

    /// A user with a token of every scope.
    pub(crate) fn user(&self, name: &str) -> Client {
        self.server.user(name, "correct horse battery");
        self.token(name, &SCOPES)
    }

    pub(crate) fn token(&self, name: &str, scopes: &[&str]) -> Client {
        self.server.anonymous().bearer(&self.server.token(name, scopes))
    }
}

/// A body that nobody else has.
pub(crate) fn index(note: &str) -> Value {
    json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], "annotations": {"note": note}})
}

/// Pushes an index and says its digest.
pub(crate) fn push(client: &Client, repository: &str, tag: &str, note: &str) -> String {
    let value = index(note);
    let headers = [("Content-Type", OCI_INDEX)];
    let path = format!("/v2/{repository}/manifests/{tag}");
    client.send("PUT", &path, &headers, &content::bytes(&value)).expect(201);
    content::sha256(&content::bytes(&value))
}

pub(crate) trait Api {
    fn api(&self, method: &str, path: &str, body: Value) -> Response;

    fn read(&self, path: &str) -> Response {
        self.api("GET", path, Value::Null)
    }
}

impl Api for Client {
    fn api(&self, method: &str, path: &str, body: Value) -> Response {
        let bytes = if body.is_null() { Vec::new() } else { content::bytes(&body) };
        let kind = [("Content-Type", "application/json")];
        let answer = self.send(method, &format!("/api/v3{path}"), &kind, &bytes);
        schema::check(method, path, answer.status, &answer.body);
        answer
    }
}

/// The names under a key of a list.
pub(crate) fn names(answer: &Response, key: &str) -> Vec<String> {
    let list = answer.json();
    list.as_array().unwrap().iter().map(|one| one[key].as_str().unwrap().to_owned()).collect()
}

/// An answer word for word, without what differs from one request to the next.
pub(crate) fn words(answer: &Response) -> String {
    let mut text = format!("{}\n", answer.status);
    for (name, value) in &answer.headers {
        if !matches!(name.to_lowercase().as_str(), "date" | "x-request-id") {
            text.push_str(&format!("{name}: {value}\n"));
        }
    }
    text + &answer.text()
}
