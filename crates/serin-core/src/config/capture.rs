//! `[capture]`: what is promised about captured answers, checked.

use std::time::Duration;

use super::ConfigError;
use super::check::Place;
use super::raw::RawCapture;

/// `[capture]`, checked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CaptureSettings {
    /// When an answer may leave.
    pub mode: CaptureMode,
    /// What happens when the journal cannot take a record.
    pub when_full: FullPolicy,
    /// Bytes of all journal segments together.
    pub spool_limit_bytes: u64,
    /// Which rows the table gives up by itself.
    pub retention: Retention,
}

/// When an answer may leave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CaptureMode {
    /// Once its record survives the death of the process; the disk has it at most 100 ms later.
    Process,
    /// Once its record survives the death of the machine.
    Strict,
    /// As in `Process`, and only this share of the requests, chosen by their ids, is kept.
    Sampled {
        /// Above 0, at most 1.
        share: f64,
    },
    /// At once: nothing is kept.
    Off,
}

/// What happens when the journal cannot take a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FullPolicy {
    /// No answer leaves that nobody kept.
    FailClosed,
    /// The answer leaves, and what was not kept is counted.
    Degrade,
}

/// Which rows the table gives up by itself, the oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Rows older than this go; `None`: none does for its age.
    pub age: Option<Duration>,
    /// Rows go once the table is larger than this; `None`: it may grow.
    pub size_bytes: Option<u64>,
}

/// Rows are not kept for less: a monitor looks at windows of hours.
const SHORTEST_AGE: Duration = Duration::from_secs(60);
/// A smaller spool does not hold one large batch.
const SMALLEST_SPOOL_BYTES: u64 = 1 << 20;
/// A smaller table is mostly empty pages.
const SMALLEST_TABLE_BYTES: u64 = 16 << 20;

pub(super) fn check(raw: &RawCapture, at: &Place<'_>) -> Result<CaptureSettings, ConfigError> {
    Ok(CaptureSettings {
        mode: mode(raw, at)?,
        when_full: match raw.when_full.as_deref() {
            None | Some("fail_closed") => FullPolicy::FailClosed,
            Some("degrade") => FullPolicy::Degrade,
            Some(_) => {
                let fix = "write \"fail_closed\" or \"degrade\"";
                return Err(at.error("capture.when_full", "is unknown", fix));
            }
        },
        spool_limit_bytes: bytes(
            "capture.spool_limit",
            raw.spool_limit.as_deref(),
            SMALLEST_SPOOL_BYTES,
            at,
        )?
        .unwrap_or(1 << 30),
        retention: Retention {
            age: age(raw, at)?,
            size_bytes: bytes("capture.keep_size", raw.keep_size.as_deref(), SMALLEST_TABLE_BYTES, at)?,
        },
    })
}

fn mode(raw: &RawCapture, at: &Place<'_>) -> Result<CaptureMode, ConfigError> {
    let share = raw.sample.unwrap_or(1.0);
    if !(share > 0.0 && share <= 1.0) {
        let fix = "give a share above 0 and at most 1";
        return Err(at.error("capture.sample", &format!("is {share}"), fix));
    }
    let mode = match raw.mode.as_deref() {
        None | Some("process") => CaptureMode::Process,
        Some("strict") => CaptureMode::Strict,
        Some("off") => CaptureMode::Off,
        Some("sampled") => return Ok(CaptureMode::Sampled { share }),
        Some(_) => {
            let fix = "write \"process\", \"strict\", \"sampled\" or \"off\"";
            return Err(at.error("capture.mode", "is unknown", fix));
        }
    };
    if share < 1.0 {
        let problem = format!("is {share}, but the mode is no sample");
        return Err(at.error("capture.sample", &problem, "set capture.mode = \"sampled\", or remove it"));
    }
    Ok(mode)
}

fn age(raw: &RawCapture, at: &Place<'_>) -> Result<Option<Duration>, ConfigError> {
    let Some(text) = raw.keep_age.as_deref().filter(|text| !text.is_empty()) else { return Ok(None) };
    let age = crate::clock::parse_duration(text).filter(|age| *age >= SHORTEST_AGE);
    let fix =
        "write a time such as \"12h\" or \"90d\", at least 60s, or \"\" to keep rows whatever their age";
    age.map(Some).ok_or_else(|| at.error("capture.keep_age", &format!("is \"{text}\""), fix))
}

pub(super) fn bytes(
    key: &str,
    text: Option<&str>,
    least: u64,
    at: &Place<'_>,
) -> Result<Option<u64>, ConfigError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let size = parse_bytes(text).filter(|size| *size >= least);
    let fix = format!("write a size such as \"512MiB\" or \"20GiB\", at least {}MiB", least >> 20);
    size.map(Some).ok_or_else(|| at.error(key, &format!("is \"{text}\""), &fix))
}

/// A size with its unit: `512MiB`, `1.5GiB`, `2TiB`.
#[must_use]
pub fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(digits);
    let bytes = number.parse::<f64>().ok()?
        * match unit.trim_start() {
            "KiB" => f64::from(1 << 10),
            "MiB" => f64::from(1 << 20),
            "GiB" => f64::from(1 << 30),
            "TiB" => (1_u64 << 40) as f64,
            _ => return None,
        };
    // Beyond 2^53 a float has gaps, and no disk has the room.
    (bytes < (1_u64 << 53) as f64).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_need_a_unit() {
        assert_eq!(parse_bytes("1GiB"), Some(1 << 30));
        assert_eq!(parse_bytes("1.5 MiB"), Some(3 << 19));
        for wrong in ["1", "", "GiB", "-1GiB", "1GB", "1.2.3MiB", "1e3MiB", "9999999TiB"] {
            assert_eq!(parse_bytes(wrong), None, "{wrong}");
        }
    }
}
