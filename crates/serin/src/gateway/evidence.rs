//! What rollouts are judged by: counters of every version of every endpoint, from zero, monotone while the process lives.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::StatusCode;
use serin_core::rollout_driver::{Counted, EvidencePage};
use serin_ml::sequential::{
    CONFIDENCE_BINS, CallerTally, LATENCY_BUCKETS, Mirrored, Tally, bucket_of_latency, confidence_bin,
};

use super::model::{Predictions, ServedModel};
use super::problem::Code;

/// An answer later than this is late: callers have given up.
pub const LATE: Duration = Duration::from_secs(2);
/// The first answers of a version warm its memory; their latency says nothing.
const WARM_UP: u64 = 20;
/// Callers that are told apart; the others are one crowd.
const CALLERS: usize = 64;
/// Versions whose counters are kept after they left.
const VERSIONS: usize = 64;
/// How finely it is known since when a request is in hand, and for how long: longer than any is.
const SLOT: Duration = Duration::from_millis(500);
const SLOTS: usize = 128;

/// Counters of one version at one endpoint.
#[derive(Debug)]
pub struct Counters {
    begun: AtomicU64,
    answered: AtomicU64,
    late: AtomicU64,
    failed: AtomicU64,
    invalid: AtomicU64,
    misfits: AtomicU64,
    excused: AtomicU64,
    latency: [AtomicU64; LATENCY_BUCKETS],
    confidence: [AtomicU64; CONFIDENCE_BINS],
    class_names: Vec<String>,
    classes: Vec<AtomicU64>,
    callers: Mutex<HashMap<u64, CallerTally>>,
    /// Requests in hand, by when they began: one entry a slot, round and round.
    in_hand: [AtomicI64; SLOTS],
    disagreed: AtomicU64,
    dropped: AtomicU64,
}

/// What an answer says about its version: one row of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Witness {
    class: usize,
    confidence: f64,
}

/// A request in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    /// Which one of the version it is, from 1.
    ordinal: u64,
    at: Duration,
}

/// All counters of a process.
#[derive(Debug)]
pub struct Evidence {
    /// Tells this process from the one before.
    process: String,
    versions: Mutex<BTreeMap<Key, Arc<Counters>>>,
    mirrored: Mutex<BTreeMap<Key, Arc<Counters>>>,
}

/// Endpoint, and what the version is called.
type Key = (String, String);

impl Witness {
    /// The first of the rows: a batch of a thousand is one witness.
    #[must_use]
    pub fn of(predictions: &Predictions, n_classes: usize) -> Option<Self> {
        let class = *predictions.chosen.first()?;
        let confidence = *predictions.probabilities.get(..n_classes)?.get(class)?;
        Some(Self { class, confidence })
    }
}

impl Counters {
    fn of(model: &ServedModel) -> Self {
        let class_names = model.class_names().to_vec();
        Self {
            begun: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            late: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            invalid: AtomicU64::new(0),
            misfits: AtomicU64::new(0),
            excused: AtomicU64::new(0),
            latency: std::array::from_fn(|_| AtomicU64::new(0)),
            confidence: std::array::from_fn(|_| AtomicU64::new(0)),
            classes: class_names.iter().map(|_| AtomicU64::new(0)).collect(),
            class_names,
            callers: Mutex::default(),
            in_hand: std::array::from_fn(|_| AtomicI64::new(0)),
            disagreed: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    /// A request is given to the version, at a moment of a monotonic clock.
    pub fn begin(&self, at: Duration) -> Begun {
        self.in_hand[slot(at)].fetch_add(1, Ordering::Relaxed);
        Begun { ordinal: add(&self.begun) + 1, at }
    }

    /// Requests begun so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Requests answered so far.
    #[must_use]
    pub fn answers(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// The request was answered.
    pub fn answered(&self, begun: Begun, witness: Option<Witness>, now: Duration, caller: u64) {
        let latency = self.end(begun, now);
        add(&self.answered);
        let is_late = latency > LATE;
        if is_late {
            add(&self.late);
        }
        self.timed(begun.ordinal, latency);
        if let Some(Witness { class, confidence }) = witness {
            if let Some(count) = self.classes.get(class) {
                add(count);
            }
            add(&self.confidence[confidence_bin(confidence)]);
        }
        self.asked_by(caller, is_late);
    }

    /// The request was refused, or nobody waited for it any more.
    pub fn refused(&self, begun: Begun, code: Code, now: Duration, caller: u64) {
        let latency = self.end(begun, now);
        let is_failure = match code {
            // Too much to do, or a disk that is full, is no version's fault; an answer that does not come is.
            Code::Overloaded | Code::ClientGone => latency > LATE,
            Code::CaptureFull => false,
            // The rows fit what the version was registered with.
            Code::ModelRefused => true,
            code => code.status().is_server_error(),
        };
        if is_failure {
            add(&self.failed);
            if code == Code::ModelOutputInvalid {
                add(&self.invalid);
            }
            self.asked_by(caller, true);
        } else if code.status() == StatusCode::UNPROCESSABLE_ENTITY {
            add(&self.misfits);
        } else {
            add(&self.excused);
            if code == Code::ClientGone {
                // It waited at least so long.
                self.timed(begun.ordinal, latency);
            }
        }
    }

    /// It is no longer in hand; how long it was.
    fn end(&self, begun: Begun, now: Duration) -> Duration {
        self.in_hand[slot(begun.at)].fetch_sub(1, Ordering::Relaxed);
        now.saturating_sub(begun.at)
    }

    /// A row was answered beside another version, which chose `other` (in this version's order, if it has the class).
    pub fn mirrored(
        &self,
        answer: Result<Witness, Code>,
        other: Option<usize>,
        began: Duration,
        ended: Duration,
    ) {
        let begun = self.begin(began);
        match answer {
            Ok(witness) => {
                if other != Some(witness.class) {
                    add(&self.disagreed);
                }
                self.answered(begun, Some(witness), ended, 0);
            }
            Err(code) => self.refused(begun, code, ended, 0),
        }
    }

    /// A row was not, because there was too much to do.
    pub fn dropped(&self) {
        add(&self.dropped);
    }

    fn timed(&self, ordinal: u64, latency: Duration) {
        if ordinal > WARM_UP {
            let microseconds = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
            add(&self.latency[bucket_of_latency(microseconds)]);
        }
    }

    fn asked_by(&self, caller: u64, has_failed: bool) {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if callers.len() >= CALLERS && !callers.contains_key(&caller) {
            return;
        }
        let known = callers.entry(caller).or_default();
        known.requests += 1;
        known.failures += u64::from(has_failed);
    }

    /// All of it at the moment `now` of a monotonic clock.
    fn tally(&self, now: Duration) -> Tally {
        let all = |counts: &[AtomicU64]| {
            counts.iter().map(|count| count.load(Ordering::Relaxed)).collect::<Vec<_>>()
        };
        let one = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (begun, answered, failed) = (one(&self.begun), one(&self.answered), one(&self.failed));
        let (misfits, excused) = (one(&self.misfits), one(&self.excused));
        // Those that began within the last two seconds, and the present slot, are not late yet.
        let fresh: Vec<usize> = (0..=LATE.as_millis() / SLOT.as_millis())
            .map(|ago| slot(now.saturating_sub(SLOT * u32::try_from(ago).unwrap_or(0))))
            .collect();
        let old = self.in_hand.iter().enumerate().filter(|(slot, _)| !fresh.contains(slot));
        let hanging: i64 = old.map(|(_, count)| count.load(Ordering::Relaxed).max(0)).sum();
        let hanging = u64::try_from(hanging).unwrap_or(0);
        let classes = self.class_names.iter().cloned().zip(all(&self.classes));
        let callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        let callers = callers.iter().map(|(caller, tally)| (*caller, *tally)).collect();
        Tally {
            begun,
            answered,
            late: one(&self.late),
            failed,
            invalid: one(&self.invalid),
            misfits,
            excused,
            hanging,
            latency: all(&self.latency),
            classes: classes.filter(|(_, count)| *count > 0).collect(),
            confidence: all(&self.confidence),
            callers,
        }
    }
}

impl Evidence {
    /// Nothing counted yet. `process` tells this process from others.
    #[must_use]
    pub fn new(process: String) -> Self {
        Self { process, versions: Mutex::default(), mirrored: Mutex::default() }
    }

    /// What tells this process from others.
    #[must_use]
    pub fn process(&self) -> &str {
        &self.process
    }

    /// The counters of a model at an endpoint: those it has, or new ones.
    #[must_use]
    pub fn of(&self, endpoint: &str, model: &ServedModel) -> Arc<Counters> {
        of(&self.versions, endpoint, model)
    }

    /// Those of what it answers beside others.
    #[must_use]
    pub fn of_mirror(&self, endpoint: &str, model: &ServedModel) -> Arc<Counters> {
        of(&self.mirrored, endpoint, model)
    }

    /// Everything that was counted.
    #[must_use]
    pub fn page(
        &self,
        now: Duration,
        epoch: Option<u64>,
        refused: Option<(Option<u64>, String)>,
    ) -> EvidencePage {
        let mut endpoints: BTreeMap<String, Counted> = BTreeMap::new();
        for ((endpoint, version), counters) in lock(&self.versions).iter() {
            let counted = endpoints.entry(endpoint.clone()).or_default();
            counted.versions.insert(version.clone(), counters.tally(now));
        }
        for ((endpoint, version), counters) in lock(&self.mirrored).iter() {
            let counted = endpoints.entry(endpoint.clone()).or_default();
            // A row that waits to be mirrored hangs nobody.
            let tally = Tally { hanging: 0, ..counters.tally(now) };
            let disagreed = counters.disagreed.load(Ordering::Relaxed);
            let dropped = counters.dropped.load(Ordering::Relaxed);
            counted.mirrored.insert(version.clone(), Mirrored { tally, disagreed, dropped });
        }
        let refused = refused.map(|(epoch, reason)| serin_core::rollout::Refused { epoch, reason });
        EvidencePage { process: self.process.clone(), epoch, refused, endpoints }
    }
}

fn of(counters: &Mutex<BTreeMap<Key, Arc<Counters>>>, endpoint: &str, model: &ServedModel) -> Arc<Counters> {
    let mut counters = lock(counters);
    let key = (endpoint.to_owned(), model.content().to_owned());
    if let Some(known) = counters.get(&key) {
        return known.clone();
    }
    if counters.len() >= VERSIONS {
        // Whoever nobody else holds is served no longer.
        counters.retain(|_, counters| Arc::strong_count(counters) > 1);
    }
    counters.entry(key).or_insert_with(|| Arc::new(Counters::of(model))).clone()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn slot(at: Duration) -> usize {
    ((at.as_millis() / SLOT.as_millis()) % SLOTS as u128) as usize
}

fn add(count: &AtomicU64) -> u64 {
    count.fetch_add(1, Ordering::Relaxed)
}
