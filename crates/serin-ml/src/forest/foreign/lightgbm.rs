//! LightGBM's text format, as `GBDT::SaveModelToString` and `Tree::ToString` of LightGBM 2 to 4 write it.

use std::collections::BTreeMap;

use super::{Flaw, ImportError, Link, ReadModel, check_expansion, excerpt};
use crate::forest::{
    Addition, CategorySet, Combination, DecisionRule, ForestParts, LeafKind, Node, TreeParts, ZERO_LIMIT,
};

/// Most lines of the header or of a tree: LightGBM writes about twenty.
const FIELD_LIMIT: usize = 64;

/// Bits of `decision_type`.
const CATEGORICAL: u8 = 1;
const DEFAULT_LEFT: u8 = 2;

/// Keys of a tree that say nothing about its answers.
const STATISTICS: [&str; 6] =
    ["split_gain", "leaf_weight", "internal_value", "internal_weight", "leaf_features", "shrinkage"];

/// Reads a model.
pub(super) fn read(bytes: &[u8]) -> Result<ReadModel, ImportError> {
    let text =
        std::str::from_utf8(bytes).map_err(|_| invalid(Flaw::Syntax, None, "the text is not UTF-8"))?;
    let mut lines = Lines { rest: text };
    let header = Header::read(&mut lines, bytes.len())?;
    let mut forest = ForestParts {
        n_features: header.n_features,
        n_outputs: header.n_outputs,
        rule: DecisionRule::DoubleAtMost,
        combination: if header.is_average { Combination::Mean } else { Combination::Sum },
        addition: Addition::Double,
        leaf_kind: LeafKind::Scalar,
        base: Vec::new(),
        trees: Vec::new(),
        leaf_values: Vec::new(),
        category_sets: Vec::new(),
    };
    loop {
        let block = lines.rest;
        let Some(line) = lines.next_filled() else {
            return Err(invalid(Flaw::Length, None, "the file ends before `end of trees`"));
        };
        if line == "end of trees" {
            break;
        }
        let number = forest.trees.len();
        if line.strip_prefix("Tree=").and_then(|index| index.parse().ok()) != Some(number) {
            let problem = format!("{:?} stands where `Tree={number}` belongs", excerpt(line));
            return Err(invalid(Flaw::Structure, None, problem));
        }
        let tree = Fields::read(&mut lines, Some(number))?;
        lines.skip_blank();
        header.check_size(number, &block[..block.len() - lines.rest.len()])?;
        let tree = tree_parts(&tree, number, (number % header.n_outputs) as u32, &mut forest)?;
        forest.trees.push(tree);
    }
    let n_trees = forest.trees.len();
    if header.tree_sizes.as_ref().is_some_and(|sizes| sizes.len() != n_trees) {
        return Err(invalid(Flaw::Length, None, format!("`tree_sizes` does not name {n_trees} trees")));
    }
    if n_trees == 0 || !n_trees.is_multiple_of(header.n_outputs) {
        let problem = format!("{n_trees} trees are not whole rounds of {} trees", header.n_outputs);
        return Err(invalid(Flaw::Value, None, problem));
    }
    // There are at least as many trees as outputs.
    forest.base = vec![0.0; header.n_outputs];
    Ok(ReadModel { parts: forest, link: header.link, feature_names: Some(header.feature_names) })
}

/// The lines of the file that are left.
struct Lines<'a> {
    rest: &'a str,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
        self.rest = rest;
        Some(line.strip_suffix('\r').unwrap_or(line))
    }

    fn next_filled(&mut self) -> Option<&'a str> {
        self.skip_blank();
        self.next()
    }

    fn skip_blank(&mut self) {
        self.rest = self.rest.trim_start_matches(['\r', '\n']);
    }
}

/// Lines of `key=value` up to an empty one.
struct Fields<'a> {
    tree: Option<usize>,
    values: BTreeMap<&'a str, &'a str>,
}

impl<'a> Fields<'a> {
    fn read(lines: &mut Lines<'a>, tree: Option<usize>) -> Result<Self, ImportError> {
        let mut values = BTreeMap::new();
        while let Some(line) = lines.next().filter(|line| !line.is_empty()) {
            if values.len() == FIELD_LIMIT {
                return Err(invalid(Flaw::Length, tree, format!("more than {FIELD_LIMIT} lines")));
            }
            // A flag is a key without a value.
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            if values.insert(key, value).is_some() {
                let problem = format!("`{}` is given twice", excerpt(key));
                return Err(invalid(Flaw::Structure, tree, problem));
            }
        }
        Ok(Self { tree, values })
    }

    fn find(&self, key: &str) -> Option<&'a str> {
        self.values.get(key).copied()
    }

    fn require(&self, key: &str) -> Result<&'a str, ImportError> {
        let missing = || invalid(Flaw::Structure, self.tree, format!("`{key}` is missing"));
        self.find(key).ok_or_else(missing)
    }

    fn number<T: std::str::FromStr>(&self, key: &str) -> Result<T, ImportError> {
        parse(self.require(key)?, key, self.tree)
    }

    /// `length` numbers.
    fn list<T: std::str::FromStr>(&self, key: &str, length: usize) -> Result<Vec<T>, ImportError> {
        let numbers: Vec<T> =
            words(self.require(key)?).map(|word| parse(word, key, self.tree)).collect::<Result<_, _>>()?;
        if numbers.len() == length {
            return Ok(numbers);
        }
        let problem = format!("`{key}` has {} values instead of {length}", numbers.len());
        Err(invalid(Flaw::Length, self.tree, problem))
    }

    /// `length` numbers, or none when there is no such key.
    fn list_if_any<T: std::str::FromStr>(&self, key: &str, length: usize) -> Result<Vec<T>, ImportError> {
        if self.find(key).is_some() { self.list(key, length) } else { Ok(Vec::new()) }
    }
}

struct Header {
    n_features: usize,
    n_outputs: usize,
    is_average: bool,
    feature_names: Vec<String>,
    link: Link,
    tree_sizes: Option<Vec<usize>>,
}

impl Header {
    fn read(lines: &mut Lines<'_>, file_bytes: usize) -> Result<Self, ImportError> {
        lines.next();
        let fields = Fields::read(lines, None)?;
        let n_features = fields.number::<usize>("max_feature_idx")?.checked_add(1);
        let too_many = || invalid(Flaw::Value, None, "`max_feature_idx` is too large");
        let n_features = n_features.ok_or_else(too_many)?;
        for key in ["label_index", "feature_infos"] {
            fields.require(key)?;
        }
        let names = fields.require("feature_names")?;
        let n_names = words(names).count();
        if n_names != n_features {
            let problem = format!("{n_names} feature names for {n_features} features");
            return Err(invalid(Flaw::Length, None, problem));
        }
        check_expansion(file_bytes, 0, n_features)?;
        let num_class: usize = fields.number("num_class")?;
        let n_outputs = match fields.find("num_tree_per_iteration") {
            Some(number) => parse(number, "num_tree_per_iteration", None)?,
            None => num_class,
        };
        let link = link(fields.find("objective"), num_class)?;
        if !link.fits(n_outputs) || n_outputs != num_class {
            let problem =
                format!("{n_outputs} trees a round do not go with {num_class} classes and the objective");
            return Err(invalid(Flaw::Value, None, problem));
        }
        let sizes =
            fields.find("tree_sizes").map(|sizes| words(sizes).map(|size| parse(size, "tree_sizes", None)));
        Ok(Self {
            n_features,
            n_outputs,
            is_average: fields.find("average_output").is_some(),
            feature_names: words(names).map(str::to_owned).collect(),
            link,
            tree_sizes: sizes.map(Iterator::collect).transpose()?,
        })
    }

    /// Compares the text of a tree with what the header says of its size.
    fn check_size(&self, tree: usize, text: &str) -> Result<(), ImportError> {
        let Some(sizes) = &self.tree_sizes else { return Ok(()) };
        // A file that was through a system with other line ends has grown by one byte a line.
        let found = text.len() - text.matches('\r').count();
        if sizes.get(tree) == Some(&found) {
            return Ok(());
        }
        let said = sizes.get(tree).map_or_else(|| "nothing".to_owned(), ToString::to_string);
        let problem = format!(
            "it has {found} bytes and `tree_sizes` says {said}: the file was changed; without the line \
             `tree_sizes` it is read as it is"
        );
        Err(invalid(Flaw::Length, Some(tree), problem))
    }
}

/// What the objective makes of scores.
fn link(objective: Option<&str>, num_class: usize) -> Result<Link, ImportError> {
    let mut parts = words(objective.unwrap_or_default());
    let name = parts.next().unwrap_or_default();
    let options: BTreeMap<&str, &str> = parts.filter_map(|part| part.split_once(':')).collect();
    let scale: f64 = options.get("sigmoid").map_or(Ok(1.0), |scale| parse(scale, "sigmoid", None))?;
    if let Some(classes) = options.get("num_class")
        && parse::<usize>(classes, "num_class", None)? != num_class
    {
        return Err(invalid(
            Flaw::Value,
            None,
            "the objective and the header name different numbers of classes",
        ));
    }
    match name {
        "binary" => Ok(Link::Sigmoid { scale }),
        "multiclass" => Ok(Link::Softmax),
        "multiclassova" => Ok(Link::SigmoidEach { scale }),
        "" => Err(unsupported("a model without objective: its scores are not probabilities of classes")),
        name => Err(unsupported(&format!(
            "the objective `{}`: classifiers are served (binary, multiclass, multiclassova)",
            excerpt(name)
        ))),
    }
}

/// Turns the fields of a tree into nodes: its splits first, then its leaves.
fn tree_parts(
    fields: &Fields<'_>,
    tree: usize,
    output: u32,
    forest: &mut ForestParts,
) -> Result<TreeParts, ImportError> {
    check_keys(fields)?;
    let n_leaves: usize = fields.number("num_leaves")?;
    let first_row = u32::try_from(forest.leaf_values.len());
    let first_row = first_row.map_err(|_| invalid(Flaw::Length, Some(tree), "too many leaves"))?;
    let leaf_values = fields.list::<f64>("leaf_value", n_leaves)?;
    if n_leaves == 0 {
        return Err(invalid(Flaw::Structure, Some(tree), "it has no leaves"));
    }
    if let Some(leaf) = leaf_values.iter().position(|value| !value.is_finite()) {
        return Err(invalid(Flaw::Value, Some(tree), format!("the value of leaf {leaf} is not finite")));
    }
    let n_splits = n_leaves - 1;
    let mut nodes = Vec::with_capacity(n_splits + n_leaves);
    if n_splits > 0 {
        let splits = Splits::read(fields, n_splits)?;
        let first_set = forest.category_sets.len() as u32;
        forest.category_sets.extend(category_sets(fields)?);
        for split in 0..n_splits {
            nodes.push(splits.node(split, tree, n_leaves, first_set, forest.category_sets.len() as u32)?);
        }
    }
    forest.leaf_values.extend_from_slice(&leaf_values);
    nodes.extend((0..n_leaves as u32).map(|leaf| Node::Leaf { row: first_row + leaf }));
    let covers = covers(fields, n_splits, n_leaves)?;
    Ok(TreeParts { output, nodes, covers })
}

/// Refuses keys that might change answers.
fn check_keys(fields: &Fields<'_>) -> Result<(), ImportError> {
    const READ: [&str; 13] = [
        "num_leaves",
        "num_cat",
        "split_feature",
        "threshold",
        "decision_type",
        "left_child",
        "right_child",
        "leaf_value",
        "leaf_count",
        "internal_count",
        "cat_boundaries",
        "cat_threshold",
        "is_linear",
    ];
    if fields.find("is_linear").is_some_and(|is_linear| is_linear.trim() != "0") {
        return Err(unsupported("linear trees (`linear_tree`)"));
    }
    let is_known = |key: &&&str| READ.contains(*key) || STATISTICS.contains(*key);
    match fields.values.keys().find(|key| !is_known(key)) {
        Some(key) => Err(unsupported(&format!("the field `{}` of a tree", excerpt(key)))),
        None => Ok(()),
    }
}

struct Splits {
    features: Vec<u32>,
    thresholds: Vec<f64>,
    decisions: Vec<u8>,
    lefts: Vec<i32>,
    rights: Vec<i32>,
}

impl Splits {
    fn read(fields: &Fields<'_>, n: usize) -> Result<Self, ImportError> {
        Ok(Self {
            features: fields.list("split_feature", n)?,
            thresholds: fields.list("threshold", n)?,
            decisions: fields.list("decision_type", n)?,
            lefts: fields.list("left_child", n)?,
            rights: fields.list("right_child", n)?,
        })
    }

    fn node(
        &self,
        i: usize,
        tree: usize,
        n_leaves: usize,
        first_set: u32,
        sets: u32,
    ) -> Result<Node, ImportError> {
        let child = |child: i32| {
            let (index, end, first) = match child {
                0.. => (child as usize, n_leaves - 1, 0),
                // Leaf 0 is -1, leaf 1 is -2 and so on.
                _ => (!child as usize, n_leaves, n_leaves - 1),
            };
            let wrong = || invalid(Flaw::Index, Some(tree), format!("split {i}: there is no node {child}"));
            u32::try_from(first + index).ok().filter(|_| index < end).ok_or_else(wrong)
        };
        let (left, right) = (child(self.lefts[i])?, child(self.rights[i])?);
        let (feature, threshold, decision) = (self.features[i], self.thresholds[i], self.decisions[i]);
        let default_left = decision & DEFAULT_LEFT != 0;
        if decision & CATEGORICAL != 0 {
            let set = threshold as u32;
            if f64::from(set) != threshold || set >= sets - first_set {
                let problem = format!("split {i}: there is no set of categories {threshold}");
                return Err(invalid(Flaw::Index, Some(tree), problem));
            }
            let set = first_set + set;
            return Ok(Node::Category { feature, set, listed_left: true, missing_left: false, left, right });
        }
        let threshold = outside_of_zero(threshold);
        let (missing_left, zero_is_missing) = match decision >> 2 {
            // A missing value is read as zero.
            0 => (0.0 <= threshold, false),
            1 => (default_left, true),
            2 => (default_left, false),
            _ => {
                let problem = format!("split {i}: {decision} is not a decision type");
                return Err(invalid(Flaw::Value, Some(tree), problem));
            }
        };
        Ok(Node::Split { feature, threshold, missing_left, zero_is_missing, left, right })
    }
}

/// LightGBM reads values within ±[`ZERO_LIMIT`] as zero. A threshold among them is put to the end of their range where
/// they all go to the side that zero goes to, so that values can stay as they are.
fn outside_of_zero(threshold: f64) -> f64 {
    if (0.0..ZERO_LIMIT).contains(&threshold) {
        ZERO_LIMIT
    } else if (-ZERO_LIMIT..0.0).contains(&threshold) {
        (-ZERO_LIMIT).next_down()
    } else {
        threshold
    }
}

/// The sets of categories of a tree.
fn category_sets(fields: &Fields<'_>) -> Result<Vec<CategorySet>, ImportError> {
    let n_sets: usize = fields.number("num_cat")?;
    if n_sets == 0 {
        return Ok(Vec::new());
    }
    let too_many = || invalid(Flaw::Length, fields.tree, "`num_cat` is too large");
    let bounds: Vec<usize> = fields.list("cat_boundaries", n_sets.checked_add(1).ok_or_else(too_many)?)?;
    let n_words = bounds[n_sets];
    let words: Vec<u32> = fields.list("cat_threshold", n_words)?;
    let ascend = bounds[0] == 0 && bounds.windows(2).all(|pair| pair[0] <= pair[1]);
    if !ascend {
        return Err(invalid(Flaw::Index, fields.tree, "`cat_boundaries` do not ascend from 0"));
    }
    Ok(bounds.windows(2).map(|pair| CategorySet::from_words(&words[pair[0]..pair[1]])).collect())
}

/// Training rows of splits and leaves; none when the tree does not say.
fn covers(fields: &Fields<'_>, n_splits: usize, n_leaves: usize) -> Result<Vec<f32>, ImportError> {
    if n_splits == 0 {
        // A constant explains nothing, whatever its weight.
        return Ok(vec![1.0]);
    }
    let mut covers: Vec<f32> = fields.list_if_any("internal_count", n_splits)?;
    let leaves: Vec<f32> = fields.list_if_any("leaf_count", n_leaves)?;
    if covers.is_empty() || leaves.is_empty() {
        return Ok(Vec::new());
    }
    covers.extend(leaves);
    match covers.iter().find(|cover| !(cover.is_finite() && **cover >= 0.0)) {
        Some(cover) => Err(invalid(Flaw::Value, fields.tree, format!("a node has {cover} rows"))),
        None => Ok(covers),
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_ascii_whitespace()
}

fn parse<T: std::str::FromStr>(word: &str, key: &str, tree: Option<usize>) -> Result<T, ImportError> {
    let problem = || format!("`{key}`: {:?} is not a number that belongs there", excerpt(word));
    word.parse().map_err(|_| invalid(Flaw::Value, tree, problem()))
}

fn invalid(flaw: Flaw, tree: Option<usize>, problem: impl Into<String>) -> ImportError {
    ImportError::invalid(flaw, tree, problem)
}

fn unsupported(what: &str) -> ImportError {
    ImportError::Unsupported { what: what.to_owned() }
}
