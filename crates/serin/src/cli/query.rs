//! `serin query`: SQL over the inference table, reading only.

use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, Row, Rows};
use serde::Serializer as _;
use serin_core::capture::{Spool, database, open_to_read};
use serin_core::clock::{Clock as _, SystemClock};

use super::args::{DataDirArgs, QueryArgs};
use super::exit::Exit;
use super::export::excel_safe;
use super::printer;
use super::settings::Overrides;

/// How many steps of SQLite's machine pass between two looks at the clock.
const STEPS: i32 = 10_000;
/// Pragmas that only tell, with or without an argument.
const TELLING_PRAGMAS: [&str; 10] = [
    "table_info",
    "table_xinfo",
    "table_list",
    "index_list",
    "index_info",
    "index_xinfo",
    "function_list",
    "compile_options",
    "page_count",
    "freelist_count",
];
/// Pragmas that only tell when nothing is given to them.
const ASKING_PRAGMAS: [&str; 5] = ["user_version", "page_size", "journal_mode", "data_version", "encoding"];

/// Prints what one SELECT finds.
pub(super) fn run(args: &QueryArgs) -> anyhow::Result<Exit> {
    let data_dir = data_dir(&args.place)?;
    let database = existing_database(&data_dir)?;
    let mut connection = open_to_read(&database).with_context(|| cannot_read(&database))?;
    connection.authorizer(Some(only_reading))?;
    if let Some(limit) = args.timeout {
        give_up_after(&mut connection, limit)?;
    }
    let spool = Spool::of(&data_dir).unwrap_or_default();
    if !spool.in_use && spool.bytes > 0 {
        printer::talk(&format!(
            "serin: {} bytes of captured answers are not in the table yet: the next `serin serve` loads them",
            spool.bytes
        ));
    }
    match print(&connection, args) {
        Ok(()) => Ok(Exit::Done),
        Err(error) => match error.downcast_ref::<rusqlite::Error>() {
            Some(error) if is_wrong_sql(error) => {
                printer::talk(&format!("serin: {}", in_sqlites_words(error)));
                Ok(Exit::Usage)
            }
            Some(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {
                bail!(
                    "the query took longer than {:?}; ask for less, or give more --timeout",
                    args.timeout.unwrap_or_default()
                )
            }
            _ => Err(error),
        },
    }
}

/// The data directory that options, settings or defaults name.
pub(super) fn data_dir(place: &DataDirArgs) -> anyhow::Result<PathBuf> {
    let settings = Overrides::new()
        .set("serve.data_dir", place.data_dir.as_ref().map(|path| path.display().to_string()), "--data-dir")
        .load(place.config.as_deref())?;
    Ok(settings.serve.data_dir)
}

/// The database of a data directory that has one.
pub(super) fn existing_database(data_dir: &Path) -> anyhow::Result<PathBuf> {
    let database = database(data_dir);
    if !database.is_file() {
        bail!(
            "there is no inference table in {}: `serin serve` makes it; --data-dir names another place",
            data_dir.display()
        );
    }
    Ok(database)
}

/// What to say when a database cannot be read.
pub(super) fn cannot_read(database: &Path) -> String {
    format!("{}: cannot be read", database.display())
}

fn only_reading(context: AuthContext<'_>) -> Authorization {
    let is_reading = match context.action {
        AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive => true,
        AuthAction::Function { function_name } => {
            !["load_extension", "fts3_tokenizer"].contains(&function_name.to_ascii_lowercase().as_str())
        }
        AuthAction::Pragma { pragma_name, pragma_value } => {
            let name = pragma_name.to_ascii_lowercase();
            TELLING_PRAGMAS.contains(&name.as_str())
                || pragma_value.is_none() && ASKING_PRAGMAS.contains(&name.as_str())
        }
        _ => false,
    };
    if is_reading { Authorization::Allow } else { Authorization::Deny }
}

fn give_up_after(connection: &mut Connection, limit: Duration) -> rusqlite::Result<()> {
    let clock = SystemClock::new();
    let began = clock.monotonic();
    connection.progress_handler(STEPS, Some(move || clock.monotonic().saturating_sub(began) > limit))
}

fn is_wrong_sql(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{InvalidParameterCount, InvalidQuery, MultipleStatement, SqlInputError};
    matches!(error, SqlInputError { .. } | MultipleStatement | InvalidQuery | InvalidParameterCount(..))
        || matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::AuthorizationForStatementDenied | ErrorCode::ReadOnly | ErrorCode::Unknown)
        )
}

fn in_sqlites_words(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::MultipleStatement => "one statement at a time".to_owned(),
        rusqlite::Error::InvalidQuery => "only reading is possible here".to_owned(),
        rusqlite::Error::SqlInputError { msg, sql, offset, .. } if !msg.is_empty() => {
            let near = usize::try_from(*offset).ok().and_then(|offset| sql.get(offset..));
            let near = near.map(|rest| rest.chars().take(32).collect::<String>()).unwrap_or_default();
            if near.is_empty() { msg.clone() } else { format!("{msg}, at: {}", printer::visible(&near)) }
        }
        _ if error.sqlite_error_code() == Some(ErrorCode::AuthorizationForStatementDenied) => {
            format!("only reading is possible here ({error})")
        }
        _ => error.to_string(),
    }
}

fn print(connection: &Connection, args: &QueryArgs) -> anyhow::Result<()> {
    let mut statement = connection.prepare(&args.sql)?;
    if !statement.readonly() {
        return Err(rusqlite::Error::InvalidQuery.into());
    }
    let names = distinct(statement.column_names());
    let mut rows = Limited { rows: statement.query([])?, left: args.limit, has_limit: args.limit > 0 };
    if args.csv {
        print_csv(&names, &mut rows, args.excel_safe)?;
    } else if args.json {
        print_json(&names, &mut rows)?;
    } else {
        print_table(&names, &mut rows)?;
    }
    if rows.is_cut()? {
        printer::talk(&format!("serin: only the first {} rows are shown; --limit 0 shows all", args.limit));
    }
    Ok(())
}

/// The rows of a statement, up to a limit.
struct Limited<'s> {
    rows: Rows<'s>,
    left: u64,
    has_limit: bool,
}

impl Limited<'_> {
    fn next(&mut self) -> rusqlite::Result<Option<&Row<'_>>> {
        if self.has_limit {
            if self.left == 0 {
                return Ok(None);
            }
            self.left -= 1;
        }
        self.rows.next()
    }

    /// Whether there is a row beyond the limit.
    fn is_cut(&mut self) -> rusqlite::Result<bool> {
        Ok(self.has_limit && self.left == 0 && self.rows.next()?.is_some())
    }
}

fn print_table(names: &[String], rows: &mut Limited<'_>) -> anyhow::Result<()> {
    let mut cells = Vec::new();
    while let Some(row) = rows.next()? {
        let row: Result<Vec<String>, rusqlite::Error> = (0..names.len())
            .map(|column| {
                Ok(text(row.get_ref(column)?)
                    .map_or_else(|| "NULL".to_owned(), |text| printer::visible(&text)))
            })
            .collect();
        cells.push(row?);
    }
    let head: Vec<&str> = names.iter().map(String::as_str).collect();
    Ok(printer::data(&printer::table(&head, cells))?)
}

fn print_csv(names: &[String], rows: &mut Limited<'_>, is_excel_safe: bool) -> anyhow::Result<()> {
    let mut writer = csv::Writer::from_writer(BufWriter::new(io::stdout().lock()));
    let names = names.iter().map(|name| if is_excel_safe { excel_safe(name) } else { name.into() });
    writer.write_record(names.map(|name| name.into_owned()))?;
    while let Some(row) = rows.next()? {
        for column in 0..row.as_ref().column_count() {
            let value = row.get_ref(column)?;
            let cell = text(value).unwrap_or_default();
            match value {
                ValueRef::Text(_) if is_excel_safe => writer.write_field(excel_safe(&cell).as_bytes())?,
                _ => writer.write_field(cell)?,
            }
        }
        writer.write_record(None::<&[u8]>)?;
    }
    writer.flush()?;
    Ok(())
}

fn print_json(names: &[String], rows: &mut Limited<'_>) -> anyhow::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut separator = "[\n";
    while let Some(row) = rows.next()? {
        let values = (0..names.len()).map(|column| row.get_ref(column).map(json));
        let values: Vec<serde_json::Value> = values.collect::<Result<_, _>>()?;
        out.write_all(separator.as_bytes())?;
        serde_json::Serializer::new(&mut out).collect_map(names.iter().zip(&values))?;
        separator = ",\n";
    }
    out.write_all(if separator == "[\n" { b"[]\n" } else { b"\n]\n" })?;
    Ok(out.flush()?)
}

/// Column names, the second of the same name with a number: an object has each key once.
fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut distinct: Vec<String> = Vec::new();
    for name in names {
        let repeated = |n: &usize| distinct.contains(&numbered(name, *n));
        let free = (1..).find(|n| !repeated(n)).unwrap_or(1);
        distinct.push(numbered(name, free));
    }
    distinct
}

fn numbered(name: &str, n: usize) -> String {
    if n == 1 { name.to_owned() } else { format!("{name}_{n}") }
}

/// A value as text; `None` is NULL. A number with a fraction keeps all of its digits.
fn text(value: ValueRef<'_>) -> Option<String> {
    match value {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Real(number) => Some(number.to_string()),
        ValueRef::Text(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        ValueRef::Blob(bytes) => Some(hexadecimal(bytes)),
    }
}

fn json(value: ValueRef<'_>) -> serde_json::Value {
    match value {
        ValueRef::Null => serde_json::Value::Null,
        ValueRef::Integer(number) => number.into(),
        ValueRef::Real(number) => number.into(),
        ValueRef::Text(bytes) => String::from_utf8_lossy(bytes).into(),
        ValueRef::Blob(bytes) => hexadecimal(bytes).into(),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_names_get_a_number() {
        assert_eq!(distinct(["a", "b", "a", "a_2", "a"].into_iter()), ["a", "b", "a_2", "a_2_2", "a_3"]);
    }
}
