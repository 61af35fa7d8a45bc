//! Replicas as people see them: listed, scaled by hand, drained and killed under requests, and every decision kept.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};
use serin_core::capture::Serving;

use crate::commands::process::{Ran, Running, serin};
use crate::control_api::{Plant, exchange, is, problem, told};
use crate::serve::support::{Answer, CSV, request_to};

const SETTINGS: &str = "[stages.dev.replicas]\nruntime = \"process\"\nmin = 2\nmax = 4\n";

/// Rows to the stage dev all the time.
struct Traffic {
    stops: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    caller: Option<JoinHandle<Vec<String>>>,
}

impl Traffic {
    fn start(plant: &Plant) -> Self {
        let address = gateway(plant).0;
        let (stops, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (ends, counts) = (stops.clone(), answered.clone());
        let caller = thread::spawn(move || {
            let mut failed = Vec::new();
            let mut i = 0_u32;
            while !ends.load(Ordering::Relaxed) {
                i += 1;
                let row = format!("{},{}\n", f64::from(i % 70) / 10.0, f64::from(i % 13) / 7.0);
                let mut stream = TcpStream::connect(address).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                stream.write_all(&request_to("/endpoints/dev/invocations", &[CSV], row.as_bytes())).unwrap();
                let answer = Answer::read(&mut stream);
                if answer.status == 200 {
                    counts.fetch_add(1, Ordering::Relaxed);
                } else {
                    failed.push(format!("{}: {}", answer.status, answer.text()));
                }
                thread::sleep(Duration::from_millis(5));
            }
            failed
        });
        Self { stops, answered, caller: Some(caller) }
    }

    /// Waits for so many more answers.
    fn wait(&self, plant: &Plant, more: u64) {
        let until = self.answered.load(Ordering::Relaxed) + more;
        plant.wait("answers", || (self.answered.load(Ordering::Relaxed) >= until).then_some(()));
    }

    /// What was answered otherwise than with a prediction.
    fn stop(mut self) -> Vec<String> {
        self.stops.store(true, Ordering::Relaxed);
        self.caller.take().unwrap().join().unwrap()
    }
}

/// Where the gateway listens, and its admin port.
fn gateway(plant: &Plant) -> (SocketAddr, SocketAddr) {
    let serving = Serving::read(&plant.data()).unwrap().unwrap();
    let address = |url: &str| url.strip_prefix("http://").unwrap().parse().unwrap();
    (address(&serving.url), address(&serving.admin.unwrap()))
}

fn typed(plant: &Plant, words: &[&str]) -> Ran {
    let url = format!("http://{}", plant.address());
    Running::start(serin(&plant.project(), words).env("SERIN_URL", url)).end()
}

/// A plant whose stage dev is answered by two replicas.
fn plant() -> Plant {
    let plant = Plant::start(SETTINGS).with_gateway();
    plant.run(&json!({ "by": "ann" }));
    // What comes before the question is deployed to dev.
    plant.approval();
    ready(&plant, 2);
    plant
}

/// The names of the replicas, once so many are ready and nothing else is there.
fn ready(plant: &Plant, wanted: usize) -> Vec<String> {
    plant.wait("the replicas", || {
        let fleets = plant.get("/replicas?project=wine&stage=dev");
        let replicas = fleets["items"][0]["replicas"].as_array()?.clone();
        let is_ready = replicas.iter().all(|replica| replica["state"] == "ready");
        let names = replicas.iter().map(|replica| replica["name"].as_str().unwrap().to_owned());
        (replicas.len() == wanted && is_ready).then(|| names.collect())
    })
}

/// Kills the process that is a replica: its socket is named after it.
fn kill(replica: &str) {
    let socket = format!("/{replica}.sock");
    let mut found = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let entry = entry.ok()?;
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let mut line = Vec::new();
        fs::File::open(entry.path().join("cmdline")).ok()?.read_to_end(&mut line).ok()?;
        String::from_utf8_lossy(&line).contains(&socket).then_some(pid)
    });
    let pid = found.next().expect("there is such a process");
    assert!(Command::new("sh").arg("-c").arg(format!("kill -9 {pid}")).status().unwrap().success());
}

#[test]
fn replicas_are_listed_scaled_drained_and_killed_and_nobody_is_failed() {
    let plant = plant();
    let traffic = Traffic::start(&plant);

    // By hand to three.
    let scaled = typed(&plant, &["scale", "--stage", "dev", "3", "--by", "ann"]).expect(0);
    assert!(scaled.stdout.contains("dev version 1: 3 replicas from now on, after 2"), "{scaled:?}");
    let names = ready(&plant, 3);
    let decision = plant.wait("the decision", || {
        let listed = typed(&plant, &["decisions", "--json"]).expect(0).json();
        let mut decisions = listed["items"].as_array().unwrap().clone().into_iter();
        decisions.find(|decision| decision["rule"] == "scale" && decision["verdict"] == "2 to 3")
    });
    assert_eq!(decision["explanation"], "dev version 1, by-hand: ann asked for 3");
    let number = decision["number"].to_string();
    let replayed = typed(&plant, &["replay", "decision", &number]).expect(0);
    assert!(replayed.stdout.contains("decided again, the same: 2 to 3"), "{replayed:?}");
    let explained = typed(&plant, &["autoscale", "explain", &number]).expect(0);
    for wanted in ["dev version 1 went up to 3 replicas, from 2", "a person said how many", "2 to 4"] {
        assert!(explained.stdout.contains(wanted), "{wanted}: {explained:?}");
    }
    assert_eq!(explained.stdout, typed(&plant, &["autoscale", "explain", "--stage", "dev"]).expect(0).stdout);
    typed(&plant, &["explain", "decision", &number]).expect(0);

    // One is drained, and another comes.
    let drained = typed(&plant, &["replica", "drain", &names[0], "--by", "bob"]).expect(0);
    assert!(drained.stdout.starts_with(&names[0]), "{drained:?}");
    let names = plant.wait("another replica", || {
        let now = ready(&plant, 3);
        (!now.contains(&names[0])).then_some(now)
    });

    // One dies at once.
    traffic.wait(&plant, 50);
    kill(&names[1]);
    plant.wait("another replica", || (!ready(&plant, 3).contains(&names[1])).then_some(()));
    traffic.wait(&plant, 50);

    let listed = typed(&plant, &["replicas", "--stage", "dev"]).expect(0);
    assert!(listed.stdout.contains("dev version 1: 3 of 3 ready, 2 to 4 are possible"), "{listed:?}");
    assert!(listed.stdout.contains("1 ended unasked") && listed.stdout.contains(&names[2]), "{listed:?}");
    assert_eq!(traffic.stop(), Vec::<String>::new());

    // Who did what is history.
    let events = plant.get("/events?last=1000");
    let event = |kind: &str| {
        let found = events["items"].as_array().unwrap().iter().find(|event| event["kind"] == kind).cloned();
        found.unwrap_or_else(|| panic!("no {kind}: {events}"))
    };
    assert_eq!(event("replicas-scaled")["facts"]["by"], "ann");
    assert_eq!(event("replicas-scaled")["project"], "wine");
    assert_eq!(event("replica-drained")["facts"]["by"], "bob");

    how_it_stands(&plant);
    what_is_counted(&plant);
    refused(&plant);
}

/// `serin autoscale`, and each decision kept once.
fn how_it_stands(plant: &Plant) {
    let status = typed(plant, &["autoscale", "status", "--stage", "dev"]).expect(0);
    assert!(status.stdout.contains("3 (3 ready)") && status.stdout.contains("2 to 4"), "{status:?}");
    let status = typed(plant, &["autoscale", "status", "--stage", "dev", "--json"]).expect(0).json();
    let stands = &status["items"][0];
    assert_eq!((&stands["desired"], &stands["rules"]), (&json!(3), &json!([])), "{status}");
    assert!(stands["last_minute"].as_object().unwrap().contains_key("in flight per replica"), "{status}");
    // The control plane looks every few seconds; nothing is kept twice.
    thread::sleep(Duration::from_secs(7));
    let history = typed(plant, &["autoscale", "history", "--stage", "dev", "--json"]).expect(0).json();
    let by_hand: Vec<&Value> =
        history["items"].as_array().unwrap().iter().filter(|one| one["rule"] == "by-hand").collect();
    assert_eq!(by_hand.len(), 1, "{history}");
    assert_eq!((&by_hand[0]["from"], &by_hand[0]["to"]), (&json!(2), &json!(3)), "{history}");
    assert!(
        typed(plant, &["autoscale", "history", "--stage", "dev"])
            .expect(0)
            .stdout
            .contains("ann asked for 3")
    );
}

fn what_is_counted(plant: &Plant) {
    let (_, admin) = gateway(plant);
    let text = exchange(admin, "GET", "//metrics", &[], b"").text().to_owned();
    for wanted in [
        "serin_replicas_ready{endpoint=\"dev\"} 3\n",
        "serin_replicas_desired{endpoint=\"dev\"} 3\n",
        "serin_replicas_missing{endpoint=\"dev\"} 0\n",
        "serin_replica_ends_total{endpoint=\"dev\"} 1\n",
        "serin_replica_failures_total{endpoint=\"dev\",kind=\"hang\"} ",
    ] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    plant.wait("the metrics of replicas", || {
        let asked =
            typed(plant, &["metrics", "query", "Maximum(replicas_ready{endpoint=\"dev\"}[1m])", "--json"]);
        (asked.expect(0).json()["value"] == 3.0).then_some(())
    });
}

/// What cannot be is refused, and says what to do.
fn refused(plant: &Plant) {
    for (words, wanted) in [
        (&["scale", "--stage", "nowhere", "3"][..], "there is no stage nowhere"),
        (&["scale", "--stage", "prod", "3"], "nothing serves prod yet"),
        (&["scale", "--stage", "dev", "0"], "0 replicas are not possible, 2 to 4 are now; change min or max"),
        (&["scale", "--stage", "dev", "1000000"], "2 to 4 are now"),
        (&["scale", "--stage", "dev", "3", "--version", "9"], "there is 1"),
        (&["replica", "drain", "nobody"], "`serin replicas` lists"),
        (&["autoscale", "status", "--stage", "nowhere"], "there is no stage nowhere"),
        (&["autoscale", "explain", "--stage", "prod"], "nothing was decided"),
        (&["autoscale", "explain", "999999"], "there is no decision 999999"),
    ] {
        let ran =
            typed(plant, &[words, if words[0] == "autoscale" { &[] } else { &["--by", "ann"] }].concat())
                .expect(1);
        assert!(ran.stderr.contains(wanted) && ran.stdout.is_empty(), "{words:?}: {ran:?}");
    }
    for words in
        [&["scale", "--stage", "dev", "many"][..], &["scale", "--stage", "dev", "-1"], &["scale", "3"]]
    {
        typed(plant, words).expect(2);
    }
    let scale = |body: Value| problem(plant.post("/projects/wine/stages/dev/scale", &body));
    assert_eq!(scale(json!({ "desired": 1_000_000, "by": "ann" })), is(422, "replicas_out_of_range"));
    assert_eq!(scale(json!({ "desired": -1, "by": "ann" })), is(422, "invalid_body"));
    assert_eq!(scale(json!({ "desired": 3, "by": " " })), is(422, "incomplete"));

    // Nobody who does not have the key of the data directory.
    let (_, admin) = gateway(plant);
    let command =
        json!({ "command": "scale", "endpoint": "dev", "version": null, "desired": 4, "by": "eve", "at": 0 });
    let body = command.to_string();
    for headers in [&[][..], &[("x-serin-signature", "00")]] {
        let answer = exchange(admin, "POST", "//replicas/commands", headers, body.as_bytes());
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(answer.text().contains("not signed"), "{}", answer.text());
    }
    assert_eq!(exchange(admin, "GET", "//replicas/commands", &[], b"").status, 405);
    assert_eq!(ready(plant, 3).len(), 3);
}

#[test]
fn without_a_gateway_they_say_what_to_start() {
    let plant = Plant::start(SETTINGS);
    let unreachable = |answer: Answer| {
        let (status, said) = told(&answer);
        assert!(said["detail"].as_str().unwrap().contains("start `serin up` or `serin gateway`"), "{said}");
        problem((status, said))
    };
    assert_eq!(unreachable(plant.ask("GET", "/replicas", &[], b"")), is(503, "gateway_unreachable"));
    let drain = plant.ask("POST", "/replicas/r/drain", &[crate::control_api::JSON], b"{\"by\":\"ann\"}");
    assert_eq!(unreachable(drain), is(503, "gateway_unreachable"));
    // Nothing was deployed: that is what is wrong first.
    let scaled = plant.post("/projects/wine/stages/dev/scale", &json!({ "desired": 2, "by": "ann" }));
    assert_eq!(problem(scaled), is(409, "conflict"));
    assert_eq!(plant.get("/projects/wine/stages/dev/autoscale/history")["items"], json!([]));
}

#[test]
fn a_model_that_only_its_own_program_reads_goes_all_the_way() {
    let serin = env!("CARGO_BIN_EXE_serin");
    // What training leaves is a file that Serin does not look into; the program that serves it names classes and nothing else.
    let train = format!(
        "{serin} train --data $SM_CHANNEL_TRAIN/train.csv --target label --trials 8 --out out; \
         cp out/model.serin $SM_MODEL_DIR/opaque.serin && echo kept > $SM_MODEL_DIR/notes.txt"
    );
    let serve = format!(
        "test -f $SM_MODEL_DIR/notes.txt && exec {serin} container serve --model-folder $SM_MODEL_DIR \
         --listen 127.0.0.1:$SAGEMAKER_BIND_TO_PORT"
    );
    let settings = format!(
        "[stages.dev.replicas]\nmin = 2\nmax = 3\n[steps.train]\ncommand = [\"sh\", \"-c\", {train:?}]\n\
         [steps.serve]\ncommand = [\"sh\", \"-c\", {serve:?}]\n"
    );
    let plant = Plant::start(&settings).with_gateway();
    let run = plant.run(&json!({ "by": "ann" }));
    plant.approval();
    ready(&plant, 2);
    let shown = plant.get(&format!("/runs/{run}"));
    assert!(shown.to_string().contains("deploy-dev"), "{shown}");

    let address = gateway(&plant).0;
    let answer = exchange(address, "POST", "//endpoints/dev/invocations", &[CSV], b"0.5,0.5\n7.5,0.5\n");
    assert_eq!((answer.status, answer.text()), (200, "c0\nc2\n"));
    let (status, said) =
        told(&exchange(address, "POST", "//invocations", &[crate::control_api::JSON], b"[[0.5, 0.5]]"));
    assert_eq!((status, &said["predictions"]), (200, &json!([{ "class": "c0" }])));
    // Rows that do not fit never reach it.
    let refused = exchange(address, "POST", "//invocations", &[CSV], b"0.5\n");
    assert_eq!(refused.status, 422, "{}", refused.text());

    // A program that does not start is told as such, and what serves stays.
    let broken = settings.replace("test -f", "test -d");
    crate::control_api::write_project(&plant.project(), &broken);
    let second = plant.run(&json!({ "by": "ann" }));
    let ended = plant.ended(second);
    assert_eq!(ended["state"]["name"], "failed", "{ended}");
    let log = typed(&plant, &["run", "logs", &second.to_string(), "--step", "train"]);
    assert!(log.stdout.contains("the program of the model"), "{log:?}");
    let answer = exchange(address, "POST", "//invocations", &[CSV], b"0.5,0.5\n");
    assert_eq!((answer.status, answer.text()), (200, "c0\n"));
}
