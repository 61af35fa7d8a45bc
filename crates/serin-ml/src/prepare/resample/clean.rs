//! Removing training rows on which neighbours disagree.

use super::neighbours::nearest;
use super::{Resampled, Rows, TooManyRows, remove};
use crate::prepare::recipe::ResampleMethod;

/// Which rows of a Tomek link go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LinkEnds {
    /// Both.
    Both,
    /// Those that are not of the smallest class (the first of equally small ones).
    NotSmallestClass,
}

/// Removes rows of Tomek links: two rows of different classes, each the nearest of the other (I. Tomek: Two modifications of
/// CNN. IEEE Transactions on Systems, Man, and Cybernetics 6, 1976, 769-772).
pub(super) fn remove_tomek_links(
    ends: LinkEnds,
    rows: &mut Rows,
    n_classes: usize,
    done: &mut Vec<Resampled>,
) -> Result<(), TooManyRows> {
    let all: Vec<usize> = (0..rows.y.len()).collect();
    let nearest = nearest(&rows.x, &all, 1)?;
    let counts: Vec<usize> = rows.by_class(n_classes).iter().map(Vec::len).collect();
    let present = (0u32..).zip(&counts).filter(|(_, count)| **count > 0);
    let smallest = present.min_by_key(|(_, count)| **count).map(|(class, _)| class);
    let removed: Vec<bool> = all
        .iter()
        .map(|&i| {
            let Some(&other) = nearest[i].first() else { return false };
            let is_link = rows.y[i] != rows.y[other] && nearest[other].first() == Some(&i);
            is_link && (ends == LinkEnds::Both || Some(rows.y[i]) != smallest)
        })
        .collect();
    remove(ResampleMethod::Tomek, 1, &removed, rows, n_classes, done);
    Ok(())
}

/// Removes each row whose nearest neighbours are not all of its class, whatever the class (D. L. Wilson: Asymptotic properties
/// of nearest neighbor rules using edited data. IEEE Transactions on Systems, Man, and Cybernetics 2, 1972, 408-421; in the
/// strict form that follows SMOTE in Batista, Prati, Monard, SIGKDD Explorations 6, 2004).
pub(super) fn remove_disagreeing(
    neighbours: usize,
    rows: &mut Rows,
    n_classes: usize,
    done: &mut Vec<Resampled>,
) -> Result<(), TooManyRows> {
    let all: Vec<usize> = (0..rows.y.len()).collect();
    let nearest = nearest(&rows.x, &all, neighbours)?;
    let disagrees = |i: usize| nearest[i].iter().any(|&other| rows.y[other] != rows.y[i]);
    let removed: Vec<bool> = all.iter().map(|&i| disagrees(i)).collect();
    remove(ResampleMethod::SmoteEnn, neighbours, &removed, rows, n_classes, done);
    Ok(())
}
