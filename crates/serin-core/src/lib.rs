//! What Serin is: settings, time and ids, the stages of a model's life, and the capture of every answer.
//!
//! The modules stand in reading order, and a module imports only from those above it.

pub mod clock;
pub mod hash;
pub mod ids;
pub mod names;

pub mod config;

pub mod capture;

pub mod stages;
