//! What the store remembers of alarms, silences and looks, and whom it tells.

use rusqlite::Connection;
use serde_json::json;
use serin_core::clock::{Steady, Timestamp};
use serin_core::domain::{AlarmState, Event, EventKind, MonitorNumber};
use serin_core::store::{
    AlarmNews, AlarmRecord, ListOptions, Moment, NewMonitorRun, Project, Silence, SqliteStore, Store,
};

use super::{S, at, time};

const ALARM: AlarmState = AlarmState::Alarm;
const OK: AlarmState = AlarmState::Ok;
const UNKNOWN: AlarmState = AlarmState::InsufficientData;
/// Every kind of event that an alarm can leave.
const OF_ALARMS: [EventKind; 6] = [
    EventKind::AlarmRaised,
    EventKind::AlarmCleared,
    EventKind::AlarmKnown,
    EventKind::AlarmUnknown,
    EventKind::AlarmMuted,
    EventKind::AlarmSilenced,
];

fn store() -> SqliteStore {
    let store = SqliteStore::in_memory().unwrap();
    add_projects(&store);
    store
}

fn add_projects(store: &dyn Store) {
    for name in ["wine", "beer"] {
        let folder = format!("/{name}");
        store.put_project(&Project { name: name.into(), folder }, at(0)).unwrap();
    }
}

fn news(state: AlarmState, reason: &str) -> AlarmNews {
    AlarmNews { name: "drift".into(), state, reason: reason.into(), advice: Some("look".into()) }
}

fn set(store: &dyn Store, state: AlarmState, now: Moment) -> bool {
    store.set_alarm("wine", &news(state, "because"), now).unwrap()
}

fn told(store: &dyn Store) -> Vec<Event> {
    let events = store.events(0, 1_000).unwrap();
    events.into_iter().filter(|event| OF_ALARMS.contains(&event.kind)).collect()
}

fn kinds(store: &dyn Store) -> Vec<EventKind> {
    told(store).iter().map(|event| event.kind).collect()
}

fn alarm(store: &dyn Store, now: Moment) -> AlarmRecord {
    let mut alarms = store.alarms("wine", Some(now)).unwrap();
    assert_eq!(alarms.len(), 1);
    alarms.remove(0)
}

fn silence(until: Moment) -> Silence {
    Silence { until: until.wall, until_steady: until.steady, by: "ann".into(), reason: "we know".into() }
}

#[test]
fn changes_of_an_alarm_are_told_and_nothing_else_is() {
    use EventKind::{AlarmCleared, AlarmKnown, AlarmRaised, AlarmUnknown};
    let check = |states: &[AlarmState], expected: &[EventKind]| {
        let store = store();
        let mut before = None;
        for (second, &state) in states.iter().enumerate() {
            let has_changed = set(&store, state, at(second as i64));
            assert_eq!(has_changed, before != Some(state), "{states:?}, {second}");
            before = Some(state);
        }
        assert_eq!(kinds(&store), expected, "{states:?}");
    };
    check(&[], &[]);
    // What is quiet from the beginning is no news; what is on is.
    check(&[OK, OK, OK], &[]);
    check(&[UNKNOWN, UNKNOWN], &[]);
    check(&[ALARM, ALARM, ALARM], &[AlarmRaised]);
    check(&[OK, ALARM, ALARM, OK, OK], &[AlarmRaised, AlarmCleared]);
    check(&[UNKNOWN, OK, UNKNOWN], &[AlarmKnown, AlarmUnknown]);
    check(&[ALARM, UNKNOWN, ALARM], &[AlarmRaised, AlarmUnknown, AlarmRaised]);
    check(&[ALARM, UNKNOWN, OK], &[AlarmRaised, AlarmUnknown, AlarmKnown]);
}

#[test]
fn an_event_of_an_alarm_has_what_a_person_needs() {
    let store = store();
    set(&store, OK, at(1));
    store.set_alarm("wine", &news(ALARM, "12 findings"), at(2)).unwrap();
    let event = told(&store).remove(0);
    assert_eq!((event.project.as_str(), event.time, event.run), ("wine", time(2), None));
    assert_eq!(event.text, "alarm drift is on: 12 findings");
    let facts = json!({
        "alarm": "drift", "state": "ALARM", "was": "OK", "reason": "12 findings", "advice": "look", "silence": null,
    });
    assert_eq!(event.facts, facts);
}

#[test]
fn since_is_when_it_changed_and_time_is_when_it_was_looked_at() {
    let store = store();
    for (second, state, since) in [
        (1, OK, 1),
        (2, OK, 1),
        (3, ALARM, 3),
        (9, ALARM, 3),
        (10, UNKNOWN, 10),
        (11, ALARM, 11),
        (30, ALARM, 11),
    ] {
        set(&store, state, at(second));
        let alarm = alarm(&store, at(second));
        assert_eq!((alarm.since, alarm.time), (time(since), time(second)));
        assert_eq!((alarm.state, alarm.steady), (state, at(second).steady));
    }
    // The reason is the last one, and alarms of another project are others.
    store.set_alarm("wine", &news(ALARM, "worse"), at(31)).unwrap();
    assert_eq!((alarm(&store, at(31)).reason.as_str(), alarm(&store, at(31)).since), ("worse", time(11)));
    store.set_alarm("beer", &news(ALARM, "too"), at(32)).unwrap();
    assert_eq!(alarm(&store, at(32)).time, time(31));
    // What is forgotten begins anew.
    store.forget_alarm("wine", "drift").unwrap();
    assert_eq!(store.alarms("wine", None).unwrap(), []);
    assert_eq!(store.alarms("beer", None).unwrap().len(), 1);
    assert!(set(&store, OK, at(40)));
    assert_eq!(alarm(&store, at(40)).since, time(40));
}

#[test]
fn everybody_who_asked_is_told_once_a_change_and_nobody_of_what_is_silenced() {
    let store = store();
    let raised = vec![EventKind::AlarmRaised];
    let both = vec![EventKind::AlarmRaised, EventKind::AlarmCleared];
    store.set_channels(&[("mail".into(), raised), ("hook".into(), both)]).unwrap();
    let due = || -> Vec<(String, EventKind)> {
        let notices = store.due_notices(at(1_000), 100).unwrap();
        let found = notices.iter().map(|notice| (notice.channel.clone(), notice.event.kind)).collect();
        notices.iter().for_each(|notice| store.notice_sent(&notice.id, at(1_000)).unwrap());
        found
    };
    let sorted = |mut found: Vec<(String, EventKind)>| {
        found.sort();
        found
    };
    let notice = |channel: &str, kind| (channel.to_owned(), kind);
    for (second, state) in [(1, OK), (2, ALARM), (3, ALARM), (4, ALARM)] {
        set(&store, state, at(second));
    }
    let expected = [notice("hook", EventKind::AlarmRaised), notice("mail", EventKind::AlarmRaised)];
    assert_eq!(sorted(due()), expected);
    set(&store, OK, at(5));
    assert_eq!(due(), [notice("hook", EventKind::AlarmCleared)]);

    store.silence_alarm("wine", "drift", Some(&silence(at(100))), "ann", at(10)).unwrap();
    for (second, state) in [(11, ALARM), (12, OK), (13, ALARM), (14, ALARM)] {
        set(&store, state, at(second));
    }
    assert_eq!(due(), []);
    let muted: Vec<Event> =
        told(&store).into_iter().filter(|event| event.kind == EventKind::AlarmMuted).collect();
    assert_eq!(muted.len(), 3, "{muted:?}");
    assert_eq!(muted[0].facts["silence"]["by"], "ann");
    assert_eq!(alarm(&store, at(20)).since, time(13), "it is watched as before");
    // Another alarm is not silent.
    let other = AlarmNews { name: "errors".into(), ..news(ALARM, "too many") };
    store.set_alarm("wine", &other, at(15)).unwrap();
    assert_eq!(due().len(), 2);
}

#[test]
fn a_silence_ends_with_its_time_and_no_setting_of_a_clock_moves_that() {
    let store = store();
    set(&store, OK, at(0));
    store.silence_alarm("wine", "drift", Some(&silence(at(100))), "ann", at(0)).unwrap();
    let mixed = |wall, steady| Moment { wall: time(wall), steady: Steady(steady * S) };
    let is_silent = |now| alarm(&store, now).silence.is_some();
    assert!(is_silent(at(99)));
    assert!(!is_silent(at(100)));
    assert!(is_silent(mixed(1_000_000, 99)), "the time of day was set forward");
    assert!(!is_silent(mixed(-1_000_000, 100)), "the time of day was set back");
    assert_eq!(store.alarms("wine", None).unwrap()[0].silence, None, "nobody asked at a moment");
    set(&store, ALARM, mixed(1_000_000, 99));
    set(&store, OK, mixed(-1_000_000, 100));
    assert_eq!(kinds(&store), [EventKind::AlarmSilenced, EventKind::AlarmMuted, EventKind::AlarmCleared]);
}

#[test]
fn a_silence_can_be_ended_early_prolonged_and_outlives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.db");
    let store = SqliteStore::open(&path).unwrap();
    add_projects(&store);
    set(&store, OK, at(0));
    store.silence_alarm("wine", "drift", Some(&silence(at(100))), "ann", at(1)).unwrap();
    store.silence_alarm("wine", "drift", Some(&silence(at(200))), "bob", at(2)).unwrap();
    drop(store);
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(alarm(&store, at(150)).silence, Some(silence(at(200))), "the last word holds");
    store.silence_alarm("wine", "drift", None, "eve", at(3)).unwrap();
    assert_eq!(alarm(&store, at(4)).silence, None);
    set(&store, ALARM, at(4));
    let silenced = EventKind::AlarmSilenced;
    assert_eq!(kinds(&store), [silenced, silenced, silenced, EventKind::AlarmRaised]);
    let text = &told(&store)[2].text;
    assert_eq!(text, "eve ended the silence of the alarm drift");
    // An alarm that is watched again later is not silent because it once was.
    store.silence_alarm("wine", "drift", Some(&silence(at(900))), "ann", at(5)).unwrap();
    store.forget_alarm("wine", "drift").unwrap();
    set(&store, ALARM, at(6));
    assert_eq!(alarm(&store, at(6)).silence, None);
}

fn look(endpoint: &str, hour: i64, asked_by: Option<&str>) -> NewMonitorRun {
    NewMonitorRun {
        project: "wine".into(),
        stage: "prod".into(),
        endpoint: endpoint.into(),
        model_version: "3".into(),
        from: time(hour * 3_600),
        to: time((hour + 1) * 3_600),
        asked_by: asked_by.map(str::to_owned),
        state: "stable".into(),
        reason: "4 features as they were".into(),
        rows: 500,
        findings: 2,
        confirmed: 1,
        report: json!({ "hour": hour, "asked_by": asked_by }),
    }
}

#[test]
fn a_window_is_looked_at_by_itself_once_and_as_often_as_asked_for() {
    let store = store();
    let put = |new: &NewMonitorRun, second| store.put_monitor_run(new, at(second)).unwrap();
    let first = put(&look("prod", 0, None), 3_603);
    let again = NewMonitorRun { state: "changed".into(), ..look("prod", 0, None) };
    assert_eq!(put(&again, 3_604), first, "the number of the first look");
    let asked = [put(&look("prod", 0, Some("ann")), 3_605), put(&look("prod", 0, Some("ann")), 3_606)];
    let elsewhere = put(&look("test", 0, None), 3_607);
    let next = put(&look("prod", 1, None), 7_203);
    let numbers: Vec<u64> = [first, asked[0], asked[1], elsewhere, next].map(|number| number.0).to_vec();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);

    let kept = store.monitor_run(first).unwrap().unwrap();
    assert_eq!((kept.state.as_str(), kept.time, kept.rows), ("stable", time(3_603), 500));
    assert_eq!((kept.findings, kept.confirmed, kept.asked_by), (2, 1, None));
    assert_eq!(kept.report, Some(json!({ "hour": 0, "asked_by": null })));
    assert_eq!(store.monitor_run(MonitorNumber(99)).unwrap(), None);
    let list = |endpoint, list: &ListOptions| -> Vec<u64> {
        let runs = store.monitor_runs(endpoint, list).unwrap();
        runs.iter().for_each(|run| assert_eq!(run.report, None));
        runs.iter().map(|run| run.number.0).collect()
    };
    let all = ListOptions::default();
    assert_eq!(list(None, &all), [5, 4, 3, 2, 1]);
    assert_eq!(list(Some("prod"), &all), [5, 3, 2, 1]);
    assert_eq!(list(Some("prod"), &ListOptions { before: Some(5), limit: 2, ..all.clone() }), [3, 2]);
    assert_eq!(list(None, &ListOptions { project: Some("beer".into()), ..all }), [0; 0]);
}

#[test]
fn reports_before_a_window_are_of_looks_by_itself_the_last_first() {
    let store = store();
    // Looked at in another order than they passed.
    for hour in [0, 3, 1, 2, 4] {
        store.put_monitor_run(&look("prod", hour, None), at(20_000 + hour)).unwrap();
    }
    store.put_monitor_run(&look("prod", 2, Some("ann")), at(30_000)).unwrap();
    store.put_monitor_run(&look("test", 2, None), at(30_000)).unwrap();
    let ask = |before: Timestamp, limit| -> Vec<i64> {
        let reports = store.reports_before("prod", before, limit).unwrap();
        reports.iter().map(|record| record.report.as_ref().unwrap()["hour"].as_i64().unwrap()).collect()
    };
    assert_eq!(ask(time(4 * 3_600), 10), [3, 2, 1, 0], "one that ends there is before");
    assert_eq!(ask(Timestamp(time(4 * 3_600).0 - 1), 10), [2, 1, 0]);
    assert_eq!(ask(time(4 * 3_600), 2), [3, 2]);
    assert_eq!(ask(time(4 * 3_600), 0), [0; 0]);
    assert_eq!(ask(time(3_599), 10), [0; 0]);
}

#[test]
fn of_an_endpoint_the_last_two_thousand_looks_are_kept() {
    let store = store();
    store.put_monitor_run(&look("test", 0, None), at(0)).unwrap();
    for hour in 0..3_010 {
        // Those that were asked for do not crowd out the others.
        let asked_by = (hour % 3 == 0).then_some("ann");
        store.put_monitor_run(&look("prod", hour, asked_by), at(hour)).unwrap();
    }
    let (mut kept, mut before) = (Vec::new(), None);
    loop {
        let list = ListOptions { before, limit: 1_000, ..ListOptions::default() };
        let page = store.monitor_runs(Some("prod"), &list).unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.number.0);
        kept.extend(page.iter().map(|run| run.from));
    }
    let hour = |from: &Timestamp| (from.0 - time(0).0) / (3_600 * S);
    let (asked, by_itself): (Vec<i64>, Vec<i64>) = kept.iter().map(hour).partition(|hour| hour % 3 == 0);
    assert_eq!((asked.len(), by_itself.len()), (1_004, 2_000));
    assert_eq!((by_itself[0], by_itself[1_999]), (3_008, 10));
    assert_eq!(store.monitor_runs(Some("test"), &ListOptions::default()).unwrap().len(), 1);
}

#[test]
fn a_project_goes_with_all_that_was_watched() {
    let store = store();
    for project in ["wine", "beer"] {
        store.set_alarm(project, &news(ALARM, "because"), at(1)).unwrap();
        store.silence_alarm(project, "drift", Some(&silence(at(900))), "ann", at(2)).unwrap();
        let new = NewMonitorRun { project: project.into(), ..look(project, 0, None) };
        store.put_monitor_run(&new, at(3)).unwrap();
    }
    store.remove_project("wine", at(4)).unwrap();
    let left = |project: &str| {
        let list = ListOptions { project: Some(project.into()), ..ListOptions::default() };
        let looks = store.monitor_runs(None, &list).unwrap().len();
        (store.alarms(project, Some(at(5))).unwrap().len(), looks)
    };
    assert_eq!((left("wine"), left("beer")), ((0, 0), (1, 1)));
    assert!(store.alarms("beer", Some(at(5))).unwrap()[0].silence.is_some());
    // One of the same name begins anew: its alarms are not silent, its windows not looked at.
    add_projects(&store);
    set(&store, OK, at(6));
    assert_eq!(alarm(&store, at(6)).silence, None);
    let number = store.put_monitor_run(&look("wine", 0, None), at(7)).unwrap();
    assert_eq!(number, MonitorNumber(3));
}

#[test]
fn a_store_of_the_second_version_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.db");
    let old = Connection::open(&path).unwrap();
    for schema in
        [include_str!("../../../src/store/schema/1.sql"), include_str!("../../../src/store/schema/2.sql")]
    {
        old.execute_batch(schema).unwrap();
    }
    old.pragma_update(None, "user_version", 2).unwrap();
    old.execute_batch(
        r#"INSERT INTO projects VALUES ('wine', '/wine');
           INSERT INTO alarms (project, name, state, reason, time, steady) VALUES ('wine', 'drift', '"ALARM"', 'old', 7, 8);"#,
    )
    .unwrap();
    drop(old);
    let store = SqliteStore::open(&path).unwrap();
    let known = alarm(&store, at(0));
    assert_eq!((known.state, known.time, known.reason.as_str()), (ALARM, Timestamp(7), "old"));
    // It goes on as it was: still on is no news, and off is.
    assert!(!set(&store, ALARM, at(1)));
    assert!(set(&store, OK, at(2)));
    assert_eq!(kinds(&store), [EventKind::AlarmCleared]);
    assert_eq!(alarm(&store, at(2)).since, time(2));
    store.put_monitor_run(&look("prod", 0, None), at(3)).unwrap();
    drop(store);
    let again = SqliteStore::open(&path).unwrap();
    assert_eq!(again.monitor_runs(None, &ListOptions::default()).unwrap().len(), 1);
    let version: i64 =
        Connection::open(&path).unwrap().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, 5);
}
