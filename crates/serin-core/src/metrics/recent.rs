//! The last minutes, second by second, in memory.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::bounds::{BoundsError, KnownBounds};
use super::sample::Sample;
use super::series::{Selector, Series};
use super::{Point, Recorded};
use crate::clock::Timestamp;

/// Seconds that are kept.
pub const RECENT_SECONDS: i64 = 600;
/// A further series is refused. A series with a histogram takes about 100 kB.
pub const RECENT_SERIES_MOST: usize = 2_000;

/// Samples of every second of the last [`RECENT_SECONDS`].
#[derive(Debug, Default)]
pub struct Recent {
    /// No ring is empty, and none has a second twice.
    rings: BTreeMap<Series, VecDeque<(i64, Sample)>>,
    bounds: KnownBounds,
}

impl Recent {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says which upper bounds the histograms of a metric have, before the first is recorded. They never change.
    ///
    /// # Errors
    /// When the metric has others; its histograms are refused from then on.
    pub fn set_bounds(&mut self, name: &str, bounds: &[f64]) -> Result<(), BoundsError> {
        if self.bounds.check(name, bounds)? {
            self.bounds.insert(name.to_owned(), bounds.to_vec());
        }
        Ok(())
    }

    /// The upper bounds of a metric's histograms.
    #[must_use]
    pub fn bounds(&self, name: &str) -> Option<&[f64]> {
        self.bounds.of(name)
    }

    /// Forgets what is too old, and adds samples to those of their seconds. What may not be kept is counted by reason.
    ///
    /// When the time of day was set back, what is in the future now is forgotten too.
    pub fn record(&mut self, points: &[Point], now: Timestamp) -> Recorded {
        let newest = now.0.div_euclid(1_000_000);
        let oldest = newest.saturating_sub(RECENT_SECONDS - 1);
        self.rings.retain(|_, ring| {
            ring.drain(..ring.partition_point(|(second, _)| *second < oldest));
            ring.truncate(ring.partition_point(|(second, _)| *second <= newest));
            !ring.is_empty()
        });
        let mut recorded = Recorded::default();
        for (series, time, sample) in points {
            if !self.bounds.admits(series, sample, &mut recorded.refused) {
                continue;
            }
            let second = time.0.div_euclid(1_000_000);
            if !(oldest..=newest).contains(&second) {
                recorded.refused.outside += 1;
                continue;
            }
            if let Some(ring) = self.rings.get_mut(series) {
                insert(ring, second, sample);
            } else if self.rings.len() < RECENT_SERIES_MOST {
                self.rings.insert(series.clone(), VecDeque::from([(second, sample.clone())]));
            } else {
                recorded.refused.too_many_series += 1;
                continue;
            }
            recorded.kept += 1;
        }
        recorded
    }

    /// What was observed of all series that are meant, by period. Periods without observations are absent.
    ///
    /// Periods begin at multiples of `period` since 1970, which is taken as one second if it is shorter; the first is the
    /// one with `from` in it, and what began at `to` or later is left out.
    #[must_use]
    pub fn points(
        &self,
        selector: &Selector,
        from: Timestamp,
        to: Timestamp,
        period: Duration,
    ) -> Vec<(Timestamp, Sample)> {
        let period = i64::try_from(period.as_secs()).unwrap_or(i64::MAX).max(1);
        let floor = |second: i64| second.div_euclid(period).saturating_mul(period);
        let first = floor(from.0.div_euclid(1_000_000));
        let end = to.0.saturating_add(999_999).div_euclid(1_000_000);
        let mut merged: BTreeMap<i64, Sample> = BTreeMap::new();
        let begin = Series { name: selector.name.clone(), labels: BTreeMap::new() };
        for (series, ring) in self.rings.range(begin..) {
            if series.name != selector.name {
                break;
            }
            if selector.matches(series) {
                for (second, sample) in ring.iter().filter(|(second, _)| (first..end).contains(second)) {
                    merged.entry(floor(*second)).or_default().merge(sample);
                }
            }
        }
        merged
            .into_iter()
            .map(|(second, sample)| (Timestamp(second.saturating_mul(1_000_000)), sample))
            .collect()
    }

    /// Every series there is, in order.
    #[must_use]
    pub fn series(&self) -> Vec<Series> {
        self.rings.keys().cloned().collect()
    }
}

fn insert(ring: &mut VecDeque<(i64, Sample)>, second: i64, sample: &Sample) {
    match ring.binary_search_by_key(&second, |(second, _)| *second) {
        Ok(at) => ring[at].1.merge(sample),
        Err(at) => ring.insert(at, (second, sample.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp(second * 1_000_000)
    }

    fn point(name: &str, second: i64, value: f64) -> Point {
        (Series::new(name, &[]), Timestamp(second * 1_000_000 + 999_999), Sample::of(value))
    }

    fn sums(recent: &Recent, from: i64, to: i64, period: u64) -> Vec<(i64, f64)> {
        let points = recent.points(&Selector::new("a", &[]), at(from), at(to), Duration::from_secs(period));
        points.iter().map(|(time, sample)| (time.0 / 1_000_000, sample.sum)).collect()
    }

    #[test]
    fn seconds_are_kept_in_any_order_of_arrival_and_merged() {
        let mut recent = Recent::new();
        let points = [3, 1, 2, 1].map(|second| point("a", second, second as f64));
        assert_eq!(recent.record(&points, at(10)).kept, 4);
        assert_eq!(recent.record(&[point("b", 4, 9.0)], at(10)).kept, 1);
        assert_eq!(sums(&recent, 0, 10, 1), [(1, 2.0), (2, 2.0), (3, 3.0)]);
        assert_eq!(sums(&recent, 0, 10, 2), [(0, 2.0), (2, 5.0)]);
        assert_eq!(sums(&recent, 3, 10, 2), [(2, 5.0)], "the period with the first moment is whole");
        assert_eq!(sums(&recent, 0, 3, 1), [(1, 2.0), (2, 2.0)], "the end is not meant");
        assert_eq!(sums(&recent, 0, 10, 0), sums(&recent, 0, 10, 1));
        assert_eq!(recent.series(), [Series::new("a", &[]), Series::new("b", &[])]);
    }

    #[test]
    fn what_is_old_goes_and_what_comes_from_the_future_too() {
        let mut recent = Recent::new();
        let points: Vec<Point> = (0..RECENT_SECONDS + 5).map(|second| point("a", second, 1.0)).collect();
        let recorded = recent.record(&points, at(RECENT_SECONDS + 3));
        assert_eq!((recorded.kept, recorded.refused.outside), (RECENT_SECONDS as u64, 5));
        assert_eq!(recent.record(&[], at(RECENT_SECONDS + 13)), Recorded::default());
        assert_eq!(sums(&recent, 0, 10_000, 10_000), [(0, (RECENT_SECONDS - 10) as f64)]);
        recent.record(&[], at(100));
        assert_eq!(sums(&recent, 0, 10_000, 10_000), [(0, 87.0)], "the clock was set back");
        recent.record(&[], at(50_000));
        assert!(recent.series().is_empty());
    }

    #[test]
    fn series_are_bounded_and_bad_samples_counted() {
        let mut recent = Recent::new();
        let points: Vec<Point> =
            (0..RECENT_SERIES_MOST + 3).map(|n| point(&format!("a{n}"), 1, 1.0)).collect();
        let recorded = recent.record(&points, at(1));
        assert_eq!((recorded.kept, recorded.refused.too_many_series), (RECENT_SERIES_MOST as u64, 3));
        let mut recent = Recent::new();
        let histogram = |bounds: &[f64]| (Series::new("h", &[]), at(1), Sample::of_bounds(1.0, bounds));
        let points = [point("a", 1, f64::NAN), histogram(&[1.0])];
        let refused = recent.record(&points, at(1)).refused;
        assert_eq!((refused.not_finite, refused.other_bounds, refused.total()), (1, 1, 2));
        recent.set_bounds("h", &[1.0]).unwrap();
        assert_eq!(recent.record(&[histogram(&[1.0])], at(1)).kept, 1);
        assert!(recent.set_bounds("h", &[2.0]).is_err());
        assert_eq!(recent.record(&[histogram(&[2.0])], at(1)).refused.other_bounds, 1);
        assert_eq!(recent.bounds("h"), Some(&[1.0][..]));
    }
}
