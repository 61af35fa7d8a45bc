//! Requests of a fleet: those in flight, and those that wait for a first replica.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use serin_core::clock::Clock;

/// Requests of a fleet in flight, and for how long they were, together.
#[derive(Debug, Default)]
pub(super) struct Flights {
    pub open: AtomicU32,
    /// The moments when they began, and when they ended, in microseconds, each added up.
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Flights {
    /// Requests times microseconds up to now, over an unknown beginning: of two of these the difference counts. Whoever is in
    /// flight since `begun` until now is in it with `now - begun`, which is what the sums say.
    pub fn area(&self, now: Duration) -> u64 {
        let open = u64::from(self.open.load(Ordering::Relaxed));
        let (begun, ended) = (self.begun.load(Ordering::Relaxed), self.ended.load(Ordering::Relaxed));
        open.wrapping_mul(microseconds(now)).wrapping_add(ended).wrapping_sub(begun)
    }
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A request of the fleet while it is in flight.
pub(super) struct Flight<'a> {
    flights: &'a Flights,
    clock: &'a dyn Clock,
}

impl<'a> Flight<'a> {
    pub fn begin(flights: &'a Flights, clock: &'a dyn Clock, now: Duration) -> Self {
        flights.open.fetch_add(1, Ordering::Relaxed);
        flights.begun.fetch_add(microseconds(now), Ordering::Relaxed);
        Self { flights, clock }
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.flights.ended.fetch_add(microseconds(self.clock.monotonic()), Ordering::Relaxed);
        self.flights.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request that waits.
pub(super) struct Waiting<'a>(&'a AtomicU32);

impl<'a> Waiting<'a> {
    /// `None`: as many wait as may.
    pub fn begin(count: &'a AtomicU32, most: u32) -> Option<Self> {
        let waiting = Self(count);
        (count.fetch_add(1, Ordering::Relaxed) < most).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
