//! Exact nearest neighbours by looking at every row.

use rayon::prelude::*;

use super::{NEIGHBOUR_SEARCH_ROW_LIMIT, TooManyRows};
use crate::matrix::Matrix;

/// For each row of `x` named in `rows`, the positions *within `rows`* of the `count` others nearest to it by Euclidean
/// distance, nearest first, equally near ones by position. Fewer where there are fewer others.
///
/// # Errors
/// When there are more rows than [`NEIGHBOUR_SEARCH_ROW_LIMIT`].
pub(super) fn nearest(x: &Matrix, rows: &[usize], count: usize) -> Result<Vec<Vec<usize>>, TooManyRows> {
    if rows.len() > NEIGHBOUR_SEARCH_ROW_LIMIT {
        return Err(TooManyRows { rows: rows.len() });
    }
    let search = |position: usize| {
        let mut found: Vec<(f64, usize)> = Vec::with_capacity(count + 1);
        let row = x.row(rows[position]);
        for (other, &i) in rows.iter().enumerate() {
            let worst =
                if found.len() < count { f64::INFINITY } else { found.last().map_or(0.0, |last| last.0) };
            if other == position {
                continue;
            }
            let Some(distance) = squared_distance_below(row, x.row(i), worst) else { continue };
            let place = found.partition_point(|candidate| candidate.0 <= distance);
            found.insert(place, (distance, other));
            found.truncate(count);
        }
        found.into_iter().map(|(_, other)| other).collect()
    };
    Ok((0..rows.len()).into_par_iter().map(search).collect())
}

/// The squared distance if it is below `limit`; given up as soon as a part of the sum is not.
fn squared_distance_below(a: &[f64], b: &[f64], limit: f64) -> Option<f64> {
    const VALUES_BETWEEN_LOOKS: usize = 32;
    let mut sum = 0.0;
    for (a, b) in a.chunks(VALUES_BETWEEN_LOOKS).zip(b.chunks(VALUES_BETWEEN_LOOKS)) {
        // Four sums side by side, so that the processor can add them at once; always in this order.
        let mut sums = [0.0; 4];
        let (a_quads, a_rest) = a.as_chunks::<4>();
        let (b_quads, b_rest) = b.as_chunks::<4>();
        for (a, b) in a_quads.iter().zip(b_quads) {
            for lane in 0..4 {
                sums[lane] += (a[lane] - b[lane]) * (a[lane] - b[lane]);
            }
        }
        sum += (sums[0] + sums[1]) + (sums[2] + sums[3]);
        sum += a_rest.iter().zip(b_rest).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
        if sum >= limit {
            return None;
        }
    }
    (sum < limit).then_some(sum)
}
