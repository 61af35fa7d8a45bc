//! Mirrors one made-up trial to a tracking server, so that a script can try it against the real one.
//!
//! `mirror_trial URL EXPERIMENT TRIAL [SECRET_FILE [USER]]` prints the run's id, and what was left out.

use std::error::Error;
use std::path::PathBuf;

use serin_core::clock::Timestamp;
use serin_core::mlflow::{Mirror, MlflowSettings, TrialArtifact, TrialMetric, TrialRecord, TrialStatus};

/// 2026-11-22T10:00:00Z.
const BEGAN: i64 = 1_795_341_600_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, experiment, trial, rest @ ..] = arguments.as_slice() else {
        return Err("usage: mirror_trial URL EXPERIMENT TRIAL [SECRET_FILE [USER]]".into());
    };
    let settings = MlflowSettings {
        url: url.clone(),
        secret_file: rest.first().map(PathBuf::from),
        user: rest.get(1).cloned(),
    };
    let metric = |i: u32| TrialMetric {
        key: "loss".into(),
        value: 1.0 / f64::from(i + 1),
        step: u64::from(i),
        time: Timestamp(BEGAN + i64::from(i) * 1_000),
    };
    let single = |key: &str, value| TrialMetric { key: key.into(), value, step: 0, time: Timestamp(BEGAN) };
    let mut metrics: Vec<TrialMetric> = (0..2_500).map(metric).collect();
    metrics.extend([single("f1 of class é/1", 0.83), single("odd", f64::NAN)]);
    let record = TrialRecord {
        experiment: experiment.clone(),
        trial: trial.clone(),
        status: TrialStatus::Finished,
        began: Timestamp(BEGAN),
        ended: Timestamp(BEGAN + 61_500_000),
        parameters: (0..250).map(|i| (format!("parameter {i}"), format!("value {i}"))).collect(),
        metrics,
        tags: [("serin.bundle".to_owned(), "ab".repeat(32))].into(),
        artifacts: vec![TrialArtifact {
            name: "evaluation.json".into(),
            bytes: b"{\"macro_f1\": 0.83}".to_vec(),
        }],
    };
    let mirrored = Mirror::new(settings)?.record(&record)?;
    println!("{}", mirrored.run);
    for left_out in mirrored.left_out {
        println!("left out: {left_out}");
    }
    Ok(())
}
