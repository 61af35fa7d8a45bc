//! The project that the demonstration works on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use serin_ml::dataset::Dataset;

use super::super::args::DemoArgs;
use super::super::files;

/// Marks a folder as made by the demonstration, so that only such a folder is written into again.
const MARK: &str = ".serin-demo";

const EXAMPLE: [(&str, &str); 4] = [
    ("serin.toml", include_str!("../../../../../examples/digits/serin.toml")),
    ("train.csv", include_str!("../../../../../examples/digits/train.csv")),
    ("holdout.csv", include_str!("../../../../../examples/digits/holdout.csv")),
    ("README.md", include_str!("../../../../../examples/digits/README.md")),
];

/// What the example predicts.
const EXAMPLE_TARGET: &str = "digit";

/// Where the project is.
pub struct Project {
    folder: PathBuf,
    target: String,
    /// Its settings.
    pub config: PathBuf,
    /// What was written, for people.
    pub description: String,
    /// Whether it is a git repository with a commit.
    pub is_repository: bool,
}

/// What the demonstration adds to the example's settings.
const PIPELINE: &str = "\n[source]\nrepository = \".\"             # each commit of this repository is built\n\n\
    [serve]\ndata_dir = \"serin-data\"\n\n[triggers]\ncooldown = \"0s\"\n\n[triggers.git]\npoll = \"500ms\"\n";

/// And about watching: a demonstration has seconds where others have hours.
const MONITOR: &str = "\n[monitor]\nwindow = \"10s\"\nconfirm = \"1 of 1\"\nmin_rows = 100\n\n\
    [monitor.retrain]\nmin_labels = 50\n";

/// And about what serves there: processes of their own, more of them when much is asked. The target is a demonstration's, which
/// asks little: six in a hundred of a replica's time.
const REPLICAS: &str = "\nmin = 2\nmax = 4\n\
    target = \"0.06 in flight per replica\"\n";

/// And about its last stage. The bake times are those of a demonstration.
const ROLLOUT: &str = "\n[stages.prod.rollout]\nsteps = [{ weight = 20, bake = \"4s\" }]\nfinal_bake = \"2s\"\n\
    min_requests = 100\nmirror = \"10s\"\nprobation = \"1h\"\n\n[gates]\nchallenger_margin = -0.2  # a demonstration need not win\n";

/// With `--container` the first version is trained in a container, by Serin itself.
fn in_container(image: &str, budget: &str) -> String {
    format!("\n[steps.train]\nimage = {image:?}\n\n[steps.train.hyperparameters]\nbudget = {budget:?}\n")
}

/// Writes the example, or a project around the user's own file.
pub fn write(args: &DemoArgs) -> anyhow::Result<Project> {
    // Without an engine nothing is begun.
    let image = args.container.then(super::super::image::build_own).transpose()?;
    prepare(&args.dir)?;
    let config = args.dir.join("serin.toml");
    let description = match (&args.data, &args.target) {
        (Some(file), Some(target)) => {
            let file = file.canonicalize().with_context(|| format!("{}: no such file", file.display()))?;
            files::publish(&config, own(&file, target, &args.budget)?.as_bytes())?;
            format!("{}: your rows in {}", config.display(), file.display())
        }
        _ => {
            for (name, content) in EXAMPLE {
                files::publish(&args.dir.join(name), content.as_bytes())?;
            }
            let budget = format!("budget = {:?}", args.budget);
            files::publish(&config, EXAMPLE[0].1.replace("budget = \"30s\"", &budget).as_bytes())?;
            format!(
                "{}: handwritten digits, 8 x 8 pixels, 10 classes (source and licence in README.md)",
                config.display()
            )
        }
    };
    let text = std::fs::read_to_string(&config)?;
    let has_gates = text.contains("[gates]");
    let rollout = if has_gates { ROLLOUT.split("\n[gates]").next().unwrap_or_default() } else { ROLLOUT };
    let is_repository = has_git();
    let runtime = if image.is_some() { "container" } else { "process" };
    let replicas = format!("\n[stages.prod.replicas]\nruntime = {runtime:?}{REPLICAS}");
    let training = image.as_deref().map(|image| in_container(image, &args.budget)).unwrap_or_default();
    let pipeline = if is_repository { PIPELINE } else { "" };
    files::publish(&config, format!("{text}{pipeline}{MONITOR}{replicas}{training}{rollout}").as_bytes())?;
    let description = if is_repository {
        begin_repository(&args.dir)?;
        format!("{description}\ncommit {} on branch main", commit(&args.dir, "A classifier")?)
    } else {
        format!("{description}\nthere is no `git` here: the folder is built as it is")
    };
    let target = args.target.clone().unwrap_or_else(|| EXAMPLE_TARGET.to_owned());
    Ok(Project { folder: args.dir.clone(), target, config, description, is_repository })
}

impl Project {
    /// Changes the settings, and commits that where there is git.
    pub fn change(
        &self,
        subject: &str,
        edit: impl FnOnce(String) -> anyhow::Result<String>,
    ) -> anyhow::Result<()> {
        let text = edit(fs::read_to_string(&self.config)?)?;
        files::publish(&self.config, text.as_bytes())?;
        if self.is_repository {
            commit(&self.folder, subject)?;
        }
        Ok(())
    }

    /// Writes `rows` with their classes as CSV, every number `factor` times as large.
    pub fn write_rows(&self, name: &str, rows: &Dataset, factor: f64) -> anyhow::Result<()> {
        let labels = rows.labels.as_ref().context("the rows have no classes")?;
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(rows.schema.names().chain([self.target.as_str()]))?;
        for row in 0..rows.n_rows {
            let cells = rows.columns.iter().map(|column| match column[row] {
                value if value.is_nan() => String::new(),
                value => (factor * value).to_string(),
            });
            let class = labels.classes.get(labels.codes[row] as usize).cloned().unwrap_or_default();
            writer.write_record(cells.chain([class]))?;
        }
        files::publish(&self.folder.join(name), &writer.into_inner()?)?;
        Ok(())
    }
}

fn has_git() -> bool {
    Command::new("git").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// Makes the folder a repository, whatever git is configured to do.
fn begin_repository(folder: &Path) -> anyhow::Result<()> {
    files::publish(&folder.join(".gitignore"), b"serin-data/\nout/\n.serin-demo\n")?;
    git(folder, &["init", "--quiet"])?;
    git(folder, &["symbolic-ref", "HEAD", "refs/heads/main"])?;
    Ok(())
}

/// Commits everything; the commit's short name.
fn commit(folder: &Path, subject: &str) -> anyhow::Result<String> {
    git(folder, &["add", "--all"])?;
    git(folder, &["commit", "--quiet", "--message", subject])?;
    git(folder, &["rev-parse", "--short=12", "HEAD"])
}

fn git(folder: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new("git");
    let settings =
        ["-c", "user.name=Serin demo", "-c", "user.email=demo@localhost", "-c", "commit.gpgsign=false"];
    command.arg("-C").arg(folder).args(settings).args(["-c", "core.hooksPath=/dev/null"]).args(arguments);
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(variable);
    }
    let ran = command.env("GIT_CONFIG_GLOBAL", "/dev/null").output().context("git cannot be started")?;
    if !ran.status.success() {
        bail!("git {}: {}", arguments.join(" "), String::from_utf8_lossy(&ran.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&ran.stdout).trim().to_owned())
}

/// Makes the folder, or empties one that an earlier demonstration made; anything else is left alone.
fn prepare(folder: &Path) -> anyhow::Result<()> {
    let mark = folder.join(MARK);
    if folder.exists() && !mark.exists() {
        let is_empty = folder.is_dir() && fs::read_dir(folder)?.next().is_none();
        if !is_empty {
            bail!(
                "{}: exists and was not made by a demonstration: choose another folder with --dir",
                folder.display()
            );
        }
    }
    if mark.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("{}: cannot be replaced", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
    files::publish(&mark, b"made by `serin demo`; a later one replaces this folder\n")
}

/// Settings for the user's own file.
fn own(file: &Path, target: &str, budget: &str) -> anyhow::Result<String> {
    let mut table = toml::Table::new();
    let mut data = toml::Table::new();
    let path = file.to_str().with_context(|| format!("{}: the path is not UTF-8", file.display()))?;
    data.insert("train".into(), path.into());
    data.insert("target".into(), target.into());
    table.insert("project".into(), toml::Table::from_iter([("name".to_owned(), "demo".into())]).into());
    table.insert("data".into(), data.into());
    let train = toml::Table::from_iter([("budget".to_owned(), budget.into())]);
    table.insert("train".into(), train.into());
    Ok(format!(
        "# Made by `serin demo`; `serin config show` prints every key.\n\n{}",
        toml::to_string(&table)?
    ))
}
