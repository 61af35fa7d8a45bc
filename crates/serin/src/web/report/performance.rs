//! Where the model is right and where it errs: confusion, classes, curves, reliability.

use super::{
    glossary,
    page::{Cell, Figure, Table, more_in_prose, quoted},
    view::{ClassEvaluationView, EvaluationView, ReliabilityBinView},
};
use crate::web::{
    chart::{self, Bar, BarColumn, Bars, Confusion, Panel, Panels, Reliability, ReliabilityPoint, Tone},
    number,
};

const MOST_MATRIX: usize = 60;
const MOST_BARS: usize = 30;
const MOST_PANELS: usize = 12;
const MOST_BACKDROP: usize = 24;
const MOST_TABLE_ROWS: usize = 200;
const MOST_CONFUSED: usize = 30;

/// With up to so many classes the table behind the matrix is the matrix; beyond, it lists the largest confusions.
const MOST_MATRIX_TABLE: usize = 12;

/// The figures in reading order.
pub fn performance(view: &EvaluationView) -> Vec<Figure> {
    [classes(view), confusion(view), roc(view), precision_recall(view), reliability(view)]
        .into_iter()
        .flatten()
        .collect()
}

/// The per-class table is part of the text, not hidden behind a figure.
pub fn class_table(view: &EvaluationView) -> Option<Table> {
    if view.classes.is_empty() {
        return None;
    }
    let headings = [
        ("Class", "", false),
        ("Rows", "support", true),
        ("Precision", "precision", true),
        ("Recall", "recall", true),
        ("F1", "f1", true),
        ("F1 interval", "interval", true),
        ("ROC AUC", "roc-auc", true),
        ("PR AUC", "pr-auc", true),
    ];
    let mut table = Table::new("Metrics by class", &headings);
    table.fill(&view.classes, MOST_TABLE_ROWS, ("class", "classes"), |class| {
        vec![
            Cell::name(&class.name),
            number::count(class.n_rows).into(),
            optional(class.precision).into(),
            optional(class.recall).into(),
            optional(class.f1.map(|f1| f1.value)).into(),
            class.f1.and_then(|f1| f1.interval).map_or(number::UNKNOWN.to_owned(), number::interval).into(),
            optional(class.roc_auc).into(),
            optional(class.pr_auc).into(),
        ]
    });
    Some(table)
}

fn optional(value: Option<f64>) -> String {
    value.map_or(number::UNKNOWN.to_owned(), number::score)
}

fn classes(view: &EvaluationView) -> Option<Figure> {
    let f1 = |class: &ClassEvaluationView| class.f1.map(|f1| f1.value).filter(|value| value.is_finite());
    let measured: Vec<&ClassEvaluationView> =
        view.classes.iter().filter(|class| f1(class).is_some()).collect();
    let by_f1 = |a: &&&ClassEvaluationView, b: &&&ClassEvaluationView| {
        f1(a).unwrap_or(0.0).total_cmp(&f1(b).unwrap_or(0.0))
    };
    let weakest = measured.iter().min_by(by_f1)?;
    let strongest = measured.iter().max_by(by_f1)?;
    let mut caption = format!(
        "{} is decided best (F1 {}), {} worst (F1 {}, {}).",
        quoted(&strongest.name),
        optional(f1(strongest)),
        quoted(&weakest.name),
        optional(f1(weakest)),
        number::counted(weakest.n_rows, "row", "rows")
    );
    // With many classes the weak ones are what a reader came for.
    let mut drawn: Vec<&ClassEvaluationView> = view.classes.iter().collect();
    if drawn.len() > MOST_BARS {
        drawn.sort_by(|a, b| f1(a).unwrap_or(-1.0).total_cmp(&f1(b).unwrap_or(-1.0)));
        drawn.truncate(MOST_BARS);
        caption.push_str(&format!(
            " The {MOST_BARS} weakest are drawn; only in the table above: {}.",
            more_in_prose(view.classes.len(), MOST_BARS, "class", "classes").unwrap_or_default()
        ));
    }
    let column = |title: &str, value: &dyn Fn(&ClassEvaluationView) -> ValueAndInterval, tone: Tone| {
        let bars = drawn.iter().map(|class| {
            let (value, interval) = value(class);
            Bar { value, interval, text: optional(value), tone }
        });
        BarColumn { title: title.to_owned(), full: 1.0, bars: bars.collect() }
    };
    let bars = Bars {
        labels: drawn.iter().map(|class| class.name.clone()).collect(),
        columns: vec![
            column("Precision", &|class| (class.precision, None), Tone::Plain),
            column("Recall", &|class| (class.recall, None), Tone::Plain),
            column("F1", &|class| (f1(class), class.f1.and_then(|f1| f1.interval)), Tone::Accent),
        ],
    };
    let title = "Precision, recall and F1 by class";
    let drawing = chart::drawn("by-class", title, &caption, chart::PAGE_WIDTH, |width| bars.draw(width));
    Some(Figure {
        id: "figure-by-class",
        title,
        term: glossary::term("f1"),
        caption,
        drawing: Some(drawing),
        table: None,
        is_half: false,
    })
}

fn confusion(view: &EvaluationView) -> Option<Figure> {
    let n = view.classes.len();
    if view.confusion.is_empty() || n == 0 {
        return None;
    }
    let names: Vec<&str> = view.classes.iter().map(|class| class.name.as_str()).collect();
    let mut errors: Vec<(usize, usize, u64, u64)> = Vec::new();
    let mut n_right: u64 = 0;
    let mut n_all: u64 = 0;
    for (truth, counts) in view.confusion.iter().enumerate().take(n) {
        let total: u64 = counts.iter().fold(0, |sum, &count| sum.saturating_add(count));
        n_all = n_all.saturating_add(total);
        for (decision, &count) in counts.iter().enumerate().take(n) {
            if truth == decision {
                n_right = n_right.saturating_add(count);
            } else if count > 0 {
                errors.push((truth, decision, count, total));
            }
        }
    }
    errors.sort_by_key(|&(truth, decision, count, _)| (std::cmp::Reverse(count), truth, decision));
    let mut caption =
        format!("{} of {} are right.", number::count(n_right), number::counted(n_all, "row", "rows"));
    if let Some(&(truth, decision, count, total)) = errors.first() {
        caption.push_str(&format!(
            " The most frequent error: {} of {} decided as {} ({} of that class).",
            number::counted(count, "row", "rows"),
            quoted(names[truth]),
            quoted(names[decision]),
            number::percent(count as f64 / total.max(1) as f64)
        ));
    }
    caption.push_str(" Shade: share of the true class's rows; blue is right, orange wrong.");
    let drawn = n.min(MOST_MATRIX);
    if let Some(more) = more_in_prose(n, MOST_MATRIX, "class", "classes") {
        caption.push_str(&format!(" The first {MOST_MATRIX} classes are drawn; left out: {more}."));
    }
    let matrix = Confusion {
        names: names.iter().take(drawn).map(|&name| name.to_owned()).collect(),
        counts: view
            .confusion
            .iter()
            .take(drawn)
            .map(|counts| counts.iter().copied().take(drawn).collect())
            .collect(),
    };
    let title = "Confusion matrix";
    let is_half = n <= 6;
    let width = if is_half { chart::HALF_PAGE_WIDTH } else { chart::PAGE_WIDTH };
    let drawing = chart::drawn("confusion", title, &caption, width, |width| matrix.draw(width));
    let table =
        if n <= MOST_MATRIX_TABLE { matrix_table(view, &names) } else { errors_table(&errors, &names) };
    Some(Figure {
        id: "figure-confusion",
        title,
        term: glossary::term("recall"),
        caption,
        drawing: Some(drawing),
        table: Some(table),
        is_half,
    })
}

fn matrix_table(view: &EvaluationView, names: &[&str]) -> Table {
    let mut table = Table::new("Rows by truth and decision", &[("Truth ↓ decided →", "", false)]);
    for name in names {
        table.headings.extend(
            Table::new("", &[(super::page::short_name(name).as_str(), "", true)]).headings.into_iter().map(
                // A class may be called "recall": its name is not a term.
                |heading| super::page::Heading { term: None, ..heading },
            ),
        );
    }
    for (name, counts) in names.iter().zip(&view.confusion) {
        let mut cells = vec![Cell::name(name)];
        cells.extend(counts.iter().take(names.len()).map(|&count| Cell::from(number::count(count))));
        table.push(cells);
    }
    table
}

fn errors_table(errors: &[(usize, usize, u64, u64)], names: &[&str]) -> Table {
    let headings =
        [("Truth", "", false), ("Decided", "", false), ("Rows", "", true), ("Share of the class", "", true)];
    let mut table = Table::new("Most frequent errors", &headings);
    table.fill(
        errors,
        MOST_CONFUSED,
        ("kind of error", "kinds of error"),
        |&(truth, decision, count, total)| {
            vec![
                Cell::name(names[truth]),
                Cell::name(names[decision]),
                number::count(count).into(),
                number::percent(count as f64 / total.max(1) as f64).into(),
            ]
        },
    );
    table
}

type ValueAndInterval = (Option<f64>, Option<(f64, f64)>);

/// What the two kinds of class curves differ in.
struct CurveKind {
    id: &'static str,
    figure_id: &'static str,
    title: &'static str,
    term: &'static str,
    x_title: &'static str,
    y_title: &'static str,
    explanation: &'static str,
}

fn roc(view: &EvaluationView) -> Option<Figure> {
    let kind = CurveKind {
        id: "roc",
        figure_id: "figure-roc",
        title: "ROC curves",
        term: "roc-auc",
        x_title: "false positives",
        y_title: "true positives",
        explanation: "Each class against the rest, the others in grey. The dashed diagonal is guessing.",
    };
    let chance = |_: &ClassEvaluationView| Some(((0.0, 0.0), (1.0, 1.0)));
    curves(view, &kind, |class| &class.roc, |class| class.roc_auc, chance)
}

fn precision_recall(view: &EvaluationView) -> Option<Figure> {
    let kind = CurveKind {
        id: "precision-recall",
        figure_id: "figure-precision-recall",
        title: "Precision-recall curves",
        term: "pr-auc",
        x_title: "recall",
        y_title: "precision",
        explanation: "Each class against the rest, the others in grey. The dashed line is the class's share of rows, \
                      which guessing reaches.",
    };
    let n_rows = view.n_rows.max(1) as f64;
    let chance = |class: &ClassEvaluationView| {
        let share = class.n_rows as f64 / n_rows;
        Some(((0.0, share), (1.0, share)))
    };
    curves(view, &kind, |class| &class.precision_recall, |class| class.pr_auc, chance)
}

fn curves(
    view: &EvaluationView,
    kind: &CurveKind,
    curve: impl Fn(&ClassEvaluationView) -> &Vec<(f64, f64)>,
    area: impl Fn(&ClassEvaluationView) -> Option<f64>,
    chance: impl Fn(&ClassEvaluationView) -> Option<((f64, f64), (f64, f64))>,
) -> Option<Figure> {
    let mut with_curve: Vec<&ClassEvaluationView> =
        view.classes.iter().filter(|class| curve(class).len() > 1).collect();
    if with_curve.is_empty() {
        return None;
    }
    let mut caption = kind.explanation.to_owned();
    if with_curve.len() > MOST_PANELS {
        with_curve.sort_by(|a, b| area(a).unwrap_or(2.0).total_cmp(&area(b).unwrap_or(2.0)));
        caption.push_str(&format!(
            " The {MOST_PANELS} classes with the least area are drawn; only in the table: {}.",
            more_in_prose(with_curve.len(), MOST_PANELS, "class", "classes").unwrap_or_default()
        ));
    }
    let panels = Panels {
        panels: with_curve
            .iter()
            .take(MOST_PANELS)
            .map(|class| Panel {
                title: class.name.clone(),
                note: format!("area {}", optional(area(class))),
                curve: curve(class).clone(),
                chance: chance(class),
            })
            .collect(),
        x_title: kind.x_title.to_owned(),
        y_title: kind.y_title.to_owned(),
        backdrop: with_curve.iter().take(MOST_BACKDROP).map(|class| curve(class).clone()).collect(),
    };
    let mut table =
        Table::new(kind.title, &[("Class", "", false), ("Area", kind.term, true), ("Rows", "support", true)]);
    table.fill(&with_curve, MOST_TABLE_ROWS, ("class", "classes"), |class| {
        vec![Cell::name(&class.name), optional(area(class)).into(), number::count(class.n_rows).into()]
    });
    let drawing = chart::drawn(kind.id, kind.title, &caption, chart::PAGE_WIDTH, |width| panels.draw(width));
    Some(Figure {
        id: kind.figure_id,
        title: kind.title,
        term: glossary::term(kind.term),
        caption,
        drawing: Some(drawing),
        table: Some(table),
        is_half: false,
    })
}

fn reliability(view: &EvaluationView) -> Option<Figure> {
    let is_known = |bin: &&ReliabilityBinView| {
        bin.n_rows > 0 && bin.mean_predicted.is_finite() && bin.observed.is_finite()
    };
    let bins: Vec<&ReliabilityBinView> = view.reliability.iter().filter(is_known).collect();
    if bins.is_empty() {
        return None;
    }
    let total: f64 = bins.iter().map(|bin| bin.n_rows as f64).sum();
    let mean = |value: &dyn Fn(&ReliabilityBinView) -> f64| {
        bins.iter().map(|bin| bin.n_rows as f64 * value(bin)).sum::<f64>() / total
    };
    let (confidence, right) = (mean(&|bin| bin.mean_predicted), mean(&|bin| bin.observed));
    let gap = mean(&|bin| (bin.mean_predicted - bin.observed).abs());
    let judgement = match confidence - right {
        difference if difference > 0.02 => "the model is surer than it should be",
        difference if difference < -0.02 => "the model is less sure than it could be",
        _ => "on the whole it is as sure as it should be",
    };
    let caption = format!(
        "Mean confidence {}, right {}: {judgement}. The mean gap to the diagonal is {}. Larger dots are more rows, counted \
         below.",
        number::percent(confidence),
        number::percent(right),
        number::score(gap)
    );
    let diagram = Reliability {
        points: bins
            .iter()
            .map(|bin| ReliabilityPoint {
                low: bin.low,
                high: bin.high,
                n_rows: bin.n_rows,
                predicted: bin.mean_predicted,
                observed: bin.observed,
            })
            .collect(),
    };
    let headings =
        [("Probability", "", false), ("Rows", "", true), ("Mean probability", "", true), ("Right", "", true)];
    let mut table = Table::new("Reliability", &headings);
    table.fill(&bins, 50, ("bin", "bins"), |bin| {
        vec![
            format!("{} to {}", number::significant(bin.low, 3), number::significant(bin.high, 3)).into(),
            number::count(bin.n_rows).into(),
            number::score(bin.mean_predicted).into(),
            number::score(bin.observed).into(),
        ]
    });
    let title = "Are the probabilities to be believed?";
    let drawing =
        chart::drawn("reliability", title, &caption, chart::HALF_PAGE_WIDTH, |width| diagram.draw(width));
    Some(Figure {
        id: "figure-reliability",
        title,
        term: glossary::term("calibration-error"),
        caption,
        drawing: Some(drawing),
        table: Some(table),
        is_half: true,
    })
}
