//! `serin serve` as an operator runs it: endpoints from settings, a reload, labels and questions while it runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use serin_core::capture::Serving;

use super::process::{Running, run, serin};
use crate::serve::support::{Answer, connect, request_to};

const ONE: &str =
    "[serve]\nlisten = \"127.0.0.1:0\"\ndata_dir = \"kept\"\n\n[[serve.endpoints]]\nname = \"first\"\n";

#[test]
fn endpoints_come_from_settings_and_are_read_again() {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(data("bundle/bundle-2-trained.serin"), folder.path().join("ours.serin")).unwrap();
    fs::copy(data("foreign/lightgbm-multiclass.txt"), folder.path().join("theirs.txt")).unwrap();
    let settings = folder.path().join("serin.toml");
    fs::write(&settings, format!("{ONE}model = \"ours.serin\"\n")).unwrap();
    let mut server = Running::start(&mut serin(folder.path(), &["serve", "--config", "serin.toml"]));
    server.wait_for("answers kept in kept/inferences.db; metrics on http://127.0.0.1:");
    let names = || -> Value { serde_json::from_slice(&get(folder.path(), "/v2/models").body).unwrap() };
    assert_eq!(names(), json!({ "models": ["first"] }));

    let variants = "variants = [{ name = \"ours\", model = \"ours.serin\", weight = 0 }, \
                    { name = \"theirs\", model = \"theirs.txt\", weight = 1 }]\n";
    fs::write(
        &settings,
        format!("{ONE}model = \"ours.serin\"\n\n[[serve.endpoints]]\nname = \"second\"\n{variants}"),
    )
    .unwrap();
    server.signal("HUP");
    server.wait_for("endpoints read again");
    assert_eq!(names(), json!({ "models": ["first", "second"] }));

    fs::write(&settings, "[serve]\nlisten = 7\n").unwrap();
    server.signal("HUP");
    server.wait_for("endpoints not read again: those in force stay");
    assert_eq!(names(), json!({ "models": ["first", "second"] }));

    let width = |endpoint: &str| {
        let model = get(folder.path(), &format!("/v2/models/{endpoint}"));
        let model: Value = serde_json::from_slice(&model.body).unwrap();
        usize::try_from(model["inputs"][0]["shape"][1].as_u64().unwrap()).unwrap()
    };
    let row = vec!["1"; width("second")].join(",");
    let headers = [("content-type", "text/csv"), ("x-amzn-sagemaker-inference-id", "asked")];
    let answer = post(folder.path(), "/endpoints/second/invocations", &headers, row.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("x-amzn-invoked-production-variant"), Some("theirs"));
    let explained =
        post(folder.path(), "/endpoints/second/invocations?explain=3", &headers[..1], row.as_bytes());
    let explained: Value = serde_json::from_slice(&explained.body).unwrap();
    let reasons = &explained["predictions"][0]["explanation"]["contributions"];
    assert_eq!(reasons.as_array().unwrap().len(), 3, "{explained}");

    // While the server has the data directory, labels go through it, and questions are answered beside it.
    fs::write(folder.path().join("truth.csv"), "id,label\nasked,2\n").unwrap();
    let told = run(folder.path(), &["labels", "import", "truth.csv", "--data-dir", "kept", "--json"])
        .expect(0)
        .json();
    assert_eq!(told["attached"].as_u64().unwrap() + told["waiting"].as_u64().unwrap(), 1, "{told}");
    let labelled = (0..200).any(|_| {
        thread::sleep(Duration::from_millis(50));
        let sql = "select label from inferences where id = 'asked'";
        run(folder.path(), &["query", sql, "--data-dir", "kept", "--csv"]).stdout == "label\n2\n"
    });
    assert!(labelled);

    server.signal("TERM");
    server.end().expect(0);
    assert_eq!(Serving::read(&folder.path().join("kept")).unwrap(), None, "nobody is asked who is not there");
}

#[test]
fn what_cannot_be_served_is_told_before_anything_listens() {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(data("bundle/bundle-2-trained.serin"), folder.path().join("ours.serin")).unwrap();
    for (settings, words, part) in [
        ("", vec!["ours.serin", "ours.serin"], "two endpoints are called `ours`"),
        ("", vec!["a b=ours.serin"], "`a b` cannot name an endpoint"),
        ("", vec!["ours.serin", "--default", "other"], "no endpoint `other`"),
        ("", vec!["nowhere.serin"], "nowhere.serin"),
        ("", vec!["ours.serin", "--classes", "a,b"], "--classes is for models trained elsewhere"),
        (
            "",
            vec!["ours.serin", "--tls-certificate", "x.pem", "--tls-key", "y.pem"],
            "x.pem holds no certificate",
        ),
    ] {
        fs::write(folder.path().join("serin.toml"), settings).unwrap();
        let listen = ["serve", "--config", "serin.toml", "--listen", "127.0.0.1:0", "--data-dir", "kept"];
        let ran = run(folder.path(), &[&listen[..], &words].concat()).expect(1);
        assert!(ran.stderr.contains(part), "{words:?}: {}", ran.stderr);
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let listen =
        ["serve", "ours.serin", "--listen", "127.0.0.1:0", "--admin-listen", &taken, "--data-dir", "kept"];
    let ran = run(folder.path(), &listen).expect(1);
    assert!(
        ran.stderr.contains("for health and metrics; name another address with `--admin-listen`"),
        "{}",
        ran.stderr
    );
    for (settings, part) in [
        ("[[serve.endpoints]]\nname = \"a\"\n", "endpoint \"a\" has no model"),
        ("[[serve.endpoints]]\nname = \"a\"\nmodle = \"b\"\n", "modle"),
        ("[[serve.endpoints]]\nname = \"a b\"\nmodel = \"b\"\n", "has the name \"a b\""),
        (
            "[[serve.endpoints]]\nname = \"a\"\nvariants = [{ name = \"x\", model = \"b\", weight = -1 }]\n",
            "weights that share nothing",
        ),
        (
            "[[serve.endpoints]]\nname = \"a\"\nmodel = \"b\"\n[[serve.endpoints]]\nname = \"a\"\nmodel = \"b\"\n",
            "two endpoints \"a\"",
        ),
        ("[serve]\ntls_key = \"k.pem\"\n", "serve.tls_certificate: is missing"),
        ("[serve]\nproxies = [\"here\"]\n", "serve.proxies: has \"here\""),
        ("[serve]\nadmin_listen = \"9090\"\n", "serve.admin_listen"),
    ] {
        fs::write(folder.path().join("serin.toml"), settings).unwrap();
        let ran = run(folder.path(), &["serve", "--config", "serin.toml"]).expect(78);
        assert!(ran.stderr.contains(part), "{settings:?}: {}", ran.stderr);
    }
    assert!(!folder.path().join("kept/serving.json").exists());
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../serin-ml/tests/data").join(name)
}

fn get(folder: &Path, path: &str) -> Answer {
    exchange(folder, format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes())
}

fn post(folder: &Path, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    exchange(folder, &request_to(path, headers, body))
}

/// Asks the server that serves this folder's data directory.
fn exchange(folder: &Path, bytes: &[u8]) -> Answer {
    let serving = Serving::read(&folder.join("kept")).unwrap().unwrap();
    let mut stream = connect(serving.url.strip_prefix("http://").unwrap().parse().unwrap());
    std::io::Write::write_all(&mut stream, bytes).unwrap();
    Answer::read(&mut stream)
}

#[test]
fn nothing_is_written_over_what_is_read_or_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::copy(data("foreign/lightgbm-multiclass.txt"), path("model.txt")).unwrap();
    let before = fs::read(path("model.txt")).unwrap();
    let refused = |words: &[&str], part: &str| {
        let ran = run(folder.path(), words).expect(1);
        assert!(ran.stderr.contains(part), "{words:?}: {}", ran.stderr);
    };
    refused(&["import", "model.txt", "--out", "model.txt"], "it is what is read");
    assert_eq!(fs::read(path("model.txt")).unwrap(), before);
    fs::create_dir(path("folder")).unwrap();
    refused(&["import", "model.txt", "--out", "folder"], "not a regular file");
    refused(&["inspect", "folder"], "not a regular file");

    let capture = serin_core::capture::CaptureOptions::new(path("kept"));
    drop(serin_core::capture::Capture::open(&capture, crate::serve::support::clock()).unwrap());
    let table = fs::read(path("kept/inferences.db")).unwrap();
    let export = [
        "capture",
        "export",
        "--from",
        "2026-01-01",
        "--to",
        "2026-12-01",
        "--format",
        "csv",
        "--data-dir",
        "kept",
    ];
    refused(&[&export[..], &["--out", "kept/inferences.db"]].concat(), "keeps its own files");
    refused(&[&export[..], &["--out", "kept/capture/new.csv"]].concat(), "keeps its own files");
    assert_eq!(fs::read(path("kept/inferences.db")).unwrap(), table);
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("model.txt", path("link.csv")).unwrap();
        refused(&[&export[..], &["--out", "link.csv"]].concat(), "not a regular file");
    }
}

#[test]
fn a_query_whose_reader_goes_away_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let capture = serin_core::capture::CaptureOptions::new(folder.path().join("kept"));
    drop(serin_core::capture::Capture::open(&capture, crate::serve::support::clock()).unwrap());
    let sql = "with recursive c(n) as (select 1 union all select n + 1 from c limit 300000) select n from c";
    for form in ["--csv", "--json"] {
        let words = ["query", form, "--limit", "0", "--data-dir", "kept", sql];
        Running::start_unread(&mut serin(folder.path(), &words)).end().expect(0);
    }
}
