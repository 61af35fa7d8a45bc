//! Where values are counted: bins that a baseline fixes.

use serde::{Deserialize, Serialize};

use crate::profile::{ColumnProfile, DatasetProfile, OrderedEdges};

/// Features with at most so many distinct values have a bin for each value, and bins for what lies between.
const DISTINCT_LIMIT: usize = 32;
/// Others have about so many bins with equally many baseline values.
const QUANTILE_BINS: usize = 40;
/// The tails have bins of their own, at these quantiles.
const TAILS: [f64; 4] = [0.005, 0.01, 0.99, 0.995];

/// The bins of every feature, in the model's order, and the classes it tells apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bins {
    /// One entry a feature.
    pub columns: Vec<ColumnBins>,
    /// The classes, in the order of probabilities.
    pub classes: Vec<String>,
}

/// The bins of one feature. Bin 0 holds what is below the first edge, bin i what lies from edge i - 1 to below edge i,
/// the last what is from the last edge on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnBins {
    /// Name of the feature.
    pub name: String,
    /// The edges; one for a feature that had no value.
    pub edges: OrderedEdges,
    /// Mean of the baseline: sums are taken of differences to it, so that they stay exact.
    pub center: f64,
    /// Whether there is a bin for each value of the baseline, and bins without any between them.
    pub is_discrete: bool,
}

impl Bins {
    /// The bins of a baseline. The same baseline gives the same bins.
    #[must_use]
    pub fn of(baseline: &DatasetProfile, classes: &[String]) -> Self {
        Self { columns: baseline.columns.iter().map(ColumnBins::of).collect(), classes: classes.to_vec() }
    }
}

impl ColumnBins {
    fn of(column: &ColumnProfile) -> Self {
        let center = column.finish().mean.unwrap_or(0.0);
        let distinct = column.frequent_values().filter(|values| values.len() <= DISTINCT_LIMIT);
        let mut edges: Vec<f64> = match distinct {
            Some(values) => values.iter().flat_map(|&(value, _)| [value, above(value)]).collect(),
            None => quantile_edges(column),
        };
        let is_discrete = distinct.is_some();
        // Neighbours among the numbers of a machine have the edge between them once.
        edges.dedup();
        let edges = OrderedEdges::try_from(edges).or_else(|_| OrderedEdges::try_from(vec![0.0]));
        // A single zero is in order.
        let edges = edges.unwrap_or_else(|_| unreachable!("one finite edge is in order"));
        Self { name: column.name().to_owned(), edges, center, is_discrete }
    }

    /// Number of bins.
    #[must_use]
    pub fn len(&self) -> usize {
        self.edges.as_slice().len() + 1
    }

    /// There is always a bin.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The bin of a finite value.
    #[must_use]
    pub fn place(&self, value: f64) -> usize {
        self.edges.as_slice().partition_point(|&edge| edge <= value)
    }

    /// How many finite values of a profile lie in each bin: exact while its quantile sketch is.
    #[must_use]
    pub fn count(&self, column: &ColumnProfile) -> Vec<u64> {
        let ranks = column.ranks();
        let mut below = 0;
        let edges = self.edges.as_slice().iter().map(|&edge| ranks.rank_below(edge)).chain([ranks.count()]);
        edges
            .map(|rank| {
                let count = rank - below;
                below = rank;
                count
            })
            .collect()
    }
}

/// The smallest value that is larger.
fn above(value: f64) -> f64 {
    // 0 and -0 are one value.
    (value + 0.0).next_up()
}

/// Edges at quantiles; a value that many rows have gets a bin of its own.
fn quantile_edges(column: &ColumnProfile) -> Vec<f64> {
    let ranks = column.ranks();
    let summary = column.finish();
    let even = (1..QUANTILE_BINS).map(|i| i as f64 / QUANTILE_BINS as f64);
    let mut points: Vec<f64> = even.chain(TAILS).filter_map(|q| ranks.quantile(q)).collect();
    points.sort_by(f64::total_cmp);
    let mut edges: Vec<f64> = summary.min.into_iter().collect();
    for pair in points.windows(2) {
        edges.push(pair[0]);
        if pair[0] == pair[1] {
            edges.push(above(pair[0]));
        }
    }
    edges.extend(points.last());
    edges.extend(summary.max.map(above));
    edges.retain(|edge| edge.is_finite());
    edges.sort_by(f64::total_cmp);
    edges.dedup();
    edges
}
