//! Where the time of a stage went.

use std::time::Duration;

use serin_ml::observer::{Observer, Progress};

/// Seconds spent, phase by phase, by the observer's stopwatch.
#[derive(Debug, Clone, Default)]
pub struct Phases {
    seconds: Vec<(String, f64)>,
}

impl Phases {
    /// Does `work`, announces it and books its time.
    pub fn time<T>(&mut self, name: &'static str, observer: &dyn Observer, work: impl FnOnce() -> T) -> T {
        observer.on_progress(&Progress::Phase { name });
        let started = observer.elapsed();
        let result = work();
        self.seconds.push((name.to_owned(), (observer.elapsed().saturating_sub(started)).as_secs_f64()));
        result
    }

    /// `(phase, seconds)` in order.
    #[must_use]
    pub fn seconds(&self) -> &[(String, f64)] {
        &self.seconds
    }
}

/// Starts the stopwatch anew, so that a budget begins when the work does.
pub(super) struct FromNow<'a> {
    inner: &'a dyn Observer,
    started: Duration,
}

impl<'a> FromNow<'a> {
    pub(super) fn new(inner: &'a dyn Observer) -> Self {
        Self { inner, started: inner.elapsed() }
    }
}

impl Observer for FromNow<'_> {
    fn elapsed(&self) -> Duration {
        self.inner.elapsed().saturating_sub(self.started)
    }

    fn stop_requested(&self) -> bool {
        self.inner.stop_requested()
    }

    fn on_progress(&self, progress: &Progress<'_>) {
        self.inner.on_progress(progress);
    }
}
