//! Which steps a run has. The first two are always the same; what comes behind them follows from the settings of the
//! commit that is built.

use crate::config::{LONGEST_ROLLOUT, PipelineSettings, StageSettings};
use crate::domain::{Pipeline, RetryPolicy, StepPlan};

/// The version of every work's meaning, until one changes.
pub(super) const WORK_VERSION: u32 = 1;

/// Beyond the time limit of a user's own step: laying out its files and reading its results.
const AROUND_A_JOB_SECONDS: u64 = 600;
/// For steps that read, copy or ask.
const SHORT_SECONDS: u64 = 600;
/// For Serin's own training when it is limited by trials.
const LONGEST_TRAINING_SECONDS: u64 = 24 * 3_600;

/// What every training run begins with.
#[must_use]
pub fn first_steps(retry: RetryPolicy) -> Pipeline {
    let shape = Shape { retry };
    Pipeline {
        steps: vec![shape.step("source", "", &[], 1_800), shape.step("build", "", &["source"], 1_800)],
    }
}

/// What follows once the settings are known. `training_seconds`: the budget; `None`: a number of trials.
#[must_use]
pub fn steps_after_build(settings: &PipelineSettings, training_seconds: Option<u64>) -> Vec<StepPlan> {
    let shape = Shape { retry: settings.retry };
    let mut steps = vec![shape.step("experiment", "", &["build"], SHORT_SECONDS)];
    let seconds = |command: &Option<crate::config::CommandSettings>| {
        command.as_ref().map(|command| command.time_limit.as_secs() + AROUND_A_JOB_SECONDS)
    };
    let data = match seconds(&settings.prepare) {
        Some(limit) => {
            steps.push(shape.once("prepare", &["build"], limit));
            "prepare"
        }
        None => "build",
    };
    let own = training_seconds.map_or(LONGEST_TRAINING_SECONDS, |budget| 4 * budget + 3_600);
    steps.push(shape.once("baseline", &[data], 3_600));
    steps.push(shape.once("train", &["experiment", data], seconds(&settings.train).unwrap_or(own)));
    steps.push(shape.step("register", "", &["train"], SHORT_SECONDS));
    let evaluation = seconds(&settings.evaluate).unwrap_or(0) + 3_600;
    steps.push(shape.once("evaluate", &["register", "baseline"], evaluation));
    steps.push(shape.step("gate", "", &["evaluate"], SHORT_SECONDS));
    let mut before = "gate".to_owned();
    for stage in &settings.stages {
        steps.extend(shape.stage(stage, &before));
        before = format!("monitor-{}", stage.name);
    }
    steps
}

/// The steps that bring a version to one stage.
#[must_use]
pub fn deploy_pipeline(stage: &str, retry: RetryPolicy) -> Pipeline {
    Pipeline { steps: Shape { retry }.deployment(stage, None) }
}

struct Shape {
    retry: RetryPolicy,
}

impl Shape {
    fn step(&self, kind: &str, argument: &str, after: &[&str], seconds: u64) -> StepPlan {
        let name = if argument.is_empty() { kind.to_owned() } else { format!("{kind}-{argument}") };
        StepPlan {
            name,
            kind: kind.to_owned(),
            version: WORK_VERSION,
            argument: argument.to_owned(),
            after: after.iter().map(|&name| name.to_owned()).collect(),
            retry: self.retry,
            time_limit_seconds: seconds,
            is_reusable: false,
            only_waits: false,
        }
    }

    /// Long work whose output another run may take: only what may pass by itself is tried again.
    fn once(&self, kind: &str, after: &[&str], seconds: u64) -> StepPlan {
        StepPlan { is_reusable: true, ..self.step(kind, "", after, seconds) }
    }

    fn stage(&self, stage: &StageSettings, before: &str) -> Vec<StepPlan> {
        let approval = stage.approval.then(|| self.step("approve", &stage.name, &[before], SHORT_SECONDS));
        let before = approval.as_ref().map_or(before.to_owned(), |step| step.name.clone());
        approval.into_iter().chain(self.deployment(&stage.name, Some(&before))).collect()
    }

    fn deployment(&self, stage: &str, before: Option<&str>) -> Vec<StepPlan> {
        let longest = LONGEST_ROLLOUT.as_secs() + SHORT_SECONDS;
        let deploy = StepPlan { only_waits: true, ..self.step("deploy", stage, before.as_slice(), longest) };
        let smoke = self.step("smoke", stage, &[&deploy.name], SHORT_SECONDS);
        let monitor = self.step("monitor", stage, &[&smoke.name], SHORT_SECONDS);
        vec![deploy, smoke, monitor]
    }
}
