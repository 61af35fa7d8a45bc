//! Reads files as `serin` does and prints rows, columns, seconds and peak memory: the Serin side of `scripts/bench-csv`.

use std::path::PathBuf;

use serin_ml::dataset::{ReadOptions, read};
use serin_ml::observer::Silent;

#[expect(clippy::disallowed_methods, reason = "a measuring program has a clock")]
fn main() {
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let start = std::time::Instant::now();
    match read(&paths, &ReadOptions::default(), &Silent) {
        Ok(found) => {
            let seconds = start.elapsed().as_secs_f64();
            let peak = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
            let peak = peak.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("? kB").trim();
            let peak: f64 = peak.trim_end_matches(" kB").parse().unwrap_or(f64::NAN);
            let data = &found.dataset;
            println!("{} {} {seconds:.3} {:.0}", data.n_rows, data.columns.len(), peak / 1024.0);
        }
        Err(error) => {
            eprintln!("{}: {error}", error.code());
            std::process::exit(1);
        }
    }
}
