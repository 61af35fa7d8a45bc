//! Train, evaluate, predict and inspect: what they write, what they print, and what they refuse.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::{Value, json};
use serin_ml::dataset::{Dataset, ReadOptions, read};
use serin_ml::observer::Silent;

use super::process::{Ran, Running, example, run, serin};
use super::rows::{NAMES, animals};
use crate::report::page_reader::Page;

const TRAIN: [&str; 7] = ["train", "--data", "rows.csv", "--target", "animal", "--id-column", "id"];

/// A folder that the tests of a run share, new for each run.
fn shared_folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// The example, trained once: its folder, and what was printed.
fn digits() -> &'static (PathBuf, Ran) {
    static TRAINED: OnceLock<(PathBuf, Ran)> = OnceLock::new();
    TRAINED.get_or_init(|| {
        let folder = shared_folder("commands-digits");
        let config = example("serin.toml");
        let ran =
            run(&folder, &["train", "--config", config.to_str().unwrap(), "--trials", "3", "--threads", "2"]);
        (folder, ran.expect(0))
    })
}

/// Made-up rows and a model of them, trained once: the folder, and the digest.
pub(super) fn zoo() -> &'static (PathBuf, String) {
    static TRAINED: OnceLock<(PathBuf, String)> = OnceLock::new();
    TRAINED.get_or_init(|| {
        let folder = shared_folder("commands-animals");
        fs::write(folder.join("rows.csv"), animals(50, 1).csv()).unwrap();
        fs::write(folder.join("new.csv"), animals(40, 2).csv()).unwrap();
        let summary = run(&folder, &[&TRAIN[..], &["--trials", "9", "--threads", "1", "--json"]].concat())
            .expect(0)
            .json();
        assert_eq!((&summary["passed"], &summary["trials"]), (&json!(true), &json!(9)));
        (folder, summary["digest"].as_str().unwrap().to_owned())
    })
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The lines of a CSV text without quotes.
fn cells(csv: &str) -> Vec<Vec<&str>> {
    csv.lines().map(|line| line.split(',').collect()).collect()
}

#[test]
fn training_writes_four_files_and_says_how_it_went() {
    let (folder, ran) = digits();
    for wanted in
        ["rank", "macro-f1", "boosting", "majority", "gate passed", "rows held out", "out/model.serin"]
    {
        assert!(ran.stdout.contains(wanted), "{wanted}: {}", ran.stdout);
    }
    assert!(ran.stderr.contains("searching") && ran.stderr.contains("trial 3 of 3"), "{}", ran.stderr);
    let out = folder.join("out");
    let mut files: Vec<String> =
        fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    assert_eq!(files, ["evaluation.json", "leaderboard.json", "model.serin", "report.html"]);

    let evaluation = read_json(&out.join("evaluation.json"));
    let metrics = &evaluation["multiclass_classification_metrics"];
    assert!(metrics["accuracy"]["value"].as_f64().unwrap() > 0.9, "{metrics}");
    assert_eq!(metrics["confusion_matrix"].as_object().unwrap().len(), 10);
    assert_eq!(evaluation["dataset"]["item_count"], 360);
    assert_eq!(evaluation["serin_gates"]["passed"], true);
    let leaderboard = read_json(&out.join("leaderboard.json"));
    assert_eq!(leaderboard["leaderboard"]["rows"].as_array().unwrap().len(), 3);
    assert_eq!(leaderboard["trial_seconds"].as_array().unwrap().len(), 3);

    let page = Page::read(&fs::read_to_string(out.join("report.html")).unwrap());
    page.assert_harmless();
    for wanted in ["digits", "boosting", "pixel_", "passed"] {
        assert!(page.text.contains(wanted), "{wanted}");
    }
}

#[test]
fn threads_do_not_change_the_digest() {
    let (folder, digest) = zoo();
    let train = |words: &[&str]| {
        let ran = run(folder, &[&TRAIN[..], &["--trials", "9", "--json"], words].concat()).expect(0);
        ran.json()["digest"].as_str().unwrap().to_owned()
    };
    assert_eq!(&train(&["--threads", "2", "--out", "two"]), digest);
    assert_ne!(&train(&["--seed", "18", "--out", "other"]), digest);
}

#[test]
fn a_refused_gate_is_exit_code_3_with_its_reasons() {
    let (folder, _) = zoo();
    let gates =
        "[gates.min]\n\"macro-f1\" = 0.999\n[gates.per_class_floor]\nrecall = { \"*\" = 0.999, dog = 0.5 }\n";
    fs::write(folder.join("strict.toml"), gates).unwrap();
    let strict = ["--config", "strict.toml", "--trials", "2", "--out", "refused"];
    let ran = run(folder, &[&TRAIN[..], &strict].concat()).expect(3);
    for wanted in
        ["gate REFUSED", "min.macro-f1: macro-f1 is ", "below 0.999", "the model has no class `dog`"]
    {
        assert!(ran.stdout.contains(wanted), "{wanted}: {}", ran.stdout);
    }
    // Refused or not, what was made is there to be looked at.
    assert!(folder.join("refused/model.serin").is_file() && folder.join("refused/report.html").is_file());
    let summary = run(folder, &[&TRAIN[..], &strict, &["--json"]].concat()).expect(3).json();
    assert_eq!(summary["passed"], false);

    let evaluate = ["evaluate", "--model", "out/model.serin", "--data", "new.csv"];
    run(folder, &evaluate).expect(0);
    let refused = run(folder, &[&evaluate[..], &["--config", "strict.toml"]].concat()).expect(3);
    assert!(refused.stdout.contains("gate REFUSED"), "{}", refused.stdout);

    let challenge = ["--champion", "out/model.serin", "--trials", "2", "--out", "challenger"];
    let ran = run(folder, &[&TRAIN[..], &challenge].concat()).expect(3);
    assert!(ran.stdout.contains("champion: the challenger's macro-f1"), "{}", ran.stdout);
}

#[test]
fn an_evaluation_counts_what_predict_decides() {
    let (folder, _) = digits();
    let holdout = example("holdout.csv");
    let holdout = holdout.to_str().unwrap();
    let words = ["evaluate", "--model", "out/model.serin", "--data", holdout];
    let text = run(folder, &words).expect(0).stdout;
    for wanted in
        ["360 rows", "95% interval", "majority dummy", "macro-f1", "recall", "confusion", "gate passed"]
    {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    let document = run(folder, &[&words[..], &["--json"]].concat()).expect(0).json();

    let predict = ["predict", "--model", "out/model.serin", "--data", holdout];
    let ran = run(folder, &predict).expect(0);
    let truth = fs::read_to_string(holdout).unwrap();
    let (truth, predicted) = (cells(&truth), cells(&ran.stdout));
    assert_eq!((predicted.len(), &predicted[0]), (361, &vec!["class"]));
    let mut counts = json!({});
    for digit in 0..10 {
        let row = (0..10).map(|decided| (decided.to_string(), json!(0))).collect();
        counts[digit.to_string()] = Value::Object(row);
    }
    for (actual, decided) in truth.iter().zip(&predicted).skip(1) {
        let count = &mut counts[actual[0]][decided[0]];
        *count = json!(count.as_u64().unwrap() + 1);
    }
    assert_eq!(document["multiclass_classification_metrics"]["confusion_matrix"], counts);

    // The same rows held out in training gave the same numbers.
    let trained = read_json(&folder.join("out/evaluation.json"));
    let metrics = "multiclass_classification_metrics";
    assert_eq!(document[metrics]["accuracy"]["value"], trained[metrics]["accuracy"]["value"]);
}

#[test]
fn predictions_are_rows_in_order_however_they_come_and_go() {
    let (folder, _) = zoo();
    let rows = animals(40, 2);
    let predict = |data: &[&str], more: &[&str]| {
        let words = [&["predict", "--model", "out/model.serin", "--data"], data, more].concat();
        run(folder, &words).expect(0).stdout
    };
    let with_ids = ["--proba", "--id-column", "id"];
    let text = predict(&["new.csv"], &with_ids);
    let table = cells(&text);
    assert_eq!(table[0], ["id", "class", "p_ant", "p_bee", "p_cat"]);
    assert_eq!(table.len(), 121);
    let mut right = 0;
    for (row, line) in rows.rows.iter().zip(&table[1..]) {
        assert_eq!(line[0], row.id);
        right += usize::from(line[1] == NAMES[row.class]);
        let probabilities: Vec<f64> = line[2..].iter().map(|cell| cell.parse().unwrap()).collect();
        assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{line:?}");
    }
    assert!(right > 85, "{right} of 120");
    let plain: Vec<&str> = table.iter().map(|line| line[1]).collect();
    assert_eq!(predict(&["new.csv"], &[]).lines().collect::<Vec<_>>(), plain);

    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(rows.csv().as_bytes()).unwrap();
    fs::write(folder.join("new.csv.gz"), gzip.finish().unwrap()).unwrap();
    fs::create_dir_all(folder.join("parts")).unwrap();
    for (part, range) in [0..50, 50..51, 51..120].into_iter().enumerate() {
        fs::write(folder.join(format!("parts/{part}.csv")), rows.csv_of(range)).unwrap();
    }
    let listed = ["parts/0.csv", "parts/1.csv", "parts/2.csv"];
    for data in [&["new.csv.gz"][..], &["parts/*.csv"], &listed, &["parts/0.csv", "parts/[12].csv"]] {
        assert_eq!(predict(data, &with_ids), text, "{data:?}");
    }

    assert_eq!(predict(&["new.csv"], &[&with_ids[..], &["--out", "p.csv"]].concat()), "");
    assert_eq!(fs::read_to_string(folder.join("p.csv")).unwrap(), text);
    predict(&["new.csv"], &[&with_ids[..], &["--out", "p.parquet"]].concat());
    let parquet = read_predictions(&folder.join("p.parquet"));
    assert_eq!(parquet.schema.names().collect::<Vec<_>>(), ["p_ant", "p_bee", "p_cat"]);
    assert_eq!(parquet.ids.unwrap(), rows.rows.iter().map(|row| row.id.clone()).collect::<Vec<_>>());
    let labels = parquet.labels.unwrap();
    for (i, line) in table[1..].iter().enumerate() {
        assert_eq!(labels.classes[labels.codes[i] as usize], line[1]);
        for (column, cell) in parquet.columns.iter().zip(&line[2..]) {
            assert_eq!(column[i].to_bits(), cell.parse::<f64>().unwrap().to_bits());
        }
    }
    let half_written = fs::read_dir(folder).unwrap().filter(|entry| {
        entry.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "tmp")
    });
    assert_eq!(half_written.count(), 0);
    let wrong =
        run(folder, &["predict", "--model", "out/model.serin", "--data", "new.csv", "--out", "p.xlsx"])
            .expect(1);
    assert!(wrong.stderr.contains("p.xlsx: call the output .csv or .parquet"), "{}", wrong.stderr);
    let words = ["predict", "--model", "out/model.serin", "--data", "new.csv", "--proba"];
    let unread = Running::start_unread(&mut serin(folder, &words)).end();
    assert!(!unread.stderr.contains("panicked") && unread.code == Some(0), "{unread:?}");
}

fn read_predictions(path: &Path) -> Dataset {
    let options =
        ReadOptions { target: Some("class".to_owned()), id: Some("id".to_owned()), ..ReadOptions::default() };
    read(&[path.to_owned()], &options, &Silent).unwrap().dataset
}

/// What means "missing" in training means it in predictions too.
#[test]
fn missing_tokens_go_with_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let mut rows = animals(30, 3);
    rows.rows.iter_mut().step_by(4).for_each(|row| row.values[1] = "-999".to_owned());
    fs::write(at.join("rows.csv"), rows.csv()).unwrap();
    fs::write(at.join("dashes.csv"), rows.csv().replace("-999", "unknown")).unwrap();
    fs::write(at.join("empty.csv"), rows.csv().replace("-999", "")).unwrap();
    fs::write(at.join("c.toml"), "[data]\nmissing = [\"-999\", \"unknown\", \"\"]\n").unwrap();
    run(at, &[&TRAIN[..], &["--config", "c.toml", "--trials", "2"]].concat()).expect(0);
    let predict = |data| {
        run(at, &["predict", "--model", "out/model.serin", "--proba", "--data", data]).expect(0).stdout
    };
    let wanted = predict("empty.csv");
    assert_eq!(predict("rows.csv"), wanted);
    assert_eq!(predict("dashes.csv"), wanted);
}

#[test]
fn a_model_can_be_looked_into() {
    let (folder, digest) = zoo();
    let text = run(folder, &["inspect", "out/model.serin"]).expect(0).stdout;
    for wanted in
        [digest.as_str(), "ant, bee, cat", "macro-f1", "seed         17, 9 trials", "golden rows", "length"]
    {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    let document = run(folder, &["inspect", "out/model.serin", "--json"]).expect(0).json();
    assert_eq!(document["digest"], digest.as_str());
    assert_eq!(document["card"]["classes"], json!(NAMES));
    let names: Vec<&str> =
        document["card"]["schema"]["fields"].as_array().unwrap().iter().map(name_of).collect();
    assert_eq!(names, ["length", "height", "speed", "age"]);
    let shares: f64 =
        document["members"].as_array().unwrap().iter().map(|m| m["weight"].as_f64().unwrap()).sum();
    assert!((shares - 1.0).abs() < 1e-9);
    assert_eq!(document["leaderboard"]["rows"].as_array().unwrap().len(), 9);
    let labels = document["leaderboard"]["rows"].as_array().unwrap().iter();
    let labels: Vec<&str> = labels.map(|row| row["candidate"]["label"].as_str().unwrap()).collect();
    assert!(labels.contains(&"majority") && labels.contains(&"reference"), "{labels:?}");
    assert!(document["note"]["seconds"].as_array().is_some_and(|phases| !phases.is_empty()));
}

fn name_of(field: &Value) -> &str {
    field["name"].as_str().unwrap()
}

/// What is wrong, where, and what to do: each failure is exit code 1 and one line.
#[test]
fn a_failure_names_what_and_where() {
    let (folder, _) = zoo();
    let text = animals(10, 4).csv();
    let mut model = fs::read(folder.join("out/model.serin")).unwrap();
    fs::write(folder.join("cut.serin"), &model[..model.len() / 2]).unwrap();
    let middle = model.len() / 2;
    model[middle] ^= 0x10;
    fs::write(folder.join("damaged.serin"), &model).unwrap();
    let files = [
        ("renamed.csv", text.replace("height", "hight")),
        ("words.csv", text.replacen(",cat,", ",cat,tall", 1)),
        ("dog.csv", text.replacen("bee", "dog", 1)),
        ("rare.csv", text.replace("cat", "bee").replacen("bee", "cat", 2)),
        ("short.csv", text.lines().take(3).collect::<Vec<_>>().join("\n")),
        ("unlabelled.csv", text.replace("animal", "beast")),
        ("fish.serin", "glub".to_owned()),
    ];
    for (name, text) in files {
        fs::write(folder.join(name), text).unwrap();
    }
    let (model, data) = ("--model", "--data");
    let good = "out/model.serin";
    let train = ["train", "--target", "animal", "--ignore", "id", "--trials", "2", "--out", "none"];
    let cases: [(Vec<&str>, &[&str]); 15] = [
        (vec!["predict", model, good, data, "absent.csv"], &["absent.csv: no such file"]),
        (vec!["predict", model, good, data, "absent*.csv"], &["absent*.csv: no file matches"]),
        (
            vec!["predict", model, "absent.serin", data, "new.csv"],
            &["absent.serin: not usable as a model", "No such file"],
        ),
        (vec!["inspect", "fish.serin"], &["fish.serin: not usable as a model", "an unknown kind of file"]),
        (vec!["inspect", "cut.serin"], &["cut.serin: not usable", "ends early"]),
        (vec!["inspect", "damaged.serin"], &["damaged.serin: not usable", "is damaged"]),
        (vec!["serve", "damaged.serin"], &["damaged.serin: not usable"]),
        (vec!["predict", model, good, data, "renamed.csv"], &["renamed.csv", "height"]),
        (vec!["predict", model, good, data, "words.csv"], &["words.csv", "row 3", "length", "tall"]),
        (vec!["evaluate", model, good, data, "dog.csv"], &["dog.csv", "dog", "animal"]),
        (vec!["evaluate", model, good, data, "unlabelled.csv"], &["animal", "unlabelled.csv"]),
        ([&train[..], &[data, "rare.csv"]].concat(), &["cat", "5 folds"]),
        ([&train[..], &[data, "short.csv"]].concat(), &["2 rows"]),
        (vec!["train", data, "rows.csv"], &["no target column is named: give --target"]),
        (vec!["train", "--target", "animal"], &["no training rows are named: give --data"]),
    ];
    for (words, wanted) in cases {
        let ran = run(folder, &words).expect(1);
        let last = ran.stderr.lines().last().unwrap();
        assert!(last.starts_with("serin: "), "{words:?}: {}", ran.stderr);
        assert!(wanted.iter().all(|wanted| last.contains(wanted)), "{words:?} should say {wanted:?}: {last}");
        assert!(ran.stdout.lines().count() <= 1, "{words:?}: {}", ran.stdout);
    }
    assert!(!folder.join("none").exists(), "nothing is written when nothing was trained");
}
