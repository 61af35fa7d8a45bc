//! The life of a request: route, read, guard, predict, encode, capture, answer.

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, EXPECT, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode, Version};
use serin_core::capture::{Capture, Outcome, Record};
use serin_core::clock::{Clock, Timestamp};
use serin_core::ids::{InferenceId, InferenceIds};
use tokio::sync::Semaphore;

use super::endpoint::{Endpoint, ONLY_VARIANT, Predictions};
use super::limits::Limits;
use super::media::{Encoding, Form, Input, text_of};
use super::problem::{Code, Problem};
use super::rows::{RowBuilder, Rows};
use super::{answer, csv_rows, json_rows};

/// The header that carries the inference id, in requests and answers.
pub const INFERENCE_ID_HEADER: &str = "x-amzn-sagemaker-inference-id";
/// The header that carries the code of a problem.
pub const ERROR_CODE_HEADER: &str = "x-serin-error-code";

/// A thread that once held more values gives the memory back after the request.
const SCRATCH_KEPT_VALUES: usize = 1 << 17;
/// How long to take the rest of a refused body, so that the caller has read the answer before the connection closes.
const DISCARD_TIME: Duration = Duration::from_secs(2);

/// What a caller will need to be allowed, once there are tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// Nothing.
    Public,
    /// To ask for predictions.
    Invoke,
}

/// One address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub method: Method,
    pub path: &'static str,
    pub permission: Permission,
}

/// All addresses of the main port.
pub static ROUTES: [Route; 2] = [
    Route { method: Method::GET, path: "/ping", permission: Permission::Public },
    Route { method: Method::POST, path: "/invocations", permission: Permission::Invoke },
];

/// Everything a request needs. One for the whole process.
#[derive(Debug)]
pub struct Gateway {
    endpoint: Arc<Endpoint>,
    capture: Arc<Capture>,
    clock: Arc<dyn Clock>,
    ids: InferenceIds,
    limits: Limits,
    /// Large batches that may be in work at once.
    batches: Semaphore,
    counts: Counts,
}

/// How many requests ended how.
#[derive(Debug, Default)]
pub struct Counts {
    /// Answered with a class for each row.
    pub answered: AtomicU64,
    /// Refused, whoever's fault.
    pub refused: AtomicU64,
    /// Refused, and the refusal could not be captured.
    pub refused_uncaptured: AtomicU64,
}

/// One request once its head was understood.
struct Invocation {
    id: InferenceId,
    arrived: Timestamp,
    started: Duration,
    input: Input,
    form: Form,
    encoding: Encoding,
}

/// What a thread keeps from request to request.
#[derive(Debug, Default)]
struct Scratch {
    rows: Rows,
    predictions: Predictions,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Gateway {
    /// A gateway in front of one endpoint.
    #[must_use]
    pub fn new(
        endpoint: Arc<Endpoint>,
        capture: Arc<Capture>,
        clock: Arc<dyn Clock>,
        limits: Limits,
    ) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            endpoint,
            capture,
            ids: InferenceIds::from_entropy(clock.clone()),
            clock,
            limits,
            batches: Semaphore::new(threads),
            counts: Counts::default(),
        }
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How many requests ended how.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Where answers are kept.
    #[must_use]
    pub fn capture(&self) -> &Arc<Capture> {
        &self.capture
    }

    /// Answers one request, whatever it is.
    pub async fn handle(self: Arc<Self>, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let version = request.version();
        let path = request.uri().path();
        if request.uri().path_and_query().map_or(0, |whole| whole.as_str().len()) > self.limits.uri_bytes {
            let detail = format!("an address has at most {} bytes", self.limits.uri_bytes);
            return refusal(&Problem::new(Code::UriTooLong, detail), None, version);
        }
        let Some(route) = ROUTES.iter().find(|route| route.path == path) else {
            let detail = "there is `GET /ping` and `POST /invocations`";
            return refusal(&Problem::new(Code::NotFound, detail), None, version);
        };
        if request.method() != route.method {
            let detail = format!("`{}` takes {} only", route.path, route.method);
            let mut response = refusal(&Problem::new(Code::MethodNotAllowed, detail), None, version);
            response.headers_mut().insert(ALLOW, header_value(route.method.as_str()));
            return response;
        }
        match route.permission {
            Permission::Public => Response::new(Full::default()),
            Permission::Invoke => self.invoke(request).await,
        }
    }

    async fn invoke(self: Arc<Self>, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (arrived, started) = (self.clock.now(), self.clock.monotonic());
        let version = request.version();
        let (id, invalid_id) = self.inference_id(request.headers());
        let outcome = match invalid_id {
            None => self.clone().answer(request, id.clone(), arrived, started).await,
            Some(problem) => Err(problem),
        };
        match outcome {
            Ok((form, body)) => {
                self.counts.answered.fetch_add(1, Ordering::Relaxed);
                let mut response = Response::new(Full::new(Bytes::from(body)));
                let headers = response.headers_mut();
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(form.content_type()));
                headers.insert(INFERENCE_ID_HEADER, header_value(id.as_str()));
                response
            }
            Err(problem) => {
                self.refused(&problem, &id, arrived, started);
                refusal(&problem, Some(&id), version)
            }
        }
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        id: InferenceId,
        arrived: Timestamp,
        started: Duration,
    ) -> Result<(Form, Vec<u8>), Problem> {
        let headers = request.headers();
        let input = Input::of(headers)?;
        let form = Form::of(headers, input)?;
        let encoding = Encoding::of(headers)?;
        let body =
            tokio::time::timeout(self.limits.request, self.read_body(request)).await.map_err(|_| {
                let detail = format!("the body was not there after {} s", self.limits.request.as_secs());
                Problem::new(Code::RequestTimeout, detail)
            })??;
        let invocation = Invocation { id, arrived, started, input, form, encoding };

        let is_small = encoding == Encoding::Identity && body.len() <= self.limits.inline_body_bytes;
        if is_small
            && let Some(answer) = SCRATCH.with_borrow_mut(|scratch| {
                let Scratch { rows, predictions } = scratch;
                let answer = match self.parse(&invocation, &body, rows) {
                    Err(problem) => Some(Err(problem)),
                    Ok(()) if rows.n_rows() > self.limits.inline_rows => None,
                    Ok(()) => Some(self.finish(&invocation, rows, predictions)),
                };
                if rows.capacity() > SCRATCH_KEPT_VALUES {
                    *scratch = Scratch::default();
                }
                answer
            })
        {
            return answer.map(|bytes| (form, bytes));
        }
        // The rest may take long: elsewhere, and not more at once than there are processors.
        let _permit = self.batches.acquire().await.map_err(|_| stopped())?;
        let gateway = self.clone();
        let work = tokio::task::spawn_blocking(move || {
            let mut rows = Rows::default();
            gateway.parse(&invocation, &body, &mut rows)?;
            gateway.finish(&invocation, &rows, &mut Predictions::default())
        });
        let bytes = work.await.map_err(|_| stopped())??;
        Ok((form, bytes))
    }

    /// The whole body, as sent.
    async fn read_body(&self, request: Request<Incoming>) -> Result<Bytes, Problem> {
        let limit_bytes = self.limits.body_bytes;
        let waits_for_word = request.headers().contains_key(EXPECT);
        let mut body = request.into_body();
        let mut whole = Bytes::new();
        let mut parts: Vec<u8> = Vec::new();
        let mut is_too_large = body.size_hint().lower() > limit_bytes as u64;
        while !is_too_large && let Some(frame) = body.frame().await {
            let broken = |_| Problem::new(Code::BadEncoding, "the body ended early or its framing is wrong");
            let Ok(data) = frame.map_err(broken)?.into_data() else {
                continue;
            };
            is_too_large = whole.len() + parts.len() + data.len() > limit_bytes;
            // Nearly every body comes in one piece: that one is not copied.
            if whole.is_empty() && parts.is_empty() {
                whole = data;
            } else {
                if parts.is_empty() {
                    parts = std::mem::take(&mut whole).into();
                }
                parts.extend_from_slice(&data);
            }
        }
        if is_too_large {
            if !waits_for_word {
                drop((whole, parts));
                discard(&mut body, limit_bytes).await;
            }
            let detail = format!("a body has at most {limit_bytes} bytes; send fewer rows at a time");
            return Err(Problem::new(Code::BodyTooLarge, detail));
        }
        Ok(if parts.is_empty() { whole } else { parts.into() })
    }

    fn parse(&self, invocation: &Invocation, body: &[u8], rows: &mut Rows) -> Result<(), Problem> {
        let body = invocation.encoding.unpack(body, self.limits.body_bytes)?;
        let text = text_of(&body)?;
        let mut builder = RowBuilder::new(self.endpoint.guard(), &self.limits, rows);
        match invocation.input {
            Input::Csv(header) => csv_rows::read(text, header, &mut builder)?,
            Input::Json => json_rows::read(text, &mut builder)?,
        }
        builder.finish()
    }

    /// Predicts, encodes and captures. The answer may leave once this returned.
    fn finish(
        &self,
        invocation: &Invocation,
        rows: &Rows,
        predictions: &mut Predictions,
    ) -> Result<Vec<u8>, Problem> {
        self.endpoint.predict(rows, predictions)?;
        let id = invocation.id.as_str();
        let bytes = answer::encode(invocation.form, &self.endpoint, id, predictions);
        let classes = self.endpoint.classes();
        let outcome = Outcome::Answered {
            predicted: predictions.chosen.iter().map(|class| classes[*class].name.as_str()).collect(),
            probabilities: Cow::Borrowed(&predictions.probabilities),
            features: Cow::Borrowed(rows.values()),
        };
        let record =
            self.record(&invocation.id, invocation.arrived, invocation.started, StatusCode::OK, outcome);
        self.capture.append(&record).map_err(|error| {
            let detail = "the journal of answers cannot take more; try again later";
            tracing::debug!(error = &error as &dyn std::error::Error, "answer not captured");
            Problem::new(Code::CaptureFull, detail)
        })?;
        Ok(bytes)
    }

    fn refused(&self, problem: &Problem, id: &InferenceId, arrived: Timestamp, started: Duration) {
        self.counts.refused.fetch_add(1, Ordering::Relaxed);
        let outcome = Outcome::Refused { error_code: problem.code.as_str() };
        let record = self.record(id, arrived, started, problem.code.status(), outcome);
        if problem.code == Code::CaptureFull || self.capture.append(&record).is_err() {
            self.counts.refused_uncaptured.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn record<'a>(
        &'a self,
        id: &'a InferenceId,
        time: Timestamp,
        started: Duration,
        status: StatusCode,
        outcome: Outcome<'a>,
    ) -> Record<'a> {
        let latency = self.clock.monotonic().saturating_sub(started);
        Record {
            id: id.as_str(),
            time,
            endpoint: self.endpoint.name(),
            variant: ONLY_VARIANT,
            model_version: self.endpoint.model_version(),
            run: None,
            rollout_step: None,
            caller: None,
            latency_microseconds: u64::try_from(latency.as_micros()).unwrap_or(u64::MAX),
            status: status.as_u16(),
            outcome,
        }
    }

    /// The caller's id, or one made here (also when the caller's is refused).
    fn inference_id(&self, headers: &HeaderMap) -> (InferenceId, Option<Problem>) {
        let Some(value) = headers.get(INFERENCE_ID_HEADER) else {
            return (self.ids.next(), None);
        };
        let refused =
            |detail: String| (self.ids.next(), Some(Problem::new(Code::InvalidInferenceId, detail)));
        match value.to_str().map(InferenceId::from_caller) {
            Ok(Ok(id)) => (id, None),
            Ok(Err(error)) => refused(error.to_string()),
            Err(_) => refused("an inference id is printable ASCII".to_owned()),
        }
    }
}

fn refusal(problem: &Problem, id: Option<&InferenceId>, version: Version) -> Response<Full<Bytes>> {
    let body = problem.to_json(id.map(InferenceId::as_str));
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = problem.code.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(ERROR_CODE_HEADER, HeaderValue::from_static(problem.code.as_str()));
    if let Some(id) = id {
        headers.insert(INFERENCE_ID_HEADER, header_value(id.as_str()));
    }
    if problem.code == Code::CaptureFull {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    let body_may_remain = matches!(problem.code, Code::BodyTooLarge | Code::RequestTimeout);
    if body_may_remain && version < Version::HTTP_2 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Takes some more of a body that is refused anyway: closing with bytes unread would reset the connection, and the
/// caller might never see why.
async fn discard(body: &mut Incoming, limit_bytes: usize) {
    let rest = async {
        let mut taken = 0;
        while taken <= limit_bytes
            && let Some(Ok(frame)) = body.frame().await
        {
            taken += frame.data_ref().map_or(0, Bytes::len);
        }
    };
    let _ = tokio::time::timeout(DISCARD_TIME, rest).await;
}

/// Ids and method names are visible ASCII, which every header may carry.
fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("?"))
}

fn stopped() -> Problem {
    Problem::new(Code::Internal, "the work on this request ended unexpectedly")
}
