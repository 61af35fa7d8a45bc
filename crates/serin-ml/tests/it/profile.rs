//! Profiles: their numbers against plain recomputation, the laws of merging, and how they are stored.

use std::path::Path;

use proptest::prelude::*;

use serin_ml::profile::{
    ColumnProfile, DatasetProfile, DistinctSketch, FREQUENT_VALUE_LIMIT, MergeError, OrderedEdges,
    ProfileOptions, QuantileSketch,
};

fn column(values: &[f64]) -> ColumnProfile {
    let mut column = ColumnProfile::empty("x", &ProfileOptions::default()).with_edges(edges());
    column.add_all(values);
    column
}

fn edges() -> OrderedEdges {
    OrderedEdges::try_from(vec![-1.0, 0.0, 1.0]).unwrap()
}

/// Numbers without pattern, from a fixed congruence.
fn scattered(count: u64) -> impl Iterator<Item = f64> {
    (0..count).map(move |i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11) as f64 / (1u64 << 53) as f64)
}

// ---- numbers ----

#[test]
fn every_number_has_its_definition() {
    let values = [3.0, -1.5, f64::NAN, 0.0, 3.0, f64::INFINITY, -0.0, 2.5];
    let summary = column(&values).finish();
    assert_eq!((summary.count, summary.missing, summary.non_finite), (8, 1, 1));
    assert_eq!((summary.zeros, summary.negatives, summary.integers), (2, 1, 4));
    assert_eq!((summary.min, summary.max, summary.sum), (Some(-1.5), Some(3.0), 7.0));
    assert!((summary.mean.unwrap() - 7.0 / 6.0).abs() < 1e-15);
    // Population variance of 3, -1.5, 0, 3, 0, 2.5 is 26.5 / 6 - (7 / 6)^2.
    assert!((summary.variance.unwrap() - (26.5 / 6.0 - 49.0 / 36.0)).abs() < 1e-14);
    assert_eq!(summary.distinct, 4.0, "0 and -0 are one value");
    assert_eq!(summary.most_frequent, Some((0.0, 2)), "of equally frequent values the smallest");
    assert_eq!(summary.quantiles.unwrap()[3], 0.0, "the third of six values");
    assert_eq!(column(&values).histogram().unwrap().counts, [1, 0, 2, 3]);
}

#[test]
fn no_value_and_one_value_have_a_stated_answer() {
    let empty = column(&[]).finish();
    assert_eq!((empty.count, empty.sum, empty.distinct), (0, 0.0, 0.0));
    assert_eq!((empty.min, empty.max, empty.mean, empty.variance), (None, None, None, None));
    assert_eq!((empty.quantiles, empty.most_frequent), (None, None));
    let missing = column(&[f64::NAN, f64::NAN]).finish();
    assert_eq!((missing.count, missing.missing, missing.mean), (2, 2, None));
    let one = column(&[7.5]).finish();
    assert_eq!((one.min, one.max, one.mean, one.variance), (Some(7.5), Some(7.5), Some(7.5), Some(0.0)));
    assert_eq!(one.quantiles, Some([7.5; 7]));
    let ranks = column(&[]).ranks();
    assert_eq!((ranks.rank(1.0), ranks.quantile(0.5), ranks.cdf(&[0.0])), (0, None, vec![0.0]));
}

#[test]
fn extreme_values_stay_numbers() {
    let profile = column(&[1e308, -1e308, 1e308, f64::MAX]);
    let summary = profile.finish();
    assert_eq!((summary.min, summary.max), (Some(-1e308), Some(f64::MAX)));
    assert!(
        [summary.mean, summary.variance, Some(summary.sum)].iter().all(|value| value.unwrap().is_finite())
    );
    assert!(!serde_json::to_string(&summary).unwrap().contains("null"));
}

#[test]
fn mean_and_variance_hold_far_from_zero() {
    // The textbook formula loses all digits here; the variance of 0..1000 is (1000^2 - 1) / 12.
    let values: Vec<f64> = (0..1000).map(|i| 1e9 + f64::from(i)).collect();
    let summary = column(&values).finish();
    assert!((summary.variance.unwrap() - 999_999.0 / 12.0).abs() < 1e-6 * 83_333.25);
    assert!((summary.mean.unwrap() - (1e9 + 499.5)).abs() < 1e-6);
}

#[test]
fn distinct_counts_are_exact_while_few_and_near_when_many() {
    let few: Vec<f64> = (0..1000).map(|i| f64::from(i % FREQUENT_VALUE_LIMIT as i32)).collect();
    assert_eq!(column(&few).finish().distinct, FREQUENT_VALUE_LIMIT as f64);
    for count in [65u64, 1_000, 20_000, 300_000] {
        let values: Vec<f64> = scattered(count).collect();
        let twice = [values.clone(), values].concat();
        let profile = column(&twice);
        assert!(profile.frequent_values().is_none());
        let estimate = profile.finish().distinct;
        // Four standard errors of 1.04 / sqrt(4096).
        assert!((estimate / count as f64 - 1.0).abs() < 4.0 * 0.016_25, "{estimate} for {count}");
    }
}

// ---- quantiles ----

#[test]
fn compaction_takes_every_second_value_and_alternates() {
    // Worked by hand: with k = 8 the levels hold 10, 8, 6, ... values, so the 11th value and the 24th make room.
    let mut sketch = QuantileSketch::empty(8);
    let levels = |sketch: &QuantileSketch| sketch.levels().map(<[f64]>::to_vec).collect::<Vec<_>>();
    (1..=10).rev().for_each(|i| sketch.add(f64::from(i)));
    assert_eq!(levels(&sketch).len(), 1, "exact, and in order of arrival");
    assert_eq!(levels(&sketch)[0][0], 10.0);
    sketch.add(11.0);
    assert_eq!(levels(&sketch), [vec![11.0], vec![1.0, 3.0, 5.0, 7.0, 9.0]]);
    (12..=24).for_each(|i| sketch.add(f64::from(i)));
    let above = vec![1.0, 3.0, 5.0, 7.0, 9.0, 12.0, 14.0, 16.0, 18.0, 20.0, 22.0, 24.0];
    assert_eq!(levels(&sketch), [vec![], above]);
    assert_eq!(sketch.count(), 24);
}

#[test]
fn up_to_its_capacity_a_sketch_is_exact() {
    let values: Vec<f64> = scattered(2050).collect();
    let ranks = column(&values).ranks();
    let mut sorted = values;
    sorted.sort_by(f64::total_cmp);
    for (i, &value) in sorted.iter().enumerate() {
        assert_eq!((ranks.rank_below(value), ranks.rank(value)), (i as u64, i as u64 + 1));
    }
    assert_eq!(ranks.quantile(0.5), Some(sorted[1024]));
    assert_eq!((ranks.quantile(0.0), ranks.quantile(1.0)), (Some(sorted[0]), Some(sorted[2049])));
}

#[test]
fn ranks_of_a_million_values_are_within_one_percent() {
    const COUNT: u64 = 1_000_000;
    let orders: [Vec<f64>; 3] = [
        scattered(COUNT).collect(),
        (0..COUNT).map(|i| i as f64 / COUNT as f64).collect(),
        (0..COUNT).rev().map(|i| i as f64 / COUNT as f64).collect(),
    ];
    for values in orders {
        let mut sketch = QuantileSketch::empty(2048);
        sketch.add_all(&values);
        assert_eq!(sketch.count(), COUNT);
        let ranks = sketch.ranks();
        let grid: Vec<f64> = (0..=100).map(|i| f64::from(i) / 100.0).collect();
        for (point, share) in grid.iter().zip(ranks.cdf(&grid)) {
            assert!((share - point).abs() < 0.01, "{share} at {point}");
            assert_eq!(share, ranks.rank(*point) as f64 / COUNT as f64);
        }
    }
}

#[test]
fn buckets_are_half_open_and_the_last_is_closed() {
    let ranks = column(&[0.0, 1.0, 1.0, 2.0, 9.5, 10.0]).ranks();
    let counts = |low, high| ranks.buckets(low, high).iter().map(|bucket| bucket.count).collect::<Vec<_>>();
    assert_eq!(counts(0.0, 10.0), [1.0, 2.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0]);
    assert_eq!(column(&[4.0; 3]).ranks().buckets(4.0, 4.0)[9].count, 3.0);
}

// ---- merging ----

#[test]
fn profiles_of_different_things_do_not_merge() {
    let mut here = column(&[1.0]);
    let other = ColumnProfile::empty("y", &ProfileOptions::default());
    assert_eq!(here.merge(&other), Err(MergeError::Name { here: "x".to_owned(), there: "y".to_owned() }));
    let plain = ColumnProfile::empty("x", &ProfileOptions::default());
    assert_eq!(here.merge(&plain), Err(MergeError::Edges { name: "x".to_owned() }));
    assert_eq!(here, column(&[1.0]));
    let options = ProfileOptions::default();
    let mut two = DatasetProfile::empty(["a", "b"], &options);
    assert!(two.merge(&DatasetProfile::empty(["a"], &options)).is_err());
}

fn values() -> impl Strategy<Value = Vec<f64>> {
    let value = prop_oneof![
        6 => -1e3..1e3f64,
        3 => (-5i32..5).prop_map(f64::from),
        1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(-0.0), Just(1e-300)],
    ];
    prop::collection::vec(value, 0..400)
}

fn small(values: &[f64]) -> ColumnProfile {
    let mut column = ColumnProfile::empty("x", &ProfileOptions { quantile_k: 32 }).with_edges(edges());
    column.add_all(values);
    column
}

fn merged(mut here: ColumnProfile, there: &ColumnProfile) -> ColumnProfile {
    here.merge(there).unwrap();
    here
}

fn assert_alike(a: &ColumnProfile, b: &ColumnProfile) {
    let (sum_a, sum_b) = (a.finish(), b.finish());
    let exact = |s: &serin_ml::profile::ColumnSummary| {
        (
            s.count,
            s.missing,
            s.non_finite,
            s.zeros,
            s.negatives,
            s.integers,
            s.min,
            s.max,
            s.distinct.to_bits(),
        )
    };
    assert_eq!(exact(&sum_a), exact(&sum_b));
    assert_eq!((a.histogram(), a.frequent_values()), (b.histogram(), b.frequent_values()));
    assert_eq!(sum_a.most_frequent, sum_b.most_frequent);
    let near = |a: Option<f64>, b: Option<f64>, scale: f64| match (a, b) {
        (Some(a), Some(b)) => assert!((a - b).abs() <= 1e-9 * scale.max(1.0), "{a} and {b}"),
        (a, b) => assert_eq!(a, b),
    };
    near(sum_a.mean, sum_b.mean, 1e3);
    near(sum_a.variance, sum_b.variance, sum_a.variance.unwrap_or(0.0));
    assert_eq!(a.quantile_sketch().count(), b.quantile_sketch().count());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn merging_is_associative_and_equals_seeing_everything(a in values(), b in values(), c in values()) {
        let (pa, pb, pc) = (small(&a), small(&b), small(&c));
        let left = merged(merged(pa.clone(), &pb), &pc);
        let right = merged(pa.clone(), &merged(pb.clone(), &pc));
        let whole = small(&[a.clone(), b.clone(), c.clone()].concat());
        assert_alike(&left, &right);
        assert_alike(&left, &whole);
        assert_alike(&merged(pa.clone(), &pb), &merged(pb, &pa));
        assert_alike(&merged(small(&[]), &pa), &pa);

        // Quantiles: by rank, against the sorted values, with the error of so small a sketch.
        let mut sorted: Vec<f64> = [a, b, c].concat().into_iter().filter(|value| value.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len() as f64;
        for profile in [&left, &right, &whole] {
            let ranks = profile.ranks();
            for &value in sorted.iter().step_by(17) {
                let true_rank = sorted.partition_point(|&other| other <= value) as f64;
                let error = (ranks.rank(value) as f64 - true_rank).abs();
                prop_assert!(error <= 0.15 * n, "rank off by {} of {}", error, n);
            }
        }
    }

    #[test]
    fn a_value_at_a_time_is_the_same_as_all_at_once(values in values()) {
        let mut one_by_one = small(&[]);
        values.iter().for_each(|&value| one_by_one.add(value));
        let at_once = small(&values);
        assert_alike(&one_by_one, &at_once);
        prop_assert_eq!(one_by_one.quantile_sketch(), at_once.quantile_sketch());
    }

    #[test]
    fn what_is_stored_comes_back(values in values()) {
        let profile = DatasetProfile { rows: values.len() as u64, columns: vec![small(&values)], by_class: Vec::new() };
        let text = serde_json::to_string(&profile).unwrap();
        prop_assert_eq!(&serde_json::from_str::<DatasetProfile>(&text).unwrap(), &profile);
        let bytes = postcard::to_stdvec(&profile).unwrap();
        prop_assert_eq!(&postcard::from_bytes::<DatasetProfile>(&bytes).unwrap(), &profile);
        prop_assert_eq!(postcard::to_stdvec(&profile).unwrap(), bytes);
    }
}

// ---- storing ----

/// Two columns, and rows enough for compaction at k = 16.
fn example() -> DatasetProfile {
    let mut profile = DatasetProfile::empty(["length", "7"], &ProfileOptions { quantile_k: 16 });
    profile.columns[0] = profile.columns[0].clone().with_edges(edges());
    for i in 0..60 {
        profile.add_row(&[f64::from(i % 7) - 1.25, if i % 5 == 0 { f64::NAN } else { f64::from(i) }]);
    }
    profile
}

#[test]
fn a_profile_of_version_1_reads_as_ever() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/profile/profile-1.json");
    let written = serde_json::to_string_pretty(&example()).unwrap() + "\n";
    let Ok(text) = std::fs::read_to_string(&path) else {
        std::fs::write(&path, written).unwrap();
        panic!("the example was missing and has been written: look at it and commit it");
    };
    assert_eq!(serde_json::from_str::<DatasetProfile>(&text).unwrap(), example());
    assert_eq!(text, written, "version 1 is written as it was");
}

#[test]
fn contradictions_are_refused() {
    let good = serde_json::to_value(example()).unwrap();
    let refuse = |path: &str, value: serde_json::Value, reason: &str| {
        let mut stored = good.clone();
        *stored.pointer_mut(path).unwrap() = value;
        let error = serde_json::from_value::<DatasetProfile>(stored).unwrap_err().to_string();
        assert!(error.contains(reason), "{path}: {error}");
    };
    let column = "/profile-1/columns/0";
    refuse("/profile-1/rows", 61.into(), "values do not add up to rows");
    refuse(&format!("{column}/zeros"), 1000.into(), "more values of a kind");
    refuse(&format!("{column}/moments/range"), serde_json::Value::Null, "a range goes with values");
    refuse(&format!("{column}/moments/squares"), (-1.0).into(), "range, mean, variance");
    refuse(&format!("{column}/distinct"), "000".into(), "4096 characters");
    let levels = good.pointer(&format!("{column}/quantiles/levels")).unwrap().as_array().unwrap().len();
    refuse(
        &format!("{column}/quantiles/levels"),
        serde_json::json!(vec![[0.0; 0]; levels]),
        "another number of values",
    );
    refuse(&format!("{column}/quantiles/k"), 0.into(), "k of a quantile sketch");
    refuse(&format!("{column}/quantiles/compactions"), serde_json::json!([1]), "levels");
    refuse(&format!("{column}/histogram/counts/0"), 7000.into(), "the histogram does not add up");
    refuse(&format!("{column}/histogram/edges"), serde_json::json!([1.0, 1.0, 2.0]), "strictly ascending");
    refuse(&format!("{column}/frequent/0/1"), 0.into(), "frequent values");
    let other = serde_json::json!({ "profile-2": good["profile-1"] });
    assert!(serde_json::from_value::<DatasetProfile>(other).is_err(), "an unknown version");
}

#[test]
fn the_distinct_sketch_does_not_depend_on_order() {
    let values: Vec<f64> = scattered(5000).collect();
    let mut forwards = DistinctSketch::empty();
    let mut backwards = DistinctSketch::empty();
    values.iter().for_each(|&value| forwards.add(value));
    values.iter().rev().for_each(|&value| backwards.add(value));
    assert_eq!(forwards, backwards);
}
