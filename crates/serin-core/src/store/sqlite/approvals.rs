//! Questions to persons, and their answers: once, in time, about what was shown.

use rusqlite::{Row, Transaction};
use serde_json::json as object;

use super::super::{ApprovalRequest, Hold, ListOptions, Moment, Result};
use super::{fence, from_json, history, json, runs, signed, unsigned, versions};
use crate::clock::{Steady, Timestamp};
use crate::domain::{
    Approval, ApprovalNumber, ApprovalState, Decided, Epoch, EventKind, Failure, Refusal, RunNumber,
    RunState, StepState, VersionState,
};

const APPROVAL: &str =
    "number, run, step, subject, created, expires_steady, expires_about, four_eyes, asked_by, state";

/// Asks, for the attempt that holds the step. An open question about the same stage gives way.
pub(super) fn ask(
    tx: &Transaction<'_>,
    hold: &Hold,
    request: &ApprovalRequest,
    at: Moment,
) -> Result<ApprovalNumber> {
    let subject = &request.subject;
    let open = open(tx, Some(&subject.project))?;
    for older in open.iter().filter(|older| older.subject.stage == subject.stage && older.run != hold.run) {
        runs::end(tx, older.run, &RunState::Superseded { by: hold.run }, at)?;
    }
    let valid = i64::try_from(request.valid.as_micros()).unwrap_or(i64::MAX);
    tx.execute(
        "INSERT INTO approvals (run, step, lease, project, subject, created, expires_steady, expires_about, four_eyes, \
         asked_by, state_name, state) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 'open', ?11)",
        (
            signed(hold.run.0),
            &hold.step,
            signed(hold.lease.0),
            &subject.project,
            json("an approval's subject", subject)?,
            at.wall.0,
            at.steady.0.saturating_add(valid),
            at.wall.0.saturating_add(valid),
            request.needs_four_eyes,
            &request.asked_by,
            json("an approval's state", &ApprovalState::Open)?,
        ),
    )?;
    let number = ApprovalNumber(unsigned(tx.last_insert_rowid()));
    let text = format!(
        "approval {number}: version {} of run {} wants to go to {}",
        subject.version, hold.run, subject.stage
    );
    let facts = object!({ "approval": number, "subject": subject });
    history::tell(tx, EventKind::ApprovalWanted, &subject.project, Some(hold.run), &text, &facts, at)?;
    Ok(number)
}

pub(super) fn list(tx: &Transaction<'_>, list: &ListOptions) -> Result<Vec<Approval>> {
    let mut statement = tx.prepare_cached(&format!(
        "SELECT {APPROVAL} FROM approvals WHERE (?1 IS NULL OR project = ?1) AND (?2 = 0 OR state_name = 'open') \
         AND number < ?3 ORDER BY number DESC LIMIT ?4"
    ))?;
    let mut rows =
        statement.query((&list.project, list.is_open, list.before.map_or(i64::MAX, signed), list.rows()))?;
    let mut approvals = Vec::new();
    while let Some(row) = rows.next()? {
        approvals.push(approval(row)?);
    }
    Ok(approvals)
}

pub(super) fn one(tx: &Transaction<'_>, number: ApprovalNumber) -> Result<Option<Approval>> {
    let mut statement = tx.prepare_cached(&format!("SELECT {APPROVAL} FROM approvals WHERE number = ?1"))?;
    let mut rows = statement.query([signed(number.0)])?;
    rows.next()?.map(approval).transpose()
}

fn open(tx: &Transaction<'_>, project: Option<&str>) -> Result<Vec<Approval>> {
    let options = ListOptions {
        project: project.map(str::to_owned),
        is_open: true,
        limit: ListOptions::LIMIT,
        before: None,
    };
    list(tx, &options)
}

fn approval(row: &Row<'_>) -> Result<Approval> {
    Ok(Approval {
        number: ApprovalNumber(unsigned(row.get(0)?)),
        run: RunNumber(unsigned(row.get(1)?)),
        step: row.get(2)?,
        subject: from_json("an approval's subject", &row.get::<_, String>(3)?)?,
        created: Timestamp(row.get(4)?),
        expires: Steady(row.get(5)?),
        expires_about: Timestamp(row.get(6)?),
        needs_four_eyes: row.get(7)?,
        asked_by: row.get(8)?,
        state: from_json("an approval's state", &row.get::<_, String>(9)?)?,
    })
}

pub(super) fn decide(
    tx: &Transaction<'_>,
    number: ApprovalNumber,
    decided: &Decided,
    at: Moment,
) -> Result<std::result::Result<Approval, Refusal>> {
    let Some(asked) = one(tx, number)? else { return Ok(Err(Refusal::Unknown { number })) };
    let subject = asked.subject.clone();
    let facts = |outcome: &str| object!({ "approval": number, "by": decided.by, "outcome": outcome });
    let tell = |kind, text: &str, facts| {
        history::tell(tx, kind, &subject.project, Some(asked.run), text, &facts, at)
    };
    let goes_on = tx
        .prepare_cached("SELECT 1 FROM runs WHERE number = ?1 AND state_name = 'running'")?
        .exists([signed(asked.run.0)])?;
    let judged = match goes_on {
        true => asked.decide(decided, at.wall, at.steady),
        false if asked.state == ApprovalState::Open => {
            Err(Refusal::Closed { number, state: "withdrawn with its run".to_owned() })
        }
        false => asked.decide(decided, at.wall, at.steady),
    };
    let state = match judged {
        Ok(state) => state,
        Err(refusal) => {
            let text = format!("an answer of {} to approval {number} was not taken: {refusal}", decided.by);
            tell(EventKind::ApprovalRefused, &text, facts("refused"))?;
            return Ok(Err(refusal));
        }
    };
    set_state(tx, number, &state)?;
    let text = format!("approval {number} {} by {}: {}", state.name(), decided.by, decided.reason);
    tell(EventKind::ApprovalDecided, &text, facts(state.name()))?;
    let (by, reason, time) = (decided.by.clone(), decided.reason.clone(), at.wall);
    if matches!(state, ApprovalState::Approved { .. }) {
        let step = StepState::Succeeded { output: subject.shown, reused_from: None };
        end_step(tx, &asked, &step)?;
        versions::set_state(tx, subject.version, &VersionState::Approved { by, reason, time }, at)?;
    } else {
        let failure = Failure::new("rejected", format!("{by}: {reason}"));
        end_step(tx, &asked, &StepState::Failed { failure })?;
        let rejected = VersionState::Rejected { by: by.clone(), reason: reason.clone(), time };
        versions::set_state(tx, subject.version, &rejected, at)?;
        runs::end(tx, asked.run, &RunState::Rejected { approval: number, by, reason }, at)?;
    }
    Ok(Ok(Approval { state, ..asked }))
}

pub(super) fn expire(tx: &Transaction<'_>, epoch: Epoch, at: Moment) -> Result<u64> {
    fence(tx, epoch)?;
    let mut expired = 0;
    for asked in open(tx, None)?.into_iter().filter(|asked| at.steady >= asked.expires) {
        set_state(tx, asked.number, &ApprovalState::Expired { time: at.wall })?;
        let failure =
            Failure::new("approval_expired", format!("nobody answered approval {} in time", asked.number));
        end_step(tx, &asked, &StepState::Failed { failure: failure.clone() })?;
        runs::end(tx, asked.run, &RunState::Failed { step: asked.step.clone(), failure }, at)?;
        expired += 1;
    }
    Ok(expired)
}

/// Closes what a run that is over had asked.
pub(super) fn withdraw_of(tx: &Transaction<'_>, run: RunNumber, at: Moment) -> Result<()> {
    let state = ApprovalState::Withdrawn { time: at.wall };
    tx.execute(
        "UPDATE approvals SET state = ?2, state_name = ?3 WHERE run = ?1 AND state_name = 'open'",
        (signed(run.0), json("an approval's state", &state)?, state.name()),
    )?;
    Ok(())
}

fn set_state(tx: &Transaction<'_>, number: ApprovalNumber, state: &ApprovalState) -> Result<()> {
    tx.execute(
        "UPDATE approvals SET state = ?2, state_name = ?3 WHERE number = ?1",
        (signed(number.0), json("an approval's state", state)?, state.name()),
    )?;
    Ok(())
}

fn end_step(tx: &Transaction<'_>, asked: &Approval, state: &StepState) -> Result<()> {
    tx.execute(
        "UPDATE steps SET state = ?3, state_name = ?4 WHERE run = ?1 AND name = ?2 AND state_name = 'asking'",
        (signed(asked.run.0), &asked.step, json("a step's state", state)?, state.name()),
    )?;
    Ok(())
}
