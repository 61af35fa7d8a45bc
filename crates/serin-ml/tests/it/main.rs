//! One binary, one file a story.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(unfulfilled_lint_expectations, reason = "not every story needs every one")]

mod bundle;
mod dataset;
mod drift;
mod evaluate;
mod explain;
mod families;
mod foreign;
mod forest;
mod model_monitor;
mod prepare;
mod profile;
mod reference;
mod search;
