//! TLS with certificates that can be replaced while the server runs.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::server::TlsStream;

/// Where the certificate chain and its key lie, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// The certificate in force, and where to read the next one.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    config: ArcSwap<ServerConfig>,
}

/// A certificate that can be put in force.
#[derive(Debug)]
pub struct Certificate(Arc<ServerConfig>);

/// Why files are no certificate. What a key file holds is never part of it.
#[derive(Debug, Error)]
pub enum TlsError {
    #[error("{} holds no certificate in PEM", path.display())]
    Certificate { path: PathBuf, source: Option<rustls::pki_types::pem::Error> },
    #[error("{} holds no private key in PEM", path.display())]
    Key { path: PathBuf },
    #[error("{} can be read by everyone; type `chmod 600 {}`", path.display(), path.display())]
    KeyMode { path: PathBuf },
    #[error("certificate and key do not belong together, or are of a kind that is not supported")]
    Pair(#[source] rustls::Error),
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// When they are not a certificate and its key.
    pub fn read(files: TlsFiles) -> Result<Arc<Self>, TlsError> {
        let config = server_config(&files)?;
        Ok(Arc::new(Self { files, config: ArcSwap::from_pointee(config) }))
    }

    /// What the files hold now.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn next(&self) -> Result<Certificate, TlsError> {
        Ok(Certificate(Arc::new(server_config(&self.files)?)))
    }

    /// Connections from now on are given this certificate.
    pub fn install(&self, certificate: Certificate) {
        self.config.store(certificate.0);
    }

    /// The handshake of one connection.
    ///
    /// # Errors
    /// When the caller and this server do not agree.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(self.config.load_full()).accept(stream).await
    }
}

fn server_config(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let path = || files.certificate.clone();
    let no_certificate = |source| TlsError::Certificate { path: path(), source: Some(source) };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect)
        .map_err(no_certificate)?;
    if chain.is_empty() {
        return Err(TlsError::Certificate { path: path(), source: None });
    }
    check_mode(&files.key)?;
    let key =
        PrivateKeyDer::from_pem_file(&files.key).map_err(|_| TlsError::Key { path: files.key.clone() })?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Pair)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(TlsError::Pair)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// A key that everyone can read is no secret.
fn check_mode(key: &Path) -> Result<(), TlsError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let everyone = std::fs::metadata(key).is_ok_and(|metadata| metadata.mode() & 0o007 != 0);
        if everyone {
            return Err(TlsError::KeyMode { path: key.to_owned() });
        }
    }
    Ok(())
}
