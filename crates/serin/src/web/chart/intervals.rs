//! Points with intervals on a common axis, one row each: a leaderboard, or a list of metrics.

use super::{COMPACT_BELOW, Tone, scale, scale::Scale, svg::Anchor, svg::Svg, text};

#[derive(Debug, Clone, Default)]
pub struct Intervals {
    pub rows: Vec<IntervalRow>,
    /// Ends of the axis; values beyond are drawn as an arrow at the edge.
    pub domain: (f64, f64),
}

#[derive(Debug, Clone, Default)]
pub struct IntervalRow {
    pub label: String,
    /// Beside the label, in grey.
    pub note: String,
    pub value: Option<f64>,
    pub interval: Option<(f64, f64)>,
    /// A second, hollow mark: the same quantity of something to compare with.
    pub reference: Option<f64>,
    /// Written at the right edge.
    pub text: String,
    pub tone: Tone,
    /// Set in bold, with a wash behind it.
    pub chosen: bool,
}

const ROW: f64 = 24.0;
const LABEL_ROW: f64 = 17.0;
const TEXT: f64 = 12.0;
const TOP: f64 = 8.0;
const AXIS: f64 = 26.0;

impl Intervals {
    pub fn draw(&self, width: f64) -> Svg {
        let is_compact = width < COMPACT_BELOW;
        let row_height = if is_compact { ROW + LABEL_ROW } else { ROW };
        let text_width = self.rows.iter().map(|row| text::width(&row.text, TEXT)).fold(0.0, f64::max) + 12.0;
        let label_width = if is_compact { 0.0 } else { self.label_width(width) };
        let left = label_width + 8.0;
        let right = (width - text_width - 8.0).max(left + 40.0);
        let bottom = TOP + row_height * self.rows.len() as f64;
        let axis = Scale::new(self.domain, (left, right));
        let mut svg = Svg::new(width, bottom + AXIS);

        self.draw_washes(&mut svg, row_height);
        self.draw_axis(&mut svg, &axis, (left, right), bottom);
        for (position, row) in self.rows.iter().enumerate() {
            let y = TOP + row_height * position as f64;
            row.draw_label(&mut svg, y, if is_compact { width } else { label_width }, is_compact);
            let middle = y + row_height - ROW / 2.0;
            row.draw_mark(&mut svg, &axis, middle, (left, right));
            let class = if row.chosen { "c-number c-strong" } else { "c-number" };
            svg.text((width - 2.0, middle + 4.0), Anchor::End, class, TEXT, &row.text, text_width);
        }
        svg
    }

    fn draw_washes(&self, svg: &mut Svg, row_height: f64) {
        for (position, row) in self.rows.iter().enumerate() {
            if row.chosen {
                svg.rectangle((0.0, TOP + row_height * position as f64), svg.width, row_height, "c-wash");
            }
        }
    }

    fn draw_axis(&self, svg: &mut Svg, axis: &Scale, (left, right): (f64, f64), bottom: f64) {
        let (marks, decimals) = scale::ticks(self.domain, if right - left < 320.0 { 4 } else { 6 });
        for mark in marks {
            let x = axis.at(mark);
            svg.line((x, TOP), (x, bottom + 4.0), "c-grid");
            svg.text(
                (x, bottom + 17.0),
                Anchor::Middle,
                "c-muted",
                11.0,
                &format!("{mark:.decimals$}"),
                60.0,
            );
        }
    }

    fn label_width(&self, width: f64) -> f64 {
        let longest = self.rows.iter().map(IntervalRow::full_label_width).fold(0.0, f64::max);
        (longest + 12.0).clamp(60.0, width * 0.5)
    }
}

impl IntervalRow {
    fn full_label_width(&self) -> f64 {
        text::width(&self.label, TEXT) * 1.06 + text::width(&self.note, TEXT) + 10.0
    }

    fn draw_label(&self, svg: &mut Svg, y: f64, room: f64, is_compact: bool) {
        let baseline = if is_compact { y + 15.0 } else { y + ROW / 2.0 + 4.0 };
        let class = match (self.chosen, self.tone) {
            (true, _) => "c-text c-strong",
            (false, Tone::Faint) => "c-muted",
            (false, _) => "c-text",
        };
        let start = if is_compact { 2.0 } else { 6.0 };
        // The label may take the whole room; the note takes what is left and disappears before the label does.
        let label_room = room - start - 4.0;
        svg.text((start, baseline), Anchor::Start, class, TEXT, &self.label, label_room);
        let used = (text::width(&self.label, TEXT) * 1.06 + 8.0).min(label_room);
        let note_room = label_room - used;
        if !self.note.is_empty() && note_room > 40.0 {
            svg.text((start + used, baseline), Anchor::Start, "c-muted", TEXT, &self.note, note_room);
        }
    }

    fn draw_mark(&self, svg: &mut Svg, axis: &Scale, y: f64, (left, right): (f64, f64)) {
        if let Some(reference) = self.reference.filter(|value| value.is_finite()) {
            svg.circle((axis.at(reference), y), 4.0, "c-hollow");
        }
        let Some(value) = self.value.filter(|value| value.is_finite()) else { return };
        if !axis.contains(value) {
            let (edge, inner) =
                if axis.at(value) <= left { (left, left + 8.0) } else { (right, right - 8.0) };
            svg.polygon(&[(edge, y), (inner, y - 4.5), (inner, y + 4.5)], self.tone.fill());
            return;
        }
        if let Some((low, high)) = self.interval {
            svg.line((axis.at(low), y), (axis.at(high), y), self.tone.stroke());
        }
        svg.circle((axis.at(value), y), if self.chosen { 5.0 } else { 4.0 }, self.tone.fill());
    }
}
