//! Getting small documents from other servers: one request a connection, no redirects, no cookies, nothing kept, everything bounded.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::{
    auth::{Address, Fetch},
    error::{Error, Result, What},
};

/// How long one document may take, from the first look-up to the last byte.
const TIME: Duration = Duration::from_secs(10);

/// Where systems keep the certificates they trust.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Gets documents over https, and over http on loopback.
pub struct Fetcher {
    tls: TlsConnector,
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fetcher")
    }
}

impl Fetcher {
    /// One that trusts the certificates of this PEM file, or the system's.
    ///
    /// # Errors
    /// Invalid when the file cannot be read, or holds none. A system without any is none: then every https server is refused.
    pub fn new(ca_file: Option<&str>) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        let path = match ca_file {
            Some(path) => Some(path),
            None => BUNDLES.into_iter().find(|path| std::path::Path::new(path).exists()),
        };
        if let Some(path) = path {
            let bad = |cause: &dyn std::fmt::Display| {
                Error::invalid(What::Request, format!("the certificates of {path} cannot be read: {cause}"))
            };
            let certificates = CertificateDer::pem_file_iter(path).map_err(|cause| bad(&cause))?;
            for certificate in certificates {
                // Bundles hold some that rustls does not take; they sign for nobody then.
                let (_, _) = roots.add_parsable_certificates([certificate.map_err(|cause| bad(&cause))?]);
            }
            if roots.is_empty() {
                return Err(bad(&"there are none in it"));
            }
        }
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(Error::internal)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: Arc::new(config).into() })
    }

    async fn fetch(&self, url: &str, most: usize) -> Result<Bytes> {
        let address = Address::parse(url).ok_or_else(|| failed(url, "it is no address"))?;
        if !address.tls && !address.is_loopback() {
            return Err(failed(url, "it is neither https nor on loopback"));
        }
        let bare = address.host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let stream =
            TcpStream::connect((bare.as_str(), address.port)).await.map_err(|cause| failed(url, cause))?;
        if !address.tls {
            return ask(stream, url, &address, most).await;
        }
        let name = ServerName::try_from(bare).map_err(|cause| failed(url, cause))?;
        let stream = self.tls.connect(name, stream).await.map_err(|cause| failed(url, cause))?;
        ask(stream, url, &address, most).await
    }
}

#[async_trait]
impl Fetch for Fetcher {
    async fn get(&self, url: &str, most: usize) -> Result<Bytes> {
        let got = tokio::time::timeout(TIME, self.fetch(url, most)).await;
        got.unwrap_or_else(|_| Err(failed(url, "it takes too long")))
    }
}

fn failed(url: &str, why: impl std::fmt::Display) -> Error {
    Error::internal(format!("{url}: {why}"))
}

async fn ask<S>(stream: S, url: &str, address: &Address, most: usize) -> Result<Bytes>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(64 << 10)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|cause| failed(url, cause))?;
    let request = Request::get(&address.path)
        .header(header::HOST, format!("{}:{}", address.host, address.port))
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, concat!("packhouse/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|cause| failed(url, cause))?;
    let answer = async move {
        let response = sender.send_request(request).await.map_err(|cause| failed(url, cause))?;
        if response.status() != StatusCode::OK {
            return Err(failed(url, format!("it answers {}", response.status())));
        }
        let mut body = response.into_body();
        let mut bytes = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|cause| failed(url, cause))?;
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > most {
                return Err(failed(url, format!("it is longer than {most} bytes")));
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes.freeze())
    };
    // The connection moves while the answer is waited for, and ends with what was asked on it.
    let (answer, _ended) = tokio::join!(answer, connection);
    answer
}
