//! Fleets: the replicas that answer for one version of one endpoint, and who of them is asked.
//!
//! A fleet belongs to the gateway that asks it. [`Fleets`] starts one for every version that is routed to replicas, keeps it
//! while it is routed, and lets it go when nobody asks it any more. What is decided (who is asked, who is left alone for a
//! while, how many there shall be) is decided by pure functions: [`balance`], [`health`], [`budget`] and
//! `serin_core::scale`. Nothing here needs the control plane.

pub mod balance;
pub mod budget;
pub mod health;

pub mod wire;

pub mod connection;

pub mod host;

pub mod runtimes;

pub mod ask;

mod counts;
mod ledger;
mod member;

mod flights;

mod manager;
mod replicas;

mod question;

mod registry;

pub use counts::Figures;
pub use health::Trouble;
pub use question::{Answered, Unanswered};
pub use registry::{Fleets, FleetsOptions, NoSuchReplica, Unaccepted};
pub use replicas::{Fleet, FleetKey, FleetPlan, FleetRef, GoldenQuestion, Readiness};
