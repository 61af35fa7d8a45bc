//! Every model family keeps the promises of the trait, and agrees with scikit-learn.

use std::path::PathBuf;

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use serin_ml::matrix::Matrix;
use serin_ml::observer::{Observer, Silent};
use serin_ml::seed::Seed;
use serin_ml::train::{
    ClassWeights, Distance, FamilyParameters, FitError, InvalidTrainingSet, LogisticModel,
    LogisticParameters, Model, NaiveBayesParameters, NeighboursParameters, TrainingSet, Votes,
};

/// Every family, with the settings that take different paths.
fn families() -> Vec<FamilyParameters> {
    let mut families = FamilyParameters::all_defaults();
    for family in &mut families {
        match family {
            FamilyParameters::Boosting(parameters) => parameters.rounds = 10,
            FamilyParameters::RandomForest(parameters) => parameters.trees = 10,
            FamilyParameters::ExtraTrees(parameters) => parameters.trees = 10,
            _ => {}
        }
    }
    families.push(FamilyParameters::Logistic(LogisticParameters {
        penalty: 1e-3,
        class_weights: ClassWeights::Balanced,
        ..Default::default()
    }));
    for distance in [Distance::Euclidean, Distance::Manhattan, Distance::Cosine] {
        families.push(FamilyParameters::Neighbours(NeighboursParameters {
            neighbours: 3,
            votes: Votes::ByDistance,
            distance,
            prior: 0.5,
        }));
    }
    families
        .push(FamilyParameters::NaiveBayes(NaiveBayesParameters { variance_smoothing: 0.0, priors: None }));
    families
}

fn fit(parameters: &FamilyParameters, set: &TrainingSet<'_>) -> Model {
    let model = parameters.check().unwrap().fit(set, Seed(17), &Silent).unwrap();
    model.validate().unwrap();
    assert_eq!((model.n_features(), model.n_classes()), (set.x.n_columns(), set.n_classes));
    model
}

fn answer(model: &Model, row: &[f64]) -> Vec<f64> {
    let mut probabilities = vec![f64::NAN; model.n_classes()];
    model.probabilities_into(row, &mut probabilities);
    assert_sound(&probabilities, || format!("{model:?} for {row:?}"));
    probabilities
}

fn assert_sound(probabilities: &[f64], what: impl Fn() -> String) {
    let sum: f64 = probabilities.iter().sum();
    let is_sound =
        probabilities.iter().all(|p| (0.0..=1.0 + 1e-12).contains(p)) && (sum - 1.0).abs() <= 1e-12;
    assert!(is_sound, "{probabilities:?} sum to {sum}: {}", what());
}

fn assert_near(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= tolerance, "{what}: {found} instead of {expected} at {i}");
    }
}

// ---- agreement with scikit-learn ------------------------------------------------------------------------------------

#[derive(Deserialize)]
struct Reference {
    sets: std::collections::BTreeMap<String, Table>,
    weights: std::collections::BTreeMap<String, Vec<f64>>,
    logistic: Vec<LogisticCase>,
    neighbours: Vec<NeighboursCase>,
    naive_bayes: Vec<NaiveBayesCase>,
}

#[derive(Deserialize)]
struct Table {
    x: Vec<Vec<f64>>,
    y: Vec<u32>,
}

#[derive(Deserialize)]
struct LogisticCase {
    set: String,
    skip: usize,
    penalty: f64,
    balanced: bool,
    weighted: bool,
    coefficients: Vec<Vec<f64>>,
    intercepts: Vec<f64>,
    probabilities: Vec<Vec<f64>>,
}

#[derive(Deserialize)]
struct NeighboursCase {
    set: String,
    train: Vec<usize>,
    ask: Vec<usize>,
    distance: Distance,
    by_distance: bool,
    neighbours: usize,
    probabilities: Vec<Vec<f64>>,
}

#[derive(Deserialize)]
struct NaiveBayesCase {
    set: String,
    variance_smoothing: f64,
    priors: Option<Vec<f64>>,
    weighted: bool,
    probabilities: Vec<Vec<f64>>,
}

/// Made by `tests/data/families/make_families.py`.
fn scikit_learn() -> Reference {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/families/families.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

impl Table {
    fn matrix(&self) -> Matrix {
        Matrix::new(self.x.len(), self.x[0].len(), self.x.concat())
    }

    fn n_classes(&self) -> usize {
        *self.y.iter().max().unwrap() as usize + 1
    }
}

fn logistic(model: &Model) -> &LogisticModel {
    match model {
        Model::Logistic(model) => model,
        other => panic!("not a logistic regression: {other:?}"),
    }
}

#[test]
fn logistic_regression_agrees_with_scikit_learn() {
    let reference = scikit_learn();
    assert!(reference.logistic.len() >= 12);
    for case in &reference.logistic {
        let table = &reference.sets[&case.set];
        let rows: Vec<usize> = (case.skip..table.y.len()).collect();
        let x = table.matrix().select_rows(&rows);
        let weights = case.weighted.then(|| reference.weights[&case.set].as_slice());
        let set = TrainingSet { x: &x, y: &table.y[case.skip..], n_classes: table.n_classes(), weights };
        let class_weights = if case.balanced { ClassWeights::Balanced } else { ClassWeights::Rows };
        for (tolerance, agreement) in [(1e-9, 1e-6), (LogisticParameters::default().tolerance, 5e-3)] {
            let parameters =
                LogisticParameters { penalty: case.penalty, class_weights, tolerance, ..Default::default() };
            let model = fit(&FamilyParameters::Logistic(parameters), &set);
            let what = format!("{} penalty {} tolerance {tolerance}", case.set, case.penalty);
            let fitted = logistic(&model);
            assert!(fitted.is_converged(), "{what}: {} iterations", fitted.iterations());
            for (class, (coefficients, intercept)) in
                case.coefficients.iter().zip(&case.intercepts).enumerate()
            {
                let largest = coefficients.iter().fold(1.0_f64, |largest, c| largest.max(c.abs()));
                let found = fitted.coefficients(class as u32).unwrap();
                assert_near(&found, coefficients, agreement * largest, &what);
                let found = fitted.intercept(class as u32).unwrap();
                assert_near(&[found], &[*intercept], agreement * intercept.abs().max(1.0) * 10.0, &what);
            }
            for (i, probabilities) in (0..).step_by(9).zip(&case.probabilities) {
                assert_near(&answer(&model, x.row(i)), probabilities, agreement, &what);
            }
        }
    }
}

#[test]
fn neighbours_agree_with_scikit_learn() {
    let reference = scikit_learn();
    assert!(reference.neighbours.len() >= 36);
    for case in &reference.neighbours {
        assert!(case.ask.len() >= 10, "the script found too few rows without ties");
        let table = &reference.sets[&case.set];
        let all = table.matrix();
        let y: Vec<u32> = case.train.iter().map(|&i| table.y[i]).collect();
        let parameters = FamilyParameters::Neighbours(NeighboursParameters {
            neighbours: case.neighbours,
            votes: if case.by_distance { Votes::ByDistance } else { Votes::Equal },
            distance: case.distance,
            prior: 0.0,
        });
        let x = all.select_rows(&case.train);
        let model =
            fit(&parameters, &TrainingSet { x: &x, y: &y, n_classes: table.n_classes(), weights: None });
        // Equal votes are quotients of small numbers; distances carry the rounding of scikit-learn's products.
        let tolerance = if case.by_distance { 1e-9 } else { 1e-15 };
        for (&i, probabilities) in case.ask.iter().zip(&case.probabilities) {
            assert_near(
                &answer(&model, all.row(i)),
                probabilities,
                tolerance,
                &format!("{parameters:?} row {i}"),
            );
        }
    }
}

#[test]
fn naive_bayes_agrees_with_scikit_learn() {
    let reference = scikit_learn();
    assert!(reference.naive_bayes.len() >= 6);
    for case in &reference.naive_bayes {
        let table = &reference.sets[&case.set];
        let x = table.matrix();
        let weights = case.weighted.then(|| reference.weights[&case.set].as_slice());
        let set = TrainingSet { x: &x, y: &table.y, n_classes: table.n_classes(), weights };
        let parameters =
            NaiveBayesParameters { variance_smoothing: case.variance_smoothing, priors: case.priors.clone() };
        let model = fit(&FamilyParameters::NaiveBayes(parameters), &set);
        for (i, probabilities) in (0..).step_by(9).zip(&case.probabilities) {
            // Digits has columns that are constant within a class: variances of 1e-8 magnify any rounding.
            assert_near(&answer(&model, x.row(i)), probabilities, 1e-6, &format!("{} row {i}", case.set));
        }
    }
}

// ---- what every family keeps ----------------------------------------------------------------------------------------

/// Four features (one constant, one with gaps, one in large units) and three classes that overlap a little.
fn example(rows: usize) -> (Matrix, Vec<u32>) {
    use rand::RngExt;
    let mut rng = Seed(5).child("example").rng();
    let y: Vec<u32> = (0..rows).map(|i| (i % 3) as u32).collect();
    let mut x = Matrix::zeros(rows, 4);
    for (i, class) in y.iter().enumerate() {
        let noise: [f64; 3] = std::array::from_fn(|_| rng.random::<f64>() - 0.5);
        let gap = if i % 7 == 3 { f64::NAN } else { noise[1] - f64::from(*class) };
        x.row_mut(i).copy_from_slice(&[f64::from(*class) + 2.0 * noise[0], gap, 4.2, 1e9 + 1e4 * noise[2]]);
    }
    (x, y)
}

#[test]
fn the_same_fit_is_the_same_on_one_thread_and_on_two() {
    let (x, y) = example(900);
    let weights: Vec<f64> = (0..900).map(|i| 0.3 + f64::from(i % 11)).collect();
    let set = TrainingSet { x: &x, y: &y, n_classes: 3, weights: Some(&weights) };
    let on = |threads: usize, parameters: &FamilyParameters| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let model = fit(parameters, &set);
            let probabilities = model.probabilities(&x);
            (postcard::to_allocvec(&model).unwrap(), probabilities)
        })
    };
    for parameters in families() {
        let (one, two) = (on(1, &parameters), on(2, &parameters));
        assert!(one == two, "{parameters:?} depends on the number of threads");
        let model: Model = postcard::from_bytes(&one.0).unwrap();
        model.validate().unwrap();
        for (i, row) in x.rows().enumerate() {
            assert_eq!(answer(&model, row), one.1.row(i), "one row and many, {parameters:?}");
        }
    }
}

#[test]
fn every_family_but_the_dummy_learns() {
    let (x, y) = example(300);
    let set = TrainingSet { x: &x, y: &y, n_classes: 3, weights: None };
    for parameters in families() {
        let model = fit(&parameters, &set);
        let is_hit = |i: usize| {
            let p = answer(&model, x.row(i));
            (0..3).all(|class| p[y[i] as usize] >= p[class])
        };
        let hits = (0..300).filter(|&i| is_hit(i)).count();
        if parameters == FamilyParameters::Majority {
            assert_near(&answer(&model, x.row(0)), &[1.0 / 3.0; 3], 1e-15, "shares");
        // The feature in units of 1e4 drowns the others for neighbours: that is what the recipe's scaling is for.
        } else if parameters.name() != "neighbours" {
            assert!(hits > 200, "{hits} of 300 with {parameters:?}");
        }
    }
}

#[test]
fn a_class_without_rows_has_probability_zero() {
    let (x, mut y) = example(90);
    let mut weights = vec![1.0; 90];
    y.iter_mut().for_each(|class| *class = [1, 4, 3][*class as usize]);
    y.iter().zip(&mut weights).filter(|(class, _)| **class == 3).for_each(|(_, weight)| *weight = 0.0);
    let set = TrainingSet { x: &x, y: &y, n_classes: 6, weights: Some(&weights) };
    for parameters in families() {
        let model = fit(&parameters, &set);
        for row in x.rows() {
            let probabilities = answer(&model, row);
            assert_eq!([0, 2, 3, 5].map(|absent| probabilities[absent]), [0.0; 4], "{parameters:?}");
            assert!(probabilities[1] > 0.0 || probabilities[4] > 0.0);
        }
    }
}

#[test]
fn one_class_is_certain() {
    let (x, _) = example(20);
    let set = TrainingSet { x: &x, y: &[1; 20], n_classes: 3, weights: None };
    for parameters in families() {
        assert_eq!(answer(&fit(&parameters, &set), x.row(3)), [0.0, 1.0, 0.0], "{parameters:?}");
    }
}

#[test]
fn a_weight_of_zero_is_absence_and_a_weight_of_two_is_repetition() {
    let (x, y) = example(60);
    let weights: Vec<f64> = (0..60).map(|i| f64::from(i % 3 != i % 5) + f64::from(i % 4 == 0)).collect();
    let repeated: Vec<usize> = (0..60).flat_map(|i| vec![i; weights[i] as usize]).collect();
    let present: Vec<usize> = (0..60).filter(|&i| weights[i] > 0.0).collect();
    let select = |indices: &[usize]| -> (Matrix, Vec<u32>) {
        (x.select_rows(indices), indices.iter().map(|&i| y[i]).collect())
    };
    let weighted = TrainingSet { x: &x, y: &y, n_classes: 3, weights: Some(&weights) };
    for parameters in families() {
        // A neighbour of weight two is one neighbour with two votes, and other rows are other random draws or other
        // histogram bins: there only absence can be compared.
        let only_absence =
            ["neighbours", "boosting", "random-forest", "extra-trees"].contains(&parameters.name());
        let (other_x, other_y, other_weights) = if only_absence {
            let (x, y) = select(&present);
            (x, y, Some(present.iter().map(|&i| weights[i]).collect::<Vec<_>>()))
        } else {
            let (x, y) = select(&repeated);
            (x, y, None)
        };
        let other = TrainingSet { x: &other_x, y: &other_y, n_classes: 3, weights: other_weights.as_deref() };
        let (a, b) = (fit(&parameters, &weighted), fit(&parameters, &other));
        for row in x.rows() {
            assert_near(&answer(&a, row), &answer(&b, row), 1e-4, &format!("{parameters:?}"));
        }
    }
}

#[test]
fn unusable_training_sets_are_refused_with_the_place() {
    let x = Matrix::new(2, 2, vec![1.0, 2.0, 3.0, f64::INFINITY]);
    let good = Matrix::new(2, 2, vec![1.0, 2.0, 3.0, f64::NAN]);
    let nothing = Matrix::zeros(0, 2);
    let set = TrainingSet { x: &good, y: &[0, 1], n_classes: 2, weights: None };
    let cases = [
        (TrainingSet { x: &x, ..set }, "row 1, column 1 is infinite"),
        (TrainingSet { x: &nothing, y: &[], ..set }, "there are no training rows"),
        (TrainingSet { y: &[0, 2], ..set }, "row 1 has class number 2, but there are 2 classes"),
        (TrainingSet { y: &[0], ..set }, "1 classes for 2 rows"),
        (TrainingSet { n_classes: 0, y: &[0, 0], ..set }, "0 classes; a model may have 1 to 4096"),
        (TrainingSet { weights: Some(&[1.0]), ..set }, "1 weights for 2 rows"),
        (
            TrainingSet { weights: Some(&[1.0, -1.0]), ..set },
            "row 1 has weight -1; weights must be from 0 to 1e12",
        ),
        (TrainingSet { weights: Some(&[f64::NAN, 1.0]), ..set }, "row 0 has weight NaN"),
        (TrainingSet { weights: Some(&[0.0, 0.0]), ..set }, "are all zero"),
    ];
    for parameters in families() {
        let family = parameters.check().unwrap();
        assert!(family.fit(&set, Seed(1), &Silent).is_ok());
        for (set, expected) in &cases {
            match family.fit(set, Seed(1), &Silent) {
                Err(FitError::TrainingSet(error)) => assert!(error.to_string().contains(expected), "{error}"),
                other => panic!("{expected}: {other:?}"),
            }
        }
    }
    assert_eq!(TrainingSet { y: &[], x: &nothing, ..set }.check(), Err(InvalidTrainingSet::NoRows));
}

#[test]
fn a_stop_request_ends_a_long_fit() {
    struct Impatient;
    impl Observer for Impatient {
        fn stop_requested(&self) -> bool {
            true
        }
    }
    let (x, y) = example(60);
    let set = TrainingSet { x: &x, y: &y, n_classes: 3, weights: None };
    for name in ["logistic", "boosting", "random-forest", "extra-trees"] {
        let parameters = families().into_iter().find(|parameters| parameters.name() == name).unwrap();
        let result = parameters.check().unwrap().fit(&set, Seed(1), &Impatient);
        assert!(matches!(result, Err(FitError::Stopped { family }) if family == name), "{name}: {result:?}");
    }
}

#[test]
fn neighbours_refuse_more_rows_than_they_can_serve() {
    let (x, y) = (Matrix::zeros(20_001, 1), vec![0; 20_001]);
    let family = FamilyParameters::Neighbours(NeighboursParameters::default()).check().unwrap();
    let mut weights = vec![1.0; 20_001];
    let fit = |weights: &[f64]| {
        family.fit(&TrainingSet { x: &x, y: &y, n_classes: 1, weights: Some(weights) }, Seed(1), &Silent)
    };
    let refused = fit(&weights);
    assert!(matches!(refused, Err(FitError::TooManyRows { rows: 20_001, limit: 20_000, .. })), "{refused:?}");
    weights[7] = 0.0;
    assert!(fit(&weights).is_ok());
}

// ---- single families ------------------------------------------------------------------------------------------------

#[test]
fn neighbours_equally_far_are_taken_from_the_front() {
    let x = Matrix::new(4, 1, vec![1.0, -1.0, 1.0, -1.0]);
    let set = TrainingSet { x: &x, y: &[0, 1, 2, 3], n_classes: 4, weights: None };
    let parameters = NeighboursParameters { neighbours: 2, ..Default::default() };
    let model = fit(&FamilyParameters::Neighbours(parameters.clone()), &set);
    assert_eq!(answer(&model, &[0.0]), [0.5, 0.5, 0.0, 0.0]);
    assert_eq!(answer(&model, &[-0.5]), [0.0, 0.5, 0.0, 0.5]);
    let model =
        fit(&FamilyParameters::Neighbours(NeighboursParameters { neighbours: 99, ..parameters }), &set);
    assert_eq!(answer(&model, &[7.0]), [0.25; 4], "more neighbours than rows are all rows");
}

#[test]
fn votes_weights_and_prior_add_up_as_documented() {
    let x = Matrix::new(4, 1, vec![0.0, 1.0, 4.0, f64::NAN]);
    let weights = [3.0, 3.0, 1.5, 0.0];
    let set = TrainingSet { x: &x, y: &[0, 1, 1, 0], n_classes: 2, weights: Some(&weights) };
    let model = |prior| {
        let votes = Votes::ByDistance;
        let parameters = NeighboursParameters { neighbours: 3, votes, prior, ..Default::default() };
        fit(&FamilyParameters::Neighbours(parameters), &set)
    };
    // From 2 the distances are 2, 1, 2: votes 0.5, 1, 0.5, weights (of the largest) 1, 1, 0.5.
    assert_near(&answer(&model(0.0), &[2.0]), &[0.5 / 1.75, 1.25 / 1.75], 1e-15, "no prior");
    let shares = [3.0 / 7.5, 4.5 / 7.5];
    let expected = [(0.5 + 2.0 * shares[0]) / 3.75, (1.25 + 2.0 * shares[1]) / 3.75];
    assert_near(&answer(&model(2.0), &[2.0]), &expected, 1e-15, "prior of two votes");
    assert_eq!(answer(&model(0.0), &[1.0]), [0.0, 1.0], "a row at distance 0 votes alone");
    // The weighted mean of the feature is (0 + 3 + 6) / 7.5.
    assert_eq!(answer(&model(0.5), &[f64::NAN]), answer(&model(0.5), &[1.2]));
}

#[test]
fn logistic_regression_bears_separable_constant_and_unscaled_columns() {
    let rows = 40;
    let y: Vec<u32> = (0..rows).map(|i| u32::from(i >= 20)).collect();
    let separable: Vec<f64> = (0..rows).map(f64::from).collect();
    let huge: Vec<f64> = (0..rows).map(|i| 1.7e9 + f64::from(i * i % 13)).collect();
    let tiny: Vec<f64> = (0..rows).map(|i| 1e-9 * f64::from(i * 7 % 11)).collect();
    let x = Matrix::from_columns(&[separable, vec![0.1; rows as usize], huge, tiny]);
    let set = TrainingSet { x: &x, y: &y, n_classes: 2, weights: None };
    for penalty in [1e-9, 1e-3, 1.0, 1e9] {
        let parameters = LogisticParameters { penalty, ..Default::default() };
        let model = fit(&FamilyParameters::Logistic(parameters), &set);
        assert!(logistic(&model).is_converged(), "penalty {penalty}");
        assert_eq!(logistic(&model).coefficients(0).unwrap()[1], 0.0, "a constant column has no coefficient");
        let importances = model.importances().unwrap();
        assert_near(&[importances.iter().sum()], &[1.0], 1e-12, "importances");
        assert!(importances[0] > 0.8 && importances[1] == 0.0, "{importances:?}");
        assert!(answer(&model, x.row(0))[0] > 0.5 && answer(&model, x.row(39))[1] > 0.5);
    }
}

#[test]
fn a_missing_value_counts_as_the_mean_in_logistic_regression_and_as_nothing_in_naive_bayes() {
    let (x, y) = example(120);
    let set = TrainingSet { x: &x, y: &y, n_classes: 3, weights: None };
    let model = fit(&FamilyParameters::Logistic(LogisticParameters::default()), &set);
    let mean = x.column(0).iter().sum::<f64>() / 120.0;
    let rest = [-1.0, 4.2, 1e9];
    let with = |first: f64| [&[first], rest.as_slice()].concat();
    assert_near(&answer(&model, &with(f64::NAN)), &answer(&model, &with(mean)), 1e-12, "logistic");

    let family = FamilyParameters::NaiveBayes(NaiveBayesParameters::default());
    let model = fit(&family, &set);
    let without = x.select_columns(&[1, 2, 3]);
    let smaller = fit(&family, &TrainingSet { x: &without, ..set });
    assert_near(&answer(&model, &with(f64::NAN)), &answer(&smaller, &rest), 1e-12, "naive Bayes");
}

#[test]
fn priors_of_naive_bayes_must_fit_the_classes() {
    let (x, y) = example(30);
    let set = TrainingSet { x: &x, y: &y, n_classes: 3, weights: None };
    let with = |priors: &[f64]| {
        FamilyParameters::NaiveBayes(NaiveBayesParameters {
            priors: Some(priors.to_vec()),
            ..Default::default()
        })
    };
    let error = with(&[0.5, 0.5]).check().unwrap().fit(&set, Seed(1), &Silent).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`priors` of naive-bayes does not fit the training rows: 2 priors for 3 classes"
    );
    assert_eq!(answer(&fit(&with(&[0.0, 1.0, 0.0]), &set), x.row(0)), [0.0, 1.0, 0.0]);
    let only_first = TrainingSet { y: &[0; 30], ..set };
    assert!(with(&[0.0, 1.0, 0.0]).check().unwrap().fit(&only_first, Seed(1), &Silent).is_err());
}

// ---- parameters and decoded models ----------------------------------------------------------------------------------

#[test]
fn parameters_are_read_with_defaults_and_refused_with_the_fix() {
    let read = |value: Value| serde_json::from_value::<FamilyParameters>(value);
    assert_eq!(read(json!({"family": "logistic"})).unwrap(), FamilyParameters::Logistic(Default::default()));
    assert_eq!(read(json!({"family": "majority"})).unwrap(), FamilyParameters::Majority);
    for parameters in families() {
        assert_eq!(read(serde_json::to_value(&parameters).unwrap()).unwrap(), parameters);
        assert_eq!(parameters.check().unwrap().name(), parameters.name());
        let mut unknown = serde_json::to_value(&parameters).unwrap();
        unknown["nieghbours"] = json!(3);
        let error = read(unknown).unwrap_err().to_string();
        assert!(error.contains("nieghbours"), "{error}");
    }
    let error = read(json!({"family": "logistical"})).unwrap_err().to_string();
    assert!(error.contains("logistical") && error.contains("naive-bayes"), "{error}");

    let cases = [
        (
            json!({"family": "logistic", "penalty": 0.0}),
            "`penalty` of logistic is 0, but must be from 0.000000001 to 1000000000: 1.0 is the default, smaller fits \
             closer",
        ),
        (json!({"family": "logistic", "tolerance": 0.5}), "`tolerance` of logistic is 0.5"),
        (json!({"family": "logistic", "maximum_iterations": 0}), "`maximum_iterations` of logistic is 0"),
        (
            json!({"family": "neighbours", "neighbours": 0}),
            "`neighbours` of neighbours is 0, but must be from 1 to 1000",
        ),
        (json!({"family": "neighbours", "prior": -0.5}), "`prior` of neighbours is -0.5"),
        (
            json!({"family": "naive-bayes", "variance_smoothing": -1.0}),
            "`variance_smoothing` of naive-bayes is -1",
        ),
        (
            json!({"family": "naive-bayes", "priors": [0.5, 0.4]}),
            "`priors` of naive-bayes is [0.5, 0.4], but must be",
        ),
        (json!({"family": "boosting", "rounds": 0}), "`rounds` of boosting is 0, but must be"),
        (
            json!({"family": "extra-trees", "trees": 0}),
            "`trees` of extra-trees is 0, but must be 1 to 100000",
        ),
        (json!({"family": "naive-bayes", "priors": []}), "`priors` of naive-bayes is []"),
    ];
    for (written, expected) in cases {
        let error = read(written).unwrap().check().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn decoded_models_are_refused_when_a_part_is_wrong() {
    let (x, y) = example(30);
    let set = TrainingSet { x: &x, y: &y, n_classes: 4, weights: Some(&[2.0; 30]) };
    let cases = [
        ("logistic", "/Logistic/n_classes", json!(2)),
        ("logistic", "/Logistic/n_classes", json!(0)),
        ("logistic", "/Logistic/n_classes", json!(u64::MAX)),
        ("logistic", "/Logistic/classes", json!([0, 2, 1])),
        ("logistic", "/Logistic/classes", json!([0, 1])),
        ("logistic", "/Logistic/classes", json!([])),
        ("logistic", "/Logistic/means", json!([0.0])),
        ("logistic", "/Logistic/deviations/0", json!(-1.0)),
        ("logistic", "/Logistic/coefficients/3", json!(1e101)),
        ("logistic", "/Logistic/intercepts", json!([0.0, 0.0])),
        ("neighbours", "/Neighbours/neighbours", json!(0)),
        ("neighbours", "/Neighbours/prior", json!(-1.0)),
        ("neighbours", "/Neighbours/classes/4", json!(4)),
        ("neighbours", "/Neighbours/classes", json!([0, 1])),
        ("neighbours", "/Neighbours/shares/0", json!(0.9)),
        ("neighbours", "/Neighbours/rows/rows", json!(31)),
        ("neighbours", "/Neighbours/rows/columns", json!(u64::MAX)),
        ("neighbours", "/Neighbours/rows/values/5", json!(1e200)),
        ("neighbours", "/Neighbours/weights/5", json!(0.0)),
        ("naive-bayes", "/NaiveBayes/n_features", json!(u64::MAX)),
        ("naive-bayes", "/NaiveBayes/variances/2", json!(0.0)),
        ("naive-bayes", "/NaiveBayes/log_peaks", json!([])),
        ("naive-bayes", "/NaiveBayes/log_priors/0", json!(5.0)),
        ("naive-bayes", "/NaiveBayes/means/0", json!(-1e150)),
        ("boosting", "/Boosted/n_classes", json!(2)),
        ("boosting", "/Boosted/classes", json!([0, 1])),
        ("boosting", "/Boosted/boosted/forest/leaf_values/0", json!(1e101)),
        ("boosting", "/Boosted/boosted/importances", json!([])),
        ("random-forest", "/Forest/forest/leaf_values/0", json!(7.0)),
        ("random-forest", "/Forest/forest/base/0", json!(0.5)),
        ("random-forest", "/Forest/forest/combination", json!("sum")),
        ("extra-trees", "/Forest/importances/0", json!(-1.0)),
        ("majority", "/Prior/shares", json!([])),
        ("majority", "/Prior/shares", json!([0.5, 0.4])),
        ("majority", "/Prior/n_features", json!(1_000_000)),
    ];
    for (family, part, wrong) in cases {
        let parameters = FamilyParameters::all_defaults().into_iter().find(|p| p.name() == family).unwrap();
        let mut encoded = serde_json::to_value(fit(&parameters, &set)).unwrap();
        *encoded.pointer_mut(part).unwrap_or_else(|| panic!("no {part}")) = wrong.clone();
        let decoded: Model = serde_json::from_value(encoded).unwrap();
        assert!(decoded.validate().is_err(), "{part} = {wrong} was let through");
    }
}

// ---- any numbers at all ---------------------------------------------------------------------------------------------

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => -3.0..3.0,
        2 => (-3..3).prop_map(f64::from),
        1 => Just(f64::NAN),
        1 => any::<f64>().prop_filter("finite", |value| value.is_finite()),
        1 => prop_oneof![Just(f64::MAX), Just(f64::MIN), Just(f64::MIN_POSITIVE), Just(5e-324), Just(-0.0)],
    ]
}

#[derive(Debug, Clone)]
struct Problem {
    x: Matrix,
    y: Vec<u32>,
    n_classes: usize,
    weights: Option<Vec<f64>>,
    questions: Matrix,
}

fn problem() -> impl Strategy<Value = Problem> {
    (1_usize..12, 0_usize..4, 1_usize..4).prop_flat_map(|(rows, columns, n_classes)| {
        let table = |rows: usize| {
            prop::collection::vec(number(), rows * columns)
                .prop_map(move |values| Matrix::new(rows, columns, values))
        };
        let weight = prop_oneof![Just(0.0), Just(1.0), Just(1e12), Just(1e-300), 0.0..5.0];
        let weights = prop::option::of(prop::collection::vec(weight, rows));
        let y = prop::collection::vec(0..n_classes as u32, rows);
        (table(rows), y, weights, table(4)).prop_map(move |(x, y, weights, questions)| Problem {
            x,
            y,
            n_classes,
            weights: weights.filter(|weights| weights.iter().sum::<f64>() >= 1.0),
            questions,
        })
    })
}

/// Found by the property below: the balanced weight of such a class is beyond what a double holds.
#[test]
fn a_class_of_hardly_any_weight_is_borne() {
    let x = Matrix::zeros(2, 0);
    let set = TrainingSet { x: &x, y: &[0, 1], n_classes: 2, weights: Some(&[1e12, 1e-300]) };
    for parameters in families() {
        answer(&fit(&parameters, &set), &[]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Neither strange training rows nor strange questions give an answer that is not a distribution.
    #[test]
    fn every_row_gets_a_distribution(problem in problem()) {
        let Problem { x, y, n_classes, weights, questions } = &problem;
        let set = TrainingSet { x, y, n_classes: *n_classes, weights: weights.as_deref() };
        for parameters in families() {
            let model = fit(&parameters, &set);
            let all = model.probabilities(questions);
            for (i, row) in questions.rows().enumerate() {
                prop_assert_eq!(answer(&model, row), all.row(i));
            }
            for row in x.rows() {
                answer(&model, row);
            }
            if let Some(importances) = model.importances() {
                let sum: f64 = importances.iter().sum();
                prop_assert_eq!(importances.len(), x.n_columns());
                prop_assert!(sum == 0.0 || (sum - 1.0).abs() < 1e-9, "importances {:?}", importances);
            }
        }
    }
}
