//! When evidence is looked at, and how much of a budget of error each look may spend.
//!
//! Looks are numbers of requests that the new version answered. The first full look is after as many requests as a step
//! needs before it can be promoted, and gets most of the budget, because that is where a fault should be found at the
//! latest. Smaller looks before it catch what is gross; larger ones follow in the series 2, 5, 10, 20, 50 ...; and a fine
//! grid between them, each 10 % further, sees to it that nobody waits for the next large one.

/// The first full look is at most here, whatever a step needs.
pub const LARGEST_FIRST_LOOK: u64 = 300;
/// And at least here: less than this says nothing.
pub const SMALLEST_FIRST_LOOK: u64 = 20;

/// Shares of the first full look at which there is an early one.
const EARLY: [f64; 5] = [0.1, 0.2, 0.35, 0.5, 0.7];
const EARLY_SHARE: f64 = 0.005;
const FIRST_SHARE: f64 = 0.61;
/// Of each of the first looks after it; those behind get half of the one before.
const LATER_SHARE: f64 = 0.055;
const LATER_LOOKS: u32 = 4;
/// Of each look of the fine grid.
const FINE_SHARE: f64 = 0.001;
const FINE_STEP: f64 = 1.1;
const FINE_LOOKS: i32 = 90;

/// The first full look of a policy that wants `min_requests` in each step.
#[must_use]
pub fn first_look(min_requests: u64) -> u64 {
    min_requests.clamp(SMALLEST_FIRST_LOOK, LARGEST_FIRST_LOOK)
}

/// The share of a budget that may be spent now, when the last look was after `before` requests and this one is after
/// `now`: the looks in between fall due together. Over a whole life the shares add up to less than 1.
#[must_use]
pub fn share(first: u64, before: u64, now: u64) -> f64 {
    if now <= before {
        return 0.0;
    }
    let is_due = |at: f64| {
        let at = at.ceil() as u64;
        before < at && at <= now
    };
    let first = first as f64;
    let early = EARLY.iter().filter(|part| is_due(*part * first)).count() as f64 * EARLY_SHARE;
    let full = if is_due(first) { FIRST_SHARE } else { 0.0 };
    let (mut later, mut decade, mut each, mut looks) = (0.0, first, LATER_SHARE, 0);
    'series: loop {
        for factor in [2.0, 5.0, 10.0] {
            let at = decade * factor;
            if at > now as f64 {
                break 'series;
            }
            looks += 1;
            if looks > LATER_LOOKS {
                each /= 2.0;
            }
            if is_due(at) {
                later += each;
            }
        }
        decade *= 10.0;
    }
    let fine = (1..=FINE_LOOKS).map(|i| first * FINE_STEP.powi(i)).filter(|at| is_due(*at)).count();
    early + full + later + fine as f64 * FINE_SHARE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_budget_is_spent_more_than_once() {
        for first in [20, 100, 300] {
            let whole = share(first, 0, u64::MAX >> 12);
            assert!((0.9..1.0).contains(&whole), "{first}: {whole}");
            // However often one looks, the sum is the same.
            let (mut sum, mut before, mut now) = (0.0, 0, 1_u64);
            while before < 10_000_000 {
                sum += share(first, before, now);
                (before, now) = (now, now + 1 + now / 97);
            }
            assert!((sum - share(first, 0, before)).abs() < 1e-9, "{first}: {sum}");
            assert_eq!(share(first, 50, 50), 0.0);
        }
    }

    #[test]
    fn the_first_full_look_gets_most() {
        assert!(share(300, 299, 300) > 0.6);
        assert!(share(300, 0, 299) < 0.03);
        assert_eq!(share(300, 301, 329), 0.0);
        assert_eq!(share(300, 329, 330), FINE_SHARE);
        assert!((share(300, 5_999, 6_000) - LATER_SHARE).abs() < 1e-12, "{}", share(300, 5_999, 6_000));
        assert!((share(300, 14_999, 15_000) - LATER_SHARE / 2.0).abs() < 1e-9);
        assert_eq!((first_look(1), first_look(100), first_look(5_000)), (20, 100, 300));
    }
}
