//! Where log lines go: standard error, for people or as JSON. Standard output is for the line that scripts wait for.

use std::{io::IsTerminal, sync::OnceLock};

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt};

use crate::{
    config::{LogFormat, Server},
    error::{Error, Result, What},
};

/// Starts logging for the whole process, once: the daemon does before it opens its stores, [`super::run`] otherwise.
///
/// # Errors
/// Invalid when the level is none.
pub fn start(server: &Server) -> Result<()> {
    if tracing::dispatcher::has_been_set() {
        return Ok(());
    }
    let (filter, handle) = reload::Layer::new(filter(server)?);
    let lines = fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    let started = match server.log_format {
        LogFormat::Text => registry.with(lines.with_ansi(std::io::stderr().is_terminal())).try_init(),
        LogFormat::Json => {
            registry.with(lines.json().flatten_event(true).with_current_span(false)).try_init()
        }
    };
    started.map_err(Error::internal)?;
    // Set once: this function returns early the second time.
    let _ = LEVEL.set(Box::new(move |filter| handle.reload(filter).map_err(Error::internal)));
    Ok(())
}

/// Changes the level of a process that logs already.
///
/// # Errors
/// Invalid when the level is none; the old one stays.
pub(super) fn relevel(server: &Server) -> Result<()> {
    let filter = filter(server)?;
    LEVEL.get().map_or(Ok(()), |change| change(filter))
}

type Change = Box<dyn Fn(EnvFilter) -> Result<()> + Send + Sync>;

/// What changes the level. The log is the process's, so this is too.
static LEVEL: OnceLock<Change> = OnceLock::new();

fn filter(server: &Server) -> Result<EnvFilter> {
    EnvFilter::try_new(&server.log_level)
        .map_err(|cause| Error::invalid(What::Request, format!("server.log_level: {cause}")))
}
