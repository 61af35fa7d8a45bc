//! Data sets: typed columns, readers, identity, checks and splits.
//!
//! A [`Dataset`] is kept by column, exactly as read: 64-bit numbers, NaN for a missing value, no infinities. Learning
//! takes [`Dataset::features`], a row-major copy.

mod table;

pub use table::{ColumnKind, Dataset, Field, Fingerprint, Labels, Schema, Source};
