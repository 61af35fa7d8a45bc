//! Questions that a sample answers with one number.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::sample::Sample;

/// A rank this close below a bucket's end is at its end: 99.9 has no exact number, and what is above may be far.
const RANK_TOLERANCE: f64 = 1e-12;

/// What is asked of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Statistic {
    Sum,
    Average,
    Minimum,
    Maximum,
    SampleCount,
    /// 0 to 100: so many in a hundred observations are not greater.
    Percentile(f64),
}

/// Text that is no statistic.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{0:?} is no statistic: there are Sum, Average, Minimum, Maximum, SampleCount, and percentiles such as p99 or p99.9"
)]
pub struct InvalidStatistic(pub String);

impl Statistic {
    /// The answer; `bounds` are the upper bounds of the metric's histograms, empty if it has none.
    ///
    /// Of an empty sample, sum and count are zero and there are no others. A percentile needs a histogram, unless all
    /// observations are equal.
    #[must_use]
    pub fn value(&self, sample: &Sample, bounds: &[f64]) -> Option<f64> {
        match self {
            Self::SampleCount => Some(sample.count as f64),
            Self::Sum if sample.is_empty() => Some(0.0),
            _ if sample.is_empty() => None,
            Self::Sum => Some(sample.sum),
            Self::Average => Some(sample.sum / sample.count as f64),
            Self::Minimum => Some(sample.min),
            Self::Maximum => Some(sample.max),
            Self::Percentile(percent) => match &sample.histogram {
                Some(histogram) => percentile(*percent, histogram, bounds),
                None => (sample.min == sample.max).then_some(sample.min),
            },
        }
    }
}

/// As Prometheus' `histogram_quantile`: observations lie evenly inside a bucket, the first one begins at zero unless its
/// bound is negative, and of what is above all bounds nothing is known but the last bound.
/// (<https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile>)
fn percentile(percent: f64, counts: &[u64], bounds: &[f64]) -> Option<f64> {
    let largest = *bounds.last()?;
    let total = counts.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
    if counts.len() != bounds.len() + 1 || total == 0 || !(0.0..=100.0).contains(&percent) {
        return None;
    }
    let rank = percent * total as f64 / 100.0;
    let mut below = 0.0;
    let mut lower = None;
    for (&upper, &count) in bounds.iter().zip(counts) {
        let inside = count as f64;
        if count > 0 && below + inside >= rank * (1.0 - RANK_TOLERANCE) {
            let lower = match lower {
                Some(lower) => lower,
                None if upper <= 0.0 => upper,
                None => 0.0,
            };
            let share = ((rank - below) / inside).clamp(0.0, 1.0);
            return Some(lower + (upper - lower) * share);
        }
        below += inside;
        lower = Some(upper);
    }
    Some(largest)
}

impl FromStr for Statistic {
    type Err = InvalidStatistic;

    /// CloudWatch's names in any case, and `avg`, `min`, `max`, `count`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower = text.to_ascii_lowercase();
        Ok(match lower.as_str() {
            "sum" => Self::Sum,
            "average" | "avg" => Self::Average,
            "minimum" | "min" => Self::Minimum,
            "maximum" | "max" => Self::Maximum,
            "samplecount" | "count" => Self::SampleCount,
            other => {
                let invalid = || InvalidStatistic(text.chars().take(64).collect());
                let percent = other.strip_prefix('p').ok_or_else(invalid)?;
                let is_plain = percent.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
                let percent: f64 = percent.parse().map_err(|_| invalid())?;
                if !is_plain || !(0.0..=100.0).contains(&percent) {
                    return Err(invalid());
                }
                Self::Percentile(percent)
            }
        })
    }
}

impl TryFrom<String> for Statistic {
    type Error = InvalidStatistic;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Statistic> for String {
    fn from(statistic: Statistic) -> Self {
        statistic.to_string()
    }
}

impl fmt::Display for Statistic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sum => f.write_str("Sum"),
            Self::Average => f.write_str("Average"),
            Self::Minimum => f.write_str("Minimum"),
            Self::Maximum => f.write_str("Maximum"),
            Self::SampleCount => f.write_str("SampleCount"),
            Self::Percentile(percent) => write!(f, "p{percent}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_have_names() {
        for (text, statistic, shown) in [
            ("Sum", Statistic::Sum, "Sum"),
            ("SUM", Statistic::Sum, "Sum"),
            ("avg", Statistic::Average, "Average"),
            ("average", Statistic::Average, "Average"),
            ("min", Statistic::Minimum, "Minimum"),
            ("Maximum", Statistic::Maximum, "Maximum"),
            ("samplecount", Statistic::SampleCount, "SampleCount"),
            ("count", Statistic::SampleCount, "SampleCount"),
            ("p99", Statistic::Percentile(99.0), "p99"),
            ("P99.9", Statistic::Percentile(99.9), "p99.9"),
            ("p0", Statistic::Percentile(0.0), "p0"),
            ("p100.0", Statistic::Percentile(100.0), "p100"),
        ] {
            assert_eq!(text.parse(), Ok(statistic), "{text}");
            assert_eq!(statistic.to_string(), shown);
        }
        for wrong in ["", "p", "p.", "p101", "p-1", "p1e1", "pnan", "p+5", "p99%", "median", "Sum ", "пp"] {
            assert_eq!(wrong.parse::<Statistic>(), Err(InvalidStatistic(wrong.to_owned())), "{wrong}");
        }
    }

    #[test]
    fn an_empty_sample_has_stated_answers() {
        let empty = Sample::empty();
        for (statistic, answer) in [
            (Statistic::Sum, Some(0.0)),
            (Statistic::SampleCount, Some(0.0)),
            (Statistic::Average, None),
            (Statistic::Minimum, None),
            (Statistic::Maximum, None),
            (Statistic::Percentile(50.0), None),
        ] {
            assert_eq!(statistic.value(&empty, &[1.0]), answer, "{statistic}");
        }
    }

    #[test]
    fn every_statistic_of_a_few_values() {
        let mut sample = Sample::of(1.0);
        sample.add(4.0);
        for (statistic, answer) in [
            (Statistic::Sum, Some(5.0)),
            (Statistic::SampleCount, Some(2.0)),
            (Statistic::Average, Some(2.5)),
            (Statistic::Minimum, Some(1.0)),
            (Statistic::Maximum, Some(4.0)),
            (Statistic::Percentile(50.0), None),
        ] {
            assert_eq!(statistic.value(&sample, &[]), answer, "{statistic}");
        }
        assert_eq!(Statistic::Percentile(99.0).value(&Sample::of(7.0), &[]), Some(7.0), "all are equal");
    }

    #[test]
    fn percentiles_at_the_edges() {
        let of = |percent: f64, counts: &[u64], bounds: &[f64]| percentile(percent, counts, bounds);
        assert_eq!(of(50.0, &[1, 1], &[]), None, "no bounds");
        assert_eq!(of(50.0, &[1, 1, 1], &[1.0]), None, "other bounds");
        assert_eq!(of(50.0, &[0, 0], &[1.0]), None, "nothing observed");
        assert_eq!(of(50.0, &[0, 4], &[1.0]), Some(1.0), "all above the last bound");
        assert_eq!(of(0.0, &[0, 2, 0], &[1.0, 3.0]), Some(1.0), "the begin of the first bucket that has any");
        assert_eq!(of(50.0, &[0, 2, 0], &[1.0, 3.0]), Some(2.0));
        for wrong in [-1.0, 100.1, f64::NAN] {
            assert_eq!(of(wrong, &[1, 1], &[1.0]), None);
        }
        assert_eq!(of(50.0, &[2, 0], &[-1.0]), Some(-1.0), "nothing is known below a negative bound");
        // 99.9 * 1000 / 100 is a little more than 999.
        assert_eq!(of(99.9, &[999, 0, 1, 0], &[1.0, 10.0, 100.0]), Some(1.0));
    }
}
