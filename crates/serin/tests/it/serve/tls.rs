//! TLS: both versions of HTTP by ALPN, and a certificate that is replaced while the server runs.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serin::gateway::tls::{Tls, TlsFiles};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use super::support::{Server, one_endpoint, runtime};

#[test]
fn both_versions_of_http_are_spoken_under_tls_and_certificates_are_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let first = write_certificate(folder.path());
    let server = Server::start_of(one_endpoint(), |options| options.tls = Some(files(folder.path())));
    for protocol in ["h2", "http/1.1"] {
        assert_eq!(
            ask(server.address, &first, protocol),
            Some((200, protocol.to_owned(), "big\n".to_owned()))
        );
    }
    let second = write_certificate(folder.path());
    assert!(ask(server.address, &second, "h2").is_none(), "the new certificate is not in force yet");
    server.reload.blocking_send(()).unwrap();
    let in_force = (0..200).any(|_| {
        thread::sleep(Duration::from_millis(10));
        ask(server.address, &second, "h2").is_some()
    });
    assert!(in_force);
    assert!(ask(server.address, &first, "h2").is_none());
    assert_eq!(server.get_plain(), None, "plain HTTP is not answered on a TLS port");
    server.stop();
}

#[test]
fn files_that_are_no_certificate_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |folder: &Path| Tls::read(files(folder)).unwrap_err().to_string();
    assert!(refused(folder.path()).contains("certificate.pem holds no certificate"));
    write_certificate(folder.path());
    fs::write(folder.path().join("key.pem"), "nothing").unwrap();
    assert!(refused(folder.path()).contains("key.pem holds no private key"));
    let other = tempfile::tempdir().unwrap();
    write_certificate(other.path());
    fs::copy(other.path().join("key.pem"), folder.path().join("key.pem")).unwrap();
    assert!(refused(folder.path()).contains("do not belong together"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let key = other.path().join("key.pem");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(refused(other.path()).contains("chmod 600"));
    }
}

fn files(folder: &Path) -> TlsFiles {
    TlsFiles { certificate: folder.join("certificate.pem"), key: folder.join("key.pem") }
}

/// A new certificate for `localhost` in the folder.
fn write_certificate(folder: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    fs::write(folder.join("certificate.pem"), made.cert.pem()).unwrap();
    let key = folder.join("key.pem");
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(key, fs::Permissions::from_mode(0o600)).unwrap();
    }
    made.cert.der().clone()
}

/// Asks as a client that trusts `certificate` alone; status, protocol agreed on and body.
fn ask(
    address: SocketAddr,
    certificate: &CertificateDer<'static>,
    protocol: &str,
) -> Option<(u16, String, String)> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    runtime().block_on(async {
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()?;
        let agreed = String::from_utf8(stream.get_ref().1.alpn_protocol()?.to_vec()).unwrap();
        let request = Request::post("https://localhost/invocations")
            .header("content-type", "text/csv")
            .header("host", "localhost")
            .body(Full::new(Bytes::from_static(b"3,1,0")))
            .unwrap();
        let io = TokioIo::new(stream);
        let response = if agreed == "h2" {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await.unwrap()
        } else {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await.unwrap()
        };
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        Some((status, agreed, String::from_utf8(body.to_vec()).unwrap()))
    })
}
