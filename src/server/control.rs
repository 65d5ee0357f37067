//! The control socket in the data folder: the command line's way to a running daemon. Whoever may open it is the
//! machine's administrator, so nobody else may: it is made with mode 0600 before it listens.

use std::{
    os::unix::{fs::PermissionsExt, net::UnixStream as Probe},
    path::Path,
    sync::Arc,
};

use futures_util::future::BoxFuture;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use tokio::net::{UnixListener, UnixStream};

use super::tasks::{self, Phase, Stop};
use crate::{
    error::{Error, Kind, Result},
    registry::Registry,
};

/// Serves one connection to the control socket.
pub type Control = fn(UnixStream, Arc<Registry>) -> BoxFuture<'static, ()>;

/// Its name in the data folder.
const NAME: &str = "control.sock";

/// Makes the socket.
///
/// # Errors
/// Unavailable when another daemon serves this folder, or the system refuses.
pub(super) fn bind(data: &Path) -> Result<UnixListener> {
    let path = data.join(NAME);
    let fail = |cause: &dyn std::fmt::Display| {
        Error::new(Kind::Unavailable, format!("control socket {}: {cause}", path.display()))
    };
    if Probe::connect(&path).is_ok() {
        return Err(fail(&"another daemon serves this data folder"));
    }
    match std::fs::remove_file(&path) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => return Err(fail(&cause)),
        _ => {}
    }
    let address = SocketAddrUnix::new(&path).map_err(|cause| fail(&cause))?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket =
        socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(|cause| fail(&cause))?;
    rustix::net::bind(&socket, &address).map_err(|cause| fail(&cause))?;
    // Between bind and listen nobody can connect, so there is no moment at which others may.
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).map_err(|cause| fail(&cause))?;
    rustix::net::listen(&socket, 16).map_err(|cause| fail(&cause))?;
    UnixListener::from_std(socket.into()).map_err(|cause| fail(&cause))
}

/// Serves the socket until the daemon drains.
pub(super) async fn accept(
    listener: UnixListener,
    control: Control,
    registry: Arc<Registry>,
    mut stop: Stop,
) {
    loop {
        let accepted = tokio::select! {
            () = stop.reached(Phase::Draining) => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (serving, mut stop) = (control(stream, registry.clone()), stop.clone());
                tasks::spawn(async move {
                    tokio::select! {
                        () = serving => {}
                        () = stop.reached(Phase::Closing) => {}
                    }
                });
            }
            Err(cause) => {
                tracing::warn!(%cause, "control socket");
                tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_its_owner_may_open_it_and_only_one_daemon() {
        let folder = tempfile::tempdir().unwrap();
        let first = bind(folder.path()).unwrap();
        let mode = std::fs::metadata(folder.path().join(NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(bind(folder.path()).unwrap_err().public().contains("another daemon"));
        drop(first);
        bind(folder.path()).unwrap();
    }
}
