//! `packhouse package delete|restore|versions`, against a running and a stopped daemon.

use serde_json::Value;

use crate::support::{
    Server,
    content::{self, sha256},
};

fn json(server: &Server, args: &[&str]) -> Vec<Value> {
    let printed = server.admin_ok(&[args, &["--json"]].concat());
    serde_json::from_str::<Value>(&printed).unwrap().as_array().unwrap().clone()
}

/// Runs a command; says its exit code and the sentence it printed.
fn said(server: &Server, args: &[&str]) -> (i32, String) {
    let output = server.admin(args);
    assert!(output.stdout.is_empty());
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[track_caller]
fn says(server: &Server, args: &[&str], code: i32, words: &str) {
    let (found, text) = said(server, args);
    assert!(found == code && text.contains(words), "{args:?}: {found} {text}");
}

#[test]
fn versions_are_listed_deleted_and_restored() {
    let server = Server::start();
    let ada = server.signed_in("ada");
    let image = ada.push_image("ada/app", "v1", 1);
    ada.put_manifest("ada/app", "latest", &image).expect(201);
    ada.push_image("ada/app", "v2", 2);
    let digest = sha256(&content::bytes(&image));
    let named = format!("ada/app@{digest}");
    let listed = json(&server, &["package", "versions", "ada/app"]);
    assert_eq!(listed.len(), 2);
    let one = listed.iter().find(|row| row["version"] == digest.as_str()).unwrap();
    assert_eq!((&one["tags"], &one["type"]), (&"latest,v1".into(), &content::OCI_MANIFEST.into()));

    says(&server, &["package", "delete", "ada/app:latest"], 0, "its version stays");
    says(&server, &["package", "delete", "ada/app:latest"], 0, "deleted already");
    says(&server, &["package", "delete", &named], 0, "can be restored until 2");
    says(&server, &["package", "delete", &named], 0, "deleted already");
    ada.get(&format!("/v2/ada/app/manifests/{digest}")).refuses(404, "MANIFEST_UNKNOWN");
    assert_eq!(json(&server, &["package", "versions", "ada/app"]).len(), 1);
    let deleted = json(&server, &["package", "versions", "ada/app", "--deleted"]);
    assert_eq!((&deleted[0]["version"], &deleted[0]["tags"]), (&digest.as_str().into(), &"v1".into()));
    assert!(deleted[0]["restorable_until"].as_str() > deleted[0]["deleted"].as_str());

    // The tag that went before by itself is restored by itself, once its version is there.
    says(&server, &["package", "restore", "ada/app:latest"], 1, "restore that first");
    says(&server, &["package", "restore", &named], 0, "with the tags v1");
    says(&server, &["package", "restore", &named], 0, "is not deleted");
    says(&server, &["package", "restore", "ada/app:latest"], 0, "is restored");
    says(&server, &["package", "restore", "ada/app:latest"], 0, "is not deleted");
    let pulled = ada.get("/v2/ada/app/manifests/latest").expect(200);
    assert_eq!(pulled.body, content::bytes(&image));

    says(&server, &["package", "delete", "ada/app:never"], 1, "no manifest never");
    says(&server, &["package", "restore", "ada/app:never"], 1, "no deleted tag never");
    says(&server, &["package", "delete", "ada/none"], 1, "no package ada/none");
    says(&server, &["package", "restore", "ada/none"], 1, "no package ada/none");
    says(&server, &["package", "delete", "ada/app@sha256:12"], 1, "digest");
    says(&server, &["package", "restore", "ada/app", "--id", "1"], 1, "16 hexadecimal digits");
}

#[test]
fn packages_are_deleted_and_restored_also_while_the_daemon_is_stopped() {
    let mut server = Server::start();
    let ada = server.signed_in("ada");
    let image = ada.push_image("ada/app", "v1", 1);
    says(&server, &["package", "delete", "ada/app"], 0, "its name is free");
    says(&server, &["package", "delete", "ada/app"], 0, "deleted already");
    says(&server, &["package", "versions", "ada/app"], 1, "package restore ada/app");
    says(&server, &["package", "delete", "ada/app:v1"], 1, "package restore ada/app");
    ada.get("/v2/ada/app/manifests/v1").refuses(404, "NAME_UNKNOWN");
    ada.get("/v2/ada/app/tags/list").refuses(404, "NAME_UNKNOWN");
    let layer = image["layers"][0]["digest"].as_str().unwrap();
    ada.get(&format!("/v2/ada/app/blobs/{layer}")).refuses(404, "NAME_UNKNOWN");
    let mount = format!("/v2/ada/new/blobs/uploads/?mount={layer}");
    ada.post(&format!("{mount}&from=ada/app"), b"").expect(202);
    ada.post(&mount, b"").expect(202);
    assert!(json(&server, &["package", "list"]).is_empty());
    let deleted = json(&server, &["package", "list", "ada", "--deleted"]);
    assert_eq!(deleted[0]["package"], "ada/app");
    says(&server, &["user", "remove", "ada"], 1, "");

    server.terminate();
    says(&server, &["package", "restore", "ada/app"], 0, "with everything it had");
    says(&server, &["package", "restore", "ada/app"], 0, "is not deleted");
    says(&server, &["package", "delete", "ada/app"], 0, "is deleted");
    let id = deleted[0]["id"].as_str().unwrap();
    says(&server, &["package", "restore", "ada/app", "--id", "0000000000000001"], 1, "");
    server.crash_and_restart();
    let ada = server.signed_in("ada");
    ada.push_image("ada/app", "other", 2);
    says(&server, &["package", "restore", "ada/app"], 1, "delete that one first");
    says(&server, &["package", "delete", "ada/app"], 0, "is deleted");
    says(&server, &["package", "restore", "ada/app", "--id", id], 0, "is restored");
    assert_eq!(ada.get("/v2/ada/app/manifests/v1").expect(200).body, content::bytes(&image));
    ada.get(&format!("/v2/ada/app/blobs/{layer}")).expect(200);
    ada.get("/v2/ada/app/manifests/other").refuses(404, "MANIFEST_UNKNOWN");
}
