//! Two years of virtual time against a plain count of minutes: every expected instant fires, each once, whatever the clock
//! does and however often the program starts.

use std::collections::BTreeSet;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use serin_core::clock::Timestamp;
use serin_core::trigger::Schedule;

/// 2026-01-01 and 2028-01-01 in UTC, minutes since 1970.
const BEGIN: i64 = 29_453_760;
const END: i64 = 30_504_960;

/// Zones with a change at night, at midnight, by half an hour, on other dates, and none.
const ZONES: [&str; 6] = [
    "Europe/Berlin",
    "America/New_York",
    "America/Santiago",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "Africa/Casablanca",
];

/// An expression, and the same as a rule about minutes: whether the day counts, and which times of day do.
struct Case {
    expression: &'static str,
    is_day: fn(Day) -> bool,
    /// Minutes since midnight; one of them alone is a fixed time.
    times: fn(i64) -> bool,
    fixed: Option<i64>,
}

#[derive(Clone, Copy)]
struct Day {
    /// Since 1970-01-01, which was a Thursday.
    number: i64,
    /// Of the month, from 1.
    of_month: i64,
}

const CASES: [Case; 6] = [
    Case { expression: "30 2 * * *", is_day: |_| true, times: |time| time == 150, fixed: Some(150) },
    Case {
        expression: "0 0 1 * *",
        is_day: |day| day.of_month == 1,
        times: |time| time == 0,
        fixed: Some(0),
    },
    Case {
        expression: "15 0 * * SUN",
        is_day: |day| (day.number + 4) % 7 == 0,
        times: |time| time == 15,
        fixed: Some(15),
    },
    Case { expression: "0 * * * *", is_day: |_| true, times: |time| time % 60 == 0, fixed: None },
    Case {
        expression: "*/20 1-3 * * MON-FRI",
        is_day: |day| !matches!((day.number + 4) % 7, 0 | 6),
        times: |time| time % 20 == 0 && (60..240).contains(&time),
        fixed: None,
    },
    Case {
        expression: "5 6,18 1,15 * *",
        is_day: |day| matches!(day.of_month, 1 | 15),
        times: |time| matches!(time, 365 | 1_085),
        fixed: None,
    },
];

/// Days of the month, by counting from 2026-01-01.
fn calendar() -> Vec<Day> {
    let mut days = Vec::new();
    let (mut year, mut month, mut of_month) = (2025, 12, 31);
    for number in BEGIN / 1_440 - 1..=END / 1_440 + 1 {
        days.push(Day { number, of_month });
        let length = match month {
            2 if year % 4 == 0 => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        of_month += 1;
        if of_month > length {
            (month, of_month) = (month + 1, 1);
        }
        if month > 12 {
            (year, month) = (year + 1, 1);
        }
    }
    days
}

/// The wall clock of a zone, in minutes, for every minute in UTC.
fn wall_clock(zone: &str) -> Vec<i64> {
    let zone = jiff::tz::TimeZone::get(zone).unwrap();
    // No zone changes within a quarter of an hour.
    let offset = |minute: i64| {
        let instant = jiff::Timestamp::from_second(minute * 60).unwrap();
        i64::from(zone.to_offset(instant).seconds()) / 60
    };
    (BEGIN..END)
        .step_by(15)
        .flat_map(|quarter| {
            let offset = offset(quarter);
            (quarter..quarter + 15).map(move |minute| minute + offset)
        })
        .collect()
}

/// The instants of a case by going through all minutes.
fn expected(case: &Case, wall: &[i64], days: &[Day]) -> BTreeSet<i64> {
    let first_day = days[0].number;
    let is_day = |minute: i64| (case.is_day)(days[(minute.div_euclid(1_440) - first_day) as usize]);
    let mut instants = BTreeSet::new();
    let mut latest = wall[0] - 1;
    for (minute, &shown) in (BEGIN..).zip(wall) {
        let fires = match case.fixed {
            // A fixed time fires when the clock first reaches it or jumps over it.
            Some(fixed) => {
                (latest + 1..=shown).any(|passed| passed.rem_euclid(1_440) == fixed && is_day(passed))
            }
            None => (case.times)(shown.rem_euclid(1_440)) && is_day(shown),
        };
        latest = latest.max(shown);
        if fires {
            instants.insert(minute);
        }
    }
    instants
}

fn at(minute: i64) -> Timestamp {
    Timestamp(minute * 60_000_000)
}

#[test]
fn every_instant_fires_once_over_restarts_jumps_and_summer_time() {
    let days = calendar();
    for (number, zone) in ZONES.iter().enumerate() {
        let wall = wall_clock(zone);
        for (also, case) in CASES.iter().enumerate() {
            assert!(case.fixed.is_none_or(case.times), "{}", case.expression);
            let schedule = Schedule::parse(case.expression, zone).unwrap();
            let seed = (number * 100 + also) as u64;
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let mut fired = Vec::new();
            // What is stored: the last instant that fired. Everything else is forgotten at every restart.
            let mut last = Timestamp(at(BEGIN).0 - 1);
            let mut time = at(BEGIN).0;
            while time < at(END).0 {
                time += i64::from(random.next_u32() % 172_800) * 1_000_000;
                let jump = i64::from(random.next_u32() % 7_201) - 3_600;
                let jump = if random.next_u32().is_multiple_of(3) { jump * 1_000_000 } else { 0 };
                let now = Timestamp((time + jump).min(at(END).0 - 1));
                let limit = 1 + random.next_u32() as usize % 40;
                loop {
                    let due = schedule.due(last, now, limit);
                    last = due.last().copied().unwrap_or(last);
                    fired.extend(due.iter().map(|instant| instant.0));
                    if due.len() < limit {
                        break;
                    }
                }
            }
            let times = fired.len();
            let fired: BTreeSet<i64> = fired.into_iter().collect();
            let wanted: BTreeSet<i64> =
                expected(case, &wall, &days).into_iter().map(|minute| at(minute).0).collect();
            let what = format!("{} {zone}, seed {seed}", case.expression);
            assert_eq!(times, fired.len(), "{what}: fired twice");
            let differs =
                fired.symmetric_difference(&wanted).next().map(|instant| Timestamp(*instant).to_rfc3339());
            assert_eq!(differs, None, "{what}: {} fired, {} expected", fired.len(), wanted.len());
            assert!(wanted.len() >= 23, "{what}");
        }
    }
}
