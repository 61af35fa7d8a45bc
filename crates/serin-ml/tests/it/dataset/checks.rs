//! Checks: what would spoil learning is found, and clean data is left alone.

use rand::RngExt as _;
use serin_ml::dataset::{CheckOptions, DataCheck, Dataset, Finding, ReadOptions, Severity, check, read};
use serin_ml::observer::Silent;
use serin_ml::seed::Seed;

use super::{options, read_bytes};
use crate::reference::reference;

/// 300 rows of ten noisy features and three classes, with one more column `x` and some text of the caller.
fn table(x: impl Fn(usize, usize) -> String) -> Dataset {
    let mut rng = Seed(7).rng();
    let mut text: String = (0..10).map(|i| format!("c{i},")).collect::<String>() + "x,y\n";
    for row in 0..300 {
        let class = row % 3;
        for column in 0..10 {
            let noise: f64 = rng.random();
            text.push_str(&format!("{},", noise * 2.0 + if column == 0 { class as f64 } else { 0.0 }));
        }
        text.push_str(&format!("{},{class}\n", x(row, class)));
    }
    read_bytes(text.as_bytes(), &options()).unwrap().dataset
}

fn noise(row: usize) -> String {
    Seed(9).nth(row).rng().random::<f64>().to_string()
}

fn about<'a>(found: &'a DataCheck, code: &str) -> Option<&'a Finding> {
    found.findings.iter().find(|finding| finding.code == code)
}

#[test]
fn clean_data_has_no_findings() {
    let data = table(|row, _| noise(row));
    let found = check(&data, None, &CheckOptions::default());
    assert_eq!(found.findings, [], "{found:?}");
}

#[test]
fn a_column_that_determines_the_class_is_an_error_unless_waived() {
    type Leak = fn(usize, usize) -> String;
    let leaks: [(&str, Leak); 4] = [
        ("equal", |_, class| class.to_string()),
        ("a function of it", |_, class| ((class as i32 - 1) * -7).to_string()),
        ("an interval a class", |row, class| format!("{}", class as f64 * 10.0 + row as f64 * 0.01)),
        ("missing for one class", |row, class| {
            if class == 2 { String::new() } else { format!("{}", class * 2 + row % 2) }
        }),
    ];
    for (name, x) in leaks {
        let data = table(x);
        let found = check(&data, None, &CheckOptions::default());
        let finding = about(&found, "leakage_suspected").expect(name);
        assert_eq!(
            (finding.severity, finding.columns.as_slice()),
            (Severity::Error, &["x".to_owned()][..]),
            "{name}"
        );
        let waived = CheckOptions { leakage_waived: vec!["x".into()], ..CheckOptions::default() };
        let waived = check(&data, None, &waived);
        assert_eq!(about(&waived, "leakage_suspected").map(|finding| finding.severity), Some(Severity::Info));
    }
}

#[test]
fn odd_columns_are_told() {
    for (code, x) in [
        ("constant", (|_, _| "4".to_owned()) as fn(usize, usize) -> String),
        ("all_missing", |_, _| String::new()),
        ("missing", |row, _| if row % 7 == 0 { noise(row) } else { String::new() }),
        ("id_like", |row, _| (row * 3 + 5).to_string()),
        (
            "missing_by_class",
            |row, class| if class == 1 && row % 2 == 0 { String::new() } else { noise(row) },
        ),
    ] {
        let found = check(&table(x), None, &CheckOptions::default());
        assert_eq!(
            about(&found, code).map(|finding| finding.columns.clone()),
            Some(vec!["x".to_owned()]),
            "{code}"
        );
        assert!(!found.has("leakage_suspected"), "{code}");
    }
}

#[test]
fn correlated_columns_are_told_with_r() {
    let base = table(|row, _| noise(row));
    let mut twin = base.clone();
    twin.columns[10] = base.columns[3].iter().map(|value| 5.0 - value * 2.0).collect();
    let found = check(&twin, None, &CheckOptions::default());
    let pair = about(&found, "correlated").unwrap();
    assert_eq!(pair.columns, ["c3", "x"]);
    assert!((pair.value.unwrap() + 1.0).abs() < 1e-12);
}

#[test]
fn small_and_single_classes_are_told() {
    let rows: String = (0..40)
        .map(|row| {
            format!(
                "{},{}\n",
                noise(row),
                if row == 0 {
                    "one"
                } else if row < 4 {
                    "few"
                } else {
                    "many"
                }
            )
        })
        .collect();
    let data = read_bytes(format!("a,y\n{rows}").as_bytes(), &options()).unwrap().dataset;
    let found = check(&data, None, &CheckOptions::default());
    assert!(about(&found, "bad_target").unwrap().text.contains("'one' (1)"));
    assert!(about(&found, "small_class").unwrap().text.contains("'few' (3)"));
    assert!(found.has("imbalance"));
    let many_folds = CheckOptions { folds: 41, ..CheckOptions::default() };
    assert_eq!(about(&check(&data, None, &many_folds), "too_few_rows").unwrap().severity, Severity::Error);
}

#[test]
fn repeated_and_contradicting_rows_are_counted() {
    let text = b"a,b,y\n1,2,0\n1,2,0\n1,2,1\n3,,1\n3,,1\n4,5,0\n";
    let data = read_bytes(text, &options()).unwrap().dataset;
    let found = check(&data, None, &CheckOptions::default());
    assert_eq!(about(&found, "duplicate_rows").unwrap().value, Some(2.0 / 6.0));
    assert_eq!(about(&found, "conflicting_rows").unwrap().value, Some(1.0 / 6.0));
}

#[test]
fn near_duplicates_across_sets_are_found() {
    let train = table(|row, _| noise(row));
    let mut test = train.clone();
    // Rounding noise in every value of the even rows; other values altogether in the odd ones.
    for (column, values) in test.columns.iter_mut().enumerate() {
        for (row, value) in values.iter_mut().enumerate() {
            if row % 2 == 0 {
                *value *= 1.0 + 1e-9;
            } else {
                *value = Seed(column as u64).nth(row).rng().random();
            }
        }
    }
    let overlap = check(&train, Some(&test), &CheckOptions::default()).overlap.unwrap();
    assert_eq!((overlap.exact_rows, overlap.near_rows), (0, 150));
    assert!(overlap.pairs.iter().all(|pair| pair.test_row == pair.train_row && pair.same_class));
}

#[test]
fn sets_with_other_features_are_not_compared() {
    let train = table(|row, _| noise(row));
    let mut test = train.clone();
    test.schema.fields.swap(0, 1);
    let found = check(&train, Some(&test), &CheckOptions::default());
    assert!(found.overlap.is_none() && about(&found, "schema").is_some());
}

/// The published test file repeats all rows of four classes that are in the training file.
#[test]
fn the_overlap_of_the_reference_files_is_found() {
    let (Some(train), Some(test)) = (reference("reference-train.csv"), reference("reference-test.csv"))
    else {
        return;
    };
    let with_target = ReadOptions { target: Some("target".to_owned()), ..ReadOptions::default() };
    let train = read(&[train], &with_target, &Silent).unwrap().dataset;
    let expecting = ReadOptions {
        expected_schema: Some(train.schema.clone()),
        expected_classes: train.labels.as_ref().map(|labels| labels.classes.clone()),
        ..with_target
    };
    let test = read(&[test], &expecting, &Silent).unwrap().dataset;
    let found = check(&train, Some(&test), &CheckOptions::default());
    let overlap = found.overlap.as_ref().unwrap();
    let codes = &test.labels.as_ref().unwrap().codes;
    let minority: Vec<usize> = (0..test.n_rows).filter(|&row| codes[row] != 0).collect();
    assert_eq!(minority.len(), 241);
    assert_eq!(overlap.pairs.iter().map(|pair| pair.test_row).collect::<Vec<_>>(), minority);
    assert!(overlap.pairs.iter().all(|pair| pair.same_class));
    assert_eq!(about(&found, "overlap").unwrap().severity, Severity::Error);
}
