//! What happened between two scrapes.

use std::collections::BTreeMap;

use super::sample::Sample;
use super::scrape::{Cumulative, Scrape};
use super::series::Series;

/// Series that are remembered although the last scrape did not have them: beyond that they are forgotten.
pub const REMEMBERED_SERIES_MOST: usize = 40_000;

/// Makes samples of successive scrapes of one place.
#[derive(Debug, Default)]
pub struct Deltas {
    /// What counters and histograms were when they were last seen; `None` before the first scrape.
    last: Option<Last>,
}

/// Whether the process that is scraped is known to be another one than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// It may be any: what it counted before the first scrape is not known to be new.
    Unknown,
    /// It started since the last scrape, or since whoever scrapes began to watch: all it counted is new.
    StartedSince,
}

#[derive(Debug, Default)]
struct Last {
    counters: BTreeMap<Series, f64>,
    histograms: BTreeMap<Series, Cumulative>,
}

impl Deltas {
    /// Nothing was scraped yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What happened since the scrape before.
    ///
    /// A counter gives one observation, by how much it grew, also when that is zero. One that is less than before
    /// started again and counts from zero, as do series that are new. A gauge gives its value. A histogram gives what
    /// was observed, if anything; its minimum and maximum are the edges of the buckets, as the text has no better.
    pub fn next(&mut self, scrape: &Scrape, process: Process) -> Vec<(Series, Sample)> {
        if process == Process::StartedSince {
            self.last = Some(Last::default());
        }
        let mut samples = Vec::new();
        if let Some(last) = &self.last {
            for (series, value) in &scrape.counters {
                let before = last.counters.get(series).copied().filter(|before| before <= value);
                samples.push((series.clone(), Sample::of(value - before.unwrap_or(0.0))));
            }
            for (series, now) in &scrape.histograms {
                let before = last.histograms.get(series).filter(|before| before.is_followed_by(now));
                let bounds = scrape.bounds().get(&series.name).map_or(&[][..], Vec::as_slice);
                let sample = between(before, now, bounds);
                if !sample.is_empty() {
                    samples.push((series.clone(), sample));
                }
            }
        }
        let gauges = scrape.gauges.iter();
        samples.extend(gauges.map(|(series, value)| (series.clone(), Sample::of(*value))));
        self.remember(scrape);
        samples
    }

    fn remember(&mut self, scrape: &Scrape) {
        let last = self.last.get_or_insert_default();
        last.counters.extend(scrape.counters.iter().map(|(series, value)| (series.clone(), *value)));
        last.histograms
            .extend(scrape.histograms.iter().map(|(series, value)| (series.clone(), value.clone())));
        if last.counters.len() + last.histograms.len() > REMEMBERED_SERIES_MOST {
            last.counters.clone_from(&scrape.counters);
            last.histograms.clone_from(&scrape.histograms);
        }
    }
}

impl Cumulative {
    /// The same histogram may have grown to the other.
    fn is_followed_by(&self, other: &Self) -> bool {
        self.counts.len() == other.counts.len()
            && differences(&self.counts)
                .zip(differences(&other.counts))
                .all(|(before, after)| before <= after)
    }
}

/// Counts of each bucket alone.
fn differences(counts: &[u64]) -> impl Iterator<Item = u64> {
    let below = std::iter::once(&0).chain(counts);
    counts.iter().zip(below).map(|(count, below)| count.saturating_sub(*below))
}

fn between(before: Option<&Cumulative>, now: &Cumulative, bounds: &[f64]) -> Sample {
    let nothing = vec![0; now.counts.len()];
    let before_counts = before.map_or(&nothing, |before| &before.counts);
    let before_sum = before.map_or(0.0, |before| before.sum);
    let counts: Vec<u64> = differences(&now.counts)
        .zip(differences(before_counts))
        .map(|(now, before)| now.saturating_sub(before))
        .collect();
    let (first, last) =
        (counts.iter().position(|count| *count > 0), counts.iter().rposition(|count| *count > 0));
    let (Some(first), Some(last)) = (first, last) else { return Sample::empty() };
    let count = counts.iter().sum();
    let sum = now.sum - before_sum;
    let average = sum / count as f64;
    // Below the first bound is zero, unless the bound is negative. The average is inside in any case.
    let lower = match first.checked_sub(1) {
        Some(below) => bounds.get(below).copied(),
        None => bounds.first().map(|bound| bound.min(0.0)),
    };
    let upper = bounds.get(last).or(bounds.last()).copied();
    Sample {
        count,
        sum,
        min: lower.map_or(average, |lower| lower.min(average)),
        max: upper.map_or(average, |upper| upper.max(average)),
        histogram: (!bounds.is_empty()).then_some(counts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrape(text: &str) -> Scrape {
        Scrape::parse(&format!("# TYPE c counter\n# TYPE h histogram\n{text}\n")).unwrap()
    }

    fn shown(samples: &[(Series, Sample)]) -> Vec<String> {
        samples
            .iter()
            .map(|(series, Sample { count, sum, min, max, histogram })| {
                let histogram = histogram.as_ref().map_or_else(String::new, |counts| format!(" {counts:?}"));
                format!("{series} {count} {sum} {min} {max}{histogram}")
            })
            .collect()
    }

    fn histogram(counts: [u64; 3], sum: f64) -> String {
        let [a, b, all] = counts;
        format!(
            "h_sum {sum}\nh_bucket{{le=\"1\"}} {a}\nh_bucket{{le=\"2\"}} {b}\nh_bucket{{le=\"+Inf\"}} {all}"
        )
    }

    #[test]
    fn counters_give_by_how_much_they_grew() {
        let mut deltas = Deltas::new();
        for (text, process, expected) in [
            ("c_total 5\ng 1", Process::Unknown, &["g 1 1 1 1"][..]),
            ("c_total 7\ng 0", Process::Unknown, &["c 1 2 2 2", "g 1 0 0 0"]),
            ("c_total 7", Process::Unknown, &["c 1 0 0 0"]),
            ("c_total 3", Process::Unknown, &["c 1 3 3 3"]),
            ("c_total 9\nc_total{new=\"1\"} 4", Process::Unknown, &["c 1 6 6 6", "c{new=\"1\"} 1 4 4 4"]),
            ("g NaN", Process::Unknown, &["g 1 NaN NaN NaN"]),
            ("c_total 10", Process::Unknown, &["c 1 1 1 1"]),
            ("c_total 11", Process::StartedSince, &["c 1 11 11 11"]),
        ] {
            assert_eq!(shown(&deltas.next(&scrape(text), process)), expected, "{text}");
        }
        let mut deltas = Deltas::new();
        let first = deltas.next(&scrape("c_total 5"), Process::StartedSince);
        assert_eq!(shown(&first), ["c 1 5 5 5"], "all of a process that is new");
    }

    #[test]
    fn histograms_give_what_was_observed() {
        let mut deltas = Deltas::new();
        for (counts, sum, expected) in [
            ([1, 2, 2], 2.0, &[][..]),
            ([1, 2, 2], 2.0, &[]),
            ([2, 4, 4], 5.5, &["h 2 3.5 0 2 [1, 1, 0]"]),
            ([2, 4, 6], 25.5, &["h 2 20 2 10 [0, 0, 2]"]),
            ([2, 5, 7], 27.0, &["h 1 1.5 1 2 [0, 1, 0]"]),
            // All together is more than before, and yet it started again.
            ([0, 8, 8], 12.0, &["h 8 12 1 2 [0, 8, 0]"]),
            ([1, 1, 1], 0.5, &["h 1 0.5 0 1 [1, 0, 0]"]),
        ] {
            let samples = deltas.next(&scrape(&histogram(counts, sum)), Process::Unknown);
            assert_eq!(shown(&samples), expected, "{counts:?}");
        }
        let text = "h_sum 3\nh_bucket{le=\"+Inf\"} 2";
        let samples = deltas.next(&scrape(text), Process::Unknown);
        assert_eq!(shown(&samples), ["h 2 3 1.5 1.5"], "without bounds only the average is known");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut deltas = Deltas::new();
        for part in 0..3 {
            let lines: Vec<String> =
                (0..REMEMBERED_SERIES_MOST / 2).map(|n| format!("c_total{{n=\"{part}-{n}\"}} 1")).collect();
            deltas.next(&scrape(&lines.join("\n")), Process::Unknown);
        }
        assert_eq!(deltas.last.unwrap().counters.len(), REMEMBERED_SERIES_MOST / 2);
    }
}
