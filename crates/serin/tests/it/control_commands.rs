//! The commands of a control plane: what they say when nobody answers, and what they send and make of answers.

mod odd;
mod story;

use std::fs;

use serin::control::ControlNote;

use crate::commands::process::{Running, run, serin};

/// A command of each kind that needs a control plane.
const ASKING: [&[&str]; 28] = [
    &["status"],
    &["run"],
    &["run", "--watch"],
    &["run", "show", "1"],
    &["run", "logs", "1"],
    &["run", "cancel", "1", "--reason", "x"],
    &["run", "retry", "1"],
    &["runs"],
    &["approvals"],
    &["approval", "show", "1"],
    &["approve", "1", "--reason", "x"],
    &["versions"],
    &["version", "reject", "1", "--reason", "x"],
    &["alias", "champion", "1"],
    &["tag", "1", "a=b"],
    &["compare", "1", "2"],
    &["endpoints"],
    &["deploy", "1", "--stage", "dev"],
    &["rollback", "--stage", "prod"],
    &["replicas"],
    &["replica", "drain", "r"],
    &["scale", "--stage", "prod", "2"],
    &["autoscale", "status"],
    &["lineage", "1"],
    &["who-served", "2026-11-22T10:00:00Z"],
    &["trigger", "list"],
    &["events"],
    &["destroy", "--yes"],
];

#[test]
fn without_a_control_plane_they_say_what_to_type() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for words in ASKING {
        let ran = run(at, words).expect(1);
        assert!(
            ran.stderr.contains("there is no serin-data/control.json. Type `serin up`")
                && ran.stdout.is_empty(),
            "{words:?}: {}",
            ran.stderr
        );
    }
    // One that was killed leaves its note behind; the port is one that nobody listens on.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    fs::create_dir(at.join("elsewhere")).unwrap();
    ControlNote { url: url.clone() }.write(&at.join("elsewhere")).unwrap();
    let wanted = format!("serin: nobody answers at {url}: type `serin up`");
    for words in [&["status", "--data-dir", "elsewhere"][..], &["status", "--url", &url]] {
        let ran = run(at, words).expect(1);
        assert!(ran.stderr.starts_with(&wanted), "{words:?}: {}", ran.stderr);
    }
    // The settings of this folder name the data directory.
    fs::write(at.join("serin.toml"), "[serve]\ndata_dir = \"elsewhere\"\n").unwrap();
    assert!(run(at, &["runs"]).expect(1).stderr.starts_with(&wanted));
    let by_variable = Running::start(serin(at, &["runs"]).env("SERIN_URL", "ftp://x")).end().expect(1);
    assert!(by_variable.stderr.contains("ftp://x is no address of a control interface"), "{by_variable:?}");
}

#[test]
fn wrong_command_lines_are_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [(&[&str], &str); 18] = [
        (&["run", "shwo", "1"], "show"),
        (&["run", "show"], "RUN"),
        (&["run", "show", "-1"], "-1"),
        (&["run", "--watch", "--dry-run"], "cannot be used with"),
        (&["run", "logs", "1", "--attempt", "2"], "--step"),
        (&["run", "cancel", "1"], "--reason"),
        (&["approve", "1"], "--reason"),
        (&["reject", "one", "--reason", "x"], "one"),
        (&["alias", "champion"], "VERSION"),
        (&["alias", "champion", "3", "--remove"], "cannot be used with"),
        (&["tag", "3", "=x"], "KEY=VALUE"),
        (&["deploy", "3"], "--stage"),
        (&["scale", "3"], "--stage"),
        (&["replicas", "--watch", "--json"], "cannot be used with"),
        (&["who-served", "noon"], "is not a time"),
        (&["runs", "--limit", "0"], "1..=1000"),
        (&["experiments", "compare", "1"], "RUN"),
        (&["destroy", "--dry-run", "--yes"], "cannot be used with"),
    ];
    for (words, wanted) in cases {
        let ran = run(folder.path(), words).expect(2);
        assert!(ran.stderr.contains(wanted) && ran.stdout.is_empty(), "{words:?}: {}", ran.stderr);
    }
}
