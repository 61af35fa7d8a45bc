//! What a training gives, as the report shows it.

use serde_json::Value;
use serin_core::config::Settings;
use serin_core::stages::Trained;
use serin_ml::dataset::{ColumnKind, Dataset, Finding, Severity as FindingSeverity};
use serin_ml::evaluate::{ClassResult, Estimate, Evaluation, GateFinding, Metric};
use serin_ml::train::{Budget, Ended, LeaderboardRow, MAJORITY, REFERENCE, TrialStatus};

use crate::web::report::render;
use crate::web::report::view::{
    CalibrationView, ChampionView, ClassCountView, ClassEvaluationView, ClassFactorView, ColumnView,
    CorrelationView, DataFindingView, DataView, DecisionView, EvaluationSource, EvaluationView, FactView,
    GateFindingView, GateView, ImportanceView, LearningPointView, LineageView, Measured, MemberView,
    MetricView, OverlapView, PhaseView, RecipeStepView, ReliabilityBinView, ReportView, RequirementView,
    SelectionView, Severity, SourceRole, SourceView, TrialKind, TrialOutcome, TrialView, Unit, WinnerView,
};

/// Columns in the correlation map, at most.
const CORRELATION_LIMIT: usize = 60;

/// The report of a training as one self-contained page.
pub fn page(
    trained: &Trained,
    rows: &Dataset,
    test: Option<&Dataset>,
    settings: &Settings,
) -> anyhow::Result<String> {
    Ok(render(&view(trained, rows, test, settings))?)
}

fn view(trained: &Trained, rows: &Dataset, test: Option<&Dataset>, settings: &Settings) -> ReportView {
    let card = &trained.bundle.card;
    ReportView {
        title: card.name.clone(),
        made_at: trained.bundle.note.created.clone(),
        gate: Some(gate(trained)),
        evaluation: Some(evaluation(trained)),
        data: data(trained, rows, test, settings),
        selection: selection(trained, settings),
        winner: Some(winner(trained)),
        importances: trained
            .importances
            .iter()
            .map(|importance| ImportanceView {
                feature: importance.feature.clone(),
                gain: Some(importance.gain),
                permutation: importance.permutation.map(|value| Measured {
                    value,
                    interval: importance.permutation_deviation.map(|d| (value - d, value + d)),
                }),
            })
            .collect(),
        permutation_note: Some(format!(
            "mean loss of {} over three shuffles of the rows judged, with its standard deviation",
            card.metric
        )),
        learning_curve: trained
            .learning_curve
            .iter()
            .map(|point| LearningPointView {
                n_rows: point.rows.round() as u64,
                score: Measured {
                    value: point.score,
                    interval: Some((point.score - point.standard_error, point.score + point.standard_error)),
                },
                training_score: None,
            })
            .collect(),
        phases: phases(trained),
        lineage: lineage(trained),
    }
}

fn gate(trained: &Trained) -> GateView {
    GateView {
        passed: trained.verdict.passed,
        findings: trained.verdict.findings.iter().map(gate_finding).collect(),
        champion: trained.champion.as_ref().map(|comparison| ChampionView {
            digest: trained.champion_digest.clone().unwrap_or_default(),
            metric: comparison.metric.to_string(),
            champion: measured(comparison.champion),
            challenger: measured(comparison.challenger),
            difference: estimate(&comparison.improvement).unwrap_or_default(),
        }),
    }
}

fn gate_finding(finding: &GateFinding) -> GateFindingView {
    let is_upper = finding.gate.starts_with("max");
    GateFindingView {
        rule: finding.gate.clone(),
        passed: finding.passed,
        measured: finding.measured,
        required: finding.threshold.map(|threshold| match (is_upper, finding.gate.as_str()) {
            (true, _) => RequirementView::AtMost(threshold),
            (_, "beat_majority") => RequirementView::MoreThan(threshold),
            _ => RequirementView::AtLeast(threshold),
        }),
        unit: if finding.gate == "max_overlap" { Unit::Share } else { Unit::Score },
        explanation: finding.text.clone(),
    }
}

fn evaluation(trained: &Trained) -> EvaluationView {
    let evaluation = &trained.evaluation;
    let first = trained.bundle.card.metric;
    let others = evaluation.metrics.keys().copied().filter(|metric| *metric != first);
    EvaluationView {
        source: if trained.is_held_out { EvaluationSource::HoldOut } else { EvaluationSource::OutOfFold },
        n_rows: evaluation.rows,
        interval_level: evaluation.confidence,
        interval_method: format!("{} stratified bootstrap samples", evaluation.resamples),
        metrics: std::iter::once(first).chain(others).map(|metric| metric_view(trained, metric)).collect(),
        classes: evaluation.per_class.iter().map(class_view).collect(),
        confusion: evaluation.confusion_matrix.clone(),
        reliability: reliability(evaluation),
    }
}

fn metric_view(trained: &Trained, metric: Metric) -> MetricView {
    let result = trained.evaluation.metrics.get(&metric);
    let summary = &trained.bundle.card.summary;
    let cross_validated =
        if summary.is_ensemble { summary.ensemble_score } else { Some(summary.single_score) };
    MetricView {
        name: metric.to_string(),
        value: result.and_then(|result| {
            let interval = result.interval.map(|interval| (interval.low, interval.high));
            Some(Measured { value: result.value?, interval })
        }),
        dummy: result.and_then(|result| result.majority),
        cross_validated: cross_validated
            .filter(|_| metric == trained.bundle.card.metric && trained.is_held_out),
    }
}

fn class_view(class: &ClassResult) -> ClassEvaluationView {
    let points =
        |curve: &[serin_ml::evaluate::CurvePoint]| curve.iter().map(|point| (point.x, point.y)).collect();
    ClassEvaluationView {
        name: class.class.clone(),
        n_rows: class.support,
        n_decided: class.decided,
        precision: class.precision.value,
        recall: class.recall.value,
        f1: estimate(&class.f1),
        roc_auc: class.roc_auc.value,
        pr_auc: class.pr_auc.value,
        roc: points(&class.roc_curve),
        precision_recall: points(&class.precision_recall_curve),
    }
}

fn reliability(evaluation: &Evaluation) -> Vec<ReliabilityBinView> {
    let bins = evaluation.reliability.bins.iter().filter_map(|bin| {
        Some(ReliabilityBinView {
            low: bin.low,
            high: bin.high,
            n_rows: bin.rows,
            mean_predicted: bin.confidence?,
            observed: bin.accuracy?,
        })
    });
    bins.collect()
}

fn data(trained: &Trained, rows: &Dataset, test: Option<&Dataset>, settings: &Settings) -> DataView {
    let card = &trained.bundle.card;
    let training = rows.labels.as_ref().map(|labels| labels.counts()).unwrap_or_default();
    let held = trained
        .is_held_out
        .then(|| trained.evaluation.per_class.iter().map(|c| c.support).collect::<Vec<_>>());
    let is_file = test.is_some();
    let classes = card.classes.iter().enumerate().map(|(i, name)| {
        let held_out = held.as_ref().and_then(|counts| counts.get(i).copied());
        let all = training.get(i).copied().unwrap_or(0) as u64;
        // Rows held out of the training file are not training rows.
        let n_training = if is_file { all } else { all.saturating_sub(held_out.unwrap_or(0)) };
        ClassCountView { name: name.clone(), n_training, n_hold_out: held_out }
    });
    let source = |role: SourceRole| {
        move |source: &serin_ml::dataset::Source| SourceView {
            name: source.path.clone(),
            role,
            n_rows: source.rows as u64,
            n_bytes: None,
            digest: None,
        }
    };
    let mut sources: Vec<SourceView> = rows.sources.iter().map(source(SourceRole::Training)).collect();
    sources.extend(test.iter().flat_map(|test| &test.sources).map(source(SourceRole::HoldOut)));
    DataView {
        target: card.target.clone(),
        n_rows: card.lineage.train_rows as u64,
        n_features: card.schema.fields.len() as u64,
        ignored: settings.data.ignore.clone(),
        fingerprint: Some(card.lineage.train.to_string()),
        sources,
        classes: classes.collect(),
        columns: columns(trained, rows),
        findings: trained.data_check.findings.iter().map(data_finding).collect(),
        overlap: overlap(trained),
        correlation: correlation(trained, rows),
    }
}

fn columns(trained: &Trained, rows: &Dataset) -> Vec<ColumnView> {
    let profile = trained.bundle.baseline.as_ref();
    let kinds = rows.schema.fields.iter().map(|field| match field.kind {
        ColumnKind::Number => "number",
        ColumnKind::Integer => "integer",
        ColumnKind::Boolean => "boolean",
    });
    let profiles = profile.map(|profile| profile.columns.as_slice()).unwrap_or_default();
    kinds
        .zip(profiles)
        .map(|(kind, column)| {
            let summary = column.finish();
            ColumnView {
                name: column.name().to_owned(),
                kind: kind.to_owned(),
                n_missing: summary.missing,
                n_distinct: Some(summary.distinct.round() as u64),
                minimum: summary.min,
                median: summary.quantiles.map(|quantiles| quantiles[3]),
                mean: summary.mean,
                maximum: summary.max,
                standard_deviation: summary.variance.map(f64::sqrt),
            }
        })
        .collect()
}

fn data_finding(finding: &Finding) -> DataFindingView {
    DataFindingView {
        severity: match finding.severity {
            FindingSeverity::Error => Severity::Error,
            FindingSeverity::Warning => Severity::Warning,
            FindingSeverity::Info => Severity::Note,
        },
        what: finding.code.to_string().replace('_', " "),
        explanation: finding.text.clone(),
        examples: finding.columns.clone(),
    }
}

fn overlap(trained: &Trained) -> Option<OverlapView> {
    let overlap = trained.data_check.overlap.as_ref()?;
    Some(OverlapView {
        n_hold_out: trained.evaluation.rows,
        n_exact: overlap.exact_rows as u64,
        n_near: overlap.near_rows as u64,
        by_class: Vec::new(),
    })
}

fn correlation(trained: &Trained, rows: &Dataset) -> Option<CorrelationView> {
    let chosen: Vec<usize> = trained
        .importances
        .iter()
        .take(CORRELATION_LIMIT)
        .filter_map(|importance| rows.schema.position(&importance.feature))
        .collect();
    if chosen.len() < 2 {
        return None;
    }
    let columns: Vec<&[f64]> = chosen.iter().map(|&column| rows.columns[column].as_slice()).collect();
    Some(CorrelationView {
        names: chosen.iter().map(|&column| rows.schema.fields[column].name.clone()).collect(),
        values: serin_ml::dataset::correlations(&columns),
        chosen_by: format!("the {} most important of {}", chosen.len(), rows.schema.fields.len()),
    })
}

fn selection(trained: &Trained, settings: &Settings) -> SelectionView {
    let card = &trained.bundle.card;
    let folds = settings.train.folds as u64;
    let trials = trained.bundle.leaderboard.rows.iter().map(|row| {
        let seconds = trained.trial_seconds.get(row.number - 1).copied();
        trial(row, seconds, card.summary.fits_per_trial)
    });
    SelectionView {
        metric: card.metric.to_string(),
        lower_is_better: !card.metric.greater_is_better(),
        n_folds: folds,
        n_repeats: (card.summary.fits_per_trial as u64 / folds.max(1)).max(1),
        budget: Some(match settings.train.budget {
            Budget::Trials(count) => format!("{count} trials"),
            Budget::Until(time) => format!("{} s", time.as_secs_f64()),
        }),
        interrupted: card.summary.ended == Ended::Interrupted,
        trials: trials.chain(ensemble(trained)).collect(),
    }
}

fn trial(row: &LeaderboardRow, seconds: Option<f64>, fits: usize) -> TrialView {
    let scored = row.score.or_else(|| {
        let count = row.fold_scores.len() as f64;
        (count > 0.0).then(|| row.fold_scores.iter().sum::<f64>() / count)
    });
    TrialView {
        number: row.number as u64,
        kind: match row.candidate.label.as_str() {
            MAJORITY => TrialKind::MajorityDummy,
            REFERENCE => TrialKind::ReferenceRecipe,
            _ => TrialKind::Search,
        },
        chosen: row.weight > 0.0,
        family: row.candidate.model.name().to_owned(),
        recipe: recipe_line(row),
        parameters: parameters(row),
        outcome: match row.status {
            TrialStatus::Scored => TrialOutcome::Finished,
            TrialStatus::GivenUp => {
                TrialOutcome::StoppedEarly { n_folds: row.fold_scores.len().min(fits) as u64 }
            }
            TrialStatus::Failed => TrialOutcome::Failed { reason: row.reason.clone().unwrap_or_default() },
        },
        score: scored.map(|value| Measured {
            value,
            interval: row.standard_error.map(|error| (value - 1.96 * error, value + 1.96 * error)),
        }),
        seconds,
    }
}

/// The ensemble stands among the trials that it was made from.
fn ensemble(trained: &Trained) -> Option<TrialView> {
    let summary = &trained.bundle.card.summary;
    let value = summary.ensemble_score?;
    Some(TrialView {
        number: summary.trials as u64 + 1,
        kind: TrialKind::Ensemble,
        chosen: summary.is_ensemble,
        family: "ensemble".into(),
        recipe: if summary.is_ensemble {
            format!("pool of {} candidates", trained.bundle.predictor.members.len())
        } else {
            "pool, not better than the best candidate by more than noise".into()
        },
        parameters: Vec::new(),
        outcome: TrialOutcome::Finished,
        score: Some(Measured { value, interval: None }),
        seconds: None,
    })
}

fn winner(trained: &Trained) -> WinnerView {
    let card = &trained.bundle.card;
    let members = trained.bundle.predictor.members.iter().map(|member| {
        let number = member.label.rsplit_once('#').and_then(|(_, number)| number.parse::<usize>().ok());
        let row = trained.bundle.leaderboard.rows.iter().find(|row| Some(row.number) == number);
        MemberView {
            trial: number.map(|number| number as u64),
            family: row.map_or_else(String::new, |row| row.candidate.model.name().to_owned()),
            weight: member.weight,
            recipe: row.map(steps).unwrap_or_default(),
            parameters: row.map(parameters).unwrap_or_default(),
            resampled: Vec::new(),
        }
    });
    let members: Vec<MemberView> = members.collect();
    let multipliers = &card.summary.decision_multipliers;
    let is_argmax = multipliers.iter().all(|multiplier| (multiplier - 1.0).abs() < 1e-12);
    WinnerView {
        family: match members.as_slice() {
            [only] => only.family.clone(),
            _ => "ensemble".into(),
        },
        members,
        calibration: Some(CalibrationView {
            method: card.summary.calibration.clone(),
            ..CalibrationView::default()
        }),
        decision: Some(DecisionView {
            rule: if is_argmax { "largest-probability" } else { "class-weights" }.to_owned(),
            factors: if is_argmax {
                Vec::new()
            } else {
                let pairs = card.classes.iter().zip(multipliers);
                pairs.map(|(class, &value)| ClassFactorView { class: class.clone(), value }).collect()
            },
            score: None,
        }),
    }
}

fn steps(row: &LeaderboardRow) -> Vec<RecipeStepView> {
    let recipe = serde_json::to_value(&row.candidate.recipe).unwrap_or_default();
    let steps = recipe["steps"].as_array().cloned().unwrap_or_default();
    steps
        .iter()
        .map(|step| RecipeStepView {
            name: step["step"].as_str().unwrap_or_default().to_owned(),
            parameters: facts(step, "step"),
            effect: None,
        })
        .collect()
}

fn recipe_line(row: &LeaderboardRow) -> String {
    let steps = steps(row).into_iter().map(|step| {
        let values: Vec<String> = step.parameters.into_iter().map(|fact| fact.value).collect();
        format!("{} {}", step.name, values.join(" ")).trim().to_owned()
    });
    steps.collect::<Vec<_>>().join(" · ")
}

fn parameters(row: &LeaderboardRow) -> Vec<FactView> {
    facts(&serde_json::to_value(&row.candidate.model).unwrap_or_default(), "family")
}

/// The entries of an object but its tag, numbers shortened.
fn facts(value: &Value, tag: &str) -> Vec<FactView> {
    let entries = value.as_object().into_iter().flatten();
    entries
        .filter(|(name, value)| *name != tag && !value.is_null())
        .map(|(name, value)| FactView { name: name.replace('_', " "), value: shown(value) })
        .collect()
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => {
            let number = number.as_f64().unwrap_or_default();
            let text = format!("{number:.4}");
            let short = text.trim_end_matches('0').trim_end_matches('.');
            if number != 0.0 && number.abs() < 1e-3 { format!("{number:.2e}") } else { short.to_owned() }
        }
        other => other.to_string(),
    }
}

fn phases(trained: &Trained) -> Vec<PhaseView> {
    let phases = trained.phases.seconds().iter();
    phases.map(|(name, seconds)| PhaseView { name: name.clone(), seconds: *seconds }).collect()
}

fn lineage(trained: &Trained) -> LineageView {
    let lineage = &trained.bundle.card.lineage;
    LineageView {
        bundle_digest: Some(trained.bundle.digest().to_owned()),
        data_fingerprint: Some(lineage.train.to_string()),
        seed: Some(lineage.seed),
        versions: vec![FactView { name: "serin".into(), value: lineage.serin.clone() }],
        ..LineageView::default()
    }
}

fn estimate(estimate: &Estimate) -> Option<Measured> {
    let interval = estimate.interval.map(|interval| (interval.low, interval.high));
    Some(Measured { value: estimate.value?, interval })
}

fn measured(value: Option<f64>) -> Measured {
    Measured { value: value.unwrap_or(f64::NAN), interval: None }
}
