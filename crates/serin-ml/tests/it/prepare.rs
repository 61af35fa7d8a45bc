//! Recipes: their values against scikit-learn and imbalanced-learn, their laws, and what is refused.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value;

use serin_ml::matrix::Matrix;
use serin_ml::prepare::{
    FittedRecipe, PRESETS, PrepareError, Prepared, Recipe, RecipeError, ResampleMethod, Resampled,
};
use serin_ml::seed::Seed;

/// The tables of `tests/data/prepare/make_prepare.py`.
fn expected() -> Value {
    serde_json::from_str(include_str!("../data/prepare/prepare.json")).unwrap()
}

fn matrix(rows: &Value) -> Matrix {
    let rows = Vec::<Vec<Option<f64>>>::deserialize(rows).unwrap();
    let values: Vec<f64> = rows.iter().flatten().map(|value| value.unwrap_or(f64::NAN)).collect();
    Matrix::new(rows.len(), rows[0].len(), values)
}

fn classes(y: &Value) -> Vec<u32> {
    Vec::deserialize(y).unwrap()
}

/// A recipe from the TOML-like JSON of its steps.
fn recipe(steps: Value) -> Recipe {
    let document = serde_json::Map::from_iter([("steps".to_owned(), steps)]);
    serde_json::from_value(document.into()).unwrap()
}

fn fit(steps: Value, x: &Matrix, y: &[u32]) -> Prepared {
    try_fit(steps, x, y).unwrap()
}

fn try_fit(steps: Value, x: &Matrix, y: &[u32]) -> Result<Prepared, PrepareError> {
    let n_classes = y.iter().max().map_or(1, |largest| *largest as usize + 1);
    recipe(steps).check().unwrap().fit(x, y, n_classes, None, Seed(17))
}

fn assert_near(got: &Matrix, wanted: &Matrix, tolerance: f64) {
    assert_eq!((got.n_rows(), got.n_columns()), (wanted.n_rows(), wanted.n_columns()));
    for i in 0..got.n_rows() {
        for j in 0..got.n_columns() {
            let (a, b) = (got.at(i, j), wanted.at(i, j));
            let near = (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance * b.abs().max(1.0);
            assert!(near, "row {i}, column {j}: {a} instead of {b}");
        }
    }
}

/// The index in `x` of each row of `part`.
fn positions(part: &Matrix, x: &Matrix) -> Vec<usize> {
    part.rows().map(|row| x.rows().position(|other| other == row).unwrap()).collect()
}

// ---- values ----

#[test]
fn imputing_equals_scikit_learn() {
    let expected = expected();
    let x = matrix(&expected["with_missing"]);
    for strategy in ["mean", "median", "most-frequent", "constant"] {
        let mut step = serde_json::json!({ "step": "impute", "strategy": strategy, "indicators": true });
        if strategy == "constant" {
            step["value"] = (-7.5).into();
        }
        let prepared = fit(serde_json::json!([step]), &x, &vec![0; x.n_rows()]);
        assert_near(&prepared.x, &matrix(&expected["impute"][strategy]), 1e-14);
    }
}

#[test]
fn scaling_equals_scikit_learn() {
    let expected = expected();
    let x = matrix(&expected["with_missing"]);
    for (method, tolerance) in [("z-score", 1e-8), ("robust", 1e-12), ("min-max", 1e-8)] {
        let steps = serde_json::json!([{ "step": "scale", "method": method }]);
        let prepared = fit(steps, &x, &vec![0; x.n_rows()]);
        assert_near(&prepared.x, &matrix(&expected["scale"][method]), tolerance);
    }
}

#[test]
fn the_power_transform_equals_scikit_learn() {
    let expected = expected();
    let x = matrix(&expected["with_missing"]);
    let steps = serde_json::json!([{ "step": "scale", "method": "yeo-johnson" }]);
    let prepared = fit(steps, &x, &vec![0; x.n_rows()]);
    let wanted = matrix(&expected["scale"]["yeo-johnson"]);
    let recipe = serde_json::to_value(&prepared.recipe).unwrap();
    let exponents = Vec::<f64>::deserialize(&recipe["steps"][0]["Power"]["exponent"]).unwrap();
    let wanted_exponents = Vec::<f64>::deserialize(&expected["yeo_johnson_exponents"]).unwrap();
    for j in 0..x.n_columns() {
        // Column 5 lies a million deviations from zero: rounding hides which of many exponents is likeliest.
        let (exponent, value) = if j == 5 { (f64::INFINITY, 1e-4) } else { (1e-5, 1e-6) };
        assert!((exponents[j] - wanted_exponents[j]).abs() < exponent, "{} in column {j}", exponents[j]);
        assert_near(&prepared.x.select_columns(&[j]), &wanted.select_columns(&[j]), value);
    }
}

#[test]
fn principal_components_equal_scikit_learn() {
    let expected = expected();
    for name in ["pca_tall", "pca_wide"] {
        let expected = &expected[name];
        let x = matrix(&expected["x"]);
        let scores = matrix(&expected["absolute_scores"]);
        let with = |parameter: Value| {
            let mut step = serde_json::json!({ "step": "pca" });
            step.as_object_mut().unwrap().extend(parameter.as_object().unwrap().clone());
            fit(serde_json::json!([{ "step": "impute" }, step]), &x, &vec![0; x.n_rows()]).x
        };
        let all = with(serde_json::json!({ "components": 1000 }));
        let absolute =
            Matrix::new(all.n_rows(), all.n_columns(), all.values().iter().map(|v| v.abs()).collect());
        assert_near(&absolute, &scores, 1e-9);
        assert_eq!(with(serde_json::json!({ "components": 2 })).n_columns(), 2);
        let share = with(serde_json::json!({ "explained_variance": 0.9 }));
        assert_eq!(Some(share.n_columns() as u64), expected["count_at_90_percent"].as_u64());
        // Variance explained is the variance of the scores.
        let total: f64 = (0..x.n_columns()).map(|j| variance(&x.column(j))).sum();
        for (k, ratio) in Vec::<f64>::deserialize(&expected["explained"]).unwrap().into_iter().enumerate() {
            assert!((variance(&all.column(k)) / total - ratio).abs() < 1e-9);
        }
    }
}

fn variance(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64
}

#[test]
fn of_correlated_columns_the_one_nearer_to_the_target_stays() {
    let expected = expected();
    let x = matrix(&expected["drop_correlated"]["x"]);
    let y = classes(&expected["wine"]["y"]);
    for (threshold, kept) in expected["drop_correlated"]["kept"].as_object().unwrap() {
        let threshold: f64 = threshold.parse().unwrap();
        let prepared =
            fit(serde_json::json!([{ "step": "drop-correlated", "threshold": threshold }]), &x, &y);
        let kept = Vec::<usize>::deserialize(kept).unwrap();
        assert_eq!(prepared.x, x.select_columns(&kept), "threshold {threshold}");
    }
}

#[test]
fn cleaning_removes_the_rows_that_imbalanced_learn_removes() {
    let expected = expected();
    for (table, method, kept) in [
        ("clean", "tomek", "tomek_kept"),
        ("balanced", "smote-tomek", "smote_tomek_kept"),
        ("balanced", "smote-enn", "smote_enn_kept"),
    ] {
        let (x, y) = (matrix(&expected[table]["x"]), classes(&expected[table]["y"]));
        let steps = serde_json::json!([{ "step": "impute" }, { "step": "resample", "method": method }]);
        let prepared = fit(steps, &x, &y);
        assert_eq!(
            positions(&prepared.x, &x),
            Vec::<usize>::deserialize(&expected[table][kept]).unwrap(),
            "{method}"
        );
        assert!(prepared.resampled.iter().all(|done| done.after < done.before));
    }
}

#[test]
fn smote_draws_between_a_row_and_a_near_one_of_its_class() {
    let expected = expected();
    let (x, y) = (matrix(&expected["clean"]["x"]), classes(&expected["clean"]["y"]));
    let steps =
        serde_json::json!([{ "step": "impute" }, { "step": "resample", "method": "smote", "neighbours": 5 }]);
    let prepared = fit(steps, &x, &y);
    let counts: Vec<usize> = (0..3).map(|class| prepared.y.iter().filter(|&&c| c == class).count()).collect();
    assert_eq!(counts, Vec::<usize>::deserialize(&expected["smote_counts"]).unwrap());

    let n = x.n_rows();
    assert_eq!(prepared.x.select_rows(&(0..n).collect::<Vec<_>>()), x, "original rows come first, unchanged");
    for i in n..prepared.x.n_rows() {
        let (row, class) = (prepared.x.row(i), prepared.y[i]);
        let members: Vec<usize> = (0..n).filter(|&j| y[j] == class).collect();
        let on_a_line = members.iter().any(|&from| {
            let mut others: Vec<usize> = members.iter().copied().filter(|&other| other != from).collect();
            others.sort_by(|&a, &b| {
                distance(x.row(from), x.row(a)).total_cmp(&distance(x.row(from), x.row(b)))
            });
            others.iter().take(5).any(|&to| lies_between(row, x.row(from), x.row(to)))
        });
        assert!(on_a_line, "row {i} lies on no line between near rows of class {class}");
    }
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
}

fn lies_between(row: &[f64], a: &[f64], b: &[f64]) -> bool {
    (distance(a, row) + distance(row, b) - distance(a, b)).abs() < 1e-9 * (1.0 + distance(a, b))
}

#[test]
fn importance_keeps_what_tells_the_classes_apart() {
    let expected = expected();
    let (wine, y) = (matrix(&expected["wine"]["x"]), classes(&expected["wine"]["y"]));
    // Five columns of wine, and five that say nothing about the class.
    let noise: Vec<Vec<f64>> =
        (0..5).map(|j| (0..y.len()).map(|i| ((i * 7919 + j * 104_729) % 1009) as f64).collect()).collect();
    let mut columns: Vec<Vec<f64>> = [0, 6, 9, 11, 12].iter().map(|&j| wine.column(j)).collect();
    columns.extend(noise);
    let x = Matrix::from_columns(&columns);
    let prepared = fit(serde_json::json!([{ "step": "select-importance", "max_count": 5 }]), &x, &y);
    assert_eq!(prepared.x, x.select_columns(&[0, 1, 2, 3, 4]));
    let fewer = fit(serde_json::json!([{ "step": "select-importance", "share": 0.5 }]), &x, &y);
    assert!((1..5).contains(&fewer.x.n_columns()));
    let all = fit(serde_json::json!([{ "step": "select-importance", "share": 1.0 }]), &x, &y);
    assert_eq!(all.x.n_columns(), 10);
}

#[test]
fn class_weights_balance_what_is_there() {
    let x = Matrix::new(4, 1, vec![1.0, 2.0, 3.0, 4.0]);
    let y = [0, 0, 0, 2];
    let weights = |step: Value| fit(serde_json::json!([step]), &x, &y).weights.unwrap();
    assert_eq!(
        weights(serde_json::json!({ "step": "class-weights" })),
        [2.0 / 3.0, 2.0 / 3.0, 2.0 / 3.0, 2.0]
    );
    assert_eq!(weights(serde_json::json!({ "step": "class-weights", "power": 0.0 })), [1.0; 4]);
    let given = serde_json::json!({ "step": "class-weights", "per_class": [1.0, 5.0, 3.0] });
    assert_eq!(weights(given), [1.0, 1.0, 1.0, 3.0]);
    let wrong = try_fit(serde_json::json!([{ "step": "class-weights", "per_class": [1.0] }]), &x, &y);
    assert!(matches!(wrong, Err(PrepareError::ClassWeights { position: 1, given: 1, n_classes: 3 })));
}

// ---- degenerate data ----

#[test]
fn a_class_of_one_row_is_repeated_and_a_small_one_uses_fewer_neighbours() {
    let x = Matrix::new(9, 1, vec![0.0, 0.1, 0.2, 0.3, 0.4, 5.0, 5.1, 5.2, 9.0]);
    let y = [0, 0, 0, 0, 0, 1, 1, 1, 2];
    let prepared = fit(serde_json::json!([{ "step": "impute" }, { "step": "resample" }]), &x, &y);
    let done = |method, class, before, neighbours| Resampled { method, class, before, after: 5, neighbours };
    assert_eq!(
        prepared.resampled,
        [done(ResampleMethod::Smote, 1, 3, 2), done(ResampleMethod::RandomOver, 2, 1, 0)]
    );
    assert_eq!(prepared.y.len(), 15);
    assert!((0..15).filter(|&i| prepared.y[i] == 2).all(|i| prepared.x.row(i) == [9.0]));
}

#[test]
fn cleaning_never_removes_a_whole_class() {
    // The only row of class 1 lies among those of class 0.
    let x = Matrix::new(5, 1, vec![0.0, 1.0, 2.1, 3.3, 0.4]);
    let y = [0, 0, 0, 0, 1];
    for method in ["tomek", "smote-tomek", "smote-enn"] {
        let steps = serde_json::json!([{ "step": "impute" }, { "step": "resample", "method": method }]);
        let prepared = fit(steps, &x, &y);
        assert!(prepared.y.contains(&1) && prepared.y.contains(&0), "{method}");
    }
}

#[test]
fn random_sampling_takes_every_row_its_turn() {
    let x = Matrix::new(7, 1, (0..7).map(f64::from).collect());
    let y = [0, 0, 0, 0, 0, 1, 1];
    let over = fit(serde_json::json!([{ "step": "resample", "method": "random-over" }]), &x, &y);
    let mut ones: Vec<f64> = (0..over.y.len()).filter(|&i| over.y[i] == 1).map(|i| over.x.at(i, 0)).collect();
    ones.sort_by(f64::total_cmp);
    assert!(ones == [5.0, 5.0, 5.0, 6.0, 6.0] || ones == [5.0, 5.0, 6.0, 6.0, 6.0]);
    let under = fit(serde_json::json!([{ "step": "resample", "method": "random-under" }]), &x, &y);
    assert_eq!(under.y, [0, 0, 1, 1]);
    let half =
        fit(serde_json::json!([{ "step": "resample", "method": "random-under", "ratio": 0.5 }]), &x, &y);
    assert_eq!(half.y, [0, 0, 0, 0, 1, 1]);
}

#[test]
fn columns_without_information_have_a_stated_answer() {
    let missing = f64::NAN;
    // All missing; constant; constant where present; varying.
    let x = Matrix::from_columns(&[
        vec![missing; 4],
        vec![5.0; 4],
        vec![5.0, missing, 5.0, 5.0],
        vec![1.0, 2.0, 3.0, missing],
    ]);
    let y = [0, 1, 0, 1];
    let kept = fit(serde_json::json!([{ "step": "drop-constants" }]), &x, &y);
    assert_eq!(kept.x.n_columns(), 2, "missing counts as a value");
    let filled = fit(serde_json::json!([{ "step": "impute" }, { "step": "drop-constants" }]), &x, &y);
    assert_eq!(filled.x.values(), [1.0, 2.0, 3.0, 2.0]);
    for method in ["z-score", "robust", "min-max", "yeo-johnson"] {
        let steps = serde_json::json!([{ "step": "impute" }, { "step": "scale", "method": method }]);
        let scaled = fit(steps, &x, &y);
        assert!(scaled.x.values().iter().all(|value| value.is_finite()), "{method}");
        assert_eq!(scaled.x.column(1), [0.0; 4], "{method} centres a constant column");
    }
    let nothing = try_fit(serde_json::json!([{ "step": "drop-constants" }]), &x.select_columns(&[0, 1]), &y);
    assert!(matches!(nothing, Err(PrepareError::NoColumnsLeft { position: 1, step: "drop-constants" })));
    let one_row = try_fit(
        serde_json::json!([{ "step": "impute" }, { "step": "pca", "components": 1 }]),
        &x.select_rows(&[0]),
        &[0],
    );
    assert!(matches!(one_row, Err(PrepareError::NoColumnsLeft { position: 2, step: "pca" })));
    assert!(matches!(
        try_fit(serde_json::json!([]), &Matrix::zeros(0, 3), &[]),
        Err(PrepareError::Empty { .. })
    ));
    assert!(matches!(
        try_fit(serde_json::json!([]), &Matrix::zeros(1, 0), &[0]),
        Err(PrepareError::Empty { .. })
    ));
}

#[test]
fn neighbours_are_not_searched_among_too_many_rows() {
    let n = serin_ml::prepare::NEIGHBOUR_SEARCH_ROW_LIMIT + 1;
    let x = Matrix::zeros(n, 1);
    let steps = serde_json::json!([{ "step": "impute" }, { "step": "resample", "method": "tomek" }]);
    let error = try_fit(steps, &x, &vec![0; n]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "step 2 (resample) would search neighbours among 20001 rows, at most 20000 are allowed: \
         use random-over or random-under"
    );
}

// ---- what is refused ----

#[test]
fn a_refusal_names_step_key_value_and_range() {
    let check = |steps: Value, message: &str| {
        assert_eq!(recipe(steps).check().unwrap_err().to_string(), message);
    };
    let impute = serde_json::json!({ "step": "impute" });
    check(
        serde_json::json!([impute, { "step": "pca", "explained_variance": 1.5 }]),
        "step 2 (pca): explained_variance = 1.5 is not allowed, must be above 0 and at most 1",
    );
    check(
        serde_json::json!([{ "step": "pca", "components": 2 }]),
        "step 1 (pca) cannot take missing values: put an impute step before it",
    );
    check(
        serde_json::json!([{ "step": "resample", "method": "smote" }, impute]),
        "step 1 (resample) cannot take missing values: put an impute step before it",
    );
    check(
        serde_json::json!([impute, { "step": "pca", "components": 2, "explained_variance": 0.5 }]),
        "step 2 (pca): components does not go with explained_variance: remove one of the two",
    );
    check(
        serde_json::json!([{ "step": "impute", "strategy": "mean", "value": 1.0 }]),
        "step 1 (impute): value goes with strategy = \"constant\" only: remove it or change the strategy",
    );
    check(
        serde_json::json!([{ "step": "drop-correlated", "threshold": 0.0 }]),
        "step 1 (drop-correlated): threshold = 0 is not allowed, must be above 0 and at most 1",
    );
    check(
        serde_json::json!([{ "step": "select-importance" }]),
        "step 1 (select-importance): share is missing: give share, max_count or both",
    );
    check(
        serde_json::json!([{ "step": "class-weights" }, { "step": "resample", "method": "random-over" }]),
        "step 2 (resample) changes the class counts that step 1 weighs by: put class-weights after it",
    );
    check(
        serde_json::json!([impute, { "step": "resample", "neighbours": 0 }]),
        "step 2 (resample): neighbours = 0 is not allowed, must be 1 to 100",
    );
    let many = vec![impute; 65];
    assert_eq!(recipe(many.into()).check(), Err(RecipeError::TooManySteps { count: 65 }));
}

#[test]
fn unknown_keys_steps_and_presets_are_refused() {
    for steps in [
        serde_json::json!([{ "step": "impute", "stratgy": "mean" }]),
        serde_json::json!([{ "step": "drop-constants", "threshold": 1 }]),
        serde_json::json!([{ "step": "impute", "strategy": "mode" }]),
        serde_json::json!([{ "step": "whiten" }]),
        serde_json::json!([{ "strategy": "mean" }]),
    ] {
        let text = serde_json::json!({ "steps": steps }).to_string();
        assert!(serde_json::from_str::<Recipe>(&text).is_err(), "{text}");
    }
    assert!(serde_json::from_str::<Recipe>(r#"{"steps": [], "more": 1}"#).is_err());
    assert!(Recipe::preset("fancy").is_none());
    for name in PRESETS {
        let preset = Recipe::preset(name).unwrap();
        preset.check().unwrap();
        let text = serde_json::to_string(&preset).unwrap();
        assert_eq!(serde_json::from_str::<Recipe>(&text).unwrap(), preset, "{text}");
    }
}

#[test]
fn every_preset_prepares_wine_and_survives_encoding() {
    let expected = expected();
    let (x, y) = (matrix(&expected["wine"]["x"]), classes(&expected["wine"]["y"]));
    let names: Vec<String> = (0..x.n_columns()).map(|j| format!("column {j}")).collect();
    for name in PRESETS {
        let checked = Recipe::preset(name).unwrap().check().unwrap();
        let prepared = checked.fit(&x, &y, 3, None, Seed(17)).unwrap();
        prepared.recipe.validate().unwrap();
        assert_eq!(prepared.recipe.n_outputs(), prepared.x.n_columns());
        assert_eq!(prepared.recipe.output_names(&names).len(), prepared.x.n_columns());
        assert_eq!(prepared, checked.fit(&x, &y, 3, None, Seed(17)).unwrap(), "the same seed gives the same");
        let bytes = postcard::to_stdvec(&prepared.recipe).unwrap();
        let decoded: FittedRecipe = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(decoded, prepared.recipe);
        let text = serde_json::to_string(&prepared.recipe).unwrap();
        assert_eq!(serde_json::from_str::<FittedRecipe>(&text).unwrap(), prepared.recipe);
    }
}

#[test]
fn output_columns_have_names() {
    let x = Matrix::from_columns(&[vec![1.0, f64::NAN, 3.0], vec![2.0, 2.0, 2.0]]);
    let steps = serde_json::json!([{ "step": "impute", "indicators": true }, { "step": "drop-constants" }]);
    let prepared = fit(steps, &x, &[0, 1, 0]);
    let names = ["age".to_owned(), "size".to_owned()];
    assert_eq!(prepared.recipe.output_names(&names), ["age", "age is missing"]);
    let steps = serde_json::json!([{ "step": "impute" }, { "step": "pca", "components": 9 }]);
    assert_eq!(fit(steps, &x, &[0, 1, 0]).recipe.output_names(&names), ["component 1"]);
}

#[test]
fn bytes_that_are_no_recipe_are_refused() {
    let refuse = |steps: Value, message: &str| {
        let json = serde_json::json!({ "n_inputs": 2, "steps": steps });
        let recipe: FittedRecipe = serde_json::from_value(json).unwrap();
        assert_eq!(recipe.validate().unwrap_err().to_string(), message);
        // Even unvalidated it answers something instead of ending the process.
        recipe.apply_into(&[1.0, f64::NAN], &mut Vec::new());
    };
    refuse(
        serde_json::json!([{ "Impute": { "fill": [0.0], "indicators": [] } }]),
        "step 1 takes 1 columns but is given 2",
    );
    refuse(
        serde_json::json!([{ "Impute": { "fill": [0.0, 1.0], "indicators": [2] } }]),
        "step 1: column indices must ascend and stay below 2",
    );
    refuse(
        serde_json::json!([{ "Keep": { "inputs": 2, "kept": [1, 0] } }]),
        "step 1: column indices must ascend and stay below 2",
    );
    refuse(
        serde_json::json!([{ "Scale": { "centre": [0.0, 0.0], "spread": [1.0] } }]),
        "step 1: spread has 1 values instead of 2",
    );
    refuse(
        serde_json::json!([{ "Scale": { "centre": [0.0, 0.0], "spread": [1.0, 0.0] } }]),
        "step 1: spread is not finite or out of range",
    );
    refuse(
        serde_json::json!([{ "Project": { "centre": [0.0, 0.0], "components": [1.0, 0.0, 0.0], "explained": [1.0] } }]),
        "step 1: components has 3 values instead of 2",
    );
    refuse(
        serde_json::json!([{ "Power": { "exponent": [1.0, 1e9], "centre": [0.0, 0.0], "spread": [1.0, 1.0] } }]),
        "step 1: exponent is not finite or out of range",
    );
}

// ---- laws ----

/// A recipe of every kind of step that applies to rows.
fn long_recipe(scale: &str) -> Value {
    serde_json::json!([
        { "step": "impute", "indicators": true },
        { "step": "drop-constants" },
        { "step": "scale", "method": scale },
        { "step": "drop-correlated", "threshold": 0.95 },
        { "step": "pca", "explained_variance": 0.95 },
    ])
}

/// Rows of four numbers, ordinary and extreme, with some missing.
fn tables() -> impl Strategy<Value = Vec<[f64; 4]>> {
    let value = prop_oneof![
        8 => -100.0..100.0f64,
        2 => (-3i32..3).prop_map(f64::from),
        1 => Just(f64::NAN),
        1 => prop_oneof![Just(1e308), Just(-1e308), Just(1e-300), Just(f64::MIN_POSITIVE), Just(1e150)],
    ];
    prop::collection::vec([value.clone(), value.clone(), value.clone(), value], 2..40)
}

fn table(rows: &[[f64; 4]]) -> Matrix {
    Matrix::new(rows.len(), 4, rows.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_row_and_a_batch_are_prepared_alike_and_finite(
        rows in tables(),
        later in tables(),
        method in prop::sample::select(vec!["z-score", "robust", "min-max", "yeo-johnson"]),
    ) {
        let x = table(&rows);
        let y: Vec<u32> = (0..x.n_rows() as u32).map(|i| i % 2).collect();
        // Rows that are all alike leave no column, which is refused.
        let Ok(prepared) = try_fit(long_recipe(method), &x, &y) else { return Ok(()) };
        prop_assert_eq!(prepared.recipe.validate(), Ok(()));
        prop_assert_eq!(&prepared.recipe.apply(&x), &prepared.x);
        let later = table(&later);
        let batch = prepared.recipe.apply(&later);
        let mut out = Vec::new();
        for (i, row) in later.rows().enumerate() {
            prepared.recipe.apply_into(row, &mut out);
            prop_assert_eq!(out.as_slice(), batch.row(i));
            prop_assert!(out.iter().all(|value| value.is_finite()), "{:?} became {:?}", row, out);
        }
    }

    #[test]
    fn resampling_keeps_original_rows_as_they_are(
        rows in tables(),
        method in prop::sample::select(vec![
            "smote", "tomek", "smote-tomek", "smote-enn", "random-over", "random-under",
        ]),
        seed in any::<u64>(),
    ) {
        let x = fit(serde_json::json!([{ "step": "impute" }]), &table(&rows), &vec![0; rows.len()]).x;
        let y: Vec<u32> = (0..x.n_rows() as u32).map(|i| if i % 7 == 0 { 2 } else { i % 2 }).collect();
        let steps = serde_json::json!([{ "step": "impute" }, { "step": "resample", "method": method }]);
        let weights: Vec<f64> = (0..x.n_rows()).map(|i| 1.0 + i as f64).collect();
        let checked = recipe(steps).check().unwrap();
        let prepared = checked.fit(&x, &y, 3, Some(&weights), Seed(seed)).unwrap();
        let n = prepared.x.n_rows();
        prop_assert_eq!((prepared.y.len(), prepared.weights.as_ref().unwrap().len()), (n, n));
        // Classes that were there are there still, and none is new.
        prop_assert_eq!(prepared.y.iter().collect::<BTreeSet<_>>(), y.iter().collect::<BTreeSet<_>>());
        // Rows are originals in their order, then rows that lie between originals.
        let weights = prepared.weights.unwrap();
        let mut last = None;
        for (i, weight) in weights.into_iter().enumerate() {
            let origin = (weight.fract() == 0.0).then(|| weight as usize - 1);
            let is_original = origin.is_some_and(|j| x.row(j) == prepared.x.row(i) && y[j] == prepared.y[i]);
            if is_original && origin > last {
                last = origin;
                continue;
            }
            prop_assert!(!matches!(method, "tomek" | "random-under"), "{} made row {}", method, i);
            let within = (0..x.n_columns()).all(|j| {
                let column = x.column(j);
                let low = column.iter().copied().fold(f64::INFINITY, f64::min);
                let high = column.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                (low..=high).contains(&prepared.x.at(i, j))
            });
            prop_assert!(within);
        }
        // The record adds up.
        let mut counts = [0usize; 3];
        y.iter().for_each(|&class| counts[class as usize] += 1);
        for done in &prepared.resampled {
            prop_assert_eq!(counts[done.class as usize], done.before);
            counts[done.class as usize] = done.after;
        }
        let mut after = [0usize; 3];
        prepared.y.iter().for_each(|&class| after[class as usize] += 1);
        prop_assert_eq!(after, counts);
    }
}
