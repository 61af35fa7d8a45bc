//! Reasons to run: instants of schedules, data that settled, pushes that are genuine.

#[path = "trigger/hook.rs"]
mod hook;
#[path = "trigger/schedule.rs"]
mod schedule;
#[path = "trigger/watch.rs"]
mod watch;
