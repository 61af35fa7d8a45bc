//! One point of the search: a recipe and a family with its parameters.

use serde::{Deserialize, Serialize};

use super::{BoostingParameters, FamilyParameters, GrowPolicy};
use crate::prepare::{DropConstants, Recipe, Step};

/// What one trial fits in every fold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// Short name for people: the family, or the name of a preset.
    pub label: String,
    /// What is done to the rows first.
    pub recipe: Recipe,
    /// What is fitted then.
    pub model: FamilyParameters,
}

/// Label of the dummy that answers with the class shares.
pub const MAJORITY: &str = "majority";
/// Label of the recipe of the system that Serin replaces.
pub const REFERENCE: &str = "reference";

impl Candidate {
    /// The dummy: class shares, whatever the features say.
    #[must_use]
    pub fn majority() -> Self {
        Self { label: MAJORITY.into(), recipe: Recipe::default(), model: FamilyParameters::Majority }
    }

    /// The reference recipe with gradient boosting, kept in every leaderboard so that its cost is visible.
    #[must_use]
    pub fn reference() -> Self {
        Self {
            label: REFERENCE.into(),
            recipe: Recipe::preset("reference").unwrap_or_default(),
            model: FamilyParameters::Boosting(BoostingParameters::default()),
        }
    }

    /// Whether it is there to be compared with: the dummy or the reference recipe.
    #[must_use]
    pub fn is_landmark(&self) -> bool {
        self.label == MAJORITY || self.label == REFERENCE
    }

    /// What it is a variant of: its family, boosting by the order in which trees grow.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match &self.model {
            FamilyParameters::Boosting(parameters) if parameters.grow_policy == GrowPolicy::Leafwise => {
                "boosting-leafwise"
            }
            model => model.name(),
        }
    }

    /// The recipe that suits a family when the user names only the model.
    #[must_use]
    pub fn usual_recipe(model: &FamilyParameters) -> Recipe {
        match model {
            FamilyParameters::Boosting(_)
            | FamilyParameters::RandomForest(_)
            | FamilyParameters::ExtraTrees(_)
            | FamilyParameters::Majority => Recipe { steps: vec![Step::DropConstants(DropConstants {})] },
            _ => Recipe::preset("default").unwrap_or_default(),
        }
    }
}
