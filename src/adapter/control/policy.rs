//! Policies: which tags are immutable, which versions go by themselves.

use serde::{Deserialize, Serialize};

use super::{
    Answer, done,
    execute::{Desk, table},
};
use crate::{
    auth::{Delete, Grant, Manage, Pull},
    error::Result,
    model::{PackageName, TagPattern, TagPatterns},
    registry::{Rules, records::Retention},
};

/// What can be asked of policies.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum PolicyCommand {
    /// Shows the policy of a package and its owner's, or an owner's.
    Show {
        /// `OWNER` or a package.
        name: String,
    },
    /// Sets it.
    Set {
        /// `OWNER` or a package.
        name: String,
        /// What it says.
        rules: Wanted,
    },
    /// Takes it away.
    Clear {
        /// `OWNER` or a package.
        name: String,
    },
    /// Deletes what the rules let go, of a package or of all of an owner's.
    Run {
        /// `OWNER` or a package.
        name: String,
        /// Only says what would go, and why.
        dry_run: bool,
    },
}

/// A policy as it is asked for.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Patterns of immutable tags.
    pub immutable: Vec<String>,
    /// Exceptions from them.
    pub except: Vec<String>,
    /// Whether a package keeps everything, whatever its owner's policy says.
    pub keep_all: bool,
    /// How many tagged versions stay.
    pub keep_last: Option<u32>,
    /// How long tagged versions stay, in seconds.
    pub keep_younger: Option<u64>,
    /// Patterns of tags whose versions stay.
    pub keep_tags: Vec<String>,
    /// After how long untagged versions go, in seconds.
    pub untagged_older: Option<u64>,
}

impl Wanted {
    fn rules(&self) -> Result<Rules> {
        let retention = Retention {
            keep_last: self.keep_last,
            keep_younger: self.keep_younger,
            keep_tags: TagPatterns::parse(&self.keep_tags, &[])?,
            untagged_older: self.untagged_older,
        };
        Rules::checked(&self.immutable, &self.except, self.keep_all, retention)
    }
}

/// Versions deleted in one go; the next goes on.
const STEP: usize = 1000;

impl Desk<'_> {
    pub(super) async fn policy(&self, command: PolicyCommand) -> Result<Answer> {
        match command {
            PolicyCommand::Show { name } => self.show_policy(&name).await,
            PolicyCommand::Set { name, rules } => {
                self.set_policy(&name, Some(rules.rules()?)).await?;
                done(format!("{name} has this policy"))
            }
            PolicyCommand::Clear { name } => {
                self.set_policy(&name, None).await?;
                done(format!("{name} has no policy of its own"))
            }
            PolicyCommand::Run { name, dry_run } => self.run_policy(&name, dry_run).await,
        }
    }

    async fn managed(&self, package: &PackageName) -> Result<Grant<Manage>> {
        self.registry.policy().authorize(&self.caller, package).await
    }

    async fn set_policy(&self, name: &str, rules: Option<Rules>) -> Result<()> {
        if name.contains('/') {
            let grant = self.managed(&PackageName::parse(name)?).await?;
            return self.registry.set_package_policy(&grant, rules).await;
        }
        self.registry.set_owner_policy(&self.owner(name).await?, rules).await
    }

    async fn show_policy(&self, name: &str) -> Result<Answer> {
        let mut rows = Vec::new();
        let mut owner = name.to_owned();
        if name.contains('/') {
            let package = PackageName::parse(name)?;
            package.owner().clone_into(&mut owner);
            let rules = self.registry.package_policy(&self.managed(&package).await?).await?;
            add(&mut rows, name, rules);
        }
        add(&mut rows, &owner, self.registry.owner_policy(&self.owner(&owner).await?).await?);
        table(["policy of", "rule", "value"], rows)
    }

    async fn run_policy(&self, name: &str, dry_run: bool) -> Result<Answer> {
        let mut rows = Vec::new();
        let (mut deleted, mut packages) = (0, 0);
        for package in self.packages_named(name).await? {
            packages += 1;
            let grant: Grant<Delete> = self.registry.policy().authorize(&self.caller, &package).await?;
            if !dry_run {
                // Until a step finds less than it may do.
                loop {
                    let done = self.registry.retain(&grant, STEP).await?;
                    deleted += done;
                    if done < STEP {
                        break;
                    }
                }
                continue;
            }
            for (seen, fate) in self.registry.retention_plan(&grant).await?.fates {
                let tags: Vec<&str> = seen.tags.iter().map(|(tag, _)| tag.as_str()).collect();
                let goes = if fate.goes { "goes" } else { "stays" };
                let (package, digest) = (package.to_string(), seen.digest.to_string());
                rows.push([package, digest, tags.join(","), goes.to_owned(), fate.why.to_string()]);
            }
        }
        if dry_run {
            return table(["package", "version", "tags", "fate", "why"], rows);
        }
        let until = self.registry.kept_until(self.caller.at);
        done(format!(
            "{deleted} versions of {packages} packages are deleted; they can be restored until {until}"
        ))
    }

    /// The package of a name, or those of an owner.
    async fn packages_named(&self, name: &str) -> Result<Vec<PackageName>> {
        if name.contains('/') {
            let package = PackageName::parse(name)?;
            self.registry.policy().authorize::<Pull>(&self.caller, &package).await?;
            return Ok(vec![package]);
        }
        self.owner(name).await?;
        let mut packages = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.registry.packages_of(&self.caller, Some(name), after.as_deref(), 256).await?;
            after = page.packages.last().map(|package| package.name.to_string());
            packages.extend(page.packages.into_iter().map(|package| package.name));
            if !page.more {
                return Ok(packages);
            }
        }
    }
}

fn add(rows: &mut Vec<[String; 3]>, of: &str, rules: Option<Rules>) {
    let Some(Rules { immutable, retention }) = rules else { return };
    let mut add = |rule: &str, value: String| rows.push([of.to_owned(), rule.to_owned(), value]);
    let mut list = |rule: &str, patterns: &[TagPattern]| {
        patterns.iter().for_each(|pattern| add(rule, pattern.as_str().to_owned()));
    };
    list("immutable", &immutable.tags);
    list("except", &immutable.except);
    let Some(rules) = retention else { return };
    list("keep-tag", &rules.keep_tags.tags);
    if rules.is_idle() {
        add("keep-all", "yes".to_owned());
    }
    let numbers = [
        ("keep-last", rules.keep_last.map(|count| count.to_string())),
        ("keep-younger", rules.keep_younger.map(|seconds| format!("{seconds}s"))),
        ("untagged-older", rules.untagged_older.map(|seconds| format!("{seconds}s"))),
    ];
    for (rule, value) in numbers {
        if let Some(value) = value {
            add(rule, value);
        }
    }
}
