//! What rows looked like, shown and exported: of a file, of a bundle, and of a model that does not know.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use serin_ml::model_monitor::{Constraints, InferredType};
use serin_ml::profile::DatasetProfile;

use super::modelling::zoo;
use super::process::run;

/// Five rows: a whole number, a fraction with a gap, a constant, a column without values.
const ROWS: &str = "kind,legs,length,sun,none\na,2,0.5,1,\nb,4,,1,\na,2,1.5,1,\nb,6,2.5,1,\na,2,3.5,1,\n";

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn rows_are_shown_as_a_table_and_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::write(at.join("rows.csv"), ROWS).unwrap();
    let show = ["baseline", "show", "--data", "rows.csv", "--target", "kind"];

    let shown = run(at, &show).expect(0).stdout;
    let cells: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(shown.lines().next(), Some("5 rows, 4 features"));
    let line = |name: &str| cells.iter().find(|line| line.first() == Some(&name)).unwrap().clone();
    assert_eq!(line("legs"), ["legs", "integral", "100.0%", "3.2", "2", "2", "2", "2", "4", "6", "6"]);
    assert_eq!(
        line("length"),
        ["length", "fractional", "80.0%", "2", "0.5", "0.5", "0.5", "1.5", "2.5", "3.5", "3.5"]
    );
    assert_eq!(line("sun")[..4], ["sun", "integral", "100.0%", "1"]);
    assert_eq!(line("none"), ["none", "unknown", "0.0%", "-", "-", "-", "-", "-", "-", "-", "-"]);

    let shown = run(at, &[&show[..], &["--json"]].concat()).expect(0).json();
    assert_eq!((&shown["rows"], shown["features"].as_array().unwrap().len()), (&json!(5), 4));
    let length = &shown["features"][1];
    assert_eq!((&length["type"], &length["completeness"]), (&json!("Fractional"), &json!(0.8)));
    assert_eq!((&length["mean"], &length["missing"]), (&json!(2.0), &json!(1)));
    assert_eq!(length["standard_deviation"], json!(1.25_f64.sqrt()));
    assert_eq!(length["quantiles"]["0.5"], json!(1.5));
    assert_eq!(shown["features"][3]["mean"], Value::Null);
}

#[test]
fn rows_are_exported_for_sagemaker_and_for_merging() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::write(at.join("rows.csv"), ROWS).unwrap();
    let export = ["baseline", "export", "--data", "rows.csv", "--target", "kind", "--out", "new/folder"];

    let written = run(at, &[&export[..], &["--format", "sagemaker"]].concat()).expect(0);
    assert_eq!(written.stdout, "new/folder/statistics.json\nnew/folder/constraints.json\n");
    let statistics = read_json(&at.join("new/folder/statistics.json"));
    let names: Vec<&str> =
        statistics["features"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(
        (names, &statistics["dataset"]["item_count"]),
        (vec!["legs", "length", "sun", "none"], &json!(5))
    );
    let common = &statistics["features"][1]["numerical_statistics"]["common"];
    assert_eq!(common, &json!({ "num_present": 4, "num_missing": 1 }));
    let text = fs::read_to_string(at.join("new/folder/constraints.json")).unwrap();
    assert!(
        text.starts_with("{\n  \"version\" : 0.0,\n  \"features\" : [ {\n    \"name\" : \"legs\","),
        "{text}"
    );
    let constraints = Constraints::parse(&text).unwrap();
    assert_eq!(constraints.features[0].inferred_type, InferredType::Integral);

    // Again, over what is there; the profile is the whole of it.
    run(at, &[&export[..], &["--format", "sagemaker"]].concat()).expect(0);
    let written = run(at, &[&export[..], &["--format", "profile"]].concat()).expect(0);
    assert_eq!(written.stdout, "new/folder/profile.json\n");
    let profile: DatasetProfile =
        serde_json::from_slice(&fs::read(at.join("new/folder/profile.json")).unwrap()).unwrap();
    let mut twice = profile.clone();
    twice.merge(&profile).unwrap();
    assert_eq!((profile.rows, twice.rows), (5, 10));
    assert_eq!(Constraints::suggest(&profile), constraints);
}

#[test]
fn a_bundle_knows_its_baseline() {
    let (folder, _) = zoo();
    let shown = run(folder, &["baseline", "show", "--model", "out/model.serin"]).expect(0).stdout;
    for wanted in ["length", "height", "speed", "age", "fractional", "100.0%"] {
        assert!(shown.contains(wanted), "{wanted}: {shown}");
    }
    let export = ["baseline", "export", "--model", "out/model.serin", "--format", "sagemaker"];
    run(folder, &[&export[..], &["--out", "baseline"]].concat()).expect(0);
    let statistics = read_json(&folder.join("baseline/statistics.json"));
    let card = run(folder, &["inspect", "out/model.serin", "--json"]).expect(0).json();
    assert_eq!(statistics["features"].as_array().unwrap().len(), 4);
    let rows = statistics["dataset"]["item_count"].as_u64().unwrap();
    assert!(rows > 0 && rows <= card["card"]["lineage"]["train_rows"].as_u64().unwrap(), "{rows}");

    let odd = run(folder, &[&export[..], &["--out", "baseline", "--target", "animal"]].concat()).expect(1);
    assert!(odd.stderr.contains("a model knows its own"), "{}", odd.stderr);
    let taken = run(folder, &[&export[..], &["--out", "rows.csv"]].concat()).expect(1);
    assert!(
        taken.stderr.contains("rows.csv: not written: it is there, and not a folder"),
        "{}",
        taken.stderr
    );
}

#[test]
fn a_model_of_another_program_has_none_and_the_message_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../serin-ml/tests/data/foreign");
    let model = data.join("lightgbm-no-missing.txt");
    let model = model.to_str().unwrap();
    let ran = run(folder.path(), &["baseline", "show", "--model", model]).expect(1);
    for wanted in ["has no baseline", "another program (LightGBM", "--data", "--target"] {
        assert!(ran.stderr.contains(wanted), "{wanted}: {}", ran.stderr);
    }
    assert!(ran.stdout.is_empty());
    let export = ["baseline", "export", "--model", model, "--format", "profile", "--out", "out"];
    run(folder.path(), &export).expect(1);
    assert!(!folder.path().join("out").exists(), "nothing is made for nothing");
}
