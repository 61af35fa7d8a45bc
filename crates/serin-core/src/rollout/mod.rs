//! A version takes over: step by step, judged by what its callers saw, and back again when it is bad.
//!
//! A [`Rollout`] is all there is to know, and is stored whole. [`next`] is the rules: from a rollout and what was seen just
//! now ([`Inputs`]) follows the rollout as it goes on, and the decision if there was one. What requests are split like is
//! a function of the phase ([`Rollout::split`]), so a stored rollout and the routes written with it in one transaction
//! cannot contradict each other, and whoever finds it after a crash goes on with what was intended. Nothing here reads a
//! clock or writes anything; the hands are in [`crate::pipeline`].

mod command;
mod next;
mod reading;
pub mod simulate;
mod state;

pub use command::{Command, Unacceptable};
pub use next::{AlarmView, HookAnswer, Inputs, Next, next, replay};
pub use reading::{Reading, Refused};
pub use state::{
    Blame, CANARY_VARIANT, Condition, End, HookPlace, Phase, Rollout, Share, Side, Split, Watched, Why,
};
