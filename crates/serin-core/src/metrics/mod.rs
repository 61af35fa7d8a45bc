//! Metrics kept over time: what a gateway counted, as CloudWatch's statistic sets, asked for by name and labels.
//!
//! A [`Series`] is a name with labels, and a [`Sample`] what was observed of it in a period. [`Scrape`] reads the text
//! that a gateway shows and [`Deltas`] makes samples of two of them. They go into [`Recent`], which has every second of
//! the last ten minutes in memory, and into [`MetricsStore`], which has 10 seconds, then minutes, then hours on disk.
//! [`Query`] is the language that people ask both in.
//!
//! Counters are named without `_total`, as in [`crate::names`].

mod bounds;
mod cursor;
mod deltas;
mod query;
mod recent;
mod sample;
mod scrape;
mod series;
mod sparkline;
mod statistic;
mod store;
mod upkeep;

use crate::clock::Timestamp;

pub use self::bounds::{BOUNDS_MOST, BoundsError, HISTOGRAMS_MOST};
pub use self::cursor::Unexpected;
pub use self::deltas::{Deltas, Process, REMEMBERED_SERIES_MOST};
pub use self::query::{QUERY_LONGEST_BYTES, Query};
pub use self::recent::{RECENT_SECONDS, RECENT_SERIES_MOST, Recent};
pub use self::sample::Sample;
pub use self::scrape::{SCRAPE_LARGEST_BYTES, Scrape, ScrapeError};
pub use self::series::{
    LABEL_NAME_LONGEST_BYTES, LABEL_VALUE_LONGEST_BYTES, LABELS_MOST, METRIC_NAME_LONGEST_BYTES, Selector,
    Series,
};
pub use self::sparkline::sparkline;
pub use self::statistic::{InvalidStatistic, Statistic};
pub use self::store::{
    Limits, MetricsError, MetricsReader, MetricsStore, PERIODS_AT_ONCE, RESOLUTION, SERIES_AT_ONCE,
};
pub use self::upkeep::{MOVED_AT_ONCE, Upkeep};

/// A sample of a series, and when it was observed.
pub type Point = (Series, Timestamp, Sample);

/// What became of the points that were to be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recorded {
    /// Points that are there now.
    pub kept: u64,
    pub refused: Refused,
}

/// Points that were not kept, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Refused {
    /// A sum, a minimum or a maximum that is no number.
    pub not_finite: u64,
    /// A histogram whose bounds are not known, or are not those of its metric.
    pub other_bounds: u64,
    /// A name or labels against the rules, a sample without observations, or one that contradicts itself.
    pub malformed: u64,
    /// A new series when there were as many as there may be.
    pub too_many_series: u64,
    /// The file was as large as it may be.
    pub too_large: u64,
    /// A time that is not looked at: older than what is kept in memory, or in the future.
    pub outside: u64,
}

impl Refused {
    /// All reasons together.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Self { not_finite, other_bounds, malformed, too_many_series, too_large, outside } = *self;
        not_finite + other_bounds + malformed + too_many_series + too_large + outside
    }
}
