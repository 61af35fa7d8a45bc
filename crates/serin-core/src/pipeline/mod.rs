//! The steps of a run as the engine's works: from source to production.
//!
//! A step reads the outputs of earlier steps and leaves one document ([`documents`]) in the artifact store, whose digest
//! is its output; files travel as artifacts that documents name. So a step depends on digests alone, and two runs with
//! the same inputs may share what a step made of them. What takes long (training, evaluation, profiles) is done by this
//! program as a process of its own, under limits, so that a gateway beside the engine feels none of it.

pub mod documents;

pub mod apart;

mod approve;
mod ask;
mod baseline;
mod build;
mod deploy;
mod evaluate;
mod experiment;
mod gate;
pub(crate) mod http;
mod monitor;
mod own;
mod prepare;
mod register;
mod request;
mod rollout;
mod shape;
pub(crate) mod smoke;
mod source;
mod train;
mod workshop;

use std::path::PathBuf;
use std::sync::Arc;

pub use ask::{Asked, ask_to_deploy, rules};
pub use deploy::endpoint;
pub use gate::{Judgement, Ruling, judge};
pub use http::REPLAY;
pub use request::{DataFile, DataRole, DeployRequest, TrainRequest};
pub use shape::{deploy_pipeline, first_steps, steps_after_build};
pub use source::{project_settings, repository};
pub use workshop::{GatewayAddress, Workshop, read_document};

use crate::artifacts::Artifacts;
use crate::engine::Works;
use crate::routes::RoutesFile;
use crate::runtime::JobRuntime;

/// What the works need of the program.
#[derive(Debug)]
pub struct PipelineOptions {
    pub data_directory: PathBuf,
    pub artifacts: Arc<Artifacts>,
    /// Where jobs run.
    pub jobs: Arc<dyn JobRuntime>,
    /// This program, which trains as a process of its own.
    pub program: PathBuf,
    /// Where gateways read what to serve.
    pub routes: Arc<RoutesFile>,
}

/// Every work by its kind.
#[must_use]
pub fn works(options: PipelineOptions) -> Works {
    let shop = Arc::new(Workshop::new(options));
    Works::default()
        .with("source", Arc::new(source::Source(shop.clone())))
        .with("build", Arc::new(build::Build(shop.clone())))
        .with("experiment", Arc::new(experiment::Experiment(shop.clone())))
        .with("prepare", Arc::new(prepare::Prepare(shop.clone())))
        .with("baseline", Arc::new(baseline::Baseline(shop.clone())))
        .with("train", Arc::new(train::Train(shop.clone())))
        .with("register", Arc::new(register::Register(shop.clone())))
        .with("evaluate", Arc::new(evaluate::Evaluate(shop.clone())))
        .with("gate", Arc::new(gate::Gate(shop.clone())))
        .with("approve", Arc::new(approve::Approve(shop.clone())))
        .with("deploy", Arc::new(deploy::Deploy(shop.clone())))
        .with("smoke", Arc::new(smoke::Smoke(shop.clone())))
        .with("monitor", Arc::new(monitor::Monitor(shop)))
}
