//! The control interface: what people, commands and other programs ask of the control plane, as JSON over HTTP.
//!
//! It has an address and a thread of its own, so it answers while the gateway is full, and others need not reach it.
//! Every request passes one gate ([`app`]) before a handler sees it: limits, host, origin, the table of routes with the
//! permission of each, the form of the body, the idempotency key. What is not in the table is not there. The modules
//! stand in reading order, from what a request meets last to what it meets first.

pub mod limits;

mod code;
pub mod problem;

pub mod routes;

pub mod extract;

pub mod wire;

pub mod ask;

mod metrics;

mod resources;

pub mod origin;

pub mod idempotency;

pub mod app;

pub mod server;

pub use resources::handlers;
