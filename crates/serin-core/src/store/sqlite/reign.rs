//! Who does the work.

use rusqlite::Transaction;

use super::super::{Moment, Reign, Result, StoreError};
use super::{fence, json, signed, unsigned};
use crate::clock::{Steady, Timestamp};
use crate::domain::{AttemptEnd, Epoch, StepState};

pub(super) fn read(tx: &Transaction<'_>) -> Result<Reign> {
    let reign = tx.query_row("SELECT epoch, owner, beat, steady, wall FROM reign", [], |row| {
        Ok(Reign {
            epoch: Epoch(unsigned(row.get(0)?)),
            owner: row.get(1)?,
            beat: unsigned(row.get(2)?),
            steady: Steady(row.get(3)?),
            wall: Timestamp(row.get(4)?),
        })
    })?;
    Ok(reign)
}

pub(super) fn take(tx: &Transaction<'_>, seen: &Reign, owner: &str, at: Moment) -> Result<Option<Reign>> {
    let changed = tx.execute(
        "UPDATE reign SET epoch = epoch + 1, owner = ?3, beat = beat + 1, steady = max(steady, ?4), wall = ?5 \
         WHERE epoch = ?1 AND beat = ?2",
        (signed(seen.epoch.0), signed(seen.beat), owner, at.steady.0, at.wall.0),
    )?;
    if changed == 0 {
        return Ok(None);
    }
    // Whatever earlier reigns had in hand is nobody's now.
    let end = json("an attempt's end", &AttemptEnd::Abandoned)?;
    tx.execute(
        "UPDATE attempts SET ended = ?1, end = ?2 WHERE end IS NULL AND (run, step) IN \
         (SELECT run, name FROM steps WHERE state_name = 'running')",
        (at.wall.0, end),
    )?;
    tx.execute(
        "UPDATE steps SET state = ?1, state_name = 'pending', lease = NULL, abandoned = abandoned + 1 \
         WHERE state_name = 'running'",
        [json("a step's state", &StepState::Pending)?],
    )?;
    read(tx).map(Some)
}

pub(super) fn beat(tx: &Transaction<'_>, epoch: Epoch, at: Moment) -> Result<()> {
    fence(tx, epoch)?;
    let changed = tx.execute(
        "UPDATE reign SET beat = beat + 1, steady = max(steady, ?2), wall = ?3 WHERE epoch = ?1",
        (signed(epoch.0), at.steady.0, at.wall.0),
    )?;
    if changed == 1 { Ok(()) } else { Err(StoreError::Lost) }
}
