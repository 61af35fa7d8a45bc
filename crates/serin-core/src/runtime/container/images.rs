//! Images: found, downloaded, made of a folder, or loaded from a file.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, Write};
use std::path::Path;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use bollard::body_stream;
use bollard::models::{BuildInfo, CreateImageInfo};
use bollard::query_parameters::{
    BuildImageOptionsBuilder, CreateImageOptionsBuilder, ImportImageOptionsBuilder,
};
use bytes::Bytes;
use futures_util::stream;

use super::engine::{Engine, EngineError, Follower};
use crate::causes::in_one_line;
use crate::config::{ImageName, ImageSettings, Pull};
use crate::runtime::job::{Cancel, OutputLine, OutputStream, OutputTail};

/// The largest folder that an image is made of, or file that one is loaded from.
const CONTEXT_LIMIT_BYTES: u64 = 16 << 30;
/// What is sent to the engine at once.
const PIECE_BYTES: usize = 256 << 10;
/// Between two looks whether an image is still wanted.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
const DOCKERFILE: &str = "Dockerfile";
/// The largest Dockerfile.
const DOCKERFILE_LIMIT_BYTES: u64 = 1 << 20;

/// The images of an engine.
#[derive(Debug)]
pub struct Images<'a> {
    engine: &'a Engine,
}

/// An image that came out of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedImage {
    pub name: String,
    pub id: String,
}

impl<'a> Images<'a> {
    /// Those of `engine`.
    #[must_use]
    pub fn new(engine: &'a Engine) -> Self {
        Self { engine }
    }

    /// The id of what a name or an id stands for now; `None` when it is not there.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub fn find(&self, reference: &str) -> Result<Option<String>, EngineError> {
        // Podman looks for a plain name at Docker's registry only, and calls what it made itself localhost/name.
        let local = (!reference.contains('/')).then(|| format!("localhost/{reference}"));
        for reference in [Some(reference.to_owned()), local].into_iter().flatten() {
            let docker = self.engine.docker.clone();
            let found =
                self.engine.call("look at an image", async move { docker.inspect_image(&reference).await });
            match found {
                Ok(image) => return Ok(image.id),
                Err(error) if error.is_absence() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// The id of a step's image, which is downloaded when it is not there and the settings say so.
    ///
    /// # Errors
    /// When it is not there.
    pub fn ensure(
        &self,
        image: &ImageSettings,
        cancel: &Cancel,
        output: &mut dyn FnMut(OutputLine),
    ) -> Result<String, EngineError> {
        if let Some(id) = self.find(image.reference())? {
            return Ok(id);
        }
        let absent = || EngineError::NoImage { name: image.name.to_string() };
        if image.pull == Pull::Never || image.pinned.is_some() {
            return Err(absent());
        }
        self.pull(&image.name, cancel, output)?;
        self.find(image.reference())?.ok_or_else(absent)
    }

    /// Downloads an image.
    ///
    /// # Errors
    /// When the registry, or the engine, does not give it.
    pub fn pull(
        &self,
        name: &ImageName,
        cancel: &Cancel,
        output: &mut dyn FnMut(OutputLine),
    ) -> Result<(), EngineError> {
        // Without a tag, all tags would be downloaded.
        let last = name.as_str().rsplit('/').next().unwrap_or_default();
        let has_tag = last.contains([':', '@']);
        let wanted = if has_tag { name.to_string() } else { format!("{name}:latest") };
        say(output, &format!("downloading {wanted}"));
        let options = CreateImageOptionsBuilder::default().from_image(&wanted).build();
        let items = self.engine.follow(self.engine.docker.create_image(Some(options), None, None));
        let mut told = String::new();
        listen("download an image", &items, cancel, |item: CreateImageInfo| {
            // Progress comes many times a second; what changes is worth a line.
            let status = item.status.unwrap_or_default();
            if !status.is_empty() && status != told {
                say(output, &status);
                told = status;
            }
        })
    }

    /// Makes an image of a folder with a Dockerfile and calls it `name`. Its id. Without `may_download` nothing it needs is
    /// fetched: what it begins from must be there, and its commands have no network.
    ///
    /// # Errors
    /// When there is no such folder, or its Dockerfile fails; with the last lines of it.
    pub fn build(
        &self,
        folder: &Path,
        name: &ImageName,
        may_download: bool,
        cancel: &Cancel,
        output: &mut dyn FnMut(OutputLine),
    ) -> Result<String, EngineError> {
        let text = dockerfile(folder)?;
        if !may_download {
            for base in bases(&text) {
                if self.find(&base)?.is_none() {
                    return Err(EngineError::NoImage { name: base });
                }
            }
        }
        let what = || format!("read {}", folder.display());
        let mut context = packed(folder).map_err(|source| EngineError::Disk { what: what(), source })?;
        context.rewind().map_err(|source| EngineError::Disk { what: what(), source })?;
        let options = BuildImageOptionsBuilder::default().dockerfile(DOCKERFILE).t(name.as_str()).rm(true);
        let options = if may_download { options } else { options.networkmode("none") }.forcerm(true).build();
        let docker = self.engine.docker.clone();
        let items = self.engine.follow_work(move |teller| async move {
            let body = body_stream(pieces(context));
            teller.tell_all(docker.build_image(options, None, Some(body))).await;
        });
        let mut tail = OutputTail::default();
        let mut id = None;
        let listened = listen("build an image", &items, cancel, |item: BuildInfo| {
            for line in
                item.stream.iter().flat_map(|text| text.lines()).filter(|line| !line.trim().is_empty())
            {
                tail.push(line);
                say(output, line);
                id = id_in(line).or(id.take());
            }
            id = item.aux.and_then(|aux| aux.id).or(id.take());
        });
        let failed = |reason: String| EngineError::Build { reason };
        match (listened, id) {
            (Ok(()), Some(id)) => Ok(self.find(&id)?.unwrap_or(id)),
            (Ok(()), None) => Err(failed(format!(
                "{} fails: {}",
                folder.join(DOCKERFILE).display(),
                tail.text().unwrap_or_else(|| "the engine does not say why".to_owned())
            ))),
            (Err(EngineError::Lost { message, .. }), _) => {
                let said = tail.text().map(|text| format!("{text}\n")).unwrap_or_default();
                Err(failed(format!("{} fails: {said}{message}", folder.join(DOCKERFILE).display())))
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Loads the images in a file that `docker save` or `podman save` wrote.
    ///
    /// # Errors
    /// When there is no such file, or it holds no images.
    pub fn load(&self, file: &Path, cancel: &Cancel) -> Result<Vec<LoadedImage>, EngineError> {
        let disk = |source| EngineError::Disk { what: format!("read {}", file.display()), source };
        let opened = File::open(file).map_err(disk)?;
        let options = ImportImageOptionsBuilder::default().build();
        let body = body_stream(pieces(opened));
        let items = self.engine.follow(self.engine.docker.import_image(options, body, None));
        let mut names = Vec::new();
        listen("load images", &items, cancel, |item: BuildInfo| {
            let text = item.stream.unwrap_or_default();
            // "Loaded image: a", "Loaded image ID: sha256:..." and "Loaded image(s): a,b".
            let loaded = text.trim().strip_prefix("Loaded image").and_then(|rest| rest.split_once(": "));
            names.extend(loaded.into_iter().flat_map(|(_, names)| names.split(',')).map(str::to_owned));
        })?;
        let mut images = Vec::new();
        for name in names {
            if let Some(id) = self.find(&name)? {
                images.push(LoadedImage { name, id });
            }
        }
        match images.is_empty() {
            true => Err(EngineError::Build { reason: format!("{} holds no images", file.display()) }),
            false => Ok(images),
        }
    }
}

fn say(output: &mut dyn FnMut(OutputLine), text: &str) {
    let text = text.chars().take(OutputLine::LIMIT_BYTES / 4).collect();
    output(OutputLine { stream: OutputStream::Stderr, text });
}

/// Takes what comes until the end or until nobody wants it any more.
fn listen<T>(
    what: &'static str,
    items: &Follower<T>,
    cancel: &Cancel,
    mut take: impl FnMut(T),
) -> Result<(), EngineError> {
    loop {
        match items.next(LOOK_INTERVAL) {
            Ok(Ok(item)) => take(item),
            Ok(Err(error)) => return Err(EngineError::of(what, error)),
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if cancel.requested() {
            return Err(EngineError::Cancelled);
        }
    }
}

/// The content of a file, piece by piece. A file of this machine: nobody waits long for it.
fn pieces(file: File) -> impl stream::Stream<Item = Bytes> + Send {
    stream::unfold(file, |mut file| async move {
        let mut piece = vec![0; PIECE_BYTES];
        match file.read(&mut piece) {
            // Of a file that cannot be read on the engine gets too little, and says so.
            Ok(0) | Err(_) => None,
            Ok(bytes) => {
                piece.truncate(bytes);
                Some((Bytes::from(piece), file))
            }
        }
    })
}

fn dockerfile(folder: &Path) -> Result<String, EngineError> {
    let path = folder.join(DOCKERFILE);
    let reason = |reason: String| EngineError::Build { reason };
    let file = File::open(&path)
        .map_err(|error| reason(format!("{}: {}; write one there", path.display(), in_one_line(&error))))?;
    let mut text = String::new();
    match file.take(DOCKERFILE_LIMIT_BYTES).read_to_string(&mut text) {
        Ok(_) => Ok(text),
        Err(error) => Err(reason(format!("{}: {}", path.display(), in_one_line(&error)))),
    }
}

/// The images that a Dockerfile begins from, besides nothing and its own stages. What a variable names is left to the engine.
fn bases(dockerfile: &str) -> Vec<String> {
    let mut stages: Vec<String> = Vec::new();
    let mut bases = Vec::new();
    for line in dockerfile.lines() {
        let mut words = line.split_whitespace();
        if !words.next().is_some_and(|word| word.eq_ignore_ascii_case("from")) {
            continue;
        }
        let words: Vec<&str> = words.filter(|word| !word.starts_with("--")).collect();
        let Some(&base) = words.first() else { continue };
        let is_known = base == "scratch" || base.contains('$') || stages.iter().any(|stage| stage == base);
        if !is_known && !bases.iter().any(|known| known == base) {
            bases.push(base.to_owned());
        }
        if let [_, as_word, stage, ..] = words[..]
            && as_word.eq_ignore_ascii_case("as")
        {
            stages.push(stage.to_owned());
        }
    }
    bases
}

/// The id of an image in what a build says at its end.
fn id_in(line: &str) -> Option<String> {
    let word = line.trim().strip_prefix("Successfully built ").unwrap_or(line.trim());
    let digits = word.strip_prefix("sha256:").unwrap_or(word);
    let is_id = matches!(digits.len(), 12..=64) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| word.to_owned())
}

/// A folder as the engine takes it, in a file without a name.
fn packed(folder: &Path) -> io::Result<File> {
    let file = tempfile::tempfile()?;
    let mut archive = tar::Builder::new(Bounded { file, left: CONTEXT_LIMIT_BYTES });
    archive.follow_symlinks(false);
    let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (name, path) = (entry.file_name(), entry.path());
        match entry.file_type()? {
            kind if kind.is_dir() => archive.append_dir_all(&name, &path)?,
            kind if kind.is_file() || kind.is_symlink() => archive.append_path_with_name(&path, &name)?,
            // Sockets and devices belong to this machine.
            _ => {}
        }
    }
    archive.into_inner().map(|bounded| bounded.file)
}

/// A file that does not grow without end.
struct Bounded {
    file: File,
    left: u64,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or_else(|| {
            io::Error::other(format!("it is larger than {} GiB", CONTEXT_LIMIT_BYTES >> 30))
        })?;
        self.file.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dockerfile_begins_from_images_and_its_own_stages() {
        let text = "# from nothing\nFROM --platform=linux/amd64 debian:12 AS base\nfrom base as more\nFROM $X\n\
            RUN echo FROM y\nFROM scratch\nFROM debian:12\nFROM\n  FROM python:3 AS\n";
        assert_eq!(bases(text), ["debian:12", "python:3"]);
    }

    #[test]
    fn an_id_is_told_from_other_words() {
        let long = "a".repeat(64);
        for (line, id) in [
            ("Successfully built 0123456789ab", Some("0123456789ab")),
            (long.as_str(), Some(long.as_str())),
            ("sha256:0123456789ab", Some("sha256:0123456789ab")),
            ("Successfully tagged x:1", None),
            ("STEP 1/3: FROM scratch", None),
            ("deadbeef", None),
        ] {
            assert_eq!(id_in(line).as_deref(), id, "{line}");
        }
    }

    #[test]
    fn a_folder_is_packed_and_its_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("sub")).unwrap();
        fs::write(folder.path().join("sub/x"), "x").unwrap();
        fs::write(folder.path().join("Dockerfile"), "FROM scratch\n").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).unwrap();
        let mut packed = packed(folder.path()).unwrap();
        packed.rewind().unwrap();
        let mut archive = tar::Archive::new(packed);
        let names: Vec<(String, bool)> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let is_file = entry.header().entry_type().is_file();
                (entry.path().unwrap().display().to_string(), is_file)
            })
            .collect();
        let is = |name: &str, is_file| names.contains(&(name.to_owned(), is_file));
        assert!(is("Dockerfile", true) && is("sub/x", true) && is("link", false), "{names:?}");
        assert!(dockerfile(folder.path()).is_ok());
        let none = dockerfile(&folder.path().join("sub")).unwrap_err();
        assert!(none.to_string().contains("sub/Dockerfile"), "{none}");
    }
}
