//! Running the daemon.

use std::{
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;

use super::{admin, usage};
use crate::{
    adapter::control,
    auth::{Caller, Secret},
    config::{Config, Overrides},
    error::{Error, Kind, Result},
    model::Timestamp,
    registry::{FirstUser, Registry},
    server::{self, Parts},
    store::{self, RocksOptions},
};

/// What `packhouse serve` takes. Every setting of the file can also be given as `PACKHOUSE_SECTION_SETTING`.
#[derive(Args)]
pub(super) struct Options {
    /// The configuration file; without one the defaults are in force
    #[arg(long, value_name = "FILE", env = "PACKHOUSE_CONFIG")]
    config: Option<PathBuf>,
    /// Address to listen on [default: 127.0.0.1:5000]; port 0 takes a free one
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// The data folder; made if it is missing
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The address clients use, e.g. https://registry.example.org; needed beyond loopback
    #[arg(long, value_name = "URL")]
    external_url: Option<String>,
    /// PEM file with the certificate chain; turns TLS on
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// PEM file with the certificate's private key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Address of the metrics page [default: 127.0.0.1:9464], or off
    #[arg(long, value_name = "ADDR|off")]
    metrics_listen: Option<String>,
    /// On the first start, write the password of `admin` here (mode 0600) instead of printing it; if the file is there
    /// already, its first line becomes the password
    #[arg(long, value_name = "FILE")]
    admin_password_file: Option<PathBuf>,
}

impl Options {
    fn load(&self) -> Result<Config> {
        let shown = |path: &PathBuf| path.display().to_string();
        let mut overrides = Overrides::default();
        overrides.set("server.listen", self.listen.as_ref());
        overrides.set("server.data", self.data.as_ref().map(shown));
        overrides.set("server.external_url", self.external_url.as_ref());
        overrides.set("server.tls_cert", self.tls_cert.as_ref().map(shown));
        overrides.set("server.tls_key", self.tls_key.as_ref().map(shown));
        overrides.set("server.metrics", self.metrics_listen.as_ref());
        Config::load(self.config.as_deref(), &overrides)
    }
}

/// The runtime everything runs on.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Error::internal)
}

/// Opens the registry of the configuration's data folder.
pub(super) fn open(config: &Config) -> Result<Registry> {
    let memory = usize::try_from(config.memory.metadata()).unwrap_or(usize::MAX);
    let (meta, blobs) =
        store::open_directory(&config.server.data, RocksOptions { memory, ..RocksOptions::default() })?;
    Registry::open(meta, blobs, config.settings())
}

pub(super) fn serve(options: &Options) -> ExitCode {
    let config = match options.load() {
        Ok(config) => config,
        Err(error) => return usage(&error),
    };
    match runtime().and_then(|runtime| runtime.block_on(run(&config, options))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            admin::complain(&error.to_string());
            // What the configuration got wrong is a mistake of whoever wrote it.
            if matches!(error.kind(), Kind::Invalid(_)) { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

async fn run(config: &Config, options: &Options) -> Result<()> {
    let registry = open(config)?;
    let first = registry.initialize(Timestamp::now()).await?;
    let greeting = match (first, &options.admin_password_file) {
        (None, _) => String::new(),
        (Some(first), None) => printed(&first, config),
        (Some(first), Some(file)) => {
            hand_over(&registry, &first, file).await?;
            format!("first start: the password of {} is in {}\n", first.name, file.display())
        }
    };
    let parts = Parts { control: Some(control::serve), ..Parts::new(registry) };
    server::run(config, parts, &greeting).await
}

/// What a newcomer types next.
fn printed(first: &FirstUser, config: &Config) -> String {
    let address = config.server.listen.first().map(ToString::to_string).unwrap_or_default();
    let host = match &config.server.external_url {
        Some(url) => url.split_once("://").map_or(url.clone(), |(_, host)| host.to_owned()),
        None => address.replace("127.0.0.1", "localhost"),
    };
    let (name, password) = (first.name, first.password.reveal());
    format!(
        "\nThis is the first start. The installation's owner is `{name}`, with the password\n\n    {password}\n\n\
         It is not shown again. Next:\n\n    \
         docker login {host} --username {name}\n    \
         docker tag IMAGE {host}/{name}/IMAGE\n    \
         docker push {host}/{name}/IMAGE\n\n"
    )
}

/// Leaves the first password in a file, for services whose output goes to a journal; a file that is there already names
/// the password instead.
async fn hand_over(registry: &Registry, first: &FirstUser, file: &Path) -> Result<()> {
    let cannot = |cause: std::io::Error| {
        let text = format!("the password file {} cannot be used", file.display());
        Error::new(Kind::Unavailable, text).because(cause)
    };
    match std::fs::read_to_string(file) {
        Ok(text) if !text.trim().is_empty() => {
            let password = Secret::new(text.lines().next().unwrap_or_default().trim().to_owned());
            let caller = Caller::operator(Timestamp::now(), "first-start".into());
            let grant = registry.policy().authorize_owner(&caller, first.name).await?;
            registry.set_password(&grant, &password).await
        }
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => Err(cannot(cause)),
        Ok(_) | Err(_) => {
            let mut options = std::fs::OpenOptions::new();
            let opened = options.write(true).create(true).truncate(true).mode(0o600).open(file);
            let mut opened = opened.map_err(cannot)?;
            writeln!(opened, "{}", first.password.reveal()).and_then(|()| opened.sync_all()).map_err(cannot)
        }
    }
}
