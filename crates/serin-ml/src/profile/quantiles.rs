//! Quantiles in bounded memory: a KLL sketch with deterministic compaction.

use serde::{Deserialize, Serialize};

/// How much smaller each level is than the one below it.
pub const SHRINKING_FACTOR: f64 = 0.64;

/// Levels of a decoded sketch: weights stay below 2^62.
const LEVEL_LIMIT: usize = 62;

/// A KLL sketch (Z. Karnin, K. Lang, E. Liberty: Optimal quantile approximation in streams, 2016) in the form that Deequ
/// gives it, whose layout SageMaker's `statistics.json` shows: level h holds values of weight 2^h, its capacity is
/// 2 (ceil(k 0.64^h / 2) + 1), and when all levels together are over-full the first full one is sorted and every second
/// value moves up. Which of the two goes on alternates, so there is no randomness.
///
/// Up to `capacity(0)` values (2,050 for k = 2,048) it holds them all in order of arrival and is exact. The weights
/// always sum to the number of values. For k = 2,048 ranks are within 1 % of the count for up to a million values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Parts", into = "Parts")]
pub struct QuantileSketch {
    k: u32,
    levels: Vec<Level>,
    items: usize,
    room: usize,
}

#[derive(Debug, Clone, PartialEq, Default)]
struct Level {
    values: Vec<f64>,
    compactions: u64,
}

/// What is stored.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    k: u32,
    levels: Vec<Vec<f64>>,
    compactions: Vec<u64>,
}

/// The values of a sketch in ascending order, ready for many questions.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranks {
    /// Ascending, possibly repeated.
    values: Vec<f64>,
    /// Weight of the values up to and including the one at the same place.
    cumulative: Vec<u64>,
}

/// A part of the range and the values in it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// Smallest value that belongs here.
    pub lower_bound: f64,
    /// First value that no longer does; the last bucket holds its upper bound too.
    pub upper_bound: f64,
    /// Values here, estimated.
    pub count: f64,
}

impl QuantileSketch {
    /// No value seen. `k` is raised to at least 8.
    #[must_use]
    pub fn empty(k: u32) -> Self {
        let k = k.max(8);
        Self { k, levels: vec![Level::default()], items: 0, room: capacity(k, 0) }
    }

    /// The size parameter.
    #[must_use]
    pub fn k(&self) -> u32 {
        self.k
    }

    /// Values of each level; those of level h count 2^h times.
    pub fn levels(&self) -> impl ExactSizeIterator<Item = &[f64]> {
        self.levels.iter().map(|level| level.values.as_slice())
    }

    /// Number of values seen.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.levels.iter().enumerate().map(|(h, level)| (level.values.len() as u64) << h).sum()
    }

    /// Takes in one finite value.
    pub fn add(&mut self, value: f64) {
        self.levels[0].values.push(value);
        self.items += 1;
        if self.items > self.room {
            self.condense();
        }
    }

    /// Takes in finite values, with the same result as one at a time.
    pub fn add_all(&mut self, mut values: &[f64]) {
        while !values.is_empty() {
            let (now, later) = values.split_at((self.room + 1 - self.items).min(values.len()));
            self.levels[0].values.extend_from_slice(now);
            self.items += now.len();
            if self.items > self.room {
                self.condense();
            }
            values = later;
        }
    }

    /// Takes in the values that `other` has seen; sketches of another `k` may be merged, and keep this one's.
    pub fn merge(&mut self, other: &Self) {
        while self.levels.len() < other.levels.len() {
            self.expand();
        }
        for (here, there) in self.levels.iter_mut().zip(&other.levels) {
            here.values.extend_from_slice(&there.values);
        }
        self.items += other.items;
        while self.items >= self.room {
            self.condense();
        }
    }

    /// The values sorted, for questions of rank.
    #[must_use]
    pub fn ranks(&self) -> Ranks {
        let mut weighted: Vec<(f64, u64)> = Vec::with_capacity(self.items);
        for (h, level) in self.levels.iter().enumerate() {
            weighted.extend(level.values.iter().map(|&value| (value, 1 << h)));
        }
        weighted.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut sum = 0;
        let cumulative = weighted.iter().map(|&(_, weight)| {
            sum += weight;
            sum
        });
        Ranks { cumulative: cumulative.collect(), values: weighted.iter().map(|&(value, _)| value).collect() }
    }

    /// Compacts the first full level, if there is one.
    fn condense(&mut self) {
        let full =
            self.levels.iter().enumerate().find(|(h, level)| level.values.len() >= capacity(self.k, *h));
        let Some(h) = full.map(|(h, _)| h) else { return };
        if h + 1 == self.levels.len() {
            self.expand();
        }
        let level = &mut self.levels[h];
        let even = level.values.len() & !1;
        let odd = level.values.get(even).copied();
        // Runs that came up sorted from below are only merged by this sort.
        level.values[..even].sort_by(f64::total_cmp);
        // 0, 1, 1, 0, 0, 1, 1, 0, ...
        let offset = (level.compactions.div_ceil(2) % 2) as usize;
        let values = std::mem::take(&mut level.values);
        level.compactions += 1;
        level.values.extend(odd);
        self.levels[h + 1].values.extend(values[..even].iter().skip(offset).step_by(2));
        self.items -= even / 2;
    }

    fn expand(&mut self) {
        self.room += capacity(self.k, self.levels.len());
        self.levels.push(Level::default());
    }
}

impl Ranks {
    /// Total weight: the number of values seen.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.cumulative.last().copied().unwrap_or(0)
    }

    /// Values not above `value`.
    #[must_use]
    pub fn rank(&self, value: f64) -> u64 {
        self.up_to(self.values.partition_point(|&other| other <= value))
    }

    /// Values below `value`.
    #[must_use]
    pub fn rank_below(&self, value: f64) -> u64 {
        self.up_to(self.values.partition_point(|&other| other < value))
    }

    /// The smallest value whose rank is at least `q` times the count (`q` is brought into 0 to 1); `None` without values.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let wanted = (q.clamp(0.0, 1.0) * self.count() as f64).ceil().max(1.0);
        let place = self.cumulative.partition_point(|&rank| (rank as f64) < wanted);
        self.values.get(place).or(self.values.last()).copied()
    }

    /// Share of values not above each point of an ascending grid, in one pass; zeros without values.
    #[must_use]
    pub fn cdf(&self, grid: &[f64]) -> Vec<f64> {
        let count = self.count().max(1) as f64;
        let mut place = 0;
        grid.iter()
            .map(|&point| {
                while self.values.get(place).is_some_and(|&value| value <= point) {
                    place += 1;
                }
                self.up_to(place) as f64 / count
            })
            .collect()
    }

    /// Ten parts of equal width between `low` and `high`, as `statistics.json` shows them. With `low = high` the last
    /// holds everything.
    #[must_use]
    pub fn buckets(&self, low: f64, high: f64) -> Vec<Bucket> {
        const BUCKETS: usize = 10;
        let width = high - low;
        let bound = |i: usize| match i as f64 / BUCKETS as f64 {
            // The width of values near the largest there are is none of them.
            part if width.is_infinite() => low * (1.0 - part) + high * part,
            _ => low + width * i as f64 / BUCKETS as f64,
        };
        (0..BUCKETS)
            .map(|i| {
                let (lower_bound, upper_bound) = (bound(i), bound(i + 1));
                let end = if i + 1 == BUCKETS { self.rank(high) } else { self.rank_below(upper_bound) };
                let count = end.saturating_sub(self.rank_below(lower_bound)) as f64;
                Bucket { lower_bound, upper_bound, count }
            })
            .collect()
    }

    fn up_to(&self, place: usize) -> u64 {
        place.checked_sub(1).and_then(|last| self.cumulative.get(last)).copied().unwrap_or(0)
    }
}

impl From<QuantileSketch> for Parts {
    fn from(sketch: QuantileSketch) -> Self {
        let compactions = sketch.levels.iter().map(|level| level.compactions).collect();
        Self {
            k: sketch.k,
            compactions,
            levels: sketch.levels.into_iter().map(|level| level.values).collect(),
        }
    }
}

impl TryFrom<Parts> for QuantileSketch {
    type Error = &'static str;

    fn try_from(parts: Parts) -> Result<Self, Self::Error> {
        if !(8..=1 << 20).contains(&parts.k) {
            return Err("k of a quantile sketch must be from 8 to 1048576");
        }
        if parts.levels.is_empty()
            || parts.levels.len() > LEVEL_LIMIT
            || parts.levels.len() != parts.compactions.len()
        {
            return Err("a quantile sketch has 1 to 62 levels, each with a number of compactions");
        }
        if parts.levels.iter().flatten().any(|value| !value.is_finite()) {
            return Err("a quantile sketch holds finite values only");
        }
        let weight = |(h, level): (usize, &Vec<f64>)| (level.len() as u64).checked_mul(1 << h);
        let total =
            parts.levels.iter().enumerate().map(weight).try_fold(0u64, |sum, part| sum.checked_add(part?));
        if total.is_none_or(|total| total > 1 << LEVEL_LIMIT) {
            return Err("a quantile sketch counts more values than can be");
        }
        let room: usize = (0..parts.levels.len()).map(|h| capacity(parts.k, h)).sum();
        let items: usize = parts.levels.iter().map(Vec::len).sum();
        if items > room {
            return Err("a quantile sketch holds more values than its levels have room for");
        }
        let pairs = parts.levels.into_iter().zip(parts.compactions);
        let levels = pairs.map(|(values, compactions)| Level { values, compactions }).collect();
        Ok(Self { k: parts.k, levels, items, room })
    }
}

/// Values that level `height` holds before it is compacted.
fn capacity(k: u32, height: usize) -> usize {
    2 * ((f64::from(k) * SHRINKING_FACTOR.powi(height as i32) / 2.0).ceil() as usize + 1)
}
