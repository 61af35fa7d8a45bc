//! The shape of a run: which steps there are, what each waits for, and how often and how long it may try.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Most steps a pipeline has.
pub const STEPS_LIMIT: usize = 64;

/// The steps of a run, in an order in which they could be done one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Pipeline {
    /// Each after those it waits for.
    pub steps: Vec<StepPlan>,
}

/// One step as planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepPlan {
    /// Unique within the run, such as `train` or `deploy-dev`.
    pub name: String,
    /// Which work it is, such as `deploy`; several steps may share it.
    pub kind: String,
    /// Version of that work's meaning: a program that knows another one must not go on with the run.
    pub version: u32,
    /// What the work is told besides the outputs of earlier steps, such as the stage.
    pub argument: String,
    /// Names of the steps whose outputs it needs.
    pub after: Vec<String>,
    /// How often it is tried.
    pub retry: RetryPolicy,
    /// How long one attempt may take, seconds.
    pub time_limit_seconds: u64,
    /// Whether the same inputs may take an earlier run's output.
    pub is_reusable: bool,
    /// It waits for something that goes on by itself, for hours perhaps: it takes no place among the steps that work, and
    /// its run holds up no other.
    #[serde(default)]
    pub only_waits: bool,
}

/// How a failed attempt is followed by another. The defaults are those of SageMaker Pipelines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Attempts in all, from 1.
    pub attempts: u32,
    /// Wait before the second attempt, milliseconds.
    pub first_wait_milliseconds: u64,
    /// Each further wait is this many times as long.
    pub factor: u32,
    /// No further attempt this long after the first began, seconds; 0: no such limit.
    pub expire_seconds: u64,
}

/// Why steps do not make a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidPipeline {
    #[error("there are more than {STEPS_LIMIT} steps")]
    TooMany,
    #[error("two steps are called {name:?}")]
    Twice { name: String },
    #[error("{step:?} waits for {missing:?}, which is no step before it")]
    Missing { step: String, missing: String },
}

impl Pipeline {
    /// Steps in an order in which they could be done.
    ///
    /// # Errors
    /// When two have one name, or one waits for what does not stand before it.
    pub fn new(steps: Vec<StepPlan>) -> Result<Self, InvalidPipeline> {
        if steps.len() > STEPS_LIMIT {
            return Err(InvalidPipeline::TooMany);
        }
        let mut before = BTreeSet::new();
        for step in &steps {
            if let Some(missing) = step.after.iter().find(|name| !before.contains(name.as_str())) {
                return Err(InvalidPipeline::Missing { step: step.name.clone(), missing: missing.clone() });
            }
            if !before.insert(step.name.as_str()) {
                return Err(InvalidPipeline::Twice { name: step.name.clone() });
            }
        }
        Ok(Self { steps })
    }

    /// The same with further steps behind.
    ///
    /// # Errors
    /// As for [`Pipeline::new`].
    pub fn extended(&self, further: &[StepPlan]) -> Result<Self, InvalidPipeline> {
        Self::new(self.steps.iter().chain(further).cloned().collect())
    }

    /// The step called `name`.
    #[must_use]
    pub fn step(&self, name: &str) -> Option<&StepPlan> {
        self.steps.iter().find(|step| step.name == name)
    }

    /// Names of `name` and of every step that waits for it, directly or not.
    #[must_use]
    pub fn from(&self, name: &str) -> BTreeSet<String> {
        let mut reached = BTreeSet::from([name.to_owned()]);
        for step in &self.steps {
            if step.after.iter().any(|before| reached.contains(before)) {
                reached.insert(step.name.clone());
            }
        }
        reached
    }
}

impl RetryPolicy {
    /// One attempt, for work that a person or the data must change.
    pub const ONCE: Self = Self { attempts: 1, first_wait_milliseconds: 0, factor: 1, expire_seconds: 0 };

    /// Longest wait between two attempts, whatever the factor.
    pub const LONGEST_WAIT: Duration = Duration::from_secs(12 * 3_600);

    /// The wait after `attempts` failed ones, the first of which began `since_first` ago; `None`: no more.
    #[must_use]
    pub fn wait_after(&self, attempts: u32, since_first: Duration) -> Option<Duration> {
        if attempts == 0 || attempts >= self.attempts {
            return None;
        }
        let growth = u64::from(self.factor).checked_pow(attempts - 1).unwrap_or(u64::MAX);
        let wait = Duration::from_millis(self.first_wait_milliseconds.saturating_mul(growth));
        let wait = wait.min(Self::LONGEST_WAIT);
        let expires = Duration::from_secs(self.expire_seconds);
        (expires.is_zero() || since_first + wait < expires).then_some(wait)
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts: 5, first_wait_milliseconds: 1_000, factor: 2, expire_seconds: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &str, after: &[&str]) -> StepPlan {
        StepPlan {
            name: name.into(),
            kind: name.into(),
            version: 1,
            argument: String::new(),
            after: after.iter().map(|&name| name.into()).collect(),
            retry: RetryPolicy::default(),
            time_limit_seconds: 60,
            is_reusable: false,
            only_waits: false,
        }
    }

    #[test]
    fn steps_wait_only_for_steps_before_them() {
        let diamond =
            Pipeline::new(vec![step("a", &[]), step("b", &["a"]), step("c", &["a"]), step("d", &["b"])]);
        let diamond = diamond.unwrap();
        assert_eq!(diamond.from("b"), BTreeSet::from(["b".into(), "d".into()]));
        assert_eq!(diamond.from("a").len(), 4);
        let missing = InvalidPipeline::Missing { step: "b".into(), missing: "a".into() };
        assert_eq!(Pipeline::new(vec![step("b", &["a"]), step("a", &[])]), Err(missing));
        assert_eq!(diamond.extended(&[step("c", &[])]), Err(InvalidPipeline::Twice { name: "c".into() }));
    }

    #[test]
    fn waits_double_until_the_attempts_are_used_up() {
        let policy = RetryPolicy::default();
        let waits: Vec<_> = (1..6).map(|n| policy.wait_after(n, Duration::ZERO)).collect();
        let seconds = |n| Some(Duration::from_secs(n));
        assert_eq!(waits, [seconds(1), seconds(2), seconds(4), seconds(8), None]);
        let expiring = RetryPolicy { expire_seconds: 5, ..policy };
        assert_eq!(expiring.wait_after(2, Duration::from_secs(2)), seconds(2));
        assert_eq!(expiring.wait_after(2, Duration::from_secs(3)), None);
        assert_eq!(RetryPolicy::ONCE.wait_after(1, Duration::ZERO), None);
        let steep = RetryPolicy { attempts: 100, factor: 1_000, ..policy };
        assert_eq!(steep.wait_after(60, Duration::ZERO), Some(RetryPolicy::LONGEST_WAIT));
    }
}
