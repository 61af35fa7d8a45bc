//! Recipes: what happens to a row of numbers before a model sees it.
//!
//! A [`Recipe`] is what a user wrote: an ordered list of [`Step`]s. [`Recipe::check`] turns it into a
//! [`CheckedRecipe`], the only thing that can be fitted. [`CheckedRecipe::fit`] learns every step from the training
//! rows it is given, each step from what the steps before it made of them, and answers a [`Prepared`]: the rows to
//! train on and a [`FittedRecipe`], which applies the same steps to any other row, one at a time or in a batch, by the
//! same code.
//!
//! # What holds for every step
//! - Only training rows are looked at. Whoever judges a model fits the recipe inside the fold.
//! - Sample weights are passed on to the model and to `select-importance`; the other steps learn from unweighted rows.
//! - A missing value is NaN. `impute` fills it; `scale` and the steps that choose columns pass it on; `pca` and the
//!   resampling methods that measure distances are refused by the check unless an `impute` step stands before them.
//! - Values beyond ±[`LARGEST_MAGNITUDE`] are read as that bound, and so is what a step makes of them: finite rows
//!   give finite rows, whatever the serving side is sent.
//! - Resampling changes the rows given to training and nothing else: a fitted recipe has no trace of it.
//!   [`Prepared::resampled`] says what was done.

mod fit;
mod fitted;
mod impute;
mod pca;
mod power;
mod recipe;
mod resample;
mod scale;
mod select;

pub use fit::{PrepareError, Prepared};
pub use fitted::{FittedRecipe, InvalidRecipe, LARGEST_MAGNITUDE};
pub use pca::PCA_ORDER_LIMIT;
pub use recipe::{
    CheckedRecipe, ClassWeights, DropConstants, DropCorrelated, Impute, ImputeStrategy, PRESETS, Pca, Recipe,
    RecipeError, Resample, ResampleMethod, Scale, ScaleMethod, SelectImportance, Step,
};
pub use resample::{NEIGHBOUR_SEARCH_ROW_LIMIT, Resampled};
