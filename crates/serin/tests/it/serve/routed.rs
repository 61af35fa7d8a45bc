//! A gateway behind a route document: it follows what is published, keeps what it has when it cannot, and needs nobody.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use serin::fleet::{Fleets, FleetsOptions};
use serin::gateway::routed::RoutedEndpoints;
use serin_core::artifacts::Artifacts;
use serin_core::capture::Serving;
use serin_core::clock::{Clock as _, SystemClock, Timestamp};
use serin_core::digest::Digest;
use serin_core::domain::{Epoch, RunNumber, VersionNumber};
use serin_core::routes::{ModelRef, RouteDocument, RoutedEndpoint, RoutedVariant, RoutesFile};
use serin_ml::model::Bundle;

use super::support::{Answer, CSV, Server, connect, count, request_to};
use crate::commands::process::{Running, run, serin};

/// Two bundles.
const TRAINED: &str = "bundle/bundle-2-trained.serin";
const IMPORTED: &str = "bundle/bundle-2-imported.serin";

#[test]
fn nothing_is_deployed_yet_and_then_something_is() {
    let plane = ControlPlane::new();
    let server = plane.gateway();
    assert_eq!(server.get("/ping").status, 503);
    assert_eq!(admin(&server, "/health/ready").status, 503);
    assert_eq!(admin(&server, "/health/live").status, 200);
    let refused = server.post(&[CSV], b"1,2,3");
    assert_eq!((refused.status, refused.code().as_str()), (503, "no_endpoint"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    let by_name = server.post_to("/endpoints/prod/invocations", &[CSV], b"1,2,3");
    assert_eq!((by_name.status, by_name.header("x-amzn-errortype")), (503, Some("ServiceUnavailable")));
    let nothing =
        json!({ "epoch": null, "document": null, "default": null, "endpoints": {}, "refused": null });
    assert_eq!(routes(&server), nothing);

    let document = plane.publish(1, &[("dev", 1, TRAINED)]);
    wait_for(&server, |routes| routes["document"] == json!(document));
    assert_eq!(server.get("/ping").status, 200);
    assert_eq!(version(&server, "/invocations"), "1");
    server.stop();
}

#[test]
fn a_new_document_is_followed_without_a_word_and_rows_carry_version_and_run() {
    let plane = ControlPlane::new();
    plane.publish(1, &[("dev", 1, TRAINED)]);
    let server = plane.gateway();
    assert_eq!(version(&server, "/invocations"), "1");
    let document = plane.publish(1, &[("dev", 2, IMPORTED), ("prod", 1, TRAINED)]);
    let found = wait_for(&server, |routes| routes["document"] == json!(document));
    let variant = |version: &str, run: &str| json!({ "variants": [{ "name": "AllTraffic", "weight": 1.0, "model_version": version, "run": run }] });
    let expected = json!({
        "epoch": 1,
        "document": document,
        "default": "prod",
        "endpoints": { "dev": variant("2", "12"), "prod": variant("1", "11") },
        "refused": null,
    });
    assert_eq!(found, expected);
    assert_eq!(version(&server, "/endpoints/dev/invocations"), "2");
    assert_eq!(version(&server, "/invocations"), "1", "prod answers at the bare address once it is there");
    assert_eq!(server.metric("serin_routes_epoch"), 1.0);
    assert_eq!(server.metric("serin_endpoints_refused"), 0.0);

    plane.publish(2, &[]);
    wait_for(&server, |routes| routes["epoch"] == 2);
    assert_eq!(server.get("/ping").status, 503, "everything was taken away");
    let stopped = server.stop();
    let rows = |endpoint: &str, version: &str, run: &str| {
        stopped.count(&format!(
            "SELECT count(*) FROM inferences
             WHERE endpoint = '{endpoint}' AND model_version = '{version}' AND run = '{run}'"
        ))
    };
    assert_eq!([rows("dev", "1", "11"), rows("dev", "2", "12"), rows("prod", "1", "11")], [1, 1, 1]);
    assert_eq!(stopped.count("SELECT count(*) FROM endpoint_prod"), 1);
}

#[test]
fn no_request_fails_while_what_serves_changes() {
    let plane = ControlPlane::new();
    plane.publish(1, &[("prod", 1, TRAINED)]);
    let server = plane.gateway();
    let is_over = AtomicBool::new(false);
    let versions: Vec<u64> = thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let (mut stream, request) = (server.connect(), request_to("/invocations", &[CSV], &row(TRAINED)));
            let mut versions = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                stream.write_all(&request).unwrap();
                let answer = Answer::read(&mut stream);
                assert_eq!(answer.status, 200, "{}", answer.text());
                versions.push(answer.header("x-serin-model-version").unwrap().parse().unwrap());
            }
            versions
        });
        for number in 2..=6 {
            let document = plane.publish(number, &[("prod", number, TRAINED)]);
            wait_for(&server, |routes| routes["document"] == json!(document));
        }
        is_over.store(true, Ordering::Relaxed);
        asking.join().unwrap()
    });
    assert!(versions.is_sorted(), "no answer is of a version that was replaced before it was asked");
    assert!(versions.first() < versions.last());
    server.stop();
}

#[test]
fn what_cannot_be_served_changes_nothing_and_says_why() {
    let plane = ControlPlane::new();
    let in_force = plane.publish(3, &[("prod", 1, TRAINED)]);
    let server = plane.gateway();
    let good = fs::read(plane.current()).unwrap();
    let refuses = |epoch: Option<u64>, reason: &str| {
        let found = wait_for(&server, |routes| {
            routes["refused"]["reason"].as_str().is_some_and(|said| said.contains(reason))
        });
        assert_eq!(found["refused"]["epoch"], json!(epoch), "{found}");
        assert_eq!(found["document"], json!(in_force), "{found}");
        assert_eq!(version(&server, "/invocations"), "1");
        assert_eq!(server.metric("serin_endpoints_refused"), 1.0);
    };
    fs::write(plane.current(), &good[..good.len() / 2]).unwrap();
    refuses(None, "current.json is damaged: it is not a signed document");
    let other = ControlPlane::new();
    other.publish(9, &[("prod", 2, IMPORTED)]);
    fs::copy(other.current(), plane.current()).unwrap();
    refuses(None, "was not signed by this data directory's key, or changed since");
    fs::remove_file(plane.current()).unwrap();
    refuses(None, "the route document is gone");

    plane.spoil(IMPORTED, None);
    plane.publish(4, &[("dev", 1, TRAINED), ("prod", 2, IMPORTED)]);
    refuses(
        Some(4),
        "endpoint `prod` cannot be served: its model version 2 cannot be used: there is no artifact ",
    );
    let mut damaged = data(IMPORTED);
    plane.store(&damaged);
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    plane.spoil(IMPORTED, Some(&damaged));
    plane.publish(4, &[("prod", 2, IMPORTED)]);
    refuses(Some(4), "is damaged: its bytes have another digest");
    plane.store(&data(IMPORTED));
    let mut wrong = plane.endpoint("prod", 2, IMPORTED);
    wrong.variants[0].model.bundle = Digest::of(b"another").to_string();
    plane.publish_endpoints(4, vec![wrong]);
    refuses(Some(4), "the artifact holds another bundle: ");
    let mut wrong = plane.endpoint("prod", 2, IMPORTED);
    wrong.variants[0].model.artifact = plane.store(b"no bundle at all");
    plane.publish_endpoints(4, vec![wrong]);
    refuses(Some(4), "the artifact is no usable bundle: ");

    // A document of a past reign, put there by hand.
    fs::write(plane.current(), &good).unwrap();
    wait_for(&server, |routes| routes["refused"].is_null());
    plane.publish(5, &[("prod", 2, IMPORTED)]);
    wait_for(&server, |routes| routes["epoch"] == 5);
    fs::write(plane.current(), &good).unwrap();
    let found = wait_for(&server, |routes| !routes["refused"].is_null());
    let reason = "the route document has epoch 3, and that of epoch 5 is in force";
    assert_eq!(found["refused"], json!({ "epoch": 3, "reason": reason }));
    assert_eq!(version(&server, "/invocations"), "2");
    server.stop();
}

#[test]
fn a_gateway_that_starts_serves_the_document_before_one_that_it_cannot_use() {
    type Spoil = fn(&ControlPlane);
    let cases: [(&str, Spoil); 4] = [
        ("damaged", |plane| fs::write(plane.current(), b"{\"document\":\"").unwrap()),
        ("is gone", |plane| fs::remove_file(plane.current()).unwrap()),
        ("cannot be served", |plane| plane.spoil(IMPORTED, None)),
        ("not a regular file", |plane| {
            fs::remove_file(plane.current()).unwrap();
            fs::create_dir(plane.current()).unwrap();
        }),
    ];
    for (reason, spoil) in cases {
        let plane = ControlPlane::new();
        plane.publish(1, &[("prod", 1, TRAINED)]);
        plane.publish(2, &[("prod", 2, IMPORTED)]);
        spoil(&plane);
        let server = plane.gateway();
        let found = routes(&server);
        assert_eq!(found["epoch"], 1, "{found}");
        assert!(found["refused"]["reason"].as_str().unwrap().contains(reason), "{found}");
        assert_eq!(version(&server, "/invocations"), "1");
        assert_eq!(server.metric("serin_endpoints_refused"), 1.0);
        if reason == "cannot be served" {
            plane.store(&data(IMPORTED));
            server.reload.blocking_send(()).unwrap();
            wait_for(&server, |routes| routes["epoch"] == 2 && routes["refused"].is_null());
            assert_eq!(version(&server, "/invocations"), "2");
        }
        server.stop();
    }
}

#[test]
fn a_gateway_that_starts_serves_the_endpoints_that_it_can_when_no_document_is_whole() {
    for (damaged, stage, other) in [(IMPORTED, "dev", "prod"), (TRAINED, "prod", "dev")] {
        let plane = ControlPlane::new();
        let document = plane.publish(1, &[("dev", 1, TRAINED), ("prod", 2, IMPORTED)]);
        plane.spoil(damaged, Some(b"no bundle"));
        let server = plane.gateway();
        assert_eq!(server.get("/ping").status, 200);
        assert_eq!(
            version(&server, &format!("/endpoints/{stage}/invocations")),
            if stage == "dev" { "1" } else { "2" }
        );
        let refused = server.post_to(&format!("/v2/models/{other}/infer"), &[], b"{}");
        assert_eq!(
            refused.header("x-serin-error-code"),
            Some("no_endpoint"),
            "{other} is there, and not now"
        );
        // What is asked without a name is never answered by another stage than the one that should.
        let bare = server.post(&[CSV], b"1");
        assert_eq!(bare.code(), if stage == "prod" { "wrong_column_count" } else { "no_endpoint" });
        plane.store(&data(damaged));
        server.reload.blocking_send(()).unwrap();
        let found = wait_for(&server, |routes| routes["refused"].is_null());
        assert_eq!((&found["document"], &found["default"]), (&json!(document), &json!("prod")));
        assert_eq!(version(&server, "/invocations"), "2");
        server.stop();
    }
}

#[test]
fn nothing_usable_is_no_reason_to_end() {
    let plane = ControlPlane::new();
    plane.publish(1, &[("prod", 1, TRAINED)]);
    fs::write(plane.current(), "").unwrap();
    let server = plane.gateway();
    assert_eq!(server.get("/ping").status, 503);
    assert_eq!(server.post(&[CSV], b"1").code(), "no_endpoint");
    plane.publish(1, &[("prod", 1, TRAINED)]);
    wait_for(&server, |routes| routes["refused"].is_null());
    assert_eq!(version(&server, "/invocations"), "1");
    server.stop();
}

/// The gateway as a process of its own, killed and started again with nobody else about.
#[test]
fn after_its_own_death_it_serves_from_the_document_alone() {
    let plane = ControlPlane::new();
    plane.publish(1, &[("dev", 1, TRAINED), ("prod", 1, TRAINED)]);
    let start = || {
        let words = ["gateway", "--data-dir", ".", "--listen", "127.0.0.1:0"];
        let mut gateway = Running::start(&mut serin(plane.folder.path(), &words));
        gateway.wait_for("metrics on http://127.0.0.1:");
        gateway
    };
    let clock = SystemClock::new();
    let mut fastest = Duration::MAX;
    for round in 0..3 {
        let started = clock.monotonic();
        let gateway = start();
        let serving = Serving::read(plane.folder.path()).unwrap().unwrap();
        assert!(serving.admin.unwrap().starts_with("http://127.0.0.1:"));
        let mut stream = connect(serving.url.strip_prefix("http://").unwrap().parse().unwrap());
        let id = format!("round-{round}");
        let headers = [CSV, ("x-amzn-sagemaker-inference-id", id.as_str())];
        stream.write_all(&request_to("/invocations", &headers, &row(TRAINED))).unwrap();
        assert_eq!(Answer::read(&mut stream).status, 200);
        fastest = fastest.min(clock.monotonic().saturating_sub(started));
        gateway.signal("KILL");
        gateway.end();
    }
    // Two seconds are the promise; a busy machine may be late for some of the rounds.
    assert!(fastest < Duration::from_secs(2), "{fastest:?}");
    let last = start();
    last.signal("TERM");
    last.end().expect(0);
    let rows = "SELECT count(*) FROM inferences WHERE run = '11' AND id LIKE 'round-%'";
    assert_eq!(count(&plane.folder.path().join("inferences.db"), rows), 3);
}

#[test]
#[cfg(unix)]
fn a_key_that_others_can_read_is_told_before_anything_listens() {
    use std::os::unix::fs::PermissionsExt as _;
    let plane = ControlPlane::new();
    let key = plane.folder.path().join("keys/routes.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let ran = run(plane.folder.path(), &["gateway", "--data-dir", "."]).expect(1);
    assert!(ran.stderr.contains("keys/routes.key can be read by others; type `chmod 600 "), "{}", ran.stderr);
}

/// Whoever deploys: a data directory with artifacts and routes.
struct ControlPlane {
    folder: tempfile::TempDir,
    routes: RoutesFile,
    artifacts: Artifacts,
}

impl ControlPlane {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let routes = RoutesFile::open(folder.path()).unwrap();
        let artifacts = Artifacts::open(folder.path(), Timestamp(0)).unwrap();
        let plane = Self { folder, routes, artifacts };
        for name in [TRAINED, IMPORTED] {
            plane.store(&data(name));
        }
        plane
    }

    fn current(&self) -> PathBuf {
        self.routes.current()
    }

    fn store(&self, bytes: &[u8]) -> Digest {
        self.artifacts.put(bytes).unwrap()
    }

    /// Replaces the content of a bundle's artifact, or takes it away.
    fn spoil(&self, bundle: &str, bytes: Option<&[u8]>) {
        let path = self.artifacts.path(&Digest::of(&data(bundle)));
        fs::remove_file(&path).unwrap();
        if let Some(bytes) = bytes {
            fs::write(&path, bytes).unwrap();
        }
    }

    /// Version `number` was made by the run ten numbers above.
    fn endpoint(&self, stage: &str, number: u64, bundle: &str) -> RoutedEndpoint {
        let bytes = data(bundle);
        let model = ModelRef {
            number: VersionNumber(number),
            bundle: Bundle::decode(&bytes).unwrap().digest().to_owned(),
            artifact: Digest::of(&bytes),
            run: Some(RunNumber(10 + number)),
        };
        RoutedEndpoint {
            name: stage.to_owned(),
            project: "flowers".to_owned(),
            stage: stage.to_owned(),
            sticky_header: None,
            rollout: None,
            variants: vec![RoutedVariant {
                name: "AllTraffic".to_owned(),
                weight: 1.0,
                model,
                faults: None,
                serving: None,
            }],
        }
    }

    fn publish(&self, epoch: u64, stages: &[(&str, u64, &str)]) -> Digest {
        let each = stages.iter().map(|(stage, number, bundle)| self.endpoint(stage, *number, bundle));
        self.publish_endpoints(epoch, each.collect())
    }

    fn publish_endpoints(&self, epoch: u64, endpoints: Vec<RoutedEndpoint>) -> Digest {
        let document = RouteDocument::new(Epoch(epoch), Timestamp(0), endpoints, None).unwrap();
        self.routes.publish(&document).unwrap()
    }

    /// A gateway that follows these routes, and keeps its answers elsewhere.
    fn gateway(&self) -> Server {
        let options = FleetsOptions {
            data_directory: self.folder.path().to_owned(),
            program: env!("CARGO_BIN_EXE_serin").into(),
            scratch: self.folder.path().join("scratch"),
        };
        let fleets = Arc::new(Fleets::new(options, Arc::new(SystemClock::new())));
        let routed = RoutedEndpoints::open(self.folder.path(), Timestamp(0), fleets).unwrap();
        Server::start_of(routed.endpoints(), |_| {})
    }
}

fn data(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../serin-ml/tests/data").join(name)).unwrap()
}

/// A row that the bundle takes.
fn row(bundle: &str) -> Vec<u8> {
    let bundle = Bundle::decode(&data(bundle)).unwrap();
    vec!["1"; bundle.card.schema.fields.len()].join(",").into_bytes()
}

fn admin(server: &Server, path: &str) -> Answer {
    let mut stream = connect(server.admin_address);
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).unwrap();
    Answer::read(&mut stream)
}

fn routes(server: &Server) -> Value {
    serde_json::from_slice(&admin(server, "/routes").body).unwrap()
}

/// What the admin port says of routes, once it says what is wanted.
fn wait_for(server: &Server, is_there: impl Fn(&Value) -> bool) -> Value {
    let mut found = Value::Null;
    for _ in 0..500 {
        found = routes(server);
        if is_there(&found) {
            return found;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("not within 10 s: {found}");
}

/// The version that answers a row at `path`.
fn version(server: &Server, path: &str) -> String {
    let name = path.strip_prefix("/endpoints/").and_then(|rest| rest.split('/').next());
    let name = name.map_or_else(|| routes(server)["default"].as_str().unwrap().to_owned(), str::to_owned);
    let model: Value = serde_json::from_slice(&server.get(&format!("/v2/models/{name}")).body).unwrap();
    let width = usize::try_from(model["inputs"][0]["shape"][1].as_u64().unwrap()).unwrap();
    let answer = server.post_to(path, &[CSV], vec!["1"; width].join(",").as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.header("x-serin-model-version").unwrap().to_owned()
}
