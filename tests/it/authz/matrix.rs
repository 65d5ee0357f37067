//! Sends every sample as every caller, and compares.

use std::collections::{BTreeMap, BTreeSet};

use packhouse::adapter::{Adapter, oci::Oci, rest::Rest};

use super::{
    callers::{CALLERS, Caller},
    samples::{Cell, Effect, ONCE, Package, Request, SAMPLES, Sample},
    world::World,
};
use crate::support::{Client, Response};

/// The tables: what is asked about each kind of package, and what is about none.
const TABLES: [(&str, Package, &[&[Sample]]); 4] = [
    ("PRIVATE PACKAGE", Package::Private, SAMPLES),
    ("PUBLIC PACKAGE", Package::Public, SAMPLES),
    ("ABSENT PACKAGE", Package::Absent, SAMPLES),
    ("NO PACKAGE", Package::Private, ONCE),
];

fn rows(samples: &'static [&'static [Sample]]) -> impl Iterator<Item = &'static Sample> {
    samples.iter().copied().flatten()
}

const LEGEND: &str = "\
A status, and behind it
  of 401: - no credentials were sent, i they are no good, x they are good for less, b Basic ones are asked for
  of 403: r the role is too low, s the token lacks the scope, t the token is limited to something else
  of 404: n NAME_UNKNOWN, m MANIFEST_UNKNOWN, b BLOB_UNKNOWN, u BLOB_UPLOAD_UNKNOWN
  of 200: + and - whether it is listed, p w d what a token is granted (pull, push, delete)
";

impl Request {
    fn send(&self) -> Response {
        let headers: Vec<(&str, &str)> =
            self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.client.send(self.method, &self.target, &headers, &self.body)
    }
}

/// The text of a cell.
fn shown(cell: &Cell<'_>, sample: &Sample, answer: &Response) -> String {
    let challenge = answer.header("www-authenticate").unwrap_or_default();
    let code = if answer.body.is_empty() || answer.status < 400 { String::new() } else { answer.code() };
    let reason = |answer: &Response| {
        let json = answer.json();
        let found = json["errors"][0]["detail"]["reason"].as_str().or(json["reason"].as_str());
        found.unwrap_or("?").to_owned()
    };
    let mark = match answer.status {
        401 if challenge.starts_with("Basic ") => "b".to_owned(),
        401 if challenge.contains("invalid_token") => "i".to_owned(),
        401 if challenge.contains("insufficient_scope") => "x".to_owned(),
        401 => "-".to_owned(),
        403 => reason(answer)[..1].to_owned(),
        404 => match code.as_str() {
            "NAME_UNKNOWN" => "n".to_owned(),
            "MANIFEST_UNKNOWN" => "m".to_owned(),
            "BLOB_UNKNOWN" => "b".to_owned(),
            "BLOB_UPLOAD_UNKNOWN" => "u".to_owned(),
            "" => String::new(),
            other => other.to_owned(),
        },
        400.. => String::new(),
        _ => (sample.mark)(cell, answer),
    };
    format!("{}{mark}", answer.status)
}

/// What was refused changed nothing; what was allowed happened.
fn check_effect(what: &str, request: &Request, answer: &Response) {
    let (client, target, there) = match &request.effect {
        Effect::None => return,
        Effect::Makes(client, target) => (client, target, answer.status < 300),
        Effect::Ends(client, target) => (client, target, answer.status >= 300),
    };
    let found = client.get(target).status;
    assert_eq!(found < 300, there, "{what}: {} and then {found} at {target}", answer.status);
}

/// An answer word for word, without what differs from one request to the next.
fn words(cell: &Cell<'_>, answer: &Response) -> String {
    let mut text = format!("{}\n", answer.status);
    for (name, value) in &answer.headers {
        let name = name.to_lowercase();
        if !matches!(name.as_str(), "date" | "x-request-id") {
            text.push_str(&format!("{name}: {value}\n"));
        }
    }
    text.push_str(&answer.text());
    text.replace(&cell.repository, "REPOSITORY")
}

/// Every row of one caller on one kind of package: what the cells show, and the answers' words.
fn column(
    world: &World,
    caller: &Caller,
    package: Package,
    samples: &'static [&'static [Sample]],
) -> Vec<(String, String)> {
    rows(samples)
        .map(|sample| {
            let cell = Cell::new(world, caller, package);
            let request = (sample.make)(&cell);
            let answer = request.send();
            let what = format!("{} {} as {} on {package:?}", sample.route, sample.variant, caller.short);
            assert!(answer.status < 500, "{what}: {} {}", answer.status, answer.text());
            check_effect(&what, &request, &answer);
            (shown(&cell, sample, &answer), words(&cell, &answer))
        })
        .collect()
}

/// By package, then by caller, then by sample.
type Table = Vec<Vec<Vec<(String, String)>>>;

fn measured(world: &World) -> Table {
    TABLES
        .into_iter()
        .map(|(_, package, samples)| {
            std::thread::scope(|scope| {
                let columns: Vec<_> = CALLERS
                    .iter()
                    .map(|caller| scope.spawn(move || column(world, caller, package, samples)))
                    .collect();
                columns.into_iter().map(|column| column.join().unwrap()).collect()
            })
        })
        .collect()
}

fn printed(table: &Table) -> String {
    let mut text = format!("{LEGEND}\n");
    for caller in CALLERS {
        text.push_str(&format!("{:5}  {}\n", caller.short, caller.about));
    }
    for ((title, _, samples), columns) in TABLES.into_iter().zip(table) {
        let heads: Vec<String> = CALLERS.iter().map(|caller| format!("{:7}", caller.short)).collect();
        text.push_str(format!("\n{title:26}{}", heads.concat()).trim_end());
        text.push('\n');
        for (row, sample) in rows(samples).enumerate() {
            let cells: Vec<String> = columns.iter().map(|column| format!("{:7}", column[row].0)).collect();
            let name = format!("{} {}", sample.route, sample.variant);
            text.push_str(format!("{name:26}{}", cells.concat()).trim_end());
            text.push('\n');
        }
    }
    text
}

/// Requests counted so far, by adapter and route.
fn counted(metrics: &Client) -> BTreeMap<(String, String), u64> {
    let page = metrics.get("/metrics").expect(200).text();
    let label = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!("{name}=\"")).unwrap();
        rest.split('"').next().unwrap().to_owned()
    };
    let mut found = BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with("packhouse_http_requests_total{")) {
        let count: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        *found.entry((label(line, "adapter"), label(line, "route"))).or_default() += count as u64;
    }
    found
}

/// A sample is of the route it says: its request is counted there and nowhere else.
fn check_routes(world: &World) {
    let metrics = Client::new(&world.server.metrics);
    let owner = CALLERS.iter().find(|caller| caller.short == "owner").unwrap();
    for sample in rows(SAMPLES).chain(rows(ONCE)) {
        let cell = Cell::new(world, owner, Package::Private);
        let request = (sample.make)(&cell);
        // An answer is counted when it has ended, a moment after it was read.
        let settled = || loop {
            let first = counted(&metrics);
            std::thread::sleep(std::time::Duration::from_millis(20));
            if counted(&metrics) == first {
                return first;
            }
        };
        let before = settled();
        request.send();
        let mut after = settled();
        while after == before {
            after = settled();
        }
        let changed: Vec<_> =
            after.iter().filter(|(route, count)| before.get(route) != Some(count)).collect();
        let adapter = match sample.route {
            "health" => "server",
            route if Rest::ROUTES.contains(&route) => "rest",
            _ => "oci",
        };
        let expected = (adapter.to_owned(), sample.route.to_owned());
        assert_eq!(changed.len(), 1, "{} {}: {changed:?}", sample.route, sample.variant);
        assert_eq!(*changed[0].0, expected);
        assert_eq!(*changed[0].1, before.get(&expected).unwrap_or(&0) + 1);
    }
}

/// A private package must not be told from an absent one by whoever may not know of it: word for word the same.
fn check_secrecy(table: &Table) {
    let [private, _, absent, _] = table.as_slice() else { panic!("three packages") };
    for (index, caller) in CALLERS.iter().enumerate() {
        for (row, sample) in rows(SAMPLES).enumerate() {
            // A member may create packages, and so find out which names are taken; reading tells nothing.
            let reads = matches!(
                sample.route,
                "catalog"
                    | "discover"
                    | "tags"
                    | "manifest_get"
                    | "manifest_head"
                    | "blob_get"
                    | "blob_head"
                    | "referrers"
                    | "packages"
                    | "deleted_packages"
                    | "package"
                    | "versions"
                    | "version"
            );
            if caller.blind || (caller.short == "membr" && reads) {
                let name = format!("{} {} as {}", sample.route, sample.variant, caller.short);
                let (private, absent) = (steady(&private[index][row].1), steady(&absent[index][row].1));
                assert_eq!(private, absent, "{name}: a private package is told from an absent one");
            }
        }
    }
}

/// Tokens differ each time they are issued, and bodies of lists are not about one package.
fn steady(words: &str) -> String {
    let secret = ["\"token\":", "\"access_token\":", "\"issued_at\":"];
    let parts = words.split_inclusive(',').filter(|part| !secret.iter().any(|name| part.contains(name)));
    let text: String = parts.collect();
    // A list shows those that another caller's cell made meanwhile.
    let body = |line: &str| line.starts_with("[{") || line.starts_with("{\"repositories\":");
    let is_list = text.lines().any(|line| body(line) || line.starts_with("link: "));
    let varies = |line: &str| {
        let said = ["etag: ", "content-length: ", "link: "];
        body(line) || is_list && said.iter().any(|start| line.to_lowercase().starts_with(start))
    };
    text.lines().filter(|line| !varies(line)).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_route_answers_every_caller_as_the_matrix_says() {
    let world = World::new();
    check_routes(&world);
    let table = measured(&world);

    let sampled: BTreeSet<&str> = rows(SAMPLES).chain(rows(ONCE)).map(|sample| sample.route).collect();
    let counted: BTreeSet<String> =
        counted(&Client::new(&world.server.metrics)).into_keys().map(|(_, route)| route).collect();
    for route in Oci::ROUTES.iter().chain(Rest::ROUTES).chain(&["health"]) {
        assert!(sampled.contains(route), "nobody sampled {route}: add a row to samples.rs");
        assert!(counted.contains(*route), "nobody counted {route}");
    }

    check_secrecy(&table);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/authz/matrix.txt");
    let printed = printed(&table);
    if std::env::var_os("UPDATE_MATRIX").is_some() {
        std::fs::write(path, &printed).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    let mut changed = Vec::new();
    for (number, (new, old)) in printed.lines().zip(committed.lines()).enumerate() {
        if new != old {
            changed.push(format!("line {}\n  was {old}\n  is  {new}", number + 1));
        }
    }
    assert!(printed == committed, "UPDATE_MATRIX=1 writes what is now:\n{}", changed.join("\n"));
}
