//! One binary, one file a story.
#![expect(clippy::unwrap_used, reason = "tests")]

mod capture;
mod config;
mod labels;
mod upkeep;
