//! From what settings name to rows in memory.

use std::path::{Path, PathBuf};

use serin_ml::dataset::{self, CheckOptions, DataCheck, Dataset, DatasetError, Read, ReadOptions};
use serin_ml::observer::Observer;
use thiserror::Error;

use crate::config::{DataSettings, Settings};

/// Most files that a pattern may match.
const FILE_LIMIT: usize = 100_000;

/// Why rows are not in memory.
#[derive(Debug, Error)]
pub enum DataError {
    #[error("no {what}rows are named: give {option} or `{key}` in serin.toml")]
    Nothing { what: &'static str, option: &'static str, key: &'static str },
    #[error("no target column is named: give --target or `data.target` in serin.toml")]
    NoTarget,
    #[error("{}: no such file", path.display())]
    NoSuchFile { path: PathBuf },
    #[error("{pattern}: no file matches")]
    NoMatch { pattern: String },
    #[error("{pattern}: cannot be matched: {problem}")]
    Pattern { pattern: String, problem: String },
    #[error("{pattern}: matches more than {FILE_LIMIT} files")]
    TooMany { pattern: String },
    #[error(transparent)]
    Read(#[from] DatasetError),
}

/// The files that paths and patterns name: patterns in name order, a file named twice once.
///
/// # Errors
/// When a path or a pattern names nothing.
pub fn expand(entries: &[PathBuf]) -> Result<Vec<PathBuf>, DataError> {
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in entries {
        let text = entry.to_string_lossy();
        let matched = if entry.exists() || !text.contains(['*', '?', '[']) {
            if !entry.is_file() {
                return Err(DataError::NoSuchFile { path: entry.clone() });
            }
            vec![entry.clone()]
        } else {
            matches(&text)?
        };
        for file in matched {
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    Ok(files)
}

fn matches(pattern: &str) -> Result<Vec<PathBuf>, DataError> {
    let paths = glob::glob(pattern)
        .map_err(|error| DataError::Pattern { pattern: pattern.to_owned(), problem: error.to_string() })?;
    let mut files: Vec<PathBuf> = Vec::new();
    for path in paths.take(FILE_LIMIT + 1) {
        // A folder that cannot be read may hide files: that must not silently mean fewer rows.
        let path = path.map_err(|error| DataError::Pattern {
            pattern: pattern.to_owned(),
            problem: error.to_string(),
        })?;
        if path.is_file() {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(DataError::NoMatch { pattern: pattern.to_owned() });
    }
    if files.len() > FILE_LIMIT {
        return Err(DataError::TooMany { pattern: pattern.to_owned() });
    }
    files.sort();
    Ok(files)
}

/// How to read the rows that settings describe.
#[must_use]
pub fn read_options(data: &DataSettings) -> ReadOptions {
    ReadOptions {
        target: data.target.clone(),
        ignore: data.ignore.clone(),
        weight: data.weight.clone(),
        group: data.group.clone(),
        time: data.time.clone(),
        id: data.id.clone(),
        missing: data.missing.clone(),
        ..ReadOptions::default()
    }
}

/// Reads rows from paths and patterns.
///
/// # Errors
/// When nothing matches or the rows cannot be read; the message has the file, the row, the column and the fix.
pub fn read_rows<P: AsRef<Path>>(
    entries: &[P],
    options: &ReadOptions,
    observer: &dyn Observer,
) -> Result<Read, DataError> {
    let entries: Vec<PathBuf> = entries.iter().map(|entry| entry.as_ref().to_owned()).collect();
    Ok(dataset::read(&expand(&entries)?, options, observer)?)
}

/// Checks training rows, and test rows against them.
#[must_use]
pub fn check(settings: &Settings, train: &Dataset, test: Option<&Dataset>) -> DataCheck {
    let options = CheckOptions {
        correlation: settings.checks.correlation,
        folds: settings.train.folds,
        overlap_share: settings.gates.max_overlap(),
        leakage_waived: settings.gates.allow_leakage().to_vec(),
        ..CheckOptions::default()
    };
    dataset::check(train, test, &options)
}
