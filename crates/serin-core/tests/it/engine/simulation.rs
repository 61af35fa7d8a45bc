//! Two engines, a store in memory and a clock that is moved by hand: everything happens in an order that a seed decides,
//! one verb at a time. After each verb the store is looked at. A seed that fails is printed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serin_core::clock::{Clock as _, ManualClock, Steady, Timestamp};
use serin_core::digest::Digest;
use serin_core::domain::{
    ApprovalSubject, AttemptEnd, Cause, Decided, Epoch, Lease, Pipeline, RetryPolicy, Run, RunKind,
    RunNumber, RunState, Step, StepPlan, StepState, Verdict, VersionNumber, Wish, WishOutcome,
};
use serin_core::engine::{
    Action, Asked, Held, Moments, StopReason, View, WorkError, decide, end_of, retry_at,
};
use serin_core::store::{
    ApprovalRequest, Hold, ListOptions, Project, Reign, SqliteStore, StepEnd, Store, StoreError, WishRules,
};

use super::Random;

const SEEDS: u64 = 300;
/// Things that happen before the world calms down.
const HAPPENINGS: u64 = 120;
/// Things that may happen until every run is over.
const PATIENCE: u64 = 3_000;
const LEASE: Duration = Duration::from_secs(10);
const TIME_LIMIT: Duration = Duration::from_secs(5);
const RUNS: usize = 4;

struct World {
    random: Random,
    store: SqliteStore,
    clock: Arc<ManualClock>,
    engines: Vec<Engine>,
    known: BTreeMap<RunNumber, Known>,
    reign: Reign,
    is_calm: bool,
    seen: Seen,
}

/// How often things happened, by name: a simulation in which nothing goes wrong shows nothing.
type Seen = BTreeMap<&'static str, u64>;

/// One engine. Its threads are its hands, and end when the world says so.
struct Engine {
    moments: Moments,
    epoch: Option<Epoch>,
    seen: Reign,
    since: Duration,
    hands: Vec<Hand>,
    /// Decided, and not carried out yet.
    actions: VecDeque<Action>,
    last: Steady,
}

struct Hand {
    held: Held,
    hold: Hold,
    step: Step,
    plan: StepPlan,
}

/// What was seen of a run.
#[derive(Default)]
struct Known {
    /// Once over, it stays as it is.
    over: Option<Run>,
    retries: usize,
    outputs: BTreeMap<String, Digest>,
}

#[test]
fn whatever_happens_runs_come_to_their_end_and_nothing_counts_twice() {
    let seen = thread::scope(|scope| {
        let halves = [0, 1].map(|half| scope.spawn(move || play((half..SEEDS).step_by(2))));
        halves.map(|half| half.join().unwrap())
    });
    let [mut all, other] = seen;
    add(&mut all, other);
    for what in
        ["succeeded", "failed", "rejected", "cancelled", "superseded", "abandoned", "lost", "left", "orphan"]
    {
        assert!(all.get(what).is_some_and(|&count| count > 0), "nothing was {what}: {all:?}");
    }
}

fn play(seeds: impl Iterator<Item = u64>) -> Seen {
    let mut all = Seen::new();
    for seed in seeds {
        match catch_unwind(AssertUnwindSafe(|| World::new(seed).play())) {
            Ok(seen) => add(&mut all, seen),
            Err(panic) => {
                eprintln!("the seed that failed is {seed}");
                resume_unwind(panic);
            }
        }
    }
    all
}

fn add(all: &mut Seen, seen: Seen) {
    for (what, count) in seen {
        *all.entry(what).or_insert(0) += count;
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let store = SqliteStore::in_memory().unwrap();
        let clock = Arc::new(ManualClock::at(Timestamp(1_795_341_600_000_000)));
        let reign = store.reign().unwrap();
        let engines = (0..2).map(|_| Engine::new(&clock, &reign)).collect();
        let known = BTreeMap::new();
        let mut world = Self {
            random: Random(seed),
            store,
            clock,
            engines,
            known,
            reign,
            is_calm: false,
            seen: Seen::new(),
        };
        let project = Project { name: "toy".into(), folder: "/nowhere".into() };
        world.store.put_project(&project, world.engines[0].moments.now()).unwrap();
        world.wish();
        world
    }

    fn play(mut self) -> Seen {
        for _ in 0..HAPPENINGS {
            self.happen();
        }
        // From now on there is one engine, which does not die, every answer is yes and every work succeeds.
        self.kill(1);
        self.is_calm = true;
        for _ in 0..PATIENCE {
            self.happen();
            if self.known.values().all(|known| known.over.is_some()) {
                return self.finish();
            }
        }
        unreachable!("not over: {:#?}", self.store.open_runs().unwrap());
    }

    fn finish(mut self) -> Seen {
        for run in self.store.runs(&ListOptions::default()).unwrap() {
            assert_eq!(self.known[&run.number].over.as_ref(), Some(&run), "a run changed that was over");
            self.count(run.state.name());
            for step in &run.steps {
                *self.seen.entry("abandoned").or_insert(0) += u64::from(step.abandoned);
            }
        }
        self.seen
    }

    fn count(&mut self, what: &'static str) {
        *self.seen.entry(what).or_insert(0) += 1;
    }

    /// One thing happens, and the store is looked at if it may have changed.
    fn happen(&mut self) {
        let engine = usize::from(!self.is_calm && self.chance(50));
        match self.random.between(0, 100) {
            0..10 => return self.pass_time(),
            10..15 => self.engines[engine].beat(&self.store),
            15..55 => self.drive(engine),
            55..85 => self.end_hand(engine),
            85..90 => self.answer(),
            90..92 if !self.is_calm => self.kill(engine),
            92..94 if !self.is_calm => self.wish(),
            94..95 if !self.is_calm => self.cancel(),
            95..97 if !self.is_calm => self.retry(),
            97..99 if !self.is_calm => return self.jump(),
            _ => return,
        }
        self.check_reign();
        if !self.is_calm || self.chance(20) {
            self.check_runs();
        }
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.random.between(0, 100) < percent
    }

    fn pass_time(&mut self) {
        let longest = if self.chance(20) { 25_000 } else { 1_000 };
        self.clock.advance(Duration::from_millis(self.random.between(0, longest)));
    }

    fn jump(&mut self) {
        let jumps = [3_600, -3_600, 86_400, -86_400, 1, -1_795_341_600];
        let seconds = jumps[self.random.between(0, jumps.len() as u64) as usize];
        self.clock.jump_to(Timestamp(self.clock.now().0 + seconds * 1_000_000));
    }

    fn kill(&mut self, engine: usize) {
        self.engines[engine] = Engine::new(&self.clock, &self.store.reign().unwrap());
    }

    fn wish(&mut self) {
        let kind = if self.chance(20) { RunKind::Rollback } else { RunKind::Train };
        let wish = Wish {
            project: "toy".into(),
            kind,
            cause: Cause::Asked { by: "ada".into() },
            key: None,
            request: serde_json::Value::Null,
            is_fresh: false,
        };
        let rules =
            WishRules { cooldown: Duration::ZERO, daily_budget: 9, newest_wins: false, waiting_limit: 9 };
        if self.known.len() < RUNS {
            let now = self.engines[0].moments.now();
            let outcome = self.store.wish(&wish, &rules, &pipeline(), now).unwrap();
            let WishOutcome::Run { run } = outcome else { unreachable!("{outcome:?}") };
            self.known.insert(run, Known::default());
        }
    }

    fn some_run(&mut self) -> Option<RunNumber> {
        let runs: Vec<_> = self.known.keys().copied().collect();
        if runs.is_empty() { None } else { Some(runs[self.random.between(0, runs.len() as u64) as usize]) }
    }

    fn cancel(&mut self) {
        if let Some(run) = self.some_run() {
            self.store.cancel_run(run, "ada", "why not", self.engines[0].moments.now()).unwrap();
        }
    }

    fn retry(&mut self) {
        let from = self.chance(50).then_some("b");
        let Some(run) = self.some_run() else { return };
        if self.store.retry_run(run, from, "ada", self.engines[0].moments.now()).unwrap() {
            let retries = self.known[&run].retries + 1;
            self.known.insert(run, Known { retries, ..Known::default() });
        }
    }

    fn answer(&mut self) {
        let open = self.store.approvals(&ListOptions { is_open: true, ..ListOptions::default() }).unwrap();
        for approval in open {
            let says_no = !self.is_calm && self.chance(50);
            let decided = Decided {
                verdict: if says_no { Verdict::Reject } else { Verdict::Approve },
                by: "grace".into(),
                reason: "it sings".into(),
                seen: None,
            };
            _ = self.store.decide_approval(approval.number, &decided, self.engines[0].moments.now()).unwrap();
        }
    }

    fn drive(&mut self, number: usize) {
        let other_is_dead = self.engines[1 - number].epoch.is_none();
        let engine = &mut self.engines[number];
        let Some(epoch) = engine.epoch else { return engine.watch(&self.store, other_is_dead) };
        let Some(action) = engine.actions.pop_front() else { return engine.look(&self.store) };
        let result = engine.act(&self.store, epoch, &action);
        let is_stale = epoch != self.reign.epoch;
        match (&result, &action) {
            (Ok(()), Action::Stop { .. } | Action::Leave { .. } | Action::Abandon { .. }) => {}
            (Ok(()), _) => assert!(!is_stale, "{action:?} of an engine that no longer reigns"),
            (Err(StoreError::Lost), _) => assert!(is_stale, "{action:?} lost in its own reign"),
            (Err(error), _) => unreachable!("{error}"),
        }
        match action {
            Action::Leave { .. } => self.count("left"),
            Action::Abandon { .. } => self.count("orphan"),
            _ => {}
        }
        if result.is_err() {
            self.count("lost");
            self.engines[number].abdicate();
        }
    }

    fn end_hand(&mut self, number: usize) {
        let count = self.engines[number].hands.len() as u64;
        if count == 0 {
            return;
        }
        let hand = self.random.between(0, count) as usize;
        let luck = if self.is_calm { 99 } else { self.random.between(0, 100) };
        let engine = &mut self.engines[number];
        // Some works do not hear that they shall stop.
        if luck < 10 {
            return;
        }
        let hand = engine.hands.remove(hand);
        // And some ends cannot be written.
        if luck < 13 {
            return;
        }
        let asked = hand.held.asked.map(|asked| asked.why);
        let result = match luck {
            _ if asked.is_some() && luck < 80 => Err(WorkError::Stopped),
            13..30 => Err(WorkError::passing("net", "refused")),
            30..35 => Err(WorkError::failed("gate", "poor")),
            _ if hand.plan.kind == "ask" => Ok(question(hand.hold.run)),
            _ => Ok(made(&hand.plan.name)),
        };
        let now = engine.moments.now();
        let Some(end) = end_of(result, asked, &hand.plan, &hand.step, now.steady) else { return };
        match self.store.end_attempt(&hand.hold, &end, now) {
            Ok(()) => assert_eq!(hand.hold.epoch, self.reign.epoch, "an end of an earlier reign"),
            Err(StoreError::Lost) => self.count("lost"),
            Err(error) => unreachable!("{error}"),
        }
    }

    fn check_reign(&mut self) {
        let reign = self.store.reign().unwrap();
        assert!(reign.epoch >= self.reign.epoch && reign.steady >= self.reign.steady, "{reign:?}");
        self.reign = reign;
    }

    fn check_runs(&mut self) {
        let open = self.store.open_runs().unwrap();
        let mut lanes = BTreeSet::new();
        for run in open.iter().filter(|run| run.state != RunState::Waiting) {
            // While one asks a person, another may have begun; then both may go on.
            let asked = run.steps.iter().any(|step| step.name == "approve" && step.attempts > 0);
            let is_alone = asked || lanes.insert(run.kind == RunKind::Train);
            assert!(is_alone, "two runs at one time: {open:#?}");
            self.known.entry(run.number).or_default().check(run, &self.store);
        }
        let is_open = |number| open.iter().any(|run| run.number == number);
        let not_over = self.known.iter_mut().filter(|(_, known)| known.over.is_none());
        for (&number, known) in not_over.filter(|(number, _)| !is_open(**number)) {
            let run = self.store.run(number).unwrap().unwrap();
            known.check(&run, &self.store);
            known.over = Some(run);
        }
    }
}

impl Known {
    fn check(&mut self, run: &Run, store: &SqliteStore) {
        let attempts = store.attempts(run.number).unwrap();
        for step in &run.steps {
            let of_step = || attempts.iter().filter(|attempt| attempt.step == step.name);
            let open: Vec<Lease> =
                of_step().filter(|attempt| attempt.end.is_none()).map(|attempt| attempt.lease).collect();
            let running: Vec<Lease> = lease(step).into_iter().collect();
            assert_eq!(open, running, "attempts that are being made at {step:?}");
            let is_done = |end: &Option<AttemptEnd>| matches!(end, Some(AttemptEnd::Succeeded));
            let done = of_step().filter(|attempt| is_done(&attempt.end)).count();
            assert!(done <= 1 + self.retries, "{step:?} was done {done} times");
            assert_eq!(of_step().count(), step.attempts as usize);

            let is_begun = !matches!(step.state, StepState::Pending | StepState::Cancelled);
            let plan = run.pipeline.step(&step.name).unwrap();
            let all_before = plan.after.iter().all(|name| run.output(name).is_some());
            assert!(!is_begun || all_before, "{step:?} began too early: {run:#?}");
            if let StepState::Succeeded { output, .. } = step.state {
                let before = self.outputs.insert(step.name.clone(), output);
                assert!(before.is_none_or(|before| before == output), "{step:?} had another output");
            } else {
                assert!(!self.outputs.contains_key(&step.name), "{step:?} was done already");
            }
        }
        if run.state.is_final() {
            let is_open = |step: &Step| {
                matches!(
                    step.state,
                    StepState::Running { .. } | StepState::Retrying { .. } | StepState::Asking { .. }
                )
            };
            assert!(!run.steps.iter().any(is_open), "over, and a step is not: {run:#?}");
            assert!(!matches!(run.state, RunState::NeedsOperator { .. }), "a riddle: {run:#?}");
        }
    }
}

impl Engine {
    fn new(clock: &Arc<ManualClock>, reign: &Reign) -> Self {
        Self {
            moments: Moments::resumed(clock.clone(), reign),
            epoch: None,
            seen: reign.clone(),
            since: clock.monotonic(),
            hands: Vec::new(),
            actions: VecDeque::new(),
            last: Steady(0),
        }
    }

    fn watch(&mut self, store: &SqliteStore, other_is_dead: bool) {
        let (reign, now) = (store.reign().unwrap(), self.moments.monotonic());
        if reign != self.seen {
            self.moments.advance_to(reign.steady);
            (self.seen, self.since) = (reign, now);
        }
        if other_is_dead || now - self.since >= LEASE {
            let taken = store.take_reign(&self.seen, "engine", self.moments.now()).unwrap();
            self.epoch = taken.map(|reign| reign.epoch);
        }
    }

    fn abdicate(&mut self) {
        self.epoch = None;
        self.actions.clear();
        let since = self.moments.steady();
        for hand in &mut self.hands {
            hand.held.asked = Some(Asked { why: StopReason::Lost, since });
        }
    }

    fn beat(&mut self, store: &SqliteStore) {
        let Some(epoch) = self.epoch else { return };
        let now = self.moments.now();
        assert!(now.steady >= self.last, "time went back");
        self.last = now.steady;
        match store.beat(epoch, now).and_then(|()| store.expire_approvals(epoch, now)) {
            Ok(_) => {}
            Err(StoreError::Lost) => self.abdicate(),
            Err(error) => unreachable!("{error}"),
        }
    }

    fn look(&mut self, store: &SqliteStore) {
        let held: Vec<_> = self.hands.iter().map(|hand| hand.held.clone()).collect();
        let runs = store.open_runs().unwrap();
        let at = self.moments.steady();
        let view = View { runs: &runs, held: &held, at, steps_limit: 3, knows: &|_, _| true };
        self.actions = decide(&view).into();
    }

    fn act(&mut self, store: &SqliteStore, epoch: Epoch, action: &Action) -> Result<(), StoreError> {
        let now = self.moments.now();
        match action {
            Action::Begin { run } => store.begin_run(epoch, *run, now),
            Action::End { run, state } => store.end_run(epoch, *run, state, now),
            Action::Claim { run, step } => {
                let Some(lease) = store.claim_step(epoch, *run, step, "engine", now)? else { return Ok(()) };
                let hold = Hold { epoch, run: *run, step: step.clone(), lease };
                let held = Held { run: *run, step: step.clone(), lease, asked: None };
                let run = store.run(*run)?.unwrap();
                let plan = run.pipeline.step(step).unwrap().clone();
                self.hands.push(Hand { held, hold, step: run.step(step).unwrap().clone(), plan });
                Ok(())
            }
            Action::Stop { lease, why } => {
                let asked = Some(Asked { why: *why, since: now.steady });
                self.hands
                    .iter_mut()
                    .filter(|hand| hand.held.lease == *lease)
                    .for_each(|hand| hand.held.asked = asked);
                Ok(())
            }
            Action::Leave { lease } => {
                let Some(hand) = self.hands.iter().position(|hand| hand.held.lease == *lease) else {
                    return Ok(());
                };
                let hand = self.hands.remove(hand);
                let why = hand.held.asked.map(|asked| asked.why);
                let end = end_of(Err(WorkError::Stopped), why, &hand.plan, &hand.step, now.steady);
                end.map_or(Ok(()), |end| unless_lost(store.end_attempt(&hand.hold, &end, now)))
            }
            Action::Abandon { run, step, lease } => {
                let hold = Hold { epoch, run: *run, step: step.clone(), lease: *lease };
                let run = store.run(*run)?.unwrap();
                let (plan, step) = (run.pipeline.step(step).unwrap(), run.step(step).unwrap());
                let failure = serin_core::domain::Failure::new("abandoned", "nobody made it");
                let end = StepEnd::Failed { failure, retry_at: retry_at(plan, step, now.steady) };
                unless_lost(store.end_attempt(&hold, &end, now))
            }
        }
    }
}

fn unless_lost(result: Result<(), StoreError>) -> Result<(), StoreError> {
    match result {
        Err(StoreError::Lost) => Ok(()),
        other => other,
    }
}

fn lease(step: &Step) -> Option<Lease> {
    match step.state {
        StepState::Running { lease, .. } => Some(lease),
        _ => None,
    }
}

/// `a`, then `b` and `c`, then a question, then `e`; `f` beside them all.
fn pipeline() -> Pipeline {
    let steps: [(&str, &str, &[&str]); 6] = [
        ("a", "make", &[]),
        ("b", "make", &["a"]),
        ("c", "make", &["a"]),
        ("approve", "ask", &["b", "c"]),
        ("e", "make", &["approve"]),
        ("f", "make", &[]),
    ];
    let plan = |(name, kind, after): (&str, &str, &[&str])| StepPlan {
        name: name.into(),
        kind: kind.into(),
        version: 1,
        argument: String::new(),
        after: after.iter().map(|&name| name.into()).collect(),
        retry: RetryPolicy::default(),
        time_limit_seconds: TIME_LIMIT.as_secs(),
        is_reusable: false,
        only_waits: false,
    };
    Pipeline::new(steps.map(plan).into()).unwrap()
}

fn made(step: &str) -> StepEnd {
    let output = Digest::of(step.as_bytes());
    StepEnd::Succeeded { output, key: None, reused_from: None, further: Vec::new() }
}

fn question(run: RunNumber) -> StepEnd {
    let digest = Digest::of(run.to_string().as_bytes());
    let (project, stage, version) = ("toy".into(), "prod".into(), VersionNumber(1));
    let subject =
        ApprovalSubject { project, stage, version, revision: digest, bundle: digest, shown: digest };
    let valid = Duration::from_secs(30);
    StepEnd::Asked(Box::new(ApprovalRequest { subject, valid, needs_four_eyes: false, asked_by: None }))
}
