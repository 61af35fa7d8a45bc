//! The way out by HTTP: a name is looked up once, every address that it has is judged, and only those are connected to.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use thiserror::Error;
use ureq::config::Config;
use ureq::http::{Response, Uri};
use ureq::tls::{TlsConfig, TlsProvider};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body, Error as HttpError};

use super::SendError;
use super::addresses::{Allowed, is_allowed, special};

/// Addresses that are tried; a name with more has its first ones tried. All are judged.
const ADDRESSES_TRIED: usize = 16;

/// Turns a host's name into its addresses.
pub trait Lookup: fmt::Debug + Send + Sync {
    /// All addresses of `host`, which may be an address in any form, with this port.
    ///
    /// # Errors
    /// When there is none, or nobody who knows.
    fn look_up(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// The operating system's way.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemLookup;

/// TLS of this build cannot be used.
#[derive(Debug, Error)]
#[error("TLS cannot be set up")]
pub struct TlsUnusable(#[from] rustls::Error);

/// Where a client may connect to.
#[derive(Debug, Clone)]
pub(crate) enum Reach {
    /// An address that an operator wrote into the settings, whatever it is.
    Anywhere,
    /// The public internet, and these.
    Public(Vec<Allowed>),
}

#[derive(Debug)]
struct JudgedLookup {
    reach: Reach,
    lookup: Arc<dyn Lookup>,
}

/// A refused address on its way through the HTTP client.
#[derive(Debug, Error)]
#[error("not a public address")]
struct Forbidden {
    host: String,
    address: std::net::IpAddr,
    why: &'static str,
}

/// A name without addresses on its way through the HTTP client.
#[derive(Debug, Error)]
#[error("no address")]
struct Unknown {
    host: String,
    source: io::Error,
}

/// A client that goes nowhere else: no redirect, no proxy, no connection kept; every request ends after `limit`.
pub(crate) fn agent(reach: Reach, lookup: Arc<dyn Lookup>, limit: Duration) -> Result<Agent, TlsUnusable> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(provider)
        .build();
    let config = Agent::config_builder()
        .tls_config(tls)
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .max_idle_connections(0)
        .timeout_global(Some(limit))
        .user_agent("serin")
        .build();
    Ok(Agent::with_parts(config, DefaultConnector::default(), JudgedLookup { reach, lookup }))
}

impl Lookup for SystemLookup {
    fn look_up(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok((host, port).to_socket_addrs()?.collect())
    }
}

impl Resolver for JudgedLookup {
    fn resolve(&self, uri: &Uri, _: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, HttpError> {
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let default_port = if uri.scheme_str() == Some("http") { 80 } else { 443 };
        let port = uri.port_u16().unwrap_or(default_port);
        let unknown = |source| HttpError::Other(Box::new(Unknown { host: host.clone(), source }));
        // The operating system's look-up cannot be told to hurry: it is left behind.
        let (found, finding) = sync_channel(1);
        let (lookup, name) = (Arc::clone(&self.lookup), host.clone());
        thread::Builder::new()
            .spawn(move || found.send(lookup.look_up(&name, port)))
            .map_err(HttpError::Io)?;
        let addresses =
            finding.recv_timeout(*timeout.after).map_err(|_| HttpError::Timeout(timeout.reason))?;
        let addresses = addresses.map_err(unknown)?;
        if let Reach::Public(allowed) = &self.reach {
            for address in &addresses {
                let address = address.ip();
                // One that is not public condemns all: which is tried first is the network's choice.
                if let Some(why) = special(address)
                    && !is_allowed(allowed, &host, address)
                {
                    return Err(HttpError::Other(Box::new(Forbidden { host, address, why })));
                }
            }
        }
        let mut tried = self.empty();
        addresses.into_iter().take(ADDRESSES_TRIED).for_each(|address| tried.push(address));
        if tried.is_empty() { Err(unknown(io::ErrorKind::NotFound.into())) } else { Ok(tried) }
    }
}

/// Why an address to post to cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UnusableUrl {
    #[error("the URL is https://host/path")]
    Form,
    #[error("it goes by https; `allow_http = true` permits {scheme}")]
    Scheme { scheme: String },
    #[error("the URL holds no user and no password; secrets are in files")]
    User,
}

/// Whether notices may be posted to `url`, as far as it can be said without looking its host up.
pub(super) fn check_url(url: &str, allow_http: bool) -> Result<(), UnusableUrl> {
    let uri: Uri = url.parse().map_err(|_| UnusableUrl::Form)?;
    let authority = uri.authority().filter(|authority| !authority.host().is_empty());
    if authority.ok_or(UnusableUrl::Form)?.as_str().contains('@') {
        return Err(UnusableUrl::User);
    }
    match uri.scheme_str() {
        Some("https") => Ok(()),
        Some("http") if allow_http => Ok(()),
        scheme => Err(UnusableUrl::Scheme { scheme: scheme.unwrap_or_default().to_owned() }),
    }
}

/// An answer that says that the notice was taken.
pub(super) fn taken(answer: Response<Body>) -> Result<Response<Body>, SendError> {
    let status = answer.status().as_u16();
    match status {
        200..=299 => Ok(answer),
        300..=399 => Err(SendError::Redirected { status }),
        _ => {
            let header = answer.headers().get("retry-after").and_then(|value| value.to_str().ok());
            let seconds = header.and_then(|seconds| seconds.trim().parse().ok());
            Err(SendError::Refused { status, retry_after: seconds.map(Duration::from_secs) })
        }
    }
}

/// What became of a request that was not answered.
pub(crate) fn unanswered(error: HttpError, limit: Duration) -> SendError {
    match error {
        HttpError::Timeout(_) => SendError::TimedOut { limit },
        HttpError::Other(inner) => match inner.downcast::<Forbidden>() {
            Ok(forbidden) => {
                let Forbidden { host, address, why } = *forbidden;
                SendError::Forbidden { host, address, why }
            }
            Err(inner) => match inner.downcast::<Unknown>() {
                Ok(unknown) => SendError::Unknown { host: unknown.host, source: unknown.source },
                Err(inner) => SendError::Unreachable(inner),
            },
        },
        error => SendError::Unreachable(Box::new(error)),
    }
}
