//! Models that a program of the user's own answers for: their files are kept as training left them, and whoever judges or
//! serves them starts that program.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::documents::{BuildOutput, SourceOutput};
use super::workshop::{WorkFolder, Workshop, disk};
use crate::causes::in_one_line;
use crate::config::CommandSettings;
use crate::digest::Digest;
use crate::domain::RunNumber;
use crate::engine::{Task, WorkError};
use crate::runtime::{ResultFolder, ResultLimits};
use crate::source::{Tree, TreeFile, materialise};

/// Largest file of a model.
const FILE_LIMIT_BYTES: u64 = 20 << 30;

/// A program that answers for a model, as a job of this program is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Served {
    pub program: CommandSettings,
    /// The folder with the files of the model.
    pub model: PathBuf,
    /// The folder that a command runs in.
    pub code: Option<PathBuf>,
}

/// Keeps what a training left in `model/` of `root`.
pub(super) fn keep(shop: &Workshop, root: &Path) -> Result<Digest, WorkError> {
    let results = ResultFolder::new(root.to_owned());
    let found = results
        .list(Path::new("model"), &ResultLimits::default())
        .map_err(|error| WorkError::failed(error.code(), in_one_line(&error)))?;
    if found.is_empty() {
        return Err(WorkError::failed("no_model", "the training left nothing in model/"));
    }
    let mut files = Vec::with_capacity(found.len());
    for file in found {
        let (digest, bytes) = shop.artifacts.put_file(&root.join(&file.path), FILE_LIMIT_BYTES)?;
        files.push(TreeFile { path: file.name, digest, bytes, is_executable: false });
    }
    let tree = Tree::new(files)?;
    Ok(tree.store(&shop.artifacts)?)
}

/// The name under which a model's files are kept, when a program of its own answers for it.
pub(super) fn files(shop: &Workshop, artifact: Digest) -> Result<Option<Digest>, WorkError> {
    let bundle = shop.bundle(artifact)?;
    let Some(name) = bundle.predictor.apart() else { return Ok(None) };
    let digest =
        name.parse().map_err(|_| WorkError::failed("damaged", "the files of the model have no name"))?;
    Ok(Some(digest))
}

/// Lays out who answers for the model of an artifact that a run made, for a job of this program: the name of the file that
/// says so. `None`: Serin answers.
pub(super) fn lay_out(
    shop: &Workshop,
    task: &Task<'_>,
    folder: &WorkFolder,
    name: &str,
    artifact: Digest,
    made_by: RunNumber,
) -> Result<Option<String>, WorkError> {
    let Some(files) = files(shop, artifact)? else { return Ok(None) };
    let made = task.store.run(made_by)?;
    let output = |step: &str| made.as_ref().and_then(|run| run.output(step));
    let gone = || WorkError::failed("not_found", format!("the plan of run {made_by} is gone"));
    let build: BuildOutput = shop.get(output("build").ok_or_else(gone)?)?;
    let program = build.serve.ok_or_else(gone)?;
    let source: SourceOutput = shop.get(output("source").ok_or_else(gone)?)?;
    let place = |what: &str| PathBuf::from(format!("{name}-{what}"));
    let unpack = |tree: &Digest, what: &str| -> Result<PathBuf, WorkError> {
        let tree = Tree::load(tree, &shop.artifacts)?;
        materialise(&tree, &shop.artifacts, &folder.path(&place(what).to_string_lossy()))?;
        Ok(place(what))
    };
    let model = unpack(&files, "files")?;
    let code = if program.image.is_none() { Some(unpack(&source.tree, "code")?) } else { None };
    write(folder, name, &Served { program, model, code }).map(Some)
}

/// Writes who answers for a job of this program; the name of the file.
pub(super) fn write(folder: &WorkFolder, name: &str, served: &Served) -> Result<String, WorkError> {
    let file = format!("{name}-served.json");
    let text = serde_json::to_vec(served)
        .map_err(|error| WorkError::failed("internal", format!("who answers cannot be written: {error}")))?;
    std::fs::write(folder.path(&file), text).map_err(|error| disk("who answers", &error))?;
    Ok(file)
}
