//! Reading: every bad input of the promises at the boundary, exact positions, identity, checks and splits.

mod checks;
mod parquet;
mod splits;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serin_ml::dataset::{
    ColumnKind, Dataset, DatasetError, Limits, Read, ReadOptions, TargetProblem, Warning, read,
};
use serin_ml::observer::{Observer, Silent};
use tempfile::TempDir;

pub fn options() -> ReadOptions {
    ReadOptions { target: Some("y".to_owned()), ..ReadOptions::default() }
}

pub fn write(folder: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

pub fn read_bytes(bytes: &[u8], options: &ReadOptions) -> Result<Read, DatasetError> {
    let folder = tempfile::tempdir().unwrap();
    read(&[write(&folder, "data.csv", bytes)], options, &Silent)
}

fn read_text(text: &str) -> Result<Dataset, DatasetError> {
    read_bytes(text.as_bytes(), &options()).map(|read| read.dataset)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_plain_table_is_read_as_typed_columns() {
    let data = read_text("a,7,y,flag\n1,1.5,x,true\n2,,z,false\n-3,NA,x,1\n").unwrap();
    assert_eq!(data.schema.names().collect::<Vec<_>>(), ["a", "7", "flag"]);
    let kinds: Vec<ColumnKind> = data.schema.fields.iter().map(|field| field.kind).collect();
    assert_eq!(kinds, [ColumnKind::Integer, ColumnKind::Number, ColumnKind::Boolean]);
    assert_eq!(data.schema.fields[0].range, Some((-3.0, 2.0)));
    assert!(data.schema.fields[1].has_missing && !data.schema.fields[0].has_missing);
    assert_eq!(data.columns[2], [1.0, 0.0, 1.0]);
    let labels = data.labels.unwrap();
    assert_eq!((labels.classes, labels.codes), (vec!["x".to_owned(), "z".to_owned()], vec![0, 1, 0]));
}

/// A number is no number when the options say so, quoted or not, first, last or between.
#[test]
fn a_missing_token_may_be_a_number() {
    let options =
        ReadOptions { missing: vec!["-999".to_owned(), "0".to_owned(), String::new()], ..options() };
    let text = b"a,b,y,c\n-999,1,0,-999\n2,\"-999\",1,-999.0\n-9990, 0 ,1,\n";
    // The target 0 is a missing one, too.
    assert!(read_bytes(text, &options).is_err());
    let text = b"a,b,y,c\n-999,1,2,-999\n2,\"-999\",1,-999.0\n-9990, 0 ,1,\n";
    let data = read_bytes(text, &options).unwrap().dataset;
    let missing: Vec<Vec<bool>> =
        data.columns.iter().map(|column| column.iter().map(|value| value.is_nan()).collect()).collect();
    assert_eq!(missing, [[true, false, false], [false, true, true], [true, false, true]]);
    assert_eq!((data.columns[0][2], data.columns[2][1]), (-9990.0, -999.0));
}

/// Bad files, the code they are refused with, and what the message must say.
#[test]
fn bad_files_are_refused_with_a_code_and_a_place() {
    let long_cell = format!("a,y\n{},1\n", "x".repeat(70_000));
    let long_line = format!("a,y\n{}", "1".repeat(17 << 20));
    let many_columns = (0..1_000_000).map(|i| format!("c{i}")).collect::<Vec<_>>().join(",") + "\n";
    let utf16: Vec<u8> =
        [0xff, 0xfe].into_iter().chain("a,y\n1,2\n".bytes().flat_map(|byte| [byte, 0])).collect();
    let cases: Vec<(&str, &[u8], &str, &str)> = vec![
        // B28
        ("empty", b"", "too_few_rows", "0 rows"),
        ("only blank lines", b"\n\r\n\n", "too_few_rows", "0 rows"),
        ("header only", b"a,y\n", "too_few_rows", "0 rows, but at least 2"),
        ("one row", b"a,y\n1,2\n", "too_few_rows", "1 rows, but at least 2"),
        // B29
        ("no target column", b"a,b\n1,2\n", "bad_target", "target column 'y': there is no such column"),
        ("target missing in a row", b"a,y\n1,0\n2,\n", "bad_target", "row 2 (line 3), column 'y'"),
        ("target is NaN", b"a,y\n1,0\n2,NaN\n", "bad_target", "value \"NaN\""),
        ("one class", b"a,y\n1,0\n2,0.0\n", "bad_target", "all 2 rows have the class '0'"),
        (
            "fractions",
            b"a,y\n1,0\n2,1.5\n",
            "bad_target",
            "row 2 (line 3), column 'y', value \"1.5\" has a fraction",
        ),
        ("infinite class", b"a,y\n1,0\n2,inf\n", "not_finite", "column 'y'"),
        // B30
        ("duplicate columns", b"a,a,y\n1,2,0\n", "schema", "'a' occurs more than once"),
        ("a column without a name", b",a,y\n0,1,0\n", "schema", "column 1 has no name"),
        ("no features", b"y\n0\n1\n", "schema", "no feature column"),
        ("no header", b"0.5,1.5\n1,2\n", "schema", "the first line holds values"),
        // B31
        ("infinity", b"a,y\n1,0\n-inf,1\n", "not_finite", "row 2 (line 3), column 'a', value \"-inf\""),
        ("beyond the range", b"a,y\n1,0\n1e309,1\n", "not_finite", "1e309"),
        // B32
        ("utf-16", &utf16, "encoding", "UTF-16"),
        ("utf-16 without a mark", b"a\0,\0y\0\n\0", "encoding", "UTF-16"),
        ("zero byte", b"a,y\n1,0\n2\0,1\n", "encoding", "row 2 (line 3)"),
        ("latin-1 class", b"a,y\n1,caf\xe9\n2,x\n", "encoding", "row 1 (line 2), column 'y'"),
        ("latin-1 in a number", b"a,y\n1,x\n\xe9,z\n", "encoding", "row 2 (line 3), column 'a'"),
        ("latin-1 name", b"\xe9,y\n1,0\n", "encoding", "line 1"),
        ("semicolons", b"a;y\n1;0\n", "dialect", "semicolons"),
        ("tabs", b"a\ty\n1\t0\n", "dialect", "tabs"),
        ("decimal comma", b"a,y\n\"1,5\",0\n2,1\n", "dialect", "row 1 (line 2), column 'a', value \"1,5\""),
        ("decimal comma, bare", b"a,y\n1,5,0\n", "dialect", "3 values, but the header has 2; is a comma"),
        (
            "too few values",
            b"a,b,y\n1,2,0\n1,2\n",
            "dialect",
            "row 2 (line 3): 2 values, but the header has 3",
        ),
        ("carriage returns", b"a,y\r1,0\r2,1\r", "dialect", "carriage return"),
        ("a carriage return inside", b"a,y\n1\r2,0\n", "dialect", "row 1 (line 2)"),
        ("unclosed quote", b"a,y\n1,0\n\"2,1\n3,0\n", "dialect", "row 2 (line 3), column 'a'"),
        ("text after a quote", b"a,y\n\"1\"2,0\n", "dialect", "closing quote"),
        ("a workbook", b"PK\x03\x04rest", "dialect", "Excel"),
        ("a long cell", long_cell.as_bytes(), "limit", "cell_bytes"),
        ("a long line", long_line.as_bytes(), "limit", "record_bytes"),
        ("a million columns", many_columns.as_bytes(), "limit", "more than 20000 columns"),
        ("a formula", b"a,y\n1,0\n=cmd|'/c calc'!A1,1\n", "not_a_number", "'a' has \"=cmd|"),
    ];
    for (name, bytes, code, words) in cases {
        for block_bytes in [1, 7, 1 << 20] {
            if bytes.len() > 1 << 20 && block_bytes < 1 << 20 {
                continue;
            }
            let error = read_bytes(bytes, &ReadOptions { block_bytes, ..options() }).expect_err(name);
            assert_eq!(error.code(), code, "{name}: {error}");
            assert!(error.to_string().contains(words), "{name}: {error}");
        }
    }
}

#[test]
fn all_columns_that_are_not_numeric_are_named_at_once() {
    let error = read_text("a,b,city,y,day\n1,2,Rome,0,2024-01-01\n1,x,Oslo,1,2024-01-02\n").unwrap_err();
    assert_eq!(error.code(), "not_a_number");
    let DatasetError::NotNumeric { columns, total } = &error else { panic!("{error}") };
    let places: Vec<_> =
        columns.iter().map(|at| (at.column.as_deref().unwrap(), at.row.unwrap(), at.line.unwrap())).collect();
    assert_eq!((places, *total), (vec![("b", 2, 3), ("city", 1, 2), ("day", 1, 2)], 3));
    assert!(error.to_string().contains("ignore = [\"b\", \"city\", \"day\"]"), "{error}");

    let names: Vec<String> = (0..30).map(|i| format!("c{i}")).collect();
    let row = vec!["x"; 30].join(",");
    let error = read_text(&format!("{},y\n{row},0\n{row},1\n", names.join(","))).unwrap_err();
    assert!(error.to_string().contains("and 10 more columns"), "{error}");

    let ignoring = ReadOptions { ignore: vec!["b".into(), "city".into(), "day".into()], ..options() };
    let text = b"a,b,city,y,day\n1,2,Rome,0,2024-01-01\n1,x,Oslo,1,2024-01-02\n";
    assert_eq!(read_bytes(text, &ignoring).unwrap().dataset.schema.names().collect::<Vec<_>>(), ["a"]);
}

#[test]
fn lines_inside_quotes_blank_lines_and_line_ends_are_counted() {
    let error = read_text("a,name,y\r\n\r\n1,\"two\r\nlines\",0\r\nx,\"\",1\r\n").unwrap_err();
    let at = match &error {
        DatasetError::NotNumeric { columns, .. } => columns.clone(),
        _ => panic!("{error}"),
    };
    assert_eq!((at[0].column.as_deref(), at[0].row, at[0].line), (Some("a"), Some(2), Some(5)));
    assert_eq!((at[1].column.as_deref(), at[1].row, at[1].line), (Some("name"), Some(1), Some(3)));
    assert_eq!(at[1].value.as_deref(), Some("two\\r\\nlines"));
}

#[test]
fn what_is_harmless_is_read() {
    let plain = read_text("a,y\n1,0\n2,1\n").unwrap();
    for text in [
        "\u{feff}a,y\n1,0\n2,1\n",
        "a,y\r\n1,0\r\n2,1\r\n",
        "a,y\n1,0\n2,1",
        "\n\na,y\n\n1,0\n\n2,1\n\n",
        "a,y\n 1 , 0\n\"2\",\"1\"\n",
        "\"a\",\"y\"\n1.0,0.0\n2e0,1.0\n",
    ] {
        let data = read_text(text).unwrap();
        assert_eq!(data.columns, plain.columns, "{text:?}");
        assert_eq!(data.labels, plain.labels, "{text:?}");
        assert_eq!(data.fingerprint, plain.fingerprint, "{text:?}");
    }
    assert_eq!(read_text("a,y\n1e308,0\n-1e308,1\n").unwrap().schema.fields[0].range, Some((-1e308, 1e308)));
}

#[test]
fn classes_are_sorted_as_numbers_when_they_all_are() {
    let classes = |text: &str| read_text(text).unwrap().labels.unwrap().classes;
    assert_eq!(classes("a,y\n1,10\n2,9\n3,-1\n4,9.0\n"), ["-1", "9", "10"]);
    assert_eq!(classes("a,y\n1,10\n2,9\n3,x\n"), ["10", "9", "x"]);
    assert_eq!(classes("a,y\n1,True\n2,FALSE\n3,true\n"), ["false", "true"]);
}

#[test]
fn other_roles_are_read_by_name() {
    let with_roles = ReadOptions {
        weight: Some("w".into()),
        group: Some("g".into()),
        time: Some("t".into()),
        id: Some("id".into()),
        ..options()
    };
    let text =
        "id,a,w,g,t,y\nr1,1,0.5,north,2024-01-02,0\nr2,2,1,south,2024-01-01T12:00:00Z,1\nr3,3,0,north,0,1\n";
    let data = read_bytes(text.as_bytes(), &with_roles).unwrap().dataset;
    assert_eq!(data.schema.names().collect::<Vec<_>>(), ["a"]);
    assert_eq!(data.weights.unwrap(), [0.5, 1.0, 0.0]);
    assert_eq!(data.groups.unwrap(), [0, 1, 0]);
    assert_eq!(data.times.unwrap(), [1_704_153_600.0, 1_704_110_400.0, 0.0]);
    assert_eq!(data.ids.unwrap(), ["r1", "r2", "r3"]);

    for (bad, code) in [
        ("id,a,w,g,t,y\nr1,1,-1,n,1,0\nr2,1,1,n,1,1\n", "bad_weight"),
        ("id,a,w,g,t,y\nr1,1,,n,1,0\nr2,1,1,n,1,1\n", "bad_weight"),
        ("id,a,w,g,t,y\nr1,1,1,,1,0\nr2,1,1,n,1,1\n", "bad_key"),
        ("id,a,w,g,t,y\nr1,1,1,n,soon,0\nr2,1,1,n,1,1\n", "bad_key"),
        ("id,a,w,g,y\nr1,1,1,n,0\nr2,1,1,n,1\n", "schema"),
    ] {
        assert_eq!(read_bytes(bad.as_bytes(), &with_roles).unwrap_err().code(), code, "{bad}");
    }
    let clash = ReadOptions { weight: Some("y".into()), ..options() };
    assert_eq!(read_bytes(b"a,y\n1,0\n2,1\n", &clash).unwrap_err().code(), "schema");
}

#[test]
fn files_are_appended_by_name_and_told_apart_by_content() {
    let folder = tempfile::tempdir().unwrap();
    let whole = read_text("a,b,y\n1,2,0\n3,4,1\n5,6,0\n").unwrap();
    let paths = [
        write(&folder, "first.txt", b"a,b,y\n1,2,0\n"),
        write(&folder, "second.csv", &gzip(b"y,b,a\n1,4,3\n")),
        write(&folder, "third.gz", b"b,extra,a,y\n6,x,5,0\n"),
    ];
    let found = read(&paths, &options(), &Silent).unwrap();
    assert_eq!(found.dataset.columns, whole.columns);
    assert_eq!(found.dataset.fingerprint, whole.fingerprint);
    assert_eq!(found.dataset.sources.iter().map(|source| source.rows).collect::<Vec<_>>(), [1, 1, 1]);
    assert!(matches!(&found.warnings[0], Warning::ColumnOrder { path } if path.ends_with("second.csv")));
    assert!(matches!(&found.warnings[1], Warning::ExtraColumns { columns, .. } if columns == &["extra"]));

    let lacking = write(&folder, "lacking.csv", b"a,y\n1,0\n");
    let error = read(&[paths[0].clone(), lacking], &options(), &Silent).unwrap_err();
    assert_eq!(error.code(), "schema");
    assert!(error.to_string().contains("lacking.csv: missing column 'b'"), "{error}");

    let late = write(&folder, "late.csv", b"a,b,y\n1,2,0\n1,x,0\n");
    let error = read(&[paths[0].clone(), late], &options(), &Silent).unwrap_err();
    let at = error.position().unwrap();
    assert!(at.path.ends_with("late.csv") && at.row == Some(2) && at.line == Some(3), "{error}");
}

#[test]
fn a_model_selects_its_features_and_keeps_its_classes() {
    let trained = read_text("a,b,y\n1,2,low\n3,4,mid\n5,6,top\n").unwrap();
    let expecting = ReadOptions {
        expected_schema: Some(trained.schema.clone()),
        expected_classes: Some(trained.labels.as_ref().unwrap().classes.clone()),
        ..options()
    };
    let found = read_bytes(b"new,b,y,a\nx,2,top,1\n", &expecting).unwrap();
    assert_eq!(found.dataset.columns, [[1.0], [2.0]]);
    assert_eq!(found.dataset.labels.unwrap().codes, [2]);
    assert_eq!(found.warnings.len(), 2);

    let error = read_bytes(b"a,y\n1,top\n", &expecting).unwrap_err();
    assert!(error.code() == "schema" && error.to_string().contains("missing column 'b'"), "{error}");

    let error = read_bytes(b"a,b,y\n1,2,top\n1,2,new\n1,2,new\n", &expecting).unwrap_err();
    assert_eq!(error.code(), "bad_target");
    assert!(error.to_string().contains("class 'new' (2 rows) not known to the model"), "{error}");

    let numbered = ReadOptions { expected_classes: Some(vec!["0".into(), "1".into()]), ..options() };
    assert_eq!(read_bytes(b"a,y\n1,1.0\n", &numbered).unwrap().dataset.labels.unwrap().codes, [1]);

    let unlabelled = ReadOptions { target_required: false, ..expecting };
    assert!(read_bytes(b"a,b\n1,2\n", &unlabelled).unwrap().dataset.labels.is_none());
}

#[test]
fn damaged_and_absent_files_are_told() {
    let mut cut = gzip("a,y\n1,0\n2,1\n".repeat(1000).as_bytes());
    cut.truncate(cut.len() / 2);
    assert_eq!(read_bytes(&cut, &options()).unwrap_err().code(), "malformed_gzip");
    let absent = read(&[PathBuf::from("/nowhere/at/all.csv")], &options(), &Silent).unwrap_err();
    assert_eq!(absent.code(), "unreadable");
    assert_eq!(read(&[], &options(), &Silent).unwrap_err().code(), "no_files");
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(read(&[folder.path().to_owned()], &options(), &Silent).unwrap_err().code(), "unreadable");
}

#[test]
fn limits_have_names() {
    let text = b"a,b,y\n1,2,0\n3,4,1\n5,6,2\n";
    for (limits, name) in [
        (Limits { rows: 2, ..Limits::default() }, "`rows`"),
        (Limits { values: 5, ..Limits::default() }, "`values`"),
        (Limits { columns: 2, ..Limits::default() }, "`columns`"),
        (Limits { record_bytes: 4, ..Limits::default() }, "`record_bytes`"),
        (Limits { classes: 2, ..Limits::default() }, "`classes`"),
    ] {
        let error = read_bytes(text, &ReadOptions { limits, ..options() }).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
    let error =
        read_bytes(text, &ReadOptions { limits: Limits { classes: 2, ..Limits::default() }, ..options() });
    assert!(matches!(
        error,
        Err(DatasetError::BadTarget { problem: TargetProblem::TooManyClasses { .. }, .. })
    ));
}

#[test]
fn a_stop_request_ends_the_reading() {
    struct Impatient;
    impl Observer for Impatient {
        fn stop_requested(&self) -> bool {
            true
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = write(&folder, "data.csv", b"a,y\n1,0\n2,1\n");
    assert_eq!(read(&[path], &options(), &Impatient).unwrap_err().code(), "stopped");
}

#[test]
fn the_fingerprint_follows_rows_names_and_values_and_nothing_else() {
    let base = read_text("a,b,y\n1,2,0\n3,,1\n").unwrap().fingerprint;
    for same in ["a,b,y\r\n1.0,2,0\r\n3,NaN,1\r\n", "y,a,b\n0,1,2\n1,3,?\n"] {
        assert_eq!(read_text(same).unwrap().fingerprint, base, "{same:?}");
    }
    for other in [
        "a,b,y\n3,,1\n1,2,0\n",
        "b,a,y\n1,2,0\n3,,1\n",
        "a,c,y\n1,2,0\n3,,1\n",
        "a,b,y\n1,2,0\n3,0,1\n",
        "a,b,y\n1,2,1\n3,,0\n",
        "a,b,y\n1,2,0\n3,,2\n",
        "a,b,y\n1,2.0000000000000004,0\n3,,1\n",
    ] {
        assert_ne!(read_text(other).unwrap().fingerprint, base, "{other:?}");
    }
}

#[test]
fn the_reference_files_are_read() {
    let Some(path) = crate::reference::reference("reference-train.csv") else { return };
    let with_target = ReadOptions { target: Some("target".to_owned()), ..ReadOptions::default() };
    let data = read(&[path], &with_target, &Silent).unwrap().dataset;
    assert_eq!((data.n_rows, data.columns.len()), (741, 151));
    let labels = data.labels.as_ref().unwrap();
    assert_eq!(labels.classes, ["0", "1", "2", "3", "4"]);
    assert_eq!(labels.counts(), [500, 101, 59, 52, 29]);
    let missing: usize = data.columns.iter().flatten().filter(|value| value.is_nan()).count();
    assert_eq!(missing, 6);
}

fn cell() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => any::<f64>().prop_map(|value| if value.is_finite() { value.to_string() } else { String::new() }),
        3 => (-1000_i32..1000).prop_map(|value| value.to_string()),
        1 => Just("NA".to_owned()),
        1 => (-9_i32..9).prop_map(|value| format!("\"{value}\"")),
        1 => Just("text".to_owned()),
        1 => Just("inf".to_owned()),
        1 => Just("\"two\nlines\"".to_owned()),
        1 => Just("\"open".to_owned()),
        1 => Just("1,5".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_float_comes_back_bit_for_bit(rows in prop::collection::vec((any::<u64>(), any::<u64>()), 2..50)) {
        let value = |bits: u64| Some(f64::from_bits(bits)).filter(|value| value.is_finite());
        let shown = |bits: u64| value(bits).map_or_else(String::new, |value| value.to_string());
        let mut text = "a,b,y\n".to_owned();
        for (i, (a, b)) in rows.iter().enumerate() {
            text.push_str(&format!("{},{},{}\n", shown(*a), shown(*b), i % 2));
        }
        let data = read_text(&text).unwrap();
        for (i, (a, b)) in rows.iter().enumerate() {
            for (column, bits) in [(0, *a), (1, *b)] {
                let found = data.columns[column][i];
                prop_assert_eq!(value(bits).map(f64::to_bits), Some(found).filter(|v| !v.is_nan()).map(f64::to_bits));
            }
        }
    }

    /// Well-formed or not, the outcome is the same wherever blocks end: the same data or the same error at the same place.
    #[test]
    fn block_borders_change_nothing(
        rows in prop::collection::vec((cell(), cell(), 0_u8..3), 0..12),
        line_end in prop_oneof![Just("\n"), Just("\r\n"), Just("\n\n")],
        bad in prop::bool::weighted(0.5),
    ) {
        let harmless = |cell: &String| !["text", "inf", "\"two\nlines\"", "\"open", "1,5"].contains(&cell.as_str());
        let mut text = format!("a,b,y{line_end}");
        for (a, b, y) in rows.iter().filter(|(a, b, _)| bad || (harmless(a) && harmless(b))) {
            text.push_str(&format!("{a},{b},{y}{line_end}"));
        }
        let folder = tempfile::tempdir().unwrap();
        let path = [write(&folder, "data.csv", text.as_bytes())];
        let outcome = |block_bytes| match read(&path, &ReadOptions { block_bytes, ..options() }, &Silent) {
            Ok(read) => read.dataset.fingerprint.0,
            Err(error) => error.to_string(),
        };
        let whole = outcome(1 << 20);
        for block_bytes in [1, 2, 3, 5, 8, 13, 21, 34] {
            prop_assert_eq!(&outcome(block_bytes), &whole, "block of {}: {:?}", block_bytes, &text);
        }
    }

    /// Whatever the bytes are, reading ends with data or an error.
    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read_bytes(&bytes, &ReadOptions { block_bytes: 16, ..options() });
        let text: Vec<u8> = b"a,y\n".iter().chain(&bytes).copied().collect();
        let _ = read_bytes(&text, &ReadOptions { block_bytes: 16, ..options() });
    }
}

/// A long file is read in memory that does not grow with its worst line: the reader is asked for a bounded amount.
#[test]
fn an_endless_line_stops_at_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("endless.csv");
    let file = std::fs::File::create(&path).unwrap();
    // A sparse file: 10 GB of zero bytes take no room on the disk.
    file.set_len(10_000_000_000).unwrap();
    let error = read_it(&path).unwrap_err();
    assert!(["encoding", "limit"].contains(&error.code()), "{error}");
    std::fs::write(&path, "a,y\n").unwrap();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(10_000_000_000).unwrap();
    let error = read_it(&path).unwrap_err();
    assert!(["encoding", "limit"].contains(&error.code()), "{error}");
}

fn read_it(path: &Path) -> Result<Read, DatasetError> {
    read(&[path.to_owned()], &options(), &Silent)
}
