//! TLS 1.2 and 1.3 by rustls. No early data: it can be replayed, and pushes must not be (RFC 8446 §8). A new certificate
//! is taken up while running; a bad one is refused and the old one kept.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use tokio::sync::Notify;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    expiry,
    metrics::Metrics,
    socket::Socket,
    tasks::{Phase, Stop},
};
use crate::error::{Error, Result, What};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// A listener's TLS.
pub(super) struct Tls {
    acceptor: TlsAcceptor,
    current: Arc<Current>,
    files: Files,
    metrics: Arc<Metrics>,
}

/// The certificate in use.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

#[derive(Debug, Clone)]
struct Files {
    cert: PathBuf,
    key: PathBuf,
}

/// When the files were last written, and their sizes. Enough to see a change; what changed is judged by loading.
type Stamp = [Option<(SystemTime, u64)>; 2];

impl Tls {
    /// Loads the pair.
    ///
    /// # Errors
    /// Invalid, naming the file.
    pub(super) fn load(cert: &str, key: &str, metrics: Arc<Metrics>) -> Result<Self> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let files = Files { cert: cert.into(), key: key.into() };
        let pair = files.load(&provider)?;
        metrics.certificate_expiry.set(expiry::of(&pair));
        let current = Arc::new(Current(RwLock::new(Arc::new(pair))));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(Error::internal)?
            .with_no_client_auth()
            .with_cert_resolver(current.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Resumption: tickets whose keys turn over by themselves, and nothing to remember for each client.
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(Error::internal)?;
        config.max_early_data_size = 0;
        Ok(Self { acceptor: Arc::new(config).into(), current, files, metrics })
    }

    /// Shakes hands.
    pub(super) async fn accept(&self, stream: Socket) -> std::io::Result<TlsStream<Socket>> {
        self.acceptor.accept(stream).await
    }

    /// Loads the pair again when its files change or `again` says so, until the daemon drains.
    pub(super) async fn keep_fresh(self: Arc<Self>, again: Arc<Notify>, mut stop: Stop) {
        let mut seen = self.files.stamp();
        loop {
            let asked = tokio::select! {
                () = stop.reached(Phase::Draining) => return,
                () = again.notified() => true,
                () = tokio::time::sleep(LOOK) => false,
            };
            let now = self.files.stamp();
            if asked || now != seen {
                seen = now;
                self.reload();
            }
        }
    }

    /// Takes up the pair in the files, if it is good.
    fn reload(&self) {
        match self.files.load(self.acceptor.config().crypto_provider()) {
            Ok(pair) => {
                let expires = expiry::of(&pair);
                self.metrics.certificate_expiry.set(expires);
                self.metrics.reload(true);
                *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(pair);
                tracing::info!(expires, "a new certificate is in use");
            }
            Err(error) => {
                self.metrics.reload(false);
                tracing::error!(%error, "the new certificate is no good; the old one stays in use");
            }
        }
    }
}

impl Files {
    fn load(&self, provider: &CryptoProvider) -> Result<CertifiedKey> {
        let wrong = |path: &Path, cause: &dyn std::fmt::Display| {
            Error::invalid(What::Request, format!("{}: {cause}", path.display()))
        };
        let chain = CertificateDer::pem_file_iter(&self.cert)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|cause| wrong(&self.cert, &cause))?;
        if chain.is_empty() {
            return Err(wrong(&self.cert, &"no certificate in it"));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|cause| wrong(&self.key, &cause))?;
        // Also judges whether the key is this certificate's.
        CertifiedKey::from_der(chain, key, provider).map_err(|cause| wrong(&self.key, &cause))
    }

    fn stamp(&self) -> Stamp {
        [&self.cert, &self.key].map(|path| {
            let about = std::fs::metadata(path).ok()?;
            Some((about.modified().ok()?, about.len()))
        })
    }
}
