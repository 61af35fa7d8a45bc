//! Endpoints as the route document of a data directory names them, each model read from its artifact.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serin_core::artifacts::{ArtifactError, Artifacts};
use serin_core::clock::Timestamp;
use serin_core::digest::Digest;
use serin_core::domain::{Epoch, VersionNumber};
use serin_core::routes::{
    ModelRef, RouteDocument, RoutedEndpoint, RoutedServing, RoutedVariant, RoutesError, RoutesFile,
};
use serin_core::runtime::container::owner_of;
use serin_core::runtime::{ReplicaLimits, ReplicaSpec};
use serin_core::source::{Tree, materialise};
use serin_ml::model::{BUNDLE_LIMIT_BYTES, Bundle, BundleError};
use thiserror::Error;

use super::endpoint::{Endpoint, InvalidEndpoint, Origin, Snapshot, Variant};
use super::judge::served_model;
use super::model::ServedModel;
use super::supply::{Endpoints, Refused, Supply, Unready};
use crate::fleet::{FleetKey, FleetPlan, FleetRef, Fleets, wire};

/// The routes and artifacts of a data directory. Only files are asked: no engine and no store need be there.
#[derive(Debug)]
pub struct RoutedEndpoints {
    routes: RoutesFile,
    artifacts: Arc<Artifacts>,
    data_directory: PathBuf,
    fleets: Arc<Fleets>,
}

/// Why a route document is not put in force.
#[derive(Debug, Error)]
pub enum RoutedError {
    #[error(transparent)]
    Routes(#[from] RoutesError),
    #[error("the route document is gone")]
    Gone,
    #[error("the route document has epoch {epoch}, and that of epoch {in_force} is in force")]
    Superseded { epoch: Epoch, in_force: Epoch },
    #[error("endpoint `{endpoint}` cannot be served")]
    Endpoint { epoch: Epoch, endpoint: String, source: UnusableEndpoint },
}

/// Why an endpoint of a route document cannot be served.
#[derive(Debug, Error)]
pub enum UnusableEndpoint {
    #[error("its model version {version} cannot be used")]
    Model { version: VersionNumber, source: UnusableModel },
    #[error("version {version} has no replicas")]
    Replicas { version: VersionNumber, source: NoReplicas },
    #[error(transparent)]
    Invalid(#[from] InvalidEndpoint),
}

/// Why the bundle of a model version cannot be used.
#[derive(Debug, Error)]
pub enum UnusableModel {
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    #[error("the artifact is no usable bundle")]
    Bundle(#[from] BundleError),
    #[error("the artifact holds another bundle: {}", found.get(..12).unwrap_or_default())]
    Other { found: String },
}

/// Why nothing can be made that answers for a version.
#[derive(Debug, Error)]
pub enum NoReplicas {
    #[error("the files of the model cannot be laid out")]
    Artifact(#[from] ArtifactError),
    #[error("the files of the model cannot be laid out")]
    Io(#[from] std::io::Error),
}

/// Why there are no routes to follow.
#[derive(Debug, Error)]
pub enum OpenError {
    #[error(transparent)]
    Routes(#[from] RoutesError),
    #[error(transparent)]
    Artifacts(#[from] ArtifactError),
}

impl RoutedEndpoints {
    /// The routes of `data_directory`, whose replicas are those of `fleets`.
    ///
    /// # Errors
    /// When its folders or its key cannot be used.
    pub fn open(data_directory: &Path, now: Timestamp, fleets: Arc<Fleets>) -> Result<Self, OpenError> {
        let (routes, artifacts) = (RoutesFile::open(data_directory)?, Artifacts::open(data_directory, now)?);
        let artifacts = Arc::new(artifacts);
        Ok(Self { routes, artifacts, data_directory: data_directory.to_owned(), fleets })
    }

    /// The same as a gateway asks for them, whenever a document is published.
    #[must_use]
    pub fn endpoints(self) -> Endpoints {
        let current = self.routes.current();
        let fleets = self.fleets.clone();
        Endpoints::new(move |in_force| Ok(self.next(in_force)?)).watching(current).with_fleets(fleets)
    }

    /// The document in force as endpoints, all of them. One that cannot be used changes nothing for a gateway that serves.
    /// For one that does not, the document before it is better, then those of its endpoints that can be served, then
    /// nothing, which is told with a 503: a gateway that ends would serve nobody.
    fn next(&self, in_force: &Snapshot) -> Result<Supply, RoutedError> {
        let error = match self.current(in_force) {
            Ok(snapshot) => return Ok(snapshot.into()),
            Err(error) if in_force.origin().is_some() => return Err(error),
            Err(error) => anyhow::Error::from(error),
        };
        let previous = self.routes.read_previous().ok().flatten();
        let previous = previous.and_then(|document| self.snapshot(&document, in_force).ok());
        let part = || Some(self.part(&self.routes.read().ok()??, in_force));
        let snapshot = previous.or_else(part).unwrap_or_default();
        Ok(Supply { snapshot, refused: Some(Refused::from(&error)) })
    }

    fn current(&self, in_force: &Snapshot) -> Result<Snapshot, RoutedError> {
        let Some(document) = self.routes.read()? else {
            let is_first = in_force.origin().is_none() && matches!(self.routes.read_previous(), Ok(None));
            return if is_first { Ok(Snapshot::default()) } else { Err(RoutedError::Gone) };
        };
        match in_force.origin() {
            Some(origin) if origin.epoch > document.epoch() => {
                Err(RoutedError::Superseded { epoch: document.epoch(), in_force: origin.epoch })
            }
            _ => self.snapshot(&document, in_force),
        }
    }

    /// All endpoints of `document`.
    fn snapshot(&self, document: &RouteDocument, in_force: &Snapshot) -> Result<Snapshot, RoutedError> {
        let mut endpoints = Vec::with_capacity(document.endpoints().len());
        for routed in document.endpoints() {
            let endpoint = self.endpoint(routed, &endpoints, in_force);
            let named = |problem| {
                let (epoch, endpoint) = (document.epoch(), routed.name.clone());
                RoutedError::Endpoint { epoch, endpoint, source: problem }
            };
            endpoints.push(endpoint.map_err(named)?);
        }
        Ok(Snapshot::routed(endpoints, document.default_endpoint(), Vec::new(), origin(document)))
    }

    /// Those endpoints of `document` that can be served.
    fn part(&self, document: &RouteDocument, in_force: &Snapshot) -> Snapshot {
        let (mut endpoints, mut unserved) = (Vec::new(), Vec::new());
        for routed in document.endpoints() {
            match self.endpoint(routed, &endpoints, in_force) {
                Ok(endpoint) => endpoints.push(endpoint),
                Err(_) => unserved.push(routed.name.clone()),
            }
        }
        Snapshot::routed(endpoints, document.default_endpoint(), unserved, origin(document))
    }

    /// An endpoint, whose models are taken from those beside it or in force when they are there.
    fn endpoint(
        &self,
        routed: &RoutedEndpoint,
        beside: &[Endpoint],
        in_force: &Snapshot,
    ) -> Result<Endpoint, UnusableEndpoint> {
        let mut variants = Vec::with_capacity(routed.variants.len());
        for variant in &routed.variants {
            let loaded = beside.iter().flat_map(Endpoint::variants).chain(in_force.variants());
            let model =
                match find(loaded, &variant.model, parks(variant)) {
                    Some(model) => model,
                    None => Arc::new(self.load(variant).map_err(|source| UnusableEndpoint::Model {
                        version: variant.model.number,
                        source,
                    })?),
                };
            let fleet = variant.serving.as_ref().filter(|serving| serving.is_apart());
            let fleet = fleet.map(|serving| self.fleet(&routed.name, &variant.model, &model, serving));
            let fleet = fleet
                .transpose()
                .map_err(|source| UnusableEndpoint::Replicas { version: variant.model.number, source })?;
            let served = Variant::new(&variant.name, variant.weight, model);
            variants.push(served.drilled(variant.faults.clone()).answered_by(fleet));
        }
        let endpoint = Endpoint::new(&routed.name, variants, routed.sticky_header.as_deref())?;
        Ok(endpoint.in_rollout(routed.rollout.clone()))
    }

    /// The replicas that answer for a version at an endpoint: those there are, or new ones that begin to start.
    fn fleet(
        &self,
        endpoint: &str,
        reference: &ModelRef,
        model: &ServedModel,
        serving: &RoutedServing,
    ) -> Result<FleetRef, NoReplicas> {
        let RoutedServing { replicas, program, code, files } = serving;
        let (runtime, what) = self.fleets.runtime(program.as_ref(), replicas.runtime);
        let places = (replicas.memory_limit_bytes, replicas.cpus, &replicas.gpus, replicas.runtime);
        let key = FleetKey {
            endpoint: endpoint.to_owned(),
            content: reference.bundle.clone(),
            // Numbers and texts always serialise.
            program: serde_json::to_string(&(places, program, code)).unwrap_or_default(),
        };
        let folder = match files {
            Some(files) => self.tree_folder("replicas/files", files)?,
            None => self.model_folder(reference)?,
        };
        let directory = code.as_ref().map(|code| self.tree_folder("replicas/code", code)).transpose()?;
        let plan = || {
            let labels = [("endpoint", endpoint), ("content", &key.content), ("program", &key.program)];
            let spec = ReplicaSpec {
                name: format!("{endpoint}-v{}", reference.number).to_ascii_lowercase(),
                owner: owner_of(&self.data_directory),
                labels: labels.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
                program: what,
                model: folder,
                directory,
                scratch: self.fleets.options().scratch.clone(),
                environment: program
                    .iter()
                    .flat_map(|program| &program.environment)
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .collect(),
                limits: ReplicaLimits {
                    memory_bytes: replicas.memory_limit_bytes,
                    processes: program.as_ref().map_or(64, |program| program.processes),
                    open_files: 4_096,
                    cpus: replicas.cpus,
                },
            };
            let dialect = if program.is_some() { wire::Dialect::SageMaker } else { wire::Dialect::Serin };
            FleetPlan {
                endpoint: endpoint.to_owned(),
                version: reference.number.to_string(),
                settings: replicas.clone(),
                dialect,
                runtime,
                spec,
                classes: model.class_names().to_vec(),
                width: model.guard().names().len(),
                golden: model.golden().clone(),
            }
        };
        Ok(self.fleets.ensure(&key, plan, replicas))
    }

    /// The folder with the files of a version that its replicas see.
    fn model_folder(&self, reference: &ModelRef) -> Result<PathBuf, NoReplicas> {
        let name = reference.bundle.get(..16).unwrap_or(&reference.bundle);
        let folder = self.data_directory.join("replicas/models").join(name);
        let path = folder.join("model.serin");
        if !path.exists() {
            std::fs::create_dir_all(&folder)?;
            self.artifacts.copy_to(&reference.artifact, &path)?;
        }
        // What runs elsewhere, or with another name, has its own working directory.
        Ok(std::path::absolute(folder)?)
    }

    /// The folder below `place` with the files of a tree.
    fn tree_folder(&self, place: &str, tree: &Digest) -> Result<PathBuf, NoReplicas> {
        let folder = self.data_directory.join(place).join(tree.short());
        if !folder.exists() {
            let tree = Tree::load(tree, &self.artifacts).map_err(std::io::Error::other)?;
            // Whole or not at all, whenever this ends.
            let draft = folder.with_extension("draft");
            let _ = std::fs::remove_dir_all(&draft);
            materialise(&tree, &self.artifacts, &draft).map_err(std::io::Error::other)?;
            std::fs::rename(&draft, &folder)?;
        }
        Ok(std::path::absolute(folder)?)
    }

    /// The model itself: its bytes are those that were registered, and its golden rows give the answers they gave then.
    fn load(&self, variant: &RoutedVariant) -> Result<ServedModel, UnusableModel> {
        let reference = &variant.model;
        let model = served_model(read(&self.artifacts, reference)?).registered(reference.clone());
        let Some(idle) = parks(variant) else { return Ok(model) };
        let (artifacts, reference) = (self.artifacts.clone(), reference.clone());
        let load = move || Ok(served_model(read(&artifacts, &reference)?).into_classifier());
        Ok(model.parked(Box::new(load), idle, self.fleets.clock().clone()))
    }
}

impl RoutedError {
    /// Of the document that is refused, when it could be read.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        match self {
            Self::Superseded { epoch, .. } | Self::Endpoint { epoch, .. } => Some(*epoch),
            Self::Routes(_) | Self::Gone => None,
        }
    }
}

impl From<&anyhow::Error> for Refused {
    /// Any error of endpoints; of route documents it knows the epoch.
    fn from(error: &anyhow::Error) -> Self {
        let unready = || error.downcast_ref::<Unready>().and_then(|unready| unready.epoch);
        let epoch = error.downcast_ref().and_then(RoutedError::epoch).or_else(unready);
        Self { epoch, reason: format!("{error:#}") }
    }
}

fn origin(document: &RouteDocument) -> Origin {
    Origin { epoch: document.epoch(), document: document.digest() }
}

/// The bundle that was registered.
fn read(artifacts: &Artifacts, reference: &ModelRef) -> Result<Bundle, UnusableModel> {
    let bundle = Bundle::decode(&artifacts.read(&reference.artifact, BUNDLE_LIMIT_BYTES)?)?;
    match bundle.digest() == reference.bundle {
        true => Ok(bundle),
        false => Err(UnusableModel::Other { found: bundle.digest().to_owned() }),
    }
}

/// How long nobody asks before a version's model leaves the memory; `None`: it stays.
fn parks(variant: &RoutedVariant) -> Option<Duration> {
    let serving = variant.serving.as_ref().filter(|serving| !serving.is_apart())?;
    (serving.replicas.scaling.min == 0).then_some(serving.replicas.scaling.scale_in_cooldown)
}

/// The model of a version that is served already: it need not be read and judged again.
fn find<'a>(
    mut variants: impl Iterator<Item = &'a Variant>,
    wanted: &ModelRef,
    parks: Option<Duration>,
) -> Option<Arc<ServedModel>> {
    let is_it = |model: &ServedModel| {
        model.reference() == Some(wanted) && model.parking().map(|parked| parked.idle()) == parks
    };
    variants.find(|variant| is_it(&variant.model)).map(|variant| variant.model.clone())
}
