//! Answers beside the truth, counted or row by row.

use std::time::Duration;

use rusqlite::params;

use super::read::{CapturedRow, RowRange, TableReader, captured};
use super::table::TableError;

/// Answers of one model version with known truth, counted.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LabelledCounts {
    pub model_version: String,
    /// Rows answered in the same time, with or without truth.
    pub answered: u64,
    /// True class, predicted class, rows.
    pub counts: Vec<(String, String, u64)>,
    /// Mean time from the answer to the truth.
    pub delay: Option<Duration>,
}

impl TableReader {
    /// Answers with known truth that arrived in a range, for each model version with any answer that was counted or has a
    /// truth, by name.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn labelled(&self, range: &RowRange) -> Result<Vec<LabelledCounts>, TableError> {
        let mut answered = self.connection().prepare_cached(
            "SELECT model_version, sum(rows) FROM windows
             WHERE span IN (10, 60, 3600) AND start >= ?1 AND start < ?2 AND (?3 IS NULL OR endpoint = ?3)
             GROUP BY model_version",
        )?;
        let mut versions: Vec<LabelledCounts> = answered
            .query_map(params![range.from.0, range.to.0, range.endpoint], |row| {
                let answered = row.get::<_, i64>(1)?.unsigned_abs();
                Ok(LabelledCounts { model_version: row.get(0)?, answered, ..LabelledCounts::default() })
            })?
            .collect::<Result<_, _>>()?;
        let mut statement = self.connection().prepare_cached(
            // Times of labels are what callers say: a sum of integers could overflow, which is an error.
            "SELECT model_version, label, predicted, count(*), total(max(label_time - time, 0)) FROM inferences
             WHERE time >= ?1 AND time < ?2 AND (?3 IS NULL OR endpoint = ?3)
               AND label IS NOT NULL AND predicted IS NOT NULL
             GROUP BY model_version, label, predicted ORDER BY model_version, label, predicted",
        )?;
        let mut rows = statement.query(params![range.from.0, range.to.0, range.endpoint])?;
        let mut delays: Vec<(String, f64, u64)> = Vec::new();
        while let Some(row) = rows.next()? {
            let version: String = row.get(0)?;
            let count = row.get::<_, i64>(3)?.unsigned_abs();
            let delay: f64 = row.get(4)?;
            let place = match versions.iter().position(|known| known.model_version == version) {
                Some(place) => place,
                None => {
                    let model_version = version.clone();
                    versions.push(LabelledCounts { model_version, ..LabelledCounts::default() });
                    versions.len() - 1
                }
            };
            versions[place].counts.push((row.get(1)?, row.get(2)?, count));
            match delays.iter_mut().find(|known| known.0 == version) {
                Some(known) => *known = (version, known.1 + delay, known.2 + count),
                None => delays.push((version, delay, count)),
            }
        }
        for version in &mut versions {
            let counted: u64 = version.counts.iter().map(|count| count.2).sum();
            // Rows that were loaded before they were counted are answers too.
            version.answered = version.answered.max(counted);
            let delay = delays.iter().find(|known| known.0 == version.model_version);
            version.delay =
                delay.and_then(|&(_, sum, n)| Duration::try_from_secs_f64(sum / n as f64 / 1e6).ok());
        }
        versions.sort_by(|a, b| a.model_version.cmp(&b.model_version));
        Ok(versions)
    }

    /// Answered rows with known truth that arrived in a range, the last first, at most `limit`.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn labelled_rows(&self, range: &RowRange, limit: usize) -> Result<Vec<CapturedRow>, TableError> {
        let mut statement = self.connection().prepare_cached(
            "SELECT time, rowid, id, endpoint, variant, model_version, run, predicted, probabilities, features,
               latency_us, status, error_code, error_detail, rollout_step, caller, client_gone, label, label_time
             FROM inferences
             WHERE time >= ?1 AND time < ?2 AND (?3 IS NULL OR endpoint = ?3)
               AND label IS NOT NULL AND features IS NOT NULL
             ORDER BY time DESC, rowid DESC LIMIT ?4",
        )?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = statement.query_map(params![range.from.0, range.to.0, range.endpoint, limit], captured)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
