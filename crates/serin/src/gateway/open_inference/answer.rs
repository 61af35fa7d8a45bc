//! The tensors answered.

use serde_json::{Map, Value, json};

use super::request::{InferRequest, Output, OutputKind};
use super::{CLASS, PROBABILITIES};
use crate::gateway::model::{Predictions, ServedModel};

/// A body, and how many of its bytes are JSON when tensors follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InferAnswer {
    pub bytes: Vec<u8>,
    pub header_bytes: Option<usize>,
}

/// Encodes the tensors that `request` asked for.
#[must_use]
pub fn encode(
    request: &InferRequest,
    endpoint: &str,
    model: &ServedModel,
    inference_id: &str,
    predictions: &Predictions,
) -> InferAnswer {
    let mut binary = Vec::new();
    // Some containers name classes and nothing else.
    let is_there =
        |output: &&Output| output.kind != OutputKind::Probabilities || !predictions.probabilities.is_empty();
    let outputs = request.outputs.iter().filter(is_there);
    let outputs: Vec<Value> =
        outputs.map(|output| tensor(*output, model, predictions, &mut binary)).collect();
    let mut body = Map::new();
    body.insert("model_name".to_owned(), json!(endpoint));
    body.insert("model_version".to_owned(), json!(model.version()));
    if let Some(id) = &request.id {
        body.insert("id".to_owned(), json!(id));
    }
    body.insert("parameters".to_owned(), json!({ "inference_id": inference_id }));
    body.insert("outputs".to_owned(), Value::Array(outputs));
    let mut bytes = Value::Object(body).to_string().into_bytes();
    let header_bytes = request.outputs.iter().any(|output| output.is_binary).then_some(bytes.len());
    bytes.append(&mut binary);
    InferAnswer { bytes, header_bytes }
}

fn tensor(output: Output, model: &ServedModel, predictions: &Predictions, binary: &mut Vec<u8>) -> Value {
    let (n_rows, n_classes) = (predictions.chosen.len(), model.classes().len());
    let names = || predictions.chosen.iter().map(|class| model.classes()[*class].name.as_str());
    let before = binary.len();
    let (name, datatype, shape, data) = match output.kind {
        OutputKind::Probabilities => {
            let shape = json!([n_rows, n_classes]);
            if output.is_binary {
                predictions.probabilities.iter().for_each(|p| binary.extend_from_slice(&p.to_le_bytes()));
            }
            let data = (!output.is_binary).then(|| json!(predictions.probabilities));
            (PROBABILITIES, "FP64", shape, data)
        }
        OutputKind::Class => {
            if output.is_binary {
                for name in names() {
                    // Names come from a bundle, where they are shorter than 4 GiB by far.
                    binary.extend_from_slice(&u32::try_from(name.len()).unwrap_or(u32::MAX).to_le_bytes());
                    binary.extend_from_slice(name.as_bytes());
                }
            }
            let data = (!output.is_binary).then(|| names().collect());
            (CLASS, "BYTES", json!([n_rows]), data)
        }
    };
    match data {
        Some(data) => json!({ "name": name, "datatype": datatype, "shape": shape, "data": data }),
        None => json!({
            "name": name, "datatype": datatype, "shape": shape,
            "parameters": { "binary_data_size": binary.len() - before },
        }),
    }
}
