//! Judging a bundle on labelled rows.

use serin_ml::dataset::Dataset;
use serin_ml::evaluate::{
    ChampionComparison, CheckedGates, DataFinding, Evaluation, EvaluationOptions, GateInput, GateVerdict,
    Overlap, Side, compare, evaluate,
};
use serin_ml::matrix::Matrix;
use serin_ml::model::Bundle;
use serin_ml::seed::Seed;

/// What judging gives.
#[derive(Debug, Clone)]
pub struct Judged {
    /// The numbers.
    pub evaluation: Evaluation,
    /// Set beside another bundle on the same rows.
    pub champion: Option<ChampionComparison>,
    /// What the gates say.
    pub verdict: GateVerdict,
}

/// Answers for labelled rows, to be judged.
#[derive(Debug, Clone, Copy)]
pub struct Answers<'a> {
    /// The true class of each row.
    pub truth: &'a [u32],
    /// The class decided.
    pub decisions: &'a [u32],
    /// rows x classes.
    pub probabilities: &'a Matrix,
}

/// What answers are judged by.
#[derive(Debug, Clone)]
pub struct Terms<'a> {
    /// Class names, in the order of codes.
    pub classes: &'a [String],
    /// Class shares of the training rows, which the majority dummy knows.
    pub training_priors: Option<Vec<f64>>,
    /// Share of the rows judged that also stand in the training rows.
    pub overlap: Overlap,
    /// What the data checks call an error.
    pub findings: &'a [DataFinding],
    /// What is demanded.
    pub gates: &'a CheckedGates,
    /// Where bootstrap samples come from.
    pub seed: Seed,
}

/// Judges answers against the gates, beside a champion's answers for the same rows when there are any.
#[must_use]
pub fn judge(answers: Answers<'_>, champion: Option<(&Matrix, &[u32])>, terms: &Terms<'_>) -> Judged {
    let options = EvaluationOptions {
        seed: terms.seed,
        training_priors: terms.training_priors.clone(),
        ..EvaluationOptions::default()
    };
    let evaluation =
        evaluate(answers.truth, answers.decisions, answers.probabilities, terms.classes, &options);
    let champion = champion.map(|(probabilities, decisions)| {
        let old = Side { decisions, probabilities };
        let new = Side { decisions: answers.decisions, probabilities: answers.probabilities };
        compare(answers.truth, old, new, terms.classes.len(), &terms.gates.comparison(terms.seed))
    });
    let verdict = terms.gates.judge(&GateInput {
        evaluation: &evaluation,
        overlap: terms.overlap,
        data_findings: terms.findings,
        champion: champion.as_ref(),
        recent: None,
    });
    Judged { evaluation, champion, verdict }
}

/// Judges a bundle on rows read with its schema and classes. The training rows are not at hand, so an overlap with
/// them cannot be looked for here.
#[must_use]
pub fn evaluate_bundle(
    bundle: &Bundle,
    champion: Option<&Bundle>,
    rows: &Dataset,
    gates: &CheckedGates,
) -> Option<Judged> {
    let truth = &rows.labels.as_ref()?.codes;
    let x = rows.features();
    let (probabilities, decisions) = bundle.predictor.predict(&x);
    let old = champion.map(|champion| champion.predictor.predict(&x));
    let priors = bundle.evaluation.as_ref().map(|evaluation| evaluation.majority.priors.clone());
    Some(judge(
        Answers { truth, decisions: &decisions, probabilities: &probabilities },
        old.as_ref().map(|(probabilities, decisions)| (probabilities, decisions.as_slice())),
        &Terms {
            classes: &bundle.card.classes,
            training_priors: priors,
            overlap: Overlap::NoTestSet,
            findings: &[],
            gates,
            seed: Seed(bundle.card.lineage.seed),
        },
    ))
}
