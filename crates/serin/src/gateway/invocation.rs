//! The way of an inference request through what it has to wait for: a place, its body, a processor, the disk.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use hyper::body::{Bytes, Incoming};
use hyper::header::{EXPECT, HeaderMap};
use hyper::{Request, Response, Version};
use serin_core::ids::InferenceId;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::body;
use super::call::{Answer, Call, Kept, Scratch, not_captured};
use super::fleets::unanswered;
use super::headers;
use super::limits::Limits;
use super::media::Encoding;
use super::model::Predictions;
use super::open_inference::request::InferRequest;
use super::plan::Plan;
use super::problem::{Code, Problem};
use super::refusal::{self, Dialect};
use super::routes::{Parameters, Route};
use super::rows::Rows;
use super::sent::Sent;
use super::service::Gateway;
use crate::fleet::{Answered, FleetRef};

/// Tells the work on a request that nobody waits for it any more: at the latest when it is dropped.
#[derive(Default)]
struct Gone {
    why: Arc<OnceLock<Code>>,
}

impl Drop for Gone {
    fn drop(&mut self) {
        // Whoever was told another reason before keeps that.
        let _ = self.why.set(Code::ClientGone);
    }
}

impl Gateway {
    /// Answers an inference request.
    pub(super) async fn invoke(
        self: Arc<Self>,
        route: &Route,
        parameters: Parameters<'_>,
        request: Request<Incoming>,
        caller: u64,
    ) -> Response<Sent> {
        let in_hand = Counted::begin(&self.in_hand);
        if in_hand.before >= self.limits.in_hand {
            // Shed requests are counted, not recorded: recording is work, too.
            let detail = format!("{} requests are in hand; try again later", self.limits.in_hand);
            return self.shed(route.dialect, &Problem::new(Code::Overloaded, detail), request.version());
        }
        self.clone().invoke_in_place(route, parameters, request, caller).await
    }

    async fn invoke_in_place(
        self: Arc<Self>,
        route: &Route,
        parameters: Parameters<'_>,
        request: Request<Incoming>,
        caller: u64,
    ) -> Response<Sent> {
        let started = Instant::now();
        let version = request.version();
        let (id, invalid_id) = self.inference_id(request.headers());
        let gone = Gone::default();
        let mut call = Call {
            arrived: self.clock.now(),
            started: self.clock.monotonic(),
            gateway: self.clone(),
            id,
            dialect: route.dialect,
            version,
            target: None,
            is_replay: false,
            caller,
            begun: None,
            witness: None,
            trace_parent: headers::trace_parent(request.headers()),
            body: Bytes::new(),
            held: self.bodies.hold(),
            gone: gone.why.clone(),
            had_trouble: false,
            is_recorded: false,
            is_counted: false,
        };
        let waits_for_word = request.headers().contains_key(EXPECT);
        let (head, mut body) = request.into_parts();
        let begun = match invalid_id {
            Some(problem) => Err(problem),
            None => call.begin(route, parameters, &head, &mut body).await,
        };
        let plan = match begun {
            Ok(plan) => plan,
            Err(problem) => {
                let response = call.refuse(&problem);
                if !waits_for_word {
                    body::discard(&mut body, self.limits.body_bytes).await;
                }
                return response;
            }
        };
        if let Some(delay) = call.delay() {
            let left = (started + self.limits.request).saturating_duration_since(Instant::now());
            tokio::time::sleep(delay.min(left)).await;
            if delay >= left {
                return call.refuse(&Problem::new(Code::Overloaded, "the answer was not there in time"));
            }
        }
        let is_small = plan.encoding == Encoding::Identity
            && call.body.len() <= self.limits.inline_body_bytes
            && !plan.explains()
            // What has to be read first takes long.
            && call.is_in_memory();
        if let Some(fleet) = call.fleet() {
            return self.ask_replicas(call, plan, &fleet, is_small, started).await;
        }
        let call = if is_small {
            match call.finish_inline(plan) {
                Ok(answer) => return self.once_durable(answer, started).await,
                Err(call) => *call,
            }
        } else {
            call
        };
        // The rest may take long: elsewhere, and not more at once than there are processors.
        let processor = match self.processor().await {
            Ok(processor) => processor,
            Err(problem) => return call.refuse(&problem),
        };
        let id = call.id.clone();
        let work = tokio::task::spawn_blocking(move || {
            let answer = call.finish(plan, &mut Scratch::default());
            // Given back when the work has ended, and not when the caller stops waiting for it.
            drop(processor);
            answer
        });
        let refuse =
            |problem: &Problem| refusal::response(route.dialect, problem, Some(id.as_str()), version);
        match tokio::time::timeout_at(started + self.limits.request, work).await {
            Ok(Ok(answer)) => self.once_durable(answer, started).await,
            Ok(Err(_)) => {
                refuse(&Problem::new(Code::Internal, "the work on this request ended unexpectedly"))
            }
            Err(_) => {
                // The work finds out at its next step, and counts itself as what its caller was told.
                let _ = gone.why.set(Code::Overloaded);
                refuse(&Problem::new(Code::Overloaded, "the answer was not there in time"))
            }
        }
    }

    /// Answers by replicas: rows are checked here, judged there, and written here.
    async fn ask_replicas(
        &self,
        call: Call,
        plan: Plan,
        fleet: &FleetRef,
        is_small: bool,
        started: Instant,
    ) -> Response<Sent> {
        let (call, question) = match is_small.then(|| Question::read(&call, plan, &self.inline_limits)) {
            Some(Err(problem)) if problem.code == Code::TooManyRows => self.read_elsewhere(call, plan).await,
            Some(question) => (call, question),
            None => self.read_elsewhere(call, plan).await,
        };
        let mut question = match question {
            Ok(question) => question,
            Err(problem) => return call.refuse(&problem),
        };
        let mut call = call;
        let judged = match call.begin_judging(plan, &mut question.rows) {
            Ok(()) => fleet
                .judge(question.rows.values(), started + self.limits.request)
                .await
                .map_err(|why| unanswered(&why)),
            Err(problem) => Err(problem),
        };
        let mut predictions = Predictions::default();
        let judged = judged.map(|Answered { judged, had_trouble }| {
            call.had_trouble = had_trouble;
            predictions = judged.into();
        });
        let Question { rows, tensors } = question;
        let conclude = move || call.conclude(plan, tensors.as_ref(), &rows, &mut predictions, judged);
        let answer = match is_small {
            true => Some(conclude()),
            // To write many answers takes long, and explanations longer.
            false => tokio::task::spawn_blocking(conclude).await.ok(),
        };
        match answer {
            Some(answer) => self.once_durable(answer, started).await,
            None => {
                let problem = Problem::new(Code::Internal, "the work on this request ended unexpectedly");
                refusal::response(Dialect::Plain, &problem, None, Version::HTTP_11)
            }
        }
    }

    /// Reads a question that takes long to read.
    async fn read_elsewhere(&self, call: Call, plan: Plan) -> (Call, Result<Question, Problem>) {
        let processor = match self.processor().await {
            Ok(processor) => processor,
            Err(problem) => return (call, Err(problem)),
        };
        let limits = self.limits;
        let work = move || {
            let question = Question::read(&call, plan, &limits);
            drop(processor);
            (call, question)
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(read) => read,
            // It panicked, and so does whoever waits for it: the call is gone with it, and was counted.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// The answer, once what is kept of it is as durable as was promised.
    async fn once_durable(&self, answer: Answer, started: Instant) -> Response<Sent> {
        let Answer { response, kept } = answer;
        let Some(Kept { receipt, call, rows }) = kept else { return response };
        let problem = if receipt.is_durable() {
            None
        } else {
            match tokio::time::timeout_at(started + self.limits.request, receipt.durable()).await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(not_captured(&error)),
                Err(_) => Some(Problem::new(
                    Code::CaptureFull,
                    "the disk did not say in time that it keeps the answer",
                )),
            }
        };
        match problem {
            None => {
                call.count_answer(rows);
                response
            }
            Some(problem) => call.refuse(&problem),
        }
    }

    /// A processor for a batch, soon or not at all.
    async fn processor(&self) -> Result<OwnedSemaphorePermit, Problem> {
        if let Ok(processor) = self.processors.clone().try_acquire_owned() {
            return Ok(processor);
        }
        let waiting = Counted::begin(&self.waiting_batches);
        if waiting.before >= self.limits.waiting_batches {
            return Err(Problem::new(Code::Overloaded, "too many batches are waiting; try again later"));
        }
        match tokio::time::timeout(self.limits.batch_wait, self.processors.clone().acquire_owned()).await {
            Ok(Ok(processor)) => Ok(processor),
            _ => Err(Problem::new(Code::Overloaded, "no processor became free in time; try again later")),
        }
    }

    fn shed(&self, dialect: Dialect, problem: &Problem, version: Version) -> Response<Sent> {
        self.metrics.refused_inference(&self.nowhere, problem.code);
        refusal::response(dialect, problem, None, version)
    }

    /// The caller's id, or one made here (also when the caller's is refused).
    fn inference_id(&self, headers: &HeaderMap) -> (InferenceId, Option<Problem>) {
        let Some(value) = headers.get(headers::INFERENCE_ID) else {
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

/// The rows of a request, and what is to be answered when they came as tensors.
struct Question {
    rows: Rows,
    tensors: Option<InferRequest>,
}

impl Question {
    fn read(call: &Call, plan: Plan, limits: &Limits) -> Result<Self, Problem> {
        let mut rows = Rows::default();
        let tensors = call.parse(plan, limits, &mut rows)?;
        Ok(Self { rows, tensors })
    }
}

/// One of several, counted while it is there.
struct Counted<'a> {
    count: &'a AtomicUsize,
    /// How many there were before it.
    before: usize,
}

impl<'a> Counted<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        Self { count, before: count.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}
