//! The replicas of one version at one endpoint.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use serin_core::clock::{Clock, Steady};
use serin_core::config::ReplicaSettings;
use serin_core::hash::hash;
use serin_core::runtime::{ReplicaRuntime, ReplicaSpec};
use serin_core::scale::{FleetPage, Policy, ReplicaPage, ScaleMetric};
use tokio::sync::Notify;

use super::budget::Budget;
use super::counts::{Counts, Figures};
use super::flights::Flights;
use super::health::Trouble;
use super::ledger::Ledger;
use super::manager::Wish;
use super::member::Member;
use super::wire::Dialect;

/// What tells one fleet from others: with another program, version or place it is another one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FleetKey {
    pub endpoint: String,
    /// What the version's content is called.
    pub content: String,
    /// Who answers, and where.
    pub program: String,
}

/// What a fleet is to be.
#[derive(Clone)]
pub struct FleetPlan {
    pub endpoint: String,
    /// The version that answers, as its callers read it.
    pub version: String,
    pub settings: ReplicaSettings,
    pub dialect: Dialect,
    pub runtime: Arc<dyn ReplicaRuntime>,
    /// A replica but for its name.
    pub spec: ReplicaSpec,
    pub classes: Vec<String>,
    /// Values of a row.
    pub width: usize,
    pub golden: Arc<Vec<GoldenQuestion>>,
}

/// A row whose answer is known.
#[derive(Debug, Clone, PartialEq)]
pub struct GoldenQuestion {
    pub values: Vec<f64>,
    pub class: usize,
    /// Empty where there are none.
    pub probabilities: Vec<f64>,
}

/// Replicas of one kind. Questions go to those that are ready; a manager beside it sees to it that there are enough.
pub struct Fleet {
    key: FleetKey,
    pub(super) plan: FleetPlan,
    settings: ArcSwap<ReplicaSettings>,
    pub(super) clock: Arc<dyn Clock>,
    /// One for each snapshot, and each request of it, that may ask.
    users: Arc<()>,
    wish: Mutex<Option<Wish>>,
    /// Those that can be asked.
    members: ArcSwap<Vec<Arc<Member>>>,
    /// Told when a member comes, and when none will.
    pub(super) came: Notify,
    /// Told when somebody waits for a first member, and when the plan changed.
    pub(super) wanted: Notify,
    pub(super) waiting: AtomicU32,
    /// Those that wait for room, and what tells them that there is some.
    pub(super) queued: AtomicU32,
    pub(super) room: Notify,
    /// Whether none there is means that some were there and are gone.
    pub(super) was_ready: AtomicBool,
    pub(super) begun: AtomicU64,
    pub(super) flights: Flights,
    pub(super) draws: AtomicU64,
    pub(super) budget: Mutex<Budget>,
    counts: Counts,
    /// Of all fleets of the endpoint.
    endpoint_counts: Arc<Counts>,
    ledger: Mutex<Ledger>,
    replicas: Mutex<Vec<ReplicaPage>>,
}

/// A fleet in use: as long as there is one of these, somebody answers.
#[derive(Debug, Clone)]
pub struct FleetRef {
    fleet: Arc<Fleet>,
    _user: Arc<()>,
}

/// How far a fleet is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    Ready,
    Waits,
    /// It does not come to answer.
    Failed(String),
}

impl Fleet {
    pub(super) fn new(
        key: FleetKey,
        plan: FleetPlan,
        clock: Arc<dyn Clock>,
        ledger: Ledger,
        endpoint_counts: Arc<Counts>,
    ) -> Self {
        let now = clock.monotonic();
        let seed = hash(plan.endpoint.bytes().chain(plan.version.bytes()));
        Self {
            key,
            settings: ArcSwap::from_pointee(plan.settings.clone()),
            plan,
            users: Arc::new(()),
            wish: Mutex::default(),
            replicas: Mutex::default(),
            members: ArcSwap::default(),
            came: Notify::new(),
            wanted: Notify::new(),
            waiting: AtomicU32::new(0),
            queued: AtomicU32::new(0),
            room: Notify::new(),
            was_ready: AtomicBool::new(false),
            begun: AtomicU64::new(0),
            flights: Flights::default(),
            draws: AtomicU64::new(seed),
            budget: Mutex::new(Budget::new(now)),
            counts: Counts::default(),
            endpoint_counts,
            ledger: Mutex::new(ledger),
            clock,
        }
    }

    /// This fleet for somebody who asks it.
    pub(super) fn for_use(self: &Arc<Self>) -> FleetRef {
        FleetRef { fleet: self.clone(), _user: self.users.clone() }
    }

    /// A replica by name ends when it has answered what it has; whether there is one.
    pub(super) fn drain(&self, name: &str, by: &str) -> bool {
        let members = self.members();
        let Some(member) = members.iter().find(|member| member.replica.name() == name) else { return false };
        tracing::info!(endpoint = self.plan.endpoint, replica = name, by, "a replica is drained");
        member.is_draining.store(true, Ordering::Relaxed);
        self.wanted.notify_one();
        true
    }

    /// A replica by name is killed; whether there is one.
    pub(super) fn kill(&self, name: &str) -> bool {
        let members = self.members();
        let found = members.iter().find(|member| member.replica.name() == name);
        found.inspect(|member| member.replica.kill()).is_some()
    }

    /// Whether nobody can ask it any more.
    pub(super) fn is_unasked(&self) -> bool {
        Arc::strong_count(&self.users) == 1
    }

    pub(super) fn settings(&self) -> arc_swap::Guard<Arc<ReplicaSettings>> {
        self.settings.load()
    }

    /// Others hold from now on; what runs goes on.
    pub(super) fn set_settings(&self, settings: &ReplicaSettings, now: Steady) {
        if **self.settings.load() == *settings {
            return;
        }
        self.settings.store(Arc::new(settings.clone()));
        let mut ledger = self.ledger();
        ledger.scaler = ledger.scaler.clone().resumed(settings.scaling.clone(), now);
        drop(ledger);
        self.wanted.notify_one();
    }

    pub(super) fn wish(&self) -> Option<Wish> {
        *self.wish.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is to end.
    pub(super) fn set_wish(&self, wish: Wish) {
        *self.wish.lock().unwrap_or_else(PoisonError::into_inner) = Some(wish);
        self.wanted.notify_one();
    }

    /// Whether how many there are depends on what they take.
    pub(super) fn watches_cpu(&self) -> bool {
        self.settings().scaling.policies.iter().any(|policy| match policy {
            Policy::TargetTracking { metric, .. } => *metric == ScaleMetric::Cpu,
            Policy::Steps { steps } => steps.iter().any(|step| step.metric == ScaleMetric::Cpu),
        })
    }

    /// Replicas that may start at one time: a start takes a processor, which those that answer need.
    pub(super) fn starts_at_once(&self) -> usize {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        (processors / 2).max(1)
    }

    /// What its replicas do, for people.
    pub(super) fn tell(&self, replicas: Vec<ReplicaPage>) {
        *self.replicas.lock().unwrap_or_else(PoisonError::into_inner) = replicas;
    }

    /// All of it, for people.
    pub(super) fn page(&self, now: Steady) -> FleetPage {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let ledger = self.ledger();
        let troubles = Trouble::ALL
            .map(|trouble| (trouble.name().to_owned(), count(&self.counts.troubles[trouble as usize])));
        FleetPage {
            endpoint: self.plan.endpoint.clone(),
            version: self.plan.version.clone(),
            runtime: self.settings().runtime.name().to_owned(),
            now,
            is_retired: self.wish().is_some(),
            waiting: self.waiting.load(Ordering::Relaxed) + self.queued.load(Ordering::Relaxed),
            in_flight: self.flights.open.load(Ordering::Relaxed),
            requests: count(&self.begun),
            retries: count(&self.counts.retries),
            ejections: count(&self.counts.ejections),
            starts: count(&self.counts.starts),
            ends: count(&self.counts.ends),
            troubles: troubles.into(),
            failure: ledger
                .failure()
                .or_else(|| ledger.last_problem.clone().filter(|_| ledger.failed_starts > 0)),
            scaler: ledger.scaler.status(now, self.clock.now()),
            decisions: ledger.decisions(),
            replicas: self.replicas.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Counts something that happened.
    pub(super) fn count(&self, what: impl Fn(&Counts) -> &AtomicU64) {
        for counts in [&self.counts, &*self.endpoint_counts] {
            what(counts).fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Adds its replicas to the figures of its endpoint.
    pub(super) fn add_to(&self, figures: &mut Figures) {
        let (members, now) = (self.members(), self.clock.monotonic());
        let stay = || members.iter().filter(|member| !member.is_draining.load(Ordering::Relaxed));
        let (ready, desired) = (stay().count() as u64, u64::from(self.desired()));
        figures.ready += ready;
        figures.desired += desired;
        figures.missing += desired.saturating_sub(ready);
        figures.ejected += stay().filter(|member| member.is_ejected(now)).count() as u64;
        figures.waiting += u64::from(self.waiting.load(Ordering::Relaxed));
    }

    /// Those that can be asked now.
    pub(super) fn members(&self) -> Arc<Vec<Arc<Member>>> {
        self.members.load_full()
    }

    /// Others can be asked from now on.
    pub(super) fn set_members(&self, members: Vec<Arc<Member>>) {
        if !members.is_empty() {
            self.was_ready.store(true, Ordering::Relaxed);
        }
        self.members.store(Arc::new(members));
        self.came.notify_waiters();
        self.room.notify_waiters();
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What tells it from others.
    #[must_use]
    pub fn key(&self) -> &FleetKey {
        &self.key
    }

    /// How many replicas there shall be.
    #[must_use]
    pub fn desired(&self) -> u32 {
        self.ledger().scaler.desired()
    }

    /// The fewest that there may be.
    #[must_use]
    pub fn fewest(&self) -> u32 {
        self.settings().scaling.min
    }

    /// Whether as many answer as the share of the requests needs that it is to get; from now on it tries to have them. Where
    /// there may be none while nobody asks, none is needed.
    #[must_use]
    pub fn need(&self, needed: u32) -> Readiness {
        let wall = self.clock.now();
        let mut ledger = self.ledger();
        let (min, max) = ledger.scaler.bounds(wall);
        let needed = if min == 0 || needed == 0 { 0 } else { needed.max(min).min(max) };
        ledger.scaler.set_floor(needed);
        drop(ledger);
        self.wanted.notify_one();
        let ready = u32::try_from(self.members().len()).unwrap_or(u32::MAX);
        if ready >= needed {
            return Readiness::Ready;
        }
        self.ledger().failure().map_or(Readiness::Waits, Readiness::Failed)
    }

    /// What was needed is there: from here on the load decides.
    pub fn need_no_more(&self) {
        self.ledger().scaler.set_floor(0);
    }
}

impl std::ops::Deref for FleetRef {
    type Target = Fleet;

    fn deref(&self) -> &Fleet {
        &self.fleet
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet")
            .field("endpoint", &self.plan.endpoint)
            .field("version", &self.plan.version)
            .finish_non_exhaustive()
    }
}
