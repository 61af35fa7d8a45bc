//! All fleets of a gateway.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serin_core::clock::{Clock, Steady};
use serin_core::config::{CommandSettings, ReplicaRuntimeKind, ReplicaSettings};
use serin_core::digest::Digest;
use serin_core::routes::RoutesFile;
use serin_core::runtime::{ReplicaProgram, ReplicaRuntime};
use serin_core::scale::{FleetCommand, FleetPage};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::counts::{Counts, Figures};
use super::host::Idle;
use super::ledger::Ledger;
use super::manager::{Manager, Wish};
use super::replicas::{Fleet, FleetKey, FleetPlan, FleetRef};
use super::runtimes::runtime_of;

/// A command that was signed longer ago is not believed.
const COMMAND_AGE: Duration = Duration::from_secs(60);
/// For all replicas of a gateway to end.
const END_LIMIT: Duration = Duration::from_secs(40);

/// What a gateway needs for its replicas.
#[derive(Debug, Clone)]
pub struct FleetsOptions {
    pub data_directory: PathBuf,
    /// This program: supervisors and Serin's own replicas are started from it.
    pub program: PathBuf,
    /// Where sockets go: a short path that only the owner looks into.
    pub scratch: PathBuf,
}

/// The fleets of a gateway.
pub struct Fleets {
    options: FleetsOptions,
    clock: Arc<dyn Clock>,
    idle: Arc<Idle>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    fleets: BTreeMap<FleetKey, Arc<Fleet>>,
    /// By endpoint, also of fleets that are gone.
    counts: BTreeMap<String, Arc<Counts>>,
    /// Of those above and of those that are ending.
    managers: Vec<JoinHandle<()>>,
    /// Those that are ending, and the folders that were laid out for them.
    retired: Vec<(Weak<Fleet>, Vec<PathBuf>)>,
    /// Fleets made so far: two replicas never share a name.
    made: u64,
    /// The age of the data directory when the monotonic clock showed zero, once it is known.
    origin: Option<Steady>,
}

/// What a command names that there is not.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NoSuchReplica {
    #[error("no endpoint {endpoint} has replicas{}", names(.there))]
    Endpoint { endpoint: String, there: Vec<String> },
    #[error("endpoint {endpoint} has several versions with replicas: {}; name one", .there.join(", "))]
    Several { endpoint: String, there: Vec<String> },
    #[error("there is no replica {name}{}", names(.there))]
    Replica { name: String, there: Vec<String> },
}

/// Why a command is not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unaccepted {
    #[error("the command is not signed with the key of this data directory")]
    Signature,
    #[error("the command was signed more than {} s ago, or the clocks differ", COMMAND_AGE.as_secs())]
    Old,
    #[error("the command cannot be understood: {0}")]
    Unknown(String),
    #[error("the key of the data directory cannot be read: {0}")]
    Key(String),
    #[error(transparent)]
    Nowhere(#[from] NoSuchReplica),
}

fn names(there: &[String]) -> String {
    if there.is_empty() { String::new() } else { format!("; there is: {}", there.join(", ")) }
}

impl Fleets {
    /// No fleet yet.
    #[must_use]
    pub fn new(options: FleetsOptions, clock: Arc<dyn Clock>) -> Self {
        Self { options, clock, idle: Arc::default(), kept: Mutex::default() }
    }

    /// What tells the time.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Where sockets of replicas go.
    #[must_use]
    pub fn options(&self) -> &FleetsOptions {
        &self.options
    }

    /// Who runs replicas of `program` (`None`: Serin's own), and what that is to start.
    #[must_use]
    pub fn runtime(
        &self,
        program: Option<&CommandSettings>,
        kind: ReplicaRuntimeKind,
    ) -> (Arc<dyn ReplicaRuntime>, ReplicaProgram) {
        runtime_of(program, kind, &self.options.program, self.clock.clone())
    }

    /// The fleet called `key`: the one there is, with the settings of `plan`, or a new one that begins to start its replicas.
    /// To be called where a runtime of tasks is.
    pub fn ensure(
        &self,
        key: &FleetKey,
        plan: impl FnOnce() -> FleetPlan,
        settings: &ReplicaSettings,
    ) -> FleetRef {
        let mut kept = self.lock();
        if let Some(fleet) = kept.fleets.get(key).filter(|fleet| fleet.wish().is_none()) {
            let fleet = fleet.clone();
            fleet.set_settings(settings, kept.steady(&*self.clock));
            return fleet.for_use();
        }
        let mut plan = plan();
        kept.made += 1;
        plan.spec.name = format!("{}-{:x}{:x}", plan.spec.name, std::process::id(), kept.made);
        let path = self.options.data_directory.join("replicas").join(format!(
            "{}-{}-{}.json",
            key.endpoint,
            plan.version,
            &Digest::of(key.program.as_bytes()).short()[..6]
        ));
        let monotonic = self.clock.monotonic();
        let steady = kept.steady(&*self.clock);
        let (ledger, resumed) = Ledger::open(path, &settings.scaling, steady, self.clock.now());
        // The oldest age that any of them remembers is what all go on from.
        if resumed > steady {
            kept.origin = Some(Steady(resumed.0 - i64::try_from(monotonic.as_micros()).unwrap_or(0)));
        }
        let origin = kept.origin(&*self.clock);
        let counts = kept.counts.entry(key.endpoint.clone()).or_default().clone();
        let fleet = Arc::new(Fleet::new(key.clone(), plan, self.clock.clone(), ledger, counts));
        let manager = Manager::new(fleet.clone(), self.idle.clone(), origin);
        kept.managers.retain(|manager| !manager.is_finished());
        kept.managers.push(Handle::current().spawn(manager.run()));
        kept.fleets.insert(key.clone(), fleet.clone());
        fleet.for_use()
    }

    /// Fleets that none of `routed` names end once nobody asks them any more. What was laid out for those that ended before
    /// goes; not to be called while something is laid out.
    pub fn keep_only(&self, routed: &[FleetKey]) {
        let mut kept = self.lock();
        kept.clear_folders();
        let Kept { fleets, retired, .. } = &mut *kept;
        fleets.retain(|key, fleet| {
            let is_routed = routed.contains(key);
            if !is_routed {
                fleet.set_wish(Wish::Retire);
                retired.push((Arc::downgrade(fleet), folders(fleet)));
            }
            is_routed
        });
    }

    /// What they do, for people.
    #[must_use]
    pub fn pages(&self) -> Vec<FleetPage> {
        let mut kept = self.lock();
        let now = kept.steady(&*self.clock);
        kept.fleets.values().map(|fleet| fleet.page(now)).collect()
    }

    /// The replicas of each endpoint in numbers, those that had some before included.
    #[must_use]
    pub fn figures(&self) -> BTreeMap<String, Figures> {
        let kept = self.lock();
        let mut figures: BTreeMap<String, Figures> =
            kept.counts.iter().map(|(endpoint, counts)| (endpoint.clone(), counts.figures())).collect();
        for fleet in kept.fleets.values() {
            fleet.add_to(figures.entry(fleet.key().endpoint.clone()).or_default());
        }
        figures
    }

    /// Does what a person wants who may write where routes are kept, and lately wanted it.
    ///
    /// # Errors
    /// When that is not shown, or what the command names is not there.
    pub fn signed_command(&self, text: &str, signature: &str) -> Result<(), Unaccepted> {
        let routes = RoutesFile::open(&self.options.data_directory)
            .map_err(|error| Unaccepted::Key(error.to_string()))?;
        if !routes.is_signed(text, signature) {
            return Err(Unaccepted::Signature);
        }
        let command: FleetCommand =
            serde_json::from_str(text).map_err(|error| Unaccepted::Unknown(error.to_string()))?;
        let (FleetCommand::Scale { at, .. } | FleetCommand::Drain { at, .. }) = &command;
        let age = self.clock.now().0.saturating_sub(at.0).unsigned_abs();
        if Duration::from_micros(age) > COMMAND_AGE {
            return Err(Unaccepted::Old);
        }
        Ok(self.command(&command)?)
    }

    /// Does what a person wants.
    ///
    /// # Errors
    /// When what it names is not there.
    fn command(&self, command: &FleetCommand) -> Result<(), NoSuchReplica> {
        let mut kept = self.lock();
        let now = kept.steady(&*self.clock);
        match command {
            FleetCommand::Scale { endpoint, version, desired, by, at: _ } => {
                let of_endpoint: Vec<_> =
                    kept.fleets.values().filter(|fleet| fleet.plan.endpoint == *endpoint).collect();
                let chosen: Vec<_> = of_endpoint
                    .iter()
                    .filter(|fleet| version.as_ref().is_none_or(|version| fleet.plan.version == *version))
                    .collect();
                let [fleet] = chosen[..] else {
                    let versions = of_endpoint.iter().map(|fleet| fleet.plan.version.clone()).collect();
                    let endpoint = endpoint.clone();
                    return Err(match chosen.is_empty() {
                        true => NoSuchReplica::Endpoint { endpoint, there: kept.endpoints() },
                        false => NoSuchReplica::Several { endpoint, there: versions },
                    });
                };
                let decision = fleet.ledger().scaler.set_desired(*desired, now, by);
                fleet.note(decision);
                Ok(())
            }
            FleetCommand::Drain { replica, by, at: _ } => {
                let drained = kept.fleets.values().any(|fleet| fleet.drain(replica, by));
                match drained {
                    true => Ok(()),
                    false => Err(NoSuchReplica::Replica { name: replica.clone(), there: kept.replicas() }),
                }
            }
        }
    }

    /// Kills a replica by name, as an accident would: a drill. Whether there is one.
    #[must_use]
    pub fn kill(&self, name: &str) -> bool {
        let fleets: Vec<_> = self.lock().fleets.values().cloned().collect();
        fleets.iter().any(|fleet| fleet.kill(name))
    }

    /// Ends all of them; those that can outlive the gateway stay for the one that `is_followed` says comes.
    pub async fn end(&self, is_followed: bool) {
        let managers = {
            let mut kept = self.lock();
            let wish = if is_followed { Wish::Leave } else { Wish::End };
            kept.fleets.values().for_each(|fleet| fleet.set_wish(wish));
            std::mem::take(&mut kept.managers)
        };
        let ended = async {
            for manager in managers {
                let _ = manager.await;
            }
        };
        if timeout(END_LIMIT, ended).await.is_err() {
            tracing::warn!("some replicas did not end in time");
        }
        // Empty by now; what is not is somebody else's.
        let _ = std::fs::remove_dir(&self.options.scratch);
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was laid out for a fleet: copies of artifacts, which are made again when they are wanted again.
fn folders(fleet: &Fleet) -> Vec<PathBuf> {
    let spec = &fleet.plan.spec;
    std::iter::once(spec.model.clone()).chain(spec.directory.clone()).collect()
}

impl Kept {
    /// Removes the folders of fleets that are gone, as far as no other fleet has them.
    fn clear_folders(&mut self) {
        let (gone, ending): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.retired).into_iter().partition(|(fleet, _)| fleet.strong_count() == 0);
        let used: Vec<PathBuf> = self
            .fleets
            .values()
            .flat_map(|fleet| folders(fleet))
            .chain(ending.iter().flat_map(|(_, folders)| folders.clone()))
            .collect();
        for folder in gone.into_iter().flat_map(|(_, folders)| folders) {
            if !used.contains(&folder) {
                // What stays takes room and does no harm.
                let _ = std::fs::remove_dir_all(folder);
            }
        }
        self.retired = ending;
    }

    fn origin(&mut self, clock: &dyn Clock) -> Steady {
        // Without anything to go on from, the time of day is as good an age as any.
        let now = clock.now().0 - i64::try_from(clock.monotonic().as_micros()).unwrap_or(0);
        *self.origin.get_or_insert(Steady(now))
    }

    fn steady(&mut self, clock: &dyn Clock) -> Steady {
        self.origin(clock) + clock.monotonic()
    }

    fn endpoints(&self) -> Vec<String> {
        let mut names: Vec<String> = self.fleets.keys().map(|key| key.endpoint.clone()).collect();
        names.dedup();
        names
    }

    fn replicas(&self) -> Vec<String> {
        let names = |fleet: &Arc<Fleet>| -> Vec<String> {
            fleet.members().iter().map(|member| member.replica.name().to_owned()).collect()
        };
        self.fleets.values().flat_map(names).collect()
    }
}

impl fmt::Debug for Fleets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleets").field("options", &self.options).finish_non_exhaustive()
    }
}
