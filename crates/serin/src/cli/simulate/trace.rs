//! A trace of requests: how many in each second.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use serin_core::clock::Timestamp;

/// Longest trace, and most requests of one second.
const SECONDS_LIMIT: usize = 7 * 24 * 3_600;
const REQUESTS_LIMIT: u32 = 100_000;
/// Largest file.
const FILE_LIMIT_BYTES: u64 = 1 << 30;

/// Requests second by second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    pub requests: Vec<u32>,
    /// When its first second was, if the file says so.
    pub begins: Option<Timestamp>,
}

/// Reads a file of one of two kinds, told apart by its first line: `second,requests`, or `time` and one request a line.
pub fn read(path: &Path) -> anyhow::Result<Trace> {
    let file = File::open(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    parse(BufReader::new(file.take(FILE_LIMIT_BYTES)), &path.display().to_string())
}

fn parse(file: impl BufRead, name: &str) -> anyhow::Result<Trace> {
    let mut lines = file.lines().enumerate();
    let head = lines.next().transpose_line(name)?.map(|(_, head)| head);
    let head = head.as_deref().map(|head| head.trim_start_matches('\u{feff}').trim().to_ascii_lowercase());
    let is_counted = match head.as_deref() {
        Some("second,requests") => true,
        Some("time") => false,
        _ => bail!(
            "{name}:1: is no trace; let the first line be \"second,requests\" for counts, or \"time\" for the time of one request a line"
        ),
    };
    let mut counts = Vec::new();
    let mut times = Vec::new();
    while let Some((number, line)) = lines.next().transpose_line(name)? {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        if is_counted {
            count(line, &mut counts).map_err(|problem| anyhow::anyhow!("{name}:{number}: {problem}"))?;
        } else {
            let time: Timestamp = line.parse().with_context(|| format!("{name}:{number}"))?;
            times.push(time.0.div_euclid(1_000_000));
        }
    }
    let begins = times.iter().min().copied();
    if let Some(first) = begins {
        for (i, time) in times.iter().enumerate() {
            let second = usize::try_from(time.saturating_sub(first)).unwrap_or(usize::MAX);
            if second >= SECONDS_LIMIT {
                bail!(
                    "{name}: has times {} days apart or more; give at most seven days",
                    SECONDS_LIMIT / 86_400
                );
            }
            grow(&mut counts, second);
            counts[second] += 1;
            if counts[second] > REQUESTS_LIMIT {
                bail!(
                    "{name}: has more than {REQUESTS_LIMIT} requests in the second of its request {}",
                    i + 1
                );
            }
        }
    }
    if counts.is_empty() {
        bail!("{name}: has no requests; give at least one second");
    }
    let begins = begins.map(|first| Timestamp(first.saturating_mul(1_000_000)));
    Ok(Trace { requests: counts, begins })
}

/// `12,340`: the thirteenth second with so many requests. Seconds that are left out have none.
fn count(line: &str, counts: &mut Vec<u32>) -> Result<(), String> {
    let fix = "write a second and its requests, such as 12,340";
    let Some((second, requests)) = line.split_once(',') else {
        return Err(format!("{line:?} has no comma; {fix}"));
    };
    let second: usize = second.trim().parse().map_err(|_| format!("{second:?} is no second; {fix}"))?;
    let requests: u32 =
        requests.trim().parse().map_err(|_| format!("{requests:?} is no number of requests; {fix}"))?;
    if second >= SECONDS_LIMIT {
        return Err(format!("second {second} is too late; give seconds from 0 to {}", SECONDS_LIMIT - 1));
    }
    if requests > REQUESTS_LIMIT {
        return Err(format!("{requests} requests are too many; give at most {REQUESTS_LIMIT} a second"));
    }
    if second < counts.len() {
        return Err(format!("second {second} does not come after the one before; sort the file by second"));
    }
    grow(counts, second);
    counts[second] = requests;
    Ok(())
}

fn grow(counts: &mut Vec<u32>, second: usize) {
    if counts.len() <= second {
        counts.resize(second + 1, 0);
    }
}

/// A line with its number from 1, or an error that names the file.
trait TransposeLine {
    fn transpose_line(self, name: &str) -> anyhow::Result<Option<(usize, String)>>;
}

impl TransposeLine for Option<(usize, std::io::Result<String>)> {
    fn transpose_line(self, name: &str) -> anyhow::Result<Option<(usize, String)>> {
        match self {
            None => Ok(None),
            Some((i, Ok(line))) => Ok(Some((i + 1, line))),
            Some((i, Err(error))) => {
                Err(error).with_context(|| format!("{name}:{}: cannot be read as text", i + 1))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Trace, String> {
        parse(text.as_bytes(), "t.csv").map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn both_kinds_of_traces_are_read() {
        let counted = parsed("second,requests\n0,3\n2, 5\n\n4,0\n").unwrap();
        assert_eq!((counted.requests, counted.begins), (vec![3, 0, 5, 0, 0], None));
        let timed = parsed(
            "Time\r\n2026-11-22T10:00:02.9Z\r\n2026-11-22T10:00:00.1Z\r\n2026-11-22T11:00:02+01:00\r\n",
        )
        .unwrap();
        assert_eq!(timed.requests, [1, 0, 2]);
        assert_eq!(timed.begins, "2026-11-22T10:00:00Z".parse().ok());
    }

    #[test]
    fn what_is_no_trace_is_told_with_its_line_and_a_fix() {
        for (text, wanted) in [
            ("", "t.csv:1: is no trace"),
            ("0,3\n", "let the first line be \"second,requests\""),
            ("second,requests\n", "has no requests"),
            ("second,requests\n0,3\nx,4\n", "t.csv:3: \"x\" is no second; write"),
            ("second,requests\n0,-3\n", "t.csv:2: \"-3\" is no number of requests; write"),
            ("second,requests\n0;3\n", "t.csv:2: \"0;3\" has no comma"),
            ("second,requests\n1,3\n1,4\n", "t.csv:3: second 1 does not come after"),
            ("second,requests\n604800,3\n", "t.csv:2: second 604800 is too late"),
            ("second,requests\n0,100001\n", "t.csv:2: 100001 requests are too many"),
            ("time\nyesterday\n", "t.csv:2: \"yesterday\" is not a time"),
            ("time\n2026-11-22\n2026-11-30\n", "at most seven days"),
        ] {
            let said = parsed(text).unwrap_err();
            assert!(said.contains(wanted), "{text:?}: {said}");
        }
        let said = parse(&b"second,requests\n0,1\n\xff\xfe\n"[..], "t.csv").unwrap_err();
        assert!(format!("{said:#}").contains("t.csv:3: cannot be read as text"), "{said:#}");
    }
}
