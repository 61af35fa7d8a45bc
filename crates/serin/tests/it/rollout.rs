//! A version takes over under traffic: nobody is failed, and what is bad goes back by itself.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::Connection;
use serin_core::capture::{Serving, database};
use serin_core::domain::{RunState, VersionNumber, VersionState};
use serin_core::rollout::{Command as Said, End, Phase};
use serin_core::routes::Faults;
use serin_core::store::{ListOptions, StoredRollout};

use crate::pipeline::{Plant, append, write_project};
use crate::serve::support::{Answer, CSV, request_to};

const ROLLOUT: &str = "[stages.prod.rollout]\nsteps = [{ weight = 20, bake = \"1s\" }]\nfinal_bake = \"1s\"\n\
    min_requests = 100\nmirror = \"5s\"\nprobation = \"1h\"\nevidence_wait = \"30s\"\n\
    after_traffic = [{ check = \"captured\" }, { command = [\"sh\", \"-c\", \"test $SERIN_VERSION -gt 1\"] }]\n";

/// Rows to production all the time: what each caller was told.
struct Traffic {
    stops: Arc<AtomicBool>,
    callers: Vec<JoinHandle<BTreeMap<(u16, String), u64>>>,
}

impl Traffic {
    fn start(plant: &Plant) -> Self {
        let url = Serving::read(&plant.control.data_directory).unwrap().unwrap().url;
        let address: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
        let stops = Arc::new(AtomicBool::new(false));
        let callers = (0..3).map(|caller| {
            let stops = stops.clone();
            thread::spawn(move || ask(address, caller, &stops))
        });
        Self { callers: callers.collect(), stops }
    }

    /// Answers by status and version.
    fn stop(self) -> BTreeMap<(u16, String), u64> {
        self.stops.store(true, Ordering::Relaxed);
        let mut told = BTreeMap::new();
        for caller in self.callers {
            for (answer, count) in caller.join().unwrap() {
                *told.entry(answer).or_default() += count;
            }
        }
        told
    }
}

/// A caller as the protocol wants it: it closes when it is told to, and connects anew.
fn ask(address: SocketAddr, caller: u32, stops: &AtomicBool) -> BTreeMap<(u16, String), u64> {
    let mut told = BTreeMap::new();
    let mut stream: Option<TcpStream> = None;
    let mut i = caller;
    while !stops.load(Ordering::Relaxed) {
        i += 1;
        let row = format!("{},{}\n", f64::from(i % 70) / 10.0, f64::from(i % 13) / 7.0);
        let open = stream.get_or_insert_with(|| TcpStream::connect(address).unwrap());
        open.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        open.write_all(&request_to("/endpoints/prod/invocations", &[CSV], row.as_bytes())).unwrap();
        let answer = Answer::read(open);
        let version = answer.header("x-serin-model-version").unwrap_or("none").to_owned();
        if answer.header("connection") == Some("close") {
            stream = None;
        }
        *told.entry((answer.status, version)).or_default() += 1;
        thread::sleep(Duration::from_millis(4));
    }
    told
}

fn newest(plant: &Plant) -> Option<StoredRollout> {
    let rollouts = plant.control.store.rollouts(&ListOptions::default()).unwrap();
    rollouts.into_iter().find(|stored| stored.rollout.stage == "prod")
}

fn wait_for(plant: &Plant, what: &str, is_there: impl Fn(&StoredRollout) -> bool) -> StoredRollout {
    plant.wait(what, || newest(plant).filter(|stored| is_there(stored)))
}

#[test]
fn versions_take_over_and_go_back_and_no_request_fails_but_by_a_drill() {
    let plant = Plant::of(|project| {
        write_project(project, 2);
        append(&project.join("serin.toml"), ROLLOUT);
    });
    let store = plant.control.store.clone();
    let first = plant.ask();
    plant.approve("bob");
    assert_eq!(plant.wait_for_end(first).state, RunState::Succeeded);
    let first = newest(&plant).unwrap();
    assert_eq!(first.rollout.phase, Phase::Ended { end: End::Completed }, "the first is all at once");

    // A second version, nearly the same, and meanwhile the gateway's program is replaced.
    let traffic = Traffic::start(&plant);
    append(&plant.project().join("train.csv"), "1.5,0.5,c0\n");
    let second = plant.ask();
    plant.approve("bob");
    wait_for(&plant, "the canary", |stored| matches!(stored.rollout.phase, Phase::Shifting { .. }));
    let upgraded = Command::new("kill").args(["-USR2", &plant.gateway.id().to_string()]).status().unwrap();
    assert!(upgraded.success());
    let second = plant.wait_for_end(second);
    let events = store.events_of(second.number).unwrap();
    assert_eq!(second.state, RunState::Succeeded, "{events:#?}");
    let promoted = newest(&plant).unwrap().rollout;
    assert_eq!(promoted.phase, Phase::Probation);
    assert!(promoted.evidence.mirrored.rows() >= 100, "{:?}", promoted.evidence.mirrored.rows());
    assert!(promoted.evidence.canary().answered >= 200);
    assert_eq!(store.aliased("wine", "champion").unwrap().unwrap().number, VersionNumber(2));

    // A person goes back: at once, to the version that is warm.
    let now = plant.control.moments.now();
    let said = store.command_rollout(promoted.number, Said::Abort, "ann", "wrong since noon", now).unwrap();
    assert!(said.unwrap().is_ok());
    wait_for(&plant, "the way back", |stored| !stored.rollout.is_open());
    thread::sleep(Duration::from_millis(300));
    let told = traffic.stop();
    let failed: Vec<_> = told.iter().filter(|((status, _), _)| *status != 200).collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert!(told[&(200, "1".to_owned())] > 100 && told[&(200, "2".to_owned())] > 100, "{told:?}");
    assert_eq!(store.aliased("wine", "champion").unwrap().unwrap().number, VersionNumber(1));

    // A third one, which fails every other request once it has some of them.
    let traffic = Traffic::start(&plant);
    append(&plant.project().join("train.csv"), "1.6,0.5,c0\n");
    let third = plant.ask();
    plant.approve("bob");
    wait_for(&plant, "the canary", |stored| matches!(stored.rollout.phase, Phase::Shifting { .. }));
    let now = plant.control.moments.now();
    let faults = Faults { error_rate: 0.5, ..Faults::until(serin_core::clock::Timestamp(i64::MAX)) };
    let document = store.set_drill("prod", VersionNumber(3), Some(&faults), "ann", now).unwrap();
    plant.control.routes.publish(&document).unwrap();
    let third = plant.wait_for_end(third);
    let RunState::Failed { step, failure } = &third.state else { panic!("{third:#?}") };
    assert_eq!((step.as_str(), failure.code.as_str()), ("deploy-prod", "bad"), "{failure:?}");
    assert!(failure.reason.contains("failed"), "{failure:?}");
    let version = store.version(VersionNumber(3)).unwrap().unwrap();
    assert!(matches!(version.state, VersionState::Rejected { .. }), "{:?}", version.state);
    // Asked again without a new word of a person, it is not deployed.
    assert!(store.retry_run(third.number, Some("deploy-prod"), "ann", plant.control.moments.now()).unwrap());
    plant.control.engine.waker().wake();
    let again = plant.wait_for_end(third.number);
    let RunState::Failed { failure, .. } = &again.state else { panic!("{again:#?}") };
    assert_eq!(failure.code, "rejected");
    let told = traffic.stop();
    let failed: u64 = told.iter().filter(|((status, _), _)| *status != 200).map(|(_, count)| count).sum();
    let exposed: u64 = told.iter().filter(|((_, version), _)| version == "3").map(|(_, count)| count).sum();
    assert!(failed > 0 && failed + exposed < 400, "{told:?}");
    assert!(told.keys().all(|(status, _)| [200, 500].contains(status)), "{told:?}");

    // Rows say in which step they were answered.
    let table = Connection::open(database(&plant.control.data_directory)).unwrap();
    plant.wait("rows of the canary", || {
        let steps = "SELECT count(*) FROM inferences WHERE endpoint = 'prod' AND variant = 'Canary' AND rollout_step LIKE '%/step-1'";
        table.query_row(steps, [], |row| row.get::<_, i64>(0)).ok().filter(|count| *count > 20)
    });
}
