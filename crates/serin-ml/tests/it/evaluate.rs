//! Metrics against scikit-learn, the laws they obey, and what the gates make of them.

use std::path::PathBuf;

use proptest::prelude::*;
use rand::RngExt;
use rand::seq::SliceRandom;
use serde::Deserialize;
use serin_ml::evaluate::{
    CheckedGates, ComparisonOptions, ConfusionMatrix, DataFinding, Evaluation, EvaluationOptions, GateInput,
    GateVerdict, Gates, InvalidGates, Metric, Overlap, Side, UnreadableEvaluation, compare, evaluate,
    mcnemar_exact, to_document, to_sagemaker,
};
use serin_ml::matrix::Matrix;
use serin_ml::seed::Seed;
use serin_ml::train::calibration::{Calibration, DecisionRule, IsotonicCurve, choose};

// ---- against scikit-learn and scipy (tests/data/evaluate/make_evaluate.py) ----

#[derive(Deserialize)]
struct References {
    cases: Vec<Case>,
    isotonic: Vec<IsotonicCase>,
    mcnemar: Vec<McNemarCase>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    n_classes: usize,
    truth: Vec<u32>,
    decisions: Vec<u32>,
    probabilities: Vec<f64>,
    confusion: Vec<Vec<u64>>,
    metrics: std::collections::BTreeMap<Metric, Option<f64>>,
    roc_auc: Vec<Option<f64>>,
    pr_auc: Vec<Option<f64>>,
    temperature: f64,
    log_loss_at_temperature: f64,
}

#[derive(Deserialize)]
struct IsotonicCase {
    name: String,
    scores: Vec<f64>,
    targets: Vec<f64>,
    weights: Option<Vec<f64>>,
    at: Vec<f64>,
    values: Vec<f64>,
}

#[derive(Deserialize)]
struct McNemarCase {
    gained: u64,
    lost: u64,
    p: f64,
}

impl Case {
    fn matrix(&self) -> Matrix {
        Matrix::new(self.truth.len(), self.n_classes, self.probabilities.clone())
    }
}

fn references() -> References {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/evaluate/evaluate.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn close(found: Option<f64>, expected: Option<f64>, what: &str) {
    match (found, expected) {
        (Some(found), Some(expected)) => {
            assert!(
                (found - expected).abs() <= 1e-10 * expected.abs().max(1.0),
                "{what}: {found}, not {expected}"
            );
        }
        _ => assert_eq!(found, expected, "{what}"),
    }
}

#[test]
fn every_metric_equals_scikit_learn() {
    for case in references().cases {
        let probabilities = case.matrix();
        assert_eq!(
            case.metrics.len(),
            Metric::ALL.len() - 1,
            "all but the calibration error, which it lacks"
        );
        for (metric, expected) in &case.metrics {
            let found = metric.score(&case.truth, &case.decisions, &probabilities, case.n_classes);
            close(
                Some(found).filter(|found| !found.is_nan()),
                *expected,
                &format!("{metric} of {}", case.name),
            );
        }
        let matrix = ConfusionMatrix::of(&case.truth, &case.decisions, case.n_classes);
        assert_eq!(matrix.to_counts(), case.confusion, "{}", case.name);
    }
}

#[test]
fn an_evaluation_says_the_same_as_the_metrics_alone() {
    for case in references().cases {
        let evaluation = evaluation_of(&case.truth, &case.decisions, &case.matrix(), case.n_classes, 40);
        for (metric, expected) in &case.metrics {
            close(evaluation.value(*metric), *expected, &format!("{metric} of {}", case.name));
        }
        for (class, result) in evaluation.per_class.iter().enumerate() {
            close(result.roc_auc.value, case.roc_auc[class], &case.name);
            close(result.pr_auc.value, case.pr_auc[class], &case.name);
        }
        assert_eq!(evaluation.confusion_matrix, case.confusion);
    }
}

#[test]
fn isotonic_regression_equals_scikit_learn() {
    for case in references().isotonic {
        let curve = IsotonicCurve::fit(&case.scores, &case.targets, case.weights.as_deref());
        for (&at, &expected) in case.at.iter().zip(&case.values) {
            close(Some(curve.at(at)), Some(expected), &format!("{} at {at}", case.name));
        }
    }
}

#[test]
fn temperature_minimises_log_loss_as_scipy_does() {
    for case in references().cases {
        let fitted = Calibration::fit_temperature(&case.matrix(), &case.truth);
        let loss = Metric::LogLoss.score(
            &case.truth,
            &case.decisions,
            &fitted.apply(&case.matrix()),
            case.n_classes,
        );
        let Calibration::Temperature(temperature) = fitted else { panic!("not a temperature") };
        // The minimum is flat, so a search without derivatives finds its place to about the root of its accuracy.
        let off = (temperature / case.temperature).ln().abs();
        assert!(off < 1e-5, "{}: {temperature}, not {}", case.name, case.temperature);
        assert!(loss <= case.log_loss_at_temperature + 1e-9, "{}: {loss}", case.name);
    }
}

#[test]
fn mcnemar_equals_scipy() {
    for McNemarCase { gained, lost, p } in references().mcnemar {
        close(Some(mcnemar_exact(gained, lost)), Some(p), &format!("{gained} against {lost}"));
    }
    assert_eq!(mcnemar_exact(0, 0), 1.0);
}

// ---- SageMaker's shape ----

#[test]
fn sagemakers_published_figures_come_out_digit_by_digit() {
    let evaluation = evaluation_of_counts(&[[1180, 510], [268, 138]]);
    let metrics = to_sagemaker(&evaluation);
    assert_eq!(metrics["confusion_matrix"]["0"]["1"], 510);
    assert_eq!(metrics["confusion_matrix"]["1"]["0"], 268);
    let p = 406.0 / 2096.0;
    let f = |beta: f64| p * (1.0 + beta * beta) * p / (beta * beta * p + 1.0);
    for (name, expected) in [
        ("accuracy", 0.6288167938931297),
        ("weighted_recall", 0.6288167938931297),
        ("weighted_precision", 0.6983172269629505),
        ("weighted_f0_5", 0.6803947317178771),
        ("weighted_f1", 0.6571162346664904),
        ("weighted_f2", 0.6384024354394601),
        ("accuracy_best_constant_classifier", p),
        ("weighted_recall_best_constant_classifier", p),
        ("weighted_precision_best_constant_classifier", p * p),
        ("weighted_f0_5_best_constant_classifier", f(0.5)),
        ("weighted_f1_best_constant_classifier", f(1.0)),
        ("weighted_f2_best_constant_classifier", f(2.0)),
    ] {
        let value = metrics[name]["value"].as_f64().unwrap();
        assert!((value - expected).abs() < 2e-16, "{name} is {value}, not {expected}");
        let deviation = metrics[name]["standard_deviation"].as_f64().unwrap();
        assert!(deviation > 0.0 && deviation < 0.02, "{name}: {deviation}");
    }
    assert_eq!(metrics.as_object().unwrap().len(), 13);
}

#[test]
fn few_rows_have_no_standard_deviation_and_three_classes_a_majority() {
    let metrics = to_sagemaker(&evaluation_of_counts(&[[5, 0, 1], [2, 10, 0], [1, 1, 3]]));
    assert_eq!(metrics["accuracy"]["standard_deviation"], "NaN");
    assert_eq!(metrics["accuracy_best_constant_classifier"]["value"], 12.0 / 23.0);
}

#[test]
fn the_document_carries_both_and_ours_reads_back() {
    let evaluation = evaluation_of_counts(&[[5, 0, 0], [2, 10, 0], [0, 0, 0]]);
    let text = serde_json::to_string(&to_document(&evaluation).unwrap()).unwrap();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(document["multiclass_classification_metrics"]["weighted_f2"]["value"].is_number());
    assert_eq!(document["serin"]["per_class"][2]["recall"]["value"], serde_json::Value::Null);
    assert_eq!(document["serin"]["metrics"]["macro-f1"]["value"], evaluation.value(Metric::MacroF1).unwrap());
    assert_eq!(Evaluation::from_json(&document["serin"].to_string()).unwrap(), evaluation);

    let other = document["serin"].to_string().replacen("\"version\":1", "\"version\":2", 1);
    assert!(matches!(Evaluation::from_json(&other), Err(UnreadableEvaluation::Version { found: 2 })));
    assert!(matches!(Evaluation::from_json("{"), Err(UnreadableEvaluation::Malformed(_))));
}

#[test]
fn an_evaluation_survives_the_bundles_encoding() {
    let evaluation = evaluation_of_counts(&[[5, 1], [2, 10]]);
    let bytes = postcard::to_stdvec(&evaluation).unwrap();
    assert_eq!(postcard::from_bytes::<Evaluation>(&bytes).unwrap(), evaluation);
}

// ---- intervals ----

#[test]
fn intervals_cover_as_often_as_they_say() {
    // Accuracy of a classifier right with probability 0.8 on 150 rows: the 90 % interval of 300 samples.
    let covered = (0..300)
        .filter(|&sample| {
            let mut rng = Seed(sample).child("coverage").rng();
            let truth: Vec<u32> = (0..150).map(|row| row % 3).collect();
            let decisions: Vec<u32> =
                truth.iter().map(|&t| if rng.random_bool(0.8) { t } else { (t + 1) % 3 }).collect();
            let options =
                EvaluationOptions { resamples: 200, confidence: 0.9, ..EvaluationOptions::default() };
            let evaluation = evaluate(&truth, &decisions, &certain(&decisions, 3), &labels(3), &options);
            let interval = evaluation.metrics[&Metric::Accuracy].interval.unwrap();
            interval.low <= 0.8 && 0.8 <= interval.high
        })
        .count();
    assert!((252..=288).contains(&covered), "{covered} of 300");
}

#[test]
fn the_majority_dummy_stands_beside_every_metric() {
    let truth = [0, 0, 0, 1, 1, 2];
    let options =
        EvaluationOptions { training_priors: Some(vec![0.2, 0.5, 0.3]), ..EvaluationOptions::default() };
    let evaluation = evaluate(&truth, &truth, &certain(&truth, 3), &labels(3), &options);
    assert_eq!(evaluation.majority.class, 1);
    let dummy = |metric| evaluation.metrics[&metric].majority.unwrap();
    assert_eq!(dummy(Metric::Accuracy), 2.0 / 6.0);
    assert!((dummy(Metric::MacroF1) - 0.5 / 3.0).abs() < 1e-12);
    assert_eq!(dummy(Metric::RocAuc), 0.5);
    let log_loss = -(3.0 * 0.2_f64.ln() + 2.0 * 0.5_f64.ln() + 0.3_f64.ln()) / 6.0;
    assert!((dummy(Metric::LogLoss) - log_loss).abs() < 1e-12);
    assert!(evaluation.metrics.values().all(|result| result.majority.is_some()));
}

#[test]
fn no_rows_and_broken_probabilities_are_undefined_not_nan() {
    let nothing = evaluation_of(&[], &[], &Matrix::zeros(0, 3), 3, 50);
    assert!(Metric::ALL.iter().all(|&metric| nothing.value(metric).is_none()));
    let broken = Matrix::new(2, 2, vec![0.5, 0.5, f64::NAN, 1.0]);
    let evaluation = evaluation_of(&[0, 1], &[0, 1], &broken, 2, 50);
    for metric in Metric::ALL {
        assert_eq!(evaluation.value(metric).is_none(), metric.needs_probabilities(), "{metric}");
    }
    for evaluation in [nothing, evaluation] {
        let text = serde_json::to_string(&evaluation).unwrap();
        assert_eq!(Evaluation::from_json(&text).unwrap(), evaluation);
    }
}

// ---- gates ----

#[test]
fn gates_read_toml_like_json_and_name_what_is_wrong() {
    let check = |json: &str| serde_json::from_str::<Gates>(json).unwrap().check();
    assert!(check(r#"{"min":{"macro-f1":0.7},"max":{"log-loss":1.5},"per_class_floor":{"recall":0.3,"f1":{"*":0.2,"b":0}}}"#).is_ok());
    let told = |json: &str| {
        let error = check(json).unwrap_err();
        format!("{error}: {}", std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default())
    };
    assert_eq!(
        told(r#"{"min":{"macro_f1":0.7}}"#),
        "gates.min: unknown metric `macro_f1`: did you mean `macro-f1`?"
    );
    assert!(
        told(r#"{"min":{"log-loss":0.7}}"#)
            .contains("gates.min.log-loss is the wrong way round: put it under gates.max")
    );
    assert!(told(r#"{"max":{"accuracy":0.7}}"#).contains("put it under gates.min"));
    assert!(told(r#"{"min":{"accuracy":70}}"#).contains("gates.min.accuracy is 70, but must be from 0 to 1"));
    assert!(told(r#"{"per_class_floor":{"recall":{"b":-0.1}}}"#).contains(r#"per_class_floor.recall."b""#));
    assert!(told(r#"{"max_overlap":1.5}"#).contains("gates.max_overlap"));
    assert!(told(r#"{"champion_confidence":1.0}"#).contains("gates.champion_confidence"));
    assert!(serde_json::from_str::<Gates>(r#"{"minimum":{}}"#).is_err());
    let not_a_number = Gates { max_overlap: f64::NAN, ..Gates::default() }.check();
    assert!(matches!(not_a_number, Err(InvalidGates::OutOfRange { .. })));
}

#[test]
fn each_gate_passes_and_refuses_with_its_reason() {
    let good = evaluation_of_counts(&[[45, 5], [3, 47]]);
    let refusals = |gates: &str, input: GateInput<'_>| refusals(&checked(gates).judge(&input));
    assert_eq!(refusals(r#"{"min":{"macro-f1":0.9}}"#, plain(&good)), [""; 0]);
    assert_eq!(
        refusals(r#"{"min":{"macro-f1":0.95}}"#, plain(&good)),
        ["min.macro-f1: macro-f1 is 0.9200, below 0.95"]
    );
    assert_eq!(
        refusals(r#"{"per_class_floor":{"recall":{"*":0.92,"1":0.95}}}"#, plain(&good)),
        [
            "per_class_floor.recall.\"0\": recall of class `0` (50 rows) is 0.9000, below 0.92",
            "per_class_floor.recall.\"1\": recall of class `1` (50 rows) is 0.9400, below 0.95",
        ]
    );
    let overlapping = GateInput { overlap: Overlap::Share(0.019), ..plain(&good) };
    assert_eq!(
        refusals("{}", overlapping),
        ["max_overlap: overlap=1.90% of the test rows occur in training, more than 1.00%"]
    );
    assert_eq!(refusals("{}", GateInput { overlap: Overlap::Share(0.01), ..plain(&good) }), [""; 0]);

    let always_zero = evaluation_of_counts(&[[80, 0], [20, 0]]);
    let refused = refusals("{}", plain(&always_zero));
    assert!(refused.len() == 1 && refused[0].starts_with("beat_majority: "), "{refused:?}");
    assert_eq!(refusals(r#"{"beat_majority":false}"#, plain(&always_zero)), [""; 0]);

    let finding = |code: &str| {
        [DataFinding {
            code: code.to_owned(),
            column: Some("id".to_owned()),
            text: "`id` equals the target".to_owned(),
        }]
    };
    let leak = finding("leakage_suspected");
    let leaking = GateInput { data_findings: &leak, ..plain(&good) };
    assert_eq!(refusals("{}", leaking), ["data.leakage_suspected: `id` equals the target"]);
    assert_eq!(refusals(r#"{"allow_leakage":["id"]}"#, leaking), [""; 0]);
    let other = finding("not_finite");
    let not_finite = GateInput { data_findings: &other, ..plain(&good) };
    assert_eq!(refusals(r#"{"allow_leakage":["id"]}"#, not_finite).len(), 1);
}

#[test]
fn what_cannot_be_measured_never_passes() {
    let absent = evaluation_of_counts(&[[10, 0, 0], [0, 10, 0], [0, 0, 0]]);
    let gates = r#"{"min":{"roc-auc":0.1},"max":{"brier":2},"per_class_floor":{"recall":{"2":0,"nine":0}}}"#;
    let input = GateInput { overlap: Overlap::NotMeasured, ..plain(&absent) };
    let refused = refusals(&checked(gates).judge(&input));
    assert_eq!(refused.len(), 3, "{refused:?}");
    assert!(refused.iter().all(|text| text.contains("could not measure")), "{refused:?}");

    let nothing = evaluation_of(&[], &[], &Matrix::zeros(0, 2), 2, 50);
    let verdict = checked(r#"{"min":{"accuracy":0},"max":{"log-loss":1000}}"#).judge(&plain(&nothing));
    assert!(!verdict.passed && verdict.refusals().count() == 3, "{verdict:?}");
}

#[test]
fn a_challenger_must_be_better_by_more_than_noise() {
    let truth: Vec<u32> = (0..300).map(|row| row % 3).collect();
    let wrong_every = |n: u32| -> Vec<u32> {
        truth
            .iter()
            .enumerate()
            .map(|(row, &t)| if (row as u32).is_multiple_of(n) { (t + 1) % 3 } else { t })
            .collect()
    };
    let (poor, good) = (wrong_every(4), wrong_every(20));
    let gates = checked("{}");
    let judged = |gates: &CheckedGates, champion: &[u32], challenger: &[u32]| {
        let comparison = compare(
            &truth,
            Side { decisions: champion, probabilities: &certain(champion, 3) },
            Side { decisions: challenger, probabilities: &certain(challenger, 3) },
            3,
            &gates.comparison(Seed(5)),
        );
        let evaluation = evaluation_of(&truth, challenger, &certain(challenger, 3), 3, 50);
        let verdict = gates.judge(&GateInput { champion: Some(&comparison), ..plain(&evaluation) });
        (verdict.passed, comparison)
    };
    let (passed, comparison) = judged(&gates, &poor, &good);
    assert!(passed && comparison.probability_better == Some(1.0) && comparison.mcnemar_p < 1e-6);
    assert_eq!((comparison.gained, comparison.lost), (60, 0));
    let (passed, comparison) = judged(&gates, &good, &poor);
    assert!(!passed && comparison.improvement.interval.unwrap().high < 0.0);
    let (passed, comparison) = judged(&gates, &good, &good);
    assert!(!passed && comparison.probability_better == Some(0.5) && comparison.mcnemar_p == 1.0);
    assert!(judged(&checked(r#"{"challenger_margin":-0.01}"#), &good, &good).0);

    // A comparison made for another margin is no measurement.
    let evaluation = evaluation_of(&truth, &good, &certain(&good, 3), 3, 50);
    let input = GateInput { champion: Some(&comparison), ..plain(&evaluation) };
    let refused = refusals(&checked(r#"{"challenger_margin":-0.01}"#).judge(&input));
    assert!(refused.len() == 1 && refused[0].starts_with("champion: could not measure"), "{refused:?}");
}

#[test]
fn a_smaller_loss_is_an_improvement() {
    let truth = [0, 1, 0, 1];
    let sharp = Matrix::new(4, 2, vec![0.9, 0.1, 0.1, 0.9, 0.8, 0.2, 0.2, 0.8]);
    let vague = Matrix::new(4, 2, [0.5, 0.5].repeat(4));
    let options = ComparisonOptions { metric: Metric::LogLoss, ..ComparisonOptions::default() };
    let side = |probabilities| Side { decisions: &truth, probabilities };
    let comparison = compare(&truth, side(&vague), side(&sharp), 2, &options);
    assert!(comparison.improvement.value.unwrap() > 0.4);
    assert_eq!(comparison.probability_better, Some(1.0));
}

// ---- calibration and the decision rule ----

#[test]
fn overconfidence_is_softened_and_good_probabilities_are_left_alone() {
    let (truth, honest) = honest_rows(3_000, 4, 11);
    assert_eq!(choose(&honest, &truth, Seed(1)), Calibration::None);
    let overconfident = Calibration::Temperature(0.4).apply(&honest);
    let chosen = choose(&overconfident, &truth, Seed(1));
    let Calibration::Temperature(temperature) = chosen else { panic!("{chosen:?}") };
    assert!((temperature - 2.5).abs() < 0.25, "{temperature}");
}

#[test]
fn a_distortion_that_no_temperature_undoes_gets_isotonic_curves() {
    let (truth, mut distorted) = honest_rows(4_000, 3, 12);
    for row in 0..distorted.n_rows() {
        let p = distorted.row_mut(row);
        p[0] = p[0].powi(4);
        let sum: f64 = p.iter().sum();
        p.iter_mut().for_each(|p| *p /= sum);
    }
    let chosen = choose(&distorted, &truth, Seed(1));
    assert!(matches!(chosen, Calibration::Isotonic(_)), "{chosen:?}");
    assert_eq!(chosen.validate(3), Ok(()));
    let loss = |p: &Matrix| Metric::LogLoss.score(&truth, &truth, p, 3);
    assert!(loss(&chosen.apply(&distorted)) < loss(&distorted) - 0.05);
}

#[test]
fn too_few_rows_change_nothing() {
    let (truth, honest) = honest_rows(30, 3, 13);
    assert_eq!(choose(&Calibration::Temperature(0.2).apply(&honest), &truth, Seed(1)), Calibration::None);
    assert_eq!(DecisionRule::fit(&honest, &truth, Metric::MacroF1, Seed(1)), DecisionRule::argmax(3));
    assert_eq!(choose(&Matrix::zeros(0, 3), &[], Seed(1)), Calibration::None);
}

#[test]
fn the_rule_finds_rare_classes_on_rows_it_has_not_seen() {
    let (truth, probabilities) = imbalanced_rows(741, 21);
    let (fresh_truth, fresh) = imbalanced_rows(20_000, 22);
    let argmax = DecisionRule::argmax(5);
    for metric in [Metric::MacroF1, Metric::BalancedAccuracy, Metric::Matthews, Metric::CohenKappa] {
        let rule = DecisionRule::fit(&probabilities, &truth, metric, Seed(3));
        assert_eq!(rule.validate(5), Ok(()));
        let score = |rule: &DecisionRule| metric.score(&fresh_truth, &rule.decide_all(&fresh), &fresh, 5);
        let gain = score(&rule) - score(&argmax);
        eprintln!("{metric}: {:.4} -> {:.4} with {:?}", score(&argmax), score(&rule), rule.multipliers);
        let least = if metric == Metric::BalancedAccuracy { 0.1 } else { -0.01 };
        assert!(gain > least, "{metric} gains {gain} with {:?}", rule.multipliers);
    }
    for metric in [Metric::Accuracy, Metric::LogLoss, Metric::RocAuc] {
        assert_eq!(DecisionRule::fit(&probabilities, &truth, metric, Seed(3)), argmax);
    }
}

#[test]
fn a_rule_fitted_to_noise_stays_argmax() {
    let kept = (0..10)
        .filter(|&seed| {
            let mut rng = Seed(seed).child("noise").rng();
            let truth: Vec<u32> = (0..200).map(|_| rng.random_range(0..3)).collect();
            let sharp: Vec<f64> =
                truth.iter().flat_map(|&t| (0..3).map(move |c| if c == t { 0.98 } else { 0.01 })).collect();
            let rule = DecisionRule::fit(&Matrix::new(200, 3, sharp), &truth, Metric::MacroF1, Seed(seed));
            rule == DecisionRule::argmax(3)
        })
        .count();
    assert_eq!(kept, 10);
}

#[test]
fn calibration_and_rule_do_not_depend_on_threads() {
    let (truth, probabilities) = imbalanced_rows(400, 23);
    let overconfident = Calibration::Temperature(0.5).apply(&probabilities);
    let fit = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let calibration = choose(&overconfident, &truth, Seed(2));
            let rule = DecisionRule::fit(&probabilities, &truth, Metric::MacroF1, Seed(2));
            let decisions = rule.decide_all(&probabilities);
            let evaluation = evaluation_of(&truth, &decisions, &probabilities, 5, 100);
            (calibration, rule, serde_json::to_string(&evaluation).unwrap())
        })
    };
    assert_eq!(fit(1), fit(2));
}

// ---- laws ----

type Rows = (usize, Vec<u32>, Vec<u32>, Vec<f64>);

fn rows() -> impl Strategy<Value = Rows> {
    (2_usize..5, 1_usize..40).prop_flat_map(|(n_classes, n)| {
        let class = 0..n_classes as u32;
        let weights = prop::collection::vec(prop_oneof![Just(0.0), Just(1.0), 0.001..1.0_f64], n * n_classes);
        let probabilities = weights.prop_map(move |mut weights| {
            for row in weights.chunks_mut(n_classes) {
                let sum: f64 = row.iter().sum();
                row.iter_mut().for_each(|w| *w = if sum > 0.0 { *w / sum } else { 1.0 / n_classes as f64 });
            }
            weights
        });
        let classes = || prop::collection::vec(class.clone(), n);
        (Just(n_classes), classes(), classes(), probabilities)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn metrics_stay_in_their_range_and_do_not_see_the_order((k, truth, decisions, p) in rows(), seed: u64) {
        let p = Matrix::new(truth.len(), k, p);
        let mut order: Vec<usize> = (0..truth.len()).collect();
        order.shuffle(&mut Seed(seed).rng());
        let moved = |classes: &[u32]| order.iter().map(|&row| classes[row]).collect::<Vec<u32>>();
        for metric in Metric::ALL {
            let value = metric.score(&truth, &decisions, &p, k);
            let (low, high) = metric.range();
            prop_assert!(value.is_nan() || (low - 1e-12..=high + 1e-12).contains(&value), "{metric} is {value}");
            let again = metric.score(&moved(&truth), &moved(&decisions), &p.select_rows(&order), k);
            prop_assert!(value.is_nan() && again.is_nan() || (value - again).abs() < 1e-9, "{metric}: {value}, {again}");
        }
    }

    #[test]
    fn confusion_matrices_merge_as_their_rows_do((k, truth, decisions, _) in rows(), first: usize, second: usize) {
        let n = truth.len();
        let (a, b) = (first % (n + 1), second % (n + 1));
        let (a, b) = (a.min(b), a.max(b));
        let part = |from: usize, to: usize| ConfusionMatrix::of(&truth[from..to], &decisions[from..to], k);
        let merged = |mut left: ConfusionMatrix, right: &ConfusionMatrix| { left.merge(right); left };
        let (x, y, z) = (part(0, a), part(a, b), part(b, n));
        let whole = part(0, n);
        prop_assert_eq!(&merged(merged(x.clone(), &y), &z), &whole);
        prop_assert_eq!(&merged(x.clone(), &merged(y.clone(), &z)), &whole);
        prop_assert_eq!(&merged(merged(z, &x), &y), &whole);
    }

    #[test]
    fn calibrated_rows_are_probabilities((k, truth, _, p) in rows()) {
        let p = Matrix::new(truth.len(), k, p);
        for calibration in [Calibration::fit_temperature(&p, &truth), Calibration::fit_isotonic(&p, &truth)] {
            prop_assert_eq!(calibration.validate(k), Ok(()));
            for row in calibration.apply(&p).rows() {
                prop_assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{row:?}");
                prop_assert!(row.iter().all(|p| (0.0..=1.0).contains(p)), "{row:?}");
            }
        }
    }

    #[test]
    fn isotonic_curves_never_fall(points in prop::collection::vec((0.0..1.0_f64, any::<bool>()), 0..50)) {
        let scores: Vec<f64> = points.iter().map(|(score, _)| (score * 20.0).round() / 20.0).collect();
        let targets: Vec<f64> = points.iter().map(|(_, hit)| f64::from(u8::from(*hit))).collect();
        let curve = IsotonicCurve::fit(&scores, &targets, None);
        let values: Vec<f64> = (-5..=105).map(|at| curve.at(f64::from(at) / 100.0)).collect();
        prop_assert!(values.windows(2).all(|pair| pair[0] <= pair[1]), "{values:?}");
        prop_assert!(values.iter().all(|value| (0.0..=1.0).contains(value)));
    }

    #[test]
    fn temperature_keeps_the_order_of_classes(temperature in 0.05..20.0_f64, (k, truth, _, p) in rows()) {
        let p = Matrix::new(truth.len(), k, p);
        let after = Calibration::Temperature(temperature).apply(&p);
        for (before, after) in p.rows().zip(after.rows()) {
            for (i, j) in (0..k).flat_map(|i| (0..k).map(move |j| (i, j))) {
                prop_assert!(before[i] < before[j] || after[i] >= after[j], "{before:?} {after:?}");
            }
        }
    }

    #[test]
    fn without_multipliers_the_rule_is_argmax_and_ties_go_to_the_first((k, _, _, p) in rows()) {
        for row in p.chunks(k) {
            let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            prop_assert_eq!(Some(DecisionRule::argmax(k).decide(row)), row.iter().position(|p| *p == largest));
        }
    }

    #[test]
    fn only_ratios_of_multipliers_matter((k, _, _, p) in rows(), power in -8_i32..8) {
        let multipliers: Vec<f64> = (0..k).map(|class| 1.0 + class as f64 / 3.0).collect();
        let scaled = DecisionRule { multipliers: multipliers.iter().map(|m| m * 2_f64.powi(power)).collect() };
        let rule = DecisionRule { multipliers };
        for row in p.chunks(k) {
            prop_assert_eq!(rule.decide(row), scaled.decide(row));
        }
    }
}

// ---- helpers ----

fn labels(n_classes: usize) -> Vec<String> {
    (0..n_classes).map(|class| class.to_string()).collect()
}

fn certain(decisions: &[u32], n_classes: usize) -> Matrix {
    let mut matrix = Matrix::zeros(decisions.len(), n_classes);
    for (row, &class) in decisions.iter().enumerate() {
        matrix.row_mut(row)[class as usize] = 1.0;
    }
    matrix
}

fn evaluation_of(
    truth: &[u32],
    decisions: &[u32],
    p: &Matrix,
    n_classes: usize,
    resamples: usize,
) -> Evaluation {
    let options = EvaluationOptions { resamples, ..EvaluationOptions::default() };
    evaluate(truth, decisions, p, &labels(n_classes), &options)
}

fn evaluation_of_counts<const K: usize>(counts: &[[usize; K]; K]) -> Evaluation {
    let cells = || (0..K).flat_map(|t| (0..K).map(move |d| (t, d)));
    let repeated = |of: fn((usize, usize)) -> usize| -> Vec<u32> {
        cells().flat_map(|(t, d)| std::iter::repeat_n(of((t, d)) as u32, counts[t][d])).collect()
    };
    let (truth, decisions) = (repeated(|cell| cell.0), repeated(|cell| cell.1));
    evaluation_of(&truth, &decisions, &certain(&decisions, K), K, 100)
}

fn checked(gates: &str) -> CheckedGates {
    serde_json::from_str::<Gates>(gates).unwrap().check().unwrap()
}

fn plain(evaluation: &Evaluation) -> GateInput<'_> {
    GateInput { evaluation, overlap: Overlap::NoTestSet, data_findings: &[], champion: None, recent: None }
}

fn refusals(verdict: &GateVerdict) -> Vec<String> {
    let refusals: Vec<String> =
        verdict.refusals().map(|finding| format!("{}: {}", finding.gate, finding.text)).collect();
    assert_eq!(verdict.passed, refusals.is_empty());
    refusals
}

/// Rows whose truth is drawn from the very probabilities stated.
fn honest_rows(n: usize, n_classes: usize, seed: u64) -> (Vec<u32>, Matrix) {
    drawn_rows(n, &vec![1.0; n_classes], 3.0, seed)
}

/// Five classes of which one has most rows.
fn imbalanced_rows(n: usize, seed: u64) -> (Vec<u32>, Matrix) {
    drawn_rows(n, &[30.0, 5.0, 3.0, 2.0, 1.0], 4.0, seed)
}

fn drawn_rows(n: usize, shares: &[f64], spread: f64, seed: u64) -> (Vec<u32>, Matrix) {
    let mut rng = Seed(seed).child("rows").rng();
    let mut p = Matrix::zeros(0, shares.len());
    let truth = (0..n)
        .map(|_| {
            let mut row: Vec<f64> =
                shares.iter().map(|share| share * (spread * (rng.random::<f64>() - 0.5)).exp()).collect();
            let sum: f64 = row.iter().sum();
            row.iter_mut().for_each(|p| *p /= sum);
            let mut left = rng.random::<f64>();
            let class = row.iter().position(|p| {
                left -= p;
                left < 0.0
            });
            p.push_row(&row);
            class.unwrap_or(0) as u32
        })
        .collect();
    (truth, p)
}
