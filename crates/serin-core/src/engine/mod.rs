//! What carries runs from their first step to their last, whatever dies on the way.
//!
//! [`decide`] is the rules: from the open runs and the time follow the actions, and nothing is read or written.
//! [`Engine`] is the hands: one thread that looks, decides and acts, and one for each attempt at a step. What a step does
//! is a [`Work`], registered in [`Works`] by the program that starts the engine.
//!
//! Everything that must survive is in the store, and the engine may be killed at any instant. The next one takes the
//! reign, which abandons the attempts of the one before, and goes on from what was written. So a step may be done more
//! than once, and what it says counts once: every verb that writes carries the epoch of the reign and the lease of the
//! attempt, and is refused when either has passed.

mod attempt;
mod decide;
mod driver;
mod log;
mod moments;
mod reign;
mod work;

pub use decide::{
    ABANDONED_LIMIT, Action, Asked, Held, STOP_GRACE, StopReason, View, decide, end_of, next_wake, retry_at,
};
pub use driver::{Engine, EngineError, EngineOptions, EngineStatus, Waker};
pub use log::{LOG_LIMIT_BYTES, LogPart, StepLog, read_log, remove_logs};
pub use moments::Moments;
pub use work::{Progress, Task, Work, WorkError, Works};
