//! What the words and numbers of a report mean. Every heading that names one links here and shows it on hover.

/// A word with its meaning. `name` is also the anchor (`#term-<name>`).
#[derive(Debug, PartialEq, Eq)]
pub struct Term {
    pub name: &'static str,
    pub title: &'static str,
    pub definition: &'static str,
}

/// The term of a metric or a concept; `macro_f1`, `Macro-F1` and `macro-f1` are the same.
pub fn term(name: &str) -> Option<&'static Term> {
    let wanted = name.trim().to_lowercase().replace(['_', ' '], "-");
    let wanted =
        SYNONYMS.iter().find(|(synonym, _)| *synonym == wanted).map_or(wanted.as_str(), |(_, name)| name);
    TERMS.iter().find(|term| term.name == wanted)
}

/// The title of a metric as a page shows it; a metric unknown here keeps the name it was given.
pub fn metric_title(name: &str) -> String {
    term(name).map_or_else(|| super::page::short_name(name), |term| term.title.to_owned())
}

/// The same within a sentence: `Macro-F1` is written `macro-F1`, but `ROC AUC` stays.
pub fn metric_in_prose(name: &str) -> String {
    let title = metric_title(name);
    let mut characters = title.chars();
    match (characters.next(), characters.next()) {
        (Some(first), Some(second)) if first.is_uppercase() && second.is_lowercase() => {
            first.to_lowercase().chain(title.chars().skip(1)).collect()
        }
        _ => title,
    }
}

/// Metrics for which smaller is better.
pub fn lower_is_better(name: &str) -> bool {
    term(name).is_some_and(|term| matches!(term.name, "log-loss" | "brier" | "calibration-error"))
}

const SYNONYMS: &[(&str, &str)] = &[
    ("expected-calibration-error", "calibration-error"),
    ("ece", "calibration-error"),
    ("brier-score", "brier"),
    ("macro-roc-auc", "roc-auc"),
    ("roc-auc-ovr", "roc-auc"),
    ("macro-pr-auc", "pr-auc"),
    ("pr-auc-ovr", "pr-auc"),
    ("average-precision", "pr-auc"),
];

/// In the order of the glossary.
pub const TERMS: &[Term] = &[
    Term {
        name: "gate",
        title: "Gate",
        definition: "The rules of the configuration that a model must meet before it may be deployed. A rule that \
                     could not be measured is not met.",
    },
    Term {
        name: "majority-dummy",
        title: "Majority dummy",
        definition: "A model that ignores its input: it always answers the most frequent training class, with the \
                     class shares as probabilities. What it scores is what can be had for nothing.",
    },
    Term {
        name: "interval",
        title: "Interval",
        definition: "The range of scores that other samples of as many rows would plausibly give, by resampling \
                     the rows (bootstrap) or from the spread over folds. It does not cover a change in the data.",
    },
    Term {
        name: "hold-out",
        title: "Hold-out",
        definition: "Rows that took no part in fitting or choosing the model. Only they say what to expect of new \
                     rows.",
    },
    Term {
        name: "out-of-fold",
        title: "Out of fold",
        definition: "Stratified cross-validation: the training rows are cut into folds with equal class shares, and \
                     each fold is predicted by a model fitted on the others. The model is chosen by these scores, \
                     so the best of many is a little too good.",
    },
    Term {
        name: "accuracy",
        title: "Accuracy",
        definition: "Share of rows whose decided class is the true one.",
    },
    Term {
        name: "balanced-accuracy",
        title: "Balanced accuracy",
        definition: "Mean over the classes of recall, so that a rare class counts as much as a frequent one.",
    },
    Term {
        name: "precision",
        title: "Precision",
        definition: "Of the rows decided to be this class, the share that is: true positives / (true positives + \
                     false positives).",
    },
    Term {
        name: "recall",
        title: "Recall",
        definition: "Of the rows that are this class, the share that was found: true positives / (true positives + \
                     false negatives).",
    },
    Term {
        name: "f1",
        title: "F1",
        definition: "Harmonic mean of precision and recall: 2PR / (P + R). Low when either is low.",
    },
    Term {
        name: "macro-f1",
        title: "Macro-F1",
        definition: "Unweighted mean of the classes' F1: every class counts the same, however rare.",
    },
    Term {
        name: "macro-precision",
        title: "Macro precision",
        definition: "Unweighted mean of the classes' precision.",
    },
    Term {
        name: "macro-recall",
        title: "Macro recall",
        definition: "Unweighted mean of the classes' recall.",
    },
    Term {
        name: "weighted-f1",
        title: "Weighted F1",
        definition: "Mean of the classes' F1, weighted by their number of rows: frequent classes dominate.",
    },
    Term {
        name: "weighted-precision",
        title: "Weighted precision",
        definition: "Mean of the classes' precision, weighted by their number of rows.",
    },
    Term {
        name: "weighted-recall",
        title: "Weighted recall",
        definition: "Mean of the classes' recall, weighted by their number of rows; equal to accuracy.",
    },
    Term {
        name: "support",
        title: "Rows",
        definition: "Number of evaluated rows whose true class is this one.",
    },
    Term {
        name: "log-loss",
        title: "Log loss",
        definition: "Mean of −ln(probability given to the true class). Smaller is better; it punishes confident \
                     errors.",
    },
    Term {
        name: "brier",
        title: "Brier score",
        definition: "Mean over rows of the summed squared differences between the probabilities and the truth \
                     (1 for the true class, 0 for the others). Smaller is better; 0 to 2.",
    },
    Term {
        name: "calibration-error",
        title: "Calibration error",
        definition: "Expected calibration error: mean gap between the probability of the most probable class and \
                     the share of rows that were right, over bins weighted by their rows. Smaller is better.",
    },
    Term {
        name: "roc-auc",
        title: "ROC AUC",
        definition: "Area under the curve of true positive rate over false positive rate, one class against the \
                     rest: the chance that a row of the class gets a higher probability than a row of another. \
                     0.5 is guessing.",
    },
    Term {
        name: "pr-auc",
        title: "PR AUC",
        definition: "Average precision: area under precision over recall, one class against the rest. Guessing \
                     gives the class's share of rows.",
    },
    Term {
        name: "correlation",
        title: "Correlation",
        definition: "Pearson's r of two columns over the rows where both are present: −1 to 1.",
    },
    Term {
        name: "overlap",
        title: "Overlap",
        definition: "Rows of the hold-out that equal, or nearly equal, a training row in every input. A model can \
                     know them by heart, so they flatter its score.",
    },
    Term {
        name: "fingerprint",
        title: "Fingerprint",
        definition: "A hash of the table's content (column names, types, values), whatever file format it came in.",
    },
    Term {
        name: "recipe",
        title: "Recipe",
        definition: "The steps that turn raw rows into what a model is fitted on. Each is fitted inside each fold \
                     and never sees the rows it is judged by.",
    },
    Term {
        name: "reference-recipe",
        title: "Reference recipe",
        definition: "A fixed preset for comparison: mean imputation, SMOTE-Tomek, z-scores, features that carry \
                     80 % of the importance, no pair with |r| ≥ 0.9, PCA to 99 % of the variance, boosted trees.",
    },
    Term {
        name: "ensemble",
        title: "Ensemble",
        definition: "Several fitted models whose probabilities are averaged with weights chosen on out-of-fold \
                     rows. Offered only if it wins by more than noise.",
    },
    Term {
        name: "calibration",
        title: "Calibration",
        definition: "A correction, fitted on out-of-fold rows, after which a probability of 0.8 is right about 8 \
                     times in 10. It does not see the hold-out.",
    },
    Term {
        name: "decision-rule",
        title: "Decision rule",
        definition: "How a class is decided from the probabilities. It is chosen for the optimised metric on \
                     out-of-fold rows and may differ from the most probable class; the probabilities themselves \
                     stay as they are.",
    },
    Term {
        name: "gain",
        title: "Gain",
        definition: "How much the model's splits on this column improved its training objective, as a share of all \
                     splits. It favours columns with many distinct values.",
    },
    Term {
        name: "permutation-importance",
        title: "Permutation importance",
        definition: "How much the metric falls when this column's values are shuffled among the rows. Columns that \
                     repeat each other share their importance and each looks weak.",
    },
    Term {
        name: "learning-curve",
        title: "Learning curve",
        definition: "The score of the chosen model when it is fitted on fewer rows. If it still rises at the end, \
                     more rows would help.",
    },
    Term {
        name: "digest",
        title: "Digest",
        definition: "SHA-256 of an artifact's bytes. Equal digests mean equal artifacts.",
    },
    Term {
        name: "seed",
        title: "Seed",
        definition: "The number from which all randomness of the run is drawn. The same data, configuration, seed \
                     and number of trials give the same bundle digest, on any number of threads.",
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_anchors() {
        let names: BTreeSet<&str> = TERMS.iter().map(|term| term.name).collect();
        assert_eq!(names.len(), TERMS.len());
        let is_anchor =
            |name: &str| name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        assert!(names.into_iter().all(is_anchor));
        assert!(SYNONYMS.iter().all(|(_, name)| TERMS.iter().any(|term| term.name == *name)));
    }

    #[test]
    fn metrics_are_found_however_they_are_spelt() {
        for name in ["macro-f1", "macro_f1", "Macro F1"] {
            assert_eq!(metric_title(name), "Macro-F1");
        }
        assert_eq!(metric_title("ece"), "Calibration error");
        assert_eq!(metric_title("<own metric>"), "<own metric>");
        assert_eq!(metric_in_prose("macro-f1"), "macro-F1");
        assert_eq!(metric_in_prose("roc-auc"), "ROC AUC");
        assert_eq!(metric_in_prose("f1"), "F1");
        assert!(lower_is_better("log-loss") && !lower_is_better("accuracy"));
    }
}
