//! From data to pixels, and the round numbers to mark on the way.

/// A linear map of a domain onto pixels; values outside land on the nearer end.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    domain: (f64, f64),
    range: (f64, f64),
}

impl Scale {
    pub fn new(domain: (f64, f64), range: (f64, f64)) -> Self {
        Self { domain, range }
    }

    /// The pixel of a value. A domain without extent maps to the middle; NaN maps to the start.
    pub fn at(&self, value: f64) -> f64 {
        let (low, high) = self.domain;
        let share = match (value - low) / (high - low) {
            _ if high == low => 0.5,
            share if share.is_nan() => 0.0,
            share => share.clamp(0.0, 1.0),
        };
        self.range.0 + share * (self.range.1 - self.range.0)
    }

    pub fn contains(&self, value: f64) -> bool {
        value >= self.domain.0 && value <= self.domain.1
    }
}

/// Round numbers (1, 2 or 5 times a power of ten apart) within the domain, at most about `n_wanted`, and the
/// number of decimals that tells them apart.
pub fn ticks((low, high): (f64, f64), n_wanted: usize) -> (Vec<f64>, usize) {
    let extent = high - low;
    if !extent.is_finite() || extent <= 0.0 || n_wanted == 0 {
        return (Vec::new(), 0);
    }
    let rough = extent / n_wanted as f64;
    let power = rough.log10().floor();
    let unit = 10_f64.powf(power);
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|m| m * unit)
        .find(|&s| s >= rough * 0.999)
        .unwrap_or(unit * 10.0);
    let decimals = (-step.log10().floor()).max(0.0) as usize;
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    ((first..=last).map(|n| n as f64 * step).collect(), decimals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let (marks, decimals) = ticks((0.0, 1.0), 5);
        assert_eq!(decimals, 1);
        let shown: Vec<String> = marks.iter().map(|mark| format!("{mark:.decimals$}")).collect();
        assert_eq!(shown, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(ticks((0.0, 9000.0), 4).0, [0.0, 5000.0]);
        for domain in [(0.0, 0.0), (1.0, 0.0), (0.0, f64::INFINITY), (f64::NAN, 1.0)] {
            assert!(ticks(domain, 5).0.is_empty());
        }
    }

    #[test]
    fn a_scale_stays_in_its_range() {
        let scale = Scale::new((0.0, 2.0), (10.0, 30.0));
        let pixels = [-1.0, 0.0, 1.0, 2.0, 9.0, f64::NAN].map(|value| scale.at(value));
        assert_eq!(pixels, [10.0, 10.0, 20.0, 30.0, 30.0, 10.0]);
        assert_eq!(Scale::new((3.0, 3.0), (0.0, 8.0)).at(3.0), 4.0);
    }
}
