//! How Serin is reached: the gateway, the control interface, the pages and the commands.
//!
//! A library beside the program, so that tests can call what the commands call. The modules stand in reading order,
//! and a module imports only from those above it.

pub mod telemetry;

pub mod fleet;

pub mod gateway;

pub mod replica;

pub mod control;

pub mod api;

pub mod web;

pub mod cli;
