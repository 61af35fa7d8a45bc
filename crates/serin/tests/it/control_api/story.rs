//! A model's life over HTTP: asked for, watched, approved, traced, replaced, brought back, rejected, removed.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::{JSON, Plant, exchange, is, problem, told};

/// The versions that an endpoint serves.
fn serving(plant: &Plant, stage: &str) -> Vec<u64> {
    let endpoints = plant.get("/endpoints");
    let endpoint = endpoints["items"].as_array().unwrap().iter().find(|endpoint| endpoint["stage"] == stage);
    let variants = endpoint.map(|endpoint| endpoint["variants"].as_array().unwrap().clone());
    variants.unwrap_or_default().iter().map(|variant| variant["version"].as_u64().unwrap()).collect()
}

#[test]
fn a_model_lives_over_http() {
    let plant = Plant::start("[stages.prod]\nfour_eyes = true\n").with_gateway();
    assert_eq!(plant.get("/health/live")["live"], true);
    plant.wait("readiness", || (plant.ask("GET", "/health/ready", &[], b"").status == 200).then_some(()));

    // What would start, and nothing does.
    let (status, planned) = plant.post("/projects/wine/runs", &json!({ "by": "ann", "dry_run": true }));
    assert_eq!((status, &planned["outcome"], &planned["run"]), (200, &json!("run"), &json!(1)), "{planned}");
    assert_eq!(planned["triggers"].as_array().unwrap().len(), 5, "{planned}");
    assert_eq!(plant.get("/runs")["items"], json!([]));

    // One key, one run.
    let keyed = [JSON, ("idempotency-key", "k-1")];
    let first = plant.ask("POST", "/projects/wine/runs", &keyed, br#"{"by":"ann"}"#);
    let again = plant.ask("POST", "/projects/wine/runs", &keyed, br#"{"by":"ann"}"#);
    assert_eq!((first.status, again.status, again.header("idempotency-replayed")), (201, 201, Some("true")));
    assert_eq!(first.text(), again.text());
    let other = plant.ask("POST", "/projects/wine/runs", &keyed, br#"{"by":"bob"}"#);
    assert_eq!(problem(told(&other)), is(409, "idempotency_conflict"));
    assert_eq!(plant.get("/runs")["items"].as_array().unwrap().len(), 1);

    let followed = follow_logs(&plant, 1);
    approve_once(&plant);
    let run = plant.succeeded(1);
    check_run(&plant, &run);
    let lines = followed.join().unwrap();
    for step in ["source", "build", "train", "deploy-prod", "monitor-prod"] {
        assert!(lines.iter().any(|line| line.starts_with(&format!("{step} 2"))), "{step}: {lines:#?}");
    }
    check_lineage(&plant);
    check_decision(&plant);
    replace_and_bring_back(&plant);
    say_things_of_versions(&plant);
    remove(&plant);
}

/// Every line of a run, as they come.
fn follow_logs(plant: &Plant, run: u64) -> thread::JoinHandle<Vec<String>> {
    let address = plant.address();
    thread::spawn(move || {
        let (mut lines, mut offset) = (Vec::new(), "0".to_owned());
        loop {
            let path = format!("/runs/{run}/logs?follow=true&offset={offset}");
            let answer = exchange(address, "GET", &path, &[], b"");
            assert_eq!(answer.status, 200, "{}", answer.text());
            lines.extend(answer.text().lines().map(str::to_owned));
            offset = answer.header("x-serin-next-offset").unwrap().to_owned();
            if answer.header("x-serin-log-end") == Some("true") {
                return lines;
            }
        }
    })
}

/// What is not taken, then two at once: one is.
fn approve_once(plant: &Plant) {
    let number = plant.approval();
    let status = plant.get("/status");
    let project = &status["projects"][0];
    assert_eq!(project["approvals"][0]["number"], number, "{status:#}");
    assert_eq!(project["open_runs"][0]["steps"].as_array().unwrap().len(), 15, "{status:#}");
    assert_eq!(status["engine"]["reigning"], true, "{status:#}");

    let approval = plant.get(&format!("/approvals/{number}"));
    assert_eq!(approval["state"], json!({ "name": "open" }), "{approval:#}");
    let sheet = &approval["sheet"];
    assert_eq!((&sheet["version"], &sheet["stage"]), (&json!(1), &json!("prod")), "{approval:#}");
    assert!(sheet["metrics"]["macro-f1"]["challenger"].is_f64(), "{approval:#}");
    assert_eq!(sheet["data"][0]["role"], "train");

    let path = format!("/approvals/{number}/decision");
    let decide = |body: Value| problem(plant.post(&path, &body));
    let wrong = "0".repeat(64);
    let word = json!({ "verdict": "approve", "by": "bob", "reason": "looks right" });
    let with = |key: &str, value: Value| {
        let mut word = word.clone();
        word[key] = value;
        word
    };
    assert_eq!(decide(with("seen", json!(wrong))), is(409, "approval_changed"));
    assert_eq!(decide(with("seen", json!("yesterday"))), is(422, "invalid_body"));
    assert_eq!(decide(with("by", json!("ann"))), is(409, "four_eyes"));
    assert_eq!(decide(with("reason", json!(" "))), is(422, "incomplete"));
    assert_eq!(decide(with("verdict", json!("perhaps"))), is(422, "invalid_body"));
    assert_eq!(decide(with("state", json!("approved"))), is(422, "invalid_body"));
    assert_eq!(problem(plant.post("/approvals/99/decision", &word)), is(404, "not_found"));
    assert_eq!(serving(plant, "prod"), [0; 0]);

    let seen = with("seen", approval["shown"].clone()).to_string();
    let address = plant.address();
    let both = [(); 2].map(|()| {
        let (path, body) = (path.clone(), seen.clone());
        thread::spawn(move || told(&exchange(address, "POST", &path, &[JSON], body.as_bytes())))
    });
    let mut both = both.map(|thread| thread.join().unwrap());
    both.sort_by_key(|(status, _)| *status);
    let [taken, refused] = both;
    assert_eq!((taken.0, &taken.1["state"]["by"]), (200, &json!("bob")), "{taken:?}");
    assert_eq!(problem(refused), is(409, "approval_closed"));
    assert_eq!(problem(plant.approve(number, "bob")), is(409, "approval_closed"));
    let events = plant.get("/events?run=1&limit=1000");
    let kinds =
        |kind: &str| events["items"].as_array().unwrap().iter().filter(|event| event["kind"] == kind).count();
    assert_eq!(kinds("approval-decided"), 1);
    // Every answer that was not taken leaves a line; those that were not understood do not.
    assert!(kinds("approval-refused") >= 3, "{events:#}");
}

fn check_run(plant: &Plant, run: &Value) {
    assert_eq!(run["cause"], json!({ "name": "asked", "text": "ann asked", "by": "ann" }));
    assert_eq!(problem(plant.post("/runs/1/retry", &json!({ "by": "ann" }))), is(409, "conflict"));
    let steps = run["steps"].as_array().unwrap();
    let train = steps.iter().find(|step| step["name"] == "train").unwrap();
    assert!(train["seconds"].as_f64().unwrap() > 0.0, "{train:#}");
    assert_eq!(train["after"], json!(["experiment", "build"]));
    let output = train["output"].as_str().unwrap();
    let detail = plant.get("/runs/1/steps/train");
    assert_eq!((&detail["output"], &detail["document"]["format"]), (&json!(output), &json!(1)), "{detail:#}");
    assert_eq!(detail["attempt_list"][0]["end"], json!({ "name": "succeeded" }));
    let sheet = plant.get("/runs/1/steps/approve-prod");
    assert_eq!(sheet["document"]["version"], 1);
    assert_eq!(problem(told(&plant.ask("GET", "/runs/1/steps/nope", &[], b""))), is(404, "not_found"));
    let only = plant.ask("GET", "/runs/1/logs?step=source", &[], b"");
    assert!(only.text().contains("1 files") || only.text().contains("2 files"), "{}", only.text());
    assert_eq!(only.header("content-type"), Some("text/plain; charset=utf-8"));
}

fn check_lineage(plant: &Plant) {
    let lineage = plant.get("/versions/1/lineage");
    assert_eq!(lineage["problems"], json!([]), "{lineage:#}");
    assert_eq!(lineage["commit"], Value::Null);
    assert_eq!((&lineage["run"]["number"], &lineage["data"][0]["role"]), (&json!(1), &json!("train")));
    assert_eq!(lineage["data"][0]["digest"].as_str().unwrap().len(), 64);
    assert_eq!(lineage["parameters"]["target"], "label", "{lineage:#}");
    assert_eq!(lineage["decision"]["verdict"], "acceptable", "{lineage:#}");
    let approval = &lineage["approvals"][0]["state"];
    assert_eq!((&approval["by"], &approval["reason"]), (&json!("bob"), &json!("looks right")));
    let served: Vec<&Value> = lineage["served"].as_array().unwrap().iter().map(|p| &p["stage"]).collect();
    assert_eq!(served, ["dev", "prod"]);

    let served = plant.get("/served");
    assert_eq!(served["items"].as_array().unwrap().len(), 2, "{served:#}");
    let prod = &served["items"][1];
    assert_eq!((&prod["by"], &prod["version"], &prod["weight"]), (&json!("bob"), &json!(1), &json!(1.0)));
    assert_eq!(plant.get("/served?at=2026-01-01T00:00:00Z")["items"], json!([]));
    for at in ["yesterday", "", "2026-13-01"] {
        let answer = plant.ask("GET", &format!("/served?at={at}"), &[], b"");
        assert_eq!(problem(told(&answer)), is(400, "invalid_query"), "{at}");
    }
    let endpoints = plant.get("/endpoints?project=wine");
    assert_eq!(endpoints["items"][1]["monitor"]["version"], 1, "{endpoints:#}");
}

fn check_decision(plant: &Plant) {
    let listed = plant.get("/decisions");
    let rules: Vec<&Value> = listed["items"].as_array().unwrap().iter().map(|one| &one["rule"]).collect();
    // Latest first: the first deployments of both stages.
    assert_eq!(rules, ["rollout", "rollout", "gate"], "{listed:#}");
    for number in [2, 3] {
        let replay = plant.get(&format!("/decisions/{number}/replay"));
        assert_eq!(
            (&replay["same"], &replay["verdict"]),
            (&json!(true), &json!("first-deployment")),
            "{replay:#}"
        );
    }
    assert_eq!(listed["items"][0].get("inputs"), None);
    assert!(plant.get("/decisions/1")["inputs"]["evaluation"].is_object());
    let replay = plant.get("/decisions/1/replay");
    assert_eq!((&replay["same"], &replay["verdict"]), (&json!(true), &json!("acceptable")), "{replay:#}");
}

/// A second version, then back, forth, and away from it.
fn replace_and_bring_back(plant: &Plant) {
    let stage = |verb: &str, body: Value| plant.post(&format!("/projects/wine/stages/prod/{verb}"), &body);
    assert_eq!(problem(stage("rollback", json!({ "by": "ann" }))), is(409, "nothing_before"));

    std::fs::write(plant.project().join("train.csv"), super::rows(3)).unwrap();
    let run = plant.run(&json!({ "by": "ann", "fresh": true }));
    let number = plant.approval();
    assert_eq!(
        problem(stage("deploy", json!({ "version": 2, "by": "ann" }))),
        is(409, "version_not_approved")
    );
    assert_eq!(plant.approve(number, "bob").0, 200);
    plant.succeeded(run);
    assert_eq!(serving(plant, "prod"), [2]);

    let compared = plant.get("/versions/compare?left=1&right=2");
    assert_eq!(compared["problems"], json!([]), "{compared:#}");
    assert!(compared["parameters"]["revision"]["left"].is_string(), "{compared:#}");
    assert!(compared["recall"]["c0"]["right"].is_f64(), "{compared:#}");
    let trials = plant.get("/experiments/compare?runs=1,2");
    assert!(trials["metrics"]["macro-f1"]["2"].is_f64(), "{trials:#}");
    assert_eq!(plant.get("/experiments")["items"].as_array().unwrap().len(), 2);

    let (status, back) = stage("rollback", json!({ "by": "ann", "reason": "odd answers" }));
    assert_eq!(status, 201, "{back}");
    let back = plant.succeeded(back["run"].as_u64().unwrap());
    assert_eq!((&back["kind"], &back["request"]["version"]), (&json!("rollback"), &json!(1)));
    assert_eq!(serving(plant, "prod"), [1]);
    let (status, forth) = stage("deploy", json!({ "version": 2, "by": "ann" }));
    assert_eq!(status, 201, "{forth}");
    plant.succeeded(forth["run"].as_u64().unwrap());
    assert_eq!(serving(plant, "prod"), [2]);

    // What serves is rejected: the other approved one comes back by itself.
    let word = |verdict: &str, by: &str| json!({ "verdict": verdict, "by": by, "reason": "it was wrong" });
    let (status, rejected) = plant.post("/versions/2/decision", &word("reject", "bob"));
    assert_eq!((status, &rejected["state"]["name"]), (200, &json!("rejected")), "{rejected}");
    let rollback = &rejected["rollbacks"][0];
    assert_eq!((&rollback["stage"], &rollback["version"]), (&json!("prod"), &json!(1)), "{rejected}");
    plant.succeeded(rollback["run"].as_u64().unwrap());
    assert_eq!(serving(plant, "prod"), [1]);
    let listed = plant.get("/deployments");
    assert_eq!(listed["items"][0]["is_return"], true, "{listed:#}");

    let deploy = json!({ "version": 2, "by": "ann" });
    assert_eq!(problem(stage("deploy", deploy)), is(409, "version_rejected"));
    let to = json!({ "by": "ann", "to": 2 });
    assert_eq!(problem(stage("rollback", to)), is(409, "version_rejected"));
    assert_eq!(problem(stage("rollback", json!({ "by": "ann" }))), is(409, "nothing_before"));
    assert_eq!(problem(plant.post("/versions/2/decision", &word("approve", "ann"))), is(409, "four_eyes"));
    assert_eq!(plant.post("/versions/2/decision", &word("approve", "bob")).0, 200);
    assert_eq!(problem(plant.post("/versions/2/decision", &word("approve", "bob"))), is(409, "conflict"));
    let nowhere = json!({ "version": 1, "by": "ann" });
    for path in ["/projects/wine/stages/moon/deploy", "/projects/nope/stages/prod/deploy"] {
        assert_eq!(problem(plant.post(path, &nowhere)), is(404, "not_found"), "{path}");
    }
}

fn say_things_of_versions(plant: &Plant) {
    let tag = json!({ "value": "for the fair", "by": "ann" });
    let (status, version) = plant.send("PUT", "/versions/2/tags/why", &tag);
    assert_eq!((status, &version["tags"]), (200, &json!({ "why": "for the fair" })), "{version}");
    let gone = plant.ask("DELETE", "/versions/2/tags/why?by=ann", &[], b"");
    assert_eq!((gone.status, told(&gone).1["tags"].clone()), (200, json!({})));
    let gone = plant.ask("DELETE", "/versions/2/tags/why?by=ann", &[], b"");
    assert_eq!(problem(told(&gone)), is(404, "not_found"));
    let spaced = plant.send("PUT", "/versions/2/tags/a%20b", &tag);
    assert_eq!(problem(spaced), is(422, "invalid_body"));

    let alias = json!({ "version": 1, "by": "ann" });
    let (status, version) = plant.send("PUT", "/projects/wine/aliases/steady", &alias);
    assert_eq!(status, 200, "{version}");
    assert!(version["aliases"].as_array().unwrap().contains(&json!("steady")), "{version}");
    assert_eq!(plant.ask("DELETE", "/projects/wine/aliases/steady?by=ann", &[], b"").status, 200);
    let none = plant.ask("DELETE", "/projects/wine/aliases/steady?by=ann", &[], b"");
    assert_eq!(problem(told(&none)), is(404, "not_found"));
    let nobody = plant.ask("DELETE", "/projects/wine/aliases/steady", &[], b"");
    assert_eq!(problem(told(&nobody)), is(400, "invalid_query"));
    assert_eq!(plant.get("/versions")["items"].as_array().unwrap().len(), 2);
    assert!(plant.get("/versions/1")["served"].as_array().unwrap().len() >= 3);
}

fn remove(plant: &Plant) {
    let plan = plant.ask("DELETE", "/projects/wine?stage=dev&dry_run=true", &[], b"");
    let (status, plan) = told(&plan);
    assert_eq!((status, &plan["endpoints"], &plan["runs"]), (200, &json!(["dev"]), &json!(0)), "{plan}");
    assert_eq!(serving(plant, "dev"), [2], "it was a dry run");
    let nobody = plant.ask("DELETE", "/projects/wine?stage=dev", &[], b"");
    assert_eq!(problem(told(&nobody)), is(422, "incomplete"));
    assert_eq!(plant.ask("DELETE", "/projects/wine?stage=dev&by=ann", &[], b"").status, 200);
    assert_eq!((serving(plant, "dev"), serving(plant, "prod")), (vec![], vec![1]));

    let (status, gone) = told(&plant.ask("DELETE", "/projects/wine?by=ann", &[], b""));
    assert_eq!((status, &gone["endpoints"], &gone["versions"]), (200, &json!(["prod"]), &json!(2)), "{gone}");
    assert_eq!(plant.get("/projects")["items"], json!([]));
    assert_eq!(std::fs::read_dir(plant.data().join("runs")).unwrap().count(), 0);
    assert_eq!(plant.get("/endpoints")["items"], json!([]));
    assert_eq!(problem(told(&plant.ask("GET", "/projects/wine", &[], b""))), is(404, "not_found"));
    let events = plant.get("/events?last=1");
    assert_eq!(events["items"][0]["kind"], "destroyed", "{events}");
    let next = events["next"].as_u64().unwrap();

    // Whoever follows hears of what comes.
    let address = plant.address();
    let path = format!("/events?after={next}&follow=true");
    let heard = thread::spawn(move || told(&exchange(address, "GET", &path, &[], b"")));
    thread::sleep(Duration::from_millis(300));
    let folder = json!({ "folder": plant.project() });
    let (status, added) = plant.post("/projects", &folder);
    assert_eq!((status, &added["name"]), (201, &json!("wine")), "{added}");
    assert_eq!(heard.join().unwrap().1["items"][0]["kind"], "project-added");
}
