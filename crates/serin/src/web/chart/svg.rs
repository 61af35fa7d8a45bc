//! A drawing under construction: shapes in, SVG text out. Everything that is text is escaped here and nowhere else.
//!
//! Colours are classes, so that the page's style sheet decides them for light, dark and print.

use std::fmt::Write as _;

use super::text;

/// Lengths are CSS pixels at natural size; y grows downwards.
#[derive(Debug, Clone)]
pub struct Svg {
    pub width: f64,
    pub height: f64,
    body: String,
}

/// In characters.
const LONGEST_TOOLTIP: usize = 400;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    pub fn new(width: f64, height: f64) -> Self {
        Self { width, height, body: String::new() }
    }

    /// Text on a baseline at y. Shortened with an ellipsis to `room`; the whole text is then the tooltip.
    pub fn text(
        &mut self,
        (x, y): (f64, f64),
        anchor: Anchor,
        class: &str,
        size: f64,
        content: &str,
        room: f64,
    ) {
        let shown = text::shorten(content, size, room);
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => r#" text-anchor="middle""#,
            Anchor::End => r#" text-anchor="end""#,
        };
        let (x, y) = (short(x), short(y));
        let _ = write!(self.body, r#"<text x="{x}" y="{y}" class="{class}" font-size="{size}"{anchor}>"#);
        text::escape_into(&mut self.body, &shown);
        if shown != content {
            self.body.push_str("<title>");
            text::escape_into(&mut self.body, &text::first(content, LONGEST_TOOLTIP));
            self.body.push_str("</title>");
        }
        self.body.push_str("</text>");
    }

    /// Text that reads upwards, with its end (below an edge) or its start (above one) at the point.
    pub fn text_upwards(
        &mut self,
        (x, y): (f64, f64),
        anchor: Anchor,
        class: &str,
        size: f64,
        content: &str,
        room: f64,
    ) {
        let (x, y) = (short(x), short(y));
        let _ = write!(self.body, r#"<g transform="translate({x} {y}) rotate(-90)">"#);
        self.text((0.0, 0.0), anchor, class, size, content, room);
        self.body.push_str("</g>");
    }

    pub fn rectangle(&mut self, (x, y): (f64, f64), width: f64, height: f64, class: &str) {
        self.rectangle_with_opacity((x, y), width, height, class, 1.0);
    }

    pub fn rectangle_with_opacity(
        &mut self,
        (x, y): (f64, f64),
        width: f64,
        height: f64,
        class: &str,
        opacity: f64,
    ) {
        let (x, y, width, height) = (short(x), short(y), short(width.max(0.0)), short(height.max(0.0)));
        let _ =
            write!(self.body, r#"<rect x="{x}" y="{y}" width="{width}" height="{height}" class="{class}""#);
        if opacity < 1.0 {
            let _ = write!(self.body, r#" fill-opacity="{}""#, short(opacity.max(0.0)));
        }
        self.body.push_str("/>");
    }

    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        let (x1, y1, x2, y2) = (short(from.0), short(from.1), short(to.0), short(to.1));
        let _ = write!(self.body, r#"<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" class="{class}"/>"#);
    }

    pub fn circle(&mut self, (x, y): (f64, f64), radius: f64, class: &str) {
        let (x, y, radius) = (short(x), short(y), short(radius));
        let _ = write!(self.body, r#"<circle cx="{x}" cy="{y}" r="{radius}" class="{class}"/>"#);
    }

    /// An open line through the points.
    pub fn polyline(&mut self, points: &[(f64, f64)], class: &str) {
        let _ = write!(self.body, r#"<polyline class="{class}" points=""#);
        for (position, &(x, y)) in points.iter().enumerate() {
            let space = if position == 0 { "" } else { " " };
            let _ = write!(self.body, "{space}{},{}", short(x), short(y));
        }
        self.body.push_str("\"/>");
    }

    /// A filled area through the points.
    pub fn polygon(&mut self, points: &[(f64, f64)], class: &str) {
        let _ = write!(self.body, r#"<polygon class="{class}" points=""#);
        for (position, &(x, y)) in points.iter().enumerate() {
            let space = if position == 0 { "" } else { " " };
            let _ = write!(self.body, "{space}{},{}", short(x), short(y));
        }
        self.body.push_str("\"/>");
    }

    /// Many equal squares as one shape, which is a tenth of the bytes of as many rectangles.
    pub fn squares(&mut self, corners: &[(f64, f64)], side: f64, class: &str, opacity: f64) {
        if corners.is_empty() {
            return;
        }
        let side = short(side);
        let _ = write!(self.body, r#"<path class="{class}" fill-opacity="{}" d=""#, short(opacity));
        for &(x, y) in corners {
            let _ = write!(self.body, "M{} {}h{side}v{side}h-{side}z", short(x), short(y));
        }
        self.body.push_str("\"/>");
    }

    /// What is drawn inside has this tooltip.
    pub fn group(&mut self, tooltip: &str, draw: impl FnOnce(&mut Self)) {
        self.body.push_str("<g><title>");
        text::escape_into(&mut self.body, &text::first(tooltip, LONGEST_TOOLTIP));
        self.body.push_str("</title>");
        draw(self);
        self.body.push_str("</g>");
    }

    /// The finished element. `id` must be unique on the page; title and description are what a screen reader says.
    pub fn finish(self, id: &str, title: &str, description: &str) -> String {
        let (width, height) = (short(self.width), short(self.height));
        let mut out = String::with_capacity(self.body.len() + description.len() + 400);
        let _ = write!(
            out,
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-labelledby="{id}-title {id}-description"><title id="{id}-title">"#
        );
        text::escape_into(&mut out, title);
        let _ = write!(out, r#"</title><desc id="{id}-description">"#);
        text::escape_into(&mut out, description);
        out.push_str("</desc>");
        out.push_str(&self.body);
        out.push_str("</svg>");
        out
    }
}

/// A coordinate with at most two decimals; what is not finite is drawn at 0 and never breaks the drawing.
fn short(value: f64) -> f64 {
    if !value.is_finite() {
        return 0.0;
    }
    let rounded = (value * 100.0).round() / 100.0;
    // No negative zero in the output.
    if rounded == 0.0 { 0.0 } else { rounded }
}
