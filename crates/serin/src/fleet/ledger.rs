//! What a fleet has decided and why, kept over restarts.

use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serin_core::clock::{Steady, Timestamp};
use serin_core::files;
use serin_core::scale::{NumberedDecision, ScaleDecision, Scaler, ScalingSettings};

/// Decisions that are kept.
const DECISIONS: usize = 32;
/// Largest file read.
const FILE_LIMIT_BYTES: u64 = 16 << 20;

/// How many replicas there shall be, what led to that, and what keeps them from coming.
#[derive(Debug)]
pub(super) struct Ledger {
    path: PathBuf,
    pub scaler: Scaler,
    decisions: VecDeque<NumberedDecision>,
    next: u64,
    /// Whether what was decided is in the file, or about to be.
    pub is_kept: bool,
    /// Why the last start failed.
    pub last_problem: Option<String>,
    /// Starts in a row that failed.
    pub failed_starts: u32,
    /// Nobody need wait for a replica any more.
    failure: Option<String>,
}

/// What is in the file.
#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    steady: Steady,
    wall: Timestamp,
    next: u64,
    scaler: Scaler,
    decisions: VecDeque<NumberedDecision>,
}

const VERSION: u32 = 1;

impl Ledger {
    /// A new one, or what was kept at `path`; what cannot be read is begun anew. With the age of the data directory to go on
    /// from.
    pub fn open(
        path: PathBuf,
        settings: &ScalingSettings,
        steady: Steady,
        wall: Timestamp,
    ) -> (Self, Steady) {
        let read = || {
            let text = files::read_limited(&path, FILE_LIMIT_BYTES).ok()?;
            let stored: Stored = serde_json::from_slice(&text).ok()?;
            (stored.version == VERSION).then_some(stored)
        };
        let stored = read();
        let empty = |scaler| Self {
            path,
            scaler,
            decisions: VecDeque::new(),
            next: 1,
            is_kept: true,
            last_problem: None,
            failed_starts: 0,
            failure: None,
        };
        match stored {
            None => (empty(Scaler::new(settings.clone(), steady)), steady),
            Some(Stored { steady, wall: then, next, scaler, decisions, .. }) => {
                let steady = Steady::resumed(steady, then, wall);
                let scaler = scaler.resumed(settings.clone(), steady);
                (Self { decisions, next, ..empty(scaler) }, steady)
            }
        }
    }

    pub fn failure(&self) -> Option<String> {
        self.failure.clone()
    }

    /// A replica came to answer.
    pub fn started(&mut self) {
        self.failed_starts = 0;
        self.failure = None;
    }

    /// One did not. After several in a row nobody waits for the next.
    pub fn did_not_start(&mut self, problem: String, most: u32) {
        self.failed_starts = self.failed_starts.saturating_add(1);
        if self.failed_starts >= most {
            self.failure = Some(problem.clone());
        }
        self.last_problem = Some(problem);
    }

    pub fn note(&mut self, decision: ScaleDecision, time: Timestamp) {
        self.decisions.push_back(NumberedDecision { number: self.next, time, decision });
        self.next += 1;
        self.is_kept = false;
        while self.decisions.len() > DECISIONS {
            self.decisions.pop_front();
        }
    }

    pub fn decisions(&self) -> Vec<NumberedDecision> {
        self.decisions.iter().cloned().collect()
    }

    /// As it is to be written, and where.
    pub fn to_file(&self, steady: Steady, wall: Timestamp) -> Option<(PathBuf, Vec<u8>)> {
        let stored = Stored {
            version: VERSION,
            steady,
            wall,
            next: self.next,
            scaler: self.scaler.clone(),
            decisions: self.decisions.clone(),
        };
        Some((self.path.clone(), serde_json::to_vec(&stored).ok()?))
    }

    /// The version will not be asked again: what was kept is of no use.
    pub fn forget(&self) {
        let _ = fs::remove_file(&self.path);
    }
}
