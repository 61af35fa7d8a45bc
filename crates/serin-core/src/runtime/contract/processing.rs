//! A processing job: files in, files and a message out.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::layout::{
    Channel, ContractError, Root, check_name, check_names, copy_in, environment, folder, resources, text,
    write_json,
};
use super::training::failure;
use crate::causes::in_one_line;
use crate::config::ImageSettings;
use crate::domain::Failure;
use crate::runtime::{
    FoundFile, JobLimits, JobMount, JobOutcome, JobSpec, ResultError, ResultFolder, ResultLimits,
};

/// Limits of SageMaker's `CreateProcessingJob`.
const NAME_LIMIT: usize = 63;
const INPUTS_LIMIT: usize = 10;
const OUTPUTS_LIMIT: usize = 10;
/// What a container may write to; what lies in `processing` besides its inputs is its own affair.
const WRITABLE: [&str; 5] = ["processing", "output", "code", "home", "tmp"];
/// What it may not write to within that.
const INPUT: &str = "processing/input";
/// Bytes of `output/message` that are kept.
const MESSAGE_LIMIT_BYTES: u64 = 1_024;
/// Bytes at the end of a message that may be the beginning of a character that did not fit.
const CUT_CHARACTER_BYTES: usize = 3;

/// A processing to lay out.
#[derive(Debug, Clone)]
pub struct ProcessingJob {
    /// As plain as a channel's name.
    pub name: String,
    /// Without one, the image does what it does by itself.
    pub command: Vec<String>,
    /// Runs in a container; `None`: as a process.
    pub image: Option<ImageSettings>,
    /// In `processing/input/<name>`.
    pub inputs: Vec<Channel>,
    /// Names of the folders `processing/output/<name>`.
    pub outputs: Vec<String>,
    /// Besides the variables of the contract; these win.
    pub environment: Vec<(String, String)>,
    pub limits: JobLimits,
}

/// What a processing left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Processed {
    /// The first 1,024 bytes of `output/message`.
    pub message: Option<String>,
    /// In the order in which they were asked for.
    pub outputs: Vec<ProcessedOutput>,
}

/// The files of one output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessedOutput {
    pub name: String,
    pub files: Vec<FoundFile>,
}

impl ProcessingJob {
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
        check_name("processing job", &self.name, NAME_LIMIT)?;
        check_names("input", self.inputs.iter().map(|input| input.name.as_str()), NAME_LIMIT)?;
        check_names("output", self.outputs.iter().map(String::as_str), NAME_LIMIT)?;
        for (what, found, limit) in
            [("input", self.inputs.len(), INPUTS_LIMIT), ("output", self.outputs.len(), OUTPUTS_LIMIT)]
        {
            if found > limit {
                return Err(ContractError::TooMany { what, found, limit });
            }
        }
        let (seen, image) = (Root::new(root, self.image.as_ref()), self.image.as_ref());
        let config = root.join("config");
        for path in [&config, &root.join("output"), &root.join(INPUT), &Self::code(root)] {
            folder(path)?;
        }
        for input in &self.inputs {
            copy_in(input, &input_folder(root, &input.name))?;
        }
        for output in &self.outputs {
            folder(&output_folder(root, output))?;
        }
        let own = vec![("PROCESSING_JOB_NAME".to_owned(), self.name.clone())];
        let environment = environment(&seen, own, &self.environment)?;
        write_json(&config.join("processingjobconfig.json"), &self.config(&seen.seen)?)?;
        write_json(&config.join("resourceconfig.json"), &resources(image))?;
        let mut container = image.map(|image| seen.container(image, &WRITABLE, &[])).transpose()?;
        if let Some(container) = &mut container {
            let target = text(&seen.seen.join(INPUT))?;
            container.mounts.push(JobMount { source: root.join(INPUT), target, is_writable: false });
        }
        let directory = Self::code(&seen.seen);
        Ok(JobSpec { command: self.command.clone(), directory, environment, limits: self.limits, container })
    }

    /// What SageMaker writes, with nothing where there is nothing; the values of variables are in the environment only.
    fn config(&self, root: &Path) -> Result<Value, ContractError> {
        let input = |input: &Channel| {
            Ok(json!({
                "InputName": input.name,
                "AppManaged": false,
                "S3Input": {
                    "LocalPath": text(&input_folder(root, &input.name))?,
                    "S3Uri": null,
                    "S3DataDistributionType": "FullyReplicated",
                    "S3DataType": "S3Prefix",
                    "S3InputMode": "File",
                    "S3CompressionType": "None",
                    "S3DownloadMode": "StartOfJob",
                },
                "DatasetDefinition": null,
            }))
        };
        let output = |name: &String| {
            let path = text(&output_folder(root, name))?;
            Ok(json!({
                "OutputName": name,
                "AppManaged": false,
                "S3Output": { "LocalPath": path, "S3Uri": null, "S3UploadMode": "EndOfJob" },
                "FeatureStoreOutput": null,
            }))
        };
        let inputs = self.inputs.iter().map(input).collect::<Result<Vec<_>, ContractError>>()?;
        let outputs = self.outputs.iter().map(output).collect::<Result<Vec<_>, ContractError>>()?;
        Ok(json!({
            "ProcessingJobArn": null,
            "ProcessingJobName": self.name,
            "AppSpecification": {
                "ImageUri": self.image.as_ref().map(|image| image.name.as_str()),
                "ContainerEntrypoint": (!self.command.is_empty()).then_some(&self.command),
                "ContainerArguments": null,
            },
            "Environment": {},
            "ProcessingInputs": inputs,
            "ProcessingOutputConfig": { "Outputs": outputs, "KmsKeyId": null },
            "ProcessingResources": {
                "ClusterConfig": {
                    "InstanceCount": 1,
                    "InstanceType": "local",
                    "VolumeSizeInGB": null,
                    "VolumeKmsKeyId": null,
                },
            },
            "RoleArn": null,
            "StoppingCondition": { "MaxRuntimeInSeconds": self.limits.time.as_secs() },
        }))
    }

    /// What the job left in `root`. `said` is the end of its output.
    ///
    /// # Errors
    /// The reason of the failure: the job's own (`output/failure` or `output/message`, else the last lines that it printed),
    /// the limit that it crossed, or what is wrong with what it left.
    pub fn collect(
        &self,
        root: &Path,
        outcome: &JobOutcome,
        said: Option<&str>,
    ) -> Result<Processed, Failure> {
        let results = ResultFolder::new(root.to_owned());
        let message = message(&results);
        if !outcome.succeeded() {
            let message = message.ok().flatten();
            return Err(failure(&results, outcome.end, message.as_deref().or(said)));
        }
        let wrong = |error: ResultError| Failure::new(error.code(), in_one_line(&error));
        let output = |name: &String| {
            let folder = output_folder(Path::new(""), name);
            let files = results.list(&folder, &ResultLimits::default()).map_err(wrong)?;
            Ok(ProcessedOutput { name: name.clone(), files })
        };
        let outputs = self.outputs.iter().map(output).collect::<Result<_, Failure>>()?;
        Ok(Processed { message: message?, outputs })
    }
}

fn input_folder(root: &Path, name: &str) -> PathBuf {
    root.join("processing/input").join(name)
}

fn output_folder(root: &Path, name: &str) -> PathBuf {
    root.join("processing/output").join(name)
}

/// The job's last word. As with SageMaker, one that is not UTF-8 fails the job; where a character was cut at the limit, it
/// ends before that.
fn message(results: &ResultFolder) -> Result<Option<String>, Failure> {
    let read = results.read_beginning(Path::new("output/message"), MESSAGE_LIMIT_BYTES);
    let Some(bytes) = read.map_err(|error| Failure::new(error.code(), in_one_line(&error)))? else {
        return Ok(None);
    };
    let is_cut = bytes.len() as u64 == MESSAGE_LIMIT_BYTES;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Some(text.to_owned())),
        Err(error)
            if is_cut
                && error.error_len().is_none()
                && bytes.len() - error.valid_up_to() <= CUT_CHARACTER_BYTES =>
        {
            Ok(Some(String::from_utf8_lossy(&bytes[..error.valid_up_to()]).into_owned()))
        }
        Err(_) => Err(Failure::new("message_not_text", "output/message is not UTF-8")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;
    use crate::runtime::JobEnd;

    fn job() -> ProcessingJob {
        ProcessingJob {
            name: "prepare-7".into(),
            command: vec!["python3".into(), "prepare.py".into()],
            image: None,
            inputs: vec![],
            outputs: vec!["train".into(), "baseline".into()],
            environment: vec![("TOKEN".into(), "s3cret".into())],
            limits: JobLimits::default(),
        }
    }

    fn ended(code: i32) -> JobOutcome {
        JobOutcome {
            end: JobEnd::Exited { code },
            peak_memory_bytes: 0,
            cpu_time: Duration::ZERO,
            elapsed: Duration::ZERO,
            output_bytes: 0,
        }
    }

    #[test]
    fn the_configuration_is_sagemakers_and_names_real_folders() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source.csv");
        fs::write(&source, "a,b\n").unwrap();
        let file = super::super::ChannelFile { name: "rows.csv".into(), source };
        let input = Channel { name: "raw".into(), content_type: None, files: vec![file] };
        let root = folder.path().join("job");
        let spec = ProcessingJob { inputs: vec![input], ..job() }.lay_out(&root).unwrap();
        let config = fs::read_to_string(root.join("config/processingjobconfig.json")).unwrap();
        assert!(!config.contains("s3cret"));
        let config: Value = serde_json::from_str(&config).unwrap();
        let local = config["ProcessingInputs"][0]["S3Input"]["LocalPath"].as_str().unwrap();
        assert_eq!(fs::read_to_string(Path::new(local).join("rows.csv")).unwrap(), "a,b\n");
        let local = config["ProcessingOutputConfig"]["Outputs"][1]["S3Output"]["LocalPath"].as_str().unwrap();
        assert!(local.ends_with("processing/output/baseline") && Path::new(local).is_dir());
        assert_eq!(config["StoppingCondition"]["MaxRuntimeInSeconds"], 3_600);
        assert_eq!(config["ProcessingJobArn"], Value::Null);
        let root_variable = (super::super::ROOT_VARIABLE.to_owned(), root.to_str().unwrap().to_owned());
        assert!(spec.environment.contains(&root_variable));
        assert_eq!(spec.directory, root.join("code"));
    }

    #[test]
    fn a_container_is_told_paths_that_it_sees() {
        let folder = tempfile::tempdir().unwrap();
        let image = Some(ImageSettings::plain("prepare:1".parse().unwrap()));
        let job = ProcessingJob { image, command: vec![], ..job() };
        let spec = job.lay_out(folder.path()).unwrap();
        let config = fs::read_to_string(folder.path().join("config/processingjobconfig.json")).unwrap();
        assert!(!config.contains(folder.path().to_str().unwrap()), "{config}");
        let config: Value = serde_json::from_str(&config).unwrap();
        assert_eq!(config["AppSpecification"]["ImageUri"], "prepare:1");
        assert_eq!(config["AppSpecification"]["ContainerEntrypoint"], Value::Null);
        let local = &config["ProcessingOutputConfig"]["Outputs"][0]["S3Output"]["LocalPath"];
        assert_eq!(local, "/opt/ml/processing/output/train");
        let container = spec.container.unwrap();
        assert!(container.arguments.is_empty());
        let input = container.mounts.last().unwrap();
        assert_eq!((input.target.as_str(), input.is_writable), ("/opt/ml/processing/input", false));
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["", ".", "..", "a/b", "../x", "a b", "é", &"x".repeat(64)] {
            let job = ProcessingJob { outputs: vec![name.into()], ..job() };
            assert!(matches!(job.lay_out(folder.path()), Err(ContractError::Name { .. })), "{name:?}");
        }
        let job = ProcessingJob { outputs: vec!["a".into(), "A".into()], ..job() };
        assert!(matches!(job.lay_out(folder.path()), Err(ContractError::Twice { .. })));
    }

    #[test]
    fn outputs_and_the_message_are_collected() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        job().lay_out(root).unwrap();
        fs::write(root.join("processing/output/train/rows.csv"), "1\n").unwrap();
        let collected = job().collect(root, &ended(0), None).unwrap();
        assert_eq!(collected.message, None);
        assert_eq!(collected.outputs[0].files[0].path, Path::new("processing/output/train/rows.csv"));
        assert!(collected.outputs[1].files.is_empty());
        for (written, kept) in [("fine".to_owned(), "fine".to_owned()), ("é".repeat(600), "é".repeat(512))]
        {
            fs::write(root.join("output/message"), written).unwrap();
            assert_eq!(job().collect(root, &ended(0), None).unwrap().message, Some(kept));
        }
        fs::write(root.join("output/message"), format!("x{}", "é".repeat(600))).unwrap();
        assert_eq!(job().collect(root, &ended(0), None).unwrap().message.unwrap().len(), 1_023);
        let failed = job().collect(root, &ended(4), Some("said")).unwrap_err();
        assert!(failed.reason.starts_with("the command ended with exit code 4: xéé"), "{failed:?}");
        fs::write(root.join("output/message"), b"\xff\xfe").unwrap();
        assert_eq!(job().collect(root, &ended(0), None).unwrap_err().code, "message_not_text");
        assert!(job().collect(root, &ended(4), Some("said")).unwrap_err().reason.ends_with(": said"));
    }
}
