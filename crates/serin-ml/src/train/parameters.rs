//! What a user writes to choose a family, and the step that checks it.

use std::fmt::Display;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::boosting::BoostingParameters;
use super::family::Family;
use super::forests::{ExtraTreesParameters, RandomForestParameters};
use super::logistic::LogisticParameters;
use super::majority::Majority;
use super::naive_bayes::NaiveBayesParameters;
use super::neighbours::NeighboursParameters;

/// A family and its parameters as written, in TOML `{ family = "logistic", penalty = 0.1 }`; what is not written has
/// its default, and a key that does not exist is refused.
///
/// Not checked yet: [`Self::check`] is the only way to a [`Family`]. The tag within the map needs a self-describing
/// format (TOML, JSON); a bundle therefore keeps parameters as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "family", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FamilyParameters {
    /// Gradient-boosted trees.
    Boosting(BoostingParameters),
    /// A random forest.
    RandomForest(RandomForestParameters),
    /// Extremely randomised trees.
    ExtraTrees(ExtraTreesParameters),
    /// Multinomial logistic regression.
    Logistic(LogisticParameters),
    /// The votes of the nearest training rows.
    Neighbours(NeighboursParameters),
    /// Gaussian naive Bayes.
    NaiveBayes(NaiveBayesParameters),
    /// The class shares of the training rows, whatever the features say.
    #[serde(deserialize_with = "nothing_more")]
    Majority,
}

impl FamilyParameters {
    /// The name users write.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Boosting(_) => super::trees::BOOSTING,
            Self::RandomForest(_) => super::trees::RANDOM_FOREST,
            Self::ExtraTrees(_) => super::trees::EXTRA_TREES,
            Self::Logistic(_) => super::logistic::NAME,
            Self::Neighbours(_) => super::neighbours::NAME,
            Self::NaiveBayes(_) => super::naive_bayes::NAME,
            Self::Majority => super::majority::NAME,
        }
    }

    /// Every family with its defaults, in the order of the variants.
    #[must_use]
    pub fn all_defaults() -> Vec<Self> {
        vec![
            Self::Boosting(BoostingParameters::default()),
            Self::RandomForest(RandomForestParameters::default()),
            Self::ExtraTrees(ExtraTreesParameters::default()),
            Self::Logistic(LogisticParameters::default()),
            Self::Neighbours(NeighboursParameters::default()),
            Self::NaiveBayes(NaiveBayesParameters::default()),
            Self::Majority,
        ]
    }

    /// The family, ready to fit.
    ///
    /// # Errors
    /// The first parameter out of its range, with what would be allowed.
    pub fn check(&self) -> Result<Box<dyn Family>, InvalidParameter> {
        Ok(match self {
            Self::Boosting(parameters) => Box::new(parameters.clone().check().map_err(|error| {
                InvalidParameter::of_trees(super::trees::BOOSTING, error.key, error.value, error.expected)
            })?),
            Self::RandomForest(parameters) => Box::new(parameters.clone().check().map_err(|error| {
                InvalidParameter::of_trees(
                    super::trees::RANDOM_FOREST,
                    error.key,
                    error.value,
                    error.expected,
                )
            })?),
            Self::ExtraTrees(parameters) => Box::new(parameters.clone().check().map_err(|error| {
                InvalidParameter::of_trees(super::trees::EXTRA_TREES, error.key, error.value, error.expected)
            })?),
            Self::Logistic(parameters) => Box::new(parameters.check()?),
            Self::Neighbours(parameters) => Box::new(parameters.check()?),
            Self::NaiveBayes(parameters) => Box::new(parameters.check()?),
            Self::Majority => Box::new(Majority),
        })
    }
}

/// A parameter that cannot be used, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{key}` of {family} is {value}, but must be {allowed}: {fix}")]
pub struct InvalidParameter {
    /// The family it belongs to.
    pub family: &'static str,
    /// The key as written.
    pub key: &'static str,
    /// The value as written.
    pub value: String,
    /// What would be allowed, as "from 1 to 10".
    pub allowed: String,
    /// What to do about it.
    pub fix: &'static str,
}

impl InvalidParameter {
    fn of_trees(family: &'static str, key: &'static str, value: String, allowed: &str) -> Self {
        Self { family, key, value, allowed: allowed.to_owned(), fix: "leave it out for the default" }
    }
}

/// Passes `value` when it lies in `range` (so never a NaN).
pub(super) fn within<T: PartialOrd + Display + Copy>(
    family: &'static str,
    key: &'static str,
    value: T,
    range: RangeInclusive<T>,
    fix: &'static str,
) -> Result<T, InvalidParameter> {
    if range.contains(&value) {
        return Ok(value);
    }
    let allowed = format!("from {} to {}", range.start(), range.end());
    Err(InvalidParameter { family, key, value: value.to_string(), allowed, fix })
}

/// Serde would let any key pass for a variant without content.
fn nothing_more<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}
    Nothing::deserialize(deserializer).map(|Nothing {}| ())
}
