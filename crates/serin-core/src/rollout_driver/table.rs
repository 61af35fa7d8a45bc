//! What the inference table knows of a rollout's versions.

use std::path::Path;

use rusqlite::Connection;
use serin_ml::sequential::{Labelled, Trials};

use crate::capture::{Serving, database, open_to_read};
use crate::pipeline::http;
use crate::rollout::{Rollout, Side};

/// Captured rows that are asked again for want of requests.
const REPLAYED: u32 = 1_000;

/// Whether an answer of the new version, given since the rollout began, is a row.
pub(super) fn has_rows(data_directory: &Path, rollout: &Rollout) -> bool {
    let found = open_to_read(&database(data_directory)).map(|table| {
        table.query_row(
            "SELECT EXISTS (SELECT 1 FROM inferences WHERE model_version = ?1 AND time >= ?2 AND endpoint = ?3 \
             AND status = 200)",
            (rollout.canary.version.to_string(), rollout.created.0, &rollout.endpoint),
            |row| row.get::<_, bool>(0),
        )
    });
    matches!(found, Ok(Ok(true)))
}

/// Answers of both versions whose true class is known: of the new one since the rollout began, of the other one ever since
/// a while before.
pub(super) fn labels(data_directory: &Path, rollout: &Rollout) -> Labelled {
    let Ok(table) = open_to_read(&database(data_directory)) else { return Labelled::default() };
    let of = |side: Option<&Side>, since: i64| {
        side.and_then(|side| labelled(&table, &rollout.endpoint, side, since)).unwrap_or_default()
    };
    let canary = of(Some(&rollout.canary), rollout.created.0);
    if canary.n == 0 {
        return Labelled::default();
    }
    Labelled { canary, stable: of(rollout.stable.as_ref(), rollout.created.0 - RECORD_MICROSECONDS) }
}

/// A week of the other version's labels is compared with.
const RECORD_MICROSECONDS: i64 = 7 * 24 * 3_600 * 1_000_000;

fn labelled(table: &Connection, endpoint: &str, side: &Side, since: i64) -> Option<Trials> {
    let counts = table.query_row(
        "SELECT count(*), coalesce(sum(label <> predicted), 0) FROM inferences WHERE model_version = ?1 AND time >= ?2 \
         AND endpoint = ?3 AND status = 200 AND label IS NOT NULL",
        (side.version.to_string(), since, endpoint),
        |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)),
    );
    let (n, failures) = counts.ok()?;
    Some(Trials { n: u64::try_from(n).ok()?, failures: u64::try_from(failures).ok()? })
}

/// Asks the new version the last rows that the other one answered, one by one, as callers would.
pub(super) fn replay(data_directory: &Path, rollout: &Rollout) {
    let asked = asked_again(data_directory, rollout).unwrap_or_default();
    tracing::info!(rollout = rollout.number.0, rows = asked, "captured rows were asked again");
}

fn asked_again(data_directory: &Path, rollout: &Rollout) -> Option<u64> {
    let stable = rollout.stable.as_ref()?;
    let url = Serving::read(data_directory).ok().flatten()?.url;
    let url = format!("{url}/endpoints/{}/invocations", rollout.endpoint);
    let table = open_to_read(&database(data_directory)).ok()?;
    let mut rows = table
        .prepare(
            "SELECT features FROM inferences WHERE model_version = ?1 AND endpoint = ?2 AND status = 200 \
             AND features IS NOT NULL ORDER BY time DESC LIMIT ?3",
        )
        .ok()?;
    let rows: Vec<String> = rows
        .query_map((stable.version.to_string(), &rollout.endpoint, REPLAYED), |row| row.get(0))
        .ok()?
        .collect::<Result<_, _>>()
        .ok()?;
    let mut asked = 0;
    for (i, features) in rows.iter().enumerate() {
        let body = format!("[{features}]");
        let id = format!("replay-{}-{i}", rollout.number);
        // The gateway counts how it went.
        let (variant, word) = (Some(rollout.canary_variant()), rollout.replay_word());
        let asks = http::post_with(&url, variant, word.as_deref(), "application/json", &id, body.as_bytes());
        asked += u64::from(asks.is_ok());
    }
    Some(asked)
}
