//! What a verb can say instead of doing its work.

use thiserror::Error;

/// Why a verb did nothing.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another engine reigns, or the attempt is no longer the step's. Not an error of anybody: stop what was being done.
    #[error("the work is no longer ours")]
    Lost,
    /// The same key with another body.
    #[error("this key was used for another request")]
    Conflict,
    #[error("{what} {name} is not there")]
    Missing { what: &'static str, name: String },
    #[error("no space is left for the database")]
    Full(#[source] rusqlite::Error),
    #[error(
        "the database was made by a later version of this program (schema {found}, this one knows {known})"
    )]
    Newer { found: i64, known: i64 },
    #[error("SQLite {found} is too old: 3.51.3 is the first that never loses a commit")]
    OldSqlite { found: String },
    #[error("the database cannot be opened at {path}")]
    Open { path: String, source: rusqlite::Error },
    #[error("the database refused")]
    Database(#[source] rusqlite::Error),
    #[error("{what} as stored cannot be understood")]
    Damaged { what: &'static str, source: serde_json::Error },
    #[error("{0}")]
    Invalid(String),
}

impl StoreError {
    /// Whether the same verb may succeed later by itself.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Full(_) => true,
            Self::Database(error) => matches!(
                error.sqlite_error_code(),
                Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked)
            ),
            _ => false,
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::Full(error),
            _ => Self::Database(error),
        }
    }
}
