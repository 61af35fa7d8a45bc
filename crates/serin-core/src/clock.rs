//! Time as a parameter: whoever needs the time takes a [`Clock`].

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Microseconds since 1970-01-01T00:00:00 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// RFC 3339 in UTC with whole seconds: `2026-11-22T10:00:00Z`. Days become dates by Howard Hinnant's
    /// `civil_from_days` ("chrono-Compatible Low-Level Date Algorithms").
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        let seconds = self.0.div_euclid(1_000_000);
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// The two questions about time.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The time of day, for what people read. It may jump.
    fn now(&self) -> Timestamp;

    /// Time since an arbitrary moment, for durations and deadlines. It never goes back.
    fn monotonic(&self) -> Duration;
}

/// The machine's clocks: the only place that reads them.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    origin: Instant,
}

/// A clock that stands still until it is told to move.
#[derive(Debug, Default)]
pub struct ManualClock {
    wall_microseconds: AtomicI64,
    monotonic_microseconds: AtomicI64,
}

impl SystemClock {
    /// A clock whose monotonic side counts from now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this type is what everything else asks instead")]
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this type is what everything else asks instead")]
    fn now(&self) -> Timestamp {
        // A machine set before 1970 reads as 1970: a wrong clock must not stop the program.
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }
}

impl ManualClock {
    /// A clock that shows `now`, and zero on its monotonic side.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self { wall_microseconds: AtomicI64::new(now.0), monotonic_microseconds: AtomicI64::new(0) }
    }

    /// Moves both sides forward.
    pub fn advance(&self, by: Duration) {
        let microseconds = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        self.wall_microseconds.fetch_add(microseconds, Ordering::SeqCst);
        self.monotonic_microseconds.fetch_add(microseconds, Ordering::SeqCst);
    }

    /// Sets the time of day alone, as an operator or a time server may.
    pub fn jump_to(&self, now: Timestamp) {
        self.wall_microseconds.store(now.0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.wall_microseconds.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.monotonic_microseconds.load(Ordering::SeqCst).unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_written_as_dates() {
        // From `date -u -d @SECONDS +%FT%TZ`.
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_341_600, "2026-11-22T10:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(Timestamp(seconds * 1_000_000).to_rfc3339(), text);
        }
    }

    #[test]
    fn a_jump_of_the_wall_clock_leaves_durations_alone() {
        let clock = ManualClock::at(Timestamp(1_000_000));
        clock.advance(Duration::from_millis(2));
        clock.jump_to(Timestamp(5));
        assert_eq!(clock.now(), Timestamp(5));
        assert_eq!(clock.monotonic(), Duration::from_millis(2));
    }

    #[test]
    fn the_system_clock_moves_forward() {
        let clock = SystemClock::new();
        assert!(clock.now() > Timestamp(1_700_000_000_000_000));
        assert!(clock.monotonic() <= clock.monotonic());
    }
}
