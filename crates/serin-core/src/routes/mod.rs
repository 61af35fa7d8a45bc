//! Which model versions answer where: decided by the control plane, followed by gateways, also after it died.
//!
//! A [`RouteDocument`] names every endpoint with its variants. It is published whole and signed ([`RoutesFile`]), and
//! a gateway takes the whole of it or keeps what it has. The file is all that the two planes share, so a gateway that
//! is started anew while no engine, store or network is there serves what was published last.

mod document;
mod faults;
mod file;
mod key;

pub use document::{
    ENDPOINTS_LIMIT, InvalidRoutes, ModelRef, RouteDocument, RoutedEndpoint, RoutedRollout, RoutedServing,
    RoutedVariant, VARIANTS_LIMIT,
};
pub use faults::{Drift, Faults, LATENCY_LIMIT_MILLISECONDS};
pub use file::{FILE_LIMIT_BYTES, RoutesError, RoutesFile};
pub use key::KeyError;
