//! Charts drawn as SVG, without a script and without a library.
//!
//! Each chart is drawn twice, for a page and for a phone, because text in a scaled drawing would become too small
//! to read; the style sheet shows one of the two. Marks carry their labels, so there are no legends to look up.

mod bars;
mod curves;
mod intervals;
mod matrix;
mod scale;
mod svg;
mod text;

pub use bars::{Bar, BarColumn, Bars, Stack, StackPart};
pub use curves::{LearningCurve, LearningPoint, Panel, Panels, Reliability, ReliabilityPoint};
pub use intervals::{IntervalRow, Intervals};
pub use matrix::{Confusion, HeatMap};
pub use svg::Svg;

/// Natural widths in CSS pixels.
pub const PAGE_WIDTH: f64 = 880.0;
pub const HALF_PAGE_WIDTH: f64 = 424.0;
pub const PHONE_WIDTH: f64 = 350.0;

/// Narrower drawings put labels above their marks instead of beside them.
const COMPACT_BELOW: f64 = 420.0;

/// How much a mark stands out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tone {
    /// The accent colour: what the chart is about.
    Accent,
    #[default]
    Plain,
    /// Context only.
    Faint,
    /// Something to look at.
    Warning,
}

impl Tone {
    fn fill(self) -> &'static str {
        match self {
            Self::Accent => "c-accent",
            Self::Plain => "c-plain",
            Self::Faint => "c-faint",
            Self::Warning => "c-warning",
        }
    }

    fn stroke(self) -> &'static str {
        match self {
            Self::Accent => "c-accent-line",
            Self::Plain => "c-plain-line",
            Self::Faint => "c-faint-line",
            Self::Warning => "c-warning-line",
        }
    }
}

/// Both drawings of a chart as HTML. `id` must be unique on the page.
pub fn drawn(id: &str, title: &str, description: &str, page_width: f64, draw: impl Fn(f64) -> Svg) -> String {
    let page = draw(page_width).finish(id, title, description);
    let phone = draw(PHONE_WIDTH).finish(&format!("{id}-phone"), title, description);
    format!(r#"<div class="on-page">{page}</div><div class="on-phone">{phone}</div>"#)
}
