//! `train`: a bundle, made by this program or by the user's own.

use std::collections::BTreeMap;
use std::sync::Arc;

use serin_ml::model::Bundle;

use super::documents::{BuildOutput, TrainOutput};
use super::own::{self, Left};
use super::shape::WORK_VERSION;
use super::workshop::{SETTINGS_FILE, Workshop};
use crate::digest::Digest;
use crate::engine::{Task, Work, WorkError};
use crate::store::StepEnd;

/// What training leaves besides the model.
const FILES: [&str; 3] = ["report.html", "evaluation.json", "leaderboard.json"];
/// Largest of them.
const FILE_LIMIT_BYTES: u64 = 1 << 30;

#[derive(Debug)]
pub(super) struct Train(pub(super) Arc<Workshop>);

impl Work for Train {
    fn version(&self) -> u32 {
        WORK_VERSION
    }

    fn perform(&self, task: &Task<'_>) -> Result<StepEnd, WorkError> {
        let shop = &self.0;
        let build: BuildOutput = shop.input(task, "build")?;
        let data = shop.data(task)?;
        let parts = (task.plan.version, "train", build.recipe, &data);
        let key = Digest::of(&serde_json::to_vec(&parts).unwrap_or_default());
        if let Some((run, output)) = shop.earlier_output(task, key)? {
            return Ok(StepEnd::Succeeded {
                output,
                key: Some(key),
                reused_from: Some(run),
                further: Vec::new(),
            });
        }
        let trained = self.train(task, &build)?;
        task.log.line(&format!("bundle {}: {}", &trained.bundle[..12], trained.summary));
        let output = shop.put(trained)?;
        Ok(StepEnd::Succeeded { output, key: Some(key), reused_from: None, further: Vec::new() })
    }
}

impl Train {
    fn train(&self, task: &Task<'_>, build: &BuildOutput) -> Result<TrainOutput, WorkError> {
        let shop = &self.0;
        let folder = shop.folder(task)?;
        shop.lay_out(&folder, build, &shop.data(task)?)?;
        let mut kept = BTreeMap::new();
        let names: &[&str] = match &build.train {
            Some(settings) => {
                match own::train(shop, task, &folder, build, settings)? {
                    Left::Model { is_bundle } => {
                        let arguments = ["step", "adopt", "--model", "trained.model"];
                        shop.run_own(task, &folder, &arguments)?.expect("invalid_model", &[0])?;
                        let what = if is_bundle { "a bundle" } else { "a model of another program" };
                        task.log.line(&format!("it is {what}, and answers the rows of this project"));
                    }
                    Left::Files { digest, served } => {
                        let name = digest.to_string();
                        let arguments = ["step", "adopt", "--served", &served, "--files", &name];
                        shop.run_own(task, &folder, &arguments)?.expect("invalid_model", &[0])?;
                        task.log.line("its own program answers the rows of this project");
                        kept.insert("model-files.json".to_owned(), digest);
                    }
                }
                &[]
            }
            None => {
                // The command that a person would type, on the frozen plan.
                let arguments = ["train", "--config", SETTINGS_FILE, "--out", "out"];
                // 3: its gates refuse. That is for the gate of the run to say.
                shop.run_own(task, &folder, &arguments)?.expect("training_failed", &[0, 3])?;
                &FILES
            }
        };
        let (artifact, _) = shop.artifacts.put_file(&folder.path("out/model.serin"), FILE_LIMIT_BYTES)?;
        let mut files = kept;
        for name in names {
            let (digest, _) = shop.artifacts.put_file(&folder.path("out").join(name), FILE_LIMIT_BYTES)?;
            files.insert((*name).to_owned(), digest);
        }
        Ok(described(&shop.bundle(artifact)?, artifact, files))
    }
}

/// A bundle in the words of the registry.
fn described(bundle: &Bundle, artifact: Digest, files: BTreeMap<String, Digest>) -> TrainOutput {
    let members = bundle.predictor.members.iter();
    let members: Vec<String> =
        members.map(|member| format!("{:.0} % {}", member.weight * 100.0, member.label)).collect();
    TrainOutput {
        artifact,
        bundle: bundle.digest().to_owned(),
        classes: bundle.card.classes.clone(),
        features: bundle.card.schema.names().count(),
        files,
        summary: members.join(" + "),
    }
}
