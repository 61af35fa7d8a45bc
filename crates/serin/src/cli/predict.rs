//! `serin predict`

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serin_core::stages::expand;
use serin_ml::dataset::{Dataset, OutputColumn, ParquetOutput, ReadOptions, read_batches};
use serin_ml::matrix::Matrix;
use serin_ml::model::Bundle;

use super::args::PredictArgs;
use super::exit::Exit;
use super::watch::Watch;
use super::{files, printer};

/// Asks a bundle about rows, batch by batch: memory does not grow with the number of rows.
pub fn run(args: &PredictArgs) -> anyhow::Result<Exit> {
    let bundle = files::read_model(&args.model, args.classes.as_deref())?;
    let paths = expand(&args.data.iter().map(PathBuf::from).collect::<Vec<_>>())?;
    let options = ReadOptions {
        target_required: false,
        expected_schema: Some(bundle.card.schema.clone()),
        missing: bundle.card.missing.clone(),
        // The target and what else a file holds is left out without a word; the id is carried through.
        ignore: vec![bundle.card.target.clone()],
        id: args.id.clone(),
        ..ReadOptions::default()
    };
    let watch = Watch::start(None);
    let mut output = Output::open(args.out.as_deref(), &bundle, args)?;
    let mut rows = 0_usize;
    let mut failed = None;
    let warnings = read_batches(&paths, &options, &watch, &mut |batch| {
        rows += batch.n_rows;
        match output.write(&bundle, &batch) {
            Ok(()) => true,
            Err(error) => {
                failed = Some(error);
                false
            }
        }
    });
    watch.finish();
    if let Some(error) = failed {
        output.abandon();
        return Err(error);
    }
    match warnings {
        Ok(warnings) => warnings.iter().for_each(|warning| printer::talk(&format!("warning: {warning}"))),
        Err(error) => {
            output.abandon();
            return Err(error.into());
        }
    }
    output.close()?;
    if let Some(path) = &args.out {
        printer::talk(&format!("{rows} predictions in {}", path.display()));
    }
    Ok(Exit::Done)
}

/// Where predictions go. A file appears under its name only when it is whole.
struct Output {
    sink: Sink,
    proba: bool,
    id: Option<String>,
    finished: Option<(PathBuf, PathBuf)>,
}

enum Sink {
    Csv(csv::Writer<Box<dyn Write>>),
    Parquet(ParquetOutput),
}

impl Output {
    fn open(path: Option<&Path>, bundle: &Bundle, args: &PredictArgs) -> anyhow::Result<Self> {
        let names = names(bundle, args);
        let Some(path) = path else {
            let mut writer = csv::Writer::from_writer(Box::new(std::io::stdout().lock()) as Box<dyn Write>);
            writer.write_record(&names)?;
            return Ok(Self {
                sink: Sink::Csv(writer),
                proba: args.proba,
                id: args.id.clone(),
                finished: None,
            });
        };
        // Rows may be named by a pattern: those that are files of that name are looked at.
        let inputs: Vec<&Path> = args.data.iter().map(Path::new).chain([args.model.as_path()]).collect();
        files::check_output(path, &inputs)?;
        let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
        let file =
            File::create(&temporary).with_context(|| format!("{}: cannot be written", path.display()))?;
        let sink = match path.extension().and_then(|extension| extension.to_str()) {
            Some("csv") => {
                let mut writer = csv::Writer::from_writer(Box::new(BufWriter::new(file)) as Box<dyn Write>);
                writer.write_record(&names)?;
                Sink::Csv(writer)
            }
            Some("parquet") => {
                let text = if args.id.is_some() { 2 } else { 1 };
                Sink::Parquet(ParquetOutput::new(file, &names[..text], &names[text..])?)
            }
            _ => {
                let _ = std::fs::remove_file(&temporary);
                bail!("{}: call the output .csv or .parquet", path.display());
            }
        };
        let finished = Some((temporary, path.to_owned()));
        Ok(Self { sink, proba: args.proba, id: args.id.clone(), finished })
    }

    fn write(&mut self, bundle: &Bundle, batch: &Dataset) -> anyhow::Result<()> {
        let (probabilities, decisions) = bundle.predictor.predict(&batch.features());
        let classes: Vec<&str> =
            decisions.iter().map(|&class| bundle.card.classes[class as usize].as_str()).collect();
        let ids = self.id.as_ref().and(batch.ids.as_deref());
        match &mut self.sink {
            Sink::Csv(writer) => write_csv(writer, ids, &classes, self.proba.then_some(&probabilities)),
            Sink::Parquet(writer) => {
                let mut columns = Vec::new();
                columns.extend(ids.map(|ids| OutputColumn::Text(ids.iter().map(String::as_str).collect())));
                columns.push(OutputColumn::Text(classes));
                if self.proba {
                    let count = bundle.card.classes.len();
                    columns.extend((0..count).map(|class| OutputColumn::Number(probabilities.column(class))));
                }
                Ok(writer.write(&columns)?)
            }
        }
    }

    fn close(self) -> anyhow::Result<()> {
        match self.sink {
            Sink::Csv(mut writer) => writer.flush()?,
            Sink::Parquet(writer) => writer.close()?,
        }
        if let Some((temporary, path)) = self.finished {
            std::fs::rename(temporary, &path)
                .with_context(|| format!("{}: cannot be written", path.display()))?;
        }
        Ok(())
    }

    /// Leaves nothing half-written behind.
    fn abandon(self) {
        if let Some((temporary, _)) = self.finished {
            let _ = std::fs::remove_file(temporary);
        }
    }
}

fn names(bundle: &Bundle, args: &PredictArgs) -> Vec<String> {
    let mut names: Vec<String> = args.id.iter().cloned().collect();
    names.push("class".into());
    if args.proba {
        names.extend(bundle.card.classes.iter().map(|class| format!("p_{class}")));
    }
    names
}

fn write_csv(
    writer: &mut csv::Writer<Box<dyn Write>>,
    ids: Option<&[String]>,
    classes: &[&str],
    probabilities: Option<&Matrix>,
) -> anyhow::Result<()> {
    for (row, class) in classes.iter().enumerate() {
        if let Some(ids) = ids {
            writer.write_field(&ids[row])?;
        }
        writer.write_field(class)?;
        if let Some(probabilities) = probabilities {
            for probability in probabilities.row(row) {
                writer.write_field(probability.to_string())?;
            }
        }
        writer.write_record(None::<&[u8]>)?;
    }
    Ok(())
}
