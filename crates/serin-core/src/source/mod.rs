//! Where a run's inputs come from: a folder, a commit, or an uploaded archive. Each becomes files in
//! [`Artifacts`](crate::artifacts::Artifacts) and a list of them, so that what a run read can be read again.

pub mod git;
mod tree;
pub mod upload;

pub use self::tree::{
    NamedFile, PassedOver, PassedOverReason, Snapshot, Tree, TreeError, TreeFile, TreeLimits, materialise,
    snapshot,
};
