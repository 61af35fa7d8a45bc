//! The state of an alarm that watches a metric.
//!
//! What CloudWatch documents ("Configuring how CloudWatch alarms treat missing data", with two tables that are tests
//! here), in its order:
//!
//! 1. More periods are read than the rule evaluates, the *evaluation range*. Are there enough datapoints in it, then
//!    the most recent ones are judged, however old, and what missing data means plays no part.
//! 2. Are there fewer, then all of them are judged, and only what they fall short by is filled in as the rule says.
//! 3. Enough breaching ones, in any places, make the alarm.
//! 4. With `missing` and `ignore` nothing is filled in. A datapoint within the threshold then makes it OK. Without any
//!    datapoint there is insufficient data, or the state stays.
//! 5. If all that is there breaches but is not enough, then silence after a breach counts as its going on: once the oldest
//!    is at least as many periods old as datapoints make an alarm, `missing` makes it. Until then the next datapoint may
//!    show that it was nothing.
//!
//! CloudWatch says of the time until then only that the alarm does not go on. Here the state stays: datapoints that all
//! breach are no reason to call an alarm OK.

use serde::{Deserialize, Serialize};

use super::words;
use crate::config::{MissingData, Rule};
use crate::domain::AlarmState;

/// Periods that are read beyond those evaluated.
const EXTRA_PERIODS: usize = 2;

/// What is known of one period.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Point {
    /// Nothing was there to measure.
    Missing,
    /// One that is not finite counts as unreadable.
    Value(f64),
    /// There was something, and it could not be measured.
    Unreadable,
}

/// How an alarm stands, and what that rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub state: AlarmState,
    /// One sentence without a full stop.
    pub reason: String,
    /// Of the datapoints judged: those beyond the threshold,
    pub breaching: usize,
    /// those within it,
    pub within: usize,
    /// those that could not be measured,
    pub unreadable: usize,
    /// and how many there were too few.
    pub missing: usize,
}

/// How many of the last periods [`evaluate`] wants to see: more than the rule's own.
#[must_use]
pub fn evaluation_range(rule: &Rule) -> usize {
    evaluation_periods(rule) + EXTRA_PERIODS
}

/// The state that follows from the last periods, the oldest first, and the state before. Periods before the evaluation range
/// are not looked at; periods that are not given are missing.
#[must_use]
pub fn evaluate(rule: &Rule, points: &[Point], before: AlarmState) -> Verdict {
    let judged = Judged::of(rule, points);
    let ground = ground(rule, &judged);
    Verdict {
        state: match ground {
            Ground::Breaches | Ground::FilledBreaches | Ground::LastingBreach => AlarmState::Alarm,
            Ground::Unreadable | Ground::Nothing => AlarmState::InsufficientData,
            Ground::TooFewBreaches => AlarmState::Ok,
            Ground::NothingStays | Ground::EarlyBreach => before,
        },
        reason: words::reason(rule, &judged, ground, before),
        breaching: judged.breaching.len(),
        within: judged.values.len() - judged.breaching.len(),
        unreadable: judged.unreadable,
        missing: judged.missing,
    }
}

/// The datapoints that decide.
#[derive(Debug)]
pub(super) struct Judged {
    /// What could be measured, the oldest first, and of that what is beyond the threshold.
    pub values: Vec<f64>,
    pub breaching: Vec<f64>,
    pub unreadable: usize,
    /// How many there are too few.
    pub missing: usize,
    /// Periods since the oldest of them, with its own; 0 without any.
    pub age: usize,
}

/// Why the state is what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ground {
    /// Enough of them breach.
    Breaches,
    /// Enough, with those that are missing.
    FilledBreaches,
    /// All there are breach, since long enough.
    LastingBreach,
    /// Not enough breach.
    TooFewBreaches,
    /// What was not measured could make the difference.
    Unreadable,
    /// There is no datapoint.
    Nothing,
    /// There is none, and the state stays.
    NothingStays,
    /// All there are breach, but not since long enough; the state stays.
    EarlyBreach,
}

impl Judged {
    fn of(rule: &Rule, points: &[Point]) -> Self {
        let range = &points[points.len().saturating_sub(evaluation_range(rule))..];
        let newest_first = range.iter().copied().rev().enumerate();
        let there: Vec<(usize, Point)> = newest_first
            .filter(|(_, point)| *point != Point::Missing)
            .map(|(i, point)| (i + 1, point))
            .take(evaluation_periods(rule))
            .collect();
        let measured = there.iter().rev().filter_map(|(_, point)| match point {
            Point::Value(value) if value.is_finite() => Some(*value),
            _ => None,
        });
        let values: Vec<f64> = measured.collect();
        Self {
            breaching: values.iter().copied().filter(|value| rule.is_breached_by(*value)).collect(),
            unreadable: there.len() - values.len(),
            missing: evaluation_periods(rule) - there.len(),
            age: there.last().map_or(0, |(age, _)| *age),
            values,
        }
    }
}

fn ground(rule: &Rule, judged: &Judged) -> Ground {
    let needed = rule.datapoints_to_alarm() as usize;
    let breaching = judged.breaching.len();
    if breaching >= needed {
        return Ground::Breaches;
    }
    if rule.missing() == MissingData::Breaching && breaching + judged.missing >= needed {
        return Ground::FilledBreaches;
    }
    if judged.unreadable > 0 {
        return Ground::Unreadable;
    }
    let is_one_within = judged.values.len() > breaching;
    match rule.missing() {
        _ if is_one_within => Ground::TooFewBreaches,
        MissingData::NotBreaching | MissingData::Breaching => Ground::TooFewBreaches,
        MissingData::Missing if judged.values.is_empty() => Ground::Nothing,
        MissingData::Ignore if judged.values.is_empty() => Ground::NothingStays,
        MissingData::Missing if judged.age >= needed => Ground::LastingBreach,
        MissingData::Missing | MissingData::Ignore => Ground::EarlyBreach,
    }
}

fn evaluation_periods(rule: &Rule) -> usize {
    rule.evaluation_periods() as usize
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Comparison, UncheckedRule};

    const POLICIES: [MissingData; 4] =
        [MissingData::Missing, MissingData::Ignore, MissingData::Breaching, MissingData::NotBreaching];

    fn rule(needed: u32, periods: u32, missing: MissingData) -> Rule {
        let unchecked = UncheckedRule {
            comparison: Comparison::GreaterThanThreshold,
            threshold: 5.0,
            period: Duration::from_secs(60),
            evaluation_periods: periods,
            datapoints_to_alarm: needed,
            missing,
        };
        unchecked.check().unwrap()
    }

    /// `0` is good, `X` is bad, `-` is missing, `?` is not readable.
    fn points(text: &str) -> Vec<Point> {
        let point = |c| match c {
            '0' => Point::Value(1.0),
            'X' => Point::Value(10.0),
            '?' => Point::Unreadable,
            _ => Point::Missing,
        };
        text.chars().map(point).collect()
    }

    /// What `text` comes to with each policy; `keep` when it is the state before, whichever that was.
    fn row(needed: u32, text: &str) -> [&'static str; 4] {
        POLICIES.map(|missing| {
            let state = |before| evaluate(&rule(needed, 3, missing), &points(text), before).state;
            let states = AlarmState::ALL.map(state);
            if states == AlarmState::ALL {
                return "keep";
            }
            assert!(states.iter().all(|state| *state == states[0]), "{text}");
            states[0].name()
        })
    }

    /// The tables of CloudWatch's documentation, row by row, in the order missing, ignore, breaching, not breaching.
    #[test]
    fn the_documented_tables_hold() {
        let (ok, alarm, unknown, keep) = ("OK", "ALARM", "INSUFFICIENT_DATA", "keep");
        for (needed, text, expected) in [
            (3, "0-X-X", [ok, ok, ok, ok]),
            (3, "0----", [ok, ok, ok, ok]),
            (3, "-----", [unknown, keep, alarm, ok]),
            (3, "0XX-X", [alarm, alarm, alarm, alarm]),
            (3, "--X--", [alarm, keep, alarm, ok]),
            (2, "0-X-X", [alarm, alarm, alarm, alarm]),
            (2, "00X0X", [alarm, alarm, alarm, alarm]),
            (2, "0-X--", [ok, ok, alarm, ok]),
            (2, "----0", [ok, ok, alarm, ok]),
            (2, "---X-", [alarm, keep, alarm, ok]),
            // Of the text about premature transitions: it does not go on yet.
            (3, "----X", [keep, keep, alarm, ok]),
            (3, "---X-", [keep, keep, alarm, ok]),
            (3, "---X0", [ok, ok, ok, ok]),
            (3, "--X-0", [ok, ok, ok, ok]),
        ] {
            assert_eq!(row(needed, text), expected, "{needed} of 3: {text}");
        }
    }

    #[test]
    fn what_was_not_measured_is_never_ok() {
        let (alarm, unknown) = ("ALARM", "INSUFFICIENT_DATA");
        for (needed, text, expected) in [
            (3, "?????", [unknown; 4]),
            (3, "0000?", [unknown; 4]),
            (3, "00?00", [unknown; 4]),
            // Not among those that decide.
            (3, "??000", ["OK"; 4]),
            // The bad ones are enough without it.
            (2, "XX?--", [alarm; 4]),
            (3, "XX?XX", [unknown; 4]),
            // So are those that count as bad.
            (2, "----?", [unknown, unknown, alarm, unknown]),
            (2, "---X?", [unknown, unknown, alarm, unknown]),
            // It is no silence after a breach.
            (3, "--X-?", [unknown; 4]),
        ] {
            assert_eq!(row(needed, text), expected, "{needed} of 3: {text}");
        }
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let verdict =
                evaluate(&rule(1, 1, MissingData::NotBreaching), &[Point::Value(value)], AlarmState::Ok);
            assert_eq!((verdict.state, verdict.unreadable), (AlarmState::InsufficientData, 1), "{value}");
        }
    }

    #[test]
    fn reasons_have_the_numbers() {
        let said = |needed, periods, missing, points: &[Point]| {
            evaluate(&rule(needed, periods, missing), points, AlarmState::Ok).reason
        };
        let values = |values: &[f64]| values.iter().map(|value| Point::Value(*value)).collect::<Vec<_>>();
        let missing = MissingData::Missing;
        let not_breaching = MissingData::NotBreaching;
        for (reason, wanted) in [
            (
                said(3, 3, missing, &values(&[1.0, 10.0, 12.0, 11.0])),
                "3 of the last 3 datapoints (10, 12, 11) were greater than the threshold (5)",
            ),
            (
                said(2, 3, missing, &values(&[10.0, 1.0, 5.5])),
                "2 of the last 3 datapoints (10, 5.5) were greater than the threshold (5)",
            ),
            (
                said(1, 1, missing, &values(&[10.0])),
                "the last datapoint (10) was greater than the threshold (5)",
            ),
            (
                said(1, 1, missing, &values(&[5.0])),
                "the last datapoint (5) was not greater than the threshold (5)",
            ),
            (
                said(1, 3, missing, &values(&[1.0, 2.0, 3.0])),
                "none of the last 3 datapoints (1, 2, 3) was greater than the threshold (5)",
            ),
            (
                said(2, 3, missing, &values(&[1.0, 2.0, 6.0])),
                "1 of the last 3 datapoints (6) was greater than the threshold (5); the alarm needs 2",
            ),
            (
                said(2, 3, MissingData::Breaching, &points("----X")),
                "the last datapoint (10) was greater than the threshold (5); 2 missing datapoints count as breaching",
            ),
            (said(2, 3, MissingData::Breaching, &[]), "3 missing datapoints count as breaching"),
            (
                said(2, 3, not_breaching, &points("----X")),
                "the last datapoint (10) was greater than the threshold (5); 2 missing datapoints count as not \
                 breaching; the alarm needs 2",
            ),
            (said(2, 3, not_breaching, &[]), "3 missing datapoints count as not breaching"),
            (said(2, 3, missing, &[]), "none of the last 5 periods has a datapoint"),
            (
                said(2, 3, MissingData::Ignore, &[]),
                "none of the last 5 periods has a datapoint; the state stays OK",
            ),
            (
                said(3, 3, missing, &points("--X--")),
                "the last datapoint (10) was greater than the threshold (5); that began 3 periods ago, and none \
                 better has come since",
            ),
            (
                said(3, 3, missing, &points("---X-")),
                "the last datapoint (10) was greater than the threshold (5); the alarm needs 3; the state stays OK",
            ),
            (
                said(3, 3, missing, &points("0000?")),
                "1 of the last 3 datapoints could not be measured; none of the last 3 datapoints (1, 1) was greater \
                 than the threshold (5)",
            ),
            (
                said(2, 3, missing, &points("0?X0?")),
                "1 of the last 3 datapoints could not be measured; 1 of the last 3 datapoints (10) was greater than \
                 the threshold (5); the alarm needs 2",
            ),
            (said(1, 1, missing, &[Point::Unreadable]), "the last datapoint could not be measured"),
            (
                said(2, 3, MissingData::Breaching, &points("----?")),
                "the last datapoint could not be measured; 2 missing datapoints count as breaching",
            ),
            (
                said(1, 1, missing, &[Point::Value(1e300)]),
                "the last datapoint (1e300) was greater than the threshold (5)",
            ),
            (
                said(12, 12, missing, &values(&[6.0; 12])),
                "12 of the last 12 datapoints (6, 6, 6, 6, 6, 6, 6, 6, 6, 6 and 2 more) were greater than the \
                 threshold (5)",
            ),
        ] {
            assert_eq!(reason, wanted);
        }
    }
}
