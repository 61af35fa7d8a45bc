//! The project that the demonstration works on.

use std::fs;
use std::path::{Path, PathBuf};

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
}

/// Writes the example, or a project around the user's own file.
pub fn write(args: &DemoArgs) -> anyhow::Result<Project> {
    prepare(&args.dir)?;
    let config = args.dir.join("serin.toml");
    let description = match (&args.data, &args.target) {
        (Some(file), Some(target)) => {
            let file = file.canonicalize().with_context(|| format!("{}: no such file", file.display()))?;
            files::publish(&config, own(&file, target)?.as_bytes())?;
            format!("{}: your rows in {}", config.display(), file.display())
        }
        _ => {
            for (name, content) in EXAMPLE {
                files::publish(&args.dir.join(name), content.as_bytes())?;
            }
            format!(
                "{}: handwritten digits, 8 x 8 pixels, 10 classes (source and licence in README.md)",
                config.display()
            )
        }
    };
    Ok(Project { config, description })
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
fn own(file: &Path, target: &str) -> anyhow::Result<String> {
    let mut table = toml::Table::new();
    let mut data = toml::Table::new();
    let path = file.to_str().with_context(|| format!("{}: the path is not UTF-8", file.display()))?;
    data.insert("train".into(), path.into());
    data.insert("target".into(), target.into());
    table.insert("project".into(), toml::Table::from_iter([("name".to_owned(), "demo".into())]).into());
    table.insert("data".into(), data.into());
    Ok(format!(
        "# Made by `serin demo`; `serin config show` prints every key.\n\n{}",
        toml::to_string(&table)?
    ))
}
