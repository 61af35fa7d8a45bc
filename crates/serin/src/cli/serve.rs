//! `serin serve`: one model behind an address.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serin_core::capture::{Capture, CaptureOptions, EndpointColumns, OpenCaptureError, TableError};
use serin_core::clock::{Clock, SystemClock};
use serin_ml::model::Bundle;
use thiserror::Error;
use tokio::sync::mpsc;

use super::args::ServeArgs;
use super::exit::Exit;
use super::settings::Overrides;
use super::{files, printer};
use crate::gateway::endpoint::{Endpoint, InvalidEndpointName};
use crate::gateway::invocation::Gateway;
use crate::gateway::limits::Limits;
use crate::gateway::server::{BindError, Ended, Server};

/// Serves the model named on the command line until SIGTERM or Ctrl-C.
pub(super) fn run(args: &ServeArgs) -> anyhow::Result<Exit> {
    let settings = Overrides::new()
        .set("serve.listen", args.listen.map(|listen| listen.to_string()), "--listen")
        .set("serve.data_dir", args.data_dir.as_ref().map(|path| path.display().to_string()), "--data-dir")
        .load(args.config.as_deref())?;
    crate::telemetry::start();
    let bundle = files::read_bundle(&args.model)?;
    let endpoint = endpoint(&endpoint_name(&args.model), bundle)?;
    let options = ServeOptions {
        listen: settings.serve.listen,
        capture: CaptureOptions::new(&settings.serve.data_dir),
        limits: Limits::default(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    runtime.block_on(async {
        let stop = stop_on_signals()?;
        serve(options, endpoint, clock, stop, |ready| {
            printer::talk(&format!(
                "{} (model {}) on http://{}/invocations, answers kept in {}",
                ready.endpoint,
                ready.model_version,
                ready.address,
                ready.database.display()
            ));
        })
        .await
    })?;
    Ok(Exit::Done)
}

/// The endpoint of a bundle; its model version is the beginning of the bundle's digest.
pub(super) fn endpoint(name: &str, bundle: Bundle) -> Result<Endpoint, InvalidEndpointName> {
    let version = bundle.digest()[..12].to_owned();
    let card = &bundle.card;
    Endpoint::new(name, &card.schema, &card.missing, &card.classes, &version, Box::new(bundle.predictor))
}

/// What to serve, and where.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where answers are kept.
    pub capture: CaptureOptions,
    /// Limits of the gateway.
    pub limits: Limits,
}

/// What there is to tell once requests are answered.
#[derive(Debug, Clone)]
pub struct Ready {
    /// The address, with its real port.
    pub address: SocketAddr,
    /// The endpoint's name.
    pub endpoint: String,
    /// The version of its model.
    pub model_version: String,
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
pub enum ServeError {
    #[error(transparent)]
    Name(#[from] InvalidEndpointName),
    #[error(transparent)]
    Capture(#[from] OpenCaptureError),
    #[error("cannot make the view of the endpoint")]
    View(#[from] TableError),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("cannot listen for signals")]
    Signals(#[source] std::io::Error),
}

/// Serves `endpoint` until a message arrives on `stop`; a second one ends at once. `on_ready` is told the address
/// before the first request is answered.
///
/// # Errors
/// When the address, the data directory or the inference table cannot be used.
pub async fn serve(
    options: ServeOptions,
    endpoint: Endpoint,
    clock: Arc<dyn Clock>,
    stop: mpsc::Receiver<()>,
    on_ready: impl FnOnce(&Ready),
) -> Result<Served, ServeError> {
    let capture = Arc::new(Capture::open(&options.capture, clock.clone())?);
    capture.create_view(&EndpointColumns {
        endpoint: endpoint.name(),
        classes: endpoint.class_names(),
        features: endpoint.guard().names(),
    })?;
    let (name, model_version) = (endpoint.name().to_owned(), endpoint.model_version().to_owned());
    let gateway = Arc::new(Gateway::new(Arc::new(endpoint), capture, clock, options.limits));
    let server = Server::bind(options.listen, gateway.clone()).await?;
    let address =
        server.local_address().map_err(|source| BindError::Io { address: options.listen, source })?;
    tracing::info!(%address, endpoint = name, model.version = model_version, "serving");
    on_ready(&Ready { address, endpoint: name, model_version, database: options.capture.database() });

    let ended = server.run(stop).await;
    Ok(finish(gateway, ended, &options.limits).await)
}

/// The first SIGTERM or Ctrl-C as a first message, the second as a second.
///
/// # Errors
/// When the operating system gives no signals.
pub fn stop_on_signals() -> Result<mpsc::Receiver<()>, ServeError> {
    let (sender, receiver) = mpsc::channel(2);
    #[cfg(unix)]
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(ServeError::Signals)?;
    tokio::spawn(async move {
        loop {
            #[cfg(unix)]
            let heard = tokio::select! {
                _ = terminate.recv() => Ok(()),
                heard = tokio::signal::ctrl_c() => heard,
            };
            #[cfg(not(unix))]
            let heard = tokio::signal::ctrl_c().await;
            if heard.is_err() || sender.send(()).await.is_err() {
                return;
            }
            tracing::info!("asked to stop: answering the requests in hand; once more stops at once");
        }
    });
    Ok(receiver)
}

/// The name of an endpoint whose model lies in `file`: its stem, with what a name cannot have as hyphens.
#[must_use]
pub fn endpoint_name(file: &Path) -> String {
    let stem = file.file_stem().map(|stem| stem.to_string_lossy()).unwrap_or_default();
    let hyphenated: String = stem.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    hyphenated.trim_matches('-').chars().take(63).collect::<String>().trim_end_matches('-').to_owned()
}

async fn finish(gateway: Arc<Gateway>, ended: Ended, limits: &Limits) -> Served {
    let limit = match ended {
        Ended::Drained => limits.settle,
        // Whoever is in a hurry does not wait for the table: the journal keeps what is left.
        Ended::Cut => std::time::Duration::ZERO,
    };
    let capture = gateway.capture().clone();
    let settling = tokio::task::spawn_blocking(move || (capture.settle(limit), capture.counts()));
    let (settled, counts) = settling.await.unwrap_or_default();
    if !settled {
        let spooled_bytes = gateway.capture().spooled_bytes();
        tracing::warn!(
            capture.spooled_bytes = spooled_bytes,
            "captured rows remain in the journal for the next start"
        );
    }
    let served = Served {
        answered: gateway.counts().answered.load(Ordering::Relaxed),
        refused: gateway.counts().refused.load(Ordering::Relaxed),
        rows: counts.rows,
        ended,
    };
    tracing::info!(
        requests.answered = served.answered,
        requests.refused = served.refused,
        requests.refused_uncaptured = gateway.counts().refused_uncaptured.load(Ordering::Relaxed),
        capture.rows = counts.rows,
        capture.duplicates = counts.duplicates,
        capture.damaged = counts.damaged,
        "stopped serving"
    );
    served
}
