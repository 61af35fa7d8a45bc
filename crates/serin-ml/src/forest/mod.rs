//! Ensembles of decision trees: their structure, their evaluation and our own way to grow random forests.
//!
//! A [`Forest`] is what every tree model becomes, wherever it was trained: boosted trees with one number in a leaf,
//! or random forests with a class distribution in each. [`ForestParts`] is the open form in which a forest is built
//! and stored; turning it into a [`Forest`] checks everything, so that evaluation has nothing left to check.

mod categories;
mod compiled;
mod evaluate;
mod explain;
mod foreign;
pub mod grow;
mod parts;
mod structure;
mod threshold;
mod xgboost;

pub use categories::CategorySet;
pub use compiled::Scratch;
pub use explain::NoContributions;
pub use foreign::{Flaw, ForeignFormat, ForeignModel, ImportError, Link, read_foreign};
pub use parts::{
    Addition, Combination, DecisionRule, ForestParts, InvalidForest, LeafKind, Node, TreeParts, ZERO_LIMIT,
};
pub use structure::Forest;
pub use xgboost::{NotXgboost, to_xgboost_json};
