//! The rows of source repositories, each on one of its own.

use super::{
    Cell, Request, Sample,
    rest::{ends, makes, with},
    sample,
};
use crate::authz::callers::Home;

/// A private repository of the cell's name space.
pub(super) fn source(cell: &Cell<'_>) -> String {
    let name = format!("s{}", cell.world.number());
    let to = match cell.caller.home {
        Home::User => "user".to_owned(),
        Home::Organization | Home::OpenOrganization => format!("orgs/{}", cell.caller.namespace()),
    };
    let body = format!(r#"{{"name":"{name}","private":true}}"#);
    cell.manager().post(&format!("/api/v3/{to}/repos"), body.as_bytes()).expect(201);
    name
}

/// A request to a repository of its own.
fn own(cell: &Cell<'_>, method: &'static str, rest: &str) -> Request {
    cell.api(method, &format!("repos/{}/{}{rest}", cell.caller.namespace(), source(cell)))
}

pub(super) const ROWS: &[Sample] = &[
    sample("repositories", "", |cell| {
        let path = match cell.caller.home {
            Home::User => "users/olga/repos".to_owned(),
            Home::Organization | Home::OpenOrganization => format!("orgs/{}/repos", cell.caller.namespace()),
        };
        cell.api("GET", &path)
    }),
    sample("repositories", "own", |cell| cell.api("GET", "user/repos")),
    sample("repository_create", "", |cell| {
        let name = format!("n{}", cell.world.number());
        let body = format!(r#"{{"name":"{name}","private":true}}"#);
        let request = with(cell.api("POST", "orgs/acme/repos"), body);
        let seen = cell.world.manager(Home::Organization);
        makes(cell, seen, format!("/api/v3/repos/acme/{name}"), request)
    }),
    sample("repository", "", |cell| own(cell, "GET", "")),
    sample("repository", "absent", |cell| {
        cell.api("GET", &format!("repos/{}/none", cell.caller.namespace()))
    }),
    sample("repository_change", "renames", |cell| {
        let to = format!("n{}", cell.world.number());
        let request = with(own(cell, "PATCH", ""), format!(r#"{{"name":"{to}"}}"#));
        let seen = format!("/api/v3/repos/{}/{to}", cell.caller.namespace());
        makes(cell, cell.manager(), seen, request)
    }),
    sample("repository_delete", "", |cell| {
        let request = own(cell, "DELETE", "");
        ends(cell, cell.manager(), request.target.clone(), request)
    }),
    sample("repository_transfer", "to another", |cell| {
        with(own(cell, "POST", "/transfer"), r#"{"new_owner":"beta"}"#.into())
    }),
    sample("collaborators", "", |cell| own(cell, "GET", "/collaborators")),
    sample("collaborator_check", "", |cell| own(cell, "GET", "/collaborators/rhea")),
    sample("collaborator_put", "", |cell| {
        let request = with(own(cell, "PUT", "/collaborators/rhea"), r#"{"permission":"pull"}"#.into());
        makes(cell, cell.manager(), request.target.clone(), request)
    }),
    sample("collaborator_remove", "", |cell| {
        let request = own(cell, "DELETE", "/collaborators/rhea");
        cell.manager().put(&request.target, b"").expect(204);
        ends(cell, cell.manager(), request.target.clone(), request)
    }),
    sample("collaborator_permission", "", |cell| own(cell, "GET", "/collaborators/rhea/permission")),
    sample("repository_teams", "", |cell| own(cell, "GET", "/teams")),
    sample("team_repository", "", |cell| of_team(cell, "GET")),
    sample("team_repository_put", "", |cell| {
        let request = with(of_team(cell, "PUT"), r#"{"permission":"push"}"#.into());
        makes(cell, cell.world.manager(Home::Organization), request.target.clone(), request)
    }),
    sample("team_repository_remove", "", |cell| {
        let request = of_team(cell, "DELETE");
        let owner = cell.world.manager(Home::Organization);
        owner.put(&request.target, b"").expect(204);
        ends(cell, owner, request.target.clone(), request)
    }),
];

/// The role of acme's team on a repository of acme's.
fn of_team(cell: &Cell<'_>, method: &'static str) -> Request {
    let name = format!("s{}", cell.world.number());
    let body = format!(r#"{{"name":"{name}","private":true}}"#);
    cell.world.manager(Home::Organization).post("/api/v3/orgs/acme/repos", body.as_bytes()).expect(201);
    cell.api(method, &format!("orgs/acme/teams/eng/repos/acme/{name}"))
}
