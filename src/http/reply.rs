//! Answers, and what a kind of failure is in HTTP.

use std::{fs::File, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::body::ByteStream;
use crate::error::{Kind, What};

/// What an adapter needs to know of the installation's address and ways, to render challenges and absolute URLs.
#[derive(Debug, Clone)]
pub struct Site {
    /// `scheme://authority[/prefix]` without a trailing slash: the configured external URL, or, on a loopback listener
    /// without one, made from a Host header that names loopback.
    pub base: String,
    /// Whether a 401 asks for a bearer token (from `/token`) or for Basic credentials.
    pub bearer: bool,
}

/// The body of an answer.
pub enum Content {
    /// None.
    Empty,
    /// In memory.
    Bytes(Bytes),
    /// Streamed; the length is known.
    Stream(u64, ByteStream),
    /// A part of a file.
    File(FilePart),
}

/// Bytes of an open file that never change, and another way to them.
pub struct FilePart {
    /// The file.
    pub file: Arc<File>,
    /// Where in it the part begins.
    pub first: u64,
    /// How long it is.
    pub length: u64,
    /// Reads so many bytes from an offset on, waiting for the disk where it must: for connections that take no files, and for
    /// what is not in memory.
    pub read: Box<dyn Fn(u64, u64) -> ByteStream + Send>,
}

/// An answer.
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers; `Content-Length` is added from the content unless it is set (as HEAD needs).
    pub headers: HeaderMap,
    /// The body.
    pub content: Content,
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reply({})", self.status)
    }
}

impl Reply {
    /// An answer without a body.
    pub fn new(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), content: Content::Empty }
    }

    /// An answer with JSON.
    pub fn json(status: StatusCode, value: &impl serde::Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self::new(status).header(header::CONTENT_TYPE, "application/json").bytes(body),
            // Only a map with keys that are not text can do this; none of ours is.
            Err(_) => Self::new(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }

    /// Sets a header. Text that no header can hold is dropped: it must never reach the wire unescaped.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: impl AsRef<str>) -> Self {
        if let Ok(value) = HeaderValue::from_str(value.as_ref()) {
            self.headers.insert(name, value);
        }
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn bytes(mut self, body: impl Into<Bytes>) -> Self {
        self.content = Content::Bytes(body.into());
        self
    }

    /// Sets a streamed body of known length.
    #[must_use]
    pub fn stream(mut self, length: u64, body: ByteStream) -> Self {
        self.content = Content::Stream(length, body);
        self
    }

    /// Sets a part of a file as the body.
    #[must_use]
    pub fn file(mut self, part: FilePart) -> Self {
        self.content = Content::File(part);
        self
    }
}

/// The status of a kind of failure where a protocol has no other wish.
pub fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::NotFound(_) => StatusCode::NOT_FOUND,
        Kind::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
        Kind::Forbidden(_) => StatusCode::FORBIDDEN,
        Kind::Invalid(_) => StatusCode::BAD_REQUEST,
        Kind::TooLarge(What::Target) => StatusCode::URI_TOO_LONG,
        Kind::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::Unsupported | Kind::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
        Kind::Conflict(_) => StatusCode::CONFLICT,
        Kind::Precondition => StatusCode::PRECONDITION_FAILED,
        Kind::Offset { .. } | Kind::Unsatisfiable { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
        Kind::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
        Kind::Timeout => StatusCode::REQUEST_TIMEOUT,
        Kind::NoSpace => StatusCode::INSUFFICIENT_STORAGE,
        Kind::Unavailable | Kind::StaleGrant => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
