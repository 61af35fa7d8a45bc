//! `report.html`: one training run on one page, complete without a network or a script.
//!
//! The command that trains fills a [`view::ReportView`]; [`render`] turns it into HTML. Text is escaped by the
//! templates and by the chart writer, so names may be anything. The page carries a policy that forbids scripts and
//! all loading, so that even a name which got through could do nothing.

mod data;
mod glossary;
mod insight;
mod page;
mod performance;
mod selection;
mod verdict;
pub mod view;
mod winner;

use askama::Template;

use self::{
    page::{Figure, Table, TermLink},
    view::ReportView,
};
use super::number;

/// The whole page. Its text depends on nothing but the view.
pub fn render(view: &ReportView) -> Result<String, askama::Error> {
    Ok(visible(&Page::new(view).render()?))
}

#[derive(Debug, Template)]
#[template(path = "report.html")]
struct Page<'a> {
    view: &'a ReportView,
    facts: Vec<String>,
    lead: Option<String>,
    verdict: verdict::Verdict,
    headline: Option<verdict::Headline>,
    data: data::Data,
    selection: selection::Selection,
    winner: Option<winner::Winner>,
    class_table: Option<Table>,
    performance: Vec<Figure>,
    importances: Option<Figure>,
    learning_curve: Option<Figure>,
    time: Option<Figure>,
    lineage: Vec<insight::LineageFact>,
    terms: &'static [glossary::Term],
    style: &'static str,
}

impl<'a> Page<'a> {
    fn new(view: &'a ReportView) -> Self {
        let evaluation = view.evaluation.as_ref();
        Self {
            view,
            facts: facts(view),
            lead: verdict::lead(view),
            verdict: verdict::verdict(view),
            headline: evaluation.and_then(verdict::headline),
            data: data::data(&view.data),
            selection: selection::selection(view),
            winner: view.winner.as_ref().map(winner::winner),
            class_table: evaluation.and_then(performance::class_table),
            performance: evaluation.map(performance::performance).unwrap_or_default(),
            importances: insight::importances(view),
            learning_curve: insight::learning_curve(view),
            time: insight::time(&view.phases),
            lineage: insight::lineage(&view.lineage),
            terms: glossary::TERMS,
            style: include_str!("report.css"),
        }
    }

    fn term(&self, text: &'static str, name: &str) -> TermLink<'static> {
        TermLink { text, term: glossary::term(name) }
    }

    /// Full-width figures of the performance section, then the halves that stand side by side.
    fn wide(&self) -> impl Iterator<Item = &Figure> {
        self.performance.iter().filter(|figure| !figure.is_half)
    }

    fn halves(&self) -> impl Iterator<Item = &Figure> {
        self.performance.iter().filter(|figure| figure.is_half)
    }
}

fn facts(view: &ReportView) -> Vec<String> {
    let mut facts = vec![
        number::counted(view.data.n_rows, "row", "rows"),
        number::counted(view.data.n_features, "column", "columns"),
        number::counted(view.data.classes.len() as u64, "class", "classes"),
    ];
    facts.extend(view.made_at.clone());
    facts
}

/// Characters that would not be seen, or would reorder what is seen, shown as a replacement mark. They can only come
/// from names; the page itself has none.
fn visible(html: &str) -> String {
    let is_hidden = |character: char| match character {
        '\n' | '\t' => false,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}' => true,
        '\u{fffe}' | '\u{ffff}' | '\u{feff}' => true,
        _ => character.is_control(),
    };
    html.chars().map(|character| if is_hidden(character) { '\u{fffd}' } else { character }).collect()
}
