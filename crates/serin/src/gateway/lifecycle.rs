//! A gateway from its start to its end: capture opened, addresses taken, endpoints reloaded, the last rows loaded.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serin_core::capture::{Capture, CaptureOptions, EndpointColumns, OpenCaptureError, Serving, TableError};
use serin_core::clock::Clock;
use thiserror::Error;
use tokio::sync::mpsc;

use super::admin::Admin;
use super::endpoint::{Endpoint, Snapshot, Variant};
use super::limits::Limits;
use super::server::{BindError, Ended, Server};
use super::service::Gateway;
use super::tls::{Tls, TlsError, TlsFiles};

/// Where to serve, and what to keep.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where health and metrics are told; port 0 takes a free one.
    pub admin_listen: SocketAddr,
    /// Speak TLS on the main port.
    pub tls: Option<TlsFiles>,
    /// Addresses that may hold more connections than others.
    pub proxies: Vec<IpAddr>,
    /// Where answers are kept.
    pub capture: CaptureOptions,
    /// Limits of the gateway.
    pub limits: Limits,
}

/// Where the endpoints come from: asked at the start and again for every reload.
pub type Endpoints = Box<dyn Fn() -> anyhow::Result<Snapshot> + Send + Sync>;

/// What a running gateway is told from outside.
#[derive(Debug)]
pub struct Signals {
    /// A first message ends it gracefully, a second at once.
    pub stop: mpsc::Receiver<()>,
    /// A message reads endpoints and certificate again.
    pub reload: mpsc::Receiver<()>,
}

/// What there is to tell once requests are answered.
#[derive(Debug, Clone)]
pub struct Ready {
    /// The address, with its real port.
    pub address: SocketAddr,
    /// The address of health and metrics.
    pub admin_address: SocketAddr,
    /// The endpoints.
    pub snapshot: Arc<Snapshot>,
    /// The database of the inference table.
    pub database: PathBuf,
}

/// What was done, once it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    /// Requests answered with classes.
    pub answered: u64,
    /// Requests refused.
    pub refused: u64,
    /// Rows that this process moved into the inference table.
    pub rows: u64,
    /// Whether every request in hand was answered before the end.
    pub ended: Ended,
}

/// Why serving did not begin.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    #[error("there is nothing to serve")]
    Endpoints(#[source] anyhow::Error),
    #[error(transparent)]
    Capture(#[from] OpenCaptureError),
    #[error("cannot make the view of an endpoint")]
    View(#[from] TableError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("cannot listen for signals")]
    Signals(#[source] std::io::Error),
}

/// Serves until told to stop. `on_ready` is told the addresses before the first request is answered.
///
/// # Errors
/// When an address, the data directory, the inference table, the certificate or an endpoint cannot be used.
pub async fn serve(
    options: ServeOptions,
    endpoints: Endpoints,
    clock: Arc<dyn Clock>,
    signals: Signals,
    on_ready: impl FnOnce(&Ready),
) -> Result<Served, ServeError> {
    let snapshot = endpoints().map_err(ServeError::Endpoints)?;
    let tls = options.tls.clone().map(Tls::read).transpose()?;
    let capture = Arc::new(Capture::open(&options.capture, clock.clone())?);
    create_views(&capture, &snapshot)?;
    let gateway = Arc::new(Gateway::new(snapshot, capture, clock, options.limits));
    let server = Server::bind(options.listen, gateway.clone(), tls.clone(), &options.proxies)?;
    let address =
        server.local_address().map_err(|source| BindError::Io { address: options.listen, source })?;
    let admin = Admin::start(options.admin_listen, gateway.clone())?;
    let note = Note::leave(&options, address);
    let snapshot = gateway.snapshot();
    tracing::info!(%address, admin.address = %admin.address(), "serving");
    let database = options.capture.database();
    on_ready(&Ready { address, admin_address: admin.address(), snapshot, database });

    let Signals { mut stop, mut reload } = signals;
    let reloading = tokio::spawn({
        let (gateway, endpoints) = (gateway.clone(), Arc::new(endpoints));
        async move {
            while reload.recv().await.is_some() {
                let (gateway, endpoints, tls) = (gateway.clone(), endpoints.clone(), tls.clone());
                // A panic was reported where it happened; what serves stays.
                let _ = tokio::task::spawn_blocking(move || reload_all(&gateway, &endpoints, tls.as_deref()))
                    .await;
            }
        }
    });
    let ended = server.run(&mut stop).await;
    reloading.abort();
    drop(note);
    let served = finish(&gateway, ended, &mut stop).await;
    drop(admin);
    Ok(served)
}

/// `serving.json` in the data directory while the server runs: where commands that would write ask.
struct Note {
    data_directory: PathBuf,
}

impl Note {
    fn leave(options: &ServeOptions, address: SocketAddr) -> Self {
        let scheme = if options.tls.is_some() { "https" } else { "http" };
        let data_directory = options.capture.data_directory.clone();
        if let Err(error) = (Serving { url: format!("{scheme}://{address}") }).write(&data_directory) {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "other commands will not find this server");
        }
        Self { data_directory }
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        if let Err(error) = Serving::remove(&self.data_directory) {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "other commands may look for this server in vain");
        }
    }
}

/// Reads endpoints and certificate again; what cannot be used changes nothing.
fn reload_all(gateway: &Gateway, endpoints: &Endpoints, tls: Option<&Tls>) {
    let read = || -> anyhow::Result<()> {
        let snapshot = endpoints()?;
        let certificate = tls.map(Tls::next).transpose()?;
        create_views(gateway.capture(), &snapshot)?;
        // From here on nothing can fail: all of it changes, or nothing.
        if let (Some(tls), Some(certificate)) = (tls, certificate) {
            tls.install(certificate);
        }
        gateway.install(snapshot);
        Ok(())
    };
    let outcome = read();
    gateway.metrics().reloaded(outcome.is_ok());
    match outcome {
        Ok(()) => tracing::info!("endpoints read again"),
        Err(error) => {
            let error = format!("{error:#}");
            tracing::error!(error, "endpoints not read again: those in force stay");
        }
    }
}

/// Tells the table the names of every model. The view of an endpoint follows the last one told: its heaviest variant's.
fn create_views(capture: &Capture, snapshot: &Snapshot) -> Result<(), TableError> {
    let heaviest_last = |endpoint: &Arc<Endpoint>| {
        let mut variants: Vec<Variant> = endpoint.variants().to_vec();
        let heaviest = endpoint.of_version(None).map(|position| variants.remove(position));
        variants.into_iter().chain(heaviest).map(|variant| (endpoint.clone(), variant)).collect::<Vec<_>>()
    };
    for (endpoint, variant) in snapshot.endpoints().iter().flat_map(heaviest_last) {
        capture.create_view(&EndpointColumns {
            endpoint: endpoint.name(),
            model_version: variant.model.version(),
            classes: variant.model.class_names(),
            features: variant.model.guard().names(),
        })?;
    }
    Ok(())
}

async fn finish(gateway: &Arc<Gateway>, ended: Ended, stop: &mut mpsc::Receiver<()>) -> Served {
    let limit = match ended {
        Ended::Drained => gateway.limits().settle,
        // Whoever is in a hurry does not wait for the table: the journal keeps what is left.
        Ended::Cut => Duration::ZERO,
    };
    let capture = gateway.capture().clone();
    let settling = tokio::task::spawn_blocking(move || (capture.settle(limit), capture.status()));
    let status = gateway.capture().status();
    let (settled, status) = tokio::select! {
        settled = settling => settled.unwrap_or((false, status)),
        // In a hurry after all.
        Some(()) = stop.recv() => (false, status),
    };
    if !settled {
        tracing::warn!(
            capture.spooled_bytes = status.spooled_bytes,
            "captured rows remain in the journal for the next start"
        );
    }
    let (answered, refused) = gateway.totals();
    let served = Served { answered, refused, rows: status.loaded_rows, ended };
    tracing::info!(
        requests.answered = answered,
        requests.refused = refused,
        capture.rows = status.loaded_rows,
        capture.duplicates = status.duplicate_rows,
        capture.dropped = status.dropped,
        capture.damaged = status.damaged,
        "stopped serving"
    );
    served
}
