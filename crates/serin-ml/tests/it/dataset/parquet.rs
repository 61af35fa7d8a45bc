//! Parquet: the same data as CSV, and files that lie.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Decimal128Array, Float32Array, Float64Array, Int64Array, ListArray, RecordBatch,
    StringArray, TimestampMicrosecondArray, TimestampMillisecondArray, types::Int32Type,
};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;
use serin_ml::dataset::{
    Dataset, DatasetError, Limits, OutputColumn, OutputKind, ParquetOutput, ReadOptions, read,
};
use serin_ml::observer::Silent;

use super::{options, read_bytes, write};

fn parquet(columns: Vec<(&str, ArrayRef)>, rows_of_group: usize) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .unwrap();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(rows_of_group))
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn floats(values: &[Option<f64>]) -> ArrayRef {
    Arc::new(Float64Array::from(values.to_vec()))
}

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn good() -> Vec<u8> {
    let values: Vec<Option<f64>> = (0..1000).map(|i| Some(f64::from(i) / 7.0)).collect();
    let labels: Vec<&str> = (0..1000).map(|i| ["low", "mid", "top"][i % 3]).collect();
    parquet(vec![("a", floats(&values)), ("y", texts(&labels))], 300)
}

fn read_parquet(bytes: &[u8]) -> Result<Dataset, DatasetError> {
    read_bytes(bytes, &options()).map(|read| read.dataset)
}

#[test]
fn every_kind_of_column_that_is_written_reads_back() {
    let mut file = tempfile::tempfile().unwrap();
    let columns = [
        ("text", OutputKind::Text),
        ("maybe text", OutputKind::MaybeText),
        ("maybe number", OutputKind::MaybeNumber),
        ("whole", OutputKind::Whole),
        ("time", OutputKind::Time),
    ]
    .map(|(name, kind)| (name.to_owned(), kind));
    let mut output = ParquetOutput::with_columns(file.try_clone().unwrap(), &columns).unwrap();
    for _ in 0..2 {
        let written = output.write(&[
            OutputColumn::Text(vec!["a", "b"]),
            OutputColumn::MaybeText(vec![None, Some("c")]),
            OutputColumn::MaybeNumber(vec![f64::NAN, 0.5]),
            OutputColumn::Whole(vec![Some(-7), None]),
            OutputColumn::Time(vec![Some(1_800_000_000_000_001), None]),
        ]);
        written.unwrap();
    }
    output.close().unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 4);
    let expected: [ArrayRef; 5] = [
        Arc::new(StringArray::from(vec!["a", "b"])),
        Arc::new(StringArray::from(vec![None, Some("c")])),
        floats(&[None, Some(0.5)]),
        Arc::new(Int64Array::from(vec![Some(-7), None])),
        Arc::new(
            TimestampMicrosecondArray::from(vec![Some(1_800_000_000_000_001), None]).with_timezone("UTC"),
        ),
    ];
    for (column, expected) in expected.iter().enumerate() {
        assert_eq!(&batches[0].column(column).slice(0, 2), expected, "{}", columns[column].0);
    }
}

#[test]
fn all_number_types_are_read() {
    let bytes = parquet(
        vec![
            ("f64", floats(&[Some(1.5), None, Some(f64::NAN)])),
            ("f32", Arc::new(Float32Array::from(vec![0.5, 0.25, 2.0])) as ArrayRef),
            ("i64", Arc::new(Int64Array::from(vec![Some(1), None, Some(-3)]))),
            ("flag", Arc::new(BooleanArray::from(vec![Some(true), Some(false), None]))),
            ("text", texts(&["1.5", "NA", "true"])),
            ("y", Arc::new(Int64Array::from(vec![10, 9, 10]))),
        ],
        100,
    );
    let csv = b"f64,f32,i64,flag,text,y\n1.5,0.5,1,true,1.5,10\n,0.25,,false,NA,9\nnan,2,-3,,true,10\n";
    let (data, same) = (read_parquet(&bytes).unwrap(), read_bytes(csv, &options()).unwrap().dataset);
    assert_eq!(data.schema, same.schema);
    assert_eq!(data.labels, same.labels);
    assert_eq!(data.fingerprint, same.fingerprint);
}

#[test]
fn a_time_column_may_be_a_timestamp() {
    let bytes = parquet(
        vec![
            ("a", floats(&[Some(1.0), Some(2.0)])),
            ("t", Arc::new(TimestampMillisecondArray::from(vec![1500, 500])) as ArrayRef),
            ("y", texts(&["0", "1"])),
        ],
        10,
    );
    let timed = ReadOptions { time: Some("t".into()), ..options() };
    assert_eq!(read_bytes(&bytes, &timed).unwrap().dataset.times.unwrap(), [1.5, 0.5]);
    let error = read_parquet(&bytes).unwrap_err();
    assert!(error.code() == "unsupported_type" && error.to_string().contains("column 't'"), "{error}");
}

#[test]
fn unsupported_types_are_named_and_can_be_ignored() {
    let decimal = Decimal128Array::from(vec![1, 2]).with_precision_and_scale(10, 2).unwrap();
    let nested = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1)]), Some(vec![])]);
    for (name, array) in
        [("decimal", Arc::new(decimal) as ArrayRef), ("nested", Arc::new(nested) as ArrayRef)]
    {
        let bytes = parquet(
            vec![("a", floats(&[Some(1.0), Some(2.0)])), (name, array), ("y", texts(&["0", "1"]))],
            10,
        );
        let error = read_parquet(&bytes).unwrap_err();
        assert_eq!(error.code(), "unsupported_type");
        assert!(error.to_string().contains(&format!("column '{name}'")), "{error}");
        let ignoring = ReadOptions { ignore: vec![name.to_owned()], ..options() };
        assert_eq!(read_bytes(&bytes, &ignoring).unwrap().dataset.columns, [[1.0, 2.0]]);
    }
}

#[test]
fn bad_values_have_a_place() {
    let y = || texts(&["0", "1", "0"]);
    let infinite = parquet(vec![("a", floats(&[Some(1.0), Some(f64::INFINITY), None])), ("y", y())], 1);
    let error = read_parquet(&infinite).unwrap_err();
    assert_eq!(error.code(), "not_finite");
    assert_eq!((error.position().unwrap().row, error.position().unwrap().line), (Some(2), None));

    let text = parquet(vec![("city", texts(&["1", "2", "Rome"])), ("y", y())], 1);
    let error = read_parquet(&text).unwrap_err();
    assert_eq!((error.code(), error.position().unwrap().row), ("not_a_number", Some(3)));

    let no_class = parquet(vec![("a", floats(&[None; 3])), ("y", floats(&[Some(1.0), None, Some(0.0)]))], 10);
    assert_eq!(read_parquet(&no_class).unwrap_err().code(), "bad_target");
    let fraction = parquet(vec![("a", floats(&[None; 3])), ("y", floats(&[Some(1.0), Some(0.5), None]))], 10);
    assert_eq!(read_parquet(&fraction).unwrap_err().code(), "bad_target");
    let empty = parquet(vec![("a", floats(&[])), ("y", texts(&[]))], 10);
    assert_eq!(read_parquet(&empty).unwrap_err().code(), "too_few_rows");
}

#[test]
fn damaged_ends_are_refused() {
    let whole = good();
    let n = whole.len();
    let with = |at: usize, bytes: &[u8]| {
        let mut copy = whole.clone();
        copy[at..at + bytes.len()].copy_from_slice(bytes);
        copy
    };
    for (name, bytes, code) in [
        ("only the magic", b"PAR1".to_vec(), "malformed_parquet"),
        ("two magics", b"PAR1PAR1".to_vec(), "malformed_parquet"),
        ("cut short", whole[..n / 2].to_vec(), "malformed_parquet"),
        ("wrong end", with(n - 4, b"PARX"), "malformed_parquet"),
        ("encrypted", with(n - 4, b"PARE"), "unsupported_type"),
        ("footer beyond the file", with(n - 8, &u32::MAX.to_le_bytes()), "malformed_parquet"),
        ("footer a little too long", with(n - 8, &(n as u32 - 11).to_le_bytes()), "malformed_parquet"),
        // A list of 2^31 - 1 structures announced in a footer of ten bytes.
        (
            "a huge list",
            b"PAR1\x15\x02\x29\xfc\xff\xff\xff\xff\x07\x00\x0a\x00\x00\x00PAR1".to_vec(),
            "malformed_parquet",
        ),
    ] {
        let error = read_parquet(&bytes).expect_err(name);
        assert_eq!(error.code(), code, "{name}: {error}");
    }
    let limits = Limits { footer_bytes: 100, ..Limits::default() };
    let error = read_bytes(&whole, &ReadOptions { limits, ..options() }).unwrap_err();
    assert!(error.to_string().contains("footer_bytes"), "{error}");
    let limits = Limits { row_groups: 3, ..Limits::default() };
    let error = read_bytes(&whole, &ReadOptions { limits, ..options() }).unwrap_err();
    assert!(error.to_string().contains("row_groups"), "{error}");
    let limits = Limits { page_bytes: 100, ..Limits::default() };
    let error = read_bytes(&whole, &ReadOptions { limits, ..options() }).unwrap_err();
    assert!(error.to_string().contains("page_bytes") && error.to_string().contains("column 'a'"), "{error}");
}

/// A page that claims 2 GiB after decompression is refused before memory is taken for it.
#[test]
fn a_page_that_claims_two_gibibytes_is_refused() {
    let properties = WriterProperties::builder().set_dictionary_enabled(false).build();
    let batch = RecordBatch::try_from_iter([
        ("a", floats(&(0..100_000).map(|i| Some(f64::from(i))).collect::<Vec<_>>())),
        ("y", texts(&vec!["0"; 100_000])),
    ])
    .unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    // The first page header follows the magic: type (field 1), then the size as a zigzag varint (field 2), five bytes
    // for 2 GiB - 1 in place of the first ones there are; what follows no longer fits, which must not matter.
    assert_eq!(bytes[4..7], [0x15, 0x00, 0x15]);
    bytes[7..12].copy_from_slice(&[0xfe, 0xff, 0xff, 0xff, 0x0f]);
    let error = read_parquet(&bytes).unwrap_err();
    assert!(["limit", "malformed_parquet"].contains(&error.code()), "{error}");
}

#[test]
fn statistics_are_not_believed() {
    // Flipping any byte of the footer that is not structure leaves the data as it is: the range comes from the values.
    let whole = good();
    let truth = read_parquet(&whole).unwrap();
    let maximum = (299.0_f64 / 7.0).to_le_bytes();
    let mut lying = whole.clone();
    let mut replaced = 0;
    while let Some(at) =
        lying.windows(8).rposition(|window| window == maximum).filter(|at| *at > whole.len() / 2)
    {
        lying[at..at + 8].copy_from_slice(&(-1e300_f64).to_le_bytes());
        replaced += 1;
    }
    assert!(replaced > 0, "the writer kept no statistics");
    let read = read_parquet(&lying).unwrap();
    assert_eq!(read.schema, truth.schema);
    assert_eq!(read.fingerprint, truth.fingerprint);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// However it is stored, the same content has the same fingerprint.
    #[test]
    fn csv_and_parquet_of_the_same_content_are_one(
        values in prop::collection::vec((any::<f64>(), prop::bool::weighted(0.9)), 2..40), group in 1_usize..10,
        cut in 1_usize..40,
    ) {
        let shown: Vec<Option<f64>> =
            values.iter().map(|(value, there)| Some(*value).filter(|value| *there && value.is_finite())).collect();
        let labels: Vec<String> = (0..shown.len()).map(|i| (i % 2).to_string()).collect();
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        let bytes = parquet(vec![("a", floats(&shown)), ("y", texts(&labels))], group);
        let text = |range: std::ops::Range<usize>| {
            let rows = range.map(|i| format!("{},{}\n", shown[i].map_or_else(String::new, |v| v.to_string()), labels[i]));
            format!("a,y\n{}", rows.collect::<String>())
        };
        let whole = read_parquet(&bytes).unwrap().fingerprint;
        prop_assert_eq!(&read_bytes(text(0..shown.len()).as_bytes(), &options()).unwrap().dataset.fingerprint, &whole);
        let cut = cut.min(shown.len() - 1);
        let folder = tempfile::tempdir().unwrap();
        let paths = [
            write(&folder, "1.csv", text(0..cut).as_bytes()),
            write(&folder, "2.csv", text(cut..shown.len()).as_bytes()),
        ];
        prop_assert_eq!(&read(&paths, &options(), &Silent).unwrap().dataset.fingerprint, &whole);
    }

    /// Damage anywhere ends in data or an error, never in a panic or an abort.
    #[test]
    fn any_damage_is_survived(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = good();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = read_parquet(&bytes);
    }
}
