//! The Open Inference Protocol, version 2, over REST, with its binary tensor extension.
//!
//! A model takes its rows as one tensor of shape `[rows, features]`, or as one tensor of shape `[rows]` or `[rows, 1]`
//! for each feature, by name. It answers the tensors [`PROBABILITIES`] and [`CLASS`].

pub mod answer;
pub mod metadata;
pub mod request;
pub mod tensor;

/// FP64, `[rows, classes]` in the model's order of classes.
pub const PROBABILITIES: &str = "probabilities";
/// BYTES, `[rows]`: the names of the classes chosen.
pub const CLASS: &str = "class";
/// The name under which metadata lists the one tensor of all features.
pub const FEATURES: &str = "features";
