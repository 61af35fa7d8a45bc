//! A model behind an address: what it answers, what it refuses, and what is left after it was killed.

mod answers;
mod capture;
mod endpoints;
mod labels;
mod open_inference;
mod openapi;
mod protocol;
mod routed;
pub mod support;
mod tls;
