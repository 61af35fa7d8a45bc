//! `[stages.NAME.rollout]`: how traffic goes over to a new version, checked.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serin_ml::sequential::JudgeSettings;

use super::ConfigError;
use super::check::Place;
use super::raw::{RawHook, RawRollout, RawRolloutStep};
use crate::clock::parse_duration;

/// Most steps of a plan, hooks at one place, and alarms.
const STEPS_LIMIT: usize = 100;
const HOOKS_LIMIT: usize = 10;
const ALARMS_LIMIT: usize = 10;
/// The longest a rollout may take before it must have promoted or gone back.
pub const LONGEST_ROLLOUT: Duration = Duration::from_secs(7 * 24 * 3_600);
/// How long a hook may take at most to say yes or no, as in CodeDeploy.
const HOOK_LIMIT: Duration = Duration::from_secs(3_600);

/// The presets used when none is named: for the last stage of the pipeline, and for those before.
const LAST_STAGE_PRESET: &str = "canary-10-percent-5-minutes";
const EARLIER_STAGE_PRESET: &str = "all-at-once";

/// A plan, and what is asked of the new version in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolloutSettings {
    /// The preset, or how the steps were written.
    pub plan: String,
    /// Weights grow; the last is all of it.
    pub steps: Vec<RolloutStep>,
    /// Requests that the new version must have answered in each step that bakes.
    pub min_requests: u64,
    /// How long a step waits for them after it has baked.
    pub evidence_wait: Duration,
    pub without_evidence: WithoutEvidence,
    /// From the beginning to the promotion.
    pub max_duration: Duration,
    /// At most so long the new version only answers beside the other one, unseen; zero: not at all.
    pub mirror: Duration,
    /// How long the version before stays warm.
    pub probation: Duration,
    /// How long nothing happens while it cannot be judged; then it goes back.
    pub hold: Duration,
    /// False: what is found bad is told, and waits for a person.
    pub auto_rollback: bool,
    pub judge: JudgeSettings,
    /// Alarms that send it back.
    pub alarms: Vec<String>,
    pub before_traffic: Vec<HookSettings>,
    pub after_traffic: Vec<HookSettings>,
}

/// A share of the traffic for some time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RolloutStep {
    /// Percent, above 0 and up to 100.
    pub weight: f64,
    pub bake: Duration,
}

/// What happens when a step does not get its requests in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WithoutEvidence {
    /// It goes back.
    Abort,
    /// Captured rows are asked again, of the new version.
    Replay,
}

/// Something that is asked whether the rollout may go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "hook")]
pub enum HookSettings {
    /// Answers of the new version must be rows of the inference table.
    Captured { time_limit: Duration },
    /// Exit code 0 says yes, 75 to ask again, any other no.
    Command { command: Vec<String>, time_limit: Duration },
    /// A signed request; the answer says `pass`, `fail` or `wait`.
    Webhook { url: String, secret_file: Option<PathBuf>, allow_hosts: Vec<String>, time_limit: Duration },
}

impl RolloutSettings {
    /// Whether all traffic goes over in the first step.
    #[must_use]
    pub fn is_all_at_once(&self) -> bool {
        self.steps.len() <= 1
    }
}

impl Default for RolloutSettings {
    /// All at once, unjudged, with nothing kept warm: what stages of plans had before there were rollouts.
    fn default() -> Self {
        Self {
            plan: EARLIER_STAGE_PRESET.to_owned(),
            steps: vec![RolloutStep { weight: 100.0, bake: Duration::ZERO }],
            min_requests: 0,
            evidence_wait: Duration::ZERO,
            without_evidence: WithoutEvidence::Abort,
            max_duration: Duration::from_secs(8 * 3_600),
            mirror: Duration::ZERO,
            probation: Duration::ZERO,
            hold: Duration::from_secs(300),
            auto_rollback: true,
            judge: JudgeSettings::default(),
            alarms: Vec::new(),
            before_traffic: Vec::new(),
            after_traffic: Vec::new(),
        }
    }
}

pub(super) fn check(
    stage: &str,
    is_last: bool,
    raw: &RawRollout,
    folder: &Path,
    at: &Place<'_>,
) -> Result<RolloutSettings, ConfigError> {
    let key = |key: &str| format!("stages.{stage}.rollout.{key}");
    let named = raw.preset.clone().filter(|name| !name.is_empty());
    let steps = raw.steps.clone().unwrap_or_default();
    let written = usize::from(named.is_some()) + usize::from(!steps.is_empty());
    let usual = if is_last { LAST_STAGE_PRESET } else { EARLIER_STAGE_PRESET };
    let wait = |name: &str, text: &Option<String>, usual: Duration, longest: Duration| match text {
        None => Ok(usual),
        Some(text) => within(&key(name), text, longest, at),
    };
    let imported = match &raw.deployment_config {
        Some(config) if written == 0 => {
            let imported = super::sagemaker::plan(config)
                .map_err(|problem| at.error(&key("deployment_config"), &problem.problem, &problem.fix))?;
            Some(imported)
        }
        Some(_) => {
            let fix = "remove preset and steps, or deployment_config";
            return Err(at.error(&key("deployment_config"), "is not the only plan", fix));
        }
        None => None,
    };
    let (plan, mut steps) = match (&imported, steps.is_empty(), named) {
        (Some(imported), _, _) => (imported.name.clone(), imported.steps.clone()),
        (None, false, None) => ("custom steps".to_owned(), own_steps(&key("steps"), &steps, at)?),
        (None, true, named) => {
            let name = named.unwrap_or_else(|| usual.to_owned());
            let steps = preset(&name).ok_or_else(|| {
                let fix = "write such as \"canary-10-percent-5-minutes\", \"linear-10-percent-every-1-minute\", \
                           \"all-at-once\", a name of CodeDeploy's, or give steps";
                at.error(&key("preset"), &format!("is \"{name}\""), fix)
            })?;
            (name, steps)
        }
        (None, false, Some(_)) => {
            return Err(at.error(&key("steps"), "stand beside a preset", "remove one of the two"));
        }
    };
    let shifts = steps.len() > 1;
    let day = Duration::from_secs(24 * 3_600);
    let minute = Duration::from_secs(60);
    if let Some(last) = steps.last_mut()
        && imported.is_none()
    {
        let usual = if shifts && last.bake.is_zero() { minute } else { last.bake };
        last.bake = wait("final_bake", &raw.final_bake, usual, day)?;
    }
    let min_requests = at.within(&key("min_requests"), raw.min_requests.unwrap_or(300), 0, 10_000_000)?;
    let usual = JudgeSettings::default();
    let floor = raw.latency_floor.as_deref().unwrap_or("5ms");
    let judge = JudgeSettings {
        min_requests,
        latency_factor: at.within(&key("latency_factor"), raw.latency_factor.unwrap_or(3.0), 1.0, 1_000.0)?,
        latency_floor_microseconds: within(&key("latency_floor"), floor, minute, at)?.as_micros() as u64,
        class_mix: at.within(&key("class_mix"), raw.class_mix.unwrap_or(usual.class_mix), 0.0, 1.0)?,
        confidence: at.within(&key("confidence"), raw.confidence.unwrap_or(usual.confidence), 0.0, 1.0)?,
        disagreement: at.within(
            &key("disagreement"),
            raw.disagreement.unwrap_or(usual.disagreement),
            0.0,
            1.0,
        )?,
    };
    let without_evidence = match raw.without_evidence.as_deref().unwrap_or("abort") {
        "abort" => WithoutEvidence::Abort,
        "replay" => WithoutEvidence::Replay,
        other => {
            let problem = format!("is \"{other}\"");
            return Err(at.error(&key("without_evidence"), &problem, "write \"abort\" or \"replay\""));
        }
    };
    let mut alarms = raw.alarms.clone().unwrap_or_default();
    alarms.extend(imported.iter().flat_map(|imported| imported.alarms.iter().cloned()));
    if alarms.len() > ALARMS_LIMIT || alarms.iter().any(|name| name.is_empty() || name.len() > 255) {
        let fix = format!("name at most {ALARMS_LIMIT} alarms, each with 1 to 255 characters");
        return Err(at.error(&key("alarms"), "cannot be watched", &fix));
    }
    let eight_hours = Duration::from_secs(8 * 3_600);
    let usual_length = imported.as_ref().and_then(|imported| imported.max_duration).unwrap_or(eight_hours);
    let max_duration = wait("max_duration", &raw.max_duration, usual_length, LONGEST_ROLLOUT)?;
    let baking: Duration = steps.iter().map(|step| step.bake).sum();
    if max_duration <= baking {
        let problem = format!("is {} s, and the steps bake {} s", max_duration.as_secs(), baking.as_secs());
        return Err(at.error(&key("max_duration"), &problem, "let it take longer than its steps"));
    }
    let usual_probation = imported.as_ref().and_then(|imported| imported.termination_wait);
    let usual_probation = usual_probation.unwrap_or(if shifts { day } else { Duration::ZERO });
    Ok(RolloutSettings {
        plan,
        min_requests,
        evidence_wait: wait("evidence_wait", &raw.evidence_wait, 60 * minute, LONGEST_ROLLOUT)?,
        without_evidence,
        max_duration,
        mirror: wait("mirror", &raw.mirror, if shifts { minute } else { Duration::ZERO }, day)?,
        probation: wait("probation", &raw.probation, usual_probation, LONGEST_ROLLOUT)?,
        hold: wait("hold", &raw.hold, 5 * minute, day)?,
        auto_rollback: raw.auto_rollback.unwrap_or(true),
        judge,
        alarms,
        before_traffic: hooks(&key("before_traffic"), raw.before_traffic.as_deref(), folder, at)?,
        after_traffic: hooks(&key("after_traffic"), raw.after_traffic.as_deref(), folder, at)?,
        steps,
    })
}

/// The steps that a preset's name means: ours, or one of CodeDeploy's.
fn preset(name: &str) -> Option<Vec<RolloutStep>> {
    let plain = codedeploy(name).unwrap_or_else(|| name.to_owned());
    let mut words = plain.split('-');
    let whole = |bake| RolloutStep { weight: 100.0, bake };
    match words.next()? {
        "all" => (plain == "all-at-once").then(|| vec![whole(Duration::ZERO)]),
        kind @ ("canary" | "linear") => {
            let percent: u32 = words.next()?.parse().ok().filter(|percent| (1..100).contains(percent))?;
            (words.next()? == "percent").then_some(())?;
            let mut word = words.next()?;
            if word == "every" {
                (kind == "linear").then_some(())?;
                word = words.next()?;
            }
            let minutes: u64 = word.parse().ok().filter(|minutes| (1..=2_880).contains(minutes))?;
            matches!(words.next()?, "minute" | "minutes").then_some(())?;
            words.next().is_none().then_some(())?;
            let bake = Duration::from_secs(60 * minutes);
            let percent = f64::from(percent);
            if kind == "canary" {
                return Some(vec![RolloutStep { weight: percent, bake }, whole(Duration::ZERO)]);
            }
            let before = (1..).map(|i| percent * f64::from(i)).take_while(|weight| *weight < 100.0);
            let steps = before.map(|weight| RolloutStep { weight, bake });
            Some(steps.chain([whole(Duration::ZERO)]).collect())
        }
        _ => None,
    }
}

/// `CodeDeployDefault.LambdaCanary10Percent5Minutes` and its likes in our words.
fn codedeploy(name: &str) -> Option<String> {
    let name = name.strip_prefix("CodeDeployDefault.").unwrap_or(name);
    let name = name.strip_prefix("Lambda").or_else(|| name.strip_prefix("ECS")).unwrap_or(name);
    let name = name.trim_start_matches('.');
    name.starts_with(|c: char| c.is_ascii_uppercase()).then_some(())?;
    let mut plain = String::new();
    let mut before = '-';
    for c in name.chars() {
        let begins = c.is_ascii_uppercase() || (c.is_ascii_digit() && !before.is_ascii_digit());
        if begins && !plain.is_empty() {
            plain.push('-');
        }
        plain.push(c.to_ascii_lowercase());
        before = c;
    }
    Some(plain)
}

fn own_steps(key: &str, raw: &[RawRolloutStep], at: &Place<'_>) -> Result<Vec<RolloutStep>, ConfigError> {
    if raw.len() > STEPS_LIMIT {
        return Err(at.error(key, "are too many", &format!("give at most {STEPS_LIMIT}")));
    }
    let mut steps: Vec<RolloutStep> = Vec::with_capacity(raw.len() + 1);
    for RawRolloutStep { weight, bake } in raw {
        let before = steps.last().map_or(0.0, |step| step.weight);
        if !weight.is_finite() || *weight <= before || *weight > 100.0 {
            let fix = "let weights grow from above 0 to 100, in percent";
            return Err(at.error(key, &format!("have weight {weight}"), fix));
        }
        let longest = Duration::from_secs(2 * 24 * 3_600);
        let bake = within(key, bake.as_deref().unwrap_or("0s"), longest, at)?;
        steps.push(RolloutStep { weight: *weight, bake });
    }
    if steps.last().is_none_or(|step| step.weight < 100.0) {
        steps.push(RolloutStep { weight: 100.0, bake: Duration::ZERO });
    }
    Ok(steps)
}

fn hooks(
    key: &str,
    raw: Option<&[RawHook]>,
    folder: &Path,
    at: &Place<'_>,
) -> Result<Vec<HookSettings>, ConfigError> {
    let raw = raw.unwrap_or_default();
    if raw.len() > HOOKS_LIMIT {
        return Err(at.error(key, "are too many", &format!("give at most {HOOKS_LIMIT}")));
    }
    raw.iter().map(|hook| self::hook(key, hook, folder, at)).collect()
}

fn hook(key: &str, raw: &RawHook, folder: &Path, at: &Place<'_>) -> Result<HookSettings, ConfigError> {
    let time_limit = within(key, raw.time_limit.as_deref().unwrap_or("1h"), HOOK_LIMIT, at)?;
    let command = raw.command.clone().unwrap_or_default();
    match (command.first(), &raw.url, raw.check.as_deref()) {
        (None, None, Some("captured")) => Ok(HookSettings::Captured { time_limit }),
        (Some(program), None, None) if !program.is_empty() => {
            Ok(HookSettings::Command { command, time_limit })
        }
        (None, Some(url), None) if url.starts_with("https://") || url.starts_with("http://") => {
            let secret_file = raw.secret_file.as_ref().map(|file| at.path(key, file, folder));
            let allow_hosts = raw.allow_hosts.clone().unwrap_or_default();
            Ok(HookSettings::Webhook { url: url.clone(), secret_file, allow_hosts, time_limit })
        }
        _ => {
            let fix =
                "give one of check = \"captured\", command = [\"program\", ...] or url = \"https://...\"";
            Err(at.error(key, "have one that is none", fix))
        }
    }
}

/// A time from zero to `longest`.
fn within(key: &str, text: &str, longest: Duration, at: &Place<'_>) -> Result<Duration, ConfigError> {
    parse_duration(text).filter(|time| *time <= longest).ok_or_else(|| {
        let fix = format!("write a time such as \"30s\" or \"5m\", at most {} s", longest.as_secs());
        at.error(key, &format!("is \"{text}\""), &fix)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(name: &str) -> Vec<(f64, u64)> {
        let steps = preset(name).unwrap_or_default();
        steps.iter().map(|step| (step.weight, step.bake.as_secs())).collect()
    }

    #[test]
    fn presets_are_known_by_our_names_and_by_those_of_codedeploy() {
        let canary = [(10.0, 300), (100.0, 0)];
        for name in [
            "canary-10-percent-5-minutes",
            "CodeDeployDefault.LambdaCanary10Percent5Minutes",
            "Canary10Percent5Minutes",
            "CodeDeployDefault.ECSCanary10Percent5Minutes",
        ] {
            assert_eq!(shape(name), canary, "{name}");
        }
        let linear = shape("CodeDeployDefault.LambdaLinear10PercentEvery1Minute");
        assert_eq!(linear, shape("linear-10-percent-every-1-minute"));
        assert_eq!((linear.len(), linear[0], linear[8], linear[9]), (10, (10.0, 60), (90.0, 60), (100.0, 0)));
        assert_eq!(shape("linear-30-percent-every-2-minutes").len(), 4);
        assert_eq!(shape("all-at-once"), [(100.0, 0)]);
        assert_eq!(shape("CodeDeployDefault.LambdaAllAtOnce"), [(100.0, 0)]);
        for wrong in [
            "",
            "canary",
            "canary-0-percent-5-minutes",
            "canary-100-percent-5-minutes",
            "canary-10-percent-5-hours",
            "canary-10-percent-every-5-minutes",
            "canary-10-percent-5-minutes-more",
            "all-at-twice",
            "Canary10Percent",
        ] {
            assert_eq!(shape(wrong), [], "{wrong}");
        }
    }
}
