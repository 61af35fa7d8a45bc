//! A question to a fleet: one replica is asked, and another one when that fails.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::StatusCode;
use hyper::body::Bytes;
use serin_core::hash::hash;
use thiserror::Error;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};

use super::balance;
use super::budget::Budget;
use super::connection::{NoReply, Reply};
use super::flights::{Flight, Waiting};
use super::health::{self, Trouble};
use super::member::{InFlight, Member};
use super::replicas::{Fleet, FleetPlan};
use super::wire::{Garbage, Judged};

/// Why rows were not judged.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unanswered {
    /// None can be asked.
    #[error("no replica of this version is ready; try again later")]
    NoReplica,
    #[error("too many requests wait for a replica; try again later")]
    TooManyWait,
    /// All have as much to do as they can.
    #[error("every replica has as much to do as it can answer in time; try again later")]
    Busy,
    /// Every attempt failed; the last one so.
    #[error("a replica did not answer: {0}")]
    Trouble(String, Trouble),
    /// It does not want these rows.
    #[error("the model refused the rows with status {status}: {reason}")]
    Refused { status: u16, reason: String },
}

/// A question that was answered.
#[derive(Debug)]
pub struct Answered {
    pub judged: Judged,
    /// Another replica failed before this one answered.
    pub had_trouble: bool,
}

/// Requests that wait for a first replica; further ones are turned away.
const WAITING: u32 = 512;
/// Requests that wait for room, for each that replicas are given at once: those take a quarter of the answer limit, so that who
/// waits gets room in time.
const LINE: f64 = 2.0;
/// Rows that are answered within the limit for one answer; for more there is more time.
const ROWS_IN_LIMIT: usize = 100;

/// One attempt that failed.
enum Failed {
    Trouble(NoReply),
    /// It answers others, and this too late.
    Late,
    Refused {
        status: u16,
        reason: String,
    },
}

/// A request that a member was given; when it is over there is room for another one.
struct Given<'a> {
    in_flight: Option<InFlight>,
    room: &'a Notify,
}

impl Drop for Given<'_> {
    fn drop(&mut self) {
        // First the room, then the word.
        drop(self.in_flight.take());
        self.room.notify_one();
    }
}

/// Who is asked.
enum Picked {
    One(Arc<Member>),
    AllBusy,
    Nobody,
}

impl Fleet {
    /// Has `rows` judged, `width` values each, by one replica; when that one fails, by another. `deadline` is the request's.
    ///
    /// # Errors
    /// When none could be asked, or those that were asked failed.
    pub async fn judge(&self, rows: &[f64], deadline: Instant) -> Result<Answered, Unanswered> {
        let now = self.clock.monotonic();
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.budget().deposit(now);
        let _flight = Flight::begin(&self.flights, &*self.clock, now);
        let n_rows = rows.len() / self.plan.width.max(1);
        let body = self.plan.dialect.ask(rows, self.plan.width);
        let first = self.first(deadline).await?;
        let half = deadline.saturating_duration_since(Instant::now()) / 2;
        let answer_limit =
            self.settings().answer_limit.mul_f64((n_rows as f64 / ROWS_IN_LIMIT as f64).max(1.0));
        let limit = answer_limit.min(half);
        let trouble = match self.attempt(&first, &body, n_rows, Instant::now() + limit).await {
            Ok(judged) => return Ok(Answered { judged, had_trouble: false }),
            Err(Failed::Refused { status, reason }) => return Err(Unanswered::Refused { status, reason }),
            // To ask another one would be more work for those that have too much.
            Err(Failed::Late) => return Err(Unanswered::Busy),
            Err(Failed::Trouble(trouble)) => trouble,
        };
        // Whoever was not there was not asked: to try again is safe, and will help once another is there.
        let told = |trouble: NoReply| match trouble.is_absent {
            true => Unanswered::NoReplica,
            false => Unanswered::Trouble(trouble.reason, trouble.trouble),
        };
        let second = match self.pick(Some(&first)) {
            Picked::One(second) => second,
            // Whoever was alone and is gone leaves nobody.
            Picked::Nobody if self.members().is_empty() => return Err(Unanswered::NoReplica),
            Picked::Nobody | Picked::AllBusy => return Err(told(trouble)),
        };
        if !self.budget().withdraw(self.clock.monotonic()) {
            return Err(told(trouble));
        }
        self.count(|counts| &counts.retries);
        let limit = (Instant::now() + answer_limit).min(deadline);
        match self.attempt(&second, &body, n_rows, limit).await {
            Ok(judged) => Ok(Answered { judged, had_trouble: true }),
            Err(Failed::Refused { status, reason }) => Err(Unanswered::Refused { status, reason }),
            Err(Failed::Late) => Err(Unanswered::Busy),
            // What the first one said tells more than that the second one is gone.
            Err(Failed::Trouble(second)) => Err(told(if second.is_absent { trouble } else { second })),
        }
    }

    fn budget(&self) -> MutexGuard<'_, Budget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first to ask. Where none was there yet, or all were let go for want of requests, one is waited for; where they are
    /// gone, nobody waits.
    async fn first(&self, deadline: Instant) -> Result<Arc<Member>, Unanswered> {
        if self.queued.load(Ordering::Relaxed) > 0 {
            return self.in_turn(deadline).await;
        }
        match self.pick(None) {
            Picked::One(member) => return Ok(member),
            Picked::AllBusy => return self.in_turn(deadline).await,
            Picked::Nobody => {}
        }
        if self.was_ready.load(Ordering::Relaxed) || self.ledger().failure().is_some() {
            return Err(Unanswered::NoReplica);
        }
        let _waiting = Waiting::begin(&self.waiting, WAITING).ok_or(Unanswered::TooManyWait)?;
        self.wanted.notify_one();
        loop {
            let came = self.came.notified();
            match self.pick(None) {
                Picked::One(member) => return Ok(member),
                Picked::AllBusy => return self.in_turn(deadline).await,
                Picked::Nobody => {}
            }
            if self.ledger().failure().is_some() || timeout_at(deadline, came).await.is_err() {
                return Err(Unanswered::NoReplica);
            }
        }
    }

    /// Whoever has room next. Nobody waits longer than for an answer, nor behind more than are answered in that time.
    async fn in_turn(&self, deadline: Instant) -> Result<Arc<Member>, Unanswered> {
        let at_once: f64 = self.members().iter().map(|member| member.state().limit.most()).sum();
        let _waiting = Waiting::begin(&self.queued, (at_once * LINE) as u32).ok_or(Unanswered::Busy)?;
        let until = deadline.min(Instant::now() + self.settings().answer_limit);
        loop {
            // Each one that is over makes room for one of those that wait, the first of them first.
            if timeout_at(until, self.room.notified()).await.is_err() {
                return Err(Unanswered::Busy);
            }
            match self.pick(None) {
                Picked::One(member) => return Ok(member),
                Picked::Nobody => return Err(Unanswered::NoReplica),
                Picked::AllBusy => {}
            }
        }
    }

    /// One to ask, other than `but`. Those that are left alone for a while are asked when there are no others.
    fn pick(&self, but: Option<&Arc<Member>>) -> Picked {
        let members = self.members();
        let now = self.clock.monotonic();
        let others = || members.iter().filter(|member| but.is_none_or(|but| !Arc::ptr_eq(but, member)));
        if let (Some(only), None) = (members.first(), members.get(1)) {
            return match but.is_some_and(|but| Arc::ptr_eq(but, only)) {
                true => Picked::Nobody,
                false if only.has_room() => Picked::One(only.clone()),
                false => Picked::AllBusy,
            };
        }
        let mut candidates: Vec<&Arc<Member>> = others().filter(|member| !member.is_ejected(now)).collect();
        if candidates.is_empty() {
            candidates = others().collect();
        }
        let is_anybody = !candidates.is_empty();
        candidates.retain(|member| member.has_room());
        let loads: Vec<_> = candidates.iter().map(|member| member.load(now)).collect();
        match balance::choose(&loads, [self.draw(), self.draw()]) {
            Some(position) => Picked::One(candidates[position].clone()),
            None if is_anybody => Picked::AllBusy,
            None => Picked::Nobody,
        }
    }

    /// A number in [0, 1).
    fn draw(&self) -> f64 {
        let count = self.draws.fetch_add(1, Ordering::Relaxed);
        (hash(count.to_le_bytes()) >> 11) as f64 / (1_u64 << 53) as f64
    }

    async fn attempt(
        &self,
        member: &Arc<Member>,
        body: &Bytes,
        n_rows: usize,
        limit: Instant,
    ) -> Result<Judged, Failed> {
        let began = self.clock.monotonic();
        let answered = member.answered.load(Ordering::Relaxed);
        let given = Given { in_flight: Some(member.begin()), room: &self.room };
        let patience = limit.saturating_duration_since(Instant::now());
        let said = timeout_at(limit, self.ask(member, body.clone(), n_rows, patience)).await;
        let beside = member.in_flight.load(Ordering::Relaxed);
        drop(given);
        let now = self.clock.monotonic();
        let took = now.saturating_sub(began);
        if said.is_err() && member.answered.load(Ordering::Relaxed) > answered {
            // Whoever answers others does not hang: it has too much to do.
            let mut state = member.state();
            state.limit.was_late(beside, now, self.settings().answer_limit);
            state.latency.observe(took, now);
            return Err(Failed::Late);
        }
        let said = said.unwrap_or_else(|_| {
            let reason = format!("there was no answer within {} ms", took.as_millis());
            Err(Failed::Trouble(NoReply { trouble: Trouble::Hang, is_absent: false, reason }))
        });
        match &said {
            Ok(_) | Err(Failed::Refused { .. }) => {
                member.answered.fetch_add(1, Ordering::Relaxed);
                let mut state = member.state();
                state.health.succeeded();
                let before = state.limit.most().floor();
                state.limit.answered(took, self.settings().answer_limit);
                if state.limit.most().floor() > before {
                    // It takes one more than before.
                    self.room.notify_one();
                }
                state.latency.observe(took, now);
            }
            Err(Failed::Trouble(trouble)) => self.note_trouble(member, trouble, took, now),
            Err(Failed::Late) => {}
        }
        said
    }

    async fn ask(
        &self,
        member: &Member,
        body: Bytes,
        n_rows: usize,
        patience: Duration,
    ) -> Result<Judged, Failed> {
        let FleetPlan { dialect, classes, .. } = &self.plan;
        let limit = dialect.answer_limit(n_rows, classes.len());
        let Reply { status, content_type, body } =
            member.connections.invoke(*dialect, body, limit, patience).await.map_err(Failed::Trouble)?;
        if status.is_success() {
            let garbage = |error: Garbage| {
                let reason = error.to_string();
                Failed::Trouble(NoReply { trouble: Trouble::Garbage, is_absent: false, reason })
            };
            return dialect.read(&content_type, &body, n_rows, classes).map_err(garbage);
        }
        let reason: String = String::from_utf8_lossy(&body).chars().take(512).collect();
        Err(match status {
            // It is busy, which another one may not be.
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => busy(status, &reason),
            status if status.is_client_error() => Failed::Refused { status: status.as_u16(), reason },
            status => busy(status, &reason),
        })
    }

    fn note_trouble(&self, member: &Arc<Member>, trouble: &NoReply, took: Duration, now: Duration) {
        self.count(|counts| &counts.troubles[trouble.trouble as usize]);
        let members = self.members();
        let ejected =
            members.iter().filter(|other| !Arc::ptr_eq(other, member) && other.is_ejected(now)).count();
        let may_eject = health::may_eject(members.len(), ejected);
        let mut state = member.state();
        if trouble.trouble == Trouble::Hang {
            state.latency.observe(took, now);
        }
        state.last_trouble = Some(trouble.reason.clone());
        if state.health.failed(trouble.trouble, now, may_eject) {
            drop(state);
            self.count(|counts| &counts.ejections);
            tracing::warn!(
                endpoint = self.plan.endpoint,
                model.version = self.plan.version,
                replica = member.replica.name(),
                reason = trouble.reason,
                "a replica is left alone for a while"
            );
        }
        if trouble.trouble == Trouble::Gone {
            // Whether it is gone for good is looked at now.
            self.wanted.notify_one();
        }
    }

    /// Asks a replica that nobody else asks yet whether it is healthy and answers what is known.
    ///
    /// # Errors
    /// When it is not, or does not.
    pub(super) async fn examine(&self, member: &Member) -> Result<(), String> {
        member.connections.ping().await.map_err(|no_reply| no_reply.reason)?;
        let golden = &self.plan.golden;
        if golden.is_empty() {
            return Ok(());
        }
        let rows: Vec<f64> = golden.iter().flat_map(|question| question.values.iter().copied()).collect();
        let limit = self.settings().answer_limit.max(Duration::from_secs(10));
        let asked = self.ask(member, self.plan.dialect.ask(&rows, self.plan.width), golden.len(), limit);
        let judged = match timeout(limit, asked).await {
            Ok(Ok(judged)) => judged,
            Ok(Err(Failed::Trouble(no_reply))) => return Err(no_reply.reason),
            Ok(Err(Failed::Refused { status, reason })) => {
                return Err(format!("its golden rows are refused with status {status}: {reason}"));
            }
            Ok(Err(Failed::Late)) | Err(_) => {
                return Err("its golden rows are not answered in time".to_owned());
            }
        };
        let classes = self.plan.classes.len();
        for (row, question) in golden.iter().enumerate() {
            let probabilities =
                judged.probabilities.get(row * classes..(row + 1) * classes).unwrap_or_default();
            let same = match (question.probabilities.is_empty(), probabilities.is_empty()) {
                (false, false) => {
                    let pairs = probabilities.iter().zip(&question.probabilities);
                    pairs
                        .into_iter()
                        .all(|(now, then)| (now - then).abs() <= serin_ml::model::GOLDEN_TOLERANCE)
                }
                _ => judged.chosen.get(row) == Some(&question.class),
            };
            if !same {
                return Err(format!("golden row {row} is answered differently than when it was registered"));
            }
        }
        Ok(())
    }
}

fn busy(status: StatusCode, reason: &str) -> Failed {
    let reason = format!("it answers {status}: {}", reason.lines().next().unwrap_or_default());
    Failed::Trouble(NoReply { trouble: Trouble::Garbage, is_absent: false, reason })
}
