//! Runs that are stopped, go on, or are many.

use std::fs;
use std::time::Duration;

use serde_json::json;
use serin_core::clock::{Clock as _, Steady, Timestamp};
use serin_core::domain::{Cause, Pipeline, RunKind, Wish, WishOutcome};
use serin_core::pipeline::first_steps;
use serin_core::store::{Moment, Project, SqliteStore, Store, WishRules};

use super::{Plant, is, problem, told, write_project};
use crate::serve::support::clock;

#[test]
fn a_run_is_stopped_within_two_seconds_and_goes_on_when_it_is_asked_to() {
    let plant = Plant::start("[steps.prepare]\ncommand = [\"sleep\", \"60\"]\n");
    let run = plant.run(&json!({ "by": "ann" }));
    let is_preparing = || {
        let run = plant.get(&format!("/runs/{run}"));
        let steps = run["steps"].as_array().unwrap().clone();
        steps.into_iter().find(|step| step["name"] == "prepare" && step["state"]["name"] == "running")
    };
    plant.wait("the preparation", is_preparing);
    let path = |verb: &str| format!("/runs/{run}/{verb}");
    assert_eq!(problem(plant.post(&path("retry"), &json!({ "by": "ann" }))), is(409, "conflict"));

    let clock = clock();
    let begun = clock.monotonic();
    let (status, stopping) = plant.post(&path("cancel"), &json!({ "by": "ann", "reason": "too slow" }));
    assert_eq!((status, &stopping["state"]["by"]), (200, &json!("ann")), "{stopping}");
    let ended = plant.ended(run);
    let took = clock.monotonic() - begun;
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(ended["state"], json!({ "name": "cancelled", "by": "ann", "reason": "too slow" }));
    assert_eq!(problem(plant.post(&path("cancel"), &json!({ "by": "ann" }))), is(409, "conflict"));

    let missing = json!({ "by": "ann", "from": "nope" });
    assert_eq!(problem(plant.post(&path("retry"), &missing)), is(404, "not_found"));
    let (status, again) = plant.post(&path("retry"), &json!({ "by": "ann", "from": "build" }));
    assert_eq!((status, &again["run"]), (200, &json!(run)), "{again}");
    plant.wait("the preparation again", is_preparing);
    let attempts = plant.get(&format!("/runs/{run}"))["attempts"].as_array().unwrap().clone();
    let count = |step: &str| attempts.iter().filter(|attempt| attempt["step"] == step).count();
    assert_eq!((count("source"), count("build"), count("prepare")), (1, 2, 2), "{attempts:#?}");
    let cancelled = attempts.iter().find(|attempt| attempt["end"]["name"] == "cancelled");
    assert_eq!(cancelled.map(|attempt| &attempt["step"]), Some(&json!("prepare")));
    let first = plant.ask("GET", &path("logs?step=build&attempt=1"), &[], b"");
    assert_eq!((first.status, first.header("x-serin-log-end")), (200, Some("true")), "{}", first.text());
    let open = plant.ask("GET", &path("logs"), &[], b"");
    assert_eq!(open.header("x-serin-log-end"), None);
    let odd = plant.ask("GET", &path("logs?attempt=1"), &[], b"");
    assert_eq!(problem(told(&odd)), is(400, "invalid_query"));

    // A project goes when its runs have stopped.
    let (status, gone) = told(&plant.ask("DELETE", "/projects/wine?by=ann", &[], b""));
    assert_eq!((status, &gone["cancelled"], &gone["runs"]), (200, &json!([run]), &json!(1)), "{gone}");
}

#[test]
fn triggers_are_paused_and_alarms_ask_for_runs() {
    let plant =
        Plant::start("[triggers]\ncooldown = \"1h\"\n[steps.prepare]\ncommand = [\"sleep\", \"60\"]\n");
    let alarm = |body| plant.post("/projects/wine/alarms", &body);
    let trigger =
        |verb: &str| plant.post(&format!("/projects/wine/triggers/alarm/{verb}"), &json!({ "by": "ann" }));
    let (status, paused) = trigger("pause");
    assert_eq!(
        (status, &paused["paused"], &paused["enabled"]),
        (200, &json!(true), &json!(true)),
        "{paused}"
    );
    let (status, refused) = alarm(json!({ "name": "drift" }));
    assert_eq!((status, &refused["rule"]), (200, &json!("paused")), "{refused}");
    assert_eq!(trigger("resume").1["paused"], false);

    let keyed = json!({ "name": "drift", "key": "2026-11-22" });
    let (status, first) = alarm(keyed.clone());
    assert_eq!((status, &first["outcome"]), (201, &json!("run")), "{first}");
    let (status, same) = alarm(keyed);
    assert_eq!((status, &same["outcome"], &same["run"]), (200, &json!("same"), &first["run"]));
    let (status, refused) = alarm(json!({ "name": "drift" }));
    assert_eq!((status, &refused["rule"]), (200, &json!("cooldown")), "{refused}");
    let run = plant.get(&format!("/runs/{}", first["run"]));
    assert_eq!(run["cause"], json!({ "name": "alarm", "text": "alarm drift", "alarm": "drift" }));
    let unknown = plant.post("/projects/wine/triggers/moon/pause", &json!({ "by": "ann" }));
    assert_eq!(problem(unknown), is(404, "not_found"));
    let listed = plant.get("/triggers?project=wine");
    let names: Vec<&str> =
        listed["items"].as_array().unwrap().iter().map(|trigger| trigger["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["git", "data", "upload", "schedule", "alarm"]);
}

#[test]
fn settings_that_cannot_be_used_are_told_and_nothing_starts() {
    let plant = Plant::start("");
    fs::write(plant.project().join("serin.toml"), "[train]\nfolds = \"many\"\n").unwrap();
    assert_eq!(
        problem(plant.post("/projects/wine/runs", &json!({ "by": "ann" }))),
        is(409, "settings_invalid")
    );
    let project = plant.get("/projects/wine");
    assert!(project["error"].as_str().unwrap().contains("serin.toml:2"), "{project}");
    let status = plant.get("/status");
    assert!(status["warnings"].to_string().contains("serin.toml:2"), "{status}");
    for folder in ["relative", "/nowhere/at/all"] {
        let (status, said) = plant.post("/projects", &json!({ "folder": folder }));
        assert!([409, 422].contains(&status), "{said}");
    }
}

/// The promise is 100 ms for a release build on an idle machine.
#[test]
fn status_stays_quick_behind_a_thousand_runs() {
    let folder = tempfile::tempdir().unwrap();
    write_project(&folder.path().join("wine"), "");
    fs::create_dir_all(folder.path().join("data")).unwrap();
    finished_runs(&folder.path().join("data"), 1_000);
    let plant = Plant::start_in(folder);
    let list = plant.get("/runs?limit=300");
    assert_eq!((list["items"].as_array().unwrap().len(), &list["next"]), (300, &json!(701)));
    assert_eq!(plant.get("/runs?limit=10&before=6")["items"].as_array().unwrap().len(), 5);
    let (clock, mut quickest) = (clock(), Duration::MAX);
    for _ in 0..10 {
        let begun = clock.monotonic();
        let status = plant.get("/status");
        quickest = quickest.min(clock.monotonic() - begun);
        assert_eq!(status["projects"][0]["last_run"]["number"], 1_000);
    }
    println!("status behind 1,000 finished runs: {quickest:?}");
    assert!(quickest < Duration::from_millis(100), "{quickest:?}");
}

fn finished_runs(data: &std::path::Path, count: u64) {
    let store = SqliteStore::open(&data.join(serin::control::DATABASE)).unwrap();
    let at = Moment { wall: Timestamp(1_795_341_600_000_000), steady: Steady(0) };
    let folder = data.parent().unwrap().join("wine").canonicalize().unwrap().display().to_string();
    store.put_project(&Project { name: "wine".into(), folder }, at).unwrap();
    let rules = WishRules {
        cooldown: Duration::ZERO,
        daily_budget: u32::MAX,
        newest_wins: false,
        waiting_limit: 1_000,
    };
    let pipeline: Pipeline = first_steps(Default::default());
    for _ in 0..count {
        let wish = Wish {
            project: "wine".into(),
            kind: RunKind::Train,
            cause: Cause::Asked { by: "ann".into() },
            key: None,
            request: json!({}),
            is_fresh: false,
        };
        match store.wish(&wish, &rules, &pipeline, at).unwrap() {
            WishOutcome::Run { run } => assert!(store.cancel_run(run, "ann", "enough", at).unwrap()),
            other => panic!("{other:?}"),
        }
    }
}
