//! Containers as scripts/prove-containers tries them.
//!
//!     toy_containers suite IMAGE MODEL_FOLDER     the suite of replicas
//!     toy_containers hold IMAGE MODEL_FOLDER OWNER  starts a replica, prints where it answers, and waits to be killed
//!     toy_containers adopt OWNER [stop]           the replicas of an owner, a line each; stopped when that is asked for

#[path = "../tests/it/runtime/replica_suite.rs"]
mod replica_suite;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serin_core::runtime::container::{ContainerReplicas, ReplicaContainers};
use serin_core::runtime::{ReplicaLimits, ReplicaProgram, ReplicaRuntime as _, ReplicaSpec};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["suite", image, model] => suite(image, Path::new(model)),
        ["hold", image, model, owner] => hold(image, Path::new(model), owner),
        ["adopt", owner] => adopt(owner, false),
        ["adopt", owner, "stop"] => adopt(owner, true),
        _ => Err("toy_containers suite IMAGE MODEL | hold IMAGE MODEL OWNER | adopt OWNER [stop]".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn suite(image: &str, model: &Path) -> Result<(), String> {
    let runtime = ContainerReplicas::new(ReplicaContainers::default());
    let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
    let bench = replica_suite::Bench {
        runtime: &runtime,
        owner: format!("suite-{}", std::process::id()),
        program: ReplicaProgram::Image(image.to_owned()),
        model: model.to_owned(),
        scratch: scratch.path().to_owned(),
        environment: Vec::new(),
        question: ("text/csv", "1,2,3"),
        is_right: &|answer| answer.ends_with(":1,2,3"),
        slow: Some("slow"),
        broken: ("BROKEN", "no model that I know"),
        stubborn: Some("STUBBORN"),
        absent: ReplicaProgram::Image("serin-none:1".to_owned()),
    };
    let mut wrong = 0;
    for (name, checked) in replica_suite::run(&bench) {
        match checked {
            Ok(()) => println!("ok    {name}"),
            Err(error) => {
                wrong += 1;
                println!("WRONG {name}: {error}");
            }
        }
    }
    if wrong == 0 { Ok(()) } else { Err(format!("{wrong} of the suite's checks failed")) }
}

fn hold(image: &str, model: &Path, owner: &str) -> Result<(), String> {
    let spec = ReplicaSpec {
        directory: None,
        name: "held".to_owned(),
        owner: owner.to_owned(),
        labels: [("endpoint".to_owned(), "prod".to_owned())].into(),
        program: ReplicaProgram::Image(image.to_owned()),
        model: model.to_owned(),
        scratch: PathBuf::from("/tmp"),
        environment: Vec::new(),
        limits: ReplicaLimits { memory_bytes: 64 << 20, processes: 8, open_files: 256, cpus: None },
    };
    let replicas = ContainerReplicas::new(ReplicaContainers::default());
    let replica = replicas.start(&spec).map_err(|error| error.to_string())?;
    println!("{}", replica.address());
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn adopt(owner: &str, is_stopped: bool) -> Result<(), String> {
    let replicas = ContainerReplicas::new(ReplicaContainers::default());
    for found in replicas.adopt(owner).map_err(|error| error.to_string())? {
        let name = found.replica.name();
        println!("{name} {} {:?} {:?}", found.replica.address(), found.labels, found.replica.usage());
        if is_stopped {
            found.replica.stop();
            while found.replica.ended().is_none() {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
    Ok(())
}
