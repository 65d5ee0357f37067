//! The way to an installation: a running daemon's socket, or the data folder itself.

use std::{
    io::{BufRead, BufReader, ErrorKind, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use tokio::runtime::Runtime;

use super::{
    admin::{complain, print},
    serve,
};
use crate::{
    adapter::control::{self, Command, Line, Outcome, SOCKET},
    config::Config,
    error::{Error, Kind, Result, What},
    registry::Registry,
};

/// The way to an installation: the daemon that serves the folder; without one, the folder itself, which keeps a daemon
/// from starting on it until this is dropped.
pub(super) enum Way {
    /// A daemon's socket, and a connection to it that has asked nothing yet.
    Daemon(PathBuf, Option<UnixStream>),
    /// The registry, opened here.
    Local(Box<Registry>, Runtime),
}

impl Way {
    /// Finds out which it is.
    pub(super) fn open(config: &Config) -> Result<Self> {
        let data = &config.server.data;
        let socket = data.join(SOCKET);
        match UnixStream::connect(&socket) {
            Ok(stream) => Ok(Self::Daemon(socket, Some(stream))),
            Err(cause) if matches!(cause.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                locally(config, data)
            }
            Err(cause) => {
                let text = format!("the daemon's socket in {} cannot be used", data.display());
                Err(Error::new(Kind::Unavailable, text).because(cause))
            }
        }
    }

    /// Asks for one thing, and shows what is said on the way; `json`: in the form for programs.
    pub(super) fn ask(&mut self, command: Command, json: bool) -> Result<Outcome> {
        match self {
            Self::Daemon(socket, fresh) => {
                let stream = fresh.take().map_or_else(|| UnixStream::connect(socket), Ok);
                stream.and_then(|stream| ask(stream, &command, json)).map_err(|cause| {
                    Error::new(Kind::Unavailable, "the daemon did not answer").because(cause)
                })
            }
            Self::Local(registry, runtime) => Ok(runtime.block_on(async {
                let (feed, mut lines) = tokio::sync::mpsc::channel(control::WAITING);
                let shown = async move {
                    while let Some(line) = lines.recv().await {
                        said(line, json);
                    }
                };
                tokio::join!(control::execute(registry, command, feed), shown).0
            })),
        }
    }
}

fn ask(mut stream: UnixStream, command: &Command, json: bool) -> std::io::Result<Outcome> {
    let mut line = serde_json::to_vec(command)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    for line in BufReader::new(stream).lines() {
        if let Some(outcome) = said(serde_json::from_str(&line?)?, json) {
            return Ok(outcome);
        }
    }
    Err(ErrorKind::UnexpectedEof.into())
}

/// Shows what a command says while it runs; gives the outcome when that is what it says.
fn said(line: Line, json: bool) -> Option<Outcome> {
    match line {
        Line::Progress(text) => complain(&text),
        Line::Item { json: value, .. } if json => print(&format!("{value}\n")),
        Line::Item { text, .. } => print(&format!("{text}\n")),
        Line::Ok(answer) => return Some(Ok(answer)),
        Line::Err(refusal) => return Some(Err(refusal)),
    }
    None
}

fn locally(config: &Config, data: &Path) -> Result<Way> {
    if !data.join("meta").is_dir() {
        let text = format!(
            "there is no installation in {}: start one with `packhouse serve --data {0}`, or name another with --data",
            data.display()
        );
        return Err(Error::invalid(What::Request, text));
    }
    let runtime = serve::runtime()?;
    let registry = runtime.block_on(async {
        let registry = serve::open(config)?;
        registry.wind_clock().await?;
        registry.upgrade().await?;
        Ok::<_, Error>(registry)
    })?;
    Ok(Way::Local(Box::new(registry), runtime))
}
