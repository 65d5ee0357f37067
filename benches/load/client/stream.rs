//! A non-blocking connection, plain or TLS 1.3.

use std::{
    fs::File,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
};

use rustix::{
    fs::sendfile,
    net::{RecvFlags, SendFlags, recv, send},
};
use rustls::{ClientConfig, ClientConnection, pki_types::ServerName};

use crate::Result;

/// Where bytes are read through that nobody wants. Shared by all connections of a thread.
pub struct Scratch(Vec<u8>);

/// The most that one call takes off a connection: what waits longer than this call would show in others' times.
pub const AT_ONCE: usize = 256 << 10;

impl Default for Scratch {
    fn default() -> Self {
        Self(vec![0; AT_ONCE])
    }
}

pub struct Stream {
    socket: TcpStream,
    tls: Option<Box<Tls>>,
}

/// A TLS connection, and what was read from its socket but not yet decrypted.
struct Tls {
    session: ClientConnection,
    raw: Vec<u8>,
    used: usize,
    filled: usize,
}

/// `Ok(None)`: not now.
type Now<T> = Result<Option<T>>;

fn now<T>(done: std::result::Result<T, rustix::io::Errno>) -> Now<T> {
    match done {
        Ok(done) => Ok(Some(done)),
        Err(rustix::io::Errno::AGAIN) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Stream {
    /// Connects, with the handshake done.
    ///
    /// # Errors
    /// When the server cannot be reached, or is not the one whose certificate is known.
    pub fn open(address: SocketAddr, tls: Option<&Arc<ClientConfig>>, window: Option<usize>) -> Result<Self> {
        let mut socket = connect(address, window)?;
        socket.set_nodelay(true)?;
        let tls = match tls {
            None => None,
            Some(config) => {
                let mut tls = ClientConnection::new(config.clone(), ServerName::try_from("localhost")?)?;
                while tls.is_handshaking() {
                    tls.complete_io(&mut socket)?;
                }
                Some(Box::new(Tls { session: tls, raw: vec![0; 128 * 1024], used: 0, filled: 0 }))
            }
        };
        socket.set_nonblocking(true)?;
        Ok(Self { socket, tls })
    }

    /// Sends some of these bytes; `more` follow at once.
    ///
    /// # Errors
    /// When the connection broke.
    pub fn send(&mut self, bytes: &[u8], more: bool) -> Now<usize> {
        if let Some(tls) = self.tls.as_mut().map(|tls| &mut tls.session) {
            let taken = tls.writer().write(bytes)?;
            while tls.wants_write() {
                match tls.write_tls(&mut self.socket) {
                    Ok(_) => {}
                    // Requests over TLS are small: the socket's buffer is never full for long.
                    Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                    Err(error) => return Err(error.into()),
                }
            }
            return Ok(Some(taken));
        }
        let flags = if more { SendFlags::NOSIGNAL | SendFlags::MORE } else { SendFlags::NOSIGNAL };
        now(send(&self.socket, bytes, flags))
    }

    /// Sends at most `most` bytes of a file from this place on.
    ///
    /// # Errors
    /// When the connection broke, or is TLS.
    pub fn send_file(&mut self, file: &File, mut offset: u64, most: u64) -> Now<usize> {
        if self.tls.is_some() {
            return Err("files are sent over plain connections only".into());
        }
        now(sendfile(&self.socket, file, Some(&mut offset), most as usize))
    }

    /// Whether bytes may wait here that the kernel does not know of: then reads go on until they say "not now".
    pub fn holds_back(&self) -> bool {
        self.tls.is_some()
    }

    /// Reads into a buffer. 0: the server closed the connection.
    ///
    /// # Errors
    /// When the connection broke.
    pub fn read(&mut self, buffer: &mut [u8]) -> Now<usize> {
        let Some(tls) = &mut self.tls else {
            return now(recv(&self.socket, buffer, RecvFlags::empty()).map(|(_, size)| size));
        };
        loop {
            match tls.session.reader().read(buffer) {
                Ok(size) => return Ok(Some(size)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            // Few big reads from the socket and many small ones from memory: rustls alone reads 4 KiB at a time.
            if tls.used == tls.filled {
                let Some((_, size)) = now(recv(&self.socket, &mut tls.raw[..], RecvFlags::empty()))? else {
                    return Ok(None);
                };
                (tls.used, tls.filled) = (0, size);
                if size == 0 {
                    return Ok(Some(0));
                }
            }
            tls.used += tls.session.read_tls(&mut &tls.raw[tls.used..tls.filled])?;
            tls.session.process_new_packets()?;
        }
    }

    /// Drops at most `most` bytes that came in. 0: the server closed the connection.
    ///
    /// # Errors
    /// When the connection broke.
    pub fn drop_some(&mut self, most: u64, scratch: &mut Scratch) -> Now<usize> {
        let most = most.min(AT_ONCE as u64) as usize;
        if self.tls.is_some() {
            return self.read(&mut scratch.0[..most]);
        }
        // The kernel frees them unread.
        let dropped = recv(&self.socket, &mut scratch.0[..most], RecvFlags::TRUNC);
        now(dropped.map(|(_, size)| size))
    }
}

fn connect(address: SocketAddr, window: Option<usize>) -> Result<TcpStream> {
    let Some(window) = window else { return Ok(TcpStream::connect(address)?) };
    // A small window has to be asked for before the connection is made.
    use rustix::net::{AddressFamily, SocketType, connect, socket, sockopt};
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket(family, SocketType::STREAM, None)?;
    sockopt::set_socket_recv_buffer_size(&socket, window)?;
    connect(&socket, &address)?;
    Ok(socket.into())
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
