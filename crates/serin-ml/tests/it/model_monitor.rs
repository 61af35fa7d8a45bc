//! The files of SageMaker Model Monitor: their bytes, their numbers, what edited ones mean, and what violates them.

use serin_ml::model_monitor::{
    CategoricalDriftMethod, ComparisonMethod, Constraints, Finding, InferredType, Manner, Statistics, Switch,
    UnusableConstraints, Violation, distance, violations, violations_json,
};
use serin_ml::profile::{ColumnProfile, DatasetProfile, ProfileOptions};

const NAN: f64 = f64::NAN;

fn column(name: &str, values: &[f64]) -> ColumnProfile {
    let mut column = ColumnProfile::empty(name, &ProfileOptions::default());
    column.add_all(values);
    column
}

fn profile(columns: &[(&str, &[f64])]) -> DatasetProfile {
    DatasetProfile {
        rows: columns.first().map_or(0, |(_, values)| values.len() as u64),
        columns: columns.iter().map(|(name, values)| column(name, values)).collect(),
        by_class: Vec::new(),
    }
}

/// What is wrong, as feature and check.
fn checks(found: &[Violation]) -> Vec<(&str, &str)> {
    found.iter().map(|violation| (violation.feature_name(), violation.check())).collect()
}

// ---- statistics ----

#[test]
fn statistics_have_the_bytes_of_the_original() {
    let profile = profile(&[("length", &[0.0, 2.5, 10.0, NAN]), ("none", &[NAN; 4])]);
    let text = Statistics::of(&profile).to_json().unwrap();
    let mut buckets = String::new();
    for (i, count) in [1, 0, 1, 0, 0, 0, 0, 0, 0, 1].iter().enumerate() {
        let (low, high) = (i, i + 1);
        let end = if i == 9 { " ],\n" } else { ", " };
        buckets.push_str(&format!(
            "{{\n            \"lower_bound\" : {low}.0,\n            \"upper_bound\" : {high}.0,\n            \
             \"count\" : {count}.0\n          }}{end}"
        ));
    }
    let wanted = format!(
        r#"{{
  "version" : 0.0,
  "dataset" : {{
    "item_count" : 4
  }},
  "features" : [ {{
    "name" : "length",
    "inferred_type" : "Fractional",
    "numerical_statistics" : {{
      "common" : {{
        "num_present" : 3,
        "num_missing" : 1
      }},
      "mean" : 4.166666666666667,
      "sum" : 12.5,
      "std_dev" : 4.249182927993987,
      "min" : 0.0,
      "max" : 10.0,
      "distribution" : {{
        "kll" : {{
          "buckets" : [ {buckets}          "sketch" : {{
            "parameters" : {{
              "c" : 0.64,
              "k" : 2048.0
            }},
            "data" : [ [ 0.0, 2.5, 10.0 ] ]
          }}
        }}
      }}
    }}
  }}, {{
    "name" : "none",
    "inferred_type" : "Unknown",
    "numerical_statistics" : {{
      "common" : {{
        "num_present" : 0,
        "num_missing" : 4
      }}
    }}
  }} ]
}}"#
    );
    assert_eq!(text, wanted);
}

#[test]
fn types_tell_whole_numbers_from_others() {
    let cases: [(&[f64], InferredType); 7] = [
        (&[1.0, 2.0, -3.0], InferredType::Integral),
        (&[1.0, NAN], InferredType::Integral),
        (&[1.0, 2.5], InferredType::Fractional),
        (&[1e300], InferredType::Integral),
        (&[NAN, NAN], InferredType::Unknown),
        (&[f64::INFINITY], InferredType::Unknown),
        (&[], InferredType::Unknown),
    ];
    for (values, wanted) in cases {
        assert_eq!(InferredType::of(&column("x", values).finish()), wanted, "{values:?}");
    }
}

#[test]
fn ten_buckets_are_half_open_and_the_last_is_closed() {
    let counts = |values: &[f64]| -> Vec<f64> {
        let statistics = Statistics::of(&profile(&[("x", values)]));
        let numbers = statistics.features[0].numerical_statistics.numbers.clone().unwrap();
        let buckets = numbers.distribution.kll.buckets;
        assert_eq!((buckets[0].lower_bound, buckets[9].upper_bound), (numbers.min, numbers.max));
        buckets.iter().map(|bucket| bucket.count).collect()
    };
    let eleven: Vec<f64> = (0..=10).map(f64::from).collect();
    assert_eq!(counts(&eleven), [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0]);
    // A constant: ten buckets of no width, and everything in the last.
    assert_eq!(counts(&[3.0; 5]), [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 5.0]);
    // The width of all numbers is none of them.
    let widest = counts(&[-f64::MAX, 0.0, f64::MAX]);
    assert_eq!(widest, [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
}

#[test]
fn a_full_sketch_is_written_level_by_level() {
    let values: Vec<f64> = (0..5_000).map(|i| f64::from(i * 7 % 5_000)).collect();
    let statistics = Statistics::of(&profile(&[("x", &values)]));
    let numbers = statistics.features[0].numerical_statistics.numbers.clone().unwrap();
    let levels = &numbers.distribution.kll.sketch.data;
    assert!(levels.len() > 1);
    let weight: usize = levels.iter().enumerate().map(|(h, level)| level.len() << h).sum();
    assert_eq!(weight, 5_000);
    assert_eq!(numbers.distribution.kll.buckets.iter().map(|bucket| bucket.count).sum::<f64>(), 5_000.0);
}

#[test]
fn nothing_in_the_files_is_no_number() {
    let odd = [f64::MAX, -f64::MAX, f64::INFINITY, 5e-324, NAN];
    for values in [&odd[..], &[], &[f64::NEG_INFINITY], &[f64::MAX; 3]] {
        let profile = profile(&[("x", values)]);
        let texts =
            [Statistics::of(&profile).to_json().unwrap(), Constraints::suggest(&profile).to_json().unwrap()];
        for text in texts {
            assert!(
                !text.contains("null")
                    && !text.contains(" inf")
                    && !text.contains("-inf")
                    && !text.contains("NaN"),
                "{text}"
            );
            serde_json::from_str::<serde_json::Value>(&text).unwrap();
        }
    }
}

// ---- constraints ----

#[test]
fn suggested_constraints_have_the_bytes_of_the_original() {
    let profile = profile(&[("a\"b", &[1.0, 0.0, NAN, 4.0]), ("y", &[-0.5; 4]), ("none", &[NAN; 4])]);
    let wanted = r#"{
  "version" : 0.0,
  "features" : [ {
    "name" : "a\"b",
    "inferred_type" : "Integral",
    "completeness" : 0.75,
    "num_constraints" : {
      "is_non_negative" : true
    }
  }, {
    "name" : "y",
    "inferred_type" : "Fractional",
    "completeness" : 1.0,
    "num_constraints" : {
      "is_non_negative" : false
    }
  }, {
    "name" : "none",
    "inferred_type" : "Unknown",
    "completeness" : 0.0
  } ],
  "monitoring_config" : {
    "evaluate_constraints" : "Enabled",
    "emit_metrics" : "Enabled",
    "datatype_check_threshold" : 1.0,
    "domain_content_threshold" : 1.0,
    "distribution_constraints" : {
      "perform_comparison" : "Enabled",
      "comparison_threshold" : 0.1,
      "comparison_method" : "Robust",
      "categorical_comparison_threshold" : 0.1,
      "categorical_drift_method" : "LInfinity"
    }
  }
}"#;
    let constraints = Constraints::suggest(&profile);
    assert_eq!(constraints.to_json().unwrap(), wanted);
    assert_eq!(Constraints::parse(wanted).unwrap(), constraints);
}

#[test]
fn edited_constraints_come_back_as_they_were_meant() {
    let text = r#"{
        "version": 0,
        "comment": "keys of other versions are passed over",
        "features": [
            {"name": "a", "inferred_type": "Integral", "completeness": 1, "string_constraints": {"domains": ["0", "1"]},
             "monitoringConfigOverrides": {"evaluate_constraints": "Disabled", "unknown": 3}},
            {"name": "b", "inferred_type": "Fractional", "completeness": 0.5, "num_constraints": null,
             "monitoring_config_overrides": {"distribution_constraints":
                {"comparison_method": "Simple", "comparison_threshold": 0.3}}},
            {"name": "c", "inferred_type": "String", "completeness": 0.0, "monitoring_config_overrides": null}
        ],
        "monitoring_config": {"emit_metrics": "Disabled", "datatype_check_threshold": 0.9,
            "distribution_constraints": {"comparison_threshold": 0.2, "categorical_drift_method": "ChiSquared"}}
    }"#;
    let constraints = Constraints::parse(text).unwrap();
    let [a, b, c] = constraints.features.as_slice() else { panic!("{constraints:?}") };
    assert_eq!(a.string_constraints.as_ref().unwrap().domains, ["0", "1"]);
    assert_eq!(constraints.monitoring_of(a).evaluate_constraints, Switch::Disabled);
    let of_b = constraints.monitoring_of(b);
    assert_eq!((of_b.evaluate_constraints, of_b.emit_metrics), (Switch::Enabled, Switch::Disabled));
    assert_eq!(of_b.distribution_constraints.comparison_threshold, 0.3);
    assert_eq!(of_b.distribution_constraints.comparison_method, ComparisonMethod::Simple);
    let of_c = constraints.monitoring_of(c);
    assert_eq!((of_c.datatype_check_threshold, of_c.domain_content_threshold), (0.9, 0.1));
    assert_eq!(of_c.distribution_constraints.comparison_method, ComparisonMethod::Robust);
    assert_eq!(of_c.distribution_constraints.categorical_comparison_threshold, 0.2, "as for numbers");
    assert_eq!(of_c.distribution_constraints.categorical_drift_method, CategoricalDriftMethod::ChiSquared);
    // Written and read again nothing is lost.
    let written = constraints.to_json().unwrap();
    assert!(
        written.contains("monitoring_config_overrides") && written.contains("\"domains\" : [ \"0\", \"1\" ]")
    );
    assert_eq!(Constraints::parse(&written).unwrap(), constraints);
}

#[test]
fn everything_wrong_is_told_with_feature_and_key() {
    let text = r#"{
        "version": "0",
        "features": [
            {"name": "a", "inferred_type": "Float", "completeness": 1.5},
            {"name": "b", "completeness": 1.0, "num_constraints": {"is_non_negative": "yes"}},
            {"name": "b", "inferred_type": "Integral", "string_constraints": {"domains": [1]}},
            {"inferred_type": "Integral"},
            7,
            {"name": "c", "inferred_type": "Integral", "completeness": 1.0, "monitoring_config_overrides": {},
             "monitoringConfigOverrides": {"distribution_constraints": {"comparison_threshold": 1}}},
            {"name": "d", "inferred_type": "Integral", "completeness": 1.0,
             "monitoringConfigOverrides": {"distribution_constraints": {"comparison_threshold": -1}}}
        ],
        "monitoring_config": {"evaluate_constraints": true, "domain_content_threshold": 2,
            "distribution_constraints": []}
    }"#;
    let Err(UnusableConstraints::Wrong { problems }) = Constraints::parse(text) else { panic!("accepted") };
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let wanted = [
        "version: is \"0\"; give a number such as 0.0",
        "feature \"a\": inferred_type: is \"Float\"; give one of Integral, Fractional, String, Unknown",
        "feature \"a\": completeness: is 1.5; give a number from 0 to 1",
        "feature \"b\": inferred_type: is missing; give one such as Fractional",
        "feature \"b\": num_constraints.is_non_negative: is \"yes\"; give true or false",
        "feature \"b\": completeness: is missing; give a number from 0 to 1",
        "feature \"b\": string_constraints.domains: is a list; give a list of texts",
        "feature \"b\": name: is there twice; keep one",
        "features[3].name: is missing; give the name of a column",
        "features[4]: is 7; give an object with `name`",
        "feature \"c\": monitoringConfigOverrides: is there beside `monitoring_config_overrides`, which means the same; \
         keep one",
        "feature \"d\": monitoringConfigOverrides.distribution_constraints.comparison_threshold: is -1; give a number \
         from 0 on",
        "monitoring_config.distribution_constraints: is a list; give an object",
        "monitoring_config.evaluate_constraints: is true; give one of Enabled, Disabled",
        "monitoring_config.domain_content_threshold: is 2; give a number from 0 to 1",
    ];
    assert_eq!(told, wanted);
    let message = Constraints::parse(text).unwrap_err().to_string();
    assert!(message.starts_with(wanted[0]) && message.ends_with("and 7 more"), "{message}");

    assert_eq!(Constraints::parse("{}").unwrap_err().to_string(), "features: is missing; give a list");
    assert_eq!(Constraints::parse("{\"features\": []}").unwrap().features, []);
    for text in ["", "{", "[]", "3", "null"] {
        assert!(Constraints::parse(text).is_err(), "{text}");
    }
}

// ---- distances ----

#[test]
fn robust_distances_are_those_that_sagemaker_reported() {
    // A run of the analyzer: 300 rows against 11 rows, columns that do not overlap, n distinct values of 300.
    let reported = [
        (300, "44.74"),
        (299, "44.74"),
        (294, "44.72"),
        (284, "44.69"),
        (277, "44.66"),
        (273, "44.65"),
        (246, "44.53"),
        (225, "44.42"),
        (219, "44.38"),
        (217, "44.37"),
        (211, "44.33"),
        (195, "44.22"),
        (187, "44.15"),
        (179, "44.09"),
    ];
    let current: Vec<f64> = (0..11).map(|i| 1_000.0 + f64::from(i)).collect();
    let current = column("x", &current);
    for (distinct, percent) in reported {
        let baseline: Vec<f64> = (0..300).map(|i| f64::from(i % distinct)).collect();
        let baseline = column("x", &baseline);
        let measured = |method, manner| 100.0 * distance(&baseline, &current, method, manner).unwrap();
        let robust = measured(ComparisonMethod::Robust, Manner::SageMaker);
        assert_eq!(format!("{robust:.2}"), percent, "{distinct} distinct values");
        assert_eq!(measured(ComparisonMethod::Simple, Manner::SageMaker), 100.0);
        // By all values it is that of 300 rows, however often they repeat.
        assert_eq!(format!("{:.2}", measured(ComparisonMethod::Robust, Manner::Exact)), "44.74");
    }
}

#[test]
fn distinct_values_hide_what_all_values_show() {
    // Nine in ten are 0 on one side and 1 on the other: the same two distinct values.
    let mostly = |value: f64| {
        let mut values = vec![value; 90];
        values.extend([1.0 - value; 10]);
        column("x", &values)
    };
    let (zeros, ones) = (mostly(0.0), mostly(1.0));
    let simple = |manner| distance(&zeros, &ones, ComparisonMethod::Simple, manner).unwrap();
    assert_eq!(simple(Manner::SageMaker), 0.0);
    assert!((simple(Manner::Exact) - 0.8).abs() < 1e-15);
    let robust = distance(&zeros, &ones, ComparisonMethod::Robust, Manner::Exact).unwrap();
    assert!((robust - (0.8 - 1.8 * (200.0_f64 / 10_000.0).sqrt())).abs() < 1e-15);
    // Samples too small to tell are at no distance, never below.
    let near = [column("x", &[1.0, 2.0]), column("x", &[1.5, 2.5])];
    assert_eq!(distance(&near[0], &near[1], ComparisonMethod::Robust, Manner::Exact), Some(0.0));
}

#[test]
fn distances_have_bounds_and_a_stated_answer_for_nothing() {
    let some = column("x", &[1.0, 2.0, 3.0, -0.0]);
    let signed = column("x", &[1.0, 2.0, 3.0, 0.0]);
    for manner in [Manner::Exact, Manner::SageMaker] {
        for method in [ComparisonMethod::Simple, ComparisonMethod::Robust] {
            assert_eq!(distance(&some, &signed, method, manner), Some(0.0), "0 and -0 are one value");
            for empty in [column("x", &[]), column("x", &[NAN]), column("x", &[f64::INFINITY])] {
                assert_eq!(distance(&some, &empty, method, manner), None);
                assert_eq!(distance(&empty, &some, method, manner), None);
            }
        }
    }
}

#[test]
fn sketches_of_many_values_give_the_distance_of_all() {
    // Two uniform samples, one shifted by a quarter: the distance is a quarter.
    let scattered = |shift: f64| -> Vec<f64> {
        let share = |i: u64| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11) as f64 / (1u64 << 53) as f64;
        (0..50_000).map(|i| share(i) + shift).collect()
    };
    let (here, there) = (column("x", &scattered(0.0)), column("x", &scattered(0.25)));
    for manner in [Manner::Exact, Manner::SageMaker] {
        let simple = distance(&here, &there, ComparisonMethod::Simple, manner).unwrap();
        assert!((simple - 0.25).abs() < 0.02, "{simple}");
    }
}

// ---- violations ----

#[test]
fn every_check_finds_what_it_looks_for_and_says_it_in_known_words() {
    let whole: Vec<f64> = (0..1_000).map(f64::from).collect();
    let steady = vec![0.5; 1_000];
    let baseline =
        profile(&[("drifts", &whole), ("type", &whole), ("gaps", &steady), ("domain", &[1.0; 1_000])]);
    let mut constraints = Constraints::suggest(&baseline);
    constraints.features[3].string_constraints = Constraints::parse(
        r#"{"features": [{"name": "domain", "inferred_type": "Integral", "completeness": 1.0,
                "string_constraints": {"domains": ["1", " 2.0 ", "red"]}}]}"#,
    )
    .unwrap()
    .features[0]
        .string_constraints
        .clone();
    assert_eq!(violations(&constraints, &baseline, &baseline, Manner::Exact), []);

    let mut types = whole.clone();
    types[..4].fill(0.5);
    let mut gaps = steady;
    gaps[..20].fill(NAN);
    let mut domain = vec![2.0; 1_000];
    domain[0] = 3.0;
    let drifted: Vec<f64> = whole.iter().map(|value| value + 300.0).collect();
    let current = profile(&[("gaps", &gaps), ("domain", &domain), ("drifts", &drifted), ("type", &types)]);
    // Equal types, other values: the domain's column drifts wholly, which is switched off.
    constraints.features[3].monitoring_config_overrides.distribution_constraints.perform_comparison =
        Some(Switch::Disabled);
    let found = violations(&constraints, &baseline, &current, Manner::Exact);
    let wanted = [
        ("drifts", "baseline_drift_check"),
        ("type", "data_type_check"),
        ("gaps", "completeness_check"),
        ("domain", "categorical_values_check"),
    ];
    assert_eq!(checks(&found), wanted);
    let told: Vec<String> = found.iter().map(Violation::description).collect();
    assert_eq!(
        told[1],
        "Data type match requirement is not met. Expected data type: Integral, Expected match: 100.0%. Observed: Only \
         99.6% of data is Integral."
    );
    assert!(told[2].starts_with("Value: 0.98 does not meet the constraint requirement!"), "{}", told[2]);
    assert!(told[3].starts_with("Value: 0.999 does not meet the constraint requirement!"), "{}", told[3]);
    let Violation::Feature { finding: Finding::BaselineDrift { distance, threshold }, .. } = &found[0] else {
        panic!("{found:?}")
    };
    let wanted = 0.3 - 1.8 * (2_000.0_f64 / 1e6).sqrt();
    assert!((distance - wanted).abs() < 1e-12, "{distance} and {wanted}");
    assert_eq!(told[0], format!("Baseline drift distance: {distance} exceeds threshold: {threshold}"));

    constraints.features[0].monitoring_config_overrides.evaluate_constraints = Some(Switch::Disabled);
    assert_eq!(violations(&constraints, &baseline, &current, Manner::Exact).len(), 3);
    constraints.monitoring_config.evaluate_constraints = Switch::Disabled;
    assert_eq!(violations(&constraints, &baseline, &current, Manner::Exact), []);
}

#[test]
fn columns_go_by_name() {
    let values: Vec<f64> = (0..50).map(f64::from).collect();
    let high: Vec<f64> = (1_000..1_050).map(f64::from).collect();
    let baseline = profile(&[("a", &values), ("b", &values), ("c", &values)]);
    let constraints = Constraints::suggest(&baseline);
    let fewer = profile(&[("c", &high), ("a", &values)]);
    let found = violations(&constraints, &baseline, &fewer, Manner::Exact);
    assert_eq!(checks(&found), [("Missing columns", "missing_column_check"), ("c", "baseline_drift_check")]);
    assert_eq!(found[0], Violation::MissingColumns { names: vec!["b".to_owned()], current: 2, baseline: 3 });
    assert_eq!(
        found[0].description(),
        "There are missing columns in current dataset. Number of columns in current dataset: 2, Number of columns in \
         baseline constraints: 3"
    );
    // The analyzer looks at nothing else then.
    assert_eq!(violations(&constraints, &baseline, &fewer, Manner::SageMaker).len(), 1);

    let renamed = profile(&[("a", &values), ("B", &values), ("c", &values), ("d", &values)]);
    let found = violations(&constraints, &baseline, &renamed, Manner::Exact);
    let wanted = [("Missing columns", "missing_column_check"), ("Extra columns", "extra_column_check")];
    assert_eq!(checks(&found), wanted);
    assert_eq!(
        found[1],
        Violation::ExtraColumns { names: vec!["B".to_owned(), "d".to_owned()], current: 4, baseline: 3 }
    );
}

#[test]
fn whole_numbers_are_fractional_except_in_the_manner_of_sagemaker() {
    let baseline = profile(&[("x", &[0.5, 1.5, 2.5, 3.5])]);
    let current = profile(&[("x", &[0.5, 1.0, 2.5, 3.0])]);
    let constraints = Constraints::suggest(&baseline);
    assert_eq!(violations(&constraints, &baseline, &current, Manner::Exact), []);
    let found = violations(&constraints, &baseline, &current, Manner::SageMaker);
    assert_eq!(checks(&found), [("x", "data_type_check")]);
    assert!(found[0].description().ends_with("Observed: Only 50.0% of data is Fractional."));
    // No number is a text.
    let mut texts = constraints;
    texts.features[0].inferred_type = InferredType::String;
    let found = violations(&texts, &baseline, &current, Manner::Exact);
    assert!(found[0].description().ends_with("Observed: Only 0.0% of data is String."));
}

#[test]
fn columns_without_values_violate_only_what_can_be_told() {
    let empty = profile(&[("x", &[]), ("y", &[])]);
    let missing = profile(&[("x", &[NAN; 30]), ("y", &[NAN; 30])]);
    let constant = profile(&[("x", &[7.0; 30]), ("y", &[7.0; 30])]);
    let other = profile(&[("x", &[8.0; 30]), ("y", &[f64::INFINITY; 30])]);
    for manner in [Manner::Exact, Manner::SageMaker] {
        for baseline in [&empty, &missing, &constant] {
            let constraints = Constraints::suggest(baseline);
            assert_eq!(violations(&constraints, baseline, baseline, manner), []);
            assert_eq!(violations(&constraints, baseline, &empty, manner), [], "no row, no verdict");
        }
        assert_eq!(violations(&Constraints::suggest(&missing), &missing, &constant, manner), []);
        let constraints = Constraints::suggest(&constant);
        let found = violations(&constraints, &constant, &missing, manner);
        assert_eq!(checks(&found), [("x", "completeness_check"), ("y", "completeness_check")]);
        let found = violations(&constraints, &constant, &other, manner);
        // One distinct value on each side is too little to tell by for the analyzer.
        let drift = Violation::feature_name;
        let drifted = found.iter().any(|one| drift(one) == "x" && one.check() == "baseline_drift_check");
        assert_eq!(drifted, manner == Manner::Exact);
        assert!(checks(&found).contains(&("y", "data_type_check")), "{found:?}");
    }
}

#[test]
fn violations_have_the_bytes_of_the_original() {
    let found = [
        Violation::Feature {
            name: "x".to_owned(),
            finding: Finding::BaselineDrift { distance: 0.447_419_277_801_464_95, threshold: 0.1 },
        },
        Violation::ExtraColumns { names: vec!["d".to_owned()], current: 4, baseline: 3 },
    ];
    let wanted = r#"{
  "violations" : [ {
    "feature_name" : "x",
    "constraint_check_type" : "baseline_drift_check",
    "description" : "Baseline drift distance: 0.44741927780146495 exceeds threshold: 0.1"
  }, {
    "feature_name" : "Extra columns",
    "constraint_check_type" : "extra_column_check",
    "description" : "There are extra columns in current dataset. Number of columns in current dataset: 4, Number of columns in baseline constraints: 3"
  } ]
}"#;
    assert_eq!(violations_json(&found).unwrap(), wanted);
    assert_eq!(violations_json(&[]).unwrap(), "{\n  \"violations\" : [ ]\n}");
}
