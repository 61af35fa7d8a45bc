//! How good the answers were, now that the truth is known of some of them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::capture::LabelledCounts;

/// The quality of one model version on labelled live rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QualityReport {
    pub model_version: String,
    /// Rows answered.
    pub answered: u64,
    /// Those whose truth is known.
    pub labelled: u64,
    /// Rows whose truth is none of the model's classes: they are left out.
    #[serde(default)]
    pub other_labels: u64,
    /// Their share.
    pub coverage: f64,
    /// Mean seconds from the answer to the truth.
    pub delay_seconds: Option<f64>,
    /// Share of right answers; like the next three `None` without labels.
    pub accuracy: Option<f64>,
    /// Mean recall over classes that have rows.
    pub balanced_accuracy: Option<f64>,
    /// Mean F1 over classes that have rows.
    pub macro_f1: Option<f64>,
    /// Mean F1 weighted by rows.
    pub weighted_f1: Option<f64>,
    /// One entry a class that has rows or was predicted, by name.
    pub classes: Vec<ClassQuality>,
    /// Half the width of the 95 % interval of the accuracy (Wilson, centred on it).
    pub accuracy_margin: Option<f64>,
}

/// One class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassQuality {
    pub class: String,
    /// Rows of the class.
    pub rows: u64,
    /// Rows predicted as it.
    pub predicted: u64,
    /// Share of predictions that are right; `None` without any.
    pub precision: Option<f64>,
    /// Share of its rows found; `None` without any.
    pub recall: Option<f64>,
    /// 2 hits / (rows + predicted).
    pub f1: f64,
}

/// The quality of what was counted, of a model that knows these classes. Means over classes are over those that have rows.
#[must_use]
pub fn quality(labelled: &LabelledCounts, known: &[String]) -> QualityReport {
    // Rows, predicted as it, hits.
    let mut counts: BTreeMap<&str, [u64; 3]> = BTreeMap::new();
    let (mut total, mut right, mut other_labels) = (0, 0, 0);
    let names: BTreeSet<&str> = known.iter().map(String::as_str).collect();
    for (truth, said, rows) in &labelled.counts {
        if !names.contains(truth.as_str()) {
            other_labels += rows;
            continue;
        }
        total += rows;
        counts.entry(truth).or_default()[0] += rows;
        counts.entry(said).or_default()[1] += rows;
        if truth == said {
            right += rows;
            counts.entry(truth).or_default()[2] += rows;
        }
    }
    let ratio = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
    let classes: Vec<ClassQuality> = counts
        .into_iter()
        .map(|(class, [rows, predicted, hits])| ClassQuality {
            class: class.to_owned(),
            rows,
            predicted,
            precision: ratio(hits, predicted),
            recall: ratio(hits, rows),
            f1: ratio(2 * hits, rows + predicted).unwrap_or(0.0),
        })
        .collect();
    let mean =
        |values: Vec<f64>| (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
    let accuracy = ratio(right, total);
    let weighted = classes.iter().map(|class| class.f1 * class.rows as f64).sum::<f64>();
    let with_rows = || classes.iter().filter(|class| class.rows > 0);
    QualityReport {
        model_version: labelled.model_version.clone(),
        answered: labelled.answered,
        labelled: total,
        other_labels,
        coverage: ratio(total.min(labelled.answered), labelled.answered).unwrap_or(0.0),
        delay_seconds: labelled.delay.map(|delay| delay.as_secs_f64()),
        accuracy,
        balanced_accuracy: mean(with_rows().filter_map(|class| class.recall).collect()),
        macro_f1: mean(with_rows().map(|class| class.f1).collect()),
        weighted_f1: (total > 0).then(|| weighted / total as f64),
        accuracy_margin: accuracy.map(|accuracy| margin(accuracy, total as f64)),
        classes,
    }
}

/// E. B. Wilson's interval (1927) at 95 %: its half width.
fn margin(share: f64, n: f64) -> f64 {
    const Z: f64 = 1.959_964;
    Z / (1.0 + Z * Z / n) * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn metrics_are_those_of_scikit_learn() {
        let count = |truth: &str, said: &str, rows| (truth.to_owned(), said.to_owned(), rows);
        let labelled = LabelledCounts {
            model_version: "3".into(),
            answered: 20,
            counts: vec![count("a", "a", 5), count("a", "b", 2), count("b", "b", 2), count("b", "c", 1)],
            delay: Some(Duration::from_secs(90)),
        };
        let known = ["a", "b", "c"].map(str::to_owned);
        let report = quality(&labelled, &known);
        // sklearn.metrics on y = a*7 + b*3, p = a*5 b*2 b*2 c: accuracy 0.7, f1_score(average="macro", labels=["a", "b"]),
        // f1_score(average="weighted").
        assert_eq!(report.labelled, 10);
        assert!((report.coverage - 0.5).abs() < 1e-12);
        assert!((report.accuracy.unwrap() - 0.7).abs() < 1e-12);
        assert!((report.macro_f1.unwrap() - f64::midpoint(10.0 / 12.0, 4.0 / 7.0)).abs() < 1e-12);
        assert!((report.weighted_f1.unwrap() - (0.7 * 10.0 / 12.0 + 0.3 * 4.0 / 7.0)).abs() < 1e-12);
        assert!((report.balanced_accuracy.unwrap() - (5.0 / 7.0 + 2.0 / 3.0) / 2.0).abs() < 1e-12);
        assert_eq!(report.classes[2].recall, None, "c has no rows");

        // What is said about classes that the model does not know is no truth about it.
        let mut odd = labelled;
        odd.counts.push(count("nonsense", "a", 1_000));
        let told = quality(&odd, &known);
        assert_eq!((told.labelled, told.other_labels, told.macro_f1), (10, 1_000, report.macro_f1));
    }

    #[test]
    fn no_label_is_no_quality() {
        let report = quality(&LabelledCounts { answered: 7, ..LabelledCounts::default() }, &[]);
        assert_eq!((report.labelled, report.accuracy, report.macro_f1), (0, None, None));
        assert_eq!(report.coverage, 0.0);
    }
}
