//! The profile of one column.

use serde::{Deserialize, Serialize};

use super::distinct::DistinctSketch;
use super::moments::Moments;
use super::quantiles::{QuantileSketch, Ranks};

/// Most distinct values that are counted one by one; with more of them the count of each is dropped.
pub const FREQUENT_VALUE_LIMIT: usize = 64;

/// How much a profile keeps.
#[derive(Debug, Clone, PartialEq)]
pub struct ProfileOptions {
    /// Size parameter of the quantile sketch: exact up to about so many values. 8 to 1,048,576.
    pub quantile_k: u32,
}

/// What was seen of one column: an accumulator that merges.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnProfile {
    pub(super) name: String,
    pub(super) missing: u64,
    pub(super) non_finite: u64,
    pub(super) zeros: u64,
    pub(super) negatives: u64,
    pub(super) integers: u64,
    pub(super) moments: Moments,
    pub(super) distinct: DistinctSketch,
    /// Each distinct value and its count, ascending, while there are few.
    pub(super) frequent: Option<Vec<(f64, u64)>>,
    pub(super) quantiles: QuantileSketch,
    pub(super) histogram: Option<Histogram>,
}

/// Counts between fixed edges.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Histogram {
    /// Where one part ends and the next begins.
    pub edges: OrderedEdges,
    /// One more than edges: values below the first edge, from each edge to below the next, and from the last on.
    pub counts: Vec<u64>,
}

/// Edges of a histogram: at least one, finite, strictly ascending.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<f64>", into = "Vec<f64>")]
pub struct OrderedEdges(Vec<f64>);

/// The numbers that a profile stands for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ColumnSummary {
    /// Values seen, missing and non-finite ones included.
    pub count: u64,
    /// Missing values (NaN).
    pub missing: u64,
    /// Infinite values; they are counted here and nowhere else.
    pub non_finite: u64,
    /// Smallest finite value; like the next five, `None` when there is no finite value.
    pub min: Option<f64>,
    /// Largest.
    pub max: Option<f64>,
    /// Mean.
    pub mean: Option<f64>,
    /// Population variance (divided by n): 0 for one value.
    pub variance: Option<f64>,
    /// Quantiles 0.01, 0.05, 0.25, 0.5, 0.75, 0.95 and 0.99.
    pub quantiles: Option<[f64; 7]>,
    /// Most frequent value (the smallest of equally frequent ones) and its count; `None` too when there are more than
    /// [`FREQUENT_VALUE_LIMIT`] distinct ones.
    pub most_frequent: Option<(f64, u64)>,
    /// Sum; 0 without finite values.
    pub sum: f64,
    /// Values equal to 0.
    pub zeros: u64,
    /// Values below 0.
    pub negatives: u64,
    /// Values without a fraction.
    pub integers: u64,
    /// Distinct finite values: exact up to [`FREQUENT_VALUE_LIMIT`], estimated within about 2 % beyond.
    pub distinct: f64,
}

/// Why two profiles cannot become one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// They are of different columns.
    #[error("profiles of the columns {here:?} and {there:?} do not merge")]
    Name { here: String, there: String },
    /// Their histograms have different edges, or only one has any.
    #[error("profiles of the column {name:?} have histograms with different edges")]
    Edges { name: String },
    /// Data set profiles with another number of columns, or other classes.
    #[error("profiles of different {what} do not merge")]
    Shape { what: &'static str },
}

/// Values taken in at once: they stay in the fastest cache, and the result does not depend on how a caller cuts.
const CHUNK: usize = 256;

impl Default for ProfileOptions {
    fn default() -> Self {
        Self { quantile_k: 2048 }
    }
}

impl ColumnProfile {
    /// The column called `name`, no value seen.
    #[must_use]
    pub fn empty(name: &str, options: &ProfileOptions) -> Self {
        Self {
            name: name.to_owned(),
            missing: 0,
            non_finite: 0,
            zeros: 0,
            negatives: 0,
            integers: 0,
            moments: Moments::default(),
            distinct: DistinctSketch::empty(),
            frequent: Some(Vec::new()),
            quantiles: QuantileSketch::empty(options.quantile_k),
            histogram: None,
        }
    }

    /// The same with a histogram on the edges of a baseline.
    #[must_use]
    pub fn with_edges(mut self, edges: OrderedEdges) -> Self {
        let counts = vec![0; edges.0.len() + 1];
        self.histogram = Some(Histogram { edges, counts });
        self
    }

    /// Takes in one value; NaN is a missing one.
    pub fn add(&mut self, value: f64) {
        if value.is_finite() {
            self.add_finite(&[value]);
        } else if value.is_nan() {
            self.missing += 1;
        } else {
            self.non_finite += 1;
        }
    }

    /// Takes in values in order. Counts and sketches come out as with one at a time, mean and variance up to rounding.
    pub fn add_all(&mut self, values: &[f64]) {
        let mut finite = [0.0; CHUNK];
        for chunk in values.chunks(CHUNK) {
            let mut n = 0;
            for &value in chunk {
                finite[n] = value;
                n += usize::from(value.is_finite());
                self.missing += u64::from(value.is_nan());
                self.non_finite += u64::from(value.is_infinite());
            }
            self.add_finite(&finite[..n]);
        }
    }

    fn add_finite(&mut self, values: &[f64]) {
        for &value in values {
            self.zeros += u64::from(value == 0.0);
            self.negatives += u64::from(value < 0.0);
            self.integers += u64::from(value.trunc() == value);
            self.distinct.add(value);
        }
        self.moments.merge(&Moments::of(values));
        self.quantiles.add_all(values);
        for &value in values {
            count_value(&mut self.frequent, value, 1);
        }
        if let Some(histogram) = &mut self.histogram {
            for &value in values {
                histogram.add(value);
            }
        }
    }

    /// Takes in the values that `other` has seen.
    ///
    /// # Errors
    /// When the two are not of the same column with the same histogram edges; nothing has changed then.
    pub fn merge(&mut self, other: &Self) -> Result<(), MergeError> {
        if self.name != other.name {
            return Err(MergeError::Name { here: self.name.clone(), there: other.name.clone() });
        }
        match (&mut self.histogram, &other.histogram) {
            (None, None) => {}
            (Some(here), Some(there)) if here.edges == there.edges => {
                for (here, there) in here.counts.iter_mut().zip(&there.counts) {
                    *here += there;
                }
            }
            _ => return Err(MergeError::Edges { name: self.name.clone() }),
        }
        self.missing += other.missing;
        self.non_finite += other.non_finite;
        self.zeros += other.zeros;
        self.negatives += other.negatives;
        self.integers += other.integers;
        self.moments.merge(&other.moments);
        self.distinct.merge(&other.distinct);
        self.quantiles.merge(&other.quantiles);
        match &other.frequent {
            Some(values) => {
                values.iter().for_each(|&(value, count)| count_value(&mut self.frequent, value, count));
            }
            None => self.frequent = None,
        }
        Ok(())
    }

    /// The numbers.
    #[must_use]
    pub fn finish(&self) -> ColumnSummary {
        let ranks = self.ranks();
        let range = self.moments.range();
        let points = [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99].map(|q| ranks.quantile(q).unwrap_or(0.0));
        let frequent = self.frequent.iter().flatten().copied();
        ColumnSummary {
            count: self.missing + self.non_finite + self.moments.count(),
            missing: self.missing,
            non_finite: self.non_finite,
            min: range.map(|range| range.0),
            max: range.map(|range| range.1),
            mean: self.moments.mean(),
            variance: self.moments.variance(),
            quantiles: range.map(|_| points),
            most_frequent: frequent.reduce(|best, next| if next.1 > best.1 { next } else { best }),
            sum: self.moments.sum(),
            zeros: self.zeros,
            negatives: self.negatives,
            integers: self.integers,
            distinct: self
                .frequent
                .as_ref()
                .map_or_else(|| self.distinct.estimate(), |values| values.len() as f64),
        }
    }

    /// The name of the column.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Ranks, quantiles and distribution function of the finite values. Sorts once: keep it for many questions.
    #[must_use]
    pub fn ranks(&self) -> Ranks {
        self.quantiles.ranks()
    }

    /// The quantile sketch itself.
    #[must_use]
    pub fn quantile_sketch(&self) -> &QuantileSketch {
        &self.quantiles
    }

    /// Each distinct finite value and its count, ascending; `None` once there were more than [`FREQUENT_VALUE_LIMIT`].
    #[must_use]
    pub fn frequent_values(&self) -> Option<&[(f64, u64)]> {
        self.frequent.as_deref()
    }

    /// Counts on the edges given by a baseline.
    #[must_use]
    pub fn histogram(&self) -> Option<&Histogram> {
        self.histogram.as_ref()
    }
}

impl Histogram {
    fn add(&mut self, value: f64) {
        let place = self.edges.0.partition_point(|&edge| edge <= value);
        if let Some(count) = self.counts.get_mut(place) {
            *count += 1;
        }
    }
}

impl OrderedEdges {
    /// The edges in ascending order.
    #[must_use]
    pub fn as_slice(&self) -> &[f64] {
        &self.0
    }
}

impl TryFrom<Vec<f64>> for OrderedEdges {
    type Error = &'static str;

    fn try_from(edges: Vec<f64>) -> Result<Self, Self::Error> {
        let fine = edges.iter().all(|edge| edge.is_finite()) && edges.is_sorted_by(|a, b| a < b);
        if fine && !edges.is_empty() {
            Ok(Self(edges))
        } else {
            Err("edges must be finite and strictly ascending")
        }
    }
}

impl From<OrderedEdges> for Vec<f64> {
    fn from(edges: OrderedEdges) -> Self {
        edges.0
    }
}

/// Adds to the count of `value`; forgets all counts when there are too many distinct values.
fn count_value(frequent: &mut Option<Vec<(f64, u64)>>, value: f64, count: u64) {
    let Some(values) = frequent else { return };
    // 0 and -0 are one value.
    let value = value + 0.0;
    match values.binary_search_by(|(other, _)| other.total_cmp(&value)) {
        Ok(place) => values[place].1 += count,
        Err(_) if values.len() == FREQUENT_VALUE_LIMIT => *frequent = None,
        Err(place) => values.insert(place, (value, count)),
    }
}
