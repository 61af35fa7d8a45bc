//! `serin data check`

use anyhow::bail;
use serde_json::json;
use serin_core::stages::{DataError, check, read_options, read_rows};
use serin_ml::dataset::{DataCheck, Dataset, ReadOptions, Severity};

use super::args::DataCheckArgs;
use super::exit::Exit;
use super::settings::Overrides;
use super::watch::Watch;
use super::{files, printer, threads};

/// Columns listed before the table is cut.
const COLUMN_LIMIT: usize = 20;
/// Names listed in one finding.
const NAME_LIMIT: usize = 8;

/// Reads rows and says what is odd about them. An error finding ends with exit code 3, as a gate would.
pub fn run(args: &DataCheckArgs) -> anyhow::Result<Exit> {
    let settings = Overrides::new()
        .list("data.train", &args.data, "--data")
        .list("data.test", &args.test, "--test")
        .columns(&args.columns)
        .load(args.config.as_deref())?;
    threads::limit(settings.threads)?;
    if settings.data.train.is_empty() {
        bail!(DataError::Nothing { what: "", option: "--data", key: "data.train" });
    }
    let watch = Watch::start(None);
    let options = read_options(&settings.data);
    let train = files::warned(read_rows(&settings.data.train, &options, &watch)?);
    let test = if settings.data.test.is_empty() {
        None
    } else {
        let options = ReadOptions {
            expected_schema: Some(train.schema.clone()),
            expected_classes: train.labels.as_ref().map(|labels| labels.classes.clone()),
            target_required: false,
            ..options
        };
        Some(files::warned(read_rows(&settings.data.test, &options, &watch)?))
    };
    let found = check(&settings, &train, test.as_ref());
    watch.finish();
    if args.json {
        let document = json!({
            "fingerprint": train.fingerprint,
            "schema": train.schema,
            "check": found,
        });
        printer::data(&serde_json::to_string_pretty(&document)?)?;
    } else {
        printer::data(&text(&train, test.as_ref(), &found))?;
    }
    let has_error = found.findings.iter().any(|finding| finding.severity == Severity::Error);
    Ok(if has_error { Exit::GateRefused } else { Exit::Done })
}

/// What a person reads about data: counts, columns and findings.
fn text(train: &Dataset, test: Option<&Dataset>, found: &DataCheck) -> String {
    let columns = train.schema.fields.iter().zip(&train.columns).take(COLUMN_LIMIT).map(|(field, values)| {
        let missing = values.iter().filter(|value| value.is_nan()).count();
        let (low, high) = field
            .range
            .map_or_else(Default::default, |(low, high)| (printer::number(low), printer::number(high)));
        vec![field.name.clone(), format!("{:?}", field.kind).to_lowercase(), missing.to_string(), low, high]
    });
    let mut text = counts(train, test, found);
    text.push_str(&printer::table(&["column", "kind", "missing", "smallest", "largest"], columns));
    if train.schema.fields.len() > COLUMN_LIMIT {
        text.push_str(&format!("\nand {} more (--json has all)", train.schema.fields.len() - COLUMN_LIMIT));
    }
    text.push_str("\n\n");
    text.push_str(&findings(found));
    text
}

/// The same without the columns.
pub fn summary(train: &Dataset, test: Option<&Dataset>, found: &DataCheck) -> String {
    counts(train, test, found) + &findings(found)
}

fn counts(train: &Dataset, test: Option<&Dataset>, found: &DataCheck) -> String {
    let mut text = format!(
        "{} rows, {} features, fingerprint {}\n",
        found.rows,
        found.features,
        &train.fingerprint.0[..12]
    );
    if let Some(test) = test {
        text.push_str(&format!("{} test rows, fingerprint {}\n", test.n_rows, &test.fingerprint.0[..12]));
    }
    let classes = found.classes.iter().map(|class| {
        let share = format!("{:.1}%", 100.0 * class.rows as f64 / found.rows.max(1) as f64);
        let test = class.test_rows.map_or_else(String::new, |rows| rows.to_string());
        vec![class.class.clone(), class.rows.to_string(), share, test]
    });
    if !found.classes.is_empty() {
        text.push('\n');
        text.push_str(&printer::table(&["class", "rows", "share", "test rows"], classes));
        text.push('\n');
    }
    text.push('\n');
    text
}

fn findings(found: &DataCheck) -> String {
    if found.findings.is_empty() {
        return "nothing odd was found\n".to_owned();
    }
    let mut text = String::new();
    for finding in &found.findings {
        let severity = match finding.severity {
            Severity::Error => "error  ",
            Severity::Warning => "warning",
            Severity::Info => "info   ",
        };
        text.push_str(&format!("{severity} {}: {}", finding.code, finding.text));
        if !finding.columns.is_empty() {
            let names: Vec<&str> = finding.columns.iter().take(NAME_LIMIT).map(String::as_str).collect();
            let more = finding.columns.len().saturating_sub(NAME_LIMIT);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            text.push_str(&format!(" [{}{more}]", names.join(", ")));
        }
        text.push('\n');
    }
    text
}
