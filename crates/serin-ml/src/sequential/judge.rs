//! The verdict: a pure function of evidence.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::evidence::{Evidence, Looked, Stratum};
use super::exact::{Trials, at_least, stratified_excess, upper_share, worse_than};
use super::looks::{first_look, share};
use super::tally::{Tally, bucket_of_latency, latency_quantile};

/// The budgets of error: the probability that a version as good as the one before it is found bad by a criterion in its
/// whole rollout. Together they are below 1 %.
const FAILURES_BUDGET: f64 = 0.009;
const OTHER_BUDGET: f64 = 1e-4;

/// Also within the same seconds the new version must be worse by this many standard deviations (one in five by chance):
/// the record of the other one may be of better days.
const SAME_WINDOW_EXCESS: f64 = 0.84;
/// A pair of fewer requests on the other side says nothing about the same seconds.
const SAME_WINDOW_REQUESTS: u64 = 20;
/// The record before the rollout is left aside when the present differs from it with this significance.
const RECORD_DIFFERS: f64 = 0.001;
/// Compared with, when the other version was asked nothing: one in a hundred requests fails.
const ASSUMED_RATE: f64 = 0.01;

/// The fast path: so many requests of which half failed.
const GROSS_REQUESTS: u64 = 20;
/// The share of requests that may be slower than the limit made of the other version's median, and of its 99th percentile.
const SLOW_SHARE: [(f64, f64); 2] = [(0.5, 0.5), (0.99, 0.02)];
/// Fewer latencies have no 99th percentile worth the name.
const LATENCIES_NEEDED: u64 = 100;
/// The present of the other version is compared with when there is as much of it, else its record too.
const PRESENT_NEEDED: u64 = 300;
/// The level of bounds for what was seen on the rows kept with the versions, and the most that they excuse: two versions that
/// differ on most rows are no license, but a reason to look.
const EXPECTED_LEVEL: f64 = 0.01;
const MOST_EXPECTED: f64 = 0.3;

/// What is wanted of a new version.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgeSettings {
    /// Requests that the new version must have answered in a step before anything good is said of it.
    pub min_requests: u64,
    /// It may be this many times as slow as the other one, at the median and at the 99th percentile.
    pub latency_factor: f64,
    /// And this much slower in any case, microseconds.
    pub latency_floor_microseconds: u64,
    /// How much of the class mix may move: the total variation distance, beyond what is expected.
    pub class_mix: f64,
    /// How far the distribution of confidences may move: the largest distance of the two distribution functions.
    pub confidence: f64,
    /// The share of mirrored rows that may get another class, beyond what is expected.
    pub disagreement: f64,
}

impl Default for JudgeSettings {
    fn default() -> Self {
        Self {
            min_requests: 300,
            latency_factor: 3.0,
            latency_floor_microseconds: 5_000,
            class_mix: 0.2,
            confidence: 0.4,
            disagreement: 0.2,
        }
    }
}

/// What was found. Nothing but [`Verdict::Good`] lets a version go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Good,
    Bad,
    NotEnough,
    /// It could not be judged.
    Error,
}

/// What is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Criterion {
    GrossFailure,
    Failures,
    Misfits,
    MedianLatency,
    TailLatency,
    ClassMix,
    OneClass,
    Confidence,
    Disagreement,
    MirroredFailures,
    Labels,
}

/// One criterion's share in the verdict, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub criterion: Criterion,
    pub verdict: Verdict,
    pub text: String,
}

/// Why nothing can be said of the new version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// The version that serves fails as well: whatever is wrong, it is not the new one.
    StableFailsToo,
}

/// A verdict with its reasons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    pub verdict: Verdict,
    pub trouble: Option<Trouble>,
    /// What was found bad, or keeps a verdict from being good; else what was looked at.
    pub findings: Vec<Finding>,
    /// For [`Evidence::looked`]: this look is spent.
    pub looked: Looked,
}

/// The verdict on the new version now. `needed`: how many requests it must have answered in the present step.
#[must_use]
pub fn judge(evidence: &Evidence, settings: &JudgeSettings, needed: u64) -> Judged {
    let first = first_look(settings.min_requests);
    let (canary, stable) = (evidence.canary(), evidence.stable());
    let fair = canary.fair_trials();
    let before = evidence.looked;
    let looked = Looked {
        requests: fair.n.max(before.requests),
        fits: canary.fits().n.max(before.fits),
        mirrored: evidence.mirrored.rows().max(before.mirrored),
        labels: evidence.labels.canary.n.max(before.labels),
    };
    let case = Case { evidence, settings, canary: &canary, stable: &stable, fair };
    let mut findings = Vec::new();
    let mut trouble = None;
    let mut take = |found: Found| match found {
        Found::Nothing => {}
        Found::Bad(criterion, text) => findings.push(Finding { criterion, verdict: Verdict::Bad, text }),
        Found::BothFail(criterion, text) => {
            trouble = Some(Trouble::StableFailsToo);
            findings.push(Finding { criterion, verdict: Verdict::Error, text });
        }
    };
    take(case.gross());
    let now = share(first, before.requests, looked.requests);
    if now > 0.0 {
        take(case.failures(now * FAILURES_BUDGET));
        take(case.latency(0, now * OTHER_BUDGET));
        take(case.latency(1, now * OTHER_BUDGET));
        take(case.class_mix(&canary, now * OTHER_BUDGET));
        take(case.one_class(&canary, now * OTHER_BUDGET));
        take(case.confidence(&canary, now * OTHER_BUDGET));
    }
    // A version that no row fits answers nothing.
    let now = share(first, before.fits, looked.fits);
    if now > 0.0 {
        take(case.misfits(now * OTHER_BUDGET));
    }
    let now = share(first, before.mirrored, looked.mirrored);
    if now > 0.0 {
        take(case.disagreement(now * OTHER_BUDGET));
        take(case.mirrored_failures(now * OTHER_BUDGET));
        take(case.one_class(&evidence.mirrored.tally, now * OTHER_BUDGET));
    }
    let now = share(first, before.labels, looked.labels);
    if now > 0.0 {
        take(case.labels(now * OTHER_BUDGET));
    }
    let in_step = evidence.strata.last().map_or(0, |stratum| stratum.canary.fair_trials().n);
    let verdict = if findings.iter().any(|finding| finding.verdict == Verdict::Bad) {
        Verdict::Bad
    } else if trouble.is_some() {
        Verdict::Error
    } else if in_step < needed {
        let text = format!("{in_step} of {needed} requests in this step");
        findings.push(Finding { criterion: Criterion::Failures, verdict: Verdict::NotEnough, text });
        Verdict::NotEnough
    } else {
        let text = case.good();
        findings.push(Finding { criterion: Criterion::Failures, verdict: Verdict::Good, text });
        Verdict::Good
    };
    if verdict == Verdict::Bad {
        findings.retain(|finding| finding.verdict == Verdict::Bad);
        trouble = None;
    }
    Judged { verdict, trouble, findings, looked }
}

/// After how many requests of the new version a fault that makes `extra` more of them fail is found with probability
/// 0.95, when `base` fail anyway; `None`: not within ten million.
#[must_use]
pub fn requests_to_see(extra: f64, base: f64, min_requests: u64) -> Option<u64> {
    let first = first_look(min_requests);
    let mut before = 0;
    let mut n = first;
    while n <= 10_000_000 {
        let level = share(first, before, n) * FAILURES_BUDGET;
        let is_rare = |failures: u64| at_least(Trials { n, failures }, base) <= level;
        let (mut low, mut high) = (0, n + 1);
        while low + 1 < high {
            let middle = u64::midpoint(low, high);
            if is_rare(middle) { high = middle } else { low = middle }
        }
        if at_least(Trials { n, failures: high }, base + extra) >= 0.95 {
            return Some(n);
        }
        before = n;
        n = (n as f64 * 1.1).ceil() as u64;
    }
    None
}

enum Found {
    Nothing,
    Bad(Criterion, String),
    /// Both are worse than the record says.
    BothFail(Criterion, String),
}

struct Case<'a> {
    evidence: &'a Evidence,
    settings: &'a JudgeSettings,
    canary: &'a Tally,
    stable: &'a Tally,
    /// Requests of the new version, no caller having too large a share.
    fair: Trials,
}

impl Case<'_> {
    fn gross(&self) -> Found {
        let half_failed = |trials: Trials| trials.n >= GROSS_REQUESTS && 2 * trials.failures >= trials.n;
        let Some(Stratum { canary, stable }) = self.evidence.strata.last() else { return Found::Nothing };
        let (present, other) = (canary.fair_trials(), stable.fair_trials());
        if !half_failed(present) {
            return Found::Nothing;
        }
        let text = format!("{} of {} requests failed", present.failures, present.n);
        if half_failed(other) {
            let text = format!("{text}, and {} of {} of the version that serves", other.failures, other.n);
            return Found::BothFail(Criterion::GrossFailure, text);
        }
        Found::Bad(Criterion::GrossFailure, text)
    }

    fn failures(&self, level: f64) -> Found {
        self.compare(Criterion::Failures, "requests failed", level, &Tally::fair_trials)
    }

    fn misfits(&self, level: f64) -> Found {
        self.compare(Criterion::Misfits, "requests have rows that do not fit it", level, &Tally::fits)
    }

    /// Whether a share is larger than the other version's: than in the same seconds and in its record together, and also
    /// than in the same seconds alone, if only by as much as is seen by chance one time in five.
    fn compare(&self, criterion: Criterion, what: &str, level: f64, of: &dyn Fn(&Tally) -> Trials) -> Found {
        let (canary, present, record) = (of(self.canary), of(self.stable), of(&self.evidence.before));
        let differs = present.n >= SAME_WINDOW_REQUESTS
            && (worse_than(present, record) < RECORD_DIFFERS || worse_than(record, present) < RECORD_DIFFERS);
        let reference = if differs { present } else { present + record };
        let probability = match reference.n {
            0 => at_least(canary, ASSUMED_RATE),
            _ => worse_than(canary, reference),
        };
        if probability > level {
            return Found::Nothing;
        }
        let beside = |stratum: &Stratum| {
            let stable = of(&stratum.stable);
            (of(&stratum.canary), if stable.n < SAME_WINDOW_REQUESTS { reference } else { stable })
        };
        let text = format!(
            "{} of {} {what} ({}), and {} of {} of the version that serves ({}); by chance in {} of rollouts at most",
            canary.failures,
            canary.n,
            percent(canary.rate()),
            reference.failures,
            reference.n,
            percent(reference.rate()),
            percent(probability)
        );
        let excess = stratified_excess(self.evidence.strata.iter().map(beside));
        if excess >= SAME_WINDOW_EXCESS || reference.n == 0 {
            Found::Bad(criterion, text)
        } else {
            let text = format!("{text}; in the same seconds {} of {}", present.failures, present.n);
            Found::BothFail(criterion, text)
        }
    }

    /// Whether more requests than may be are slower than the limit made of a quantile of the other version.
    fn latency(&self, which: usize, level: f64) -> Found {
        let (quantile, tolerated) = SLOW_SHARE[which];
        let reference = if total(&self.stable.latency) >= PRESENT_NEEDED {
            self.stable.latency.clone()
        } else {
            self.evidence.before.plus(self.stable).latency
        };
        if total(&reference) < LATENCIES_NEEDED {
            return Found::Nothing;
        }
        let Some(usual) = latency_quantile(&reference, quantile) else { return Found::Nothing };
        let floor = self.settings.latency_floor_microseconds as f64;
        let limit = (usual * self.settings.latency_factor).max(usual + floor);
        if !limit.is_finite() {
            return Found::Nothing;
        }
        let bucket = bucket_of_latency(limit as u64);
        let slow = |histogram: &[u64]| Trials {
            n: total(histogram),
            failures: histogram.iter().skip(bucket + 1).sum(),
        };
        let (canary, present) = (slow(&self.canary.latency), slow(&self.stable.latency));
        let is_slow = at_least(canary, tolerated) <= level;
        let is_slower = present.n < SAME_WINDOW_REQUESTS || worse_than(canary, present) <= level;
        if !is_slow || !is_slower {
            return Found::Nothing;
        }
        let (criterion, name) = match which {
            0 => (Criterion::MedianLatency, "median"),
            _ => (Criterion::TailLatency, "99th percentile"),
        };
        let text = format!(
            "{} of {} answers took longer than {} ms; the {name} of the version that serves is {} ms",
            canary.failures,
            canary.n,
            milliseconds(limit),
            milliseconds(usual)
        );
        Found::Bad(criterion, text)
    }

    /// The mix of classes against the other version's: a lower bound of the total variation distance.
    fn class_mix(&self, canary: &Tally, level: f64) -> Found {
        let stable = self.comparable(|tally| tally.classes.values().sum());
        let (n, m): (u64, u64) = (canary.classes.values().sum(), stable.classes.values().sum());
        if n == 0 || m == 0 {
            return Found::Nothing;
        }
        let share = |tally: &Tally, class: &str, of: u64| {
            tally.classes.get(class).copied().unwrap_or(0) as f64 / of as f64
        };
        let mut names: Vec<&String> = canary.classes.keys().chain(stable.classes.keys()).collect();
        names.sort();
        names.dedup();
        let moved = |class: &str| share(canary, class, n) - share(&stable, class, m);
        let distance = 0.5 * names.iter().map(|class| moved(class).abs()).sum::<f64>();
        // The distance of two samples of one mix is about so large, and exceeds that by more only as seldom as the bounded
        // differences inequality (McDiarmid 1989) allows: one answer moves it by 1/n or 1/m.
        let kinds = (names.len() - 1) as f64;
        let usual = 0.5 * ((kinds / n as f64).sqrt() + (kinds / m as f64).sqrt());
        let margin = (-level.ln() * (1.0 / n as f64 + 1.0 / m as f64) / 2.0).sqrt();
        let tolerated = self.settings.class_mix + self.expected_disagreement();
        if distance - usual - margin <= tolerated {
            return Found::Nothing;
        }
        let most = names.iter().max_by(|a, b| moved(a).abs().total_cmp(&moved(b).abs()));
        let mut text = format!("{} of the class mix moved", percent(distance));
        if let Some(class) = most {
            let (now, then) = (share(canary, class, n), share(&stable, class, m));
            let _ = write!(
                text,
                "; class {class:?} is {} of {n} answers and was {}",
                percent(now),
                percent(then)
            );
        }
        Found::Bad(Criterion::ClassMix, text)
    }

    /// Whether every answer is the same class, which the other version's mix makes all but impossible.
    fn one_class(&self, canary: &Tally, level: f64) -> Found {
        let mut answered = canary.classes.iter().filter(|(_, count)| **count > 0);
        let (Some((class, n)), None) = (answered.next(), answered.next()) else { return Found::Nothing };
        let stable = self.comparable(|tally| tally.classes.values().sum());
        let others = Trials {
            n: stable.classes.values().sum(),
            failures: stable.classes.get(class).copied().unwrap_or(0),
        };
        if others.n < PRESENT_NEEDED.min(self.settings.min_requests) {
            return Found::Nothing;
        }
        // The most frequent that the class may be in truth.
        let most = upper_share(others, level / 2.0);
        if most.powf(*n as f64) > level / 2.0 {
            return Found::Nothing;
        }
        let text = format!(
            "all of {n} answers are class {class:?}, which is {} of the answers of the version that serves",
            percent(others.rate())
        );
        Found::Bad(Criterion::OneClass, text)
    }

    /// The distribution of confidences: a lower bound of the largest distance of the two distribution functions, by the
    /// inequality of Dvoretzky, Kiefer and Wolfowitz (Massart 1990) for each.
    fn confidence(&self, canary: &Tally, level: f64) -> Found {
        let stable = self.comparable(|tally| total(&tally.confidence));
        let (n, m) = (total(&canary.confidence), total(&stable.confidence));
        if n == 0 || m == 0 {
            return Found::Nothing;
        }
        let (mut below, mut other_below, mut distance) = (0, 0, 0.0_f64);
        for (bin, count) in canary.confidence.iter().enumerate() {
            below += count;
            other_below += stable.confidence.get(bin).copied().unwrap_or(0);
            distance = distance.max((below as f64 / n as f64 - other_below as f64 / m as f64).abs());
        }
        let margin = |n: u64| ((4.0 / level).ln() / (2.0 * n as f64)).sqrt();
        if distance - margin(n) - margin(m) <= self.settings.confidence {
            return Found::Nothing;
        }
        let text = format!(
            "its confidences are distributed otherwise: the distance is {distance:.2} on {n} answers, and {} is tolerated",
            self.settings.confidence
        );
        Found::Bad(Criterion::Confidence, text)
    }

    fn disagreement(&self, level: f64) -> Found {
        let rows = self.evidence.mirrored.tally.answered;
        let differs = Trials { n: rows, failures: self.evidence.mirrored.disagreed };
        let tolerated = (self.settings.disagreement + self.expected_disagreement()).min(1.0);
        if at_least(differs, tolerated) > level {
            return Found::Nothing;
        }
        let text = format!(
            "it chose another class for {} of {} mirrored rows ({}), and {} are tolerated",
            differs.failures,
            differs.n,
            percent(differs.rate()),
            percent(tolerated)
        );
        Found::Bad(Criterion::Disagreement, text)
    }

    fn mirrored_failures(&self, level: f64) -> Found {
        let failed = self.evidence.mirrored.tally.trials();
        let reference = self.evidence.before.plus(self.stable).trials();
        if failed.failures == 0 || worse_than(failed, reference) > level {
            return Found::Nothing;
        }
        let text = format!(
            "{} of {} mirrored rows failed, and {} of {} requests of the version that serves",
            failed.failures, failed.n, reference.failures, reference.n
        );
        Found::Bad(Criterion::MirroredFailures, text)
    }

    /// Answers whose true class became known.
    fn labels(&self, level: f64) -> Found {
        let labels = self.evidence.labels;
        if labels.stable.n == 0 || worse_than(labels.canary, labels.stable) > level {
            return Found::Nothing;
        }
        let text = format!(
            "{} of {} answers with a known class are wrong ({}), and {} of {} of the version that serves ({})",
            labels.canary.failures,
            labels.canary.n,
            percent(labels.canary.rate()),
            labels.stable.failures,
            labels.stable.n,
            percent(labels.stable.rate())
        );
        Found::Bad(Criterion::Labels, text)
    }

    /// The other version in the same seconds when it was asked enough there, else with its record.
    fn comparable(&self, count: impl Fn(&Tally) -> u64) -> Tally {
        if count(self.stable) >= PRESENT_NEEDED {
            self.stable.clone()
        } else {
            self.evidence.before.plus(self.stable)
        }
    }

    /// At most this share of rows gets another class, as far as is known from the rows kept with the versions.
    fn expected_disagreement(&self) -> f64 {
        let expected = self.evidence.expected;
        if expected.rows == 0 {
            return 0.0;
        }
        let bound = upper_share(Trials { n: expected.rows, failures: expected.disagreed }, EXPECTED_LEVEL);
        bound.min(MOST_EXPECTED)
    }

    fn good(&self) -> String {
        let reference = self.stable.trials() + self.evidence.before.trials();
        let mut text = format!(
            "{} of {} requests failed, and {} of {} of the version that serves",
            self.fair.failures, self.fair.n, reference.failures, reference.n
        );
        let rows = self.evidence.mirrored.rows();
        if rows > 0 {
            let _ = write!(
                text,
                "; {} of {rows} mirrored rows got another class",
                self.evidence.mirrored.disagreed
            );
        }
        text
    }
}

fn total(histogram: &[u64]) -> u64 {
    histogram.iter().sum()
}

fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    if percent >= 0.1 || percent == 0.0 { format!("{percent:.1} %") } else { format!("{percent:.1e} %") }
}

fn milliseconds(microseconds: f64) -> String {
    let milliseconds = microseconds / 1e3;
    if milliseconds >= 10.0 { format!("{milliseconds:.0}") } else { format!("{milliseconds:.2}") }
}
