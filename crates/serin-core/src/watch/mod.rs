//! The eyes: one thread that samples metrics every second, looks at windows of live rows when they are over, evaluates
//! alarms and asks for retraining.
//!
//! What it decides is decided by pure functions ([`crate::monitor`], [`crate::alarms`], [`crate::metrics`]); what it must
//! remember is stored at once, so that a window is looked at once and a change of an alarm is told once, whenever the
//! process dies.

mod alarms;
mod evaluation;
mod labels;
mod look;
mod retrain;
mod sampler;

use std::collections::BTreeMap;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::json;

pub use alarms::{
    Backtest, Samples, StageEndpoint, backtest, datapoints, judge_composite, judge_metric, of_project,
    selector,
};
pub use look::{LookAt, Looker, record};
pub use retrain::{Plan, Reason, Retrained, Retrainer};

use self::evaluation::AlarmInHand;
use self::labels::LabelReader;
use self::sampler::Sampler;
use crate::artifacts::Artifacts;
use crate::causes::in_one_line;
use crate::clock::Timestamp;
use crate::config::Settings;
use crate::domain::{EventKind, RunState};
use crate::engine::{Moments, Waker};
use crate::metrics::{MetricsStore, Point, Recent, Sample, Series};
use crate::monitor::{MonitorReport, metrics};
use crate::pipeline::project_settings;
use crate::routes::{RouteDocument, RoutedServing};
use crate::store::{Moment, MonitorRecord, Store, StoreError};

/// How often everything is sampled.
const LOOK: Duration = Duration::from_secs(1);
/// Samples of so many seconds are one on disk.
const KEEP_MICROSECONDS: i64 = 10 * 1_000_000;
/// How often projects and settings are read again.
const SETTINGS_EVERY: Duration = Duration::from_secs(5);
/// A window is looked at so long after it is over: by then its rows are loaded.
const LOADED_AFTER: Duration = Duration::from_secs(3);
/// Windows that passed unseen and are looked at one by one; of more the last ones.
const CATCH_UP: i64 = 24;
/// Events read at once.
const EVENTS_AT_ONCE: u32 = 500;

/// The file of metrics in a data directory.
#[must_use]
pub fn metrics_file(data_directory: &Path) -> PathBuf {
    data_directory.join("metrics.db")
}

/// What the thread needs.
pub struct WatchOptions {
    pub store: Arc<dyn Store>,
    pub artifacts: Arc<Artifacts>,
    pub moments: Arc<Moments>,
    pub engine: Waker,
    pub data_directory: PathBuf,
}

/// The running thread; it ends when this is dropped.
#[derive(Debug)]
pub struct Watch {
    stops: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// Every second of the last minutes.
    pub recent: Arc<Mutex<Recent>>,
    /// Looks on demand.
    pub looker: Arc<Looker>,
}

struct Watcher {
    options: WatchOptions,
    sampler: Sampler,
    metrics: MetricsStore,
    recent: Arc<Mutex<Recent>>,
    looker: Arc<Looker>,
    retrainer: Retrainer,
    /// Samples of the ten seconds that are not over.
    pending: BTreeMap<Series, Sample>,
    slot: i64,
    projects: Vec<Watched>,
    settings_read: Option<Duration>,
    /// The last event that was counted.
    event: u64,
    evaluated: BTreeMap<(String, String), AlarmInHand>,
    /// The end of the last window that was looked at, by endpoint.
    looked_at: BTreeMap<String, Timestamp>,
    labels: BTreeMap<String, LabelReader>,
    /// Why labels of a project could not be read, so that it is told once.
    label_problems: BTreeMap<String, String>,
    problem: Option<String>,
}

/// A project as it was read last.
struct Watched {
    settings: Settings,
    endpoints: Vec<StageEndpoint>,
    monitors: Vec<MonitorRecord>,
}

impl std::fmt::Debug for WatchOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WatchOptions").field("data_directory", &self.data_directory).finish_non_exhaustive()
    }
}

/// Why there are no eyes.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    #[error("the metrics in {} cannot be used", path.display())]
    Metrics { path: PathBuf, source: crate::metrics::MetricsError },
    #[error("there is no thread to be had")]
    Thread(#[from] io::Error),
    #[error("the store refuses")]
    Store(#[from] StoreError),
}

/// The endpoints that a project serves its stages by.
#[must_use]
pub fn stage_endpoints(settings: &Settings, routes: &RouteDocument) -> Vec<StageEndpoint> {
    let last = settings.pipeline.stages.last().map(|stage| &stage.name);
    let mine = routes.endpoints().iter().filter(|endpoint| endpoint.project == settings.project);
    mine.map(|endpoint| StageEndpoint {
        stage: endpoint.stage.clone(),
        endpoint: endpoint.name.clone(),
        is_last: last == Some(&endpoint.stage),
        has_replicas: endpoint
            .variants
            .iter()
            .any(|variant| variant.serving.as_ref().is_some_and(RoutedServing::is_apart)),
    })
    .collect()
}

impl Watch {
    /// Starts it.
    ///
    /// # Errors
    /// When the metrics cannot be opened, or there is no thread to be had.
    pub fn start(options: WatchOptions) -> Result<Self, WatchError> {
        let path = metrics_file(&options.data_directory);
        let metrics = MetricsStore::open(&path).map_err(|source| WatchError::Metrics { path, source })?;
        let recent = Arc::new(Mutex::new(Recent::new()));
        let WatchOptions { store, artifacts, data_directory, .. } = &options;
        let looker = Arc::new(Looker::new(store.clone(), artifacts.clone(), data_directory.clone()));
        let retrainer = Retrainer {
            store: store.clone(),
            artifacts: artifacts.clone(),
            data_directory: data_directory.clone(),
        };
        let mut watcher = Watcher {
            sampler: Sampler::new(data_directory.clone()),
            metrics,
            recent: recent.clone(),
            looker: looker.clone(),
            retrainer,
            pending: BTreeMap::new(),
            slot: options.moments.wall().0.div_euclid(KEEP_MICROSECONDS),
            projects: Vec::new(),
            settings_read: None,
            event: store.last_event()?,
            evaluated: BTreeMap::new(),
            looked_at: BTreeMap::new(),
            labels: BTreeMap::new(),
            label_problems: BTreeMap::new(),
            problem: None,
            options,
        };
        let stops = Arc::new(AtomicBool::new(false));
        let seen = stops.clone();
        let thread = thread::Builder::new().name("watch".to_owned()).spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                // What goes wrong in one round must not end all watching in silence.
                if panic::catch_unwind(AssertUnwindSafe(|| watcher.tick())).is_err() {
                    tracing::error!("a round of watching ended unexpectedly; the next one begins anew");
                }
                // In pieces, so that the end need not wait.
                for _ in 0..4 {
                    if !seen.load(Ordering::Relaxed) {
                        thread::sleep(LOOK / 4);
                    }
                }
            }
            watcher.flush();
        })?;
        Ok(Self { stops, thread: Some(thread), recent, looker })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stops.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic was reported where it happened.
            let _ = thread.join();
        }
    }
}

impl Watcher {
    fn tick(&mut self) {
        let now = self.options.moments.now();
        let monotonic = self.options.moments.monotonic();
        self.sample(now, monotonic);
        // What fails of one keeps none of the others.
        let outcomes = [
            self.read_settings(monotonic),
            self.labels(now),
            self.looks(now, monotonic),
            self.alarms(now, monotonic),
        ];
        let problem = outcomes.into_iter().find_map(Result::err).map(|error| in_one_line(&error));
        if let Some(problem) = problem.as_ref().filter(|problem| self.problem.as_ref() != Some(problem)) {
            tracing::error!(error = problem, "live rows and alarms are not watched");
        }
        self.problem = problem;
    }

    /// Takes a sample of everything; those of ten seconds go to disk together.
    fn sample(&mut self, now: Moment, monotonic: Duration) {
        let slot = now.wall.0.div_euclid(KEEP_MICROSECONDS);
        if slot != self.slot {
            self.flush();
            self.slot = slot;
        }
        let mut seen = self.sampler.sample(monotonic);
        for (name, bounds) in &seen.bounds {
            let known = self.recent().set_bounds(name, bounds);
            if let Err(error) = known.map_err(Into::into).and_then(|()| self.metrics.set_bounds(name, bounds))
            {
                tracing::debug!(error = &error as &dyn std::error::Error, "a histogram is not kept");
            }
        }
        if let Ok(samples) = self.events() {
            seen.samples.extend(samples);
        }
        let points: Vec<Point> =
            seen.samples.into_iter().map(|(series, sample)| (series, now.wall, sample)).collect();
        self.recent().record(&points, now.wall);
        for (series, _, sample) in points {
            self.pending.entry(series).or_default().merge(&sample);
        }
    }

    fn recent(&self) -> std::sync::MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs that ended since the last look.
    fn events(&mut self) -> Result<Vec<(Series, Sample)>, StoreError> {
        let store = &self.options.store;
        let mut samples = Vec::new();
        for event in store.events(self.event, EVENTS_AT_ONCE)? {
            self.event = event.number;
            let name = match event.kind {
                EventKind::RunSucceeded => "runs_succeeded",
                EventKind::RunFailed => "runs_failed",
                _ => continue,
            };
            let labels = [("project", event.project.as_str())];
            samples.push((Series::new(name, &labels), Sample::of(1.0)));
            let run = event.run.map(|run| store.run(run)).transpose()?.flatten();
            if let Some(run) = run
                && let Some(ended) = run.ended
                && run.state == RunState::Succeeded
            {
                let seconds = ended.0.saturating_sub(run.created.0).max(0) as f64 / 1e6;
                samples.push((Series::new("run_duration_seconds", &labels), Sample::of(seconds)));
            }
        }
        Ok(samples)
    }

    fn flush(&mut self) {
        let time = Timestamp(self.slot.saturating_mul(KEEP_MICROSECONDS));
        let pending = std::mem::take(&mut self.pending);
        let points: Vec<Point> = pending.into_iter().map(|(series, sample)| (series, time, sample)).collect();
        self.keep(&points);
        if let Err(error) = self.metrics.upkeep(time) {
            tracing::warn!(error = &error as &dyn std::error::Error, "old metrics are not put together");
        }
    }

    fn keep(&mut self, points: &[Point]) {
        match self.metrics.record(points) {
            Ok(recorded) if recorded.refused.total() > 0 => {
                tracing::debug!(metrics.refused = recorded.refused.total(), "some metrics are not kept");
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "metrics are not kept");
            }
        }
    }

    /// Reads projects, their settings and what serves them; one whose settings are wrong keeps those it had.
    fn read_settings(&mut self, monotonic: Duration) -> Result<(), StoreError> {
        if self.settings_read.is_some_and(|read| monotonic.saturating_sub(read) < SETTINGS_EVERY) {
            return Ok(());
        }
        self.settings_read = Some(monotonic);
        let store = &self.options.store;
        let (projects, monitors, routes) = (store.projects()?, store.monitors()?, store.routes()?);
        let mut known = std::mem::take(&mut self.projects);
        for project in projects {
            let before = known.iter().position(|watched| watched.settings.project == project.name);
            let before = before.map(|place| known.swap_remove(place).settings);
            let Some(settings) = project_settings(Path::new(&project.folder)).ok().or(before) else {
                continue;
            };
            let endpoints =
                routes.as_ref().map_or_else(Vec::new, |routes| stage_endpoints(&settings, routes));
            let mine = monitors.iter().filter(|monitor| monitor.project == project.name);
            self.projects.push(Watched { settings, endpoints, monitors: mine.cloned().collect() });
        }
        Ok(())
    }

    /// Asks the databases that know true classes.
    fn labels(&mut self, now: Moment) -> Result<(), StoreError> {
        for watched in &self.projects {
            let Some(source) = &watched.settings.monitor.labels else { continue };
            let project = &watched.settings.project;
            let reader = self.labels.entry(project.clone()).or_default();
            match reader.look(source, &self.options.data_directory, &self.options.moments) {
                Ok(0) => {}
                Ok(count) => {
                    self.label_problems.remove(project);
                    tracing::info!(project, labels.count = count, "labels were read");
                }
                Err(problem) if self.label_problems.get(project) == Some(&problem) => {}
                Err(problem) => {
                    let text = format!("labels of {project} cannot be read: {problem}");
                    let facts = json!({ "trigger": "labels" });
                    let store = &self.options.store;
                    store.tell(EventKind::TriggerFailed, project, None, &text, facts, now)?;
                    self.label_problems.insert(project.clone(), problem);
                }
            }
        }
        Ok(())
    }

    /// Looks at every window that is over and was not looked at, once its rows are loaded.
    fn looks(&mut self, now: Moment, monotonic: Duration) -> Result<(), StoreError> {
        let mut due: Vec<(LookAt, Settings)> = Vec::new();
        let lag = self.sampler.capture_lag(monotonic);
        for watched in self.projects.iter().filter(|watched| watched.settings.monitor.is_enabled) {
            let width = i64::try_from(watched.settings.monitor.window.as_micros()).unwrap_or(i64::MAX);
            // Rows that wait in the journal are waited for, up to a window.
            let loaded = LOADED_AFTER + lag.min(watched.settings.monitor.window);
            let loaded = i64::try_from(loaded.as_micros()).unwrap_or(0);
            let end = now.wall.0.saturating_sub(loaded).div_euclid(width) * width;
            for monitor in &watched.monitors {
                let endpoint = &monitor.endpoint;
                let known = self.looked_at.get(endpoint).copied();
                let last = match known {
                    Some(last) => Some(last),
                    None => self.options.store.last_window(endpoint, now.wall)?,
                };
                // A look from the future was made by a clock that was wrong.
                let last = last.filter(|last| last.0 <= now.wall.0);
                let seen = last.map_or(monitor.since.0, |last| last.0.max(monitor.since.0));
                // The window in which the version came is the first.
                let first = seen.div_euclid(width).saturating_mul(width).max(end - CATCH_UP * width);
                let mut from = first;
                while from.saturating_add(width) <= end {
                    let (from_time, to) = (Timestamp(from), Timestamp(from + width));
                    if last.is_none_or(|last| last < to) {
                        let look = LookAt { monitor: monitor.clone(), from: from_time, to, asked_by: None };
                        due.push((look, watched.settings.clone()));
                    }
                    from += width;
                }
                if let Some(last) = last {
                    self.looked_at.insert(endpoint.clone(), last);
                }
            }
        }
        for (look, settings) in due {
            let report = self.looker.look(&look, &settings.monitor)?;
            self.keep_look(&look, &report, &settings, now)?;
            self.looked_at.insert(look.monitor.endpoint.clone(), look.to);
            // What was found is told now, not at the next round.
            let mine = self.evaluated.iter_mut().filter(|((project, _), _)| *project == settings.project);
            mine.for_each(|(_, in_hand)| in_hand.due = Duration::ZERO);
        }
        Ok(())
    }

    /// Stores a look, its numbers and what it tells.
    fn keep_look(
        &mut self,
        look: &LookAt,
        report: &MonitorReport,
        settings: &Settings,
        now: Moment,
    ) -> Result<(), StoreError> {
        let number = self.options.store.put_monitor_run(&record(report, None), now)?;
        // The last moment of the window: alarms read whole windows.
        let time = Timestamp(look.to.0 - 1);
        let labels = [("endpoint", look.monitor.endpoint.as_str())];
        let points: Vec<Point> = metrics(report, &settings.monitor)
            .into_iter()
            .map(|(name, value)| (Series::new(&name, &labels), time, Sample::of(value)))
            .collect();
        self.keep(&points);
        if let Some(worst) = report.confirmed.first() {
            let what = worst.finding.column.as_deref().unwrap_or("rows");
            let text = format!(
                "{}: {} in {} windows, {what}: {}",
                look.monitor.stage,
                worst.finding.kind.name(),
                worst.windows,
                worst.finding.text
            );
            let facts = json!({
                "look": number,
                "endpoint": look.monitor.endpoint,
                "stage": look.monitor.stage,
                "version": look.monitor.version,
                "confirmed": report.confirmed.len(),
            });
            self.options.store.tell(EventKind::DriftFound, &settings.project, None, &text, facts, now)?;
        }
        Ok(())
    }
}
