//! Uploaded archives: what a good one becomes, and one crafted archive for each way to be bad.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use serin_core::artifacts::{Artifacts, Usage};
use serin_core::clock::Timestamp;
use serin_core::digest::Digest;
use serin_core::source::upload::{RowSource, Upload, UploadError, UploadRules};
use tempfile::TempDir;

use super::zip_writer::{DEFLATE, Item, end_record, zip};

const INPUTS: &str = r#"{"TrainingUri": "train.csv"}"#;
const ROWS: &[u8] = b"a,b,target\n1,2,x\n3,4,y\n";

fn opened() -> (TempDir, Artifacts) {
    let folder = tempfile::tempdir().unwrap();
    let artifacts = Artifacts::open(folder.path(), Timestamp(0)).unwrap();
    (folder, artifacts)
}

/// What every good archive begins with.
fn documents() -> Vec<Item> {
    vec![
        Item::stored("inputData.json", INPUTS.as_bytes()),
        Item::packed("hyperparameters.json", br#"{"folds": 3}"#),
    ]
}

fn with(items: impl IntoIterator<Item = Item>) -> Vec<u8> {
    zip(&documents().into_iter().chain(items).collect::<Vec<_>>())
}

fn rows() -> Item {
    Item::packed("train.csv", ROWS)
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder.join("artifacts/tmp")).unwrap().next().is_none()
}

/// Refused with this code, and nothing is left behind.
fn check_refused(what: &str, archive: impl Read, code: &str, status: u16) -> UploadError {
    let (folder, artifacts) = opened();
    let received = Upload::receive(archive, &artifacts, UploadRules { allow_paths: true });
    assert!(received.is_err(), "{what}: {received:?}");
    let error = received.unwrap_err();
    assert_eq!((error.code(), error.status()), (code, status), "{what}: {error}");
    assert_eq!(artifacts.usage().unwrap(), Usage::default(), "{what}");
    assert!(is_empty(folder.path()), "{what}");
    error
}

#[test]
fn a_good_archive_becomes_rows_and_settings() {
    let (folder, artifacts) = opened();
    let inputs =
        r#"{"TrainingUri": "train.csv", "TestUri": "test set.csv.gz", "BaselineUri": "data/base.parquet"}"#;
    let items = [
        Item::packed("inputData.json", inputs.as_bytes()).with(|item| item.has_descriptor = true),
        Item::stored("hyperparameters.json", br#"{"trials": "50", "seed": 7}"#),
        rows().with(|item| item.has_descriptor = true),
        Item::stored("test set.csv.gz", b"\x1f\x8b..").with(|item| item.attributes = 0x20),
    ];
    let archive = zip(&items);
    let taken = Upload::receive(&archive[..], &artifacts, UploadRules { allow_paths: true }).unwrap();
    assert_eq!(taken.digest, Digest::of(&archive));
    let (digest, bytes) = (Digest::of(ROWS), ROWS.len() as u64);
    assert_eq!(taken.train, RowSource::File { name: "train.csv".into(), digest, bytes });
    assert_eq!(artifacts.read(&digest, 1_000).unwrap(), ROWS);
    assert!(matches!(&taken.test, Some(RowSource::File { bytes: 4, .. })));
    assert_eq!(taken.baseline, Some(RowSource::Path { path: "data/base.parquet".into() }));
    let settings: Vec<_> =
        taken.hyperparameters.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(settings, ["seed=7", "trials=50"]);
    assert_eq!(artifacts.usage().unwrap().artifacts, 3);
    assert!(is_empty(folder.path()));
    // Again: the same upload.
    assert_eq!(Upload::receive(&archive[..], &artifacts, UploadRules { allow_paths: true }).unwrap(), taken);
    // Without leave, a path is refused.
    let refused = Upload::receive(&archive[..], &artifacts, UploadRules::default());
    assert!(
        matches!(&refused, Err(UploadError::Inputs { problem }) if problem.contains("base.parquet")),
        "{refused:?}"
    );
}

#[test]
fn b34_names_that_lead_elsewhere() {
    for name in [
        "../../etc/cron.d/x.csv",
        "/abs.csv",
        "C:\\x.csv",
        "..\\x.csv",
        "a/./../../b.csv",
        "data/train.csv",
        "notes.txt",
        ".csv",
        ".hidden.csv",
        "-rf.csv",
        "größe.csv",
        "a\u{202e}vsc.csv",
        "a:b.csv",
        "",
    ] {
        check_refused(name, &with([rows(), Item::stored(name, b"x")])[..], "archive_entry_name", 422);
    }
}

#[test]
fn b35_entries_that_are_no_files() {
    for (what, attributes) in [
        ("link", 0o120_777 << 16),
        ("folder", 0o040_755 << 16),
        ("folder of DOS", 0x10),
        ("device", 0o020_644 << 16),
        ("block device", 0o060_644 << 16),
        ("pipe", 0o010_644 << 16),
        ("socket", 0o140_644 << 16),
        ("setuid", 0o104_755 << 16),
        ("setgid", 0o102_755 << 16),
    ] {
        let entry = rows().with(|item| item.attributes = attributes);
        check_refused(what, &with([entry])[..], "archive_entry_type", 422);
    }
    let link = Item::stored("etc", b"/etc").with(|item| item.attributes = 0o120_777 << 16);
    check_refused(
        "a file through a link",
        &with([link, Item::stored("etc/x.csv", b"x")])[..],
        "archive_entry_type",
        422,
    );
}

#[test]
fn b36_names_that_are_there_twice() {
    check_refused("twice", &with([rows(), rows()])[..], "archive_duplicate", 422);
    check_refused("case", &with([rows(), Item::stored("Train.csv", b"x")])[..], "archive_duplicate", 422);
    check_refused("json twice", &with(documents())[..], "archive_duplicate", 422);
    let nul = Item::stored("train.csv\0.csv", b"x");
    check_refused("NUL", &with([nul])[..], "archive_entry_name", 422);
    let long = Item::stored(&format!("{}.csv", "x".repeat(65_000)), b"x");
    check_refused("64 KiB", &with([long])[..], "archive_entry_name", 422);
    let composed = [Item::stored("tr\u{e4}in.csv", b"x"), Item::stored("tra\u{308}in.csv", b"x")];
    check_refused("two forms", &with(composed)[..], "archive_entry_name", 422);
}

#[test]
fn b37_an_archive_in_the_archive() {
    let inner = zip(&[rows()]);
    check_refused(
        "nested",
        &with([rows(), Item::stored("inner.zip", &inner)])[..],
        "archive_entry_name",
        422,
    );
}

#[test]
fn b38_entries_that_share_bytes() {
    let shared: Vec<Item> = (0..10)
        .map(|number| Item::packed(&format!("{number}.csv"), ROWS).with(|item| item.start = Some(0)))
        .collect();
    check_refused("one kernel", &zip(&shared)[..], "archive_overlap", 422);
    // The content of the first reaches over the header of the second.
    let mut items = documents();
    items[0].packed_bytes += 10;
    items[0].bytes += 10;
    check_refused("overlapping", &zip(&items)[..], "archive_overlap", 422);
}

#[test]
fn b39_entries_that_grow() {
    let zeros = vec![0; 4 << 20];
    check_refused("ratio", &with([Item::packed("train.csv", &zeros)])[..], "archive_too_large", 413);
    let understated = Item::packed("train.csv", &zeros).with(|item| item.bytes = 1_000);
    check_refused("larger than it says", &with([understated])[..], "archive_too_large", 413);
    let overstated = rows().with(|item| item.bytes = u32::MAX - 1);
    check_refused("4 GiB declared", &with([overstated])[..], "archive_too_large", 413);
    let many = (0..30).map(|number| {
        Item::packed(&format!("{number}.csv"), b"").with(|item| {
            item.bytes = 100 << 20;
            item.packed = vec![0; 2 << 20];
            item.packed_bytes = 2 << 20;
        })
    });
    check_refused("3 GiB declared in all", &with(many)[..], "archive_too_large", 413);
    let document = Item::packed("inputData.json", &vec![b' '; (1 << 20) + 1]);
    check_refused("a large document", &zip(&[document])[..], "archive_too_large", 413);
    check_refused("an endless archive", io::repeat(b'P'), "archive_too_large", 413);
}

#[test]
fn b40_too_many_entries() {
    let entries: Vec<Item> = (0..70_000).map(|number| Item::stored(&format!("{number}.csv"), b"")).collect();
    check_refused("70,000", &zip(&entries)[..], "archive_entries", 413);
    check_refused("101", &zip(&entries[..101])[..], "archive_entries", 413);
    // An end record that counts fewer does not help.
    let honest = zip(&entries[..1_000]);
    let end = honest.len() - 22;
    let directory_start = u32::from_le_bytes(honest[end + 16..end + 20].try_into().unwrap());
    let lying = [&honest[..end], &end_record(5, end as u32 - directory_start, directory_start)].concat();
    check_refused("5 of 1,000", &lying[..], "archive_inconsistent", 422);
}

#[test]
fn b41_archives_that_contradict_themselves() {
    let good = with([rows()]);
    let end = good.len() - 22;
    let patched = |at: usize, bytes: &[u8]| {
        let mut archive = good.clone();
        archive[at..at + bytes.len()].copy_from_slice(bytes);
        archive
    };
    let zip64 = vec![1, 0, 16, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    let unicode_path = [&[0x75, 0x70, 14, 0, 1, 0, 0, 0, 0][..], b"other.csv"].concat();
    let other_name = rows().with(|item| item.local_name = b"other.csv".to_vec());
    let behind = rows().with(|item| {
        item.packed.extend(b"more");
        item.packed_bytes += 4;
    });
    let two_sizes = Item::stored("train.csv", ROWS).with(|item| item.bytes -= 1);
    let mut two_ends = good.clone();
    two_ends.extend(&good[end..]);
    let mut as_comment = good.clone();
    let comment = zip(&[Item::stored("evil.csv", b"x")]);
    as_comment[end + 20..].copy_from_slice(&(comment.len() as u16).to_le_bytes());
    as_comment.extend(&comment);
    for (what, archive) in [
        ("other name in the header", with([other_name])),
        ("other method in the header", patched(8, &[8])),
        ("other size in the header", patched(22, &[9])),
        ("other checksum in the header", patched(14, &[9])),
        ("ZIP64 sizes", with([rows().with(|item| item.extra = zip64)])),
        ("a second name", with([rows().with(|item| item.extra = unicode_path)])),
        ("data before", [b"MZ evil".to_vec(), good.clone()].concat()),
        ("data behind", [good.clone(), b"<html>".to_vec()].concat()),
        (
            "data between",
            with([rows().with(|item| item.gap = b"between".to_vec()), Item::stored("a.csv", b"")]),
        ),
        ("data before the directory", with([rows().with(|item| item.gap = b"between".to_vec())])),
        ("two end records", two_ends),
        ("an archive as comment", as_comment),
        ("fewer entries counted", patched(end + 8, &[2, 0, 2, 0])),
        ("more entries counted", patched(end + 8, &[4, 0, 4, 0])),
        ("one part of several", patched(end + 4, &[1])),
        ("another part", patched(end + 8, &[2])),
        ("a directory elsewhere", patched(end + 16, &[1])),
        ("a directory of another size", patched(end + 12, &[1])),
        ("a content of two sizes", with([two_sizes])),
        ("bytes behind a content", with([behind])),
    ] {
        check_refused(what, &archive[..], "archive_inconsistent", 422);
    }
}

#[test]
fn b42_encryption_and_other_methods() {
    for (what, method, flags) in [
        ("encrypted", DEFLATE, 1),
        ("strong encryption", DEFLATE, 1 << 6),
        ("masked headers", DEFLATE, 1 << 13),
        ("patch", DEFLATE, 1 << 5),
        ("AES", 99, 1),
        ("LZMA", 14, 0),
        ("bzip2", 12, 0),
        ("deflate64", 9, 0),
        ("zstd", 93, 0),
    ] {
        let entry = rows().with(|item| (item.method, item.flags) = (method, flags));
        check_refused(what, &with([entry])[..], "archive_method", 422);
    }
}

#[test]
fn b43_damaged_and_cut_archives() {
    let wrong_crc = rows().with(|item| item.crc ^= 1);
    check_refused("checksum", &with([wrong_crc])[..], "archive_corrupt", 422);
    let no_deflate = rows().with(|item| item.packed[0] = 0xff);
    check_refused("not packed", &with([no_deflate])[..], "archive_corrupt", 422);
    let short = rows().with(|item| item.bytes += 1);
    check_refused("smaller than it says", &with([short])[..], "archive_corrupt", 422);

    let good = with([rows()]);
    let (_folder, artifacts) = opened();
    for length in 4..good.len() {
        let cut = Upload::receive(&good[..length], &artifacts, UploadRules::default());
        assert!(cut.is_err_and(|error| error.code() == "archive_corrupt"), "cut to {length}");
    }

    struct Cut;
    impl Read for Cut {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
    check_refused("cut by the sender", good.chain(Cut), "archive_corrupt", 422);
}

#[test]
fn b44_settings_that_cannot_be_used() {
    for (document, key) in [
        (r#"{"folds": 1e400}"#, "folds"),
        (r#"{"n_estimators": -1}"#, "n_estimators"),
        (r#"{"trials": 1000000000}"#, "trials"),
        (r#"{"folds": [1]}"#, "folds"),
        ("<html>", "the file"),
    ] {
        let items = [
            Item::stored("inputData.json", INPUTS.as_bytes()),
            Item::stored("hyperparameters.json", document.as_bytes()),
            rows(),
        ];
        let refused = check_refused(document, &zip(&items)[..], "hyperparameter", 422);
        assert!(refused.to_string().contains(&format!("{key}: ")), "{refused}");
    }
    let without = zip(&[Item::stored("inputData.json", INPUTS.as_bytes()), rows()]);
    check_refused("without settings", &without[..], "hyperparameter", 422);
}

#[test]
fn b45_other_files_called_zip() {
    let mut tar = vec![0; 1_024];
    tar[257..262].copy_from_slice(b"ustar");
    for (what, bytes) in [
        ("tar", tar),
        ("gzip", b"\x1f\x8b\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec()),
        ("rar", b"Rar!\x1a\x07\x01\0............................".to_vec()),
        ("page", b"<!DOCTYPE html><html><body>502 Bad Gateway</body></html>".to_vec()),
        ("nothing", Vec::new()),
        ("three bytes", b"PK\x03".to_vec()),
    ] {
        check_refused(what, &bytes[..], "unsupported_media_type", 415);
    }
}

#[test]
fn rows_must_be_named_and_there() {
    for (inputs, problem) in [
        ("", "cannot be read"),
        ("{}", "TrainingUri is missing"),
        (r#"{"TrainingUri": 1}"#, "not a text"),
        (r#"{"TrainingUri": "train.csv", "More": "x"}"#, "\"More\" is unknown"),
        (r#"{"TrainingUri": "train.csv", "TrainingUri": "train.csv"}"#, "twice"),
        (r#"{"TrainingUri": "other.csv"}"#, "nothing names \"train.csv\""),
        (r#"{"TrainingUri": "train.csv", "TestUri": "s3://bucket/test.csv"}"#, "is an address"),
        (r#"{"TrainingUri": "train.csv", "TestUri": "../test.csv"}"#, "straight down"),
        (r#"{"TrainingUri": "train.csv", "TestUri": "/a/../b.csv"}"#, "straight down"),
    ] {
        let items = [
            Item::stored("inputData.json", inputs.as_bytes()),
            Item::stored("hyperparameters.json", b"{}"),
            rows(),
        ];
        let refused = check_refused(inputs, &zip(&items)[..], "archive_inputs", 422);
        assert!(refused.to_string().contains(problem), "{inputs}: {refused}");
    }
    check_refused("empty", &zip(&[])[..], "hyperparameter", 422);
}

/// Whatever bytes are changed: an archive is refused with a code, or its rows are what the checksum says.
#[test]
fn no_change_of_bytes_gives_other_rows() {
    let (_folder, artifacts) = opened();
    let good = with([rows()]);
    for at in 0..good.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut changed = good.clone();
            changed[at] ^= change;
            if let Ok(taken) = Upload::receive(&changed[..], &artifacts, UploadRules::default()) {
                let RowSource::File { digest, .. } = taken.train else { panic!("{taken:?}") };
                assert_eq!(digest, Digest::of(ROWS), "byte {at}");
                assert_eq!(taken.hyperparameters.get("folds").map(String::as_str), Some("3"), "byte {at}");
            }
        }
    }
}
