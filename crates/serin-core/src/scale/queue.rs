//! Replicas and callers that are made up: a queue in front of replicas, in virtual time.
//!
//! What it models: requests wait in one line, first come first served, for the replica with the most free slots; each takes a
//! random time; a replica answers nothing until it has started, and what it began when it is taken away it ends. What it leaves
//! out: replicas do not slow one another down, the network takes no time, and no replica fails.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use rand::{Rng, RngExt as _};
use serin_ml::seed::Seed;

use super::reading::Reading;
use crate::clock::Steady;

/// The share of a mean answer that every answer takes; the rest is exponentially distributed.
const CONSTANT_SHARE: f64 = 0.5;

/// Replicas, and what becomes of requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// How long an answer takes on average, once a replica has begun it.
    pub answer: Duration,
    /// Requests that a replica answers at a time.
    pub concurrency: u32,
    /// From the decision until a replica answers.
    pub start: Duration,
    /// A request that waited for so long is shed.
    pub wait_limit: Duration,
    /// Processors of the host, of which each request that is answered takes one; `None`: there are always enough.
    pub processors: Option<f64>,
}

impl Default for Service {
    fn default() -> Self {
        Self {
            answer: Duration::from_millis(20),
            concurrency: 1,
            start: Duration::from_secs(2),
            wait_limit: Duration::from_secs(30),
            processors: None,
        }
    }
}

/// The queue as it stands.
#[derive(Debug)]
pub struct Queue<R> {
    service: Service,
    rng: R,
    now: f64,
    replicas: Vec<Replica>,
    next_replica: u64,
    /// When they came, and which they are.
    waiting: VecDeque<(f64, usize)>,
    completions: BinaryHeap<Reverse<Completion>>,
    latencies: Latencies,
    /// Replicas there were, times seconds: starting and draining ones too.
    replica_seconds: f64,
}

/// How long every request took, in the order in which they came.
#[derive(Debug, Default)]
pub struct Latencies {
    /// In seconds; infinite for one that was shed, and for one that has no answer yet.
    all: Vec<f64>,
    /// The first request of each second.
    first: Vec<usize>,
}

#[derive(Debug)]
struct Replica {
    id: u64,
    ready_at: f64,
    busy: u32,
    is_draining: bool,
}

#[derive(Debug, PartialEq)]
struct Completion {
    at: f64,
    replica: u64,
}

impl Eq for Completion {}

impl Ord for Completion {
    fn cmp(&self, other: &Self) -> Ordering {
        self.at.total_cmp(&other.at).then(self.replica.cmp(&other.replica))
    }
}

impl PartialOrd for Completion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A queue with so many replicas that have started.
#[must_use]
pub fn queue(service: Service, replicas: u32, seed: Seed) -> Queue<impl Rng> {
    let mut queue = Queue {
        service,
        rng: seed.rng(),
        now: 0.0,
        replicas: Vec::new(),
        next_replica: 0,
        waiting: VecDeque::new(),
        completions: BinaryHeap::new(),
        latencies: Latencies::default(),
        replica_seconds: 0.0,
    };
    for _ in 0..replicas {
        queue.start(0.0);
    }
    queue
}

impl<R: Rng> Queue<R> {
    /// One second in which so many requests come, at random moments of it.
    pub fn second(&mut self, arrivals: u32) -> Reading {
        let begin = self.now;
        let end = begin + 1.0;
        self.latencies.first.push(self.latencies.all.len());
        let mut coming: Vec<f64> = (0..arrivals).map(|_| begin + self.rng.random::<f64>()).collect();
        coming.sort_by(f64::total_cmp);
        let mut coming = coming.into_iter().peekable();
        let (mut in_flight, mut busy) = (0.0, 0.0);
        loop {
            let arrival = coming.peek().copied().unwrap_or(f64::INFINITY);
            let completion = self.completions.peek().map_or(f64::INFINITY, |Reverse(next)| next.at);
            let started = self.next_start();
            let next = arrival.min(completion).min(started).min(end);
            let length = next - self.now;
            in_flight += length * (self.waiting.len() + self.completions.len()) as f64;
            busy += length * self.completions.len() as f64;
            self.replica_seconds += length * self.replicas.len() as f64;
            self.now = next;
            if next >= end {
                break;
            }
            if completion <= next {
                self.complete();
            } else if arrival <= next {
                coming.next();
                self.waiting.push_back((next, self.latencies.all.len()));
                self.latencies.all.push(f64::INFINITY);
            }
            self.dispatch();
        }
        self.give_up();
        self.reading(arrivals, in_flight, busy)
    }

    /// From now on there are to be so many: the missing are started, of those too many the last to have started end.
    pub fn set_replicas(&mut self, wanted: u32) {
        let staying = self.replicas.iter().filter(|replica| !replica.is_draining).count();
        for _ in staying..wanted as usize {
            self.start(self.now + self.service.start.as_secs_f64());
        }
        let surplus = staying.saturating_sub(wanted as usize);
        for replica in self.replicas.iter_mut().rev().filter(|replica| !replica.is_draining).take(surplus) {
            replica.is_draining = true;
        }
        self.replicas.retain(|replica| !replica.is_draining || replica.busy > 0);
    }

    /// Replicas that answer.
    #[must_use]
    pub fn ready(&self) -> u32 {
        let is_ready = |replica: &&Replica| !replica.is_draining && replica.ready_at <= self.now;
        u32::try_from(self.replicas.iter().filter(is_ready).count()).unwrap_or(u32::MAX)
    }

    /// Hours of replicas so far: starting and draining ones too.
    #[must_use]
    pub fn replica_hours(&self) -> f64 {
        self.replica_seconds / 3_600.0
    }

    /// How long requests took.
    #[must_use]
    pub fn into_latencies(self) -> Latencies {
        self.latencies
    }

    fn reading(&self, arrivals: u32, in_flight: f64, busy: f64) -> Reading {
        let ready = self.ready();
        let slots = f64::from(ready) * f64::from(self.service.concurrency);
        Reading {
            at: Steady((self.now.round() * 1e6) as i64),
            begun: Some(u64::from(arrivals)),
            in_flight: Some(in_flight),
            cpu: (ready > 0).then(|| (100.0 * busy / slots).min(100.0)),
            ready,
            host_idle: Some(
                self.service.processors.map_or(1.0, |processors| (1.0 - busy / processors).clamp(0.0, 1.0)),
            ),
        }
    }

    fn start(&mut self, ready_at: f64) {
        self.replicas.push(Replica { id: self.next_replica, ready_at, busy: 0, is_draining: false });
        self.next_replica += 1;
    }

    fn next_start(&self) -> f64 {
        let starts = self.replicas.iter().map(|replica| replica.ready_at);
        starts.filter(|ready_at| *ready_at > self.now).fold(f64::INFINITY, f64::min)
    }

    fn complete(&mut self) {
        let Some(Reverse(done)) = self.completions.pop() else { return };
        if let Some(replica) = self.replicas.iter_mut().find(|replica| replica.id == done.replica) {
            replica.busy -= 1;
        }
        self.replicas.retain(|replica| !replica.is_draining || replica.busy > 0);
    }

    fn dispatch(&mut self) {
        let (now, slots) = (self.now, self.service.concurrency);
        while !self.waiting.is_empty() {
            let free = self
                .replicas
                .iter_mut()
                .filter(|replica| !replica.is_draining && replica.ready_at <= now && replica.busy < slots)
                .min_by_key(|replica| replica.busy);
            let Some(replica) = free else { return };
            let Some((came, request)) = self.waiting.pop_front() else { return };
            if now - came > self.service.wait_limit.as_secs_f64() {
                continue;
            }
            let mean = self.service.answer.as_secs_f64();
            let random = -(1.0 - self.rng.random::<f64>()).ln();
            let took = mean * (CONSTANT_SHARE + (1.0 - CONSTANT_SHARE) * random);
            replica.busy += 1;
            self.completions.push(Reverse(Completion { at: now + took, replica: replica.id }));
            self.latencies.all[request] = now + took - came;
        }
    }

    /// Those that waited too long are shed.
    fn give_up(&mut self) {
        let limit = self.service.wait_limit.as_secs_f64();
        while self.waiting.front().is_some_and(|(came, _)| self.now - came > limit) {
            self.waiting.pop_front();
        }
    }
}

impl Latencies {
    /// Of the requests that came in these seconds: those that were answered, in ascending order.
    #[must_use]
    pub fn sorted(&self, seconds: std::ops::Range<usize>) -> Vec<f64> {
        let mut answered: Vec<f64> =
            self.of(seconds).iter().copied().filter(|took| took.is_finite()).collect();
        answered.sort_by(f64::total_cmp);
        answered
    }

    /// Those that came in these seconds and were shed.
    #[must_use]
    pub fn shed(&self, seconds: std::ops::Range<usize>) -> u64 {
        self.of(seconds).iter().filter(|took| took.is_infinite()).count() as u64
    }

    fn of(&self, seconds: std::ops::Range<usize>) -> &[f64] {
        let from = |second: usize| self.first.get(second).copied().unwrap_or(self.all.len());
        &self.all[from(seconds.start)..from(seconds.end)]
    }
}

/// The value that so many of a hundred are not above, of values in ascending order: the nearest rank.
#[must_use]
pub fn percentile(sorted: &[f64], percent: f64) -> Option<f64> {
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// M/G/1 by Pollaczek and Khinchine: half a millisecond of waiting is the least that a wrong line would change.
    #[test]
    fn requests_wait_as_long_as_theory_says() {
        let service = Service { answer: Duration::from_millis(10), ..Service::default() };
        let mut queue = queue(service, 1, Seed(7));
        let mut rng = Seed(8).rng();
        let (mut requests, mut in_flight) = (0.0, 0.0);
        for _ in 0..20_000 {
            // Sixty a second on average, of which each is 10 ms of work.
            let arrivals = (0..600).filter(|_| rng.random::<f64>() < 0.1).count() as u32;
            requests += f64::from(arrivals);
            in_flight += queue.second(arrivals).in_flight.unwrap();
        }
        let rate = requests / 20_000.0;
        let utilisation = rate * 0.01;
        let spread = 0.01_f64.powi(2) * (1.0 + 0.5_f64.powi(2));
        let waiting = rate * spread / (2.0 * (1.0 - utilisation));
        let expected = rate * (waiting + 0.01);
        let seen = in_flight / 20_000.0;
        // Binomial arrivals are a little more regular than Poisson's.
        assert!((seen - expected).abs() < 0.05 * expected, "{seen} {expected}");
        let sorted = queue.into_latencies().sorted(0..20_000);
        let mean = sorted.iter().sum::<f64>() / sorted.len() as f64;
        assert!((mean - (waiting + 0.01)).abs() < 0.05 * mean, "{mean}");
    }

    #[test]
    fn replicas_start_drain_and_are_paid_for() {
        let service = Service {
            answer: Duration::from_millis(500),
            start: Duration::from_secs(2),
            wait_limit: Duration::from_secs(3),
            ..Service::default()
        };
        let mut queue = queue(service, 1, Seed(1));
        queue.set_replicas(3);
        assert_eq!(queue.second(40).ready, 1);
        queue.second(0);
        assert_eq!((queue.second(0).ready, queue.replicas.len()), (3, 3));
        queue.set_replicas(0);
        assert_eq!(queue.ready(), 0);
        let in_flight: Vec<Option<f64>> = (0..4).map(|_| queue.second(0).in_flight).collect();
        assert_eq!((in_flight[3], queue.replicas.len()), (Some(0.0), 0));
        assert!(queue.replica_hours() * 3_600.0 >= 9.0);
        let latencies = queue.into_latencies();
        let answered = latencies.sorted(0..7).len() as u64;
        assert_eq!(answered + latencies.shed(0..1), 40);
        assert!(latencies.shed(0..1) > 20 && latencies.shed(1..7) == 0);
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&values, 99.0), Some(99.0));
        assert_eq!(percentile(&values, 50.0), Some(50.0));
        assert_eq!(percentile(&values[..1], 99.0), Some(1.0));
        assert_eq!(percentile(&[], 99.0), None);
    }
}
