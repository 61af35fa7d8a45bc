//! How many threads work.

use anyhow::Context as _;

/// Limits the pool that all computation runs on. Results do not depend on it.
pub fn limit(threads: Option<usize>) -> anyhow::Result<()> {
    let Some(threads) = threads else { return Ok(()) };
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()
        .context("the threads cannot be started")
}
