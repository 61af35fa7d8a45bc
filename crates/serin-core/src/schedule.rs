//! Instants of a schedule: a cron expression on the wall clock of a time zone.
//!
//! An expression with one time of day (`30 2 * * *`, `0 4 1 * *`) fires once on each of its days: a time that the clock
//! skips is taken at the first moment after the gap, and of a time that comes twice the first counts. An expression with
//! several times a day (`*/15 * * * *`, `0 6,18 * * *`) fires whenever the clock shows one of them: in a skipped hour not
//! at all, in a repeated hour again. Every instant is a moment in UTC, so what fired is never in doubt.

use std::fmt;
use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use thiserror::Error;

use crate::clock::Timestamp;
use crate::spelling::closest;

/// Longest expression and zone taken.
const TEXT_LONGEST_BYTES: usize = 200;

/// How far back the last instant is looked for: in an hour first, so that frequent schedules take few steps.
const LOOK_BACK: [Duration; 4] = [
    Duration::from_secs(3_600),
    Duration::from_secs(24 * 3_600),
    Duration::from_secs(31 * 24 * 3_600),
    Duration::from_secs(366 * 24 * 3_600),
];

/// When something is due, again and again.
#[derive(Clone)]
pub struct Schedule {
    expression: String,
    cron: Cron,
    zone: TimeZone,
    zone_name: String,
}

/// Why a text is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidSchedule {
    #[error(
        "{expression:?} is not a schedule of five fields (minute, hour, day of month, month, day of week): {problem}"
    )]
    Expression { expression: String, problem: String },
    #[error("{expression:?} has seconds or years; the finest schedule is once a minute, in five fields")]
    TooFine { expression: String },
    #[error("{expression:?} names a day that never comes")]
    Never { expression: String },
    #[error("{zone:?} is not a time zone such as \"Europe/Berlin\" or \"UTC\"{}", meant.as_ref().map(|name| format!("; did you mean {name:?}?")).unwrap_or_default())]
    Zone { zone: String, meant: Option<String> },
}

impl Schedule {
    /// A schedule by its expression (minute, hour, day of month, month, day of week, or `@daily` and its like) and the
    /// IANA name of its zone.
    ///
    /// # Errors
    /// When either is not understood, has fields for seconds or years, or never comes.
    pub fn parse(expression: &str, zone: &str) -> Result<Self, InvalidSchedule> {
        let shown = || expression.chars().take(TEXT_LONGEST_BYTES).collect::<String>();
        let refused = |problem: String| InvalidSchedule::Expression { expression: shown(), problem };
        if expression.len() > TEXT_LONGEST_BYTES {
            return Err(refused("it is too long".into()));
        }
        if expression.split_whitespace().count() > 5 {
            return Err(InvalidSchedule::TooFine { expression: shown() });
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(expression).map_err(|error| refused(error.to_string()))?;
        let zone = named_zone(zone)?;
        let zone_name = zone.iana_name().unwrap_or("UTC").to_owned();
        let schedule = Self { expression: expression.trim().to_owned(), cron, zone, zone_name };
        match schedule.next_after(Timestamp(0)) {
            Some(_) => Ok(schedule),
            None => Err(InvalidSchedule::Never { expression: shown() }),
        }
    }

    /// The first instant after `instant`; `None` when there is none in the years that a calendar has.
    #[must_use]
    pub fn next_after(&self, instant: Timestamp) -> Option<Timestamp> {
        let from = jiff::Timestamp::from_microsecond(instant.0).ok()?.to_zoned(self.zone.clone());
        let next = self.cron.find_next_occurrence(&from, false).ok()?;
        let next = Timestamp(next.timestamp().as_microsecond());
        // Going on is what everyone who asks again relies on.
        (next > instant).then_some(next)
    }

    /// The last instant up to `instant` and with it; `None` when it is more than a year back.
    #[must_use]
    pub fn last_until(&self, instant: Timestamp) -> Option<Timestamp> {
        LOOK_BACK.iter().find_map(|window| {
            let from = Timestamp(instant.0.saturating_sub(window.as_micros() as i64));
            self.due(from, instant, usize::MAX).last().copied()
        })
    }

    /// The instants after `last` up to `now`, oldest first, at most `limit`: who fires them and remembers the last one
    /// fires each exactly once, whenever it asks. A clock that went back gives none, until it has caught up.
    #[must_use]
    pub fn due(&self, last: Timestamp, now: Timestamp, limit: usize) -> Vec<Timestamp> {
        std::iter::successors(self.next_after(last), |instant| self.next_after(*instant))
            .take_while(|instant| *instant <= now)
            .take(limit)
            .collect()
    }

    /// The expression as written.
    #[must_use]
    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// The IANA name of the zone.
    #[must_use]
    pub fn zone(&self) -> &str {
        &self.zone_name
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schedule({self})")
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.expression, self.zone_name)
    }
}

fn named_zone(name: &str) -> Result<TimeZone, InvalidSchedule> {
    // A zone is found by its name alone: neither by a rule nor by a path.
    let found = (name.len() <= TEXT_LONGEST_BYTES).then(|| TimeZone::get(name).ok()).flatten();
    found.ok_or_else(|| {
        let zones: Vec<String> = jiff::tz::db().available().map(|zone| zone.to_string()).collect();
        let meant = closest(name, zones.iter().map(String::as_str)).map(str::to_owned);
        InvalidSchedule::Zone { zone: name.chars().take(TEXT_LONGEST_BYTES).collect(), meant }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instants(expression: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
        let schedule = Schedule::parse(expression, zone).unwrap();
        let due = schedule.due(from.parse().unwrap(), Timestamp(i64::MAX), count);
        due.into_iter().map(Timestamp::to_rfc3339).collect()
    }

    #[test]
    fn a_skipped_time_is_taken_after_the_gap_and_a_repeated_one_once() {
        // Berlin's clock went from 02:00 to 03:00 on 2026-03-29, and goes from 03:00 to 02:00 on 2026-10-25.
        let nightly = |from| instants("30 2 * * *", "Europe/Berlin", from, 3);
        assert_eq!(
            nightly("2026-03-27T12:00:00Z"),
            ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
        );
        assert_eq!(
            nightly("2026-10-23T12:00:00Z"),
            ["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
        );
        let half_hourly = |from| instants("*/30 2 * * *", "Europe/Berlin", from, 4);
        assert_eq!(
            half_hourly("2026-03-28T01:10:00Z"),
            ["2026-03-28T01:30:00Z", "2026-03-30T00:00:00Z", "2026-03-30T00:30:00Z", "2026-03-31T00:00:00Z"]
        );
        assert_eq!(
            half_hourly("2026-10-25T00:00:00Z"),
            ["2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z", "2026-10-26T01:00:00Z"]
        );
    }

    #[test]
    fn the_last_instant_is_the_one_that_the_next_one_follows() {
        for (expression, at, last) in [
            ("0 8 * * *", "2026-11-22T08:00:00Z", Some("2026-11-22T08:00:00Z")),
            ("0 8 * * *", "2026-11-22T07:59:59Z", Some("2026-11-21T08:00:00Z")),
            ("* * * * *", "2026-11-22T07:59:59Z", Some("2026-11-22T07:59:00Z")),
            ("0 0 1 1 *", "2026-11-22T00:00:00Z", Some("2026-01-01T00:00:00Z")),
            ("0 0 29 2 *", "2026-11-22T00:00:00Z", None),
        ] {
            let schedule = Schedule::parse(expression, "UTC").unwrap();
            let found = schedule.last_until(at.parse().unwrap()).map(Timestamp::to_rfc3339);
            assert_eq!(found.as_deref(), last, "{expression} {at}");
        }
    }

    #[test]
    fn days_are_counted_as_cron_counts_them() {
        let from = "2026-11-22T00:00:00Z";
        for (expression, first) in [
            ("0 4 1 * *", "2026-12-01T04:00:00Z"),
            ("0 0 L * *", "2026-11-30T00:00:00Z"),
            ("0 0 29 2 *", "2028-02-29T00:00:00Z"),
            ("0 0 * * MON", "2026-11-23T00:00:00Z"),
            // Day of month or day of week, when both are named.
            ("0 0 13 * FRI", "2026-11-27T00:00:00Z"),
            ("@monthly", "2026-12-01T00:00:00Z"),
        ] {
            assert_eq!(instants(expression, "UTC", from, 1), [first], "{expression}");
        }
    }

    #[test]
    fn what_is_no_schedule_is_told() {
        for bad in
            ["", "* * * *", "60 * * * *", "* 24 * * *", "* * 32 * *", "x * * * *", "@reboot", "*/0 * * * *"]
        {
            let refused = Schedule::parse(bad, "UTC");
            assert!(matches!(refused, Err(InvalidSchedule::Expression { .. })), "{bad}: {refused:?}");
        }
        for fine in ["* * * * * *", "*/10 * * * * *", "0 0 0 1 1 * 2027"] {
            let refused = Schedule::parse(fine, "UTC");
            assert!(matches!(refused, Err(InvalidSchedule::TooFine { .. })), "{fine}: {refused:?}");
        }
        let never = Schedule::parse("0 0 30 2 *", "UTC");
        assert!(matches!(never, Err(InvalidSchedule::Never { .. })), "{never:?}");
        for zone in ["Europe/Berlim", "", "/etc/localtime", "../UTC", "CET-1CEST"] {
            let refused = Schedule::parse("@daily", zone);
            assert!(matches!(refused, Err(InvalidSchedule::Zone { .. })), "{zone}: {refused:?}");
        }
        let typo = Schedule::parse("@daily", "Europe/Berlim").unwrap_err().to_string();
        assert!(typo.contains("did you mean \"Europe/Berlin\"?"), "{typo}");
    }
}
