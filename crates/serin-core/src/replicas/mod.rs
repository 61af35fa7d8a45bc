//! Replicas as the control plane knows them: the gateway decides how many there are, and tells; one thread reads that and
//! keeps each decision once.
//!
//! The gateway numbers its decisions and keeps the last ones of each version over restarts, so that whichever of the two
//! was away for a while misses none of them. What was decided while more passed than it keeps is missing, and the numbers
//! show it.

mod gateway;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub use gateway::{GatewayError, command, read};

use crate::causes::in_one_line;
use crate::clock::Timestamp;
use crate::engine::Moments;
use crate::routes::{RouteDocument, RoutedServing};
use crate::scale::{FleetPage, FleetsPage};
use crate::store::{NewScaling, Store, StoreError};

/// Between two looks at the gateway's page.
const LOOK: Duration = Duration::from_secs(3);
/// The end need not wait longer.
const NAP: Duration = Duration::from_millis(250);

/// What the thread needs.
pub struct ScalingsOptions {
    pub store: Arc<dyn Store>,
    pub moments: Arc<Moments>,
    pub data_directory: PathBuf,
}

/// The running thread; it ends when this is dropped.
#[derive(Debug)]
pub struct Scalings {
    stops: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What was kept already, so that the store is asked about news only.
#[derive(Debug, Default)]
struct Seen {
    /// Number and time of the last decision of an endpoint's version.
    last: BTreeMap<(String, String), (u64, Timestamp)>,
}

impl std::fmt::Debug for ScalingsOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScalingsOptions")
            .field("data_directory", &self.data_directory)
            .finish_non_exhaustive()
    }
}

impl Scalings {
    /// Starts it.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(options: ScalingsOptions) -> io::Result<Self> {
        let stops = Arc::new(AtomicBool::new(false));
        let ends = stops.clone();
        let thread = thread::Builder::new().name("scalings".to_owned()).spawn(move || {
            let mut seen = Seen::default();
            let mut told: Option<String> = None;
            while !ends.load(Ordering::Relaxed) {
                let problem = look(&options, &mut seen).err().map(|error| in_one_line(&error));
                if let Some(problem) = problem.as_ref().filter(|problem| told.as_ref() != Some(problem)) {
                    tracing::error!(error = problem, "decisions about replicas are not kept");
                }
                told = problem;
                for _ in 0..LOOK.as_millis() / NAP.as_millis() {
                    if !ends.load(Ordering::Relaxed) {
                        thread::sleep(NAP);
                    }
                }
            }
        })?;
        Ok(Self { stops, thread: Some(thread) })
    }
}

impl Drop for Scalings {
    fn drop(&mut self) {
        self.stops.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic was reported where it happened.
            let _ = thread.join();
        }
    }
}

fn look(options: &ScalingsOptions, seen: &mut Seen) -> Result<(), StoreError> {
    let store = options.store.as_ref();
    let Some(routes) = store.routes()? else { return Ok(()) };
    if !has_replicas(&routes) {
        return Ok(());
    }
    // A gateway that does not answer has an alarm of its own; what it decides meanwhile it tells later.
    let Ok(page) = read(&options.data_directory) else { return Ok(()) };
    for new in seen.news(&page, &routes) {
        let key = (new.endpoint.clone(), new.version.clone());
        let last = (new.decision.number, new.decision.time);
        store.record_scaling(&new, options.moments.now())?;
        seen.last.insert(key, last);
    }
    Ok(())
}

/// Whether anybody else than the gateway itself answers for anything.
fn has_replicas(routes: &RouteDocument) -> bool {
    let mut variants = routes.endpoints().iter().flat_map(|endpoint| &endpoint.variants);
    variants.any(|variant| variant.serving.as_ref().is_some_and(RoutedServing::is_apart))
}

impl Seen {
    /// What was decided since, the oldest first. Of an endpoint that is not routed any more nothing is kept: nobody knows
    /// whose it was.
    fn news(&self, page: &FleetsPage, routes: &RouteDocument) -> Vec<NewScaling> {
        let mut news = Vec::new();
        for fleet in &page.fleets {
            let Some(routed) = routes.endpoints().iter().find(|routed| routed.name == fleet.endpoint) else {
                continue;
            };
            news.extend(fleet.decisions.iter().skip(self.known(fleet)).map(|decision| NewScaling {
                project: routed.project.clone(),
                stage: routed.stage.clone(),
                endpoint: fleet.endpoint.clone(),
                version: fleet.version.clone(),
                decision: decision.clone(),
            }));
        }
        news
    }

    /// How many of the decisions of a fleet were kept before. Without the last one that was seen, none is known to be: the
    /// gateway began anew.
    fn known(&self, fleet: &FleetPage) -> usize {
        let last = self.last.get(&(fleet.endpoint.clone(), fleet.version.clone()));
        let is_last = |(number, time): &(u64, Timestamp)| {
            fleet.decisions.iter().position(|decision| decision.number == *number && decision.time == *time)
        };
        last.and_then(is_last).map_or(0, |position| position + 1)
    }
}
