//! `serin drill`.

use anyhow::bail;
use serde_json::{Map, Value, json};
use serin_core::config::parse_duration;

use super::args::DrillArgs;
use super::client::{Client, by, escaped, project};
use super::show;
use super::words::variants;
use crate::cli::exit::Exit;

/// Injects faults into a version, or stops doing so.
pub fn run(args: &DrillArgs) -> anyhow::Result<Exit> {
    let mut body = Map::new();
    for fault in &args.faults {
        let (name, value) = match (fault.as_str(), &args.feature, &args.shift) {
            ("drift", Some(feature), Some(shift)) => ("drift".to_owned(), drift(feature, shift)?),
            ("drift", ..) => bail!("drift needs --feature NAME and --shift 0.5sd"),
            (fault, ..) => parse(fault)?,
        };
        body.insert(name, value);
    }
    let Some(time) = parse_duration(&args.time) else {
        bail!("--for {:?} is no time; write such as 60s or 5m", args.time);
    };
    let seconds = if args.end { 0.0 } else { time.as_secs_f64() };
    body.extend([("seconds".to_owned(), json!(seconds)), ("version".to_owned(), json!(args.number))]);
    body.insert("by".to_owned(), by(args.who.by.as_deref())?.into());
    let client = Client::find(&args.look.server)?;
    let project = project(&client, args.project.as_deref())?;
    let path = format!("/projects/{}/stages/{}/drill", escaped(&project), escaped(&args.stage));
    let answer = client.post(&path, &Value::Object(body))?;
    let what = if args.end {
        "the drill is over".to_owned()
    } else {
        format!("{} for {} s", args.faults.join(", "), time.as_secs_f64())
    };
    show(&args.look, &answer, |endpoint| format!("{} ({}): {what}", args.stage, variants(endpoint)))
}

/// `0.5sd` is in standard deviations of the baseline, `0.5` in the feature's unit.
fn drift(feature: &str, shift: &str) -> anyhow::Result<Value> {
    let (number, is_relative) = shift.strip_suffix("sd").map_or((shift, false), |number| (number, true));
    match number.trim().parse::<f64>().ok().filter(|number| number.is_finite()) {
        Some(number) => Ok(json!({ "feature": feature, "shift": number, "is_relative": is_relative })),
        None => bail!("--shift {shift:?} is no number; write such as 0.5sd or -3.2"),
    }
}

fn parse(fault: &str) -> anyhow::Result<(String, Value)> {
    let (name, value) = fault.split_once('=').map_or((fault, None), |(name, value)| (name, Some(value)));
    let number = |value: &str| value.parse::<f64>().ok().filter(|number| number.is_finite());
    let parsed = match (name, value) {
        ("hang" | "nan-output" | "wrong-shape" | "class-flip" | "one-class", None) => Some(json!(true)),
        ("error-rate", Some(value)) => number(value).map(Value::from),
        ("latency", Some(value)) => {
            let time = parse_duration(value).map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
            return time
                .map(|milliseconds| ("latency_milliseconds".to_owned(), milliseconds.into()))
                .ok_or_else(|| anyhow::anyhow!("latency={value} is no time; write such as latency=500ms"));
        }
        ("fails-after", Some(value)) => value.parse::<u64>().ok().map(Value::from),
        _ => None,
    };
    match parsed {
        Some(value) => Ok((name.replace('-', "_"), value)),
        None => bail!(
            "{fault:?} is no fault; write error-rate=0.2, latency=500ms, hang, nan-output, wrong-shape, class-flip, \
             one-class, fails-after=100 or drift"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shifts_are_in_standard_deviations_or_in_the_unit() {
        let relative = json!({ "feature": "7", "shift": 0.5, "is_relative": true });
        assert_eq!(drift("7", "0.5sd").unwrap(), relative);
        assert_eq!(drift("7", "-3").unwrap()["is_relative"], false);
        for wrong in ["", "sd", "x", "1e999"] {
            assert!(drift("7", wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn faults_are_read_and_nonsense_is_refused() {
        assert_eq!(parse("error-rate=0.2").unwrap(), ("error_rate".to_owned(), json!(0.2)));
        assert_eq!(parse("latency=500ms").unwrap(), ("latency_milliseconds".to_owned(), json!(500)));
        assert_eq!(parse("nan-output").unwrap(), ("nan_output".to_owned(), json!(true)));
        assert_eq!(parse("fails-after=7").unwrap(), ("fails_after".to_owned(), json!(7)));
        for wrong in ["", "nan-output=1", "error-rate", "error-rate=x", "error-rate=nan", "latency=5", "burn"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
