//! Webhooks of forges: forged, for something else, and genuine.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use serin_core::digest::Digest;

use super::{JSON, Plant, is, problem, told, write_project};

const SECRET: &str = "a secret of some length";
const PATH: &str = "/projects/wine/hooks/push";

/// HMAC-SHA256 as RFC 2104 writes it.
fn signature(secret: &[u8], body: &[u8]) -> String {
    let mut key = [0_u8; 64];
    key[..secret.len()].copy_from_slice(secret);
    let inner = [key.map(|byte| byte ^ 0x36).as_slice(), body].concat();
    let outer = [key.map(|byte| byte ^ 0x5c).as_slice(), Digest::of(&inner).as_bytes()].concat();
    format!("sha256={}", Digest::of(&outer))
}

fn git(folder: &Path, arguments: &[&str]) {
    let done = Command::new("git")
        .current_dir(folder)
        .args(["-c", "user.name=Ann", "-c", "user.email=ann@example.org"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn a_genuine_push_makes_us_look_and_a_forged_one_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let project = folder.path().join("wine");
    let secret = folder.path().join("secret");
    fs::write(&secret, format!("{SECRET}\n")).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let settings = format!(
        "[source]\nrepository = \".\"\nbranch = \"main\"\n[triggers.git]\npoll = \"1h\"\n\
         webhook_secret_file = {secret:?}\n"
    );
    write_project(&project, &settings);
    git(&project, &["init", "--quiet", "--initial-branch", "main"]);
    git(&project, &["add", "."]);
    git(&project, &["commit", "--quiet", "-m", "the first"]);
    let plant = Plant::start_in(folder);
    // The first look is news; the next would come in an hour.
    plant.wait("the first run", || plant.get("/runs")["items"][0]["number"].as_u64());
    let planned = plant.post("/projects/wine/runs", &json!({ "by": "ann", "dry_run": true })).1;
    assert_eq!(planned["revision"]["commit"].as_str().map(str::len), Some(40), "{planned}");
    git(&project, &["commit", "--quiet", "--allow-empty", "-m", "the second"]);

    let push = |branch: &str| {
        let after = "1f".repeat(20);
        let told = json!({ "ref": format!("refs/heads/{branch}"), "after": after,
            "repository": { "full_name": "team/wine" } });
        told.to_string()
    };
    let call = |headers: &[(&str, &str)], body: &str| {
        let headers: Vec<(&str, &str)> = [JSON].iter().chain(headers).copied().collect();
        told(&plant.ask("POST", PATH, &headers, body.as_bytes()))
    };
    let body = push("main");
    let genuine = signature(SECRET.as_bytes(), body.as_bytes());
    let other = signature(b"another secret, as long", body.as_bytes());
    let event = ("x-github-event", "push");
    for headers in [
        vec![event],
        vec![event, ("x-hub-signature-256", other.as_str())],
        vec![event, ("x-hub-signature-256", "sha256=")],
        vec![("x-gitlab-event", "Push Hook"), ("x-gitlab-token", "a secret of some lengtH")],
    ] {
        assert_eq!(problem(call(&headers, &body)), is(401, "hook_forged"), "{headers:?}");
    }
    let signed = |body: &str| signature(SECRET.as_bytes(), body.as_bytes());
    let changed = body.replace("team", "them");
    let forged = call(&[event, ("x-hub-signature-256", &genuine)], &changed);
    assert_eq!(problem(forged), is(401, "hook_forged"), "the body is signed");
    let ping = ("x-github-event", "ping");
    let (status, heard) = call(&[ping, ("x-hub-signature-256", &genuine)], &body);
    assert_eq!((status, &heard["looks"]), (200, &json!(false)), "{heard}");
    let elsewhere = push("elsewhere");
    let (status, heard) = call(&[event, ("x-hub-signature-256", &signed(&elsewhere))], &elsewhere);
    assert_eq!((status, &heard["reason"]), (200, &json!("branch elsewhere is not built")), "{heard}");
    let nonsense = call(&[event, ("x-hub-signature-256", &signed("{}"))], "{}");
    assert_eq!(problem(nonsense), is(422, "invalid_body"));
    std::thread::sleep(std::time::Duration::from_millis(700));
    assert_eq!(plant.get("/runs")["items"].as_array().unwrap().len(), 1);

    let (status, heard) = call(&[event, ("x-hub-signature-256", &genuine)], &body);
    assert_eq!((status, &heard["looks"]), (202, &json!(true)), "{heard}");
    let run = plant.wait("the second run", || {
        let runs = plant.get("/runs");
        (runs["items"].as_array().unwrap().len() == 2).then(|| runs["items"][0].clone())
    });
    assert_eq!(run["cause"]["name"], "commit", "{run}");
}
