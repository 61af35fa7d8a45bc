//! Reads constraints that were edited, and compares two profiles under them: the other end of `serin baseline export` for
//! `scripts/check-model-monitor`.
//!
//! `model_monitor CONSTRAINTS` prints the constraints as they were understood. `model_monitor CONSTRAINTS BASELINE CURRENT`
//! prints the violations of the profile CURRENT, and `--as-sagemaker` those that SageMaker's analyzer would find.

use std::error::Error;
use std::io::Write as _;

use serin_ml::model_monitor::{Constraints, Manner, violations, violations_json};
use serin_ml::profile::DatasetProfile;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (manner, files) = match arguments.as_slice() {
        [files @ .., option] if option == "--as-sagemaker" => (Manner::SageMaker, files),
        files => (Manner::Exact, files),
    };
    let text = match files {
        [constraints] => read_constraints(constraints)?.to_json()?,
        [constraints, baseline, current] => {
            let (baseline, current) = (read_profile(baseline)?, read_profile(current)?);
            violations_json(&violations(&read_constraints(constraints)?, &baseline, &current, manner))?
        }
        _ => return Err("usage: model_monitor CONSTRAINTS [BASELINE CURRENT] [--as-sagemaker]".into()),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

fn read_constraints(path: &str) -> Result<Constraints, Box<dyn Error>> {
    Ok(Constraints::parse(&std::fs::read_to_string(path)?)?)
}

fn read_profile(path: &str) -> Result<DatasetProfile, Box<dyn Error>> {
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}
