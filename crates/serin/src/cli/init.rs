//! `serin init`: a project around a file of rows.

mod samples;
mod text;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serin_core::config::is_name;
use serin_core::stages::{check, read_options, read_rows};
use serin_ml::dataset::{Dataset, ReadOptions};

use super::args::InitArgs;
use super::exit::Exit;
use super::settings::Overrides;
use super::watch::Watch;
use super::{data, files, printer};

/// A larger file is used where it is.
const COPY_LIMIT_BYTES: u64 = 64 << 20;
/// Where files of rows have their form.
const FORMATS: [&str; 4] = [".csv", ".csv.gz", ".parquet", ".tsv"];

/// What the project is made of.
struct Plan {
    folder: PathBuf,
    /// The same without `.`, `..` and links.
    absolute: PathBuf,
    name: String,
    /// The file of rows, absolute.
    rows: PathBuf,
    bytes: u64,
}

/// Looks at the rows, then writes the project. Nothing is written over.
pub fn run(args: &InitArgs) -> anyhow::Result<Exit> {
    let plan = plan(args)?;
    let copy = plan.copy();
    let mut written: Vec<&str> = text::NAMES.to_vec();
    written.extend(copy.as_deref());
    if let Some(name) = written.iter().find(|name| fs::symlink_metadata(plan.folder.join(name)).is_ok()) {
        bail!(
            "{}: is there already, and nothing is written over; name another folder",
            plan.folder.join(name).display()
        );
    }

    let rows = read(&plan, args)?;
    let train = match &copy {
        Some(name) => name.clone(),
        None => plan.path_in_settings()?,
    };
    let project =
        text::Project { name: &plan.name, train: &train, target: &args.target, ignore: &args.ignore };
    let samples = samples::of(&rows);
    let parts =
        [project.settings(), text::GIT_IGNORE.to_owned(), project.read_me(&rows), samples.csv, samples.json];
    fs::create_dir_all(plan.folder.join("requests"))
        .with_context(|| format!("{}: cannot be made", plan.folder.display()))?;
    for (name, content) in text::NAMES.iter().zip(parts) {
        files::publish(&plan.folder.join(name), content.as_bytes())?;
    }
    if let Some(name) = &copy {
        let to = plan.folder.join(name);
        fs::copy(&plan.rows, &to).with_context(|| format!("{}: cannot be written", to.display()))?;
    }
    // What was written is what every command will read.
    Overrides::new().load(Some(&plan.folder.join("serin.toml")))?;
    printer::data(&next(&plan, &rows))?;
    Ok(Exit::Done)
}

impl Plan {
    /// The name of the copy in the project's folder; `None`: the file is used where it is.
    fn copy(&self) -> Option<String> {
        (!self.is_inside() && self.bytes <= COPY_LIMIT_BYTES).then(|| copy_name(&self.rows))
    }

    fn is_inside(&self) -> bool {
        self.rows.starts_with(&self.absolute)
    }

    /// How the settings name a file that is used where it is.
    fn path_in_settings(&self) -> anyhow::Result<String> {
        let path = self.rows.strip_prefix(&self.absolute).unwrap_or(&self.rows);
        path.to_str().map(str::to_owned).with_context(|| format!("{}: the path is not UTF-8", path.display()))
    }
}

fn plan(args: &InitArgs) -> anyhow::Result<Plan> {
    let absolute = std::path::absolute(&args.folder)
        .with_context(|| format!("{}: is no path", args.folder.display()))?;
    // `.` is the name of the folder it stands for.
    let absolute = absolute.canonicalize().unwrap_or(absolute);
    let name = absolute.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if !is_name(&name) {
        bail!(
            "{name:?} cannot be a project's name: use 1 to 63 letters, digits and hyphens, no hyphen at either end"
        );
    }
    let found = fs::symlink_metadata(&args.folder);
    if found.is_ok_and(|found| !found.is_dir()) {
        bail!("{}: is there already, and no folder", args.folder.display());
    }
    let rows = args.data.canonicalize().with_context(|| format!("{}: no such file", args.data.display()))?;
    let metadata = fs::metadata(&rows).with_context(|| format!("{}: cannot be read", rows.display()))?;
    if !metadata.is_file() {
        bail!("{}: is no file; name one file of rows", rows.display());
    }
    Ok(Plan { folder: args.folder.clone(), absolute, name, rows, bytes: metadata.len() })
}

/// What the copy of a file is called: its own name, when that keeps its form and hides nothing of the project.
fn copy_name(rows: &Path) -> String {
    let name = rows.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let is_plain =
        name.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') && !name.contains(['*', '?', '[']);
    if is_plain && !name.starts_with('.') {
        return name;
    }
    let lower = name.to_ascii_lowercase();
    let format = FORMATS.iter().rev().find(|format| lower.ends_with(**format)).unwrap_or(&".csv");
    format!("train{format}")
}

/// Reads all rows and says what is odd about them: a project that cannot train is not begun.
fn read(plan: &Plan, args: &InitArgs) -> anyhow::Result<Dataset> {
    let settings = Overrides::new()
        .set("data.target", Some(args.target.clone()), "--target")
        .list("data.ignore", &args.ignore, "--ignore")
        .load(None)?;
    let watch = Watch::start(None);
    let options = ReadOptions { minimum_rows: settings.train.folds, ..read_options(&settings.data) };
    let read = read_rows(std::slice::from_ref(&plan.rows), &options, &watch);
    watch.finish();
    let rows = files::warned(read?);
    let found = check(&settings, &rows, None);
    printer::talk(data::summary(&rows, None, &found).trim_end());
    Ok(rows)
}

fn next(plan: &Plan, rows: &Dataset) -> String {
    let folder = plan.folder.display();
    let classes = rows.labels.as_ref().map_or(0, |labels| labels.classes.len());
    let remark = if plan.bytes > COPY_LIMIT_BYTES {
        format!("; larger than {} MiB, it is used where it is", COPY_LIMIT_BYTES >> 20)
    } else {
        String::new()
    };
    format!(
        "{folder}: {} rows, {} features, {classes} classes from {}{remark}\n\n\
         what to type next\n\
         cd {folder}\n\
         serin up                # the control plane and the gateway, until Ctrl-C\n\
         serin run --watch       # in another terminal: train, judge, deploy to dev, ask for approval\n",
        rows.n_rows,
        rows.schema.fields.len(),
        plan.rows.display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_keep_their_name_unless_it_would_mislead() {
        for (path, name) in [
            ("/x/rows of May.csv", "rows of May.csv"),
            ("/x/train.parquet", "train.parquet"),
            ("/x/.hidden.csv.gz", "train.csv.gz"),
            ("/x/a*.parquet", "train.parquet"),
            ("/x/größe.CSV", "train.csv"),
            ("/x/[a]", "train.csv"),
        ] {
            assert_eq!(copy_name(Path::new(path)), name);
        }
    }
}
