//! Are live rows still like those the model was trained on?
//!
//! A baseline (a [`DatasetProfile`](crate::profile::DatasetProfile)) fixes where values are counted ([`Bins`]); a live
//! window is counts in those bins ([`Window`]), so windows merge by addition, whoever made them, and an hour or a month is
//! compared in the same few microseconds. [`compare`] puts a window beside the baseline and says what moved, with the
//! probability of a false alarm under control over all features together.

mod bins;
mod compare;
mod distance;
mod predictions;
mod reference;
mod rows;
mod tests_of_change;
mod window;

pub use bins::{Bins, ColumnBins};
pub use compare::{
    ChangeKind, ColumnReport, CompareOptions, Comparison, Damage, DriftError, Finding, Severity, Verdict,
    compare,
};
pub use distance::{Distances, Shares};
pub use predictions::{EstimatedQuality, PredictionBaseline, PredictionReport, Predictions};
pub use reference::Reference;
pub use rows::{BaselineRows, CurrentRows};
pub use window::{ColumnWindow, Window, WindowError};
