//! The subscriber that turns events into lines on stderr.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Starts logging: plain lines on a terminal, JSON elsewhere; `SERIN_LOG` filters (default `info`). A second call does
/// nothing.
pub fn start() {
    let filter = EnvFilter::try_from_env("SERIN_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Whoever read the log may be gone: that ends nothing, and cannot be told on the same way.
        .log_internal_errors(false);
    let _ = if std::io::stderr().is_terminal() { builder.try_init() } else { builder.json().try_init() };
}
