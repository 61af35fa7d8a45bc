//! Numbers that name things, each its own type.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

number!(
    /// A run, counted from 1 within a data directory.
    RunNumber
);
number!(
    /// A model version, counted from 1 within a data directory.
    VersionNumber
);
number!(
    /// A question to a person, counted from 1 within a data directory.
    ApprovalNumber
);
number!(
    /// A recorded decision, counted from 1 within a data directory.
    DecisionNumber
);
number!(
    /// A rollout, counted from 1 within a data directory.
    RolloutNumber
);
number!(
    /// A look at a window of live rows, counted from 1 within a data directory.
    MonitorNumber
);
number!(
    /// A reign of an engine over a data directory, the fencing token of everything it writes; also the number of a document of
    /// routes. Only grows.
    Epoch
);
number!(
    /// One attempt's hold on a step: whoever does not hold the latest one cannot finish it. Only grows.
    Lease
);
