//! A dense table of numbers, row-major; a missing value is NaN.
//!
//! Learning and serving both walk rows, so rows are contiguous: a prepared row at serving time is the same slice
//! that training saw. Data sets as read are kept by column (see [`crate::dataset`]).

use serde::{Deserialize, Serialize};

/// `rows` x `columns` numbers in row-major order; NaN marks a missing value, infinities never occur.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Matrix {
    rows: usize,
    columns: usize,
    values: Vec<f64>,
}

impl Matrix {
    /// A matrix over `values`, which hold `rows` x `columns` numbers in row-major order.
    ///
    /// # Panics
    /// When the length is not `rows * columns`: that is a mistake of the calling code, never of data.
    #[must_use]
    pub fn new(rows: usize, columns: usize, values: Vec<f64>) -> Self {
        assert_eq!(values.len(), rows * columns, "a matrix needs rows * columns values");
        Self { rows, columns, values }
    }

    /// A matrix of zeros.
    #[must_use]
    pub fn zeros(rows: usize, columns: usize) -> Self {
        Self::new(rows, columns, vec![0.0; rows * columns])
    }

    /// A matrix from columns of equal length.
    #[must_use]
    pub fn from_columns<C: AsRef<[f64]>>(columns: &[C]) -> Self {
        let rows = columns.first().map_or(0, |column| column.as_ref().len());
        let mut matrix = Self::zeros(rows, columns.len());
        for (j, column) in columns.iter().enumerate() {
            assert_eq!(column.as_ref().len(), rows, "columns must be equally long");
            for (i, value) in column.as_ref().iter().enumerate() {
                matrix.values[i * columns.len() + j] = *value;
            }
        }
        matrix
    }

    /// Number of rows.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    #[must_use]
    pub fn n_columns(&self) -> usize {
        self.columns
    }

    /// Row `i`, `n_columns` values.
    #[must_use]
    pub fn row(&self, i: usize) -> &[f64] {
        &self.values[i * self.columns..(i + 1) * self.columns]
    }

    /// Row `i`, to change.
    pub fn row_mut(&mut self, i: usize) -> &mut [f64] {
        &mut self.values[i * self.columns..(i + 1) * self.columns]
    }

    /// All rows in order. A matrix without columns still yields its (empty) rows.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f64]> {
        (0..self.rows).map(|i| self.row(i))
    }

    /// The value in row `i`, column `j`.
    #[must_use]
    pub fn at(&self, i: usize, j: usize) -> f64 {
        self.values[i * self.columns + j]
    }

    /// A copy of column `j`.
    #[must_use]
    pub fn column(&self, j: usize) -> Vec<f64> {
        (0..self.rows).map(|i| self.at(i, j)).collect()
    }

    /// All values in row-major order.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// A copy of the rows named by `indices`, in that order; repetition is allowed.
    #[must_use]
    pub fn select_rows(&self, indices: &[usize]) -> Self {
        let mut values = Vec::with_capacity(indices.len() * self.columns);
        for &i in indices {
            values.extend_from_slice(self.row(i));
        }
        Self::new(indices.len(), self.columns, values)
    }

    /// A copy of the columns named by `indices`, in that order.
    #[must_use]
    pub fn select_columns(&self, indices: &[usize]) -> Self {
        let mut values = Vec::with_capacity(indices.len() * self.rows);
        for row in self.rows() {
            values.extend(indices.iter().map(|&j| row[j]));
        }
        Self::new(self.rows, indices.len(), values)
    }

    /// Appends one row of `n_columns` values.
    pub fn push_row(&mut self, row: &[f64]) {
        assert_eq!(row.len(), self.columns, "a row must have as many values as the matrix has columns");
        self.values.extend_from_slice(row);
        self.rows += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_and_rows_agree() {
        let matrix = Matrix::from_columns(&[vec![1.0, 2.0, 3.0], vec![4.0, 5.0, 6.0]]);
        assert_eq!(matrix.row(1), [2.0, 5.0]);
        assert_eq!(matrix.column(1), [4.0, 5.0, 6.0]);
        assert_eq!(matrix.select_rows(&[2, 0]).values(), [3.0, 6.0, 1.0, 4.0]);
        assert_eq!(matrix.select_columns(&[1]).values(), [4.0, 5.0, 6.0]);
    }

    #[test]
    fn a_matrix_without_columns_still_has_rows() {
        assert_eq!(Matrix::zeros(3, 0).rows().len(), 3);
    }
}
