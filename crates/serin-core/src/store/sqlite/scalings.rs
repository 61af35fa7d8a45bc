//! What gateways decided about replicas.

use rusqlite::{OptionalExtension as _, Transaction};

use super::super::{ListOptions, Moment, NewDecision, NewScaling, Result, ScalingRecord, StoreError};
use super::{history, signed, unsigned};
use crate::clock::Timestamp;
use crate::domain::DecisionNumber;
use crate::scale::{NumberedDecision, SCALE_RULE, ScaleFacts};

pub(super) fn record(tx: &Transaction<'_>, new: &NewScaling, at: Moment) -> Result<Option<DecisionNumber>> {
    let NewScaling {
        project,
        stage,
        endpoint,
        version,
        decision: NumberedDecision { number, time, decision },
    } = new;
    let known = tx
        .prepare_cached(
            "SELECT 1 FROM scalings WHERE endpoint = ?1 AND version = ?2 AND number = ?3 AND time = ?4",
        )?
        .query_row((endpoint, version, signed(*number), time.0), |_| Ok(()))
        .optional()?;
    if known.is_some() {
        return Ok(None);
    }
    let facts = ScaleFacts {
        endpoint: endpoint.clone(),
        stage: stage.clone(),
        version: version.clone(),
        number: *number,
        from: decision.from,
        to: decision.to,
        rule: decision.rule.clone(),
        reason: decision.reason.clone(),
        inputs: decision.inputs.clone(),
    };
    let kept = NewDecision {
        project: project.clone(),
        run: None,
        rule: SCALE_RULE.to_owned(),
        inputs: serde_json::to_value(&facts)
            .map_err(|source| StoreError::Damaged { what: "a decision about replicas", source })?,
        verdict: decision.verdict(),
        explanation: decision.explanation(endpoint, version),
    };
    let decided = history::record_decision_of(tx, *time, &kept, at)?;
    tx.prepare_cached("INSERT INTO scalings VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)")?
        .execute((
            signed(decided.0),
            project,
            stage,
            endpoint,
            version,
            signed(*number),
            time.0,
            decision.from,
            decision.to,
            &decision.rule,
            &decision.reason,
        ))?;
    Ok(Some(decided))
}

pub(super) fn list(
    tx: &Transaction<'_>,
    project: &str,
    stage: &str,
    list: &ListOptions,
) -> Result<Vec<ScalingRecord>> {
    let mut statement = tx.prepare_cached(
        "SELECT decision, time, project, stage, endpoint, version, before, after, rule, reason FROM scalings \
         WHERE project = ?1 AND stage = ?2 AND decision < ?3 ORDER BY decision DESC LIMIT ?4",
    )?;
    let before = list.before.map_or(i64::MAX, signed);
    let mut rows = statement.query((project, stage, before, list.rows()))?;
    let mut scalings = Vec::new();
    while let Some(row) = rows.next()? {
        scalings.push(ScalingRecord {
            decision: DecisionNumber(unsigned(row.get(0)?)),
            time: Timestamp(row.get(1)?),
            project: row.get(2)?,
            stage: row.get(3)?,
            endpoint: row.get(4)?,
            version: row.get(5)?,
            from: row.get(6)?,
            to: row.get(7)?,
            rule: row.get(8)?,
            reason: row.get(9)?,
        });
    }
    Ok(scalings)
}
