//! `serin destroy`: says what goes, exports it when asked, and removes it.

use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use serde_json::Value;
use serin_core::artifacts::Artifacts;
use serin_core::clock::{Clock as _, SystemClock, Timestamp};
use serin_core::digest::Digest;

use super::args::DestroyArgs;
use super::client::{Client, by, data_directory, escaped, project, query};
use super::show;
use super::words::{block, cell, entries, items, plain, text};
use crate::cli::args::{CaptureExportArgs, DataDirArgs, ExportFormat};
use crate::cli::exit::Exit;
use crate::cli::{export, printer};
use crate::control::ControlNote;

/// Versions asked for at a time.
const VERSIONS_AT_ONCE: u32 = 1_000;

/// Removes a stage or a project.
pub fn run(args: &DestroyArgs) -> anyhow::Result<Exit> {
    let client = Client::find(&args.look.server)?;
    let project = project(&client, args.project.as_deref())?;
    let who = by(args.who.by.as_deref())?;
    let path = |dry_run: bool| {
        let parameters = [
            ("stage", args.stage.clone()),
            ("dry_run", dry_run.then(|| "true".to_owned())),
            ("by", Some(who.clone())),
        ];
        format!("/projects/{}{}", escaped(&project), query(&parameters))
    };
    let plan = client.delete(&path(true))?;
    if args.dry_run {
        return show(&args.look, &plan, |plan| words(plan, "would go"));
    }
    printer::talk(words(&plan, "will go").trim_end());
    if !args.yes && !confirmed(&project)? {
        printer::talk("serin: nothing was removed");
        return Ok(Exit::Failed);
    }
    if let Some(folder) = &args.export {
        Exporting { client: &client, args, project: &project, folder }.all(&plan)?;
    }
    let answer = client.delete(&path(false))?;
    show(&args.look, &answer, |answer| words(answer, "went"))
}

fn words(plan: &Value, go: &str) -> String {
    let project = cell(plan, "project");
    let endpoints: Vec<String> = entries(plan, "endpoints").iter().map(plain).collect();
    let mut lines = Vec::new();
    match plan["stage"].as_str() {
        Some(stage) => lines.push(format!("of the stage {} of {project} {go}:", super::words::line(stage))),
        None => lines.push(format!("of the project {project} {go}:")),
    }
    lines.push(match endpoints.as_slice() {
        [] => "  no endpoint: nothing serves there".to_owned(),
        names => format!("  endpoints {}, which answer no more", names.join(", ")),
    });
    for (key, what) in [("runs", "runs with their logs"), ("versions", "model versions")] {
        if let Some(count) = plan[key].as_u64().filter(|count| *count > 0) {
            lines.push(format!("  {count} {what}"));
        }
    }
    let cancelled: Vec<String> = entries(plan, "cancelled").iter().map(plain).collect();
    if !cancelled.is_empty() {
        lines.push(format!("  runs {}, which are cancelled first", cancelled.join(", ")));
    }
    let mut out = lines.join("\n") + "\n";
    let kept: Vec<String> = entries(plan, "kept").iter().map(plain).collect();
    if !kept.is_empty() {
        out.push_str("what stays:\n");
        out.push_str(&block(&kept.join("\n"), "  "));
    }
    out
}

/// Asks the person at the terminal, who types the project's name.
fn confirmed(project: &str) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("nobody is there to confirm it: say --yes, or --dry-run to see what would go");
    }
    printer::talk(&format!("type {project} to go on, anything else to leave it:"));
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim() == project)
}

/// What is written before something goes.
struct Exporting<'a> {
    client: &'a Client,
    args: &'a DestroyArgs,
    project: &'a str,
    folder: &'a Path,
}

impl Exporting<'_> {
    /// The rows of every endpoint that goes, and the bundles of versions that go, or that serve where a stage goes.
    fn all(&self, plan: &Value) -> anyhow::Result<()> {
        let data_directory = data_directory(&self.args.look.server)?;
        let is_its = ControlNote::read(&data_directory)?
            .is_some_and(|note| note.url.trim_end_matches('/') == self.client.url());
        if !is_its {
            bail!(
                "{} is not the data directory of {}, which is what --export reads: name it with --data-dir",
                data_directory.display(),
                self.client.url()
            );
        }
        std::fs::create_dir_all(self.folder)
            .with_context(|| format!("{}: cannot be made", self.folder.display()))?;
        if serin_core::capture::database(&data_directory).is_file() {
            for endpoint in entries(plan, "endpoints").iter().filter_map(Value::as_str) {
                self.rows(&data_directory, endpoint)?;
            }
        }
        let artifacts = Artifacts::open(&data_directory, SystemClock::new().now())?;
        let mut before = None;
        loop {
            let (versions, next) = self.versions(before)?;
            for version in &versions {
                self.bundle(&artifacts, version)?;
            }
            match next {
                Some(next) if !versions.is_empty() => before = Some(next),
                _ => return Ok(()),
            }
        }
    }

    fn rows(&self, data_directory: &Path, endpoint: &str) -> anyhow::Result<()> {
        export::run(&CaptureExportArgs {
            from: Timestamp(0),
            to: Timestamp(i64::MAX),
            endpoint: Some(endpoint.to_owned()),
            format: ExportFormat::Parquet,
            // Names of endpoints are letters, digits and hyphens.
            out: self.folder.join(format!("rows-{}.parquet", escaped(endpoint))),
            excel_safe: false,
            place: DataDirArgs { data_dir: Some(data_directory.to_owned()), config: None },
        })?;
        Ok(())
    }

    /// A part of the versions that go, and where the next part begins.
    fn versions(&self, before: Option<u64>) -> anyhow::Result<(Vec<Value>, Option<u64>)> {
        if let Some(stage) = &self.args.stage {
            let answer = self
                .client
                .get(&format!("/endpoints{}", query(&[("project", Some(self.project.to_owned()))])))?;
            let endpoint = items(&answer).iter().find(|endpoint| endpoint["stage"] == *stage.as_str());
            let numbers = endpoint.into_iter().flat_map(|endpoint| entries(endpoint, "variants"));
            let numbers = numbers.filter_map(|variant| variant["version"].as_u64());
            let versions: Result<Vec<Value>, _> =
                numbers.map(|number| self.client.get(&format!("/versions/{number}"))).collect();
            return Ok((versions?, None));
        }
        let parameters = [
            ("project", Some(self.project.to_owned())),
            ("limit", Some(VERSIONS_AT_ONCE.to_string())),
            ("before", before.map(|number| number.to_string())),
        ];
        let answer = self.client.get(&format!("/versions{}", query(&parameters)))?;
        Ok((items(&answer).to_vec(), answer["next"].as_u64()))
    }

    fn bundle(&self, artifacts: &Artifacts, version: &Value) -> anyhow::Result<()> {
        let number = cell(version, "number");
        let digest: Digest = text(version, "artifact")
            .parse()
            .with_context(|| format!("version {number}: its artifact is no digest"))?;
        let path = self.folder.join(format!("version-{number}.serin"));
        artifacts
            .copy_to(&digest, &path)
            .with_context(|| format!("version {number}: its bundle cannot be exported"))?;
        printer::talk(&format!("version {number} written to {}", path.display()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_goes_and_what_stays_is_said() {
        let plan = json!({"dry_run": true, "project": "wine", "stage": null, "endpoints": ["dev", "prod"], "runs": 3,
            "versions": 0, "cancelled": [7], "kept": ["captured rows", "the folder /wine"]});
        assert_eq!(
            words(&plan, "would go"),
            "of the project wine would go:\n  endpoints dev, prod, which answer no more\n  3 runs with their logs\n  \
             runs 7, which are cancelled first\nwhat stays:\n  captured rows\n  the folder /wine\n"
        );
        let stage = json!({"project": "wine", "stage": "dev", "endpoints": [], "kept": []});
        assert_eq!(
            words(&stage, "went"),
            "of the stage dev of wine went:\n  no endpoint: nothing serves there\n"
        );
    }
}
