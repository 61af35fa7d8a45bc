//! The nouns and their states. A state owns its facts, and a transition is a function from one state to another or to
//! a refusal; nothing here reads or writes anything.

mod alarm;
mod approval;
mod event;
mod numbers;
mod pipeline;
mod run;
mod version;
mod wish;

pub use alarm::AlarmState;
pub use approval::{Approval, ApprovalState, ApprovalSubject, Decided, Refusal, Verdict};
pub use event::{Event, EventKind, Notice};
pub use numbers::{
    ApprovalNumber, DecisionNumber, Epoch, Lease, MonitorNumber, RolloutNumber, RunNumber, VersionNumber,
};
pub use pipeline::{InvalidPipeline, Pipeline, RetryPolicy, StepPlan};
pub use run::{Attempt, AttemptEnd, Failure, Run, RunKind, RunState, Step, StepState};
pub use version::{ModelVersion, VersionState};
pub use wish::{Cause, Wish, WishOutcome};
