//! The program as a user meets it: one binary, one file a story.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod captured;
mod commands;
mod one_way;
mod report;
mod serve;
