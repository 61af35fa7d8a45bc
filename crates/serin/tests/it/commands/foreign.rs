//! Models that other programs trained: imported, inspected, asked.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::process::run;

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../serin-ml/tests/data/foreign")
}

/// A file with the rows of a case, which name their features, and what is expected of them.
fn write_golden(case: &str, file: &Path, changed: bool) {
    let text = fs::read_to_string(data().join("foreign.json")).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let case = document["cases"].as_array().unwrap().iter().find(|one| one["name"] == case).unwrap();
    let texts = |row: &Value| -> Vec<String> {
        row.as_array().unwrap().iter().map(|value| value.as_str().unwrap().to_owned()).collect()
    };
    let (rows, expected) = (case["rows"].as_array().unwrap(), case["probabilities"].as_array().unwrap());
    let columns: Vec<String> =
        (0..rows[0].as_array().unwrap().len()).map(|i| format!("Column_{i}")).collect();
    let mut lines = vec![format!("p_a,p_b,p_c,{}", columns.join(","))];
    for (row, expected) in rows.iter().zip(expected) {
        let (row, mut expected) = (texts(row), texts(expected));
        // A table holds no infinities.
        if row.iter().any(|value| value.contains("inf")) {
            continue;
        }
        if changed {
            expected[0] = "0.9999".to_owned();
        }
        let row: Vec<String> = row.into_iter().map(|value| value.replace("nan", "")).collect();
        lines.push(format!("{},{}", expected.join(","), row.join(",")));
    }
    fs::write(file, lines.join("\n")).unwrap();
}

#[test]
fn a_model_is_imported_checked_inspected_and_asked() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let model = data().join("lightgbm-no-missing.txt");
    let model = model.to_str().unwrap();
    write_golden("lightgbm-no-missing", &at.join("golden.csv"), false);
    write_golden("lightgbm-no-missing", &at.join("wrong.csv"), true);
    let import = ["import", model, "--out", "wine.serin", "--classes", "a,b,c"];

    let refused = run(at, &[&import[..], &["--golden", "wrong.csv"]].concat()).expect(1);
    assert!(refused.stderr.contains("golden_mismatch"), "{}", refused.stderr);
    assert!(refused.stdout.is_empty() && !at.join("wine.serin").exists());

    let options = ["--golden", "golden.csv", "--name", "wine", "--format", "lightgbm"];
    let imported = run(at, &[&import[..], &options].concat()).expect(0);
    assert!(imported.stderr.contains("wine, 13 features, 3 classes, answers"), "{}", imported.stderr);
    assert_eq!(imported.stdout.trim().len(), 64, "the digest: {}", imported.stdout);
    let inspected = run(at, &["inspect", "wine.serin"]).expect(0);
    for wanted in
        [imported.stdout.trim(), "LightGBM text", "classes      a, b, c", "rows answered as its trainer does"]
    {
        assert!(inspected.stdout.contains(wanted), "{wanted}: {}", inspected.stdout);
    }

    // The bundle and the file give the same answers, which are those expected.
    let predict = ["predict", "--data", "golden.csv", "--proba", "--model"];
    let of_bundle = run(at, &[&predict[..], &["wine.serin"]].concat()).expect(0);
    let of_file = run(at, &[&predict[..], &[model, "--classes", "a,b,c"]].concat()).expect(0);
    assert_eq!(of_bundle.stdout, of_file.stdout);
    let golden = fs::read_to_string(at.join("golden.csv")).unwrap();
    assert!(golden.lines().count() > 10);
    assert_eq!(of_bundle.stdout.lines().count(), golden.lines().count());
    for (found, expected) in of_bundle.stdout.lines().zip(golden.lines()).skip(1) {
        let numbers = |line: &str, from: usize| -> Vec<f64> {
            line.split(',').skip(from).take(3).map(|number| number.parse().unwrap()).collect()
        };
        let pairs = numbers(found, 1).into_iter().zip(numbers(expected, 0));
        assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() <= 1e-6), "{found} and {expected}");
    }
}

#[test]
fn without_golden_rows_a_model_is_unverified() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for (file, kind) in [("xgboost-binary.json", "XGBoost JSON"), ("xgboost-softprob.ubj", "XGBoost UBJSON")]
    {
        let model = data().join(file);
        let model = model.to_str().unwrap();
        let inspected = run(at, &["inspect", model]).expect(0).stdout;
        assert!(inspected.contains("unverified") && inspected.contains(kind), "{inspected}");
        let imported = run(at, &["import", model, "--out", "m.serin", "--format", "xgboost"]).expect(0);
        assert!(imported.stderr.contains("unverified: no golden rows"), "{}", imported.stderr);
    }
    let model = data().join("xgboost-binary.json");
    let model = model.to_str().unwrap();
    fs::write(at.join("m.pkl.json"), b"\x80\x04\x95").unwrap();
    let import = ["import", "--out", "x.serin"];
    for (words, wanted) in [
        (&[model, "--format", "lightgbm"][..], "this is XGBoost JSON, not what --format says"),
        (&[model, "--classes", "a,b,c"], "3 class names for a model of 2 classes"),
        (&["m.pkl.json"], "m.pkl.json: not usable as a model: a Python pickle"),
        (&["absent.txt"], "absent.txt: not usable as a model"),
        (&["m.serin"], "a Serin bundle"),
    ] {
        let ran = run(at, &[&import[..], words].concat()).expect(1);
        assert!(ran.stderr.contains(wanted), "{words:?}: {}", ran.stderr);
        assert!(!at.join("x.serin").exists());
    }
    let named = run(at, &["predict", "--model", "m.serin", "--data", "x.csv", "--classes", "a,b"]).expect(1);
    assert!(named.stderr.contains("a bundle knows its classes"), "{}", named.stderr);
}
