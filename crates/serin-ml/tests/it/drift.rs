//! Windows beside a baseline: distances by another tool, false alarms, what is found, and odd data.

use proptest::prelude::*;
use rand::Rng;
use serin_ml::drift::{
    Bins, ChangeKind, CompareOptions, Comparison, Damage, Predictions, Reference, Verdict, Window,
    WindowError, compare,
};
use serin_ml::profile::{ColumnProfile, DatasetProfile, ProfileOptions};
use serin_ml::seed::Seed;

fn profile(columns: &[(&str, &[f64])]) -> DatasetProfile {
    let rows = columns.first().map_or(0, |(_, values)| values.len() as u64);
    let columns = columns.iter().map(|(name, values)| {
        let mut column = ColumnProfile::empty(name, &ProfileOptions::default());
        column.add_all(values);
        column
    });
    DatasetProfile { rows, columns: columns.collect(), by_class: Vec::new() }
}

fn window(bins: &Bins, columns: &[&[f64]]) -> Window {
    let mut window = Window::empty(bins);
    let rows = columns.first().map_or(0, |values| values.len());
    let columns: Vec<Option<&[f64]>> = columns.iter().map(|values| Some(*values)).collect();
    window.add_columns(bins, &columns, rows);
    window
}

/// One feature beside its baseline.
fn one(before: &[f64], now: &[f64]) -> Comparison {
    many(&[before], &[now])
}

fn many(before: &[&[f64]], now: &[&[f64]]) -> Comparison {
    let names: Vec<String> = (0..before.len()).map(|j| format!("x{j}")).collect();
    let named: Vec<(&str, &[f64])> = names.iter().map(String::as_str).zip(before.iter().copied()).collect();
    let baseline = profile(&named);
    let bins = Bins::of(&baseline, &[]);
    let window = window(&bins, now);
    compare(
        &Reference::of(&bins, &baseline).unwrap(),
        &window,
        None,
        &Damage::default(),
        &CompareOptions::default(),
    )
    .unwrap()
}

fn kinds(comparison: &Comparison) -> Vec<ChangeKind> {
    let mut kinds: Vec<ChangeKind> = comparison.findings.iter().map(|finding| finding.kind).collect();
    kinds.sort();
    kinds
}

fn normal(n: usize, seed: u64) -> Vec<f64> {
    let mut rng = Seed(seed).rng();
    let mut uniform = move || (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
    (0..n)
        .map(|_| {
            let (u, v): (f64, f64) = (uniform(), uniform());
            (-2.0 * u.max(1e-300).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
        })
        .collect()
}

/// From SciPy: tests/data/drift/make.py.
#[test]
fn distances_are_those_of_scipy_up_to_the_bins() {
    let text = include_str!("../data/drift/distances.csv");
    for line in text.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let [name, ks, ks_p, wasserstein, before, now] = cells[..] else { panic!("{line}") };
        let numbers = |text: &str| text.split(' ').map(|value| value.parse().unwrap()).collect::<Vec<f64>>();
        let comparison = one(&numbers(before), &numbers(now));
        let distances = comparison.columns[0].distances;
        let (ks, wasserstein): (f64, f64) = (ks.parse().unwrap(), wasserstein.parse().unwrap());
        // What is not at the edge of a bin can be missed by less than the bin: 1 of 40.
        assert!(distances.ks <= ks + 1e-12 && ks - distances.ks < 0.025, "{name}: {} {ks}", distances.ks);
        let error = (distances.wasserstein - wasserstein).abs();
        assert!(error < 0.02 + 0.02 * wasserstein, "{name}: {} {wasserstein}", distances.wasserstein);
        // What one exact test is sure of is found; where nothing changed, nothing is.
        let p: f64 = ks_p.parse().unwrap();
        assert!(p > 1e-6 || comparison.verdict == Verdict::Changed, "{name} {p}");
        assert_eq!(comparison.verdict == Verdict::Stable, ["same", "skewed"].contains(&name), "{name} {p}");
    }
}

#[test]
fn unchanged_rows_are_stable_at_every_size_and_a_shift_is_found() {
    let mut false_alarms = 0;
    for i in 0..200 {
        let before: Vec<Vec<f64>> = (0..20).map(|j| normal(741, 1_000 * i + j)).collect();
        let before: Vec<&[f64]> = before.iter().map(Vec::as_slice).collect();
        for n in [200, 1_000] {
            let now: Vec<Vec<f64>> = (0..20).map(|j| normal(n, 1_000 * i + 500 + j)).collect();
            let mut now: Vec<&[f64]> = now.iter().map(Vec::as_slice).collect();
            false_alarms += usize::from(many(&before, &now).verdict != Verdict::Stable);
            if n == 1_000 && i < 50 {
                let shifted: Vec<f64> = now[3].iter().map(|value| value + 0.5).collect();
                now[3] = &shifted;
                let found = many(&before, &now);
                assert_eq!(found.verdict, Verdict::Changed, "{i}");
                assert!(found.findings.iter().all(|finding| finding.column.as_deref() == Some("x3")), "{i}");
            }
        }
    }
    // 400 windows at 1 in 720: more than 4 have a probability of 0.0003.
    assert!(false_alarms <= 4, "{false_alarms}");
}

#[test]
fn each_kind_of_change_is_called_by_its_name() {
    let base = normal(1_000, 1);
    let fresh = normal(1_000, 2);
    let map =
        |f: &dyn Fn(usize, f64) -> f64| fresh.iter().enumerate().map(|(i, v)| f(i, *v)).collect::<Vec<f64>>();
    let has = |now: &[f64], kind: ChangeKind| {
        let found = one(&base, now);
        assert!(kinds(&found).contains(&kind), "{kind:?} not among {:?}", found.findings);
        assert_eq!(found.verdict, Verdict::Changed);
    };
    has(&map(&|_, v| v + 0.5), ChangeKind::Distribution);
    has(&map(&|_, v| v * 1.6), ChangeKind::Shape);
    has(&map(&|i, v| if i % 20 == 0 { f64::NAN } else { v }), ChangeKind::Missing);
    has(&map(&|i, v| if i % 20 == 0 { f64::INFINITY } else { v }), ChangeKind::Missing);
    has(&map(&|_, v| v * 1_000.0), ChangeKind::Unseen);
    has(&map(&|_, _| 0.25), ChangeKind::Constant);
    // Rounding, as a sensor with fewer digits.
    has(&map(&|_, v| v.round()), ChangeKind::Shape);

    let codes: Vec<f64> = (0..1_000).map(|i| f64::from(i % 4)).collect();
    let odd: Vec<f64> = codes.iter().enumerate().map(|(i, v)| if i % 30 == 0 { 9.0 } else { *v }).collect();
    assert!(kinds(&one(&codes, &odd)).contains(&ChangeKind::Unseen));
    let halves: Vec<f64> =
        codes.iter().enumerate().map(|(i, v)| if i % 30 == 0 { v + 0.5 } else { *v }).collect();
    assert!(kinds(&one(&codes, &halves)).contains(&ChangeKind::Type));
    let swapped: Vec<f64> = codes.iter().map(|v| if *v == 0.0 { 1.0 } else { *v }).collect();
    assert!(kinds(&one(&codes, &swapped)).contains(&ChangeKind::Shape));

    let repeated: Vec<f64> = (0..1_000).map(|i| fresh[i % 40]).collect();
    assert!(kinds(&one(&base, &repeated)).contains(&ChangeKind::DuplicateFeed));
}

#[test]
fn a_change_of_few_rows_is_not_told_however_many_rows_there_are() {
    let base = normal(50_000, 3);
    let fresh: Vec<f64> = normal(200_000, 4).iter().map(|value| value + 0.05).collect();
    // 2 % of rows moved: certain, and not worth telling.
    let comparison = one(&base, &fresh);
    assert!(comparison.columns[0].p < 1e-6);
    assert_eq!(comparison.verdict, Verdict::Stable);
}

#[test]
fn rows_that_come_again_and_again_are_no_new_evidence() {
    // 300 rows of the same population, each of them ten times: as 3,000 draws they would be another population.
    for i in 0..20 {
        let before: Vec<Vec<f64>> = (0..40).map(|j| normal(1_500, 90_000 + 100 * i + j)).collect();
        let now: Vec<Vec<f64>> = (0..40)
            .map(|j| normal(300, 95_000 + 100 * i + j).iter().copied().cycle().take(3_000).collect())
            .collect();
        let before: Vec<&[f64]> = before.iter().map(Vec::as_slice).collect();
        let now: Vec<&[f64]> = now.iter().map(Vec::as_slice).collect();
        assert_eq!(kinds(&many(&before, &now)), [ChangeKind::DuplicateFeed], "{i}");
    }
    // Few values in few features: equal rows are what is to be expected, and each is a draw.
    let codes: Vec<f64> = (0..2_000).map(|i| f64::from(i % 3)).collect();
    let others: Vec<f64> = (0..2_000).map(|i| f64::from(i % 3 / 2)).collect();
    assert_eq!(one(&codes, &others).verdict, Verdict::Changed);
}

#[test]
fn too_little_is_never_fine_and_odd_columns_have_an_answer() {
    let base = normal(741, 5);
    for n in [0, 1, 199] {
        let verdict = one(&base, &normal(n, 6)).verdict;
        assert!(matches!(verdict, Verdict::Insufficient { .. }), "{n}: {verdict:?}");
    }
    assert!(matches!(one(&normal(50, 7), &normal(1_000, 8)).verdict, Verdict::Insufficient { .. }));

    let constant = vec![7.0; 1_000];
    let missing = vec![f64::NAN; 1_000];
    let infinite = vec![f64::INFINITY; 1_000];
    assert_eq!(one(&constant, &constant).verdict, Verdict::Stable);
    assert_eq!(one(&missing, &missing).verdict, Verdict::Stable);
    assert_eq!(one(&infinite, &infinite).verdict, Verdict::Stable);
    assert_eq!(kinds(&one(&constant, &missing)), [ChangeKind::Missing]);
    assert_eq!(kinds(&one(&missing, &constant)), [ChangeKind::Missing]);
    assert!(kinds(&one(&constant, &base)).contains(&ChangeKind::Unseen));
    let huge: Vec<f64> = (0..1_000).map(|i| if i % 2 == 0 { f64::MAX } else { f64::MIN }).collect();
    for (before, now) in [(&constant, &huge), (&huge, &huge), (&huge, &constant), (&base, &huge)] {
        let comparison = one(before, now);
        let distances = comparison.columns[0].distances;
        for value in [distances.ks, distances.psi, distances.jensen_shannon, distances.wasserstein] {
            assert!(value.is_finite() && value >= 0.0, "{distances:?}");
        }
        assert!(serde_json::to_string(&comparison).is_ok());
    }
}

#[test]
fn windows_of_parts_merge_to_the_window_of_the_whole() {
    let (a, b) = (normal(3_000, 9), (0..3_000).map(|i| f64::from(i % 7)).collect::<Vec<f64>>());
    let baseline = profile(&[("a", &a), ("b", &b)]);
    let bins = Bins::of(&baseline, &["x".to_owned(), "y".to_owned()]);
    let whole = window(&bins, &[&a, &b]);
    let mut merged = window(&bins, &[&a[..1_111], &b[..1_111]]);
    merged.merge(&window(&bins, &[&a[1_111..], &b[1_111..]])).unwrap();
    assert_eq!(merged.rows, whole.rows);
    for (merged, whole) in merged.columns.iter().zip(&whole.columns) {
        assert_eq!(merged.counts, whole.counts);
        assert_eq!(
            (merged.range, merged.missing, merged.integers),
            (whole.range, whole.missing, whole.integers)
        );
        assert!((merged.sum - whole.sum).abs() < 1e-9);
    }
    assert_eq!(merged.distinct_rows, whole.distinct_rows);

    // Row by row, as the loader counts.
    let mut rows = Window::empty(&bins);
    a.iter().zip(&b).for_each(|(a, b)| rows.add(&bins, &[*a, *b], Some((1, &[0.25, 0.75]))));
    assert_eq!(rows.columns, whole.columns);
    assert_eq!(rows.predictions.rows(), 3_000);
    assert!((rows.predictions.mean_confidence().unwrap() - 0.75).abs() < 1e-12);

    let other = Bins::of(&profile(&[("a", &a)]), &[]);
    assert_eq!(rows.merge(&Window::empty(&other)), Err(WindowError::Shape));
    let stored = postcard::to_allocvec(&rows).unwrap();
    assert_eq!(postcard::from_bytes::<Window>(&stored).unwrap(), rows);
}

#[test]
fn a_window_that_contradicts_itself_is_not_believed() {
    let base = normal(300, 10);
    let bins = Bins::of(&profile(&[("a", &base)]), &["x".to_owned(), "y".to_owned()]);
    let mut rows = window(&bins, &[&base]);
    rows.add(&bins, &[0.5], Some((1, &[0.25, 0.75])));
    let whole = serde_json::to_value(&rows).unwrap();
    assert!(serde_json::from_value::<Window>(whole.clone()).is_ok());
    // Sums of what is believed must not overflow.
    let huge = 1_u64 << 63;
    let wrong: [(&str, serde_json::Value); 10] = [
        ("/V1/rows", 299.into()),
        ("/V1/columns/0/squares", (-1.0).into()),
        ("/V1/columns/0/integers", huge.into()),
        ("/V1/columns/0/negatives", 302.into()),
        ("/V1/predictions/by_class/0", huge.into()),
        ("/V1/predictions/by_class/0", 1.into()),
        ("/V1/predictions/confidence/9", huge.into()),
        ("/V1/predictions/confidence", serde_json::json!([1])),
        ("/V1/predictions/expected", serde_json::json!([1.0])),
        ("/V1/predictions/by_class", serde_json::json!([0, 301])),
    ];
    for (place, value) in wrong {
        let mut changed = whole.clone();
        *changed.pointer_mut(place).unwrap() = value.clone();
        assert!(serde_json::from_value::<Window>(changed).is_err(), "{place}: {value}");
    }
    let mut many = whole;
    let counts = many.pointer_mut("/V1/columns/0/counts/3").unwrap();
    *counts = (huge + counts.as_u64().unwrap()).into();
    *many.pointer_mut("/V1/rows").unwrap() = (huge + 301).into();
    assert!(serde_json::from_value::<Window>(many).is_err(), "so many rows were never counted");
}

#[test]
fn what_matters_to_the_model_comes_first() {
    let columns: Vec<Vec<f64>> = (0..3).map(|j| normal(1_000, 20 + j)).collect();
    let named: Vec<(&str, &[f64])> =
        ["a", "b", "c"].into_iter().zip(columns.iter().map(Vec::as_slice)).collect();
    let baseline = profile(&named);
    let bins = Bins::of(&baseline, &[]);
    let shifted = |by: f64, seed| normal(1_000, seed).iter().map(|value| value + by).collect::<Vec<f64>>();
    let now = [shifted(2.0, 30), shifted(0.6, 31), normal(1_000, 32)];
    let now: Vec<&[f64]> = now.iter().map(Vec::as_slice).collect();
    let damage = Damage::of([("a".to_owned(), 0.01), ("b".to_owned(), 0.9), ("c".to_owned(), 0.05)]);
    let options = CompareOptions::default();
    let found =
        compare(&Reference::of(&bins, &baseline).unwrap(), &window(&bins, &now), None, &damage, &options)
            .unwrap();
    assert_eq!(found.findings[0].column.as_deref(), Some("b"));
    let unknown = compare(
        &Reference::of(&bins, &baseline).unwrap(),
        &window(&bins, &now),
        None,
        &Damage::default(),
        &options,
    )
    .unwrap();
    assert_eq!(unknown.findings[0].column.as_deref(), Some("a"), "the greater shift, when nothing is known");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the numbers are, there is an answer, and it can be stored.
    #[test]
    fn any_numbers_have_an_answer(
        before in proptest::collection::vec(any::<f64>(), 0..400),
        now in proptest::collection::vec(any::<f64>(), 0..400),
    ) {
        let comparison = one(&before, &now);
        let column = &comparison.columns[0];
        prop_assert!((0.0..=1.0).contains(&column.p) && (0.0..=1.0).contains(&column.shift));
        prop_assert!(column.distances.ks.is_finite() && column.distances.psi.is_finite());
        let text = serde_json::to_string(&comparison).unwrap();
        prop_assert!(!text.is_empty());
    }
}

/// The type is public for whoever keeps windows of their own.
#[test]
fn predictions_are_counted_by_class() {
    let bins = Bins { columns: Vec::new(), classes: vec!["a".into(), "b".into()] };
    let mut window = Window::empty(&bins);
    window.add(&bins, &[], Some((0, &[0.9, 0.1])));
    window.add(&bins, &[], Some((7, &[0.9, 0.1])));
    window.add(&bins, &[], Some((0, &[f64::NAN, 0.1])));
    window.add(&bins, &[], Some((0, &[1.0])));
    let predictions: &Predictions = &window.predictions;
    assert_eq!((window.rows, predictions.rows()), (4, 1), "what is no answer is not counted as one");
}
