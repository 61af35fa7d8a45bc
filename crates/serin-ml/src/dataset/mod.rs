//! Data sets: typed columns, readers, identity, checks and splits.
//!
//! A [`Dataset`] is kept by column, exactly as read: 64-bit numbers, NaN for a missing value, no infinities. Learning
//! takes [`Dataset::features`], a row-major copy. [`read`] makes one from files, [`check`] looks for what would spoil
//! learning from it, and [`splits`] cuts it into folds.

mod read;
mod table;

mod cells;
mod checks;
mod columns;
mod csv;
mod errors;
mod fingerprint;
mod finish;
mod layout;
mod output;
mod parquet;

pub mod splits;

pub use cells::MISSING_TOKENS;
pub use checks::{
    CheckOptions, ClassCount, DataCheck, Finding, Overlap, OverlapPair, Severity, check, correlations,
};
pub use errors::{
    DatasetError, DialectProblem, EncodingProblem, NAMED_COLUMNS, Position, SchemaProblem, TargetProblem,
};
pub use output::{OutputColumn, OutputError, OutputKind, ParquetOutput};
pub use read::{Limits, Read, ReadOptions, Sink, Warning, read, read_batches};
pub use table::{ColumnKind, Dataset, Field, Fingerprint, Labels, Schema, Source};
