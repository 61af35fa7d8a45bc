//! The files of a new project.

use serin_ml::dataset::Dataset;

/// Their names, in the order in which they are written.
pub const NAMES: [&str; 5] =
    ["serin.toml", ".gitignore", "README.md", "requests/sample.csv", "requests/sample.json"];

/// What does not belong into a repository.
pub const GIT_IGNORE: &str = "serin-data/\nout/\nsecrets/\n";

/// What distinguishes this project from another.
pub struct Project<'a> {
    pub name: &'a str,
    /// The file of rows, relative to the project or absolute.
    pub train: &'a str,
    pub target: &'a str,
    pub ignore: &'a [String],
}

impl Project<'_> {
    /// The settings: what differs from the defaults, and what one wants to change next, commented out.
    pub fn settings(&self) -> String {
        let ignore = if self.ignore.is_empty() {
            "# ignore = [\"id\"]             # columns to leave out\n".to_owned()
        } else {
            let names: Vec<String> = self.ignore.iter().map(|name| quoted(name)).collect();
            format!("ignore = [{}]\n", names.join(", "))
        };
        let head = format!(
            "# What differs from the defaults; `serin config show` prints every key, `serin config check` reads this file.\n\
             # Take away a `#` to use a line.\n\n\
             [project]\nname = {}\n\n\
             [data]\ntrain = {}\ntarget = {}\n{ignore}",
            quoted(self.name),
            quoted(self.train),
            quoted(self.target),
        );
        let watched = TEMPLATE.replace("{train}", &quoted(self.train));
        head + &watched
    }

    /// How to begin, and how to send the sample requests.
    pub fn read_me(&self, rows: &Dataset) -> String {
        let classes = rows.labels.as_ref().map_or(0, |labels| labels.classes.len());
        READ_ME
            .replace("{name}", self.name)
            .replace("{rows}", &rows.n_rows.to_string())
            .replace("{features}", &rows.schema.fields.len().to_string())
            .replace("{classes}", &classes.to_string())
            .replace("{target}", self.target)
    }
}

/// A text as TOML writes it.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// Behind what is the project's own. A test takes the `#` of every line away and reads it.
const TEMPLATE: &str = r#"# test = "holdout.csv"         # the frozen hold-out; without it a share of train is held out

[train]
# metric = "macro-f1"          # what selection maximises: accuracy, balanced-accuracy, log-loss, ...
# budget = "60s"               # time for search, calibration and refit
# trials = 30                  # a number of trials instead of a time: exactly reproducible

[gates.min]
# "macro-f1" = 0.8             # a model below this goes nowhere

[gates.per_class_floor]
# recall = 0.5                 # of the worst class

[stages.dev]
# approval = false             # deployed to as soon as the gate is passed

[stages.prod]
# approval = true              # a person is asked: `serin approvals`
# four_eyes = true             # and not the one who asked for the run

# A run for each new commit, instead of for this folder as it is:
[source]
# repository = "."             # a path or a URL
# branch = "main"

# A run when the data changes, or by the calendar:
[triggers.data]
# watch = [{train}]

[triggers.schedule]
# enabled = true
# cron = "0 3 1 * *"           # 03:00 on the first of each month
# zone = "Europe/Berlin"

# Who is told when a run failed, waits for approval, or was deployed:
# [notify.mail]
# server = "smtp.example.org"
# from = "serin@example.org"
# to = ["team@example.org"]
# user = "serin"
# password_file = "secrets/smtp"
"#;

const READ_ME: &str = r"# {name}

{rows} rows, {features} features, {classes} classes of `{target}`. `serin.toml` has the settings.

    serin up                   # the control plane and the gateway, until Ctrl-C
    serin run --watch          # train, judge, deploy to dev, ask for approval
    serin approvals            # then: serin approve 1 --reason ...
    serin status

Send the sample requests, once a model is deployed to dev (to prod: `/endpoints/prod/invocations`):

    curl -H 'content-type: text/csv' --data-binary @requests/sample.csv http://127.0.0.1:8080/endpoints/dev/invocations
    curl -H 'content-type: application/json' -d @requests/sample.json http://127.0.0.1:8080/endpoints/dev/invocations

Every answer is a row: `serin query 'select predicted, count(*) from inferences group by 1'`.
";

#[cfg(test)]
mod tests {
    use serin_core::config::{Layers, Settings};

    use super::*;

    fn load(text: &str) -> Settings {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("serin.toml");
        std::fs::write(&file, text).unwrap();
        Settings::load(&Layers { file: Some(file), ..Layers::default() }).unwrap_or_else(|error| {
            panic!("{error}\n{text}");
        })
    }

    #[test]
    fn the_settings_are_read_as_they_stand_and_with_every_line_in_use() {
        let ignore = ["id".to_owned(), "a\"b\\".to_owned()];
        let project =
            Project { name: "wine", train: "rows \"of\" May.csv", target: "ta\\rget", ignore: &ignore };
        let settings = load(&project.settings());
        assert_eq!(settings.project, "wine");
        assert_eq!(settings.data.target.as_deref(), Some("ta\\rget"));
        assert_eq!(settings.data.ignore, ignore);
        assert!(settings.data.train[0].ends_with("rows \"of\" May.csv"));
        assert!(settings.triggers.watch.is_empty() && settings.triggers.schedule.is_none());

        let is_setting = |line: &str| line.contains(" = ") || line.starts_with('[');
        let used = |line: &str| {
            line.strip_prefix("# ")
                .filter(|line| is_setting(line))
                .map_or_else(|| line.to_owned(), str::to_owned)
        };
        let all: Vec<String> = project.settings().lines().map(used).collect();
        let settings = load(&all.join("\n"));
        assert_eq!(settings.triggers.watch.len(), 1);
        assert!(settings.triggers.schedule.is_some() && settings.notify.mail.is_some());
        assert!(settings.pipeline.stages.iter().any(|stage| stage.four_eyes));
    }
}
