//! A model that leaves the memory while nobody asks it, and comes back for the first row.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serin_core::clock::Clock;
use serin_ml::train::{CannotExplain, Explanation};

use super::model::Classifier;

/// Reads the model again.
pub type Load = Box<dyn Fn() -> anyhow::Result<Box<dyn Classifier>> + Send + Sync>;

/// Judges rows with a model that is read when it is asked for.
pub struct Parked {
    load: Load,
    clock: Arc<dyn Clock>,
    /// How long nobody asks before it leaves.
    idle: Duration,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    classifier: Option<Arc<dyn Classifier>>,
    asked: Duration,
}

impl Parked {
    /// A model that is in memory now, and leaves it after `idle` without a request.
    #[must_use]
    pub fn new(classifier: Box<dyn Classifier>, load: Load, idle: Duration, clock: Arc<dyn Clock>) -> Self {
        let kept = Kept { classifier: Some(classifier.into()), asked: clock.monotonic() };
        Self { load, clock, idle, kept: Mutex::new(kept) }
    }

    /// How long nobody asks before it leaves.
    #[must_use]
    pub fn idle(&self) -> Duration {
        self.idle
    }

    /// Whether it is in memory.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.lock().classifier.is_some()
    }

    /// Leaves the memory if nobody asked for long enough.
    pub fn rest(&self) {
        let now = self.clock.monotonic();
        let mut kept = self.lock();
        if kept.classifier.is_some() && now.saturating_sub(kept.asked) >= self.idle {
            kept.classifier = None;
            drop(kept);
            tracing::info!("a model that nobody asks leaves the memory");
        }
    }

    fn classifier(&self) -> Option<Arc<dyn Classifier>> {
        let mut kept = self.lock();
        kept.asked = self.clock.monotonic();
        if kept.classifier.is_none() {
            // Whoever comes meanwhile waits for the same.
            match (self.load)() {
                Ok(classifier) => kept.classifier = Some(classifier.into()),
                Err(error) => tracing::error!(error = format!("{error:#}"), "a model does not come back"),
            }
        }
        kept.classifier.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Classifier for Arc<Parked> {
    fn classify(&self, rows: &[f64], probabilities: &mut [f64], chosen: &mut [usize]) {
        // Without it nothing is filled in, and that is seen to be no answer.
        if let Some(classifier) = self.classifier() {
            classifier.classify(rows, probabilities, chosen);
        }
    }

    fn explain(&self, row: &[f64], class: usize) -> Result<Explanation, CannotExplain> {
        match self.classifier() {
            Some(classifier) => classifier.explain(row, class),
            None => Err(CannotExplain::Member {
                member: "the model".to_owned(),
                reason: "it does not come back into memory".to_owned(),
            }),
        }
    }
}

impl fmt::Debug for Parked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parked")
            .field("idle", &self.idle)
            .field("is_there", &self.is_there())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use serin_core::clock::{ManualClock, Timestamp};

    use super::*;

    /// Chooses the first class.
    struct First;

    impl Classifier for First {
        fn classify(&self, _rows: &[f64], probabilities: &mut [f64], chosen: &mut [usize]) {
            probabilities.fill(1.0);
            chosen.fill(0);
        }

        fn explain(&self, _row: &[f64], class: usize) -> Result<Explanation, CannotExplain> {
            Err(CannotExplain::Class { class })
        }
    }

    #[test]
    fn it_leaves_when_nobody_asks_and_comes_back_for_the_first_row() {
        let clock = Arc::new(ManualClock::at(Timestamp(0)));
        let loads = Arc::new(AtomicU32::new(0));
        let (seen, idle) = (loads.clone(), Duration::from_secs(60));
        let load: Load = Box::new(move || match seen.fetch_add(1, Ordering::Relaxed) {
            1 => anyhow::bail!("the file is gone"),
            _ => Ok(Box::new(First) as Box<dyn Classifier>),
        });
        let parked = Arc::new(Parked::new(Box::new(First), load, idle, clock.clone()));
        let ask = || {
            let (mut probabilities, mut chosen) = ([f64::NAN], [usize::MAX]);
            parked.classify(&[1.0], &mut probabilities, &mut chosen);
            chosen[0] == 0
        };
        clock.advance(idle / 2);
        assert!(ask());
        clock.advance(idle / 2);
        parked.rest();
        assert!(parked.is_there(), "somebody asked half a minute ago");
        clock.advance(idle);
        parked.rest();
        assert!(!parked.is_there());
        assert!(ask() && parked.is_there(), "it comes back");
        assert_eq!(loads.load(Ordering::Relaxed), 1);
        clock.advance(idle);
        parked.rest();
        assert!(!ask(), "what cannot be read answers nothing, which is seen to be no answer");
        assert!(ask(), "and is tried again");
    }
}
