//! Model families: each learns class probabilities from a table of numbers.
//!
//! What a user writes is a [`FamilyParameters`]; [`FamilyParameters::check`] turns it into a [`Family`], which fits a
//! [`TrainingSet`] and gives a [`Model`]. The same set, parameters and seed give the same model, bit for bit, on any
//! number of threads. A class without training rows has probability 0; a missing value (NaN) has a defined answer in
//! every family, and so probabilities are always finite and sum to 1.

mod apart;
mod arithmetic;
mod assembly;
pub mod boosting;
pub mod calibration;
mod candidate;
mod cross_validation;
mod ensemble;
mod explain;
mod family;
mod fitted;
pub mod forests;
mod imported;
mod insight;
mod leaderboard;
mod logistic;
mod majority;
mod minimise;
mod naive_bayes;
mod neighbours;
mod parameters;
mod predictor;
mod search;
mod select;
mod summary;
mod trees;

pub use apart::ApartModel;
pub use boosting::{BoostingParameters, GrowPolicy};
pub use candidate::{Candidate, MAJORITY, REFERENCE};
pub use cross_validation::CandidateError;
pub use explain::{CannotExplain, Explanation, ScoreUnit};
pub use family::{
    Family, FitError, InvalidTrainingSet, LARGEST_MAGNITUDE, LARGEST_WEIGHT, MAXIMUM_CLASSES,
    MAXIMUM_FEATURES, TrainingSet,
};
pub use fitted::{InvalidModel, Model};
pub use forests::{ExtraTreesParameters, FeatureChoice, RandomForestParameters};
pub use imported::ImportedModel;
pub use insight::{CurvePoint, FeatureImportance, importances, learning_curve, model_importances};
pub use leaderboard::{Leaderboard, LeaderboardRow, TrialStatus};
pub use logistic::{ClassWeights, LogisticModel, LogisticParameters};
pub use majority::PriorModel;
pub use naive_bayes::{NaiveBayesModel, NaiveBayesParameters};
pub use neighbours::{Distance, NeighboursModel, NeighboursParameters, Votes};
pub use parameters::{FamilyParameters, InvalidParameter};
pub use predictor::{InvalidPredictor, Member, PredictScratch, Predictor};
pub use search::{Budget, Ended, FamilyName, UnknownFamily};
pub use select::{
    CrossFittedRows, SEARCH_ROW_LIMIT, Scope, SelectError, SelectSettings, Selected, SelectionSummary,
    TrainingRows, select,
};
pub use trees::{BoostedModel, ForestModel};
