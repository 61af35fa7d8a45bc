//! The supervisor of a job: this program once more, between the engine and the command.
//!
//! It adopts every process below it that loses its parent, so that "no child is left" is something that the kernel says and
//! not a guess. Standard input is the socket to the engine; when the engine is gone, so is the socket, and the job ends.
//! Standard output and error are the job's own and go to the engine untouched.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, WaitOptions, WaitStatus, getpid,
    kill_process_group, setpriority_process, setrlimit, setsid, wait, waitid,
};
use thiserror::Error;

use super::job::JobLimits;
use super::order::{End, ORDER_LIMIT_BYTES, Order, Report, WORD_LIMIT_BYTES, Word, line};
use super::tree;
use crate::clock::Clock;

/// Between two looks at the processes, unless looking takes long.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// A look every so many times as long as it takes: 2 % of a processor.
const LOOK_SHARE: u32 = 50;
/// Between two looks at a server, which runs for weeks.
const SERVER_LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Between two looks at most.
const LONGEST_LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// How long killed processes may take to be gone.
const SWEEP_LIMIT: Duration = Duration::from_secs(30);
/// Between two rounds of killing what is left.
const SWEEP_INTERVAL: Duration = Duration::from_millis(2);
/// What a job yields to everything else on the machine.
const NICENESS: i32 = 3;
/// What the supervisor takes where it may, as root: among thousands that fork it would otherwise not get to end them.
const OWN_NICENESS: i32 = -20;
/// Whom the kernel ends first when the machine is out of memory: rather a job than what answers, and rather one of several
/// that answer than the gateway. From -1000 to 1000.
const OUT_OF_MEMORY_SCORE: &str = "500";
const SERVER_OUT_OF_MEMORY_SCORE: &str = "300";

/// Why there was nobody to supervise for.
#[derive(Debug, Error)]
pub enum SuperviseError {
    #[error("this command is for serin itself, which starts it when it runs a job")]
    NotAsked(#[source] io::Error),
    #[error("the order of the engine cannot be understood")]
    Order(#[from] serde_json::Error),
    #[error("the engine cannot be told")]
    Report(#[source] io::Error),
}

/// What the supervisor waits for.
enum Event {
    /// The command ended.
    Ended,
    Asked(Word),
}

/// What one look found.
struct Look {
    processes: usize,
    memory_bytes: u64,
}

/// Carries out the one order that comes over standard input.
///
/// # Errors
/// When there is no engine at the other end, or it cannot be told what became of the job.
pub fn supervise(clock: &dyn Clock) -> Result<(), SuperviseError> {
    // A session of its own: no terminal and no signal meant for the engine reaches the job. It fails where there is one.
    let _ = setsid();
    let socket = io::stdin().as_fd().try_clone_to_owned().map_err(SuperviseError::NotAsked)?;
    let mut socket = UnixStream::from(socket);
    let mut lines = BufReader::new(socket.try_clone().map_err(SuperviseError::NotAsked)?);
    let mut order = Vec::new();
    let read = lines.by_ref().take(ORDER_LIMIT_BYTES).read_until(b'\n', &mut order);
    read.map_err(SuperviseError::NotAsked)?;
    let order: Order = serde_json::from_slice(&order)?;
    let _ = setpriority_process(None, OWN_NICENESS);
    set_session_niceness(niceness(&order));
    let (told, events) = channel();
    let report = match start(&order) {
        Ok(child) => {
            let ended = told.clone();
            thread::spawn(move || {
                // Without asking for its status, which the sweep does: its id stays taken until then.
                let end = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
                while matches!(waitid(WaitId::Pid(child), end), Err(Errno::INTR)) {}
                let _ = ended.send(Event::Ended);
            });
            thread::spawn(move || listen(&mut lines, &told));
            carry_out(&order, child, &events, clock)
        }
        Err(error) => Report::NotStarted { problem: error.to_string() },
    };
    socket.write_all(&line(&report)?).map_err(SuperviseError::Report)
}

/// Passes on what the engine says. Its end, and what cannot be understood, mean that nobody wants the job any more.
fn listen(lines: &mut BufReader<UnixStream>, told: &Sender<Event>) {
    loop {
        let mut word = Vec::new();
        let read = lines.by_ref().take(WORD_LIMIT_BYTES).read_until(b'\n', &mut word);
        if read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::Interrupted) {
            continue;
        }
        let word = serde_json::from_slice(&word).unwrap_or(Word::Cancel);
        if told.send(Event::Asked(word)).is_err() || !matches!(read, Ok(1..)) {
            return;
        }
    }
}

/// Starts the command under its limits.
fn start(order: &Order) -> io::Result<Pid> {
    #[cfg(target_os = "linux")]
    rustix::process::set_child_subreaper(Some(getpid()))?;
    // What cannot be seen cannot be limited.
    tree::descendants(getpid())?;
    let (program, arguments) =
        order.command.split_first().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut command = Command::new(program);
    command.args(arguments).current_dir(&order.directory).stdin(Stdio::null());
    command.env_clear().envs(order.environment.iter().map(|(name, value)| (name, value)));
    command.env(tree::MARK, getpid().as_raw_pid().to_string());
    // A group of its own, so that `kill 0` in a script does not end the supervisor.
    command.process_group(0);
    limit(order)?;
    let score = fs::read_to_string("/proc/self/oom_score_adj").ok();
    let ours = if order.yields { OUT_OF_MEMORY_SCORE } else { SERVER_OUT_OF_MEMORY_SCORE };
    let _ = fs::write("/proc/self/oom_score_adj", ours);
    // Niceness belongs to a thread and whom it starts, so that the supervisor itself stays quick.
    let started = thread::scope(|scope| {
        let starting = scope.spawn(|| {
            let _ = setpriority_process(None, niceness(order));
            command.spawn()
        });
        starting.join().unwrap_or_else(|_| Err(io::Error::other("the starting thread panicked")))
    });
    if let Some(score) = score {
        let _ = fs::write("/proc/self/oom_score_adj", score);
    }
    // The handle is let go: the sweep asks for all children alike.
    started.map(|child| Pid::from_child(&child))
}

fn niceness(order: &Order) -> i32 {
    if order.yields { NICENESS } else { 0 }
}

/// Where the kernel shares processors between sessions, niceness counts only within one, and each has its own. Elsewhere, and
/// where only root may lower it, nothing happens.
fn set_session_niceness(niceness: i32) {
    let _ = fs::write("/proc/self/autogroup", niceness.to_string());
}

/// Sets what the kernel itself limits, for this process and all below it.
fn limit(order: &Order) -> io::Result<()> {
    // A backstop against what grows faster than looks come. Address space is no memory: programs reserve far more than they
    // use, so it is generous.
    let address_space = order.memory_bytes.saturating_mul(4).saturating_add(4 << 30);
    for (resource, limit) in [
        (Resource::Core, 0),
        (Resource::Nofile, order.open_files.max(JobLimits::FEWEST_OPEN_FILES)),
        (Resource::Fsize, order.file_bytes),
        (Resource::As, address_space),
    ] {
        let hard = rustix::process::getrlimit(resource).maximum;
        let limit = Some(hard.map_or(limit, |hard| limit.min(hard)));
        setrlimit(resource, Rlimit { current: limit, maximum: limit })?;
    }
    Ok(())
}

/// Watches the job until it has to end, ends all of it, and says how it was.
fn carry_out(order: &Order, child: Pid, events: &Receiver<Event>, clock: &dyn Clock) -> Report {
    let mut peak_memory_bytes = 0;
    let watched = watch(order, events, clock, &mut peak_memory_bytes);
    let (status, survivors) = sweep(child, clock);
    let cpu_milliseconds = tree::cpu_milliseconds_of_children();
    let end = match watched {
        Ok(Some(end)) => end,
        Ok(None) => ended_by_itself(status),
        Err(error) => return Report::Unwatchable { problem: error.to_string() },
    };
    Report::Ended { end, peak_memory_bytes, cpu_milliseconds, survivors }
}

fn ended_by_itself(status: Option<WaitStatus>) -> End {
    let killed = status.and_then(WaitStatus::terminating_signal).map(End::Killed);
    let exited = status.and_then(WaitStatus::exit_status).map(End::Exited);
    // A command that hangs in the kernel after its end has no status.
    killed.or(exited).unwrap_or(End::Killed(Signal::KILL.as_raw()))
}

/// Waits for the command's end (`None`) or for a reason to end it, after asking it where there is time to ask.
fn watch(
    order: &Order,
    events: &Receiver<Event>,
    clock: &dyn Clock,
    peak: &mut u64,
) -> io::Result<Option<End>> {
    let deadline = clock.monotonic().saturating_add(order.time());
    let shortest = if order.yields { LOOK_INTERVAL } else { SERVER_LOOK_INTERVAL };
    let mut interval = shortest;
    // Why it was asked to stop, and until when it may do so by itself.
    let mut stopping: Option<(End, Duration)> = None;
    loop {
        let next = stopping.map_or(deadline, |(_, until)| until).saturating_sub(clock.monotonic());
        let asked = match events.recv_timeout(next.min(interval)) {
            Ok(Event::Ended) | Err(RecvTimeoutError::Disconnected) => {
                return Ok(stopping.map(|(end, _)| end));
            }
            Ok(Event::Asked(Word::TooMuchOutput)) => return Ok(Some(End::TooMuchOutput)),
            Ok(Event::Asked(Word::Cancel)) => Some(End::Cancelled),
            Err(RecvTimeoutError::Timeout) => None,
        };
        let began = clock.monotonic();
        let processes = tree::descendants(getpid())?;
        let memory_bytes = tree::memory_bytes(&processes, order.memory_bytes);
        *peak = memory_bytes.max(*peak);
        let now = clock.monotonic();
        interval = ((now - began) * LOOK_SHARE).clamp(shortest, LONGEST_LOOK_INTERVAL);
        if let Some(end) = excess(&Look { processes: processes.len(), memory_bytes }, order) {
            return Ok(Some(stopping.map_or(end, |(first, _)| first)));
        }
        match stopping {
            Some((end, until)) if now >= until => return Ok(Some(end)),
            Some(_) => {}
            None => {
                if let Some(end) = asked.or((now >= deadline).then_some(End::TimedOut)) {
                    processes.iter().for_each(|process| process.signal(Signal::TERM));
                    stopping = Some((end, now.saturating_add(JobLimits::STOP_GRACE)));
                }
            }
        }
    }
}

/// What a look shows that cannot wait.
fn excess(look: &Look, order: &Order) -> Option<End> {
    if look.memory_bytes > order.memory_bytes {
        return Some(End::OutOfMemory);
    }
    (look.processes > order.processes as usize).then_some(End::TooManyProcesses)
}

/// Kills everything below this process until nothing is left: then the kernel knows of no child. The command's status, and
/// how many processes did not end in [`SWEEP_LIMIT`].
fn sweep(child: Pid, clock: &dyn Clock) -> (Option<WaitStatus>, u64) {
    let deadline = clock.monotonic().saturating_add(SWEEP_LIMIT);
    let mut status = None;
    // Ending takes a processor, too; from here on nothing useful is done that could yield.
    set_session_niceness(0);
    // Most of them at one blow, so that those that fork cannot win. The command's id is the group's, and still its own, as
    // nobody asked for its status.
    let _ = kill_process_group(child, Signal::KILL);
    loop {
        // Those that lost their parents are children of this process by now.
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, found))) if pid == child => status = Some(found),
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => break,
                Err(_) => return (status, 0),
            }
        }
        let left = tree::descendants(getpid()).unwrap_or_default();
        if clock.monotonic() >= deadline {
            return (status, left.len() as u64);
        }
        left.iter().for_each(|process| process.signal(Signal::KILL));
        thread::sleep(SWEEP_INTERVAL);
    }
}
