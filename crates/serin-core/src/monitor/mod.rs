//! What one look at a live window says: data and drift beside the baseline, quality beside the hold-out, and what of it
//! was seen often enough to be told.
//!
//! Pure: windows, labels and earlier reports come in, a report goes out. [`crate::watch`] reads and stores them.

mod confirm;
mod quality;
mod report;

pub use confirm::{Confirmation, confirmed};
pub use quality::{ClassQuality, QualityReport, quality};
pub use report::{Inputs, MonitorReport, MonitorState, Unmeasured, judge, metrics};
