//! One coordinate of a search space: a named value with its range and its scale.

/// A named coordinate. Values are real numbers; a choice is the index of the option.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dimension {
    /// The name a person reads in the leaderboard.
    pub name: &'static str,
    /// The values it may take.
    pub range: Range,
}

/// The values of a dimension and how they are spread over the unit interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Range {
    /// Real numbers, evenly by ratio; `low` > 0.
    Log { low: f64, high: f64 },
    /// Real numbers, evenly by difference.
    Linear { low: f64, high: f64 },
    /// Whole numbers, evenly by ratio; `low` >= 1.
    LogInteger { low: f64, high: f64 },
    /// One of several options without order.
    Choice(&'static [&'static str]),
}

impl Dimension {
    /// The value at `unit` in [0, 1].
    #[must_use]
    pub fn value(&self, unit: f64) -> f64 {
        let unit = unit.clamp(0.0, 1.0);
        match self.range {
            Range::Linear { low, high } => low + unit * (high - low),
            Range::Log { low, high } => (low.ln() + unit * (high / low).ln()).exp().clamp(low, high),
            Range::LogInteger { low, high } => {
                (low.ln() + unit * (high / low).ln()).exp().round().clamp(low, high)
            }
            Range::Choice(options) => (unit * options.len() as f64).floor().min(options.len() as f64 - 1.0),
        }
    }

    /// The place of `value` in [0, 1]; the middle of its share for a choice.
    #[must_use]
    pub fn unit(&self, value: f64) -> f64 {
        let unit = match self.range {
            Range::Linear { low, high } => (value - low) / (high - low),
            Range::Log { low, high } | Range::LogInteger { low, high } => {
                (value / low).ln() / (high / low).ln()
            }
            Range::Choice(options) => (value + 0.5) / options.len() as f64,
        };
        unit.clamp(0.0, 1.0)
    }

    /// The options when this is a choice.
    #[must_use]
    pub fn options(&self) -> Option<&'static [&'static str]> {
        match self.range {
            Range::Choice(options) => Some(options),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RANGES: [Range; 4] = [
        Range::Log { low: 0.01, high: 10.0 },
        Range::Linear { low: -1.0, high: 1.0 },
        Range::LogInteger { low: 1.0, high: 500.0 },
        Range::Choice(&["a", "b", "c"]),
    ];

    proptest! {
        #[test]
        fn a_value_survives_the_way_to_the_unit_interval_and_back(unit in 0.0..=1.0f64, which in 0usize..4) {
            let dimension = Dimension { name: "x", range: RANGES[which] };
            let value = dimension.value(unit);
            let again = dimension.value(dimension.unit(value));
            prop_assert!((value - again).abs() <= 1e-9 * value.abs().max(1.0), "{value} {again}");
        }
    }
}
