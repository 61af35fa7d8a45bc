//! The commands with a real control plane: a project from its first run to its end.

use std::fs;
use std::path::{Path, PathBuf};

use crate::commands::process::{Ran, Running, run, serin};

/// A project that is up.
struct Plant {
    project: PathBuf,
    server: Running,
    _folder: tempfile::TempDir,
}

impl Plant {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_rows(&folder.path().join("rows.csv"));
        run(folder.path(), &["init", "wine", "--data", "rows.csv", "--target", "label"]).expect(0);
        let project = folder.path().join("wine");
        let settings = fs::read_to_string(project.join("serin.toml")).unwrap();
        let settings = settings
            .replace("[train]\n", "[train]\ntrials = 3\nfolds = 3\nfamilies = [\"logistic\"]\n")
            .replace("[gates.min]\n", "[gates]\nchallenger_margin = -1.0\n\n[gates.min]\n");
        fs::write(project.join("serin.toml"), settings).unwrap();
        let anywhere =
            ["--listen", "--admin-listen", "--control-listen"].map(|option| [option, "127.0.0.1:0"]);
        let mut server = Running::start(&mut serin(&project, &[&["up"], anywhere.as_flattened()].concat()));
        server.wait_for("nothing is deployed yet");
        Self { project, server, _folder: folder }
    }

    fn run(&self, words: &[&str]) -> Ran {
        run(&self.project, words)
    }

    /// What a command prints that is done.
    #[track_caller]
    fn says(&self, words: &[&str], wanted: &[&str]) -> String {
        let ran = self.run(words).expect(0);
        for wanted in wanted {
            assert!(ran.stdout.contains(wanted), "{words:?}: no {wanted:?} in\n{}", ran.stdout);
        }
        ran.stdout
    }

    /// What a command says that is refused.
    #[track_caller]
    fn refuses(&self, words: &[&str], wanted: &[&str]) {
        let ran = self.run(words).expect(1);
        for wanted in wanted {
            assert!(ran.stderr.contains(wanted), "{words:?}: no {wanted:?} in\n{}", ran.stderr);
        }
    }

    fn watch(&self, words: &[&str]) -> Running {
        Running::start(&mut serin(&self.project, &[words, &["--watch", "--by", "ann"]].concat()))
    }
}

/// Three classes in two features that overlap.
fn write_rows(path: &Path) {
    let mut rows = "a,b,label\n".to_owned();
    for i in 0..300_u32 {
        let class = i % 3;
        let noise =
            |salt: u32| f64::from(i.wrapping_mul(2_654_435_761).wrapping_add(salt) >> 12 & 0xff) / 128.0;
        rows.push_str(&format!("{},{},c{class}\n", f64::from(class * 2) + 2.0 * noise(0), noise(977 << 12)));
    }
    fs::write(path, rows).unwrap();
}

#[test]
fn a_project_from_its_first_run_to_its_end() {
    let plant = Plant::start();
    plant.says(&["status"], &["no step in hand", "wine  ", "no run yet"]);
    plant.says(&["run", "--dry-run"], &["a run would start\n", "rows.csv", "schedule"]);
    assert_eq!(plant.says(&["runs"], &[]), "no runs; `serin run` asks for one\n");

    first_run(&plant);
    what_is_known(&plant);
    second_run(&plant);
    what_is_done_by_hand(&plant);
    the_end(&plant);

    plant.server.signal("TERM");
    let Plant { project, server, _folder } = plant;
    server.end().expect(0);
    assert!(!project.join("serin-data/control.json").exists());
    assert!(run(&project, &["status"]).expect(1).stderr.contains("`serin up`"));
}

fn first_run(plant: &Plant) {
    let mut watch = plant.watch(&["run"]);
    watch.wait_for("run 1: train done in");
    watch.wait_for("run 1: approve-prod waits for approval 1: `serin approval show 1`");
    plant.says(
        &["status"],
        &["run 1 running (ann asked): approve-prod waits for approval 1", "version 1 to prod"],
    );
    plant.says(&["approvals"], &["version 1 to prod", "ann", "open"]);
    plant.says(
        &["approval", "show", "1"],
        &["recall of class", "macro-f1", "beat_majority", "serin approve 1"],
    );
    plant.refuses(
        &["approve", "1", "--reason", "x", "--seen", &"0".repeat(64)],
        &["approval_changed", "read it again"],
    );
    plant.says(
        &["approve", "1", "--reason", "looks right", "--by", "bob"],
        &["version 1 to prod: approved by bob"],
    );
    let ran = watch.end().expect(0);
    assert!(ran.stdout.starts_with("run 1 succeeded after "), "{}", ran.stdout);
    plant.refuses(&["reject", "1", "--reason", "x"], &["approval_closed", "`serin approvals`"]);
    assert_eq!(plant.says(&["approvals"], &[]), "nothing waits for an approval\n");
}

fn what_is_known(plant: &Plant) {
    plant.says(&["run", "show", "1"], &["run 1 of wine: succeeded", "deploy-prod", "revision"]);
    plant.says(&["run", "show", "1", "--step", "train"], &["\"artifact\"", "experiment"]);
    let followed = plant.says(&["run", "logs", "1", "--follow"], &["train ", "monitor-prod "]);
    assert_eq!(plant.says(&["run", "logs", "1"], &[]), followed);
    let train = plant.says(&["run", "logs", "1", "--step", "train", "--attempt", "1"], &["search"]);
    assert!(!train.contains("train 2") && followed.len() > train.len(), "{train}");
    plant.says(&["versions"], &["approved by bob", "champion"]);
    plant.says(&["version", "show", "1"], &["looks right", "macro-f1", "answered for by"]);
    plant.says(
        &["lineage", "1"],
        &["rows.csv", "approved by bob", "seed=17", "decision 1: acceptable", "prod"],
    );
    plant.says(&["who-served", "2100-01-01T00:00:00Z"], &["AllTraffic", "prod", "bob"]);
    assert_eq!(plant.says(&["who-served", "2020-01-01"], &[]), "nothing served at 2020-01-01T00:00:00Z\n");
    plant.says(&["deployments"], &["looks right", "dev", "prod"]);
    plant.says(&["events", "--last", "3"], &["run 1 succeeded"]);
    let events = plant.says(&["events", "--after", "0", "--json"], &[]);
    let kinds: Vec<serde_json::Value> =
        events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(kinds.len() > 20 && kinds[0]["number"] == 1, "{events}");
    plant.says(&["decisions"], &["gate", "acceptable"]);
    plant.says(&["explain", "decision", "1"], &["decided from", "gates"]);
    plant.says(&["replay", "decision", "1"], &["decided again, the same: acceptable"]);
    plant.says(&["experiments"], &["wine", "seed=17"]);
    plant.says(&["trigger", "list"], &["schedule", "off", "alarm", "on"]);
}

/// Everything anew; a person says no, and dev goes back.
fn second_run(plant: &Plant) {
    let mut watch = plant.watch(&["run", "--fresh"]);
    watch.wait_for("waits for approval 2");
    plant.says(&["approval", "show", "2"], &["version 1", "champion"]);
    plant.says(&["reject", "2", "--reason", "not now", "--by", "bob"], &["rejected by bob"]);
    let ran = watch.end().expect(1);
    assert!(
        ran.stdout.starts_with("run 2 rejected by bob after ") && ran.stdout.contains("  not now\n"),
        "{ran:?}"
    );
    plant.says(&["compare", "1", "2"], &["version 2 of run 2, rejected by bob", "macro-f1"]);
    plant.says(&["experiments", "compare", "1", "2"], &["run 1", "run 2", "log-loss"]);
    let ran = plant.watch(&["rollback", "--stage", "dev", "--reason", "as it was"]).end().expect(0);
    assert!(ran.stdout.starts_with("run 3 succeeded"), "{}", ran.stdout);
    plant.says(&["deployments"], &["back to", "as it was"]);
    let endpoints = plant.run(&["endpoints", "--json"]).expect(0).json();
    assert_eq!(endpoints["items"][0]["variants"][0]["version"], 1);
}

fn what_is_done_by_hand(plant: &Plant) {
    plant.refuses(&["deploy", "2", "--stage", "prod"], &["version_rejected"]);
    plant.refuses(&["rollback", "--stage", "prod"], &["nothing_before", "--to"]);
    plant.refuses(&["deploy", "9", "--stage", "prod"], &["not_found"]);
    plant.says(&["version", "approve", "2", "--reason", "it is fine", "--by", "bob"], &["approved by bob"]);
    let ran = plant.watch(&["deploy", "2", "--stage", "prod"]).end().expect(0);
    assert!(ran.stdout.starts_with("run 4 succeeded"), "{}", ran.stdout);
    plant.says(&["version", "reject", "2", "--reason", "it is not"], &["run 5 brings", "back to prod"]);
    plant.says(&["alias", "shadow", "2"], &["shadow of wine is version 2"]);
    plant.says(&["version", "show", "2"], &["shadow"]);
    plant.says(&["alias", "shadow", "--remove"], &["no version any more"]);
    plant.says(&["tag", "1", "ticket=ML 1/2", "owner=ann"], &["owner=ann ticket=ML 1/2"]);
    assert_eq!(plant.says(&["tag", "1", "--remove", "owner"], &[]), "version 1: ticket=ML 1/2\n");
    plant.says(&["trigger", "pause", "alarm"], &["alarm of wine: paused"]);
    plant.says(&["trigger", "resume", "alarm"], &["alarm of wine: on"]);
    plant.refuses(&["trigger", "pause", "moon"], &["not_found"]);
    plant.refuses(&["run", "cancel", "1", "--reason", "late"], &["conflict"]);
    plant.refuses(&["run", "retry", "1"], &["conflict"]);
    plant.refuses(&["run", "show", "99"], &["not_found"]);
    assert_eq!(
        plant.run(&["runs", "--limit", "1", "--json"]).expect(0).json()["items"].as_array().unwrap().len(),
        1
    );
}

fn the_end(plant: &Plant) {
    // The run that brought version 1 back to prod is over first.
    let watched = plant.run(&["run", "logs", "5", "--follow"]).expect(0);
    assert!(watched.stdout.contains("smoke-prod"), "{}", watched.stdout);
    plant.says(&["destroy", "--stage", "dev", "--dry-run"], &["would go", "endpoints dev", "what stays"]);
    plant.refuses(&["destroy"], &["say --yes"]);
    let ran = plant.run(&["destroy", "--stage", "dev", "--yes", "--export", "kept"]).expect(0);
    assert!(ran.stdout.starts_with("of the stage dev of wine went:"), "{}", ran.stdout);
    run(&plant.project, &["inspect", "kept/version-1.serin"]).expect(0);
    let endpoints = plant.run(&["endpoints", "--json"]).expect(0).json();
    assert_eq!(endpoints["items"].as_array().unwrap().len(), 1, "{endpoints}");
    plant.run(&["destroy", "--yes", "--export", "all"]).expect(0);
    assert!(plant.project.join("all/version-2.serin").is_file());
    plant.says(&["status"], &["no project yet"]);
}
