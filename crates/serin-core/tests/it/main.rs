//! One binary, one file a story.
#![expect(clippy::unwrap_used, reason = "tests")]

mod alarms;
mod artifacts;
mod capture;
mod config;
mod engine;
mod labels;
mod metrics;
mod mlflow;
mod notify;
mod receiver;
mod rollout;
mod scale;
mod source;
mod store;
mod trigger;
mod upkeep;
mod watch;
