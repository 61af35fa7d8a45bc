//! Settings: what is written where, who wins, and how a mistake is pointed at.

mod replicas;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serin_core::config::raw::RawConfig;
use serin_core::config::{
    AlarmSettings, Comparison, ConfigError, DEFAULT_TOML, FILE_LIMIT_BYTES, Gpus, ImageSettings, Layers,
    MissingData, Pull, Settings, WatchedMetric, Watches,
};
use serin_core::metrics::Statistic;
use serin_ml::evaluate::Metric;
use serin_ml::seed::Seed;
use serin_ml::train::{Budget, FamilyName, Scope};
use tempfile::TempDir;

fn file(text: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("serin.toml");
    fs::write(&path, text).unwrap();
    (folder, path)
}

fn environment(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn load(text: &str) -> Result<Settings, ConfigError> {
    let (_folder, path) = file(text.as_bytes());
    Settings::load(&Layers { file: Some(path), ..Layers::default() })
}

/// The message with its causes, as the program prints it.
fn message(error: &ConfigError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

#[test]
fn defaults_load_and_an_empty_file_changes_nothing() {
    let settings = Settings::load(&Layers::default()).unwrap();
    assert_eq!(settings.project, "model");
    assert_eq!((settings.data.target.as_deref(), settings.threads, settings.data.holdout), (None, None, 0.2));
    assert_eq!(settings.train.metric, Metric::MacroF1);
    assert_eq!(settings.train.budget, Budget::Until(Duration::from_secs(60)));
    assert_eq!((settings.train.folds, settings.train.seed), (5, Seed(17)));
    assert_eq!(settings.train.families, FamilyName::ALL);
    assert_eq!(settings.train.scope, Scope::Everything);
    assert_eq!(settings.serve.listen, "127.0.0.1:8080".parse().unwrap());
    for text in ["", "\n\n# nothing\n", "[train]\n", DEFAULT_TOML] {
        let same = load(text).unwrap();
        assert_eq!(format!("{:?}", same.train), format!("{:?}", settings.train), "{text:?}");
        assert_eq!(format!("{:?}", same.gates), format!("{:?}", settings.gates), "{text:?}");
        assert_eq!(format!("{:?}", same.data), format!("{:?}", settings.data), "{text:?}");
    }
}

/// The names that serde lists for an unknown key of a section.
fn known_keys(section: &str) -> BTreeSet<String> {
    let text =
        if section.is_empty() { "zzzzzzzzzz = 1".to_owned() } else { format!("[{section}]\nzzzzzzzzzz = 1") };
    let error = toml::from_str::<RawConfig>(&text).unwrap_err();
    let names = error.message().split('`').skip(3).step_by(2).map(str::to_owned).collect::<BTreeSet<_>>();
    assert!(!names.is_empty(), "{error}");
    names
}

#[test]
fn the_default_file_has_every_key_and_no_other() {
    toml::from_str::<RawConfig>(DEFAULT_TOML).unwrap();
    let defaults: toml::Table = DEFAULT_TOML.parse().unwrap();
    assert_eq!(known_keys(""), defaults.keys().cloned().collect());
    // Stages and alarms have names of the user's own.
    let is_named = |section: &str| matches!(section, "stages" | "alarms");
    for (section, keys) in defaults.iter().filter(|(section, _)| !is_named(section)) {
        let written: BTreeSet<String> = keys.as_table().unwrap().keys().cloned().collect();
        let known = known_keys(section);
        let absent: Vec<&String> = known.difference(&written).collect();
        assert!(written.is_subset(&known), "{section}");
        // What has no default is there as a comment, so that `serin config show` shows it.
        let Some(start) = DEFAULT_TOML.find(&format!("[{section}]")) else {
            assert!(absent.is_empty(), "[{section}] lacks {absent:?}");
            continue;
        };
        let lines = DEFAULT_TOML[start..].lines().skip(1).take_while(|line| !line.starts_with('['));
        let commented: BTreeSet<&str> =
            lines.filter_map(|line| line.strip_prefix("# ")?.split_once(" = ")).map(|(key, _)| key).collect();
        let table = |key: &str| DEFAULT_TOML.contains(&format!("# [{section}.{key}]"));
        assert!(
            absent.iter().all(|key| commented.contains(key.as_str()) || table(key)),
            "[{section}] lacks {absent:?}"
        );
    }
}

#[test]
fn the_commented_examples_of_the_default_file_are_right() {
    let mut text = String::new();
    for line in DEFAULT_TOML.lines() {
        let is_example = line.starts_with("# recipe = ") || line.starts_with("# model = ");
        text.push_str(if is_example { &line[2..] } else { line });
        text.push('\n');
    }
    let settings = load(&text).unwrap();
    assert!(matches!(settings.train.scope, Scope::Fixed { recipe: Some(_), model: Some(_) }));
}

/// What is written, the line that must be named, and what the message must say.
#[test]
fn a_mistake_in_a_file_is_named_with_its_line_and_its_fix() {
    let recipe = "[train]\nrecipe = [{ step = \"pca\", components = 0 }]\n";
    let cases: &[(&str, usize, &[&str])] = &[
        // B74: unknown keys, wrong types, repeated keys, and what is no TOML at all
        ("[train]\n\nbudgit = \"60s\"\n", 3, &["unknown key `budgit`", "did you mean `budget`"]),
        ("[train]\ntrails = 3\n", 2, &["did you mean `trials`"]),
        ("[trian]\nfolds = 3\n", 1, &["unknown key `trian`", "did you mean `train`"]),
        ("[serve]\ncolour = 1\n", 2, &["unknown key `colour`", "listen"]),
        ("[gates]\nbeat_majorty = true\n", 2, &["did you mean `beat_majority`"]),
        ("[data]\n# a comment\nholdout = \"a fifth\"\n", 3, &["invalid type", "f64"]),
        ("[train]\nfolds = 5.5\n", 2, &["invalid type", "usize"]),
        ("[train]\nfolds = -1\n", 2, &["-1"]),
        ("[train]\nfamilies = \"boosting\"\n", 2, &["invalid type"]),
        ("[data]\ntrain = 7\n", 2, &["a path or a list of paths"]),
        ("train = 1\n", 1, &["invalid type"]),
        ("[train]\nfolds = 5\nfolds = 6\n", 3, &["duplicate key"]),
        ("[train]\nfolds = \n", 2, &[]),
        ("[train\n", 1, &[]),
        // B75: right types that make no sense
        ("[train]\nfolds = 1\n", 2, &["train.folds", "is 1", "from 2 to 50"]),
        ("[data]\nholdout = 1.5\n", 2, &["data.holdout", "is 1.5", "from 0 to 0.9"]),
        ("[data]\nholdout = nan\n", 2, &["data.holdout", "is NaN"]),
        ("\n[train]\nbudget = \"60\"\n", 3, &["train.budget", "\"60\"", "\"60s\""]),
        ("[train]\nbudget = \"0s\"\n", 2, &["train.budget"]),
        ("[train]\nbudget = \"1000h\"\n", 2, &["at most 168h"]),
        ("[train]\ntrials = 10001\n", 2, &["train.trials", "from 1 to 10000"]),
        ("[train]\nmetric = \"macro-f2\"\n", 2, &["train.metric", "macro-f1"]),
        ("[train]\nfamilies = []\n", 2, &["train.families", "at least one"]),
        ("[train]\nfamilies = [\"xgboost\"]\n", 2, &["unknown family `xgboost`", "boosting"]),
        ("[train]\npreset = \"best\"\n", 2, &["train.preset", "\"auto\" or \"reference\""]),
        (recipe, 2, &["train.recipe", "components"]),
        ("[notify.alertmanager]\nurl = []\n", 2, &["notify.alertmanager.url", "1 to 8 URLs"]),
        (
            "[notify.alertmanager]\nurl = \"https://a\"\nuser = \"x\"\n",
            3,
            &["notify.alertmanager.user", "password_file", "token_file"],
        ),
        (
            "[[notify.webhooks]]\nname = \"alertmanager-1\"\nurl = \"https://a\"\nsecret_file = \"s\"\n",
            1,
            &["notify.webhooks", "another channel"],
        ),
        ("[train]\nrecipe = [{ step = \"shuffle\" }]\n", 2, &["train.recipe", "shuffle"]),
        ("[train]\nmodel = { family = \"logistic\", penalty = -1 }\n", 2, &["train.model", "penalty"]),
        ("[train]\nmodel = { family = \"logistic\", penalti = 1 }\n", 2, &["train.model", "penalti"]),
        ("[train]\nmodel = { family = \"oracle\" }\n", 2, &["train.model", "oracle"]),
        (
            "[train]\npreset = \"reference\"\n[train.model]\nfamily = \"logistic\"\n",
            2,
            &["remove one of them"],
        ),
        ("[project]\nname = \"my model\"\n", 2, &["project.name", "hyphens"]),
        ("[project]\nname = \"\"\n", 2, &["project.name"]),
        ("[serve]\nlisten = \"8080\"\n", 2, &["serve.listen", "127.0.0.1:8080"]),
        ("[checks]\ncorrelation = 0.0\n", 2, &["checks.correlation"]),
        ("[gates]\nmax_overlap = 2.0\n", 2, &["gates.max_overlap", "from 0 to 1"]),
        ("\n[gates.min]\n\"macro-f3\" = 0.5\n", 3, &["gates.min", "macro-f1"]),
        ("[gates.min]\n\"log-loss\" = 0.5\n", 2, &["wrong way round", "gates.max"]),
        ("[gates]\n[gates.max]\n\"log-loss\" = -1.0\n", 3, &["gates.max.log-loss"]),
        ("[gates.per_class_floor]\nrecall = 7.0\n", 2, &["per_class_floor.recall"]),
        ("[gates]\nchampion_confidence = 1.0\n", 2, &["gates.champion_confidence"]),
    ];
    for (text, line, wanted) in cases {
        let (_folder, path) = file(text.as_bytes());
        let error = Settings::load(&Layers { file: Some(path.clone()), ..Layers::default() }).unwrap_err();
        let said = message(&error);
        assert!(said.starts_with(&format!("{}:{line}: ", path.display())), "{text:?}: {said}");
        for wanted in *wanted {
            assert!(said.contains(wanted), "{text:?}: {said}");
        }
        assert!(said.lines().count() == 1 && said.len() < 600, "{text:?}: {said}");
    }
}

#[test]
fn a_mistake_in_a_variable_or_an_option_is_named_too() {
    let cases: &[(&str, &str, &[&str])] = &[
        ("SERIN_TRAIN_FOLDS", "five", &["train.folds", "integer"]),
        ("SERIN_TRAIN_FOLDS", "1", &["train.folds: is 1", "from 2 to 50"]),
        ("SERIN_TRAIN_FOLDS", "-3", &["train.folds", "-3"]),
        ("SERIN_TRAIN_BUDGET", "soon", &["train.budget: is \"soon\""]),
        ("SERIN_TRAIN_ENSEMBLE", "yes", &["train.ensemble", "boolean"]),
        ("SERIN_DATA_HOLDOUT", "2", &["data.holdout: is 2"]),
        ("SERIN_TRAIN_FAMILIES", "boosting, oracle", &["train.families", "oracle"]),
        ("SERIN_SERVE_LISTEN", "localhost", &["serve.listen"]),
    ];
    for (name, value, wanted) in cases {
        let layers = Layers { environment: environment(&[(name, value)]), ..Layers::default() };
        let said = message(&Settings::load(&layers).unwrap_err());
        assert!(said.starts_with(&format!("environment variable {name}: ")), "{said}");
        assert!(wanted.iter().all(|wanted| said.contains(wanted)), "{said}");
    }
    let options: Vec<(&'static str, toml::Value, &'static str, &str)> = vec![
        ("train.folds", 1.into(), "--folds", "train.folds: is 1"),
        ("train.folds", (-1).into(), "--folds", "train.folds"),
        ("train.seed", (-1).into(), "--seed", "train.seed"),
        ("train.metric", "f1".into(), "--metric", "train.metric"),
        ("train.preset", "best".into(), "--preset", "train.preset"),
        ("data.holdout", 0.95.into(), "--holdout", "data.holdout"),
    ];
    for (key, value, option, wanted) in options {
        let layers = Layers { options: vec![(key, value, option)], ..Layers::default() };
        let said = message(&Settings::load(&layers).unwrap_err());
        assert!(said.starts_with(&format!("{option}: ")) && said.contains(wanted), "{said}");
    }
}

#[test]
fn later_layers_win() {
    let (_folder, path) =
        file(b"[train]\nfolds = 6\nseed = 6\nbudget = \"6s\"\n[data]\nignore = [\"six\"]\n");
    let mut layers = Layers { file: Some(path), ..Layers::default() };
    let three = |layers: &Layers| {
        let train = Settings::load(layers).unwrap().train;
        (train.folds, train.seed.0, train.budget)
    };
    let seconds = |n| Budget::Until(Duration::from_secs(n));
    assert_eq!(three(&layers), (6, 6, seconds(6)));
    layers.environment = environment(&[
        ("SERIN_TRAIN_FOLDS", "7"),
        ("SERIN_TRAIN_SEED", "7"),
        ("SERIN_DATA_IGNORE", "a, b,,"),
        ("SERIN_SERVE_DATA_DIR", "elsewhere"),
        // Not ours, or not settings.
        ("SERIN_LOG", "debug"),
        ("SERIN_CONFIG", "x"),
        ("SERIN_TRAIN_COLOUR", "red"),
        ("SERIN_GATES_MIN", "1"),
        ("TRAIN_FOLDS", "9"),
    ]);
    assert_eq!(three(&layers), (7, 7, seconds(6)));
    layers.options = vec![("train.folds", 8.into(), "--folds")];
    assert_eq!(three(&layers), (8, 7, seconds(6)));
    let settings = Settings::load(&layers).unwrap();
    assert_eq!(settings.data.ignore, ["a", "b"]);
    assert_eq!(settings.serve.data_dir, Path::new("elsewhere"));
    // Tables are merged key by key; the rest of the defaults stays.
    let gates = load("[gates.min]\naccuracy = 0.5\n[gates]\nmax_overlap = 0.2\n").unwrap().gates;
    let gates = format!("{gates:?}");
    assert!(gates.contains("beat_majority: true") && gates.contains("max_overlap: 0.2"), "{gates}");
}

/// How a file happens to write a value says nothing about how a variable must.
#[test]
fn a_variable_is_read_as_the_key_needs_it() {
    let (_folder, path) = file(b"[data]\ntrain = \"one.csv\"\nholdout = 0\n");
    let variables = [("SERIN_DATA_TRAIN", "a.csv,b.csv"), ("SERIN_DATA_HOLDOUT", "0.25")];
    let layers = Layers { file: Some(path), environment: environment(&variables), ..Layers::default() };
    let data = Settings::load(&layers).unwrap().data;
    assert_eq!(data.train, [Path::new("a.csv"), Path::new("b.csv")]);
    assert!((data.holdout - 0.25).abs() < 1e-12);
}

#[test]
fn paths_of_a_file_are_relative_to_it() {
    let text = b"[data]\ntrain = [\"a.csv\", \"/abs/b.csv\"]\ntest = \"parts/*.csv\"\n[serve]\ndata_dir = \"rows\"\n";
    let (folder, path) = file(text);
    let mut layers = Layers { file: Some(path), ..Layers::default() };
    let settings = Settings::load(&layers).unwrap();
    assert_eq!(settings.data.train, [folder.path().join("a.csv"), PathBuf::from("/abs/b.csv")]);
    assert_eq!(settings.data.test, [folder.path().join("parts/*.csv")]);
    assert_eq!(settings.serve.data_dir, folder.path().join("rows"));
    // The default, an option and a variable mean the current folder.
    assert_eq!(load("").unwrap().serve.data_dir, Path::new("serin-data"));
    layers.options = vec![("data.train", vec!["c.csv"].into(), "--data")];
    layers.environment = environment(&[("SERIN_DATA_TEST", "d.csv")]);
    let settings = Settings::load(&layers).unwrap();
    assert_eq!(settings.data.train, [Path::new("c.csv")]);
    assert_eq!(settings.data.test, [Path::new("d.csv")]);
}

/// B76, B77
#[test]
fn what_is_no_readable_text_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let comment = b"# a line of comment, over and over\n".repeat(1 << 16);
    assert!(comment.len() > 2 << 20);
    let mut just_right = comment[..FILE_LIMIT_BYTES as usize - 1].to_vec();
    just_right.push(b'\n');
    let nested = format!("[data]\nignore = {}", "[".repeat(200_000));
    let dotted = format!("{}x = 1", "a.".repeat(200_000));
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    assert!(Settings::load(&Layers { file: Some(write("right", &just_right)), ..Layers::default() }).is_ok());
    let cases = [
        (write("large", &comment), "larger than 1048576 bytes"),
        (write("latin-1", b"[data]\ntarget = \"gr\xf6sse\"\n"), "not UTF-8 text"),
        (write("utf-16", b"\xff\xfe[\0d\0a\0t\0a\0]\0"), "not UTF-8 text"),
        (write("nested", nested.as_bytes()), ""),
        (write("dotted", dotted.as_bytes()), ""),
        (write("binary", b"\0\0\0\x01"), ""),
        (folder.path().to_owned(), "cannot be read"),
        (folder.path().join("absent"), "cannot be read: No such file"),
    ];
    for (path, wanted) in cases {
        let error = Settings::load(&Layers { file: Some(path.clone()), ..Layers::default() }).unwrap_err();
        let said = message(&error);
        assert!(said.starts_with(&path.display().to_string()) && said.contains(wanted), "{said}");
        assert!(said.len() < 600, "{} bytes: {}", said.len(), &said[..300]);
    }
    #[cfg(unix)]
    {
        let path = folder.path().join("loop");
        std::os::unix::fs::symlink(&path, &path).unwrap();
        let error = Settings::load(&Layers { file: Some(path), ..Layers::default() }).unwrap_err();
        assert!(matches!(error, ConfigError::Unreadable { .. }), "{error:?}");
    }
}

/// Every `serin.toml` of the repository is right.
#[test]
fn the_sample_settings_load() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/digits/serin.toml");
    let settings = Settings::load(&Layers { file: Some(path), ..Layers::default() }).unwrap();
    assert_eq!((settings.project.as_str(), settings.data.target.as_deref()), ("digits", Some("digit")));
    for entry in settings.data.train.iter().chain(&settings.data.test) {
        assert!(entry.is_file(), "{}", entry.display());
    }
}

#[test]
fn a_step_runs_in_an_image_with_the_least_and_mistakes_are_named() {
    let train = |text: &str| load(&format!("[steps.train]\n{text}")).unwrap().pipeline.train.unwrap();
    let plain = train("image = \"train:1\"\n");
    assert!(plain.command.is_empty());
    assert_eq!(plain.image, Some(ImageSettings::plain("train:1".parse().unwrap())));
    let rich = "image = \"train:1\"\ncommand = [\"python3\", \"train.py\"]\npull = \"missing\"\nnetwork = true\n\
        build = \"images/train\"\nwritable = [\"/run\"]\ncpus = 1.5\ngpus = \"2\"\n";
    let rich = train(rich).image.unwrap();
    assert_eq!(
        (rich.pull, rich.network, rich.cpus, rich.gpus),
        (Pull::Missing, true, Some(1.5), Some(Gpus::Count(2)))
    );
    let none = load("[steps.serve]\nmemory_limit = \"1GiB\"\n").unwrap().pipeline;
    assert!(none.serve.is_none() && none.train.is_none());
    let serve = load("[steps.serve]\ncommand = [\"./serve\"]\n").unwrap().pipeline.serve.unwrap();
    assert_eq!((serve.image, serve.time_limit), (None, Duration::from_secs(240)));
    for (text, wanted) in [
        ("image = \"-v\"", "steps.train.image: is \"-v\""),
        ("image = \"x\"\npull = \"always\"", "steps.train.pull: is \"always\"; write \"never\""),
        ("image = \"x\"\nbuild = \"../x\"", "steps.train.build: is \"../x\""),
        ("build = \"images\"", "give the image that it makes a name"),
        ("image = \"x\"\nwritable = [\"/opt/ml/model\"]", "steps.train.writable: has \"/opt/ml/model\""),
        ("image = \"x\"\ncpus = -1.0", "steps.train.cpus: is -1"),
        ("image = \"x\"\ngpus = \"99999999999\"", "steps.train.gpus"),
    ] {
        let said = message(&load(&format!("[steps.train]\n{text}\n")).unwrap_err());
        assert!(said.contains(wanted), "{said}");
    }
}

#[test]
fn rollouts_have_a_plan_by_stage_and_mistakes_are_named() {
    let of = |text: &str, stage: &str| {
        let settings = load(text).unwrap();
        settings.pipeline.stages.into_iter().find(|known| known.name == stage).unwrap().rollout
    };
    let shape = |text: &str, stage: &str| -> Vec<(f64, u64)> {
        of(text, stage).steps.iter().map(|step| (step.weight, step.bake.as_secs())).collect()
    };
    assert_eq!(shape("", "dev"), [(100.0, 0)]);
    assert_eq!(shape("", "prod"), [(10.0, 300), (100.0, 60)]);
    assert_eq!(of("", "prod").probation, Duration::from_secs(24 * 3_600));
    let own = "[pipeline]\nstages = [\"try\", \"live\"]\n";
    assert_eq!(shape(own, "try"), [(100.0, 0)]);
    assert_eq!(shape(own, "live"), [(10.0, 300), (100.0, 60)], "the last stage has a canary");
    let head = "[stages.prod.rollout]\n";
    let steps = "steps = [{ weight = 5, bake = \"2m\" }, { weight = 50 }]\nfinal_bake = \"0s\"\n";
    assert_eq!(shape(&format!("{head}{steps}"), "prod"), [(5.0, 120), (50.0, 0), (100.0, 0)]);
    let imported = "deployment_config = { BlueGreenUpdatePolicy = { TerminationWaitInSeconds = 300, \
        TrafficRoutingConfiguration = { Type = \"LINEAR\", WaitIntervalInSeconds = 60, \
        LinearStepSize = { Type = \"CAPACITY_PERCENT\", Value = 50 } } } }\n";
    let imported = of(&format!("{head}{imported}"), "prod");
    assert_eq!(imported.steps.iter().map(|step| step.weight).collect::<Vec<_>>(), [50.0, 100.0]);
    assert_eq!(imported.probation, Duration::from_secs(300));

    for (text, said) in [
        ("preset = \"canary\"\n", "stages.prod.rollout.preset"),
        ("preset = \"all-at-once\"\nsteps = [{ weight = 5 }]\n", "stand beside a preset"),
        ("steps = [{ weight = 50 }, { weight = 20 }]\n", "have weight 20"),
        ("steps = [{ weight = nan }]\n", "have weight NaN"),
        ("steps = [{ weight = 101 }]\n", "have weight 101"),
        ("steps = [{ weight = 5, bake = \"soon\" }]\n", "is \"soon\""),
        ("steps = [{ weight = 5, bake = \"9h\" }]\n", "stages.prod.rollout.max_duration"),
        ("max_duration = \"8d\"\n", "stages.prod.rollout.max_duration"),
        ("min_requests = -1\n", "expected u64"),
        ("latency_factor = 0.5\n", "latency_factor"),
        ("disagreement = nan\n", "disagreement"),
        ("without_evidence = \"hope\"\n", "write \"abort\" or \"replay\""),
        ("deployment_config = { x = 1 }\n", "unknown field `x`"),
        ("before_traffic = [{ check = \"everything\" }]\n", "have one that is none"),
        ("before_traffic = [{ command = [\"a\"], url = \"https://x\" }]\n", "have one that is none"),
        ("before_traffic = [{ url = \"file:///etc\" }]\n", "have one that is none"),
        ("after_traffic = [{ command = [\"a\"], time_limit = \"2h\" }]\n", "at most 3600 s"),
        ("alarms = [\"\"]\n", "cannot be watched"),
        ("steps = 7\n", "invalid type"),
        ("promote = true\n", "unknown key `promote`"),
    ] {
        let error = message(&load(&format!("{head}{text}")).unwrap_err());
        assert!(error.contains(said), "{text}: {error}");
    }
}

/// The example of the default file, as a user would have it.
fn example_of_alarms() -> String {
    let from = DEFAULT_TOML.find("# [alarms.errors]").unwrap();
    let lines = DEFAULT_TOML[from..].lines().map_while(|line| line.strip_prefix("# "));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_example_of_alarms_is_right_and_has_every_key() {
    let example = example_of_alarms();
    let tables: toml::Table = example.parse().unwrap();
    let written: BTreeSet<String> = tables["alarms"]
        .as_table()
        .unwrap()
        .values()
        .flat_map(|alarm| alarm.as_table().unwrap().keys().cloned())
        .collect();
    assert_eq!(known_keys("alarms.name"), written);
    let alarms = load(&example).unwrap().alarms;
    assert_eq!(alarms.iter().map(|alarm| alarm.name.as_str()).collect::<Vec<_>>(), ["errors", "trouble"]);
    assert!(load("").unwrap().alarms.is_empty());
}

fn only_alarm(text: &str) -> AlarmSettings {
    load(&format!("[alarms.errors]\n{text}")).unwrap().alarms.remove(0)
}

#[test]
fn alarms_have_defaults_but_for_what_decides() {
    let metric = |text: &str| match only_alarm(text).watches {
        Watches::Metric(metric) => metric,
        Watches::Composite(expression) => panic!("{expression}"),
    };
    let short = "metric = \"requests\"\nthreshold = 5\nmissing = \"notBreaching\"\n";
    let WatchedMetric { metric: name, labels, stage, statistic, minimum_samples, rule } = metric(short);
    assert_eq!((name.as_str(), labels.len(), stage, minimum_samples), ("requests", 0, None, 0));
    assert_eq!(statistic, Statistic::Average);
    assert_eq!((rule.comparison(), rule.threshold()), (Comparison::GreaterThanThreshold, 5.0));
    let counts = (rule.evaluation_periods(), rule.datapoints_to_alarm());
    assert_eq!((rule.period(), counts), (Duration::from_secs(60), (1, 1)));
    assert_eq!(rule.missing(), MissingData::NotBreaching);
    let alarm = only_alarm(short);
    assert_eq!((alarm.description.as_str(), alarm.retrain, alarm.is_enabled), ("", false, true));
    assert_eq!(alarm.names().count(), 0);
    let rule = metric(&format!("{short}evaluation_periods = 4\n")).rule;
    assert_eq!(rule.datapoints_to_alarm(), 4, "all of them");
    let long = "stage = \"dev\"\nstatistic = \"p99.9\"\nminimum_samples = 1000\ncomparison = \"LessThanThreshold\"\n\
                period = \"10s\"\nlabels = { endpoint = \"prod\" }\nenabled = false\nretrain = true\n";
    let watched = metric(&format!("{short}{long}"));
    assert_eq!(watched.statistic, Statistic::Percentile(99.9));
    assert_eq!((watched.stage.as_deref(), watched.minimum_samples), (Some("dev"), 1_000));
    assert_eq!(
        (watched.rule.comparison(), watched.labels["endpoint"].as_str()),
        (Comparison::LessThanThreshold, "prod")
    );
    let alarm = only_alarm(&format!("{short}{long}"));
    assert_eq!((alarm.retrain, alarm.is_enabled), (true, false));
}

/// One pass in this order sees each alarm after those that it depends on.
#[test]
fn alarms_come_behind_those_that_they_name() {
    let text = "[alarms.a]\nrule = 'ALARM(c) OR ALARM(from-outside)'\n[alarms.b]\nmetric = \"x\"\nthreshold = 1\n\
                missing = \"missing\"\n[alarms.c]\nrule = 'NOT OK(b)'\n[alarms.\"d e.f\"]\nrule = 'TRUE'\n";
    let alarms = load(text).unwrap().alarms;
    assert_eq!(alarms.iter().map(|alarm| alarm.name.as_str()).collect::<Vec<_>>(), ["b", "d e.f", "c", "a"]);
    assert_eq!(alarms[3].names().collect::<Vec<_>>(), ["c", "from-outside"]);
}

#[test]
fn mistakes_in_alarms_are_named_with_their_line_and_their_fix() {
    let lines = "metric = \"x\"\nthreshold = 1\nmissing = \"missing\"\n";
    let with = |line: &str| format!("[alarms.x]\n{lines}{line}\n");
    let without = |key: &str| {
        let kept = lines.lines().filter(|line| !line.starts_with(key)).collect::<Vec<_>>();
        format!("\n[alarms.x]\n{}\n", kept.join("\n"))
    };
    let many =
        |count: usize| (0..count).map(|i| format!("[alarms.a{i}]\nrule = 'TRUE'\n")).collect::<String>();
    let labels = (0..31).map(|i| format!("l{i} = \"v\"")).collect::<Vec<_>>().join(", ");
    let cases: Vec<(String, usize, &[&str])> = vec![
        (without("missing"), 2, &["alarms.x.missing: is absent, and has no default", "\"not-breaching\""]),
        (without("threshold"), 2, &["alarms.x.threshold: is absent"]),
        (without("metric"), 2, &["alarms.x.metric: is absent", "rule over other alarms"]),
        ("[alarms.\"a.b c\"]\nmetric = \"x\"\n".to_owned(), 1, &["alarms.\"a.b c\".missing"]),
        ("[alarms]\nx = { metric = \"x\" }\n".to_owned(), 2, &["alarms.x.missing"]),
        ("[alarms.\"a.b\"]\nrule = 'TRUE'\n\nretrain = 1\n".to_owned(), 4, &["invalid type"]),
        (with("perod = \"60s\""), 5, &["unknown key `perod`", "did you mean `period`"]),
        (with("period = \"45s\""), 5, &["alarms.x.period: is \"45s\"", "whole minutes"]),
        (with("period = \"0s\""), 5, &["alarms.x.period"]),
        (with("period = \"60\""), 5, &["alarms.x.period: is \"60\""]),
        (with("period = \"2d\""), 5, &["at most a day"]),
        (with("evaluation_periods = 0"), 5, &["alarms.x.evaluation_periods: is 0", "from 1 to 1440"]),
        (with("evaluation_periods = 1441"), 5, &["is 1441", "from 1 to 1440"]),
        (with("evaluation_periods = 9\nperiod = \"3h\""), 5, &["is 9", "from 1 to 8"]),
        (with("datapoints_to_alarm = 2"), 5, &["alarms.x.datapoints_to_alarm: is 2", "from 1 to 1"]),
        (with("datapoints_to_alarm = 0"), 5, &["datapoints_to_alarm: is 0"]),
        (with("comparison = \"=\""), 5, &["alarms.x.comparison: is \"=\"", "\">=\""]),
        (with("statistic = \"p101\""), 5, &["alarms.x.statistic: \"p101\" is", "SampleCount"]),
        (with("minimum_samples = 5"), 5, &["is only for percentiles"]),
        (with("statistic = \"p9\"\nminimum_samples = 10000001"), 6, &["minimum_samples: is 10000001"]),
        (with("stage = \"live\""), 5, &["alarms.x.stage: is \"live\"", "\"dev\", \"prod\""]),
        (with("labels = { endpoint = \"\" }"), 5, &["alarms.x.labels", "at most 30"]),
        (with(&format!("labels = {{ {labels} }}")), 5, &["alarms.x.labels"]),
        (with("rule = 'TRUE'"), 2, &["alarms.x.metric: stands beside a rule"]),
        (with(&format!("description = \"{}\"", "é".repeat(1_025))), 5, &["at most 1024 characters"]),
        ("[alarms.x]\nmetric = \"x\"\nmissing = \"zero\"\nthreshold = 1\n".to_owned(), 3, &["is \"zero\""]),
        ("[alarms.x]\nmetric = \"x\"\nmissing = \"missing\"\nthreshold = nan\n".to_owned(), 4, &["is NaN"]),
        (
            "[alarms.x]\nmetric = \"\"\nmissing = \"missing\"\nthreshold = 1\n".to_owned(),
            2,
            &["is not a name"],
        ),
        ("[alarms.\"\"]\nrule = 'TRUE'\n".to_owned(), 1, &["is not a name", "1 to 255"]),
        (format!("[alarms.{}]\nrule = 'TRUE'\n", "a".repeat(256)), 1, &["is not a name"]),
        ("[alarms.\"a\\u0007\"]\nrule = 'TRUE'\n".to_owned(), 1, &["control character"]),
        ("\n[alarms.x]\nrule = 'ALARM(a) AND'\n".to_owned(), 3, &["alarms.x.rule: at character 13", "OK(b)"]),
        ("[alarms.x]\nrule = 'ALARM(x)'\n".to_owned(), 2, &["alarms.x.rule: depends on itself: x -> x"]),
        (
            "[alarms.a]\nrule = 'OK(c)'\n[alarms.b]\nrule = 'OK(c)'\n[alarms.c]\nrule = 'OK(b)'\n".to_owned(),
            6,
            &["alarms.c.rule: depends on itself: c -> b -> c"],
        ),
        (many(201), 1, &["alarms: has 201 alarms", "at most 200"]),
    ];
    for (text, line, wanted) in &cases {
        let (_folder, path) = file(text.as_bytes());
        let error = Settings::load(&Layers { file: Some(path.clone()), ..Layers::default() }).unwrap_err();
        let said = message(&error);
        assert!(said.starts_with(&format!("{}:{line}: ", path.display())), "{text:?}: {said}");
        assert!(wanted.iter().all(|wanted| said.contains(wanted)), "{text:?}: {said}");
        assert!(said.lines().count() == 1 && said.len() < 800, "{text:?}: {said}");
    }
    assert_eq!(load(&many(200)).unwrap().alarms.len(), 200);
}
