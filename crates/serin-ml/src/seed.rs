//! Randomness as a parameter: one seed for the whole, named children for the parts.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use sha2::{Digest, Sha256};

/// A seed from which named, independent children are derived.
///
/// Children are named after what they drive ("folds", "trial/7"), not drawn in sequence, so a part keeps its
/// random numbers when another part is added, reordered or run on another thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Seed(pub u64);

impl Seed {
    /// The child named `name`.
    #[must_use]
    pub fn child(self, name: &str) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(self.0.to_le_bytes());
        hasher.update(name.as_bytes());
        let digest = hasher.finalize();
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&digest[..8]);
        Self(u64::from_le_bytes(bytes))
    }

    /// The child numbered `index`: for the trees of a forest, the folds of a split.
    #[must_use]
    pub fn nth(self, index: usize) -> Self {
        self.child(&index.to_string())
    }

    /// A generator that starts from this seed.
    #[must_use]
    pub fn rng(self) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_differ_by_name_and_are_stable() {
        let seed = Seed(17);
        assert_eq!(seed.child("folds"), seed.child("folds"));
        assert_ne!(seed.child("folds"), seed.child("trials"));
        assert_ne!(seed.nth(0), Seed(18).nth(0));
    }
}
