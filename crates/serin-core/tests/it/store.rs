//! The verbs of a store, for whichever store: each test is given an empty one.

#![expect(clippy::panic, reason = "tests")]

use std::time::Duration;

use serde_json::json;
use serin_core::clock::{Steady, Timestamp};
use serin_core::digest::Digest;
use serin_core::domain::{
    ApprovalState, ApprovalSubject, Cause, Decided, DecisionNumber, EventKind, Failure, Pipeline, Refusal,
    RetryPolicy, RunKind, RunNumber, RunState, StepPlan, StepState, Verdict, VersionNumber, VersionState,
    Wish, WishOutcome,
};
use serin_core::scale::{
    NumberedDecision, SCALE_RULE, ScaleDecision, ScaleFacts, Scaler, ScalingSettings, replay,
};
use serin_core::store::{
    ApprovalRequest, Hold, ListOptions, Moment, NewDecision, NewScaling, NewTrial, NewVersion, Project,
    Reign, RouteChange, SqliteStore, StepEnd, Store, StoreError, TriggerState, WishRules,
};

/// Microseconds of a second.
const S: i64 = 1_000_000;

fn at(seconds: i64) -> Moment {
    Moment { wall: Timestamp((1_790_000_000 + seconds) * S), steady: Steady(seconds * S) }
}

/// An empty store with a project and a reign.
fn store() -> (SqliteStore, Reign) {
    let store = SqliteStore::in_memory().unwrap();
    store.put_project(&Project { name: "wine".into(), folder: "/wine".into() }, at(0)).unwrap();
    let reign = store.take_reign(&store.reign().unwrap(), "first", at(0)).unwrap().unwrap();
    (store, reign)
}

fn step(name: &str, after: &[&str]) -> StepPlan {
    StepPlan {
        name: name.into(),
        kind: name.into(),
        version: 1,
        argument: String::new(),
        after: after.iter().map(|&name| name.into()).collect(),
        retry: RetryPolicy::default(),
        time_limit_seconds: 60,
        is_reusable: false,
        only_waits: false,
    }
}

fn pipeline() -> Pipeline {
    Pipeline::new(vec![step("a", &[]), step("b", &["a"])]).unwrap()
}

fn rules() -> WishRules {
    WishRules { cooldown: Duration::ZERO, daily_budget: 100, newest_wins: false, waiting_limit: 10 }
}

fn wish(cause: Cause) -> Wish {
    let (project, kind) = ("wine".to_owned(), RunKind::Train);
    Wish { project, kind, cause, key: None, request: json!({}), is_fresh: false }
}

fn asked() -> Wish {
    wish(Cause::Asked { by: "ann".into() })
}

fn run_of(outcome: WishOutcome) -> RunNumber {
    match outcome {
        WishOutcome::Run { run } | WishOutcome::Same { run } => run,
        WishOutcome::Refused { reason, .. } => panic!("{reason}"),
    }
}

/// A run that has begun.
fn begun(store: &dyn Store, reign: &Reign) -> RunNumber {
    let run = run_of(store.wish(&asked(), &rules(), &pipeline(), at(1)).unwrap());
    store.begin_run(reign.epoch, run, at(1)).unwrap();
    run
}

fn claim(store: &dyn Store, reign: &Reign, run: RunNumber, step: &str, now: Moment) -> Hold {
    let lease = store.claim_step(reign.epoch, run, step, "worker", now).unwrap().unwrap();
    Hold { epoch: reign.epoch, run, step: step.into(), lease }
}

fn succeeded(output: &[u8]) -> StepEnd {
    StepEnd::Succeeded { output: Digest::of(output), key: None, reused_from: None, further: Vec::new() }
}

fn version(store: &dyn Store, hold: &Hold, content: &[u8]) -> VersionNumber {
    let digest = Digest::of(content);
    let new =
        NewVersion { project: "wine".into(), bundle: digest.to_string(), artifact: digest, revision: digest };
    store.register_version(hold, &new, at(3)).unwrap()
}

#[test]
fn a_reign_is_taken_once_and_fences_out_the_one_before() {
    let (store, first) = store();
    let run = begun(&store, &first);
    let hold = claim(&store, &first, run, "a", at(2));
    let seen = store.reign().unwrap();
    let second = store.take_reign(&seen, "second", at(3)).unwrap().unwrap();
    assert!(second.epoch > first.epoch);
    assert_eq!(store.take_reign(&seen, "third", at(3)).unwrap(), None, "somebody else was faster");
    // Nothing of the first reign is written any more.
    assert!(matches!(store.beat(first.epoch, at(4)), Err(StoreError::Lost)));
    assert!(matches!(store.end_attempt(&hold, &succeeded(b"x"), at(4)), Err(StoreError::Lost)));
    assert!(matches!(store.claim_step(first.epoch, run, "a", "w", at(4)), Err(StoreError::Lost)));
    assert!(matches!(store.end_run(first.epoch, run, &RunState::Succeeded, at(4)), Err(StoreError::Lost)));
    // What it had in hand may begin anew, and that is not counted as a failure.
    let found = store.run(run).unwrap().unwrap();
    assert_eq!(found.step("a").unwrap().state, StepState::Pending);
    assert_eq!((found.step("a").unwrap().abandoned, found.step("a").unwrap().failures), (1, 0));
    let again = claim(&store, &second, run, "a", at(5));
    store.end_attempt(&again, &succeeded(b"x"), at(6)).unwrap();
    assert!(matches!(store.end_attempt(&again, &succeeded(b"y"), at(6)), Err(StoreError::Lost)), "once");
    let attempts = store.attempts(run).unwrap();
    assert_eq!(attempts.iter().map(|attempt| attempt.number).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn wishes_with_one_key_are_one_and_rules_refuse_what_is_automatic() {
    let (store, _) = store();
    let keyed = Wish { key: Some("commit:abc".into()), ..wish(Cause::Commit { commit: "abc".into() }) };
    let first = run_of(store.wish(&keyed, &rules(), &pipeline(), at(10)).unwrap());
    let same = store.wish(&keyed, &rules(), &pipeline(), at(11)).unwrap();
    assert_eq!(same, WishOutcome::Same { run: first });

    let slow = WishRules { cooldown: Duration::from_secs(60), daily_budget: 2, ..rules() };
    let alarm = wish(Cause::Alarm { name: "drift".into() });
    let refused = |outcome| match outcome {
        WishOutcome::Refused { rule, .. } => rule,
        other => panic!("{other:?}"),
    };
    run_of(store.wish(&alarm, &slow, &pipeline(), at(20)).unwrap());
    assert_eq!(refused(store.wish(&alarm, &slow, &pipeline(), at(79)).unwrap()), "cooldown");
    // A clock that was set does not shorten it.
    let jumped = Moment { wall: at(999_999).wall, ..at(79) };
    assert_eq!(refused(store.wish(&alarm, &slow, &pipeline(), jumped).unwrap()), "cooldown");
    assert_eq!(refused(store.wish(&alarm, &slow, &pipeline(), at(81)).unwrap()), "daily-budget");
    assert_eq!(refused(store.would(&alarm, &slow, at(81)).unwrap()), "daily-budget");
    run_of(store.wish(&alarm, &slow, &pipeline(), at(20 + 86_400)).unwrap());
    // A person is not held up, until too many wait.
    run_of(store.wish(&asked(), &slow, &pipeline(), at(82)).unwrap());
    let full = WishRules { waiting_limit: 1, ..rules() };
    assert_eq!(refused(store.wish(&asked(), &full, &pipeline(), at(83)).unwrap()), "waiting-limit");
    let nowhere = Wish { project: "beer".into(), ..asked() };
    assert!(matches!(store.wish(&nowhere, &rules(), &pipeline(), at(83)), Err(StoreError::Missing { .. })));
    // Refusals of what is automatic are told, but not every time.
    let told =
        store.events(0, 1_000).unwrap().into_iter().filter(|event| event.kind == EventKind::RunRefused);
    assert_eq!(told.count(), 4);
}

#[test]
fn the_newest_waiting_wish_wins_where_that_is_the_rule() {
    let (store, reign) = store();
    let working = begun(&store, &reign);
    let newest = WishRules { newest_wins: true, ..rules() };
    let keyed = || Wish { key: Some("git:1:abc".into()), ..wish(Cause::Commit { commit: "abc".into() }) };
    let second = run_of(store.wish(&keyed(), &newest, &pipeline(), at(2)).unwrap());
    let third = run_of(store.wish(&asked(), &newest, &pipeline(), at(3)).unwrap());
    let state = |run| store.run(run).unwrap().unwrap().state;
    assert_eq!(state(second), RunState::Superseded { by: third });
    assert_eq!((state(working), state(third)), (RunState::Running, RunState::Waiting));
    // The same reason may come again; what a person asked for does not give way.
    let fourth = run_of(store.wish(&keyed(), &newest, &pipeline(), at(4)).unwrap());
    assert!(fourth > third);
    assert_eq!((state(third), state(fourth)), (RunState::Waiting, RunState::Waiting));
}

#[test]
fn a_failed_attempt_waits_or_ends_and_a_retry_begins_a_new_round() {
    let (store, reign) = store();
    let run = begun(&store, &reign);
    let failure = Failure::new("git", "no route");
    let hold = claim(&store, &reign, run, "a", at(2));
    let retry_at = Some(Steady(5 * S));
    store.end_attempt(&hold, &StepEnd::Failed { failure: failure.clone(), retry_at }, at(3)).unwrap();
    let hold = claim(&store, &reign, run, "a", at(5));
    store.end_attempt(&hold, &StepEnd::Failed { failure: failure.clone(), retry_at: None }, at(6)).unwrap();
    assert_eq!(store.run(run).unwrap().unwrap().step("a").unwrap().failures, 2);
    let state = RunState::Failed { step: "a".into(), failure };
    store.end_run(reign.epoch, run, &state, at(7)).unwrap();
    // What is over stays over.
    store.end_run(reign.epoch, run, &RunState::Succeeded, at(8)).unwrap();
    assert_eq!(store.run(run).unwrap().unwrap().state, state);
    assert!(store.open_runs().unwrap().is_empty());
    assert!(!store.cancel_run(run, "ann", "late", at(8)).unwrap());

    assert!(store.retry_run(run, None, "ann", at(9)).unwrap());
    let found = store.run(run).unwrap().unwrap();
    assert_eq!(found.state, RunState::Waiting);
    assert_eq!((found.step("a").unwrap().failures, found.step("a").unwrap().attempts), (0, 2));
    assert!(!store.retry_run(run, None, "ann", at(9)).unwrap(), "it goes on already");
    assert!(matches!(store.retry_run(RunNumber(99), None, "ann", at(9)), Err(StoreError::Missing { .. })));
}

#[test]
fn steps_that_a_step_brings_come_once_and_outputs_are_found_by_their_key() {
    let (store, reign) = store();
    let run = begun(&store, &reign);
    let further = vec![step("b", &["a"]), step("c", &["b"]), step("d", &["c"])];
    let key = Digest::of(b"inputs");
    let end =
        |further| StepEnd::Succeeded { output: Digest::of(b"a"), key: Some(key), reused_from: None, further };
    store.end_attempt(&claim(&store, &reign, run, "a", at(2)), &end(further.clone()), at(3)).unwrap();
    let names = |run| {
        let found = store.run(run).unwrap().unwrap();
        found.steps.iter().map(|step| step.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(run), ["a", "b", "c", "d"]);
    assert_eq!(store.output_of(key).unwrap(), Some((run, Digest::of(b"a"))));
    assert_eq!(store.output_of(Digest::of(b"other")).unwrap(), None);
    store.end_run(reign.epoch, run, &RunState::Skipped { reason: "enough".into() }, at(4)).unwrap();
    assert!(store.retry_run(run, Some("a"), "ann", at(5)).unwrap());
    store.begin_run(reign.epoch, run, at(5)).unwrap();
    store.end_attempt(&claim(&store, &reign, run, "a", at(6)), &end(further), at(7)).unwrap();
    assert_eq!(names(run), ["a", "b", "c", "d"]);
}

#[test]
fn an_approval_is_bound_taken_once_and_expires() {
    let (store, reign) = store();
    let ask = |valid, four_eyes| {
        let run = begun(&store, &reign);
        let hold = claim(&store, &reign, run, "a", at(2));
        let version = version(&store, &hold, format!("bundle {run}").as_bytes());
        let subject = ApprovalSubject {
            project: "wine".into(),
            stage: "prod".into(),
            version,
            revision: Digest::of(b"r"),
            bundle: Digest::of(b"b"),
            shown: Digest::of(b"sheet"),
        };
        let request =
            ApprovalRequest { subject, valid, needs_four_eyes: four_eyes, asked_by: Some("ann".into()) };
        store.end_attempt(&hold, &StepEnd::Asked(Box::new(request)), at(3)).unwrap();
        let open = ListOptions { is_open: true, ..ListOptions::default() };
        (run, version, store.approvals(&open).unwrap().pop().unwrap().number)
    };
    let answer = |verdict, by: &str, seen| Decided { verdict, by: by.into(), reason: "fine".into(), seen };
    let day = Duration::from_secs(86_400);

    let (run, number, approval) = ask(day, true);
    let decide = |decided: &Decided, now| store.decide_approval(approval, decided, now).unwrap();
    let stale = answer(Verdict::Approve, "bob", Some(Digest::of(b"an older sheet")));
    assert_eq!(decide(&stale, at(4)), Err(Refusal::Changed { number: approval }));
    let own = answer(Verdict::Approve, "ann", None);
    assert_eq!(decide(&own, at(4)), Err(Refusal::FourEyes { number: approval, by: "ann".into() }));
    let silent = Decided { reason: "  ".into(), ..answer(Verdict::Approve, "bob", None) };
    assert_eq!(decide(&silent, at(4)), Err(Refusal::Incomplete));
    assert!(decide(&answer(Verdict::Approve, "bob", Some(Digest::of(b"sheet"))), at(5)).is_ok());
    assert!(matches!(decide(&answer(Verdict::Reject, "eve", None), at(6)), Err(Refusal::Closed { .. })));
    assert!(matches!(store.run(run).unwrap().unwrap().step("a").unwrap().state, StepState::Succeeded { .. }));
    assert!(matches!(store.version(number).unwrap().unwrap().state, VersionState::Approved { .. }));
    store.end_run(reign.epoch, run, &RunState::Succeeded, at(7)).unwrap();

    // A newer question about the same stage takes the place of an older one.
    let (old, _, _) = ask(day, false);
    let (new, _, rejected) = ask(day, false);
    assert_eq!(store.run(old).unwrap().unwrap().state, RunState::Superseded { by: new });
    let no = answer(Verdict::Reject, "bob", None);
    assert!(store.decide_approval(rejected, &no, at(8)).unwrap().is_ok());
    assert!(matches!(store.run(new).unwrap().unwrap().state, RunState::Rejected { .. }));

    let (late, _, approval) = ask(Duration::from_secs(10), false);
    assert_eq!(store.expire_approvals(reign.epoch, at(12)).unwrap(), 0);
    let too_late = store.decide_approval(approval, &answer(Verdict::Approve, "bob", None), at(13)).unwrap();
    assert_eq!(too_late, Err(Refusal::Expired { number: approval }));
    assert_eq!(store.expire_approvals(reign.epoch, at(13)).unwrap(), 1);
    assert!(matches!(store.approval(approval).unwrap().unwrap().state, ApprovalState::Expired { .. }));
    assert!(matches!(store.run(late).unwrap().unwrap().state, RunState::Failed { .. }));
    // Every answer left an event, taken or not.
    let events = store.events(0, 1_000).unwrap();
    let count = |kind| events.iter().filter(|event| event.kind == kind).count();
    assert_eq!((count(EventKind::ApprovalDecided), count(EventKind::ApprovalRefused)), (2, 5));
}

#[test]
fn routes_change_whole_once_a_step_and_history_says_who_served() {
    let (store, reign) = store();
    let change = |run, part, versions: &[VersionNumber], hold: &Hold, now| {
        let change = RouteChange {
            project: "wine".into(),
            stage: "prod".into(),
            endpoint: "prod".into(),
            variants: versions.iter().map(|version| ("AllTraffic".into(), 1.0, *version)).collect(),
            is_return: part == "return",
            by: Some(format!("approver of {run}")),
            reason: "approved".into(),
            part,
        };
        store.change_routes(hold, &change, now).unwrap()
    };
    let first = begun(&store, &reign);
    let hold = claim(&store, &reign, first, "a", at(2));
    let one = version(&store, &hold, b"one");
    assert_eq!(version(&store, &hold, b"one"), one, "registered once");
    let document = change(first, "deploy", &[one], &hold, at(10));
    assert_eq!(change(first, "deploy", &[one], &hold, at(11)).epoch(), document.epoch(), "changed once");
    assert_eq!(store.served_before(first, "prod").unwrap(), []);

    let second = begun(&store, &reign);
    let hold = claim(&store, &reign, second, "a", at(12));
    let two = version(&store, &hold, b"two");
    change(second, "deploy", &[two], &hold, at(20));
    assert_eq!(store.served_before(second, "prod").unwrap(), [("AllTraffic".into(), 1.0, one)]);
    change(second, "return", &[one], &hold, at(30));
    let served = |seconds| {
        let found = store.served_at(at(seconds).wall).unwrap();
        found.iter().map(|period| (period.version, period.by.clone().unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(served(5), []);
    assert_eq!(served(19), [(one, "approver of 1".into())]);
    assert_eq!(served(20), [(two, "approver of 2".into())]);
    assert_eq!(served(31), [(one, "approver of 2".into())]);
    assert_eq!(store.served_periods(one).unwrap().len(), 2);
    let epochs: Vec<u64> = store
        .deployments(&ListOptions::default())
        .unwrap()
        .iter()
        .map(|deployment| deployment.epoch)
        .collect();
    assert_eq!(epochs, [3, 2, 1]);

    let after = store.remove_routes("wine", None, "ann", at(40)).unwrap().unwrap();
    assert!(after.endpoints().is_empty());
    assert_eq!(served(41), []);
}

#[test]
fn decisions_trials_and_triggers_are_kept() {
    let (store, reign) = store();
    let run = begun(&store, &reign);
    let hold = claim(&store, &reign, run, "a", at(2));
    let decision = NewDecision {
        project: "wine".into(),
        run: Some(run),
        rule: "gate".into(),
        inputs: json!({ "macro-f1": 0.8 }),
        verdict: "acceptable".into(),
        explanation: "all checks passed".into(),
    };
    let number = store.record_decision(Some(&hold), &decision, at(3)).unwrap();
    assert_eq!(store.record_decision(Some(&hold), &decision, at(4)).unwrap(), number, "once a step and rule");
    assert_eq!(store.decision(number).unwrap().unwrap().inputs, decision.inputs);

    let part =
        |name: &str, value| NewTrial { metrics: [(name.to_owned(), value)].into(), ..NewTrial::default() };
    store.put_trial(&hold, &part("accuracy", 0.5), at(3)).unwrap();
    store.put_trial(&hold, &part("macro-f1", 0.4), at(4)).unwrap();
    store.put_trial(&hold, &part("log-loss", f64::NAN), at(4)).unwrap();
    let trial = store.trials(&ListOptions::default()).unwrap().pop().unwrap();
    assert_eq!(trial.metrics, [("accuracy".to_owned(), 0.5), ("macro-f1".to_owned(), 0.4)].into());

    let state = |position: &str| TriggerState {
        position: position.into(),
        time: at(1).wall,
        outcome: "run 1".into(),
    };
    assert!(store.advance_trigger("wine", "git", None, &state("abc"), at(1)).unwrap());
    assert!(!store.advance_trigger("wine", "git", None, &state("def"), at(1)).unwrap(), "it moved on");
    store.pause_trigger("wine", "git", true, "ann", at(2)).unwrap();
    let trigger = store.trigger("wine", "git").unwrap().unwrap();
    assert!(trigger.is_paused && trigger.state.unwrap().position == "abc");
}

#[test]
fn what_gateways_decide_about_replicas_is_kept_once() {
    let (store, _) = store();
    let settings = ScalingSettings { max: 4, ..ScalingSettings::default() };
    let mut scaler = Scaler::new(settings, Steady(0));
    let mut made = |desired, number, seconds| NewScaling {
        project: "wine".into(),
        stage: "prod".into(),
        endpoint: "wine-prod".into(),
        version: "7".into(),
        decision: NumberedDecision {
            number,
            time: at(seconds).wall,
            decision: scaler.set_desired(desired, at(seconds).steady, "ann"),
        },
    };
    let (first, second) = (made(3, 1, 10), made(2, 2, 11));
    let number = store.record_scaling(&first, at(20)).unwrap().unwrap();
    assert_eq!(store.record_scaling(&first, at(21)).unwrap(), None, "it is known");
    store.record_scaling(&second, at(21)).unwrap().unwrap();
    // A gateway that lost what it had counts from one again.
    let anew = made(4, 1, 30);
    store.record_scaling(&anew, at(31)).unwrap().unwrap();

    let all = store.scalings("wine", "prod", &ListOptions::default()).unwrap();
    let changes: Vec<(u32, u32)> = all.iter().map(|scaling| (scaling.from, scaling.to)).collect();
    assert_eq!(changes, [(2, 4), (3, 2), (1, 3)]);
    assert_eq!((all[2].decision, all[2].time, all[2].rule.as_str()), (number, at(10).wall, "by-hand"));
    let before = ListOptions { before: Some(all[1].decision.0), ..ListOptions::default() };
    assert_eq!(store.scalings("wine", "prod", &before).unwrap(), all[2..]);
    assert_eq!(store.scalings("wine", "dev", &ListOptions::default()).unwrap(), []);

    let decision = store.decision(number).unwrap().unwrap();
    assert_eq!((decision.rule.as_str(), decision.verdict.as_str()), (SCALE_RULE, "1 to 3"));
    assert_eq!(decision.explanation, "wine-prod version 7, by-hand: ann asked for 3");
    assert_eq!((decision.time, decision.project.as_str()), (at(10).wall, "wine"));
    let facts: ScaleFacts = serde_json::from_value(decision.inputs).unwrap();
    assert_eq!(replay(&facts.inputs), Some(first.decision.decision));
    assert_eq!(facts.decision(), replay_of(&store, number));
    store.remove_project("wine", at(40)).unwrap();
    assert_eq!(store.scalings("wine", "prod", &ListOptions::default()).unwrap(), []);
}

/// A decision about replicas made again.
fn replay_of(store: &SqliteStore, number: DecisionNumber) -> ScaleDecision {
    let decision = store.decision(number).unwrap().unwrap();
    let facts: ScaleFacts = serde_json::from_value(decision.inputs).unwrap();
    replay(&facts.inputs).unwrap()
}

#[test]
fn notices_are_written_with_their_events_and_leave_until_they_are_taken() {
    let (store, _) = store();
    store.set_channels(&[("chat".into(), vec![EventKind::RunFailed])]).unwrap();
    store.tell(EventKind::RunStarted, "wine", None, "nobody is told", json!({}), at(1)).unwrap();
    store.tell(EventKind::RunFailed, "wine", None, "it failed", json!({}), at(2)).unwrap();
    let due = |seconds| store.due_notices(at(seconds), 10).unwrap();
    let notice = due(2).pop().unwrap();
    assert_eq!((notice.event.text.as_str(), notice.attempts), ("it failed", 0));
    store.notice_failed(&notice.id, Some(Duration::from_secs(5)), "503", at(2)).unwrap();
    assert!(due(6).is_empty());
    let again = due(7).pop().unwrap();
    assert_eq!((&again.id, again.attempts), (&notice.id, 1), "the same id each time");
    store.notice_sent(&again.id, at(7)).unwrap();
    assert!(due(1_000).is_empty());
}

#[test]
fn a_file_of_a_later_program_is_left_alone_and_history_remains() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.db");
    let store = SqliteStore::open(&path).unwrap();
    store.put_project(&Project { name: "wine".into(), folder: "/wine".into() }, at(0)).unwrap();
    drop(store);
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    assert!(connection.execute("DELETE FROM events", []).is_err(), "history remains");
    drop(connection);
    assert!(matches!(SqliteStore::open(&path), Err(StoreError::Newer { found: 99, .. })));
}

#[test]
fn a_retried_step_brings_what_it_brings_now_and_in_its_order() {
    let (store, reign) = store();
    let run = begun(&store, &reign);
    let end =
        |further| StepEnd::Succeeded { output: Digest::of(b"a"), key: None, reused_from: None, further };
    store
        .end_attempt(&claim(&store, &reign, run, "a", at(2)), &end(vec![step("deploy", &["a"])]), at(3))
        .unwrap();
    store.end_run(reign.epoch, run, &RunState::Skipped { reason: "enough".into() }, at(4)).unwrap();
    store.retry_run(run, Some("a"), "ann", at(5)).unwrap();
    store.begin_run(reign.epoch, run, at(5)).unwrap();
    // Meanwhile the settings ask a person first.
    let asked = vec![step("approve", &["a"]), step("deploy", &["approve"])];
    store.end_attempt(&claim(&store, &reign, run, "a", at(6)), &end(asked), at(7)).unwrap();
    let found = store.run(run).unwrap().unwrap();
    assert_eq!(found.pipeline.step("deploy").unwrap().after, ["approve"]);
    let names: Vec<&str> = found.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["a", "approve", "deploy"]);
}

#[test]
fn a_way_back_is_from_what_the_run_itself_deployed_and_an_endpoint_has_one_owner() {
    let (store, reign) = store();
    let change = |part, stage: &str, version| RouteChange {
        project: "wine".into(),
        stage: stage.into(),
        endpoint: "prod".into(),
        variants: vec![("AllTraffic".into(), 1.0, version)],
        is_return: part == "return",
        by: None,
        reason: "r".into(),
        part,
    };
    let first = begun(&store, &reign);
    let first = claim(&store, &reign, first, "a", at(2));
    let one = version(&store, &first, b"one");
    store.change_routes(&first, &change("deploy", "prod", one), at(3)).unwrap();
    let second = begun(&store, &reign);
    let second = claim(&store, &reign, second, "a", at(4));
    let two = version(&store, &second, b"two");
    store.change_routes(&second, &change("deploy", "prod", two), at(5)).unwrap();
    // The first run is late: what serves now is not its to take away.
    let late = store.change_routes(&first, &change("return", "prod", one), at(6));
    assert!(matches!(late, Err(StoreError::Lost)));
    // A run that is being cancelled may still take back what it deployed.
    assert!(store.cancel_run(second.run, "ann", "a mistake", at(7)).unwrap());
    store.change_routes(&second, &change("return", "prod", one), at(8)).unwrap();
    let deploy = store.change_routes(&second, &change("deploy", "prod", two), at(9));
    assert!(matches!(deploy, Err(StoreError::Lost)), "but deploy no more");
    let other = store.change_routes(&first, &change("deploy", "eu", one), at(10));
    assert!(matches!(other, Err(StoreError::Invalid(_))), "{other:?}");
}

#[test]
fn numbers_of_routes_go_on_behind_what_gateways_know() {
    let (old, reign) = store();
    let run = begun(&old, &reign);
    let hold = claim(&old, &reign, run, "a", at(2));
    let one = version(&old, &hold, b"one");
    let change = RouteChange {
        project: "wine".into(),
        stage: "prod".into(),
        endpoint: "prod".into(),
        variants: vec![("AllTraffic".into(), 1.0, one)],
        is_return: false,
        by: None,
        reason: "r".into(),
        part: "deploy",
    };
    let known = old.change_routes(&hold, &change, at(3)).unwrap();
    assert_eq!(old.continue_routes(&known, at(4)).unwrap(), Some(known.clone()), "nothing is ahead");
    let (empty, _) = store();
    let taken = empty.continue_routes(&known, at(4)).unwrap().unwrap();
    assert!(taken.epoch() > known.epoch());
    assert_eq!(taken.endpoints(), known.endpoints(), "what serves goes on");
}
