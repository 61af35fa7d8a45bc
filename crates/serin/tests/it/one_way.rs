//! Modules stand in reading order in `lib.rs`, and import only from those above them: no cycles, in any package.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn every_package_imports_one_way() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for package in ["serin-ml", "serin-core", "serin"] {
        let sources = crates.join(package).join("src");
        let order = listed_modules(&fs::read_to_string(sources.join("lib.rs")).unwrap());
        assert!(order.len() > 3, "{package}: {order:?}");
        let mut files = Vec::new();
        rust_files(&sources, &mut files);
        let mut wrong = Vec::new();
        for file in files {
            let path = module_path(file.strip_prefix(&sources).unwrap());
            // lib.rs lists, main.rs and other programs use the library from outside.
            if path.first().is_some_and(|first| first != "main") {
                let text = fs::read_to_string(&file).unwrap();
                wrong.extend(
                    violations(&order, &path, &text).into_iter().map(|v| format!("{}: {v}", file.display())),
                );
            }
        }
        assert!(wrong.is_empty(), "imports against the order of {package}/src/lib.rs:\n{}", wrong.join("\n"));
    }
}

#[test]
fn a_planted_violation_is_seen() {
    let order = listed_modules("//! pub mod no;\npub mod low;\n\npub mod middle;\nmod high;\n");
    assert_eq!(order, ["low", "middle", "high"]);
    let cases: [(&[&str], &str, &[&str]); 16] = [
        (&["middle"], "use crate::low::Thing;", &[]),
        (&["middle"], "use crate::middle::part::Thing;", &[]),
        (&["middle"], "use crate::high::Thing;", &["high"]),
        (&["middle"], "pub(crate) use crate::{low::{self, high}, high as h};", &["high"]),
        (&["middle"], "use {std::fmt, crate::high};", &["high"]),
        (&["middle"], "fn f() -> u8 { crate::high::f() }", &["high"]),
        (&["middle"], "use crate::*;", &["*"]),
        (&["middle"], "// crate::high\n/* crate::high */ const S: &str = \"crate::high\";", &[]),
        (&["middle"], "use super::high::Thing;", &["high"]),
        (&["middle", "part"], "use super::high::Thing;", &[]),
        (&["middle", "part"], "use super::super::{low, high::x};", &["high"]),
        (&["middle"], "mod tests { use super::high; fn f() {} }", &[]),
        (&["middle"], "mod tests { fn f() {} use super::super::high; }", &["high"]),
        (&["middle"], "mod tests { use super::*; }\nuse super::high;", &["high"]),
        (
            &["low"],
            "use crate::middle; fn f<'a>(c: char) -> bool { c == '\"' || crate::high::g('{') }",
            &["high", "middle"],
        ),
        (&["high"], "use crate::{low, middle}; use super::nowhere::x;", &["nowhere"]),
    ];
    for (path, text, expected) in cases {
        let path: Vec<String> = path.iter().map(|&part| part.to_owned()).collect();
        assert_eq!(violations(&order, &path, text), expected, "{path:?}: {text}");
    }
    assert_eq!(module_path(Path::new("train/search/mod.rs")), ["train", "search"]);
    assert_eq!(module_path(Path::new("train/search/space.rs")), ["train", "search", "space"]);
    assert!(module_path(Path::new("lib.rs")).is_empty());
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
}

/// `train/search/mod.rs` is `train::search`; the root has no path.
fn module_path(file: &Path) -> Vec<String> {
    let names = file.with_extension("");
    let mut path: Vec<String> = names.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if path.last().is_some_and(|last| last == "mod" || last == "lib") {
        path.pop();
    }
    path
}

/// The modules that a `lib.rs` declares, in its order.
fn listed_modules(text: &str) -> Vec<String> {
    let tokens = tokens(text);
    let declared = tokens.windows(3).filter(|three| three[0] == "mod" && three[2] == ";");
    declared.map(|three| three[1].clone()).collect()
}

/// Top-level modules that a file of module `path` names although they are not listed up to its own.
fn violations(order: &[String], path: &[String], text: &str) -> Vec<String> {
    let own = order.iter().position(|module| *module == path[0]);
    let allowed = own.map_or(&order[..0], |own| &order[..=own]);
    top_level_names(path.len(), text).into_iter().filter(|name| !allowed.contains(name)).collect()
}

/// What follows `crate::`, or as many `super::` as lead to the root, in a module `depth` below it.
fn top_level_names(depth: usize, text: &str) -> BTreeSet<String> {
    let tokens = tokens(text);
    let at = |i: usize| tokens.get(i).map_or("", String::as_str);
    let mut names = BTreeSet::new();
    let mut braces = 0_usize;
    let mut inline_modules: Vec<usize> = Vec::new();
    for i in 0..tokens.len() {
        match at(i) {
            "mod" if at(i + 2) == "{" => inline_modules.push(braces + 1),
            "{" => braces += 1,
            "}" => {
                if inline_modules.last() == Some(&braces) {
                    inline_modules.pop();
                }
                braces = braces.saturating_sub(1);
            }
            "crate" if at(i + 1) == "::" => first_names(&tokens[i + 2..], &mut names),
            "super" if at(i.wrapping_sub(1)) != "::" => {
                let steps = (0..)
                    .take_while(|step| at(i + 2 * step) == "super" && at(i + 2 * step + 1) == "::")
                    .count();
                if steps == depth + inline_modules.len() {
                    first_names(&tokens[i + 2 * steps..], &mut names);
                }
            }
            _ => {}
        }
    }
    names
}

/// The first part of a path, or of every path in a group.
fn first_names(tokens: &[String], names: &mut BTreeSet<String>) {
    if tokens.first().is_none_or(|token| token != "{") {
        names.extend(tokens.first().cloned());
        return;
    }
    let mut depth = 0;
    let mut is_start = true;
    for token in tokens {
        match token.as_str() {
            "{" => depth += 1,
            "}" if depth == 1 => return,
            "}" => depth -= 1,
            "," => is_start |= depth == 1,
            name if is_start => {
                names.insert(name.to_owned());
                is_start = false;
            }
            _ => {}
        }
    }
}

/// Words, `::` and single marks; comments, texts and characters left out.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let taken = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(raw) = ["r#\"", "br#\""].iter().find(|raw| rest.starts_with(**raw)) {
            rest[raw.len()..].find("\"#").map_or(rest.len(), |end| raw.len() + end + 2)
        } else if first == '"' {
            quoted_length(rest, '"')
        } else if first == '\'' && (rest[1..].starts_with('\\') || rest.chars().nth(2) == Some('\'')) {
            quoted_length(rest, '\'')
        } else if first.is_alphanumeric() || first == '_' {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            tokens.push(rest[..end].to_owned());
            end
        } else {
            let length = if rest.starts_with("::") { 2 } else { first.len_utf8() };
            if !first.is_whitespace() {
                tokens.push(rest[..length].to_owned());
            }
            length
        };
        rest = &rest[taken..];
    }
    tokens
}

/// Bytes up to and with the closing mark.
fn quoted_length(text: &str, mark: char) -> usize {
    let mut is_escaped = false;
    for (position, character) in text.char_indices().skip(1) {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            _ if character == mark => return position + mark.len_utf8(),
            _ => {}
        }
    }
    text.len()
}
