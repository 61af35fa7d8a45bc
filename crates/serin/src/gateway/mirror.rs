//! A version that answers beside the one that was asked, unseen: on a thread of its own, after the answer has left.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use serin_core::clock::Clock;
use serin_core::routes::Faults;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::drill;
use super::evidence::{Counters, LATE, Witness};
use super::fleets::unanswered;
use super::model::{Predictions, ServedModel};
use super::problem::Code;
use super::rows::Rows;
use crate::fleet::FleetRef;

/// Rows that wait to be answered beside. What comes when so many wait is dropped, and counted.
const WAITING: usize = 256;

/// Takes rows to be answered beside. The thread ends when this is dropped.
#[derive(Debug)]
pub struct Mirror {
    rows: Option<SyncSender<Row>>,
}

/// One row, and who shall answer it.
pub struct Row {
    pub model: Arc<ServedModel>,
    /// Its replicas, when it has any.
    pub fleet: Option<FleetRef>,
    pub counters: Arc<Counters>,
    pub faults: Option<Arc<Faults>>,
    pub values: Vec<f64>,
    /// The class that was answered, in the model's order, if it has that class.
    pub answered: Option<usize>,
}

impl Mirror {
    /// Starts the thread; without one, every row is dropped.
    #[must_use]
    pub fn start(clock: Arc<dyn Clock>) -> Self {
        let (rows, waiting) = sync_channel(WAITING);
        let tasks = Handle::try_current().ok();
        let started = thread::Builder::new()
            .name("mirror".to_owned())
            .spawn(move || answer(&waiting, &*clock, tasks.as_ref()));
        Self { rows: started.ok().map(|_| rows) }
    }

    /// Leaves a row, or drops it: nobody waits for it.
    pub fn offer(&self, row: Row) {
        let counters = row.counters.clone();
        let is_taken = self.rows.as_ref().is_some_and(|rows| rows.try_send(row).is_ok());
        if !is_taken {
            counters.dropped();
        }
    }
}

fn answer(waiting: &Receiver<Row>, clock: &dyn Clock, tasks: Option<&Handle>) {
    let (mut rows, mut predictions) = (Rows::default(), Predictions::default());
    for Row { model, fleet, counters, faults, values, answered } in waiting {
        let started = clock.monotonic();
        let faults = faults.as_deref().filter(|faults| clock.now() < faults.until);
        let said = faults
            .map_or(Ok(()), |faults| {
                drill::fail(faults, &counters.requests().to_string(), counters.answers())
            })
            .and_then(|()| {
                rows.set_one(&values);
                match fleet.as_ref().zip(tasks) {
                    Some((fleet, tasks)) => {
                        let asked = fleet.judge(rows.values(), Instant::now() + LATE);
                        predictions = tasks.block_on(asked).map_err(|why| unanswered(&why))?.judged.into();
                    }
                    None => model.classify(&rows, &mut predictions),
                }
                if let Some(faults) = faults {
                    drill::spoil(faults, &mut predictions, model.classes().len());
                }
                model.check(&predictions)
            })
            .map_err(|problem| problem.code)
            .and_then(|()| Witness::of(&predictions, model.classes().len()).ok_or(Code::ModelOutputInvalid));
        let took = clock.monotonic().saturating_sub(started);
        counters.mirrored(said, answered, started, started + took);
    }
}
