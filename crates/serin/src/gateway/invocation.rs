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
use super::headers;
use super::media::Encoding;
use super::problem::{Code, Problem};
use super::refusal::{self, Dialect};
use super::routes::{Parameters, Route};
use super::sent::Sent;
use super::service::Gateway;

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
            && !plan.explains();
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
