//! `[stages.NAME.replicas]`.

use std::time::Duration;

use serin_core::config::{
    DEFAULT_TOML, Layers, ReplicaRuntimeKind, ReplicaSettings, Settings, StageSettings,
};
use serin_core::scale::{Policy, ScaleMetric, StepSide};

use super::{file, known_keys, load, message};

fn replicas(stage: &str, text: &str) -> ReplicaSettings {
    let settings = load(text).unwrap();
    settings.pipeline.stages.into_iter().find(|known| known.name == stage).unwrap().replicas
}

#[test]
fn without_a_word_there_is_one_in_the_gateway() {
    for stage in ["dev", "prod"] {
        assert_eq!(replicas(stage, ""), ReplicaSettings::default(), "{stage}");
    }
    let plain = replicas("live", "[pipeline]\nstages = [\"live\"]\n");
    assert_eq!(plain, ReplicaSettings::default());
    assert_eq!((plain.runtime, plain.answer_limit), (ReplicaRuntimeKind::InProcess, Duration::from_secs(1)));
    assert_eq!((plain.start_limit, plain.memory_limit_bytes), (Duration::from_secs(240), 2 << 30));
    assert_eq!((plain.scaling.min, plain.scaling.max, plain.scaling.policies.len()), (1, 1, 0));
    // Unloaded while nobody asks.
    assert_eq!(replicas("prod", "[stages.prod.replicas]\nmin = 0\n").scaling.min, 0);
    // Plans and routes of before have none of this.
    let stage: StageSettings = serde_json::from_str(
        r#"{"name": "prod", "approval": true, "approval_valid": {"secs": 1, "nanos": 0}, "four_eyes": false, "smoke_rows": 1}"#,
    )
    .unwrap();
    assert_eq!(stage.replicas, ReplicaSettings::default());
    let part: ReplicaSettings =
        serde_json::from_str(r#"{"runtime": "process", "scaling": {"max": 3}}"#).unwrap();
    assert_eq!((part.scaling.min, part.scaling.max, part.scaling.fast), (1, 3, true));
}

#[test]
fn everything_can_be_said() {
    let text = r#"
[stages.prod.replicas]
runtime = "container"
min = 2
target = ["750 invocations per replica per minute", "70% cpu"]
steps = [{ above = "4 in flight per replica", add = 2 }, { below = "10% cpu", remove = 1, minutes = 5 }]
schedule = [
    { cron = "0 8 * * 1-5", zone = "Europe/Berlin", min = 4, max = 20 },
    { cron = "0 20 * * 1-5", zone = "Europe/Berlin" },
]
scale_in = false
scale_in_cooldown = "5m"
scale_out_cooldown = "0s"
fast = false
answer_limit = "500ms"
start_limit = "30s"
memory_limit = "512MiB"
cpus = 0.5
gpus = "device=0"
"#;
    let settings = replicas("prod", text);
    assert_eq!((settings.runtime, settings.cpus), (ReplicaRuntimeKind::Container, Some(0.5)));
    assert_eq!((settings.gpus.as_deref(), settings.memory_limit_bytes), (Some("device=0"), 512 << 20));
    let scaling = &settings.scaling;
    assert_eq!((scaling.min, scaling.max, scaling.scale_in, scaling.fast), (2, 10, false, false));
    assert_eq!((scaling.scale_in_cooldown.as_secs(), scaling.scale_out_cooldown.as_secs()), (300, 0));
    let tracked: Vec<_> = scaling.policies.iter().map(ToString::to_string).collect();
    assert_eq!(tracked, ["750 invocations per replica per minute", "70% cpu", "2 steps"]);
    let Some(Policy::Steps { steps }) = scaling.policies.last() else { panic!("no steps") };
    assert_eq!(
        (steps[0].metric, steps[0].side, steps[0].minutes),
        (ScaleMetric::InFlightPerReplica, StepSide::Above, 3)
    );
    assert_eq!((steps[1].change, steps[1].side, steps[1].minutes), (1, StepSide::Below, 5));
    let bounds: Vec<_> = scaling.schedules.iter().map(|entry| (entry.min, entry.max)).collect();
    assert_eq!(bounds, [(4, 20), (2, 10)]);
    let stored = serde_json::to_string(&settings).unwrap();
    assert_eq!(serde_json::from_str::<ReplicaSettings>(&stored).unwrap(), settings);
}

/// Each key is in the default file, as a setting or as a comment, and the commented ones are right.
#[test]
fn the_default_file_shows_every_key_of_replicas() {
    let start = DEFAULT_TOML.find("[stages.prod.replicas]").unwrap();
    let lines = DEFAULT_TOML[start..].lines().take_while(|line| !line.is_empty());
    let text: String = lines.map(|line| format!("{}\n", line.strip_prefix("# ").unwrap_or(line))).collect();
    let table: toml::Table = text.parse().unwrap();
    let written = table["stages"]["prod"]["replicas"].as_table().unwrap().keys().cloned().collect();
    assert_eq!(known_keys("stages.x.replicas"), written);
    let settings = replicas("prod", &text.replace("\"in-process\"", "\"container\""));
    assert_eq!((settings.scaling.policies.len(), settings.scaling.schedules.len()), (2, 2));
}

#[test]
fn mistakes_about_replicas_are_named_with_their_line_and_their_fix() {
    let process = "runtime = \"process\"\n";
    let with = |line: &str| format!("[stages.prod.replicas]\n{process}{line}\n");
    let plain = |line: &str| format!("[stages.prod.replicas]\n{line}\n");
    let entry = "{ cron = \"0 8 * * *\", min = 4 }";
    let cases: Vec<(String, usize, &[&str])> = vec![
        (plain("runtime = \"thread\""), 2, &["runtime: is \"thread\"", "\"in-process\""]),
        (plain("max = 2"), 2, &["replicas.max: is 2, in-process", "as many threads as it needs"]),
        (plain("min = 2"), 2, &["replicas.min: is 2, in-process"]),
        (plain("target = \"70% cpu\""), 2, &["replicas.target", "in-process there is one"]),
        (plain("steps = [{ above = \"70% cpu\", add = 1 }]"), 2, &["replicas.steps", "in-process"]),
        (plain("cpus = 1.0"), 2, &["replicas.cpus", "in-process"]),
        (with("maximum = 2"), 3, &["unknown key `maximum`"]),
        (with("min = 3\nmax = 2"), 3, &["replicas.min: is 3, and max is 2"]),
        (with("max = 0"), 3, &["replicas.max: is 0", "from 1 to 1000"]),
        (with("max = -1"), 3, &["-1"]),
        (with("target = 750"), 3, &["expected a target or a list of targets"]),
        (with("target = \"750\""), 3, &["target: is \"750\"", "750 invocations per replica per minute"]),
        (with("target = \"0% cpu\""), 3, &["target: is \"0% cpu\""]),
        (with("target = \"101% cpu\""), 3, &["target: is \"101% cpu\""]),
        (with("target = [\"70% cpu\", \"60 % cpu\"]"), 3, &["two targets for % cpu", "one target"]),
        (with("steps = [{ above = \"70% cpu\" }]"), 3, &["steps: have one that is none", "add = 2"]),
        (with("steps = [{ above = \"70% cpu\", remove = 1 }]"), 3, &["steps: have one that is none"]),
        (with("steps = [{ below = \"70% cpu\", remove = 0 }]"), 3, &["change by 0 after 15 minutes"]),
        (with("steps = [{ below = \"9% cpu\", remove = 1, minutes = 16 }]"), 3, &["1 to 15 minutes"]),
        (with(&format!("schedule = [{entry}]")), 3, &["would hold for ever", "a second one"]),
        (
            with("schedule = [{ cron = \"8 o'clock\" }, { cron = \"@daily\" }]"),
            3,
            &["replicas.schedule", "five fields"],
        ),
        (with(&format!("schedule = [{entry}, {{ cron = \"@daily\", zone = \"Mars\" }}]")), 3, &["time zone"]),
        (
            with(&format!("schedule = [{entry}, {{ cron = \"@daily\", max = 0 }}]")),
            3,
            &["from 1 to 0 replicas"],
        ),
        (plain(&format!("schedule = [{entry}, {{ cron = \"@daily\" }}]")), 2, &["from 4 to 1 replicas"]),
        (with("scale_in_cooldown = \"60\""), 3, &["scale_in_cooldown: is \"60\"", "at most 24h"]),
        (with("answer_limit = \"2m\""), 3, &["answer_limit: is \"2m\"", "at most 60 s"]),
        (with("start_limit = \"0s\""), 3, &["start_limit: is \"0s\""]),
        (with("memory_limit = \"2GB\""), 3, &["memory_limit: is \"2GB\"", "GiB"]),
        (with("cpus = 0.0"), 3, &["cpus: is 0"]),
        (with("gpus = \"all\""), 3, &["gpus: is for containers"]),
        (with("gpus = \"--privileged\""), 3, &["gpus: is no request"]),
    ];
    for (text, line, wanted) in &cases {
        let (_folder, path) = file(text.as_bytes());
        let error = Settings::load(&Layers { file: Some(path.clone()), ..Layers::default() }).unwrap_err();
        let said = message(&error);
        assert!(said.starts_with(&format!("{}:{line}: ", path.display())), "{text:?}: {said}");
        assert!(wanted.iter().all(|wanted| said.contains(wanted)), "{text:?}: {said}");
        assert!(said.lines().count() == 1 && said.len() < 800, "{text:?}: {said}");
    }
}
