//! The control plane of a data directory: the store, the engine and everything that asks for runs, in one value.

mod note;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use serin_core::artifacts::Artifacts;
use serin_core::clock::Clock;
use serin_core::config::{NotifySettings, Settings};
use serin_core::engine::{Engine, EngineOptions, Moments};
use serin_core::mlflow::{MIRRORED, Mirror, MirrorChannel, MlflowSettings};
use serin_core::notify::{Outbox, subscriptions};
use serin_core::pipeline::{PipelineOptions, project_settings, works};
use serin_core::replicas::{Scalings, ScalingsOptions};
use serin_core::rollout_driver::{Rollouts, RolloutsOptions};
use serin_core::routes::RoutesFile;
use serin_core::runtime::LocalJobs;
use serin_core::runtime::container::owner_of;
use serin_core::store::{Project, SqliteStore, Store};
use serin_core::trigger::{Schedule, TriggerOptions, Triggers};
use serin_core::watch::{Watch, WatchOptions};

pub use note::ControlNote;

/// The control plane's database in the data directory.
pub const DATABASE: &str = "control.db";

/// What a control plane is made of.
#[derive(Debug)]
pub struct ControlOptions {
    pub data_directory: PathBuf,
    /// This program, which jobs run as processes of their own.
    pub program: PathBuf,
    pub clock: Arc<dyn Clock>,
    /// Who is told what.
    pub notify: NotifySettings,
}

/// A running control plane. It ends when it is dropped: steps that are being done are begun anew at the next start.
#[derive(Debug)]
pub struct Control {
    pub data_directory: PathBuf,
    pub store: Arc<dyn Store>,
    pub artifacts: Arc<Artifacts>,
    pub routes: Arc<RoutesFile>,
    pub moments: Arc<Moments>,
    // Fields go in this order: nothing asks for runs, then nothing goes on or does them, then nothing is told.
    pub triggers: Triggers,
    _rollouts: Rollouts,
    pub watch: Watch,
    _scalings: Scalings,
    pub engine: Engine,
    _outbox: Outbox,
    /// The kernel lets go of it when the process dies.
    _lock: File,
}

impl Control {
    /// Opens the data directory, publishes the routes that the store has, and goes on with every run.
    ///
    /// # Errors
    /// When the data directory cannot be used, or another process controls it.
    pub fn start(options: ControlOptions) -> anyhow::Result<Self> {
        let ControlOptions { data_directory, program, clock, notify } = options;
        std::fs::create_dir_all(&data_directory)
            .with_context(|| format!("{}: cannot be made", data_directory.display()))?;
        // Programs that are started elsewhere are told of it.
        let data_directory = data_directory
            .canonicalize()
            .with_context(|| format!("{}: cannot be used", data_directory.display()))?;
        let lock = lock(&data_directory)?;
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&data_directory.join(DATABASE))?);
        let artifacts = Arc::new(Artifacts::open(&data_directory, clock.now())?);
        let routes = Arc::new(RoutesFile::open(&data_directory)?);
        remove_leftovers(&data_directory);
        let jobs = Arc::new(LocalJobs::new(&program, owner_of(&data_directory), clock.clone()));
        remove_containers(jobs.clone());
        let works = works(PipelineOptions {
            data_directory: data_directory.clone(),
            artifacts: artifacts.clone(),
            jobs: jobs.clone(),
            program,
            routes: routes.clone(),
        });
        let mut subscriptions = subscriptions(&notify, &clock)?;
        if let Some(experiments) = &notify.experiments {
            let settings = MlflowSettings {
                url: experiments.mlflow.clone(),
                user: None,
                secret_file: experiments.token_file.clone(),
            };
            let mirror = Mirror::new(settings).context("experiments.mlflow")?;
            let channel = MirrorChannel::new(mirror, store.clone(), artifacts.clone());
            subscriptions.push((Arc::new(channel), MIRRORED.to_vec()));
        }
        let engine = Engine::start(EngineOptions {
            store: store.clone(),
            works,
            clock: clock.clone(),
            data_directory: data_directory.clone(),
            owner: owner(),
            lease: EngineOptions::LEASE,
            steps_limit: EngineOptions::usual_steps_limit(),
        })?;
        let moments = engine.moments();
        // A store that was restored may know less than gateways do.
        if let Ok(Some(known)) = routes.read() {
            store.continue_routes(&known, moments.now())?;
        }
        // What was decided and not yet told, because the last control plane died in between.
        if let Some(document) = store.routes()? {
            routes.publish(&document)?;
        }
        let outbox = Outbox::start(subscriptions, store.clone(), moments.clone())?;
        let reign = engine.waker();
        let rollouts = Rollouts::start(RolloutsOptions {
            store: store.clone(),
            routes: routes.clone(),
            artifacts: artifacts.clone(),
            jobs,
            moments: moments.clone(),
            clock: clock.clone(),
            data_directory: data_directory.clone(),
            epoch: Box::new(move || reign.epoch()),
        })?;
        let watch = Watch::start(WatchOptions {
            store: store.clone(),
            artifacts: artifacts.clone(),
            moments: moments.clone(),
            engine: engine.waker(),
            data_directory: data_directory.clone(),
        })?;
        let scalings = Scalings::start(ScalingsOptions {
            store: store.clone(),
            moments: moments.clone(),
            data_directory: data_directory.clone(),
        })?;
        let triggers = Triggers::start(TriggerOptions {
            store: store.clone(),
            artifacts: artifacts.clone(),
            moments: moments.clone(),
            clock,
            engine: engine.waker(),
            data_directory: data_directory.clone(),
        })?;
        let control = Self {
            data_directory,
            store,
            artifacts,
            routes,
            moments,
            triggers,
            _rollouts: rollouts,
            watch,
            _scalings: scalings,
            engine,
            _outbox: outbox,
            _lock: lock,
        };
        Ok(control)
    }

    /// Adds the project in `folder`, or says where it is now.
    ///
    /// # Errors
    /// When its settings cannot be used, or another folder has a project of its name.
    pub fn add_project(&self, folder: &Path) -> anyhow::Result<Settings> {
        let folder = folder
            .canonicalize()
            .with_context(|| format!("{}: there is no such folder", folder.display()))?;
        let settings = project_settings(&folder)?;
        if let Some((cron, zone)) = &settings.triggers.schedule {
            Schedule::parse(cron, zone)
                .with_context(|| format!("{}: triggers.schedule", folder.display()))?;
        }
        let known = self.store.projects()?;
        let path = folder.display().to_string();
        let other = known.iter().find(|project| project.name == settings.project && project.folder != path);
        if let Some(other) = other
            && Path::new(&other.folder).join("serin.toml").exists()
        {
            bail!("{path}: the project {:?} is in {} already", settings.project, other.folder);
        }
        let project = Project { name: settings.project.clone(), folder: path };
        self.store.put_project(&project, self.moments.now())?;
        Ok(settings)
    }
}

impl Control {
    /// Whether the project of a folder was added before.
    #[must_use]
    pub fn knows(&self, folder: &Path) -> bool {
        let folder = folder.canonicalize().map(|folder| folder.display().to_string()).unwrap_or_default();
        self.store.projects().is_ok_and(|projects| projects.iter().any(|project| project.folder == folder))
    }
}

/// One process controls a data directory.
fn lock(data_directory: &Path) -> anyhow::Result<File> {
    let path = data_directory.join("control.lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(|| format!("{}: cannot be opened", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("{}: another process controls it; stop that one first", data_directory.display())
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("{}: cannot be locked", path.display()))
        }
    }
}

/// Work folders of attempts that died with an earlier engine.
fn remove_leftovers(data_directory: &Path) {
    let folder = data_directory.join("work");
    if let Err(error) = std::fs::remove_dir_all(&folder)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        let error: &dyn std::error::Error = &error;
        tracing::warn!(error, "old work folders remain");
    }
}

/// Containers of jobs whose engine was killed. A container engine may take its time, and nobody waits for it.
fn remove_containers(jobs: Arc<LocalJobs>) {
    let swept =
        std::thread::Builder::new().name("sweep".to_owned()).spawn(move || match jobs.containers().sweep() {
            Ok(0) => {}
            Ok(removed) => {
                tracing::info!(containers.removed = removed, "containers of an earlier engine removed");
            }
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "containers of an earlier engine may remain");
            }
        });
    if let Err(error) = swept {
        let error: &dyn std::error::Error = &error;
        tracing::warn!(error, "containers of an earlier engine may remain");
    }
}

/// Who reigns, for people.
fn owner() -> String {
    let host = host_name().unwrap_or_else(|| "this machine".to_owned());
    format!("serin {} on {host}, process {}", env!("CARGO_PKG_VERSION"), std::process::id())
}

fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}
