//! What a user writes: steps and their parameters, and the check that makes them usable.

use serde::{Deserialize, Serialize};

use super::fitted::LARGEST_MAGNITUDE;

/// The names that [`Recipe::preset`] knows.
pub const PRESETS: [&str; 3] = ["none", "default", "reference"];

/// An ordered list of steps, as a user wrote it. Only a checked one can be fitted.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The steps, first to last. None at all is a valid recipe: rows pass unchanged.
    #[serde(default)]
    pub steps: Vec<Step>,
}

/// One step with its parameters: `{ step = "pca", explained_variance = 0.99 }`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Step {
    /// Fills missing values.
    Impute(Impute),
    /// Brings columns to a common scale.
    Scale(Scale),
    /// Drops columns that say nothing.
    DropConstants(DropConstants),
    /// Drops columns that repeat another.
    DropCorrelated(DropCorrelated),
    /// Keeps the columns that trees use.
    SelectImportance(SelectImportance),
    /// Replaces columns by their principal components.
    Pca(Pca),
    /// Gives rows of rare classes more weight.
    ClassWeights(ClassWeights),
    /// Adds or removes training rows to balance or clean the classes.
    Resample(Resample),
}

/// Fills missing values, column by column.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Impute {
    /// What a missing value becomes. A column without any present value is filled with 0.
    pub strategy: ImputeStrategy,
    /// The value of the strategy `constant` (0 unless given). Finite.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Appends a 0/1 column for every column that had a missing value in training.
    pub indicators: bool,
}

/// What a missing value becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImputeStrategy {
    /// The mean of the present values.
    Mean,
    /// Their median.
    #[default]
    Median,
    /// Their most frequent value, the smallest of equally frequent ones.
    MostFrequent,
    /// A given value.
    Constant,
}

/// Brings columns to a common scale. Missing values are ignored in fitting and passed on.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scale {
    /// How.
    pub method: ScaleMethod,
}

/// How a column is scaled. A column without spread is only centred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScaleMethod {
    /// Mean 0, population standard deviation 1.
    #[default]
    ZScore,
    /// Median 0, distance of the quartiles 1.
    Robust,
    /// Smallest training value 0, largest 1; later values may lie outside.
    MinMax,
    /// Yeo and Johnson's power transform (Biometrika 87, 2000) with the exponent of largest likelihood, then z-score.
    YeoJohnson,
}

/// Drops columns whose training values are all the same; missing counts as a value, so a column of one value and
/// some missing ones stays.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DropConstants {}

/// Drops columns that repeat a better one. Columns are visited from the nearest to the target to the farthest, and one
/// is kept when its |r| with every column kept so far is below the threshold; a column is never lost to one that is
/// itself dropped.
///
/// Nearness is the correlation ratio of the column given the class (between-class over total sum of squares, which
/// orders columns as the F statistic of the analysis of variance does); equal ones keep column order. Rows with a
/// missing value are left out pair by pair.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DropCorrelated {
    /// Pearson's |r| from which two columns count as one; above 0, at most 1.
    pub threshold: f64,
}

/// Keeps the columns that a random forest of 100 trees uses most, by their share of the total impurity gain; the trees
/// take missing values as they are. Columns without any gain are dropped, unless none has any. At least one of `share`
/// and `max_count` is given.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SelectImportance {
    /// Keeps the fewest columns whose shares reach this sum; above 0, at most 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// Keeps at most so many columns; at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_count: Option<usize>,
}

/// Replaces columns by principal components of their covariance; exactly one of the two parameters is given.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pca {
    /// So many components, or as many as the data has directions; at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub components: Option<usize>,
    /// The fewest components that explain this share of the variance; above 0, at most 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explained_variance: Option<f64>,
}

/// Multiplies the weight of each row by the weight of its class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClassWeights {
    /// One weight a class, in class order, each finite and above 0. Absent: balanced, rows / (classes * rows of the class).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_class: Option<Vec<f64>>,
    /// Exponent of the balanced weights: 0 not at all, 1 balances fully, more favours rare classes; 0 to 2.
    pub power: f64,
}

/// Adds or removes training rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Resample {
    /// How.
    pub method: ResampleMethod,
    /// Neighbours of the same class between which SMOTE draws rows, 1 to 100; a class of n rows uses at most n - 1.
    pub neighbours: usize,
    /// Neighbours that must all agree with a row for SMOTE-ENN to keep it, 1 to 100.
    pub cleaning_neighbours: usize,
    /// Size of the small classes relative to the large ones afterwards, above 0, at most 1: over-sampling fills each class to
    /// this share of the largest, under-sampling cuts each class until the smallest has this share of it.
    pub ratio: f64,
}

/// How training rows are resampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResampleMethod {
    /// New rows between rows of a class (Chawla et al., JAIR 16, 2002).
    #[default]
    Smote,
    /// Removes, of two rows of different classes that are each other's nearest, those not of the smallest class
    /// (Tomek, IEEE SMC 6, 1976).
    Tomek,
    /// SMOTE, then removes both rows of each Tomek link (Batista et al., 2004).
    SmoteTomek,
    /// SMOTE, then removes each row whose nearest neighbours are not all of its class (Wilson 1972, Batista et al. 2004).
    SmoteEnn,
    /// Repeats rows of small classes.
    RandomOver,
    /// Leaves out rows of large classes.
    RandomUnder,
}

/// A recipe that can be fitted: every parameter is in range and no step meets missing values that it cannot take.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckedRecipe {
    pub(super) recipe: Recipe,
}

/// Why a recipe cannot be used: which step (from 1), which key, and what to write instead.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RecipeError {
    /// A parameter is out of range.
    #[error("step {position} ({step}): {key} = {value} is not allowed, must be {allowed}")]
    OutOfRange {
        position: usize,
        step: &'static str,
        key: &'static str,
        value: String,
        allowed: &'static str,
    },
    /// A parameter is missing, or does not go with the others.
    #[error("step {position} ({step}): {key} {problem}")]
    Parameters { position: usize, step: &'static str, key: &'static str, problem: &'static str },
    /// A step that cannot take missing values has no `impute` step before it.
    #[error("step {position} ({step}) cannot take missing values: put an impute step before it")]
    NeedsImpute { position: usize, step: &'static str },
    /// Rows are resampled after their classes were weighted.
    #[error(
        "step {position} ({step}) changes the class counts that step {weights} weighs by: put class-weights after it"
    )]
    ResampleAfterWeights { position: usize, step: &'static str, weights: usize },
    /// More than one step of a kind that may stand once.
    #[error("step {position} ({step}) may stand only once: remove it or step {first}")]
    Repeated { position: usize, step: &'static str, first: usize },
    /// More steps than a recipe may have.
    #[error("{count} steps are too many: at most {limit}", limit = STEP_LIMIT)]
    TooManySteps { count: usize },
}

/// Most steps in a recipe.
pub(super) const STEP_LIMIT: usize = 64;

impl Recipe {
    /// The recipe called `name` (one of [`PRESETS`]):
    /// - `none`: rows as they are;
    /// - `default`: median with missing indicators, no constants, z-score: right for every family;
    /// - `reference`: mean, SMOTE-Tomek, z-score, 80 % of the importance, |r| below 0.9, 99 % of the variance.
    #[must_use]
    pub fn preset(name: &str) -> Option<Self> {
        let steps = match name {
            "none" => Vec::new(),
            "default" => vec![
                Step::Impute(Impute { strategy: ImputeStrategy::Median, value: None, indicators: true }),
                Step::DropConstants(DropConstants {}),
                Step::Scale(Scale { method: ScaleMethod::ZScore }),
            ],
            "reference" => vec![
                Step::Impute(Impute { strategy: ImputeStrategy::Mean, value: None, indicators: false }),
                Step::Resample(Resample { method: ResampleMethod::SmoteTomek, ..Resample::default() }),
                Step::Scale(Scale { method: ScaleMethod::ZScore }),
                Step::SelectImportance(SelectImportance { share: Some(0.8), max_count: None }),
                Step::DropCorrelated(DropCorrelated { threshold: 0.9 }),
                Step::Pca(Pca { components: None, explained_variance: Some(0.99) }),
            ],
            _ => return None,
        };
        Some(Self { steps })
    }

    /// Checks every parameter and the order of the steps.
    ///
    /// # Errors
    /// The first thing wrong, with its position, key, value and fix.
    pub fn check(&self) -> Result<CheckedRecipe, RecipeError> {
        if self.steps.len() > STEP_LIMIT {
            return Err(RecipeError::TooManySteps { count: self.steps.len() });
        }
        let mut has_impute = false;
        let mut weights = None;
        for (i, step) in self.steps.iter().enumerate() {
            let at = Position { position: i + 1, step: step.name() };
            step.check(at)?;
            if step.needs_present_values() && !has_impute {
                return Err(RecipeError::NeedsImpute { position: at.position, step: at.step });
            }
            match step {
                Step::Impute(_) => has_impute = true,
                Step::ClassWeights(_) => {
                    if let Some(first) = weights.replace(at.position) {
                        return Err(RecipeError::Repeated { position: at.position, step: at.step, first });
                    }
                }
                Step::Resample(_) => {
                    if let Some(weights) = weights {
                        let Position { position, step } = at;
                        return Err(RecipeError::ResampleAfterWeights { position, step, weights });
                    }
                }
                _ => {}
            }
        }
        Ok(CheckedRecipe { recipe: self.clone() })
    }
}

impl CheckedRecipe {
    /// The recipe as it was written.
    #[must_use]
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }
}

impl Step {
    /// The name in the key `step`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Impute(_) => "impute",
            Self::Scale(_) => "scale",
            Self::DropConstants(_) => "drop-constants",
            Self::DropCorrelated(_) => "drop-correlated",
            Self::SelectImportance(_) => "select-importance",
            Self::Pca(_) => "pca",
            Self::ClassWeights(_) => "class-weights",
            Self::Resample(_) => "resample",
        }
    }

    fn needs_present_values(&self) -> bool {
        match self {
            Self::Pca(_) => true,
            Self::Resample(resample) => {
                !matches!(resample.method, ResampleMethod::RandomOver | ResampleMethod::RandomUnder)
            }
            _ => false,
        }
    }

    fn check(&self, at: Position) -> Result<(), RecipeError> {
        match self {
            Self::Impute(impute) => match impute.value {
                Some(_) if impute.strategy != ImputeStrategy::Constant => Err(at.parameters(
                    "value",
                    "goes with strategy = \"constant\" only: remove it or change the strategy",
                )),
                Some(value) => at.range(
                    "value",
                    value,
                    value.abs() <= LARGEST_MAGNITUDE,
                    "a number from -1e100 to 1e100",
                ),
                None => Ok(()),
            },
            Self::Scale(_) | Self::DropConstants(_) => Ok(()),
            Self::DropCorrelated(step) => at.share("threshold", step.threshold),
            Self::SelectImportance(step) => {
                if step.share.is_none() && step.max_count.is_none() {
                    return Err(at.parameters("share", "is missing: give share, max_count or both"));
                }
                step.share.map_or(Ok(()), |share| at.share("share", share))?;
                step.max_count.map_or(Ok(()), |count| at.range("max_count", count, count >= 1, "at least 1"))
            }
            Self::Pca(step) => match (step.components, step.explained_variance) {
                (Some(count), None) => at.range("components", count, count >= 1, "at least 1"),
                (None, Some(share)) => at.share("explained_variance", share),
                (None, None) => {
                    Err(at.parameters("components", "is missing: give components or explained_variance"))
                }
                (Some(_), Some(_)) => Err(
                    at.parameters("components", "does not go with explained_variance: remove one of the two")
                ),
            },
            Self::ClassWeights(step) => {
                for &weight in step.per_class.iter().flatten() {
                    let fine = weight.is_finite() && weight > 0.0;
                    at.range("per_class", weight, fine, "finite numbers above 0, one a class")?;
                }
                at.range("power", step.power, (0.0..=2.0).contains(&step.power), "a number from 0 to 2")
            }
            Self::Resample(step) => {
                let range = 1..=100;
                at.range("neighbours", step.neighbours, range.contains(&step.neighbours), "1 to 100")?;
                let fine = range.contains(&step.cleaning_neighbours);
                at.range("cleaning_neighbours", step.cleaning_neighbours, fine, "1 to 100")?;
                at.share("ratio", step.ratio)
            }
        }
    }
}

impl Default for DropCorrelated {
    fn default() -> Self {
        Self { threshold: 0.9 }
    }
}

impl Default for ClassWeights {
    fn default() -> Self {
        Self { per_class: None, power: 1.0 }
    }
}

impl Default for Resample {
    fn default() -> Self {
        Self { method: ResampleMethod::default(), neighbours: 5, cleaning_neighbours: 3, ratio: 1.0 }
    }
}

/// Where the check is, so that each refusal names it.
#[derive(Clone, Copy)]
struct Position {
    position: usize,
    step: &'static str,
}

impl Position {
    fn range(
        self,
        key: &'static str,
        value: impl std::fmt::Display,
        fine: bool,
        allowed: &'static str,
    ) -> Result<(), RecipeError> {
        let Self { position, step } = self;
        if fine {
            Ok(())
        } else {
            Err(RecipeError::OutOfRange { position, step, key, value: value.to_string(), allowed })
        }
    }

    fn share(self, key: &'static str, value: f64) -> Result<(), RecipeError> {
        self.range(key, value, value > 0.0 && value <= 1.0, "above 0 and at most 1")
    }

    fn parameters(self, key: &'static str, problem: &'static str) -> RecipeError {
        RecipeError::Parameters { position: self.position, step: self.step, key, problem }
    }
}
