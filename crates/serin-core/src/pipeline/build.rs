//! `build`: the plan, frozen. Settings, code and rows become digests, and the steps that follow become known.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serin_ml::train::Budget;

use super::documents::{BuildOutput, SourceOutput};
use super::request::{DataFile, DataRole, ROWS_LIMIT_BYTES, TrainRequest};
use super::shape::{WORK_VERSION, steps_after_build};
use super::source::project;
use super::workshop::{SETTINGS_FILE, Workshop, disk, not_run};
use crate::causes::in_one_line;
use crate::config::{FILE_LIMIT_BYTES, Layers, PipelineSettings, Settings};
use crate::digest::Digest;
use crate::engine::{Task, Work, WorkError};
use crate::runtime::OutputLine;
use crate::source::{Tree, materialise};
use crate::stages::expand;
use crate::store::StepEnd;

/// The sections of the settings that decide the model; the others are about runs and servers.
const MODEL_SECTIONS: [&str; 5] = ["project", "data", "train", "checks", "gates"];

#[derive(Debug)]
pub(super) struct Build(pub(super) Arc<Workshop>);

impl Work for Build {
    fn version(&self) -> u32 {
        WORK_VERSION
    }

    fn perform(&self, task: &Task<'_>) -> Result<StepEnd, WorkError> {
        let shop = &self.0;
        let source: SourceOutput = shop.input(task, "source")?;
        let request: TrainRequest = serde_json::from_value(task.run.request.clone())
            .map_err(|error| WorkError::failed("internal", format!("the request of the run: {error}")))?;
        let folder = shop.folder(task)?;
        let tree = Tree::load(&source.tree, &shop.artifacts)?;
        materialise(&tree, &shop.artifacts, &folder.path("source"))?;
        let project_folder = folder.path("source").join(&source.folder);
        let (mut settings, text) = settings(&project_folder, &request)?;
        if settings.project != task.run.project {
            let reason =
                format!("serin.toml names the project {:?}, not {:?}", settings.project, task.run.project);
            return Err(WorkError::failed("configuration", reason));
        }
        let rows_folder =
            if source.commit.is_some() { None } else { Some(PathBuf::from(project(task)?.folder)) };
        let data = match request.data.is_empty() {
            true => self.freeze(task, &settings, &project_folder, rows_folder.as_deref())?,
            false => request.data,
        };
        self.pin(task, &mut settings.pipeline, &project_folder)?;
        let build = self.plan(&settings, &text, &source, data)?;
        task.store.set_revision(task.hold, build.revision)?;
        task.log.line(&format!("revision {}, recipe {}", build.revision.short(), build.recipe.short()));
        let revision = build.revision;
        let output = shop.put(build)?;
        let is_unasked = task.run.cause.is_automatic() && !settings.pipeline.retrain_unchanged;
        if is_unasked
            && let Some((run, last)) = task.store.last_revision(&task.run.project)?
            && last == revision
        {
            let reason = format!("run {run} trained on the same code and data ({})", revision.short());
            return Ok(StepEnd::Skipped { output, reason });
        }
        let budget = match settings.train.budget {
            Budget::Until(budget) => Some(budget.as_secs()),
            Budget::Trials(_) => None,
        };
        let further = steps_after_build(&settings.pipeline, budget);
        Ok(StepEnd::Succeeded { output, key: None, reused_from: None, further })
    }
}

impl Build {
    /// What the names of images stand for now is part of the plan: the same plan runs the same images.
    fn pin(
        &self,
        task: &Task<'_>,
        pipeline: &mut PipelineSettings,
        project_folder: &Path,
    ) -> Result<(), WorkError> {
        let PipelineSettings { prepare, train, evaluate, serve, .. } = pipeline;
        for step in [prepare, train, evaluate, serve].into_iter().flatten() {
            let Some(image) = &mut step.image else { continue };
            let mut output = |line: OutputLine| task.log.line(&line.text);
            let pinned = self.0.jobs.pin(image, project_folder, task.cancel, &mut output);
            let pinned = pinned.map_err(|error| not_run(&error))?;
            task.log.line(&format!("image {} is {pinned}", image.name));
            image.pinned = Some(pinned);
        }
        Ok(())
    }

    fn plan(
        &self,
        settings: &Settings,
        text: &str,
        source: &SourceOutput,
        data: Vec<DataFile>,
    ) -> Result<BuildOutput, WorkError> {
        let serin = env!("CARGO_PKG_VERSION").to_owned();
        let template = self.0.artifacts.put(text.as_bytes())?;
        let pipeline = &settings.pipeline;
        // The user's own steps may read any file of the tree.
        let own = [&pipeline.prepare, &pipeline.train, &pipeline.evaluate];
        let code = own.iter().any(|step| step.is_some()).then_some((source.tree, own));
        let digest = |parts: serde_json::Result<Vec<u8>>| Digest::of(&parts.unwrap_or_default());
        let recipe = digest(serde_json::to_vec(&(&template, code, &serin)));
        let rows: Vec<(DataRole, Digest)> = data.iter().map(|file| (file.role, file.digest)).collect();
        let revision = digest(serde_json::to_vec(&(recipe, source.tree, rows)));
        Ok(BuildOutput {
            settings: template,
            recipe,
            revision,
            data,
            target: settings.data.target.clone().unwrap_or_default(),
            seed: settings.train.seed.0,
            metric: settings.train.metric.to_string(),
            stages: pipeline.stages.clone(),
            gates: settings.gates_as_written.clone(),
            prepare: pipeline.prepare.clone(),
            train: pipeline.train.clone(),
            evaluate: pipeline.evaluate.clone(),
            serve: pipeline.serve.clone(),
            serin,
        })
    }

    /// Puts every file of rows that the settings name into the artifact store.
    fn freeze(
        &self,
        task: &Task<'_>,
        settings: &Settings,
        project_folder: &Path,
        rows_folder: Option<&Path>,
    ) -> Result<Vec<DataFile>, WorkError> {
        let mut data = Vec::new();
        for (role, entries) in
            [(DataRole::Train, &settings.data.train), (DataRole::Test, &settings.data.test)]
        {
            // A folder is built as it is, and what lies outside of it or was too large to be kept is read where it is.
            let entries: Vec<PathBuf> =
                entries.iter().map(|entry| moved(entry, project_folder, rows_folder)).collect();
            for path in expand(&entries).map_err(|error| WorkError::failed("data", in_one_line(&error)))? {
                task.go_on()?;
                let (digest, bytes) = self.0.artifacts.put_file(&path, ROWS_LIMIT_BYTES)?;
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                task.log.line(&format!("{name}: {bytes} bytes, {}", digest.short()));
                data.push(DataFile { role, name, digest, bytes });
            }
        }
        if !data.iter().any(|file| file.role == DataRole::Train) {
            let reason = "there are no training rows: set data.train in serin.toml, or upload a data source";
            return Err(WorkError::failed("data", reason));
        }
        Ok(data)
    }
}

fn moved(entry: &Path, from: &Path, to: Option<&Path>) -> PathBuf {
    match (to, entry.strip_prefix(from)) {
        (Some(to), Ok(relative)) => to.join(relative),
        _ => entry.to_owned(),
    }
}

/// The settings of the commit with the request's parameters, checked, and the text of what decides the model.
fn settings(folder: &Path, request: &TrainRequest) -> Result<(Settings, String), WorkError> {
    let wrong = |error: String| WorkError::failed("configuration", error);
    let file = folder.join(SETTINGS_FILE);
    let load = |file: &Path| {
        let settings = Settings::load(&Layers { file: Some(file.to_owned()), ..Layers::default() });
        // The folder is ours and gone afterwards: only the file's name helps.
        settings.map_err(|error| wrong(in_one_line(&error).replace(&format!("{}/", folder.display()), "")))
    };
    let mut settings = load(&file)?;
    let text = fs::read_to_string(&file).map_err(|error| disk("serin.toml", &error))?;
    let mut table: toml::Table = text.parse().map_err(|error| wrong(format!("serin.toml: {error}")))?;
    if !request.hyperparameters.is_empty() {
        let train = table.entry("train").or_insert_with(|| toml::Table::new().into());
        for (key, value) in &request.hyperparameters {
            let value = toml::Value::try_from(value).map_err(|error| wrong(format!("{key}: {error}")))?;
            if let Some(train) = train.as_table_mut() {
                train.insert(key.clone(), value);
            }
        }
        let merged = folder.join("serin.uploaded.toml");
        let text = toml::to_string(&table).map_err(|error| wrong(error.to_string()))?;
        fs::write(&merged, text).map_err(|error| disk("the settings", &error))?;
        settings = load(&merged)?;
    }
    table.retain(|section, _| MODEL_SECTIONS.contains(&section));
    if let Some(data) = table.get_mut("data").and_then(toml::Value::as_table_mut) {
        data.remove("train");
        data.remove("test");
    }
    let text = toml::to_string(&table).map_err(|error| wrong(error.to_string()))?;
    Ok((settings, text))
}

/// The frozen settings with the rows' names in a work folder.
pub(super) fn settings_for(text: &[u8], data: &[DataFile]) -> Result<String, WorkError> {
    let wrong = |error: String| WorkError::failed("damaged", format!("the frozen settings: {error}"));
    let text = std::str::from_utf8(text).map_err(|error| wrong(error.to_string()))?;
    let mut table: toml::Table = text.parse().map_err(|error: toml::de::Error| wrong(error.to_string()))?;
    let names = |role: DataRole| {
        let files = data.iter().enumerate().filter(|(_, file)| file.role == role);
        files.map(|(i, file)| toml::Value::from(format!("data/{}", file.work_name(i)))).collect::<Vec<_>>()
    };
    let section = table.entry("data").or_insert_with(|| toml::Table::new().into());
    if let Some(section) = section.as_table_mut() {
        section.insert("train".to_owned(), names(DataRole::Train).into());
        section.insert("test".to_owned(), names(DataRole::Test).into());
    }
    let text = toml::to_string(&table).map_err(|error| wrong(error.to_string()))?;
    debug_assert!(text.len() as u64 <= 2 * FILE_LIMIT_BYTES);
    Ok(text)
}
