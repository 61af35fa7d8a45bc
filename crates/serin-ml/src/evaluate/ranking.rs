//! Metrics of order: areas under one-vs-rest ROC and precision-recall curves, and the curves themselves.

use serde::{Deserialize, Serialize};

use crate::matrix::Matrix;

/// Points kept of a curve: more than a screen can show, few enough for a report.
pub(super) const MAXIMUM_CURVE_POINTS: usize = 200;

/// One point of a curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// False-positive rate (ROC) or recall (precision-recall).
    pub x: f64,
    /// True-positive rate (ROC) or precision (precision-recall).
    pub y: f64,
}

/// Rows in descending order of one score, with equal scores in one group.
#[derive(Debug, Clone)]
pub(super) struct Ranking {
    order: Vec<u32>,
    /// Where each group of equal scores ends (exclusive) in `order`.
    group_ends: Vec<u32>,
}

/// Both areas; `None` where a class of rows is missing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Areas {
    /// Area under the ROC curve; needs positives and negatives.
    pub roc: Option<f64>,
    /// Average precision; needs positives.
    pub precision: Option<f64>,
}

/// Area under the ROC curve of `scores` for the rows marked `positive`: the chance that a positive scores above a
/// negative, equal scores counting half (Mann and Whitney 1947). `None` without both kinds, or with a NaN score.
#[must_use]
pub fn roc_auc(scores: &[f64], positive: &[bool]) -> Option<f64> {
    assert_eq!(scores.len(), positive.len(), "one mark for each score");
    if scores.iter().any(|score| score.is_nan()) {
        return None;
    }
    Ranking::of(scores).areas(|row| positive[row], |_| 1.0).roc
}

/// Average precision, the sum over thresholds of (recall gained) x precision, without interpolation. `None` without
/// positives, or with a NaN score.
#[must_use]
pub fn average_precision(scores: &[f64], positive: &[bool]) -> Option<f64> {
    assert_eq!(scores.len(), positive.len(), "one mark for each score");
    if scores.iter().any(|score| score.is_nan()) {
        return None;
    }
    Ranking::of(scores).areas(|row| positive[row], |_| 1.0).precision
}

impl Ranking {
    /// The ranking of `scores`, none of them NaN.
    pub(super) fn of(scores: &[f64]) -> Self {
        // u32 halves the memory that a bootstrap walks; no hold-out has four thousand million rows.
        let mut order: Vec<u32> = (0..scores.len() as u32).collect();
        order.sort_unstable_by(|&a, &b| {
            scores[b as usize].total_cmp(&scores[a as usize]).then_with(|| a.cmp(&b))
        });
        let mut group_ends: Vec<u32> = (1..order.len())
            .filter(|&i| scores[order[i] as usize] != scores[order[i - 1] as usize])
            .map(|i| i as u32)
            .collect();
        if !order.is_empty() {
            group_ends.push(order.len() as u32);
        }
        Self { order, group_ends }
    }

    /// The ranking of a column of probabilities.
    pub(super) fn of_column(probabilities: &Matrix, column: usize) -> Self {
        Self::of(&probabilities.column(column))
    }

    /// Both areas, each row counting `weight`.
    pub(super) fn areas(&self, positive: impl Fn(usize) -> bool, weight: impl Fn(usize) -> f64) -> Areas {
        let (mut positives, mut negatives) = (0.0, 0.0);
        let (mut pairs, mut precisions) = (0.0, 0.0);
        for (hits, misses) in self.groups(positive, weight) {
            pairs += misses * (positives + hits / 2.0);
            positives += hits;
            negatives += misses;
            if hits > 0.0 {
                precisions += hits * positives / (positives + negatives);
            }
        }
        Areas {
            roc: (positives > 0.0 && negatives > 0.0).then(|| pairs / (positives * negatives)),
            precision: (positives > 0.0).then(|| precisions / positives),
        }
    }

    /// The ROC curve from (0, 0) to (1, 1), thinned to [`MAXIMUM_CURVE_POINTS`] by distance along the curve; empty
    /// without positives or negatives.
    pub(super) fn roc_curve(&self, positive: impl Fn(usize) -> bool) -> Vec<CurvePoint> {
        let totals = self.totals(&positive);
        if totals.0 == 0.0 || totals.1 == 0.0 {
            return Vec::new();
        }
        let mut seen = (0.0, 0.0);
        let mut points = vec![CurvePoint { x: 0.0, y: 0.0 }];
        for (hits, misses) in self.groups(positive, |_| 1.0) {
            seen = (seen.0 + hits, seen.1 + misses);
            points.push(CurvePoint { x: seen.1 / totals.1, y: seen.0 / totals.0 });
        }
        // The curve only rises, so its length in city blocks is exactly 2.
        thin(points, 2.0, |a, b| (b.x - a.x) + (b.y - a.y))
    }

    /// The precision-recall curve by growing recall, thinned to [`MAXIMUM_CURVE_POINTS`] by recall; of the points
    /// with equal recall the first, most precise, is kept. Empty without positives.
    pub(super) fn precision_recall_curve(&self, positive: impl Fn(usize) -> bool) -> Vec<CurvePoint> {
        let totals = self.totals(&positive);
        if totals.0 == 0.0 {
            return Vec::new();
        }
        let mut seen = (0.0, 0.0);
        let mut points = Vec::new();
        for (hits, misses) in self.groups(positive, |_| 1.0) {
            seen = (seen.0 + hits, seen.1 + misses);
            if hits > 0.0 {
                points.push(CurvePoint { x: seen.0 / totals.0, y: seen.0 / (seen.0 + seen.1) });
            }
        }
        thin(points, 1.0, |a, b| b.x - a.x)
    }

    /// Weight of positives and negatives in each group of equal scores, best score first.
    fn groups(
        &self,
        positive: impl Fn(usize) -> bool,
        weight: impl Fn(usize) -> f64,
    ) -> impl Iterator<Item = (f64, f64)> {
        let mut start = 0;
        self.group_ends.iter().map(move |&end| {
            let (mut hits, mut misses) = (0.0, 0.0);
            for &row in &self.order[start..end as usize] {
                let row = row as usize;
                if positive(row) { hits += weight(row) } else { misses += weight(row) }
            }
            start = end as usize;
            (hits, misses)
        })
    }

    fn totals(&self, positive: &impl Fn(usize) -> bool) -> (f64, f64) {
        self.groups(positive, |_| 1.0).fold((0.0, 0.0), |sum, group| (sum.0 + group.0, sum.1 + group.1))
    }
}

/// Keeps the first and the last point, and between them those at least `length` / (maximum - 2) apart.
fn thin(
    points: Vec<CurvePoint>,
    length: f64,
    distance: impl Fn(CurvePoint, CurvePoint) -> f64,
) -> Vec<CurvePoint> {
    if points.len() <= MAXIMUM_CURVE_POINTS {
        return points;
    }
    let step = length / (MAXIMUM_CURVE_POINTS - 2) as f64;
    let last = points[points.len() - 1];
    let mut kept = vec![points[0]];
    for point in &points[1..points.len() - 1] {
        if kept.len() < MAXIMUM_CURVE_POINTS - 1 && distance(kept[kept.len() - 1], *point) >= step {
            kept.push(*point);
        }
    }
    kept.push(last);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_scores_count_half() {
        assert_eq!(roc_auc(&[0.5, 0.5, 0.5], &[true, false, false]), Some(0.5));
        assert_eq!(roc_auc(&[0.9, 0.1], &[true, false]), Some(1.0));
        assert_eq!(roc_auc(&[0.9, 0.1], &[true, true]), None);
        assert_eq!(roc_auc(&[0.9, f64::NAN], &[true, false]), None);
        assert_eq!(average_precision(&[0.3, 0.3, 0.3, 0.3], &[true, false, false, false]), Some(0.25));
    }

    #[test]
    fn a_curve_is_thinned_but_keeps_its_ends() {
        let scores: Vec<f64> = (0..5_000).map(|i| f64::from(i * 7919 % 5_000)).collect();
        let ranking = Ranking::of(&scores);
        let positive = |row: usize| row.is_multiple_of(3);
        for curve in [ranking.roc_curve(positive), ranking.precision_recall_curve(positive)] {
            assert!(curve.len() <= MAXIMUM_CURVE_POINTS && curve.len() > 150, "{}", curve.len());
            assert!(curve.windows(2).all(|pair| pair[0].x <= pair[1].x));
            assert_eq!(curve[curve.len() - 1].x, 1.0);
        }
        assert_eq!(ranking.roc_curve(positive)[0], CurvePoint { x: 0.0, y: 0.0 });
    }
}
