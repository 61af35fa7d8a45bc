//! A forest of boosted trees as an XGBoost model file.

use serde_json::{Value, json};
use thiserror::Error;

use super::parts::{Combination, DecisionRule, LeafKind, Node, TreeParts};
use super::structure::Forest;

/// Why a forest has no equal among XGBoost's softmax models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NotXgboost {
    #[error("the trees are not summed with one number in a leaf")]
    Kind,
    #[error("values are compared in double precision, XGBoost compares in single")]
    Rule,
    #[error("some splits take zeros for missing values or ask for categories")]
    Nodes,
    #[error("a softmax model needs at least 2 outputs")]
    Outputs,
    #[error("the trees are not in rounds of one tree an output")]
    Rounds,
}

/// The text of a `multi:softprob` model in XGBoost's JSON format (version 2.1; `doc/model.schema` in its sources).
///
/// Base values become part of the first round's leaves, for XGBoost before 3.1 has one base score for all classes.
/// Gains are not kept by a [`Forest`] and are written as zero; covers are, where they are known.
///
/// # Errors
/// When the forest has no such form.
pub fn to_xgboost_json(forest: &Forest) -> Result<String, NotXgboost> {
    let parts = forest.to_parts();
    if parts.combination != Combination::Sum || parts.leaf_kind != LeafKind::Scalar {
        return Err(NotXgboost::Kind);
    }
    if parts.rule != DecisionRule::SingleLess {
        return Err(NotXgboost::Rule);
    }
    if forest.has_special_nodes {
        return Err(NotXgboost::Nodes);
    }
    let n_outputs = parts.n_outputs;
    if n_outputs < 2 {
        return Err(NotXgboost::Outputs);
    }
    let in_rounds =
        parts.trees.iter().enumerate().all(|(index, tree)| tree.output as usize == index % n_outputs);
    if !in_rounds || !parts.trees.len().is_multiple_of(n_outputs) {
        return Err(NotXgboost::Rounds);
    }

    let trees: Vec<Value> = parts
        .trees
        .iter()
        .enumerate()
        .map(|(index, tree)| {
            let base = if index < n_outputs { parts.base[index] } else { 0.0 };
            tree_json(index, tree, parts.n_features, |row| parts.leaf_values[row as usize] + base)
        })
        .collect();
    let rounds: Vec<usize> = (0..=parts.trees.len()).step_by(n_outputs).collect();
    let outputs: Vec<u32> = parts.trees.iter().map(|tree| tree.output).collect();
    let model = json!({
        "learner": {
            "attributes": {},
            "feature_names": [],
            "feature_types": [],
            "gradient_booster": {
                "model": {
                    "gbtree_model_param": {
                        "num_parallel_tree": "1",
                        "num_trees": parts.trees.len().to_string(),
                    },
                    "iteration_indptr": rounds,
                    "tree_info": outputs,
                    "trees": trees,
                },
                "name": "gbtree",
            },
            "learner_model_param": {
                "base_score": "0E0",
                "boost_from_average": "0",
                "num_class": n_outputs.to_string(),
                "num_feature": parts.n_features.to_string(),
                "num_target": "1",
            },
            "objective": {
                "name": "multi:softprob",
                "softmax_multiclass_param": { "num_class": n_outputs.to_string() },
            },
        },
        "version": [2, 1, 0],
    });
    Ok(model.to_string())
}

/// One tree; XGBoost keeps a leaf's value in the place of its threshold.
fn tree_json(index: usize, tree: &TreeParts, n_features: usize, leaf_value: impl Fn(u32) -> f64) -> Value {
    const NO_PARENT: i64 = i32::MAX as i64;
    let n_nodes = tree.nodes.len();
    let mut parents = vec![NO_PARENT; n_nodes];
    let (mut lefts, mut rights) = (Vec::with_capacity(n_nodes), Vec::with_capacity(n_nodes));
    let (mut features, mut conditions) = (Vec::with_capacity(n_nodes), Vec::with_capacity(n_nodes));
    let mut defaults = Vec::with_capacity(n_nodes);
    for (node_index, node) in tree.nodes.iter().enumerate() {
        match *node {
            Node::Split { feature, threshold, missing_left, left, right, .. } => {
                parents[left as usize] = node_index as i64;
                parents[right as usize] = node_index as i64;
                lefts.push(i64::from(left));
                rights.push(i64::from(right));
                features.push(feature);
                conditions.push(threshold as f32);
                defaults.push(u8::from(missing_left));
            }
            // `to_xgboost_json` has refused them.
            Node::Category { .. } => {}
            Node::Leaf { row } => {
                lefts.push(-1);
                rights.push(-1);
                features.push(0);
                conditions.push(leaf_value(row) as f32);
                defaults.push(0);
            }
        }
    }
    json!({
        "base_weights": vec![0.0_f32; n_nodes],
        "categories": [],
        "categories_nodes": [],
        "categories_segments": [],
        "categories_sizes": [],
        "default_left": defaults,
        "id": index,
        "left_children": lefts,
        "loss_changes": vec![0.0_f32; n_nodes],
        "parents": parents,
        "right_children": rights,
        "split_conditions": conditions,
        "split_indices": features,
        "split_type": vec![0_u8; n_nodes],
        "sum_hessian": if tree.covers.is_empty() { vec![0.0; n_nodes] } else { tree.covers.clone() },
        "tree_param": {
            "num_deleted": "0",
            "num_feature": n_features.to_string(),
            "num_nodes": n_nodes.to_string(),
            "size_leaf_vector": "1",
        },
    })
}
