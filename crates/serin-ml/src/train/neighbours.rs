//! k nearest neighbours: the training rows most like a row vote for its class.
//!
//! Brute force in the original space: exact, no index to get wrong, and fast enough below [`MAXIMUM_ROWS`].

use serde::{Deserialize, Serialize};

use crate::matrix::Matrix;
use crate::observer::Observer;
use crate::seed::Seed;

use super::arithmetic::{absolute_distance, dot, present_or, shares, squared_distance};
use super::family::{
    Family, FitError, LARGEST_MAGNITUDE, LARGEST_WEIGHT, MAXIMUM_CLASSES, MAXIMUM_FEATURES, TrainingSet,
};
use super::fitted::{InvalidModel, Model};
use super::parameters::{InvalidParameter, within};
use super::summary::{Columns, weighted_rows};

pub(super) const NAME: &str = "neighbours";

/// Most training rows. All of them are part of the model, and each answer looks at all: 20,000 rows of 151 numbers are
/// 24 MB in the bundle and about 2 ms an answer.
pub(super) const MAXIMUM_ROWS: usize = 20_000;

/// Most neighbours that vote.
const MAXIMUM_NEIGHBOURS: usize = 1_000;

/// What a user writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NeighboursParameters {
    /// Number of neighbours that vote; with fewer training rows, all of them. Of rows equally far, those earlier in
    /// the training set count as nearer.
    pub neighbours: usize,
    /// What each vote counts.
    pub votes: Votes,
    /// How far two rows are from each other.
    pub distance: Distance,
    /// Votes added in proportion to the class shares of the training rows, so that few neighbours do not claim
    /// certainty: `p_c = (votes_c + prior * share_c) / (votes + prior)`. 0 adds none.
    pub prior: f64,
}

/// What the vote of a neighbour counts, beside the weight of its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Votes {
    /// One each.
    Equal,
    /// One for the nearest, and for the others the nearest distance divided by their own. Where rows are at distance
    /// 0, they alone vote.
    ByDistance,
}

/// How far two rows are from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Distance {
    /// Root of the sum of squared differences.
    Euclidean,
    /// Sum of absolute differences.
    Manhattan,
    /// One less the cosine of the angle; a row of zeros is at distance 1 from every row.
    Cosine,
}

impl Default for NeighboursParameters {
    fn default() -> Self {
        Self { neighbours: 5, votes: Votes::Equal, distance: Distance::Euclidean, prior: 0.0 }
    }
}

impl NeighboursParameters {
    /// The family with these parameters.
    pub(super) fn check(&self) -> Result<Neighbours, InvalidParameter> {
        let fix = "5 is the default; more neighbours give smoother probabilities";
        Ok(Neighbours {
            neighbours: within(NAME, "neighbours", self.neighbours, 1..=MAXIMUM_NEIGHBOURS, fix)?,
            votes: self.votes,
            distance: self.distance,
            prior: within(NAME, "prior", self.prior, 0.0..=1e6, "leave it out for 0, no added votes")?,
        })
    }
}

/// The family with checked parameters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Neighbours {
    neighbours: usize,
    votes: Votes,
    distance: Distance,
    prior: f64,
}

/// The training rows themselves. A missing value counts as the training mean of its feature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NeighboursModel {
    neighbours: usize,
    votes: Votes,
    distance: Distance,
    prior: f64,
    /// Training share of each class.
    shares: Vec<f64>,
    /// Training mean of each feature.
    means: Vec<f64>,
    /// Training rows of positive weight, complete; for the cosine scaled to length 1.
    rows: Matrix,
    /// Class of each of `rows`.
    classes: Vec<u32>,
    /// Weight of each of `rows`, the largest 1; `None` when all are.
    weights: Option<Vec<f64>>,
}

impl Family for Neighbours {
    fn name(&self) -> &'static str {
        NAME
    }

    fn fit(&self, set: &TrainingSet<'_>, _seed: Seed, _observer: &dyn Observer) -> Result<Model, FitError> {
        set.check()?;
        let places = weighted_rows(set);
        if places.len() > MAXIMUM_ROWS {
            return Err(FitError::TooManyRows { family: NAME, rows: places.len(), limit: MAXIMUM_ROWS });
        }
        let means = Columns::of(set).means;
        let mut rows = Matrix::zeros(places.len(), means.len());
        for (place, &i) in places.iter().enumerate() {
            complete(set.x.row(i), &means, self.distance, rows.row_mut(place));
        }
        let largest = places.iter().map(|&i| set.weight(i)).fold(0.0, f64::max);
        // A quotient that underflows must not make a row of weight zero; it votes next to nothing either way.
        let weight = |i: &usize| (set.weight(*i) / largest).max(f64::MIN_POSITIVE);
        Ok(Model::Neighbours(NeighboursModel {
            neighbours: self.neighbours,
            votes: self.votes,
            distance: self.distance,
            prior: self.prior,
            shares: shares(&set.class_totals()),
            rows,
            classes: places.iter().map(|&i| set.y[i]).collect(),
            weights: set.weights.map(|_| places.iter().map(weight).collect()),
            means,
        }))
    }
}

impl NeighboursModel {
    pub(super) fn n_features(&self) -> usize {
        self.means.len()
    }

    pub(super) fn n_classes(&self) -> usize {
        self.shares.len()
    }

    pub(super) fn probabilities_into(&self, row: &[f64], out: &mut [f64]) {
        let mut query = vec![0.0; self.means.len()];
        complete(row, &self.means, self.distance, &mut query);
        let nearest = match self.distance {
            Distance::Euclidean => {
                let mut nearest = self.nearest(|candidate| squared_distance(&query, candidate));
                nearest.iter_mut().for_each(|neighbour| neighbour.distance = neighbour.distance.sqrt());
                nearest
            }
            Distance::Manhattan => self.nearest(|candidate| absolute_distance(&query, candidate)),
            Distance::Cosine => self.nearest(|candidate| angle(&query, candidate)),
        };

        let least = nearest.first().map_or(0.0, |neighbour| neighbour.distance);
        let vote = |distance: f64| match self.votes {
            Votes::Equal => 1.0,
            Votes::ByDistance if distance == least => 1.0,
            Votes::ByDistance => least / distance,
        };
        out.fill(0.0);
        let mut total = self.prior;
        for neighbour in &nearest {
            let weight = self.weights.as_ref().map_or(1.0, |weights| weights[neighbour.place]);
            let vote = vote(neighbour.distance) * weight;
            out[self.classes[neighbour.place] as usize] += vote;
            total += vote;
        }
        for (probability, share) in out.iter_mut().zip(&self.shares) {
            *probability = (*probability + self.prior * share) / total;
        }
    }

    /// The nearest rows, nearest first; of rows equally far the earlier first.
    fn nearest(&self, distance: impl Fn(&[f64]) -> f64) -> Vec<Neighbour> {
        let wanted = self.neighbours.min(self.rows.n_rows());
        let mut nearest: Vec<Neighbour> = Vec::with_capacity(wanted + 1);
        let mut farthest = f64::INFINITY;
        for (place, row) in self.rows.rows().enumerate() {
            let distance = distance(row);
            if nearest.len() == wanted && distance >= farthest {
                continue;
            }
            let position = nearest.partition_point(|other| other.distance <= distance);
            nearest.insert(position, Neighbour { distance, place });
            nearest.truncate(wanted);
            farthest = nearest[nearest.len() - 1].distance;
        }
        nearest
    }

    pub(super) fn validate(&self) -> Result<(), InvalidModel> {
        let (rows, features) = (self.classes.len(), self.means.len());
        InvalidModel::check_count("features", features, 0..=MAXIMUM_FEATURES)?;
        InvalidModel::check_count("classes", self.shares.len(), 1..=MAXIMUM_CLASSES)?;
        InvalidModel::check_count("rows", rows, 1..=MAXIMUM_ROWS)?;
        InvalidModel::check_count("neighbours", self.neighbours, 1..=MAXIMUM_NEIGHBOURS)?;
        InvalidModel::check_values("prior", &[self.prior], "0 to 1e12", |v| {
            (0.0..=LARGEST_WEIGHT).contains(&v)
        })?;
        InvalidModel::check_shares("class shares", &self.shares)?;
        InvalidModel::check_length("stored rows", self.rows.n_rows(), Some(rows))?;
        InvalidModel::check_length("stored columns", self.rows.n_columns(), Some(features))?;
        InvalidModel::check_length("stored values", self.rows.values().len(), rows.checked_mul(features))?;
        for (part, values) in [("means", self.means.as_slice()), ("stored values", self.rows.values())] {
            InvalidModel::check_values(part, values, "a magnitude up to 1e100", |v| {
                v.abs() <= LARGEST_MAGNITUDE
            })?;
        }
        for class in &self.classes {
            InvalidModel::check_count("classes in use", *class as usize + 1, 1..=self.shares.len())?;
        }
        let Some(weights) = &self.weights else { return Ok(()) };
        InvalidModel::check_length("weights", weights.len(), Some(rows))?;
        InvalidModel::check_values("weights", weights, "above 0, up to 1", |v| {
            (f64::MIN_POSITIVE..=1.0).contains(&v)
        })
    }
}

struct Neighbour {
    distance: f64,
    place: usize,
}

/// Copies a row without its gaps; for the cosine at length 1 (or 0).
fn complete(row: &[f64], means: &[f64], distance: Distance, target: &mut [f64]) {
    for ((value, mean), target) in row.iter().zip(means).zip(target.iter_mut()) {
        *target = present_or(*value, *mean);
    }
    if distance == Distance::Cosine {
        // Dividing by the largest magnitude first keeps the squares from overflowing and underflowing.
        let largest = super::arithmetic::largest_magnitude(target);
        if largest > 0.0 {
            target.iter_mut().for_each(|value| *value /= largest);
            let length = dot(target, target).sqrt();
            target.iter_mut().for_each(|value| *value /= length);
        }
    }
}

/// `1 - cos` of two rows of length 1, as half their squared distance: the same number, but exactly 0 for equal rows.
/// A row of zeros has no direction: 1.
fn angle(a: &[f64], b: &[f64]) -> f64 {
    let is_zero = |row: &[f64]| row.iter().all(|value| *value == 0.0);
    if is_zero(a) || is_zero(b) { 1.0 } else { 0.5 * squared_distance(a, b) }
}
