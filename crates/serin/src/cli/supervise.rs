//! `serin supervise`: the process between the engine and a job. The engine starts it; nobody types it.

use serin_core::clock::SystemClock;
use serin_core::runtime;

use super::exit::Exit;

/// Supervises the one job that comes over standard input.
pub fn run() -> anyhow::Result<Exit> {
    runtime::supervise(&SystemClock::new())?;
    Ok(Exit::Done)
}
