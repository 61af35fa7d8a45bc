//! The program as a process: exit codes, what goes where, and what a message says.

mod baseline;
mod foreign;
mod modelling;
pub mod process;
mod rows;
mod scaling;
mod serving;
mod story;

use std::collections::BTreeSet;
use std::fs;

use self::process::{Running, run, serin};
use self::rows::animals;

const SUBCOMMANDS: [&[&str]; 88] = [
    &[],
    &["demo"],
    &["data"],
    &["export"],
    &["export", "prometheus-rules"],
    &["export", "grafana"],
    &["data", "check"],
    &["train"],
    &["evaluate"],
    &["import"],
    &["predict"],
    &["inspect"],
    &["baseline"],
    &["baseline", "show"],
    &["baseline", "export"],
    &["serve"],
    &["gateway"],
    &["up"],
    &["control"],
    &["init"],
    &["status"],
    &["run"],
    &["run", "show"],
    &["run", "logs"],
    &["run", "cancel"],
    &["run", "retry"],
    &["runs"],
    &["approvals"],
    &["approval"],
    &["approval", "show"],
    &["approve"],
    &["reject"],
    &["versions"],
    &["version"],
    &["version", "show"],
    &["version", "approve"],
    &["version", "reject"],
    &["alias"],
    &["tag"],
    &["compare"],
    &["endpoints"],
    &["deployments"],
    &["deploy"],
    &["rollback"],
    &["replicas"],
    &["replica"],
    &["replica", "drain"],
    &["scale"],
    &["autoscale"],
    &["autoscale", "status"],
    &["autoscale", "history"],
    &["autoscale", "explain"],
    &["lineage"],
    &["who-served"],
    &["trigger"],
    &["trigger", "list"],
    &["trigger", "pause"],
    &["trigger", "resume"],
    &["events"],
    &["decisions"],
    &["explain"],
    &["explain", "decision"],
    &["replay"],
    &["replay", "decision"],
    &["experiments"],
    &["experiments", "compare"],
    &["destroy"],
    &["simulate"],
    &["simulate", "rollout"],
    &["simulate", "scaling"],
    &["query"],
    &["capture"],
    &["capture", "status"],
    &["capture", "export"],
    &["capture", "delete"],
    &["labels"],
    &["labels", "import"],
    &["config"],
    &["config", "show"],
    &["config", "check"],
    &["local"],
    &["local", "train"],
    &["local", "process"],
    &["local", "serve"],
    &["image"],
    &["image", "build"],
    &["image", "load"],
    &["completions"],
];

#[test]
fn every_command_has_help() {
    let folder = tempfile::tempdir().unwrap();
    for words in SUBCOMMANDS {
        for flag in ["--help", "-h"] {
            let ran = run(folder.path(), &[words, &[flag]].concat()).expect(0);
            assert!(ran.stdout.contains("Usage: serin"), "{words:?}: {}", ran.stdout);
            assert!(ran.stderr.is_empty(), "{words:?}: {}", ran.stderr);
        }
    }
    for words in [
        &["train"][..],
        &["evaluate"],
        &["import"],
        &["predict"],
        &["serve"],
        &["demo"],
        &["data", "check"],
        &["baseline", "show"],
        &["baseline", "export"],
    ] {
        let help = run(folder.path(), &[words, &["--help"]].concat()).stdout;
        assert!(help.contains("Example"), "{words:?}: {help}");
    }
    let version = run(folder.path(), &["--version"]).expect(0);
    assert_eq!(version.stdout, format!("serin {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [(&[&str], &str); 18] = [
        (&["tarin"], "train"),
        (&["baseline", "show"], "--model"),
        (&["baseline", "show", "--model", "m.serin", "--data", "x.csv"], "cannot be used with"),
        (&["train", "--trails", "3"], "--trials"),
        (&["train", "--trials", "three"], "--trials"),
        (&["train", "--trials", "3", "--budget", "9s"], "cannot be used with"),
        (&["evaluate", "--data", "x.csv"], "--model"),
        (&["predict", "--model", "m.serin"], "--data"),
        (&["serve"], "MODEL"),
        (&["demo", "--data", "x.csv"], "--target"),
        (&["completions", "tcl"], "bash"),
        (&["local", "train", "--data", "x.csv"], "--image <IMAGE>"),
        (&["local", "train", "--image", "x"], "--data"),
        (&["local", "serve", "--image", "-v", "--model", "."], "--image"),
        (&["local", "process", "--data", "x", "--network", "--command", "x"], "--image"),
        (&["local", "train", "--data", "x", "--image", "x", "--memory", "1"], "at least 16MiB"),
        (&["local", "train", "--data", "x", "--image", "x", "--hyperparameters", "x"], "as in rounds=20"),
        (&["image", "build", "--from", "x"], "--tag"),
    ];
    for (words, wanted) in cases {
        let ran = run(folder.path(), words).expect(2);
        assert!(ran.stderr.contains(wanted) && ran.stdout.is_empty(), "{words:?}: {}", ran.stderr);
    }
}

#[test]
fn the_default_settings_that_are_shown_are_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let shown = run(folder.path(), &["config", "show"]).expect(0);
    fs::write(folder.path().join("serin.toml"), &shown.stdout).unwrap();
    assert_eq!(run(folder.path(), &["config", "check"]).expect(0).stdout, "serin.toml: fine\n");
    assert!(shown.stderr.is_empty());
}

#[test]
fn wrong_settings_are_exit_code_78_with_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::write(at.join("bad.toml"), "[train]\n\nfolds = 1\n").unwrap();
    fs::write(at.join("odd.toml"), "[train]\nbudgit = \"1s\"\n").unwrap();
    fs::write(at.join("rows.csv"), animals(30, 1).csv()).unwrap();
    let train = ["train", "--data", "rows.csv", "--target", "animal"];
    let cases: [(&[&str], &[&str]); 8] = [
        (&["config", "check", "bad.toml"], &["bad.toml:3: train.folds: is 1; give a value from 2 to 50"]),
        (&["config", "check", "odd.toml"], &["odd.toml:2: unknown key `budgit`: did you mean `budget`?"]),
        (&["config", "check", "absent.toml"], &["absent.toml: cannot be read: No such file"]),
        (&["train", "--config", "bad.toml"], &["bad.toml:3: train.folds"]),
        (&[&train[..], &["--folds", "1"]].concat(), &["serin: --folds: train.folds: is 1"]),
        (&[&train[..], &["--folds=-1"]].concat(), &["serin: --folds: train.folds"]),
        (&[&train[..], &["--metric", "f1"]].concat(), &["serin: --metric: train.metric", "macro-f1"]),
        (&["serve", "m.serin", "--config", "odd.toml"], &["odd.toml:2"]),
    ];
    for (words, wanted) in cases {
        let ran = run(at, words).expect(78);
        assert!(wanted.iter().all(|wanted| ran.stderr.contains(wanted)), "{words:?}: {}", ran.stderr);
        assert!(ran.stdout.is_empty() && ran.stderr.lines().count() == 1, "{words:?}: {}", ran.stderr);
    }
    let by_variable = Running::start(serin(at, &train).env("SERIN_TRAIN_BUDGET", "soon")).end().expect(78);
    assert!(
        by_variable.stderr.contains("environment variable SERIN_TRAIN_BUDGET: train.budget"),
        "{by_variable:?}"
    );
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    for words in [
        &["config", "show"][..],
        &["completions", "bash"],
        &["completions", "zsh"],
        &["--help"],
        &["--version"],
    ] {
        let ran = Running::start_unread(&mut serin(folder.path(), words)).end().expect(0);
        assert!(ran.stderr.is_empty(), "{words:?}: {}", ran.stderr);
    }
    for shell in ["bash", "zsh", "fish"] {
        let script = run(folder.path(), &["completions", shell]).expect(0).stdout;
        assert!(script.len() > 1_000 && script.contains("serin") && script.contains("evaluate"), "{shell}");
    }
}

#[test]
fn data_checks_tell_what_is_odd_and_refuse_leaks() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let rows = animals(60, 1);
    fs::write(at.join("rows.csv"), rows.csv()).unwrap();
    fs::write(at.join("leak.csv"), rows.with_column("code", |row| row.class.to_string()).csv()).unwrap();
    let check = ["data", "check", "--target", "animal", "--ignore", "id", "--data"];

    let fine = run(at, &[&check[..], &["rows.csv"]].concat()).expect(0);
    for wanted in ["180 rows", "length", "number", "cat", "33.3%"] {
        assert!(fine.stdout.contains(wanted), "{wanted}: {}", fine.stdout);
    }
    let leak = run(at, &[&check[..], &["leak.csv"]].concat()).expect(3);
    assert!(
        leak.stdout.contains("error   leakage_suspected") && leak.stdout.contains("[code]"),
        "{}",
        leak.stdout
    );
    let leak = run(at, &[&check[..], &["leak.csv", "--json"]].concat()).expect(3).json();
    let first = &leak["check"]["findings"][0];
    assert_eq!((&first["code"], &first["severity"]), (&"leakage_suspected".into(), &"error".into()));
    assert_eq!(first["columns"], serde_json::json!(["code"]));
    assert_eq!(leak["schema"]["fields"].as_array().unwrap().len(), 5);

    let overlap = run(at, &[&check[..], &["rows.csv", "--test", "rows.csv"]].concat()).expect(3);
    assert!(overlap.stdout.contains("error   overlap"), "{}", overlap.stdout);
    // A column that a person has looked at is let pass, as the gate lets it pass.
    fs::write(at.join("waived.toml"), "[gates]\nallow_leakage = [\"code\"]\n").unwrap();
    run(at, &[&check[..], &["leak.csv", "--config", "waived.toml"]].concat()).expect(0);

    let nothing = run(at, &["data", "check"]).expect(1);
    assert_eq!(nothing.stderr, "serin: no rows are named: give --data or `data.train` in serin.toml\n");
}

#[test]
fn rules_and_dashboard_ask_for_metrics_that_are_there() {
    let documented = include_str!("../../../../docs/operations.md");
    let folder = tempfile::tempdir().unwrap();
    for (what, names_least) in [("prometheus-rules", 15), ("grafana", 20)] {
        let printed = run(folder.path(), &["export", what]).expect(0);
        let written = run(folder.path(), &["export", what, "--out", "file"]).expect(0);
        assert_eq!(written.stdout, "");
        assert_eq!(fs::read_to_string(folder.path().join("file")).unwrap(), printed.stdout);

        let text = printed.stdout.as_str();
        let names: BTreeSet<&str> = text
            .match_indices("serin_")
            .map(|(at, _)| text[at..].split(|c: char| c != '_' && !c.is_ascii_alphanumeric()).next().unwrap())
            .map(|name| ["_bucket", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name))
            .collect();
        assert!(names.len() >= names_least, "{names:?}");
        for name in names {
            assert!(documented.contains(&format!("| `{name}` |")), "{what}: {name}");
        }
        assert!(!text.contains("prod-"), "advice is of no stage");
    }
}
