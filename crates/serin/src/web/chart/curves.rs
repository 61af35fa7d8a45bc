//! Lines in a frame: small multiples of class curves, a reliability diagram, a learning curve.

use super::{Tone, scale, scale::Scale, svg::Anchor, svg::Svg};

const TEXT: f64 = 12.0;
const SMALL: f64 = 11.0;

/// Curves are thinned to about this many points: more cannot be seen and only make the file large.
const MAX_POINTS: usize = 160;

/// One small square per class, the class's own curve before all the others in grey. Both axes run from 0 to 1.
#[derive(Debug, Clone, Default)]
pub struct Panels {
    pub panels: Vec<Panel>,
    pub x_title: String,
    pub y_title: String,
    /// Curves drawn faintly in every panel.
    pub backdrop: Vec<Vec<(f64, f64)>>,
}

#[derive(Debug, Clone, Default)]
pub struct Panel {
    pub title: String,
    pub note: String,
    pub curve: Vec<(f64, f64)>,
    /// What chance would give: a line between two points.
    pub chance: Option<((f64, f64), (f64, f64))>,
}

impl Panels {
    pub fn draw(&self, width: f64) -> Svg {
        let n = self.panels.len().max(1);
        let per_row = ((width / 150.0).floor() as usize).clamp(1, 6).min(n);
        // Few panels must not become huge.
        let pitch = (width / per_row as f64).min(230.0);
        let (left, top, gap) = (24.0, 38.0, 14.0);
        let side = pitch - left - gap;
        let height = top + side + 34.0;
        let n_rows = n.div_ceil(per_row);
        let mut svg = Svg::new(width, height * n_rows as f64 + 2.0);
        let backdrop: Vec<Vec<(f64, f64)>> = self.backdrop.iter().map(|curve| thin(curve, 60)).collect();
        for (position, panel) in self.panels.iter().enumerate() {
            let column = position % per_row;
            let corner = (pitch * column as f64, height * (position / per_row) as f64);
            svg.text(
                (corner.0 + left, corner.1 + 13.0),
                Anchor::Start,
                "c-heading",
                TEXT,
                &panel.title,
                side,
            );
            svg.text((corner.0 + left, corner.1 + 28.0), Anchor::Start, "c-number", TEXT, &panel.note, side);
            let frame = Frame::new((corner.0 + left, corner.1 + top), side, side, (0.0, 1.0), (0.0, 1.0));
            frame.draw_box(&mut svg);
            frame.draw_unit_axes(&mut svg, &self.x_title, (column == 0).then_some(self.y_title.as_str()));
            for curve in &backdrop {
                svg.polyline(&frame.points(curve), "c-backdrop");
            }
            if let Some((from, to)) = panel.chance {
                svg.line(frame.point(from), frame.point(to), "c-chance");
            }
            svg.polyline(&frame.points(&thin(&panel.curve, MAX_POINTS)), "c-curve");
        }
        svg
    }
}

/// How often predictions of a given confidence were right, with how many there were below.
#[derive(Debug, Clone, Default)]
pub struct Reliability {
    pub points: Vec<ReliabilityPoint>,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct ReliabilityPoint {
    pub low: f64,
    pub high: f64,
    pub n_rows: u64,
    pub predicted: f64,
    pub observed: f64,
}

impl Reliability {
    pub fn draw(&self, width: f64) -> Svg {
        let left = 40.0;
        let side = (width - left - 14.0).min(340.0);
        let (top, strip_top, strip) = (20.0, 20.0 + side + 24.0, 52.0);
        let mut svg = Svg::new(width, strip_top + strip + 38.0);
        svg.text((0.0, 11.0), Anchor::Start, "c-muted", SMALL, "share that was right", width);

        let frame = Frame::new((left, top), side, side, (0.0, 1.0), (0.0, 1.0));
        frame.draw_grid(&mut svg, 5, false, |mark, decimals| format!("{mark:.decimals$}"));
        svg.line(frame.point((0.0, 0.0)), frame.point((1.0, 1.0)), "c-chance");
        let filled: Vec<&ReliabilityPoint> = self.points.iter().filter(|point| point.n_rows > 0).collect();
        let curve: Vec<(f64, f64)> = filled.iter().map(|point| (point.predicted, point.observed)).collect();
        svg.polyline(&frame.points(&curve), "c-curve");
        let most = filled.iter().map(|point| point.n_rows).max().unwrap_or(1).max(1) as f64;
        for point in &filled {
            // Area, not radius, stands for the number of rows; the smallest must still be seen.
            let radius = (7.0 * (point.n_rows as f64 / most).sqrt()).max(2.0);
            svg.circle(frame.point((point.predicted, point.observed)), radius, "c-accent");
        }

        let counts = Frame::new((left, strip_top), side, strip, (0.0, 1.0), (0.0, most));
        for point in &filled {
            let from = counts.point((point.low, point.n_rows as f64));
            let to = counts.point((point.high, 0.0));
            svg.rectangle(from, to.0 - from.0 - 1.0, (to.1 - from.1).max(1.0), "c-plain");
        }
        svg.line((left, strip_top + strip), (left + side, strip_top + strip), "c-axis");
        svg.text((left - 6.0, strip_top + 9.0), Anchor::End, "c-muted", SMALL, "rows", left);
        for mark in [0.0, 0.2, 0.4, 0.6, 0.8, 1.0] {
            let x = counts.point((mark, 0.0)).0;
            svg.text(
                (x, strip_top + strip + 15.0),
                Anchor::Middle,
                "c-muted",
                SMALL,
                &format!("{mark:.1}"),
                40.0,
            );
        }
        let below = (left + side, strip_top + strip + 32.0);
        svg.text(below, Anchor::End, "c-muted", SMALL, "probability of the most probable class →", side);
        svg
    }
}

/// Score by number of training rows, with a band where intervals are known.
#[derive(Debug, Clone, Default)]
pub struct LearningCurve {
    /// In ascending number of rows.
    pub points: Vec<LearningPoint>,
    pub score_title: String,
}

#[derive(Debug, Clone, Default)]
pub struct LearningPoint {
    pub n_rows: u64,
    pub rows_text: String,
    pub score: f64,
    pub score_text: String,
    pub interval: Option<(f64, f64)>,
    pub training_score: Option<f64>,
}

impl LearningCurve {
    pub fn draw(&self, width: f64) -> Svg {
        let (left, right, top) = (40.0, 14.0, 24.0);
        let height = (width * 0.6).clamp(200.0, 300.0);
        let mut svg = Svg::new(width, top + height + 42.0);
        let most = self.points.iter().map(|point| point.n_rows).max().unwrap_or(1).max(1) as f64;
        let frame =
            Frame::new((left, top), width - left - right, height, (0.0, most * 1.02), self.score_domain());
        svg.text((0.0, 11.0), Anchor::Start, "c-muted", SMALL, &self.score_title, width);
        frame.draw_grid(&mut svg, 4, true, |mark, decimals| format!("{mark:.decimals$}"));

        let banded: Vec<(f64, (f64, f64))> = self
            .points
            .iter()
            .filter_map(|point| point.interval.map(|interval| (point.n_rows as f64, interval)))
            .collect();
        let upper = banded.iter().map(|&(x, (_, high))| frame.point((x, high)));
        let lower = banded.iter().rev().map(|&(x, (low, _))| frame.point((x, low)));
        let outline: Vec<(f64, f64)> = upper.chain(lower).collect();
        if banded.len() > 1 {
            svg.polygon(&outline, "c-band");
        }
        let training: Vec<(f64, f64)> = self
            .points
            .iter()
            .filter_map(|point| point.training_score.map(|score| (point.n_rows as f64, score)))
            .collect();
        svg.polyline(&frame.points(&training), "c-plain-line");
        if let Some(&last) = training.last() {
            let (x, y) = frame.point(last);
            svg.text((x, y - 6.0), Anchor::End, "c-muted", SMALL, "on the rows it learnt from", width);
        }
        let curve: Vec<(f64, f64)> =
            self.points.iter().map(|point| (point.n_rows as f64, point.score)).collect();
        svg.polyline(&frame.points(&curve), "c-curve");
        self.draw_points(&mut svg, &frame);
        let below = (width - right, top + height + 36.0);
        svg.text(below, Anchor::End, "c-muted", SMALL, "training rows →", width);
        svg
    }

    fn draw_points(&self, svg: &mut Svg, frame: &Frame) {
        let mut last_label_end = f64::NEG_INFINITY;
        for (position, point) in self.points.iter().enumerate() {
            let (x, y) = frame.point((point.n_rows as f64, point.score));
            svg.circle((x, y), 3.5, Tone::Accent.fill());
            let is_last = position + 1 == self.points.len();
            if is_last {
                svg.text((x, y + 20.0), Anchor::End, "c-number c-strong", TEXT, &point.score_text, 80.0);
            }
            // Labels that would touch their left neighbour are left out; the last always has room kept for it.
            let room_kept = if is_last { 0.0 } else { 48.0 };
            let at_right_edge = x > frame.right() - room_kept;
            if x - 22.0 > last_label_end && (is_last || !at_right_edge) {
                svg.text(
                    (x, frame.bottom() + 16.0),
                    Anchor::Middle,
                    "c-muted",
                    SMALL,
                    &point.rows_text,
                    60.0,
                );
                last_label_end = x + 22.0;
            }
        }
    }

    fn score_domain(&self) -> (f64, f64) {
        let values = self.points.iter().flat_map(|point| {
            let (low, high) = point.interval.unwrap_or((point.score, point.score));
            [Some(point.score), Some(low), Some(high), point.training_score]
        });
        let (low, high) = values
            .flatten()
            .filter(|value| value.is_finite())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        if low > high {
            return (0.0, 1.0);
        }
        let margin = ((high - low) * 0.12).max(0.005);
        (low - margin, high + margin)
    }
}

/// A rectangle of pixels with a scale along each side.
struct Frame {
    corner: (f64, f64),
    width: f64,
    height: f64,
    y_domain: (f64, f64),
    x: Scale,
    y: Scale,
}

impl Frame {
    fn new(corner: (f64, f64), width: f64, height: f64, x_domain: (f64, f64), y_domain: (f64, f64)) -> Self {
        let x = Scale::new(x_domain, (corner.0, corner.0 + width));
        let y = Scale::new(y_domain, (corner.1 + height, corner.1));
        Self { corner, width, height, y_domain, x, y }
    }

    fn right(&self) -> f64 {
        self.corner.0 + self.width
    }

    fn bottom(&self) -> f64 {
        self.corner.1 + self.height
    }

    fn point(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (self.x.at(x), self.y.at(y))
    }

    fn points(&self, curve: &[(f64, f64)]) -> Vec<(f64, f64)> {
        curve.iter().filter(|(x, y)| x.is_finite() && y.is_finite()).map(|&point| self.point(point)).collect()
    }

    fn draw_box(&self, svg: &mut Svg) {
        svg.rectangle(self.corner, self.width, self.height, "c-frame");
    }

    fn draw_unit_axes(&self, svg: &mut Svg, x_title: &str, y_title: Option<&str>) {
        let (left, bottom) = (self.corner.0, self.bottom());
        svg.text((left, bottom + 14.0), Anchor::Start, "c-muted", 10.0, "0", 20.0);
        svg.text((self.right(), bottom + 14.0), Anchor::End, "c-muted", 10.0, "1", 20.0);
        let middle = left + self.width / 2.0;
        svg.text((middle, bottom + 14.0), Anchor::Middle, "c-muted", 10.0, x_title, self.width - 24.0);
        svg.text((left - 5.0, self.corner.1 + 8.0), Anchor::End, "c-muted", 10.0, "1", 20.0);
        svg.text((left - 5.0, bottom), Anchor::End, "c-muted", 10.0, "0", 20.0);
        if let Some(title) = y_title {
            // Anchored at its end so that it stays inside the frame's height.
            let end = (left - 7.0, self.corner.1 + 16.0);
            svg.text_upwards(end, Anchor::End, "c-muted", 10.0, title, self.height - 30.0);
        }
    }

    fn draw_grid(
        &self,
        svg: &mut Svg,
        n_marks: usize,
        with_axis: bool,
        write: impl Fn(f64, usize) -> String,
    ) {
        let (marks, decimals) = scale::ticks(self.y_domain, n_marks);
        for mark in marks {
            let y = self.y.at(mark);
            svg.line((self.corner.0, y), (self.right(), y), "c-grid");
            svg.text(
                (self.corner.0 - 6.0, y + 4.0),
                Anchor::End,
                "c-muted",
                SMALL,
                &write(mark, decimals),
                40.0,
            );
        }
        if with_axis {
            svg.line((self.corner.0, self.bottom()), (self.right(), self.bottom()), "c-axis");
        }
    }
}

/// Every k-th point and the last one, so that at most about `most` remain. The ends stay where they are.
fn thin(curve: &[(f64, f64)], most: usize) -> Vec<(f64, f64)> {
    let step = curve.len().div_ceil(most.max(2)).max(1);
    let mut kept: Vec<(f64, f64)> = curve.iter().copied().step_by(step).collect();
    if let Some(&last) = curve.last()
        && !(curve.len() - 1).is_multiple_of(step)
    {
        kept.push(last);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_both_ends() {
        let curve: Vec<(f64, f64)> = (0..1003).map(|n| (f64::from(n), 0.0)).collect();
        let kept = thin(&curve, 100);
        assert!(kept.len() <= 102, "{}", kept.len());
        assert_eq!((kept[0].0, kept[kept.len() - 1].0), (0.0, 1002.0));
        assert!(thin(&[], 100).is_empty());
        assert_eq!(thin(&curve[..3], 100), curve[..3]);
    }
}
