//! Endpoints as the route document of a data directory names them, each model read from its artifact.

use std::path::Path;
use std::sync::Arc;

use serin_core::artifacts::{ArtifactError, Artifacts};
use serin_core::clock::Timestamp;
use serin_core::domain::{Epoch, VersionNumber};
use serin_core::routes::{ModelRef, RouteDocument, RoutedEndpoint, RoutesError, RoutesFile};
use serin_ml::model::{BUNDLE_LIMIT_BYTES, Bundle, BundleError};
use thiserror::Error;

use super::endpoint::{Endpoint, InvalidEndpoint, Origin, Snapshot, Variant};
use super::judge::served_model;
use super::model::ServedModel;
use super::supply::{Endpoints, Refused, Supply};

/// The routes and artifacts of a data directory. Only files are asked: no engine and no store need be there.
#[derive(Debug)]
pub struct RoutedEndpoints {
    routes: RoutesFile,
    artifacts: Artifacts,
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

/// Why there are no routes to follow.
#[derive(Debug, Error)]
pub enum OpenError {
    #[error(transparent)]
    Routes(#[from] RoutesError),
    #[error(transparent)]
    Artifacts(#[from] ArtifactError),
}

impl RoutedEndpoints {
    /// The routes of `data_directory`.
    ///
    /// # Errors
    /// When its folders or its key cannot be used.
    pub fn open(data_directory: &Path, now: Timestamp) -> Result<Self, OpenError> {
        let (routes, artifacts) = (RoutesFile::open(data_directory)?, Artifacts::open(data_directory, now)?);
        Ok(Self { routes, artifacts })
    }

    /// The same as a gateway asks for them, whenever a document is published.
    #[must_use]
    pub fn endpoints(self) -> Endpoints {
        let current = self.routes.current();
        Endpoints::new(move |in_force| Ok(self.next(in_force)?)).watching(current)
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
                match find(loaded, &variant.model) {
                    Some(model) => model,
                    None => Arc::new(self.load(&variant.model).map_err(|source| {
                        UnusableEndpoint::Model { version: variant.model.number, source }
                    })?),
                };
            let served = Variant::new(&variant.name, variant.weight, model);
            variants.push(served.drilled(variant.faults.clone()));
        }
        let endpoint = Endpoint::new(&routed.name, variants, routed.sticky_header.as_deref())?;
        Ok(endpoint.in_rollout(routed.rollout.clone()))
    }

    /// The model itself: its bytes are those that were registered, and its golden rows give the answers they gave then.
    fn load(&self, reference: &ModelRef) -> Result<ServedModel, UnusableModel> {
        let bundle = Bundle::decode(&self.artifacts.read(&reference.artifact, BUNDLE_LIMIT_BYTES)?)?;
        if bundle.digest() != reference.bundle {
            return Err(UnusableModel::Other { found: bundle.digest().to_owned() });
        }
        Ok(served_model(bundle).registered(reference.clone()))
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
        let epoch = error.downcast_ref().and_then(RoutedError::epoch);
        Self { epoch, reason: format!("{error:#}") }
    }
}

fn origin(document: &RouteDocument) -> Origin {
    Origin { epoch: document.epoch(), document: document.digest() }
}

/// The model of a version that is served already: it need not be read and judged again.
fn find<'a>(mut variants: impl Iterator<Item = &'a Variant>, wanted: &ModelRef) -> Option<Arc<ServedModel>> {
    let found = variants.find(|variant| variant.model.reference() == Some(wanted));
    found.map(|variant| variant.model.clone())
}
