//! `serin capture export`: rows of a time as a file.

mod columns;
mod sagemaker;

use std::borrow::Cow;
use std::fs::File;
use std::path::Path;

use anyhow::{Context as _, bail};
use serin_core::capture::{CapturedRow, RowRange, TableReader};

use self::columns::{Columns, CsvExport, ParquetExport};
use self::sagemaker::SageMakerExport;
use super::args::{CaptureExportArgs, ExportFormat};
use super::exit::Exit;
use super::query::{cannot_read, data_dir, existing_database};
use super::{files, printer};

/// Rows read, and written, at a time.
const ROWS_AT_ONCE: usize = 2_048;

/// A file being written.
trait Export {
    /// Appends rows; they come in the order of their arrival.
    fn write(&mut self, rows: &[CapturedRow]) -> anyhow::Result<()>;

    /// Writes what is left; what else there is to say about the file.
    fn close(self: Box<Self>) -> anyhow::Result<Option<String>>;
}

/// Writes the file.
pub(super) fn run(args: &CaptureExportArgs) -> anyhow::Result<Exit> {
    if args.from >= args.to {
        bail!("--from {} is not before --to {}", args.from.to_rfc3339(), args.to.to_rfc3339());
    }
    let data_dir = data_dir(&args.place)?;
    let database = existing_database(&data_dir)?;
    files::check_output(&args.out, &[])?;
    let folder = args.out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (folder, kept) = (std::fs::canonicalize(folder), std::fs::canonicalize(&data_dir));
    if let (Ok(folder), Ok(kept)) = (folder, kept) {
        let name = args.out.file_name().unwrap_or_default().to_string_lossy();
        let is_ours = ["inferences.db", "control.", "serving.json"].iter().any(|ours| name.starts_with(ours));
        if (folder == kept && is_ours) || folder.starts_with(kept.join("capture")) {
            bail!("{}: not written: Serin keeps its own files there", args.out.display());
        }
    }
    let reader = TableReader::open(&database).with_context(|| cannot_read(&database))?;
    let range = RowRange { from: args.from, to: args.to, endpoint: args.endpoint.clone() };
    let temporary = args.out.with_extension(format!("{}.tmp", std::process::id()));
    let written = write(args, &reader, &range, &temporary).and_then(|written| {
        std::fs::rename(&temporary, &args.out)?;
        Ok(written)
    });
    match written {
        Ok((rows, remark)) => {
            remark.iter().for_each(|remark| printer::talk(&format!("serin: {remark}")));
            printer::talk(&format!("{rows} rows written to {}", args.out.display()));
            Ok(Exit::Done)
        }
        Err(error) => {
            let _ = std::fs::remove_file(&temporary);
            Err(error.context(format!("{}: not written", args.out.display())))
        }
    }
}

fn write(
    args: &CaptureExportArgs,
    reader: &TableReader,
    range: &RowRange,
    path: &Path,
) -> anyhow::Result<(u64, Option<String>)> {
    let file = File::create(path)?;
    let mut export: Box<dyn Export> = match args.format {
        ExportFormat::Parquet => Box::new(ParquetExport::begin(file, Columns::of(reader.models(range)?))?),
        ExportFormat::Csv => {
            Box::new(CsvExport::begin(file, Columns::of(reader.models(range)?), args.excel_safe)?)
        }
        ExportFormat::SagemakerJsonl => Box::new(SageMakerExport::begin(file)),
    };
    let (mut rows, mut position) = (0, None);
    loop {
        let batch = reader.rows(range, position, ROWS_AT_ONCE)?;
        let Some(last) = batch.last() else { break };
        position = Some(last.position);
        rows += batch.len() as u64;
        export.write(&batch)?;
    }
    Ok((rows, export.close()?))
}

/// Text that a spreadsheet shows and does not run: what it would take for a formula gets a quote in front.
pub(super) fn excel_safe(text: &str) -> Cow<'_, str> {
    match text.as_bytes().first() {
        Some(b'=' | b'+' | b'-' | b'@' | b'\t' | b'\r' | b'\n') => Cow::Owned(format!("'{text}")),
        _ => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_like_a_formula_gets_a_quote() {
        for start in ["=", "+", "-", "@", "\t", "\r", "\n"] {
            assert_eq!(excel_safe(&format!("{start}cmd|'/c calc'!A1")), format!("'{start}cmd|'/c calc'!A1"));
        }
        for harmless in ["", "a=1", "'=1", " =1", "1-2"] {
            assert_eq!(excel_safe(harmless), harmless);
        }
    }
}
