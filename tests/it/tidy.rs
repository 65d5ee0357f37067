//! Rules that keep the tree readable, as tests: who may import whom, how long a file and a function may be, what every
//! module says of itself. When a rule fights clarity, change the rule here, in its own commit, and say why.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Longest file and longest function, in lines. A test is a story told from its beginning to its end, and may take longer.
const FILE: usize = 500;
const FUNCTION: usize = 70;
const TEST: usize = 110;

/// What each part of the crate may import from the crate.
const MAY: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("model", &["error"]),
    ("store", &["error", "model"]),
    ("auth", &["error", "model"]),
    ("registry", &["error", "model", "store", "auth"]),
    ("http", &["error", "model", "auth"]),
    ("adapter", &["error", "model", "auth", "registry", "http"]),
    ("hooks", &["error", "model", "auth", "registry"]),
    ("jobs", &["error", "model", "auth", "registry"]),
    ("server", &["error", "model", "auth", "registry", "http", "adapter", "jobs", "hooks", "config"]),
    ("config", &["error", "model", "registry", "auth"]),
    (
        "cli",
        &[
            "error", "model", "auth", "registry", "http", "adapter", "jobs", "hooks", "server", "config",
            "store",
        ],
    ),
];

fn sources() -> Vec<PathBuf> {
    fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "tests", "conformance", "benches"] {
        if root.join(folder).is_dir() {
            walk(&root.join(folder), &mut files);
        }
    }
    files.retain(|file| !file.components().any(|part| part.as_os_str() == "target"));
    files.sort();
    assert!(files.len() > 30, "the walk found the sources");
    files
}

fn shown(path: &Path) -> String {
    path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().display().to_string()
}

/// The parts of the crate that a file names, in `use crate::…` trees and in paths.
fn imports(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut nested: Option<usize> = None;
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let mut rest = code;
        while let Some(at) = rest.find("crate::") {
            rest = &rest[at + "crate::".len()..];
            if rest.starts_with('{') {
                nested = Some(0);
            } else {
                found.push((number + 1, word(rest)));
            }
        }
        // Inside `use crate::{ … }`: the first word of each entry at the first level.
        if let Some(depth) = nested.as_mut() {
            let start = if code.contains("crate::{") { code.find("crate::{").unwrap() + 7 } else { 0 };
            let mut fresh = *depth == 1;
            for (at, letter) in code.char_indices().skip(start) {
                match letter {
                    '{' => {
                        *depth += 1;
                        fresh = *depth == 1;
                    }
                    '}' => *depth -= 1,
                    ',' => fresh = *depth == 1,
                    letter if fresh && letter.is_ascii_alphabetic() => {
                        found.push((number + 1, word(&code[at..])));
                        fresh = false;
                    }
                    _ => {}
                }
            }
            if *depth == 0 {
                nested = None;
            }
        }
    }
    found
}

fn is_test(path: &Path) -> bool {
    let shown = shown(path);
    !shown.starts_with("src/")
        || shown.ends_with("tests.rs")
        || shown.contains("/tests/")
        || shown.contains("/suite")
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

/// The part of the crate a file belongs to; `None` for the roots, which may import everything.
fn part_of(path: &Path) -> Option<String> {
    let shown = shown(path);
    let inside = shown.strip_prefix("src/")?;
    let first = inside.split('/').next()?.trim_end_matches(".rs").to_owned();
    (!matches!(first.as_str(), "main" | "lib" | "testing")).then_some(first)
}

#[test]
fn imports_go_downward_only() {
    let table: BTreeMap<_, _> = MAY.iter().copied().collect();
    let mut wrong = Vec::new();
    for path in sources() {
        let Some(part) = part_of(&path) else { continue };
        let text = std::fs::read_to_string(&path).unwrap();
        let Some(may) = table.get(part.as_str()) else {
            wrong.push(format!("{}: the table has no row for {part}", shown(&path)));
            continue;
        };
        let adapter = shown(&path)
            .strip_prefix("src/adapter/")
            .and_then(|rest| rest.split('/').next().map(str::to_owned));
        // Tests beside the code may build what the layer itself must not know.
        let code =
            if is_test(&path) { "" } else { text.split("#[cfg(test)]\nmod").next().unwrap_or_default() };
        for (line, import) in imports(code) {
            let known = table.contains_key(import.as_str());
            if known && import != part && !may.contains(&import.as_str()) {
                wrong.push(format!("{}:{line}: {part} may not import {import}", shown(&path)));
            }
        }
        if let Some(own) = adapter {
            for other in ["oci", "npm", "maven", "rubygems", "nuget", "rest", "web", "control"] {
                if own != other && own != "mod.rs" && text.contains(&format!("adapter::{other}")) {
                    wrong.push(format!("{}: adapter {own} may not import adapter {other}", shown(&path)));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_import_rule_bites() {
    let text = "use crate::{\n    error::Error,\n    store::{Batch, Key},\n    http,\n};\nlet x = crate::server::run();";
    let found: Vec<_> = imports(text).into_iter().map(|(_, name)| name).collect();
    assert_eq!(found, ["error", "store", "http", "server"]);
    assert!(imports("// crate::store is not named here").is_empty());
}

#[test]
fn files_and_functions_are_short() {
    let mut wrong = Vec::new();
    for path in sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        if lines.len() > FILE {
            wrong.push(format!("{}: {} lines", shown(&path), lines.len()));
        }
        let mut start = None;
        for (number, line) in lines.iter().enumerate() {
            let code = line.trim_start();
            let indent = line.len() - code.len();
            let begins = ["fn ", "pub fn ", "async fn ", "pub async fn ", "pub(super) fn ", "pub(crate) fn "];
            let more = ["pub(super) async fn ", "pub(crate) async fn ", "const fn ", "pub const fn "];
            if begins.iter().chain(&more).any(|word| code.starts_with(word)) && !code.ends_with(';') {
                start = Some((number, indent));
            }
            if let Some((first, depth)) = start
                && *line == format!("{}}}", " ".repeat(depth))
            {
                let most = if is_test(&path) { TEST } else { FUNCTION };
                if number - first >= most {
                    wrong.push(format!(
                        "{}:{}: a function of {} lines",
                        shown(&path),
                        first + 1,
                        number - first + 1
                    ));
                }
                start = None;
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_says_what_it_is_for() {
    let silent: Vec<_> = sources()
        .into_iter()
        .filter(|path| shown(path).starts_with("src/") && !shown(path).ends_with("tests.rs"))
        .filter(|path| !std::fs::read_to_string(path).unwrap().starts_with("//!"))
        .map(|path| shown(&path))
        .collect();
    assert!(silent.is_empty(), "no module comment: {}", silent.join(", "));
}

#[test]
fn nothing_unfinished_and_no_unwrap_outside_tests() {
    let mut wrong = Vec::new();
    for path in sources() {
        let name = shown(&path);
        let testing = name.ends_with("tests.rs") || name.contains("/suite") || name.contains("/tests/");
        if !name.starts_with("src/") || testing {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        // What stands below the first test module is a test.
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate() {
            let line = line.split("//").next().unwrap_or_default();
            for banned in
                ["todo!(", "unimplemented!(", ".unwrap()", ".expect(", "panic!(", "dbg!(", "#[ignore"]
            {
                if line.contains(banned) {
                    wrong.push(format!("{name}:{}: {banned}", number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `docs/promises.md`: each promise names its tests, and they exist.
#[test]
fn every_promise_names_its_tests() {
    let page =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/promises.md")).unwrap();
    let mut code = String::new();
    for path in sources() {
        code.push_str(&std::fs::read_to_string(path).unwrap());
    }
    let mut promises = 0;
    for promise in page.split("\n- ").skip(1) {
        let promise = promise.split("\n#").next().unwrap_or_default();
        // A test's name has underscores and nothing else between its words; settings and commands do not look so.
        let is_test =
            |word: &&str| word.contains('_') && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let tests: Vec<&str> = promise.split('`').skip(1).step_by(2).filter(is_test).collect();
        assert!(!tests.is_empty(), "a promise without a test: {promise}");
        for test in tests {
            assert!(code.contains(&format!("fn {test}(")), "no test is called {test}");
        }
        promises += 1;
    }
    assert!(promises > 10, "the page was read");
}
