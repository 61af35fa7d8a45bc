//! Pure computation: from a table of numbers to a fitted, judged and packed classifier.
//!
//! No async, no clock, no database, no environment and no sockets live here, so that "the same data, recipe and seed
//! give the same model" can be proved. Time is a question put to an [`observer::Observer`]; randomness is a
//! [`seed::Seed`] handed in.
//!
//! The modules stand in reading order, and a module imports only from those above it (`tests/it/one_way.rs` checks).

pub mod matrix;
pub mod observer;
pub mod seed;

pub mod dataset;
pub mod profile;

pub mod model_monitor;

pub mod forest;
pub mod prepare;

pub mod evaluate;
pub mod train;

pub mod model;

pub mod sequential;

pub mod drift;
