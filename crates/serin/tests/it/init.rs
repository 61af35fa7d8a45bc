//! `serin init`: a folder that trains and whose sample requests are answered.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;

use crate::commands::process::{Running, run, serin};

const ROWS: usize = 120;

/// Two classes, an id that is no number, and a measure that is missing at times.
fn write_rows(path: &Path) {
    let mut text = "id,length,width,kind\n".to_owned();
    for i in 0..ROWS {
        let kind = i % 2;
        let width = if i % 10 == 0 { String::new() } else { format!("{}.25", i % 7) };
        text.push_str(&format!("r{i},{}.5,{width},{}\n", i % 13 + 5 * kind, ["thin", "wide"][kind]));
    }
    fs::write(path, text).unwrap();
}

fn init(folder: &Path, words: &[&str]) -> crate::commands::process::Ran {
    run(folder, &[&["init"], words].concat())
}

#[test]
fn a_new_project_trains_and_its_samples_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_rows(&at.join("rows.csv"));
    let made = init(at, &["wine", "--data", "rows.csv", "--target", "kind", "--ignore", "id"]).expect(0);
    assert!(made.stdout.contains("120 rows, 2 features, 2 classes"), "{}", made.stdout);
    assert!(made.stdout.contains("cd wine\nserin up"), "{}", made.stdout);
    assert!(made.stderr.contains("50.0%"), "{}", made.stderr);

    let project = at.join("wine");
    let read = |name: &str| fs::read_to_string(project.join(name)).unwrap();
    assert_eq!(read("rows.csv"), fs::read_to_string(at.join("rows.csv")).unwrap());
    assert_eq!(read(".gitignore"), "serin-data/\nout/\nsecrets/\n");
    assert_eq!(read("requests/sample.csv"), "length,width\n0.5,\n6.5,1.25\n2.5,2.25\n");
    let sample: serde_json::Value = serde_json::from_str(&read("requests/sample.json")).unwrap();
    assert_eq!(sample["instances"][0], serde_json::json!({"length": 0.5, "width": null}));
    assert!(read("README.md").contains("--data-binary @requests/sample.csv"));
    run(&project, &["config", "check"]).expect(0);

    let mut train = serin(&project, &["train", "--config", "serin.toml", "--trials", "2"]);
    // Whether the gate likes it is not the question.
    Running::start(train.env("SERIN_TRAIN_FAMILIES", "logistic")).end();
    let mut server = Running::start(&mut serin(
        &project,
        &["serve", "out/model.serin", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"],
    ));
    server.wait_for("answers kept");
    let note = serin_core::capture::Serving::read(&project.join("serin-data")).unwrap().unwrap();
    for (name, content_type) in [("sample.csv", "text/csv"), ("sample.json", "application/json")] {
        let answer = post(&note.url, content_type, &read(&format!("requests/{name}")));
        assert!(answer.starts_with("HTTP/1.1 200"), "{name}: {answer}");
    }
    server.signal("TERM");
    server.end().expect(0);
}

fn post(url: &str, content_type: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    write!(
        stream,
        "POST /invocations HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: {content_type}\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn what_is_there_stays_and_what_cannot_train_is_not_begun() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_rows(&at.join("rows.csv"));
    fs::create_dir_all(at.join("taken/requests")).unwrap();
    fs::write(at.join("taken/serin.toml"), "mine").unwrap();
    fs::write(at.join("file"), "mine").unwrap();
    let usual = ["--data", "rows.csv", "--target", "kind", "--ignore", "id"];
    let with = |name: &'static str| [&[name][..], &usual[..]].concat();
    let cases: [(&[&str], &[&str]); 8] = [
        (&with("taken"), &["taken/serin.toml: is there already", "nothing is written over"]),
        (&with("file"), &["file: is there already, and no folder"]),
        (&with("a_b"), &["\"a_b\" cannot be a project's name"]),
        (&with("/"), &["cannot be a project's name"]),
        (&["new", "--data", "absent.csv", "--target", "kind"], &["absent.csv: no such file"]),
        (&["new", "--data", ".", "--target", "kind"], &["is no file"]),
        (&["new", "--data", "rows.csv", "--target", "kin", "--ignore", "id"], &["kin", "length"]),
        (&["new", "--data", "rows.csv", "--target", "kind"], &["id", "r0"]),
    ];
    for (words, wanted) in cases {
        let ran = init(at, words).expect(1);
        assert!(wanted.iter().all(|wanted| ran.stderr.contains(wanted)), "{words:?}: {}", ran.stderr);
        assert!(ran.stdout.is_empty(), "{words:?}: {}", ran.stdout);
    }
    assert!(!at.join("new").exists() && !at.join("a_b").exists());
    assert_eq!(fs::read_to_string(at.join("taken/serin.toml")).unwrap(), "mine");
    assert_eq!(fs::read_dir(at.join("taken")).unwrap().count(), 2);
}

#[test]
fn a_file_in_the_folder_is_used_there() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("wine");
    fs::create_dir_all(at.join("data")).unwrap();
    write_rows(&at.join("data/rows.csv"));
    init(&at, &[".", "--data", "data/rows.csv", "--target", "kind", "--ignore", "id"]).expect(0);
    let settings = fs::read_to_string(at.join("serin.toml")).unwrap();
    assert!(
        settings.contains("name = \"wine\"") && settings.contains("train = \"data/rows.csv\""),
        "{settings}"
    );
    assert!(!at.join("rows.csv").exists());
    run(&at, &["config", "check"]).expect(0);
}

#[test]
fn a_large_file_is_not_copied() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let mut text = "length,kind\n".to_owned();
    // Few rows, each with much blank around its number, so that reading costs little.
    let blank = " ".repeat(60 << 10);
    for i in 0..1_100 {
        text.push_str(&format!("{blank}{},{}\n", i % 100, i % 2));
    }
    fs::write(at.join("rows.csv"), text).unwrap();
    let made = init(at, &["large", "--data", "rows.csv", "--target", "kind"]).expect(0);
    assert!(made.stdout.contains("larger than 64 MiB, it is used where it is"), "{}", made.stdout);
    assert!(!at.join("large/rows.csv").exists());
    let path = at.canonicalize().unwrap().join("rows.csv");
    let settings = fs::read_to_string(at.join("large/serin.toml")).unwrap();
    assert!(settings.contains(&format!("train = \"{}\"", path.display())), "{settings}");
}
