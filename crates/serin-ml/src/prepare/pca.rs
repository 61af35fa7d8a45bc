//! Principal components.

use nalgebra::{DMatrix, SymmetricEigen};
use rayon::prelude::*;

use super::fitted::FittedStep;
use super::recipe::Pca;
use super::scale::mean;
use crate::matrix::Matrix;

/// Largest order of the eigenvalue problem: the smaller of rows and columns. Its cost grows with the cube.
pub const PCA_ORDER_LIMIT: usize = 4096;

/// Why there are no components.
pub(super) enum NoComponents {
    /// The eigenvalue problem is larger than [`PCA_ORDER_LIMIT`].
    TooLarge { order: usize },
    /// The rows do not differ.
    NoVariance,
    /// The iteration did not converge.
    NotConverged,
}

/// Learns means and components from rows without missing values.
///
/// The components are the eigenvectors of the covariance, by falling eigenvalue; with more columns than rows they come from
/// the rows' inner products, which share the non-zero eigenvalues. Each has length 1, and its largest loading by
/// magnitude (the first of equal ones) is positive.
pub(super) fn fit(parameters: &Pca, x: &Matrix) -> Result<FittedStep, NoComponents> {
    let (rows, columns) = (x.n_rows(), x.n_columns());
    let order = rows.min(columns);
    if order > PCA_ORDER_LIMIT {
        return Err(NoComponents::TooLarge { order });
    }
    let centre: Vec<f64> = (0..columns).into_par_iter().map(|j| mean(&x.column(j))).collect();
    let mut centred = x.clone();
    for i in 0..rows {
        for (value, centre) in centred.row_mut(i).iter_mut().zip(&centre) {
            *value -= centre;
        }
    }
    // Eigenvectors do not change with scale, and values near 1 keep the iteration within range.
    let largest = centred.values().iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    if largest == 0.0 {
        return Err(NoComponents::NoVariance);
    }
    let vectors: Vec<Vec<f64>> = if columns <= rows {
        (0..columns).map(|j| centred.column(j).iter().map(|value| value / largest).collect()).collect()
    } else {
        centred.rows().map(|row| row.iter().map(|value| value / largest).collect()).collect()
    };
    let eigen = SymmetricEigen::try_new(inner_products(&vectors), f64::EPSILON, 1000 + 100 * order)
        .ok_or(NoComponents::NotConverged)?;

    let mut by_size: Vec<usize> = (0..order).collect();
    by_size.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]).then(a.cmp(&b)));
    let total: f64 = by_size.iter().map(|&k| eigen.eigenvalues[k].max(0.0)).sum();
    // Directions whose variance is rounding are none.
    let negligible = total * f64::EPSILON * order as f64;
    by_size.retain(|&k| eigen.eigenvalues[k] > negligible);
    let explained: Vec<f64> = by_size.iter().map(|&k| eigen.eigenvalues[k] / total).collect();
    let kept = count(parameters, &explained);

    let components = by_size[..kept].iter().flat_map(|&k| {
        let eigenvector: Vec<f64> = eigen.eigenvectors.column(k).iter().copied().collect();
        unit_with_positive_peak(if columns <= rows {
            eigenvector
        } else {
            combination(&vectors, &eigenvector)
        })
    });
    Ok(FittedStep::Project {
        components: components.collect(),
        explained: explained[..kept].to_vec(),
        centre,
    })
}

/// How many components the parameters keep, at least one, given all shares of variance in falling order.
fn count(parameters: &Pca, explained: &[f64]) -> usize {
    let by_share = parameters.explained_variance.map(|share| {
        let mut sum = 0.0;
        // Rounding of the sum must not add a component that explains nothing.
        1 + explained
            .iter()
            .take_while(|&&part| {
                sum += part;
                sum < share - 1e-12
            })
            .count()
    });
    by_share.or(parameters.components).unwrap_or(explained.len()).clamp(1, explained.len())
}

/// The matrix of inner products of each pair of vectors; threads share the rows of the result, never a sum.
fn inner_products(vectors: &[Vec<f64>]) -> DMatrix<f64> {
    let n = vectors.len();
    let lower: Vec<Vec<f64>> = (0..n)
        .into_par_iter()
        .map(|i| {
            vectors[..=i].iter().map(|other| vectors[i].iter().zip(other).map(|(a, b)| a * b).sum()).collect()
        })
        .collect();
    DMatrix::from_fn(n, n, |i, j| if i >= j { lower[i][j] } else { lower[j][i] })
}

/// The sum of the vectors, each times its factor.
fn combination(vectors: &[Vec<f64>], factors: &[f64]) -> Vec<f64> {
    let mut sum = vec![0.0; vectors.first().map_or(0, Vec::len)];
    for (vector, factor) in vectors.iter().zip(factors) {
        for (sum, value) in sum.iter_mut().zip(vector) {
            *sum += factor * value;
        }
    }
    sum
}

fn unit_with_positive_peak(mut vector: Vec<f64>) -> Vec<f64> {
    let length = vector.iter().map(|value| value * value).sum::<f64>().sqrt();
    let peak =
        vector.iter().fold(0.0_f64, |peak, &value| if value.abs() > peak.abs() { value } else { peak });
    let divisor = length.copysign(peak);
    for value in &mut vector {
        *value /= divisor;
    }
    vector
}
