//! Predictors: rows in blocks, and what features contribute.

use proptest::prelude::*;

use serin_ml::forest::{
    Addition, Combination, DecisionRule, Forest, ForestParts, LeafKind, NoContributions, Node, TreeParts,
};
use serin_ml::train::{CannotExplain, Member, PredictScratch, Predictor, ScoreUnit};

use crate::bundle::{data, ensemble, every_kind};

#[test]
fn a_row_is_answered_alike_alone_and_among_others() {
    let data = data();
    let kinds = every_kind(&data);
    let x = data.features();
    let mut predictors: Vec<Predictor> = kinds.iter().map(|kind| kind.predictor.clone()).collect();
    predictors.push(ensemble(&data, &kinds).predictor);
    let mut scratch = PredictScratch::default();
    // More rows than a block has, and one scratch for all models.
    let rows: Vec<usize> = (0..300).map(|i| i * 7 % x.n_rows()).collect();
    let x = x.select_rows(&rows);
    for predictor in predictors {
        let k = predictor.n_classes;
        let (mut p, mut classes) = (vec![0.0; x.n_rows() * k], vec![0; x.n_rows()]);
        predictor.predict_rows_into(x.values(), &mut scratch, &mut p, &mut classes);
        let (all, decided) = predictor.predict(&x);
        assert_eq!((all.values(), decided.len()), (p.as_slice(), classes.len()));
        let mut alone = vec![0.0; k];
        for (i, row) in x.rows().enumerate() {
            let class = predictor.predict_into(row, &mut alone);
            assert_eq!((class, alone.as_slice()), (classes[i], &p[i * k..(i + 1) * k]), "row {i}");
        }
    }
}

fn softmax(scores: &[f64]) -> Vec<f64> {
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = scores.iter().map(|score| (score - largest).exp()).sum();
    scores.iter().map(|score| (score - largest).exp() / sum).collect()
}

/// Why each of [`every_kind`] has no contributions, if so.
const REFUSED: [Option<&str>; 8] = [
    None,
    None,
    None,
    None,
    Some("neighbours vote with all features together"),
    None,
    Some("it answers every row alike"),
    Some("its recipe mixes features (principal components)"),
];

#[test]
fn contributions_sum_to_what_a_member_answers() {
    let data = data();
    let x = data.features();
    for (contents, refused) in every_kind(&data).iter().zip(REFUSED) {
        let predictor = &contents.predictor;
        let member = &predictor.members[0];
        let answers = member.probabilities(&x);
        for (i, row) in x.rows().enumerate().step_by(11) {
            let explained: Result<Vec<_>, _> =
                (0..predictor.n_classes).map(|class| predictor.explain(row, class)).collect();
            let explained = match (explained, refused) {
                (Ok(explained), None) => explained,
                (Err(CannotExplain::Member { member: label, reason }), Some(expected)) => {
                    assert_eq!((label.as_str(), reason.as_str()), (member.label.as_str(), expected));
                    continue;
                }
                (other, _) => panic!("{}: {other:?}", member.label),
            };
            let scores: Vec<f64> = explained.iter().map(|explanation| explanation.score()).collect();
            let is_log_odds = explained[0].unit == ScoreUnit::LogOdds;
            let expected = if is_log_odds { softmax(&scores) } else { scores };
            for (found, expected) in answers.row(i).iter().zip(expected) {
                assert!((found - expected).abs() < 1e-9, "{}, row {i}: {found}, {expected}", member.label);
            }
            assert!(explained.iter().all(|explanation| explanation.contributions.len() == row.len()));
            assert!(explained[0].contributions.iter().any(|contribution| *contribution != 0.0));
        }
    }
}

#[test]
fn a_pool_adds_its_members_contributions_by_weight() {
    let data = data();
    let kinds = every_kind(&data);
    let refused = ensemble(&data, &kinds).predictor.explain(&vec![0.0; data.columns.len()], 0);
    let named = kinds[4].predictor.members[0].label.clone();
    assert!(matches!(refused, Err(CannotExplain::Member { member, .. }) if member == named));

    let explainable = kinds.iter().zip(REFUSED).filter(|(_, refused)| refused.is_none());
    let members: Vec<Member> = explainable
        .enumerate()
        .map(|(i, (kind, _))| Member { weight: (i + 1) as f64 / 15.0, ..kind.predictor.members[0].clone() })
        .collect();
    assert_eq!(members.len(), 5);
    let whole = Predictor { members: members.clone(), ..kinds[0].predictor.clone() };
    whole.validate().unwrap();
    for (row, class) in data.features().rows().step_by(17).zip([0, 1, 2].into_iter().cycle()) {
        let found = whole.explain(row, class).unwrap();
        let mut score = 0.0;
        for member in &members {
            let alone =
                Predictor { members: vec![Member { weight: 1.0, ..member.clone() }], ..whole.clone() };
            let part = alone.explain(row, class).unwrap();
            // What the pool adds of a probability: the logarithm above its floor of 0.001.
            let is_probability = part.unit == ScoreUnit::Probability;
            score += member.weight * if is_probability { (part.score() + 1e-3).ln() } else { part.score() };
        }
        assert_eq!(found.unit, ScoreUnit::LogOdds);
        assert!((found.score() - score).abs() < 1e-9, "{} is not {score}", found.score());
    }
}

/// One tree of at most 4 features; `asked` names the feature of each split, level by level.
fn tree(asked: &[u32], covers: &[f32]) -> Forest {
    let n = asked.len();
    let split = |(i, feature): (usize, &u32)| Node::Split {
        feature: *feature,
        threshold: 0.25 * (i % 3) as f64,
        missing_left: i % 2 == 0,
        zero_is_missing: false,
        left: 2 * i as u32 + 1,
        right: 2 * i as u32 + 2,
    };
    let mut nodes: Vec<Node> = asked.iter().enumerate().map(split).collect();
    nodes.extend((0..=n as u32).map(|row| Node::Leaf { row }));
    // From the leaves up, so that a node has the rows of its children.
    let mut all = vec![0.0; n];
    all.extend_from_slice(&covers[..=n]);
    for i in (0..n).rev() {
        all[i] = all[2 * i + 1] + all[2 * i + 2];
    }
    Forest::new(&ForestParts {
        n_features: 4,
        n_outputs: 1,
        rule: DecisionRule::DoubleAtMost,
        combination: Combination::Sum,
        addition: Addition::Double,
        leaf_kind: LeafKind::Scalar,
        base: vec![0.5],
        trees: vec![TreeParts { output: 0, nodes, covers: all }],
        leaf_values: (0..=n).map(|i| ((i * 7 + 3) % 11) as f64).collect(),
        category_sets: Vec::new(),
    })
    .unwrap()
}

/// The mean of the tree over the training rows when only the features in `known` are: the definition.
fn mean(parts: &ForestParts, node: usize, row: &[f64], known: u32) -> f64 {
    let tree = &parts.trees[0];
    let Node::Split { feature, threshold, missing_left, left, right, .. } = tree.nodes[node] else {
        let Node::Leaf { row: leaf } = tree.nodes[node] else { unreachable!() };
        return parts.leaf_values[leaf as usize];
    };
    let (left, right) = (left as usize, right as usize);
    if known >> feature & 1 == 1 {
        let value = row[feature as usize];
        let goes_left = if value.is_nan() { missing_left } else { value <= threshold };
        return mean(parts, if goes_left { left } else { right }, row, known);
    }
    let (a, b) = (f64::from(tree.covers[left]), f64::from(tree.covers[right]));
    let (a, b) = if a + b > 0.0 { (a / (a + b), b / (a + b)) } else { (0.5, 0.5) };
    a * mean(parts, left, row, known) + b * mean(parts, right, row, known)
}

proptest! {
    /// Shapley values by their definition, over all subsets of four features, some of which are asked again and again.
    #[test]
    fn contributions_are_shapley_values(
        asked in prop::collection::vec(0_u32..4, 0..24),
        covers in prop::collection::vec((0_u8..20).prop_map(f32::from), 25),
        row in prop::collection::vec(prop_oneof![4 => 0.0..0.6, 1 => Just(f64::NAN)], 4),
    ) {
        let forest = tree(&asked, &covers);
        let parts = forest.to_parts();
        let (base, contributions) = forest.contributions(&row, 0).unwrap();
        prop_assert!((base - 0.5 - mean(&parts, 0, &row, 0)).abs() < 1e-9);
        for feature in 0..4_u32 {
            let mut expected = 0.0;
            for known in (0..16_u32).filter(|known| known >> feature & 1 == 0) {
                // |S|! (n - |S| - 1)! / n! for n = 4.
                let weight = [6.0, 2.0, 2.0, 6.0][known.count_ones() as usize] / 24.0;
                let gain = mean(&parts, 0, &row, known | 1 << feature) - mean(&parts, 0, &row, known);
                expected += weight * gain;
            }
            let found = contributions[feature as usize];
            prop_assert!((found - expected).abs() < 1e-9, "feature {}: {} is not {}", feature, found, expected);
        }
    }
}

#[test]
fn trees_that_are_too_deep_are_refused() {
    let mut parts = tree(&[0], &[1.0; 2]).to_parts();
    let depth = 300;
    let mut nodes = Vec::new();
    for i in 0..depth {
        let (left, right) = (2 * i + 2, 2 * i + 1);
        nodes.push(Node::Split {
            feature: 0,
            threshold: 0.0,
            missing_left: true,
            zero_is_missing: false,
            left,
            right,
        });
        nodes.push(Node::Leaf { row: 0 });
    }
    nodes.push(Node::Leaf { row: 1 });
    parts.trees[0] = TreeParts { output: 0, covers: vec![1.0; nodes.len()], nodes };
    let deep = Forest::new(&parts).unwrap();
    assert_eq!(deep.contributions(&[0.0; 4], 0), Err(NoContributions::Depth { depth: 300 }));
    parts.trees[0].covers.clear();
    assert_eq!(Forest::new(&parts).unwrap().contributions(&[0.0; 4], 0), Err(NoContributions::Covers));
}
