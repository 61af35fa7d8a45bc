//! A gateway from its start to its end: capture opened, addresses taken, endpoints reloaded, the last rows loaded.

use std::net::{IpAddr, SocketAddr, TcpListener as StdListener};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
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
use super::supply::{Endpoints, Refused, Supply, Unready, Watch};
use super::tls::{Tls, TlsError, TlsFiles};
use crate::fleet::{FleetRef, Readiness};

/// How long what cannot be served is left alone before it is read again, unasked.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);
/// Between two looks whether models are asked.
const REST_LOOK: Duration = Duration::from_secs(1);
/// Between two looks whether the replicas of what is to be served answer.
const REPLICA_LOOK: Duration = Duration::from_millis(50);

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
    /// The main port's socket, when a program before this one handed it over.
    pub inherited: Option<Arc<OwnedFd>>,
}

/// What a running gateway is told from outside.
#[derive(Debug)]
pub struct Signals {
    /// A first message ends it gracefully, a second at once.
    pub stop: mpsc::Receiver<()>,
    /// A message reads endpoints and certificate again.
    pub reload: mpsc::Receiver<()>,
    /// Another program goes on where this one ends: the table is left to it.
    pub hands_over: Arc<AtomicBool>,
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
    /// The main port's socket, for whoever takes it over: callers wait there while nobody accepts them.
    pub socket: Arc<OwnedFd>,
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
    let watch = endpoints.watch();
    let fleets = endpoints.fleets();
    let supply = endpoints.read(&Snapshot::default()).map_err(ServeError::Endpoints)?;
    if let Some(refused) = &supply.refused {
        tracing::error!(error = refused.reason, "the newest endpoints cannot be served: what can be is");
    }
    let tls = options.tls.clone().map(Tls::read).transpose()?;
    let capture = Arc::new(Capture::open(&options.capture, clock.clone())?);
    create_views(&capture, &supply.snapshot)?;
    let gateway = Arc::new(Gateway::new(supply, capture, clock, options.limits).with_fleets(fleets.clone()));
    let io = |source| BindError::Io { address: options.listen, source };
    let inherited = options.inherited.as_ref().map(|socket| socket.try_clone()).transpose().map_err(io)?;
    let inherited = inherited.map(StdListener::from);
    let server = Server::bind(options.listen, gateway.clone(), tls.clone(), &options.proxies, inherited)?;
    let address = server.local_address().map_err(io)?;
    let socket = Arc::new(server.socket().map_err(io)?);
    let admin = Admin::start(options.admin_listen, gateway.clone())?;
    let note = Note::leave(&options, address, admin.address());
    let snapshot = gateway.snapshot();
    tracing::info!(%address, admin.address = %admin.address(), "serving");
    let database = options.capture.database();
    on_ready(&Ready { address, admin_address: admin.address(), snapshot, database, socket });

    let Signals { mut stop, reload, hands_over } = signals;
    let reloading = tokio::spawn(keep_up(gateway.clone(), endpoints, tls, watch, reload));
    let resting = tokio::spawn(rest(gateway.clone()));
    let ended = server.run(&mut stop).await;
    reloading.abort();
    resting.abort();
    drop(note);
    let is_followed = hands_over.load(Ordering::Relaxed);
    let served = finish(&gateway, ended, is_followed, &mut stop).await;
    drop(admin);
    if let Some(fleets) = fleets {
        // Whoever is in a hurry does not wait for them: they end with this process.
        tokio::select! {
            () = fleets.end(is_followed) => {}
            Some(()) = stop.recv() => {}
        }
    }
    Ok(served)
}

/// `serving.json` in the data directory while the server runs: where commands that would write ask.
struct Note {
    data_directory: PathBuf,
}

impl Note {
    fn leave(options: &ServeOptions, address: SocketAddr, admin: SocketAddr) -> Self {
        let scheme = if options.tls.is_some() { "https" } else { "http" };
        let data_directory = options.capture.data_directory.clone();
        let serving =
            Serving { url: format!("{scheme}://{address}"), admin: Some(format!("http://{admin}")) };
        if let Err(error) = serving.write(&data_directory) {
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

/// Reads again when asked to (the certificate too), when the watched file is another one, and now and then while what it
/// says cannot be served: what was missing may be there again without any word about it. What waits for its replicas is
/// looked at until they answer.
async fn keep_up(
    gateway: Arc<Gateway>,
    endpoints: Endpoints,
    tls: Option<Arc<Tls>>,
    mut watch: Watch,
    mut reload: mpsc::Receiver<()>,
) {
    let (endpoints, turn) = (Arc::new(endpoints), Arc::new(Mutex::new(())));
    let mut waits: Option<Supply> = None;
    loop {
        let is_worth_a_retry = watch.is_watching() && gateway.refused().is_some();
        let (tls, reads) = tokio::select! {
            Some(()) = reload.recv() => (tls.clone(), true),
            () = watch.changed() => (None, true),
            () = tokio::time::sleep(REPLICA_LOOK), if waits.is_some() => (None, false),
            () = tokio::time::sleep(RETRY_INTERVAL), if is_worth_a_retry => (None, true),
        };
        let (reloading, endpoints, waited) = (gateway.clone(), endpoints.clone(), waits.take());
        let work = move || match waited.filter(|_| !reads) {
            Some(supply) => install(&reloading, Ok(supply)),
            None => reload_all(&reloading, &endpoints, tls.as_deref()),
        };
        // A panic was reported where it happened; what serves stays.
        let Ok(next) = tokio::task::spawn_blocking(work).await else { continue };
        waits = next;
        if let Some(fleets) = gateway.fleets() {
            // Those that wait are asked by nobody yet, and are kept for that.
            let of =
                |snapshot: &Snapshot| snapshot.fleets().map(|fleet| fleet.key().clone()).collect::<Vec<_>>();
            let waiting = waits.as_ref().map(|supply| of(&supply.snapshot)).unwrap_or_default();
            fleets.keep_only(&[of(&gateway.snapshot()), waiting].concat());
        }
        tokio::task::spawn_blocking({
            let (gateway, turn) = (gateway.clone(), turn.clone());
            move || renew_views(&gateway, &turn)
        });
    }
}

/// Models that may leave the memory do so once nobody asked them for long enough.
async fn rest(gateway: Arc<Gateway>) {
    loop {
        tokio::time::sleep(REST_LOOK).await;
        for parked in gateway.snapshot().variants().filter_map(|variant| variant.model.parking()) {
            parked.rest();
        }
    }
}

/// The view of an endpoint follows its heaviest variant, which may be another one now. The table may be busy with rows for
/// seconds, and what is routed next must not wait for that.
fn renew_views(gateway: &Gateway, turn: &Mutex<()>) {
    // One after the other, each with what is in force by then: the last one has the last word.
    let turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
    if let Err(error) = create_views(gateway.capture(), &gateway.snapshot()) {
        tracing::warn!(error = &error as &dyn std::error::Error, "the views of endpoints are older");
    }
    drop(turn);
}

/// Reads endpoints and certificate again; what cannot be used changes nothing. What waits for its replicas comes back.
fn reload_all(gateway: &Gateway, endpoints: &Endpoints, tls: Option<&Tls>) -> Option<Supply> {
    let read = || -> anyhow::Result<Supply> {
        let in_force = gateway.snapshot();
        let supply = endpoints.read(&in_force)?;
        let certificate = tls.map(Tls::next).transpose()?;
        // What served before needs no word of the table, which may be busy with rows: a way back must not wait for it.
        if !is_known(&in_force, &supply.snapshot) {
            create_views(gateway.capture(), &supply.snapshot)?;
        }
        // From here on nothing can fail: all of it changes, or nothing.
        if let (Some(tls), Some(certificate)) = (tls, certificate) {
            tls.install(certificate);
        }
        Ok(supply)
    };
    install(gateway, read())
}

/// Puts in force what was read, once its replicas answer; those endpoints whose replicas do, at once.
fn install(gateway: &Gateway, supply: anyhow::Result<Supply>) -> Option<Supply> {
    let in_force = gateway.snapshot();
    let supply = supply.and_then(|supply| match readiness(&in_force, &supply.snapshot) {
        // Nobody is served yet: requests wait for the first replica themselves.
        _ if in_force.origin().is_none() => Ok((supply, None)),
        Readiness::Ready => Ok((supply, None)),
        Readiness::Failed(reason) => {
            Err(Unready { epoch: supply.snapshot.origin().map(|origin| origin.epoch), reason }.into())
        }
        Readiness::Waits => {
            let part = in_force.with_those_of(&supply.snapshot, |before, next| {
                readiness_of(before, next) == Readiness::Ready
            });
            Ok((Supply { snapshot: part, refused: None }, Some(supply)))
        }
    });
    let refused = match &supply {
        Ok((supply, _)) => supply.refused.clone(),
        Err(error) => Some(Refused::from(error)),
    };
    let is_told = refused.is_some() && gateway.refused().as_deref() == refused.as_ref();
    let mut waits = None;
    match (supply, refused.clone()) {
        (Ok((supply, later)), _) => {
            let fleets: Vec<_> = supply.snapshot.fleets().cloned().collect();
            gateway.install(supply);
            if later.is_none() {
                // The weights are in force; from here on the load decides.
                fleets.iter().for_each(|fleet| fleet.need_no_more());
            }
            waits = later;
        }
        (Err(_), Some(refused)) => gateway.keep(refused),
        (Err(_), None) => {}
    }
    if waits.is_none() {
        // Whoever reads this finds it so.
        gateway.metrics().reloaded(refused.is_none());
    }
    match &refused {
        None if waits.is_none() => tracing::info!("endpoints read again"),
        None => {}
        Some(refused) if !is_told => {
            tracing::error!(error = refused.reason, "endpoints not read again: those in force stay");
        }
        Some(_) => {}
    }
    waits
}

/// Whether all endpoints of `next` have the replicas that their weights need.
fn readiness(in_force: &Snapshot, next: &Snapshot) -> Readiness {
    let mut all = Readiness::Ready;
    for endpoint in next.endpoints() {
        let before = in_force.endpoints().iter().find(|before| before.name() == endpoint.name());
        match readiness_of(before.map(Arc::as_ref), endpoint) {
            Readiness::Ready => {}
            Readiness::Waits => all = Readiness::Waits,
            failed @ Readiness::Failed(_) => return failed,
        }
    }
    all
}

/// Whether the replicas of each version are as many as its share of the requests needs: of as many as the endpoint had, the
/// same share. A share that does not grow needs no more than it has.
fn readiness_of(before: Option<&Endpoint>, next: &Endpoint) -> Readiness {
    let had = before.map_or(1, replicas_of).max(1);
    let mut all = Readiness::Ready;
    for variant in next.variants() {
        let Some(fleet) = variant.fleet() else { continue };
        let share = share_of(next, fleet);
        let grows = before.is_none_or(|before| share > share_of(before, fleet));
        match fleet.need(if grows { (f64::from(had) * share).ceil() as u32 } else { 0 }) {
            Readiness::Ready => {}
            Readiness::Waits => all = Readiness::Waits,
            failed @ Readiness::Failed(_) => return failed,
        }
    }
    all
}

/// Replicas that answer all requests of an endpoint. Of versions beside each other each has its fewest, however little it is
/// asked; those count once, or every rollout would end with more than it began with.
fn replicas_of(endpoint: &Endpoint) -> u32 {
    let weighted = endpoint.variants().iter().filter(|variant| variant.weight > 0.0);
    let (mut desired, mut fewest, mut most_of_fewest) = (0_u32, 0_u32, 0_u32);
    for fleet in weighted.filter_map(Variant::fleet) {
        desired = desired.saturating_add(fleet.desired());
        fewest = fewest.saturating_add(fleet.fewest());
        most_of_fewest = most_of_fewest.max(fleet.fewest());
    }
    desired.saturating_sub(fewest - most_of_fewest)
}

/// The share of an endpoint's requests that the replicas get.
fn share_of(endpoint: &Endpoint, fleet: &FleetRef) -> f64 {
    let weights: f64 = endpoint.variants().iter().map(|variant| variant.weight).sum();
    let of_fleet = |variant: &&Variant| variant.fleet().is_some_and(|other| other.key() == fleet.key());
    endpoint.variants().iter().filter(of_fleet).map(|variant| variant.weight / weights).sum()
}

/// Whether every model at every endpoint of `next` is there in `in_force` already.
fn is_known(in_force: &Snapshot, next: &Snapshot) -> bool {
    next.endpoints().iter().all(|endpoint| {
        let known = in_force.endpoints().iter().find(|known| known.name() == endpoint.name());
        endpoint.variants().iter().all(|variant| {
            known.is_some_and(|known| known.of_version(Some(variant.model.version())).is_some())
        })
    })
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
        if let Some(bins) = variant.model.watched() {
            capture.watch(endpoint.name(), variant.model.version(), bins)?;
        }
    }
    Ok(())
}

async fn finish(
    gateway: &Arc<Gateway>,
    ended: Ended,
    is_followed: bool,
    stop: &mut mpsc::Receiver<()>,
) -> Served {
    let limit = match ended {
        // Whoever goes on loads what the journal has.
        Ended::Drained if is_followed => Duration::ZERO,
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
    if !settled && !is_followed {
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
