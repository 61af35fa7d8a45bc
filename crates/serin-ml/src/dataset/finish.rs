//! From the columns of all files to the data set: classes, groups, kinds, ranges and the fingerprint.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use super::columns::{Columns, Interned, Located, Names, Role, judge_problems};
use super::errors::{DatasetError, TargetProblem};
use super::fingerprint::{ColumnDigest, fingerprint};
use super::layout::Layout;
use super::read::{Read, ReadOptions, Reading};
use super::table::{ColumnKind, Dataset, Field, Fingerprint, Labels, Schema};

/// Largest whole number up to which all whole numbers are floats.
const LARGEST_WHOLE: f64 = 9_007_199_254_740_992.0;

/// Judges what was noted while reading, then builds the data set.
pub(super) fn finish(reading: Reading<'_>) -> Result<Read, DatasetError> {
    let Reading { options, layout, mut columns, paths, sources, warnings, .. } = reading;
    let names = Names {
        paths: &paths,
        features: layout.features(),
        weight: options.weight.as_deref(),
        time: options.time.as_deref(),
        target: options.target.as_deref().filter(|_| layout.has_target()),
        group: options.group.as_deref(),
        id: options.id.as_deref(),
    };
    judge_problems(&columns.problems, &names)?;

    let needed = options.needed_rows();
    if columns.rows < needed {
        return Err(DatasetError::TooFewRows { rows: columns.rows, needed });
    }
    let labels = names.target.map(|_| labels(&mut columns.target, options, &names)).transpose()?;
    let weights = options.weight.is_some().then(|| columns.numbers.pop().unwrap_or_default());
    if let Some(weights) = &weights {
        check_weights(weights, &paths, &sources, &names)?;
    }

    let summaries: Vec<(Field, ColumnDigest)> = columns
        .numbers
        .par_iter()
        .zip(layout.features())
        .map(|(values, name)| (field(name, values), ColumnDigest::of(values)))
        .collect();
    let (fields, digests): (Vec<Field>, Vec<ColumnDigest>) = summaries.into_iter().unzip();
    let schema = Schema { fields };
    let fingerprint = fingerprint(&schema, &digests, columns.rows, labels.as_ref(), weights.as_deref());
    let Columns { numbers, times, group, ids, rows, .. } = columns;
    let dataset = Dataset {
        schema,
        columns: numbers,
        n_rows: rows,
        labels,
        weights,
        groups: options.group.is_some().then_some(group.codes),
        times: options.time.is_some().then_some(times),
        ids: options.id.is_some().then_some(ids),
        sources,
        fingerprint,
    };
    Ok(Read { dataset, warnings })
}

/// The rows gathered so far as a data set of features and ids only.
pub(super) fn batch(
    columns: Columns,
    options: &ReadOptions,
    layout: &Layout<'_>,
    paths: &[String],
) -> Result<Dataset, DatasetError> {
    let names = Names {
        paths,
        features: layout.features(),
        weight: None,
        time: None,
        target: None,
        group: None,
        id: options.id.as_deref(),
    };
    judge_problems(&columns.problems, &names)?;
    let fields = columns.numbers.iter().zip(layout.features()).map(|(values, name)| field(name, values));
    Ok(Dataset {
        schema: Schema { fields: fields.collect() },
        n_rows: columns.rows,
        columns: columns.numbers,
        labels: None,
        weights: None,
        groups: None,
        times: None,
        ids: options.id.is_some().then_some(columns.ids),
        sources: Vec::new(),
        fingerprint: Fingerprint(String::new()),
    })
}

/// The narrowest kind, the range and whether values are missing.
pub(super) fn field(name: &str, values: &[f64]) -> Field {
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    let (mut has_missing, mut is_whole, mut is_boolean) = (false, true, true);
    for &value in values {
        if value.is_nan() {
            has_missing = true;
            continue;
        }
        low = low.min(value);
        high = high.max(value);
        is_boolean &= value == 0.0 || value == 1.0;
        is_whole &= value.fract() == 0.0;
    }
    let range = (low <= high).then_some((low, high));
    let kind = match range {
        // Without a value nothing speaks for a narrow kind.
        None => ColumnKind::Number,
        Some(_) if is_boolean => ColumnKind::Boolean,
        // Beyond 2^53 floats have no fractions, so being whole says nothing.
        Some((low, high)) if is_whole && low >= -LARGEST_WHOLE && high <= LARGEST_WHOLE => {
            ColumnKind::Integer
        }
        Some(_) => ColumnKind::Number,
    };
    Field { name: name.to_owned(), kind, range, has_missing }
}

/// Classes and codes from the texts of the target column.
///
/// When all texts are whole numbers they are written as integers (`1.0` is `1`) and sorted as numbers; `true` and
/// `false` are written in lower case; all other texts are classes as they stand, in byte order.
fn labels(target: &mut Interned, options: &ReadOptions, names: &Names<'_>) -> Result<Labels, DatasetError> {
    let column = names.column(Role::Target).to_owned();
    let refuse = |problem| DatasetError::BadTarget { column: column.clone(), problem };
    let position = |index: usize| {
        let value = &target.values[index];
        names.position(Role::Target, value.file, value.row, value.line).with_value(value.text.as_bytes())
    };
    let rows = target.codes.len();
    let texts: Vec<&str> = target.values.iter().map(|value| value.text.as_str()).collect();
    let numbers: Option<Vec<f64>> = texts.iter().map(|text| text.parse::<f64>().ok()).collect();
    if let Some(numbers) = &numbers {
        if let Some(at) = numbers.iter().position(|number| !number.is_finite()) {
            return Err(DatasetError::NotFinite { position: position(at) });
        }
        if let Some(at) =
            numbers.iter().position(|number| number.fract() != 0.0 || number.abs() > LARGEST_WHOLE)
        {
            return Err(refuse(TargetProblem::Fraction { position: position(at) }));
        }
    }
    let are_booleans =
        texts.iter().all(|text| ["true", "false"].contains(&text.to_ascii_lowercase().as_str()));
    let canonical: Vec<String> = match &numbers {
        // Whole and below 2^53, so the cast is exact; it also makes -0 into 0.
        Some(numbers) => numbers.iter().map(|number| (*number as i64).to_string()).collect(),
        None if are_booleans => texts.iter().map(|text| text.to_ascii_lowercase()).collect(),
        None => texts.iter().map(|text| (*text).to_owned()).collect(),
    };

    let mut classes: Vec<String> = canonical.iter().collect::<BTreeSet<_>>().into_iter().cloned().collect();
    if numbers.is_some() {
        classes.sort_by_key(|class| class.parse::<i64>().unwrap_or_default());
    }
    if let Some(known) = &options.expected_classes {
        // Texts of a mixed target may be whole numbers in another spelling than the model's.
        let index: BTreeMap<&str, u32> = known.iter().map(String::as_str).zip(0..).collect();
        let code = |at: usize| {
            index
                .get(canonical[at].as_str())
                .or_else(|| index.get(whole_number(texts[at])?.as_str()))
                .copied()
        };
        let codes: Vec<Option<u32>> = (0..texts.len()).map(code).collect();
        if let Some(at) = codes.iter().position(Option::is_none) {
            let counts = counts(&target.codes, texts.len());
            let mut unknown: BTreeMap<&str, usize> = BTreeMap::new();
            for (at, code) in codes.iter().enumerate() {
                if code.is_none() {
                    *unknown.entry(&canonical[at]).or_default() += counts[at];
                }
            }
            let classes = unknown.into_iter().map(|(class, rows)| (class.to_owned(), rows)).collect();
            let known = known.clone();
            return Err(refuse(TargetProblem::UnknownClass { classes, known, position: position(at) }));
        }
        let codes: Vec<u32> = codes.into_iter().flatten().collect();
        recode(&mut target.codes, &codes);
        return Ok(Labels { classes: known.clone(), codes: std::mem::take(&mut target.codes) });
    }
    if let [class] = classes.as_slice() {
        return Err(refuse(TargetProblem::OneClass { class: class.clone(), rows }));
    }
    let limit = options.limits.classes;
    if classes.len() > limit {
        return Err(refuse(TargetProblem::TooManyClasses { found: classes.len(), rows, limit }));
    }
    let index: BTreeMap<&str, u32> = classes.iter().map(String::as_str).zip(0..).collect();
    let codes: Vec<u32> =
        canonical.iter().map(|class| index.get(class.as_str()).copied().unwrap_or_default()).collect();
    recode(&mut target.codes, &codes);
    Ok(Labels { classes, codes: std::mem::take(&mut target.codes) })
}

fn whole_number(text: &str) -> Option<String> {
    let number = text.parse::<f64>().ok()?;
    (number.fract() == 0.0 && number.abs() <= LARGEST_WHOLE).then(|| (number as i64).to_string())
}

fn counts(codes: &[u32], n: usize) -> Vec<usize> {
    let mut counts = vec![0; n];
    for &code in codes {
        counts[code as usize] += 1;
    }
    counts
}

fn recode(codes: &mut [u32], new: &[u32]) {
    for code in codes {
        *code = new[*code as usize];
    }
}

fn check_weights(
    weights: &[f64],
    paths: &[String],
    sources: &[super::table::Source],
    names: &Names<'_>,
) -> Result<(), DatasetError> {
    let Some(at) = weights.iter().position(|weight| weight.is_nan() || *weight < 0.0) else { return Ok(()) };
    let (mut file, mut row) = (0, at);
    while file + 1 < paths.len() && row >= sources[file].rows {
        row -= sources[file].rows;
        file += 1;
    }
    let role = Role::Number(names.features.len());
    let found = Located {
        kind: super::cells::CellProblem::Missing,
        file,
        row: row as u64 + 1,
        // The line is not known any more; the row is exact.
        line: 0,
        value: if weights[at].is_nan() { String::new() } else { weights[at].to_string() },
    };
    Err(DatasetError::BadWeight { position: names.problem(role, &found) })
}
