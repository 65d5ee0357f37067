//! Running the daemon.

use std::{
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::Args;

use super::{admin, usage};
use crate::{
    adapter::control,
    auth::{Issuers, Secret},
    config::{Config, Overrides},
    error::{Error, Kind, Result, What},
    http::fetch::Fetcher,
    registry::{FirstUser, Registry, generated_password},
    server::{self, Launch, Parts},
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
    /// The address clients use, `https://registry.example.org` for one; needed beyond loopback
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
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.event_interval(server::LOOK_EVERY).enable_all().build().map_err(Error::internal)
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
    // Before anything is stored: a unix socket's path has 107 bytes.
    let socket = config.server.data.join(control::SOCKET);
    if socket.as_os_str().len() > 107 {
        let text = format!(
            "the path {} is too long for a unix socket: choose a shorter data folder",
            socket.display()
        );
        return Err(Error::invalid(What::Request, text));
    }
    let registry = open(config)?;
    registry.set_issuers(issuers(config)?);
    registry.wind_clock().await?;
    registry.upgrade().await?;
    let greeting = first_start(&registry, config, options).await?;
    let parts = Parts { control: Some(control::serve), ..Parts::new(registry) };
    let reread = || options.load();
    let result = server::run(config, parts, Launch { greeting: &greeting, reread: &reread }).await;
    if result.is_err() {
        // The first password is shown once: also when the daemon could not start, since the next start is not the first.
        admin::print(&greeting);
    }
    result
}

/// Those whose tokens can be exchanged.
fn issuers(config: &Config) -> Result<Issuers> {
    let fetcher = Fetcher::new(config.oidc.ca_file.as_deref())?;
    Issuers::new(config.oidc.issuers.clone(), Arc::new(fetcher))
}

/// Makes an empty folder an installation; says what to print then.
async fn first_start(registry: &Registry, config: &Config, options: &Options) -> Result<String> {
    if registry.initialized().await? {
        return Ok(String::new());
    }
    // The password is in its place before anybody can need it.
    let password = match &options.admin_password_file {
        None => generated_password()?,
        Some(file) => handed_over(file)?,
    };
    let first = registry.initialize(registry.now(), &password).await?;
    Ok(match (first, &options.admin_password_file) {
        (None, _) => String::new(),
        (Some(first), None) => printed(&first, &password, config),
        (Some(first), Some(file)) => {
            format!("first start: the password of {} is in {}\n", first.name, file.display())
        }
    })
}

/// What a newcomer types next.
fn printed(first: &FirstUser, password: &Secret, config: &Config) -> String {
    let host = match (&config.server.external_url, config.server.listen.first()) {
        (Some(url), _) => url.split_once("://").map_or(url.clone(), |(_, host)| host.to_owned()),
        // The port the system chose stands in the first line.
        (None, Some(address)) if address.port() == 0 => "localhost:PORT".to_owned(),
        (None, address) => {
            address.map(ToString::to_string).unwrap_or_default().replace("127.0.0.1", "localhost")
        }
    };
    let (name, password) = (first.name, password.reveal());
    format!(
        "\nThis is the first start. The installation's owner is `{name}`, with the password\n\n    {password}\n\n\
         It is not shown again. Next:\n\n    \
         docker login {host} --username {name}\n    \
         docker tag IMAGE {host}/{name}/IMAGE\n    \
         docker push {host}/{name}/IMAGE\n\n"
    )
}

/// A first password left in a file, for services whose output goes to a journal; a file that is there already names the
/// password instead.
fn handed_over(file: &Path) -> Result<Secret> {
    let cannot = |cause: std::io::Error| {
        let text = format!("the password file {} cannot be used", file.display());
        Error::new(Kind::Unavailable, text).because(cause)
    };
    match std::fs::read_to_string(file) {
        Ok(text) if !text.trim().is_empty() => {
            Ok(Secret::new(text.lines().next().unwrap_or_default().trim()))
        }
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => Err(cannot(cause)),
        Ok(_) | Err(_) => {
            let password = generated_password()?;
            let mut options = std::fs::OpenOptions::new();
            let opened = options.write(true).create(true).truncate(true).mode(0o600).open(file);
            let mut opened = opened.map_err(cannot)?;
            // An empty file that was there keeps its mode otherwise.
            opened.set_permissions(std::fs::Permissions::from_mode(0o600)).map_err(cannot)?;
            writeln!(opened, "{}", password.reveal()).and_then(|()| opened.sync_all()).map_err(cannot)?;
            Ok(password)
        }
    }
}
