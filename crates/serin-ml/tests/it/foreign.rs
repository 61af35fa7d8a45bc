//! Models that other programs trained: the same answers, and nothing believed that a file says.

use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::Value;

use serin_ml::forest::{ForeignFormat, ForeignModel, Scratch, read_foreign};
use serin_ml::matrix::Matrix;
use serin_ml::model::{Bundle, FromForeignError, GoldenRows};
use serin_ml::train::{CannotExplain, PredictScratch};

const LIGHTGBM: [&str; 10] = [
    "lightgbm-multiclass.txt",
    "lightgbm-missing.txt",
    "lightgbm-zero-missing.txt",
    "lightgbm-no-missing.txt",
    "lightgbm-zero-missing-signs.txt",
    "lightgbm-ova.txt",
    "lightgbm-binary.txt",
    "lightgbm-rf.txt",
    "lightgbm-dart.txt",
    "lightgbm-categories.txt",
];
const XGBOOST: [&str; 7] = [
    "xgboost-softprob.json",
    "xgboost-softprob.ubj",
    "xgboost-softmax-forest.json",
    "xgboost-binary.json",
    "xgboost-dart.json",
    "xgboost-categories.json",
    "xgboost-categories.ubj",
];

fn bytes(file: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/foreign").join(file);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn text(file: &str) -> String {
    String::from_utf8(bytes(file)).unwrap()
}

fn numbers(rows: &Value) -> Matrix {
    let mut matrix: Option<Matrix> = None;
    for row in rows.as_array().unwrap() {
        let row: Vec<f64> =
            row.as_array().unwrap().iter().map(|number| number.as_str().unwrap().parse().unwrap()).collect();
        matrix.get_or_insert_with(|| Matrix::zeros(0, row.len())).push_row(&row);
    }
    matrix.unwrap()
}

fn cases() -> Vec<Value> {
    let document: Value = serde_json::from_slice(&bytes("foreign.json")).unwrap();
    document["cases"].as_array().unwrap().clone()
}

fn bundle(model: ForeignModel) -> Bundle {
    Bundle::from_foreign(model, None, "model", None).unwrap()
}

// What they answer

#[test]
fn answers_are_those_of_the_trainer() {
    let cases = cases();
    assert_eq!(cases.len(), LIGHTGBM.len() + XGBOOST.len());
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let bundle = bundle(read_foreign(&bytes(case["file"].as_str().unwrap())).unwrap());
        let (rows, expected) = (numbers(&case["rows"]), numbers(&case["probabilities"]));
        let n = rows.n_rows();
        let (mut found, mut classes) = (vec![0.0; expected.values().len()], vec![0; n]);
        let predictor = &bundle.predictor;
        predictor.predict_rows_into(rows.values(), &mut PredictScratch::default(), &mut found, &mut classes);
        for (i, (found, expected)) in found.chunks(predictor.n_classes).zip(expected.rows()).enumerate() {
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() <= 2e-7, "{name}, row {i}: {found} is not {expected}");
            }
            let mut alone = vec![0.0; predictor.n_classes];
            assert_eq!(predictor.predict_into(rows.row(i), &mut alone), classes[i]);
            assert_eq!(alone, found, "{name}, row {i} alone");
        }
    }
}

#[test]
fn contributions_are_those_of_the_trainer_and_sum_to_the_score() {
    for case in cases() {
        let name = case["name"].as_str().unwrap();
        let model = read_foreign(&bytes(case["file"].as_str().unwrap())).unwrap();
        let is_single = model.format != ForeignFormat::LightgbmText;
        // LightGBM leaves the scale of its sigmoid out of contributions, and the number of rounds of a mean.
        let scale = match name {
            "lightgbm-ova" => 0.7,
            "lightgbm-binary" => 1.5,
            "lightgbm-rf" => 0.25,
            _ => 1.0,
        };
        let forest = model.forest.clone();
        let bundle = bundle(model);
        let rows = numbers(&case["rows"]);
        for (i, outputs) in case["contributions"].as_array().unwrap().iter().enumerate() {
            let expected = numbers(outputs);
            let mut scores = vec![0.0; forest.n_outputs()];
            forest.evaluate_into(rows.row(i), &mut scores);
            assert_eq!(expected.n_rows(), scores.len());
            for (output, score) in scores.iter().enumerate() {
                let class = if expected.n_rows() == 1 { 1 } else { output };
                let found = bundle.predictor.explain(rows.row(i), class).unwrap();
                let all = found.contributions.iter().chain([&found.base]);
                // XGBoost computes in single precision.
                let tolerance = if is_single { 1e-5 } else { 1e-9 };
                for (feature, (found, expected)) in all.zip(expected.row(output)).enumerate() {
                    let expected = expected * scale;
                    assert!(
                        (found - expected).abs() <= tolerance * expected.abs().max(1.0),
                        "{name}, row {i}, output {output}, feature {feature}: {found} is not {expected}"
                    );
                }
                let factor = if name == "lightgbm-rf" { 1.0 } else { scale };
                let score = score * factor;
                assert!((found.score() - score).abs() <= 1e-6, "{name}: {} is not {score}", found.score());
            }
        }
        let classes = bundle.predictor.n_classes;
        let refused = bundle.predictor.explain(rows.row(0), classes);
        assert_eq!(refused, Err(CannotExplain::Class { class: classes }));
    }
}

#[test]
fn the_two_classes_of_one_score_have_opposite_contributions() {
    let bundle = bundle(read_foreign(&bytes("xgboost-binary.json")).unwrap());
    let row = vec![1.0; bundle.predictor.n_features];
    let [no, yes] = [0, 1].map(|class| bundle.predictor.explain(&row, class).unwrap());
    assert_eq!(no.base, -yes.base);
    assert!(no.contributions.iter().zip(&yes.contributions).all(|(a, b)| *a == -b));
}

#[test]
fn without_covers_there_is_no_explanation() {
    let without: Vec<String> = text("lightgbm-binary.txt")
        .lines()
        .filter(|l| !l.contains("_count=") && !l.starts_with("tree_sizes"))
        .map(str::to_owned)
        .collect();
    let bundle = bundle(read_foreign(without.join("\n").as_bytes()).unwrap());
    let error = bundle.predictor.explain(&vec![0.0; bundle.predictor.n_features], 0).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the answers of LightGBM text cannot be explained: its trees do not say how many training rows reached each node"
    );
}

#[test]
fn xgboost_has_the_same_model_in_both_formats() {
    for name in ["xgboost-softprob", "xgboost-categories"] {
        let json = read_foreign(&bytes(&format!("{name}.json"))).unwrap();
        let ubjson = read_foreign(&bytes(&format!("{name}.ubj"))).unwrap();
        assert_eq!((json.format, ubjson.format), (ForeignFormat::XgboostJson, ForeignFormat::XgboostUbjson));
        assert_eq!(json.forest.to_parts(), ubjson.forest.to_parts());
    }
}

#[test]
fn a_file_with_other_line_ends_is_the_same_model() {
    let unix = text("lightgbm-categories.txt");
    let other = read_foreign(unix.replace('\n', "\r\n").as_bytes()).unwrap();
    assert_eq!(other.forest, read_foreign(unix.as_bytes()).unwrap().forest);
}

// What is refused

/// `text` with the first `from` changed to `to`, and without the sizes of trees, which would give it away.
fn changed(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from:?} is not in the file");
    let text = text.replacen(from, to, 1);
    text.lines().filter(|line| !line.starts_with("tree_sizes=")).map(|line| format!("{line}\n")).collect()
}

/// The first line of `key` in a tree.
fn line<'a>(text: &'a str, key: &str) -> &'a str {
    let tree = &text[text.find("Tree=0").unwrap()..];
    tree.lines().find(|line| line.starts_with(&format!("{key}="))).unwrap()
}

fn refused(bytes: &[u8]) -> String {
    match read_foreign(bytes) {
        Ok(_) => "accepted".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn lightgbm_files_that_contradict_themselves_are_refused_by_name() {
    let binary = text("lightgbm-binary.txt");
    let categories = text("lightgbm-categories.txt");
    let first = |text: &str, key: &str, value: &str| {
        let line = line(text, key);
        let (_, rest) = line.split_once(' ').unwrap();
        changed(text, line, &format!("{key}={value} {rest}"))
    };
    let bounds = line(&categories, "cat_boundaries").to_owned();
    let longer = |key: &str| changed(&binary, line(&binary, key), &format!("{} 0", line(&binary, key)));

    let cases = [
        // B47
        (first(&binary, "left_child", "6"), "invalid model (index): tree 0: split 0: there is no node 6"),
        (first(&binary, "right_child", "-8"), "invalid model (index): tree 0: split 0: there is no node -8"),
        (
            first(&binary, "left_child", "-2147483648"),
            "invalid model (index): tree 0: split 0: there is no node",
        ),
        (first(&binary, "split_feature", "15"), "invalid model (index): tree 0, node 0: feature 15 of 15"),
        (first(&binary, "split_feature", "-1"), "invalid model (value): tree 0: `split_feature`"),
        (
            changed(&categories, line(&categories, "cat_threshold"), "cat_threshold=1 2 3 4 5 6 7 8 9"),
            "invalid model (length): tree 1: `cat_threshold`",
        ),
        (
            changed(&categories, "num_cat=1", "num_cat=0"),
            "invalid model (index): tree 1: split 4: there is no set of categories 0",
        ),
        (
            changed(&categories, &bounds, &format!("cat_boundaries=1 {}", bounds.split_once(' ').unwrap().1)),
            "invalid model (index): tree 1: `cat_boundaries` do not ascend from 0",
        ),
        // B48
        (longer("threshold"), "invalid model (length): tree 0: `threshold` has 7 values instead of 6"),
        (longer("leaf_value"), "invalid model (length): tree 0: `leaf_value` has 8 values instead of 7"),
        (
            longer("internal_count"),
            "invalid model (length): tree 0: `internal_count` has 7 values instead of 6",
        ),
        (
            changed(&binary, line(&binary, "num_leaves"), "num_leaves=2147483647"),
            "invalid model (length): tree 0: `leaf_value` has 7 values instead of 2147483647",
        ),
        (
            changed(&binary, line(&binary, "num_cat"), "num_cat=18446744073709551615"),
            "invalid model (length): tree 0: `num_cat` is too large",
        ),
        (changed(&binary, "end of trees", ""), "invalid model (structure): "),
        (binary[..binary.len() / 2].to_owned(), "invalid model ("),
        (binary.replace("tree_sizes=", "tree_sizes=1"), "invalid model (length): tree 0: it has "),
        (
            binary.replacen("Tree=1", "Tree=7", 1),
            "invalid model (structure): \"Tree=7\" stands where `Tree=1` belongs",
        ),
        // B49
        (
            first(&binary, "left_child", "0"),
            "invalid model (structure): tree 0, node 0: reached more than once",
        ),
        (
            first(&binary, "left_child", line(&binary, "right_child").split(['=', ' ']).nth(1).unwrap()),
            "invalid model (structure): ",
        ),
        // B50
        (
            first(&binary, "leaf_value", "nan"),
            "invalid model (value): tree 0: the value of leaf 0 is not finite",
        ),
        (first(&binary, "threshold", "nan"), "invalid model (value): tree 0, node 0: the threshold NaN"),
        (
            first(&binary, "decision_type", "14"),
            "invalid model (value): tree 0: split 0: 14 is not a decision type",
        ),
        (first(&binary, "decision_type", "300"), "invalid model (value): tree 0: `decision_type`"),
        (
            changed(&binary, "objective=binary", "objective=regression"),
            "unsupported: the objective `regression`",
        ),
        (changed(&binary, "objective=binary sigmoid:1.5", ""), "invalid model"),
        (changed(&binary, "objective=binary sigmoid:1.5\n", ""), "unsupported: a model without objective"),
        (changed(&binary, "sigmoid:1.5", "sigmoid:-1"), "invalid model (value): "),
        (changed(&binary, "is_linear=0", "is_linear=1"), "unsupported: linear trees"),
        (
            changed(&binary, "is_linear=0", "is_quadratic=0"),
            "unsupported: the field `is_quadratic` of a tree",
        ),
        (changed(&binary, "num_class=1\n", "num_class=4\n"), "invalid model (value): "),
        (
            changed(&binary, "num_class=1\n", "num_class=1\nnum_class=1\n"),
            "invalid model (structure): `num_class` is given twice",
        ),
        (
            changed(&binary, "max_feature_idx=14", "max_feature_idx=18446744073709551615"),
            "invalid model (value): ",
        ),
        (
            changed(&binary, "max_feature_idx=14", "max_feature_idx=4000000000"),
            "invalid model (length): 15 feature names",
        ),
        (changed(&binary, "feature_infos", "infos"), "invalid model (structure): `feature_infos` is missing"),
    ];
    for (text, message) in &cases {
        let found = refused(text.as_bytes());
        assert!(found.starts_with(message), "expected {message:?}, found {found:?}");
    }
    let first_tree = binary.find("Tree=0").unwrap();
    let none = format!("{}end of trees\n", &changed(&binary[..first_tree], "version", "version"));
    assert!(
        refused(none.as_bytes()).starts_with("invalid model (value): 0 trees"),
        "{}",
        refused(none.as_bytes())
    );
    let mut odd = text("lightgbm-multiclass.txt");
    let last = odd.rfind("Tree=").unwrap();
    let end = odd.find("end of trees").unwrap();
    odd.replace_range(last..end, "");
    let odd = changed(&odd, "version", "version");
    let found = refused(odd.as_bytes());
    assert!(found.starts_with("invalid model (value): 15 trees are not whole rounds of 4"), "{found}");
}

#[test]
fn xgboost_files_that_contradict_themselves_are_refused_by_name() {
    let document: Value = serde_json::from_slice(&bytes("xgboost-softprob.json")).unwrap();
    let tree = "/learner/gradient_booster/model/trees/0";
    let model = "/learner/gradient_booster/model";
    let parameters = "/learner/learner_model_param";
    let cases: &[(&str, &str, Value, &str)] = &[
        // B49 and B51
        (tree, "/left_children/0", (-2).into(), "invalid model (index): tree 0: node 0: there is no node -2"),
        (
            tree,
            "/left_children/0",
            0.into(),
            "invalid model (structure): tree 0: node 0 is reached more than once",
        ),
        (
            tree,
            "/left_children/0",
            2_147_483_647.into(),
            "invalid model (index): tree 0: node 0: there is no node",
        ),
        (tree, "/left_children/0", 4_000_000_000_u64.into(), "invalid model (syntax): "),
        (tree, "/left_children", Value::Array(vec![]), "invalid model (structure): tree 0: it has no nodes"),
        (tree, "/right_children", Value::Array(vec![]), "invalid model (length): tree 0: `right_children`"),
        (tree, "/sum_hessian", vec![1.0].into(), "invalid model (length): tree 0: `sum_hessian`"),
        (tree, "/split_indices/0", 15.into(), "invalid model (index): tree 0, node 0: feature 15 of 15"),
        (tree, "/split_indices/0", (-1).into(), "invalid model (index): tree 0: node 0: a negative feature"),
        (tree, "/split_conditions/0", "1".into(), "invalid model (syntax): "),
        (
            tree,
            "/split_conditions/0",
            1e300.into(),
            "invalid model (value): tree 0: the threshold or leaf value",
        ),
        (tree, "/split_type/0", 2.into(), "invalid model (syntax): "),
        (tree, "/split_type/0", 1.into(), "invalid model (index): tree 0: node 0 has no categories"),
        (tree, "/tree_param/num_nodes", "0".into(), "invalid model (length): tree 0: `num_nodes`"),
        (tree, "/tree_param/size_leaf_vector", "3".into(), "unsupported: leaves with several values"),
        (tree, "/new_field", 1.into(), "unsupported: the field `new_field` of a tree"),
        (model, "/tree_info/0", 4.into(), "invalid model (index): tree 0 adds to output 4"),
        (model, "/tree_info/0", (-1).into(), "invalid model (index): tree 0: there is no class -1"),
        (model, "/tree_info", Value::Array(vec![]), "invalid model (length): `tree_info`"),
        (model, "/trees", Value::Array(vec![]), "invalid model (value): 0 trees"),
        (model, "/gbtree_model_param/num_trees", "17".into(), "invalid model (length): `num_trees`"),
        (
            model,
            "/cats/enc",
            vec![serde_json::json!({"type": 1})].into(),
            "unsupported: categories numbered by a data frame",
        ),
        (model, "/weights", vec![1.0].into(), "unsupported: the booster `gblinear`"),
        (parameters, "/base_score", "[1,2]".into(), "invalid model (length): 2 base scores for 4 outputs"),
        (parameters, "/base_score", "nan".into(), "invalid model (value): `base_score`"),
        (parameters, "/base_score", true.into(), "accepted"),
        (parameters, "/base_score", Value::Null, "invalid model (value): `base_score`"),
        (parameters, "/num_class", "5".into(), "invalid model (value): 16 trees and 5 classes"),
        (parameters, "/num_class", "-1".into(), "invalid model (value): `num_class` is not a count"),
        (parameters, "/num_feature", "4294967295".into(), "invalid model (length): "),
        (parameters, "/num_target", "2".into(), "unsupported: several targets"),
        (
            "/learner/objective",
            "/name",
            "reg:squarederror".into(),
            "unsupported: the objective `reg:squarederror`",
        ),
        ("/learner/objective", "/name", "rank:ndcg".into(), "unsupported: the objective `rank:ndcg`"),
        ("/learner/gradient_booster", "/name", "gblinear".into(), "unsupported: the booster `gblinear`"),
        (
            "/learner/gradient_booster",
            "/name",
            "dart".into(),
            "invalid model (structure): `weight_drop` is missing",
        ),
        ("", "/version", vec![4, 0, 0].into(), "unsupported: version [4, 0, 0]"),
        ("", "/surprise", 1.into(), "unsupported: the field `surprise` of the model"),
        ("/learner", "/feature_names", vec!["a"].into(), "invalid model (length): 1 feature names for 15"),
    ];
    for (place, key, value, message) in cases {
        let mut changed = document.clone();
        let pointer = format!("{place}{key}");
        match changed.pointer_mut(&pointer) {
            Some(found) => *found = value.clone(),
            None => {
                let parent = changed.pointer_mut(place).unwrap();
                parent.as_object_mut().unwrap().insert(key[1..].to_owned(), value.clone());
            }
        }
        let found = refused(changed.to_string().as_bytes());
        assert!(found.starts_with(message), "{pointer} = {value}: expected {message:?}, found {found:?}");
    }
    // A categorical node whose categories are not there, or shared so that few bytes would make many sets.
    let document: Value = serde_json::from_slice(&bytes("xgboost-categories.json")).unwrap();
    let trees = document.pointer(model).unwrap()["trees"].as_array().unwrap();
    let asking =
        trees.iter().position(|tree| tree["categories_nodes"].as_array().unwrap().len() > 1).unwrap();
    for (key, value) in [("categories_segments/0", 9999), ("categories_sizes/0", 9999), ("categories/0", -1)]
    {
        let mut changed = document.clone();
        let pointer = format!("{model}/trees/{asking}/{key}");
        *changed.pointer_mut(&pointer).unwrap() = value.into();
        let found = refused(changed.to_string().as_bytes());
        assert!(found.starts_with("invalid model ("), "{pointer}: {found}");
    }
    let deep = format!("{{\"version\":{}", "[".repeat(1_000_000));
    assert!(refused(deep.as_bytes()).starts_with("invalid model (syntax): "), "{}", refused(deep.as_bytes()));
    let deep = format!("{{\"learner\":{{\"attributes\":{}", "{\"a\":".repeat(1_000_000));
    assert!(refused(deep.as_bytes()).contains("nested too deeply"), "{}", refused(deep.as_bytes()));
}

/// B52: told apart by content, whatever the name; nothing of them is opened.
#[test]
fn other_files_are_named_for_what_they_are() {
    for (bytes, name) in [
        (b"\x80\x04\x95\x1e\0\0\0\0\0\0\0\x8c\x05posix".as_slice(), "a Python pickle"),
        (b"\x1f\x8b\x08\0\0", "a gzip file"),
        (b"PK\x03\x04", "a zip file"),
        (b"binf\0\0\0\0", "an XGBoost model in the old binary format"),
        (b"<html>", "a page"),
        (b"", "an empty file"),
        (b"a,b,c\n1,2,3\n", "an unknown kind of file"),
        (b"SERIN\0\x02\0", "a Serin bundle"),
    ] {
        let error = read_foreign(bytes).unwrap_err();
        assert!(error.to_string().starts_with(name), "{error}");
        assert_eq!(error.code(), "unsupported_format");
    }
}

/// Five bytes a node in UBJSON, where XGBoost takes thirty: more than ten times the file would be needed.
#[test]
fn a_small_file_cannot_ask_for_much() {
    let nodes = 200_000_u64;
    let key = |name: &str| [b"U".as_slice(), &[name.len() as u8], name.as_bytes()].concat();
    let mut bytes = b"{".to_vec();
    for name in ["learner", "gradient_booster", "model"] {
        bytes.extend([key(name), b"{".to_vec()].concat());
    }
    bytes.extend([key("trees"), b"[{".to_vec()].concat());
    for name in ["left_children", "right_children", "split_indices", "split_conditions", "default_left"] {
        let array = [b"[$U#L".as_slice(), &nodes.to_be_bytes(), &vec![0; nodes as usize]].concat();
        bytes.extend([key(name), array].concat());
    }
    bytes.extend(b"}]}}}}");
    let found = refused(&bytes);
    assert!(
        found.starts_with("invalid model (length): 200000 nodes and 0 features are more than"),
        "{found}"
    );

    let named = text("lightgbm-binary.txt").replacen("label_index=0\n", &"x\n".repeat(100), 1);
    assert!(refused(named.as_bytes()).contains("given twice"));
    let lines: String = (0..100).map(|i| format!("x{i}\n")).collect();
    let long = text("lightgbm-binary.txt").replacen("label_index=0\n", &lines, 1);
    assert_eq!(refused(long.as_bytes()), "invalid model (length): more than 64 lines");
    let names = vec!["\"\""; 2_000_000].join(",");
    let many = format!("{{\"learner\":{{\"feature_names\":[{names}]}}}}");
    assert!(refused(many.as_bytes()).starts_with("invalid model (length): more than "));
}

/// A chain of splits is as deep as it is long: it is read and walked without recursion.
#[test]
fn a_chain_of_splits_is_read_and_walked() {
    let head = "tree\nnum_class=1\nlabel_index=0\nmax_feature_idx=0\nobjective=binary\nfeature_names=a\nfeature_infos=none\n\n";
    let splits = 40_000;
    let list = |key: &str, n: usize, value: &dyn Fn(usize) -> String| {
        let values: Vec<String> = (0..n).map(value).collect();
        format!("{key}={}\n", values.join(" "))
    };
    let next = |i: usize| if i + 1 < splits { (i + 1).to_string() } else { format!("-{}", splits + 1) };
    let text = [
        format!("{head}Tree=0\nnum_leaves={}\nnum_cat=0\n", splits + 1),
        list("split_feature", splits, &|_| "0".into()),
        list("threshold", splits, &|_| "0.5".into()),
        list("decision_type", splits, &|_| "2".into()),
        list("left_child", splits, &next),
        list("right_child", splits, &|i| format!("-{}", i + 1)),
        list("leaf_value", splits + 1, &|i| i.to_string()),
        "\nend of trees\n".to_owned(),
    ];
    let model = read_foreign(text.concat().as_bytes()).unwrap();
    let mut out = [0.0];
    model.forest.evaluate_into(&[0.0], &mut out);
    assert_eq!(out, [splits as f64]);
    model.forest.evaluate_into(&[1.0], &mut out);
    assert_eq!(out, [0.0]);
}

// What becomes of them

#[test]
fn golden_rows_decide_whether_a_model_is_verified() {
    let case = cases().into_iter().find(|case| case["name"] == "lightgbm-no-missing").unwrap();
    let model = read_foreign(&bytes("lightgbm-no-missing.txt")).unwrap();
    let (rows, expected) = (numbers(&case["rows"]), numbers(&case["probabilities"]));
    let finite: Vec<usize> =
        (0..rows.n_rows()).filter(|&i| rows.row(i).iter().all(|value| !value.is_infinite())).collect();
    let (rows, expected) = (rows.select_rows(&finite), expected.select_rows(&finite));

    let plain = bundle(model.clone());
    assert!(plain.is_unverified());
    let golden = GoldenRows { rows: rows.clone(), expected: None };
    let asked = Bundle::from_foreign(model.clone(), None, "m", Some(&golden)).unwrap();
    assert!(asked.is_unverified() && asked.golden.rows.len() == rows.n_rows());

    let classes = Some(["a", "b", "c"].map(str::to_owned).to_vec());
    let golden = GoldenRows { rows: rows.clone(), expected: Some(expected.clone()) };
    let verified = Bundle::from_foreign(model.clone(), classes, "wine", Some(&golden)).unwrap();
    assert!(!verified.is_unverified());
    let again = Bundle::decode(&verified.encode().unwrap()).unwrap();
    assert_eq!((again.digest(), again.is_unverified()), (verified.digest(), false));
    assert_eq!((again.card.classes.join(""), again.card.name.as_str()), ("abc".to_owned(), "wine"));
    assert_eq!(again.predictor, verified.predictor);

    // B54a
    let mut wrong = expected;
    let last = wrong.n_rows() - 1;
    wrong.row_mut(last)[0] += 2e-6;
    let golden = GoldenRows { rows, expected: Some(wrong) };
    let error = Bundle::from_foreign(model.clone(), None, "m", Some(&golden)).unwrap_err();
    assert!(matches!(error, FromForeignError::GoldenMismatch(_)), "{error}");
    assert!(error.to_string().starts_with("golden_mismatch"), "{error}");

    let shapes = [
        (GoldenRows { rows: Matrix::zeros(2, 12), expected: None }, "12 columns"),
        (GoldenRows { rows: Matrix::zeros(2, 13), expected: Some(Matrix::zeros(2, 2)) }, "2 columns of prob"),
        (GoldenRows { rows: Matrix::zeros(2, 13), expected: Some(Matrix::zeros(1, 3)) }, "1 rows"),
    ];
    for (golden, message) in shapes {
        let error = Bundle::from_foreign(model.clone(), None, "m", Some(&golden)).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    for (classes, message) in [(vec!["a", "b"], "2 class names"), (vec!["a", "b", "a"], "named twice")] {
        let classes = Some(classes.into_iter().map(str::to_owned).collect());
        let error = Bundle::from_foreign(model.clone(), classes, "m", None).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

// Whatever a file says

/// Reads what may be anything; what is accepted must answer rows, alone and in a block, and be explained or not.
fn survive(bytes: &[u8]) {
    let Ok(model) = read_foreign(bytes) else { return };
    let n = model.n_features();
    assert!(n * 80 <= bytes.len() * 10 + (1 << 20), "{n} features from {} bytes", bytes.len());
    let odd = [0.0, f64::NAN, f64::INFINITY, -1e300, 3.0];
    let rows: Vec<f64> = (0..30 * n).map(|i| odd[i % 5]).collect();
    let mut out = vec![0.0; 30 * model.forest.n_outputs()];
    model.forest.evaluate_rows_into(&rows, &mut Scratch::default(), &mut out);
    let mut alone = vec![0.0; model.forest.n_outputs()];
    for (i, out) in out.chunks(alone.len()).enumerate() {
        model.forest.evaluate_into(&rows[i * n..(i + 1) * n], &mut alone);
        assert!(alone.iter().zip(out).all(|(a, b)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()));
    }
    // Leaves that are too large for sums of them to stay finite are refused here.
    if let Ok(bundle) = Bundle::from_foreign(model, None, "model", None) {
        let mut p = vec![0.0; bundle.predictor.n_classes];
        bundle.predictor.predict_into(&rows[..n], &mut p);
        assert!(p.iter().all(|p| (0.0..=1.0).contains(p)), "{p:?}");
        let _ = bundle.predictor.explain(&rows[..n], 0);
        Bundle::decode(&bundle.encode().unwrap()).unwrap();
    }
}

/// One change to a file.
#[derive(Debug, Clone)]
enum Change {
    Flip(prop::sample::Index, u8),
    Byte(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    /// Two of its numbers change places.
    Swap(prop::sample::Index, prop::sample::Index),
    /// A number becomes another one.
    Number(prop::sample::Index, &'static str),
    /// A line, or for JSON what lies between two commas, is there twice or not at all.
    Piece(prop::sample::Index, bool),
}

fn change() -> impl Strategy<Value = Change> {
    let index = any::<prop::sample::Index>;
    let numbers = prop::sample::select(vec![
        "0",
        "-1",
        "-2",
        "1",
        "2",
        "7",
        "31",
        "2147483647",
        "-2147483648",
        "4294967295",
        "1e308",
        "-1e39",
        "nan",
        "0.5",
        "18446744073709551615",
        "1e-40",
        "",
    ]);
    prop_oneof![
        (index(), 0_u8..8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        (index(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        index().prop_map(Change::Cut),
        (index(), index()).prop_map(|(a, b)| Change::Swap(a, b)),
        (index(), numbers).prop_map(|(at, number)| Change::Number(at, number)),
        (index(), any::<bool>()).prop_map(|(at, twice)| Change::Piece(at, twice)),
    ]
}

fn is_number(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b'e' | b'E' | b'+')
}

/// The bounds of the number at or after `at`.
fn number_at(bytes: &[u8], at: usize) -> std::ops::Range<usize> {
    let start = (at..bytes.len()).find(|&i| bytes[i].is_ascii_digit()).unwrap_or(bytes.len());
    let start = (0..=start).rev().find(|&i| i == 0 || !is_number(bytes[i - 1])).unwrap_or(start);
    let end = (start..bytes.len()).find(|&i| !is_number(bytes[i])).unwrap_or(bytes.len());
    start..end
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    if bytes.is_empty() {
        return;
    }
    let length = bytes.len();
    match change {
        Change::Flip(at, bit) => bytes[at.index(length)] ^= 1 << bit,
        Change::Byte(at, byte) => bytes[at.index(length)] = *byte,
        Change::Cut(at) => bytes.truncate(at.index(length)),
        Change::Number(at, number) => {
            let range = number_at(bytes, at.index(length));
            bytes.splice(range, number.bytes());
        }
        Change::Swap(a, b) => {
            let (a, b) = (number_at(bytes, a.index(length)), number_at(bytes, b.index(length)));
            let (first, second) = if a.start <= b.start { (a, b) } else { (b, a) };
            if first.end <= second.start {
                let (one, other) = (bytes[first.clone()].to_vec(), bytes[second.clone()].to_vec());
                bytes.splice(second, one);
                bytes.splice(first, other);
            }
        }
        Change::Piece(at, twice) => {
            let end = if bytes.starts_with(b"{") { b',' } else { b'\n' };
            let at = at.index(length);
            let start = bytes[..at].iter().rposition(|byte| *byte == end).map_or(0, |i| i + 1);
            let stop = bytes[at..].iter().position(|byte| *byte == end).map_or(length, |i| at + i + 1);
            let piece = if *twice { [&bytes[start..stop], &bytes[start..stop]].concat() } else { Vec::new() };
            bytes.splice(start..stop, piece);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn changed_lightgbm_files_are_refused_or_answer(
        file in prop::sample::select(LIGHTGBM.to_vec()),
        changes in prop::collection::vec(change(), 1..4),
        sized: bool,
    ) {
        let mut text = text(file);
        if !sized {
            text = changed(&text, "version", "version");
        }
        let mut bytes = text.into_bytes();
        // Most changes hit the first kilobytes of a cut file: trees rather than the list of parameters at its end.
        let end = bytes.windows(12).position(|window| window == b"end of trees").unwrap() + 13;
        bytes.truncate(end);
        changes.iter().for_each(|change| apply(&mut bytes, change));
        survive(&bytes);
    }

    #[test]
    fn changed_xgboost_files_are_refused_or_answer(
        file in prop::sample::select(XGBOOST.to_vec()),
        changes in prop::collection::vec(change(), 1..4),
    ) {
        let mut bytes = bytes(file);
        changes.iter().for_each(|change| apply(&mut bytes, change));
        survive(&bytes);
    }

    #[test]
    fn anything_is_refused(start in prop::sample::select(vec!["tree\n", "{\"", "{L", "{i", ""]), rest: Vec<u8>) {
        survive(&[start.as_bytes(), &rest].concat());
    }
}
