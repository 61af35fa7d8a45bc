//! Data that is sent: good, bad, cut, sent twice.

use std::fs;
use std::io::Write as _;

use serde_json::json;

use super::{Plant, is, problem, rows, told};
use crate::serve::support::connect;

const ZIP: (&str, &str) = ("content-type", "application/zip");
const PATH: &str = "/projects/wine/data";

/// An archive of files that are not packed.
fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in files {
        let mut crc = flate2::Crc::new();
        crc.update(content);
        let start = bytes.len() as u32;
        let mut common = Vec::new();
        for half in [20_u16, 0, 0, 0, 0x21] {
            common.extend(half.to_le_bytes());
        }
        for word in [crc.sum(), content.len() as u32, content.len() as u32] {
            common.extend(word.to_le_bytes());
        }
        common.extend((name.len() as u16).to_le_bytes());
        common.extend([0, 0]);
        bytes.extend(b"PK\x03\x04".iter().chain(&common).chain(name.as_bytes()).chain(*content));
        directory.extend(b"PK\x01\x02\x14\x03".iter().chain(&common));
        directory.extend([0; 6]);
        directory.extend((0o100_644_u32 << 16).to_le_bytes());
        directory.extend(start.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (start, length, count) = (bytes.len() as u32, directory.len() as u32, files.len() as u16);
    bytes.extend(&directory);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend(count.to_le_bytes().iter().chain(&count.to_le_bytes()));
    bytes.extend(length.to_le_bytes().iter().chain(&start.to_le_bytes()));
    bytes.extend([0, 0]);
    bytes
}

fn good(shift: u32) -> Vec<u8> {
    let rows = rows(shift);
    archive(&[
        ("inputData.json", br#"{"TrainingUri":"train.csv"}"#),
        ("hyperparameters.json", br#"{"folds":"4"}"#),
        ("train.csv", rows.as_bytes()),
    ])
}

#[test]
fn the_same_archive_is_the_same_run_and_another_is_another() {
    let plant = Plant::start("");
    let send = |body: &[u8]| told(&plant.ask("POST", PATH, &[ZIP], body));
    let (status, first) = send(&good(3));
    assert_eq!((status, &first["outcome"], &first["run"]), (201, &json!("run"), &json!(1)), "{first}");
    let (status, same) = send(&good(3));
    assert_eq!((status, &same["outcome"], &same["run"]), (200, &json!("same"), &json!(1)), "{same}");
    let (status, other) = send(&good(4));
    assert_eq!((status, &other["run"]), (201, &json!(2)), "{other}");
    let run = plant.get("/runs/1");
    assert_eq!(
        (&run["cause"]["name"], &run["request"]["data"][0]["role"]),
        (&json!("upload"), &json!("train"))
    );
    assert_eq!(run["request"]["hyperparameters"], json!({ "folds": 4 }), "{run:#}");
    plant.wait("the rows", || {
        let build = plant.get("/runs/1/steps/build");
        let data = build["document"]["data"][0].clone();
        data.is_object().then(|| assert_eq!(data["name"], "train.csv", "{build:#}"))
    });
}

#[test]
fn bad_archives_are_refused_and_leave_nothing() {
    let plant = Plant::start("");
    let send = |body: &[u8]| problem(told(&plant.ask("POST", PATH, &[ZIP], body)));
    let inputs: (&str, &[u8]) = ("inputData.json", br#"{"TrainingUri":"train.csv"}"#);
    let table = rows(2);
    let train: (&str, &[u8]) = ("train.csv", table.as_bytes());
    let mut damaged = good(3);
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    let cut = &good(3)[..500];
    let none: (&str, &[u8]) = ("hyperparameters.json", b"{}");
    let hyper = |text: &'static [u8]| archive(&[inputs, train, ("hyperparameters.json", text)]);
    let passwords: (&str, &[u8]) = ("inputData.json", br#"{"TrainingUri":"/etc/passwd"}"#);
    let pickle: (&str, &[u8]) = ("model.pkl", b"x");
    for (what, body, expected) in [
        ("a tar", b"ustar\0 this is no archive at all".to_vec(), is(415, "unsupported_media_type")),
        ("nothing", Vec::new(), is(415, "unsupported_media_type")),
        ("up", archive(&[inputs, ("../train.csv", b"x")]), is(422, "archive_entry_name")),
        ("another kind", archive(&[inputs, train, pickle]), is(422, "archive_entry_name")),
        ("twice", archive(&[inputs, train, train]), is(422, "archive_duplicate")),
        ("a flipped bit", damaged, is(422, "archive_corrupt")),
        ("cut", cut.to_vec(), is(422, "archive_corrupt")),
        ("no rows", archive(&[none, train]), is(422, "archive_inputs")),
        ("a path of this machine", archive(&[passwords, none]), is(422, "archive_inputs")),
        ("no settings", archive(&[inputs, train]), is(422, "hyperparameter")),
        ("an unknown key", hyper(br#"{"n_estimators":1}"#), is(422, "hyperparameter")),
        ("beyond the range", hyper(br#"{"folds":1000000000}"#), is(422, "hyperparameter")),
    ] {
        assert_eq!(send(&body), expected, "{what}");
    }
    let no_project = plant.ask("POST", "/projects/nope/data", &[ZIP], &good(3));
    assert_eq!(problem(told(&no_project)), is(404, "not_found"));
    let json = plant.ask("POST", PATH, &[("content-type", "text/csv")], &good(3));
    assert_eq!(problem(told(&json)), is(415, "unsupported_media_type"));

    // More than is ever taken is refused by what it says of itself; what breaks off is gone.
    let mut stream = connect(plant.address());
    let head =
        "POST /api/v1/projects/wine/data HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/zip\r\n";
    stream.write_all(format!("{head}content-length: 3000000000\r\n\r\n").as_bytes()).unwrap();
    let answer = crate::serve::support::Answer::read(&mut stream);
    assert_eq!(problem(told(&answer)), is(413, "archive_too_large"));
    let mut stream = connect(plant.address());
    stream.write_all(format!("{head}content-length: 1000000\r\n\r\nPK\x03\x04").as_bytes()).unwrap();
    drop(stream);
    plant.wait("the place of the one that broke off", || (send(b"x").0 == 415).then_some(()));

    assert_eq!(plant.get("/runs")["items"], json!([]));
    let names: Vec<String> = fs::read_dir(plant.data())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("upload"))
        .collect();
    assert_eq!(names, [""; 0]);
}

#[test]
fn an_archive_that_is_dropped_is_taken_once_and_a_bad_one_stands_aside_with_its_reason() {
    let plant = Plant::start("[triggers.upload]\nfolder = \"drop\"\n");
    let drop = plant.project().join("drop");
    fs::create_dir(&drop).unwrap();
    let place = |name: &str, content: &[u8]| {
        fs::write(drop.join(name), content).unwrap();
    };
    place("good.zip", &good(3));
    place("bad.zip", b"<html>not found</html>");
    place("notes.txt", b"left alone");
    let refused = drop.join("refused/bad.zip.txt");
    let reason =
        plant.wait("the refusal", || fs::read_to_string(&refused).ok().filter(|text| !text.is_empty()));
    assert!(reason.contains("zip") || reason.contains("archive"), "{reason}");
    plant.wait("the acceptance", || drop.join("accepted/good.zip").exists().then_some(()));
    let runs = plant.get("/runs")["items"].as_array().unwrap().clone();
    assert_eq!(runs.len(), 1, "{runs:#?}");
    assert_eq!(runs[0]["cause"]["name"], json!("upload"));
    // The same archive under another name is the same run.
    place("again.zip", &good(3));
    plant.wait("the same once more", || drop.join("accepted/again.zip").exists().then_some(()));
    assert_eq!(plant.get("/runs")["items"].as_array().unwrap().len(), 1);
    assert!(drop.join("notes.txt").exists());
}
