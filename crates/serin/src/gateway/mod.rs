//! The inference gateway: rows in, classes out, every answer captured before it leaves.
//!
//! The modules stand in reading order, against the way of a request: the server accepts a connection, the service
//! finds the route, an invocation chooses a variant of an endpoint, reads its body into [`rows::Rows`], lets the model
//! judge them, encodes the answer and captures it. What goes wrong anywhere is a [`problem::Problem`], worded by
//! [`refusal`]. `docs/life-of-a-request.md` tells it from the request's side.

pub mod limits;

pub(crate) mod code;
pub mod problem;

pub mod body;
pub mod framing;
pub mod pace;

pub mod sent;

pub mod headers;
pub mod refusal;
pub mod routes;

pub mod rows;

pub mod csv_rows;
pub mod json_reader;
pub mod json_rows;

pub mod media;

pub mod metrics;
pub mod model;

pub mod fleets;
pub mod judge;
pub mod parked;

pub mod drill;
pub mod evidence;
pub mod mirror;

pub mod split;

pub mod endpoint;

pub mod supply;

pub mod routed;

pub mod answer;
pub mod open_inference;

pub mod service;

mod plan;

mod call;

mod invocation;
mod labels;

pub mod tls;

pub mod server;

pub mod admin;

pub mod lifecycle;
