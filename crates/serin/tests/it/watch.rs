//! Live rows are watched: from requests over a look, an alarm and labels to a run, with the commands that people type.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::Connection;
use serde_json::{Value, json};
use serin_core::capture::{Serving, database, open_to_read};

use crate::commands::process::{Ran, Running, run, serin};
use crate::control_api::{Plant, is, problem};
use crate::serve::support::{Answer, CSV, request_to};

const SETTINGS: &str = "[monitor]\nwindow = \"10s\"\nconfirm = \"1 of 1\"\nmin_rows = 50\n[monitor.retrain]\nmin_labels = 30\n\
    [triggers]\ncooldown = \"0s\"\n[alarms.busy]\nmetric = \"invocations\"\nstage = \"prod\"\nstatistic = \"Sum\"\n\
    period = \"10s\"\ncomparison = \">\"\nthreshold = 5\nmissing = \"not-breaching\"\ndescription = \"somebody asks\"\n\
    [labels]\ndatabase = \"truth.db\"\nsql = \"select id, class from truth\"\npoll = \"1s\"\n";

/// A caller that knows the truth a moment later. Rows are like those of training until they are moved.
struct Caller {
    stops: Arc<AtomicBool>,
    moved: Arc<AtomicBool>,
    failed: Arc<AtomicU32>,
    thread: Option<JoinHandle<()>>,
}

impl Caller {
    fn start(plant: &Plant) -> Self {
        let url = Serving::read(&plant.data()).unwrap().unwrap().url;
        let address: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
        let (stops, moved, failed) = (Arc::default(), Arc::default(), Arc::default());
        let told = (Arc::clone(&stops), Arc::clone(&moved), Arc::clone(&failed));
        let thread = Some(thread::spawn(move || call(address, &told.0, &told.1, &told.2)));
        Self { stops, moved, failed, thread }
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.stops.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn call(address: SocketAddr, stops: &AtomicBool, moved: &AtomicBool, failed: &AtomicU32) {
    let mut i = 0_u32;
    while !stops.load(Ordering::Relaxed) {
        let (mut batch, mut classes) = (String::new(), Vec::new());
        for _ in 0..20 {
            i += 1;
            let class = i % 3;
            let noise = |salt: u64| noise(u64::from(i), salt);
            // The sensor of feature a is replaced by one that counts from another zero.
            let zero = if moved.load(Ordering::Relaxed) { 3.0 } else { 0.0 };
            let _ = writeln!(batch, "{},{}", zero + f64::from(2 * class) + 2.0 * noise(0), noise(1));
            classes.push(format!("c{class}"));
        }
        let Some(answer) =
            asked(address, "/endpoints/prod/invocations", &[CSV, ("accept", "application/json")], &batch)
        else {
            continue;
        };
        if answer.status != 200 {
            failed.fetch_add(1, Ordering::Relaxed);
        }
        let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let id = said["inference_id"].as_str().unwrap_or_default();
        let labels: Vec<Value> = classes
            .iter()
            .enumerate()
            .map(|(n, class)| json!({ "id": format!("{id}/{n}"), "label": class }))
            .collect();
        let told = json!({ "labels": labels }).to_string();
        asked(address, "/labels", &[("content-type", "application/json")], &told);
        thread::sleep(Duration::from_millis(100));
    }
}

/// 0 to 2, and hardly the same twice.
fn noise(i: u64, salt: u64) -> f64 {
    let mut mixed = (i << 8 | salt).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((mixed ^ mixed >> 31) >> 11) as f64 / (1_u64 << 52) as f64
}

fn asked(address: SocketAddr, path: &str, headers: &[(&str, &str)], body: &str) -> Option<Answer> {
    use std::io::Write as _;
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(&request_to(path, headers, body.as_bytes())).ok()?;
    Some(Answer::read(&mut stream))
}

fn typed(plant: &Plant, words: &[&str]) -> Ran {
    let url = format!("http://{}", plant.address());
    Running::start(serin(&plant.project(), words).env("SERIN_URL", url)).end()
}

fn last_look(plant: &Plant, is_meant: impl Fn(&Value) -> bool) -> Option<Value> {
    let looks = plant.get("/looks?endpoint=prod&limit=20");
    let found = looks["items"].as_array().unwrap().iter().find(|look| is_meant(look)).cloned()?;
    Some(plant.get(&format!("/looks/{}", found["number"])))
}

fn event(plant: &Plant, kind: &str, text: &str) -> Option<Value> {
    let events = plant.get("/events?last=1000");
    let mut events = events["items"].as_array().unwrap().iter();
    events.find(|event| event["kind"] == kind && event["text"].as_str().unwrap().contains(text)).cloned()
}

#[test]
fn rows_that_change_raise_an_alarm_and_a_run_learns_from_their_labels() {
    let plant = Plant::start(SETTINGS).with_gateway();
    let first = plant.run(&json!({ "by": "ann" }));
    assert_eq!(plant.approve(plant.approval(), "bob").0, 200);
    plant.succeeded(first);
    let caller = Caller::start(&plant);
    a_database_knows_the_truth(&plant);

    let stable =
        plant.wait("a look that finds nothing", || last_look(&plant, |look| look["state"] == "stable"));
    assert!(stable["rows"].as_u64().unwrap() >= 50 && stable["report"]["confirmed"] == json!([]), "{stable}");
    plant.wait("the alarm of the settings", || event(&plant, "alarm-raised", "alarm busy is on"));

    caller.moved.store(true, Ordering::Relaxed);
    plant.wait("the alarm", || event(&plant, "alarm-raised", "prod-drift"));
    let changed = plant.wait("its look", || last_look(&plant, |look| look["state"] == "changed"));
    let finding = &changed["report"]["comparison"]["findings"][0];
    assert_eq!(finding["column"], "a", "{finding}");

    // The run that the alarm asks for stops before production, for a person.
    let number = plant.wait("the question of the run that the alarm asked for", || {
        let run = plant.get("/approvals?open=true")["items"][0]["run"].as_u64()?;
        (plant.get(&format!("/runs/{run}"))["cause"]["name"] == "alarm").then_some(run)
    });
    // Its gate compared both on rows as they are now.
    let decision = plant.wait("its decision", || {
        let decisions = plant.get("/decisions");
        let decisions = decisions["items"].as_array().unwrap().clone();
        decisions.into_iter().find(|decision| decision["rule"] == "gate" && decision["run"] == number)
    });
    let recorded = plant.get(&format!("/decisions/{}", decision["number"]));
    let recent = &recorded["inputs"]["recent"];
    assert!(recent["rows"].as_u64().unwrap() >= 20, "{recent}");
    assert!(recent["challenger"].as_f64() > recent["champion"].as_f64(), "{recent}");

    the_commands_show_it(&plant);
    assert_eq!(caller.failed.load(Ordering::Relaxed), 0);
}

/// True classes out of the user's own database, for a row that a caller named.
fn a_database_knows_the_truth(plant: &Plant) {
    let truth = Connection::open(plant.project().join("truth.db")).unwrap();
    truth
        .execute_batch(
            "CREATE TABLE truth (id, class); INSERT INTO truth VALUES ('order-7', 'c1'), (8, NULL)",
        )
        .unwrap();
    let url = Serving::read(&plant.data()).unwrap().unwrap().url;
    let address: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
    let named = [CSV, ("x-amzn-sagemaker-inference-id", "order-7")];
    assert_eq!(asked(address, "/endpoints/prod/invocations", &named, "1.5,0.5\n").unwrap().status, 200);
    plant.wait("the label", || {
        let table = open_to_read(&database(&plant.data())).ok()?;
        let label = "SELECT label FROM inferences WHERE id = 'order-7'";
        table
            .query_row(label, [], |row| row.get::<_, Option<String>>(0))
            .ok()
            .flatten()
            .filter(|label| label == "c1")
    });
}

/// What a person types, and what garbage is told.
fn the_commands_show_it(plant: &Plant) {
    let look = typed(plant, &["drift", "--stage", "prod"]).expect(4);
    assert!(look.stdout.contains("drift: ") && look.stdout.contains("distribution"), "{look:?}");
    let html = plant.project().join("look.html");
    typed(plant, &["monitor", "run", "--stage", "prod", "--window", "1m", "--html", "look.html"]).expect(4);
    let page = fs::read_to_string(html).unwrap();
    assert!(page.contains("Serin drift report") && !page.contains("<script"), "{page}");
    let listed = typed(plant, &["monitor", "list"]).expect(0);
    assert!(listed.stdout.contains("changed") && listed.stdout.contains("prod"), "{listed:?}");
    let quality = typed(plant, &["quality", "--stage", "prod", "--json"]).expect(0);
    let quality: Value = serde_json::from_str(&quality.stdout).unwrap();
    assert!(quality["versions"][0]["labelled"].as_u64().unwrap() > 100, "{quality}");
    assert!(typed(plant, &["quality", "--stage", "prod"]).expect(0).stdout.contains("macro-F1"));

    let alarms = typed(plant, &["alarms"]).expect(0);
    for name in ["prod-drift", "prod-errors", "dev-drift", "capture-lag", "disk", "busy"] {
        assert!(alarms.stdout.contains(name), "{name}: {alarms:?}");
    }
    let shown = typed(plant, &["alarm", "show", "prod-drift"]).expect(0);
    assert!(shown.stdout.contains("drift_findings") && shown.stdout.contains("retrain"), "{shown:?}");
    let past = typed(plant, &["alarm", "backtest", "busy", "--days", "1"]).expect(0);
    assert!(past.stdout.contains("would have been on 1 times"), "{past:?}");
    let silence = ["alarm", "silence", "busy", "--for", "2h", "--reason", "a load test", "--by", "ann"];
    assert!(typed(plant, &silence).expect(0).stdout.contains("is silenced until"));
    assert!(typed(plant, &["alarms"]).expect(0).stdout.contains("(silenced)"));
    typed(plant, &["alarm", "silence", "busy", "--end", "--by", "ann"]).expect(0);
    typed(plant, &["alarm", "test", "disk", "--by", "ann"]).expect(0);
    assert!(event(plant, "alarm-raised", "this is a test by ann").is_some());

    let asked =
        typed(plant, &["metrics", "query", "Sum(invocations{endpoint=\"prod\"}[10m])", "--json"]).expect(0);
    let asked: Value = serde_json::from_str(&asked.stdout).unwrap();
    assert!(asked["value"].as_f64().unwrap() > 10.0, "{asked}");
    let latency = typed(plant, &["metrics", "query", "p99(latency[1m])"]).expect(0);
    assert!(latency.stdout.starts_with("0."), "{latency:?}");
    assert!(typed(plant, &["metrics", "list"]).expect(0).stdout.contains("feature_baseline_drift_a"));
    let explained = plant.get("/decisions");
    let retrain =
        explained["items"].as_array().unwrap().iter().find(|decision| decision["verdict"] == "retrain");
    let number = retrain.unwrap()["number"].to_string();
    let explained = typed(plant, &["explain", "decision", &number]).expect(0);
    assert!(explained.stdout.contains("captured ones"), "{explained:?}");

    // Drift on purpose.
    let drill = [
        "drill",
        "drift",
        "--feature",
        "b",
        "--shift",
        "2sd",
        "--stage",
        "prod",
        "--for",
        "5s",
        "--by",
        "ann",
    ];
    typed(plant, &drill).expect(0);
    for wrong in [
        &["drill", "drift", "--stage", "prod"][..],
        &["drill", "drift", "--feature", "z", "--shift", "1", "--stage", "prod"],
        &["drill", "drift", "--feature", "b", "--shift", "much", "--stage", "prod"],
        &["alarm", "show", "nothing"],
        &["alarm", "backtest", "nothing"],
        &["monitor", "show", "999999"],
        &["monitor", "run", "--stage", "nowhere"],
        &["monitor", "run", "--stage", "prod", "--window", "1y"],
        &["metrics", "query", "p99("],
        &["metrics", "query", "Sum(invocations[5])"],
        &["quality"],
    ] {
        let told = typed(plant, wrong).expect(1);
        assert!(told.stderr.starts_with("serin: ") && told.stdout.is_empty(), "{wrong:?}: {told:?}");
    }
    let silence = |body: Value| problem(plant.post("/projects/wine/alarms/busy/silence", &body));
    assert_eq!(silence(json!({ "by": "ann", "seconds": 60 })), is(422, "incomplete"));
    assert_eq!(silence(json!({ "by": "ann", "seconds": -1, "reason": "x" })), is(422, "invalid_body"));
    assert_eq!(silence(json!({ "by": "ann", "seconds": 1e99, "reason": "x" })), is(422, "invalid_body"));
    let look = |body: Value| problem(plant.post("/projects/wine/stages/prod/looks", &body));
    assert_eq!(look(json!({ "by": "ann", "window": "1ns" })).0, 400);
}

#[test]
fn files_are_compared_without_a_server_and_the_exit_code_says_what_was_found() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let rows = |name: &str, f: &dyn Fn(u32) -> String, n: u32| {
        let text: String = (0..n).map(f).collect();
        fs::write(at.join(name), format!("a,b,class\n{text}")).unwrap();
    };
    let noise = |i: u32, salt: u64| 32.0 * noise(u64::from(i), salt);
    rows("train.csv", &|i| format!("{},{},x\n", noise(i, 1), noise(i, 99)), 1_000);
    rows("same.csv", &|i| format!("{},{},y\n", noise(i + 5_000, 1), noise(i + 5_000, 99)), 1_000);
    rows("moved.csv", &|i| format!("{},{},y\n", noise(i + 9_000, 1) + 20.0, noise(i + 9_000, 99)), 1_000);
    rows("few.csv", &|i| format!("{},{},y\n", noise(i, 1), noise(i, 99)), 50);
    let compare = |current: &str, more: &[&str]| {
        let mut words = vec!["drift", "--baseline", "train.csv", "--target", "class", "--current", current];
        words.extend(more);
        run(at, &words)
    };
    assert!(compare("same.csv", &[]).expect(0).stdout.starts_with("no drift: 2 features"));
    let moved = compare("moved.csv", &["--json"]).expect(4);
    let moved: Value = serde_json::from_str(&moved.stdout).unwrap();
    assert_eq!(moved["findings"][0]["column"], "a");
    assert_eq!(moved["columns"][1]["is_changed"], false);
    assert!(compare("few.csv", &[]).expect(5).stdout.contains("cannot say: 50 rows"));
    compare("moved.csv", &["--html", "page.html"]).expect(4);
    assert!(fs::read_to_string(at.join("page.html")).unwrap().contains("Every feature"));

    // Columns too many and too few.
    fs::write(at.join("other.csv"), fs::read_to_string(at.join("same.csv")).unwrap().replace("a,b,", "a,c,"))
        .unwrap();
    let other = compare("other.csv", &[]).expect(4);
    assert!(other.stdout.contains("absent-column") && other.stdout.contains("extra-column"), "{other:?}");

    for (words, code) in [
        (&["drift", "--baseline", "train.csv"][..], 2),
        (&["drift", "--current", "same.csv"], 2),
        (&["drift", "--baseline", "nothing.csv", "--current", "same.csv"], 1),
        (&["drift", "--baseline", "train.csv", "--current", "nothing.csv"], 1),
        (&["drift", "--baseline", "train.csv", "--current", "same.csv"], 1),
        (&["drift", "--baseline", "train.csv", "--current", "same.csv", "--least-shift", "2"], 2),
        (&["drift"], 1),
    ] {
        let told = run(at, words).expect(code);
        assert!(told.stdout.is_empty() && !told.stderr.is_empty(), "{words:?}: {told:?}");
    }
}
