//! Made-up runs of realistic shape. Numbers come from a fixed arithmetic sequence, so that they never change.

use serin::web::report::view::*;

/// Five unequal classes, 151 columns, 25 trials; refused because of rows shared with the hold-out.
pub fn report() -> ReportView {
    let names = ["normal", "portscan", "brute force", "exfiltration", "botnet"].map(str::to_owned);
    let features: Vec<String> = (0..151).map(|n| format!("feature_{n:03}")).collect();
    build(&names, &features)
}

/// Every name of the report is this one.
pub fn named(name: &str) -> ReportView {
    let mut view = build(&[name.to_owned(), format!("{name}2")], &[name.to_owned(), format!("{name}2")]);
    view.title = name.to_owned();
    view.made_at = Some(name.to_owned());
    view.data.target = name.to_owned();
    view.data.ignored = vec![name.to_owned()];
    view.data.fingerprint = Some(name.to_owned());
    for source in &mut view.data.sources {
        source.name = name.to_owned();
        source.digest = Some(name.to_owned());
    }
    for finding in &mut view.data.findings {
        finding.examples = vec![name.to_owned(); 3];
        finding.explanation = name.to_owned();
    }
    for trial in &mut view.selection.trials {
        trial.family = name.to_owned();
        trial.recipe = name.to_owned();
        trial.parameters = vec![fact(name, name)];
    }
    view.selection.budget = Some(name.to_owned());
    if let Some(winner) = &mut view.winner {
        winner.family = name.to_owned();
        for member in &mut winner.members {
            member.family = name.to_owned();
            member.parameters = vec![fact(name, name)];
        }
    }
    if let Some(gate) = &mut view.gate {
        for finding in &mut gate.findings {
            finding.rule = name.to_owned();
            finding.explanation = name.to_owned();
        }
    }
    if let Some(evaluation) = &mut view.evaluation {
        evaluation.metrics[0].name = name.to_owned();
    }
    for phase in &mut view.phases {
        phase.name = name.to_owned();
    }
    view.lineage.command = Some(name.to_owned());
    view.lineage.versions = vec![fact(name, name)];
    // Sentences are cut by the caller, not by the page: keep them to what a writer would make of a long name.
    let short: String = name.chars().take(200).collect();
    if name.len() > 1000 {
        return ReportView { title: short.clone(), ..clip(view, &short) };
    }
    view
}

pub fn sized(n_classes: usize, n_features: usize) -> ReportView {
    let names: Vec<String> = (0..n_classes).map(|n| format!("class {n}")).collect();
    let features: Vec<String> = (0..n_features).map(|n| format!("a rather long column name {n}")).collect();
    build(&names, &features)
}

/// Free sentences and facts at the length a writer would keep them to.
fn clip(mut view: ReportView, short: &str) -> ReportView {
    view.made_at = None;
    view.data.fingerprint = None;
    view.selection.budget = None;
    view.lineage = LineageView::default();
    for finding in view.gate.iter_mut().flat_map(|gate| &mut gate.findings) {
        finding.explanation = short.to_owned();
    }
    for finding in &mut view.data.findings {
        finding.explanation = short.to_owned();
    }
    for member in view.winner.iter_mut().flat_map(|winner| &mut winner.members) {
        member.family = short.to_owned();
        member.parameters.clear();
    }
    view
}

fn fact(name: &str, value: &str) -> FactView {
    FactView { name: name.to_owned(), value: value.to_owned() }
}

/// Looks random in 0..1, depends on nothing but `n`.
fn noise(n: usize) -> f64 {
    ((n as f64 + 1.0) * 0.618_033_988_749_895 * 7.3).fract()
}

fn around(value: f64, half: f64) -> Measured {
    Measured { value, interval: Some((value - half, (value + half).min(1.0))) }
}

fn build(names: &[String], features: &[String]) -> ReportView {
    ReportView {
        title: "reference-train.csv".to_owned(),
        made_at: Some("22 November 2026".to_owned()),
        gate: Some(gate()),
        evaluation: Some(evaluation(names)),
        data: data(names, features),
        selection: selection(),
        winner: Some(winner(names)),
        importances: features.iter().enumerate().map(|(n, feature)| importance(n, feature)).collect(),
        permutation_note: Some("mean drop in macro-F1 over 5 shuffles of the hold-out".to_owned()),
        learning_curve: [256_u64, 512, 1024, 2048, 4096, 8192]
            .into_iter()
            .enumerate()
            .map(|(n, n_rows)| LearningPointView {
                n_rows,
                score: around(0.84 - 0.35 * 0.6_f64.powi(n as i32), 0.05 * 0.8_f64.powi(n as i32)),
                training_score: Some(0.995 - 0.008 * n as f64),
            })
            .collect(),
        phases: [
            ("read and check", 1.2),
            ("search", 48.0),
            ("ensemble", 3.1),
            ("calibrate", 1.4),
            ("refit", 6.2),
            ("evaluate", 2.0),
        ]
        .map(|(name, seconds)| PhaseView { name: name.to_owned(), seconds })
        .to_vec(),
        lineage: LineageView {
            bundle_digest: Some("9f2c51d0a7be43f8".repeat(4)),
            data_fingerprint: Some("b71e0c4498a2d6f3".repeat(4)),
            recipe_digest: Some("03d9c1fa55e87b26".repeat(4)),
            config_digest: None,
            seed: Some(17),
            n_threads: Some(2),
            command: Some(
                "serin train --data train.csv --target label --test holdout.csv --trials 25".to_owned(),
            ),
            versions: vec![fact("Serin", "0.1.0"), fact("hessboost", "0.4.6"), fact("Bundle format", "1")],
        },
    }
}

fn gate() -> GateView {
    let finding = |rule: &str, passed, measured, required, unit, explanation: &str| GateFindingView {
        rule: rule.to_owned(),
        passed,
        measured: Some(measured),
        required: Some(required),
        unit,
        explanation: explanation.to_owned(),
    };
    use RequirementView::{AtLeast, AtMost, MoreThan};
    GateView {
        passed: false,
        findings: vec![
            finding("minimum macro-F1", true, 0.8231, AtLeast(0.75), Unit::Score, ""),
            finding("better than the majority dummy", true, 0.8231, MoreThan(0.134), Unit::Score, ""),
            finding(
                "no rows shared with the hold-out",
                false,
                241.0,
                AtMost(0.0),
                Unit::Count,
                "All rows of the minority classes in the hold-out are also training rows: their scores measure memory.",
            ),
            finding("recall of “botnet”", true, 0.61, AtLeast(0.5), Unit::Score, ""),
        ],
        champion: Some(ChampionView {
            digest: "51aa0932bb17".to_owned(),
            metric: "macro-f1".to_owned(),
            champion: around(0.801, 0.02),
            challenger: around(0.823, 0.02),
            difference: Measured { value: 0.022, interval: Some((0.004, 0.041)) },
        }),
    }
}

fn support(class: usize) -> u64 {
    [2870, 212, 148, 61, 30].get(class).copied().unwrap_or(40 + (noise(class) * 50.0) as u64)
}

fn evaluation(names: &[String]) -> EvaluationView {
    let n = names.len();
    let metric = |name: &str, value: f64, half: f64, dummy: f64| MetricView {
        name: name.to_owned(),
        value: Some(around(value, half)),
        dummy: Some(dummy),
        cross_validated: Some(value + 0.008),
    };
    let confusion: Vec<Vec<u64>> = (0..n)
        .map(|truth| {
            let rows = support(truth) as f64;
            let wrong = |other: usize| (rows * 0.12 * noise(truth * n + other) / n as f64).round() as u64;
            let errors: u64 = (0..n).filter(|&other| other != truth).map(wrong).sum();
            (0..n).map(|other| if other == truth { support(truth) - errors } else { wrong(other) }).collect()
        })
        .collect();
    EvaluationView {
        source: EvaluationSource::HoldOut,
        n_rows: (0..n).map(support).sum(),
        interval_level: 0.95,
        interval_method: "1,000 stratified bootstrap samples".to_owned(),
        metrics: vec![
            metric("macro-f1", 0.8231, 0.021, 0.134),
            metric("accuracy", 0.9712, 0.006, 0.864),
            metric("balanced-accuracy", 0.7986, 0.024, 0.2),
            metric("weighted-f1", 0.9701, 0.006, 0.801),
            metric("roc-auc", 0.9873, 0.004, 0.5),
            metric("pr-auc", 0.871, 0.02, 0.2),
            metric("log-loss", 0.1043, 0.012, 0.561),
            metric("brier", 0.0461, 0.006, 0.238),
            metric("calibration-error", 0.0122, 0.004, 0.011),
        ],
        classes: names.iter().enumerate().map(|(class, name)| class_evaluation(class, name)).collect(),
        confusion,
        reliability: (0..10)
            .map(|bin| {
                let low = f64::from(bin) / 10.0;
                let n_rows = [0, 0, 8, 31, 62, 84, 110, 203, 466, 2357][bin as usize];
                let observed = low + 0.05 + 0.06 * (noise(bin as usize) - 0.5);
                ReliabilityBinView { low, high: low + 0.1, n_rows, mean_predicted: low + 0.055, observed }
            })
            .collect(),
    }
}

fn class_evaluation(class: usize, name: &str) -> ClassEvaluationView {
    let f1 = [0.987, 0.91, 0.83, 0.74, 0.648].get(class).copied().unwrap_or(0.5 + noise(class) / 2.0);
    let steepness = 2.0 + 10.0 * f1 * f1;
    let grid = (0..=200).map(|n| f64::from(n) / 200.0);
    ClassEvaluationView {
        name: name.to_owned(),
        n_rows: support(class),
        n_decided: support(class),
        precision: Some((f1 + 0.03).min(1.0)),
        recall: Some(f1 - 0.03),
        f1: Some(around(f1, 0.4 / (support(class) as f64).sqrt())),
        roc_auc: Some(0.93 + 0.06 * f1),
        pr_auc: Some(f1),
        roc: grid.clone().map(|x| (x, 1.0 - (1.0 - x).powf(steepness))).collect(),
        precision_recall: grid.map(|x| (x, 1.0 - (1.0 - f1) * 1.4 * x.powi(3))).collect(),
    }
}

fn data(names: &[String], features: &[String]) -> DataView {
    let shown = features.len().min(60);
    let correlation = |a: usize, b: usize| match a.abs_diff(b) {
        0 => 1.0,
        distance if a / 6 == b / 6 => 0.97 - 0.08 * distance as f64,
        distance => (noise(a * 31 + b * 31) - 0.5) * 1.4 / (1.0 + distance as f64 / 12.0),
    };
    DataView {
        target: "label".to_owned(),
        n_rows: 8192,
        n_features: features.len() as u64,
        ignored: vec!["session_id".to_owned()],
        fingerprint: Some("b71e0c4498a2d6f3".to_owned()),
        sources: vec![
            SourceView {
                name: "reference-train.csv".to_owned(),
                role: SourceRole::Training,
                n_rows: 8192,
                n_bytes: Some(1_008_291),
                digest: Some("77c1".repeat(16)),
            },
            SourceView {
                name: "reference-test.csv".to_owned(),
                role: SourceRole::HoldOut,
                n_rows: 3321,
                n_bytes: Some(407_837),
                digest: Some("a05e".repeat(16)),
            },
        ],
        classes: names
            .iter()
            .enumerate()
            .map(|(class, name)| ClassCountView {
                name: name.clone(),
                n_training: support(class) * 5 / 2,
                n_hold_out: Some(support(class)),
            })
            .collect(),
        columns: features
            .iter()
            .enumerate()
            .map(|(n, name)| ColumnView {
                name: name.clone(),
                kind: "number".to_owned(),
                n_missing: if n % 5 == 0 { (noise(n).powi(3) * 5000.0) as u64 } else { 0 },
                n_distinct: Some(8000 - n as u64),
                minimum: Some(-3.2 * noise(n)),
                median: Some(noise(n + 1)),
                mean: Some(noise(n + 2) * 1e4),
                maximum: Some(noise(n + 3) * 1e7),
                standard_deviation: Some(noise(n + 4)),
            })
            .collect(),
        findings: vec![
            DataFindingView {
                severity: Severity::Note,
                what: "duplicate rows".to_owned(),
                explanation: "118 training rows repeat an earlier one.".to_owned(),
                examples: vec![],
            },
            DataFindingView {
                severity: Severity::Warning,
                what: "constant columns".to_owned(),
                explanation: "12 columns have the same value in every row and were dropped.".to_owned(),
                examples: (0..12).map(|n| format!("feature_{:03}", 90 + n)).collect(),
            },
            DataFindingView {
                severity: Severity::Error,
                what: "rows that are also in the hold-out".to_owned(),
                explanation: "241 rows of the hold-out equal a training row in every input.".to_owned(),
                examples: vec![],
            },
        ],
        overlap: Some(OverlapView {
            n_hold_out: 3321,
            n_exact: 241,
            n_near: 0,
            by_class: names
                .iter()
                .enumerate()
                .skip(1)
                .map(|(class, name)| ClassOverlapView {
                    name: name.clone(),
                    n_shared: support(class),
                    n_hold_out: support(class),
                })
                .collect(),
        }),
        correlation: Some(CorrelationView {
            names: features.iter().take(shown).cloned().collect(),
            values: (0..shown).map(|a| (0..shown).map(|b| correlation(a, b)).collect()).collect(),
            chosen_by: format!("the {shown} most important of {}", features.len()),
        }),
    }
}

fn selection() -> SelectionView {
    let families =
        ["gradient-boosting", "extra-trees", "random-forest", "logistic", "neighbours", "naive-bayes"];
    let recipes =
        ["impute median", "impute median · scale z-score", "impute mean · drop correlated · class weights"];
    let mut trials: Vec<TrialView> = (0..22)
        .map(|n| TrialView {
            number: n as u64 + 1,
            family: families[n * n % 6].to_owned(),
            recipe: recipes[n % 3].to_owned(),
            parameters: vec![fact("rounds", "240"), fact("depth", "6"), fact("learning rate", "0.08")],
            outcome: match n {
                7 | 13 | 18 => TrialOutcome::StoppedEarly { n_folds: 2 },
                20 => TrialOutcome::Failed { reason: "did not converge in 500 steps".to_owned() },
                _ => TrialOutcome::Finished,
            },
            score: (n != 20)
                .then(|| around(0.812 - 0.006 * n as f64 - 0.03 * noise(n), 0.012 + 0.01 * noise(n + 5))),
            seconds: Some(0.4 + 4.0 * noise(n)),
            ..TrialView::default()
        })
        .collect();
    let special = |number, kind, score, recipe: &str| TrialView {
        number,
        kind,
        chosen: kind == TrialKind::Ensemble,
        family: "gradient-boosting".to_owned(),
        recipe: recipe.to_owned(),
        score: Some(around(score, 0.015)),
        seconds: Some(9.0),
        ..TrialView::default()
    };
    trials.push(special(23, TrialKind::MajorityDummy, 0.134, ""));
    trials.push(special(24, TrialKind::ReferenceRecipe, 0.531, "impute mean · SMOTE-Tomek · z-score · PCA"));
    trials.push(special(25, TrialKind::Ensemble, 0.831, "trials 1, 3 and 4"));
    SelectionView {
        metric: "macro-f1".to_owned(),
        n_folds: 5,
        n_repeats: 2,
        budget: Some("25 trials".to_owned()),
        trials,
        ..SelectionView::default()
    }
}

fn winner(names: &[String]) -> WinnerView {
    let step = |name: &str, parameters: Vec<FactView>, effect: &str| RecipeStepView {
        name: name.to_owned(),
        parameters,
        effect: Some(effect.to_owned()),
    };
    let member = |trial, family: &str, weight| MemberView {
        trial: Some(trial),
        family: family.to_owned(),
        weight,
        recipe: vec![
            step("impute", vec![fact("by", "median")], "31 columns had missing values"),
            step("drop-constants", vec![], "151 columns in, 139 out"),
            step("drop-correlated", vec![fact("|r| ≥", "0.9")], "139 columns in, 118 out"),
        ],
        parameters: vec![
            fact("rounds", "240"),
            fact("depth", "6"),
            fact("learning rate", "0.08"),
            fact("L2", "1.0"),
        ],
        resampled: names
            .iter()
            .enumerate()
            .map(|(class, name)| ResampledView {
                class: name.clone(),
                n_before: support(class),
                n_after: support(class).max(100),
            })
            .collect(),
    };
    WinnerView {
        family: "ensemble".to_owned(),
        members: vec![
            member(1, "gradient-boosting", 0.5),
            member(3, "extra-trees", 0.3),
            member(4, "logistic", 0.2),
        ],
        calibration: Some(CalibrationView {
            method: "temperature".to_owned(),
            parameters: vec![fact("temperature", "1.18")],
            log_loss: Some((0.1181, 0.1043)),
            calibration_error: Some((0.0273, 0.0122)),
        }),
        decision: Some(DecisionView {
            rule: "class-weights".to_owned(),
            factors: names
                .iter()
                .enumerate()
                .map(|(class, name)| ClassFactorView {
                    class: name.clone(),
                    value: 1.0 + 0.35 * class as f64,
                })
                .collect(),
            score: Some((0.8112, 0.8312)),
        }),
    }
}

fn importance(n: usize, feature: &str) -> ImportanceView {
    let strength = 0.86_f64.powi(n as i32 % 60);
    ImportanceView {
        feature: feature.to_owned(),
        gain: Some(0.13 * strength * (0.6 + 0.8 * noise(n))),
        permutation: Some(Measured {
            value: 0.08 * strength - 0.0006,
            interval: Some((0.08 * strength * 0.8 - 0.001, 0.08 * strength * 1.2)),
        }),
    }
}
