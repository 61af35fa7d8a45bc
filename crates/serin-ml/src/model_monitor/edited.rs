//! Constraints that a person, or SageMaker's SDK, has edited.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Map, Value};

use super::constraints::{
    CategoricalDriftMethod, ComparisonMethod, Constraints, DistributionOverrides, FeatureConstraints,
    MonitoringConfig, MonitoringOverrides, NumberConstraints, Switch, TextConstraints,
};
use super::statistics::InferredType;

/// Problems that a message shows; there may be more.
const SHOWN_PROBLEMS: usize = 8;

/// Why a file holds no constraints.
#[derive(Debug, thiserror::Error)]
pub enum UnusableConstraints {
    /// It is no JSON.
    #[error("constraints are not JSON")]
    NotJson(#[source] serde_json::Error),
    /// Something in it is wrong: everything that is.
    #[error("{}", shown(.problems))]
    Wrong { problems: Vec<Problem> },
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The feature it is about; `None` for what is common to all.
    pub feature: Option<String>,
    /// The key, with those above it.
    pub key: String,
    /// What it is, and what to give instead.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(feature) = &self.feature {
            write!(formatter, "feature {feature:?}: ")?;
        }
        write!(formatter, "{}: {}", self.key, self.what)
    }
}

fn shown(problems: &[Problem]) -> String {
    let mut text: Vec<String> = problems.iter().take(SHOWN_PROBLEMS).map(ToString::to_string).collect();
    if problems.len() > SHOWN_PROBLEMS {
        text.push(format!("and {} more", problems.len() - SHOWN_PROBLEMS));
    }
    text.join("; ")
}

impl Constraints {
    /// Reads an edited file. Keys that it leaves out have the values that SageMaker documents; keys that are not known are
    /// passed over, as those of other versions must be.
    ///
    /// # Errors
    /// When it is no JSON, or with everything in it that is wrong.
    pub fn parse(text: &str) -> Result<Self, UnusableConstraints> {
        let value: Value = serde_json::from_str(text).map_err(UnusableConstraints::NotJson)?;
        let mut reader = Reader::default();
        let constraints = reader.constraints(&value);
        match constraints {
            Some(constraints) if reader.problems.is_empty() => Ok(constraints),
            _ => Err(UnusableConstraints::Wrong { problems: reader.problems }),
        }
    }
}

/// Takes a document apart and notes what is wrong with it on the way.
#[derive(Default)]
struct Reader {
    feature: Option<String>,
    problems: Vec<Problem>,
}

/// An object of the document, and the keys that lead to it.
#[derive(Clone, Copy)]
struct Place<'a> {
    object: &'a Map<String, Value>,
    path: &'a str,
}

impl Place<'_> {
    fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

impl Reader {
    fn constraints(&mut self, document: &Value) -> Option<Constraints> {
        let Value::Object(object) = document else {
            self.wrong("constraints".to_owned(), document, "give an object with `features`");
            return None;
        };
        let place = Place { object, path: "" };
        let version = match object.get("version") {
            None => 0.0,
            Some(version) => self.number(version, "version").unwrap_or(0.0),
        };
        let mut features = Vec::new();
        match object.get("features") {
            Some(Value::Array(values)) => {
                let mut names = BTreeSet::new();
                for (index, value) in values.iter().enumerate() {
                    self.feature = None;
                    let Some(feature) = self.feature(value, index) else { continue };
                    if !names.insert(feature.name.clone()) {
                        self.problem("name".to_owned(), "is there twice; keep one".to_owned());
                    }
                    features.push(feature);
                }
            }
            Some(other) => self.wrong("features".to_owned(), other, "give a list"),
            None => self.problem("features".to_owned(), "is missing; give a list".to_owned()),
        }
        self.feature = None;
        let overrides = self.monitoring(place, "monitoring_config");
        let mut monitoring_config = MonitoringConfig::documented().with(&overrides);
        // Documented as the same as for numbers.
        let distribution = &mut monitoring_config.distribution_constraints;
        if overrides.distribution_constraints.categorical_comparison_threshold.is_none() {
            distribution.categorical_comparison_threshold = distribution.comparison_threshold;
        }
        Some(Constraints { version, features, monitoring_config })
    }

    fn feature(&mut self, value: &Value, index: usize) -> Option<FeatureConstraints> {
        let Value::Object(object) = value else {
            self.wrong(format!("features[{index}]"), value, "give an object with `name`");
            return None;
        };
        let name = match object.get("name") {
            Some(Value::String(name)) => name.clone(),
            Some(other) => {
                self.wrong(format!("features[{index}].name"), other, "give the name of a column");
                return None;
            }
            None => {
                self.problem(
                    format!("features[{index}].name"),
                    "is missing; give the name of a column".to_owned(),
                );
                return None;
            }
        };
        self.feature = Some(name.clone());
        let place = Place { object, path: "" };
        let types =
            [InferredType::Integral, InferredType::Fractional, InferredType::String, InferredType::Unknown];
        let inferred_type = self.choice(place, "inferred_type", &types.map(|one| (one.name(), one)));
        let completeness = self.share(place, "completeness");
        if inferred_type.is_none() && !object.contains_key("inferred_type") {
            self.problem("inferred_type".to_owned(), "is missing; give one such as Fractional".to_owned());
        }
        if completeness.is_none() && !object.contains_key("completeness") {
            self.problem("completeness".to_owned(), "is missing; give a number from 0 to 1".to_owned());
        }
        let num_constraints = self
            .object(place, "num_constraints")
            .and_then(|inner| self.flag(inner, "is_non_negative"))
            .map(|is_non_negative| NumberConstraints { is_non_negative });
        let string_constraints = self
            .object(place, "string_constraints")
            .and_then(|inner| self.texts(inner, "domains"))
            .map(|domains| TextConstraints { domains });
        // The documents spell it one way, the SDK the other.
        let spellings = ["monitoring_config_overrides", "monitoringConfigOverrides"];
        let [first, second] = spellings.map(|key| object.contains_key(key));
        if first && second {
            self.problem(
                spellings[1].to_owned(),
                format!("is there beside `{}`, which means the same; keep one", spellings[0]),
            );
        }
        let monitoring_config_overrides =
            self.monitoring(place, if second && !first { spellings[1] } else { spellings[0] });
        Some(FeatureConstraints {
            name,
            // Whatever stands for a wrong value is never seen: there is a problem then.
            inferred_type: inferred_type.unwrap_or(InferredType::Unknown),
            completeness: completeness.unwrap_or(0.0),
            num_constraints,
            string_constraints,
            monitoring_config_overrides,
        })
    }

    fn monitoring(&mut self, place: Place<'_>, key: &str) -> MonitoringOverrides {
        let Some(place) = self.object(place, key) else { return MonitoringOverrides::default() };
        let switches = [("Enabled", Switch::Enabled), ("Disabled", Switch::Disabled)];
        let path = place.key("distribution_constraints");
        let distribution = match self.object(place, "distribution_constraints") {
            None => DistributionOverrides::default(),
            Some(inner) => {
                let inner = Place { object: inner.object, path: &path };
                DistributionOverrides {
                    perform_comparison: self.choice(inner, "perform_comparison", &switches),
                    comparison_threshold: self.size(inner, "comparison_threshold"),
                    comparison_method: self.choice(
                        inner,
                        "comparison_method",
                        &[("Simple", ComparisonMethod::Simple), ("Robust", ComparisonMethod::Robust)],
                    ),
                    categorical_comparison_threshold: self.size(inner, "categorical_comparison_threshold"),
                    categorical_drift_method: self.choice(
                        inner,
                        "categorical_drift_method",
                        &[
                            ("LInfinity", CategoricalDriftMethod::LInfinity),
                            ("ChiSquared", CategoricalDriftMethod::ChiSquared),
                        ],
                    ),
                }
            }
        };
        MonitoringOverrides {
            evaluate_constraints: self.choice(place, "evaluate_constraints", &switches),
            emit_metrics: self.choice(place, "emit_metrics", &switches),
            datatype_check_threshold: self.share(place, "datatype_check_threshold"),
            domain_content_threshold: self.share(place, "domain_content_threshold"),
            distribution_constraints: distribution,
        }
    }

    /// The object under a key that may be left out.
    fn object<'a>(&mut self, place: Place<'a>, key: &'a str) -> Option<Place<'a>> {
        match place.object.get(key)? {
            Value::Null => None,
            Value::Object(object) => Some(Place { object, path: key }),
            other => {
                self.wrong(place.key(key), other, "give an object");
                None
            }
        }
    }

    fn choice<T: Copy>(&mut self, place: Place<'_>, key: &str, choices: &[(&str, T)]) -> Option<T> {
        let value = place.object.get(key)?;
        let found = choices.iter().find(|(name, _)| value.as_str() == Some(*name));
        if found.is_none() {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            self.wrong(place.key(key), value, &format!("give one of {}", names.join(", ")));
        }
        found.map(|(_, choice)| *choice)
    }

    /// A number from 0 to 1.
    fn share(&mut self, place: Place<'_>, key: &str) -> Option<f64> {
        self.bounded(place, key, |number| (0.0..=1.0).contains(&number), "give a number from 0 to 1")
    }

    /// A number that is not below 0.
    fn size(&mut self, place: Place<'_>, key: &str) -> Option<f64> {
        self.bounded(place, key, |number| number >= 0.0, "give a number from 0 on")
    }

    fn bounded(&mut self, place: Place<'_>, key: &str, fits: impl Fn(f64) -> bool, fix: &str) -> Option<f64> {
        let value = place.object.get(key)?;
        let number = value.as_f64().filter(|&number| fits(number));
        if number.is_none() {
            self.wrong(place.key(key), value, fix);
        }
        number
    }

    fn number(&mut self, value: &Value, key: &str) -> Option<f64> {
        let number = value.as_f64();
        if number.is_none() {
            self.wrong(key.to_owned(), value, "give a number such as 0.0");
        }
        number
    }

    fn flag(&mut self, place: Place<'_>, key: &str) -> Option<bool> {
        let value = place.object.get(key)?;
        if value.as_bool().is_none() {
            self.wrong(place.key(key), value, "give true or false");
        }
        value.as_bool()
    }

    fn texts(&mut self, place: Place<'_>, key: &str) -> Option<Vec<String>> {
        let value = place.object.get(key)?;
        let texts = value.as_array().map(|values| values.iter().map(|one| one.as_str().map(str::to_owned)));
        let texts: Option<Vec<String>> = texts.and_then(Iterator::collect);
        if texts.is_none() {
            self.wrong(place.key(key), value, "give a list of texts");
        }
        texts
    }

    fn wrong(&mut self, key: String, value: &Value, fix: &str) {
        let is = match value {
            Value::Array(_) => "a list".to_owned(),
            Value::Object(_) => "an object".to_owned(),
            Value::String(text) => format!("{text:?}"),
            other => other.to_string(),
        };
        self.problem(key, format!("is {is}; {fix}"));
    }

    fn problem(&mut self, key: String, what: String) {
        self.problems.push(Problem { feature: self.feature.clone(), key, what });
    }
}
