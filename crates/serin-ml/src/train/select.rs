//! Training from end to end: search, assemble, refit.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::assembly::{Assembled, AssemblySettings, Candidates, assemble};
use super::calibration::Calibration;
use super::candidate::{Candidate, MAJORITY};
use super::cross_validation::{CandidateError, Material, OutOfFold, fit_on};
use super::leaderboard::Leaderboard;
use super::neighbours::MAXIMUM_ROWS as NEIGHBOUR_ROW_LIMIT;
use super::search::{Budget, Ended, FamilyName, SearchSettings, Searched, portfolio, search};
use super::{FamilyParameters, Member, Predictor};
use crate::dataset::splits::{Fold, SplitError, forward_folds, grouped_folds, repeated_stratified_folds};
use crate::evaluate::Metric;
use crate::matrix::Matrix;
use crate::observer::{Observer, Progress};
use crate::prepare::Recipe;
use crate::seed::Seed;

/// Most rows that candidates are compared on; the winner is always refitted on all rows.
pub const SEARCH_ROW_LIMIT: usize = 20_000;
/// Share of a time budget that the search may use; the rest is for assembling and refitting.
const SEARCH_SHARE: f64 = 0.8;
/// With a smallest class below this, cross-validation is repeated, because single rows move its score.
const TINY_CLASS_ROWS: usize = 100;
/// A shorter budget is better spent on more candidates than on repeats.
const REPEAT_BUDGET: Duration = Duration::from_secs(15);
/// Tables above this many rows are never cross-validated more than once.
const REPEAT_ROW_LIMIT: usize = 2_000;

/// Everything that decides what is trained.
#[derive(Debug, Clone, PartialEq)]
pub struct SelectSettings {
    /// What selection maximises (or minimises, for a loss).
    pub metric: Metric,
    /// How long to look.
    pub budget: Budget,
    /// Folds of cross-validation, at least 2.
    pub folds: usize,
    /// Where all randomness comes from.
    pub seed: Seed,
    /// The families to search; at least one.
    pub families: Vec<FamilyName>,
    /// What is searched.
    pub scope: Scope,
    /// Whether an ensemble is offered.
    pub ensemble: bool,
    /// Whether probabilities are calibrated where it helps.
    pub calibrate: bool,
}

/// What is searched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Recipes, families and parameters.
    Everything,
    /// Only the reference recipe beside the majority dummy.
    Reference,
    /// One recipe or one model, or both, given by the user. With a recipe alone the portfolio of families is tried on
    /// it; with a model alone it gets the recipe that suits its family.
    Fixed { recipe: Option<Recipe>, model: Option<FamilyParameters> },
}

/// The training rows.
#[derive(Debug, Clone, Copy)]
pub struct TrainingRows<'a> {
    /// Raw rows.
    pub x: &'a Matrix,
    /// Class of each row.
    pub y: &'a [u32],
    /// Number of classes.
    pub n_classes: usize,
    /// Weight of each row.
    pub weights: Option<&'a [f64]>,
    /// Rows of one group never stand on both sides of a split.
    pub groups: Option<&'a [u32]>,
    /// Splits go forward by this.
    pub times: Option<&'a [f64]>,
}

/// What training gives.
#[derive(Debug)]
pub struct Selected {
    /// Refitted on all training rows.
    pub predictor: Predictor,
    /// Every trial, best first.
    pub leaderboard: Leaderboard,
    /// How the predictor does on rows it was not fitted on.
    pub out_of_fold: CrossFittedRows,
    /// How it was put together.
    pub summary: SelectionSummary,
    /// The candidate whose single fit was best, and the folds, for learning curves.
    pub best: Candidate,
    /// The splits used.
    pub folds: Vec<Fold>,
    /// Time each trial took, in trial order; zeros without a stopwatch.
    pub trial_durations: Vec<Duration>,
}

/// Honest answers for training rows: each by an assembly and members that did not see the row.
#[derive(Debug, Clone)]
pub struct CrossFittedRows {
    /// The training rows covered, ascending.
    pub rows: Vec<usize>,
    /// Their class.
    pub truth: Vec<u32>,
    /// rows x classes.
    pub probabilities: Matrix,
    /// The class decided.
    pub decisions: Vec<u32>,
}

/// The numbers behind the choice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SelectionSummary {
    /// Why the search ended.
    pub ended: Ended,
    /// Trials made.
    pub trials: usize,
    /// Folds times repeats.
    pub fits_per_trial: usize,
    /// Rows that candidates were compared on.
    pub search_rows: usize,
    /// Cross-fitted metric of the best single candidate with calibration and decision rule.
    pub single_score: f64,
    /// The same of the ensemble, when one was tried.
    pub ensemble_score: Option<f64>,
    /// Standard error of the difference.
    pub difference_error: Option<f64>,
    /// Whether the ensemble was taken.
    pub is_ensemble: bool,
    /// What calibration was taken: none, temperature or isotonic.
    pub calibration: String,
    /// What each class's probability is multiplied with before the largest is chosen.
    pub decision_multipliers: Vec<f64>,
}

/// Why nothing was trained.
#[derive(Debug, Error)]
pub enum SelectError {
    #[error(
        "the class {class} has {rows} training rows, fewer than the {folds} folds: give it more rows or use fewer folds"
    )]
    TooFewRows { class: usize, rows: usize, folds: usize },
    #[error("the training rows cannot be cut into folds")]
    Split(#[from] SplitError),
    #[error("interrupted before the first candidate was judged")]
    Interrupted,
    #[error("no candidate could be fitted; the first failed so: {reason}")]
    NothingFitted { reason: String },
    #[error("refitting {label} on all training rows failed")]
    Refit { label: String, source: CandidateError },
}

/// Trains: searches within the budget, assembles the best predictor and refits it on all rows.
///
/// With [`Budget::Trials`] the answer depends on data, settings and seed only, not on time or threads.
///
/// # Errors
/// When a class has fewer rows than folds, nothing could be fitted, or the observer stopped before anything was judged.
pub fn select(
    rows: &TrainingRows<'_>,
    settings: &SelectSettings,
    observer: &dyn Observer,
) -> Result<Selected, SelectError> {
    let sample = search_sample(rows, settings.seed.child("sample"));
    let searched_rows = SampledRows::new(rows, &sample);
    let folds = splits(&searched_rows.view(rows.n_classes), settings)?;
    let material = Material {
        x: &searched_rows.x,
        y: &searched_rows.y,
        n_classes: rows.n_classes,
        weights: searched_rows.weights.as_deref(),
        folds: &folds,
    };
    observer.on_progress(&Progress::Phase { name: "search" });
    let searched = search(&material, &search_settings(settings, sample.len(), rows.y.len()), observer);
    observer.on_progress(&Progress::Phase { name: "assemble" });
    let (mut assembled, mut members) = assemble_trials(&searched, &material, settings)?;
    if !fits_in_budget(&assembled, &members, &searched, folds.len(), rows.y.len(), settings, observer) {
        let alone = SelectSettings { ensemble: false, ..settings.clone() };
        (assembled, members) = assemble_trials(&searched, &material, &alone)?;
    }
    observer.on_progress(&Progress::Phase { name: "refit" });
    let all = Material { x: rows.x, y: rows.y, n_classes: rows.n_classes, weights: rows.weights, folds: &[] };
    let predictor = refit(&assembled, &members, &searched, &all, settings, observer)?;
    let weights: Vec<(usize, f64)> =
        assembled.assembly.weights.iter().map(|&(candidate, weight)| (members[candidate], weight)).collect();
    let best = searched.best(settings.metric).map(|i| searched.trials[i].candidate.clone());
    let covered = covered_rows(&searched, &members);
    Ok(Selected {
        leaderboard: Leaderboard::new(&searched, settings.metric, &weights),
        summary: SelectionSummary {
            ended: searched.ended,
            trials: searched.trials.len(),
            fits_per_trial: folds.len(),
            search_rows: sample.len(),
            single_score: assembled.single_score,
            ensemble_score: assembled.ensemble_score,
            difference_error: assembled.difference_error,
            is_ensemble: predictor.members.len() > 1,
            calibration: name_of(&predictor.calibration).to_owned(),
            decision_multipliers: predictor.decision.multipliers.clone(),
        },
        out_of_fold: CrossFittedRows {
            truth: covered.iter().map(|&row| searched_rows.y[row]).collect(),
            rows: covered.iter().map(|&row| sample[row]).collect(),
            probabilities: assembled.probabilities,
            decisions: assembled.decisions,
        },
        best: best.ok_or(SelectError::Interrupted)?,
        folds: folds.iter().map(|fold| in_training_rows(fold, &sample)).collect(),
        trial_durations: searched.trials.iter().map(|trial| trial.duration).collect(),
        predictor,
    })
}

/// The rows that candidates are compared on: all, or a stratified sample of [`SEARCH_ROW_LIMIT`].
fn search_sample(rows: &TrainingRows<'_>, seed: Seed) -> Vec<usize> {
    let total = rows.y.len();
    if total <= SEARCH_ROW_LIMIT {
        return (0..total).collect();
    }
    // Every class keeps its share, and at least some rows.
    let share = SEARCH_ROW_LIMIT as f64 / total as f64;
    let mut by_class: Vec<Vec<usize>> = vec![Vec::new(); rows.n_classes];
    for (row, &class) in rows.y.iter().enumerate() {
        by_class[class as usize].push(row);
    }
    let mut sample = Vec::with_capacity(SEARCH_ROW_LIMIT);
    for (class, mut members) in by_class.into_iter().enumerate() {
        use rand::seq::SliceRandom as _;
        members.shuffle(&mut seed.nth(class).rng());
        let kept = ((members.len() as f64 * share).round() as usize).max(TINY_CLASS_ROWS).min(members.len());
        sample.extend_from_slice(&members[..kept]);
    }
    sample.sort_unstable();
    sample
}

/// Copies of the sampled rows.
struct SampledRows {
    x: Matrix,
    y: Vec<u32>,
    weights: Option<Vec<f64>>,
    groups: Option<Vec<u32>>,
    times: Option<Vec<f64>>,
}

impl SampledRows {
    fn new(rows: &TrainingRows<'_>, sample: &[usize]) -> Self {
        Self {
            x: rows.x.select_rows(sample),
            y: sample.iter().map(|&row| rows.y[row]).collect(),
            weights: rows.weights.map(|all| sample.iter().map(|&row| all[row]).collect()),
            groups: rows.groups.map(|all| sample.iter().map(|&row| all[row]).collect()),
            times: rows.times.map(|all| sample.iter().map(|&row| all[row]).collect()),
        }
    }

    fn view(&self, n_classes: usize) -> TrainingRows<'_> {
        TrainingRows {
            x: &self.x,
            y: &self.y,
            n_classes,
            weights: self.weights.as_deref(),
            groups: self.groups.as_deref(),
            times: self.times.as_deref(),
        }
    }
}

fn splits(rows: &TrainingRows<'_>, settings: &SelectSettings) -> Result<Vec<Fold>, SelectError> {
    let mut counts = vec![0; rows.n_classes];
    for &class in rows.y {
        counts[class as usize] += 1;
    }
    if let Some((class, &rows)) = counts.iter().enumerate().find(|(_, count)| **count < settings.folds) {
        return Err(SelectError::TooFewRows { class, rows, folds: settings.folds });
    }
    let seed = settings.seed.child("folds");
    if let Some(times) = rows.times {
        return Ok(forward_folds(times, settings.folds)?);
    }
    if let Some(groups) = rows.groups {
        return Ok(grouped_folds(rows.y, groups, settings.folds, seed)?);
    }
    let smallest = counts.iter().copied().min().unwrap_or(0);
    let is_tiny = smallest < TINY_CLASS_ROWS && rows.y.len() <= REPEAT_ROW_LIMIT;
    let has_time = match settings.budget {
        Budget::Trials(_) => true,
        Budget::Until(budget) => budget >= REPEAT_BUDGET,
    };
    let repeats = if is_tiny && has_time { 2 } else { 1 };
    Ok(repeated_stratified_folds(rows.y, settings.folds, repeats, seed)?)
}

/// `rows` are searched, `all_rows` are refitted.
fn search_settings(settings: &SelectSettings, rows: usize, all_rows: usize) -> SearchSettings {
    let mut first = vec![Candidate::majority()];
    let mut families = settings.families.clone();
    if all_rows > NEIGHBOUR_ROW_LIMIT {
        // It could be compared on a sample, but not refitted on all rows.
        families.retain(|family| *family != FamilyName::Neighbours);
    }
    match &settings.scope {
        Scope::Everything => first.extend(portfolio(&families, rows)),
        Scope::Reference => {
            first.push(Candidate::reference());
            families.clear();
        }
        Scope::Fixed { recipe, model: Some(model) } => {
            first.push(Candidate {
                label: model.name().to_owned(),
                recipe: recipe.clone().unwrap_or_else(|| Candidate::usual_recipe(model)),
                model: model.clone(),
            });
            families.clear();
        }
        Scope::Fixed { recipe, model: None } => {
            let mut candidates = portfolio(&families, rows);
            // The reference recipe stays what it is called.
            for candidate in candidates.iter_mut().filter(|candidate| !candidate.is_landmark()) {
                if let Some(recipe) = recipe {
                    candidate.recipe = recipe.clone();
                }
            }
            first.extend(candidates);
            families.clear();
        }
    }
    let budget = match settings.budget {
        Budget::Until(until) => Budget::Until(until.mul_f64(SEARCH_SHARE)),
        trials @ Budget::Trials(_) => trials,
    };
    SearchSettings { first, families, metric: settings.metric, budget, seed: settings.seed.child("search") }
}

/// Assembles from the trials that were judged on every fold; also says which trials those are.
fn assemble_trials(
    searched: &Searched,
    material: &Material<'_>,
    settings: &SelectSettings,
) -> Result<(Assembled, Vec<usize>), SelectError> {
    let all: Vec<(usize, &OutOfFold)> = searched
        .trials
        .iter()
        .enumerate()
        .filter(|(_, trial)| trial.merit(settings.metric).is_some())
        .filter_map(|(i, trial)| Some((i, trial.out_of_fold()?)))
        .collect();
    let label = |i: usize| searched.trials[i].candidate.label.as_str();
    // What is there to be compared with becomes the model only where nothing else was judged.
    let not_landmark = |i: usize| !searched.trials[i].candidate.is_landmark();
    let choices: [&dyn Fn(usize) -> bool; 3] = [&not_landmark, &|i| label(i) != MAJORITY, &|_| true];
    let judged = choices
        .iter()
        .map(|keep| all.iter().copied().filter(|(i, _)| keep(*i)).collect::<Vec<_>>())
        .find(|kept| !kept.is_empty())
        .unwrap_or_default();
    let Some((_, first)) = judged.first() else {
        return Err(nothing_judged(searched));
    };
    let truth: Vec<u32> = first.rows.iter().map(|&row| material.y[row]).collect();
    let matrices: Vec<&Matrix> = judged.iter().map(|(_, out_of_fold)| &out_of_fold.probabilities).collect();
    // Interrupted: the best so far at once, without the refits of a whole ensemble.
    let ensemble = settings.ensemble && searched.ended != Ended::Interrupted;
    let assembly = AssemblySettings { metric: settings.metric, ensemble, calibrate: settings.calibrate };
    let kinds: Vec<&str> = judged.iter().map(|&(i, _)| searched.trials[i].candidate.kind()).collect();
    let candidates =
        Candidates { probabilities: &matrices, kinds: &kinds, truth: &truth, n_classes: material.n_classes };
    let assembled =
        assemble(&candidates, assembly, settings.seed.child("assembly")).ok_or(SelectError::Interrupted)?;
    Ok((assembled, judged.into_iter().map(|(i, _)| i).collect()))
}

/// Whether refitting the members will probably end within a time budget, by the time their trials took; the fits of a
/// trial share all threads, as the refits will.
fn fits_in_budget(
    assembled: &Assembled,
    judged: &[usize],
    searched: &Searched,
    fits_per_trial: usize,
    all_rows: usize,
    settings: &SelectSettings,
    observer: &dyn Observer,
) -> bool {
    let Budget::Until(until) = settings.budget else { return true };
    let growth = all_rows as f64 / SEARCH_ROW_LIMIT.min(all_rows).max(1) as f64 * settings.folds as f64
        / (settings.folds as f64 - 1.0);
    let seconds: f64 = assembled
        .assembly
        .weights
        .iter()
        .map(|&(candidate, _)| searched.trials[judged[candidate]].duration.as_secs_f64())
        .sum::<f64>()
        / fits_per_trial.max(1) as f64
        * growth;
    let left = until.saturating_sub(observer.elapsed()).as_secs_f64();
    assembled.assembly.weights.len() == 1 || seconds <= left
}

fn nothing_judged(searched: &Searched) -> SelectError {
    let failure = searched.trials.iter().find_map(|trial| match &trial.outcome {
        super::search::Outcome::Failed { reason } => Some(reason.clone()),
        _ => None,
    });
    failure.map_or(SelectError::Interrupted, |reason| SelectError::NothingFitted { reason })
}

/// A fold over sampled rows as one over the training rows.
fn in_training_rows(fold: &Fold, sample: &[usize]) -> Fold {
    let map = |rows: &[usize]| rows.iter().map(|&row| sample[row]).collect();
    Fold { train: map(&fold.train), valid: map(&fold.valid) }
}

fn covered_rows(searched: &Searched, members: &[usize]) -> Vec<usize> {
    let first = members.first().and_then(|&trial| searched.trials[trial].out_of_fold());
    first.map(|out_of_fold| out_of_fold.rows.clone()).unwrap_or_default()
}

fn refit(
    assembled: &Assembled,
    judged: &[usize],
    searched: &Searched,
    all: &Material<'_>,
    settings: &SelectSettings,
    observer: &dyn Observer,
) -> Result<Predictor, SelectError> {
    use rayon::prelude::*;
    let every_row: Vec<usize> = (0..all.y.len()).collect();
    let keep_going = KeepGoing(observer);
    let members: Vec<Member> = assembled
        .assembly
        .weights
        .par_iter()
        .map(|&(candidate, weight)| {
            let trial = &searched.trials[judged[candidate]];
            let seed = settings.seed.child("refit").nth(trial.number);
            let member = fit_on(&trial.candidate, all, &every_row, seed, &keep_going)
                .map_err(|source| SelectError::Refit { label: trial.candidate.label.clone(), source })?;
            Ok(Member { label: format!("{} #{}", trial.candidate.label, trial.number), weight, ..member })
        })
        .collect::<Result<_, SelectError>>()?;
    Ok(Predictor {
        n_features: all.x.n_columns(),
        n_classes: all.n_classes,
        members,
        calibration: assembled.assembly.calibration.clone(),
        decision: assembled.assembly.decision.clone(),
    })
}

fn name_of(calibration: &Calibration) -> &'static str {
    match calibration {
        Calibration::None => "none",
        Calibration::Temperature(_) => "temperature",
        Calibration::Isotonic(_) => "isotonic",
    }
}

/// Passes everything on but the wish to stop: a stopped search still refits what it found.
struct KeepGoing<'a>(&'a dyn Observer);

impl Observer for KeepGoing<'_> {
    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    fn on_progress(&self, progress: &Progress<'_>) {
        self.0.on_progress(progress);
    }
}
