//! Data sent over HTTP: read into a file of the data directory bit by bit, then checked as a whole.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Json;
use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_LENGTH;
use axum::http::request::Parts;
use http_body_util::BodyExt as _;
use serin_core::domain::Cause;
use serin_core::pipeline::{Asked, TrainRequest};
use serin_core::source::upload::{ARCHIVE_LIMIT_BYTES, Upload, UploadError, UploadRules};
use tokio::sync::Semaphore;

use super::super::ask::{Plane, Refused, ask};
use super::super::extract::Named;
use super::super::problem::{Code, Problem};
use super::super::wire;
use super::runs::{leave, status_of};
use super::with_settings;
use crate::control::Control;
use crate::gateway::problem::Code as GatewayCode;

/// Uploads at one time; further ones are turned away.
const UPLOADS_AT_ONCE: usize = 2;
/// A sender may pause for so long.
const PAUSE_LIMIT: Duration = Duration::from_secs(10);
/// Bytes that are written at once.
const BATCH_BYTES: usize = 1 << 20;

static ROOM: Semaphore = Semaphore::const_new(UPLOADS_AT_ONCE);
static NAMES: AtomicU64 = AtomicU64::new(0);

/// Train on uploaded data: `data-source.zip`, at most 2 GiB. The same archive again is the same run.
#[utoipa::path(post, path = "/api/v1/projects/{project}/data", tag = "runs",
    params(("project" = String, Path)), request_body(content = Vec<u8>, content_type = "application/zip"),
    responses((status = 201, body = wire::Outcome), (status = 200, body = wire::Outcome)))]
pub async fn upload_data(
    State(control): Plane,
    Named(name): Named<String>,
    head: Parts,
    body: HttpBody,
) -> Result<(StatusCode, Json<wire::Outcome>), Problem> {
    let place = ROOM.try_acquire();
    let _place = place.map_err(|_| {
        Problem::new(GatewayCode::Overloaded, "other data is being uploaded; try again later")
    })?;
    let length = head.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > ARCHIVE_LIMIT_BYTES) {
        return Err(too_large());
    }
    // Whoever names no project need not send 2 GiB to hear of it.
    let (name, file) = ask(&control, move |control| {
        with_settings(control, &name)?;
        Ok((name, file(&control.data_directory)?))
    })
    .await?;
    let file = receive(body, file).await?;
    let outcome = ask(&control, move |control| take(control, &name, file)).await?;
    Ok((status_of(&outcome), Json(outcome)))
}

/// A file without a name: it is gone with whoever holds it, however that ends.
fn file(data_directory: &Path) -> Result<File, Refused> {
    let number = NAMES.fetch_add(1, Ordering::Relaxed);
    let path = data_directory.join(format!("upload-{}-{number}.tmp", std::process::id()));
    let file = File::options().read(true).write(true).create(true).truncate(true).open(&path);
    let file = file.and_then(|file| std::fs::remove_file(&path).map(|()| file));
    file.map_err(|error| disk(&error).into())
}

async fn receive(mut body: HttpBody, mut file: File) -> Result<File, Problem> {
    let cut = || Problem::new(Code::ArchiveCorrupt, "the upload broke off");
    let (mut batch, mut bytes) = (Vec::new(), 0_u64);
    loop {
        let frame = tokio::time::timeout(PAUSE_LIMIT, body.frame()).await.map_err(|_| {
            let detail = format!("nothing arrived for {} s", PAUSE_LIMIT.as_secs());
            Problem::new(GatewayCode::RequestTimeout, detail)
        })?;
        let is_end = frame.is_none();
        if let Some(frame) = frame {
            let Ok(data) = frame.map_err(|_| cut())?.into_data() else { continue };
            bytes += data.len() as u64;
            if bytes > ARCHIVE_LIMIT_BYTES {
                return Err(too_large());
            }
            batch.extend_from_slice(&data);
        }
        if batch.len() >= BATCH_BYTES || is_end {
            (file, batch) = write(file, batch, is_end).await?;
        }
        if is_end {
            return Ok(file);
        }
    }
}

async fn write(mut file: File, mut batch: Vec<u8>, is_end: bool) -> Result<(File, Vec<u8>), Problem> {
    let write = move || -> io::Result<_> {
        file.write_all(&batch)?;
        batch.clear();
        if is_end {
            file.rewind()?;
        }
        Ok((file, batch))
    };
    match tokio::task::spawn_blocking(write).await {
        Ok(Ok(written)) => Ok(written),
        Ok(Err(error)) => Err(disk(&error)),
        Err(_) => Err(Problem::new(GatewayCode::Internal, "the work on this request ended unexpectedly")),
    }
}

fn take(control: &Control, name: &str, file: File) -> Result<wire::Outcome, Refused> {
    let (project, settings) = with_settings(control, name)?;
    // Over HTTP nobody names files of this machine.
    let upload = Upload::receive(file, &control.artifacts, UploadRules { allow_paths: false });
    let upload = upload.map_err(|error| refusal(&error))?;
    let request = TrainRequest::of_upload(&upload, Path::new(&project.folder), &control.artifacts);
    let request = request.map_err(|problem| Problem::new(Code::ArchiveInputs, problem))?;
    let cause = Cause::Upload { digest: upload.digest.to_string() };
    let key = Some(format!("upload:{}", upload.digest));
    leave(control, &settings, Asked { key, request, ..Asked::plain(&project.name, cause) })
}

fn too_large() -> Problem {
    Problem::new(Code::ArchiveTooLarge, format!("an archive has at most {ARCHIVE_LIMIT_BYTES} bytes"))
}

fn disk(error: &io::Error) -> Problem {
    tracing::error!(error = error as &dyn std::error::Error, "an upload cannot be stored");
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Problem::new(Code::StorageFull, "no space is left in the data directory")
        }
        _ => Problem::new(Code::StorageUnavailable, "the upload cannot be stored; the log says why"),
    }
}

/// What is wrong with an archive.
fn refusal(error: &UploadError) -> Problem {
    let code = match error {
        UploadError::MediaType => {
            return Problem::new(GatewayCode::UnsupportedMediaType, error.to_string());
        }
        UploadError::Name { .. } => Code::ArchiveEntryName,
        UploadError::Kind { .. } => Code::ArchiveEntryType,
        UploadError::Duplicate { .. } => Code::ArchiveDuplicate,
        UploadError::Overlap { .. } => Code::ArchiveOverlap,
        UploadError::TooLarge { .. } => Code::ArchiveTooLarge,
        UploadError::Entries => Code::ArchiveEntries,
        UploadError::Inconsistent { .. } => Code::ArchiveInconsistent,
        UploadError::Method { .. } => Code::ArchiveMethod,
        UploadError::Corrupt { .. } => Code::ArchiveCorrupt,
        UploadError::Inputs { .. } => Code::ArchiveInputs,
        UploadError::Hyperparameter { .. } => Code::Hyperparameter,
        UploadError::Storage(source) => {
            tracing::error!(error = source as &dyn std::error::Error, "an upload cannot be stored");
            match error.status() {
                507 => Code::StorageFull,
                _ => Code::StorageUnavailable,
            }
        }
    };
    debug_assert_eq!((code.as_str(), code.status().as_u16()), (error.code(), error.status()));
    Problem::new(code, error.to_string())
}
