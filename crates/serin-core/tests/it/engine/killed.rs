//! The toy pipeline (`examples/toy_engine`) is killed at every point, killed at any time, stopped and woken, and ends as if
//! nothing had happened.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serin_core::clock::{Clock, SystemClock};
use tempfile::TempDir;

use super::Random;

/// Longer than any run, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Toys that run at one time: they mostly wait for the disk.
const AT_ONE_TIME: usize = 4;

/// A data directory, and the world outside.
struct Toy(TempDir);

impl Toy {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        fs::create_dir(folder.path().join("outside")).unwrap();
        Self(folder)
    }

    fn command(&self, mode: &str, settings: &[String]) -> Command {
        let mut command = Command::new(program());
        command.arg(mode).arg(self.0.path().join("data")).arg(self.0.path().join("outside")).args(settings);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn start(&self, settings: &[String]) -> Child {
        self.command("run", settings).spawn().unwrap()
    }

    /// Runs until the run is over; how many points were passed, and how many verbs refused.
    fn run(&self, settings: &[String]) -> Result<(u64, u64), String> {
        finished(&end(self.start(settings)))
    }

    /// Runs until it is killed at a point; false: it ended before it came there.
    fn run_to(&self, point: u64) -> Result<bool, String> {
        let output = end(self.start(&[format!("kill-at={point}")]));
        if output.status.success() { Ok(false) } else { died(&output).map(|()| true) }
    }

    /// The final state, if nothing is wrong with it.
    fn judge(&self) -> Result<String, String> {
        let output = self.command("judge", &[]).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }
}

#[test]
fn killed_at_any_point_it_ends_the_same() {
    let toy = Toy::new();
    let (points, _) = toy.run(&[]).unwrap();
    let expected = toy.judge().unwrap();
    assert!(points > 100, "{points}");

    let killed = AtomicUsize::new(0);
    let points = usize::try_from(points).unwrap();
    every(points, |point| {
        let toy = Toy::new();
        killed.fetch_add(usize::from(toy.run_to(point as u64 + 1)?), Ordering::Relaxed);
        toy.run(&[])?;
        same(&toy.judge()?, &expected)
    });
    // Steps beside each other may pass fewer points in another order, but not many.
    assert!(killed.into_inner() > points - 10);
}

#[test]
fn killed_while_it_recovers_it_ends_the_same() {
    let expected = undisturbed();
    every(25, |seed| {
        let mut random = Random(seed as u64);
        let toy = Toy::new();
        toy.run_to(random.between(1, 130))?;
        for _ in 0..random.between(1, 4) {
            toy.run_to(random.between(1, 30))?;
        }
        toy.run(&[])?;
        same(&toy.judge()?, &expected)
    });
}

#[test]
fn killed_at_any_time_it_ends_the_same() {
    let expected = undisturbed();
    every(20, |seed| {
        let toy = Toy::new();
        let mut child = toy.start(&[]);
        thread::sleep(Duration::from_millis(Random(seed as u64).between(0, 500)));
        child.kill().unwrap();
        child.wait().unwrap();
        toy.run(&[])?;
        same(&toy.judge()?, &expected)
    });
}

#[test]
fn a_stopped_engine_is_replaced_and_writes_nothing_when_it_wakes() {
    let expected = undisturbed();
    let refused = AtomicUsize::new(0);
    every(6, |seed| {
        let mut random = Random(seed as u64);
        let settings = ["lease=300".to_owned(), "pace=4".to_owned()];
        let toy = Toy::new();
        let first = toy.start(&settings);
        thread::sleep(Duration::from_millis(random.between(100, 700)));
        signal(&first, Signal::STOP);
        let second = toy.start(&settings);
        thread::sleep(Duration::from_millis(random.between(500, 1_500)));
        signal(&first, Signal::CONT);
        let (first, second) = (end(first), end(second));
        let (_, first_refused) = finished(&first)?;
        finished(&second)?;
        refused.fetch_add(usize::try_from(first_refused).unwrap(), Ordering::Relaxed);
        same(&toy.judge()?, &expected)
    });
    assert!(refused.into_inner() > 0, "no engine woke up to find that it had been replaced");
}

#[test]
fn the_time_of_day_may_jump_as_it_likes() {
    let toy = Toy::new();
    let clock = SystemClock::new();
    toy.run(&["jumping".to_owned()]).unwrap();
    assert!(clock.monotonic() < Duration::from_secs(10));
    same(&toy.judge().unwrap(), &undisturbed()).unwrap();
}

/// The final state of a run that nobody disturbs.
fn undisturbed() -> String {
    let toy = Toy::new();
    toy.run(&[]).unwrap();
    toy.judge().unwrap()
}

fn same(found: &str, expected: &str) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("another end:\n{found}instead of\n{expected}")) }
}

/// Tries every number below `count`, some at one time, and fails with all that went wrong.
fn every(count: usize, attempt: impl Fn(usize) -> Result<(), String> + Sync) {
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(String::new()));
    thread::scope(|scope| {
        for _ in 0..AT_ONE_TIME {
            scope.spawn(|| {
                while let Some(number) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&n| n < count) {
                    if let Err(reason) = attempt(number) {
                        writeln!(wrong.lock().unwrap(), "{number}: {reason}").unwrap();
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{wrong}");
}

fn end(mut child: Child) -> Output {
    let clock = SystemClock::new();
    while child.try_wait().unwrap().is_none() {
        if clock.monotonic() > PATIENCE {
            child.kill().unwrap();
        }
        thread::sleep(Duration::from_millis(2));
    }
    child.wait_with_output().unwrap()
}

fn finished(output: &Output) -> Result<(u64, u64), String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match text.split_whitespace().collect::<Vec<_>>().as_slice() {
        ["points", points, "refused", refused] => Ok((points.parse().unwrap(), refused.parse().unwrap())),
        _ => Err(format!("{output:?}")),
    }
}

/// Whether it was killed, and not by its own fault.
fn died(output: &Output) -> Result<(), String> {
    use std::os::unix::process::ExitStatusExt as _;
    let is_killed = output.status.signal() == Some(Signal::KILL.as_raw());
    if is_killed { Ok(()) } else { Err(format!("{output:?}")) }
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// The example, which is built with the tests.
fn program() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let program = tests.parent().unwrap().parent().unwrap().join("examples/toy_engine");
    assert!(program.exists(), "{} is built by `cargo test` without `--test`", program.display());
    program
}
