//! What every runtime of replicas does, whatever a replica is to it. Processes and containers run this one suite; where
//! they may differ, [`Capabilities`](serin_core::runtime::Capabilities) says so.
//!
//! Included by path where a runtime can be tried: it knows the seam and nothing else.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serin_core::clock::{Clock as _, SystemClock};
use serin_core::runtime::{
    Adopted, Replica, ReplicaAddress, ReplicaEnd, ReplicaLimits, ReplicaProgram, ReplicaRuntime, ReplicaSpec,
};

/// A program that serves, and how to make it misbehave.
pub struct Bench<'a> {
    pub runtime: &'a dyn ReplicaRuntime,
    /// Nobody else's.
    pub owner: String,
    pub program: ReplicaProgram,
    /// The folder with the model.
    pub model: PathBuf,
    /// A folder of the suite's own, which every replica has a folder in.
    pub scratch: PathBuf,
    pub environment: Vec<(String, String)>,
    /// A body for `/invocations` and whether an answer to it is right.
    pub question: (&'a str, &'a str),
    pub is_right: &'a dyn Fn(&str) -> bool,
    /// A body whose answer takes about half a second, when there is one.
    pub slow: Option<&'a str>,
    /// Variables that keep it from starting, and what it says then.
    pub broken: (&'a str, &'a str),
    /// Variables that make it deaf to being asked to stop, when that can be.
    pub stubborn: Option<&'a str>,
    /// A program that is not there.
    pub absent: ReplicaProgram,
}

/// How long anything may take that should happen soon.
const SOON: Duration = Duration::from_secs(20);
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

type Check = fn(&Bench<'_>) -> Result<(), String>;

/// Every check with its outcome, in order. None leaves anything for the next.
pub fn run(bench: &Bench<'_>) -> Vec<(&'static str, Result<(), String>)> {
    let checks: [(&'static str, Check); 9] = [
        ("starts, answers, is measured", answers),
        ("stops when it is asked", stops),
        ("answers what it began before it stops", drains),
        ("is killed at once", is_killed),
        ("is killed when it does not stop", stubborn),
        ("its death is noticed, with what it said", dies),
        ("what is not there is refused with a reason", absent),
        ("several are apart", several),
        ("is found again, or ends with its gateway", outlives),
    ];
    let check = |(name, check): (&'static str, Check)| {
        let checked = check(bench).and_then(|()| bench.nothing_is_left());
        (name, checked)
    };
    checks.into_iter().map(check).collect()
}

fn answers(bench: &Bench<'_>) -> Result<(), String> {
    let replica = bench.started("answers")?;
    is(replica.name() == bench.name("answers"), "its name is another")?;
    let (content_type, body) = bench.question;
    let answer = post(replica.address(), content_type, body)?;
    is((bench.is_right)(&answer), &format!("it answers {answer:?}"))?;
    is(replica.ended().is_none(), "it counts as ended")?;
    let usage = soon("it is measured", || replica.usage().filter(|usage| usage.memory_bytes > 0))?;
    is(usage.memory_bytes < 8 << 30, "it uses more memory than there is")?;
    let said = replica.last_output();
    is(said.as_deref() != Some(""), "nothing said is told as a text")?;
    replica.kill();
    ended(replica.as_ref()).map(drop)
}

fn stops(bench: &Bench<'_>) -> Result<(), String> {
    let replica = bench.started("stops")?;
    let clock = SystemClock::new();
    let began = clock.monotonic();
    replica.stop();
    is(clock.monotonic().saturating_sub(began) < Duration::from_secs(2), "stop waits for the end")?;
    let end = ended(replica.as_ref())?;
    is(end.is_wanted, "nobody wanted its end")?;
    is(!end.reason.is_empty(), "its end has no reason")?;
    is(ping(replica.address()).is_err(), "it answers after its end")?;
    // Once more changes nothing.
    replica.stop();
    replica.kill();
    is(replica.ended() == Some(end), "it ended twice")
}

fn drains(bench: &Bench<'_>) -> Result<(), String> {
    let Some(slow) = bench.slow else { return Ok(()) };
    let replica = bench.started("drains")?;
    let asked = {
        let (address, content_type, slow) =
            (replica.address().clone(), bench.question.0.to_owned(), slow.to_owned());
        thread::spawn(move || post(&address, &content_type, &slow))
    };
    thread::sleep(Duration::from_millis(200));
    replica.stop();
    let answer = asked.join().map_err(|_| "the question ended in a panic".to_owned())??;
    is(answer.ends_with(slow), &format!("what was asked before got {answer:?}"))?;
    ended(replica.as_ref()).map(drop)
}

fn is_killed(bench: &Bench<'_>) -> Result<(), String> {
    let replica = bench.started("killed")?;
    replica.kill();
    let end = ended(replica.as_ref())?;
    is(end.is_wanted, "nobody wanted its end")
}

fn stubborn(bench: &Bench<'_>) -> Result<(), String> {
    let Some(variable) = bench.stubborn else { return Ok(()) };
    let mut spec = bench.spec("stubborn");
    spec.environment.push((variable.to_owned(), "1".to_owned()));
    let replica = bench.ready(&spec)?;
    replica.stop();
    thread::sleep(Duration::from_secs(2));
    is(replica.ended().is_none(), "it is killed before its time")?;
    // The rest of the time is not waited for here.
    replica.kill();
    let end = ended(replica.as_ref())?;
    is(end.is_wanted, "nobody wanted its end")
}

fn dies(bench: &Bench<'_>) -> Result<(), String> {
    let (variable, says) = bench.broken;
    let mut spec = bench.spec("dies");
    spec.environment.push((variable.to_owned(), "1".to_owned()));
    match bench.runtime.start(&spec) {
        // It was faster.
        Err(error) => is(error.to_string().contains(says), &format!("the reason is {error}")),
        Ok(replica) => {
            let end = ended(replica.as_ref())?;
            is(!end.is_wanted, "it counts as stopped")?;
            let said = replica.last_output().unwrap_or_default();
            is(said.contains(says), &format!("{}, and what it said is {said:?}", end.reason))
        }
    }
}

fn absent(bench: &Bench<'_>) -> Result<(), String> {
    let spec = ReplicaSpec { program: bench.absent.clone(), ..bench.spec("absent") };
    match bench.runtime.start(&spec) {
        Err(error) => is(error.to_string().len() > 10, "there is no reason"),
        // A process may be found missing a moment later.
        Ok(replica) => ended(replica.as_ref()).map(drop),
    }
}

fn several(bench: &Bench<'_>) -> Result<(), String> {
    let names = ["one", "two", "three"];
    let replicas =
        names.map(|name| bench.runtime.start(&bench.spec(name)).map_err(|error| error.to_string()));
    let replicas = replicas.into_iter().collect::<Result<Vec<_>, String>>()?;
    let mut addresses: Vec<String> = replicas.iter().map(|replica| replica.address().to_string()).collect();
    addresses.sort();
    addresses.dedup();
    is(addresses.len() == names.len(), "two share an address")?;
    for replica in &replicas {
        soon("each answers", || ping(replica.address()).ok())?;
    }
    replicas[0].kill();
    ended(replicas[0].as_ref())?;
    is(ping(replicas[1].address()).is_ok(), "the end of one ended another")?;
    replicas[1..].iter().for_each(|replica| replica.stop());
    replicas[1..].iter().try_for_each(|replica| ended(replica.as_ref()).map(drop))
}

fn outlives(bench: &Bench<'_>) -> Result<(), String> {
    let labels: BTreeMap<String, String> = [("endpoint", "prod"), ("version", "7")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let spec = ReplicaSpec { labels: labels.clone(), ..bench.spec("outlives") };
    let replica = bench.ready(&spec)?;
    let address = replica.address().clone();
    drop(replica);
    if !bench.runtime.capabilities().adopts {
        soon("it ends with its last handle", || ping(&address).is_err().then_some(()))?;
        return is(bench.adopt()?.is_empty(), "it is found again");
    }
    thread::sleep(Duration::from_millis(300));
    let others =
        bench.runtime.adopt(&format!("{}-another", bench.owner)).map_err(|error| error.to_string())?;
    is(others.is_empty(), "another owner finds it")?;
    let mut found = bench.adopt()?;
    is(found.len() == 1, &format!("{} are found", found.len()))?;
    let Adopted { labels: found_labels, replica } = found.remove(0);
    is(found_labels == labels, &format!("its labels are {found_labels:?}"))?;
    is(replica.name() == spec.name, "its name is another")?;
    is(*replica.address() == address, "its address is another")?;
    let (content_type, body) = bench.question;
    let answer = post(replica.address(), content_type, body)?;
    is((bench.is_right)(&answer), &format!("it answers {answer:?}"))?;
    replica.stop();
    ended(replica.as_ref()).map(drop)
}

impl Bench<'_> {
    fn name(&self, name: &str) -> String {
        format!("suite-{name}")
    }

    fn spec(&self, name: &str) -> ReplicaSpec {
        ReplicaSpec {
            directory: None,
            name: self.name(name),
            owner: self.owner.clone(),
            labels: BTreeMap::new(),
            program: self.program.clone(),
            model: self.model.clone(),
            scratch: self.scratch.join(name),
            environment: self.environment.clone(),
            limits: ReplicaLimits {
                memory_bytes: 1 << 30,
                processes: 64,
                open_files: 1_024,
                cpus: Some(1.0),
            },
        }
    }

    fn ready(&self, spec: &ReplicaSpec) -> Result<Arc<dyn Replica>, String> {
        let replica = self.runtime.start(spec).map_err(|error| error.to_string())?;
        soon("it answers /ping", || ping(replica.address()).ok()).map_err(|error| {
            format!("{error}; {:?}; it said {:?}", replica.ended(), replica.last_output())
        })?;
        Ok(replica)
    }

    fn started(&self, name: &str) -> Result<Arc<dyn Replica>, String> {
        self.ready(&self.spec(name))
    }

    fn adopt(&self) -> Result<Vec<Adopted>, String> {
        self.runtime.adopt(&self.owner).map_err(|error| error.to_string())
    }

    /// Neither replicas nor files of theirs.
    fn nothing_is_left(&self) -> Result<(), String> {
        soon("nothing is left", || self.adopt().ok().filter(Vec::is_empty))?;
        let files = std::fs::read_dir(&self.scratch).map_or(0, Iterator::count);
        is(files == 0, &format!("{files} folders are left in {}", self.scratch.display()))
    }
}

fn is(condition: bool, otherwise: &str) -> Result<(), String> {
    if condition { Ok(()) } else { Err(otherwise.to_owned()) }
}

fn soon<T>(what: &str, look: impl Fn() -> Option<T>) -> Result<T, String> {
    let clock = SystemClock::new();
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if clock.monotonic() >= SOON {
            return Err(format!("not within {} s: {what}", SOON.as_secs()));
        }
        thread::sleep(LOOK_INTERVAL);
    }
}

fn ended(replica: &dyn Replica) -> Result<ReplicaEnd, String> {
    soon("it ends", || replica.ended())
}

fn ping(address: &ReplicaAddress) -> Result<(), String> {
    ask(address, "GET /ping HTTP/1.1\r\nhost: replica\r\nconnection: close\r\n\r\n").map(drop)
}

fn post(address: &ReplicaAddress, content_type: &str, body: &str) -> Result<String, String> {
    let head = format!(
        "POST /invocations HTTP/1.1\r\nhost: replica\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        body.len()
    );
    ask(address, &format!("{head}{body}"))
}

/// The body of a good answer.
fn ask(address: &ReplicaAddress, request: &str) -> Result<String, String> {
    let limit = Some(Duration::from_secs(5));
    let mut answer = Vec::new();
    let asked = match address {
        ReplicaAddress::Tcp(address) => TcpStream::connect(address).and_then(|mut stream| {
            stream.set_read_timeout(limit)?;
            stream.write_all(request.as_bytes())?;
            stream.read_to_end(&mut answer)
        }),
        ReplicaAddress::Unix(path) => UnixStream::connect(path).and_then(|mut stream| {
            stream.set_read_timeout(limit)?;
            stream.write_all(request.as_bytes())?;
            stream.read_to_end(&mut answer)
        }),
    };
    asked.map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| format!("{text:?} is no answer"))?;
    match head.split(' ').nth(1) {
        Some("200") => Ok(body.to_owned()),
        _ => Err(head.lines().next().unwrap_or_default().to_owned()),
    }
}
