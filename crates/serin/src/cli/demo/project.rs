//! The project that the demonstration works on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

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

/// Where the project is.
pub struct Project {
    /// Its settings.
    pub config: PathBuf,
    /// What was written, for people.
    pub description: String,
    /// Whether it is a git repository with a commit.
    pub is_repository: bool,
}

/// What the demonstration adds to the example's settings.
const PIPELINE: &str = "\n[source]\nrepository = \".\"             # each commit of this repository is built\n\n\
    [serve]\ndata_dir = \"serin-data\"\n\n[triggers.git]\npoll = \"500ms\"\n";

/// Writes the example, or a project around the user's own file.
pub fn write(args: &DemoArgs) -> anyhow::Result<Project> {
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
    if has_git() {
        files::publish(&config, format!("{text}{PIPELINE}").as_bytes())?;
        let commit = commit(&args.dir)?;
        let description = format!("{description}\ncommit {commit} on branch main");
        return Ok(Project { config, description, is_repository: true });
    }
    let description = format!("{description}\nthere is no `git` here: the folder is built as it is");
    Ok(Project { config, description, is_repository: false })
}

fn has_git() -> bool {
    Command::new("git").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// Makes the folder a repository of one commit, whatever git is configured to do; the commit's short name.
fn commit(folder: &Path) -> anyhow::Result<String> {
    files::publish(&folder.join(".gitignore"), b"serin-data/\nout/\n.serin-demo\n")?;
    let git = |arguments: &[&str]| -> anyhow::Result<String> {
        let mut command = Command::new("git");
        let settings =
            ["-c", "user.name=Serin demo", "-c", "user.email=demo@localhost", "-c", "commit.gpgsign=false"];
        command
            .args(["-C"])
            .arg(folder)
            .args(settings)
            .args(["-c", "core.hooksPath=/dev/null"])
            .args(arguments);
        for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
            command.env_remove(variable);
        }
        let ran = command.env("GIT_CONFIG_GLOBAL", "/dev/null").output().context("git cannot be started")?;
        if !ran.status.success() {
            bail!("git {}: {}", arguments.join(" "), String::from_utf8_lossy(&ran.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&ran.stdout).trim().to_owned())
    };
    git(&["init", "--quiet"])?;
    git(&["symbolic-ref", "HEAD", "refs/heads/main"])?;
    git(&["add", "--all"])?;
    git(&["commit", "--quiet", "--message", "A classifier"])?;
    git(&["rev-parse", "--short=12", "HEAD"])
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
