//! What serves where: the present document of routes, every one before, and who answers for each change.

use rusqlite::{OptionalExtension as _, Row, Transaction};
use serde_json::json as object;

use super::super::{
    DeploymentRecord, Hold, ListOptions, Moment, MonitorRecord, Result, RouteChange, ServedPeriod, StoreError,
};
use super::{digest, fence, from_json, held, history, json, rollouts, signed, unsigned, versions};
use crate::clock::Timestamp;
use crate::domain::{Epoch, EventKind, RunNumber, VersionNumber};
use crate::routes::{ModelRef, RouteDocument, RoutedEndpoint, RoutedRollout, RoutedServing, RoutedVariant};

pub(super) fn routes(tx: &Transaction<'_>) -> Result<Option<RouteDocument>> {
    let found = tx
        .prepare_cached("SELECT epoch, created, document FROM routes ORDER BY epoch DESC LIMIT 1")?
        .query_row([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, String>(2)?)))
        .optional()?;
    let Some((epoch, created, text)) = found else { return Ok(None) };
    let endpoints: Vec<RoutedEndpoint> = from_json("a document of routes", &text)?;
    Ok(Some(made(epoch, created, endpoints)?))
}

fn made(epoch: i64, created: i64, endpoints: Vec<RoutedEndpoint>) -> Result<RouteDocument> {
    RouteDocument::new(Epoch(unsigned(epoch)), Timestamp(created), endpoints, None)
        .map_err(|error| StoreError::Invalid(error.to_string()))
}

/// A change of one endpoint that is to be written.
pub(super) struct Applied<'a> {
    pub project: &'a str,
    pub stage: &'a str,
    pub endpoint: &'a str,
    /// Variant name, weight, version.
    pub variants: &'a [(String, f64, VersionNumber)],
    pub rollout: Option<RoutedRollout>,
    pub kind: EventKind,
    pub run: RunNumber,
    pub step: &'a str,
    pub part: &'a str,
    pub by: Option<&'a str>,
    pub reason: &'a str,
}

pub(super) fn change(
    tx: &Transaction<'_>,
    hold: &Hold,
    change: &RouteChange,
    at: Moment,
) -> Result<RouteDocument> {
    held_to_change(tx, hold, change)?;
    if let Some(document) = unchanged(tx, hold, change)? {
        return Ok(document);
    }
    rollouts::end_of_endpoint(
        tx,
        &change.endpoint,
        change.is_return,
        change.by.as_deref(),
        &change.reason,
        at,
    )?;
    let applied = Applied {
        project: &change.project,
        stage: &change.stage,
        endpoint: &change.endpoint,
        variants: &change.variants,
        rollout: None,
        kind: if change.is_return { EventKind::RolledBack } else { EventKind::Deployed },
        run: hold.run,
        step: &hold.step,
        part: change.part,
        by: change.by.as_deref(),
        reason: &change.reason,
    };
    apply(tx, &applied, at)
}

pub(super) fn set_serving(
    tx: &Transaction<'_>,
    hold: &Hold,
    endpoint: &str,
    version: VersionNumber,
    serving: Option<&RoutedServing>,
) -> Result<()> {
    held(tx, hold)?;
    tx.execute("DELETE FROM servings WHERE endpoint = ?1 AND version = ?2", (endpoint, signed(version.0)))?;
    if let Some(serving) = serving {
        let text = json("a serving", serving)?;
        tx.execute("INSERT INTO servings VALUES (?1, ?2, ?3)", (endpoint, signed(version.0), text))?;
    }
    Ok(())
}

fn serving(tx: &Transaction<'_>, endpoint: &str, version: VersionNumber) -> Result<Option<RoutedServing>> {
    let found: Option<String> = tx
        .prepare_cached("SELECT serving FROM servings WHERE endpoint = ?1 AND version = ?2")?
        .query_row((endpoint, signed(version.0)), |row| row.get(0))
        .optional()?;
    found.map(|text| from_json("a serving", &text)).transpose()
}

/// Writes the document that results, what changed with it, who serves from now on, and the event.
pub(super) fn apply(tx: &Transaction<'_>, applied: &Applied<'_>, at: Moment) -> Result<RouteDocument> {
    let mut endpoints = routes(tx)?.map(|document| document.endpoints().to_vec()).unwrap_or_default();
    let (name, project, stage) = (applied.endpoint, applied.project, applied.stage);
    let mut variants = Vec::with_capacity(applied.variants.len());
    for (variant, weight, number) in applied.variants {
        let version = versions::one(tx, *number)?
            .ok_or_else(|| StoreError::Missing { what: "version", name: number.to_string() })?;
        let model = ModelRef {
            number: *number,
            bundle: version.bundle,
            artifact: version.artifact,
            run: Some(version.run),
        };
        let faults = rollouts::faults(tx, name, *number, at)?;
        let serving = serving(tx, name, *number)?;
        variants.push(RoutedVariant { name: variant.clone(), weight: *weight, model, faults, serving });
    }
    let other = endpoints
        .iter()
        .find(|other| other.name == name && (other.project != project || other.stage != stage));
    if let Some(other) = other {
        let problem =
            format!("the endpoint {name} belongs to stage {} of project {}", other.stage, other.project);
        return Err(StoreError::Invalid(problem));
    }
    endpoints.retain(|endpoint| endpoint.name != name);
    if !variants.is_empty() {
        endpoints.push(RoutedEndpoint {
            name: name.to_owned(),
            project: project.to_owned(),
            stage: stage.to_owned(),
            sticky_header: None,
            variants,
            rollout: applied.rollout.clone(),
        });
    }
    endpoints.sort_by(|a, b| a.name.cmp(&b.name));
    let document = publish(tx, endpoints, at)?;
    let epoch = signed(document.epoch().0);
    // Who is only kept warm does not serve.
    let serving = || applied.variants.iter().filter(|(_, weight, _)| *weight > 0.0);
    let numbers: Vec<VersionNumber> = serving().map(|(_, _, number)| *number).collect();
    tx.execute(
        "INSERT INTO deployments VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        (
            epoch,
            at.wall.0,
            project,
            stage,
            name,
            signed(applied.run.0),
            applied.step,
            applied.part,
            applied.kind == EventKind::RolledBack,
            applied.by,
            applied.reason,
            json("versions", &numbers)?,
        ),
    )?;
    let from = end_periods(tx, name, at)?;
    for (variant, weight, number) in serving() {
        tx.execute(
            "INSERT INTO served VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, NULL, ?8, ?9, ?10)",
            (
                name,
                variant,
                project,
                stage,
                signed(number.0),
                weight,
                from,
                epoch,
                signed(applied.run.0),
                applied.by,
            ),
        )?;
    }
    let shares: Vec<String> = match numbers.len() {
        0 => vec!["nothing".to_owned()],
        1 => vec![format!("version {}", numbers[0])],
        _ => {
            serving().map(|(_, weight, number)| format!("version {number} ({} %)", 100.0 * weight)).collect()
        }
    };
    let text = format!("{name} serves {}: {}", shares.join(", "), applied.reason);
    let facts =
        object!({ "endpoint": name, "stage": stage, "versions": numbers, "epoch": epoch, "by": applied.by });
    history::tell(tx, applied.kind, project, Some(applied.run), &text, &facts, at)?;
    Ok(document)
}

/// The document in force with one endpoint changed, for what changes nobody's share.
pub(super) fn retouch(
    tx: &Transaction<'_>,
    name: &str,
    touch: impl FnOnce(&mut RoutedEndpoint),
    at: Moment,
) -> Result<RouteDocument> {
    let mut endpoints = routes(tx)?.map(|document| document.endpoints().to_vec()).unwrap_or_default();
    let Some(endpoint) = endpoints.iter_mut().find(|endpoint| endpoint.name == name) else {
        return Err(StoreError::Missing { what: "endpoint", name: name.to_owned() });
    };
    touch(endpoint);
    publish(tx, endpoints, at)
}

/// The document in force, if the same step of the run made the same change of the endpoint last.
fn unchanged(tx: &Transaction<'_>, hold: &Hold, change: &RouteChange) -> Result<Option<RouteDocument>> {
    let serving = change.variants.iter().filter(|(_, weight, _)| *weight > 0.0);
    let versions = json("versions", &serving.map(|(_, _, number)| *number).collect::<Vec<_>>())?;
    let last = tx
        .query_row(
            "SELECT run, step, part, versions FROM deployments WHERE endpoint = ?1 ORDER BY epoch DESC LIMIT 1",
            [&change.endpoint],
            |row| {
                let text = |column| row.get::<_, Option<String>>(column);
                Ok((row.get::<_, Option<i64>>(0)?, text(1)?, text(2)?, text(3)?))
            },
        )
        .optional()?;
    let this =
        (Some(signed(hold.run.0)), Some(hold.step.clone()), Some(change.part.to_owned()), Some(versions));
    if last == Some(this) { routes(tx) } else { Ok(None) }
}

pub(super) fn served_before(
    tx: &Transaction<'_>,
    run: RunNumber,
    endpoint: &str,
) -> Result<Vec<(String, f64, VersionNumber)>> {
    let mut statement = tx.prepare_cached(
        "SELECT variant, weight, version FROM served WHERE endpoint = ?2 AND from_epoch = \
         (SELECT max(epoch) FROM deployments WHERE endpoint = ?2 AND (run IS NULL OR run <> ?1)) ORDER BY variant",
    )?;
    let rows = statement.query_map((signed(run.0), endpoint), |row| {
        Ok((row.get(0)?, row.get(1)?, VersionNumber(unsigned(row.get(2)?))))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn continue_behind(
    tx: &Transaction<'_>,
    known: &RouteDocument,
    at: Moment,
) -> Result<Option<RouteDocument>> {
    let (now, epoch) = (routes(tx)?, known.epoch());
    if now.as_ref().is_some_and(|document| document.epoch() >= epoch) {
        return Ok(now);
    }
    let endpoints = now.as_ref().unwrap_or(known).endpoints();
    tx.execute(
        "INSERT INTO routes (epoch, created, document) VALUES (?1, ?2, ?3)",
        (signed(epoch.0) + 1, at.wall.0, json("a document of routes", &endpoints)?),
    )?;
    routes(tx)
}

pub(super) fn remove(
    tx: &Transaction<'_>,
    project: &str,
    stage: Option<&str>,
    by: &str,
    at: Moment,
) -> Result<Option<RouteDocument>> {
    let Some(document) = routes(tx)? else { return Ok(None) };
    let goes = |endpoint: &&RoutedEndpoint| {
        endpoint.project == project && stage.is_none_or(|stage| endpoint.stage == stage)
    };
    let (gone, kept): (Vec<_>, Vec<_>) = document.endpoints().iter().partition(goes);
    if gone.is_empty() {
        return Ok(Some(document.clone()));
    }
    let after = publish(tx, kept.into_iter().cloned().collect(), at)?;
    for endpoint in gone {
        rollouts::end_of_endpoint(tx, &endpoint.name, false, Some(by), "removed", at)?;
        end_periods(tx, &endpoint.name, at)?;
        tx.execute(
            "INSERT INTO deployments VALUES (?1, ?2, ?3, ?4, ?5, NULL, NULL, 'remove', 0, ?6, 'removed', '[]')",
            (signed(after.epoch().0), at.wall.0, project, &endpoint.stage, &endpoint.name, by),
        )?;
        tx.execute("DELETE FROM monitors WHERE endpoint = ?1", [&endpoint.name])?;
        let text = format!("{} serves nothing any more, asked by {by}", endpoint.name);
        let facts = object!({ "endpoint": endpoint.name, "stage": endpoint.stage, "by": by });
        history::tell(tx, EventKind::Undeployed, project, None, &text, &facts, at)?;
    }
    Ok(Some(after))
}

fn publish(tx: &Transaction<'_>, endpoints: Vec<RoutedEndpoint>, at: Moment) -> Result<RouteDocument> {
    tx.execute(
        "INSERT INTO routes (created, document) VALUES (?1, ?2)",
        (at.wall.0, json("a document of routes", &endpoints)?),
    )?;
    made(tx.last_insert_rowid(), at.wall.0, endpoints)
}

/// Ends what an endpoint serves; when what follows begins: not before it, whatever the clock says.
fn end_periods(tx: &Transaction<'_>, endpoint: &str, at: Moment) -> Result<i64> {
    tx.execute(
        "UPDATE served SET until_time = max(from_time, ?2) WHERE endpoint = ?1 AND until_time IS NULL",
        (endpoint, at.wall.0),
    )?;
    let last: Option<i64> =
        tx.query_row("SELECT max(until_time) FROM served WHERE endpoint = ?1", [endpoint], |row| row.get(0))?;
    Ok(at.wall.0.max(last.unwrap_or(i64::MIN)))
}

/// A way back is taken also by a run that is being cancelled, and only from what the run itself deployed.
fn held_to_change(tx: &Transaction<'_>, hold: &Hold, change: &RouteChange) -> Result<()> {
    if change.part != "return" {
        return held(tx, hold);
    }
    fence(tx, hold.epoch)?;
    let is_held = tx
        .prepare_cached(
            "SELECT 1 FROM steps JOIN runs ON runs.number = steps.run WHERE steps.run = ?1 AND steps.name = ?2 \
             AND steps.lease = ?3 AND runs.is_open = 1",
        )?
        .exists((signed(hold.run.0), &hold.step, signed(hold.lease.0)))?;
    let last: Option<Option<i64>> = tx
        .query_row(
            "SELECT run FROM deployments WHERE endpoint = ?1 ORDER BY epoch DESC LIMIT 1",
            [&change.endpoint],
            |row| row.get(0),
        )
        .optional()?;
    if is_held && last == Some(Some(signed(hold.run.0))) { Ok(()) } else { Err(StoreError::Lost) }
}

pub(super) fn list(tx: &Transaction<'_>, list: &ListOptions) -> Result<Vec<DeploymentRecord>> {
    let mut statement = tx.prepare_cached(
        "SELECT epoch, time, project, stage, endpoint, run, versions, is_return, by, reason FROM deployments \
         WHERE (?1 IS NULL OR project = ?1) AND epoch < ?2 ORDER BY epoch DESC LIMIT ?3",
    )?;
    let mut rows = statement.query((&list.project, list.before.map_or(i64::MAX, signed), list.rows()))?;
    let mut deployments = Vec::new();
    while let Some(row) = rows.next()? {
        deployments.push(DeploymentRecord {
            epoch: unsigned(row.get(0)?),
            time: Timestamp(row.get(1)?),
            project: row.get(2)?,
            stage: row.get(3)?,
            endpoint: row.get(4)?,
            run: row.get::<_, Option<i64>>(5)?.map(|run| RunNumber(unsigned(run))),
            versions: from_json("versions", &row.get::<_, String>(6)?)?,
            is_return: row.get(7)?,
            by: row.get(8)?,
            reason: row.get(9)?,
        });
    }
    Ok(deployments)
}

const PERIOD: &str = "project, stage, endpoint, variant, version, weight, from_time, until_time, run, by";

pub(super) fn served_at(tx: &Transaction<'_>, time: Timestamp) -> Result<Vec<ServedPeriod>> {
    let mut statement = tx.prepare_cached(&format!(
        "SELECT {PERIOD} FROM served WHERE from_time <= ?1 AND (until_time IS NULL OR until_time > ?1) \
         ORDER BY endpoint, variant"
    ))?;
    Ok(statement.query_map([time.0], period)?.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn served_periods(tx: &Transaction<'_>, version: VersionNumber) -> Result<Vec<ServedPeriod>> {
    let mut statement =
        tx.prepare_cached(&format!("SELECT {PERIOD} FROM served WHERE version = ?1 ORDER BY from_epoch"))?;
    Ok(statement.query_map([signed(version.0)], period)?.collect::<rusqlite::Result<_>>()?)
}

fn period(row: &Row<'_>) -> rusqlite::Result<ServedPeriod> {
    Ok(ServedPeriod {
        project: row.get(0)?,
        stage: row.get(1)?,
        endpoint: row.get(2)?,
        variant: row.get(3)?,
        version: VersionNumber(unsigned(row.get(4)?)),
        weight: row.get(5)?,
        from: Timestamp(row.get(6)?),
        until: row.get::<_, Option<i64>>(7)?.map(Timestamp),
        run: row.get::<_, Option<i64>>(8)?.map(|run| RunNumber(unsigned(run))),
        by: row.get(9)?,
    })
}

pub(super) fn switch_monitor(
    tx: &Transaction<'_>,
    hold: &Hold,
    monitor: &MonitorRecord,
    at: Moment,
) -> Result<()> {
    held(tx, hold)?;
    let MonitorRecord { project, stage, endpoint, version, baseline, since } = monitor;
    let changed = tx.execute(
        "INSERT INTO monitors VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (endpoint) DO UPDATE SET \
         version = excluded.version, baseline = excluded.baseline, since = excluded.since \
         WHERE version <> excluded.version OR baseline <> excluded.baseline",
        (endpoint, project, stage, signed(version.0), baseline.to_string(), since.0),
    )?;
    if changed > 0 {
        let text = format!("{endpoint} is watched against the baseline of version {version}");
        let facts = object!({ "endpoint": endpoint, "version": version, "baseline": baseline });
        history::tell(tx, EventKind::MonitorSwitched, project, Some(hold.run), &text, &facts, at)?;
    }
    Ok(())
}

pub(super) fn monitors(tx: &Transaction<'_>) -> Result<Vec<MonitorRecord>> {
    let mut statement = tx.prepare_cached(
        "SELECT project, stage, endpoint, version, baseline, since FROM monitors ORDER BY endpoint",
    )?;
    let mut rows = statement.query([])?;
    let mut monitors = Vec::new();
    while let Some(row) = rows.next()? {
        monitors.push(MonitorRecord {
            project: row.get(0)?,
            stage: row.get(1)?,
            endpoint: row.get(2)?,
            version: VersionNumber(unsigned(row.get(3)?)),
            baseline: digest("a baseline", &row.get::<_, String>(4)?)?,
            since: Timestamp(row.get(5)?),
        });
    }
    Ok(monitors)
}
