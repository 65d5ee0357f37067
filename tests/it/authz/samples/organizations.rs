//! The rows of people and organizations. Whoever has no organization of its own is tried on acme.

use super::{
    Cell, Request, Sample,
    rest::{ends, makes, with},
    sample,
};
use crate::{authz::callers::Home, support::Client};

const ACME: &str = "/api/v3/orgs/acme";

fn owner(cell: &Cell<'_>) -> Client {
    cell.world.manager(Home::Organization)
}

/// A user that nobody else has, a member of acme or not.
fn user(cell: &Cell<'_>, member: bool) -> String {
    let name = format!("u{}", cell.world.number());
    let body = format!(r#"{{"login":"{name}"}}"#);
    cell.world.administrator().post("/api/v3/admin/users", body.as_bytes()).expect(201);
    if member {
        owner(cell).put(&format!("{ACME}/memberships/{name}"), b"").expect(200);
    }
    name
}

/// A team below `eng` that nobody else has, perhaps with a member.
fn team(cell: &Cell<'_>, member: Option<&str>) -> String {
    let name = format!("t{}", cell.world.number());
    let eng = owner(cell).get(&format!("{ACME}/teams/eng")).expect(200).json()["id"].to_string();
    let body = format!(r#"{{"name":"{name}","parent_team_id":{eng}}}"#);
    owner(cell).post(&format!("{ACME}/teams"), body.as_bytes()).expect(201);
    if let Some(member) = member {
        owner(cell).put(&format!("{ACME}/teams/{name}/memberships/{member}"), b"").expect(200);
    }
    name
}

fn organization(cell: &Cell<'_>) -> String {
    let name = format!("o{}", cell.world.number());
    let body = format!(r#"{{"login":"{name}","admin":"orla"}}"#);
    cell.world.administrator().post("/api/v3/admin/organizations", body.as_bytes()).expect(201);
    name
}

/// A request to acme.
fn acme(cell: &Cell<'_>, method: &'static str, rest: &str) -> Request {
    cell.at(method, format!("{ACME}{rest}"))
}

/// One that takes away what its own path names.
fn takes(cell: &Cell<'_>, rest: String) -> Request {
    let request = acme(cell, "DELETE", &rest);
    ends(cell, owner(cell), request.target.clone(), request)
}

/// One that makes what its own path names.
fn puts(cell: &Cell<'_>, rest: String, body: &str) -> Request {
    let request = with(acme(cell, "PUT", &rest), body.to_owned());
    makes(cell, owner(cell), request.target.clone(), request)
}

pub(super) const ROWS: &[Sample] = &[
    sample("organization_change", "", |cell| with(acme(cell, "PATCH", ""), "{}".into())),
    sample("members", "", |cell| acme(cell, "GET", "/members")),
    sample("member_check", "", |cell| acme(cell, "GET", "/members/memo")),
    sample("member_check", "absent", |cell| acme(cell, "GET", "/members/stan")),
    sample("member_remove", "", |cell| takes(cell, format!("/members/{}", user(cell, true)))),
    sample("membership", "", |cell| acme(cell, "GET", "/memberships/memo")),
    sample("membership_put", "", |cell| puts(cell, format!("/memberships/{}", user(cell, false)), "")),
    sample("membership_put", "owner", |cell| {
        puts(cell, format!("/memberships/{}", user(cell, false)), r#"{"role":"admin"}"#)
    }),
    sample("membership_remove", "", |cell| takes(cell, format!("/memberships/{}", user(cell, true)))),
    sample("my_membership", "", |cell| cell.api("GET", "user/memberships/orgs/acme")),
    sample("outside_collaborators", "", |cell| acme(cell, "GET", "/outside_collaborators")),
    sample("teams", "", |cell| acme(cell, "GET", "/teams")),
    sample("team_create", "", |cell| {
        let name = format!("n{}", cell.world.number());
        let request = with(acme(cell, "POST", "/teams"), format!(r#"{{"name":"{name}"}}"#));
        makes(cell, owner(cell), format!("{ACME}/teams/{name}"), request)
    }),
    sample("team", "", |cell| acme(cell, "GET", "/teams/eng")),
    sample("team", "absent", |cell| acme(cell, "GET", "/teams/nobody")),
    sample("team_change", "renames", |cell| {
        let (team, to) = (team(cell, None), format!("n{}", cell.world.number()));
        let request = with(acme(cell, "PATCH", &format!("/teams/{team}")), format!(r#"{{"name":"{to}"}}"#));
        makes(cell, owner(cell), format!("{ACME}/teams/{to}"), request)
    }),
    sample("team_delete", "", |cell| takes(cell, format!("/teams/{}", team(cell, None)))),
    sample("team_children", "", |cell| acme(cell, "GET", "/teams/eng/teams")),
    sample("team_members", "", |cell| acme(cell, "GET", "/teams/eng/members")),
    sample("team_membership", "", |cell| acme(cell, "GET", "/teams/eng/memberships/mina")),
    sample("team_membership_put", "", |cell| {
        puts(cell, format!("/teams/{}/memberships/rhea", team(cell, None)), "")
    }),
    sample("team_membership_remove", "", |cell| {
        takes(cell, format!("/teams/{}/memberships/rhea", team(cell, Some("rhea"))))
    }),
    sample("team_packages", "", |cell| acme(cell, "GET", "/teams/eng/packages")),
    sample("my_teams", "", |cell| cell.api("GET", "user/teams")),
    sample("audit_log", "", |cell| acme(cell, "GET", "/audit-log")),
    sample("audit_log_of_installation", "", |cell| cell.api("GET", "admin/audit-log")),
    sample("policy", "owner", |cell| acme(cell, "GET", "/policy")),
    sample("policy_put", "owner", |cell| {
        with(cell.api("PUT", "orgs/beta/policy"), r#"{"keep_last":1000000}"#.into())
    }),
    sample("policy_delete", "owner", |cell| acme(cell, "DELETE", "/policy")),
    sample("my_tokens", "", |cell| cell.api("GET", "user/tokens")),
    sample("my_token_create", "", |cell| {
        with(cell.api("POST", "user/tokens"), r#"{"scopes":["read:packages"],"expires_in":60}"#.into())
    }),
    sample("my_token_create", "all", |cell| {
        let all = r#"["read:packages","write:packages","delete:packages","admin"]"#;
        with(cell.api("POST", "user/tokens"), format!(r#"{{"scopes":{all},"expires_in":60}}"#))
    }),
    sample("my_token_revoke", "absent", |cell| cell.api("DELETE", "user/tokens/0123456789abcdef")),
];

pub(super) const ADMIN: &[Sample] = &[
    sample("organization_create", "", |cell| {
        let name = format!("o{}", cell.world.number());
        let body = format!(r#"{{"login":"{name}","admin":"orla"}}"#);
        let request = with(cell.api("POST", "admin/organizations"), body);
        makes(cell, owner(cell), format!("/api/v3/orgs/{name}"), request)
    }),
    sample("organization_delete", "", |cell| {
        let request = cell.api("DELETE", &format!("orgs/{}", organization(cell)));
        ends(cell, owner(cell), request.target.clone(), request)
    }),
    sample("user_create", "", |cell| {
        let name = format!("u{}", cell.world.number());
        let request = with(cell.api("POST", "admin/users"), format!(r#"{{"login":"{name}"}}"#));
        makes(cell, owner(cell), format!("/api/v3/users/{name}"), request)
    }),
    sample("user_delete", "", |cell| {
        let name = user(cell, false);
        let request = cell.api("DELETE", &format!("admin/users/{name}"));
        ends(cell, owner(cell), format!("/api/v3/users/{name}"), request)
    }),
    sample("user_suspend", "", |cell| cell.api("PUT", &format!("users/{}/suspended", user(cell, false)))),
    sample("user_resume", "", |cell| cell.api("DELETE", &format!("users/{}/suspended", user(cell, false)))),
];
