//! Where the reference data lies, when it is there, and what is known about it.

use std::path::PathBuf;

use serin_ml::dataset::{CheckOptions, Dataset, ReadOptions, Severity, check, read};
use serin_ml::evaluate::{EvaluationOptions, GateInput, Gates, Overlap, evaluate};
use serin_ml::matrix::Matrix;
use serin_ml::observer::Silent;

/// The path of a reference file: `SERIN_REFERENCE_DATA/name`, else `../shared/data/name` beside the repository.
/// Says so on stderr and answers `None` where it is absent: the data is not part of the repository.
pub fn reference(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("SERIN_REFERENCE_DATA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    let path = folder.join(name);
    if path.is_file() {
        return Some(path);
    }
    eprintln!("not run: the reference data is not here ({}); set SERIN_REFERENCE_DATA", path.display());
    None
}

/// The training file, and the test file as its schema and classes read it; the column `target` has the class.
fn reference_data() -> Option<(Dataset, Dataset)> {
    let files = (reference("reference-train.csv")?, reference("reference-test.csv")?);
    let options = ReadOptions { target: Some("target".to_owned()), ..ReadOptions::default() };
    let train = read(&[files.0], &options, &Silent).unwrap().dataset;
    let expecting = ReadOptions {
        expected_schema: Some(train.schema.clone()),
        expected_classes: train.labels.as_ref().map(|labels| labels.classes.clone()),
        ..options
    };
    let test = read(&[files.1], &expecting, &Silent).unwrap().dataset;
    Some((train, test))
}

/// The overlap (see `dataset/checks.rs`) as the gate sees it: even a perfect model is refused on this test file.
#[test]
fn the_gate_refuses_the_reference_test_file() {
    let Some((train, test)) = reference_data() else { return };
    assert_eq!((train.n_rows, train.columns.len()), (741, 151));
    assert_eq!(train.schema.names().collect::<Vec<_>>(), (0..151).map(|i| i.to_string()).collect::<Vec<_>>());
    let found = check(&train, Some(&test), &CheckOptions::default());
    let overlap = found.overlap.as_ref().unwrap();
    assert_eq!((overlap.exact_rows + overlap.near_rows, overlap.pairs.len()), (241, 241));
    assert!(found.findings.iter().any(|f| f.code == "overlap" && f.severity == Severity::Error));

    let labels = test.labels.as_ref().unwrap();
    let mut certain = Matrix::zeros(test.n_rows, labels.classes.len());
    for (row, &class) in labels.codes.iter().enumerate() {
        certain.row_mut(row)[class as usize] = 1.0;
    }
    let evaluation =
        evaluate(&labels.codes, &labels.codes, &certain, &labels.classes, &EvaluationOptions::default());
    let verdict = |overlap| {
        let input =
            GateInput { evaluation: &evaluation, overlap, data_findings: &[], champion: None, recent: None };
        Gates::default().check().unwrap().judge(&input)
    };
    assert!(verdict(Overlap::Share(0.0)).passed);
    let refused = verdict(Overlap::Share(overlap.share));
    let reasons: Vec<&str> = refused.refusals().map(|finding| finding.gate.as_str()).collect();
    assert_eq!(reasons, ["max_overlap"]);
}
