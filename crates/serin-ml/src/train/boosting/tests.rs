//! Boosting held to its promises.

use std::sync::atomic::{AtomicUsize, Ordering};

use hessboost::model::{Iterations, ModelFormat};
use rand_chacha::rand_core::Rng;

use super::*;
use crate::observer::Silent;

/// Overlapping classes, and one value in eight missing.
fn data(seed: u64, rows: usize, n_classes: u32) -> (Matrix, Vec<u32>) {
    let mut rng = Seed(seed).rng();
    let mut uniform = move || f64::from(rng.next_u32()) / 2.0_f64.powi(32);
    let y: Vec<u32> = (0..rows).map(|_| (uniform() * f64::from(n_classes)) as u32).collect();
    let mut values = Vec::new();
    for class in &y {
        for j in 0..6_u32 {
            let centre = f64::from((class * 3 + j * 5) % 7) / 7.0;
            values.push(if uniform() < 0.125 { f64::NAN } else { centre + uniform() - 0.5 });
        }
    }
    (Matrix::new(rows, 6, values), y)
}

fn rows<'a>((x, y): &'a (Matrix, Vec<u32>)) -> Rows<'a> {
    Rows { x, y, weights: None }
}

fn few_rounds() -> BoostingParameters {
    BoostingParameters { rounds: 20, ..BoostingParameters::default() }
}

fn variants() -> Vec<BoostingParameters> {
    vec![
        few_rounds(),
        BoostingParameters {
            grow_policy: GrowPolicy::Leafwise,
            max_depth: 0,
            max_leaves: 15,
            subsample: 0.7,
            colsample_bytree: 0.8,
            colsample_bynode: 0.6,
            lambda: 3.0,
            alpha: 0.1,
            gamma: 0.01,
            max_bin: 64,
            ..few_rounds()
        },
        BoostingParameters { extra_trees: true, path_smooth: 2.0, colsample_bylevel: 0.5, ..few_rounds() },
    ]
}

#[test]
fn the_forest_answers_what_the_trainer_does() {
    for n_classes in [2, 4] {
        let set = data(1, 500, n_classes);
        let new = data(2, 300, n_classes);
        for parameters in variants() {
            let boosting = parameters.check().unwrap();
            let theirs = boosting.train(rows(&set), None, n_classes as usize, Seed(3), &Silent).unwrap();
            let ours = boosted(&theirs).unwrap();
            assert_eq!(ours.rounds(), 20);
            let matrix = matrix(rows(&new), n_classes as usize).unwrap();
            let margins = theirs.predict_margin(&matrix, Iterations::Best).unwrap();
            let expected = theirs.predict(&matrix, Iterations::Best).unwrap();
            let probabilities = ours.probabilities(&new.0);
            let mut out = vec![0.0; n_classes as usize];
            for (i, row) in new.0.rows().enumerate() {
                ours.forest().evaluate_into(row, &mut out);
                for (k, margin) in out.iter().enumerate() {
                    let theirs = f64::from(*margins.get(i, k).unwrap());
                    assert!((margin - theirs).abs() <= 1e-6, "row {i}: {margin} {theirs}");
                    let theirs = f64::from(*expected.get(i, k).unwrap());
                    assert!((probabilities.at(i, k) - theirs).abs() <= 1e-6);
                }
                ours.probabilities_into(row, &mut out);
                assert_eq!(out, probabilities.row(i));
                assert!((out.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            }
            assert!((ours.importances().iter().sum::<f64>() - 1.0).abs() < 1e-9);
            assert_eq!(ours.validate(), Ok(()));
        }
    }
}

#[test]
fn the_exported_file_reads_back_as_the_same_model() {
    let set = data(4, 400, 3);
    let ours = few_rounds().check().unwrap().fit(rows(&set), 3, Seed(5), &Silent).unwrap();
    // This reader knows the base score of XGBoost from 3.1 on only, a list; XGBoost itself reads both.
    let json = ours.to_xgboost_json().unwrap().replace("\"0E0\"", "\"[0E0]\"");
    let read = BoostedModel::decode(json.as_bytes(), ModelFormat::XgboostJson).unwrap();
    let theirs = read.predict(&matrix(rows(&set), 3).unwrap(), Iterations::Best).unwrap();
    let ours = ours.probabilities(&set.0);
    for i in 0..400 {
        for k in 0..3 {
            let (a, b) = (ours.at(i, k), f64::from(*theirs.get(i, k).unwrap()));
            assert!((a - b).abs() <= 1e-6, "row {i}, class {k}: {a} {b}");
        }
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    // Rows enough for the trainer to share them among threads.
    let set = data(6, 20_000, 3);
    for parameters in variants() {
        let boosting = BoostingParameters { rounds: 4, ..parameters }.check().unwrap();
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| boosting.fit(rows(&set), 3, Seed(7), &Silent)).unwrap()
        };
        assert_eq!(on(1), on(2));
    }
    let boosting = BoostingParameters { subsample: 0.5, ..few_rounds() }.check().unwrap();
    let fit = |seed| boosting.fit(rows(&set), 3, seed, &Silent).unwrap();
    assert_ne!(fit(Seed(7)), fit(Seed(8)));
}

#[test]
fn validation_rows_choose_the_round() {
    let (set, validation) = (data(8, 300, 3), data(9, 300, 3));
    let parameters = BoostingParameters {
        rounds: 400,
        learning_rate: 0.3,
        early_stopping_rounds: Some(30),
        ..BoostingParameters::default()
    };
    let boosting = parameters.clone().check().unwrap();
    let best = boosting.fit_with_validation(rows(&set), rows(&validation), 3, Seed(1), &Silent).unwrap();
    let loss = |model: &Boosted| {
        let p = model.probabilities(&validation.0);
        -p.rows().zip(&validation.1).map(|(row, class)| row[*class as usize].ln()).sum::<f64>() / 300.0
    };
    assert!(best.rounds() < 100, "{} rounds", best.rounds());
    assert_eq!(best.forest().n_trees(), 3 * best.rounds());
    for rounds in [best.rounds() - 1, best.rounds() + 1, best.rounds() + 30] {
        let other = BoostingParameters { rounds, ..parameters.clone() }.check().unwrap();
        let other = other.fit(rows(&set), 3, Seed(1), &Silent).unwrap();
        assert!(loss(&other) >= loss(&best), "{rounds} rounds are better than {}", best.rounds());
    }
}

/// Asks to stop at the fifth question.
struct Impatient(AtomicUsize);

impl Observer for Impatient {
    fn stop_requested(&self) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed) >= 4
    }
}

#[test]
fn a_stop_request_is_heard_after_a_round() {
    let set = data(1, 200, 3);
    let boosting = BoostingParameters { rounds: 10_000, ..few_rounds() }.check().unwrap();
    let observer = Impatient(AtomicUsize::new(0));
    assert_eq!(boosting.fit(rows(&set), 3, Seed(1), &observer), Err(BoostingError::Stopped));
    assert!(observer.0.load(Ordering::Relaxed) < 10);
}

#[test]
fn values_beyond_single_precision_and_absent_classes_are_learned_from() {
    let values: Vec<f64> = (0..200).map(|i| [1e300, -1e300, f64::NAN, 1e-300][i % 4]).collect();
    let y: Vec<u32> = (0..200).map(|i| [0, 1, 3, 3][i % 4]).collect();
    let x = Matrix::new(200, 1, values);
    let weights: Vec<f64> = (0..200).map(|i| f64::from(i % 7)).collect();
    for weights in [None, Some(weights.as_slice())] {
        let model = few_rounds().check().unwrap();
        let model = model.fit(Rows { x: &x, y: &y, weights }, 5, Seed(1), &Silent).unwrap();
        let p = model.probabilities(&x);
        for (row, class) in p.rows().zip(&y) {
            assert!(row.iter().all(|p| p.is_finite() && *p <= row[*class as usize]), "{row:?} {class}");
        }
    }
}

#[test]
fn a_stored_model_comes_back_the_same_and_a_wrong_one_is_refused() {
    let set = data(4, 200, 3);
    let model = few_rounds().check().unwrap().fit(rows(&set), 3, Seed(5), &Silent).unwrap();
    let back: Boosted = postcard::from_bytes(&postcard::to_stdvec(&model).unwrap()).unwrap();
    assert_eq!(back, model);
    let wrong = Boosted { importances: vec![], ..model.clone() };
    assert_eq!(wrong.validate(), Err(InvalidBoosted::Importances { found: 0, features: 6 }));
    let wrong = Boosted { importances: vec![f64::NAN; 6], ..model };
    assert_eq!(wrong.validate(), Err(InvalidBoosted::Importance { feature: 0 }));
}

#[test]
fn unusable_parameters_and_data_are_refused() {
    let refused = |change: fn(&mut BoostingParameters)| {
        let mut parameters = BoostingParameters::default();
        change(&mut parameters);
        parameters.check().map(|_| "accepted").unwrap_err().key
    };
    assert_eq!(refused(|p| p.rounds = 0), "rounds");
    assert_eq!(refused(|p| p.learning_rate = 0.0), "learning_rate");
    assert_eq!(refused(|p| p.subsample = f64::NAN), "subsample");
    assert_eq!(refused(|p| p.colsample_bynode = 1.1), "colsample_bynode");
    assert_eq!(refused(|p| p.lambda = -1.0), "lambda");
    assert_eq!(refused(|p| p.max_bin = 1), "max_bin");
    assert_eq!(refused(|p| p.max_depth = 0), "max_depth");
    assert_eq!(refused(|p| p.max_leaves = 31), "max_leaves");
    assert_eq!(refused(|p| p.early_stopping_rounds = Some(0)), "early_stopping_rounds");
    let unknown = serde_json::from_str::<BoostingParameters>(r#"{"round": 3}"#).unwrap_err();
    assert!(unknown.to_string().contains("unknown field `round`"));

    let boosting = few_rounds().check().unwrap();
    let x = Matrix::zeros(2, 1);
    let fit = |y: &[u32], weights, n_classes| {
        boosting.fit(Rows { x: &x, y, weights }, n_classes, Seed(0), &Silent).unwrap_err()
    };
    assert_eq!(fit(&[0, 0], None, 1), BoostingError::Classes { n_classes: 1 });
    assert_eq!(fit(&[0], None, 2), BoostingError::Length { what: "classes", rows: 2, found: 1 });
    assert_eq!(fit(&[0, 2], None, 2), BoostingError::Class { row: 1, class: 2, n_classes: 2 });
    assert_eq!(fit(&[0, 1], Some(&[1.0, -1.0]), 2), BoostingError::Weight { row: 1, weight: -1.0 });
}
