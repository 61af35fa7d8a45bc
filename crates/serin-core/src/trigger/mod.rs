//! What makes a run wanted without a person asking: a time, data that changed, a push to a repository. Nothing here starts
//! anything: each part answers whether there is a reason now, and names it so that one reason counts once.

mod driver;
pub mod hook;
mod watch;

pub use self::driver::{ALARM, DATA, GIT, SCHEDULE, TriggerOptions, TriggerPoker, Triggers, UPLOAD};
pub use self::watch::{DataVersion, Waker, WatchError, WatchLimits, WatchedFile, Watcher};
pub use crate::schedule::{InvalidSchedule, Schedule};
