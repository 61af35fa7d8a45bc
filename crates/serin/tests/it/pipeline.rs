//! From a folder or a commit to a served model: the pipeline with real parts.

#![expect(clippy::panic, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serin::control::{Control, ControlOptions};
use serin_core::capture::Serving;
use serin_core::clock::{Clock as _, SystemClock};
use serin_core::domain::{Cause, Decided, Run, RunNumber, RunState, Verdict, VersionNumber, WishOutcome};
use serin_core::pipeline::{Asked, project_settings};
use serin_core::store::ListOptions;

/// A control plane and a gateway on a data directory of their own.
pub struct Plant {
    pub folder: tempfile::TempDir,
    pub control: Control,
    pub gateway: Child,
}

impl Plant {
    fn start() -> Self {
        Self::of(|project| write_project(project, 2))
    }

    /// A plant of the project that `write` makes.
    pub fn of(write: impl Fn(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("wine"));
        let data = folder.path().join("data");
        fs::create_dir_all(&data).unwrap();
        let control = Control::start(ControlOptions {
            data_directory: data.clone(),
            program: PathBuf::from(env!("CARGO_BIN_EXE_serin")),
            clock: Arc::new(SystemClock::new()),
            notify: project_settings(&folder.path().join("wine")).unwrap().notify,
        })
        .unwrap();
        control.add_project(&folder.path().join("wine")).unwrap();
        let gateway = Command::new(env!("CARGO_BIN_EXE_serin"))
            .args(["gateway", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir"])
            .arg(&data)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let plant = Self { folder, control, gateway };
        plant.wait("the gateway", || Serving::read(&data).unwrap());
        plant
    }

    pub fn project(&self) -> PathBuf {
        self.folder.path().join("wine")
    }

    pub fn ask(&self) -> RunNumber {
        let settings = project_settings(&self.project()).unwrap();
        let shared = &self.control;
        let asked = Asked::plain("wine", Cause::Asked { by: "ann".into() });
        let outcome = asked.leave(shared.store.as_ref(), &settings, shared.moments.now()).unwrap();
        shared.engine.waker().wake();
        match outcome {
            WishOutcome::Run { run } => run,
            other => panic!("{other:?}"),
        }
    }

    pub fn run(&self, number: RunNumber) -> Run {
        self.control.store.run(number).unwrap().unwrap()
    }

    pub fn wait<T>(&self, what: &str, look: impl Fn() -> Option<T>) -> T {
        let clock = SystemClock::new();
        loop {
            if let Some(found) = look() {
                return found;
            }
            let is_late = clock.monotonic() > Duration::from_secs(60);
            assert!(!is_late, "{what} did not come: {:#?}", self.control.store.events(0, 200));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn wait_for_end(&self, number: RunNumber) -> Run {
        self.wait("the end of the run", || Some(self.run(number)).filter(|run| run.state.is_final()))
    }

    pub fn approve(&self, by: &str) {
        let store = self.control.store.clone();
        let open = ListOptions { is_open: true, ..ListOptions::default() };
        let approval = self.wait("an approval", || store.approvals(&open).unwrap().pop());
        let decided =
            Decided { verdict: Verdict::Approve, by: by.into(), reason: "looks right".into(), seen: None };
        store.decide_approval(approval.number, &decided, self.control.moments.now()).unwrap().unwrap();
        self.control.engine.waker().wake();
    }
}

impl Drop for Plant {
    fn drop(&mut self) {
        let _ = self.gateway.kill();
        let _ = self.gateway.wait();
    }
}

/// Three classes in two features; `shift` moves one class, so that other data is other data.
pub fn write_project(folder: &Path, shift: u32) {
    fs::create_dir_all(folder).unwrap();
    let mut rows = "a,b,label\n".to_owned();
    for i in 0..300_u32 {
        let class = i % 3;
        let noise =
            |salt: u32| f64::from(i.wrapping_mul(2_654_435_761).wrapping_add(salt) >> 12 & 0xff) / 128.0;
        rows.push_str(&format!(
            "{},{},c{class}\n",
            f64::from(class * shift) + 2.0 * noise(0),
            noise(977 << 12)
        ));
    }
    fs::write(folder.join("train.csv"), rows).unwrap();
    fs::write(
        folder.join("serin.toml"),
        "[project]\nname = \"wine\"\n[data]\ntrain = \"train.csv\"\ntarget = \"label\"\n[train]\ntrials = 3\n\
         families = [\"logistic\"]\nfolds = 3\n[gates]\nchallenger_margin = -1.0\n",
    )
    .unwrap();
}

#[test]
fn a_run_goes_from_a_folder_to_production_and_a_second_one_takes_what_is_the_same() {
    let plant = Plant::start();
    let run = plant.ask();
    plant.approve("bob");
    let run = plant.wait_for_end(run);
    assert_eq!(run.state, RunState::Succeeded, "{run:#?}");
    let store = plant.control.store.clone();
    let champion = store.aliased("wine", "champion").unwrap().unwrap();
    assert_eq!(champion.number, VersionNumber(1));
    assert!(champion.metrics["macro-f1"] > 0.7, "{:?}", champion.metrics);
    let routes = store.routes().unwrap().unwrap();
    let names: Vec<&str> = routes.endpoints().iter().map(|endpoint| endpoint.name.as_str()).collect();
    assert_eq!(names, ["dev", "prod"]);
    assert_eq!(store.monitors().unwrap().len(), 2);

    // The same again: nothing is trained, and it says so.
    let second = plant.ask();
    plant.approve("bob");
    let second = plant.wait_for_end(second);
    assert_eq!(second.state, RunState::Succeeded, "{second:#?}");
    let reused = second.steps.iter().filter(|step| {
        matches!(step.state, serin_core::domain::StepState::Succeeded { reused_from: Some(_), .. })
    });
    assert_eq!(reused.map(|step| step.name.as_str()).collect::<Vec<_>>(), ["baseline", "train"]);
}

/// Runs git in `folder`, which must be there.
fn git(folder: &Path, arguments: &[&str]) {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=t", "-c", "user.email=t@t", "-C"]).arg(folder).args(arguments);
    let ran = command.env("GIT_CONFIG_GLOBAL", "/dev/null").output().unwrap();
    assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
}

pub fn append(file: &Path, text: &str) {
    let before = fs::read_to_string(file).unwrap_or_default();
    fs::write(file, before + text).unwrap();
}

/// Three trees on one feature, as LightGBM writes them: low values are class 0, high ones class 2.
const LIGHTGBM: &str = "tree\nversion=v4\nnum_class=3\nnum_tree_per_iteration=3\nlabel_index=0\nmax_feature_idx=1\n\
    objective=multiclass num_class:3\nfeature_names=a b\nfeature_infos=[0:10] [0:10]\n\n\
    Tree=0\nnum_leaves=2\nnum_cat=0\nsplit_feature=0\nsplit_gain=1\nthreshold=3\ndecision_type=2\nleft_child=-1\n\
    right_child=-2\nleaf_value=2 -2\nleaf_weight=1 1\nleaf_count=1 1\ninternal_value=0\ninternal_weight=0\n\
    internal_count=2\nis_linear=0\nshrinkage=1\n\n\n\
    Tree=1\nnum_leaves=3\nnum_cat=0\nsplit_feature=0 0\nsplit_gain=1 1\nthreshold=3 5\ndecision_type=2 2\n\
    left_child=-1 -2\nright_child=1 -3\nleaf_value=-2 2 -2\nleaf_weight=1 1 1\nleaf_count=1 1 1\n\
    internal_value=0 0\ninternal_weight=0 0\ninternal_count=3 2\nis_linear=0\nshrinkage=1\n\n\n\
    Tree=2\nnum_leaves=2\nnum_cat=0\nsplit_feature=0\nsplit_gain=1\nthreshold=5\ndecision_type=2\nleft_child=-1\n\
    right_child=-2\nleaf_value=-2 2\nleaf_weight=1 1\nleaf_count=1 1\ninternal_value=0\ninternal_weight=0\n\
    internal_count=2\nis_linear=0\nshrinkage=1\n\n\nend of trees\n";

#[test]
fn each_commit_is_built_by_the_users_own_programs_and_a_failing_one_changes_nothing_that_serves() {
    let plant = Plant::of(|project| {
        write_project(project, 2);
        append(
            &project.join("serin.toml"),
            "[source]\nrepository = \".\"\n[triggers.git]\npoll = \"200ms\"\n[pipeline]\nstages = [\"dev\"]\n\
             [steps.prepare]\ncommand = [\"sh\", \"prepare.sh\"]\n[steps.train]\ncommand = [\"sh\", \"train.sh\"]\n\
             hyperparameters = { depth = 3 }\n[steps.evaluate]\ncommand = [\"sh\", \"evaluate.sh\"]\n",
        );
        // The contract's files and variables are all there, and rows that are held out are not.
        fs::write(
            project.join("prepare.sh"),
            "set -e\ncp $SERIN_ML_ROOT/processing/input/data/*.csv $SERIN_ML_ROOT/processing/output/train/rows.csv\n\
             echo prepared > $SERIN_ML_ROOT/output/message\n",
        )
        .unwrap();
        fs::write(
            project.join("train.sh"),
            "set -e\ntest \"$(wc -l < $SM_CHANNEL_TRAIN/train.csv)\" -eq 241\ntest \"$SM_HP_DEPTH\" = 3\n\
             grep -q '\"target\": *\"label\"' $SERIN_ML_ROOT/input/config/hyperparameters.json\n\
             cp model.txt $SM_MODEL_DIR/\n",
        )
        .unwrap();
        fs::write(
            project.join("evaluate.sh"),
            "set -e\ntest -s $SERIN_ML_ROOT/processing/input/model/model.serin\n\
             cp $SERIN_ML_ROOT/processing/input/evaluation/evaluation.json $SERIN_ML_ROOT/processing/output/evaluation/mine.json\n\
             echo fine > $SERIN_ML_ROOT/output/message\n",
        )
        .unwrap();
        fs::write(project.join("model.txt"), LIGHTGBM).unwrap();
        git(project, &["init", "--quiet", "--initial-branch=main"]);
        git(project, &["add", "--all"]);
        git(project, &["commit", "--quiet", "--message", "first"]);
    });
    let store = plant.control.store.clone();
    let first = plant.wait("the run of the commit", || store.runs(&ListOptions::default()).unwrap().pop());
    assert!(matches!(first.cause, Cause::Commit { .. }), "{first:#?}");
    let first = plant.wait_for_end(first.number);
    assert_eq!(first.state, RunState::Succeeded, "{first:#?}");
    let log = |run: &Run, step: &str| {
        serin_core::engine::read_log(&plant.control.data_directory, run.number, step, 1, 0, 1 << 20)
            .unwrap()
            .text
    };
    assert!(log(&first, "prepare").contains("message: prepared"), "{}", log(&first, "prepare"));
    assert!(log(&first, "evaluate").contains("message: fine"), "{}", log(&first, "evaluate"));
    assert!(log(&first, "train").contains("the command left model.txt"), "{}", log(&first, "train"));

    // A commit whose training fails: the reason is the program's own, and what serves stays.
    let serves = store.routes().unwrap();
    fs::write(
        plant.project().join("train.sh"),
        "echo the disk is on fire > $SERIN_ML_ROOT/output/failure; exit 3\n",
    )
    .unwrap();
    git(&plant.project(), &["commit", "--all", "--quiet", "--message", "second"]);
    let newest = || store.runs(&ListOptions { limit: 1, ..ListOptions::default() }).unwrap().pop();
    let second =
        plant.wait("the run of the second commit", || newest().filter(|run| run.number > first.number));
    let second = plant.wait_for_end(second.number);
    let RunState::Failed { step, failure } = &second.state else { panic!("{second:#?}") };
    assert!(step == "train" && failure.reason.contains("the disk is on fire"), "{failure:?}");
    assert_eq!(store.routes().unwrap(), serves);
    // The same code once more is not tried by itself, and may be asked for.
    assert!(store.retry_run(second.number, None, "ann", plant.control.moments.now()).unwrap());
    plant.control.engine.waker().wake();
    let again = plant.wait_for_end(second.number);
    assert!(matches!(again.state, RunState::Failed { .. }));
    assert_eq!(again.step("train").unwrap().attempts, 2);
}

#[test]
fn a_cancelled_run_stops_its_training_within_two_seconds() {
    let plant = Plant::of(|project| {
        write_project(project, 2);
        append(&project.join("serin.toml"), "[steps.train]\ncommand = [\"sleep\", \"600\"]\n");
    });
    let run = plant.ask();
    plant.wait("the training", || {
        let run = plant.run(run);
        run.step("train").filter(|step| step.state.name() == "running").map(|_| ())
    });
    let asked = SystemClock::new();
    let store = &plant.control.store;
    assert!(store.cancel_run(run, "ann", "a mistake", plant.control.moments.now()).unwrap());
    plant.control.engine.waker().wake();
    let ended = plant.wait_for_end(run);
    let waited = asked.monotonic();
    assert!(waited < Duration::from_secs(4), "{waited:?}");
    let RunState::Cancelled { by, reason } = ended.state else { panic!("{ended:#?}") };
    assert_eq!((by.as_str(), reason.as_str()), ("ann", "a mistake"));
}

#[test]
fn data_that_changed_and_settled_asks_for_a_run_and_the_same_data_for_none() {
    let plant = Plant::of(|project| {
        write_project(project, 2);
        // Where it is looked at once an hour, the operating system has to say that something changed.
        let toml = "[triggers]\ncooldown = \"0s\"\n[triggers.data]\nwatch = \"train.csv\"\npoll = \"1h\"\n";
        let stages = "[pipeline]\nstages = [\"dev\"]\n";
        append(&project.join("serin.toml"), &format!("{stages}{toml}"));
    });
    let store = &plant.control.store;
    let known = || store.trigger("wine", "data").unwrap().and_then(|trigger| trigger.state);
    // The first look needs a second one, which a touch asks for.
    std::thread::sleep(Duration::from_millis(1_500));
    append(&plant.project().join("train.csv"), "");
    let first = plant.wait("the first look", known);
    assert!(store.runs(&ListOptions::default()).unwrap().is_empty(), "it only remembers what was there");
    append(&plant.project().join("train.csv"), "1.5,0.5,c0\n");
    let run = plant.wait("a run for the new rows", || store.runs(&ListOptions::default()).unwrap().pop());
    assert!(matches!(run.cause, Cause::Data { .. }), "{run:#?}");
    assert_eq!(plant.wait_for_end(run.number).state, RunState::Succeeded);
    assert_ne!(known().unwrap().position, first.position);
}

#[test]
fn a_server_outlives_whoever_read_its_log() {
    let data = tempfile::tempdir().unwrap();
    let mut gateway = Command::new(env!("CARGO_BIN_EXE_serin"))
        .args(["gateway", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir"])
        .arg(data.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let clock = SystemClock::new();
    while Serving::read(data.path()).unwrap().is_none() {
        assert!(clock.monotonic() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(gateway.stderr.take());
    for _ in 0..3 {
        let told = Command::new("kill").args(["-HUP", &gateway.id().to_string()]).status().unwrap();
        assert!(told.success());
        std::thread::sleep(Duration::from_millis(100));
    }
    let ended = gateway.try_wait().unwrap();
    let _ = gateway.kill();
    let _ = gateway.wait();
    assert_eq!(ended, None);
}
