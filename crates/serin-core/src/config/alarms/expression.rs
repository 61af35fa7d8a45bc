//! The text of an alarm over other alarms: `ALARM("errors") AND NOT (OK(slow) OR INSUFFICIENT_DATA(slow))`.
//!
//! As in CloudWatch, `NOT` binds closest, then `AND`, then `OR`; a name needs quotes when it has spaces, parentheses or
//! commas in it, and within quotes a backslash stands before a quote or a backslash. Here is what can be written; what it
//! means for given states is in `alarms`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::NAME_LIMIT;
use crate::domain::AlarmState;

/// Longest text of an expression, in bytes.
pub const TEXT_LIMIT: usize = 10_240;
/// Most parentheses and `NOT`s within one another.
pub const DEPTH_LIMIT: usize = 16;
/// Most alarms that one expression names.
pub const NAMES_LIMIT: usize = 100;

/// An expression that can be evaluated, and its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Expression {
    text: String,
    root: Node,
    names: BTreeSet<String>,
}

/// What an expression is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// `TRUE` and `FALSE`.
    Constant(bool),
    /// The alarm is in this state.
    Is {
        name: String,
        state: AlarmState,
    },
    Not(Box<Node>),
    /// Joined by `AND`; at least two.
    All(Vec<Node>),
    /// Joined by `OR`; at least two.
    Any(Vec<Node>),
}

/// Why a text is no expression.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("at character {position}: {problem}")]
pub struct InvalidExpression {
    /// From 1.
    pub position: usize,
    pub problem: String,
}

impl Expression {
    /// The text as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    #[must_use]
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// The alarms it names, each once.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Expression {
    type Err = InvalidExpression;

    fn from_str(text: &str) -> Result<Self, InvalidExpression> {
        if text.len() > TEXT_LIMIT {
            let problem = format!("the text has {} bytes, but may have at most {TEXT_LIMIT}", text.len());
            return Err(InvalidExpression { position: 1, problem });
        }
        let mut parser = Parser { text, at: 0, names: BTreeSet::new() };
        let root = parser.any(0)?;
        if parser.peek().is_some() {
            let problem = unexpected(parser.word(), &["AND", "OR"], "AND, OR or the end");
            return Err(parser.error(&problem));
        }
        Ok(Self { text: text.to_owned(), root, names: parser.names })
    }
}

impl TryFrom<String> for Expression {
    type Error = InvalidExpression;

    fn try_from(text: String) -> Result<Self, InvalidExpression> {
        text.parse()
    }
}

impl From<Expression> for String {
    fn from(expression: Expression) -> Self {
        expression.text
    }
}

/// Reads from left to right, one function for each strength of binding.
struct Parser<'a> {
    text: &'a str,
    /// In bytes.
    at: usize,
    names: BTreeSet<String>,
}

impl<'a> Parser<'a> {
    fn any(&mut self, depth: usize) -> Result<Node, InvalidExpression> {
        let mut parts = vec![self.all(depth)?];
        while self.takes_word("OR") {
            parts.push(self.all(depth)?);
        }
        Ok(joined(parts, Node::Any))
    }

    fn all(&mut self, depth: usize) -> Result<Node, InvalidExpression> {
        let mut parts = vec![self.one(depth)?];
        while self.takes_word("AND") {
            parts.push(self.one(depth)?);
        }
        Ok(joined(parts, Node::All))
    }

    fn one(&mut self, depth: usize) -> Result<Node, InvalidExpression> {
        let begin = self.peek();
        let word = self.word();
        if depth >= DEPTH_LIMIT && (word == "NOT" || begin == Some('(')) {
            let problem = format!("more than {DEPTH_LIMIT} parentheses and NOTs stand within one another");
            return Err(self.error(&problem));
        }
        if begin == Some('(') {
            self.take('(')?;
            let inner = self.any(depth + 1)?;
            self.take(')')?;
            return Ok(inner);
        }
        let start = self.at;
        self.at += word.len();
        match word {
            "NOT" => Ok(Node::Not(Box::new(self.one(depth + 1)?))),
            "TRUE" => Ok(Node::Constant(true)),
            "FALSE" => Ok(Node::Constant(false)),
            _ => {
                let state = AlarmState::ALL.into_iter().find(|state| state.name() == word);
                let Some(state) = state else {
                    self.at = start;
                    let known = ["ALARM", "OK", "INSUFFICIENT_DATA", "NOT", "TRUE", "FALSE"];
                    let expected = "ALARM(name), OK(name), INSUFFICIENT_DATA(name), NOT, TRUE, FALSE or (";
                    return Err(self.error(&unexpected(word, &known, expected)));
                };
                self.take('(')?;
                let name = self.name()?;
                self.take(')')?;
                Ok(Node::Is { name, state })
            }
        }
    }

    /// A name within the parentheses of a function.
    fn name(&mut self) -> Result<String, InvalidExpression> {
        self.peek();
        let start = self.at;
        let name = if self.text[start..].starts_with('"') { self.quoted()? } else { self.bare() };
        let end = self.at;
        let problem = if name.is_empty() {
            "the name of an alarm is expected here".to_owned()
        } else if name.chars().count() > NAME_LIMIT {
            format!("the name has more than {NAME_LIMIT} characters")
        } else if name.chars().any(char::is_control) {
            "the name has a control character in it".to_owned()
        } else if self.names.len() >= NAMES_LIMIT && !self.names.contains(&name) {
            format!("more than {NAMES_LIMIT} alarms are named")
        } else {
            self.names.insert(name.clone());
            self.at = end;
            return Ok(name);
        };
        self.at = start;
        Err(self.error(&problem))
    }

    fn bare(&mut self) -> String {
        let rest = &self.text[self.at..];
        let ends = |c: char| c.is_whitespace() || matches!(c, '(' | ')' | ',' | '"');
        let name = &rest[..rest.find(ends).unwrap_or(rest.len())];
        self.at += name.len();
        name.to_owned()
    }

    fn quoted(&mut self) -> Result<String, InvalidExpression> {
        let rest = &self.text[self.at..];
        let mut name = String::new();
        let mut is_escaped = false;
        for (i, c) in rest.char_indices().skip(1) {
            match c {
                '"' | '\\' if is_escaped => {
                    name.push(c);
                    is_escaped = false;
                }
                _ if is_escaped => {
                    self.at += i;
                    return Err(self.error("only \" and \\ may stand behind a backslash"));
                }
                '\\' => is_escaped = true,
                '"' => {
                    self.at += i + 1;
                    return Ok(name);
                }
                _ => name.push(c),
            }
        }
        Err(self.error("the quote that begins here has no end"))
    }

    /// The next character that is no space, which becomes the next to be read.
    fn peek(&mut self) -> Option<char> {
        let rest = &self.text[self.at..];
        let trimmed = rest.trim_start();
        self.at += rest.len() - trimmed.len();
        trimmed.chars().next()
    }

    /// The word that begins here, not yet taken; empty when there is none.
    fn word(&mut self) -> &'a str {
        self.peek();
        let rest = &self.text[self.at..];
        &rest[..rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())]
    }

    fn takes_word(&mut self, wanted: &str) -> bool {
        let is_there = self.word() == wanted;
        if is_there {
            self.at += wanted.len();
        }
        is_there
    }

    fn take(&mut self, wanted: char) -> Result<(), InvalidExpression> {
        if self.peek() != Some(wanted) {
            return Err(self.error(&format!("{wanted} is expected here")));
        }
        self.at += wanted.len_utf8();
        Ok(())
    }

    fn error(&self, problem: &str) -> InvalidExpression {
        let position = 1 + self.text[..self.at].chars().count();
        InvalidExpression { position, problem: problem.to_owned() }
    }
}

/// What to say of a word that does not belong where it stands.
fn unexpected(word: &str, known: &[&str], expected: &str) -> String {
    let capitals = word.to_uppercase();
    match known.iter().find(|known| **known == capitals && word != capitals) {
        Some(known) => format!("write {known} in capitals"),
        None => format!("{expected} is expected here"),
    }
}

/// One part is itself.
fn joined(mut parts: Vec<Node>, join: fn(Vec<Node>) -> Node) -> Node {
    if parts.len() == 1 {
        return parts.swap_remove(0);
    }
    join(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Expression, InvalidExpression> {
        text.parse()
    }

    fn is(name: &str, state: AlarmState) -> Node {
        Node::Is { name: name.to_owned(), state }
    }

    #[test]
    fn not_binds_closest_and_or_least() {
        let (a, b, c) =
            (is("a", AlarmState::Alarm), is("b", AlarmState::Ok), is("c", AlarmState::InsufficientData));
        let text = "ALARM(a) OR NOT OK(\"b\") AND INSUFFICIENT_DATA( c )";
        let not_b = Node::Not(Box::new(b.clone()));
        assert_eq!(
            *parse(text).unwrap().root(),
            Node::Any(vec![a.clone(), Node::All(vec![not_b, c.clone()])])
        );
        let grouped = "NOT(ALARM(a)OR OK(b))AND\n\tINSUFFICIENT_DATA(c)AND TRUE AND (FALSE)";
        let either = Node::Not(Box::new(Node::Any(vec![a, b])));
        let all = vec![either, c, Node::Constant(true), Node::Constant(false)];
        assert_eq!(*parse(grouped).unwrap().root(), Node::All(all));
        let names = parse(text).unwrap();
        assert_eq!(names.names().collect::<Vec<_>>(), ["a", "b", "c"]);
    }

    #[test]
    fn names_may_be_quoted() {
        let name = |text: &str| match parse(text).unwrap().root() {
            Node::Is { name, .. } => name.clone(),
            other => format!("{other:?}"),
        };
        assert_eq!(name(r#"ALARM("a b, (c)")"#), "a b, (c)");
        assert_eq!(name(r#"ALARM("a \"b\" \\ c")"#), r#"a "b" \ c"#);
        assert_eq!(name("ALARM(arn:aws:x/ü-1.2)"), "arn:aws:x/ü-1.2");
        assert_eq!(name("OK(AND)"), "AND");
    }

    #[test]
    fn mistakes_have_a_place() {
        for (text, position, said) in [
            ("", 1, "ALARM(name), OK(name)"),
            ("   ", 4, "is expected here"),
            ("ALARM", 6, "( is expected"),
            ("ALARM()", 7, "the name of an alarm"),
            ("ALARM(a", 8, ") is expected"),
            ("ALARM(a b)", 9, ") is expected"),
            ("ALARM(a) ALARM(b)", 10, "AND, OR or the end"),
            ("ALARM(a) AND", 13, "is expected here"),
            ("ALARM(a) and ALARM(b)", 10, "write AND in capitals"),
            ("alarm(a)", 1, "write ALARM in capitals"),
            ("ALARM(a) AND not OK(b)", 14, "write NOT in capitals"),
            ("(ALARM(a)", 10, ") is expected"),
            ("ALARM(a))", 9, "AND, OR or the end"),
            ("ALARM(\"a)", 7, "has no end"),
            (r#"ALARM("a\n")"#, 10, "behind a backslash"),
            ("ALARM(\"\")", 7, "the name of an alarm"),
            ("ALARM(\"ü\") UND OK(b)", 12, "AND, OR or the end"),
            ("ALARM(\"a\u{7}\")", 7, "control character"),
            ("FALSEHOOD", 1, "is expected here"),
            ("AT_LEAST(1, ALARM, (a))", 1, "is expected here"),
            ("NOT", 4, "is expected here"),
            ("\u{0}", 1, "is expected here"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.position == position && error.problem.contains(said), "{text:?}: {error}");
        }
        let long = parse(&format!("ALARM({})", "é".repeat(256))).unwrap_err();
        assert!(long.problem.contains("255 characters"), "{long}");
        assert!(parse(&format!("ALARM({})", "é".repeat(255))).is_ok());
    }

    #[test]
    fn everything_has_a_limit() {
        let nested = |depth: usize| format!("{}TRUE{}", "(".repeat(depth), ")".repeat(depth));
        let negated = |depth: usize| format!("{}TRUE", "NOT ".repeat(depth));
        for text in [nested(DEPTH_LIMIT), negated(DEPTH_LIMIT)] {
            assert!(parse(&text).is_ok());
        }
        for text in [nested(DEPTH_LIMIT + 1), negated(DEPTH_LIMIT + 1), "(".repeat(TEXT_LIMIT)] {
            assert!(parse(&text).unwrap_err().problem.contains("within one another"));
        }
        let of = |count: usize| (0..count).map(|i| format!("ALARM(a{i})")).collect::<Vec<_>>().join(" OR ");
        assert!(parse(&of(NAMES_LIMIT)).is_ok());
        assert!(parse(&format!("{} OR OK(a0)", of(NAMES_LIMIT))).is_ok(), "named twice is one");
        let error = parse(&of(NAMES_LIMIT + 1)).unwrap_err();
        assert!(error.problem.contains("more than 100 alarms") && error.position > 1_000, "{error}");
        let padded = |length: usize| format!("{}TRUE", " ".repeat(length - 4));
        assert!(parse(&padded(TEXT_LIMIT)).is_ok());
        assert!(parse(&padded(TEXT_LIMIT + 1)).unwrap_err().problem.contains("10241 bytes"));
    }
}
