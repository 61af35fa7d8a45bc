//! What each feature of a row contributes to the answer.
//!
//! What is explained is the pooled score of a class before calibration. Scores are logarithms of odds up to a number
//! that all classes share: softmax takes them to probabilities. Members differ in how their scores come about:
//!
//! - boosted trees: exact Shapley values of the trees (see `forest::Forest::contributions`);
//! - logistic regression: coefficient times distance from the training mean, exact as well;
//! - naive Bayes: log density of the value in the class less its mean over the classes, exact as well;
//! - random forests add probabilities, not logarithms of odds. Alone they are explained in probabilities, exactly. In a
//!   pool, their contributions are stretched by one factor so that they sum to what the member adds to the score: signs
//!   and proportions stay those of the Shapley values.
//!
//! In a pool, scores are added with the members' weights, and so are contributions. A recipe is followed back where
//! each prepared column comes from one raw feature.

use serde::Serialize;
use thiserror::Error;

use super::ensemble::pool_logarithm;
use super::fitted::Model;
use super::predictor::{Member, Predictor};
use crate::forest::Link;

/// Contributions to the score of one class for one row: `base` and `contributions` sum to the score.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The score when nothing is known of the row.
    pub base: f64,
    /// What each raw feature adds to it.
    pub contributions: Vec<f64>,
    /// What they are measured in.
    pub unit: ScoreUnit,
}

/// What a score is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ScoreUnit {
    /// A logarithm of odds, in nats; between more than two classes, up to a number that they share.
    LogOdds,
    /// A probability.
    Probability,
}

/// Why an answer cannot be explained.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CannotExplain {
    #[error("there is no class {class}")]
    Class { class: usize },
    #[error("the answers of {member} cannot be explained: {reason}")]
    Member { member: String, reason: String },
}

impl Predictor {
    /// What each raw feature of `row` contributes to the score of `class`.
    ///
    /// # Errors
    /// Names the member that cannot be explained, and why.
    ///
    /// # Panics
    /// When `row` has not `n_features` values: that is a mistake of the calling code, never of data.
    pub fn explain(&self, row: &[f64], class: usize) -> Result<Explanation, CannotExplain> {
        assert_eq!(
            row.len(),
            self.n_features,
            "a row must have as many values as the predictor has features"
        );
        if class >= self.n_classes {
            return Err(CannotExplain::Class { class });
        }
        if let [only] = self.members.as_slice() {
            return only.explain(row, class);
        }
        let mut whole =
            Explanation { base: 0.0, contributions: vec![0.0; self.n_features], unit: ScoreUnit::LogOdds };
        for member in &self.members {
            let part = member.explain(row, class)?.in_log_odds();
            whole.base += member.weight * part.base;
            for (sum, contribution) in whole.contributions.iter_mut().zip(&part.contributions) {
                *sum += member.weight * contribution;
            }
        }
        Ok(whole)
    }
}

impl Explanation {
    /// The score: the base and all contributions.
    #[must_use]
    pub fn score(&self) -> f64 {
        self.base + self.contributions.iter().sum::<f64>()
    }

    /// A probability as what a pool adds of it.
    fn in_log_odds(self) -> Self {
        if self.unit == ScoreUnit::LogOdds {
            return self;
        }
        let (from, to) = (self.base, self.score());
        let (base, score) = (pool_logarithm(from), pool_logarithm(to));
        // The slope of the logarithm between the two, or at both when they are one.
        let slope = if (to - from).abs() > 1e-9 { (score - base) / (to - from) } else { (-base).exp() };
        let contributions = self.contributions.into_iter().map(|contribution| contribution * slope).collect();
        Self { base, contributions, unit: ScoreUnit::LogOdds }
    }
}

impl Member {
    fn explain(&self, row: &[f64], class: usize) -> Result<Explanation, CannotExplain> {
        let refuse = |reason: String| CannotExplain::Member { member: self.label.clone(), reason };
        let Some(sources) = self.recipe.sources() else {
            return Err(refuse("its recipe mixes features (principal components)".to_owned()));
        };
        let (mut one, mut prepared) = (Vec::new(), Vec::new());
        let prepared = self.prepared(row, &mut one, &mut prepared);
        let mut explanation = self.model.explain(prepared, class).map_err(refuse)?;
        let mut contributions = vec![0.0; row.len()];
        for (source, contribution) in sources.into_iter().zip(&explanation.contributions) {
            contributions[source] += contribution;
        }
        explanation.contributions = contributions;
        Ok(explanation)
    }
}

impl Model {
    /// Contributions of the values of a prepared row, or why there are none.
    fn explain(&self, row: &[f64], class: usize) -> Result<Explanation, String> {
        let in_log_odds =
            |(base, contributions)| Explanation { base, contributions, unit: ScoreUnit::LogOdds };
        let place = |classes: &[u32]| {
            let place = classes.iter().position(|present| *present as usize == class);
            place.ok_or_else(|| "the class had no training rows".to_owned())
        };
        match self {
            Self::Boosted(model) => {
                let output = place(model.classes())?;
                let contributions = model.boosted().forest().contributions(row, output);
                contributions.map(in_log_odds).map_err(|error| error.to_string())
            }
            Self::Imported(model) => {
                // The one score of two classes is that of the second.
                let (output, factor) = match (model.link(), class) {
                    (Link::Softmax, class) => (class, 1.0),
                    (Link::SigmoidEach { scale }, class) => (class, scale),
                    (Link::Sigmoid { scale }, 1) => (0, scale),
                    (Link::Sigmoid { scale }, _) => (0, -scale),
                };
                let (base, mut contributions) =
                    model.forest().contributions(row, output).map_err(|error| error.to_string())?;
                contributions.iter_mut().for_each(|contribution| *contribution *= factor);
                Ok(in_log_odds((base * factor, contributions)))
            }
            Self::Forest(model) => {
                let contributions = model.forest().contributions(row, class);
                let (base, contributions) = contributions.map_err(|error| error.to_string())?;
                Ok(Explanation { base, contributions, unit: ScoreUnit::Probability })
            }
            Self::Apart(_) => Err("a program of its own answers".to_owned()),
            Self::Logistic(model) => Ok(in_log_odds(model.contributions(row, place(model.classes())?))),
            Self::NaiveBayes(model) => Ok(in_log_odds(model.contributions(row, place(model.classes())?))),
            Self::Neighbours(_) => Err("neighbours vote with all features together".to_owned()),
            Self::Prior(_) => Err("it answers every row alike".to_owned()),
        }
    }
}
