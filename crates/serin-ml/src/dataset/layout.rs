//! What each column of a file is for: roles by name.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::columns::{Role, Shape};
use super::errors::{DatasetError, SchemaProblem, TargetProblem};
use super::read::{ReadOptions, Warning};

/// The features, fixed by the expected schema or by the first file.
#[derive(Debug)]
pub(super) struct Layout<'a> {
    options: &'a ReadOptions,
    /// Columns that are not features, with their roles; `Role::Number(0)` stands for the weight until it has a number.
    special: BTreeMap<&'a str, (Role, &'static str)>,
    features: Option<Vec<String>>,
    /// Whether the files have the target: decided by the first.
    has_target: bool,
}

const WEIGHT: &str = "the weight";

impl<'a> Layout<'a> {
    /// Checks that no column has two roles.
    pub fn new(options: &'a ReadOptions) -> Result<Self, DatasetError> {
        let mut special: BTreeMap<&str, (Role, &'static str)> = BTreeMap::new();
        let named = [
            (&options.target, Role::Target, "the target"),
            (&options.weight, Role::Number(0), WEIGHT),
            (&options.group, Role::Group, "the group"),
            (&options.time, Role::Time, "the time"),
            (&options.id, Role::Id, "the id"),
        ];
        let ignored = options.ignore.iter().map(|name| (name.as_str(), Role::Skip, "ignored"));
        let roles = named
            .into_iter()
            .filter_map(|(name, role, title)| name.as_deref().map(|name| (name, role, title)))
            .chain(ignored);
        for (name, role, second) in roles {
            match special.insert(name, (role, second)) {
                Some((_, first)) if first != second => {
                    return Err(DatasetError::Schema {
                        path: "the options".to_owned(),
                        problem: SchemaProblem::TwoRoles { column: name.to_owned(), first, second },
                    });
                }
                _ => {}
            }
        }
        Ok(Self { options, special, features: None, has_target: options.target.is_some() })
    }

    /// Whether a file has been seen.
    pub fn is_fixed(&self) -> bool {
        self.features.is_some()
    }

    /// The features in order.
    pub fn features(&self) -> &[String] {
        self.features.as_deref().unwrap_or_default()
    }

    pub fn has_target(&self) -> bool {
        self.has_target
    }

    pub fn shape(&self) -> Shape {
        Shape { numbers: self.features().len() + usize::from(self.options.weight.is_some()) }
    }

    /// One role a column of a file with these names.
    pub fn roles(
        &mut self,
        path: &str,
        names: &[String],
        warnings: &mut Vec<Warning>,
    ) -> Result<Vec<Role>, DatasetError> {
        let refuse = |problem| DatasetError::Schema { path: path.to_owned(), problem };
        check_names(names, &self.options.ignore).map_err(refuse)?;
        let positions: HashMap<&str, usize> =
            names.iter().enumerate().map(|(i, name)| (name.as_str(), i)).collect();

        self.check_target(path, names, &positions)?;
        let mut missing: Vec<String> = self
            .special
            .iter()
            .filter(|(name, (role, _))| {
                !matches!(role, Role::Skip | Role::Target) && !positions.contains_key(**name)
            })
            .map(|(name, _)| (*name).to_owned())
            .collect();
        let expected: Option<Vec<String>> = match (&self.features, &self.options.expected_schema) {
            (Some(features), _) => Some(features.clone()),
            (None, Some(schema)) => Some(schema.names().map(str::to_owned).collect()),
            (None, None) => None,
        };
        let features = expected.clone().unwrap_or_else(|| {
            names.iter().filter(|name| !self.special.contains_key(name.as_str())).cloned().collect()
        });
        missing.extend(features.iter().filter(|name| !positions.contains_key(name.as_str())).cloned());
        if !missing.is_empty() {
            return Err(refuse(SchemaProblem::Missing(missing)));
        }
        if features.is_empty() {
            return Err(refuse(SchemaProblem::NoFeatures));
        }

        let mut roles = vec![Role::Skip; names.len()];
        for (name, (role, title)) in &self.special {
            if let Some(&position) = positions.get(name) {
                roles[position] = match role {
                    _ if *title == WEIGHT => Role::Number(features.len()),
                    Role::Target if !self.has_target => Role::Skip,
                    role => *role,
                };
            }
        }
        let mut used: Vec<usize> = Vec::with_capacity(features.len());
        for (slot, name) in features.iter().enumerate() {
            // A feature of the model that the options ignore is still the model's; another role contradicts it.
            if let Some((role, second)) = self.special.get(name.as_str())
                && *role != Role::Skip
            {
                let column = name.clone();
                return Err(refuse(SchemaProblem::TwoRoles { column, first: "a feature", second }));
            }
            roles[positions[name.as_str()]] = Role::Number(slot);
            used.push(positions[name.as_str()]);
        }
        if expected.is_some() {
            let extra: Vec<String> = names
                .iter()
                .zip(&roles)
                .filter(|(name, role)| **role == Role::Skip && !self.special.contains_key(name.as_str()))
                .map(|(name, _)| name.clone())
                .collect();
            if !extra.is_empty() {
                warnings.push(Warning::ExtraColumns { path: path.to_owned(), columns: extra });
            }
            if !used.is_sorted() {
                warnings.push(Warning::ColumnOrder { path: path.to_owned() });
            }
        }
        self.features = Some(features);
        Ok(roles)
    }

    fn check_target(
        &mut self,
        path: &str,
        names: &[String],
        positions: &HashMap<&str, usize>,
    ) -> Result<(), DatasetError> {
        let Some(target) = self.options.target.as_deref().filter(|_| self.has_target) else { return Ok(()) };
        if positions.contains_key(target) {
            return Ok(());
        }
        if self.options.target_required || self.is_fixed() {
            return Err(DatasetError::BadTarget {
                column: target.to_owned(),
                problem: TargetProblem::Absent { path: path.to_owned(), columns: names.to_vec() },
            });
        }
        self.has_target = false;
        Ok(())
    }
}

fn check_names(names: &[String], ignore: &[String]) -> Result<(), SchemaProblem> {
    let mut seen = BTreeSet::new();
    let mut repeated = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            repeated.insert(name.clone());
        }
    }
    if !repeated.is_empty() {
        return Err(SchemaProblem::Duplicate(repeated.into_iter().collect()));
    }
    match names.iter().position(|name| name.trim().is_empty()) {
        Some(at) if !ignore.contains(&names[at]) => Err(SchemaProblem::Unnamed(at + 1)),
        _ => Ok(()),
    }
}
