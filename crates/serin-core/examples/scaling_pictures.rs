//! What scaling policies make of three traces: pictures and tables for docs/scaling.md.
//!
//!     cargo run --release -p serin-core --example scaling_pictures -- docs/pictures
//!
//! Writes `scaling-step.svg`, `scaling-day.svg` and `scaling-noise.svg`, and prints Markdown. Everything is virtual time and
//! comes from one seed: the files do not change unless the rules do.

use std::f64::consts::TAU;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;
use std::{fs, io};

use rand::{Rng, RngExt as _};
use serin_core::clock::Timestamp;
use serin_core::scale::compare::Rules;
use serin_core::scale::simulate::{Service, Simulated, simulate};
use serin_core::scale::{Policy, ScaleMetric, ScalingSettings};
use serin_ml::seed::Seed;

/// Requests that one replica is for, each second; it manages twice as many.
const EACH: f64 = 10.0;
const ANSWER: Duration = Duration::from_millis(50);
/// Callers wait too long beyond ten answers.
const SLOW: f64 = 0.5;

/// The plane of a picture, in pixels.
const LEFT: f64 = 64.0;
const WIDTH: f64 = 640.0;
const PANEL: f64 = 110.0;
const GAP: f64 = 34.0;
const TOP: f64 = 46.0;
/// Points of a line at most.
const POINTS: usize = 160;

struct Trace {
    name: &'static str,
    title: &'static str,
    arrivals: Vec<u32>,
    settings: ScalingSettings,
}

fn main() -> io::Result<()> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "docs/pictures".to_owned()));
    fs::create_dir_all(&folder)?;
    let service = Service {
        answer: ANSWER,
        start: Duration::from_secs(5),
        wait_limit: Duration::from_secs(10),
        ..Service::default()
    };
    for trace in traces() {
        let all: Vec<(Rules, Simulated)> = Rules::ALL
            .into_iter()
            .map(|rules| {
                let wall = Timestamp(1_800_000_000_000_000);
                let result = simulate(
                    rules,
                    &trace.settings,
                    &service,
                    &trace.arrivals,
                    wall,
                    Seed(17).child(trace.name),
                );
                (rules, result)
            })
            .collect();
        fs::write(folder.join(format!("scaling-{}.svg", trace.name)), picture(&trace, &all))?;
        println!("{}", table(&trace, &all));
    }
    Ok(())
}

fn traces() -> Vec<Trace> {
    let settings = |min| ScalingSettings {
        min,
        max: 20,
        policies: vec![Policy::TargetTracking {
            metric: ScaleMetric::InvocationsPerReplicaPerMinute,
            target: 60.0 * EACH,
        }],
        ..ScalingSettings::default()
    };
    let mut rng = Seed(17).child("arrivals").rng();
    let step = (0..3_600)
        .map(|second| if (600..1_800).contains(&second) { 95.0 } else { 19.0 })
        .map(|mean| poisson(mean, &mut rng))
        .collect();
    let day = (0..86_400)
        .map(|second| {
            let wave = 0.5 - 0.5 * (TAU * f64::from(second) / 86_400.0).cos();
            2.0 + 58.0 * wave.powi(2)
        })
        .map(|mean| poisson(mean, &mut rng))
        .collect();
    let mut level = 0.0;
    let noise = (0..7_200)
        .map(|second| {
            if second % 10 == 0 {
                level = 47.0 * rng.random_range(0.75..1.25);
            }
            poisson(level, &mut rng)
        })
        .collect();
    vec![
        Trace { name: "step", title: "five times the load, and back", arrivals: step, settings: settings(2) },
        Trace { name: "day", title: "a day", arrivals: day, settings: settings(1) },
        Trace { name: "noise", title: "a noisy constant load", arrivals: noise, settings: settings(4) },
    ]
}

/// Poisson, as a sum of small ones.
fn poisson(mean: f64, rng: &mut impl Rng) -> u32 {
    let parts = (mean / 10.0).ceil().max(1.0);
    let limit = (-mean / parts).exp();
    let mut one = || {
        let (mut product, mut count) = (rng.random::<f64>(), 0);
        while product > limit {
            product *= rng.random::<f64>();
            count += 1;
        }
        count
    };
    (0..parts as u32).map(|_| one()).sum()
}

fn table(trace: &Trace, all: &[(Rules, Simulated)]) -> String {
    let mut out = format!(
        "**{}** ({} requests)\n\n| rules | p50 | p99 | shed | p99 above 500 ms | replica-hours | most replicas | turns |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n",
        capital(trace.title),
        all.first().map_or(0, |(_, one)| one.requests),
    );
    for (rules, one) in all {
        let ms =
            |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{:.0} ms", 1_000.0 * value));
        let slow = one.seconds.iter().filter(|second| second.p99.is_some_and(|p99| p99 > SLOW)).count();
        let most = one.seconds.iter().map(|second| second.desired).max().unwrap_or(0);
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {slow} s | {:.2} | {most} | {} |",
            rules.name(),
            ms(one.p50),
            ms(one.p99),
            one.shed,
            one.replica_hours,
            one.direction_changes
        );
    }
    out
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// One panel of a picture: where its values are drawn.
struct Panel {
    top: f64,
    least: f64,
    most: f64,
    is_logarithmic: bool,
}

impl Panel {
    fn y(&self, value: f64) -> f64 {
        let scale = |value: f64| if self.is_logarithmic { value.max(self.least).ln() } else { value };
        let share = (scale(value) - scale(self.least)) / (scale(self.most) - scale(self.least));
        self.top + PANEL * (1.0 - share.clamp(0.0, 1.0))
    }
}

fn picture(trace: &Trace, all: &[(Rules, Simulated)]) -> String {
    let length = trace.arrivals.len();
    let x = |second: usize| LEFT + WIDTH * second as f64 / length as f64;
    let top = |panel: f64| TOP + panel * (PANEL + GAP);
    let each = length.div_ceil(POINTS).max(1);
    let means: Vec<f64> = trace
        .arrivals
        .chunks(each)
        .map(|chunk| chunk.iter().map(|&arrived| f64::from(arrived)).sum::<f64>() / chunk.len() as f64)
        .collect();
    let most_load = means.iter().copied().fold(1.0, f64::max);
    let most_replicas =
        all.iter().flat_map(|(_, one)| &one.seconds).map(|second| second.desired).max().unwrap_or(1);
    let load = Panel { top: top(0.0), least: 0.0, most: round_up(most_load), is_logarithmic: false };
    let replicas =
        Panel { top: top(1.0), least: 0.0, most: round_up(f64::from(most_replicas)), is_logarithmic: false };
    let waits = Panel { top: top(2.0), least: 0.03, most: 30.0, is_logarithmic: true };
    let mut out = head(top(3.0) + 8.0);
    let _ = writeln!(out, "<title>{}</title>", trace.title);
    for (panel, title, marks) in [
        (&load, "requests/s", vec![0.0, load.most / 2.0, load.most]),
        (&replicas, "replicas", vec![0.0, replicas.most / 2.0, replicas.most]),
        (&waits, "p99, s", vec![0.1, 1.0, 10.0]),
    ] {
        let (left, right) = (LEFT, LEFT + WIDTH);
        for mark in marks {
            let y = panel.y(mark);
            let _ = writeln!(out, "<path class=\"grid\" d=\"M{left} {y:.1}H{right}\"/>");
            let _ =
                writeln!(out, "<text x=\"{}\" y=\"{:.1}\" class=\"end\">{mark}</text>", left - 6.0, y + 4.0);
        }
        let _ = writeln!(out, "<text x=\"{left}\" y=\"{:.1}\">{title}</text>", panel.top - 8.0);
    }
    let hours = length as f64 / 3_600.0;
    let (unit, seconds) = if hours > 6.0 { ("h", 3_600.0) } else { ("min", 60.0) };
    for tenth in 0..=4 {
        let second = length * tenth / 4;
        let label = second as f64 / seconds;
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" class=\"middle\">{label:.0} {unit}</text>",
            x(second),
            top(2.0) + PANEL + 18.0
        );
    }
    line(&mut out, "load", means.iter().enumerate().map(|(i, &value)| (x(i * each), load.y(value))));
    for (i, (rules, one)) in all.iter().enumerate().rev() {
        let class = format!("rule r{i}");
        let mut steps = Vec::new();
        let mut before = None;
        for (second, shown) in one.seconds.iter().enumerate() {
            if before != Some(shown.desired) {
                if let Some(before) = before {
                    steps.push((x(second), replicas.y(f64::from(before))));
                }
                steps.push((x(second), replicas.y(f64::from(shown.desired))));
                before = Some(shown.desired);
            }
        }
        steps.push((x(length), replicas.y(f64::from(before.unwrap_or(0)))));
        line(&mut out, &class, steps.into_iter());
        let worst = one
            .seconds
            .chunks(each)
            .map(|chunk| chunk.iter().filter_map(|second| second.p99).fold(0.0, f64::max));
        line(&mut out, &class, worst.enumerate().map(|(i, value)| (x(i * each), waits.y(value))));
        let at = LEFT + 170.0 * i as f64;
        let _ = writeln!(
            out,
            "<path class=\"{class}\" d=\"M{at} 14h24\"/><text x=\"{}\" y=\"18\">{}</text>",
            at + 30.0,
            rules.name()
        );
    }
    out.push_str("</svg>\n");
    out
}

/// Colours that are seen on white and on black; lines differ by their dashes too.
fn head(height: f64) -> String {
    let width = LEFT + WIDTH + 24.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <style>text{{fill:#57606a}}.end{{text-anchor:end}}.middle{{text-anchor:middle}}path{{fill:none}}.grid{{stroke:#8c959f;stroke-opacity:.35}}\
         .load{{stroke:#8c959f;stroke-width:1.5}}.rule{{stroke-width:1.5}}.r0{{stroke:#d97706;stroke-width:2.5}}\
         .r1{{stroke:#2f81f7;stroke-dasharray:6 3}}.r2{{stroke:#1a9e55;stroke-dasharray:2 2}}.r3{{stroke:#a855f7;stroke-dasharray:8 2 2 2}}\
         @media(prefers-color-scheme:dark){{text{{fill:#c9d1d9}}}}</style>\n",
        height + 12.0
    )
}

fn line(out: &mut String, class: &str, points: impl Iterator<Item = (f64, f64)>) {
    let _ = write!(out, "<path class=\"{class}\" d=\"");
    for (i, (x, y)) in points.enumerate() {
        let _ = write!(out, "{}{x:.1} {y:.1}", if i == 0 { "M" } else { "L" });
    }
    out.push_str("\"/>\n");
}

/// The next round number.
fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.max(1.0).log10().floor());
    [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0]
        .into_iter()
        .map(|step| step * power)
        .find(|step| *step >= value)
        .unwrap_or(value)
}
