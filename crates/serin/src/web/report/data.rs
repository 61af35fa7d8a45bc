//! What was learnt from: rows, columns, classes, and what is odd about them.

use super::{
    glossary,
    page::{Cell, Figure, Table, and_more, listed, more_in_prose, quoted},
    view::{CorrelationView, DataFindingView, DataView, OverlapView, Severity, SourceRole},
};
use crate::web::{
    chart::{self, Bar, BarColumn, Bars, HeatMap, Tone},
    number,
};

const MOST_BARS: usize = 24;
const MOST_TABLE_ROWS: usize = 200;
const MOST_EXAMPLES: usize = 8;
const MOST_CORRELATED: usize = 60;
const MOST_PAIRS: usize = 30;

/// Two columns with |r| from here on say much the same.
const STRONG_CORRELATION: f64 = 0.9;

#[derive(Debug)]
pub struct Data {
    pub summary: String,
    pub sources: Table,
    pub findings: Vec<Finding>,
    pub overlap: Option<Overlap>,
    /// Class counts and missing values, side by side.
    pub counts: Vec<Figure>,
    pub correlation: Option<Figure>,
    pub columns: Option<Table>,
}

#[derive(Debug)]
pub struct Finding {
    /// `error`, `warning` or `note`: a class of the style sheet, and the word before the finding.
    pub severity: &'static str,
    pub what: String,
    pub explanation: String,
    pub examples: Vec<Cell>,
    pub more: Option<String>,
}

#[derive(Debug)]
pub struct Overlap {
    pub is_bad: bool,
    pub sentence: String,
    pub table: Option<Table>,
}

pub fn data(view: &DataView) -> Data {
    Data {
        summary: summary(view),
        sources: sources(view),
        findings: findings(view),
        overlap: view.overlap.as_ref().map(overlap),
        counts: [class_counts(view), missing_values(view)].into_iter().flatten().collect(),
        correlation: view.correlation.as_ref().and_then(correlation),
        columns: columns(view),
    }
}

fn summary(view: &DataView) -> String {
    let mut sentence = format!(
        "{} and {} to learn {} from, in {}.",
        number::counted(view.n_rows, "row", "rows"),
        number::counted(view.n_features, "column", "columns"),
        quoted(&view.target),
        number::counted(view.classes.len() as u64, "class", "classes"),
    );
    if !view.ignored.is_empty() {
        let shown: Vec<String> = view.ignored.iter().take(MOST_EXAMPLES).map(|name| quoted(name)).collect();
        let more = and_more(view.ignored.len(), MOST_EXAMPLES, "column", "columns");
        let more = more.map_or(String::new(), |more| format!(" {more}"));
        sentence.push_str(&format!(" Set aside by the configuration: {}{more}.", listed(&shown)));
    }
    sentence
}

fn sources(view: &DataView) -> Table {
    let headings = [
        ("File", "", false),
        ("Used for", "", false),
        ("Rows", "", true),
        ("Size", "", true),
        ("Digest", "digest", false),
    ];
    let mut table = Table::new("Files", &headings);
    table.fill(&view.sources, 20, ("file", "files"), |source| {
        let role = match source.role {
            SourceRole::Training => "training",
            SourceRole::HoldOut => "hold-out",
        };
        vec![
            Cell::name(&source.name),
            role.into(),
            number::count(source.n_rows).into(),
            source.n_bytes.map_or(number::UNKNOWN.to_owned(), number::bytes).into(),
            source.digest.as_deref().map_or(number::UNKNOWN.into(), Cell::digest),
        ]
    });
    table
}

fn findings(view: &DataView) -> Vec<Finding> {
    let mut sorted: Vec<&DataFindingView> = view.findings.iter().collect();
    sorted.sort_by_key(|finding| finding.severity);
    let finding = |finding: &DataFindingView| Finding {
        severity: match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        },
        what: finding.what.clone(),
        explanation: finding.explanation.clone(),
        examples: finding.examples.iter().take(MOST_EXAMPLES).map(|example| Cell::name(example)).collect(),
        more: and_more(finding.examples.len(), MOST_EXAMPLES, "", "").map(|more| more.trim_end().to_owned()),
    };
    sorted.into_iter().map(finding).collect()
}

fn overlap(view: &OverlapView) -> Overlap {
    let n_shared = view.n_exact.saturating_add(view.n_near);
    let total = number::counted(view.n_hold_out, "hold-out row", "hold-out rows");
    let sentence = if n_shared == 0 {
        format!("None of the {total} is equal or nearly equal to a training row.")
    } else {
        let share = number::percent(n_shared as f64 / view.n_hold_out.max(1) as f64);
        let near = match view.n_near {
            0 => String::new(),
            n => format!(" and {} nearly so", number::count(n)),
        };
        format!(
            "{} of {total} ({share}) are also among the training rows: {} equal in every input{near}. \
             Scores on them measure memory, not learning.",
            number::count(n_shared),
            number::count(view.n_exact),
        )
    };
    let shared: Vec<_> = view.by_class.iter().filter(|class| class.n_shared > 0).collect();
    let table = (!shared.is_empty()).then(|| {
        let headings = [
            ("Class", "", false),
            ("Shared", "overlap", true),
            ("Hold-out rows", "", true),
            ("Share", "", true),
        ];
        let mut table = Table::new("Shared rows by class", &headings);
        table.fill(&shared, 20, ("class", "classes"), |class| {
            vec![
                Cell::name(&class.name),
                number::count(class.n_shared).into(),
                number::count(class.n_hold_out).into(),
                number::percent(class.n_shared as f64 / class.n_hold_out.max(1) as f64).into(),
            ]
        });
        table
    });
    Overlap { is_bad: n_shared > 0, sentence, table }
}

fn class_counts(view: &DataView) -> Option<Figure> {
    let total: u64 = view.classes.iter().fold(0, |sum, class| sum.saturating_add(class.n_training));
    let mut sorted: Vec<_> = view.classes.iter().collect();
    sorted.sort_by_key(|class| std::cmp::Reverse(class.n_training));
    let (largest, smallest) = (sorted.first()?, sorted.last()?);
    let share = |n: u64| n as f64 / total.max(1) as f64;
    let mut caption = format!(
        "{} is the most frequent class, with {} of all rows",
        quoted(&largest.name),
        number::percent(share(largest.n_training))
    );
    if sorted.len() > 1 {
        caption.push_str(&format!(
            "; {} the rarest, with {}",
            quoted(&smallest.name),
            number::counted(smallest.n_training, "row", "rows")
        ));
    }
    if smallest.n_training > 0 && largest.n_training >= 2 * smallest.n_training {
        let ratio = largest.n_training as f64 / smallest.n_training as f64;
        caption.push_str(&format!(
            ", {} times fewer",
            number::significant(ratio, if ratio < 10.0 { 2 } else { 3 })
        ));
    }
    caption.push('.');
    if let Some(more) = more_in_prose(sorted.len(), MOST_BARS, "class", "classes") {
        caption.push_str(&format!(" The {MOST_BARS} largest are drawn; only in the table: {more}."));
    }
    let drawn = &sorted[..sorted.len().min(MOST_BARS)];
    let bars = Bars {
        labels: drawn.iter().map(|class| class.name.clone()).collect(),
        columns: vec![BarColumn {
            bars: drawn
                .iter()
                .map(|class| Bar {
                    value: Some(class.n_training as f64),
                    text: format!(
                        "{} · {}",
                        number::count(class.n_training),
                        number::percent(share(class.n_training))
                    ),
                    tone: Tone::Accent,
                    ..Bar::default()
                })
                .collect(),
            ..BarColumn::default()
        }],
    };
    let has_hold_out = view.classes.iter().any(|class| class.n_hold_out.is_some());
    let mut table =
        Table::new("Rows by class", &[("Class", "", false), ("Training", "", true), ("Share", "", true)]);
    if has_hold_out {
        table.headings.extend(Table::new("", &[("Hold-out", "hold-out", true)]).headings);
    }
    table.fill(&view.classes, MOST_TABLE_ROWS, ("class", "classes"), |class| {
        let mut cells = vec![
            Cell::name(&class.name),
            number::count(class.n_training).into(),
            number::percent(share(class.n_training)).into(),
        ];
        if has_hold_out {
            cells.push(class.n_hold_out.map_or(number::UNKNOWN.to_owned(), number::count).into());
        }
        cells
    });
    let title = "Rows by class";
    let drawing = chart::drawn("classes", title, &caption, chart::HALF_PAGE_WIDTH, |width| bars.draw(width));
    Some(Figure {
        id: "figure-classes",
        title,
        term: None,
        caption,
        drawing: Some(drawing),
        table: Some(table),
        is_half: true,
    })
}

fn missing_values(view: &DataView) -> Option<Figure> {
    let most = 16;
    if view.columns.is_empty() {
        return None;
    }
    let n_columns = number::counted(view.columns.len() as u64, "column", "columns");
    let mut missing: Vec<_> = view.columns.iter().filter(|column| column.n_missing > 0).collect();
    // A stable sort: columns with as many missing values stay in file order.
    missing.sort_by_key(|column| std::cmp::Reverse(column.n_missing));
    let title = "Missing values";
    let empty = Figure {
        id: "figure-missing",
        title,
        term: None,
        caption: format!("No value is missing in any of {n_columns}."),
        drawing: None,
        table: None,
        is_half: true,
    };
    let Some(first) = missing.first() else { return Some(empty) };
    let share = |n: u64| n as f64 / view.n_rows.max(1) as f64;
    let mut caption = format!(
        "{} of {n_columns} {} missing values; {} most, in {} of the rows.",
        number::count(missing.len() as u64),
        if missing.len() == 1 { "has" } else { "have" },
        quoted(&first.name),
        number::percent(share(first.n_missing))
    );
    if let Some(more) = more_in_prose(missing.len(), most, "column", "columns") {
        caption.push_str(&format!(" The first {most} are drawn; only in the table: {more}."));
    }
    let drawn = &missing[..missing.len().min(most)];
    let bar = |n: u64| Bar {
        value: Some(share(n)),
        text: format!("{} · {}", number::count(n), number::percent(share(n))),
        tone: if share(n) > 0.5 { Tone::Warning } else { Tone::Accent },
        ..Bar::default()
    };
    let bars = Bars {
        labels: drawn.iter().map(|column| column.name.clone()).collect(),
        columns: vec![BarColumn {
            bars: drawn.iter().map(|column| bar(column.n_missing)).collect(),
            ..BarColumn::default()
        }],
    };
    let mut table = Table::new(
        "Missing values by column",
        &[("Column", "", false), ("Missing", "", true), ("Share", "", true)],
    );
    table.fill(&missing, MOST_TABLE_ROWS, ("column", "columns"), |column| {
        vec![
            Cell::name(&column.name),
            number::count(column.n_missing).into(),
            number::percent(share(column.n_missing)).into(),
        ]
    });
    let drawing = chart::drawn("missing", title, &caption, chart::HALF_PAGE_WIDTH, |width| bars.draw(width));
    Some(Figure { caption, drawing: Some(drawing), table: Some(table), ..empty })
}

fn correlation(view: &CorrelationView) -> Option<Figure> {
    let n = view.names.len().min(MOST_CORRELATED);
    if n < 2 {
        return None;
    }
    let mut pairs: Vec<(usize, usize, f64)> = Vec::new();
    for row in 1..n {
        for column in 0..row {
            let value = view.values.get(row).and_then(|values| values.get(column)).copied();
            pairs.extend(value.filter(|value| value.is_finite()).map(|value| (column, row, value)));
        }
    }
    pairs.sort_by(|a, b| b.2.abs().total_cmp(&a.2.abs()));
    let n_strong = pairs.iter().filter(|pair| pair.2.abs() >= STRONG_CORRELATION).count() as u64;
    let mut caption = match pairs.first() {
        None => "No correlation could be computed.".to_owned(),
        Some(&(a, b, value)) => format!(
            "{} with |r| ≥ {STRONG_CORRELATION}. The strongest: {} and {}, r = {}.",
            match n_strong {
                0 => "No pair".to_owned(),
                n => number::counted(n, "pair", "pairs"),
            },
            quoted(&view.names[a]),
            quoted(&view.names[b]),
            number::significant(value, 2)
        ),
    };
    caption.push_str(" Blue: both rise together; orange: one falls as the other rises.");
    if !view.chosen_by.is_empty() {
        caption.push_str(&format!(" Shown: {}.", view.chosen_by));
    }
    let map = HeatMap {
        names: view.names[..n].to_vec(),
        values: view.values.iter().take(n).map(|values| values.iter().copied().take(n).collect()).collect(),
    };
    let mut table = Table::new(
        "Strongest pairs",
        &[("Column", "", false), ("and", "", false), ("r", "correlation", true)],
    );
    table.fill(&pairs, MOST_PAIRS, ("pair", "pairs"), |&(a, b, value)| {
        vec![Cell::name(&view.names[a]), Cell::name(&view.names[b]), number::significant(value, 3).into()]
    });
    let title = "Columns that move together";
    let drawing = chart::drawn("correlation", title, &caption, chart::PAGE_WIDTH, |width| map.draw(width));
    Some(Figure {
        id: "figure-correlation",
        title,
        term: glossary::term("correlation"),
        caption,
        drawing: Some(drawing),
        table: Some(table),
        is_half: false,
    })
}

fn columns(view: &DataView) -> Option<Table> {
    if view.columns.is_empty() {
        return None;
    }
    let headings = [
        ("Column", "", false),
        ("Type", "", false),
        ("Missing", "", true),
        ("Distinct", "", true),
        ("Minimum", "", true),
        ("Median", "", true),
        ("Mean", "", true),
        ("Maximum", "", true),
        ("Std. dev.", "", true),
    ];
    let mut table = Table::new("Columns", &headings);
    let write =
        |value: Option<f64>| value.map_or(number::UNKNOWN.to_owned(), |value| number::significant(value, 4));
    table.fill(&view.columns, MOST_TABLE_ROWS, ("column", "columns"), |column| {
        vec![
            Cell::name(&column.name),
            column.kind.as_str().into(),
            number::count(column.n_missing).into(),
            column.n_distinct.map_or(number::UNKNOWN.to_owned(), number::count).into(),
            write(column.minimum).into(),
            write(column.median).into(),
            write(column.mean).into(),
            write(column.maximum).into(),
            write(column.standard_deviation).into(),
        ]
    });
    Some(table)
}
