//! Time as a parameter: whoever needs the time takes a [`Clock`].

use std::fmt;
use std::str::FromStr;
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

/// Text that is no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a time such as 2026-11-22, 2026-11-22T10:00:00Z or 2026-11-22T10:00:00.5+01:00")]
pub struct InvalidTimestamp(pub String);

/// RFC 3339, or a date alone, which means its first moment in UTC. Dates become days by Howard Hinnant's
/// `days_from_civil`. Fractions beyond microseconds are cut.
impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        timestamp(text.trim()).ok_or_else(|| InvalidTimestamp(text.chars().take(64).collect()))
    }
}

fn timestamp(text: &str) -> Option<Timestamp> {
    let (date, rest) = text.split_at_checked(10)?;
    let days = day_number(date)?;
    if rest.is_empty() {
        return Some(Timestamp(days * 86_400_000_000));
    }
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (time, zone_seconds) = match rest.strip_suffix(['Z', 'z']) {
        Some(time) => (time, 0),
        None => {
            let (time, zone) = rest.split_at_checked(rest.rfind(['+', '-'])?)?;
            let sign = if zone.starts_with('-') { -1 } else { 1 };
            let (hours, minutes) = zone[1..].split_once(':')?;
            (time, sign * (digits(hours, 2, 23)? * 3_600 + digits(minutes, 2, 59)? * 60))
        }
    };
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut parts = time.split(':');
    let (hour, minute) = (digits(parts.next()?, 2, 23)?, digits(parts.next()?, 2, 59)?);
    // A leap second is the first moment of the next minute.
    let second = digits(parts.next()?, 2, 60)?;
    if parts.next().is_some() || fraction.is_empty() {
        return None;
    }
    let microseconds = digits(fraction, fraction.len(), i64::MAX).map(|_| format!("{fraction:0<6}"))?;
    let microseconds: i64 = microseconds.get(..6)?.parse().ok()?;
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second - zone_seconds;
    Some(Timestamp(seconds * 1_000_000 + microseconds))
}

/// Days since 1970-01-01 of `YYYY-MM-DD`.
fn day_number(date: &str) -> Option<i64> {
    let mut parts = date.split('-');
    let (year, month) = (digits(parts.next()?, 4, 9999)?, digits(parts.next()?, 2, 12)?);
    let day = digits(parts.next()?, 2, 31)?;
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let month_days = match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if parts.next().is_some() || month < 1 || !(1..=month_days).contains(&day) {
        return None;
    }
    let shifted_year = year - i64::from(month <= 2);
    let (era, year_of_era) = (shifted_year.div_euclid(400), shifted_year.rem_euclid(400));
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

/// A number of exactly so many digits, at most `most`.
fn digits(text: &str, count: usize, most: i64) -> Option<i64> {
    let is_plain = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    // Only the first digits of a long fraction matter.
    let text = text.get(..count.min(18))?;
    text.parse().ok().filter(|number| is_plain && *number <= most)
}

/// Microseconds that a data directory has lived: what waits, cooldowns and expiries are counted in. It never goes back
/// and no setting of a clock moves it while a program runs; while none runs, the time of day has to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Steady(pub i64);

impl Steady {
    /// Longest absence believed: a clock that was wrong by more must not expire everything.
    pub const LONGEST_ABSENCE: Duration = Duration::from_secs(366 * 24 * 3_600);

    /// The age to go on from: `stored` was written when the time of day was `then`.
    #[must_use]
    pub fn resumed(stored: Self, then: Timestamp, now: Timestamp) -> Self {
        let longest = Self::LONGEST_ABSENCE.as_micros() as i64;
        Self(stored.0.saturating_add(now.0.saturating_sub(then.0).clamp(0, longest)))
    }
}

impl std::ops::Add<Duration> for Steady {
    type Output = Self;

    fn add(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl std::ops::Sub for Steady {
    type Output = Duration;

    /// Zero when `earlier` is later.
    fn sub(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
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

/// A time with its unit: `500ms`, `1.5s`, `60s`, `5m`, `2h`, `90d`.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(digits);
    let seconds = number.parse::<f64>().ok()?
        * match unit {
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return None,
        };
    Duration::try_from_secs_f64(seconds).ok()
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
    fn dates_are_read_as_timestamps() {
        // From `date -u -d TEXT +%s.%6N`.
        for (text, microseconds) in [
            ("1970-01-01", 0),
            ("2000-02-29", 951_782_400_000_000),
            ("2026-11-22T10:00:00Z", 1_795_341_600_000_000),
            ("2026-11-22 10:00:00.25z", 1_795_341_600_250_000),
            ("2026-11-22T11:30:00.123456789+01:30", 1_795_341_600_123_456),
            ("1969-12-31T23:59:59-00:00", -1_000_000),
        ] {
            assert_eq!(text.parse(), Ok(Timestamp(microseconds)), "{text}");
        }
        for wrong in [
            "",
            "2026",
            "2026-02-29",
            "2026-13-01",
            "2026-1-1",
            "2026-11-22T10:00Z",
            "2026-11-22T10:00:00",
            "2026-11-22T24:00:00Z",
            "2026-11-22T10:00:00.Z",
            "2026-11-22T10:00:00+1:00",
            "2026-11-22T+0:00:00Z",
            "２026-11-22",
            "2026-11-22T10:00:00.5x5Z",
        ] {
            assert!(wrong.parse::<Timestamp>().is_err(), "{wrong}");
        }
        for days in -200_000..200_000 {
            let time = Timestamp(days * 86_400_000_000);
            if (0..10_000).contains(&time.to_rfc3339().split('-').next().unwrap().parse().unwrap_or(-1)) {
                assert_eq!(time.to_rfc3339().parse(), Ok(time));
            }
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

    #[test]
    fn times_need_a_unit() {
        assert_eq!(parse_duration("60s"), Some(Duration::from_secs(60)));
        assert_eq!(parse_duration("1.5m"), Some(Duration::from_secs(90)));
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        for wrong in ["60", "", "s", "-1s", "1 day", "1.2.3s", "1e400h"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }
}
