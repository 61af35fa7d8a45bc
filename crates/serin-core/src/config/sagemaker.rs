//! SageMaker's `DeploymentConfig` as a plan.

use std::time::Duration;

use serde::Deserialize;

use super::rollout::RolloutStep;

/// A plan as SageMaker's deployment guardrails describe it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Imported {
    pub name: String,
    pub steps: Vec<RolloutStep>,
    pub termination_wait: Option<Duration>,
    pub max_duration: Option<Duration>,
    pub alarms: Vec<String>,
}

/// What cannot be taken over, and what to write.
#[derive(Debug)]
pub(super) struct Problem {
    pub problem: String,
    pub fix: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct DeploymentConfig {
    blue_green_update_policy: Option<BlueGreen>,
    rolling_update_policy: Option<Rolling>,
    auto_rollback_configuration: Option<AutoRollback>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct BlueGreen {
    traffic_routing_configuration: Routing,
    termination_wait_in_seconds: Option<u64>,
    maximum_execution_timeout_in_seconds: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Routing {
    r#type: String,
    #[serde(default)]
    wait_interval_in_seconds: u64,
    canary_size: Option<Size>,
    linear_step_size: Option<Size>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Rolling {
    maximum_batch_size: Size,
    wait_interval_in_seconds: u64,
    /// Going back is always at once here.
    #[serde(rename = "RollbackMaximumBatchSize")]
    _rollback_maximum_batch_size: Option<Size>,
    maximum_execution_timeout_in_seconds: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Size {
    r#type: String,
    value: u32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct AutoRollback {
    #[serde(default)]
    alarms: Vec<Alarm>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Alarm {
    alarm_name: String,
}

/// The plan that a `DeploymentConfig` describes, within SageMaker's own ranges.
pub(super) fn plan(config: &toml::Value) -> Result<Imported, Problem> {
    let config: DeploymentConfig = config.clone().try_into().map_err(|error: toml::de::Error| Problem {
        problem: error.message().to_owned(),
        fix: "write it as UpdateEndpoint takes it".to_owned(),
    })?;
    let alarms = config.auto_rollback_configuration.map(|automatic| automatic.alarms).unwrap_or_default();
    let alarms = alarms.into_iter().map(|alarm| alarm.alarm_name).collect();
    let seconds = Duration::from_secs;
    match (config.blue_green_update_policy, config.rolling_update_policy) {
        (Some(policy), None) => {
            let routing = policy.traffic_routing_configuration;
            let bake = seconds(ranged("WaitIntervalInSeconds", routing.wait_interval_in_seconds, 0, 3_600)?);
            let steps = match routing.r#type.as_str() {
                "ALL_AT_ONCE" => linear(100, bake),
                "CANARY" => {
                    let size = share("CanarySize", routing.canary_size.as_ref(), 1, 50)?;
                    vec![RolloutStep { weight: f64::from(size), bake }, RolloutStep { weight: 100.0, bake }]
                }
                "LINEAR" => linear(share("LinearStepSize", routing.linear_step_size.as_ref(), 10, 50)?, bake),
                other => {
                    let fix = "write ALL_AT_ONCE, CANARY or LINEAR".to_owned();
                    return Err(Problem { problem: format!("has Type {other:?}"), fix });
                }
            };
            let wait = ranged(
                "TerminationWaitInSeconds",
                policy.termination_wait_in_seconds.unwrap_or(0),
                0,
                3_600,
            )?;
            Ok(Imported {
                name: format!("SageMaker {}", routing.r#type),
                steps,
                termination_wait: Some(seconds(wait)),
                max_duration: longest(policy.maximum_execution_timeout_in_seconds)?,
                alarms,
            })
        }
        (None, Some(policy)) => {
            let size = share("MaximumBatchSize", Some(&policy.maximum_batch_size), 5, 50)?;
            let bake = seconds(ranged("WaitIntervalInSeconds", policy.wait_interval_in_seconds, 0, 3_600)?);
            Ok(Imported {
                name: "SageMaker ROLLING".to_owned(),
                steps: linear(size, bake),
                termination_wait: None,
                max_duration: longest(policy.maximum_execution_timeout_in_seconds)?,
                alarms,
            })
        }
        _ => Err(Problem {
            problem: "has not one policy".to_owned(),
            fix: "give BlueGreenUpdatePolicy or RollingUpdatePolicy".to_owned(),
        }),
    }
}

/// Equal steps; the last may be smaller.
fn linear(percent: u32, bake: Duration) -> Vec<RolloutStep> {
    let weights = (1..=100_u32.div_ceil(percent)).map(|i| f64::from((i * percent).min(100)));
    weights.map(|weight| RolloutStep { weight, bake }).collect()
}

fn share(what: &str, size: Option<&Size>, low: u32, high: u32) -> Result<u32, Problem> {
    let Some(size) = size else {
        return Err(Problem { problem: format!("has no {what}"), fix: format!("give {what}") });
    };
    if size.r#type != "CAPACITY_PERCENT" {
        let fix = "give CAPACITY_PERCENT: a count says nothing without the size of the fleet".to_owned();
        return Err(Problem { problem: format!("has {what} in {}", size.r#type), fix });
    }
    Ok(ranged(what, u64::from(size.value), u64::from(low), u64::from(high))? as u32)
}

fn longest(timeout: Option<u64>) -> Result<Option<Duration>, Problem> {
    let checked = timeout.map(|timeout| ranged("MaximumExecutionTimeoutInSeconds", timeout, 600, 28_800));
    Ok(checked.transpose()?.map(Duration::from_secs))
}

fn ranged(what: &str, value: u64, low: u64, high: u64) -> Result<u64, Problem> {
    if (low..=high).contains(&value) {
        return Ok(value);
    }
    Err(Problem { problem: format!("has {what} {value}"), fix: format!("give a value from {low} to {high}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Imported, String> {
        plan(&toml::Value::Table(text.parse().unwrap())).map_err(|problem| problem.problem)
    }

    #[test]
    fn a_canary_keeps_its_waits_and_alarms() {
        let imported = read(
            "AutoRollbackConfiguration = { Alarms = [{ AlarmName = \"errors\" }] }\n[BlueGreenUpdatePolicy]\n\
             TerminationWaitInSeconds = 600\nMaximumExecutionTimeoutInSeconds = 3600\n\
             TrafficRoutingConfiguration = { Type = \"CANARY\", WaitIntervalInSeconds = 300, \
             CanarySize = { Type = \"CAPACITY_PERCENT\", Value = 25 } }\n",
        )
        .unwrap();
        let shape: Vec<_> = imported.steps.iter().map(|step| (step.weight, step.bake.as_secs())).collect();
        assert_eq!(shape, [(25.0, 300), (100.0, 300)]);
        assert_eq!(imported.alarms, ["errors"]);
        assert_eq!(imported.termination_wait, Some(Duration::from_secs(600)));
    }

    #[test]
    fn batches_and_linear_steps_end_at_all_of_it() {
        let rolling = "[RollingUpdatePolicy]\nWaitIntervalInSeconds = 60\n\
                       MaximumBatchSize = { Type = \"CAPACITY_PERCENT\", Value = 40 }\n";
        let weights: Vec<_> = read(rolling).unwrap().steps.iter().map(|step| step.weight).collect();
        assert_eq!(weights, [40.0, 80.0, 100.0]);
        for (wrong, said) in [
            (rolling.replace("40", "60"), "MaximumBatchSize 60"),
            (rolling.replace("CAPACITY_PERCENT", "INSTANCE_COUNT"), "in INSTANCE_COUNT"),
            (rolling.replace("= 60\n", "= 3601\n"), "WaitIntervalInSeconds 3601"),
            ("x = 1".to_owned(), "unknown field `x`"),
            (String::new(), "not one policy"),
        ] {
            let problem = read(&wrong).unwrap_err();
            assert!(problem.contains(said), "{problem}");
        }
    }
}
