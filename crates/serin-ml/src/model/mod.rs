//! The model bundle: one file, one digest, everything that belongs to a trained classifier.

mod apart;
mod bundle;
mod container;
mod foreign;
mod golden;

pub use apart::Apart;
pub use bundle::{BUNDLE_LIMIT_BYTES, Bundle, BundleError, Card, Contents, Lineage, Note};
pub use container::{ContainerError, FORMAT};
pub use foreign::{FromForeignError, GoldenRows, Imported};
pub use golden::{GOLDEN_TOLERANCE, Golden, GoldenError, GoldenRow};
