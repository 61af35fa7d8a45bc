//! Rollouts, with the routes and whatever else changes with them.

use rusqlite::{OptionalExtension as _, Row, Transaction};
use serde_json::json as object;
use serin_ml::sequential::Evidence;

use super::super::{
    Hold, ListOptions, Moment, NewDecision, NewRollout, Result, RolloutAdvance, StoreError, StoredRollout,
};
use super::deployments::{self, Applied};
use super::{fence, from_json, held, history, json, signed, unsigned, versions};
use crate::clock::{Steady, Timestamp};
use crate::domain::{Epoch, EventKind, RolloutNumber, RunNumber, VersionNumber, VersionState};
use crate::rollout::{Blame, Command, Condition, End, Phase, Rollout, Side, Unacceptable, Watched, Why};
use crate::routes::{Faults, RouteDocument, RoutedEndpoint, RoutedRollout};

/// The rule under which decisions of rollouts are kept.
const RULE: &str = "rollout";
/// The alias that follows what serves last.
const CHAMPION: &str = "champion";
/// Who rejects a version that was found bad.
const JUDGE: &str = "the rollout";

const ROLLOUT: &str = "rollout, revision, ended, ended_steady";

pub(super) fn begin(
    tx: &Transaction<'_>,
    hold: &Hold,
    new: &NewRollout,
    at: Moment,
) -> Result<StoredRollout> {
    held(tx, hold)?;
    if let Some(begun) = of_step(tx, hold.run, &hold.step)?.filter(|begun| begun.rollout.is_open()) {
        return Ok(begun);
    }
    let found = versions::one(tx, new.version)?
        .ok_or_else(|| StoreError::Missing { what: "version", name: new.version.to_string() })?;
    if let VersionState::Rejected { by, reason, .. } = &found.state {
        return Err(StoreError::Invalid(format!("version {} was rejected by {by}: {reason}", new.version)));
    }
    let stable = serving(tx, &new.endpoint)?.filter(|side| side.version != new.version);
    end_of_endpoint(tx, &new.endpoint, false, new.by.as_deref(), &format!("version {}", new.version), at)?;
    let watched = watched(tx, &new.endpoint)?;
    tx.execute(
        "INSERT INTO rollouts (project, stage, endpoint, run, step, version, created, is_open, phase, revision, rollout) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1, 'loading', 0, '')",
        (
            &new.project,
            &new.stage,
            &new.endpoint,
            signed(hold.run.0),
            &hold.step,
            signed(new.version.0),
            at.wall.0,
        ),
    )?;
    let mut rollout = Rollout {
        number: RolloutNumber(unsigned(tx.last_insert_rowid())),
        project: new.project.clone(),
        stage: new.stage.clone(),
        endpoint: new.endpoint.clone(),
        run: hold.run,
        step: hold.step.clone(),
        canary: Side { version: new.version, bundle: found.bundle },
        stable,
        settings: new.settings.clone(),
        by: new.by.clone(),
        reason: new.reason.clone(),
        created: at.wall,
        began: at.steady,
        phase: Phase::Loading,
        since: at.steady,
        condition: Condition::Going,
        epoch: Epoch(0),
        is_followed: false,
        evidence: Evidence { expected: new.expected, ..Evidence::default() },
        last: None,
        heard: at.steady,
        promoted_by: None,
        is_replayed: false,
        watched_before: watched,
    };
    let against = match &rollout.stable {
        Some(stable) => format!("from version {}", stable.version),
        None => "from nothing".to_owned(),
    };
    let (number, plan) = (rollout.number, &rollout.settings.plan);
    let text = format!("rollout {number} of {} to version {} {against}: {plan}", new.endpoint, new.version);
    tell(tx, EventKind::RolloutStarted, &rollout, &text, at)?;
    route(tx, &mut rollout, at)?;
    save(tx, rollout, 0, at)
}

/// What serves an endpoint: of a rollout that is under way, the version that it goes back to.
fn serving(tx: &Transaction<'_>, endpoint: &str) -> Result<Option<Side>> {
    if let Some(StoredRollout { rollout, .. }) = open_of_endpoint(tx, endpoint)? {
        return Ok(if rollout.is_promoted() { Some(rollout.canary) } else { rollout.stable });
    }
    let routes = deployments::routes(tx)?;
    let endpoints = routes.as_ref().map(RouteDocument::endpoints).unwrap_or_default();
    let found = endpoints.iter().find(|found| found.name == endpoint);
    let heaviest = found.and_then(|found| {
        found.variants.iter().max_by(|a, b| a.weight.total_cmp(&b.weight)).map(|variant| &variant.model)
    });
    Ok(heaviest.map(|model| Side { version: model.number, bundle: model.bundle.clone() }))
}

fn watched(tx: &Transaction<'_>, endpoint: &str) -> Result<Option<Watched>> {
    let monitors = deployments::monitors(tx)?;
    let monitor = monitors.into_iter().find(|monitor| monitor.endpoint == endpoint);
    Ok(monitor.map(|monitor| Watched {
        version: monitor.version,
        baseline: monitor.baseline,
        since: monitor.since,
    }))
}

pub(super) fn advance(
    tx: &Transaction<'_>,
    epoch: Epoch,
    advance: &RolloutAdvance,
    at: Moment,
) -> Result<Option<StoredRollout>> {
    fence(tx, epoch)?;
    let number = advance.rollout.number;
    let Some(before) = one(tx, number)?.filter(|before| before.revision == advance.seen) else {
        return Ok(None);
    };
    if let Some(decision) = &advance.decision {
        let decided = NewDecision {
            project: before.rollout.project.clone(),
            run: Some(before.rollout.run),
            rule: RULE.to_owned(),
            inputs: decision.inputs.clone(),
            verdict: decision.verdict.to_owned(),
            explanation: decision.explanation.clone(),
        };
        history::record_decision(tx, None, &decided, at)?;
        let is_held = matches!(advance.rollout.condition, Condition::Held { .. });
        let kind = if is_held { EventKind::RolloutHeld } else { EventKind::RolloutAdvanced };
        let text = format!("rollout {number} of {}: {}", before.rollout.endpoint, decision.explanation);
        tell(tx, kind, &advance.rollout, &text, at)?;
    }
    follow(tx, &before, advance.rollout.clone(), at).map(Some)
}

pub(super) fn command(
    tx: &Transaction<'_>,
    number: RolloutNumber,
    command: Command,
    by: &str,
    reason: &str,
    at: Moment,
) -> Result<Option<std::result::Result<Rollout, Unacceptable>>> {
    let Some(before) = one(tx, number)? else { return Ok(None) };
    let mut rollout = before.rollout.clone();
    match rollout.command(command, by, reason, at.steady) {
        Err(refusal) => Ok(Some(Err(refusal))),
        Ok(false) => Ok(Some(Ok(rollout))),
        Ok(true) => {
            let text =
                format!("rollout {number} of {}: {} by {by}: {reason}", rollout.endpoint, command.name());
            tell(tx, EventKind::RolloutAdvanced, &rollout, &text, at)?;
            Ok(Some(Ok(follow(tx, &before, rollout, at)?.rollout)))
        }
    }
}

/// Writes what a rollout has become, and what follows from that.
fn follow(
    tx: &Transaction<'_>,
    before: &StoredRollout,
    mut rollout: Rollout,
    at: Moment,
) -> Result<StoredRollout> {
    if rollout.split() != before.rollout.split() {
        route(tx, &mut rollout, at)?;
    }
    if let (Phase::Returning { why }, false) =
        (&rollout.phase, matches!(before.rollout.phase, Phase::Returning { .. }))
    {
        returned(tx, &rollout, why, at)?;
    }
    if let (Phase::Ended { end }, true) = (&rollout.phase, before.rollout.is_open()) {
        let text = format!("rollout {} of {} is over: {}", rollout.number, rollout.endpoint, how(end));
        tell(tx, EventKind::RolloutEnded, &rollout, &text, at)?;
    }
    save(tx, rollout, before.revision, at)
}

/// The other version serves again: who is to blame is rejected, and what followed the new one follows the old one.
fn returned(tx: &Transaction<'_>, rollout: &Rollout, why: &Why, at: Moment) -> Result<()> {
    if why.blame == Blame::Version {
        let state = VersionState::Rejected {
            by: why.by.clone().unwrap_or_else(|| JUDGE.to_owned()),
            reason: why.reason.clone(),
            time: at.wall,
        };
        versions::set_state(tx, rollout.canary.version, &state, at)?;
        // Elsewhere it is on its way too.
        let open = ListOptions { is_open: true, limit: ListOptions::LIMIT, ..ListOptions::default() };
        for other in list(tx, &open)? {
            let is_it = other.rollout.canary.version == rollout.canary.version;
            let is_back = matches!(other.rollout.phase, Phase::Returning { .. });
            if is_it && !is_back && other.rollout.number != rollout.number {
                let mut elsewhere = other.rollout.clone();
                let was_promoted = elsewhere.is_promoted();
                // It is rejected already.
                let blame = Blame::Nobody;
                elsewhere.return_for(Why { was_promoted, blame, ..why.clone() }, at.steady);
                follow(tx, &other, elsewhere, at)?;
            }
        }
    }
    let Some(stable) = rollout.stable.as_ref().filter(|_| why.was_promoted) else { return Ok(()) };
    let champion = versions::aliased(tx, &rollout.project, CHAMPION)?;
    if champion.is_some_and(|champion| champion.number == rollout.canary.version) {
        versions::set_alias(tx, &rollout.project, CHAMPION, Some(stable.version), JUDGE, at)?;
    }
    if let Some(watched) = &rollout.watched_before {
        tx.execute(
            "UPDATE monitors SET version = ?2, baseline = ?3, since = ?4 WHERE endpoint = ?1",
            (&rollout.endpoint, signed(watched.version.0), watched.baseline.to_string(), watched.since.0),
        )?;
    }
    Ok(())
}

/// Writes the routes of the present phase.
fn route(tx: &Transaction<'_>, rollout: &mut Rollout, at: Moment) -> Result<()> {
    let split = rollout.split();
    let variants: Vec<(String, f64, VersionNumber)> =
        split.shares.into_iter().map(|share| (share.variant, share.weight / 100.0, share.version)).collect();
    let (kind, reason) = match &rollout.phase {
        Phase::Returning { why } => (EventKind::RolledBack, why.reason.clone()),
        Phase::Probation => (EventKind::Deployed, rollout.reason.clone()),
        Phase::Ended { .. } if rollout.settings.probation.is_zero() => {
            (EventKind::Deployed, rollout.reason.clone())
        }
        Phase::Loading if rollout.stable.is_none() => (EventKind::Deployed, rollout.reason.clone()),
        _ => (EventKind::RolloutAdvanced, rollout.reason.clone()),
    };
    let by = match &rollout.phase {
        Phase::Returning { why } => why.by.clone().or_else(|| Some(JUDGE.to_owned())),
        _ => rollout.by.clone(),
    };
    let mark = rollout.mark();
    let routed = (rollout.stable.is_some() && rollout.is_open() && kind != EventKind::RolledBack)
        .then(|| RoutedRollout { mark: mark.clone(), mirror: split.mirror, replay: rollout.replay_word() });
    let applied = Applied {
        project: &rollout.project,
        stage: &rollout.stage,
        endpoint: &rollout.endpoint,
        variants: &variants,
        rollout: routed,
        kind,
        run: rollout.run,
        step: &rollout.step,
        part: &mark,
        by: by.as_deref(),
        reason: &reason,
    };
    rollout.epoch = deployments::apply(tx, &applied, at)?.epoch();
    Ok(())
}

fn save(tx: &Transaction<'_>, rollout: Rollout, seen: u64, at: Moment) -> Result<StoredRollout> {
    let is_open = rollout.is_open();
    let (ended, ended_steady) = match is_open {
        true => (None, None),
        false => (Some(at.wall), Some(at.steady)),
    };
    let changed = tx.execute(
        "UPDATE rollouts SET rollout = ?2, phase = ?3, is_open = ?4, revision = ?5, ended = ?6, ended_steady = ?7 \
         WHERE number = ?1 AND revision = ?8",
        (
            signed(rollout.number.0),
            json("a rollout", &rollout)?,
            rollout.phase.name(),
            is_open,
            signed(seen) + 1,
            ended.map(|time| time.0),
            ended_steady.map(|steady| steady.0),
            signed(seen),
        ),
    )?;
    if changed != 1 {
        return Err(StoreError::Invalid(format!("rollout {} was changed meanwhile", rollout.number)));
    }
    Ok(StoredRollout { rollout, revision: seen + 1, ended, ended_steady })
}

/// Another change of an endpoint ends the rollout that is under way there.
pub(super) fn end_of_endpoint(
    tx: &Transaction<'_>,
    endpoint: &str,
    is_return: bool,
    by: Option<&str>,
    reason: &str,
    at: Moment,
) -> Result<()> {
    let Some(before) = open_of_endpoint(tx, endpoint)? else { return Ok(()) };
    let mut rollout = before.rollout.clone();
    let end = if is_return {
        let (code, was_promoted) = ("returned".to_owned(), rollout.is_promoted());
        let by = by.map(str::to_owned);
        End::RolledBack {
            why: Why { code, reason: reason.to_owned(), blame: Blame::Nobody, by, was_promoted },
        }
    } else {
        End::Superseded { by: reason.to_owned() }
    };
    let text = format!("rollout {} of {endpoint} is over: {}", rollout.number, how(&end));
    rollout.phase = Phase::Ended { end };
    tell(tx, EventKind::RolloutEnded, &rollout, &text, at)?;
    save(tx, rollout, before.revision, at)?;
    Ok(())
}

fn how(end: &End) -> String {
    match end {
        End::Completed => "the new version serves".to_owned(),
        End::RolledBack { why } => format!("rolled back, {}", why.reason),
        End::Superseded { by } => format!("{by} took its place"),
    }
}

fn tell(tx: &Transaction<'_>, kind: EventKind, rollout: &Rollout, text: &str, at: Moment) -> Result<()> {
    let facts = object!({ "rollout": rollout.number, "endpoint": rollout.endpoint, "stage": rollout.stage,
        "version": rollout.canary.version, "phase": rollout.phase.name() });
    history::tell(tx, kind, &rollout.project, Some(rollout.run), text, &facts, at)
}

pub(super) fn list(tx: &Transaction<'_>, list: &ListOptions) -> Result<Vec<StoredRollout>> {
    let mut statement = tx.prepare_cached(&format!(
        "SELECT {ROLLOUT} FROM rollouts WHERE (?1 IS NULL OR project = ?1) AND (?2 = 0 OR is_open = 1) \
         AND number < ?3 ORDER BY number DESC LIMIT ?4"
    ))?;
    let mut rows =
        statement.query((&list.project, list.is_open, list.before.map_or(i64::MAX, signed), list.rows()))?;
    let mut rollouts = Vec::new();
    while let Some(row) = rows.next()? {
        rollouts.push(stored(row)?);
    }
    Ok(rollouts)
}

pub(super) fn one(tx: &Transaction<'_>, number: RolloutNumber) -> Result<Option<StoredRollout>> {
    let mut statement = tx.prepare_cached(&format!("SELECT {ROLLOUT} FROM rollouts WHERE number = ?1"))?;
    let mut rows = statement.query([signed(number.0)])?;
    rows.next()?.map(stored).transpose()
}

pub(super) fn of_step(tx: &Transaction<'_>, run: RunNumber, step: &str) -> Result<Option<StoredRollout>> {
    let mut statement = tx.prepare_cached(&format!(
        "SELECT {ROLLOUT} FROM rollouts WHERE run = ?1 AND step = ?2 ORDER BY number DESC LIMIT 1"
    ))?;
    let mut rows = statement.query((signed(run.0), step))?;
    rows.next()?.map(stored).transpose()
}

fn open_of_endpoint(tx: &Transaction<'_>, endpoint: &str) -> Result<Option<StoredRollout>> {
    let mut statement =
        tx.prepare_cached(&format!("SELECT {ROLLOUT} FROM rollouts WHERE endpoint = ?1 AND is_open = 1"))?;
    let mut rows = statement.query([endpoint])?;
    rows.next()?.map(stored).transpose()
}

fn stored(row: &Row<'_>) -> Result<StoredRollout> {
    Ok(StoredRollout {
        rollout: from_json("a rollout", &row.get::<_, String>(0)?)?,
        revision: unsigned(row.get(1)?),
        ended: row.get::<_, Option<i64>>(2)?.map(Timestamp),
        ended_steady: row.get::<_, Option<i64>>(3)?.map(Steady),
    })
}

pub(super) fn faults(
    tx: &Transaction<'_>,
    endpoint: &str,
    version: VersionNumber,
    at: Moment,
) -> Result<Option<Faults>> {
    let found: Option<String> = tx
        .prepare_cached("SELECT faults FROM drills WHERE endpoint = ?1 AND version = ?2 AND until > ?3")?
        .query_row((endpoint, signed(version.0), at.wall.0), |row| row.get(0))
        .optional()?;
    found.map(|text| from_json("faults", &text)).transpose()
}

pub(super) fn set_drill(
    tx: &Transaction<'_>,
    endpoint: &str,
    version: VersionNumber,
    faults: Option<&Faults>,
    by: &str,
    at: Moment,
) -> Result<RouteDocument> {
    tx.execute("DELETE FROM drills WHERE endpoint = ?1 AND version = ?2", (endpoint, signed(version.0)))?;
    if let Some(faults) = faults {
        tx.execute(
            "INSERT INTO drills VALUES (?1, ?2, ?3, ?4, ?5)",
            (endpoint, signed(version.0), faults.until.0, json("faults", faults)?, by),
        )?;
    }
    let mut place = None;
    let document = deployments::retouch(
        tx,
        endpoint,
        |found: &mut RoutedEndpoint| {
            for variant in found.variants.iter_mut().filter(|variant| variant.model.number == version) {
                variant.faults = faults.cloned();
                place = Some((found.project.clone(), found.stage.clone()));
            }
        },
        at,
    )?;
    let Some((project, stage)) = place else {
        return Err(StoreError::Missing { what: "version at this endpoint", name: version.to_string() });
    };
    let what = match faults {
        Some(faults) => {
            format!("a drill injects faults into version {version} until {}", faults.until.to_rfc3339())
        }
        None => format!("the drill with version {version} is over"),
    };
    let text = format!("{endpoint}: {what}, asked by {by}");
    let facts =
        object!({ "endpoint": endpoint, "stage": stage, "version": version, "faults": faults, "by": by });
    history::tell(tx, EventKind::DrillStarted, &project, None, &text, &facts, at)?;
    Ok(document)
}
