//! Judging a classifier by its gates. A number that could not be measured never passes.

use serde::{Deserialize, Serialize};

use super::champion::ChampionComparison;
use super::evaluation::{ClassResult, Evaluation};
use super::gates::{CheckedGates, ClassFloor, ClassMeasure};
use super::metric::Metric;

/// The finding code that `allow_leakage` waives.
const LEAKAGE: &str = "leakage_suspected";

/// What the gates look at.
#[derive(Debug, Clone, Copy)]
pub struct GateInput<'a> {
    /// The evaluation on the rows that count.
    pub evaluation: &'a Evaluation,
    /// How many test rows also occur in training.
    pub overlap: Overlap,
    /// What the data checks found at the level of errors.
    pub data_findings: &'a [DataFinding],
    /// The comparison with the champion, when there is one.
    pub champion: Option<&'a ChampionComparison>,
    /// The same on labelled live rows that neither was trained on, when there are any.
    pub recent: Option<&'a ChampionComparison>,
}

/// Rows shared by training and test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overlap {
    /// There is no separate test set: the rows judged are out-of-fold rows of the training set.
    NoTestSet,
    /// There is one, and nobody could look (no training rows at hand): refused.
    NotMeasured,
    /// Share of test rows that also occur in training, 0 to 1.
    Share(f64),
}

/// An error that the data checks found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFinding {
    /// A stable code, such as `leakage_suspected`.
    pub code: String,
    /// The column it is about, when it is about one.
    pub column: Option<String>,
    /// What to tell the user.
    pub text: String,
}

/// The judgement: every gate that was looked at, in a fixed order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateVerdict {
    /// True when every finding passed.
    pub passed: bool,
    /// One a gate.
    pub findings: Vec<GateFinding>,
}

/// What one gate found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateFinding {
    /// The gate, as its key in the configuration: `min.macro-f1`, `per_class_floor.recall."3"`, `data.<code>`.
    pub gate: String,
    /// True when it lets the classifier through.
    pub passed: bool,
    /// What was measured; `None` when it could not be.
    pub measured: Option<f64>,
    /// What it was held against.
    pub threshold: Option<f64>,
    /// One sentence for the user.
    pub text: String,
}

/// Share of resamples in which the challenger must be better on live rows: as likely as not.
const RECENT_LEAST: f64 = 0.5;

impl GateVerdict {
    /// The findings that refuse.
    pub fn refusals(&self) -> impl Iterator<Item = &GateFinding> {
        self.findings.iter().filter(|finding| !finding.passed)
    }
}

impl CheckedGates {
    /// Holds the input against every gate.
    #[must_use]
    pub fn judge(&self, input: &GateInput<'_>) -> GateVerdict {
        let mut findings = Vec::new();
        findings
            .extend(self.limits.iter().map(|&(metric, limit)| judge_limit(input.evaluation, metric, limit)));
        for (measure, floor) in &self.floors {
            judge_floors(input.evaluation, *measure, floor, &mut findings);
        }
        if self.beat_majority {
            findings.push(judge_majority(input.evaluation));
        }
        findings.extend(self.judge_overlap(input.overlap));
        findings.extend(input.data_findings.iter().map(|finding| self.judge_data(finding)));
        findings.extend(input.champion.map(|comparison| self.judge_champion(comparison)));
        findings.extend(input.recent.map(judge_recent));
        GateVerdict { passed: findings.iter().all(|finding| finding.passed), findings }
    }

    fn judge_overlap(&self, overlap: Overlap) -> Option<GateFinding> {
        let share = match overlap {
            Overlap::NoTestSet => return None,
            Overlap::NotMeasured => None,
            Overlap::Share(share) => Some(share),
        };
        Some(held(
            "max_overlap",
            share,
            self.max_overlap,
            |share, most| share <= most,
            |share, passed| {
                let verb = if passed { "at most" } else { "more than" };
                format!(
                    "overlap={:.2}% of the test rows occur in training, {verb} {:.2}%",
                    share * 100.0,
                    self.max_overlap * 100.0
                )
            },
        ))
    }

    fn judge_data(&self, finding: &DataFinding) -> GateFinding {
        let waived = finding.code == LEAKAGE
            && finding.column.as_ref().is_some_and(|column| self.allow_leakage.contains(column));
        GateFinding {
            gate: format!("data.{}", finding.code),
            passed: waived,
            measured: None,
            threshold: None,
            text: if waived {
                format!("{} (allowed by allow_leakage)", finding.text)
            } else {
                finding.text.clone()
            },
        }
    }

    fn judge_champion(&self, comparison: &ChampionComparison) -> GateFinding {
        let (metric, margin) = (comparison.metric, comparison.margin);
        if metric != self.champion_metric || margin != self.challenger_margin {
            return unmeasured(
                "champion",
                self.champion_confidence,
                &format!(
                    "the comparison is of {metric} with margin {margin}, not of {} with margin {}",
                    self.champion_metric, self.challenger_margin
                ),
            );
        }
        let probability = comparison.probability_beyond_margin;
        held(
            "champion",
            probability,
            self.champion_confidence,
            |share, least| share >= least,
            |share, _| {
                format!(
                    "the challenger's {metric} is better than the champion's by more than {margin} in {:.1}% of paired \
                 resamples ({} against {}); {:.1}% are needed",
                    share * 100.0,
                    shown(comparison.challenger),
                    shown(comparison.champion),
                    self.champion_confidence * 100.0
                )
            },
        )
    }
}

/// On rows as they are now the challenger must not be the worse one.
fn judge_recent(comparison: &ChampionComparison) -> GateFinding {
    held(
        "recent",
        comparison.probability_better,
        RECENT_LEAST,
        |share, least| share >= least,
        |share, _| {
            format!(
                "on {} labelled live rows the challenger's {} is better than the champion's in {:.1}% of paired resamples \
                 ({} against {}); {:.0}% are needed",
                comparison.rows,
                comparison.metric,
                share * 100.0,
                shown(comparison.challenger),
                shown(comparison.champion),
                RECENT_LEAST * 100.0
            )
        },
    )
}

fn judge_limit(evaluation: &Evaluation, metric: Metric, limit: f64) -> GateFinding {
    let greater = metric.greater_is_better();
    let side = if greater { "min" } else { "max" };
    let passes = |value: f64, limit: f64| if greater { value >= limit } else { value <= limit };
    held(&format!("{side}.{metric}"), evaluation.value(metric), limit, passes, |value, passed| {
        let verb = match (greater, passed) {
            (true, true) => "at least",
            (true, false) => "below",
            (false, true) => "at most",
            (false, false) => "above",
        };
        format!("{metric} is {value:.4}, {verb} {limit}")
    })
}

fn judge_floors(
    evaluation: &Evaluation,
    measure: ClassMeasure,
    floor: &ClassFloor,
    findings: &mut Vec<GateFinding>,
) {
    let least_of = |class: &str| match floor {
        ClassFloor::Every(least) => Some(*least),
        ClassFloor::ByClass(classes) => classes.get(class).or_else(|| classes.get("*")).copied(),
    };
    for class in &evaluation.per_class {
        if let Some(least) = least_of(&class.class) {
            findings.push(judge_floor(class, measure, least));
        }
    }
    let ClassFloor::ByClass(classes) = floor else { return };
    for (named, least) in classes.iter().filter(|(named, _)| *named != "*") {
        if !evaluation.classes.contains(named) {
            let gate = floor_gate(measure, named);
            findings.push(unmeasured(&gate, *least, &format!("the model has no class `{named}`")));
        }
    }
}

fn judge_floor(class: &ClassResult, measure: ClassMeasure, least: f64) -> GateFinding {
    let estimate = match measure {
        ClassMeasure::Precision => &class.precision,
        ClassMeasure::Recall => &class.recall,
        ClassMeasure::F1 => &class.f1,
    };
    let gate = floor_gate(measure, &class.class);
    held(
        &gate,
        estimate.value,
        least,
        |value, least| value >= least,
        |value, passed| {
            let verb = if passed { "at least" } else { "below" };
            format!(
                "{measure} of class `{}` ({} rows) is {value:.4}, {verb} {least}",
                class.class, class.support
            )
        },
    )
}

fn judge_majority(evaluation: &Evaluation) -> GateFinding {
    let result = evaluation.metrics.get(&Metric::MacroF1);
    let Some((result, dummy)) = result.and_then(|result| Some((result, result.majority?))) else {
        return unmeasured("beat_majority", 0.0, "macro-f1 of the majority dummy is undefined");
    };
    let least = result.value.map(|value| result.interval.map_or(value, |interval| interval.low));
    held(
        "beat_majority",
        least,
        dummy,
        |value, dummy| value > dummy,
        |value, passed| {
            let verb = if passed { "is above" } else { "is not above" };
            let what = if result.interval.is_some() { "the lower end of macro-f1" } else { "macro-f1" };
            format!("{what}, {value:.4}, {verb} the {dummy:.4} of always deciding the most frequent class")
        },
    )
}

/// A finding about `measured` against `threshold`; what is undefined or not finite could not be measured.
fn held(
    gate: &str,
    measured: Option<f64>,
    threshold: f64,
    passes: impl Fn(f64, f64) -> bool,
    text: impl Fn(f64, bool) -> String,
) -> GateFinding {
    let Some(value) = measured.filter(|value| value.is_finite()) else {
        return unmeasured(gate, threshold, "there is no value for these rows");
    };
    let passed = passes(value, threshold);
    let text = text(value, passed);
    GateFinding { gate: gate.to_owned(), passed, measured, threshold: Some(threshold), text }
}

fn unmeasured(gate: &str, threshold: f64, why: &str) -> GateFinding {
    GateFinding {
        gate: gate.to_owned(),
        passed: false,
        measured: None,
        threshold: Some(threshold),
        text: format!("could not measure: {why}"),
    }
}

fn floor_gate(measure: ClassMeasure, class: &str) -> String {
    format!("per_class_floor.{measure}.\"{class}\"")
}

fn shown(value: Option<f64>) -> String {
    value.map_or_else(|| "undefined".to_owned(), |value| format!("{value:.4}"))
}
