//! Ctrl-C while training, and the demonstration from its first line to its last.

use std::fs;
use std::path::Path;

use rusqlite::Connection;

use super::process::{Running, run, serin};
use super::rows::animals;

#[test]
fn ctrl_c_keeps_the_best_so_far() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::write(at.join("rows.csv"), animals(40, 1).csv()).unwrap();
    let words = ["train", "--data", "rows.csv", "--target", "animal", "--ignore", "id", "--budget", "1h"];
    let mut training = Running::start(&mut serin(at, &words));
    // The first line about trials comes when some have been judged.
    training.wait_for("search: trial");
    training.interrupt();
    let ran = training.end().expect(0);
    assert!(ran.stderr.contains("stopping: "), "{}", ran.stderr);
    assert!(
        ran.stderr.ends_with("interrupted: this is the best of the trials made so far\n"),
        "{}",
        ran.stderr
    );
    assert!(ran.stdout.contains("gate passed") && ran.stdout.contains("out/model.serin"), "{}", ran.stdout);
    let inside = run(at, &["inspect", "out/model.serin"]).expect(0).stdout;
    assert!(inside.contains("ended by interrupted"), "{inside}");
    let predicted =
        run(at, &["predict", "--model", "out/model.serin", "--data", "rows.csv"]).expect(0).stdout;
    assert_eq!(predicted.lines().count(), 121);
}

#[test]
fn the_demonstration_tells_the_whole_story() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let ran = run(at, &["demo", "--budget", "6s", "--dir", "d"]).expect(0);
    let mut rest = ran.stdout.as_str();
    for wanted in [
        "1. A project in a git repository",
        "2. Check the data",
        "3. The pipeline",
        "train ",
        "gate ",
        "deploy-dev",
        "smoke-dev",
        "4. A person decides",
        "macro-f1",
        "deploy-prod",
        "smoke-prod",
        "5. Production answers real requests",
        "200 requests",
        "6. The load rises",
        "is served by 2 replicas, each a process",
        "kill -9 of prod-v1-",
        "requests from 8 callers, 0 of them failed",
        "7. A new version takes over, step by step",
        "answers beside the other one, and nobody sees it",
        "version 2 gets 20 % of the requests",
        "version 2 took over; version 1 stays warm",
        "8. A version that is broken",
        "back to version 2: ",
        "0 of them failed",
        "9. Something upstream changes",
        "alarm prod-",
        "(`serin explain decision ",
        "captured ones",
        "10. Every answer is a row in a SQL database",
        "select endpoint",
        "11. Summary",
        "in production",
        "one killed: 0 of ",
        "version 2 took over",
        "version 3 was sent back: ",
        "drift raised an alarm, which retrained: run 4 waits for a person",
        "drained cleanly",
        "what to type next",
        "serin demo --data your.csv --target your_column",
    ] {
        let place = rest
            .find(wanted)
            .unwrap_or_else(|| panic!("{wanted} is not there, or too early:\n{}", ran.stdout));
        rest = &rest[place..];
    }
    for file in ["serin.toml", "train.csv", "holdout.csv", "README.md", "out/model.serin", "out/report.html"]
    {
        assert!(at.join("d").join(file).is_file(), "{file}");
    }
    assert!(answers(&at.join("d")) > 1_000);
    // What it says to type works.
    run(at, &["config", "check", "d/serin.toml"]).expect(0);
    run(at, &["inspect", "d/out/model.serin"]).expect(0);
}

#[test]
fn the_demonstration_takes_other_rows_and_spares_other_folders() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let text = animals(40, 1).csv();
    let without_ids: Vec<&str> = text.lines().filter_map(|line| Some(line.split_once(',')?.1)).collect();
    fs::write(at.join("animals.csv"), without_ids.join("\n")).unwrap();
    fs::create_dir(at.join("mine")).unwrap();
    fs::write(at.join("mine/notes.txt"), "precious").unwrap();
    let go = |dir: &str| {
        run(at, &["demo", "--data", "animals.csv", "--target", "animal", "--budget", "2s", "--dir", dir])
    };

    let refused = go("mine").expect(1);
    assert!(
        refused.stderr.contains("mine: exists and was not made by a demonstration"),
        "{}",
        refused.stderr
    );
    assert!(refused.stderr.contains("--dir"), "{}", refused.stderr);
    let file = go("animals.csv").expect(1);
    assert!(file.stderr.contains("animals.csv"), "{}", file.stderr);
    assert_eq!(fs::read_dir(at.join("mine")).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(at.join("mine/notes.txt")).unwrap(), "precious");

    // A folder of an earlier demonstration is replaced.
    for _ in 0..2 {
        let ran = go("d").expect(0);
        assert!(
            ran.stdout.contains("animals.csv") && ran.stdout.contains("what to type next"),
            "{}",
            ran.stdout
        );
        assert!(answers(&at.join("d")) >= 120);
    }
    let absent = run(at, &["demo", "--data", "absent.csv", "--target", "animal", "--dir", "e"]).expect(1);
    assert!(absent.stderr.contains("absent.csv: no such file"), "{}", absent.stderr);
    assert!(!at.join("e").join("serin.toml").exists());
}

/// Rows in the inference table of a demonstration.
fn answers(folder: &Path) -> i64 {
    let table = Connection::open(folder.join("serin-data/inferences.db")).unwrap();
    let sql =
        "SELECT count(*) FROM inferences WHERE status = 200 AND endpoint = 'prod' AND id NOT LIKE 'smoke-%'";
    table.query_row(sql, [], |row| row.get(0)).unwrap()
}
