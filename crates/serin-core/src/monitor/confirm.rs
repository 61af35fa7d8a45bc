//! M of N: what is told must have been seen in several windows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serin_ml::drift::{Finding, Severity};

/// Something that was found in enough of the last windows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Confirmation {
    /// As it was found last.
    pub finding: Finding,
    /// In how many of the last windows.
    pub windows: u32,
}

/// What was found in at least `least` of `windows`, the present one first. A feature is one thing, whatever test found
/// it; predictions and whole rows are one thing a kind. The most damaging first.
#[must_use]
pub fn confirmed(windows: &[&[Finding]], least: u32) -> Vec<Confirmation> {
    let mut seen: BTreeMap<String, Confirmation> = BTreeMap::new();
    for window in windows {
        let mut in_this: Vec<String> = Vec::new();
        for finding in *window {
            let what = finding
                .column
                .clone()
                .map_or_else(|| format!("/{}", finding.kind.name()), |name| format!("={name}"));
            if in_this.contains(&what) {
                continue;
            }
            let entry = seen
                .entry(what.clone())
                .or_insert_with(|| Confirmation { finding: finding.clone(), windows: 0 });
            entry.windows += 1;
            in_this.push(what);
        }
    }
    let mut confirmed: Vec<Confirmation> =
        seen.into_values().filter(|entry| entry.windows >= least).collect();
    confirmed.sort_by(|a, b| {
        let by_damage = b.finding.damage.total_cmp(&a.finding.damage);
        by_damage.then(b.finding.shift.total_cmp(&a.finding.shift))
    });
    confirmed
}

impl Confirmation {
    /// Whether it is about the data's form.
    #[must_use]
    pub fn is_quality(&self) -> bool {
        self.finding.severity == Severity::Quality
    }
}

#[cfg(test)]
mod tests {
    use serin_ml::drift::ChangeKind;

    use super::*;

    fn finding(column: Option<&str>, kind: ChangeKind, damage: f64) -> Finding {
        Finding {
            column: column.map(str::to_owned),
            kind,
            severity: kind.severity(),
            p: 0.0,
            shift: damage,
            damage,
            text: String::new(),
        }
    }

    #[test]
    fn a_feature_is_one_thing_whatever_found_it() {
        let now = [finding(Some("a"), ChangeKind::Shape, 0.1), finding(Some("b"), ChangeKind::Missing, 0.9)];
        let before = [
            finding(Some("a"), ChangeKind::Distribution, 0.2),
            finding(Some("a"), ChangeKind::Unseen, 0.2),
            finding(None, ChangeKind::ClassMix, 0.5),
        ];
        let earlier = [finding(None, ChangeKind::ClassMix, 0.4)];
        let found = confirmed(&[&now, &before, &earlier], 2);
        let found: Vec<_> =
            found.iter().map(|c| (c.finding.column.as_deref(), c.finding.kind, c.windows)).collect();
        assert_eq!(found, [(None, ChangeKind::ClassMix, 2), (Some("a"), ChangeKind::Shape, 2)]);
        assert_eq!(confirmed(&[&now], 1).len(), 2);
        assert_eq!(confirmed(&[], 1), []);
    }
}
