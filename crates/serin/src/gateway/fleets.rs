//! What replicas say, as the gateway answers it.

use super::model::Predictions;
use super::problem::{Code, Problem};
use crate::fleet::Unanswered;
use crate::fleet::wire::Judged;

impl From<Judged> for Predictions {
    fn from(Judged { chosen, probabilities }: Judged) -> Self {
        Self { chosen, probabilities }
    }
}

/// Why replicas gave no answer, as its caller reads it.
pub(super) fn unanswered(why: &Unanswered) -> Problem {
    let code = match why {
        Unanswered::NoReplica => Code::NoReplica,
        Unanswered::TooManyWait | Unanswered::Busy => Code::Overloaded,
        Unanswered::Trouble(..) => Code::ReplicaFailed,
        Unanswered::Refused { .. } => Code::ModelRefused,
    };
    Problem::new(code, why.to_string())
}
