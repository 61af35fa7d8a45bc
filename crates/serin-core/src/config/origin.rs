//! Where a setting came from, so that a message can point at it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// The place that gave a setting its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The built-in defaults.
    Default,
    /// A line of the project's file.
    File { path: PathBuf, line: usize },
    /// An environment variable.
    Environment(String),
    /// An option of the command.
    Option(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default settings"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Option(option) => f.write_str(option),
        }
    }
}

/// Answers where the value of a key came from.
#[derive(Debug, Default)]
pub(super) struct Origins {
    file: Option<(PathBuf, String)>,
    later: BTreeMap<String, Origin>,
}

impl Origins {
    pub(super) fn new(file: Option<(PathBuf, String)>) -> Self {
        Self { file, later: BTreeMap::new() }
    }

    pub(super) fn set(&mut self, key: String, origin: Origin) {
        self.later.insert(key, origin);
    }

    pub(super) fn of(&self, key: &str) -> Origin {
        if let Some(origin) = self.later.get(key) {
            return origin.clone();
        }
        self.file
            .as_ref()
            .and_then(|(path, text)| {
                line_of(text, key.split('.')).map(|line| Origin::File { path: path.clone(), line })
            })
            .unwrap_or(Origin::Default)
    }

    /// Where a key was written, or else the nearest table around it. Each part is one key, dots and all.
    pub(super) fn nearest(&self, parts: &[&str]) -> Origin {
        let Some((path, text)) = &self.file else { return Origin::Default };
        let mut written = (1..=parts.len()).rev();
        written
            .find_map(|count| line_of(text, parts[..count].iter().copied()))
            .map_or(Origin::Default, |line| Origin::File { path: path.clone(), line })
    }
}

/// The line (from 1) on which the value of a key stands, given the keys of the tables around it and its own.
fn line_of<'a>(text: &str, parts: impl Iterator<Item = &'a str>) -> Option<usize> {
    let root = toml::de::DeTable::parse(text).ok()?;
    let mut table = root.get_ref();
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        let value = table.get(part)?;
        if parts.peek().is_none() {
            let start = value.span().start.min(text.len());
            return Some(1 + text.as_bytes()[..start].iter().filter(|&&byte| byte == b'\n').count());
        }
        table = value.get_ref().as_table()?;
    }
    None
}
