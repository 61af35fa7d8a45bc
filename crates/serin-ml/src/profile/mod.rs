//! Profiles: what a column of numbers looked like, in bounded memory and mergeable.
//!
//! One type, [`ColumnProfile`], serves reports, data checks, the baseline of monitoring and its live windows. It is an
//! accumulator: [`ColumnProfile::empty`], [`ColumnProfile::add`], [`ColumnProfile::merge`], [`ColumnProfile::finish`].
//! Merging is associative and commutative: exactly for counts, smallest and largest value, histogram, frequent values
//! and the distinct count, within 1e-9 relative for mean and variance, and within the rank error for quantiles. The
//! same values in the same order give the same bytes.

mod column;
mod dataset;
mod distinct;
mod moments;
mod quantiles;
mod stored;

pub use column::{
    ColumnProfile, ColumnSummary, FREQUENT_VALUE_LIMIT, Histogram, MergeError, OrderedEdges, ProfileOptions,
};
pub use dataset::{ClassProfile, DatasetProfile};
pub use distinct::DistinctSketch;
pub use moments::Moments;
pub use quantiles::{Bucket, QuantileSketch, Ranks, SHRINKING_FACTOR};
pub use stored::{InvalidProfile, PROFILE_VERSION};
