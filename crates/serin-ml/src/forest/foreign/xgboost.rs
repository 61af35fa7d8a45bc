//! XGBoost's models, as its versions 1.0 to 3.x write them in JSON and UBJSON (`doc/tutorials/saving_model.rst`).

use super::document::{Document, Kind, Number, unknown_key};
use super::{Flaw, ImportError, Link, ReadModel, check_expansion, excerpt, feature_limit};
use crate::forest::{
    Addition, CategorySet, Combination, DecisionRule, ForestParts, LeafKind, Node, TreeParts,
};

/// Major versions whose files are known.
const VERSIONS: std::ops::RangeInclusive<i32> = 1..=3;
/// Categories end before this number (`OutOfRangeCat`).
const CATEGORY_LIMIT: i32 = 1 << 24;

/// Reads a model from a document of `file_bytes` bytes.
pub(super) fn read(mut document: impl Document, file_bytes: usize) -> Result<ReadModel, ImportError> {
    let mut learner = Learner { file_bytes, ..Learner::default() };
    let mut has_learner = false;
    document.enter_object()?;
    while let Some(key) = document.next_key()? {
        match key.as_str() {
            "learner" if has_learner => return Err(twice("learner")),
            "learner" => {
                learner.read(&mut document)?;
                has_learner = true;
            }
            "version" => {
                let version = document.numbers(Number::index)?;
                if version.first().is_none_or(|major| !VERSIONS.contains(major)) {
                    return Err(unsupported(format!("version {version:?} of the format")));
                }
            }
            _ => return Err(unknown_key("the model", &key)),
        }
    }
    document.end()?;
    if !has_learner {
        return Err(missing("learner"));
    }
    learner.finish()
}

/// What the file says, before it is put together: its order is that of the alphabet.
#[derive(Debug, Default)]
struct Learner {
    file_bytes: usize,
    feature_names: Vec<String>,
    objective: Option<String>,
    base_score: Option<Vec<f32>>,
    n_classes: Option<usize>,
    n_features: Option<usize>,
    booster: Option<String>,
    declared_trees: Option<usize>,
    n_nodes: usize,
    trees: Option<Vec<TreeParts>>,
    tree_outputs: Option<Vec<i32>>,
    tree_weights: Option<Vec<f32>>,
    leaf_values: Vec<f64>,
    category_sets: Vec<CategorySet>,
}

impl Learner {
    fn read(&mut self, document: &mut impl Document) -> Result<(), ImportError> {
        document.enter_object()?;
        while let Some(key) = document.next_key()? {
            match key.as_str() {
                "attributes" | "feature_types" => document.skip()?,
                "feature_names" => self.feature_names = document.strings(feature_limit(self.file_bytes))?,
                "gradient_booster" => self.read_booster(document)?,
                "learner_model_param" => self.read_parameters(document)?,
                "objective" => self.read_objective(document)?,
                _ => return Err(unknown_key("the learner", &key)),
            }
        }
        Ok(())
    }

    fn read_objective(&mut self, document: &mut impl Document) -> Result<(), ImportError> {
        document.enter_object()?;
        while let Some(key) = document.next_key()? {
            match key.as_str() {
                "name" => put(&mut self.objective, document.string()?, "name")?,
                // Parameters of training: none of them changes what a classifier answers.
                key if key.ends_with("_param") => document.skip()?,
                _ => return Err(unknown_key("the objective", &key)),
            }
        }
        Ok(())
    }

    fn read_parameters(&mut self, document: &mut impl Document) -> Result<(), ImportError> {
        document.enter_object()?;
        while let Some(key) = document.next_key()? {
            match key.as_str() {
                "base_score" => put(&mut self.base_score, base_score(document)?, "base_score")?,
                "num_class" => put(&mut self.n_classes, count(document, "num_class")?, "num_class")?,
                "num_feature" => put(&mut self.n_features, count(document, "num_feature")?, "num_feature")?,
                "num_target" if count(document, "num_target")? <= 1 => {}
                "num_target" => return Err(unsupported("several targets (`num_target`)")),
                "boost_from_average" => document.skip()?,
                _ => return Err(unknown_key("learner_model_param", &key)),
            }
        }
        Ok(())
    }

    fn read_booster(&mut self, document: &mut impl Document) -> Result<(), ImportError> {
        document.enter_object()?;
        while let Some(key) = document.next_key()? {
            match key.as_str() {
                "name" => put(&mut self.booster, document.string()?, "name")?,
                "model" => self.read_trees(document)?,
                // DART keeps its trees one level deeper.
                "gbtree" => self.read_inner(document)?,
                "weight_drop" => {
                    let weights = document.numbers(|number| Some(number.single))?;
                    put(&mut self.tree_weights, weights, "weight_drop")?;
                }
                _ => return Err(unknown_key("gradient_booster", &key)),
            }
        }
        Ok(())
    }

    fn read_inner(&mut self, document: &mut impl Document) -> Result<(), ImportError> {
        document.enter_object()?;
        while let Some(key) = document.next_key()? {
            match key.as_str() {
                "name" => drop(document.string()?),
                "model" => self.read_trees(document)?,
                _ => return Err(unknown_key("gbtree", &key)),
            }
        }
        Ok(())
    }

    fn read_trees(&mut self, document: &mut impl Document) -> Result<(), ImportError> {
        document.enter_object()?;
        while let Some(key) = document.next_key()? {
            match key.as_str() {
                "gbtree_model_param" => self.read_tree_parameters(document)?,
                "tree_info" => put(&mut self.tree_outputs, document.numbers(Number::index)?, "tree_info")?,
                "trees" => {
                    let mut trees = Vec::new();
                    document.enter_array()?;
                    while document.next_element()? {
                        trees.push(self.read_tree(document, trees.len())?);
                    }
                    put(&mut self.trees, trees, "trees")?;
                }
                "iteration_indptr" => document.skip()?,
                "cats" => check_no_encoding(document)?,
                "weights" => return Err(unsupported("the booster `gblinear`: trees are served")),
                _ => return Err(unknown_key("the booster's model", &key)),
            }
        }
        Ok(())
    }

    fn read_tree_parameters(&mut self, document: &mut impl Document) -> Result<(), ImportError> {
        document.enter_object()?;
        while let Some(key) = document.next_key()? {
            match key.as_str() {
                "num_trees" => put(&mut self.declared_trees, count(document, "num_trees")?, "num_trees")?,
                "size_leaf_vector" => check_leaf_size(document)?,
                "num_parallel_tree" => document.skip()?,
                _ => return Err(unknown_key("gbtree_model_param", &key)),
            }
        }
        Ok(())
    }

    fn read_tree(&mut self, document: &mut impl Document, tree: usize) -> Result<TreeParts, ImportError> {
        let arrays = Arrays::read(document, tree)?;
        self.n_nodes = self.n_nodes.saturating_add(arrays.lefts.len());
        check_expansion(self.file_bytes, self.n_nodes, 0)?;
        arrays.parts(tree, &mut self.leaf_values, &mut self.category_sets)
    }

    fn finish(mut self) -> Result<ReadModel, ImportError> {
        let objective = self.objective.ok_or_else(|| missing("objective"))?;
        let link = link(&objective)?;
        let booster = self.booster.ok_or_else(|| missing("name"))?;
        let mut trees = self.trees.ok_or_else(|| missing("trees"))?;
        match (booster.as_str(), &self.tree_weights) {
            ("gbtree", None) => {}
            ("dart", Some(weights)) => weigh(&mut self.leaf_values, &trees, weights)?,
            ("dart", None) => return Err(missing("weight_drop")),
            ("gbtree", Some(_)) => return Err(unsupported("weights of trees outside of DART")),
            _ => return Err(unsupported(format!("the booster `{}`", excerpt(&booster)))),
        }
        let n_classes = self.n_classes.ok_or_else(|| missing("num_class"))?;
        let n_outputs = if matches!(link, Link::Sigmoid { .. }) { 1 } else { n_classes };
        let is_fine = if n_outputs == 1 { n_classes <= 1 } else { link.fits(n_outputs) };
        if !is_fine || trees.len() < n_outputs || !trees.len().is_multiple_of(n_outputs) {
            let problem = format!("{} trees and {n_classes} classes do not go with {objective}", trees.len());
            return Err(invalid(Flaw::Value, None, problem));
        }
        let outputs = self.tree_outputs.ok_or_else(|| missing("tree_info"))?;
        for (what, found) in
            [("tree_info", outputs.len()), ("num_trees", self.declared_trees.unwrap_or(trees.len()))]
        {
            if found != trees.len() {
                let problem = format!("`{what}` says {found} trees, there are {}", trees.len());
                return Err(invalid(Flaw::Length, None, problem));
            }
        }
        for (tree, (parts, output)) in trees.iter_mut().zip(outputs).enumerate() {
            let wrong = || invalid(Flaw::Index, Some(tree), format!("there is no class {output}"));
            parts.output = u32::try_from(output).map_err(|_| wrong())?;
        }
        let base = base_margins(&self.base_score.ok_or_else(|| missing("base_score"))?, link, n_outputs)?;
        let n_features = self.n_features.ok_or_else(|| missing("num_feature"))?;
        check_expansion(self.file_bytes, self.n_nodes, n_features)?;
        let parts = ForestParts {
            n_features,
            n_outputs,
            rule: DecisionRule::SingleLess,
            combination: Combination::Sum,
            addition: Addition::SingleFromBase,
            leaf_kind: LeafKind::Scalar,
            base,
            trees,
            leaf_values: self.leaf_values,
            category_sets: self.category_sets,
        };
        let feature_names = Some(self.feature_names).filter(|names| !names.is_empty());
        Ok(ReadModel { parts, link, feature_names })
    }
}

/// The arrays of one tree, a value for each node.
#[derive(Debug, Default)]
struct Arrays {
    lefts: Vec<i32>,
    rights: Vec<i32>,
    features: Vec<i32>,
    /// Thresholds of splits, values of leaves.
    conditions: Vec<f32>,
    default_left: Vec<bool>,
    is_category: Vec<bool>,
    covers: Vec<f32>,
    /// The nodes that ask for categories, and for each where its categories begin and how many there are.
    category_nodes: Vec<i32>,
    segments: Vec<i32>,
    sizes: Vec<i32>,
    categories: Vec<i32>,
}

impl Arrays {
    fn read(document: &mut impl Document, tree: usize) -> Result<Self, ImportError> {
        let mut arrays = Self::default();
        let mut declared = None;
        let mut seen: Vec<String> = Vec::new();
        let single = |number: Number| Some(number.single);
        document.enter_object()?;
        while let Some(key) = document.next_key()? {
            match key.as_str() {
                "left_children" => arrays.lefts = document.numbers(Number::index)?,
                "right_children" => arrays.rights = document.numbers(Number::index)?,
                "split_indices" => arrays.features = document.numbers(Number::index)?,
                "split_conditions" => arrays.conditions = document.numbers(single)?,
                "default_left" => arrays.default_left = document.numbers(Number::flag)?,
                "split_type" => arrays.is_category = document.numbers(Number::flag)?,
                "sum_hessian" => arrays.covers = document.numbers(single)?,
                "categories_nodes" => arrays.category_nodes = document.numbers(Number::index)?,
                "categories_segments" => arrays.segments = document.numbers(Number::index)?,
                "categories_sizes" => arrays.sizes = document.numbers(Number::index)?,
                "categories" => arrays.categories = document.numbers(Number::index)?,
                "base_weights" | "loss_changes" | "parents" | "id" => document.skip()?,
                "tree_param" => declared = read_tree_param(document)?,
                _ => return Err(unknown_key("a tree", &key)),
            }
            if seen.contains(&key) {
                return Err(twice(&key));
            }
            seen.push(key);
        }
        arrays.check_lengths(declared, tree)?;
        Ok(arrays)
    }

    fn check_lengths(&self, declared: Option<usize>, tree: usize) -> Result<(), ImportError> {
        let n = self.lefts.len();
        if n == 0 {
            return Err(invalid(Flaw::Structure, Some(tree), "it has no nodes"));
        }
        let (types, covers) = (self.is_category.len(), self.covers.len());
        let lengths = [
            ("num_nodes", declared.unwrap_or(n), n),
            ("right_children", self.rights.len(), n),
            ("split_indices", self.features.len(), n),
            ("split_conditions", self.conditions.len(), n),
            ("default_left", self.default_left.len(), n),
            // Files without categories had no such list once, and covers are only for explanations.
            ("split_type", types, if types == 0 { 0 } else { n }),
            ("sum_hessian", covers, if covers == 0 { 0 } else { n }),
            ("categories_segments", self.segments.len(), self.category_nodes.len()),
            ("categories_sizes", self.sizes.len(), self.category_nodes.len()),
        ];
        match lengths.iter().find(|(_, found, expected)| found != expected) {
            Some((what, found, expected)) => {
                let problem = format!("`{what}` is {found} long or large instead of {expected}");
                Err(invalid(Flaw::Length, Some(tree), problem))
            }
            None => Ok(()),
        }
    }

    /// The nodes that are reached from the root: pruned ones may be left in the arrays.
    fn parts(
        &self,
        tree: usize,
        leaf_values: &mut Vec<f64>,
        category_sets: &mut Vec<CategorySet>,
    ) -> Result<TreeParts, ImportError> {
        let n = self.lefts.len();
        let set_of_node = self.sets(tree, category_sets)?;
        let mut nodes = vec![Node::Leaf { row: 0 }];
        let mut covers = Vec::new();
        let mut reached = vec![false; n];
        // (index in the arrays, index in the parts)
        let mut pending = vec![(0_usize, 0_usize)];
        while let Some((from, to)) = pending.pop() {
            if std::mem::replace(&mut reached[from], true) {
                let problem = format!("node {from} is reached more than once");
                return Err(invalid(Flaw::Structure, Some(tree), problem));
            }
            if let Some(cover) = self.covers.get(from) {
                covers.resize(nodes.len(), 0.0);
                covers[to] = *cover;
            }
            let condition = self.conditions[from];
            if !condition.is_finite() && !self.asks_for_category(from) {
                let problem = format!("the threshold or leaf value of node {from} is not finite");
                return Err(invalid(Flaw::Value, Some(tree), problem));
            }
            let (left, right) = (self.lefts[from], self.rights[from]);
            if (left, right) == (-1, -1) {
                let row = u32::try_from(leaf_values.len());
                let row = row.map_err(|_| invalid(Flaw::Length, Some(tree), "too many leaves"))?;
                nodes[to] = Node::Leaf { row };
                leaf_values.push(f64::from(condition));
                continue;
            }
            for child in [left, right] {
                if usize::try_from(child).ok().is_none_or(|child| child >= n) {
                    let problem = format!("node {from}: there is no node {child}");
                    return Err(invalid(Flaw::Index, Some(tree), problem));
                }
            }
            let wrong = || invalid(Flaw::Index, Some(tree), format!("node {from}: a negative feature"));
            let feature = u32::try_from(self.features[from]).map_err(|_| wrong())?;
            let missing_left = self.default_left[from];
            let first = nodes.len() as u32;
            nodes.extend([Node::Leaf { row: 0 }; 2]);
            nodes[to] = if self.asks_for_category(from) {
                let lost = || invalid(Flaw::Index, Some(tree), format!("node {from} has no categories"));
                let found = set_of_node.binary_search_by_key(&(from as i32), |(node, _)| *node);
                let set = found.map(|place| set_of_node[place].1).map_err(|_| lost())?;
                Node::Category {
                    feature,
                    set,
                    listed_left: false,
                    missing_left,
                    left: first,
                    right: first + 1,
                }
            } else {
                let threshold = f64::from(condition);
                let zero_is_missing = false;
                Node::Split {
                    feature,
                    threshold,
                    missing_left,
                    zero_is_missing,
                    left: first,
                    right: first + 1,
                }
            };
            pending.push((right as usize, first as usize + 1));
            pending.push((left as usize, first as usize));
        }
        Ok(TreeParts { output: 0, nodes, covers })
    }

    fn asks_for_category(&self, node: usize) -> bool {
        self.is_category.get(node).copied().unwrap_or(false) && self.lefts[node] != -1
    }

    /// For each node that asks for categories, ascending, the number of its set.
    fn sets(&self, tree: usize, sets: &mut Vec<CategorySet>) -> Result<Vec<(i32, u32)>, ImportError> {
        let mut of_node = Vec::with_capacity(self.category_nodes.len());
        for ((&node, &segment), &size) in self.category_nodes.iter().zip(&self.segments).zip(&self.sizes) {
            let wrong =
                || invalid(Flaw::Index, Some(tree), format!("the categories of node {node} are not there"));
            let (start, size) = (usize::try_from(segment), usize::try_from(size));
            let (Ok(start), Ok(size)) = (start, size) else { return Err(wrong()) };
            let members = self.categories.get(start..).and_then(|rest| rest.get(..size)).ok_or_else(wrong)?;
            // Segments that overlap would let few bytes make many sets.
            let next = of_node.len();
            if self.segments.get(next + 1).is_some_and(|after| (*after as usize) < start + size) {
                return Err(wrong());
            }
            if let Some(member) = members.iter().find(|member| !(0..CATEGORY_LIMIT).contains(*member)) {
                return Err(invalid(Flaw::Value, Some(tree), format!("{member} is not a category")));
            }
            of_node.push((node, sets.len() as u32));
            let members: Vec<u32> = members.iter().map(|member| *member as u32).collect();
            sets.push(CategorySet::from_members(&members));
        }
        of_node.sort_unstable();
        Ok(of_node)
    }
}

/// The number of nodes that a tree declares.
fn read_tree_param(document: &mut impl Document) -> Result<Option<usize>, ImportError> {
    let mut n_nodes = None;
    document.enter_object()?;
    while let Some(key) = document.next_key()? {
        match key.as_str() {
            "num_nodes" => n_nodes = Some(count(document, "num_nodes")?),
            "size_leaf_vector" => check_leaf_size(document)?,
            "num_deleted" | "num_feature" => document.skip()?,
            _ => return Err(unknown_key("tree_param", &key)),
        }
    }
    Ok(n_nodes)
}

fn check_leaf_size(document: &mut impl Document) -> Result<(), ImportError> {
    if count(document, "size_leaf_vector")? <= 1 {
        return Ok(());
    }
    Err(unsupported("leaves with several values (`multi_output_tree`)"))
}

/// A data frame's categories are numbered by a table in the file, which rows of numbers do not go through.
fn check_no_encoding(document: &mut impl Document) -> Result<(), ImportError> {
    document.enter_object()?;
    while let Some(key) = document.next_key()? {
        if document.kind()? != Kind::Array {
            return Err(unknown_key("cats", &key));
        }
        document.enter_array()?;
        while document.next_element()? {
            if key == "enc" {
                return Err(unsupported(
                    "categories numbered by a data frame (`cats`): train on the numbers of the categories",
                ));
            }
            document.skip()?;
        }
    }
    Ok(())
}

/// Parameters are texts; some writers left numbers as they are.
fn count(document: &mut impl Document, what: &'static str) -> Result<usize, ImportError> {
    let count = match document.kind()? {
        Kind::Text => document.string()?.trim().parse().ok(),
        Kind::Number => document.number()?.whole.and_then(|whole| usize::try_from(whole).ok()),
        _ => None,
    };
    count.ok_or_else(|| invalid(Flaw::Value, None, format!("`{what}` is not a count")))
}

/// A number or a list of numbers, in a text or not.
fn base_score(document: &mut impl Document) -> Result<Vec<f32>, ImportError> {
    let scores = match document.kind()? {
        Kind::Number => Some(vec![document.number()?.single]),
        Kind::Array => Some(document.numbers(|number| Some(number.single))?),
        Kind::Text => {
            let text = document.string()?;
            let inner = text.trim();
            let inner = inner.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(inner);
            inner.split(',').map(|score| score.trim().parse().ok()).collect()
        }
        _ => None,
    };
    let scores = scores.filter(|scores| !scores.is_empty() && scores.iter().all(|score| score.is_finite()));
    scores.ok_or_else(|| invalid(Flaw::Value, None, "`base_score` is not a finite number"))
}

/// The margins that sums begin with, in single precision as XGBoost computes them.
fn base_margins(scores: &[f32], link: Link, n_outputs: usize) -> Result<Vec<f64>, ImportError> {
    let scores: Vec<f32> = match scores {
        // One value is meant for every class.
        [one] => vec![*one; n_outputs],
        several if several.len() == n_outputs => several.to_vec(),
        several => {
            let problem = format!("{} base scores for {n_outputs} outputs", several.len());
            return Err(invalid(Flaw::Length, None, problem));
        }
    };
    let margin = |score: f32| match link {
        Link::Softmax | Link::SigmoidEach { .. } => score,
        Link::Sigmoid { .. } => -(1.0 / score - 1.0).ln(),
    };
    let margins: Vec<f64> = scores.into_iter().map(|score| f64::from(margin(score))).collect();
    if margins.iter().all(|margin| margin.is_finite()) {
        return Ok(margins);
    }
    Err(invalid(Flaw::Value, None, "`base_score` is not a probability between 0 and 1"))
}

fn link(objective: &str) -> Result<Link, ImportError> {
    match objective {
        "binary:logistic" => Ok(Link::Sigmoid { scale: 1.0 }),
        "multi:softprob" | "multi:softmax" => Ok(Link::Softmax),
        other => Err(unsupported(format!(
            "the objective `{}`: classifiers are served (binary:logistic, multi:softprob, multi:softmax)",
            excerpt(other)
        ))),
    }
}

/// DART multiplies each tree's leaf by the tree's weight, in single precision.
fn weigh(leaf_values: &mut [f64], trees: &[TreeParts], weights: &[f32]) -> Result<(), ImportError> {
    if weights.len() != trees.len() {
        let problem = format!("`weight_drop` has {} values for {} trees", weights.len(), trees.len());
        return Err(invalid(Flaw::Length, None, problem));
    }
    for (tree, (parts, weight)) in trees.iter().zip(weights).enumerate() {
        for node in &parts.nodes {
            if let Node::Leaf { row } = node {
                let value = &mut leaf_values[*row as usize];
                *value = f64::from(*value as f32 * weight);
                if !value.is_finite() {
                    return Err(invalid(Flaw::Value, Some(tree), "a weighted leaf is not finite"));
                }
            }
        }
    }
    Ok(())
}

/// Keeps what a key says, which it may say once.
fn put<T>(place: &mut Option<T>, value: T, key: &str) -> Result<(), ImportError> {
    if place.replace(value).is_some() { Err(twice(key)) } else { Ok(()) }
}

fn twice(key: &str) -> ImportError {
    invalid(Flaw::Structure, None, format!("`{}` is given twice", excerpt(key)))
}

fn missing(key: &str) -> ImportError {
    invalid(Flaw::Structure, None, format!("`{key}` is missing"))
}

fn invalid(flaw: Flaw, tree: Option<usize>, problem: impl Into<String>) -> ImportError {
    ImportError::invalid(flaw, tree, problem)
}

fn unsupported(what: impl Into<String>) -> ImportError {
    ImportError::Unsupported { what: what.into() }
}
