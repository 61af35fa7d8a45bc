//! How many replicas there are to be: pure rules, asked once a second.
//!
//! Two layers. The slow one is Application Auto Scaling's target tracking and step scaling as published: one-minute points,
//! an alarm of three above the target and one of fifteen below nine tenths of it, cooldowns. The fast one looks at requests in
//! flight over three seconds and only ever adds replicas. What could not be measured never makes replicas fewer.

pub mod compare;
mod decision;
mod fast;
mod page;
mod queue;
mod reading;
mod scaler;
mod settings;
pub mod simulate;
mod slow;
mod status;

pub use decision::{Asked, ScaleDecision, ScaleFacts, ScaleInputs, replay};

/// The rule of decisions about replicas, among all decisions that are kept.
pub const SCALE_RULE: &str = "scale";
pub use page::{
    COMMAND_SIGNATURE, FLEET_COMMANDS, FLEETS, FleetCommand, FleetPage, FleetsPage, NumberedDecision,
    ReplicaPage, ReplicaState,
};
pub use reading::Reading;
pub use scaler::Scaler;
pub use settings::{
    DEFAULT_COOLDOWN, Policy, ScaleMetric, ScaleStep, ScalingSettings, ScheduledBounds, StepSide,
    parse_target,
};
pub use slow::{HIGH_MINUTES, LOW_MINUTES, LOW_SHARE};
pub use status::{HoldStatus, MetricStatus, PolicyStatus, ScalerStatus};
