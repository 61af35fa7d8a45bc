//! The files of SageMaker Model Monitor, made from profiles: statistics, constraints and violations.
//!
//! [`Statistics`] is `statistics.json` and [`Constraints`] is `constraints.json`; both are made from the
//! [`DatasetProfile`](crate::profile::DatasetProfile) of a baseline. Constraints may be edited and read back.
//! [`violations`] compares a window of live rows with them, and [`violations_json`] writes `constraint_violations.json`.
//! [`to_jackson`] gives all of them the layout that the original has.
//!
//! Every feature of a profile is a number, so nothing here describes texts. Constraints of texts are read and kept:
//! [`Constraints`] says what they mean for numbers.

mod constraints;
mod distance;
mod edited;
mod jackson;
mod statistics;
mod violations;

pub use constraints::{
    CategoricalDriftMethod, ComparisonMethod, Constraints, DistributionConstraints, DistributionOverrides,
    FeatureConstraints, MonitoringConfig, MonitoringOverrides, NumberConstraints, Switch, TextConstraints,
};
pub use distance::{Manner, distance};
pub use edited::{Problem, UnusableConstraints};
pub use jackson::{java_number, to_jackson};
pub use statistics::{
    Counts, DatasetSize, Distribution, FeatureStatistics, InferredType, Kll, NumberStatistics, Numbers,
    Sketch, SketchParameters, Statistics, completeness,
};
pub use violations::{Finding, Violation, violations, violations_json};
