//! Cuts rows into training and validation parts; indices are rows of the data set.

use rand::RngExt as _;
use rand::seq::SliceRandom as _;

use crate::seed::Seed;

/// One cut: the rows to learn from and the rows to judge by, each ascending and without a row in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fold {
    /// Rows to learn from.
    pub train: Vec<usize>,
    /// Rows to judge by.
    pub valid: Vec<usize>,
}

/// Why rows cannot be cut as asked.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SplitError {
    /// Less than two folds.
    #[error("{folds} folds; at least 2 are needed")]
    TooFewFolds {
        /// Folds asked for.
        folds: usize,
    },
    /// A share that leaves one side empty.
    #[error("a hold-out share of {share}; it must lie between 0 and 1")]
    BadShare {
        /// The share asked for.
        share: f64,
    },
    /// Fewer rows than parts.
    #[error("{rows} rows cannot be cut into {parts} parts")]
    TooFewRows {
        /// Rows there are.
        rows: usize,
        /// Parts asked for.
        parts: usize,
    },
    /// Fewer groups than parts.
    #[error("{groups} groups cannot be cut into {parts} parts without splitting one")]
    TooFewGroups {
        /// Groups there are.
        groups: usize,
        /// Parts asked for.
        parts: usize,
    },
    /// Fewer distinct times than parts.
    #[error("{times} distinct times cannot be cut into {parts} parts without splitting one")]
    TooFewTimes {
        /// Distinct times there are.
        times: usize,
        /// Parts asked for.
        parts: usize,
    },
}

impl SplitError {
    /// The stable name of the case, for machines.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooFewFolds { .. } | Self::BadShare { .. } => "bad_split",
            Self::TooFewRows { .. } | Self::TooFewGroups { .. } | Self::TooFewTimes { .. } => "too_few_rows",
        }
    }
}

/// Stratified folds: each row is in one validation part, and the rows of each class are spread over the parts as evenly
/// as they can be (counts differ by at most one, as do the sizes of the parts). Rows are shuffled within their class.
///
/// The share of a class in a part is decided as in scikit-learn's `StratifiedKFold`: rows sorted by class are dealt to the
/// parts in turn, so that small classes do not all land in the first part. A class with fewer rows than folds is absent
/// from some validation parts.
///
/// # Errors
/// [`SplitError::TooFewFolds`], [`SplitError::TooFewRows`].
pub fn stratified_folds(codes: &[u32], folds: usize, seed: Seed) -> Result<Vec<Fold>, SplitError> {
    check_parts(codes.len(), folds)?;
    let mut part_of = vec![0; codes.len()];
    let mut rng = seed.rng();
    let mut dealt = 0;
    for rows in rows_by_class(codes).iter_mut() {
        rows.shuffle(&mut rng);
        for &row in rows.iter() {
            part_of[row] = dealt % folds;
            dealt += 1;
        }
    }
    Ok(folds_of(&part_of, folds))
}

/// [`stratified_folds`] `repeats` times with other shuffles, one after the other: `repeats * folds` cuts.
///
/// # Errors
/// As [`stratified_folds`].
pub fn repeated_stratified_folds(
    codes: &[u32],
    folds: usize,
    repeats: usize,
    seed: Seed,
) -> Result<Vec<Fold>, SplitError> {
    let mut all = Vec::with_capacity(folds * repeats);
    for repeat in 0..repeats {
        all.extend(stratified_folds(codes, folds, seed.nth(repeat))?);
    }
    Ok(all)
}

/// Stratified folds whose groups never straddle: all rows of a group are in one validation part.
///
/// Groups are placed one by one, those whose classes are spread most unevenly first (ties shuffled), each into the part
/// that keeps the class shares of the parts closest, as scikit-learn's `StratifiedGroupKFold` does.
///
/// # Errors
/// [`SplitError::TooFewFolds`], [`SplitError::TooFewGroups`].
pub fn grouped_folds(
    codes: &[u32],
    groups: &[u32],
    folds: usize,
    seed: Seed,
) -> Result<Vec<Fold>, SplitError> {
    check_parts(codes.len(), folds)?;
    let n_classes = codes.iter().max().map_or(0, |&code| code as usize + 1);
    let n_groups = groups.iter().max().map_or(0, |&group| group as usize + 1);
    let mut counts = vec![vec![0_usize; n_classes]; n_groups];
    for (&code, &group) in codes.iter().zip(groups) {
        counts[group as usize][code as usize] += 1;
    }
    let mut totals = vec![0_usize; n_classes];
    for group in &counts {
        for (total, count) in totals.iter_mut().zip(group) {
            *total += count;
        }
    }
    let mut order: Vec<usize> =
        (0..n_groups).filter(|&group| counts[group].iter().any(|&count| count > 0)).collect();
    if order.len() < folds {
        return Err(SplitError::TooFewGroups { groups: order.len(), parts: folds });
    }
    order.shuffle(&mut seed.rng());
    let spread: Vec<f64> =
        counts.iter().map(|group| deviation(group.iter().map(|&count| count as f64))).collect();
    order.sort_by(|&a, &b| spread[b].total_cmp(&spread[a]));

    let mut parts = vec![vec![0_usize; n_classes]; folds];
    let mut part_of_group = vec![0; n_groups];
    for (placed, &group) in order.iter().enumerate() {
        // The last groups go to parts that are still empty, so that none stays so.
        let empty = parts.iter().filter(|part| part.iter().sum::<usize>() == 0).count();
        let only_empty = order.len() - placed <= empty;
        let mut best: Option<(f64, usize, usize)> = None;
        for part in 0..folds {
            let size: usize = parts[part].iter().sum();
            if only_empty && size > 0 {
                continue;
            }
            let cost = placement_cost(&parts, part, &counts[group], &totals);
            let candidate = (cost, size, part);
            if best.is_none_or(|(least, smallest, _)| cost < least || (cost == least && size < smallest)) {
                best = Some(candidate);
            }
        }
        let part = best.map_or(0, |(_, _, part)| part);
        part_of_group[group] = part;
        for (target, count) in parts[part].iter_mut().zip(&counts[group]) {
            *target += count;
        }
    }
    let part_of: Vec<usize> = groups.iter().map(|&group| part_of_group[group as usize]).collect();
    Ok(folds_of(&part_of, folds))
}

/// Forward chaining: rows in order of time are cut into `folds + 1` blocks, and fold `k` learns from the first `k + 1`
/// blocks and is judged by the next. Rows of one time stay together, so no row is judged by its own moment.
///
/// # Errors
/// [`SplitError::TooFewRows`], [`SplitError::TooFewTimes`]; one fold is enough here.
pub fn forward_folds(times: &[f64], folds: usize) -> Result<Vec<Fold>, SplitError> {
    if folds == 0 {
        return Err(SplitError::TooFewFolds { folds });
    }
    let blocks = folds + 1;
    if times.len() < blocks {
        return Err(SplitError::TooFewRows { rows: times.len(), parts: blocks });
    }
    let mut order: Vec<usize> = (0..times.len()).collect();
    order.sort_by(|&a, &b| times[a].total_cmp(&times[b]));
    let mut moments = vec![0];
    moments.extend((1..order.len()).filter(|&at| times[order[at]] != times[order[at - 1]]));
    if moments.len() < blocks {
        return Err(SplitError::TooFewTimes { times: moments.len(), parts: blocks });
    }
    // Ideal cuts, moved to the next beginning of a moment, leaving a moment for each block that follows.
    let mut cuts = vec![0];
    let mut next = 1;
    for block in 1..blocks {
        let ideal = times.len() * block / blocks;
        while next < moments.len() - (blocks - block) && moments[next] < ideal {
            next += 1;
        }
        cuts.push(moments[next]);
        next += 1;
    }
    cuts.push(times.len());
    let ascending = |rows: &[usize]| {
        let mut rows = rows.to_vec();
        rows.sort_unstable();
        rows
    };
    Ok((1..blocks)
        .map(|block| Fold {
            train: ascending(&order[..cuts[block]]),
            valid: ascending(&order[cuts[block]..cuts[block + 1]]),
        })
        .collect())
}

/// One stratified cut with about `share` of each class in the validation part. A class with at least two rows has at
/// least one row on each side; a single row is learned from.
///
/// # Errors
/// [`SplitError::BadShare`], [`SplitError::TooFewRows`].
pub fn stratified_hold_out(codes: &[u32], share: f64, seed: Seed) -> Result<Fold, SplitError> {
    if !(share > 0.0 && share < 1.0) {
        return Err(SplitError::BadShare { share });
    }
    if codes.len() < 2 {
        return Err(SplitError::TooFewRows { rows: codes.len(), parts: 2 });
    }
    let mut rng = seed.rng();
    let (mut train, mut valid) = (Vec::new(), Vec::new());
    for mut rows in rows_by_class(codes) {
        rows.shuffle(&mut rng);
        let exact = rows.len() as f64 * share;
        // Rounding the fraction by chance keeps the expected size over many small classes.
        let held = exact.floor() as usize + usize::from(rng.random::<f64>() < exact.fract());
        let held = if rows.len() < 2 { 0 } else { held.clamp(1, rows.len() - 1) };
        valid.extend_from_slice(&rows[..held]);
        train.extend_from_slice(&rows[held..]);
    }
    if valid.is_empty() {
        return Err(SplitError::TooFewRows { rows: codes.len(), parts: 2 });
    }
    train.sort_unstable();
    valid.sort_unstable();
    Ok(Fold { train, valid })
}

fn check_parts(rows: usize, folds: usize) -> Result<(), SplitError> {
    if folds < 2 {
        return Err(SplitError::TooFewFolds { folds });
    }
    if rows < folds {
        return Err(SplitError::TooFewRows { rows, parts: folds });
    }
    Ok(())
}

fn rows_by_class(codes: &[u32]) -> Vec<Vec<usize>> {
    let n_classes = codes.iter().max().map_or(0, |&code| code as usize + 1);
    let mut classes = vec![Vec::new(); n_classes];
    for (row, &code) in codes.iter().enumerate() {
        classes[code as usize].push(row);
    }
    classes
}

fn folds_of(part_of: &[usize], folds: usize) -> Vec<Fold> {
    (0..folds)
        .map(|fold| {
            let (valid, train) = (0..part_of.len()).partition(|&row| part_of[row] == fold);
            Fold { train, valid }
        })
        .collect()
}

/// Mean over classes of the spread of their shares over the parts, were the group in `part`.
fn placement_cost(parts: &[Vec<usize>], part: usize, group: &[usize], totals: &[usize]) -> f64 {
    let mut sum = 0.0;
    for (class, &total) in totals.iter().enumerate() {
        let total = total.max(1) as f64;
        let shares = parts.iter().enumerate().map(|(at, counts)| {
            let added = if at == part { group[class] } else { 0 };
            (counts[class] + added) as f64 / total
        });
        sum += deviation(shares);
    }
    sum / totals.len().max(1) as f64
}

/// Standard deviation of the population.
fn deviation(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let n = values.clone().count().max(1) as f64;
    let mean = values.clone().sum::<f64>() / n;
    (values.map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt()
}
