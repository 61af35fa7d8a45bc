//! Sets of categories, and which category a number names.

use serde::{Deserialize, Serialize};

use super::parts::DecisionRule;

/// XGBoost takes numbers from here on for no category (`OutOfRangeCat` in its `categorical.h`).
const SINGLE_LIMIT: f32 = 16_777_216.0;

/// A set of category numbers: pages of 32, of which only those with a member are kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct CategorySet {
    /// (category / 32, a bit for each of its 32 categories), ascending.
    pages: Vec<(u32, u32)>,
}

impl CategorySet {
    /// The set whose member `i` has bit `i % 32` of word `i / 32`.
    #[must_use]
    pub fn from_words(words: &[u32]) -> Self {
        let pages = (0..).zip(words.iter().copied()).filter(|(_, bits)| *bits != 0);
        Self { pages: pages.collect() }
    }

    /// The set of the numbers named, in any order.
    #[must_use]
    pub fn from_members(members: &[u32]) -> Self {
        let mut pages: Vec<(u32, u32)> =
            members.iter().map(|member| (member / 32, 1 << (member % 32))).collect();
        pages.sort_unstable_by_key(|(page, _)| *page);
        pages.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 |= next.1;
            }
            same
        });
        Self { pages }
    }

    /// Whether `category` is a member.
    #[must_use]
    pub fn contains(&self, category: u32) -> bool {
        let page = self.pages.binary_search_by_key(&(category / 32), |(page, _)| *page);
        page.is_ok_and(|page| self.pages[page].1 >> (category % 32) & 1 == 1)
    }

    /// Whether the pages ascend, as membership relies on.
    pub(super) fn is_ordered(&self) -> bool {
        self.pages.windows(2).all(|pair| pair[0].0 < pair[1].0)
    }
}

/// The category that `value` names where `rule` holds; `None` when it names none that a set could list.
///
/// LightGBM cuts the fraction off and takes negative numbers for unlisted, so -0.5 is category 0. XGBoost rounds to
/// single precision first, and takes everything below 0 for unlisted.
pub(super) fn category(rule: DecisionRule, value: f64) -> Option<u32> {
    match rule {
        DecisionRule::DoubleAtMost => (value > -1.0 && value < 2_147_483_648.0).then_some(value as u32),
        DecisionRule::SingleLess => {
            let value = value as f32;
            (0.0..SINGLE_LIMIT).contains(&value).then_some(value as u32)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_its_members_however_it_was_made() {
        let listed = CategorySet::from_members(&[70, 0, 3, 31, 3]);
        assert_eq!(listed, CategorySet::from_words(&[1 | 1 << 3 | 1 << 31, 0, 1 << 6]));
        let members: Vec<u32> = (0..200).filter(|i| listed.contains(*i)).collect();
        assert_eq!(members, [0, 3, 31, 70]);
        assert!(!listed.contains(u32::MAX));
        assert!(!CategorySet::default().contains(0));
    }

    #[test]
    fn the_two_rules_read_odd_numbers_differently() {
        let double = |value| category(DecisionRule::DoubleAtMost, value);
        let single = |value| category(DecisionRule::SingleLess, value);
        for (value, as_double, as_single) in [
            (1.9, Some(1), Some(1)),
            (-0.0, Some(0), Some(0)),
            (-0.5, Some(0), None),
            (-1.0, None, None),
            (1.999_999_99, Some(1), Some(2)),
            (16_777_216.0, Some(16_777_216), None),
            (2_147_483_648.0, None, None),
            (f64::INFINITY, None, None),
            (f64::NEG_INFINITY, None, None),
            (f64::NAN, None, None),
        ] {
            assert_eq!((double(value), single(value)), (as_double, as_single), "{value}");
        }
    }
}
