//! Horizontal bars in one or more columns that share their labels, and one stacked bar.

use super::{COMPACT_BELOW, Tone, svg::Anchor, svg::Svg, text};

/// Bars of one or more quantities for the same things, each with its value written at its end.
#[derive(Debug, Clone, Default)]
pub struct Bars {
    pub labels: Vec<String>,
    pub columns: Vec<BarColumn>,
}

#[derive(Debug, Clone, Default)]
pub struct BarColumn {
    /// Empty when there is only one column and the figure's title says what it shows.
    pub title: String,
    /// The value of a full bar; 0 or less means the largest value.
    pub full: f64,
    /// One a label.
    pub bars: Vec<Bar>,
}

#[derive(Debug, Clone, Default)]
pub struct Bar {
    /// Values that are missing or below 0 have no bar, only their text.
    pub value: Option<f64>,
    pub interval: Option<(f64, f64)>,
    pub text: String,
    pub tone: Tone,
}

const ROW: f64 = 22.0;
const LABEL_ROW: f64 = 17.0;
const BAR: f64 = 12.0;
const TEXT: f64 = 12.0;
const GAP: f64 = 18.0;

impl Bars {
    pub fn draw(&self, width: f64) -> Svg {
        let is_compact = width < COMPACT_BELOW;
        let n_columns = self.columns.len().max(1) as f64;
        let label_width = if is_compact { 0.0 } else { self.label_width(width) };
        let row_height = if is_compact { ROW + LABEL_ROW } else { ROW };
        let has_titles = self.columns.iter().any(|column| !column.title.is_empty());
        let top = if has_titles { 24.0 } else { 4.0 };
        let column_width = (width - label_width - GAP * (n_columns - 1.0)) / n_columns;
        let mut svg = Svg::new(width, top + row_height * self.labels.len() as f64 + 4.0);

        for (row, label) in self.labels.iter().enumerate() {
            let y = top + row_height * row as f64;
            if is_compact {
                svg.text((0.0, y + 13.0), Anchor::Start, "c-text", TEXT, label, width);
            } else {
                svg.text(
                    (label_width - 10.0, y + 15.5),
                    Anchor::End,
                    "c-text",
                    TEXT,
                    label,
                    label_width - 12.0,
                );
            }
        }
        for (position, column) in self.columns.iter().enumerate() {
            let x = label_width + (column_width + GAP) * position as f64;
            if has_titles {
                svg.text((x, 13.0), Anchor::Start, "c-heading", TEXT, &column.title, column_width);
            }
            let below_label = if is_compact { LABEL_ROW } else { 0.0 };
            column.draw(&mut svg, (x, top + below_label), column_width, row_height, self.labels.len());
        }
        svg
    }

    fn label_width(&self, width: f64) -> f64 {
        let longest = self.labels.iter().map(|label| text::width(label, TEXT)).fold(0.0, f64::max);
        (longest + 14.0).clamp(40.0, width * 0.36)
    }
}

impl BarColumn {
    fn draw(&self, svg: &mut Svg, (x, top): (f64, f64), width: f64, row_height: f64, n_rows: usize) {
        let text_width = self.bars.iter().map(|bar| text::width(&bar.text, TEXT)).fold(0.0, f64::max) + 6.0;
        let room = (width - text_width).max(20.0);
        let full = if self.full > 0.0 { self.full } else { self.largest() };
        let pixels = |value: f64| if full > 0.0 { (value / full).clamp(0.0, 1.0) * room } else { 0.0 };
        let bottom = top + row_height * n_rows.saturating_sub(1) as f64 + ROW;
        svg.line((x, top), (x, bottom), "c-axis");
        for (row, bar) in self.bars.iter().enumerate().take(n_rows) {
            let y = top + row_height * row as f64;
            let middle = y + ROW / 2.0;
            let value = bar.value.filter(|value| value.is_finite());
            let mut end = x + value.map_or(0.0, &pixels);
            // Paler under a whisker, which would not be seen on the full colour.
            let opacity = if bar.interval.is_some() { 0.65 } else { 1.0 };
            svg.rectangle_with_opacity((x, middle - BAR / 2.0), end - x, BAR, bar.tone.fill(), opacity);
            if let (Some(_), Some((low, high))) = (value, bar.interval) {
                svg.line((x + pixels(low), middle), (x + pixels(high), middle), "c-whisker");
                end = end.max(x + pixels(high));
            }
            svg.text((end + 5.0, middle + 4.0), Anchor::Start, "c-number", TEXT, &bar.text, text_width + 8.0);
        }
    }

    fn largest(&self) -> f64 {
        let ends = self.bars.iter().flat_map(|bar| [bar.value, bar.interval.map(|(_, high)| high)]);
        ends.flatten().filter(|value| value.is_finite()).fold(0.0, f64::max)
    }
}

/// One bar cut into parts, each labelled where there is room.
#[derive(Debug, Clone, Default)]
pub struct Stack {
    pub parts: Vec<StackPart>,
}

#[derive(Debug, Clone, Default)]
pub struct StackPart {
    pub label: String,
    pub text: String,
    pub value: f64,
}

impl Stack {
    pub fn draw(&self, width: f64) -> Svg {
        let height = 30.0;
        let mut svg = Svg::new(width, height + 40.0);
        let total: f64 = self.parts.iter().map(|part| positive(part.value)).sum();
        let mut x = 0.0;
        for (position, part) in self.parts.iter().enumerate() {
            let part_width = if total > 0.0 { positive(part.value) / total * width } else { 0.0 };
            // Neighbours differ in shade; the label, not the shade, says which part it is.
            let opacity = if position % 2 == 0 { 1.0 } else { 0.6 };
            svg.group(&format!("{}: {}", part.label, part.text), |svg| {
                svg.rectangle_with_opacity(
                    (x, 0.0),
                    (part_width - 1.0).max(0.5),
                    height,
                    "c-accent",
                    opacity,
                );
                let label_fits = text::width(&part.label, TEXT) <= part_width - 8.0;
                let text_fits = text::width(&part.text, TEXT) <= part_width - 8.0;
                if label_fits && text_fits {
                    svg.text((x, height + 16.0), Anchor::Start, "c-text", TEXT, &part.label, part_width);
                    svg.text((x, height + 32.0), Anchor::Start, "c-number", TEXT, &part.text, part_width);
                }
            });
            x += part_width;
        }
        svg
    }
}

fn positive(value: f64) -> f64 {
    if value.is_finite() { value.max(0.0) } else { 0.0 }
}
