//! What a step says while it works: a bounded file an attempt, `runs/<run>/<step>.<attempt>.log` in the data directory.
//!
//! A line is `<RFC 3339 time> <text>`. Characters that a terminal would obey are escaped. The file is for people: it is
//! never read back by the engine, and a disk that cannot take it does not stop the step.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::moments::Moments;
use crate::digest::Digest;
use crate::domain::RunNumber;

/// Most bytes of the log of an attempt, the line that says how much is missing aside.
pub const LOG_LIMIT_BYTES: u64 = 8 << 20;

/// Most bytes of a line's text, before characters are escaped.
const LINE_LIMIT_BYTES: usize = 8 << 10;

/// The log of one attempt, open for writing.
#[derive(Debug)]
pub struct StepLog {
    moments: Arc<Moments>,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    /// `None`: it could not be opened, or written.
    file: Option<File>,
    bytes: u64,
    cut_lines: u64,
    cut_bytes: u64,
}

/// A part of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPart {
    /// Whole lines.
    pub text: String,
    /// Where to go on reading.
    pub next_offset: u64,
}

impl StepLog {
    /// Opens the log of an attempt, and goes on behind what is there.
    #[must_use]
    pub fn open(
        data_directory: &Path,
        run: RunNumber,
        step: &str,
        attempt: u32,
        moments: Arc<Moments>,
    ) -> Self {
        let path = path(data_directory, run, step, attempt);
        let open = || {
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            let file = File::options().append(true).create(true).open(&path)?;
            let bytes = file.metadata()?.len();
            Ok((file, bytes))
        };
        let (file, bytes) = open().map_or_else(
            |error: io::Error| {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    path = %path.display(),
                    "a step works without a log"
                );
                (None, 0)
            },
            |(file, bytes)| (Some(file), bytes),
        );
        Self { moments, open: Mutex::new(Open { file, bytes, cut_lines: 0, cut_bytes: 0 }) }
    }

    /// Adds a line.
    pub fn line(&self, text: &str) {
        let line = format!("{} {}\n", self.moments.wall().to_rfc3339(), escaped(text));
        self.open.lock().unwrap_or_else(PoisonError::into_inner).add(&line);
    }
}

impl Open {
    fn add(&mut self, line: &str) {
        let bytes = line.len() as u64;
        if self.cut_lines > 0 || self.bytes + bytes > LOG_LIMIT_BYTES {
            self.cut_lines += 1;
            self.cut_bytes += bytes;
        } else {
            self.bytes += bytes;
            self.write(line);
        }
    }

    fn write(&mut self, line: &str) {
        // The rest of a log on a full disk is lost, and the step is not.
        if self.file.as_mut().is_some_and(|file| file.write_all(line.as_bytes()).is_err()) {
            self.file = None;
        }
    }
}

impl Drop for StepLog {
    fn drop(&mut self) {
        let now = self.moments.wall().to_rfc3339();
        let open = self.open.get_mut().unwrap_or_else(PoisonError::into_inner);
        if open.cut_lines > 0 {
            let (lines, bytes) = (open.cut_lines, open.cut_bytes);
            open.write(&format!("{now} the log is full: {lines} further lines, {bytes} bytes, were cut\n"));
        }
    }
}

/// Reads whole lines of a log from `offset` on, about `limit` bytes at most. A log that is not there (yet) is empty.
///
/// # Errors
/// When it is there and cannot be read.
pub fn read_log(
    data_directory: &Path,
    run: RunNumber,
    step: &str,
    attempt: u32,
    offset: u64,
    limit: usize,
) -> io::Result<LogPart> {
    let mut file = match File::open(path(data_directory, run, step, attempt)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(LogPart { text: String::new(), next_offset: offset });
        }
        Err(error) => return Err(error),
    };
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    // At least one line fits, however often it was escaped.
    file.take(limit.max(16 * LINE_LIMIT_BYTES) as u64).read_to_end(&mut bytes)?;
    let end = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |position| position + 1);
    bytes.truncate(end);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(LogPart { text, next_offset: offset + end as u64 })
}

/// Removes the logs of a run.
///
/// # Errors
/// When some remain.
pub fn remove_logs(data_directory: &Path, run: RunNumber) -> io::Result<()> {
    match fs::remove_dir_all(folder(data_directory, run)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn path(data_directory: &Path, run: RunNumber, step: &str, attempt: u32) -> PathBuf {
    folder(data_directory, run).join(format!("{}.{attempt}.log", file_name(step)))
}

fn folder(data_directory: &Path, run: RunNumber) -> PathBuf {
    data_directory.join("runs").join(run.to_string())
}

/// A step's name as part of a file's; the name itself when it is a harmless one.
fn file_name(step: &str) -> String {
    let is_harmless = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !step.is_empty() && step.len() <= 64 && step.chars().all(is_harmless) {
        return step.to_owned();
    }
    format!("step-{}", Digest::of(step.as_bytes()).short())
}

/// One line, whatever the text: its beginning, with control characters and those that change the direction of writing
/// written as numbers.
fn escaped(text: &str) -> String {
    let end = (0..=text.len().min(LINE_LIMIT_BYTES)).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
    let mut escaped = String::with_capacity(end);
    for c in text[..end].chars() {
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if (c.is_control() && c != '\t') || turns {
            escaped.extend(c.escape_unicode());
        } else {
            escaped.push(c);
        }
    }
    if end < text.len() {
        escaped.push_str(" ...");
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, Steady, Timestamp};
    use crate::domain::Epoch;
    use crate::store::Reign;

    fn moments() -> Arc<Moments> {
        let wall = Timestamp(1_795_341_600_000_000);
        let reign = Reign { epoch: Epoch(0), owner: String::new(), beat: 0, steady: Steady(0), wall };
        Arc::new(Moments::resumed(Arc::new(ManualClock::at(wall)), &reign))
    }

    #[test]
    fn lines_are_followed_while_they_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let read = |offset| read_log(folder.path(), RunNumber(3), "train", 1, offset, 0).unwrap();
        assert_eq!(read(0), LogPart { text: String::new(), next_offset: 0 });

        let log = StepLog::open(folder.path(), RunNumber(3), "train", 1, moments());
        log.line("begins");
        let first = read(0);
        assert_eq!(first.text, "2026-11-22T10:00:00Z begins\n");
        log.line("\x1b]0;x\x07\n{\"level\" \u{202e}tab\there");
        let second = read(first.next_offset);
        let expected = r#"2026-11-22T10:00:00Z \u{1b}]0;x\u{7}\u{a}{"level" \u{202e}tab"#;
        assert_eq!(second.text, format!("{expected}\there\n"));
        assert_eq!(read(second.next_offset).text, "");
        assert!(folder.path().join("runs/3/train.1.log").is_file());
    }

    #[test]
    fn a_log_ends_at_its_limit_and_says_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let log = StepLog::open(folder.path(), RunNumber(1), "../../noisy", 2, moments());
        let text = "ö".repeat(LINE_LIMIT_BYTES);
        for _ in 0..1_100 {
            log.line(&text);
        }
        drop(log);
        let (mut offset, mut lines, mut last) = (0, 0, String::new());
        loop {
            let part = read_log(folder.path(), RunNumber(1), "../../noisy", 2, offset, 1 << 20).unwrap();
            if part.text.is_empty() {
                break;
            }
            lines += part.text.lines().count() as u64;
            last = part.text.lines().last().unwrap().to_owned();
            offset = part.next_offset;
        }
        assert!(offset <= LOG_LIMIT_BYTES + 200, "{offset}");
        let cut = 1_100 - (lines - 1);
        assert!(last.contains(&format!("the log is full: {cut} further lines")), "{last}");
    }

    #[test]
    fn a_step_without_a_log_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("runs"), "not a folder").unwrap();
        StepLog::open(folder.path(), RunNumber(1), "train", 1, moments()).line("into the void");
    }
}
