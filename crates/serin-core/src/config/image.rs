//! `image` and what goes with it in `[steps.NAME]`: a container instead of a process.

use std::fmt;
use std::path::{Component, Path};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::check::{Place, non_empty};
use super::raw::RawCommand;

/// Most processors that can be asked for.
const CPUS_LIMIT: f64 = 1_024.0;
/// Most folders that are made writable.
const WRITABLE_LIMIT: usize = 16;

/// A container image of a step, and what its containers may do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageSettings {
    /// As it was written.
    pub name: ImageName,
    /// What the name stood for when the plan was frozen; `None`: not frozen yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<String>,
    /// A folder of the project with a Dockerfile, of which the image is made.
    pub build: Option<String>,
    pub pull: Pull,
    /// Whether containers have a network.
    pub network: bool,
    /// Folders of the image that may be written to, and are forgotten.
    pub writable: Vec<String>,
    /// Processors; `None`: all.
    pub cpus: Option<f64>,
    pub gpus: Option<Gpus>,
}

/// The name of an image, with or without a registry, a tag or a digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageName(String);

/// Why a text is no name of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an image is named like serin-train:1, registry.example.org/team/train:1 or name@sha256:...")]
pub struct InvalidImageName;

/// Whether an image may be downloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pull {
    /// Nothing is downloaded: the image must be there.
    #[default]
    Never,
    /// When the image is not there.
    Missing,
}

/// The graphics processors that the engine's driver gives to a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gpus {
    All,
    Count(u32),
    Ids(Vec<String>),
}

impl ImageSettings {
    /// An image that must be there, whose containers get the least.
    #[must_use]
    pub fn plain(name: ImageName) -> Self {
        Self {
            name,
            pinned: None,
            build: None,
            pull: Pull::Never,
            network: false,
            writable: Vec::new(),
            cpus: None,
            gpus: None,
        }
    }

    /// What the engine is asked for: the image that the plan was frozen with, else the name.
    #[must_use]
    pub fn reference(&self) -> &str {
        self.pinned.as_deref().unwrap_or(&self.name.0)
    }
}

impl ImageName {
    /// Most bytes of a name.
    pub const LIMIT_BYTES: usize = 512;

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ImageName {
    type Err = InvalidImageName;

    /// The engine knows the rest of the rules; these keep a name from being an option, a path or another line.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:/@".contains(&byte);
        let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        let is_fine = begins
            && text.len() <= Self::LIMIT_BYTES
            && text.bytes().all(is_plain)
            && text.split('/').all(|part| !part.is_empty() && !part.starts_with('.'));
        if is_fine { Ok(Self(text.to_owned())) } else { Err(InvalidImageName) }
    }
}

impl TryFrom<String> for ImageName {
    type Error = InvalidImageName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ImageName> for String {
    fn from(name: ImageName) -> Self {
        name.0
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Gpus {
    type Err = std::num::ParseIntError;

    /// `all`, a number, or ids with commas.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "all" => Ok(Self::All),
            _ if text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(Self::Count(text.parse()?)),
            _ => Ok(Self::Ids(text.split(',').map(|id| id.trim().to_owned()).collect())),
        }
    }
}

pub(super) fn check(
    step: &str,
    raw: &RawCommand,
    at: &Place<'_>,
) -> Result<Option<ImageSettings>, ConfigError> {
    let key = |key: &str| format!("steps.{step}.{key}");
    let pull = match raw.pull.as_deref() {
        None | Some("never") => Pull::Never,
        Some("missing") => Pull::Missing,
        Some(other) => {
            let fix = "write \"never\" (the image must be there) or \"missing\" (download it when it is not)";
            return Err(at.error(&key("pull"), &format!("is \"{other}\""), fix));
        }
    };
    let cpus = at.within(&key("cpus"), raw.cpus.unwrap_or(0.0), 0.0, CPUS_LIMIT)?;
    let gpus = match non_empty(raw.gpus.clone()) {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| {
            let fix = "write \"all\", a number, or ids with commas";
            at.error(&key("gpus"), &format!("is \"{text}\""), fix)
        })?),
    };
    let build = non_empty(raw.build.clone());
    if let Some(folder) = &build
        && !stays_within(folder)
    {
        let fix = "name a folder of the project, such as \"images/train\"";
        return Err(at.error(&key("build"), &format!("is \"{folder}\""), fix));
    }
    let writable = raw.writable.clone().unwrap_or_default();
    if writable.len() > WRITABLE_LIMIT {
        let fix = format!("name at most {WRITABLE_LIMIT}");
        return Err(at.error(&key("writable"), "names too many folders", &fix));
    }
    if let Some(folder) = writable.iter().find(|folder| !may_be_writable(folder)) {
        let fix = "name folders of the image such as \"/var/lib/nginx\", not / and nothing in /opt/ml";
        return Err(at.error(&key("writable"), &format!("has \"{folder}\""), fix));
    }
    let Some(name) = non_empty(raw.image.clone()) else {
        return match &build {
            Some(folder) => {
                let fix = "give the image that it makes a name, as in image = \"train:1\"";
                Err(at.error(&key("build"), &format!("is \"{folder}\", and there is no image"), fix))
            }
            None => Ok(None),
        };
    };
    let name = name.parse().map_err(|error: InvalidImageName| {
        at.error(&key("image"), &format!("is \"{name}\""), &error.to_string())
    })?;
    let cpus = Some(cpus).filter(|cpus| *cpus > 0.0);
    Ok(Some(ImageSettings {
        name,
        pinned: None,
        build,
        pull,
        network: raw.network.unwrap_or(false),
        writable,
        cpus,
        gpus,
    }))
}

fn stays_within(folder: &str) -> bool {
    Path::new(folder).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

fn may_be_writable(folder: &str) -> bool {
    let path = Path::new(folder);
    let mut parts = path.components();
    parts.next() == Some(Component::RootDir)
        && parts.clone().next().is_some()
        && parts.all(|part| matches!(part, Component::Normal(_)))
        && !path.starts_with("/opt/ml")
        && folder.bytes().all(|byte| byte.is_ascii_graphic() && !b",:".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_names_and_nothing_else() {
        for name in
            ["a", "serin-train:1", "localhost:5000/team/x:1.2", "x@sha256:00ff", "docker.io/library/x"]
        {
            assert_eq!(name.parse::<ImageName>().unwrap().as_str(), name);
        }
        let long = "x".repeat(ImageName::LIMIT_BYTES + 1);
        for name in ["", "-v", "/x", "a b", "a\nb", "../x", "a/../b", "a//b", "a?b", "é", &long] {
            assert_eq!(name.parse::<ImageName>(), Err(InvalidImageName), "{name:?}");
        }
    }

    #[test]
    fn graphics_processors_are_all_some_or_named() {
        assert_eq!("all".parse(), Ok(Gpus::All));
        assert_eq!("2".parse(), Ok(Gpus::Count(2)));
        assert_eq!("GPU-1, 3".parse(), Ok(Gpus::Ids(vec!["GPU-1".into(), "3".into()])));
        assert!("99999999999".parse::<Gpus>().is_err());
    }

    #[test]
    fn folders_stay_where_they_belong() {
        assert!(stays_within("images/train") && stays_within("."));
        assert!(!stays_within("../x") && !stays_within("/etc") && !stays_within("a/../../b"));
        assert!(may_be_writable("/var/lib/nginx") && may_be_writable("/run"));
        for folder in ["", "/", "run", "/opt/ml", "/opt/ml/model", "/a/../b", "/a,b", "/a:b", "/a b"] {
            assert!(!may_be_writable(folder), "{folder}");
        }
    }
}
