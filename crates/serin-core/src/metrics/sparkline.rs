//! A line of numbers in a line of text.

const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Shown when all numbers are equal.
const LEVEL: char = '▄';

/// Draws numbers with block characters between the least and the greatest of them; what is absent is a blank.
///
/// There is one character for each number, or `width` if there are more numbers: each is then the average of those that
/// share a column.
#[must_use]
pub fn sparkline(values: &[Option<f64>], width: usize) -> String {
    let columns = columns(values, width);
    let present = || columns.iter().flatten().copied();
    let (least, greatest) = (present().fold(f64::INFINITY, f64::min), present().fold(f64::MIN, f64::max));
    let block = |value: f64| {
        // Halves, so that no difference of two numbers is infinite.
        let range = greatest / 2.0 - least / 2.0;
        if range <= 0.0 {
            return LEVEL;
        }
        let share = (value / 2.0 - least / 2.0) / range;
        BLOCKS[((share * BLOCKS.len() as f64) as usize).min(BLOCKS.len() - 1)]
    };
    columns.iter().map(|column| column.map_or(' ', block)).collect()
}

fn columns(values: &[Option<f64>], width: usize) -> Vec<Option<f64>> {
    let n = values.len().min(width);
    let begin = |column: usize| (column as u128 * values.len() as u128 / n as u128) as usize;
    (0..n)
        .map(|column| {
            let present: Vec<f64> = values[begin(column)..begin(column + 1)]
                .iter()
                .flatten()
                .copied()
                .filter(|value| value.is_finite())
                .collect();
            let share = present.len() as f64;
            (!present.is_empty()).then(|| present.iter().map(|value| value / share).sum())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_blocks_and_gaps_become_blanks() {
        let some = |values: &[f64]| -> Vec<Option<f64>> { values.iter().map(|value| Some(*value)).collect() };
        for (values, width, line) in [
            (some(&[]), 10, ""),
            (some(&[1.0]), 0, ""),
            (some(&[1.0, 1.0]), 10, "▄▄"),
            (some(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]), 8, "▁▂▃▄▅▆▇█"),
            (some(&[0.0, 2.0, 9.0, 11.0]), 2, "▁█"),
            (some(&[-f64::MAX, 0.0, f64::MAX]), 9, "▁▅█"),
            (vec![Some(0.0), None, Some(1.0), Some(f64::NAN), Some(f64::INFINITY)], 5, "▁ █  "),
            (vec![None, None, Some(1.0), None], 2, " ▄"),
        ] {
            assert_eq!(sparkline(&values, width), line, "{values:?}");
        }
        assert_eq!(sparkline(&vec![Some(1.0); 1_000], 61).chars().count(), 61);
    }
}
