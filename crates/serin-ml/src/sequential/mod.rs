//! Is a new version worse than the one that serves? Counts in, `good | bad | not enough | error` out.
//!
//! Evidence arrives second by second and is looked at as it arrives, so a test that is right when it is made once would be
//! wrong here: looked at a thousand times, it condemns every healthy version sooner or later. Every criterion therefore has
//! a budget of error for the whole life of a rollout, and spends a share of it at each of a fixed series of looks
//! ([`looks`]). The shares add up to less than one, so by the union bound a version that is as good as the one before
//! it is condemned with at most the probability of the budgets together: 1 %.
//!
//! [`Tally`] is what is counted of one version, [`Evidence`] is the tallies of both over the steps of a rollout, and
//! [`judge`] is a pure function of them. `docs/rollouts.md` has the figures: what is caught after how many requests,
//! beside the best test of a fixed size and beside the rules of other tools.

mod evidence;
pub mod exact;
mod judge;
pub mod looks;
mod tally;

pub use evidence::{CALLER_SHARE, Evidence, Expected, Labelled, Looked, Mirrored, Stratum};
pub use exact::Trials;
pub use judge::{Criterion, Finding, JudgeSettings, Judged, Trouble, Verdict, judge, requests_to_see};
pub use tally::{
    CONFIDENCE_BINS, CallerTally, LATENCY_BUCKETS, Tally, bucket_of_latency, confidence_bin, latency_bound,
    latency_quantile,
};
