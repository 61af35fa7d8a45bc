//! A trace of requests under a policy, in virtual time.

use std::fs;
use std::path::Path;

use super::process::run;

const TARGET: &str = "600 invocations per replica per minute";

/// Twenty requests a second for two minutes, then a hundred for four.
fn step(at: &Path) {
    let mut trace = "second,requests\n".to_owned();
    for second in 0..360 {
        trace.push_str(&format!("{second},{}\n", if second < 120 { 20 } else { 100 }));
    }
    fs::write(at.join("requests.csv"), trace).unwrap();
}

#[test]
fn a_trace_is_shown_as_tables_and_compared() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    step(at);
    let words = ["simulate", "scaling", "--trace", "requests.csv", "--target", TARGET, "--min", "2"];
    let slow = ["--service-time", "50ms", "--max", "20", "--compare"];
    let shown = run(at, &[&words[..], &slow].concat()).expect(0).stdout;
    let first = "as given: 2 to 20 replicas, 600 invocations per replica per minute";
    assert_eq!(shown.lines().next(), Some(first));
    for wanted in ["fast-out", "replica-hours", "p99 above 500 ms", "target tracking alone", "HPA", "KEDA"] {
        assert!(shown.contains(wanted), "{wanted}: {shown}");
    }
    let again = run(at, &[&words[..], &slow, &["--json"]].concat()).expect(0).json();
    assert_eq!(again["simulated"].as_array().unwrap().len(), 4);
    let ours = &again["simulated"][0];
    let slow = |i: usize| again["simulated"][i]["slow_seconds"].as_u64().unwrap();
    assert!(slow(0) <= 20 && slow(1) > 60, "{} {}", slow(0), slow(1));
    assert_eq!((&ours["rules"], &ours["result"]["requests"]), (&"Serin".into(), &26_400.into()));
    assert_eq!(ours["result"]["seconds"].as_array().unwrap().len(), 360);
}

#[test]
fn the_policy_is_a_stage_s_and_mistakes_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    step(at);
    fs::write(at.join("bad.csv"), "second,requests\n0,many\n").unwrap();
    let scaling = ["simulate", "scaling", "--trace", "requests.csv"];
    let refused = |more: &[&str], wanted: &str| {
        let ran = run(at, &[&scaling[..], more].concat()).expect(1);
        assert!(ran.stderr.contains(wanted) && ran.stdout.is_empty(), "{more:?}: {}", ran.stderr);
    };
    refused(&[], "stage prod has nothing that changes its number of replicas; give --target");
    refused(&["--stage", "live"], "there is no stage \"live\"; there is: dev, prod");
    refused(&["--target", "many"], "--target \"many\" is none; write such as");
    refused(&["--target", TARGET, "--min", "11"], "--min 11 is more than --max");
    refused(&["--target", TARGET, "--service-time", "20"], "--service-time \"20\" is no time");
    let bad = ["simulate", "scaling", "--trace", "bad.csv", "--target", TARGET];
    assert!(run(at, &bad).expect(1).stderr.contains("bad.csv:2: \"many\" is no number of requests; write"));
    let settings = format!("[stages.prod.replicas]\nruntime = \"process\"\nmax = 4\ntarget = \"{TARGET}\"\n");
    fs::write(at.join("serin.toml"), settings).unwrap();
    let shown = run(at, &scaling).expect(0).stdout;
    assert!(shown.starts_with("prod: 1 to 4 replicas, 600 invocations per replica per minute"), "{shown}");
    assert!(shown.contains("and 4 is the most"), "{shown}");
}
