//! The pieces a page is made of. Each is a template of its own and escapes what it shows.

use askama::Template;

use super::{glossary, glossary::Term};

/// Longest name shown in full in a table or a sentence; longer ones are cut, with the rest on hover.
const LONGEST_NAME: usize = 64;

/// A name of any length in a hover text.
const LONGEST_HOVER: usize = 400;

/// A drawing with what it says in a sentence, and the numbers behind it.
#[derive(Debug, Template)]
#[template(path = "report/figure.html")]
pub struct Figure {
    pub id: &'static str,
    pub title: &'static str,
    pub term: Option<&'static Term>,
    /// What there is to see.
    pub caption: String,
    /// Made by `chart::drawn`, which has escaped it; `None` when there is nothing to draw and the caption says why.
    pub drawing: Option<String>,
    pub table: Option<Table>,
    /// Takes half of a wide page.
    pub is_half: bool,
}

#[derive(Debug, Default, Template)]
#[template(path = "report/table.html")]
pub struct Table {
    /// What a screen reader calls it.
    pub label: String,
    pub headings: Vec<Heading>,
    pub rows: Vec<Row>,
    /// What was left out: `and 12 more classes`.
    pub more: Option<String>,
}

#[derive(Debug, Default)]
pub struct Heading {
    pub text: String,
    pub term: Option<&'static Term>,
    pub is_number: bool,
}

#[derive(Debug, Default)]
pub struct Row {
    pub cells: Vec<Cell>,
    pub is_strong: bool,
}

#[derive(Debug, Default)]
pub struct Cell {
    pub text: String,
    /// On hover: the whole of what was cut.
    pub whole: Option<String>,
    /// Links the text to its meaning.
    pub term: Option<&'static Term>,
}

/// A label that shows its meaning on hover and leads to the glossary.
#[derive(Debug, Template)]
#[template(path = "report/term.html")]
pub struct TermLink<'a> {
    pub text: &'a str,
    pub term: Option<&'static Term>,
}

impl Table {
    /// `headings` as (text, glossary name or "", is a number).
    pub fn new(label: &str, headings: &[(&str, &str, bool)]) -> Self {
        let heading = |&(text, name, is_number): &(&str, &str, bool)| Heading {
            text: text.to_owned(),
            term: glossary::term(name),
            is_number,
        };
        Self { label: label.to_owned(), headings: headings.iter().map(heading).collect(), ..Self::default() }
    }

    pub fn push(&mut self, cells: Vec<Cell>) {
        self.rows.push(Row { cells, is_strong: false });
    }

    /// The first `most` of `items` as rows; the table then says how many are missing.
    pub fn fill<T>(
        &mut self,
        items: &[T],
        most: usize,
        (one, many): (&str, &str),
        cells: impl Fn(&T) -> Vec<Cell>,
    ) {
        for item in items.iter().take(most) {
            self.push(cells(item));
        }
        self.more = and_more(items.len(), most, one, many);
    }

    // By reference, because a template passes its loop counter so.
    fn is_number(&self, position: &usize) -> bool {
        self.headings.get(*position).is_some_and(|heading| heading.is_number)
    }
}

impl Cell {
    /// A name the user chose: cut when very long.
    pub fn name(name: &str) -> Self {
        let text = short_name(name);
        let whole = (text != name).then(|| cut(name, LONGEST_HOVER));
        Self { text, whole, term: None }
    }

    /// The first digits of a hash, the rest on hover.
    pub fn digest(digest: &str) -> Self {
        let text: String = digest.chars().take(12).collect();
        let whole = (text != digest).then(|| cut(digest, LONGEST_HOVER));
        Self { text, whole, term: None }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { text, ..Self::default() }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

/// `and 12 more classes`, when there are more than fit.
pub fn and_more(n: usize, most: usize, one: &str, many: &str) -> Option<String> {
    let rest = n.saturating_sub(most);
    (rest > 0).then(|| {
        format!("and {} more {}", crate::web::number::count(rest as u64), if rest == 1 { one } else { many })
    })
}

/// The same within a sentence: `12 more classes`.
pub fn more_in_prose(n: usize, most: usize, one: &str, many: &str) -> Option<String> {
    and_more(n, most, one, many).map(|more| more.trim_start_matches("and ").to_owned())
}

/// A name as tables show it.
pub fn short_name(name: &str) -> String {
    match name.trim() {
        "" => "(empty)".to_owned(),
        _ => cut(name, LONGEST_NAME),
    }
}

/// A name within a sentence: `“versicolor”`.
pub fn quoted(name: &str) -> String {
    format!("“{}”", cut(name, 40))
}

/// `a`, `a and b`, `a, b and c`.
pub fn listed(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// A name of the configuration as words: `gradient-boosting` becomes `Gradient boosting`.
pub fn words(name: &str) -> String {
    let spaced = short_name(name).replace(['-', '_'], " ");
    let mut characters = spaced.chars();
    match characters.next() {
        Some(first) => first.to_uppercase().chain(characters).collect(),
        None => spaced,
    }
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_between_characters() {
        assert_eq!(short_name("setosa"), "setosa");
        assert_eq!(short_name(""), "(empty)");
        let cell = Cell::name(&"ü".repeat(1000));
        assert_eq!(cell.text.chars().count(), 64);
        assert_eq!(cell.whole.map(|whole| whole.chars().count()), Some(400));
    }

    #[test]
    fn lists_read_as_sentences() {
        let items = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(
            [listed(&[]), listed(&items[..1]), listed(&items[..2]), listed(&items)],
            ["", "a", "a and b", "a, b and c"]
        );
        assert_eq!(words("gradient-boosting"), "Gradient boosting");
        assert_eq!(and_more(3, 3, "row", "rows"), None);
        assert_eq!(and_more(4, 3, "row", "rows").as_deref(), Some("and 1 more row"));
    }
}
