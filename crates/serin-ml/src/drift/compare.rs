//! A window beside its baseline: what moved, by how much, and whether that can be chance.

use serde::{Deserialize, Serialize};

use super::bins::ColumnBins;
use super::distance::Distances;
use super::predictions::{PredictionBaseline, PredictionReport};
use super::reference::{Reference, ReferenceColumn};
use super::tests_of_change::{
    Groups, discovery_limit, homogeneity, kolmogorov_smirnov, shares_differ, unseen,
};
use super::window::{ColumnWindow, Window};

/// How many tests a feature is put to: its probability is the least of theirs times so many.
const TESTS: f64 = 6.0;
/// Missing, unseen and odd values count from this share on.
const LEAST_ODD_SHARE: f64 = 0.01;
/// A data set most of whose rows differ is expected to go on so.
const DISTINCT_FEATURE: f64 = 0.5;
/// Up to this share of different rows, repeated ones are no accident of the estimate.
const REPEATED: f64 = 0.9;
/// Fewer different rows than this part of all rows are a feed that repeats itself.
const LEAST_DISTINCT_ROWS: f64 = 0.5;

/// How strict to be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CompareOptions {
    /// The probability that anything is found in a window in which nothing changed.
    pub false_alarm: f64,
    /// With fewer rows nothing is said.
    pub least_rows: u64,
    /// A change of fewer than this share of rows is not worth telling, however certain it is.
    pub least_shift: f64,
}

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Rows of the baseline.
    pub baseline_rows: u64,
    /// Rows of the window.
    pub rows: u64,
    /// Different rows of the window, about.
    pub distinct_rows: f64,
    /// What follows.
    pub verdict: Verdict,
    /// Everything found, most damaging first.
    pub findings: Vec<Finding>,
    /// Every feature, in the model's order.
    pub columns: Vec<ColumnReport>,
    /// Predictions beside those on the hold-out; `None` without them.
    pub predictions: Option<PredictionReport>,
}

/// What follows from a comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing that cannot be chance.
    Stable,
    /// Something changed.
    Changed,
    /// Too little is known: that is not "fine".
    Insufficient { reason: String },
}

/// Something that changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The feature; `None` when it is about whole rows or predictions.
    pub column: Option<String>,
    /// What kind of change.
    pub kind: ChangeKind,
    /// How much it matters.
    pub severity: Severity,
    /// The probability of such a difference by chance, after correction for the tests a feature is put to.
    pub p: f64,
    /// Share of rows that changed, 0 to 1.
    pub shift: f64,
    /// Importance of the feature times the shift; 0 without importance.
    pub damage: f64,
    /// One sentence without a full stop.
    pub text: String,
}

/// What kind of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// Values moved to one side.
    Distribution,
    /// Values are spread in another way.
    Shape,
    /// Another share is missing.
    Missing,
    /// Values outside the range, or others than those seen.
    Unseen,
    /// Fractions where there were whole numbers only.
    Type,
    /// One value only.
    Constant,
    /// The same rows again and again.
    DuplicateFeed,
    /// A column of the baseline is not there.
    AbsentColumn,
    /// A column that the baseline has not.
    ExtraColumn,
    /// Classes are predicted in other shares.
    ClassMix,
    /// The model is sure in another degree.
    Confidence,
}

/// Whether it is about the data's form or its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The data is of another form: something upstream is broken.
    Quality,
    /// The data is of another population.
    Drift,
}

/// One feature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ColumnReport {
    /// Its name.
    pub name: String,
    /// The probability of what was seen if nothing changed, corrected for the tests the feature was put to, not for the
    /// number of features.
    pub p: f64,
    /// Whether that counts as a change, all features together.
    pub is_changed: bool,
    /// Largest share of rows that moved in any test.
    pub shift: f64,
    /// The distances of the field.
    pub distances: Distances,
    /// Importance in the model, the greatest being 1; `None` when it is not known.
    pub importance: Option<f64>,
    /// Before and now: share of missing values.
    pub missing: (f64, f64),
    /// Before and now: mean.
    pub mean: (Option<f64>, Option<f64>),
    /// Before and now: standard deviation.
    pub deviation: (Option<f64>, Option<f64>),
    /// Now: share of values outside the range of the baseline or between its distinct values.
    pub unseen: f64,
}

/// How much each feature matters to the model, by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Damage {
    importances: Vec<(String, f64)>,
}

/// Why a comparison cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DriftError {
    /// The window was counted in other bins.
    #[error("the window was counted against another baseline")]
    OtherBins,
    /// The baseline has other features.
    #[error("the baseline has no feature {0:?}")]
    UnknownFeature(String),
}

/// One test of one feature.
struct Test {
    kind: ChangeKind,
    p: f64,
    shift: f64,
    least_shift: f64,
    text: String,
}

impl Default for CompareOptions {
    /// One false alarm a month of hourly windows before confirmation, 200 rows, 5 of 100 rows.
    fn default() -> Self {
        Self { false_alarm: 1.0 / 720.0, least_rows: 200, least_shift: 0.05 }
    }
}

impl Damage {
    /// Importances of any scale: the greatest becomes 1.
    #[must_use]
    pub fn of(importances: impl IntoIterator<Item = (String, f64)>) -> Self {
        let mut importances: Vec<(String, f64)> = importances
            .into_iter()
            .map(|(name, value)| (name, if value.is_finite() { value.max(0.0) } else { 0.0 }))
            .collect();
        let greatest = importances.iter().map(|(_, value)| *value).fold(0.0, f64::max);
        if greatest > 0.0 {
            importances.iter_mut().for_each(|(_, value)| *value /= greatest);
        }
        importances.sort_by(|a, b| a.0.cmp(&b.0));
        Self { importances }
    }

    fn of_column(&self, name: &str) -> Option<f64> {
        let place = self.importances.binary_search_by(|(other, _)| other.as_str().cmp(name)).ok();
        match place {
            Some(place) => self.importances.get(place).map(|(_, value)| *value),
            // A feature that the model has never used matters nothing, if it is known what matters.
            None if self.importances.is_empty() => None,
            None => Some(0.0),
        }
    }
}

/// Compares a window with the baseline whose bins it was counted in, and its predictions with those on the hold-out.
///
/// Each feature is put to six tests; the least of their probabilities times six is the feature's (Bonferroni), and
/// features and predictions together are corrected by Benjamini and Hochberg's procedure, so that in a window without any
/// change the probability of a finding is at most `false_alarm`. Both samples' sizes count: a small baseline is as uncertain as a small
/// window.
///
/// # Errors
/// When window, bins and baseline do not belong together.
pub fn compare(
    reference: &Reference,
    window: &Window,
    predictions: Option<&PredictionBaseline>,
    damage: &Damage,
    options: &CompareOptions,
) -> Result<Comparison, DriftError> {
    let bins = &reference.bins;
    if !window.fits(bins) {
        return Err(DriftError::OtherBins);
    }
    let distinct_rows = window.distinct_rows.estimate().min(window.rows as f64);
    let worth = worth(reference, window.rows, distinct_rows);
    let mut columns = Vec::with_capacity(bins.columns.len());
    let mut tests = Vec::with_capacity(bins.columns.len());
    let pairs = bins.columns.iter().zip(&reference.columns).zip(&window.columns);
    for ((bins, before), window) in pairs {
        let (mut report, of_column) = column(bins, before, window, worth, options);
        report.importance = damage.of_column(&bins.name);
        columns.push(report);
        tests.push(of_column);
    }
    let predictions = predictions
        .filter(|_| window.predictions.rows() > 0)
        .map(|before| window.predictions.report(before, &bins.classes, worth));
    let mut comparison = Comparison {
        baseline_rows: reference.rows,
        rows: window.rows,
        distinct_rows,
        verdict: Verdict::Stable,
        findings: Vec::new(),
        columns,
        predictions,
    };
    if let Some(reason) = too_little(reference.rows, window.rows, options) {
        comparison.verdict = Verdict::Insufficient { reason };
        return Ok(comparison);
    }
    comparison.find(&tests, reference, options);
    if !comparison.findings.is_empty() {
        comparison.verdict = Verdict::Changed;
    }
    Ok(comparison)
}

/// How much of a row each row is worth as evidence: rows that came again and again are not new draws, if rows of the
/// baseline could hardly be equal by chance.
fn worth(reference: &Reference, rows: u64, distinct: f64) -> f64 {
    let columns = reference.columns.iter();
    let possible: f64 = columns.map(|column| column.summary.distinct.max(1.0).ln()).sum();
    let rows = rows.max(1) as f64;
    if possible > (rows * rows).ln() && distinct < REPEATED * rows {
        (distinct / rows).max(1.0 / rows)
    } else {
        1.0
    }
}

fn too_little(before: u64, now: u64, options: &CompareOptions) -> Option<String> {
    let least = options.least_rows.max(1);
    if now == 0 {
        return Some("there are no rows".to_owned());
    }
    if now < least {
        return Some(format!("{now} rows, at least {least} are needed"));
    }
    (before < least).then(|| format!("the baseline has {before} rows, at least {least} are needed"))
}

impl Comparison {
    /// Features with a finding.
    #[must_use]
    pub fn changed_columns(&self) -> usize {
        self.columns.iter().filter(|column| column.is_changed).count()
    }

    /// Whether a finding is of this severity.
    #[must_use]
    pub fn has(&self, severity: Severity) -> bool {
        self.findings.iter().any(|finding| finding.severity == severity)
    }

    fn find(&mut self, tests: &[Vec<Test>], reference: &Reference, options: &CompareOptions) {
        let of_predictions = self.predictions.as_ref().map(prediction_tests).unwrap_or_default();
        let mut probabilities: Vec<f64> = self.columns.iter().map(|column| column.p).collect();
        probabilities.extend(of_predictions.iter().map(|test| test.p));
        let limit = discovery_limit(&probabilities, options.false_alarm);
        let mut findings = Vec::new();
        for (column, tests) in self.columns.iter_mut().zip(tests) {
            for test in tests.iter().filter(|test| test.p * TESTS <= limit && test.shift >= test.least_shift)
            {
                column.is_changed = true;
                let mut finding = test.finding(Some(column.name.clone()));
                finding.p = (test.p * TESTS).min(1.0);
                finding.damage = column.importance.unwrap_or(0.0) * test.shift;
                findings.push(finding);
            }
        }
        for test in of_predictions.iter().filter(|test| test.p <= limit && test.shift >= options.least_shift)
        {
            let mut finding = test.finding(None);
            // What the model answers is what it is there for.
            finding.damage = test.shift;
            findings.push(finding);
        }
        findings.extend(self.duplicates(reference));
        // Equal damage (nothing is known of importance): the greater shift first; then the order of features.
        findings.sort_by(|a, b| b.damage.total_cmp(&a.damage).then(b.shift.total_cmp(&a.shift)));
        self.findings = findings;
    }

    /// Rows that repeat, where the baseline has features whose values hardly do.
    fn duplicates(&self, reference: &Reference) -> Option<Finding> {
        let differs = |column: &ReferenceColumn| {
            column.summary.distinct > DISTINCT_FEATURE * column.summary.count as f64
        };
        let share = self.distinct_rows / self.rows.max(1) as f64;
        (share < LEAST_DISTINCT_ROWS && reference.columns.iter().any(differs)).then(|| Finding {
            column: None,
            kind: ChangeKind::DuplicateFeed,
            severity: Severity::Quality,
            p: 0.0,
            shift: 1.0 - share,
            damage: 1.0 - share,
            text: format!(
                "of {} rows about {:.0} differ: the feed repeats itself",
                self.rows, self.distinct_rows
            ),
        })
    }
}

impl Test {
    fn finding(&self, column: Option<String>) -> Finding {
        Finding {
            column,
            kind: self.kind,
            severity: self.kind.severity(),
            p: self.p,
            shift: self.shift,
            damage: 0.0,
            text: self.text.clone(),
        }
    }
}

impl ChangeKind {
    /// What it is about.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            Self::Missing
            | Self::Unseen
            | Self::Type
            | Self::Constant
            | Self::DuplicateFeed
            | Self::AbsentColumn
            | Self::ExtraColumn => Severity::Quality,
            Self::Distribution | Self::Shape | Self::ClassMix | Self::Confidence => Severity::Drift,
        }
    }

    /// Its name as stored and shown.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Distribution => "distribution",
            Self::Shape => "shape",
            Self::Missing => "missing",
            Self::Unseen => "unseen",
            Self::Type => "type",
            Self::Constant => "constant",
            Self::DuplicateFeed => "duplicate-feed",
            Self::AbsentColumn => "absent-column",
            Self::ExtraColumn => "extra-column",
            Self::ClassMix => "class-mix",
            Self::Confidence => "confidence",
        }
    }
}

fn prediction_tests(report: &PredictionReport) -> Vec<Test> {
    let most = report.classes.iter().max_by(|a, b| (a.2 - a.1).abs().total_cmp(&(b.2 - b.1).abs()));
    let mix = most.map_or_else(String::new, |(class, before, now)| {
        format!(
            "class {class} is predicted for {:.1} % of rows, on the hold-out for {:.1} %",
            100.0 * now,
            100.0 * before
        )
    });
    let percent = |value: Option<f64>| {
        value.map_or_else(|| "unknown".to_owned(), |value| format!("{:.1} %", 100.0 * value))
    };
    let confidence = format!(
        "mean confidence is {}, on the hold-out {}",
        percent(report.confidence_now),
        percent(report.confidence_before)
    );
    vec![
        Test {
            kind: ChangeKind::ClassMix,
            p: report.class_mix_p,
            shift: report.class_mix_shift,
            least_shift: 0.0,
            text: mix,
        },
        Test {
            kind: ChangeKind::Confidence,
            p: report.confidence_p,
            shift: report.confidence_shift,
            least_shift: 0.0,
            text: confidence,
        },
    ]
}

/// One feature's report and tests.
fn column(
    bins: &ColumnBins,
    before: &ReferenceColumn,
    window: &ColumnWindow,
    worth: f64,
    options: &CompareOptions,
) -> (ColumnReport, Vec<Test>) {
    let ReferenceColumn { counts, summary, singles } = before;
    let (n, m) = (counts.iter().sum::<u64>(), window.present());
    let missing_before = summary.missing + summary.non_finite;
    let missing_now = window.missing + window.non_finite;
    let share = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
    let missing = (share(missing_before, n + missing_before), share(missing_now, m + missing_now));
    let range = summary.min.zip(summary.max);
    let deviation = summary.variance.map(f64::sqrt);
    let distances = Distances::between(bins, counts, missing_before, range, deviation.unwrap_or(0.0), window);
    let (mean_before, mean_now) = (summary.mean, window.mean(bins));
    let number = |value: Option<f64>| value.map_or_else(|| "none".to_owned(), compact);
    let means = format!("mean {} instead of {}", number(mean_now), number(mean_before));

    // What the rows are worth as evidence.
    let less = |count: u64| (count as f64 * worth).round() as u64;
    let counted: Vec<u64> = window.counts.iter().map(|&count| less(count)).collect();
    let groups = Groups::of(counts, &counted, true);
    let never: u64 =
        counts.iter().zip(&window.counts).filter(|(before, _)| **before == 0).map(|(_, now)| now).sum();
    let rare = if bins.is_discrete { 1 + singles } else { 2 };
    let fractions = if summary.integers == n && n > 0 { m - window.integers.min(m) } else { 0 };
    let most_frequent = counts.iter().copied().max().unwrap_or(0);
    let is_constant =
        window.range.is_some_and(|(low, high)| low == high) && summary.min != summary.max && m > 1;
    let outside = match (range, window.range) {
        (Some((low, high)), Some((now_low, now_high))) if now_low < low || now_high > high => format!(
            "{:.1} % of values are new: they go from {} to {}, in the baseline from {} to {}",
            100.0 * share(never, m),
            compact(now_low),
            compact(now_high),
            compact(low),
            compact(high)
        ),
        _ => format!("{:.1} % of values are none of those in the baseline", 100.0 * share(never, m)),
    };
    let tests = vec![
        Test {
            kind: ChangeKind::Distribution,
            p: kolmogorov_smirnov(distances.ks, n, less(m)),
            shift: distances.ks,
            least_shift: options.least_shift,
            text: format!("{:.1} % of values moved ({means})", 100.0 * distances.ks),
        },
        Test {
            kind: ChangeKind::Shape,
            p: homogeneity(&groups),
            shift: groups.total_variation(),
            least_shift: options.least_shift,
            text: format!(
                "{:.1} % of values are elsewhere (standard deviation {} instead of {})",
                100.0 * groups.total_variation(),
                number(window.deviation()),
                number(deviation)
            ),
        },
        Test {
            kind: ChangeKind::Missing,
            p: shares_differ(
                (missing_before, n + missing_before),
                (less(missing_now), less(missing_now) + less(m)),
            ),
            shift: (missing.1 - missing.0).abs(),
            least_shift: LEAST_ODD_SHARE,
            text: format!(
                "{:.1} % of values are missing instead of {:.1} %",
                100.0 * missing.1,
                100.0 * missing.0
            ),
        },
        Test {
            kind: ChangeKind::Unseen,
            p: unseen(less(never), less(m), rare, n),
            shift: share(never, m),
            least_shift: LEAST_ODD_SHARE,
            text: outside,
        },
        Test {
            kind: ChangeKind::Type,
            p: unseen(less(fractions), less(m), 1, n),
            shift: share(fractions, m),
            least_shift: LEAST_ODD_SHARE,
            text: format!(
                "{:.1} % of values have fractions, the baseline has whole numbers",
                100.0 * share(fractions, m)
            ),
        },
        Test {
            kind: ChangeKind::Constant,
            // All the same as the first, which has some value.
            p: if is_constant {
                share(most_frequent + 1, n + 1).powf(less(m).saturating_sub(1) as f64)
            } else {
                1.0
            },
            shift: if is_constant { 1.0 - share(most_frequent, n) } else { 0.0 },
            least_shift: LEAST_ODD_SHARE,
            text: format!("every value is {}", number(window.range.map(|(low, _)| low))),
        },
    ];
    let least = tests.iter().map(|test| test.p).fold(1.0, f64::min);
    let report = ColumnReport {
        name: bins.name.clone(),
        p: (least * TESTS).min(1.0),
        is_changed: false,
        shift: tests.iter().map(|test| test.shift).fold(0.0, f64::max),
        distances,
        importance: None,
        missing,
        mean: (mean_before, mean_now),
        deviation: (deviation, window.deviation()),
        unseen: share(never, m),
    };
    (report, tests)
}

/// A number with at most five digits that matter.
fn compact(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude == 0.0 {
        "0".to_owned()
    } else if (1e-3..1e6).contains(&magnitude) {
        let decimals = (4 - magnitude.log10().floor() as i32).clamp(0, 7) as usize;
        let text = format!("{value:.decimals$}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    } else {
        format!("{value:.3e}")
    }
}
