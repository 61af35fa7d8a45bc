//! Every trial and how it did, for people and for lineage.

use serde::{Deserialize, Serialize};

use super::candidate::Candidate;
use super::search::{Outcome, Searched, Trial};
use crate::evaluate::Metric;

/// All trials, best first; given up and failed ones last, in order of trying.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Leaderboard {
    /// The metric of the scores.
    pub metric: Metric,
    /// The trials.
    pub rows: Vec<LeaderboardRow>,
}

/// One trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeaderboardRow {
    /// Number in order of trying, from 1.
    pub number: usize,
    /// What was tried.
    pub candidate: Candidate,
    /// How it ended.
    pub status: TrialStatus,
    /// The metric over all held-out rows together, by the most probable class.
    pub score: Option<f64>,
    /// The metric of each fold, in fold order.
    pub fold_scores: Vec<f64>,
    /// Standard error of the mean over folds; folds share training rows, so this is a rough guide.
    pub standard_error: Option<f64>,
    /// Share in the final predictor; 0 when not a member.
    pub weight: f64,
    /// Why it failed, when it did.
    pub reason: Option<String>,
}

/// How a trial ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrialStatus {
    /// Judged on every fold.
    Scored,
    /// Given up after the first folds.
    GivenUp,
    /// Could not be fitted.
    Failed,
}

impl Leaderboard {
    /// The leaderboard of a search whose predictor has these `(trial, weight)` members.
    #[must_use]
    pub fn new(searched: &Searched, metric: Metric, members: &[(usize, f64)]) -> Self {
        let mut order: Vec<usize> = (0..searched.trials.len()).collect();
        let merit = |i: usize| searched.trials[i].merit(metric).unwrap_or(f64::NEG_INFINITY);
        order.sort_by(|&a, &b| merit(b).total_cmp(&merit(a)).then(a.cmp(&b)));
        let weight =
            |i: usize| members.iter().find(|(trial, _)| *trial == i).map_or(0.0, |(_, weight)| *weight);
        Self {
            metric,
            rows: order.into_iter().map(|i| LeaderboardRow::new(&searched.trials[i], weight(i))).collect(),
        }
    }

    /// The row of the trial labelled `label`, the best one of several.
    #[must_use]
    pub fn labelled(&self, label: &str) -> Option<&LeaderboardRow> {
        self.rows.iter().find(|row| row.candidate.label == label)
    }
}

impl LeaderboardRow {
    fn new(trial: &Trial, weight: f64) -> Self {
        let (status, score, fold_scores, reason) = match &trial.outcome {
            Outcome::Scored { score, out_of_fold } => (
                TrialStatus::Scored,
                Some(*score).filter(|score| score.is_finite()),
                out_of_fold.fold_scores.clone(),
                None,
            ),
            Outcome::GivenUp { fold_scores } => (TrialStatus::GivenUp, None, fold_scores.clone(), None),
            Outcome::Failed { reason } => (TrialStatus::Failed, None, Vec::new(), Some(reason.clone())),
        };
        Self {
            number: trial.number,
            candidate: trial.candidate.clone(),
            status,
            score,
            standard_error: standard_error(&fold_scores),
            fold_scores,
            weight,
            reason,
        }
    }
}

/// Standard error of the mean; undefined below two values.
fn standard_error(values: &[f64]) -> Option<f64> {
    let n = values.len() as f64;
    if values.len() < 2 {
        return None;
    }
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
    Some((variance / n).sqrt())
}
