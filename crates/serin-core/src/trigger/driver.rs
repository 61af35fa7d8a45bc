//! The triggers of all projects: each is looked at when it is due, and what it finds becomes a wish for a run.
//!
//! A wish is left before the trigger's position moves on, under a key that is the same when it is left again: whatever
//! dies in between, one reason makes one run. What a rule refuses, such as the cooldown, is asked for again later.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Schedule, WatchLimits, Watcher};
use crate::artifacts::Artifacts;
use crate::causes::in_one_line;
use crate::clock::{Clock, Timestamp};
use crate::config::Settings;
use crate::domain::{Cause, EventKind, WishOutcome};
use crate::engine::{Moments, Waker};
use crate::pipeline::{Asked, project_settings, repository};
use crate::store::{Project, Store, TriggerRecord, TriggerState};

mod dropped;

/// How often it is looked which trigger is due.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// How often settings and projects are read again.
const SETTINGS_INTERVAL: Duration = Duration::from_secs(2);
/// Data that changed is looked at so often, so many times: longer than it takes to settle.
const EAGER_INTERVAL: Duration = Duration::from_secs(1);
const EAGER_LOOKS: u32 = 6;
/// How often the folder of uploads is looked at.
const DROPPED_INTERVAL: Duration = Duration::from_secs(1);
/// How often a schedule is looked at; a minute is the least that it tells apart.
const SCHEDULE_INTERVAL: Duration = Duration::from_secs(2);
/// A trigger that fails is looked at again after this many times its interval.
const PATIENCE: u32 = 3;
/// Instants of a schedule that are caught up with in one look.
const INSTANTS_AT_ONCE: usize = 10_000;

/// The names of triggers.
pub const GIT: &str = "git";
pub const DATA: &str = "data";
pub const UPLOAD: &str = "upload";
pub const SCHEDULE: &str = "schedule";
pub const ALARM: &str = "alarm";

/// What triggers need.
#[derive(Debug)]
pub struct TriggerOptions {
    pub store: Arc<dyn Store>,
    pub artifacts: Arc<Artifacts>,
    pub moments: Arc<Moments>,
    pub clock: Arc<dyn Clock>,
    pub engine: Waker,
    pub data_directory: PathBuf,
}

/// Looks until it is dropped.
#[derive(Debug)]
pub struct Triggers {
    poke: Option<Sender<Poke>>,
    thread: Option<JoinHandle<()>>,
}

/// Makes triggers look at once: for whoever was told that there is something to see.
#[derive(Debug, Clone)]
pub struct TriggerPoker(Sender<Poke>);

/// A trigger of a project, to be looked at now.
#[derive(Debug)]
struct Poke {
    project: String,
    trigger: &'static str,
}

impl Triggers {
    /// Starts to look.
    ///
    /// # Errors
    /// When there are no threads.
    pub fn start(options: TriggerOptions) -> std::io::Result<Self> {
        let (poke, pokes) = channel();
        let round = Round { options, projects: BTreeMap::new(), read: None, broken: BTreeMap::new() };
        let thread = std::thread::Builder::new().name("triggers".into()).spawn(move || round.go(&pokes))?;
        Ok(Self { poke: Some(poke), thread: Some(thread) })
    }

    /// Something that makes it look.
    #[must_use]
    pub fn poker(&self) -> Option<TriggerPoker> {
        self.poke.clone().map(TriggerPoker)
    }
}

impl Drop for Triggers {
    fn drop(&mut self) {
        drop(self.poke.take());
        if let Some(thread) = self.thread.take() {
            // A panic was reported where it happened.
            let _ = thread.join();
        }
    }
}

impl TriggerPoker {
    /// Looks at the repository of a project now.
    pub fn repository_changed(&self, project: &str) {
        // Nobody looks any more: the next start does.
        let _ = self.0.send(Poke { project: project.to_owned(), trigger: GIT });
    }
}

/// The looks at everything, again and again.
struct Round {
    options: TriggerOptions,
    projects: BTreeMap<String, Watched>,
    /// When projects and settings were read last.
    read: Option<Duration>,
    /// What is wrong with the settings of projects, so that it is told once.
    broken: BTreeMap<String, String>,
}

/// A project as it was read last, and what is kept between two looks.
struct Watched {
    project: Project,
    settings: Settings,
    watcher: Option<Watcher>,
    /// Told by the operating system that something changed below a watched path.
    waker: Option<(super::Waker, Arc<AtomicBool>)>,
    /// Looks at the data that follow soon, until what changed has settled.
    eager_looks: u32,
    /// A version of the data that was told and not yet taken.
    pending: Option<String>,
    /// When each trigger is due, on the monotonic clock.
    due: BTreeMap<&'static str, Duration>,
    /// The last failure of each, so that it is told once.
    failures: BTreeMap<&'static str, String>,
}

impl Round {
    fn go(mut self, pokes: &Receiver<Poke>) {
        loop {
            match pokes.recv_timeout(LOOK_INTERVAL) {
                Ok(Poke { project, trigger }) => {
                    if let Some(watched) = self.projects.get_mut(&project) {
                        watched.due.remove(trigger);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.read_settings();
            for watched in self.projects.values_mut() {
                for trigger in [GIT, DATA, UPLOAD, SCHEDULE] {
                    look(&self.options, watched, trigger);
                }
            }
        }
    }

    /// Reads projects and their settings again; one whose settings are wrong keeps those it had.
    fn read_settings(&mut self) {
        let now = self.options.clock.monotonic();
        if self.read.is_some_and(|read| now.saturating_sub(read) < SETTINGS_INTERVAL) {
            return;
        }
        self.read = Some(now);
        let Ok(projects) = self.options.store.projects() else { return };
        self.projects.retain(|name, _| projects.iter().any(|project| project.name == *name));
        for project in projects {
            let settings = match project_settings(Path::new(&project.folder)) {
                Ok(settings) => settings,
                Err(error) => {
                    self.tell_broken(&project.name, &error.to_string());
                    continue;
                }
            };
            self.broken.remove(&project.name);
            match self.projects.get_mut(&project.name) {
                Some(watched) => {
                    if watched.settings.triggers.watch != settings.triggers.watch {
                        watched.watcher = None;
                        watched.waker = None;
                    }
                    watched.settings = settings;
                    watched.project = project;
                }
                None => {
                    let name = project.name.clone();
                    let watched = Watched {
                        project,
                        settings,
                        watcher: None,
                        waker: None,
                        eager_looks: 0,
                        pending: None,
                        due: BTreeMap::new(),
                        failures: BTreeMap::new(),
                    };
                    self.projects.insert(name, watched);
                }
            }
        }
    }
}

impl Round {
    fn tell_broken(&mut self, project: &str, problem: &str) {
        if self.broken.get(project).is_some_and(|told| told == problem) {
            return;
        }
        let text = format!("the settings of {project} cannot be used: {problem}");
        let now = self.options.moments.now();
        let facts = serde_json::json!({ "trigger": "settings" });
        if self.options.store.tell(EventKind::TriggerFailed, project, None, &text, facts, now).is_ok() {
            self.broken.insert(project.to_owned(), problem.to_owned());
        }
    }
}

/// Looks at one trigger, if it is due.
fn look(options: &TriggerOptions, watched: &mut Watched, trigger: &'static str) {
    let settings = &watched.settings.triggers;
    if trigger == DATA && watched.waker.as_ref().is_some_and(|(_, told)| told.swap(false, Ordering::SeqCst)) {
        watched.eager_looks = EAGER_LOOKS;
        watched.due.remove(DATA);
    }
    let interval = match trigger {
        GIT if settings.git && watched.settings.pipeline.source.repository.is_some() => settings.git_poll,
        DATA if watched.eager_looks > 0 => EAGER_INTERVAL.min(settings.watch_poll),
        DATA if !settings.watch.is_empty() => settings.watch_poll,
        UPLOAD if settings.upload_folder.is_some() => DROPPED_INTERVAL,
        SCHEDULE if settings.schedule.is_some() => SCHEDULE_INTERVAL,
        _ => return,
    };
    let now = options.clock.monotonic();
    if watched.due.get(trigger).is_some_and(|due| now < *due) {
        return;
    }
    let looked = (|| {
        let record =
            options.store.trigger(&watched.project.name, trigger).map_err(|error| error.to_string())?;
        if record.as_ref().is_some_and(|record| record.is_paused) {
            return Ok(());
        }
        let mut sight = Sight { options, watched, record };
        match trigger {
            GIT => sight.git(),
            DATA => {
                sight.watched.eager_looks = sight.watched.eager_looks.saturating_sub(1);
                sight.data()
            }
            UPLOAD => sight.dropped(),
            _ => sight.schedule(),
        }
    })();
    let wait = if looked.is_ok() { interval } else { interval * PATIENCE };
    watched.due.insert(trigger, options.clock.monotonic() + wait);
    match looked {
        Ok(()) => {
            watched.failures.remove(trigger);
        }
        Err(problem) => tell_once(options, watched, trigger, problem),
    }
}

fn tell_once(options: &TriggerOptions, watched: &mut Watched, trigger: &'static str, problem: String) {
    if watched.failures.get(trigger) == Some(&problem) {
        return;
    }
    let text = format!("trigger {trigger} cannot look: {problem}");
    let facts = serde_json::json!({ "trigger": trigger });
    let now = options.moments.now();
    if options.store.tell(EventKind::TriggerFailed, &watched.project.name, None, &text, facts, now).is_ok() {
        watched.failures.insert(trigger, problem);
    }
}

/// One look at one trigger.
struct Sight<'a> {
    options: &'a TriggerOptions,
    watched: &'a mut Watched,
    record: Option<TriggerRecord>,
}

impl Sight<'_> {
    fn position(&self) -> Option<&TriggerState> {
        self.record.as_ref()?.state.as_ref()
    }

    /// The branch points elsewhere than when it was looked at last; the first look is news too.
    fn git(&mut self) -> Result<(), String> {
        let Watched { project, settings, .. } = &*self.watched;
        let folder = Path::new(&project.folder);
        let source = &settings.pipeline.source;
        let found = repository(source, folder, &self.options.data_directory, &project.name);
        let Some(repository) = found.map_err(|error| error.to_string())? else { return Ok(()) };
        let commit = repository.head().map_err(|error| in_one_line(&error))?.as_str().to_owned();
        if self.position().is_some_and(|state| state.position == commit) {
            return Ok(());
        }
        self.wish(GIT, Cause::Commit { commit: commit.clone() }, commit)
    }

    /// The data is another than when it was looked at last; the first look only remembers it.
    fn data(&mut self) -> Result<(), String> {
        let known = self.position().map(|state| state.position.clone());
        let watched = &mut *self.watched;
        let watcher = watched.watcher.get_or_insert_with(|| {
            let known = known.as_ref().and_then(|text| text.parse().ok());
            let paths = watched.settings.triggers.watch.clone();
            Watcher::new(paths, known, WatchLimits::default(), self.options.clock.clone())
        });
        if watched.waker.is_none() {
            let told = Arc::new(AtomicBool::new(false));
            let tell = told.clone();
            let waker = super::Waker::start(&watched.settings.triggers.watch, move || {
                tell.store(true, Ordering::SeqCst);
            });
            watched.waker = Some((waker, told));
        }
        if let Some(version) = watcher.look().map_err(|error| in_one_line(&error))? {
            watched.pending = Some(version.digest.to_string());
        }
        let Some(digest) = watched.pending.clone() else { return Ok(()) };
        if known.as_ref() == Some(&digest) {
            self.watched.pending = None;
            return Ok(());
        }
        if known.is_none() {
            self.advance(DATA, digest.clone(), "the data as it was first seen")?;
        } else {
            self.wish(DATA, Cause::Data { digest: digest.clone() }, digest.clone())?;
        }
        // The rules may have refused for now; then it is asked for again.
        let position =
            self.options.store.trigger(&self.watched.project.name, DATA).map_err(|e| e.to_string())?;
        if position.and_then(|record| record.state).is_some_and(|state| state.position == digest) {
            self.watched.pending = None;
        }
        Ok(())
    }

    /// An instant has come. What was missed meanwhile is one reason, not many.
    fn schedule(&mut self) -> Result<(), String> {
        let Some((cron, zone)) = &self.watched.settings.triggers.schedule else { return Ok(()) };
        let schedule = Schedule::parse(cron, zone).map_err(|error| in_one_line(&error))?;
        let now = self.options.moments.wall();
        let Some(last) = self.position().and_then(|state| state.position.parse::<i64>().ok()).map(Timestamp)
        else {
            return self.advance(SCHEDULE, now.0.to_string(), "from now on");
        };
        let due = schedule.due(last, now, INSTANTS_AT_ONCE);
        let Some(instant) = due.last() else { return Ok(()) };
        if due.len() > 1 {
            tracing::info!(trigger.missed = due.len() - 1, "instants that passed unseen count as one");
        }
        self.wish(SCHEDULE, Cause::Schedule { instant: instant.to_rfc3339() }, instant.0.to_string())
    }

    /// An archive was dropped into the folder.
    fn dropped(&mut self) -> Result<(), String> {
        let Some(folder) = self.watched.settings.triggers.upload_folder.clone() else { return Ok(()) };
        dropped::look(self.options, &self.watched.project, &self.watched.settings, &folder)
    }

    /// Leaves a wish, and moves on unless a rule refused.
    fn wish(&self, trigger: &'static str, cause: Cause, position: String) -> Result<(), String> {
        let project = &self.watched.project.name;
        let before = self.position().map_or(0, |state| state.time.0);
        let key = format!("{trigger}:{before}:{position}");
        let asked = Asked { key: Some(key), ..Asked::plain(project, cause) };
        let now = self.options.moments.now();
        let outcome = asked.leave(self.options.store.as_ref(), &self.watched.settings, now);
        match outcome.map_err(|error| in_one_line(&error))? {
            WishOutcome::Run { run } | WishOutcome::Same { run } => {
                self.options.engine.wake();
                self.advance(trigger, position, &format!("run {run}"))
            }
            WishOutcome::Refused { .. } => Ok(()),
        }
    }

    fn advance(&self, trigger: &'static str, position: String, outcome: &str) -> Result<(), String> {
        let state = TriggerState { position, time: self.options.moments.wall(), outcome: outcome.to_owned() };
        let before = self.position().map(|state| state.position.as_str());
        let now = self.options.moments.now();
        let project = &self.watched.project.name;
        let moved = self.options.store.advance_trigger(project, trigger, before, &state, now);
        // If it had moved on already, another look did the same.
        moved.map(|_| ()).map_err(|error| in_one_line(&error))
    }
}
