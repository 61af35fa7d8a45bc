//! Pages. Each is rendered from a typed view struct; the charts in them are drawn here, as SVG.

mod chart;
pub mod drift;
pub mod number;
pub mod report;
