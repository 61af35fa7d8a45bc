//! A folder into which data sources are dropped. An archive that was taken or refused is moved aside, so that it counts
//! once; why one was refused stands beside it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::TriggerOptions;
use crate::causes::in_one_line;
use crate::config::Settings;
use crate::domain::{Cause, EventKind, WishOutcome};
use crate::files;
use crate::pipeline::{Asked, TrainRequest};
use crate::source::upload::{Upload, UploadError, UploadRules};
use crate::store::Project;

/// A file that was written to within this time may not be whole.
const SETTLE_TIME: Duration = Duration::from_secs(2);
const ACCEPTED: &str = "accepted";
const REFUSED: &str = "refused";

/// Takes every whole archive in the folder.
pub(super) fn look(
    options: &TriggerOptions,
    project: &Project,
    settings: &Settings,
    folder: &Path,
) -> Result<(), String> {
    let unreadable = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut problem = Ok(());
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let path = entry.path();
        let is_archive = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("zip"));
        // Links and pipes are nobody's data.
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if is_archive && is_file && is_settled(options, &path) {
            // One that cannot be taken does not hold up the others.
            problem = take(options, project, settings, folder, &path).and(problem);
        }
    }
    problem
}

fn is_settled(options: &TriggerOptions, path: &Path) -> bool {
    let modified = fs::metadata(path).and_then(|metadata| metadata.modified());
    let since = modified.ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    let Some(written) = since.and_then(|since| i64::try_from(since.as_micros()).ok()) else { return true };
    let now = options.moments.wall().0;
    // A time in the future is some other clock's.
    !(0..i64::try_from(SETTLE_TIME.as_micros()).unwrap_or(i64::MAX)).contains(&(now - written))
}

fn take(
    options: &TriggerOptions,
    project: &Project,
    settings: &Settings,
    folder: &Path,
    path: &Path,
) -> Result<(), String> {
    let file = files::open_regular(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let received = Upload::receive(file, &options.artifacts, UploadRules { allow_paths: true });
    let upload = match received {
        Ok(upload) => upload,
        // It is the disk's fault: the archive stays.
        Err(UploadError::Storage(error)) => return Err(in_one_line(&error)),
        Err(error) => return refuse(options, project, folder, path, &in_one_line(&error)),
    };
    let cause = Cause::Upload { digest: upload.digest.to_string() };
    let request = match TrainRequest::of_upload(&upload, Path::new(&project.folder), &options.artifacts) {
        Ok(request) => request,
        Err(problem) => return refuse(options, project, folder, path, &problem),
    };
    let key = Some(format!("upload:{}", upload.digest));
    let asked = Asked { key, request, ..Asked::plain(&project.name, cause) };
    let outcome = asked.leave(options.store.as_ref(), settings, options.moments.now());
    match outcome.map_err(|error| in_one_line(&error))? {
        WishOutcome::Run { .. } | WishOutcome::Same { .. } => {
            options.engine.wake();
            aside(folder, ACCEPTED, path)
        }
        // It stays, and is asked for again.
        WishOutcome::Refused { .. } => Ok(()),
    }
}

fn refuse(
    options: &TriggerOptions,
    project: &Project,
    folder: &Path,
    path: &Path,
    problem: &str,
) -> Result<(), String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let text = format!("the data source {name} was refused: {problem}");
    let facts = serde_json::json!({ "trigger": super::UPLOAD, "file": name });
    aside(folder, REFUSED, path)?;
    let told = options.store.tell(
        EventKind::TriggerFailed,
        &project.name,
        None,
        &text,
        facts,
        options.moments.now(),
    );
    told.map_err(|error| in_one_line(&error))?;
    let reason = folder.join(REFUSED).join(format!("{name}.txt"));
    fs::write(&reason, format!("{problem}\n")).map_err(|error| format!("{}: {error}", reason.display()))
}

fn aside(folder: &Path, place: &str, path: &Path) -> Result<(), String> {
    let place = folder.join(place);
    let moved = fs::create_dir_all(&place).and_then(|()| {
        let name = path.file_name().unwrap_or_default();
        fs::rename(path, place.join(name))
    });
    moved.map_err(|error| format!("{}: {error}", place.display()))
}
