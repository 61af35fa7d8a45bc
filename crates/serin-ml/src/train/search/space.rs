//! What can be tried: the families, their coordinates, and the portfolio tried first.

use std::fmt;
use std::str::FromStr;

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::Trial;
use super::dimension::{Dimension, Range};
use super::parzen::{self, Seen};
use crate::evaluate::Metric;
use crate::prepare::{
    ClassWeights, DropConstants, Impute, ImputeStrategy, Pca, Recipe, Scale, ScaleMethod, Step,
};
use crate::seed::Seed;
use crate::train::candidate::Candidate;
use crate::train::{
    BoostingParameters, Distance, ExtraTreesParameters, FamilyParameters, FeatureChoice, GrowPolicy,
    LogisticParameters, NaiveBayesParameters, NeighboursParameters, RandomForestParameters, Votes,
};

/// A family that a search may draw from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FamilyName {
    Boosting,
    ExtraTrees,
    RandomForest,
    Logistic,
    Neighbours,
    NaiveBayes,
}

/// A name that is no family to search.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown family `{name}`, known are boosting, extra-trees, random-forest, logistic, neighbours, naive-bayes"
)]
pub struct UnknownFamily {
    /// What was written.
    pub name: String,
}

impl FamilyName {
    /// All of them, in the order of the portfolio.
    pub const ALL: [Self; 6] = [
        Self::Boosting,
        Self::ExtraTrees,
        Self::RandomForest,
        Self::Logistic,
        Self::Neighbours,
        Self::NaiveBayes,
    ];

    /// The name as written in settings.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Boosting => "boosting",
            Self::ExtraTrees => "extra-trees",
            Self::RandomForest => "random-forest",
            Self::Logistic => "logistic",
            Self::Neighbours => "neighbours",
            Self::NaiveBayes => "naive-bayes",
        }
    }

    /// The coordinates that the guided search moves along.
    #[must_use]
    fn dimensions(self) -> &'static [Dimension] {
        match self {
            Self::Boosting => &BOOSTING,
            Self::ExtraTrees | Self::RandomForest => &FOREST,
            Self::Logistic => &LOGISTIC,
            Self::Neighbours => &NEIGHBOURS,
            Self::NaiveBayes => &NAIVE_BAYES,
        }
    }
}

impl fmt::Display for FamilyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for FamilyName {
    type Err = UnknownFamily;

    fn from_str(name: &str) -> Result<Self, UnknownFamily> {
        let known = Self::ALL.into_iter().find(|family| family.as_str() == name);
        known.ok_or_else(|| UnknownFamily { name: name.to_owned() })
    }
}

const fn dimension(name: &'static str, range: Range) -> Dimension {
    Dimension { name, range }
}

/// How strongly classes are balanced by weights: 0 not at all, 1 fully.
const BALANCE: Dimension = dimension("balance", Range::Linear { low: 0.0, high: 1.5 });
const SCALES: &[&str] = &["z-score", "robust", "yeo-johnson", "min-max", "none"];
const SHARES_OF_VARIANCE: &[&str] = &["all", "0.99", "0.95"];

const BOOSTING: [Dimension; 9] = [
    dimension("rounds", Range::LogInteger { low: 60.0, high: 400.0 }),
    dimension("learning rate", Range::Log { low: 0.03, high: 0.3 }),
    dimension("depth", Range::LogInteger { low: 2.0, high: 9.0 }),
    dimension("smallest child weight", Range::Log { low: 0.3, high: 10.0 }),
    dimension("penalty", Range::Log { low: 0.3, high: 10.0 }),
    dimension("row share", Range::Linear { low: 0.6, high: 1.0 }),
    dimension("feature share", Range::Log { low: 0.2, high: 1.0 }),
    BALANCE,
    dimension("growth", Range::Choice(&["depthwise", "leafwise"])),
];
const FOREST: [Dimension; 3] = [
    dimension("feature share", Range::Log { low: 0.03, high: 1.0 }),
    dimension("smallest leaf", Range::LogInteger { low: 1.0, high: 8.0 }),
    BALANCE,
];
const LOGISTIC: [Dimension; 4] = [
    dimension("penalty", Range::Log { low: 0.01, high: 300.0 }),
    dimension("scale", Range::Choice(SCALES)),
    dimension("variance kept", Range::Choice(SHARES_OF_VARIANCE)),
    BALANCE,
];
const NEIGHBOURS: [Dimension; 5] = [
    dimension("neighbours", Range::LogInteger { low: 1.0, high: 30.0 }),
    dimension("scale", Range::Choice(SCALES)),
    dimension("variance kept", Range::Choice(SHARES_OF_VARIANCE)),
    dimension("votes", Range::Choice(&["equal", "by-distance"])),
    dimension("distance", Range::Choice(&["euclidean", "manhattan", "cosine"])),
];
const NAIVE_BAYES: [Dimension; 3] = [
    dimension("smoothing", Range::Log { low: 1e-9, high: 0.3 }),
    dimension("scale", Range::Choice(SCALES)),
    dimension("variance kept", Range::Choice(SHARES_OF_VARIANCE)),
];

/// Draws after which a search that keeps meeting tried candidates ends.
const PROPOSAL_LIMIT: usize = 100;
/// Trees of a forest in a search.
const FOREST_TREES: usize = 200;
/// Below this many rows boosting gets by with fewer bins: histograms of many bins would cost more than the rows in them.
const FEW_ROWS: usize = 5_000;
const FEW_BINS: usize = 64;
const MANY_BINS: usize = 256;

/// The candidate at `values`, one a dimension of `family`, for a table of so many rows.
fn candidate(family: FamilyName, values: &[f64], rows: usize) -> Candidate {
    let (recipe, model) = match (family, values) {
        (
            FamilyName::Boosting,
            &[rounds, rate, depth, child, penalty, row_share, features, balance, growth],
        ) => {
            let grows_by_leaf = growth >= 1.0;
            let depth = depth as usize;
            let parameters = BoostingParameters {
                rounds: rounds as usize,
                learning_rate: rate,
                grow_policy: if grows_by_leaf { GrowPolicy::Leafwise } else { GrowPolicy::Depthwise },
                max_depth: if grows_by_leaf { 0 } else { depth },
                // One leaf fewer than a full tree of that depth, so that the order of growing matters.
                max_leaves: if grows_by_leaf { (1 << depth) - 1 } else { 0 },
                min_child_weight: child,
                lambda: penalty,
                subsample: row_share,
                colsample_bynode: features,
                max_bin: if rows < FEW_ROWS { FEW_BINS } else { MANY_BINS },
                ..BoostingParameters::default()
            };
            (tree_recipe(balance), FamilyParameters::Boosting(parameters))
        }
        (FamilyName::ExtraTrees, &[features, leaf, balance]) => {
            let parameters = ExtraTreesParameters {
                trees: FOREST_TREES,
                max_features: FeatureChoice::Share(features),
                min_samples_leaf: leaf as usize,
                // Draws are how a forest balances classes best; without weights, extra trees do better on all rows.
                bootstrap: balance > 0.0,
                ..ExtraTreesParameters::default()
            };
            (tree_recipe(balance), FamilyParameters::ExtraTrees(parameters))
        }
        (FamilyName::RandomForest, &[features, leaf, balance]) => {
            let parameters = RandomForestParameters {
                trees: FOREST_TREES,
                max_features: FeatureChoice::Share(features),
                min_samples_leaf: leaf as usize,
                ..RandomForestParameters::default()
            };
            (tree_recipe(balance), FamilyParameters::RandomForest(parameters))
        }
        (FamilyName::Logistic, &[penalty, scale, variance, balance]) => (
            dense_recipe(scale, variance, balance),
            FamilyParameters::Logistic(LogisticParameters { penalty, ..LogisticParameters::default() }),
        ),
        (FamilyName::Neighbours, &[neighbours, scale, variance, votes, distance]) => (
            dense_recipe(scale, variance, 0.0),
            FamilyParameters::Neighbours(NeighboursParameters {
                neighbours: neighbours as usize,
                votes: if votes < 1.0 { Votes::Equal } else { Votes::ByDistance },
                distance: match distance as usize {
                    0 => Distance::Euclidean,
                    1 => Distance::Manhattan,
                    _ => Distance::Cosine,
                },
                ..NeighboursParameters::default()
            }),
        ),
        (_, values) => (
            dense_recipe(at(values, 1), at(values, 2), 0.0),
            FamilyParameters::NaiveBayes(NaiveBayesParameters {
                variance_smoothing: at(values, 0).max(1e-12),
                ..NaiveBayesParameters::default()
            }),
        ),
    };
    Candidate { label: family.to_string(), recipe, model }
}

fn at(values: &[f64], i: usize) -> f64 {
    values.get(i).copied().unwrap_or(0.0)
}

/// Trees take missing values and any scale as they are.
fn tree_recipe(balance: f64) -> Recipe {
    let mut steps = vec![Step::DropConstants(DropConstants {})];
    steps.extend(balance_step(balance));
    Recipe { steps }
}

/// What families need that measure distances or multiply values.
fn dense_recipe(scale: f64, variance: f64, balance: f64) -> Recipe {
    let mut steps = vec![
        Step::Impute(Impute { strategy: ImputeStrategy::Median, value: None, indicators: true }),
        Step::DropConstants(DropConstants {}),
    ];
    let method = match SCALES[(scale as usize).min(SCALES.len() - 1)] {
        "z-score" => Some(ScaleMethod::ZScore),
        "robust" => Some(ScaleMethod::Robust),
        "yeo-johnson" => Some(ScaleMethod::YeoJohnson),
        "min-max" => Some(ScaleMethod::MinMax),
        _ => None,
    };
    steps.extend(method.map(|method| Step::Scale(Scale { method })));
    if let Ok(share) = SHARES_OF_VARIANCE[(variance as usize).min(SHARES_OF_VARIANCE.len() - 1)].parse() {
        steps.push(Step::Pca(Pca { components: None, explained_variance: Some(share) }));
    }
    steps.extend(balance_step(balance));
    Recipe { steps }
}

fn balance_step(power: f64) -> Option<Step> {
    (power > 0.0).then_some(Step::ClassWeights(ClassWeights { per_class: None, power }))
}

/// Coordinates of the portfolio, best bets first; see docs/data-and-models.md for where they come from.
const PORTFOLIO: &[(FamilyName, &[f64])] = &[
    (FamilyName::RandomForest, &[0.3, 1.0, 1.0]),
    (FamilyName::Boosting, &[150.0, 0.1, 4.0, 1.0, 1.0, 1.0, 0.5, 1.3, 0.0]),
    (FamilyName::ExtraTrees, &[0.12, 1.0, 0.0]),
    (FamilyName::Boosting, &[100.0, 0.1, 4.0, 1.0, 1.0, 1.0, 0.5, 1.0, 1.0]),
    (FamilyName::ExtraTrees, &[0.5, 1.0, 1.0]),
    (FamilyName::Neighbours, &[3.0, 4.0, 0.0, 1.0, 0.0]),
    (FamilyName::Logistic, &[1.0, 0.0, 0.0, 0.0]),
    (FamilyName::Boosting, &[300.0, 0.05, 4.0, 1.0, 1.0, 1.0, 0.5, 1.3, 0.0]),
    (FamilyName::Logistic, &[30.0, 2.0, 0.0, 1.0]),
    (FamilyName::NaiveBayes, &[1e-3, 2.0, 0.0]),
    (FamilyName::Neighbours, &[3.0, 4.0, 1.0, 1.0, 0.0]),
    (FamilyName::RandomForest, &[0.3, 1.0, 0.7]),
    (FamilyName::Boosting, &[150.0, 0.1, 6.0, 1.0, 1.0, 0.9, 0.5, 0.0, 0.0]),
];

/// Position of the reference recipe in the portfolio: late enough not to cost a short budget its best bets.
const REFERENCE_POSITION: usize = 6;

/// The candidates tried first on a table of so many rows, of the families given, with the reference recipe among them.
#[must_use]
pub fn portfolio(families: &[FamilyName], rows: usize) -> Vec<Candidate> {
    let wanted = PORTFOLIO.iter().filter(|(family, _)| families.contains(family));
    let mut candidates: Vec<Candidate> =
        wanted.map(|(family, values)| candidate(*family, values, rows)).collect();
    if rows >= FEW_ROWS {
        // Where one trial may take the budget, boosting goes first: its time grows slowest with the rows.
        candidates.sort_by_key(|candidate| !matches!(candidate.model, FamilyParameters::Boosting(_)));
    }
    candidates.insert(REFERENCE_POSITION.min(candidates.len()), Candidate::reference());
    candidates
}

/// Proposes what to try after the portfolio.
pub(super) struct Guide {
    families: Vec<FamilyName>,
    rows: usize,
    rng: ChaCha8Rng,
    /// Where each proposed candidate lies, by its position in the trials.
    places: Vec<(Candidate, FamilyName, Vec<f64>)>,
}

impl Guide {
    pub(super) fn new(families: &[FamilyName], rows: usize, seed: Seed) -> Self {
        let places = PORTFOLIO
            .iter()
            .map(|(family, values)| {
                let units =
                    family.dimensions().iter().zip(*values).map(|(d, value)| d.unit(*value)).collect();
                (candidate(*family, values, rows), *family, units)
            })
            .collect();
        Self { families: families.to_vec(), rows, rng: seed.rng(), places }
    }

    /// The next candidate, or `None` when there is no family to draw from or nothing new is found.
    pub(super) fn propose(&mut self, trials: &[Trial], metric: Metric) -> Option<Candidate> {
        for _ in 0..PROPOSAL_LIMIT {
            let family = self.draw_family(trials, metric)?;
            let dimensions = family.dimensions();
            let seen = self.seen(family, trials, metric);
            let units = parzen::propose(dimensions, &seen, &mut self.rng);
            let values: Vec<f64> = dimensions.iter().zip(&units).map(|(d, unit)| d.value(*unit)).collect();
            let candidate = candidate(family, &values, self.rows);
            // Coordinates of a few options each meet again and again.
            if trials.iter().all(|trial| trial.candidate != candidate) {
                self.places.push((candidate.clone(), family, units));
                return Some(candidate);
            }
        }
        None
    }

    /// Families that lead are drawn more often: by rank of their best score, each rank half as often as the one above.
    fn draw_family(&mut self, trials: &[Trial], metric: Metric) -> Option<FamilyName> {
        let mut ranked: Vec<(f64, FamilyName)> = self
            .families
            .iter()
            .map(|&family| {
                let scores = self.seen(family, trials, metric).into_iter().map(|seen| seen.score);
                (scores.fold(f64::NEG_INFINITY, f64::max), family)
            })
            .collect();
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let mut left = self.rng.random::<f64>();
        for (rank, (_, family)) in ranked.iter().enumerate() {
            let share = 0.5_f64.powi(i32::try_from(rank).unwrap_or(i32::MAX) + 1);
            if left < share {
                return Some(*family);
            }
            left -= share;
        }
        ranked.first().map(|(_, family)| *family)
    }

    /// The finished trials of a family as points; a trial given up counts with the mean of its folds.
    fn seen(&self, family: FamilyName, trials: &[Trial], metric: Metric) -> Vec<Seen> {
        let place = |candidate: &Candidate| {
            self.places
                .iter()
                .find(|(known, of, _)| *of == family && known == candidate)
                .map(|(_, _, units)| units)
        };
        trials
            .iter()
            .filter_map(|trial| {
                let units = place(&trial.candidate)?.clone();
                Some(Seen { units, score: trial.rough_merit(metric)? })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_candidate_of_the_space_can_be_used() {
        let mut rng = Seed(5).rng();
        for family in FamilyName::ALL {
            for _ in 0..200 {
                let values: Vec<f64> = family
                    .dimensions()
                    .iter()
                    .map(|dimension| dimension.value(rng.random::<f64>()))
                    .collect();
                let candidate = candidate(family, &values, 1_000);
                candidate.recipe.check().unwrap();
                candidate.model.check().unwrap();
                assert_eq!(candidate.model.name(), family.as_str());
            }
        }
    }

    #[test]
    fn the_portfolio_lies_inside_the_space() {
        for (family, values) in PORTFOLIO {
            assert_eq!(values.len(), family.dimensions().len(), "{family}");
            for (dimension, value) in family.dimensions().iter().zip(*values) {
                let again = dimension.value(dimension.unit(*value));
                assert!((again - value).abs() < 1e-9, "{family} {}: {value} becomes {again}", dimension.name);
            }
        }
    }

    #[test]
    fn family_names_are_read_as_they_are_written() {
        for family in FamilyName::ALL {
            assert_eq!(family.as_str().parse(), Ok(family));
        }
        assert!("xgboost".parse::<FamilyName>().is_err());
    }
}
