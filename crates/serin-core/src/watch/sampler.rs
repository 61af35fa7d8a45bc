//! What is sampled every second: the gateway's counters, this process and its disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::capture::Serving;
use crate::metrics::{Deltas, Process, Sample, Scrape, Series};
use crate::names;
use crate::pipeline::http;

/// What the names of all metrics begin with, and of those about replicas.
const PREFIX: &str = "serin_";
const REPLICAS: &str = "serin_replica";

/// Samples one data directory.
#[derive(Debug)]
pub struct Sampler {
    data_directory: PathBuf,
    deltas: Deltas,
    /// The admin address that was scraped last: another one is another process.
    admin: Option<String>,
    /// Processor seconds used when it was looked last, and when.
    processor: Option<(f64, Duration)>,
    /// How far the inference table was behind, and when that was seen.
    lag: Option<(Duration, Duration)>,
    /// When an endpoint was last asked something, on the monotonic clock.
    last_asked: BTreeMap<String, Duration>,
}

/// What was seen in one look.
#[derive(Debug, Default)]
pub struct Seen {
    pub samples: Vec<(Series, Sample)>,
    /// Upper bounds of histograms by the name of their metric.
    pub bounds: Vec<(String, Vec<f64>)>,
    /// Why the gateway could not be read.
    pub problem: Option<String>,
}

impl Sampler {
    /// Nothing was looked at yet.
    #[must_use]
    pub fn new(data_directory: PathBuf) -> Self {
        Self {
            data_directory,
            deltas: Deltas::new(),
            admin: None,
            processor: None,
            lag: None,
            last_asked: BTreeMap::new(),
        }
    }

    /// How far the inference table is behind, as far as was seen in the last seconds.
    #[must_use]
    pub fn capture_lag(&self, now: Duration) -> Duration {
        let seen = self.lag.filter(|(_, seen)| now.saturating_sub(*seen) < Duration::from_secs(10));
        seen.map_or(Duration::ZERO, |(lag, _)| lag)
    }

    /// Looks now.
    pub fn sample(&mut self, now: Duration) -> Seen {
        let mut seen = Seen::default();
        self.gateway(now, &mut seen);
        seen.samples.extend(self.process(now));
        seen.samples.extend(disk(&self.data_directory));
        seen
    }

    fn gateway(&mut self, now: Duration, seen: &mut Seen) {
        let Ok(Some(Serving { admin: Some(admin), .. })) = Serving::read(&self.data_directory) else {
            // No gateway is meant to run: it is neither up nor down.
            return;
        };
        let process = match &self.admin {
            Some(known) if *known != admin => Process::StartedSince,
            _ => Process::Unknown,
        };
        let scrape = http::get_soon(&format!("{admin}/metrics"))
            .and_then(|text| Scrape::parse(&text).map_err(|error| error.to_string()));
        seen.samples.push((Series::new("gateway_up", &[]), Sample::of(f64::from(u8::from(scrape.is_ok())))));
        let scrape = match scrape {
            Ok(scrape) => scrape,
            Err(problem) => {
                seen.problem = Some(problem);
                return;
            }
        };
        self.admin = Some(admin);
        if let Some(bounds) = scrape.bounds().get(names::LATENCY.name) {
            seen.bounds.push(("latency".to_owned(), bounds.clone()));
        }
        let happened = self.deltas.next(&scrape, process);
        self.translate(happened, now, seen);
    }

    /// What the gateway counts, under the names that people watch.
    fn translate(&mut self, happened: Vec<(Series, Sample)>, now: Duration, seen: &mut Seen) {
        // Endpoint and variant: answered, client errors, server errors.
        let mut requests: BTreeMap<(String, String), [f64; 3]> = BTreeMap::new();
        let mut spool = (None, None);
        for (series, sample) in happened {
            let label = |name: &str| series.labels.get(name).cloned().unwrap_or_default();
            let renamed = |name: &str| Series { name: name.to_owned(), labels: series.labels.clone() };
            match series.name.as_str() {
                name if name == names::REQUESTS.name => {
                    let counts = requests.entry((label("endpoint"), label("variant"))).or_default();
                    let place = match label("outcome").as_str() {
                        "answered" => 0,
                        "client_error" => 1,
                        _ => 2,
                    };
                    counts[place] += sample.sum;
                }
                name if name == names::LATENCY.name => seen.samples.push((renamed("latency"), sample)),
                name if name == names::ROWS.name => seen.samples.push((renamed("rows"), sample)),
                name if name == names::ERRORS.name && sample.sum > 0.0 => {
                    seen.samples.push((renamed("errors"), sample));
                }
                name if name == names::CAPTURE_LAG_SECONDS.name => {
                    let lag = Duration::try_from_secs_f64(sample.max).unwrap_or_default();
                    self.lag = Some((lag, now));
                    seen.samples.push((renamed("capture_lag_seconds"), sample));
                }
                name if name == names::CAPTURE_DROPPED.name => {
                    seen.samples.push((renamed("capture_dropped"), sample));
                }
                name if name == names::CAPTURE_SPOOL_BYTES.name => spool.0 = Some(sample.sum),
                name if name == names::CAPTURE_SPOOL_LIMIT_BYTES.name => spool.1 = Some(sample.sum),
                name if name.starts_with(REPLICAS) => {
                    seen.samples.push((renamed(name.strip_prefix(PREFIX).unwrap_or(name)), sample));
                }
                name if name == names::IN_HAND.name => {
                    seen.samples.push((renamed("requests_in_hand"), sample));
                }
                _ => {}
            }
        }
        for ((endpoint, variant), [answered, client, server]) in requests {
            let labels = [("endpoint", endpoint.as_str()), ("variant", variant.as_str())];
            let total = answered + client + server;
            seen.samples.push((Series::new("invocations", &labels), Sample::of(total)));
            if total > 0.0 {
                // As CloudWatch has it: each request is 0 or 1, so the average is a rate.
                let share = |errors: f64| Sample {
                    count: total as u64,
                    sum: errors,
                    min: if errors < total { 0.0 } else { 1.0 },
                    max: if errors > 0.0 { 1.0 } else { 0.0 },
                    histogram: None,
                };
                seen.samples.push((Series::new("invocation_4xx_errors", &labels), share(client)));
                seen.samples.push((Series::new("invocation_5xx_errors", &labels), share(server)));
                self.last_asked.insert(endpoint, now);
            }
        }
        for (endpoint, asked) in &self.last_asked {
            let idle = now.saturating_sub(*asked).as_secs_f64();
            seen.samples.push((Series::new("idle_seconds", &[("endpoint", endpoint)]), Sample::of(idle)));
        }
        if let (Some(bytes), Some(limit)) = spool
            && limit > 0.0
        {
            seen.samples.push((Series::new("capture_spool_share", &[]), Sample::of(bytes / limit)));
        }
    }

    /// Processor and memory of this process.
    fn process(&mut self, now: Duration) -> Vec<(Series, Sample)> {
        let mut samples = Vec::new();
        if let Some(used) = processor_seconds() {
            if let Some((before, then)) = self.processor
                && now > then
            {
                let share = (used - before).max(0.0) / (now - then).as_secs_f64();
                samples.push((Series::new("process_cpu", &[]), Sample::of(share)));
            }
            self.processor = Some((used, now));
        }
        if let Some(bytes) = memory_bytes() {
            samples.push((Series::new("process_memory_bytes", &[]), Sample::of(bytes)));
        }
        samples
    }
}

/// Seconds that this process has computed, user and kernel.
fn processor_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name in parentheses may hold anything.
    let rest = stat.rsplit_once(')')?.1;
    let mut fields = rest.split_whitespace().skip(11);
    let (user, kernel): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    (ticks > 0.0).then(|| (user + kernel) / ticks)
}

/// Bytes in memory.
fn memory_bytes() -> Option<f64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: f64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as f64)
}

/// Room on the disk of a folder.
fn disk(folder: &Path) -> Option<(Series, Sample)> {
    let room = rustix::fs::statvfs(folder).ok()?;
    let share = room.f_bavail as f64 / (room.f_blocks as f64).max(1.0);
    Some((Series::new("disk_free_share", &[]), Sample::of(share)))
}
