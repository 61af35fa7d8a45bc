//! What is measured: a name with labels, and how such are chosen.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

/// A longer name is refused.
pub const METRIC_NAME_LONGEST_BYTES: usize = 200;
/// A longer name of a label is refused.
pub const LABEL_NAME_LONGEST_BYTES: usize = 100;
/// A longer value of a label is refused.
pub const LABEL_VALUE_LONGEST_BYTES: usize = 500;
/// A series with more labels is refused.
pub const LABELS_MOST: usize = 30;

/// A metric with its labels, shown as `latency{endpoint="prod",variant="v3"}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Series {
    /// Without `_total`.
    pub name: String,
    pub labels: BTreeMap<String, String>,
}

/// Every series of this name that has these labels and maybe others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector {
    pub name: String,
    pub labels: BTreeMap<String, String>,
}

impl Series {
    /// A series of a name and labels in any order.
    #[must_use]
    pub fn new(name: &str, labels: &[(&str, &str)]) -> Self {
        Self { name: name.to_owned(), labels: owned(labels) }
    }

    /// Name and labels keep the rules of Prometheus and the limits of this module.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        let label_is_well_formed = |(name, value): (&String, &String)| {
            is_label_name(name)
                && name.len() <= LABEL_NAME_LONGEST_BYTES
                && value.len() <= LABEL_VALUE_LONGEST_BYTES
        };
        is_metric_name(&self.name)
            && self.name.len() <= METRIC_NAME_LONGEST_BYTES
            && self.labels.len() <= LABELS_MOST
            && self.labels.iter().all(label_is_well_formed)
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_labelled(f, &self.name, &self.labels)
    }
}

impl Selector {
    /// Series of a name with at least these labels.
    #[must_use]
    pub fn new(name: &str, labels: &[(&str, &str)]) -> Self {
        Self { name: name.to_owned(), labels: owned(labels) }
    }

    /// This series is meant.
    #[must_use]
    pub fn matches(&self, series: &Series) -> bool {
        self.name == series.name && self.matches_labels(&series.labels)
    }

    pub(super) fn matches_labels(&self, labels: &BTreeMap<String, String>) -> bool {
        self.labels.iter().all(|(name, value)| labels.get(name) == Some(value))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_labelled(f, &self.name, &self.labels)
    }
}

/// A letter, `_` or `:`, then also digits.
pub(super) fn is_metric_name(text: &str) -> bool {
    !text.starts_with(|c: char| c.is_ascii_digit()) && !text.is_empty() && text.chars().all(is_of_metric_name)
}

/// A letter or `_`, then also digits.
pub(super) fn is_label_name(text: &str) -> bool {
    is_metric_name(text) && !text.contains(':')
}

pub(super) fn is_of_metric_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

fn owned(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
    labels.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn write_labelled(f: &mut fmt::Formatter<'_>, name: &str, labels: &BTreeMap<String, String>) -> fmt::Result {
    f.write_str(name)?;
    if labels.is_empty() {
        return Ok(());
    }
    for (n, (label, value)) in labels.iter().enumerate() {
        write!(f, "{}{label}=\"", if n == 0 { '{' } else { ',' })?;
        for c in value.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                other => f.write_char(other)?,
            }
        }
        f.write_char('"')?;
    }
    f.write_char('}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_shown_as_prometheus_writes_it() {
        assert_eq!(Series::new("up", &[]).to_string(), "up");
        let latency = Series::new("latency", &[("variant", "v3"), ("endpoint", "prod")]);
        assert_eq!(latency.to_string(), r#"latency{endpoint="prod",variant="v3"}"#);
        assert_eq!(Series::new("a", &[("b", "\"\\\n'")]).to_string(), r#"a{b="\"\\\n'"}"#);
    }

    #[test]
    fn a_selector_means_series_with_more_labels_too() {
        let series = Series::new("latency", &[("endpoint", "prod"), ("variant", "v3")]);
        for (labels, is_meant) in [
            (&[][..], true),
            (&[("variant", "v3")], true),
            (&[("variant", "v3"), ("endpoint", "prod")], true),
            (&[("variant", "v4")], false),
            (&[("variant", "v3"), ("code", "")], false),
        ] {
            assert_eq!(Selector::new("latency", labels).matches(&series), is_meant, "{labels:?}");
        }
        assert!(!Selector::new("latenc", &[]).matches(&series));
    }

    #[test]
    fn names_keep_the_rules_and_the_limits() {
        for name in ["a", "_", ":", "a1", "serin_requests", "A:b_C9"] {
            assert!(Series::new(name, &[]).is_well_formed(), "{name}");
        }
        for name in ["", "1a", "a b", "a-b", "ä", "a.b", &"a".repeat(METRIC_NAME_LONGEST_BYTES + 1)] {
            assert!(!Series::new(name, &[]).is_well_formed(), "{name}");
        }
        let long_value = "v".repeat(LABEL_VALUE_LONGEST_BYTES + 1);
        for label in [("a:b", "v"), ("", "v"), ("0", "v"), ("a", &long_value)] {
            assert!(!Series::new("a", &[label]).is_well_formed(), "{label:?}");
        }
        let names: Vec<String> = (0..=LABELS_MOST).map(|n| format!("l{n}")).collect();
        let labels: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
        assert!(!Series::new("a", &labels).is_well_formed());
        assert!(Series::new("a", &labels[1..]).is_well_formed());
    }
}
