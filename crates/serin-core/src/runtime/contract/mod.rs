//! The SageMaker contract for containers, for jobs of any runtime: the tree that is `/opt/ml` there is laid out in a folder
//! of the job, whose path is in `SERIN_ML_ROOT`, and read again when the job has ended.

mod layout;
mod model;
mod processing;
mod training;

pub use layout::{Channel, ChannelFile, ContractError};
pub use model::{MODEL_LIMIT_BYTES, ModelError, ModelFormat, TrainedModel};
pub use processing::{Processed, ProcessedOutput, ProcessingJob};
pub use training::{Trained, TrainingJob};

/// The variable with the path of what is `/opt/ml` in a container.
pub const ROOT_VARIABLE: &str = "SERIN_ML_ROOT";
/// Where a container sees it.
pub const CONTAINER_ROOT: &str = "/opt/ml";
