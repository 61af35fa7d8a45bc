//! How the program ends.

use std::process::ExitCode;

use serin_core::config::ConfigError;
use serin_core::stages::DataError;
use serin_ml::dataset::DatasetError;

/// The documented exit codes; most usage errors are clap's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// The work failed; the message says why.
    Failed = 1,
    /// What was asked cannot be understood.
    Usage = 2,
    /// The work was done and a gate refused its result.
    GateRefused = 3,
    /// Rows are of another kind than the baseline.
    DriftFound = 4,
    /// It could not be measured: that is not "fine".
    NotMeasured = 5,
    /// Settings cannot be used.
    Configuration = 78,
    /// Interrupted before there was a result.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Marks an error as an interruption by the user.
#[derive(Debug, thiserror::Error)]
#[error("interrupted before there was anything to keep")]
pub struct Interrupted;

fn is_interruption(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause.is::<Interrupted>()
        || matches!(cause.downcast_ref(), Some(DatasetError::Stopped))
        || matches!(cause.downcast_ref(), Some(DataError::Read(DatasetError::Stopped)))
}

/// The exit code for an error that reached the top.
#[must_use]
pub fn of_error(error: &anyhow::Error) -> Exit {
    if error.chain().any(|cause| cause.is::<ConfigError>()) {
        Exit::Configuration
    } else if error.chain().any(is_interruption) {
        Exit::Interrupted
    } else {
        Exit::Failed
    }
}
