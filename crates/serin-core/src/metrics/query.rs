//! The language in which people ask for metrics.
//!
//! ```text
//! p99(latency{endpoint="prod",variant="v3"}[15m])    a statistic of series over a window
//! Sum(serin_requests)                                 over an hour
//! serin_requests{endpoint="prod"}                     the average over an hour
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::cursor::{Cursor, Unexpected};
use super::sample::Sample;
use super::series::{Selector, is_metric_name, is_of_metric_name};
use super::statistic::Statistic;
use crate::clock::Timestamp;
use crate::clock::parse_duration;

/// A longer query is refused.
pub const QUERY_LONGEST_BYTES: usize = 4_096;

/// The window of a query that names none.
const USUAL_WINDOW: Duration = Duration::from_secs(3_600);
/// No window is shorter: it would be less than a period.
const SHORTEST_WINDOW: Duration = Duration::from_secs(10);
/// No window is longer: nothing older is kept.
const LONGEST_WINDOW: Duration = Duration::from_secs(455 * 24 * 3_600);
/// The periods that a window is divided into.
const PERIODS: [Duration; 4] =
    [Duration::from_secs(10), Duration::from_secs(60), Duration::from_secs(300), Duration::from_secs(3_600)];
/// A window has about so many periods, or up to twelve times as many.
const PERIODS_IN_WINDOW: u32 = 60;

/// A statistic of the series that are meant, over the time until now.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    pub statistic: Statistic,
    pub selector: Selector,
    pub window: Duration,
}

impl Query {
    /// The length of the periods that the window is shown in: the longest of 10 seconds, a minute, 5 minutes and an hour
    /// of which it has at least 60, else 10 seconds.
    #[must_use]
    pub fn period(&self) -> Duration {
        let share = self.window / PERIODS_IN_WINDOW;
        PERIODS.into_iter().rfind(|period| *period <= share).unwrap_or(PERIODS[0])
    }

    /// The first moment of the first period, and the first after `now` that is not meant: as many periods as the window
    /// has, of which the last has only begun.
    #[must_use]
    pub fn range(&self, now: Timestamp) -> (Timestamp, Timestamp) {
        let period = i64::try_from(self.period().as_micros()).unwrap_or(i64::MAX);
        let window = i64::try_from(self.window.as_micros()).unwrap_or(i64::MAX);
        let periods = window.saturating_add(period - 1) / period;
        let current = now.0.div_euclid(period).saturating_mul(period);
        let from = current.saturating_sub((periods - 1).max(0).saturating_mul(period));
        (Timestamp(from), Timestamp(now.0.saturating_add(1)))
    }

    /// The statistic of each period of the range that `now` gives, absent where nothing was observed. `points` are those
    /// of the range and the period, in order.
    #[must_use]
    pub fn line(&self, points: &[(Timestamp, Sample)], now: Timestamp, bounds: &[f64]) -> Vec<Option<f64>> {
        let period = i64::try_from(self.period().as_micros()).unwrap_or(i64::MAX);
        let (from, to) = self.range(now);
        let by_time: BTreeMap<i64, &Sample> = points.iter().map(|(time, sample)| (time.0, sample)).collect();
        let periods = (to.0.saturating_sub(from.0).saturating_add(period - 1) / period).max(0);
        (0..periods)
            .map(|n| {
                by_time.get(&(from.0 + n * period)).and_then(|sample| self.statistic.value(sample, bounds))
            })
            .collect()
    }

    /// The statistic of all points together.
    #[must_use]
    pub fn value(&self, points: &[(Timestamp, Sample)], bounds: &[f64]) -> Option<f64> {
        let mut all = Sample::empty();
        for (_, sample) in points {
            all.merge(sample);
        }
        self.statistic.value(&all, bounds)
    }
}

impl FromStr for Query {
    type Err = Unexpected;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut cursor = Cursor::new(text);
        if text.len() > QUERY_LONGEST_BYTES {
            return Err(cursor.unexpected("a query of at most 4096 bytes"));
        }
        cursor.skip_blanks();
        let before = cursor.clone();
        let word = cursor.take(|c| is_of_metric_name(c) || c == '.');
        cursor.skip_blanks();
        let query = if cursor.skip('(') {
            let Ok(statistic) = word.parse() else {
                return Err(before.unexpected(
                    "Sum, Average, Minimum, Maximum, SampleCount or a percentile such as p99 before \"(\"",
                ));
            };
            cursor.skip_blanks();
            let selector = selector(&mut cursor)?;
            cursor.skip_blanks();
            let window = window(&mut cursor)?;
            cursor.skip_blanks();
            cursor.need(')', "\")\"")?;
            Self { statistic, selector, window: window.unwrap_or(USUAL_WINDOW) }
        } else {
            cursor = before;
            let selector = selector(&mut cursor)?;
            Self { statistic: Statistic::Average, selector, window: USUAL_WINDOW }
        };
        cursor.skip_blanks();
        if cursor.next_is(|c| c == '[') {
            return Err(cursor.unexpected("a window inside a statistic, as in Sum(name[5m])"));
        }
        if !cursor.is_at_end() {
            return Err(cursor.unexpected("the end of the query"));
        }
        Ok(query)
    }
}

fn selector(cursor: &mut Cursor<'_>) -> Result<Selector, Unexpected> {
    let before = cursor.clone();
    let name = cursor.take(is_of_metric_name);
    if !is_metric_name(name) {
        return Err(before.unexpected("the name of a metric"));
    }
    cursor.skip_blanks();
    Ok(Selector { name: name.to_owned(), labels: cursor.labels()? })
}

fn window(cursor: &mut Cursor<'_>) -> Result<Option<Duration>, Unexpected> {
    if !cursor.skip('[') {
        return Ok(None);
    }
    let before = cursor.clone();
    let window = parse_duration(cursor.take(|c| c != ']' && c != ')'))
        .filter(|window| (SHORTEST_WINDOW..=LONGEST_WINDOW).contains(window));
    let Some(window) = window else {
        return Err(before.unexpected("a time from 10s to 455d, such as 90s, 5m, 1h or 7d"));
    };
    cursor.need(']', "\"]\"")?;
    Ok(Some(window))
}

impl fmt::Display for Query {
    /// In full, so that it is read as the same query.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { statistic, selector, window } = self;
        let seconds = window.as_secs();
        let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
        let whole = units.into_iter().find(|(unit, _)| seconds % unit == 0 && seconds > 0);
        match whole.filter(|_| window.subsec_nanos() == 0) {
            Some((unit, name)) => write!(f, "{statistic}({selector}[{}{name}])", seconds / unit),
            None => write!(f, "{statistic}({selector}[{}s])", window.as_secs_f64()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn queries_are_read_and_shown_in_full() {
        for (text, shown) in [
            ("p99(latency{endpoint=\"prod\",variant=\"v3\"}[15m])", None),
            ("p99.9(latency[90s])", None),
            ("Sum(a:b[455d])", None),
            ("Average(a[1h])", None),
            ("a", Some("Average(a[1h])")),
            ("p99", Some("Average(p99[1h])")),
            ("sum(a)", Some("Sum(a[1h])")),
            ("count(count)", Some("SampleCount(count[1h])")),
            ("a{}", Some("Average(a[1h])")),
            ("a {b = \"c\" , } ", Some("Average(a{b=\"c\"}[1h])")),
            (
                "  MAX ( a { z = \"\\\"\\\\\\n\", b=\"ä\" } [ 1.5m ] )  ",
                Some("Maximum(a{b=\"ä\",z=\"\\\"\\\\\\n\"}[90s])"),
            ),
            ("min(a[10500ms])", Some("Minimum(a[10.5s])")),
            ("avg(a[24h])", Some("Average(a[1d])")),
        ] {
            let query: Query = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(query.to_string(), shown.unwrap_or(text), "{text}");
            assert_eq!(query.to_string().parse(), Ok(query));
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let statistics =
            "expected Sum, Average, Minimum, Maximum, SampleCount or a percentile such as p99 before \"(\"";
        let times = "expected a time from 10s to 455d, such as 90s, 5m, 1h or 7d";
        let long = "a".repeat(QUERY_LONGEST_BYTES + 1);
        for (text, message) in [
            ("", "position 1: expected the name of a metric, found the end".to_owned()),
            ("  ", "position 3: expected the name of a metric, found the end".into()),
            ("ä", "position 1: expected the name of a metric, found \"ä\"".into()),
            ("1a", "position 1: expected the name of a metric, found \"1a\"".into()),
            ("a.b", "position 2: expected the end of the query, found \".b\"".into()),
            ("a b", "position 3: expected the end of the query, found \"b\"".into()),
            (
                "a[5m]",
                "position 2: expected a window inside a statistic, as in Sum(name[5m]), found \"[5m]\""
                    .into(),
            ),
            ("(a)", format!("position 1: {statistics}, found \"(a)\"")),
            (" median(a)", format!("position 2: {statistics}, found \"median(a)\"")),
            ("p101(a)", format!("position 1: {statistics}, found \"p101(a)\"")),
            ("sum()", "position 5: expected the name of a metric, found \")\"".into()),
            ("sum(a", "position 6: expected \")\", found the end".into()),
            ("sum(a))", "position 7: expected the end of the query, found \")\"".into()),
            (
                "sum(a)[5m]",
                "position 7: expected a window inside a statistic, as in Sum(name[5m]), found \"[5m]\""
                    .into(),
            ),
            ("sum(a[])", format!("position 7: {times}, found \"])\"")),
            ("sum(a[5])", format!("position 7: {times}, found \"5])\"")),
            ("sum(a[9s])", format!("position 7: {times}, found \"9s])\"")),
            ("sum(a[456d])", format!("position 7: {times}, found \"456d])\"")),
            ("sum(a[5m)", "position 9: expected \"]\", found \")\"".into()),
            ("sum(a[5m", "position 9: expected \"]\", found the end".into()),
            ("a{b}", "position 4: expected \"=\" after the name of a label, found \"}\"".into()),
            (
                "a{ä=\"ö\",b=c}",
                "position 3: expected the name of a label, or \"}\", found \"ä=\\\"ö\\\",b=c}\"".into(),
            ),
            ("a{ö", "position 3: expected the name of a label, or \"}\", found \"ö\"".into()),
            ("a{b=\"ö\",c=d}", "position 11: expected a value in double quotes, found \"d}\"".into()),
            ("a{b=\"c", "position 7: expected the quote that ends the value, found the end".into()),
            (&long, format!("position 1: expected a query of at most 4096 bytes, found {:?}", &long[..20])),
        ] {
            assert_eq!(text.parse::<Query>().unwrap_err().to_string(), message, "{text}");
        }
    }

    #[test]
    fn a_window_has_periods() {
        for (window, period) in [
            (10, 10),
            (600, 10),
            (3_599, 10),
            (3_600, 60),
            (6 * 3_600, 300),
            (86_400, 300),
            (60 * 3_600, 3_600),
            (455 * 86_400, 3_600),
        ] {
            let query = Query { window: seconds(window), .."a".parse().unwrap() };
            assert_eq!(query.period(), seconds(period), "{window}");
            let now = Timestamp(1_800_000_123_456_789);
            let (from, to) = query.range(now);
            assert_eq!(to, Timestamp(now.0 + 1));
            assert_eq!(from.0 % (period as i64 * 1_000_000), 0);
            let line = query.line(&[], now, &[]);
            assert_eq!(line.len() as u64, window.div_ceil(period), "{window}");
        }
    }

    #[test]
    fn a_line_has_gaps_and_all_points_have_one_value() {
        let query: Query = "sum(a[40s])".parse().unwrap();
        let now = Timestamp(105_000_000);
        let points = [(70, 1.0), (90, 2.0), (100, 4.0)]
            .map(|(second, value)| (Timestamp(second * 1_000_000), Sample::of(value)));
        assert_eq!(query.range(now).0, Timestamp(70_000_000));
        assert_eq!(query.line(&points, now, &[]), [Some(1.0), None, Some(2.0), Some(4.0)]);
        assert_eq!(query.value(&points, &[]), Some(7.0));
        assert_eq!(query.line(&points, Timestamp(i64::MAX), &[]).len(), 4);
    }

    proptest! {
        #[test]
        fn no_text_is_more_than_it_can_read(text in "(p99\\(|sum|a|\\{|\\}|b=\"|\\\\|\"|,|\\[|5m|\\]|\\)| |ä|\\PC){0,12}") {
            if let Ok(query) = text.parse::<Query>() {
                prop_assert_eq!(query.to_string().parse(), Ok(query));
            }
        }
    }
}
