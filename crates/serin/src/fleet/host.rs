//! How much of the host's processors is idle.

use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Between two looks at least: several fleets ask.
const LOOK: Duration = Duration::from_millis(900);

/// The share of the host's processors that was idle lately.
#[derive(Debug, Default)]
pub struct Idle {
    seen: Mutex<Seen>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    at: Option<Duration>,
    idle: u64,
    total: u64,
    share: Option<f64>,
}

impl Idle {
    /// From 0 to 1, at a moment of a monotonic clock; `None` while nobody can say.
    #[must_use]
    pub fn share(&self, now: Duration) -> Option<f64> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.at.is_some_and(|at| now.saturating_sub(at) < LOOK) {
            return seen.share;
        }
        let (idle, total) = ticks(&fs::read_to_string("/proc/stat").ok()?)?;
        let passed = total.saturating_sub(seen.total);
        let share = (seen.at.is_some() && passed > 0)
            .then(|| (idle.saturating_sub(seen.idle) as f64 / passed as f64).clamp(0.0, 1.0));
        *seen = Seen { at: Some(now), idle, total, share };
        share
    }
}

/// Idle ticks and all of them, from the first line of `/proc/stat`.
fn ticks(text: &str) -> Option<(u64, u64)> {
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_ascii_whitespace().map_while(|field| field.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; what guests took is counted in the first two.
    let idle = ticks.get(3)?.saturating_add(*ticks.get(4)?);
    Some((idle, ticks.iter().take(8).sum()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_read() {
        assert_eq!(ticks("cpu  10 1 5 80 4 0 0 0 3 0\ncpu0 1 2 3\n"), Some((84, 100)));
        assert_eq!(ticks(""), None);
        assert_eq!(ticks("cpu  1 2"), None);
    }
}
