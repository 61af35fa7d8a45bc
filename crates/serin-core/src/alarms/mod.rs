//! Is something as it must not be: the state of an alarm, from the datapoints of its metric or from the states of others.
//!
//! [`evaluate`] is CloudWatch's rule with one more kind of datapoint: what could not be measured is neither good nor
//! missing, and never makes an alarm OK. [`combine`] is the same for an alarm over other alarms. Both are functions of
//! their arguments; who asks when, and what follows from a change of state, is elsewhere.

mod combine;
mod evaluate;
mod words;

pub use combine::{Combined, combine};
pub use evaluate::{Point, Verdict, evaluate, evaluation_range};
