//! Where log lines go: standard error, for people or as JSON. Standard output is for the line that scripts wait for.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

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
    let filter = EnvFilter::try_new(&server.log_level)
        .map_err(|cause| Error::invalid(What::Request, format!("server.log_level: {cause}")))?;
    let lines = fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    let started = match server.log_format {
        LogFormat::Text => registry.with(lines.with_ansi(std::io::stderr().is_terminal())).try_init(),
        LogFormat::Json => {
            registry.with(lines.json().flatten_event(true).with_current_span(false)).try_init()
        }
    };
    started.map_err(Error::internal)
}
