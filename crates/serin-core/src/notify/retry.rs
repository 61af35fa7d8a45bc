//! When a notice that was not taken is sent again.

use std::time::Duration;

use serin_ml::seed::Seed;

/// After this long a notice is given up and kept as undelivered.
pub const GIVE_UP_AFTER: Duration = Duration::from_secs(24 * 3_600);
/// The wait after the first attempt; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Longest wait of our own choice.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Longest wait that a receiver may ask for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3_600);

/// The wait before the next attempt, after `attempts` were made of which the first is `since_first` ago; `None`: give up.
/// What many wait for at once is spread by the seed: between half of the wait and all of it.
#[must_use]
pub fn next_attempt(
    attempts: u32,
    since_first: Duration,
    seed: Seed,
    retry_after: Option<Duration>,
) -> Option<Duration> {
    let doublings = attempts.saturating_sub(1).min(16);
    let whole = (FIRST_WAIT * 2_u32.pow(doublings)).min(LONGEST_WAIT);
    // The upper 32 bits as a share in [0, 1).
    let share = (seed.child(&attempts.to_string()).0 >> 32) as f64 / f64::from(u32::MAX);
    let wait = whole.mul_f64(0.5 + 0.5 * share.min(1.0));
    let asked = retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER);
    let wait = wait.max(asked);
    (since_first.saturating_add(wait) <= GIVE_UP_AFTER).then_some(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute_and_end_after_a_day() {
        for seed in 0..200 {
            for (attempts, most) in [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (8, 60), (u32::MAX, 60)] {
                let wait = next_attempt(attempts, Duration::ZERO, Seed(seed), None).unwrap();
                let most = Duration::from_secs(most);
                assert!((most / 2..=most).contains(&wait), "{attempts}: {wait:?}");
            }
        }
        let late = GIVE_UP_AFTER - Duration::from_secs(29);
        assert_eq!(next_attempt(9, late, Seed(1), None), None);
        assert!(next_attempt(9, late - Duration::from_secs(31), Seed(1), None).is_some());
        let (mut since_first, mut attempts) = (Duration::ZERO, 1);
        while let Some(wait) = next_attempt(attempts, since_first, Seed(3), None) {
            since_first += wait;
            attempts += 1;
        }
        assert!((1_400..3_000).contains(&attempts), "{attempts}");
    }

    #[test]
    fn the_receiver_may_ask_for_more_but_not_for_ever() {
        let wait = |seconds| {
            next_attempt(1, Duration::ZERO, Seed(1), Some(Duration::from_secs(seconds))).unwrap().as_secs()
        };
        assert_eq!((wait(120), wait(3_600), wait(1_000_000)), (120, 3_600, 3_600));
        assert!(wait(0) <= 1, "never less than our own wait");
    }

    #[test]
    fn two_notices_do_not_wait_alike() {
        let waits: std::collections::BTreeSet<_> =
            (0..50).map(|seed| next_attempt(7, Duration::ZERO, Seed(seed), None)).collect();
        assert!(waits.len() > 45);
        assert_eq!(
            next_attempt(7, Duration::ZERO, Seed(5), None),
            next_attempt(7, Duration::ZERO, Seed(5), None)
        );
    }
}
