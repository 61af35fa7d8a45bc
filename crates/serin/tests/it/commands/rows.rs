//! A small made-up table: three animals, four measures, one id.

use std::fmt::Write as _;

pub const NAMES: [&str; 3] = ["ant", "bee", "cat"];

#[derive(Clone)]
pub struct Row {
    pub id: String,
    pub class: usize,
    pub values: Vec<String>,
}

#[derive(Clone)]
pub struct Rows {
    pub columns: Vec<String>,
    pub rows: Vec<Row>,
}

/// Animals whose measures overlap, so that no column gives the class away; the same numbers for the same seed.
pub fn animals(rows_a_class: usize, seed: u64) -> Rows {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut noise = || {
        // Knuth's generator; its upper bits are good enough for a table.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let centres = [[1.0, 2.0, 0.5, 3.0], [1.8, 2.9, 0.4, 2.0], [2.6, 2.1, 1.3, 2.4]];
    let rows = (0..3 * rows_a_class).map(|number| {
        let class = number % 3;
        let values = centres[class].iter().map(|centre| format!("{:.6}", centre + 1.6 * noise() - 0.8));
        Row { id: format!("r{number}"), class, values: values.collect() }
    });
    Rows { columns: ["length", "height", "speed", "age"].map(str::to_owned).to_vec(), rows: rows.collect() }
}

impl Rows {
    pub fn with_column(&self, name: &str, value: impl Fn(&Row) -> String) -> Self {
        let mut wider = self.clone();
        wider.columns.push(name.to_owned());
        for (row, old) in wider.rows.iter_mut().zip(&self.rows) {
            row.values.push(value(old));
        }
        wider
    }

    /// `id,animal,length,...`
    pub fn csv(&self) -> String {
        self.csv_of(0..self.rows.len())
    }

    pub fn csv_of(&self, range: std::ops::Range<usize>) -> String {
        let mut text = format!("id,animal,{}\n", self.columns.join(","));
        for row in &self.rows[range] {
            let _ = writeln!(text, "{},{},{}", row.id, NAMES[row.class], row.values.join(","));
        }
        text
    }
}
