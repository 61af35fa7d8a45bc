//! The program as a user meets it: one binary, one file a story.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod api;
mod captured;
mod commands;
mod control_api;
mod control_commands;
mod init;
mod jobs;
mod one_way;
mod pipeline;
mod replicas;
mod report;
mod rollout;
mod serve;
mod watch;
