//! The gateway as a whole: what all requests share, and which request goes where.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Version};
use serde_json::{Value, json};
use serin_core::capture::Capture;
use serin_core::clock::Clock;
use serin_core::ids::InferenceIds;
use serin_core::rollout_driver::EvidencePage;
use serin_core::scale::FleetsPage;
use tokio::sync::Semaphore;

use super::body::BodyMemory;
use super::endpoint::{Endpoint, Snapshot};
use super::evidence::Evidence;
use super::framing::Head;
use super::headers::{self, Afterwards};
use super::limits::Limits;
use super::metrics::{CaptureFigures, Metrics, VariantMetrics};
use super::mirror::Mirror;
use super::open_inference::metadata;
use super::problem::{Code, Problem, echo};
use super::refusal::{self, Dialect};
use super::routes::{self, Action, Found, Parameters, Route};
use super::sent::Sent;
use super::supply::{Refused, Supply};
use crate::fleet::Fleets;

/// The description of the main port's interface.
pub const OPENAPI: &str = include_str!("openapi.json");

/// Everything a request needs. One for the whole process.
#[derive(Debug)]
pub struct Gateway {
    snapshot: ArcSwap<Snapshot>,
    /// What should be in force instead, and cannot.
    refused: ArcSwapOption<Refused>,
    pub(super) capture: Arc<Capture>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ids: InferenceIds,
    pub(super) limits: Limits,
    /// Those for what is parsed where requests are read.
    pub(super) inline_limits: Limits,
    /// Requests in hand.
    pub(super) in_hand: AtomicUsize,
    /// Large batches that may be in work at once.
    pub(super) processors: Arc<Semaphore>,
    pub(super) waiting_batches: AtomicUsize,
    /// Writing labels, one request after the other.
    pub(super) label_table: Arc<Semaphore>,
    pub(super) bodies: Arc<BodyMemory>,
    pub(super) metrics: Metrics,
    /// What rollouts are judged by.
    pub(super) evidence: Evidence,
    pub(super) mirror: Mirror,
    /// Of requests that reached no variant.
    pub(super) nowhere: VariantMetrics,
    fleets: Option<Arc<Fleets>>,
    is_draining: AtomicBool,
}

impl Gateway {
    /// A gateway in front of the endpoints of `supply`.
    #[must_use]
    pub fn new(supply: Supply, capture: Arc<Capture>, clock: Arc<dyn Clock>, limits: Limits) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let metrics = Metrics::new();
        let nowhere = metrics.of("", "");
        let ids = InferenceIds::from_entropy(clock.clone());
        // No other process gives itself this name.
        let evidence = Evidence::new(ids.next().as_str().to_owned());
        let mirror = Mirror::start(clock.clone());
        let gateway = Self {
            snapshot: ArcSwap::from_pointee(Snapshot::default()),
            refused: ArcSwapOption::empty(),
            capture,
            ids,
            clock,
            limits,
            inline_limits: Limits { rows: limits.inline_rows, ..limits },
            in_hand: AtomicUsize::new(0),
            processors: Arc::new(Semaphore::new(threads)),
            waiting_batches: AtomicUsize::new(0),
            label_table: Arc::new(Semaphore::new(1)),
            bodies: BodyMemory::new(limits.bodies_bytes),
            metrics,
            evidence,
            mirror,
            nowhere,
            fleets: None,
            is_draining: AtomicBool::new(false),
        };
        gateway.install(supply);
        gateway
    }

    /// The same with replicas.
    #[must_use]
    pub fn with_fleets(self, fleets: Option<Arc<Fleets>>) -> Self {
        Self { fleets, ..self }
    }

    /// The replicas that answer for some of its endpoints.
    #[must_use]
    pub fn fleets(&self) -> Option<&Arc<Fleets>> {
        self.fleets.as_ref()
    }

    /// What its replicas do, for the admin address.
    #[must_use]
    pub fn fleets_page(&self) -> FleetsPage {
        let fleets = self.fleets.as_ref().map(|fleets| fleets.pages()).unwrap_or_default();
        FleetsPage { process: self.evidence.process().to_owned(), fleets }
    }

    /// Requests that begin from now on are answered from the snapshot of `supply`; those in hand keep theirs.
    pub fn install(&self, supply: Supply) {
        let Supply { mut snapshot, refused } = supply;
        snapshot.count_in(&self.metrics, &self.evidence);
        self.snapshot.store(Arc::new(snapshot));
        self.remember(refused);
    }

    /// What is in force stays, because what should replace it cannot be used.
    pub fn keep(&self, refused: Refused) {
        self.remember(Some(refused));
    }

    fn remember(&self, refused: Option<Refused>) {
        let epoch = self.snapshot.load().origin().map(|origin| origin.epoch);
        self.metrics.set_routes(epoch, refused.is_some());
        self.refused.store(refused.map(Arc::new));
    }

    /// What should be in force, and cannot.
    #[must_use]
    pub fn refused(&self) -> Option<Arc<Refused>> {
        self.refused.load_full()
    }

    /// The endpoints now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// The endpoint called `name`, or that of the bare address, as it is now.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn endpoint(&self, name: Option<&str>) -> Result<Arc<Endpoint>, Problem> {
        self.snapshot.load().endpoint(name).cloned()
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What is counted.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Where answers are kept.
    #[must_use]
    pub fn capture(&self) -> &Arc<Capture> {
        &self.capture
    }

    /// The metrics as text.
    #[must_use]
    pub fn metrics_text(&self) -> String {
        let status = self.capture.status();
        self.metrics.in_hand.set(self.in_hand.load(Ordering::Relaxed) as i64);
        let replicas = self.fleets.as_ref().map(|fleets| fleets.figures()).unwrap_or_default();
        let capture = CaptureFigures {
            appended: status.appended,
            loaded: status.loaded_rows,
            duplicates: status.duplicate_rows,
            damaged: status.damaged,
            dropped: status.dropped,
            refusals_dropped: self.metrics.refusals_not_captured.get(),
            not_sampled: status.not_sampled,
            failures: status.failures,
            spool_bytes: status.spooled_bytes,
            spool_limit_bytes: status.spool_limit_bytes,
            lag_seconds: status.lag.as_secs_f64(),
        };
        self.metrics.text(&capture, &replicas)
    }

    /// Inference requests answered, and refused, since the start.
    #[must_use]
    pub fn totals(&self) -> (u64, u64) {
        self.metrics.totals()
    }

    /// Not ready from now on: the server is about to end.
    pub fn drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    /// Whether requests should be sent here: there is a model, and the server is not about to end.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.is_draining.load(Ordering::Relaxed) && !self.snapshot.load().endpoints().is_empty()
    }

    /// What rollouts are judged by, for the admin address.
    #[must_use]
    pub fn evidence_page(&self) -> EvidencePage {
        let epoch = self.snapshot.load().origin().map(|origin| origin.epoch.0);
        let refused =
            self.refused().map(|refused| (refused.epoch.map(|epoch| epoch.0), refused.reason.clone()));
        self.evidence.page(self.clock.monotonic(), epoch, refused)
    }

    /// Answers one request, whatever it is. `head` is what the connection saw of it, and `caller` tells its other end from
    /// others.
    pub async fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
        head: Head,
        caller: u64,
    ) -> Response<Sent> {
        let version = request.version();
        let (is_head, is_connect) = (request.method() == Method::HEAD, request.method() == Method::CONNECT);
        let checked = headers::check(&request, head, self.limits.header_count);
        let mut response = match checked {
            Ok(_) => self.clone().dispatch(request, caller).await,
            Err(ref problem) => {
                self.metrics.refused(problem.code);
                let dialect = match routes::find(request.method(), request.uri().path()) {
                    Found::Route(route, _) => route.dialect,
                    Found::OtherMethods(dialect, _) | Found::Nothing(dialect) => dialect,
                };
                refusal::response(dialect, problem, None, version)
            }
        };
        let ends = checked != Ok(Afterwards::Keep) || is_connect || self.is_draining.load(Ordering::Relaxed);
        if ends && version < Version::HTTP_2 {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if is_head {
            *response.body_mut() = Sent::default();
        }
        response
    }

    async fn dispatch(self: Arc<Self>, request: Request<Incoming>, caller: u64) -> Response<Sent> {
        let version = request.version();
        let refuse = |dialect, problem: Problem| {
            self.metrics.refused(problem.code);
            refusal::response(dialect, &problem, None, version)
        };
        if request.uri().path_and_query().map_or(0, |whole| whole.as_str().len()) > self.limits.uri_bytes {
            let detail = format!("an address has at most {} bytes", self.limits.uri_bytes);
            return refuse(Dialect::Plain, Problem::new(Code::UriTooLong, detail));
        }
        if request.method() == Method::CONNECT {
            // Its address is a host, not a path.
            self.metrics.refused(Code::MethodNotAllowed);
            return refusal::method_not_allowed(Dialect::Plain, &["GET", "POST"], version);
        }
        // Cloning an address counts references.
        let uri = request.uri().clone();
        match routes::find(request.method(), uri.path()) {
            Found::Route(route, parameters) => match route.action {
                Action::Invoke | Action::Infer => self.invoke(route, parameters, request, caller).await,
                Action::Labels => self.labels(request).await,
                _ => self.tell(route, parameters).unwrap_or_else(|problem| refuse(route.dialect, problem)),
            },
            Found::OtherMethods(dialect, methods) => {
                self.metrics.refused(Code::MethodNotAllowed);
                refusal::method_not_allowed(dialect, &methods, version)
            }
            Found::Nothing(dialect) => refuse(
                dialect,
                Problem::new(Code::NotFound, "see `GET /openapi.json` for the addresses there are"),
            ),
        }
    }

    /// What needs no body and no model.
    fn tell(&self, route: &Route, parameters: Parameters<'_>) -> Result<Response<Sent>, Problem> {
        let ready = self.is_ready();
        let with_status = |mut response: Response<Sent>| {
            if !ready {
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            }
            response
        };
        Ok(match route.action {
            Action::Ping => with_status(Response::default()),
            Action::Live => json_response(&json!({ "live": true })),
            Action::Ready => with_status(json_response(&json!({ "ready": ready }))),
            Action::ServerMetadata => json_response(&metadata::server()),
            Action::Models => json_response(&metadata::models(&self.snapshot())),
            Action::ModelMetadata | Action::ModelReady => {
                let endpoint = self.endpoint(parameters.name)?;
                let variant = variant_of_version(&endpoint, parameters.version)?;
                if route.action == Action::ModelReady {
                    with_status(json_response(&json!({ "name": endpoint.name(), "ready": ready })))
                } else {
                    json_response(&metadata::model(&endpoint, &endpoint.variants()[variant]))
                }
            }
            Action::OpenApi => json_text(OPENAPI),
            Action::Invoke | Action::Infer | Action::Labels => {
                return Err(Problem::new(Code::Internal, "this address takes a body"));
            }
        })
    }
}

/// The variant that has the model of `version`, or the heaviest.
///
/// # Errors
/// When no variant has it.
pub(super) fn variant_of_version(endpoint: &Endpoint, version: Option<&str>) -> Result<usize, Problem> {
    endpoint.of_version(version).ok_or_else(|| {
        let detail = format!("no variant has version `{}`", echo(version.unwrap_or_default()));
        Problem::new(Code::UnknownVariant, detail)
    })
}

/// An answer of JSON.
pub(super) fn json_response(value: &Value) -> Response<Sent> {
    json_text(value.to_string())
}

fn json_text(text: impl Into<hyper::body::Bytes>) -> Response<Sent> {
    let mut response = Response::new(Sent::from(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
