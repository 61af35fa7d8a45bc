//! What time it is in a data directory.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, Steady, Timestamp};
use crate::store::{Moment, Reign};

/// Tells the time to whoever uses the store. Waits count by [`Steady`], which goes on with the monotonic clock from what
/// the last engine wrote: setting the time of day changes nothing, and only the absence between two programs is believed
/// from it.
#[derive(Debug)]
pub struct Moments {
    clock: Arc<dyn Clock>,
    base: Mutex<Base>,
}

/// The age of the data directory when the monotonic clock showed `monotonic`.
#[derive(Debug)]
struct Base {
    steady: Steady,
    monotonic: Duration,
}

impl Moments {
    /// Goes on from the last sign of life of `reign`.
    #[must_use]
    pub fn resumed(clock: Arc<dyn Clock>, reign: &Reign) -> Self {
        let steady = Steady::resumed(reign.steady, reign.wall, clock.now());
        let base = Mutex::new(Base { steady, monotonic: clock.monotonic() });
        Self { clock, base }
    }

    /// This moment.
    #[must_use]
    pub fn now(&self) -> Moment {
        let base = self.base.lock().unwrap_or_else(PoisonError::into_inner);
        let since = self.clock.monotonic().saturating_sub(base.monotonic);
        Moment { wall: self.clock.now(), steady: base.steady + since }
    }

    /// The age of the data directory alone.
    #[must_use]
    pub fn steady(&self) -> Steady {
        self.now().steady
    }

    /// The time of day alone, for people.
    #[must_use]
    pub fn wall(&self) -> Timestamp {
        self.clock.now()
    }

    /// Time since an arbitrary moment of this process.
    #[must_use]
    pub fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    /// Another engine has written this age: ours is not less.
    pub fn advance_to(&self, steady: Steady) {
        let mut base = self.base.lock().unwrap_or_else(PoisonError::into_inner);
        let monotonic = self.clock.monotonic();
        let reached = base.steady + monotonic.saturating_sub(base.monotonic);
        *base = Base { steady: reached.max(steady), monotonic };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::domain::Epoch;

    #[test]
    fn no_setting_of_a_clock_moves_the_age_of_the_data_directory() {
        let clock = Arc::new(ManualClock::at(Timestamp(1_000_000_000)));
        let (steady, wall) = (Steady(5_000_000), Timestamp(999_000_000));
        let reign = Reign { epoch: Epoch(1), owner: String::new(), beat: 1, steady, wall };
        let moments = Moments::resumed(clock.clone(), &reign);
        assert_eq!(moments.steady(), Steady(6_000_000), "a second passed while nothing ran");

        for wall in [0, -5, i64::MAX, 999_000_000] {
            clock.jump_to(Timestamp(wall));
            assert_eq!(moments.now(), Moment { wall: Timestamp(wall), steady: Steady(6_000_000) });
        }
        clock.advance(Duration::from_secs(2));
        assert_eq!(moments.steady(), Steady(8_000_000));
        moments.advance_to(Steady(1));
        assert_eq!(moments.steady(), Steady(8_000_000));
        moments.advance_to(Steady(9_000_000));
        clock.advance(Duration::from_secs(1));
        assert_eq!(moments.steady(), Steady(10_000_000));
    }
}
