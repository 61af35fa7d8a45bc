//! The control plane and the gateway that the demonstration runs, in this process.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serin_core::artifacts::Artifacts;
use serin_core::capture::CaptureOptions;
use serin_core::clock::{Clock, SystemClock};
use serin_core::config::Settings;
use serin_core::domain::{
    Approval, Cause, Decided, Event, EventKind, Run, RunNumber, StepState, Verdict, WishOutcome,
};
use serin_core::monitor::MonitorReport;
use serin_core::pipeline::documents::ApprovalSheet;
use serin_core::pipeline::{Asked, project_settings, read_document};
use serin_core::scale::{FleetPage, ReplicaState};
use serin_core::store::ListOptions;
use serin_ml::dataset::Dataset;
use serin_ml::model::Bundle;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::{client, data_dir, tell};
use crate::control::{Control, ControlOptions};
use crate::fleet::Fleets;
use crate::gateway::lifecycle::{ServeError, ServeOptions, Served, Signals, serve};
use crate::gateway::limits::Limits;
use crate::gateway::routed::RoutedEndpoints;

/// How often it is looked how far a run is.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// How long the trigger may take to see the commit.
const COMMIT_LIMIT: Duration = Duration::from_secs(20);
/// How long rows that changed may take to be noticed, and to lead to a run.
const WATCH_LIMIT: Duration = Duration::from_secs(45);
/// Rows sent to the served model.
const REQUEST_LIMIT: usize = 200;

/// Both planes, on free ports.
pub(super) struct Plant {
    control: Control,
    runtime: Runtime,
    gateway: JoinHandle<Result<Served, ServeError>>,
    stop: mpsc::Sender<()>,
    _reload: mpsc::Sender<()>,
    address: SocketAddr,
    fleets: Arc<Fleets>,
    clock: Arc<dyn Clock>,
    folder: PathBuf,
    project: String,
}

/// Rows that are sent to production all the time.
pub(super) struct Traffic {
    stops: Arc<AtomicBool>,
    asked: Arc<client::Counts>,
}

/// What asking came to.
pub(super) struct AskedDemo {
    pub(super) text: String,
    pub(super) requests: usize,
}

impl Plant {
    pub(super) fn start(folder: &Path, settings: &Settings) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let control = Control::start(ControlOptions {
            data_directory: data_dir(folder),
            program: std::env::current_exe().context("this program cannot find itself")?,
            clock: clock.clone(),
            notify: settings.notify.clone(),
        })?;
        control.add_project(folder)?;
        let runtime = Runtime::new()?;
        let options = ServeOptions {
            listen: ([127, 0, 0, 1], 0).into(),
            admin_listen: ([127, 0, 0, 1], 0).into(),
            tls: None,
            proxies: Vec::new(),
            capture: CaptureOptions::new(data_dir(folder)),
            limits: Limits::default(),
            inherited: None,
        };
        let fleets = Arc::new(super::super::gateway::fleets(&data_dir(folder), clock.clone())?);
        let endpoints = RoutedEndpoints::open(&data_dir(folder), clock.now(), fleets.clone())?.endpoints();
        let (stop, stopped) = mpsc::channel(2);
        let (reload, reloaded) = mpsc::channel(1);
        let (tell_address, address) = oneshot::channel();
        let signals = Signals { stop: stopped, reload: reloaded, hands_over: Arc::default() };
        let gateway = runtime.spawn(serve(options, endpoints, clock.clone(), signals, move |ready| {
            let _ = tell_address.send(ready.address);
        }));
        let address = runtime.block_on(address).context("the gateway did not start")?;
        Ok(Self {
            control,
            runtime,
            gateway,
            stop,
            _reload: reload,
            address,
            fleets,
            clock,
            folder: folder.to_owned(),
            project: settings.project.clone(),
        })
    }

    pub(super) fn artifacts(&self) -> &Artifacts {
        &self.control.artifacts
    }

    pub(super) fn describe(&self) -> String {
        format!(
            "control plane and gateway are up (`serin up` does this); the gateway is http://{}",
            self.address
        )
    }

    /// The run for a commit, which the git trigger asks for; without a repository it is asked for here.
    pub(super) fn run_after(&self, last: RunNumber, is_repository: bool) -> anyhow::Result<RunNumber> {
        if !is_repository {
            let settings = project_settings(&self.folder)?;
            let asked = Asked::plain(&self.project, Cause::Asked { by: super::PERSON.to_owned() });
            let now = self.control.moments.now();
            let outcome = asked.leave(self.control.store.as_ref(), &settings, now)?;
            self.control.engine.waker().wake();
            return match outcome {
                WishOutcome::Run { run } | WishOutcome::Same { run } => Ok(run),
                WishOutcome::Refused { reason, .. } => bail!("{reason}"),
            };
        }
        let until = self.clock.monotonic() + COMMIT_LIMIT;
        loop {
            let runs = self.control.store.runs(&ListOptions { limit: 1, ..ListOptions::default() })?;
            if let Some(run) = runs.first().filter(|run| run.number > last) {
                return Ok(run.number);
            }
            if self.clock.monotonic() > until {
                bail!("the commit was not seen within {} s", COMMIT_LIMIT.as_secs());
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    /// Tells each step as it ends, until the run is over or asks. What `told` has already is not told again.
    pub(super) fn follow(
        &self,
        number: RunNumber,
        told: &mut BTreeSet<String>,
        tell: &dyn Fn(&str),
    ) -> anyhow::Result<Run> {
        loop {
            let run = self.control.store.run(number)?.context("the run is gone")?;
            for step in &run.steps {
                let is_over = matches!(step.state, StepState::Succeeded { .. } | StepState::Failed { .. });
                if is_over && told.insert(step.name.clone()) {
                    tell(&self.step_line(&run, &step.name)?);
                }
            }
            let asks = run.steps.iter().any(|step| matches!(step.state, StepState::Asking { .. }));
            if run.state.is_final() || asks {
                return Ok(run);
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    pub(super) fn open_approval(&self) -> anyhow::Result<Option<Approval>> {
        let open = ListOptions { is_open: true, limit: 1, ..ListOptions::default() };
        Ok(self.control.store.approvals(&open)?.pop())
    }

    pub(super) fn sheet(&self, approval: &Approval) -> anyhow::Result<String> {
        let sheet: ApprovalSheet = read_document(&self.control.artifacts, approval.subject.shown)?;
        Ok(tell::sheet(&sheet))
    }

    pub(super) fn approve(&self, approval: &Approval, by: &str) -> anyhow::Result<()> {
        let decided = Decided {
            verdict: Verdict::Approve,
            by: by.to_owned(),
            reason: "the demonstration".to_owned(),
            seen: Some(approval.subject.shown),
        };
        let now = self.control.moments.now();
        self.control.store.decide_approval(approval.number, &decided, now)??;
        self.control.engine.waker().wake();
        Ok(())
    }

    /// Sends rows one by one to production.
    pub(super) fn ask(&self, rows: &Dataset) -> anyhow::Result<AskedDemo> {
        let champion =
            self.control.store.aliased(&self.project, "champion")?.context("nothing is in production")?;
        let bundle = self.champion()?;
        let bodies = bodies(&bundle, rows);
        let started = self.clock.monotonic();
        let answers = self.runtime.block_on(client::ask(self.address, &bodies))?;
        let seconds = (self.clock.monotonic() - started).as_secs_f64();
        let text =
            tell::answers(rows, &bundle.card.classes, &answers, champion.number, self.address, seconds);
        Ok(AskedDemo { text, requests: answers.len() })
    }

    /// Rows to production all the time, from now on, by so many callers.
    pub(super) fn traffic(&self, rows: &Dataset, callers: usize) -> anyhow::Result<Traffic> {
        let champion = self.champion()?;
        let bodies = bodies(&champion, rows);
        let (stops, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(client::Counts::default()));
        for _ in 0..callers {
            let (seen, counts, address) = (stops.clone(), asked.clone(), self.address);
            self.runtime.spawn(client::keep_asking(address, bodies.clone(), seen, counts));
        }
        Ok(Traffic { stops, asked })
    }

    /// What production's replicas do; `None` when it has none.
    pub(super) fn fleet(&self) -> Option<FleetPage> {
        self.fleets.pages().into_iter().find(|fleet| fleet.endpoint == "prod" && !fleet.is_retired)
    }

    /// Kills a replica as nobody should; its name.
    pub(super) fn kill_one(&self, fleet: &FleetPage) -> Option<String> {
        let replica = fleet.replicas.iter().find(|replica| replica.state == ReplicaState::Ready)?;
        self.fleets.kill(&replica.name).then(|| replica.name.clone())
    }

    pub(super) fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    /// The same rows again and again, each told what is true of it once it was answered.
    pub(super) fn labelled_traffic(&self, rows: &Dataset) -> anyhow::Result<Traffic> {
        let bodies = bodies(&self.champion()?, rows);
        let labels = rows.labels.as_ref().context("the rows have no classes")?;
        let of_row = |code: &u32| labels.classes.get(*code as usize).cloned().unwrap_or_default();
        let labelled = bodies.into_iter().zip(labels.codes.iter().map(of_row)).collect();
        let (stops, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(client::Counts::default()));
        let (seen, counts, address) = (stops.clone(), asked.clone(), self.address);
        self.runtime.spawn(client::keep_telling(address, labelled, seen, counts));
        Ok(Traffic { stops, asked })
    }

    pub(super) fn last_event(&self) -> anyhow::Result<u64> {
        Ok(self.control.store.last_event()?)
    }

    /// The first event after `after` that is meant; `None` when it does not come in time.
    pub(super) fn wait_for_event(
        &self,
        after: u64,
        is_meant: impl Fn(&Event) -> bool,
    ) -> anyhow::Result<Option<Event>> {
        let until = self.clock.monotonic() + WATCH_LIMIT;
        let mut seen = after;
        while self.clock.monotonic() < until {
            for event in self.control.store.events(seen, ListOptions::LIMIT)? {
                seen = event.number;
                if is_meant(&event) {
                    return Ok(Some(event));
                }
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        Ok(None)
    }

    /// The last look at a stage.
    pub(super) fn last_look(&self, stage: &str) -> anyhow::Result<Option<MonitorReport>> {
        let looks = self.control.store.monitor_runs(None, &ListOptions::default())?;
        let Some(look) = looks.into_iter().find(|look| look.stage == stage) else { return Ok(None) };
        let look = self.control.store.monitor_run(look.number)?;
        Ok(look.and_then(|look| serde_json::from_value(look.report?).ok()))
    }

    /// The run after this one, once there is one.
    pub(super) fn next_run(&self, last: RunNumber) -> anyhow::Result<Option<RunNumber>> {
        let until = self.clock.monotonic() + WATCH_LIMIT;
        loop {
            let runs = self.control.store.runs(&ListOptions { limit: 1, ..ListOptions::default() })?;
            if let Some(run) = runs.first().filter(|run| run.number > last) {
                return Ok(Some(run.number));
            }
            if self.clock.monotonic() > until {
                return Ok(None);
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    /// What the decision to retrain says; it is written a moment after the run that it makes.
    pub(super) fn retrain_reason(&self) -> anyhow::Result<String> {
        let until = self.clock.monotonic() + WATCH_LIMIT;
        loop {
            let decisions = self.control.store.decisions(&ListOptions::default())?;
            let mut decisions = decisions.into_iter();
            if let Some(decision) = decisions.find(|one| one.rule == "retrain" && one.verdict == "retrain") {
                let (number, explanation) = (decision.number, decision.explanation);
                return Ok(format!("decision {number} (`serin explain decision {number}`): {explanation}"));
            }
            if self.clock.monotonic() > until {
                return Ok("the decision that made the run was not recorded".to_owned());
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    /// What a rollout of the run told after an event: its number and words.
    pub(super) fn rollout_events(&self, run: RunNumber, after: u64) -> anyhow::Result<Vec<(u64, String)>> {
        let kinds = [
            EventKind::RolloutStarted,
            EventKind::RolloutAdvanced,
            EventKind::RolloutHeld,
            EventKind::RolledBack,
        ];
        let events = self.control.store.events_of(run)?;
        // Changes of routes are told by the decisions that make them.
        let is_told = |event: &&Event| {
            event.number > after
                && event.facts["stage"] == "prod"
                && kinds.contains(&event.kind)
                && (event.facts["rollout"].is_u64() || event.kind == EventKind::RolledBack)
        };
        Ok(events.iter().filter(is_told).map(|event| (event.number, event.text.clone())).collect())
    }

    pub(super) fn run(&self, number: RunNumber) -> anyhow::Result<Run> {
        self.control.store.run(number)?.context("the run is gone")
    }

    /// What production serves, in words.
    pub(super) fn serving(&self) -> anyhow::Result<String> {
        let routes = self.control.store.routes()?.context("nothing is deployed")?;
        let prod = routes.endpoints().iter().find(|endpoint| endpoint.stage == "prod");
        let variants = prod.into_iter().flat_map(|endpoint| &endpoint.variants);
        let each =
            variants.map(|variant| format!("version {}, {} %", variant.model.number, 100.0 * variant.weight));
        Ok(each.collect::<Vec<_>>().join("\n"))
    }

    fn champion(&self) -> anyhow::Result<Bundle> {
        let champion =
            self.control.store.aliased(&self.project, "champion")?.context("nothing is in production")?;
        let bytes = self.control.artifacts.read(&champion.artifact, serin_ml::model::BUNDLE_LIMIT_BYTES)?;
        Ok(Bundle::decode(&bytes)?)
    }

    /// Metrics of the version that the run made, if it made one.
    pub(super) fn version_of(
        &self,
        run: RunNumber,
    ) -> anyhow::Result<Option<serin_core::domain::ModelVersion>> {
        let versions = self.control.store.versions(&ListOptions::default())?;
        Ok(versions.into_iter().find(|version| version.run == run))
    }

    /// Ends both; rows that are on their way are loaded first.
    pub(super) fn stop(self) -> anyhow::Result<Served> {
        let Self { control, runtime, gateway, stop, .. } = self;
        let served = runtime.block_on(async {
            stop.send(()).await.context("the gateway ended early")?;
            anyhow::Ok(gateway.await??)
        })?;
        drop(control);
        runtime.shutdown_background();
        Ok(served)
    }

    fn step_line(&self, run: &Run, step: &str) -> anyhow::Result<String> {
        let attempts = self.control.store.attempts(run.number)?;
        let of_step = attempts.iter().filter(|attempt| attempt.step == step);
        let microseconds: i64 = of_step.filter_map(|attempt| Some(attempt.ended?.0 - attempt.began.0)).sum();
        Ok(tell::step(run, step, microseconds as f64 / 1e6))
    }
}

impl Traffic {
    /// No more; how many there were, and how many failed.
    pub(super) fn stop(self) -> (u64, u64) {
        self.stops.store(true, Ordering::Relaxed);
        (self.asked.requests.load(Ordering::Relaxed), self.asked.failed.load(Ordering::Relaxed))
    }
}

/// The first rows as CSV request bodies, one row each.
fn bodies(bundle: &Bundle, rows: &Dataset) -> Vec<String> {
    let positions: Vec<usize> =
        bundle.card.schema.names().filter_map(|name| rows.schema.position(name)).collect();
    (0..rows.n_rows.min(REQUEST_LIMIT))
        .map(|row| {
            let cells = positions.iter().map(|&column| match rows.columns[column][row] {
                value if value.is_nan() => String::new(),
                value => value.to_string(),
            });
            cells.collect::<Vec<_>>().join(",")
        })
        .collect()
}
