//! What Serin is: settings, time and ids, the stages of a model's life, and the capture of every answer.
//!
//! The modules stand in reading order, and a module imports only from those above it.

pub mod causes;
pub mod clock;
pub mod digest;
pub mod files;
pub mod hash;
pub mod ids;
pub mod names;
pub mod secret;
pub mod spelling;

pub mod schedule;

pub mod domain;

pub mod metrics;

pub mod scale;

pub mod config;

pub mod artifacts;

pub mod routes;

pub mod rollout;

pub mod alarms;

pub mod store;

pub mod capture;

pub mod runtime;

pub mod source;

pub mod stages;

pub mod engine;

pub mod pipeline;

pub mod notify;

pub mod mlflow;

pub mod rollout_driver;

pub mod replicas;

pub mod trigger;

pub mod monitor;

pub mod watch;
