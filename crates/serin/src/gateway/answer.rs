//! Answers as bytes.

use serde_json::{Value, json};

use super::media::Form;
use super::model::{Contribution, Predictions, Reasons, ServedModel};

/// The answer to one request, in `form`; with a row's reasons where the form has a place for them.
#[must_use]
pub fn encode(
    form: Form,
    model: &ServedModel,
    inference_id: &str,
    predictions: &Predictions,
    reasons: Option<&[Reasons]>,
) -> Vec<u8> {
    match form {
        Form::Json => json(model, inference_id, predictions, reasons),
        Form::JsonLines => json_lines(model, predictions, reasons),
        Form::Csv => csv(model, predictions, false),
        Form::CsvWithProbabilities => csv(model, predictions, true),
    }
}

/// `{"model_version": ..., "inference_id": ..., "predictions": [{"class": ..., "probabilities": {...}}, ...]}`
fn json(
    model: &ServedModel,
    inference_id: &str,
    predictions: &Predictions,
    reasons: Option<&[Reasons]>,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(128 + predictions.probabilities.len() * 28);
    out.extend_from_slice(b"{\"model_version\":");
    write_json(&mut out, &model.version());
    out.extend_from_slice(b",\"inference_id\":");
    write_json(&mut out, &inference_id);
    out.extend_from_slice(b",\"predictions\":[");
    for (i, (class, probabilities)) in each_row(model, predictions).enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_prediction(&mut out, model, class, probabilities, reasons.and_then(|reasons| reasons.get(i)));
    }
    out.extend_from_slice(b"]}");
    out
}

/// A prediction a line.
fn json_lines(model: &ServedModel, predictions: &Predictions, reasons: Option<&[Reasons]>) -> Vec<u8> {
    let mut out = Vec::with_capacity(predictions.probabilities.len() * 28);
    for (i, (class, probabilities)) in each_row(model, predictions).enumerate() {
        write_prediction(&mut out, model, class, probabilities, reasons.and_then(|reasons| reasons.get(i)));
        out.push(b'\n');
    }
    out
}

/// `{"class": ..., "probabilities": {"<class>": p, ...}, "explanation": ...}`, the last only when it was asked for.
fn write_prediction(
    out: &mut Vec<u8>,
    model: &ServedModel,
    class: usize,
    probabilities: &[f64],
    reasons: Option<&Reasons>,
) {
    out.extend_from_slice(b"{\"class\":");
    out.extend_from_slice(&model.classes()[class].json);
    // Some containers name classes and nothing else.
    if !probabilities.is_empty() {
        out.extend_from_slice(b",\"probabilities\":{");
        for (i, (name, probability)) in model.classes().iter().zip(probabilities).enumerate() {
            if i > 0 {
                out.push(b',');
            }
            out.extend_from_slice(&name.json);
            out.push(b':');
            write_json(out, probability);
        }
        out.push(b'}');
    }
    if let Some(reasons) = reasons {
        out.extend_from_slice(b",\"explanation\":");
        write_json(out, &explanation(model, reasons));
    }
    out.push(b'}');
}

fn explanation(model: &ServedModel, reasons: &Reasons) -> Value {
    let contribution = |reason: &Contribution| {
        // A missing value is null.
        let name = &model.guard().names()[reason.feature];
        json!({ "feature": name, "value": reason.value, "contribution": reason.contribution })
    };
    let contributions: Vec<Value> = reasons.contributions.iter().map(contribution).collect();
    json!({ "unit": reasons.unit, "base": reasons.base, "contributions": contributions })
}

/// One class a line, and its probabilities when asked for; no header, as SageMaker's containers answer.
fn csv(model: &ServedModel, predictions: &Predictions, with_probabilities: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for (class, probabilities) in each_row(model, predictions) {
        out.extend_from_slice(&model.classes()[class].csv);
        if with_probabilities {
            for probability in probabilities {
                out.push(b',');
                write_json(&mut out, probability);
            }
        }
        out.push(b'\n');
    }
    out
}

fn each_row<'a>(
    model: &ServedModel,
    predictions: &'a Predictions,
) -> impl Iterator<Item = (usize, &'a [f64])> {
    let n_classes = model.classes().len().max(1);
    let of_row =
        move |row| predictions.probabilities.get(row * n_classes..(row + 1) * n_classes).unwrap_or_default();
    predictions.chosen.iter().enumerate().map(move |(row, class)| (*class, of_row(row)))
}

/// Strings and finite numbers always serialise into memory.
fn write_json(out: &mut Vec<u8>, value: &(impl serde::Serialize + ?Sized)) {
    let _ = serde_json::to_writer(out, value);
}
