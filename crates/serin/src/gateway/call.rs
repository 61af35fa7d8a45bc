//! One inference request from its head to its answer: what does not wait for anybody.

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, VARY};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode, Version};
use serin_core::capture::{AppendError, Outcome, REPLAY_CALLER, Receipt, Record};
use serin_core::clock::Timestamp;
use serin_core::ids::InferenceId;
use serin_core::routes::Faults;

use super::body;
use super::drill;
use super::endpoint::{Endpoint, Variant};
use super::evidence::{Begun, Counters, Witness};
use super::headers::{self, ascii};
use super::limits::Limits;
use super::media::{self, Input, text_of};
use super::model::{Predictions, ServedModel};
use super::open_inference::{self, request::InferRequest};
use super::plan::{Plan, Task};
use super::problem::{Code, Problem};
use super::refusal::{self, Dialect};
use super::routes::{Parameters, Route};
use super::rows::{RowBuilder, Rows};
use super::sent::Sent;
use super::service::{Gateway, variant_of_version};
use super::{answer, csv_rows, json_rows};
use crate::fleet::FleetRef;

/// A thread that once held more values gives the memory back after the request.
const SCRATCH_KEPT_VALUES: usize = 1 << 17;
/// Shorter answers are not packed: it would not pay.
const PACKED_FROM_BYTES: usize = 1_024;
/// The status of a request whose caller left; nobody is there to read it.
const CLIENT_GONE: u16 = 499;

/// One request that is to be answered by a model, from its head to its end. It is recorded once, and counted once: when
/// it is answered, when it is refused, or when it is dropped because the caller left.
pub(super) struct Call {
    pub(super) gateway: Arc<Gateway>,
    pub(super) id: InferenceId,
    pub(super) arrived: Timestamp,
    pub(super) started: Duration,
    pub(super) dialect: Dialect,
    pub(super) version: Version,
    /// Who answers, once chosen.
    pub(super) target: Option<(Arc<Endpoint>, usize)>,
    /// Whether a rollout asks a captured row again.
    pub(super) is_replay: bool,
    /// Tells its other end from others.
    pub(super) caller: u64,
    /// Which request of its version it is, and what its answer says about that.
    pub(super) begun: Option<Begun>,
    pub(super) witness: Option<Witness>,
    pub(super) trace_parent: Option<HeaderValue>,
    /// The body, as sent, once read.
    pub(super) body: Bytes,
    /// The memory that the body has, then the answer.
    pub(super) held: body::Held,
    /// Why nobody waits for the answer any more, once that is so.
    pub(super) gone: Arc<OnceLock<Code>>,
    /// A replica failed before another one answered.
    pub(super) had_trouble: bool,
    pub(super) is_recorded: bool,
    pub(super) is_counted: bool,
}

/// What leaves.
pub(super) struct Answer {
    pub(super) response: Response<Sent>,
    /// Of an answer that has classes; it may leave once what is kept of it is durable.
    pub(super) kept: Option<Kept>,
}

/// What was recorded of an answer.
pub(super) struct Kept {
    pub(super) receipt: Receipt,
    pub(super) call: Call,
    pub(super) rows: u64,
}

/// What a thread keeps from request to request.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    rows: Rows,
    predictions: Predictions,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Call {
    /// Chooses who answers and reads the body.
    pub(super) async fn begin(
        &mut self,
        route: &Route,
        parameters: Parameters<'_>,
        head: &Parts,
        body: &mut Incoming,
    ) -> Result<Plan, Problem> {
        let headers = &head.headers;
        let endpoint = self.gateway.endpoint(parameters.name)?;
        let variant = match parameters.version {
            Some(version) => variant_of_version(&endpoint, Some(version))?,
            None => endpoint.choose(headers, self.id.as_str())?,
        };
        let is_evidence = parameters.version.is_none() && endpoint.is_evidence(headers);
        self.is_replay = endpoint.is_replay(headers);
        self.target = Some((endpoint, variant));
        let plan = Plan::of(route.action, head)?;
        self.body = body::read(body, &self.gateway.limits, &mut self.held).await?;
        if is_evidence {
            // From here on it is the server's time.
            let at = self.gateway.clock.monotonic();
            self.begun = self.counters().map(|counters| counters.begin(at));
        }
        self.gateway.metrics.received_bytes.inc_by(self.body.len() as u64);
        Ok(plan)
    }

    /// Answers on this thread when the request turns out to be small; gives the call back otherwise.
    pub(super) fn finish_inline(self, plan: Plan) -> Result<Answer, Box<Self>> {
        let limits = self.gateway.inline_limits;
        SCRATCH.with_borrow_mut(|scratch| {
            let answer = match self.parse(plan, &limits, &mut scratch.rows) {
                Err(problem) if problem.code == Code::TooManyRows => Err(Box::new(self)),
                Err(problem) => Ok(self.refuse(&problem).into()),
                Ok(tensors) => Ok(self.judge(plan, tensors.as_ref(), scratch)),
            };
            if scratch.rows.capacity() > SCRATCH_KEPT_VALUES {
                *scratch = Scratch::default();
            }
            answer
        })
    }

    pub(super) fn finish(self, plan: Plan, scratch: &mut Scratch) -> Answer {
        let limits = self.gateway.limits;
        match self.parse(plan, &limits, &mut scratch.rows) {
            Ok(tensors) => self.judge(plan, tensors.as_ref(), scratch),
            Err(problem) => self.refuse(&problem).into(),
        }
    }

    /// What a drill makes its variant do wrong.
    fn faults(&self) -> Option<&Faults> {
        self.variant().and_then(|variant| variant.faults(self.arrived))
    }

    /// Whether its model is in memory, if it is asked here.
    pub(super) fn is_in_memory(&self) -> bool {
        self.model().is_ok_and(|model| model.parking().is_none_or(|parked| parked.is_there()))
    }

    /// The replicas that answer for its variant, when there are any.
    pub(super) fn fleet(&self) -> Option<FleetRef> {
        self.variant().and_then(Variant::fleet).cloned()
    }

    /// Fills `rows`; of tensors also gives what is to be answered.
    pub(super) fn parse(
        &self,
        plan: Plan,
        limits: &Limits,
        rows: &mut Rows,
    ) -> Result<Option<InferRequest>, Problem> {
        let body = plan.encoding.unpack(&self.body, limits.body_bytes)?;
        let mut builder = RowBuilder::new(self.model()?.guard(), limits, rows);
        let tensors = match plan.task {
            Task::Rows { input, .. } => {
                let text = text_of(&body)?;
                match input {
                    Input::Csv(header) => csv_rows::read(text, header, &mut builder)?,
                    Input::Json => json_rows::read(text, &mut builder)?,
                    Input::JsonLines => json_rows::read_lines(text, &mut builder)?,
                }
                None
            }
            Task::Tensors { header_bytes } => {
                if body.is_empty() {
                    return Err(Problem::new(Code::EmptyBody, "the body is empty; send tensors"));
                }
                let n_features = builder.guard().names().len();
                let request = open_inference::request::read(&body, header_bytes, n_features, limits)?;
                request.rows(&mut builder)?;
                Some(request)
            }
        };
        builder.finish()?;
        Ok(tensors)
    }

    /// Predicts, encodes and records. The answer may leave once its receipt is good.
    fn judge(self, plan: Plan, tensors: Option<&InferRequest>, scratch: &mut Scratch) -> Answer {
        let Scratch { rows, predictions } = scratch;
        let judged = self.begin_judging(plan, rows).and_then(|()| {
            self.model()?.classify(rows, predictions);
            Ok(())
        });
        self.conclude(plan, tensors, rows, predictions, judged)
    }

    /// Whether rows are to be judged, and what a drill does to them before.
    pub(super) fn begin_judging(&self, plan: Plan, rows: &mut Rows) -> Result<(), Problem> {
        self.check_worth(plan, rows)?;
        if let Some(faults) = self.faults() {
            drill::fail(faults, self.id.as_str(), self.counters().map_or(0, Counters::answers))?;
            drill::drift(faults, self.model()?, rows);
        }
        Ok(())
    }

    /// Encodes and records what was judged. The answer may leave once its receipt is good.
    pub(super) fn conclude(
        mut self,
        plan: Plan,
        tensors: Option<&InferRequest>,
        rows: &Rows,
        predictions: &mut Predictions,
        judged: Result<(), Problem>,
    ) -> Answer {
        let judged = judged.and_then(|()| {
            let model = self.model()?;
            if let Some(faults) = self.faults() {
                drill::spoil(faults, predictions, model.classes().len());
            }
            model.check(predictions)?;
            let encoded = self.encode(plan.task, tensors, model, rows, predictions)?;
            self.check_waiting()?;
            Ok(encoded)
        });
        let judged = judged.and_then(|encoded| {
            self.held.grow_to(encoded.1.len())?;
            Ok(encoded)
        });
        let (content_type, bytes, header_bytes) = match judged {
            Ok(encoded) => encoded,
            Err(problem) => return self.refuse(&problem).into(),
        };
        let receipt = match self.record_answer(rows, predictions) {
            Ok(receipt) => receipt,
            Err(problem) => return self.refuse(&problem).into(),
        };
        self.testify(rows, predictions);
        let mut response = Response::default();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Some(header_bytes) = header_bytes {
            headers.insert(headers::INFERENCE_HEADER_LENGTH, header_bytes.into());
        }
        let bytes = if plan.packs_answer && bytes.len() >= PACKED_FROM_BYTES {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
            media::pack(&bytes)
        } else {
            bytes
        };
        if let Some(variant) = self.variant() {
            headers.extend(variant.headers());
        }
        let id = ascii(self.id.as_str());
        if self.dialect == Dialect::SageMaker {
            headers.insert(headers::REQUEST_ID, id.clone());
        }
        headers.insert(headers::INFERENCE_ID, id);
        if let Some(trace_parent) = self.trace_parent.take() {
            headers.insert(headers::TRACE_PARENT, trace_parent);
        }
        self.gateway.metrics.sent_bytes.inc_by(bytes.len() as u64);
        let held = std::mem::replace(&mut self.held, self.gateway.bodies.hold());
        *response.body_mut() = Sent::holding(bytes, held);
        self.body = Bytes::new();
        Answer { response, kept: Some(Kept { receipt, call: self, rows: rows.n_rows() as u64 }) }
    }

    /// Content type, bytes, and how many of them are the JSON in front of tensors.
    fn encode(
        &self,
        task: Task,
        tensors: Option<&InferRequest>,
        model: &ServedModel,
        rows: &Rows,
        predictions: &Predictions,
    ) -> Result<(&'static str, Vec<u8>, Option<usize>), Problem> {
        let id = self.id.as_str();
        Ok(match (task, tensors) {
            (Task::Rows { form, explain, .. }, _) => {
                let reasons = match explain {
                    Some(most) => Some(model.explain(rows, &predictions.chosen, most)?),
                    None => None,
                };
                let bytes = answer::encode(form, model, id, predictions, reasons.as_deref());
                (form.content_type(), bytes, None)
            }
            (Task::Tensors { .. }, Some(request)) => {
                let endpoint = self.target.as_ref().map_or("", |(endpoint, _)| endpoint.name());
                let answer = open_inference::answer::encode(request, endpoint, model, id, predictions);
                let binary = answer.header_bytes.is_some();
                let content_type = if binary { "application/octet-stream" } else { "application/json" };
                (content_type, answer.bytes, answer.header_bytes)
            }
            (Task::Tensors { .. }, None) => {
                return Err(Problem::new(Code::Internal, "the tensors were not read"));
            }
        })
    }

    /// Whether it is worth to begin: somebody waits, and what is asked for is not too much.
    fn check_worth(&self, plan: Plan, rows: &Rows) -> Result<(), Problem> {
        self.check_waiting()?;
        let most_rows = self.gateway.limits.explained_rows;
        if plan.explains() && rows.n_rows() > most_rows {
            let detail =
                format!("at most {most_rows} rows of a request are explained; send the rest in another");
            return Err(Problem::new(Code::TooManyRows, detail));
        }
        Ok(())
    }

    /// Whether somebody still waits. What nobody is told is not recorded as an answer.
    fn check_waiting(&self) -> Result<(), Problem> {
        match self.gone.get() {
            None => Ok(()),
            Some(why) => Err(Problem::new(*why, "nobody waited for the answer any more")),
        }
    }

    /// The answer leaves.
    pub(super) fn count_answer(mut self, rows: u64) {
        self.is_counted = true;
        let latency = self.latency();
        self.gateway.metrics.answered(self.variant().and_then(Variant::metrics), rows, latency);
        if let (Some(counters), Some(begun)) = (self.counters(), self.begun) {
            let now = self.gateway.clock.monotonic();
            match self.had_trouble {
                // Its caller saw nothing of it; its version is no better for that.
                true => counters.refused(begun, Code::ReplicaFailed, now, self.caller),
                false => counters.answered(begun, self.witness, now, self.caller),
            }
        }
    }

    fn count_refusal(&mut self, code: Code) {
        self.is_counted = true;
        let metrics = self.variant().and_then(Variant::metrics).unwrap_or(&self.gateway.nowhere);
        self.gateway.metrics.refused_inference(metrics, code);
        if let (Some(counters), Some(begun)) = (self.counters(), self.begun) {
            counters.refused(begun, code, self.gateway.clock.monotonic(), self.caller);
        }
    }

    /// Keeps what the answer says about its version, and has the row answered beside when another version is tried.
    fn testify(&mut self, rows: &Rows, predictions: &Predictions) {
        if self.begun.is_none() {
            return;
        }
        let Some((endpoint, variant)) = &self.target else { return };
        let Some(model) = endpoint.variants().get(*variant).map(|variant| &variant.model) else { return };
        self.witness = Witness::of(predictions, model.classes().len());
        let Some(chosen) = predictions.chosen.first() else { return };
        let first = rows.row(0, model.guard().names().len());
        let beside = endpoint.mirrored(*variant, first, *chosen);
        if let Some(row) = beside {
            self.gateway.mirror.offer(row);
        }
    }

    /// How much later a drill wants the answer.
    pub(super) fn delay(&self) -> Option<Duration> {
        let delay = drill::delay(self.faults()?);
        (!delay.is_zero()).then_some(delay)
    }

    fn counters(&self) -> Option<&Counters> {
        self.variant().and_then(Variant::counters).map(Arc::as_ref)
    }

    fn record_answer(&mut self, rows: &Rows, predictions: &Predictions) -> Result<Receipt, Problem> {
        let classes = self.model()?.classes();
        let outcome = Outcome::Answered {
            predicted: predictions.chosen.iter().map(|class| classes[*class].name.as_str()).collect(),
            probabilities: Cow::Borrowed(&predictions.probabilities),
            features: Cow::Borrowed(rows.values()),
        };
        let record = self.record(StatusCode::OK, outcome);
        let receipt = self.gateway.capture.append(&record).map_err(|error| not_captured(&error))?;
        self.is_recorded = true;
        Ok(receipt)
    }

    /// Records the refusal, unless an answer was recorded that must not leave, and words it.
    pub(super) fn refuse(mut self, problem: &Problem) -> Response<Sent> {
        self.record_refusal(problem);
        let mut response = refusal::response(self.dialect, problem, Some(self.id.as_str()), self.version);
        if let Some(variant) = self.variant() {
            response.headers_mut().insert(headers::INVOKED_VARIANT, ascii(&variant.name));
        }
        if let Some(trace_parent) = self.trace_parent.take() {
            response.headers_mut().insert(headers::TRACE_PARENT, trace_parent);
        }
        response
    }

    fn record_refusal(&mut self, problem: &Problem) {
        let was_recorded = std::mem::replace(&mut self.is_recorded, true);
        self.count_refusal(problem.code);
        if was_recorded || problem.code == Code::Overloaded {
            return;
        }
        let (error_code, detail) = (problem.code.as_str(), problem.detail.as_str());
        let outcome = Outcome::Refused { error_code, detail, body: &self.body };
        let record = self.record(problem.code.status(), outcome);
        // The refusal stands, whether it is kept or not.
        if let Err(error) = self.gateway.capture.append(&record) {
            self.gateway.metrics.refusals_not_captured.inc();
            tracing::debug!(error = &error as &dyn std::error::Error, "refusal not captured");
        }
    }

    fn record<'a>(&'a self, status: StatusCode, outcome: Outcome<'a>) -> Record<'a> {
        let (variant, latency) = (self.variant(), self.latency());
        Record {
            id: self.id.as_str(),
            time: self.arrived,
            endpoint: self.target.as_ref().map_or("", |(endpoint, _)| endpoint.name()),
            variant: variant.map_or("", |variant| &variant.name),
            model_version: variant.map_or("", |variant| variant.model.version()),
            run: variant.and_then(|variant| variant.model.run()),
            rollout_step: self.target.as_ref().and_then(|(endpoint, _)| endpoint.rollout_step()),
            caller: self.is_replay.then_some(REPLAY_CALLER),
            latency_microseconds: u64::try_from(latency.as_micros()).unwrap_or(u64::MAX),
            status: status.as_u16(),
            client_gone: status.as_u16() == CLIENT_GONE,
            outcome,
        }
    }

    fn latency(&self) -> Duration {
        self.gateway.clock.monotonic().saturating_sub(self.started)
    }

    fn variant(&self) -> Option<&Variant> {
        self.target.as_ref().and_then(|(endpoint, variant)| endpoint.variants().get(*variant))
    }

    fn model(&self) -> Result<&ServedModel, Problem> {
        let variant =
            self.variant().ok_or_else(|| Problem::new(Code::Internal, "nobody was chosen to answer"))?;
        Ok(&variant.model)
    }
}

impl Drop for Call {
    /// The connection ended before the answer, or the work on it panicked.
    fn drop(&mut self) {
        if self.is_recorded {
            // It was recorded, and nobody was there to take it.
            if !self.is_counted {
                self.count_refusal(self.gone.get().copied().unwrap_or(Code::ClientGone));
            }
            return;
        }
        let problem = if std::thread::panicking() {
            Problem::new(Code::Internal, "the work on this request ended unexpectedly")
        } else {
            Problem::new(Code::ClientGone, "the connection ended before the answer")
        };
        self.record_refusal(&problem);
    }
}

pub(super) fn not_captured(error: &AppendError) -> Problem {
    tracing::debug!(error = error as &dyn std::error::Error, "answer not captured");
    if matches!(error, AppendError::TooLong) {
        let detail = "the answers are more than the journal takes at once; send fewer rows at a time";
        return Problem::new(Code::BodyTooLarge, detail);
    }
    Problem::new(Code::CaptureFull, "the journal of answers cannot take more; try again later")
}

impl From<Response<Sent>> for Answer {
    /// A refusal waits for nothing.
    fn from(response: Response<Sent>) -> Self {
        Self { response, kept: None }
    }
}
