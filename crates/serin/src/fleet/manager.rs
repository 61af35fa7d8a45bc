//! The manager of a fleet: replicas are started, examined, watched, replaced, drained and let go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serin_core::clock::Steady;
use serin_core::files;
use serin_core::runtime::{Adopted, Replica, ReplicaUsage};
use serin_core::scale::{Reading, ReplicaPage, ReplicaState, ScaleDecision};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::connection::Connections;
use super::host::Idle;
use super::member::Member;
use super::replicas::Fleet;

/// Between two looks at the replicas.
const LOOK: Duration = Duration::from_millis(100);
/// Looks in a second, which is when the number of replicas is decided and each is pinged.
const LOOKS_A_SECOND: u32 = 10;
/// For a ping: SageMaker's.
const PING_LIMIT: Duration = Duration::from_secs(2);
/// Pings in a row that fail before a replica is replaced.
const PINGS: u32 = 3;
/// Between two examinations of a replica that does not answer yet.
const FIRST_EXAMINATION: Duration = Duration::from_millis(5);
const LONGEST_EXAMINATION_PAUSE: Duration = Duration::from_millis(250);
/// After a replica that did not start, or ended by itself soon.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// One that answered for so long did not end because it could not start.
const SETTLED: Duration = Duration::from_secs(10);
/// Starts in a row that fail before nobody waits any more.
const STARTS: u32 = 3;
/// For the requests in hand of a replica that is to end.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);
/// Between two writes of what is kept over restarts, unless something was decided.
const KEEP_EVERY: u32 = 30;
/// Seconds between two looks at what replicas take.
const USAGE_EVERY: u32 = 5;

/// What only the manager knows.
pub(super) struct Manager {
    fleet: Arc<Fleet>,
    idle: Arc<Idle>,
    /// The age of the data directory when the monotonic clock showed zero.
    origin: Steady,
    members: Vec<Arc<Member>>,
    starting: JoinSet<Started>,
    names: BTreeMap<String, Duration>,
    draining: Vec<Draining>,
    /// No start before that, and how long the next pause is.
    not_before: Duration,
    pause: Duration,
    next_name: u64,
    looks: u32,
    seconds: u32,
    area: u64,
    begun: u64,
    read: Duration,
    usage: BTreeMap<String, (ReplicaUsage, Duration, Option<f64>)>,
}

/// A replica that is asked nothing new.
struct Draining {
    member: Arc<Member>,
    since: Duration,
    /// It was told to end.
    is_told: bool,
}

/// What came of a start.
struct Started {
    name: String,
    result: Result<Arc<Member>, String>,
}

/// How a manager ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// The version is asked no longer.
    Retire,
    /// The gateway ends.
    End,
    /// The gateway ends, and another goes on: what can outlive it stays.
    Leave,
}

impl Manager {
    pub fn new(fleet: Arc<Fleet>, idle: Arc<Idle>, origin: Steady) -> Self {
        let now = fleet.clock.monotonic();
        Self {
            fleet,
            idle,
            origin,
            members: Vec::new(),
            starting: JoinSet::new(),
            names: BTreeMap::new(),
            draining: Vec::new(),
            not_before: Duration::ZERO,
            pause: FIRST_PAUSE,
            next_name: 1,
            looks: 0,
            seconds: 0,
            area: 0,
            begun: 0,
            read: now,
            usage: BTreeMap::new(),
        }
    }

    fn now(&self) -> Duration {
        self.fleet.clock.monotonic()
    }

    fn steady(&self) -> Steady {
        self.origin + self.now()
    }

    /// Works until the fleet is let go and nothing of it is left.
    pub async fn run(mut self) {
        for Adopted { replica, .. } in self.adopted().await {
            self.examine(replica);
        }
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let fleet = self.fleet.clone();
            tokio::select! {
                _ = ticks.tick() => self.tick().await,
                () = fleet.wanted.notified() => {}
                Some(done) = self.starting.join_next(), if !self.starting.is_empty() => self.take_in(done),
            }
            self.reap();
            self.drain();
            match self.fleet.wish() {
                None => self.adjust(),
                // Whoever chose the version before may still be reading its body: somebody answers as long as somebody asks.
                Some(Wish::Retire) if !self.fleet.is_unasked() => {}
                Some(wish) => {
                    self.let_go(wish);
                    if self.members.is_empty() && self.draining.is_empty() && self.starting.is_empty() {
                        break;
                    }
                }
            }
            self.publish();
        }
        if self.fleet.wish() == Some(Wish::Retire) {
            self.fleet.ledger().forget();
        } else {
            self.keep().await;
        }
        self.fleet.set_members(Vec::new());
    }

    /// Replicas of the plan that outlived the gateway before.
    async fn adopted(&self) -> Vec<Adopted> {
        let plan = &self.fleet.plan;
        if !plan.runtime.capabilities().adopts {
            return Vec::new();
        }
        let (runtime, owner, labels) =
            (plan.runtime.clone(), plan.spec.owner.clone(), plan.spec.labels.clone());
        let found = spawn_blocking(move || runtime.adopt(&owner)).await;
        match found {
            Ok(Ok(found)) => found.into_iter().filter(|found| found.labels == labels).collect(),
            Ok(Err(error)) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "replicas of before are not found again"
                );
                Vec::new()
            }
            Err(_) => Vec::new(),
        }
    }

    async fn tick(&mut self) {
        self.looks += 1;
        // A person's decision may come at any time.
        let is_kept = self.fleet.ledger().is_kept;
        if !is_kept {
            self.keep().await;
        }
        if self.looks < LOOKS_A_SECOND {
            return;
        }
        self.looks = 0;
        self.seconds = self.seconds.wrapping_add(1);
        self.ping();
        if self.seconds.is_multiple_of(USAGE_EVERY) || self.fleet.watches_cpu() {
            self.look_at_usage().await;
        }
        self.decide();
        if self.seconds.is_multiple_of(KEEP_EVERY) {
            self.keep().await;
        }
    }

    /// What the second looked like, and how many there shall be.
    fn decide(&mut self) {
        let now = self.now();
        let begun = self.fleet.begun.load(Ordering::Relaxed);
        let area = self.fleet.flights.area(now);
        let passed = now.saturating_sub(self.read).as_secs_f64();
        let in_flight = area.wrapping_sub(self.area).cast_signed() as f64 / 1e6 / passed.max(1e-3);
        let shares: Vec<f64> = self.usage.values().filter_map(|(_, _, percent)| *percent).collect();
        let cpus = self.fleet.settings().cpus.unwrap_or(1.0);
        let cpu = (!shares.is_empty() && shares.len() >= self.members.len())
            .then(|| shares.iter().sum::<f64>() / shares.len() as f64 / cpus);
        let reading = Reading {
            at: self.steady(),
            begun: Some(begun.saturating_sub(self.begun)),
            // Requests that begin or end just now are counted a moment apart.
            in_flight: Some(in_flight.max(0.0)),
            cpu,
            ready: u32::try_from(self.members.len()).unwrap_or(u32::MAX),
            host_idle: self.idle.share(now),
        };
        (self.begun, self.area, self.read) = (begun, area, now);
        let (steady, wall) = (self.steady(), self.fleet.clock.now());
        let mut ledger = self.fleet.ledger();
        ledger.scaler.observe(reading);
        let decision = ledger.scaler.decide(steady, wall);
        drop(ledger);
        if let Some(decision) = decision {
            self.fleet.note(decision);
        }
    }

    /// What those that ended leave is cleared away, and others come in their place.
    fn reap(&mut self) {
        let now = self.now();
        let (ended, alive): (Vec<_>, Vec<_>) = std::mem::take(&mut self.members)
            .into_iter()
            .partition(|member| member.replica.ended().is_some());
        self.members = alive;
        for member in ended {
            let Some(end) = member.replica.ended() else { continue };
            self.fleet.count(|counts| &counts.ends);
            let output = member.replica.last_output();
            let (name, output) = (member.replica.name(), output.as_deref().unwrap_or_default());
            let (endpoint, version) = (&self.fleet.plan.endpoint, &self.fleet.plan.version);
            tracing::warn!(
                endpoint,
                model.version = version,
                replica = name,
                reason = end.reason,
                output,
                "a replica ended"
            );
            if now.saturating_sub(member.ready) < SETTLED {
                self.wait(now);
            }
        }
    }

    fn wait(&mut self, now: Duration) {
        self.not_before = now + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    /// As many as there shall be: one more at a time, as a start takes a processor.
    fn adjust(&mut self) {
        let now = self.now();
        let desired = self.fleet.ledger().scaler.desired() as usize;
        // The first of an idle fleet comes when somebody asks.
        let desired = desired.max(usize::from(self.fleet.waiting.load(Ordering::Relaxed) > 0));
        let stay = self.members.iter().filter(|member| !member.is_draining.load(Ordering::Relaxed)).count();
        let there = stay + self.starting.len();
        if there < desired && now >= self.not_before && self.starting.len() < self.fleet.starts_at_once() {
            self.start();
        }
        let surplus = stay.saturating_sub(desired);
        if surplus > 0 && self.starting.is_empty() {
            // The youngest first: who is there longest is warm.
            self.members.sort_by_key(|member| member.ready);
            for member in self.members.split_off(self.members.len() - surplus) {
                self.begin_drain(member, now);
            }
        }
        if self.members.is_empty() && desired == 0 {
            // Nobody is gone: nobody is wanted.
            self.fleet.was_ready.store(false, Ordering::Relaxed);
        }
    }

    fn start(&mut self) {
        let fleet = self.fleet.clone();
        let mut spec = fleet.plan.spec.clone();
        spec.name = format!("{}-{}", spec.name, self.next_name);
        self.next_name += 1;
        fleet.count(|counts| &counts.starts);
        self.names.insert(spec.name.clone(), self.now());
        self.starting.spawn(async move {
            let (name, runtime) = (spec.name.clone(), fleet.plan.runtime.clone());
            let started = spawn_blocking(move || runtime.start(&spec)).await;
            let result = match started {
                Ok(Ok(replica)) => come_to_answer(&fleet, replica).await,
                Ok(Err(error)) => Err(serin_core::causes::in_one_line(&error)),
                Err(_) => Err("the start ended unexpectedly".to_owned()),
            };
            Started { name, result }
        });
    }

    /// One that was found again.
    fn examine(&mut self, replica: Arc<dyn Replica>) {
        let fleet = self.fleet.clone();
        let name = replica.name().to_owned();
        self.names.insert(name.clone(), self.now());
        self.starting.spawn(async move { Started { name, result: come_to_answer(&fleet, replica).await } });
    }

    fn take_in(&mut self, done: Result<Started, tokio::task::JoinError>) {
        let now = self.now();
        let Ok(Started { name, result }) = done else {
            // It panicked, and was reported where that happened; who it was is not known any more.
            self.names.clear();
            return;
        };
        self.names.remove(&name);
        let (endpoint, version) = (&self.fleet.plan.endpoint, &self.fleet.plan.version);
        match result {
            Ok(member) => {
                tracing::info!(endpoint, model.version = version, replica = name, "a replica answers");
                self.pause = FIRST_PAUSE;
                self.fleet.ledger().started();
                self.members.push(member);
            }
            Err(reason) => {
                tracing::warn!(
                    endpoint,
                    model.version = version,
                    replica = name,
                    reason,
                    "a replica did not start"
                );
                self.fleet.ledger().did_not_start(reason, STARTS);
                self.fleet.came.notify_waiters();
                self.wait(now);
            }
        }
    }

    fn begin_drain(&mut self, member: Arc<Member>, now: Duration) {
        member.is_draining.store(true, Ordering::Relaxed);
        self.draining.push(Draining { member, since: now, is_told: false });
    }

    /// Those that are to end do so when nobody waits for them any more.
    fn drain(&mut self) {
        let now = self.now();
        // A person asked for it; it goes when others are enough, so that the last one is replaced before it ends.
        let (asked, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.members)
            .into_iter()
            .partition(|member| member.is_draining.load(Ordering::Relaxed));
        let enough = self.fleet.ledger().scaler.desired() as usize;
        self.members = others;
        for member in asked {
            match self.members.len() >= enough {
                true => self.begin_drain(member, now),
                false => self.members.push(member),
            }
        }
        self.publish();
        self.draining.retain_mut(|Draining { member, since, is_told }| {
            if member.replica.ended().is_some() {
                return false;
            }
            let is_done = member.in_flight.load(Ordering::Relaxed) == 0 && now.saturating_sub(*since) > LOOK;
            if !*is_told && (is_done || now.saturating_sub(*since) > DRAIN_LIMIT) {
                // Once: each time would be another question to an engine of containers.
                member.replica.stop();
                *is_told = true;
            }
            true
        });
    }

    fn let_go(&mut self, wish: Wish) {
        let now = self.now();
        if wish == Wish::Leave && self.fleet.plan.runtime.capabilities().adopts {
            // Those that start are found again as well.
            self.starting.abort_all();
            self.members.clear();
            return;
        }
        for member in std::mem::take(&mut self.members) {
            self.begin_drain(member, now);
        }
    }

    fn publish(&self) {
        let before = self.fleet.members();
        let is_same = before.len() == self.members.len()
            && before.iter().zip(&self.members).all(|(before, now)| Arc::ptr_eq(before, now));
        if !is_same {
            self.fleet.set_members(self.members.clone());
        }
        self.fleet.tell(self.pages());
    }

    /// Who does not answer a few pings is replaced: it hangs, and would until somebody looks.
    fn ping(&self) {
        for member in &self.members {
            let (fleet, member) = (self.fleet.clone(), member.clone());
            tokio::spawn(async move {
                let answered = member.answered.load(Ordering::Relaxed);
                let said = timeout(PING_LIMIT, member.connections.ping()).await;
                let problem = match said {
                    Ok(Ok(())) => {
                        member.state().pings_failed = 0;
                        return;
                    }
                    Ok(Err(no_reply)) => no_reply.reason,
                    Err(_) => format!("/ping was not answered within {} s", PING_LIMIT.as_secs()),
                };
                let failed = {
                    let mut state = member.state();
                    // Whoever answers rows meanwhile does not hang: its pings wait their turn.
                    let is_busy = member.answered.load(Ordering::Relaxed) > answered;
                    state.pings_failed = if is_busy { 0 } else { state.pings_failed + 1 };
                    state.last_trouble = Some(problem.clone());
                    state.pings_failed
                };
                if failed == PINGS {
                    let (endpoint, replica) = (&fleet.plan.endpoint, member.replica.name().to_owned());
                    tracing::warn!(endpoint, replica, reason = problem, "a replica is replaced");
                    let _ = spawn_blocking(move || member.replica.kill()).await;
                }
            });
        }
    }

    async fn look_at_usage(&mut self) {
        let replicas: Vec<_> = self.members.iter().map(|member| member.replica.clone()).collect();
        let looked = spawn_blocking(move || {
            replicas.iter().map(|replica| (replica.name().to_owned(), replica.usage())).collect::<Vec<_>>()
        });
        let Ok(looked) = looked.await else { return };
        let now = self.now();
        let before = std::mem::take(&mut self.usage);
        for (name, usage) in looked {
            let Some(usage) = usage else { continue };
            let percent = before.get(&name).map(|(was, then, _)| {
                let passed = now.saturating_sub(*then).as_secs_f64().max(1e-3);
                100.0 * usage.cpu_time.saturating_sub(was.cpu_time).as_secs_f64() / passed
            });
            self.usage.insert(name, (usage, now, percent));
        }
    }

    async fn keep(&self) {
        let file = {
            let mut ledger = self.fleet.ledger();
            ledger.is_kept = true;
            ledger.to_file(self.steady(), self.fleet.clock.now())
        };
        let Some((path, bytes)) = file else { return };
        let written = spawn_blocking(move || files::publish(&path, &bytes)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(error = &error as &dyn std::error::Error, "the window of a scaler is not kept");
        }
    }

    fn pages(&self) -> Vec<ReplicaPage> {
        let now = self.now();
        let starting = self.names.iter().map(|(name, since)| ReplicaPage {
            name: name.clone(),
            state: ReplicaState::Starting,
            address: String::new(),
            in_flight: 0,
            answered: 0,
            latency_milliseconds: None,
            age_seconds: now.saturating_sub(*since).as_secs_f64(),
            memory_bytes: None,
            cpu_percent: None,
            last_trouble: None,
        });
        let members = self.members.iter().map(|member| (member, None));
        let draining = self.draining.iter().map(|draining| (&draining.member, Some(ReplicaState::Draining)));
        let there = members.chain(draining).map(|(member, state)| {
            let answered = member.answered.load(Ordering::Relaxed);
            let usage = self.usage.get(member.replica.name());
            let of = member.state();
            let usual = match () {
                () if member.is_draining.load(Ordering::Relaxed) => ReplicaState::Draining,
                () if of.health.is_ejected(now) => ReplicaState::Ejected,
                () => ReplicaState::Ready,
            };
            ReplicaPage {
                name: member.replica.name().to_owned(),
                state: state.unwrap_or(usual),
                address: member.replica.address().to_string(),
                in_flight: member.in_flight.load(Ordering::Relaxed),
                answered,
                latency_milliseconds: (answered > 0).then(|| of.latency.seconds(now) * 1e3),
                age_seconds: now.saturating_sub(member.ready).as_secs_f64(),
                memory_bytes: usage.map(|(usage, ..)| usage.memory_bytes),
                cpu_percent: usage.and_then(|(.., percent)| *percent),
                last_trouble: of.last_trouble.clone(),
            }
        });
        there.chain(starting).collect()
    }
}

/// Waits until a replica answers what is known, within the limit; one that does not is ended.
async fn come_to_answer(fleet: &Arc<Fleet>, replica: Arc<dyn Replica>) -> Result<Arc<Member>, String> {
    let address = replica.address().clone();
    let member = Member::new(replica, Connections::new(address), fleet.clock.monotonic());
    let mut problem = "it was not asked yet".to_owned();
    let mut pause = FIRST_EXAMINATION;
    let limit = fleet.settings().start_limit;
    let examined = timeout(limit, async {
        loop {
            if fleet.wish().is_some() {
                return Err("nobody wants it any more".to_owned());
            }
            if let Some(end) = member.replica.ended() {
                let output = member.replica.last_output().map(|output| format!("; it printed: {output}"));
                return Err(format!("it {}{}", end.reason, output.unwrap_or_default()));
            }
            match timeout(PING_LIMIT + fleet.settings().answer_limit, fleet.examine(&member)).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(found)) => problem = found,
                Err(_) => problem = "it takes connections and does not answer".to_owned(),
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_EXAMINATION_PAUSE);
        }
    });
    let examined = examined.await;
    match examined {
        Ok(Ok(())) => Ok(Arc::new(member.ready_at(fleet.clock.monotonic()))),
        Ok(Err(problem)) => {
            end(&member).await;
            Err(problem)
        }
        Err(_) => {
            end(&member).await;
            Err(format!("it did not answer within {} s: {problem}", limit.as_secs_f64()))
        }
    }
}

/// Ends a replica that nobody asks.
async fn end(member: &Member) {
    let replica = member.replica.clone();
    let _ = spawn_blocking(move || replica.kill()).await;
}

impl Fleet {
    /// Another number of replicas was decided on.
    pub(super) fn note(&self, decision: ScaleDecision) {
        tracing::info!(
            endpoint = self.plan.endpoint,
            model.version = self.plan.version,
            from = decision.from,
            to = decision.to,
            rule = decision.rule,
            because = decision.reason,
            "replicas are scaled"
        );
        let wall = self.clock.now();
        self.ledger().note(decision, wall);
        self.wanted.notify_one();
    }
}
