//! Jobs: every way in which a user's program can go wrong ends in a reason within its limit, and leaves nobody behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serin_core::clock::SystemClock;
use serin_core::runtime::contract::{Channel, ChannelFile, ModelFormat, TrainingJob};
use serin_core::runtime::{
    Cancel, JobEnd, JobError, JobLimits, JobOutcome, JobRuntime as _, JobSpec, OutputLine, OutputStream,
    OutputTail, ProcessRuntime,
};

/// Nothing here takes nearly as long, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a job did.
struct Ran {
    result: Result<JobOutcome, JobError>,
    lines: Vec<OutputLine>,
    took: Duration,
    mark: String,
}

impl Ran {
    fn end(&self) -> JobEnd {
        self.result.as_ref().unwrap().end
    }

    fn text(&self, stream: OutputStream) -> String {
        let of_stream = self.lines.iter().filter(|line| line.stream == stream);
        of_stream.map(|line| line.text.as_str()).collect::<Vec<_>>().join("\n")
    }

    /// Nobody who ever had the mark of this job is left.
    #[track_caller]
    fn leaves_nothing(&self) {
        assert_eq!(marked(&self.mark), Vec::<u32>::new(), "left after {:?}", self.result);
    }
}

fn limits() -> JobLimits {
    JobLimits {
        time: Duration::from_secs(20),
        memory_bytes: 1 << 30,
        processes: 64,
        output_bytes: 1 << 20,
        ..JobLimits::default()
    }
}

/// A shell script as a job, with a mark in its environment that everything below it inherits.
fn script(folder: &Path, mark: &str, script: &str, limits: JobLimits) -> JobSpec {
    JobSpec {
        command: vec!["/bin/sh".into(), "-c".into(), script.into()],
        directory: folder.to_owned(),
        environment: vec![("TEST_MARK".into(), mark.into()), ("SECRET".into(), "s3cret".into())],
        limits,
        container: None,
    }
}

fn runtime() -> ProcessRuntime {
    ProcessRuntime::new(PathBuf::from(env!("CARGO_BIN_EXE_serin")), Arc::new(SystemClock::new()))
}

fn fresh_mark() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let mark = format!("mark-{}", folder.path().display());
    (folder, mark)
}

fn run(text: &str, limits: JobLimits) -> Ran {
    run_with(text, limits, &Cancel::default())
}

fn run_with(text: &str, limits: JobLimits, cancel: &Cancel) -> Ran {
    let (folder, mark) = fresh_mark();
    let spec = script(folder.path(), &mark, text, limits);
    let mut lines = Vec::new();
    let began = now();
    let result = runtime().run(&spec, cancel, &mut |line| lines.push(line));
    Ran { result, lines, took: began.elapsed(), mark }
}

#[expect(clippy::disallowed_methods, reason = "the limits of real processes are measured in real time")]
fn now() -> Instant {
    Instant::now()
}

/// Processes that have `mark` in their environment.
fn marked(mark: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let has_mark = |pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.windows(mark.len()).any(|window| window == mark.as_bytes())
    };
    pids.filter(has_mark).collect()
}

#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_job_runs_in_its_folder_with_its_environment_and_nothing_else() {
    let text = "pwd; env | sort; echo to-stderr >&2; printf 'no newline'; nice; ulimit -c; cat";
    let ran = run(text, limits());
    ran.leaves_nothing();
    let outcome = ran.result.as_ref().unwrap();
    assert!(outcome.succeeded());
    assert_eq!(ran.text(OutputStream::Stderr), "to-stderr");
    let said = ran.text(OutputStream::Stdout);
    let mut names: Vec<&str> =
        said.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    // What the shell sets itself.
    names.retain(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name));
    assert_eq!(names, ["LANG", "PATH", "SECRET", "SERIN_SUPERVISOR", "TEST_MARK"]);
    let folder = ran.mark.strip_prefix("mark-").unwrap();
    assert_eq!(fs::canonicalize(said.lines().next().unwrap()).ok(), fs::canonicalize(folder).ok());
    let last: Vec<&str> = said.lines().rev().take(2).collect();
    assert_eq!(last, ["0", "no newline3"], "no core files, and nicer than the server");
    assert_eq!(outcome.output_bytes as usize, said.len() + 1 + "to-stderr\n".len());
}

#[test]
fn exit_codes_and_signals_are_told_apart() {
    assert_eq!(run("exit 3", limits()).end(), JobEnd::Exited { code: 3 });
    let endless = JobLimits { time: Duration::MAX, memory_bytes: u64::MAX, ..limits() };
    assert_eq!(run("exit 4", endless).end(), JobEnd::Exited { code: 4 });
    assert_eq!(run("kill -SEGV $$", limits()).end(), JobEnd::Killed { signal: 11 });
    let killed = run("kill -KILL $$", limits());
    assert_eq!(killed.end(), JobEnd::Killed { signal: 9 });
    assert_eq!(killed.end().code(), "signal");
}

#[test]
fn a_command_that_is_not_there_cannot_be_started() {
    let (folder, mark) = fresh_mark();
    let mut spec = script(folder.path(), &mark, "", limits());
    let run = |spec: &JobSpec| runtime().run(spec, &Cancel::default(), &mut |_| ()).unwrap_err();
    spec.command = vec!["no-such-program".into()];
    let error = run(&spec);
    assert!(matches!(&error, JobError::Start { program, .. } if program == "no-such-program"), "{error}");
    assert!(!error.may_retry());
    spec.directory = folder.path().join("none");
    assert_eq!(run(&spec).code(), "start");
    spec.command.clear();
    assert!(matches!(run(&spec), JobError::NoCommand));
    spec.command = vec!["true".into()];
    spec.environment = vec![("A=B".into(), String::new())];
    assert!(matches!(run(&spec), JobError::Name { .. }));
    let nobody = ProcessRuntime::new("/none/serin".into(), Arc::new(SystemClock::new()));
    let error = nobody.run(&script(folder.path(), &mark, "", limits()), &Cancel::default(), &mut |_| ());
    assert!(matches!(error, Err(JobError::NoSupervisor { .. })));
    // A program that is not ours says nothing that can be understood.
    let stranger = ProcessRuntime::new("/bin/echo".into(), Arc::new(SystemClock::new()));
    let error = stranger.run(&script(folder.path(), &mark, "", limits()), &Cancel::default(), &mut |_| ());
    assert!(error.as_ref().is_err_and(JobError::may_retry), "{error:?}");
}

#[test]
fn one_that_hangs_ends_at_its_time_limit_even_if_it_ignores_being_asked() {
    let limit = Duration::from_secs(1);
    for text in ["sleep 60", "trap '' TERM; sleep 60 & wait; sleep 60", "while :; do :; done"] {
        let ran = run(text, JobLimits { time: limit, ..limits() });
        ran.leaves_nothing();
        assert_eq!(ran.end(), JobEnd::TimedOut { limit }, "{text}");
        assert!((limit..limit + Duration::from_secs(4)).contains(&ran.took), "{text}: {:?}", ran.took);
    }
    let ran = run("trap 'echo saved; exit 0' TERM; sleep 60 & wait", JobLimits { time: limit, ..limits() });
    assert_eq!((ran.end(), ran.text(OutputStream::Stdout)), (JobEnd::TimedOut { limit }, "saved".into()));
}

#[test]
fn one_that_takes_too_much_memory_ends() {
    let limit_bytes = 96 << 20;
    // The shell's variable doubles until there is no more.
    let text = "x=$(printf '%01000000d' 7); while :; do x=$x$x; done";
    let ran = run(text, JobLimits { memory_bytes: limit_bytes, ..limits() });
    ran.leaves_nothing();
    let JobEnd::OutOfMemory { peak_bytes, limit_bytes: told } = ran.end() else {
        panic!("{:?}", ran.result);
    };
    assert!(told == limit_bytes && peak_bytes > limit_bytes);
    // Many small ones count together.
    let text = "for i in 1 2 3 4 5 6; do (x=$(printf '%020000000d' 7); sleep 30; echo $x) & done; wait";
    let ran = run(text, JobLimits { memory_bytes: limit_bytes, ..limits() });
    ran.leaves_nothing();
    assert_eq!(ran.end().code(), "memory_limit", "{:?}", ran.result);
}

#[test]
fn one_that_prints_without_end_is_stopped_and_costs_no_memory() {
    for text in ["yes 'a line'", "cat /dev/zero", "yes >&2"] {
        let ran = run(text, limits());
        ran.leaves_nothing();
        assert_eq!(ran.end(), JobEnd::TooMuchOutput { limit_bytes: 1 << 20 }, "{text}");
        let kept: usize = ran.lines.iter().map(|line| line.text.len()).sum();
        assert!(kept <= 1 << 20 && ran.lines.iter().all(|line| line.text.len() <= OutputLine::LIMIT_BYTES));
        assert!(ran.took < Duration::from_secs(4), "{text}: {:?}", ran.took);
    }
}

#[test]
fn one_that_forks_without_end_is_stopped() {
    let many = "i=0; while [ $i -lt 1000 ]; do sleep 60 & i=$((i+1)); done; wait";
    let bomb = "f() { f & f & wait; }; f";
    for text in [many, bomb] {
        let ran = run(text, limits());
        ran.leaves_nothing();
        assert_eq!(ran.end(), JobEnd::TooManyProcesses { limit: 64 }, "{text}");
    }
}

#[test]
fn what_runs_on_in_the_background_ends_with_the_command() {
    let text = "setsid sh -c 'trap \"\" TERM HUP; echo ready; sleep 60 & wait; sleep 60' &
        (setsid sh -c 'sleep 60' &) &
        sleep 0.3; echo done";
    let ran = run(text, limits());
    ran.leaves_nothing();
    assert_eq!(ran.end(), JobEnd::Exited { code: 0 });
    assert_eq!(ran.text(OutputStream::Stdout), "ready\ndone");
    assert!(ran.took < Duration::from_secs(4), "{:?}", ran.took);
}

#[test]
fn one_that_writes_too_large_a_file_ends() {
    let text = "exec head -c 100000000 /dev/zero > large";
    let ran = run(text, JobLimits { file_bytes: 1 << 20, ..limits() });
    ran.leaves_nothing();
    assert_eq!(ran.end().code(), "file_limit", "{:?}", ran.result);
}

#[test]
fn a_cancelled_job_is_gone_within_two_seconds() {
    for text in ["echo up; sleep 60", "trap '' TERM; echo up; sleep 60 & wait; sleep 60", "yes"] {
        let cancel = Cancel::default();
        let (folder, mark) = fresh_mark();
        let spec = script(folder.path(), &mark, text, JobLimits { output_bytes: u64::MAX, ..limits() });
        let mut asked = None;
        let outcome = runtime().run(&spec, &cancel, &mut |_| {
            cancel.request();
            asked.get_or_insert_with(now);
        });
        let took = asked.unwrap().elapsed();
        assert_eq!(outcome.unwrap().end, JobEnd::Cancelled);
        assert_eq!(marked(&mark), Vec::<u32>::new());
        assert!(took < Duration::from_millis(2_500), "{text}: {took:?}");
    }
}

#[test]
fn usage_is_measured() {
    let ran = run("i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; sleep 0.3", limits());
    let outcome = ran.result.unwrap();
    assert!(outcome.cpu_time >= Duration::from_millis(20), "{outcome:?}");
    assert!(outcome.cpu_time < outcome.elapsed);
    assert!((100_000..100_000_000).contains(&outcome.peak_memory_bytes), "{outcome:?}");
}

#[test]
fn a_supervisor_that_is_killed_leaves_nobody() {
    let ran = run("setsid sleep 60 & sleep 60 & kill -KILL $SERIN_SUPERVISOR; sleep 60", limits());
    assert!(matches!(ran.result, Err(JobError::SupervisorLost)), "{:?}", ran.result);
    ran.leaves_nothing();
}

#[test]
fn a_panic_of_who_takes_the_output_ends_the_job() {
    let (folder, mark) = fresh_mark();
    let spec = script(folder.path(), &mark, "echo up; sleep 60", limits());
    let panics = std::panic::AssertUnwindSafe(|| {
        runtime().run(&spec, &Cancel::default(), &mut |_| panic!("planted")).is_ok()
    });
    assert!(std::panic::catch_unwind(panics).is_err());
    assert_eq!(marked(&mark), Vec::<u32>::new());
}

#[test]
fn nobody_is_left_when_the_engine_is_killed() {
    let (folder, mark) = fresh_mark();
    let mut engine = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "jobs::an_engine_to_be_killed", "--ignored", "--nocapture"])
        .env("TEST_ENGINE_FOLDER", folder.path())
        .env("TEST_ENGINE_MARK", &mark)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the job never ran", || folder.path().join("up").exists());
    assert!(marked(&mark).len() > 2, "the engine, its job and the daemon");
    engine.kill().unwrap();
    engine.wait().unwrap();
    let began = now();
    wait_until("processes outlive the engine", || marked(&mark).is_empty());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
#[ignore = "the small engine of another test, which kills it"]
fn an_engine_to_be_killed() {
    let (Ok(folder), Ok(mark)) = (std::env::var("TEST_ENGINE_FOLDER"), std::env::var("TEST_ENGINE_MARK"))
    else {
        return;
    };
    let text = "trap '' TERM; setsid sleep 60 & sleep 60 & touch up; sleep 60";
    let spec = script(Path::new(&folder), &mark, text, limits());
    let _ = runtime().run(&spec, &Cancel::default(), &mut |_| ());
}

#[test]
fn a_training_script_finds_everything_and_leaves_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let rows = folder.path().join("train.csv");
    fs::write(&rows, "a,target\n1,x\n").unwrap();
    let root = folder.path().join("job");
    let file = ChannelFile { name: "train.csv".into(), source: rows };
    let job = TrainingJob {
        name: "run-1-train".into(),
        command: vec!["./train.sh".into(), "now".into()],
        image: None,
        hyperparameters: [("rounds".to_owned(), serde_json::json!(20))].into(),
        channels: vec![Channel { name: "train".into(), content_type: None, files: vec![file] }],
        environment: vec![],
        limits: limits(),
    };
    let spec = job.lay_out(&root).unwrap();
    // What a script for SageMaker does, by variables and by files.
    let text = "#!/bin/sh
        test \"$1\" = now && grep -q 1,x \"$SM_CHANNEL_TRAIN/train.csv\" && test \"$SM_HP_ROUNDS\" = 20 || exit 9
        grep -q '\"rounds\":\"20\"' \"$SERIN_ML_ROOT/input/config/hyperparameters.json\" || exit 8
        if [ -e \"$SM_MODEL_DIR/again\" ]; then echo 'no rows left' > \"$SM_OUTPUT_DIR/failure\"; exit 3; fi
        touch \"$SM_MODEL_DIR/again\"; echo plot > \"$SM_OUTPUT_DATA_DIR/plot.svg\"
        cd \"$TMPDIR\" && printf 'tree\\nversion=v4\\n' > model.txt && tar czf \"$SM_MODEL_DIR/model.tar.gz\" model.txt";
    let script = TrainingJob::code(&root).join("train.sh");
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let run = || {
        let mut tail = OutputTail::default();
        let outcome = runtime().run(&spec, &Cancel::default(), &mut |line| tail.push(&line.text)).unwrap();
        TrainingJob::collect(&root, &outcome, tail.text().as_deref())
    };
    let trained = run().unwrap();
    assert_eq!(trained.model.bytes, b"tree\nversion=v4\n");
    assert_eq!(trained.model.format, ModelFormat::Foreign);
    assert_eq!(trained.artifacts[0].name, "plot.svg");
    let failure = run().unwrap_err();
    assert_eq!(failure.code, "exit_code");
    assert_eq!(failure.reason, "the command ended with exit code 3: no rows left");
}

#[test]
fn the_supervisor_is_not_for_people() {
    let folder = tempfile::tempdir().unwrap();
    let ran = crate::commands::process::run(folder.path(), &["supervise"]).expect(1);
    assert!(ran.stderr.contains("for serin itself"), "{}", ran.stderr);
    assert!(
        !crate::commands::process::run(folder.path(), &["--help"]).expect(0).stdout.contains("supervise")
    );
}
