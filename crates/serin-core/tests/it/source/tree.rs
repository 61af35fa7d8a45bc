use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use serin_core::artifacts::Artifacts;
use serin_core::clock::Timestamp;
use serin_core::digest::Digest;
use serin_core::source::{PassedOverReason, Tree, TreeError, TreeFile, TreeLimits, materialise, snapshot};

fn write(folder: &Path, path: &str, text: &str) {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn paths(tree: &Tree) -> Vec<&str> {
    tree.files().iter().map(|file| file.path.as_str()).collect()
}

#[test]
fn a_folder_is_stored_and_written_out_again() {
    let folder = tempfile::tempdir().unwrap();
    let project = folder.path().join("project");
    write(&project, "serin.toml", "[project]");
    write(&project, "data/train.csv", "a,b\n1,2\n");
    write(&project, "train.sh", "#!/bin/sh");
    write(&project, "sub/out/kept.txt", "only the folder at the top is left out");
    for unwanted in [".git/config", ".env", ".venv/lib/x.py", "out/model.serin", "store/journal"] {
        write(&project, unwanted, "not an input");
    }
    fs::set_permissions(project.join("train.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("/etc/passwd", project.join("data/link")).unwrap();
    symlink("..", project.join("data/up")).unwrap();
    let artifacts = Artifacts::open(&project.join("store"), Timestamp(0)).unwrap();
    let excluded = project.join("store");

    let taken = snapshot(&project, &[&excluded], &artifacts, &TreeLimits::default()).unwrap();
    let expected = ["data/train.csv", "serin.toml", "sub/out/kept.txt", "train.sh"];
    assert_eq!(paths(&taken.tree), expected);
    let mut links: Vec<_> = taken.passed_over.iter().map(|over| (over.path.as_str(), over.reason)).collect();
    links.sort_by_key(|(path, _)| *path);
    assert_eq!(links, [("data/link", PassedOverReason::Link), ("data/up", PassedOverReason::Link)]);

    let name = taken.tree.store(&artifacts).unwrap();
    let tree = Tree::load(&name, &artifacts).unwrap();
    assert_eq!(tree, taken.tree);
    let copy = folder.path().join("copy");
    materialise(&tree, &artifacts, &copy).unwrap();
    let again = snapshot(&copy, &[], &artifacts, &TreeLimits::default()).unwrap();
    assert_eq!(again.tree.store(&artifacts).unwrap(), name);
    assert_eq!(fs::read_to_string(copy.join("data/train.csv")).unwrap(), "a,b\n1,2\n");
    let refused = materialise(&tree, &artifacts, &copy);
    assert!(matches!(refused, Err(TreeError::NotEmpty { .. })), "{refused:?}");
}

#[test]
fn limits_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let artifacts = Artifacts::open(&folder.path().join(".store"), Timestamp(0)).unwrap();
    for number in 0..5 {
        write(folder.path(), &format!("{number}.csv"), "12345678");
    }
    let take = |files, bytes| snapshot(folder.path(), &[], &artifacts, &TreeLimits { files, bytes });
    assert_eq!(take(5, 40).unwrap().tree.files().len(), 5);
    assert!(matches!(take(4, 40), Err(TreeError::TooMany { limit: 4 })));
    assert!(matches!(take(5, 39), Err(TreeError::TooLarge { limit_bytes: 39 })));
    write(folder.path(), &format!("{}deep.csv", "x/".repeat(40)), "");
    assert!(matches!(take(9, 99), Err(TreeError::TooDeep { .. })));
}

#[test]
fn a_stored_list_that_leads_elsewhere_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let artifacts = Artifacts::open(folder.path(), Timestamp(0)).unwrap();
    let digest = artifacts.put(b"x").unwrap();
    let file = |path: &str| TreeFile { path: path.into(), digest, bytes: 1, is_executable: false };
    for path in ["", "/etc/x", "../x", "a/../x", "a//x", "./x", "a/", "a\\x", "a\nx", &"x".repeat(2_000)] {
        let refused = Tree::new(vec![file(path)]);
        assert!(matches!(refused, Err(TreeError::Name { .. })), "{path:?}: {refused:?}");
        let list = serde_json::json!({"version": 1, "files": [file(path)]});
        let stored = artifacts.put(list.to_string().as_bytes()).unwrap();
        assert!(Tree::load(&stored, &artifacts).is_err(), "{path:?}");
    }
    for twice in [["a", "a"], ["a", "a/b"], ["a/b/c", "a/b"]] {
        let refused = Tree::new(twice.map(file).to_vec());
        assert!(matches!(refused, Err(TreeError::Twice { .. })), "{twice:?}: {refused:?}");
    }
    for list in ["{}", "[]", r#"{"version":2,"files":[]}"#, r#"{"version":1,"files":[],"more":1}"#] {
        let stored = artifacts.put(list.as_bytes()).unwrap();
        let refused = Tree::load(&stored, &artifacts);
        assert!(matches!(refused, Err(TreeError::Document { .. })), "{list}: {refused:?}");
    }
    assert!(matches!(Tree::load(&Digest::of(b"?"), &artifacts), Err(TreeError::Artifact { .. })));
}
