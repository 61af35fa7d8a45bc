//! JSON bodies: rows by position or by name, in the forms that SageMaker, TensorFlow Serving and MLflow use.
//!
//! | form | rows |
//! | --- | --- |
//! | `{"instances": [...]}`, `{"inputs": [...]}`, `[...]` | each an array, or an object by name |
//! | `{"inputs": {"width": [1.5, 2], ...}}` | an array for each column |
//! | `{"dataframe_records": [...]}` | each an object by name |
//! | `{"dataframe_split": {"columns": [...], "data": [...]}}` | arrays in the order of `columns` |
//! | `{"width": 1.5, ...}` | the object is the only row |
//!
//! An array of numbers instead of an array of rows is one row.

use std::borrow::Cow;

use super::json_reader::{JsonReader, Kind, Members};
use super::problem::{Code, Problem, echo};
use super::rows::RowBuilder;

const ROW_KEYS: [&str; 3] = ["instances", "inputs", "dataframe_records"];
const SPLIT_KEY: &str = "dataframe_split";
const LINE_KEY: &str = "features";
/// Rows under this key may also come as an object of columns.
const COLUMNS_KEY: &str = "inputs";

/// Reads the rows of `text` into `builder`.
///
/// # Errors
/// When the text is not JSON, has none of the forms, or a limit is passed. Wrong values are noted in the builder.
pub fn read(text: &str, builder: &mut RowBuilder<'_>) -> Result<(), Problem> {
    let limits = builder.limits();
    let mut json = JsonReader::new(text, limits);
    let form = match json.peek()? {
        Kind::Array => rows(&mut json, builder),
        Kind::Object => document(&mut json, builder),
        _ => Err(wrong_form("the body must be an object or an array of rows")),
    };
    // Text that is not JSON is said to be so, whatever else was wrong before that place.
    match form {
        Err(problem) if is_about_form(&problem) => {
            let mut json = JsonReader::new(text, limits);
            json.skip_value()?;
            json.end()?;
            Err(problem)
        }
        Err(problem) => Err(problem),
        Ok(()) => json.end(),
    }
}

/// Reads the rows of `text`, one a line: an array, an object by name, or SageMaker's `{"features": [...]}`.
///
/// # Errors
/// As [`read`].
pub fn read_lines(text: &str, builder: &mut RowBuilder<'_>) -> Result<(), Problem> {
    let limits = builder.limits();
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let mut json = JsonReader::new(line, limits);
        let mut read = || {
            match json.peek()? {
                Kind::Array => row(&mut json, builder)?,
                Kind::Object => line_object(&mut json, builder)?,
                _ => return Err(wrong_form("each line must be an array or an object")),
            }
            json.end()
        };
        read().map_err(|problem| problem.in_line(i + 1))?;
    }
    Ok(())
}

fn line_object(json: &mut JsonReader<'_>, builder: &mut RowBuilder<'_>) -> Result<(), Problem> {
    let mut members = json.enter()?;
    let first = json.next_key(&mut members)?;
    if first.as_deref() == Some(LINE_KEY) && builder.guard().position(LINE_KEY).is_none() {
        if json.peek()? != Kind::Array {
            return Err(wrong_form("`features` must be an array of values"));
        }
        row(json, builder)?;
        return nothing_else(json, &mut members, LINE_KEY);
    }
    named_members(json, &mut members, first, builder)
}

fn document(json: &mut JsonReader<'_>, builder: &mut RowBuilder<'_>) -> Result<(), Problem> {
    let mut members = json.enter()?;
    let Some(first) = json.next_key(&mut members)? else {
        return Ok(());
    };
    // A feature that has the name of a form is meant as the feature.
    if builder.guard().position(&first).is_none() {
        if ROW_KEYS.contains(&&*first) {
            match json.peek()? {
                Kind::Array => rows(json, builder)?,
                Kind::Object if first == COLUMNS_KEY => columns(json, builder)?,
                _ => return Err(wrong_form(&format!("`{first}` must be an array of rows"))),
            }
            return nothing_else(json, &mut members, &first);
        }
        if first == SPLIT_KEY {
            split(json, builder)?;
            return nothing_else(json, &mut members, &first);
        }
    }
    named_members(json, &mut members, Some(first), builder)
}

/// The rest of an object that is a row, of which the `first` key has been read.
fn named_members<'a>(
    json: &mut JsonReader<'a>,
    members: &mut Members,
    first: Option<Cow<'a, str>>,
    builder: &mut RowBuilder<'_>,
) -> Result<(), Problem> {
    builder.begin_named_row()?;
    let mut key = first;
    while let Some(name) = key {
        named_value(json, builder, &name)?;
        key = json.next_key(members)?;
    }
    builder.end_named_row();
    Ok(())
}

/// An array of rows, or one row as an array of numbers.
fn rows(json: &mut JsonReader<'_>, builder: &mut RowBuilder<'_>) -> Result<(), Problem> {
    let mut members = json.enter()?;
    let mut is_one_row = None;
    while json.next_element(&mut members)? {
        let kind = json.peek()?;
        let is_value = !matches!(kind, Kind::Array | Kind::Object);
        if *is_one_row.get_or_insert(is_value) != is_value {
            return Err(wrong_form("rows and single values are mixed"));
        }
        match kind {
            Kind::Array => row(json, builder)?,
            Kind::Object => named_row(json, builder)?,
            _ => {
                if builder.next_column() == 0 {
                    builder.begin_row()?;
                }
                value(json, builder)?;
            }
        }
    }
    if is_one_row == Some(true) {
        builder.end_row();
    }
    Ok(())
}

fn row(json: &mut JsonReader<'_>, builder: &mut RowBuilder<'_>) -> Result<(), Problem> {
    builder.begin_row()?;
    let mut members = json.enter()?;
    while json.next_element(&mut members)? {
        value(json, builder)?;
    }
    builder.end_row();
    Ok(())
}

#[inline]
fn value(json: &mut JsonReader<'_>, builder: &mut RowBuilder<'_>) -> Result<(), Problem> {
    match json.peek()? {
        Kind::Number => builder.push_number(json.number()?),
        Kind::Null => {
            json.literal()?;
            builder.push_missing();
        }
        Kind::Boolean(boolean) => {
            json.literal()?;
            builder.push_boolean(boolean);
        }
        Kind::String => {
            json.string()?;
            builder.push_wrong(Code::NotANumber);
        }
        Kind::Array | Kind::Object => {
            json.skip_value()?;
            builder.push_wrong(Code::WrongType);
        }
    }
    Ok(())
}

fn named_row(json: &mut JsonReader<'_>, builder: &mut RowBuilder<'_>) -> Result<(), Problem> {
    let mut members = json.enter()?;
    let first = json.next_key(&mut members)?;
    named_members(json, &mut members, first, builder)
}

fn named_value(json: &mut JsonReader<'_>, builder: &mut RowBuilder<'_>, name: &str) -> Result<(), Problem> {
    let Some(column) = builder.column_of(name) else {
        return json.skip_value();
    };
    let value = column_value(json, builder, column)?;
    builder.set(column, value);
    Ok(())
}

fn column_value(
    json: &mut JsonReader<'_>,
    builder: &mut RowBuilder<'_>,
    column: usize,
) -> Result<f64, Problem> {
    Ok(match json.peek()? {
        Kind::Number => builder.number(json.number()?, column),
        Kind::Null => {
            json.literal()?;
            builder.missing(column)
        }
        Kind::Boolean(boolean) => {
            json.literal()?;
            builder.boolean(boolean, column)
        }
        Kind::String => {
            json.string()?;
            builder.wrong(Code::NotANumber, column)
        }
        Kind::Array | Kind::Object => {
            json.skip_value()?;
            builder.wrong(Code::WrongType, column)
        }
    })
}

/// MLflow's split orientation. `columns` must stand before `data`, as pandas writes it, so that rows need not be
/// kept until their names are known.
fn split(json: &mut JsonReader<'_>, builder: &mut RowBuilder<'_>) -> Result<(), Problem> {
    if json.peek()? != Kind::Object {
        return Err(wrong_form("`dataframe_split` must be an object with `columns` and `data`"));
    }
    let mut members = json.enter()?;
    let mut columns: Option<Vec<Option<usize>>> = None;
    let mut has_data = false;
    while let Some(key) = json.next_key(&mut members)? {
        match &*key {
            "index" => json.skip_value()?,
            "columns" if columns.is_none() => columns = Some(split_columns(json, builder)?),
            "data" if !has_data => {
                let Some(columns) = &columns else {
                    return Err(wrong_form("`columns` must stand before `data`"));
                };
                split_data(json, builder, columns)?;
                has_data = true;
            }
            "columns" | "data" => return Err(twice(&key)),
            _ => return Err(unexpected(&key, SPLIT_KEY)),
        }
    }
    Ok(())
}

fn split_columns(
    json: &mut JsonReader<'_>,
    builder: &mut RowBuilder<'_>,
) -> Result<Vec<Option<usize>>, Problem> {
    if json.peek()? != Kind::Array {
        return Err(wrong_form("`columns` must be an array of names"));
    }
    let mut names = Vec::new();
    let mut members = json.enter()?;
    while json.next_element(&mut members)? {
        if json.peek()? != Kind::String {
            return Err(wrong_form("`columns` must be an array of names"));
        }
        names.push(json.string()?);
    }
    // The names are checked as those of one row are: unknown, twice, absent.
    builder.begin_named_row()?;
    let columns = names.iter().map(|name| builder.column_of(name)).collect();
    builder.check_given();
    Ok(columns)
}

fn split_data(
    json: &mut JsonReader<'_>,
    builder: &mut RowBuilder<'_>,
    columns: &[Option<usize>],
) -> Result<(), Problem> {
    if json.peek()? != Kind::Array {
        return Err(wrong_form("`data` must be an array of rows"));
    }
    let mut members = json.enter()?;
    while json.next_element(&mut members)? {
        if json.peek()? != Kind::Array {
            return Err(wrong_form("each row of `data` must be an array"));
        }
        builder.begin_named_row()?;
        let mut values = json.enter()?;
        let mut found = 0;
        while json.next_element(&mut values)? {
            match columns.get(found) {
                Some(Some(column)) => {
                    let value = column_value(json, builder, *column)?;
                    builder.set(*column, value);
                }
                _ => json.skip_value()?,
            }
            found += 1;
        }
        builder.end_split_row(found, columns.len());
    }
    Ok(())
}

/// An array of values for each name. The columns are read side by side, one row after the other, by as many readers.
fn columns(json: &mut JsonReader<'_>, builder: &mut RowBuilder<'_>) -> Result<(), Problem> {
    let mut members = json.enter()?;
    let mut readers = Vec::new();
    // The names are checked as those of one row are: unknown, twice, absent.
    builder.begin_named_row()?;
    while let Some(name) = json.next_key(&mut members)? {
        let column = builder.column_of(&name);
        if json.peek()? != Kind::Array {
            return Err(wrong_form("each column must be an array of values"));
        }
        if let Some(column) = column {
            let mut reader = json.clone();
            let values = reader.enter()?;
            readers.push((column, reader, values));
        }
        json.skip_value()?;
    }
    builder.check_given();
    loop {
        let mut has_next = None;
        for (column, reader, values) in &mut readers {
            let has = reader.next_element(values)?;
            if has_next.is_none() && has {
                builder.begin_named_row()?;
            }
            if *has_next.get_or_insert(has) != has {
                return Err(wrong_form("the columns are not of one length"));
            }
            if has {
                let value = column_value(reader, builder, *column)?;
                builder.set(*column, value);
            }
        }
        if has_next != Some(true) {
            return Ok(());
        }
        builder.end_split_row(0, 0);
    }
}

fn nothing_else(json: &mut JsonReader<'_>, members: &mut Members, form: &str) -> Result<(), Problem> {
    match json.next_key(members)? {
        None => Ok(()),
        Some(key) if key == form => Err(twice(&key)),
        Some(key) => Err(unexpected(&key, form)),
    }
}

fn wrong_form(detail: &str) -> Problem {
    Problem::new(Code::WrongType, detail)
}

fn twice(key: &str) -> Problem {
    Problem::new(Code::DuplicateKey, format!("`{}` occurs twice", echo(key)))
}

fn unexpected(key: &str, form: &str) -> Problem {
    Problem::new(Code::UnknownFeature, format!("`{}` is not expected beside or within `{form}`", echo(key)))
}

/// Problems after which the rest of the text has not been looked at.
fn is_about_form(problem: &Problem) -> bool {
    matches!(problem.code, Code::WrongType | Code::DuplicateKey | Code::UnknownFeature)
}
