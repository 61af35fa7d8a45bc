//! Who is left alone for a while: three failures in a row, or one that does not answer, for 5 s at first and twice as long
//! each time, up to a minute. Never more than half of a fleet, and never the last one.

use std::time::Duration;

/// Failures in a row after which a replica is left alone.
pub const FAILURES: u32 = 3;
/// For how long at first, and at most.
pub const FIRST_EJECTION: Duration = Duration::from_secs(5);
pub const LONGEST_EJECTION: Duration = Duration::from_secs(60);
/// After so long without a failure, what was before is forgotten.
const FORGIVEN: Duration = Duration::from_secs(120);

/// What is known of one replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Health {
    /// In a row.
    failures: u32,
    /// Without [`FORGIVEN`] in between.
    ejections: u32,
    until: Option<Duration>,
    last_failure: Duration,
}

/// What went wrong with one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trouble {
    /// Nobody took the connection, or it ended early.
    Gone,
    /// No answer in time, while it answers nobody.
    Hang,
    /// An answer that is none: not HTTP, an error of the server, another number of rows, too long, not a class.
    Garbage,
}

impl Trouble {
    /// Its name as a label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Hang => "hang",
            Self::Garbage => "garbage",
        }
    }

    /// All of them.
    pub const ALL: [Self; 3] = [Self::Gone, Self::Hang, Self::Garbage];
}

impl Health {
    /// It answered.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// It did not. `may_eject` says whether enough others are left. Whether it is left alone from now on.
    pub fn failed(&mut self, trouble: Trouble, now: Duration, may_eject: bool) -> bool {
        if now.saturating_sub(self.last_failure) > FORGIVEN {
            self.ejections = 0;
        }
        self.last_failure = now;
        self.failures = self.failures.saturating_add(1);
        let is_enough = self.failures >= FAILURES || trouble == Trouble::Hang;
        if !is_enough || !may_eject || self.is_ejected(now) {
            return false;
        }
        let doubled = FIRST_EJECTION.saturating_mul(1 << self.ejections.min(16));
        self.until = Some(now.saturating_add(doubled.min(LONGEST_EJECTION)));
        self.ejections = self.ejections.saturating_add(1);
        self.failures = 0;
        true
    }

    /// Whether it is left alone.
    #[must_use]
    pub fn is_ejected(&self, now: Duration) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}

/// How many requests a replica is given at once: one more for as many answers as it is given at once, while they are quick;
/// fewer when they are slow, and half as many when one comes too late. What is more waits in the gateway, where it costs nothing
/// when its caller goes. Without a limit, a replica works off what nobody waits for any more, and a fleet that was overloaded
/// for a moment stays so.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit {
    most: f64,
    cut: Option<Duration>,
}

/// In the beginning.
const FIRST_AT_ONCE: f64 = 16.0;
/// Never more.
const MOST_AT_ONCE: f64 = 256.0;
/// Answers within this part of the answer limit are quick, and beyond that one slow.
const QUICK: u32 = 4;
const SLOW: u32 = 2;

impl Default for Limit {
    fn default() -> Self {
        Self { most: FIRST_AT_ONCE, cut: None }
    }
}

impl Limit {
    /// How many.
    #[must_use]
    pub fn most(&self) -> f64 {
        self.most
    }

    /// Whether it may be given one more beside those in flight.
    #[must_use]
    pub fn has_room(&self, in_flight: u32) -> bool {
        f64::from(in_flight) < self.most
    }

    /// It answered in time.
    pub fn answered(&mut self, took: Duration, answer_limit: Duration) {
        if took <= answer_limit / QUICK {
            self.most = (self.most + 1.0 / self.most).min(MOST_AT_ONCE);
        } else if took >= answer_limit / SLOW {
            self.most = (self.most - 1.0 / self.most).max(1.0);
        }
    }

    /// An answer did not come in time, with so many in flight; those that began before the last cut say nothing new.
    pub fn was_late(&mut self, in_flight: u32, now: Duration, answer_limit: Duration) {
        if self.cut.is_none_or(|cut| now.saturating_sub(cut) >= answer_limit) {
            self.most = (f64::from(in_flight).min(self.most) / 2.0).max(1.0);
            self.cut = Some(now);
        }
    }
}

/// Whether one more of `members` may be left alone when `ejected` are.
#[must_use]
pub fn may_eject(members: usize, ejected: usize) -> bool {
    (ejected + 1) * 2 <= members && ejected + 1 < members
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_failures_or_one_hang_and_longer_each_time() {
        let at = Duration::from_secs;
        let mut health = Health::default();
        assert!(!health.failed(Trouble::Gone, at(200), true));
        assert!(!health.failed(Trouble::Garbage, at(200), true));
        health.succeeded();
        assert!(!health.failed(Trouble::Gone, at(201), true), "not in a row");
        assert!(!health.failed(Trouble::Gone, at(201), true));
        assert!(health.failed(Trouble::Gone, at(201), true));
        assert!(health.is_ejected(at(205)) && !health.is_ejected(at(206)));
        let mut now = 206;
        for seconds in [10, 20, 40, 60, 60] {
            assert!(health.failed(Trouble::Hang, at(now), true), "one hang");
            assert!(!health.failed(Trouble::Hang, at(now), true), "it is left alone already");
            assert!(health.is_ejected(at(now + seconds - 1)) && !health.is_ejected(at(now + seconds)));
            now += seconds;
        }
        now += 200;
        assert!(health.failed(Trouble::Hang, at(now), true));
        assert!(!health.is_ejected(at(now + 5)), "what was long ago is forgotten");
        assert!(!Health::default().failed(Trouble::Hang, at(1), false), "too few would be left");
    }

    #[test]
    fn what_is_too_much_is_given_to_nobody() {
        let second = Duration::from_secs(1);
        let mut limit = Limit::default();
        assert!(limit.has_room(15) && !limit.has_room(16));
        (0..40_000).for_each(|_| limit.answered(second / 10, second));
        assert!(limit.has_room(255) && !limit.has_room(256), "quick answers make it more");
        (0..1_000).for_each(|_| limit.answered(second / 3, second));
        assert!(limit.has_room(255), "neither quick nor slow");
        (0..100_000).for_each(|_| limit.answered(second / 2, second));
        assert!(limit.has_room(0) && !limit.has_room(2), "slow ones make it less");
        (0..10_000).for_each(|_| limit.answered(second / 10, second));
        limit.was_late(200, second * 10, second);
        let after = limit.most();
        limit.was_late(100, second * 10, second);
        assert!((limit.most() - after).abs() < 1e-9, "one cut for all that came too late together");
        for i in 11..40 {
            limit.was_late(1, second * i, second);
        }
        assert!(limit.has_room(0) && !limit.has_room(1), "one at a time is always tried");
    }

    #[test]
    fn at_most_half_and_never_the_last() {
        let most = |members| (0..=members).find(|ejected| !may_eject(members, *ejected)).unwrap();
        assert_eq!([0, 1, 2, 3, 4, 5, 10].map(most), [0, 0, 1, 1, 2, 2, 5]);
    }
}
