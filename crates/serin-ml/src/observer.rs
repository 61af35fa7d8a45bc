//! How long work asks its caller for the time, is told to stop, and says how far it has come.

use std::time::Duration;

/// What the caller of long work supplies: a stopwatch, a stop request and an ear.
///
/// The pure crate has no clock; whoever calls it has one.
pub trait Observer: Sync {
    /// Time since the work began. A caller without a time limit may always answer zero.
    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }

    /// True once the work should end as soon as it can, keeping the best so far.
    fn stop_requested(&self) -> bool {
        false
    }

    /// Something worth showing happened.
    fn on_progress(&self, _progress: &Progress<'_>) {}
}

/// What long work tells about itself.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// Rows read from a source so far.
    Read { source: &'a str, rows: u64, bytes: u64, total_bytes: Option<u64> },
    /// One trial of the search ended (`score` is `None` when it was given up early or failed).
    Trial { number: usize, planned: Option<usize>, label: &'a str, score: Option<f64>, best: Option<f64> },
    /// A named phase began ("ensemble", "calibration", "refit").
    Phase { name: &'a str },
}

/// Never stops, tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {}
