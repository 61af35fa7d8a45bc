//! The search over recipe x family x parameters.
//!
//! First the portfolio: candidates that did well on many tables, best bets first, one or more of each family. Then a
//! guided search: a family is drawn in favour of those that lead, and within it the Parzen estimator proposes where to
//! look. Every candidate is judged on the same folds; one that trails hopelessly after the first folds is given up.

mod dimension;
mod parzen;
mod space;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::candidate::Candidate;
use super::cross_validation::{CandidateError, Judged, Material, OutOfFold, judge};
use crate::evaluate::Metric;
use crate::observer::{Observer, Progress};
use crate::seed::Seed;
pub use space::{FamilyName, UnknownFamily, portfolio};

/// A trial is given up when its first folds score this many standard errors of folds below the best's, ...
const HOPELESS_ERRORS: f64 = 2.0;
/// ... and by more than this share of the best's lift over the dummy: what is closer may still be worth a place in an
/// ensemble, where it counts that it errs elsewhere.
const HOPELESS_LIFT_SHARE: f64 = 0.15;
/// Most trials of one search, however large the budget.
pub const TRIAL_LIMIT: usize = 10_000;

/// How long the search may go on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Budget {
    /// A number of trials: the same on every machine.
    Trials(usize),
    /// Until the observer's stopwatch shows this.
    Until(Duration),
}

/// What to search.
#[derive(Debug, Clone)]
pub struct SearchSettings {
    /// The candidates tried first, in order.
    pub first: Vec<Candidate>,
    /// The families that the guided search draws from; empty: only `first` is tried.
    pub families: Vec<FamilyName>,
    /// What decides.
    pub metric: Metric,
    /// When to end.
    pub budget: Budget,
    /// Where randomness comes from.
    pub seed: Seed,
}

/// One candidate and how it did.
#[derive(Debug, Clone)]
pub struct Trial {
    /// Number in order of trying, from 1.
    pub number: usize,
    /// What was tried.
    pub candidate: Candidate,
    /// How it ended.
    pub outcome: Outcome,
    /// The observer's time it took; zero when the observer has no stopwatch.
    pub duration: Duration,
}

/// How a trial ended.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Judged on every fold. `score` is the metric over all held-out rows together, by the most probable class.
    Scored { score: f64, out_of_fold: OutOfFold },
    /// Given up after the folds whose scores these are.
    GivenUp { fold_scores: Vec<f64> },
    /// Could not be fitted.
    Failed { reason: String },
}

/// What ended the search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// All trials asked for were made.
    Trials,
    /// The time was used up.
    Time,
    /// The user asked to stop.
    Interrupted,
}

/// All trials of a search.
#[derive(Debug)]
pub struct Searched {
    /// In order of trying.
    pub trials: Vec<Trial>,
    /// Why there are no more.
    pub ended: Ended,
}

impl Trial {
    /// The score as "greater is better", when the trial has one.
    #[must_use]
    pub fn merit(&self, metric: Metric) -> Option<f64> {
        match &self.outcome {
            Outcome::Scored { score, .. } if score.is_finite() => Some(merit(metric, *score)),
            _ => None,
        }
    }

    /// The merit, or a rough one from the folds seen before the trial was given up.
    #[must_use]
    fn rough_merit(&self, metric: Metric) -> Option<f64> {
        match &self.outcome {
            Outcome::GivenUp { fold_scores } if !fold_scores.is_empty() => {
                let mean = fold_scores.iter().sum::<f64>() / fold_scores.len() as f64;
                mean.is_finite().then(|| merit(metric, mean))
            }
            _ => self.merit(metric),
        }
    }

    /// The held-out probabilities, when the trial has them.
    #[must_use]
    pub fn out_of_fold(&self) -> Option<&OutOfFold> {
        match &self.outcome {
            Outcome::Scored { out_of_fold, .. } => Some(out_of_fold),
            _ => None,
        }
    }
}

impl Searched {
    /// Position of the best trial: the first of the highest scores.
    #[must_use]
    pub fn best(&self, metric: Metric) -> Option<usize> {
        let merits = self.trials.iter().enumerate().filter_map(|(i, trial)| Some((trial.merit(metric)?, i)));
        merits
            .fold(None, |best: Option<(f64, usize)>, (merit, i)| match best {
                Some((highest, _)) if highest >= merit => best,
                _ => Some((merit, i)),
            })
            .map(|(_, i)| i)
    }
}

/// Searches within the budget.
///
/// The first candidate is always judged, even when it takes longer than the budget, unless the observer asks to stop.
pub fn search(material: &Material<'_>, settings: &SearchSettings, observer: &dyn Observer) -> Searched {
    let mut guide = space::Guide::new(&settings.families, material.y.len(), settings.seed.child("guide"));
    let mut trials: Vec<Trial> = Vec::new();
    let planned = match settings.budget {
        Budget::Trials(count) => Some(count.min(TRIAL_LIMIT)),
        Budget::Until(_) => None,
    };
    let mut best: Option<(f64, Vec<f64>)> = None;
    let ended = loop {
        let number = trials.len() + 1;
        let started = observer.elapsed();
        if let Some(ended) = should_end(number, settings, &trials, started, observer) {
            break ended;
        }
        let candidate = match settings.first.get(number - 1) {
            Some(candidate) => candidate.clone(),
            None => match guide.propose(&trials, settings.metric) {
                Some(candidate) => candidate,
                None => break Ended::Trials,
            },
        };
        let guard = Deadline { inner: observer, until: deadline(settings, number) };
        // Every trial gets the same seed: candidates are compared on the same random numbers.
        let seed = settings.seed.child("trial");
        let dummy = trials.first().and_then(|trial| trial.merit(settings.metric));
        // What every leaderboard shows beside the winner is judged to the end.
        let is_landmark = candidate.is_landmark();
        let give_up = |scores: &[f64]| {
            !is_landmark
                && best
                    .as_ref()
                    .is_some_and(|(_, reference)| is_hopeless(scores, reference, dummy, settings.metric))
        };
        let outcome = match judge(&candidate, material, settings.metric, seed, &guard, &give_up) {
            Judged::Done(out_of_fold) => {
                let score = pooled_score(&out_of_fold, material, settings.metric);
                Outcome::Scored { score, out_of_fold }
            }
            Judged::GivenUp(fold_scores) => Outcome::GivenUp { fold_scores },
            Judged::Failed(error) => Outcome::Failed { reason: chain(&error) },
            Judged::Stopped => {
                break if observer.stop_requested() { Ended::Interrupted } else { Ended::Time };
            }
        };
        let duration = observer.elapsed().saturating_sub(started);
        let trial = Trial { number, candidate, outcome, duration };
        if let (Some(merit), Some(out_of_fold)) = (trial.merit(settings.metric), trial.out_of_fold())
            && best.as_ref().is_none_or(|(highest, _)| merit > *highest)
        {
            best = Some((merit, out_of_fold.fold_scores.clone()));
        }
        observer.on_progress(&Progress::Trial {
            number,
            planned,
            label: &trial.candidate.label,
            score: trial.merit(settings.metric).map(|score| merit(settings.metric, score)),
            best: best.as_ref().map(|(highest, _)| merit(settings.metric, *highest)),
        });
        trials.push(trial);
    };
    Searched { trials, ended }
}

/// A score as "greater is better", and back.
fn merit(metric: Metric, score: f64) -> f64 {
    if metric.greater_is_better() { score } else { -score }
}

fn pooled_score(out_of_fold: &OutOfFold, material: &Material<'_>, metric: Metric) -> f64 {
    let truth: Vec<u32> = out_of_fold.rows.iter().map(|&row| material.y[row]).collect();
    let decisions = super::cross_validation::most_probable(&out_of_fold.probabilities);
    metric.score(&truth, &decisions, &out_of_fold.probabilities, material.n_classes)
}

fn should_end(
    number: usize,
    settings: &SearchSettings,
    trials: &[Trial],
    now: Duration,
    observer: &dyn Observer,
) -> Option<Ended> {
    if observer.stop_requested() {
        return Some(Ended::Interrupted);
    }
    if settings.families.is_empty() && number > settings.first.len() || number > TRIAL_LIMIT {
        return Some(Ended::Trials);
    }
    match settings.budget {
        Budget::Trials(count) => (number > count).then_some(Ended::Trials),
        Budget::Until(until) => {
            // A trial that would probably not end in time is not begun; the median speaks for the next one.
            let mut durations: Vec<Duration> = trials.iter().map(|trial| trial.duration).collect();
            durations.sort_unstable();
            let typical = durations.get(durations.len() / 2).copied().unwrap_or_default();
            (number > 1 && now + typical > until).then_some(Ended::Time)
        }
    }
}

/// The first trial may take as long as it needs.
fn deadline(settings: &SearchSettings, number: usize) -> Option<Duration> {
    match settings.budget {
        Budget::Until(until) if number > 1 => Some(until),
        _ => None,
    }
}

/// Whether the first folds say that a candidate will not come near the best, given the merit of the dummy.
fn is_hopeless(scores: &[f64], reference: &[f64], dummy: Option<f64>, metric: Metric) -> bool {
    let Some(reference_head) = reference.get(..scores.len()) else { return false };
    let mean =
        |values: &[f64]| values.iter().map(|value| merit(metric, *value)).sum::<f64>() / values.len() as f64;
    let centre = mean(reference);
    let variance = reference.iter().map(|value| (merit(metric, *value) - centre).powi(2)).sum::<f64>()
        / (reference.len() as f64 - 1.0).max(1.0);
    let noise = HOPELESS_ERRORS * (variance / scores.len() as f64).sqrt();
    let lift = dummy.map_or(0.0, |dummy| centre - dummy);
    mean(scores) < mean(reference_head) - noise.max(HOPELESS_LIFT_SHARE * lift)
}

fn chain(error: &CandidateError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

/// Adds a deadline to an observer.
struct Deadline<'a> {
    inner: &'a dyn Observer,
    until: Option<Duration>,
}

impl Observer for Deadline<'_> {
    fn elapsed(&self) -> Duration {
        self.inner.elapsed()
    }

    fn stop_requested(&self) -> bool {
        self.inner.stop_requested() || self.until.is_some_and(|until| self.inner.elapsed() > until)
    }
}
