//! `evaluate`: the registered bundle on the frozen hold-out, beside the champion on the same rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serin_ml::evaluate::{ChampionComparison, DataFinding, Evaluation, Overlap};

use super::apart;
use super::documents::{BuildOutput, ChampionOutput, DataRole, EvaluateOutput, RegisterOutput};
use super::own;
use super::shape::WORK_VERSION;
use super::workshop::{Workshop, disk};
use crate::digest::Digest;
use crate::domain::ModelVersion;
use crate::engine::{Task, Work, WorkError};
use crate::store::{NewTrial, StepEnd};

/// The alias of the version to beat.
const CHAMPION: &str = "champion";

#[derive(Debug)]
pub(super) struct Evaluate(pub(super) Arc<Workshop>);

/// What the job leaves in `out/evaluation.json`.
#[derive(Debug, Deserialize)]
struct Evaluated {
    evaluation: Evaluation,
    is_held_out: bool,
    overlap: Overlap,
    findings: Vec<DataFinding>,
    comparison: Option<ChampionComparison>,
    champion: Option<Evaluation>,
    incomparable: Option<String>,
    #[serde(default)]
    recent: Option<ChampionComparison>,
}

impl Work for Evaluate {
    fn version(&self) -> u32 {
        WORK_VERSION
    }

    fn perform(&self, task: &Task<'_>) -> Result<StepEnd, WorkError> {
        let shop = &self.0;
        let build: BuildOutput = shop.input(task, "build")?;
        let registered: RegisterOutput = shop.input(task, "register")?;
        let data = shop.data(task)?;
        let champion = task.store.aliased(&task.run.project, CHAMPION)?;
        let champion = champion.filter(|champion| champion.number != registered.number);
        let beside = champion.as_ref().map(|champion| (champion.number, champion.artifact));
        let parts = (
            task.plan.version,
            "evaluate",
            (build.settings, build.recipe),
            &build.gates,
            &build.evaluate,
            (&build.serin, &data),
            registered.artifact,
            beside,
        );
        let key = Digest::of(&serde_json::to_vec(&parts).unwrap_or_default());
        let earlier = shop.earlier_output(task, key)?;
        let reused_from = earlier.map(|(run, _)| run);
        let output = match earlier {
            Some((_, output)) => output,
            None => shop.put(self.evaluate(task, &build, &registered, champion.as_ref())?)?,
        };
        // The numbers belong to this run's version, whoever measured them.
        let evaluated: EvaluateOutput = shop.get(output)?;
        let metrics = metrics(&evaluated.evaluation);
        task.store.set_metrics(task.hold, registered.number, &metrics)?;
        let trial = NewTrial { metrics: metrics.into_iter().collect(), ..NewTrial::default() };
        task.store.put_trial(task.hold, &trial, task.moments.now())?;
        Ok(StepEnd::Succeeded { output, key: Some(key), reused_from, further: Vec::new() })
    }
}

impl Evaluate {
    fn evaluate(
        &self,
        task: &Task<'_>,
        build: &BuildOutput,
        registered: &RegisterOutput,
        champion: Option<&ModelVersion>,
    ) -> Result<EvaluateOutput, WorkError> {
        let shop = &self.0;
        let folder = shop.folder(task)?;
        let data = shop.data(task)?;
        shop.lay_out(&folder, build, &data)?;
        shop.artifacts.copy_to(&registered.artifact, &folder.path("model.serin"))?;
        let mut arguments = vec!["step", "evaluate", "--model", "model.serin"];
        let served = apart::lay_out(shop, task, &folder, "model", registered.artifact, task.run.number)?;
        arguments.extend(served.iter().flat_map(|served| ["--served", served.as_str()]));
        let served = champion
            .map(|champion| apart::lay_out(shop, task, &folder, "champion", champion.artifact, champion.run));
        let served = served.transpose()?.flatten();
        if let Some(champion) = champion {
            shop.artifacts.copy_to(&champion.artifact, &folder.path("champion.serin"))?;
            arguments.extend(["--champion", "champion.serin"]);
            arguments.extend(served.iter().flat_map(|served| ["--champion-served", served.as_str()]));
        }
        let recent = data.iter().enumerate().filter(|(_, file)| file.role == DataRole::Recent);
        let recent: Vec<String> = recent.map(|(i, file)| format!("data/{}", file.work_name(i))).collect();
        if champion.is_some() {
            arguments.extend(recent.iter().flat_map(|rows| ["--recent", rows.as_str()]));
        }
        shop.run_own(task, &folder, &arguments)?.expect("evaluation_failed", &[0])?;
        let text = std::fs::read(folder.path("out/evaluation.json"))
            .map_err(|error| disk("the evaluation", &error))?;
        let evaluated: Evaluated = serde_json::from_slice(&text).map_err(|error| {
            WorkError::failed("internal", format!("the evaluation cannot be read: {error}"))
        })?;
        let Evaluated {
            evaluation,
            is_held_out,
            overlap,
            findings,
            comparison,
            champion: theirs,
            incomparable,
            recent,
        } = evaluated;
        let (message, files) = match &build.evaluate {
            Some(settings) => own::evaluate(shop, task, &folder, settings)?,
            None => (None, BTreeMap::new()),
        };
        Ok(EvaluateOutput {
            evaluation,
            is_held_out,
            overlap,
            findings,
            champion: champion.map(|champion| ChampionOutput {
                number: champion.number,
                bundle: champion.bundle.clone(),
                comparison,
                evaluation: theirs,
                incomparable,
            }),
            recent,
            message,
            files,
        })
    }
}

/// Every metric that could be measured.
fn metrics(evaluation: &Evaluation) -> Vec<(String, f64)> {
    let values = evaluation.metrics.iter();
    values.filter_map(|(metric, result)| Some((metric.to_string(), result.value?))).collect()
}
