//! File, environment, flags: in that order, by name, in one place.

use std::path::Path;

use toml::{Table, Value};

use super::Config;
use crate::error::{Error, Result, What};

/// Settings given on the command line: a path such as `server.listen`, and its value as text. They win over everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides(pub Vec<(String, String)>);

impl Overrides {
    /// Adds one, where the flag was given.
    pub fn set(&mut self, setting: &str, value: Option<impl ToString>) {
        self.0.extend(value.map(|value| (setting.to_owned(), value.to_string())));
    }
}

/// Short names of environment variables.
const ALIASES: [(&str, &str); 3] = [
    ("PACKHOUSE_LISTEN", "server.listen"),
    ("PACKHOUSE_EXTERNAL_URL", "server.external_url"),
    ("PACKHOUSE_DATA", "server.data"),
];

impl Config {
    /// The effective configuration, checked.
    ///
    /// # Errors
    /// Invalid, with a sentence that names the setting and where it came from. The daemon exits with 2 on it.
    pub fn load(file: Option<&Path>, overrides: &Overrides) -> Result<Self> {
        let text = match file {
            None => String::new(),
            Some(path) => std::fs::read_to_string(path)
                .map_err(|cause| wrong(format!("{}: {cause}", path.display())))?,
        };
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let from = file.map_or_else(|| "configuration".into(), |path| path.display().to_string());
        let config = assemble(&text, &from, variables, overrides)?;
        config.check()?;
        Ok(config)
    }
}

pub(super) fn wrong(text: String) -> Error {
    Error::invalid(What::Request, text)
}

/// Puts the three sources together. The file is read by itself first, so that its errors have its line numbers.
fn assemble(
    text: &str,
    from: &str,
    variables: impl Iterator<Item = (String, String)>,
    overrides: &Overrides,
) -> Result<Config> {
    let from_file: Config = toml::from_str(text).map_err(|cause| wrong(format!("{from}: {cause}")))?;
    let mut table = Table::try_from(&from_file).map_err(Error::internal)?;
    for (name, value) in variables {
        if let Some(setting) = setting_of(&name, &table)? {
            put(&mut table, &setting, &value, &name)?;
        }
    }
    for (setting, value) in &overrides.0 {
        put(&mut table, setting, value, &format!("flag for {setting}"))?;
    }
    table.try_into().map_err(|cause| wrong(format!("configuration: {cause}")))
}

/// The setting that a variable names. Variables of other programs and of the command line's own are none of ours, but a
/// misspelt setting in a section of ours is a mistake worth stopping for.
fn setting_of(name: &str, table: &Table) -> Result<Option<String>> {
    if let Some((_, setting)) = ALIASES.iter().find(|(alias, _)| *alias == name) {
        return Ok(Some((*setting).to_owned()));
    }
    let Some(rest) = name.strip_prefix("PACKHOUSE_").map(str::to_ascii_lowercase) else { return Ok(None) };
    let Some((section, setting)) = rest.split_once('_') else { return Ok(None) };
    match table.get(section).and_then(Value::as_table) {
        None => Ok(None),
        Some(settings) if settings.contains_key(setting) => Ok(Some(format!("{section}.{setting}"))),
        Some(_) => Err(wrong(format!("{name}: the section [{section}] has no setting {setting}"))),
    }
}

/// Writes one setting, keeping its type: numbers and booleans are read as such, everything else has a text form.
fn put(table: &mut Table, setting: &str, value: &str, from: &str) -> Result<()> {
    let slot = setting
        .split_once('.')
        .and_then(|(section, name)| table.get_mut(section)?.as_table_mut()?.get_mut(name))
        .ok_or_else(|| wrong(format!("{from}: there is no setting {setting}")))?;
    let typed = match slot {
        Value::Integer(_) => value.parse().map(Value::Integer).ok(),
        Value::Boolean(_) => value.parse().map(Value::Boolean).ok(),
        _ => Some(Value::String(value.to_owned())),
    };
    *slot = typed.ok_or_else(|| wrong(format!("{from}: {value:?} is no {}", slot.type_str())))?;
    // Judged here, one by one, so that the message names the source.
    let _: Config = table.clone().try_into().map_err(|cause| wrong(format!("{from}: {cause}")))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Challenge, Size};

    fn build(text: &str, variables: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Config> {
        let own = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>()
        };
        assemble(text, "test.toml", own(variables).into_iter(), &Overrides(own(flags)))
    }

    #[test]
    fn later_sources_win() {
        let file = "[server]\nlisten = \"127.0.0.1:1\"\n[limits]\nlayer_size = \"1GB\"\ndescriptors = 5\n";
        let config = build(file, &[], &[]).unwrap();
        assert_eq!(config.server.listen[0].port(), 1);
        assert_eq!(config.limits.layer_size, Size(1_000_000_000));
        let variables = [
            ("PACKHOUSE_LISTEN", "127.0.0.1:2, [::1]:2"),
            ("PACKHOUSE_AUTH_CHALLENGE", "basic"),
            ("PACKHOUSE_AUTH_ANONYMOUS_READS", "false"),
            ("PACKHOUSE_LIMITS_DESCRIPTORS", "7"),
            ("PACKHOUSE_LIMITS_LAYER_SIZE", "2GB"),
            ("PACKHOUSE_SERVER_METRICS", "off"),
            ("PACKHOUSE_TOKEN", "another program's"),
            ("PATH", "/bin"),
        ];
        let config = build(file, &variables, &[("server.listen", "127.0.0.1:3")]).unwrap();
        assert_eq!(config.server.listen.len(), 1);
        assert_eq!(config.server.listen[0].port(), 3);
        assert_eq!(config.auth.challenge, Challenge::Basic);
        assert!(!config.auth.anonymous_reads);
        assert_eq!(config.limits.descriptors, 7);
        assert_eq!(config.limits.layer_size, Size(2_000_000_000));
        assert_eq!(config.server.metrics, None);
    }

    #[test]
    fn mistakes_name_their_source() {
        for (text, variables, flags, word) in [
            ("[server]\nlisen = 1\n", vec![], vec![], "lisen"),
            ("[sever]\n", vec![], vec![], "sever"),
            ("", vec![("PACKHOUSE_LIMITS_LAYER", "1")], vec![], "PACKHOUSE_LIMITS_LAYER"),
            ("", vec![("PACKHOUSE_LIMITS_LAYER_SIZE", "much")], vec![], "PACKHOUSE_LIMITS_LAYER_SIZE"),
            ("", vec![("PACKHOUSE_LIMITS_DESCRIPTORS", "many")], vec![], "many"),
            ("", vec![], vec![("server.lisen", "x")], "server.lisen"),
            ("", vec![("PACKHOUSE_SERVER_LISTEN", "localhost")], vec![], "localhost"),
        ] {
            let error = build(text, &variables, &flags).unwrap_err();
            assert!(error.public().contains(word), "{error}");
        }
    }

    #[test]
    fn what_is_shown_reads_back() {
        let config = Config::default();
        assert_eq!(build(&config.show().unwrap(), &[], &[]).unwrap(), config);
    }
}
