//! Following a run to its end: a bar for each step where a person watches, else a line for each change.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::Value;
use serin_core::clock::{Clock as _, SystemClock};

use super::client::{Client, ControlError};
use super::status::{progress, took};
use super::words::{block, cell, entries, line, reason, seconds, state, text};
use crate::cli::exit::Exit;
use crate::cli::printer;

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(250);
/// How long a server that went away is waited for: it may have been restarted.
const PATIENCE: Duration = Duration::from_secs(120);
/// Time between two attempts to reach it.
const KNOCK: Duration = Duration::from_millis(500);

/// Shows what the run does until it is over; says how it ended, also in the exit code.
pub fn to_the_end(client: &Client, number: u64) -> anyhow::Result<Exit> {
    leave_at_interrupt(number);
    let mut display = if printer::is_watched() { Display::bars() } else { Display::lines() };
    loop {
        let run = match client.get(&format!("/runs/{number}")) {
            Err(error) if error.is_passing() => {
                wait_for_server(client, &error)?;
                continue;
            }
            run => run?,
        };
        display.show(number, &run);
        if is_over(&run) {
            display.finish();
            printer::data(&end_text(number, &run))?;
            return Ok(exit(&run));
        }
        std::thread::sleep(LOOK);
    }
}

/// Waits until the server answers again.
///
/// # Errors
/// `lost`, when it does not in time.
pub fn wait_for_server(client: &Client, lost: &ControlError) -> anyhow::Result<()> {
    let clock = SystemClock::new();
    let began = clock.monotonic();
    printer::talk(&format!("serin: {lost}; waiting for it"));
    loop {
        std::thread::sleep(KNOCK);
        match client.get("/status") {
            Ok(_) => return Ok(()),
            Err(error) if !error.is_passing() || clock.monotonic().saturating_sub(began) > PATIENCE => {
                return Err(error.into());
            }
            Err(_) => {}
        }
    }
}

fn is_over(run: &Value) -> bool {
    !["waiting", "running", "cancelling"].contains(&run["state"]["name"].as_str().unwrap_or("running"))
}

/// Refused by the gate is not the same as failed.
fn exit(run: &Value) -> Exit {
    let state = &run["state"];
    match state["name"].as_str() {
        Some("succeeded" | "skipped") => Exit::Done,
        Some("failed") if state["code"] == "not_acceptable" => Exit::GateRefused,
        _ => Exit::Failed,
    }
}

fn end_text(number: u64, run: &Value) -> String {
    let mut out = format!("run {number} {} after {}\n", state(run), took(run));
    out.push_str(&reason(run).map(|reason| block(reason, "  ")).unwrap_or_default());
    let hint = match run["state"]["name"].as_str() {
        Some("failed" | "needs-operator") => {
            format!("`serin run show {number}` has its steps, `serin run logs {number}` what they said\n")
        }
        Some("superseded") => format!("`serin run show {}` shows that one\n", text(&run["state"], "run")),
        _ => String::new(),
    };
    out + &hint
}

/// Ctrl-C ends the watching and not the run.
fn leave_at_interrupt(number: u64) {
    std::thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            printer::talk(&format!(
                "serin: run {number} goes on; `serin run show {number}` shows it, `serin run cancel {number} --reason ...` \
                 stops it"
            ));
            std::process::exit(Exit::Interrupted as i32);
        }
    });
}

/// Where a run is shown.
enum Display {
    Lines { shown: BTreeMap<String, String> },
    Bars { all: MultiProgress, steps: BTreeMap<String, ProgressBar>, asked: Option<String> },
}

impl Display {
    fn lines() -> Self {
        Self::Lines { shown: BTreeMap::new() }
    }

    fn bars() -> Self {
        Self::Bars { all: MultiProgress::new(), steps: BTreeMap::new(), asked: None }
    }

    fn show(&mut self, number: u64, run: &Value) {
        match self {
            Self::Lines { shown } => {
                for change in changes(shown, run) {
                    printer::talk(&format!("run {number}: {change}"));
                }
            }
            Self::Bars { all, steps, asked } => {
                for step in entries(run, "steps") {
                    let name = cell(step, "name");
                    let bar = steps.entry(name.clone()).or_insert_with(|| {
                        let bar = all.add(ProgressBar::new_spinner().with_style(plain()));
                        bar.set_prefix(name);
                        bar
                    });
                    show_bar(bar, step);
                }
                let question = question(run);
                if question != *asked {
                    if let Some(question) = &question {
                        let _ = all.println(question);
                    }
                    *asked = question;
                }
            }
        }
    }

    fn finish(&self) {
        if let Self::Bars { steps, .. } = self {
            steps.values().for_each(ProgressBar::abandon);
        }
    }
}

/// What changed since the last look, one line each.
fn changes(shown: &mut BTreeMap<String, String>, run: &Value) -> Vec<String> {
    let mut changes = Vec::new();
    let state_of_run = state(run);
    if matches!(run["state"]["name"].as_str(), Some("waiting" | "cancelling"))
        && shown.insert(String::new(), state_of_run.clone()).as_ref() != Some(&state_of_run)
    {
        changes.push(state_of_run);
    }
    for step in entries(run, "steps") {
        let name = cell(step, "name");
        let key = format!("{} {}", text(&step["state"], "name"), cell(step, "attempts"));
        let before = shown.insert(name.clone(), key.clone());
        let is_news = before.as_ref() != Some(&key) && step["state"]["name"] != "pending";
        if is_news {
            changes.push(format!("{name} {}", change(step)));
        }
    }
    changes
}

/// The new state of a step.
fn change(step: &Value) -> String {
    let why =
        || step["state"]["reason"].as_str().map_or_else(String::new, |reason| format!(": {}", line(reason)));
    match step["state"]["name"].as_str() {
        Some("succeeded") => done(step),
        Some("failed" | "retrying") => format!("{}{}", state(step), why()),
        Some("asking") => {
            let approval = text(&step["state"], "approval");
            format!("waits for approval {approval}: `serin approval show {approval}`")
        }
        Some("running") if step["attempts"].as_u64() > Some(1) => {
            format!("running, attempt {}", cell(step, "attempts"))
        }
        _ => state(step),
    }
}

fn done(step: &Value) -> String {
    match step["reused_from"].as_u64() {
        Some(run) => format!("unchanged, as in run {run}"),
        None => format!("done in {}", seconds(step, "seconds")),
    }
}

/// What to type when a step waits for a person.
fn question(run: &Value) -> Option<String> {
    let step = entries(run, "steps").iter().find(|step| step["state"]["name"] == "asking")?;
    let approval = text(&step["state"], "approval");
    Some(format!(
        "approval {approval} is waited for: `serin approval show {approval}`, then `serin approve {approval} --reason ...` \
         or `serin reject ...`"
    ))
}

fn show_bar(bar: &ProgressBar, step: &Value) {
    let state_name = step["state"]["name"].as_str().unwrap_or_default();
    let said = progress(step);
    let (message, is_moving) = match state_name {
        "pending" => (String::new(), false),
        "running" => {
            let said = said.map_or_else(String::new, |said| format!("  {said}"));
            (format!("{}{said}", seconds(step, "seconds")), true)
        }
        "succeeded" => (done(step), false),
        _ => (change(step), state_name == "retrying" || state_name == "asking"),
    };
    if bar.is_finished() && bar.message() == message {
        return;
    }
    let of = step["progress"]["of"].as_u64().filter(|of| *of > 0 && state_name == "running");
    match of {
        Some(of) => {
            bar.set_style(counted());
            bar.set_length(of);
            bar.set_position(step["progress"]["done"].as_u64().unwrap_or(0).min(of));
        }
        None => bar.set_style(if is_moving { moving() } else { plain() }),
    }
    bar.set_message(message);
    match state_name {
        "succeeded" | "failed" | "cancelled" => bar.abandon(),
        _ if is_moving => bar.enable_steady_tick(Duration::from_millis(100)),
        _ => bar.disable_steady_tick(),
    }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner());
    style.progress_chars("=> ")
}

fn plain() -> ProgressStyle {
    style("  {prefix:16} {wide_msg}")
}

fn moving() -> ProgressStyle {
    style("{spinner} {prefix:16} {wide_msg}")
}

fn counted() -> ProgressStyle {
    style("{spinner} {prefix:16} [{bar:20}] {wide_msg}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(state: &Value, steps: &[Value]) -> Value {
        json!({"number": 7, "state": state, "steps": steps, "duration_seconds": 3.0})
    }

    fn step(name: &str, state: &Value, attempts: u32) -> Value {
        json!({"name": name, "state": state, "attempts": attempts, "seconds": 1.5, "reused_from": null})
    }

    #[test]
    fn each_change_is_told_once() {
        let running = json!({"name": "running"});
        let mut shown = BTreeMap::new();
        let mut look = |state: Value, steps: &[Value]| changes(&mut shown, &run(&state, steps));
        let pending = step("train", &json!({"name": "pending"}), 0);
        assert_eq!(look(json!({"name": "waiting"}), std::slice::from_ref(&pending)), ["waiting"]);
        assert_eq!(look(json!({"name": "waiting"}), &[pending]), [""; 0]);
        assert_eq!(look(running.clone(), &[step("train", &running, 1)]), ["train running"]);
        assert_eq!(look(running.clone(), &[step("train", &running, 1)]), [""; 0]);
        let again = json!({"name": "retrying", "code": "io", "reason": "the disk\nis slow", "in_seconds": 2});
        assert_eq!(
            look(running.clone(), &[step("train", &again, 1)]),
            ["train tries again in 2.0 s (io): the disk; is slow"]
        );
        assert_eq!(look(running.clone(), &[step("train", &running, 2)]), ["train running, attempt 2"]);
        let done = json!({"name": "succeeded"});
        let asking = step("approve-prod", &json!({"name": "asking", "approval": 4}), 1);
        assert_eq!(
            look(running.clone(), &[step("train", &done, 2), asking]),
            ["train done in 1.5 s", "approve-prod waits for approval 4: `serin approval show 4`"]
        );
        let mut reused = step("baseline", &done, 0);
        reused["reused_from"] = json!(3);
        assert_eq!(look(running, &[reused]), ["baseline unchanged, as in run 3"]);
    }

    #[test]
    fn the_end_is_told_by_the_exit_code_too() {
        for (state, is_over_now, code) in [
            (json!({"name": "running"}), false, Exit::Failed),
            (json!({"name": "cancelling"}), false, Exit::Failed),
            (json!({"name": "succeeded"}), true, Exit::Done),
            (json!({"name": "skipped", "reason": "nothing new"}), true, Exit::Done),
            (json!({"name": "failed", "step": "gate", "code": "not_acceptable"}), true, Exit::GateRefused),
            (json!({"name": "failed", "step": "train", "code": "time_limit"}), true, Exit::Failed),
            (json!({"name": "rejected", "by": "bob"}), true, Exit::Failed),
            (json!({"name": "needs-operator", "reason": "?"}), true, Exit::Failed),
        ] {
            let run = run(&state, &[]);
            assert_eq!(is_over(&run), is_over_now, "{state}");
            if is_over_now {
                assert_eq!(exit(&run), code, "{state}");
            }
        }
        let failed =
            run(&json!({"name": "failed", "step": "gate", "code": "not_acceptable", "reason": "a\nb"}), &[]);
        let text = end_text(7, &failed);
        assert!(text.starts_with("run 7 failed in gate (not_acceptable) after 3.0 s\n  a\n  b\n"), "{text}");
    }

    #[test]
    fn bars_take_every_state() {
        let display = &mut Display::Bars {
            all: MultiProgress::with_draw_target(indicatif::ProgressDrawTarget::hidden()),
            steps: BTreeMap::new(),
            asked: None,
        };
        for state in ["pending", "running", "retrying", "running", "asking", "succeeded", "pending", "failed"]
        {
            let mut step = step("train", &json!({"name": state, "approval": 1, "code": "c"}), 1);
            step["progress"] = json!({"text": "trial", "done": 3, "of": 20});
            display.show(7, &run(&json!({"name": "running"}), &[step]));
            let Display::Bars { steps, .. } = &*display else { unreachable!() };
            assert_eq!(steps["train"].prefix(), "train");
            assert!(state == "pending" || !steps["train"].message().is_empty(), "{state}");
        }
        display.finish();
    }
}
