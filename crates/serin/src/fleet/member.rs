//! One replica of a fleet, as it is asked.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serin_core::runtime::Replica;

use super::balance::{Load, PeakAverage};
use super::connection::Connections;
use super::health::{Health, Limit};

/// A replica that answers.
#[derive(Debug)]
pub(super) struct Member {
    pub replica: Arc<dyn Replica>,
    pub connections: Connections,
    /// When it was ready, of a monotonic clock.
    pub ready: Duration,
    pub in_flight: AtomicU32,
    pub answered: AtomicU64,
    pub is_draining: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    pub health: Health,
    pub limit: Limit,
    pub latency: PeakAverage,
    pub last_trouble: Option<String>,
    /// Pings in a row that failed.
    pub pings_failed: u32,
}

/// Counts a request of a member while it is there.
#[derive(Debug)]
pub(super) struct InFlight {
    member: Arc<Member>,
}

impl Member {
    pub fn new(replica: Arc<dyn Replica>, connections: Connections, now: Duration) -> Self {
        let state = State {
            health: Health::default(),
            limit: Limit::default(),
            latency: PeakAverage::new(now),
            last_trouble: None,
            pings_failed: 0,
        };
        Self {
            replica,
            connections,
            ready: now,
            in_flight: AtomicU32::new(0),
            answered: AtomicU64::new(0),
            is_draining: AtomicBool::new(false),
            state: Mutex::new(state),
        }
    }

    /// The same once it is ready.
    pub fn ready_at(self, now: Duration) -> Self {
        Self { ready: now, ..self }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn load(&self, now: Duration) -> Load {
        Load {
            in_flight: self.in_flight.load(Ordering::Relaxed),
            latency: self.state().latency.seconds(now),
            age: now.saturating_sub(self.ready),
        }
    }

    pub fn is_ejected(&self, now: Duration) -> bool {
        self.state().health.is_ejected(now)
    }

    /// Whether it may be given one more.
    pub fn has_room(&self) -> bool {
        self.state().limit.has_room(self.in_flight.load(Ordering::Relaxed))
    }

    /// A request is given to it.
    pub fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight { member: self.clone() }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.member.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
