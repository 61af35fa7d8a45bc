//! Shows how far long work has come, and passes Ctrl-C on to it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serin_core::clock::{Clock as _, SystemClock};
use serin_ml::observer::{Observer, Progress};

use super::exit::Exit;
use super::printer;

/// Time between two plain lines where no terminal is watched.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// A stopwatch, a progress bar (plain lines where nobody watches) and the user's Ctrl-C.
pub struct Watch {
    clock: SystemClock,
    stop: Arc<AtomicBool>,
    bar: Option<ProgressBar>,
    budget: Option<Duration>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    phase: &'static str,
    search_started: Duration,
    last_line: Duration,
}

impl Watch {
    /// Starts watching. With a time `budget` the bar shows how much of it the search has used.
    #[must_use]
    pub fn start(budget: Option<Duration>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        listen_for_interrupt(Arc::clone(&stop));
        let bar = printer::is_watched().then(|| {
            let bar = ProgressBar::new_spinner().with_style(spinner());
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Self { clock: SystemClock::new(), stop, bar, budget, state: Mutex::default() }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Whether the user asked to stop.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn show(&self, text: String, force: bool) {
        if let Some(bar) = &self.bar {
            bar.set_message(text);
            return;
        }
        let now = self.clock.monotonic();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if force || now.saturating_sub(state.last_line) >= LINE_INTERVAL {
            state.last_line = now;
            drop(state);
            printer::talk(&text);
        }
    }

    fn show_trial(&self, number: usize, planned: Option<usize>, best: Option<f64>) {
        let started = self.state.lock().unwrap_or_else(PoisonError::into_inner).search_started;
        let used = self.clock.monotonic().saturating_sub(started);
        let best = best.map_or_else(|| "no score yet".to_owned(), |best| format!("best {best:.4}"));
        let text = match (planned, self.budget) {
            (Some(planned), _) => format!("search: trial {number} of {planned}, {best}"),
            (None, Some(budget)) => {
                format!(
                    "search: trial {number}, {:.0} of {:.0} s, {best}",
                    used.as_secs_f64(),
                    budget.as_secs_f64()
                )
            }
            (None, None) => format!("search: trial {number}, {best}"),
        };
        if let Some(bar) = &self.bar {
            let share = match (planned, self.budget) {
                (Some(planned), _) => number as f64 / planned.max(1) as f64,
                (None, Some(budget)) => used.as_secs_f64() / budget.as_secs_f64().max(f64::MIN_POSITIVE),
                (None, None) => 0.0,
            };
            bar.set_length(1000);
            bar.set_style(trials());
            bar.set_position((share.clamp(0.0, 1.0) * 1000.0) as u64);
        }
        self.show(text, planned == Some(number));
    }
}

impl Observer for Watch {
    fn elapsed(&self) -> Duration {
        self.clock.monotonic()
    }

    fn stop_requested(&self) -> bool {
        self.is_interrupted()
    }

    fn on_progress(&self, progress: &Progress<'_>) {
        match progress {
            // Its parts are announced one by one.
            Progress::Phase { name: "select" } => {}
            Progress::Phase { name } => {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                state.phase = phase_text(name);
                state.search_started = self.clock.monotonic();
                drop(state);
                if let Some(bar) = &self.bar {
                    bar.set_style(spinner());
                }
                self.show(phase_text(name).to_owned(), true);
            }
            Progress::Read { source, rows, .. } => self.show(format!("reading {source}: {rows} rows"), false),
            Progress::Trial { number, planned, best, .. } => self.show_trial(*number, *planned, *best),
            _ => {}
        }
    }
}

fn phase_text(name: &str) -> &'static str {
    match name {
        "check" => "checking the data",
        "search" => "searching recipes, families and parameters",
        "assemble" => "assembling: ensemble, calibration, decision rule",
        "refit" => "refitting on all training rows",
        "evaluate" => "evaluating",
        "explain" => "measuring which features matter",
        "learning curve" => "measuring the learning curve",
        "profile" => "profiling the training rows",
        _ => "working",
    }
}

fn spinner() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn trials() -> ProgressStyle {
    ProgressStyle::with_template("[{bar:30}] {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

/// The first Ctrl-C asks the work to keep its best and end; the second ends the program.
fn listen_for_interrupt(stop: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(async {
            if tokio::signal::ctrl_c().await.is_err() {
                return;
            }
            stop.store(true, Ordering::Relaxed);
            printer::talk("stopping: keeping the best so far (Ctrl-C again ends at once)");
            if tokio::signal::ctrl_c().await.is_ok() {
                std::process::exit(Exit::Interrupted as i32);
            }
        });
    });
}
