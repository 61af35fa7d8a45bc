//! What each step of a model's life does. Commands call the stages directly; a run will call them one by one.

mod data;
mod evaluate;
mod stopwatch;
mod train;

pub use data::{DataError, check, expand, read_options, read_rows};
pub use evaluate::{Answers, Judged, Terms, evaluate_bundle, judge};
pub use stopwatch::Phases;
pub use train::{TrainError, TrainInput, Trained, divide, error_findings, train};
