//! A training job: hyperparameters and channels in, one model out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::layout::{
    Channel, ContractError, Root, check_name, check_names, copy_in, environment, folder, graphics_processors,
    processors, resources, text, write_json,
};
use super::model::{TrainedModel, trained_model};
use crate::causes::in_one_line;
use crate::config::ImageSettings;
use crate::domain::Failure;
use crate::runtime::{FoundFile, JobEnd, JobLimits, JobOutcome, JobSpec, ResultFolder, ResultLimits};

/// Limits of SageMaker's `CreateTrainingJob`.
const HYPERPARAMETERS_LIMIT: usize = 100;
const HYPERPARAMETER_KEY_LIMIT: usize = 256;
const HYPERPARAMETER_VALUE_LIMIT: usize = 2_500;
const CHANNELS_LIMIT: usize = 20;
const NAME_LIMIT: usize = 64;
/// What a container may write to.
const WRITABLE: [&str; 6] = ["model", "output", "code", "checkpoints", "home", "tmp"];
/// What an image's own program is told.
const ARGUMENT: &str = "train";
/// Characters of `output/failure` that become the reason.
const FAILURE_CHARACTERS: usize = 1_024;

/// A training to lay out.
#[derive(Debug, Clone)]
pub struct TrainingJob {
    /// In `TRAINING_JOB_NAME`; as plain as a channel's name.
    pub name: String,
    /// Without one, the image's own program gets the argument `train`.
    pub command: Vec<String>,
    /// Trains in a container; `None`: as a process.
    pub image: Option<ImageSettings>,
    /// Texts, numbers and truth values; the job reads each as text.
    pub hyperparameters: BTreeMap<String, Value>,
    pub channels: Vec<Channel>,
    /// Besides the variables of the contract; these win.
    pub environment: Vec<(String, String)>,
    pub limits: JobLimits,
}

/// What a training left.
#[derive(Debug)]
pub struct Trained {
    pub model: TrainedModel,
    /// Everything in `output/data`.
    pub artifacts: Vec<FoundFile>,
}

impl TrainingJob {
    /// The user's own files, which the command runs among; who lays out a job may put them there before or after.
    #[must_use]
    pub fn code(root: &Path) -> PathBuf {
        root.join("code")
    }

    /// Lays the job out in `root`, an absolute path.
    ///
    /// # Errors
    /// When a name or a number is beyond SageMaker's limits, or the disk refuses.
    pub fn lay_out(&self, root: &Path) -> Result<JobSpec, ContractError> {
        self.check()?;
        let (seen, image) = (Root::new(root, self.image.as_ref()), self.image.as_ref());
        let (input, output) = (root.join("input"), root.join("output"));
        let (config, code) = (input.join("config"), Self::code(root));
        for path in [
            &config,
            &input.join("data"),
            &root.join("model"),
            &output.join("data"),
            &code,
            &root.join("checkpoints"),
        ] {
            folder(path)?;
        }
        for channel in &self.channels {
            copy_in(channel, &input.join("data").join(&channel.name))?;
        }
        let as_text = self.hyperparameters.iter().map(|(key, value)| (key.clone(), as_text(value).into()));
        write_json(&config.join("hyperparameters.json"), &Value::Object(as_text.collect()))?;
        write_json(&config.join("inputdataconfig.json"), &self.input_data())?;
        write_json(&config.join("resourceconfig.json"), &resources(image))?;
        let arguments = if self.command.is_empty() { &[ARGUMENT][..] } else { &[] };
        Ok(JobSpec {
            command: self.command.clone(),
            directory: Self::code(&seen.seen),
            environment: environment(&seen, self.toolkit_variables(&seen.seen)?, &self.environment)?,
            limits: self.limits,
            container: image.map(|image| seen.container(image, &WRITABLE, arguments)).transpose()?,
        })
    }

    fn check(&self) -> Result<(), ContractError> {
        check_name("training job", &self.name, NAME_LIMIT)?;
        check_names("channel", self.channels.iter().map(|channel| channel.name.as_str()), NAME_LIMIT)?;
        for (what, found, limit) in [
            ("channel", self.channels.len(), CHANNELS_LIMIT),
            ("hyperparameter", self.hyperparameters.len(), HYPERPARAMETERS_LIMIT),
        ] {
            if found > limit {
                return Err(ContractError::TooMany { what, found, limit });
            }
        }
        let what = "hyperparameter";
        for (key, value) in &self.hyperparameters {
            check_name(what, key, HYPERPARAMETER_KEY_LIMIT)?;
            if as_text(value).chars().count() > HYPERPARAMETER_VALUE_LIMIT {
                let limit = HYPERPARAMETER_VALUE_LIMIT;
                return Err(ContractError::TooLong { what, name: key.clone(), limit });
            }
        }
        Ok(())
    }

    fn input_data(&self) -> Value {
        let of = |channel: &Channel| {
            let mut config = json!({
                "TrainingInputMode": "File",
                "S3DistributionType": "FullyReplicated",
                "RecordWrapperType": "None",
            });
            if let Some(content_type) = &channel.content_type {
                config["ContentType"] = content_type.as_str().into();
            }
            (channel.name.clone(), config)
        };
        Value::Object(self.channels.iter().map(of).collect())
    }

    /// The variables of the SageMaker training toolkit, which scripts read instead of the files.
    fn toolkit_variables(&self, root: &Path) -> Result<Vec<(String, String)>, ContractError> {
        let path = |below: &str| text(&root.join(below));
        let names: Vec<&str> = self.channels.iter().map(|channel| channel.name.as_str()).collect();
        let image = self.image.as_ref();
        let resources = resources(image);
        let mut variables = vec![
            ("TRAINING_JOB_NAME".to_owned(), self.name.clone()),
            ("SM_MODEL_DIR".to_owned(), path("model")?),
            ("SM_OUTPUT_DIR".to_owned(), path("output")?),
            ("SM_OUTPUT_DATA_DIR".to_owned(), path("output/data")?),
            ("SM_INPUT_DIR".to_owned(), path("input")?),
            ("SM_INPUT_CONFIG_DIR".to_owned(), path("input/config")?),
            ("SM_MODULE_DIR".to_owned(), path("code")?),
            ("SM_CHANNELS".to_owned(), json!(names).to_string()),
            ("SM_HPS".to_owned(), json!(self.hyperparameters).to_string()),
            ("SM_USER_ARGS".to_owned(), json!(self.user_arguments()).to_string()),
            ("SM_INPUT_DATA_CONFIG".to_owned(), self.input_data().to_string()),
            ("SM_RESOURCE_CONFIG".to_owned(), resources.to_string()),
            ("SM_CURRENT_HOST".to_owned(), as_text(&resources["current_host"])),
            ("SM_HOSTS".to_owned(), resources["hosts"].to_string()),
            ("SM_NETWORK_INTERFACE_NAME".to_owned(), as_text(&resources["network_interface_name"])),
            ("SM_NUM_CPUS".to_owned(), processors(image).to_string()),
            ("SM_NUM_GPUS".to_owned(), graphics_processors(image).to_string()),
            ("SM_LOG_LEVEL".to_owned(), "20".to_owned()),
        ];
        for name in names {
            let folder = text(&root.join("input/data").join(name))?;
            variables.push((format!("SM_CHANNEL_{}", name.to_uppercase()), folder));
        }
        for (key, value) in &self.hyperparameters {
            variables.push((format!("SM_HP_{}", key.to_uppercase()), as_text(value)));
        }
        Ok(variables)
    }

    /// `--name value` in the order of names; a single letter has a single hyphen.
    fn user_arguments(&self) -> Vec<String> {
        let of = |(key, value): (&String, &Value)| {
            let hyphens = if key.chars().count() == 1 { "-" } else { "--" };
            [format!("{hyphens}{key}"), as_text(value)]
        };
        self.hyperparameters.iter().flat_map(of).collect()
    }

    /// Whether it ended as a training that worked does.
    ///
    /// # Errors
    /// The reason why not.
    pub fn check_end(root: &Path, outcome: &JobOutcome, said: Option<&str>) -> Result<(), Failure> {
        match outcome.succeeded() {
            true => Ok(()),
            false => Err(failure(&ResultFolder::new(root.to_owned()), outcome.end, said)),
        }
    }

    /// What the job left in `root`. `said` is the end of its output.
    ///
    /// # Errors
    /// The reason of the failure: the job's own (`output/failure`, else the last lines that it printed), the limit that it
    /// crossed, or what is wrong with what it left.
    pub fn collect(root: &Path, outcome: &JobOutcome, said: Option<&str>) -> Result<Trained, Failure> {
        Self::check_end(root, outcome, said)?;
        let results = ResultFolder::new(root.to_owned());
        let model = trained_model(&results, Path::new("model"))
            .map_err(|error| Failure::new(error.code(), in_one_line(&error)))?;
        let artifacts = results
            .list(Path::new("output/data"), &ResultLimits::default())
            .map_err(|error| Failure::new(error.code(), in_one_line(&error)))?;
        Ok(Trained { model, artifacts })
    }
}

/// A value as SageMaker's toolkit writes it: text as it is, nothing for null, else compact JSON.
fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// Why a job failed: what it wrote about that, else what it said last.
pub(super) fn failure(results: &ResultFolder, end: JobEnd, said: Option<&str>) -> Failure {
    let failure = Failure::from(end);
    // Whoever was stopped did not end for the reason that it last wrote about.
    if !matches!(end, JobEnd::Exited { .. } | JobEnd::Killed { .. }) {
        return failure;
    }
    // Four bytes a character at most. One that cannot be read safely is as good as none.
    let written = results.read_beginning(Path::new("output/failure"), 4 * FAILURE_CHARACTERS as u64);
    let written = written
        .ok()
        .flatten()
        .map(|text| String::from_utf8_lossy(&text).chars().take(FAILURE_CHARACTERS).collect::<String>());
    let written = written.filter(|text| !text.trim().is_empty());
    match written.as_deref().or(said) {
        Some(reason) => Failure::new(&failure.code, format!("{}: {}", failure.reason, reason.trim())),
        None => failure,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;

    fn job() -> TrainingJob {
        let hyperparameters = [
            ("num_leaves", json!(31)),
            ("learning-rate", json!(0.05)),
            ("objective", json!("multiclass")),
            ("verbose", json!(true)),
            ("e", json!(null)),
        ];
        TrainingJob {
            name: "run-7-train".into(),
            command: vec!["./train.sh".into()],
            image: None,
            hyperparameters: hyperparameters.map(|(key, value)| (key.to_owned(), value)).into(),
            channels: vec![],
            environment: vec![("SM_LOG_LEVEL".into(), "10".into())],
            limits: JobLimits::default(),
        }
    }

    fn ended(end: JobEnd) -> JobOutcome {
        let (cpu_time, elapsed) = (Duration::ZERO, Duration::ZERO);
        JobOutcome { end, peak_memory_bytes: 0, cpu_time, elapsed, output_bytes: 0 }
    }

    #[test]
    fn the_tree_and_the_variables_are_those_of_the_contract() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source.csv");
        fs::write(&source, "a,b\n").unwrap();
        let root = folder.path().join("job");
        let file = super::super::ChannelFile { name: "rows.csv".into(), source };
        let channel =
            Channel { name: "train".into(), content_type: Some("text/csv".into()), files: vec![file] };
        let spec = TrainingJob { channels: vec![channel], ..job() }.lay_out(&root).unwrap();
        let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
        // The shapes of the developer guide's examples.
        assert_eq!(
            read("input/config/hyperparameters.json"),
            r#"{"e":"","learning-rate":"0.05","num_leaves":"31","objective":"multiclass","verbose":"true"}"#
        );
        let inputs: Value = serde_json::from_str(&read("input/config/inputdataconfig.json")).unwrap();
        assert_eq!(
            inputs["train"],
            json!({"ContentType": "text/csv", "TrainingInputMode": "File",
                "S3DistributionType": "FullyReplicated", "RecordWrapperType": "None"})
        );
        assert_eq!(read("input/data/train/rows.csv"), "a,b\n");
        let variable = |name: &str| {
            let all: Vec<&str> =
                spec.environment.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect();
            assert_eq!(all.len(), 1, "{name}");
            all[0].to_owned()
        };
        for (name, value) in [
            ("SM_HP_NUM_LEAVES", "31"),
            ("SM_HP_LEARNING-RATE", "0.05"),
            ("SM_HP_VERBOSE", "true"),
            ("SM_HP_E", ""),
            ("SM_CHANNELS", r#"["train"]"#),
            ("SM_HOSTS", r#"["algo-1"]"#),
            ("SM_NUM_GPUS", "0"),
            ("TRAINING_JOB_NAME", "run-7-train"),
            ("SM_LOG_LEVEL", "10"),
            (
                "SM_USER_ARGS",
                r#"["-e","","--learning-rate","0.05","--num_leaves","31","--objective","multiclass","--verbose","true"]"#,
            ),
        ] {
            assert_eq!(variable(name), value, "{name}");
        }
        for (name, below) in
            [("SM_CHANNEL_TRAIN", "input/data/train"), ("SM_MODEL_DIR", "model"), ("TMPDIR", "tmp")]
        {
            assert_eq!(Path::new(&variable(name)), root.join(below));
            assert!(root.join(below).is_dir());
        }
    }

    #[test]
    fn a_container_sees_the_contracts_own_paths_and_writes_where_it_may() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("job");
        let image = ImageSettings { cpus: Some(0.5), ..ImageSettings::plain("train:1".parse().unwrap()) };
        let job = TrainingJob { image: Some(image.clone()), command: Vec::new(), ..job() };
        let spec = job.lay_out(&root).unwrap();
        let container = spec.container.unwrap();
        assert_eq!((container.image, container.arguments), (image, vec!["train".to_owned()]));
        let writable = |target: &str| {
            container.mounts.iter().find(|mount| mount.target == target).map(|mount| mount.is_writable)
        };
        assert_eq!(container.mounts[0].source, root);
        assert_eq!(writable("/opt/ml"), Some(false), "the input, and all that is not said");
        assert_eq!((writable("/opt/ml/model"), writable("/opt/ml/output")), (Some(true), Some(true)));
        assert!(container.mounts.iter().all(|mount| mount.source.is_dir()));
        let all = format!("{:?}", spec.environment);
        assert!(!all.contains(root.to_str().unwrap()), "no path of this machine: {all}");
        for (name, value) in
            [("SM_MODEL_DIR", "/opt/ml/model"), ("HOME", "/opt/ml/home"), ("SM_NUM_CPUS", "1")]
        {
            assert!(spec.environment.contains(&(name.to_owned(), value.to_owned())), "{name}: {all}");
        }
        // A command takes the place of what the image runs, and gets no argument.
        let spec = TrainingJob { command: vec!["./x".into()], ..job }.lay_out(&root).unwrap();
        assert_eq!((spec.directory, spec.container.unwrap().arguments), ("/opt/ml/code".into(), vec![]));
    }

    #[test]
    fn what_is_beyond_the_limits_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |job: TrainingJob| job.lay_out(folder.path()).unwrap_err().to_string();
        let parameter = |key: &str, value: &str| TrainingJob {
            hyperparameters: [(key.to_owned(), json!(value))].into(),
            ..job()
        };
        assert!(refused(parameter("a=b", "")).contains("a=b"));
        assert!(refused(parameter("long", &"x".repeat(2_501))).contains("2500"));
        let many = (0..101).map(|i| (format!("p{i}"), json!(i))).collect();
        assert!(refused(TrainingJob { hyperparameters: many, ..job() }).contains("101"));
        let channel = Channel { name: "../up".into(), content_type: None, files: vec![] };
        assert!(refused(TrainingJob { channels: vec![channel], ..job() }).contains("../up"));
        assert!(
            fs::read_dir(folder.path()).unwrap().next().is_none(),
            "nothing is laid out before it is checked"
        );
    }

    #[test]
    fn the_reason_of_a_failure_is_the_jobs_own_when_it_gave_one() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        job().lay_out(root).unwrap();
        let reason = |end, said| TrainingJob::collect(root, &ended(end), said).unwrap_err();
        let exited = JobEnd::Exited { code: 3 };
        assert_eq!(reason(exited, None).reason, "the command ended with exit code 3");
        assert!(reason(exited, Some("ValueError: x")).reason.ends_with("code 3: ValueError: x"));
        fs::write(root.join("output/failure"), "é".repeat(2_000)).unwrap();
        let written = reason(exited, Some("ValueError: x"));
        assert_eq!(written.code, "exit_code");
        assert_eq!(written.reason.chars().filter(|c| *c == 'é').count(), 1_024);
        assert_eq!(reason(JobEnd::Cancelled, Some("said")).reason, "the command was cancelled");
        fs::remove_file(root.join("output/failure")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root.join("output/failure")).unwrap();
        assert!(!reason(exited, None).reason.contains("root"), "links are not followed");
        assert_eq!(reason(JobEnd::Exited { code: 0 }, None).code, "no_model");
    }
}
