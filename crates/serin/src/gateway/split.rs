//! Which variant answers: a pure function of the endpoint, its weights and a key.
//!
//! Weighted rendezvous hashing (Thaler and Ravishankar 1998; weights as in Schindelhauer and Schomaker 2005): every
//! variant draws a number from the key, and the one whose number, stretched by its weight, is best answers. The share
//! of a variant is its share of the weights; when one weight changes, keys move only from or to that variant; a
//! variant of weight zero never answers.

use serin_core::hash::hash;

/// A variant as far as the split is concerned.
pub trait Weighted {
    /// Its name, unique within the endpoint.
    fn name(&self) -> &str;
    /// Its weight, finite and not negative, in any unit.
    fn weight(&self) -> f64;
}

/// The position of the variant that answers requests with this `key`; `None` when no variant has a weight.
#[must_use]
pub fn choose<V: Weighted>(endpoint: &str, variants: &[V], key: &str) -> Option<usize> {
    let weighted = variants.iter().enumerate().filter(|(_, variant)| variant.weight() > 0.0);
    let mut best: Option<(f64, usize)> = None;
    for (position, variant) in weighted {
        if variants.len() == 1 {
            return Some(position);
        }
        // An exponential variate with rate `weight`: the smallest of them is at `position` with probability
        // weight / sum of weights.
        let distance = -unit(draw(endpoint, variant.name(), key)).ln() / variant.weight();
        if best.is_none_or(|(nearest, _)| distance < nearest) {
            best = Some((distance, position));
        }
    }
    best.map(|(_, position)| position)
}

/// The number that a variant draws. Each part is closed by a byte that UTF-8 never has.
fn draw(endpoint: &str, variant: &str, key: &str) -> u64 {
    hash([endpoint, variant, key].into_iter().flat_map(|part| part.bytes().chain([0xff])))
}

/// A number in (0, 1) from the upper 52 bits.
fn unit(hash: u64) -> f64 {
    ((hash >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Share(&'static str, f64);

    impl Weighted for Share {
        fn name(&self) -> &str {
            self.0
        }

        fn weight(&self) -> f64 {
            self.1
        }
    }

    #[test]
    fn shares_are_the_weights() {
        const KEYS: usize = 200_000;
        for weights in [[0.01, 0.99, 0.0], [0.5, 0.5, 0.0], [70.0, 20.0, 10.0], [1.0, 1e-3, 1.0]] {
            let variants = [Share("a", weights[0]), Share("b", weights[1]), Share("c", weights[2])];
            let mut counts = [0_u32; 3];
            for i in 0..KEYS {
                counts[choose("endpoint", &variants, &format!("user-{i}")).unwrap()] += 1;
            }
            let total: f64 = weights.iter().sum();
            for (count, weight) in counts.iter().zip(weights) {
                let share = weight / total;
                let spread = 4.0 * (share * (1.0 - share) / KEYS as f64).sqrt();
                assert!((f64::from(*count) / KEYS as f64 - share).abs() <= spread, "{weights:?}: {counts:?}");
            }
        }
    }

    #[test]
    fn a_changed_weight_moves_no_bystanders() {
        let before = [Share("a", 0.5), Share("b", 0.4), Share("c", 0.1)];
        let after = [Share("a", 0.5), Share("b", 0.4), Share("c", 0.6)];
        for i in 0..20_000 {
            let key = format!("{i}");
            let (was, is) = (choose("e", &before, &key), choose("e", &after, &key));
            assert!(was == is || is == Some(2), "{key}: {was:?} to {is:?}");
        }
    }

    #[test]
    fn without_a_weight_nobody_answers() {
        assert_eq!(choose("e", &[Share("a", 0.0), Share("b", 0.0)], "k"), None);
        assert_eq!(choose("e", &[Share("a", 0.0)], "k"), None);
        assert_eq!(choose::<Share>("e", &[], "k"), None);
        assert_eq!(choose("e", &[Share("a", 1e-300)], "k"), Some(0));
    }
}
