//! Answers as bytes.

use super::endpoint::{Endpoint, Predictions};
use super::media::Form;

/// The answer to one request, in `form`.
#[must_use]
pub fn encode(form: Form, endpoint: &Endpoint, inference_id: &str, predictions: &Predictions) -> Vec<u8> {
    match form {
        Form::Json => json(endpoint, inference_id, predictions),
        Form::Csv => csv(endpoint, predictions, false),
        Form::CsvWithProbabilities => csv(endpoint, predictions, true),
    }
}

/// `{"model_version": ..., "inference_id": ..., "predictions": [{"class": ..., "probabilities": {...}}, ...]}`
fn json(endpoint: &Endpoint, inference_id: &str, predictions: &Predictions) -> Vec<u8> {
    let mut out = Vec::with_capacity(128 + predictions.probabilities.len() * 28);
    out.extend_from_slice(b"{\"model_version\":");
    write_json(&mut out, &endpoint.model_version());
    out.extend_from_slice(b",\"inference_id\":");
    write_json(&mut out, &inference_id);
    out.extend_from_slice(b",\"predictions\":[");
    for (i, (class, probabilities)) in each_row(endpoint, predictions).enumerate() {
        out.extend_from_slice(if i == 0 { b"{\"class\":" } else { b",{\"class\":" });
        out.extend_from_slice(&endpoint.classes()[class].json);
        out.extend_from_slice(b",\"probabilities\":{");
        for (j, (name, probability)) in endpoint.classes().iter().zip(probabilities).enumerate() {
            if j > 0 {
                out.push(b',');
            }
            out.extend_from_slice(&name.json);
            out.push(b':');
            write_json(&mut out, probability);
        }
        out.extend_from_slice(b"}}");
    }
    out.extend_from_slice(b"]}");
    out
}

/// One class a line, and its probabilities when asked for; no header, as SageMaker's containers answer.
fn csv(endpoint: &Endpoint, predictions: &Predictions, with_probabilities: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for (class, probabilities) in each_row(endpoint, predictions) {
        out.extend_from_slice(&endpoint.classes()[class].csv);
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
    endpoint: &Endpoint,
    predictions: &'a Predictions,
) -> impl Iterator<Item = (usize, &'a [f64])> {
    let n_classes = endpoint.classes().len().max(1);
    predictions.chosen.iter().copied().zip(predictions.probabilities.chunks_exact(n_classes))
}

/// Strings and finite numbers always serialise into memory.
fn write_json(out: &mut Vec<u8>, value: &(impl serde::Serialize + ?Sized)) {
    let _ = serde_json::to_writer(out, value);
}
