//! Training from end to end on real rows: the same data, settings and seed give the same bundle; whatever ends the
//! search, the best so far is kept.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use serin_ml::dataset::{Dataset, Fingerprint, ReadOptions, Schema, read};
use serin_ml::evaluate::Metric;
use serin_ml::matrix::Matrix;
use serin_ml::model::{Bundle, Card, Contents, Golden, Lineage, Note};
use serin_ml::observer::{Observer, Progress, Silent};
use serin_ml::prepare::Recipe;
use serin_ml::seed::Seed;
use serin_ml::train::{
    Budget, Ended, FamilyName, FamilyParameters, MAJORITY, REFERENCE, Scope, SelectError, SelectSettings,
    Selected, TrainingRows, TrialStatus, select,
};

/// The first rows of the digits 0, 1 and 2 of the example, as many of each.
pub fn digits(rows_a_class: usize) -> Dataset {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/digits/train.csv");
    let options = ReadOptions { target: Some("digit".to_owned()), ..ReadOptions::default() };
    let all = read(&[file], &options, &Silent).unwrap().dataset;
    let codes = &all.labels.as_ref().unwrap().codes;
    let mut kept: Vec<usize> = Vec::new();
    for class in 0..3 {
        kept.extend((0..all.n_rows).filter(|&row| codes[row] == class).take(rows_a_class));
    }
    kept.sort_unstable();
    let mut data = all.select_rows(&kept);
    data.labels.as_mut().unwrap().classes.truncate(3);
    data
}

/// Three cheap families, three folds, few trials.
pub fn settings() -> SelectSettings {
    SelectSettings {
        metric: Metric::MacroF1,
        budget: Budget::Trials(6),
        folds: 3,
        seed: Seed(17),
        families: vec![FamilyName::Logistic, FamilyName::Neighbours, FamilyName::NaiveBayes],
        scope: Scope::Everything,
        ensemble: true,
        calibrate: true,
    }
}

pub fn model(document: Value) -> FamilyParameters {
    serde_json::from_value(document).unwrap()
}

/// What is in a bundle besides what training gives is the same here whatever was trained.
pub fn contents(data: &Dataset, selected: &Selected) -> Contents {
    let x = data.features();
    Contents {
        card: Card {
            name: "digits".to_owned(),
            target: "digit".to_owned(),
            schema: Schema { fields: data.schema.fields.clone() },
            missing: vec!["".to_owned(), "NA".to_owned()],
            classes: data.labels.as_ref().unwrap().classes.clone(),
            metric: Metric::MacroF1,
            summary: selected.summary.clone(),
            lineage: Lineage {
                train: data.fingerprint.clone(),
                train_rows: data.n_rows,
                test: Fingerprint("0".repeat(64)),
                test_rows: 0,
                seed: 17,
                settings: json!({"folds": 3}),
                serin: "0.1.0".to_owned(),
                imported: None,
            },
        },
        predictor: selected.predictor.clone(),
        leaderboard: selected.leaderboard.clone(),
        evaluation: None,
        baseline: None,
        golden: Golden::ask(&selected.predictor, &x),
        note: Note::default(),
    }
}

struct Table {
    x: Matrix,
    y: Vec<u32>,
    data: Dataset,
}

impl Table {
    fn new(rows_a_class: usize) -> Self {
        let data = digits(rows_a_class);
        Self { x: data.features(), y: data.labels.as_ref().unwrap().codes.clone(), data }
    }

    fn rows(&self) -> TrainingRows<'_> {
        TrainingRows { x: &self.x, y: &self.y, n_classes: 3, weights: None, groups: None, times: None }
    }

    fn select(&self, settings: &SelectSettings) -> Selected {
        select(&self.rows(), settings, &Silent).unwrap()
    }
}

fn on_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

fn labels(selected: &Selected) -> Vec<&str> {
    selected.leaderboard.rows.iter().map(|row| row.candidate.label.as_str()).collect()
}

#[test]
fn a_trial_budget_and_a_seed_decide_every_bit_of_the_bundle() {
    let table = Table::new(30);
    let trained = |threads: usize, seed: u64| {
        // The whole portfolio, and then proposals of the guided search.
        let budget = Budget::Trials(16);
        let settings =
            SelectSettings { seed: Seed(seed), budget, families: FamilyName::ALL.to_vec(), ..settings() };
        let selected = on_threads(threads, || table.select(&settings));
        let bundle = Bundle::new(contents(&table.data, &selected)).unwrap();
        (selected, bundle.digest().to_owned(), bundle.encode().unwrap())
    };
    let (selected, digest, bytes) = trained(1, 17);
    let (_, again, same_bytes) = trained(2, 17);
    assert_eq!(digest, again);
    assert!(bytes == same_bytes);
    let (_, other, _) = trained(2, 18);
    assert_ne!(digest, other);

    assert_eq!((selected.summary.trials, selected.summary.ended), (16, Ended::Trials));
    assert_eq!(selected.leaderboard.rows.len(), 16);
    let landmark = |label| selected.leaderboard.labelled(label).expect(label);
    for label in [MAJORITY, REFERENCE] {
        assert_eq!(landmark(label).status, TrialStatus::Scored, "{:?}", landmark(label).reason);
    }
    assert_eq!(landmark(REFERENCE).candidate.recipe, Recipe::preset("reference").unwrap());
    assert!(landmark(MAJORITY).score.unwrap() < 0.2);
    assert!(selected.leaderboard.rows[0].score.unwrap() > 0.9, "{:?}", selected.leaderboard.rows[0]);
    let scores: Vec<f64> = selected.leaderboard.rows.iter().filter_map(|row| row.score).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    let numbers: BTreeSet<usize> = selected.leaderboard.rows.iter().map(|row| row.number).collect();
    assert_eq!(numbers, (1..=16).collect());
    let shares: f64 = selected.leaderboard.rows.iter().map(|row| row.weight).sum();
    assert!((shares - 1.0).abs() < 1e-9);
    assert!(selected.leaderboard.rows.iter().all(|row| row.status != TrialStatus::Failed));
}

#[test]
fn every_row_is_judged_by_a_predictor_that_did_not_see_it() {
    let table = Table::new(20);
    let selected = table.select(&settings());
    // Tiny classes are cut twice.
    assert_eq!((selected.summary.fits_per_trial, selected.folds.len()), (6, 6));
    let mut times_held_out = vec![0; table.y.len()];
    for fold in &selected.folds {
        let valid: BTreeSet<usize> = fold.valid.iter().copied().collect();
        assert!(fold.train.iter().all(|row| !valid.contains(row)));
        assert_eq!(fold.train.len() + valid.len(), table.y.len());
        valid.iter().for_each(|&row| times_held_out[row] += 1);
    }
    assert!(times_held_out.iter().all(|&times| times == 2));
    let judged = &selected.out_of_fold;
    assert_eq!(judged.rows, (0..table.y.len()).collect::<Vec<_>>());
    assert_eq!(judged.truth, table.y);
    assert!(judged.probabilities.rows().all(|row| (row.iter().sum::<f64>() - 1.0).abs() < 1e-9));
    let score = Metric::MacroF1.score(&judged.truth, &judged.decisions, &judged.probabilities, 3);
    assert!(
        (score - selected.summary.single_score.max(selected.summary.ensemble_score.unwrap())).abs() < 0.1
    );
    assert!(score > 0.8, "{score}");
}

/// Asks to stop once `trials` have ended, and counts what it is told.
struct StopAfter {
    trials: usize,
    ended: AtomicUsize,
}

impl Observer for StopAfter {
    fn stop_requested(&self) -> bool {
        self.ended.load(Ordering::Relaxed) >= self.trials
    }

    fn on_progress(&self, progress: &Progress<'_>) {
        if let Progress::Trial { number, planned, .. } = progress {
            assert_eq!((*number, *planned), (self.ended.fetch_add(1, Ordering::Relaxed) + 1, Some(6)));
        }
    }
}

#[test]
fn interrupted_it_keeps_the_best_so_far() {
    let table = Table::new(20);
    let observer = StopAfter { trials: 3, ended: AtomicUsize::new(0) };
    let selected = select(&table.rows(), &settings(), &observer).unwrap();
    assert_eq!((selected.summary.ended, selected.summary.trials), (Ended::Interrupted, 3));
    assert!(!selected.summary.is_ensemble && selected.summary.ensemble_score.is_none());
    let best = &selected.leaderboard.rows[0];
    assert_ne!(best.candidate.label, MAJORITY);
    assert_eq!(best.weight, 1.0);
    assert_eq!(selected.predictor.members[0].label, format!("{} #{}", best.candidate.label, best.number));
    assert_eq!(selected.best, best.candidate);
    let (_, decisions) = selected.predictor.predict(&table.x);
    let right = decisions.iter().zip(&table.y).filter(|(a, b)| a == b).count();
    assert!(right * 10 > table.y.len() * 9, "{right} of {}", table.y.len());

    let at_once = StopAfter { trials: 0, ended: AtomicUsize::new(0) };
    let error = select(&table.rows(), &settings(), &at_once).unwrap_err();
    assert!(matches!(error, SelectError::Interrupted), "{error:?}");
}

/// Every look at the clock takes a millisecond.
#[derive(Default)]
struct Ticking {
    milliseconds: AtomicU64,
}

impl Observer for Ticking {
    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.milliseconds.fetch_add(1, Ordering::Relaxed))
    }
}

#[test]
fn a_time_budget_ends_the_search_but_not_before_the_first_candidate() {
    let table = Table::new(20);
    for (milliseconds, least, most) in [(1, 1, 1), (200, 3, 120)] {
        let clock = Ticking::default();
        let budget = Budget::Until(Duration::from_millis(milliseconds));
        let families = vec![FamilyName::NaiveBayes, FamilyName::Neighbours];
        let timed = SelectSettings { budget, families, ..settings() };
        let selected = select(&table.rows(), &timed, &clock).unwrap();
        assert_eq!(selected.summary.ended, Ended::Time, "{milliseconds}");
        let trials = selected.summary.trials;
        assert!((least..=most).contains(&trials), "{trials} trials in {milliseconds} ms");
        assert_eq!(selected.trial_durations.len(), trials);
        assert!(selected.trial_durations.iter().all(|duration| !duration.is_zero()));
        let used: Duration = selected.trial_durations.iter().sum();
        assert!(used <= Duration::from_millis(milliseconds + 10), "{used:?}");
    }
}

#[test]
fn a_scope_says_what_is_tried() {
    let table = Table::new(20);
    let centred: Recipe =
        serde_json::from_value(json!({"steps": [{"step": "scale", "method": "z-score"}]})).unwrap();
    let near = model(json!({"family": "neighbours", "neighbours": 5}));
    let fixed = |recipe: Option<&Recipe>, model: Option<&FamilyParameters>| Scope::Fixed {
        recipe: recipe.cloned(),
        model: model.cloned(),
    };
    let portfolio = [REFERENCE, "logistic", "naive-bayes", MAJORITY].as_slice();
    let cases: [(&str, Scope, &[FamilyName], &[&str]); 6] = [
        (
            "all of the portfolio",
            Scope::Everything,
            &[FamilyName::Logistic, FamilyName::NaiveBayes],
            portfolio,
        ),
        ("reference", Scope::Reference, &FamilyName::ALL, &[REFERENCE, MAJORITY]),
        ("a model", fixed(None, Some(&near)), &FamilyName::ALL, &["neighbours", MAJORITY]),
        ("both", fixed(Some(&centred), Some(&near)), &FamilyName::ALL, &["neighbours", MAJORITY]),
        ("a recipe", fixed(Some(&centred), None), &[FamilyName::Logistic, FamilyName::NaiveBayes], portfolio),
        (
            "a recipe, one family",
            fixed(Some(&centred), None),
            &[FamilyName::NaiveBayes],
            &[REFERENCE, "naive-bayes", MAJORITY],
        ),
    ];
    for (name, scope, families, expected) in cases {
        let budget = Budget::Trials(if scope == Scope::Everything { 5 } else { 40 });
        let settings = SelectSettings { scope, families: families.to_vec(), budget, ..settings() };
        let selected = table.select(&settings);
        let tried: BTreeSet<&str> = labels(&selected).into_iter().collect();
        assert_eq!(tried, expected.iter().copied().collect(), "{name}");
        for row in &selected.leaderboard.rows {
            let candidate = &row.candidate;
            let landmark = [MAJORITY, REFERENCE].contains(&candidate.label.as_str());
            assert_ne!(row.status, TrialStatus::Failed, "{name}: {:?}", row.reason);
            if name.contains("recipe") || name == "both" {
                assert_eq!(candidate.recipe == centred, !landmark, "{name}: {candidate:?}");
            }
            if name == "a model" || name == "both" {
                assert_eq!(candidate.model == near, !landmark, "{name}: {candidate:?}");
            }
            if candidate.label == REFERENCE {
                assert_eq!(candidate.recipe, Recipe::preset("reference").unwrap(), "{name}");
            }
        }
    }
}

#[test]
fn a_class_with_fewer_rows_than_folds_is_named() {
    let mut table = Table::new(8);
    let kept: Vec<usize> = (0..table.y.len())
        .filter(|&row| table.y[row] != 1 || table.y[..row].iter().filter(|&&y| y == 1).count() < 2)
        .collect();
    (table.x, table.y) = (table.x.select_rows(&kept), kept.iter().map(|&row| table.y[row]).collect());
    let error = select(&table.rows(), &settings(), &Silent).unwrap_err();
    assert!(matches!(error, SelectError::TooFewRows { class: 1, rows: 2, folds: 3 }), "{error:?}");
}

#[test]
fn a_group_never_stands_on_both_sides_and_time_goes_forward() {
    let table = Table::new(24);
    let groups: Vec<u32> = (0..table.y.len()).map(|row| (row as u32 * 7) % 13).collect();
    let grouped = TrainingRows { groups: Some(&groups), ..table.rows() };
    let selected = select(&grouped, &settings(), &Silent).unwrap();
    assert_eq!(selected.folds.len(), 3);
    for fold in &selected.folds {
        let of = |rows: &[usize]| rows.iter().map(|&row| groups[row]).collect::<BTreeSet<_>>();
        assert!(of(&fold.train).is_disjoint(&of(&fold.valid)));
    }
    assert_eq!(selected.out_of_fold.rows.len(), table.y.len());

    let times: Vec<f64> = (0..table.y.len()).map(|row| ((row * 29) % table.y.len()) as f64).collect();
    let timed = TrainingRows { times: Some(&times), ..table.rows() };
    let selected = select(&timed, &settings(), &Silent).unwrap();
    assert_eq!(selected.folds.len(), 3);
    for fold in &selected.folds {
        let last = fold.train.iter().map(|&row| times[row]).fold(f64::NEG_INFINITY, f64::max);
        assert!(fold.valid.iter().all(|&row| times[row] > last));
    }
    // The earliest rows are learnt from only, so they are never judged.
    let judged: BTreeSet<usize> = selected.folds.iter().flat_map(|fold| fold.valid.iter().copied()).collect();
    assert!(judged.len() < table.y.len());
    assert_eq!(selected.out_of_fold.rows, judged.into_iter().collect::<Vec<_>>());
}

#[test]
fn weights_move_the_model() {
    let table = Table::new(20);
    let scope = Scope::Fixed { recipe: Some(Recipe::default()), model: Some(FamilyParameters::Majority) };
    let settings = SelectSettings { scope, calibrate: false, ..settings() };
    let weights: Vec<f64> = table.y.iter().map(|&class| if class == 0 { 8.0 } else { 1.0 }).collect();
    let probability = |weights: Option<&[f64]>| {
        let rows = TrainingRows { weights, ..table.rows() };
        let selected = select(&rows, &settings, &Silent).unwrap();
        selected.predictor.members[0].probabilities(&table.x).at(0, 0)
    };
    assert!((probability(None) - 1.0 / 3.0).abs() < 1e-9);
    assert!((probability(Some(&weights)) - 0.8).abs() < 1e-9);
}

#[test]
fn ensemble_and_calibration_can_be_left_out() {
    let table = Table::new(20);
    let with = table.select(&settings());
    assert!(with.summary.ensemble_score.is_some() && with.summary.difference_error.is_some());
    assert_eq!(with.summary.is_ensemble, with.predictor.members.len() > 1);
    let without = table.select(&SelectSettings { ensemble: false, calibrate: false, ..settings() });
    assert_eq!(without.summary.ensemble_score, None);
    assert_eq!((without.predictor.members.len(), without.summary.calibration.as_str()), (1, "none"));
    assert_eq!(without.predictor.members[0].weight, 1.0);
}

#[test]
fn what_cannot_be_fitted_says_why() {
    let table = Table::new(8);
    let two_priors = model(json!({"family": "naive-bayes", "priors": [0.5, 0.5]}));
    let scope = Scope::Fixed { recipe: None, model: Some(two_priors) };
    let selected = table.select(&SelectSettings { scope, ..settings() });
    let failed = selected.leaderboard.labelled("naive-bayes").unwrap();
    assert_eq!((failed.status, failed.score), (TrialStatus::Failed, None));
    assert!(failed.reason.as_ref().unwrap().contains("priors"), "{:?}", failed.reason);
    assert_eq!(selected.best.label, MAJORITY);
}
