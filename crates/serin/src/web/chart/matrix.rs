//! Two squares of numbers: who was taken for whom, and which columns move together.

use super::{COMPACT_BELOW, svg::Anchor, svg::Svg, text};

/// A confusion matrix: truth down, decision across. With many classes the cells lose their numbers, then the axes
/// their names; the table behind the figure has them.
#[derive(Debug, Clone, Default)]
pub struct Confusion {
    pub names: Vec<String>,
    /// `counts[truth][decision]`.
    pub counts: Vec<Vec<u64>>,
}

/// A correlation matrix as a lower triangle with the names along its edges.
#[derive(Debug, Clone, Default)]
pub struct HeatMap {
    pub names: Vec<String>,
    /// Square, -1 to 1; NaN is left blank.
    pub values: Vec<Vec<f64>>,
}

const TEXT: f64 = 12.0;

/// Opacity steps of the heat map: enough to read, few enough that equal cells share a shape.
const N_SHADES: usize = 10;

const MOST_ON_PHONE: usize = 30;

impl Confusion {
    pub fn draw(&self, width: f64) -> Svg {
        let n = self.names.len().max(1);
        let named = n <= 40;
        let longest = self.names.iter().map(|name| text::width(name, TEXT)).fold(0.0, f64::max);
        let name_size = if n <= 20 { TEXT } else { 9.0 };
        let edge = if named { (longest + 12.0).clamp(36.0, width * 0.26) } else { 8.0 };
        let left = edge + 20.0;
        let cell = ((width - left) / n as f64).min(72.0);
        let upright = n <= 8 && self.names.iter().all(|name| text::width(name, TEXT) <= cell - 6.0);
        let top = if upright { 44.0 } else { edge + 26.0 };
        let side = cell * n as f64;
        let mut svg = Svg::new(width, top + side + 4.0);

        svg.text((left, 12.0), Anchor::Start, "c-heading", TEXT, "decided →", width - left);
        svg.text((left - 10.0, top - 8.0), Anchor::End, "c-heading", TEXT, "truth ↓", edge);
        for (position, name) in self.names.iter().enumerate().filter(|_| named) {
            let middle = (position as f64 + 0.5) * cell;
            svg.text((left - 10.0, top + middle + 4.0), Anchor::End, "c-text", name_size, name, edge);
            if upright {
                svg.text((left + middle, top - 8.0), Anchor::Middle, "c-text", name_size, name, cell - 4.0);
            } else {
                svg.text_upwards(
                    (left + middle + 4.0, top - 8.0),
                    Anchor::Start,
                    "c-text",
                    name_size,
                    name,
                    edge,
                );
            }
        }
        for (row, counts) in self.counts.iter().enumerate().take(n) {
            let total: u64 = counts.iter().fold(0, |sum, &count| sum.saturating_add(count));
            for (column, &count) in counts.iter().enumerate().take(n) {
                let corner = (left + cell * column as f64, top + cell * row as f64);
                let share = if total > 0 { count as f64 / total as f64 } else { 0.0 };
                draw_cell(&mut svg, corner, cell, count, share, row == column);
            }
        }
        svg
    }
}

fn draw_cell(svg: &mut Svg, (x, y): (f64, f64), cell: f64, count: u64, share: f64, is_right: bool) {
    let class = if is_right { "c-accent" } else { "c-warning" };
    let gap = if cell > 20.0 { 2.0 } else { 0.5 };
    svg.rectangle((x, y), cell - gap, cell - gap, "c-cell");
    if count > 0 {
        // Even one row in ten thousand must be visible, hence the floor.
        svg.rectangle_with_opacity((x, y), cell - gap, cell - gap, class, 0.06 + 0.84 * share);
    }
    if cell < 26.0 || (count == 0 && cell < 40.0) {
        return;
    }
    let tone = match () {
        () if count == 0 => "c-muted",
        () if share > 0.55 => "c-on-fill",
        () => "c-text",
    };
    let middle = (x + (cell - gap) / 2.0, y + (cell - gap) / 2.0);
    if cell < 44.0 {
        let size = if cell < 32.0 { 9.0 } else { 11.0 };
        svg.text((middle.0, middle.1 + 4.0), Anchor::Middle, tone, size, &count.to_string(), cell);
        return;
    }
    svg.text((middle.0, middle.1 - 1.0), Anchor::Middle, tone, 13.0, &crate::web::number::count(count), cell);
    let share = if count == 0 { String::new() } else { crate::web::number::percent(share) };
    svg.text((middle.0, middle.1 + 14.0), Anchor::Middle, tone, 10.0, &share, cell);
}

impl HeatMap {
    pub fn draw(&self, width: f64) -> Svg {
        // On a phone sixty columns would have no room for names; the first ones are the most important.
        let most = if width < COMPACT_BELOW { MOST_ON_PHONE } else { usize::MAX };
        let n = self.names.len().min(most).max(1);
        let longest = self.names.iter().take(n).map(|name| text::width(name, 10.0)).fold(0.0, f64::max);
        let edge = (longest + 8.0).clamp(24.0, width * 0.2);
        let cell = ((width - edge) / n as f64).min(28.0);
        let size = (cell * 0.95).clamp(4.0, 11.0);
        let side = cell * n as f64;
        let is_named = size >= 6.0;
        let bottom = if is_named { edge } else { 6.0 };
        let mut svg = Svg::new(width, side + bottom + 8.0);

        let mut shades: Vec<Vec<(f64, f64)>> = vec![Vec::new(); 2 * (N_SHADES + 1)];
        for row in 0..n {
            for column in 0..=row {
                let value =
                    self.values.get(row).and_then(|values| values.get(column)).copied().unwrap_or(f64::NAN);
                if !value.is_finite() {
                    continue;
                }
                let shade = (value.abs().min(1.0) * N_SHADES as f64).round() as usize;
                let sign = usize::from(value < 0.0) * (N_SHADES + 1);
                shades[sign + shade].push((edge + cell * column as f64, cell * row as f64));
            }
        }
        for (position, corners) in shades.iter().enumerate() {
            let shade = position % (N_SHADES + 1);
            let class = if position > N_SHADES { "c-warning" } else { "c-accent" };
            let gap = if cell > 8.0 { 1.0 } else { 0.0 };
            svg.squares(corners, cell - gap, class, (0.04 + 0.96 * shade as f64 / N_SHADES as f64).min(1.0));
        }
        for (position, name) in self.names.iter().take(n).enumerate().filter(|_| is_named) {
            let middle = (position as f64 + 0.5) * cell + size * 0.36;
            svg.text((edge - 5.0, middle), Anchor::End, "c-text", size, name, edge - 6.0);
            svg.text_upwards((edge + middle, side + 5.0), Anchor::End, "c-text", size, name, edge - 6.0);
        }
        self.draw_key(&mut svg, edge + side);
        svg
    }

    /// The colour scale, in the empty upper half.
    fn draw_key(&self, svg: &mut Svg, right: f64) {
        let step = if right > 500.0 { 14.0 } else { 7.0 };
        let n_steps = 2 * N_SHADES + 1;
        let left = right - step * n_steps as f64;
        if left < svg.width * 0.35 {
            return;
        }
        for position in 0..n_steps {
            let value = position as f64 / N_SHADES as f64 - 1.0;
            let class = if value < 0.0 { "c-warning" } else { "c-accent" };
            let corner = (left + step * position as f64, 0.0);
            svg.rectangle_with_opacity(corner, step, 10.0, class, 0.04 + 0.96 * value.abs());
        }
        let middle = left + step * n_steps as f64 / 2.0;
        svg.text((left, 24.0), Anchor::Start, "c-muted", 11.0, "−1", 40.0);
        svg.text((middle, 24.0), Anchor::Middle, "c-muted", 11.0, "0", 40.0);
        svg.text((right, 24.0), Anchor::End, "c-muted", 11.0, "+1", 40.0);
    }
}
