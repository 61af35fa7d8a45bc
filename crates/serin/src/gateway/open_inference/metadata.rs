//! What the server and its models say of themselves.

use serde_json::{Value, json};

use super::{CLASS, FEATURES, PROBABILITIES};
use crate::gateway::endpoint::{Endpoint, Snapshot, Variant};

/// `GET /v2`
#[must_use]
pub fn server() -> Value {
    json!({ "name": "serin", "version": env!("CARGO_PKG_VERSION"), "extensions": ["binary_tensor_data"] })
}

/// `GET /v2/models`
#[must_use]
pub fn models(snapshot: &Snapshot) -> Value {
    let names: Vec<&str> = snapshot.endpoints().iter().map(|endpoint| endpoint.name()).collect();
    json!({ "models": names })
}

/// `GET /v2/models/{name}`: the tensors of one variant, and the versions behind the endpoint.
#[must_use]
pub fn model(endpoint: &Endpoint, variant: &Variant) -> Value {
    let versions: Vec<&str> = endpoint.variants().iter().map(|variant| variant.model.version()).collect();
    let (n_features, n_classes) = (variant.model.guard().names().len(), variant.model.classes().len());
    json!({
        "name": endpoint.name(),
        "versions": versions,
        "platform": "serin_bundle",
        "inputs": [{ "name": FEATURES, "datatype": "FP64", "shape": [-1, n_features] }],
        "outputs": [
            { "name": PROBABILITIES, "datatype": "FP64", "shape": [-1, n_classes] },
            { "name": CLASS, "datatype": "BYTES", "shape": [-1] },
        ],
        "parameters": { "features": variant.model.guard().names(), "classes": variant.model.class_names() },
    })
}
