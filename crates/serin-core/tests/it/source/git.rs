//! Needs the `git` program, as developing Serin does.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use serin_core::artifacts::Artifacts;
use serin_core::clock::Timestamp;
use serin_core::source::git::{Branch, CommitId, Git, GitError, GitRepository, GitToken, Location};
use serin_core::source::{PassedOverReason, TreeError, TreeLimits};
use tempfile::TempDir;

/// A repository that a user works in, and our side of it.
struct Story {
    folder: TempDir,
    artifacts: Artifacts,
}

impl Story {
    fn begin() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::open(&folder.path().join("data"), Timestamp(0)).unwrap();
        let story = Self { folder, artifacts };
        fs::create_dir(story.work()).unwrap();
        story.git(&["init", "--quiet", "--initial-branch=main"]);
        story
    }

    fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    fn git(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        command.current_dir(self.work()).args(["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]);
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        command.env("GIT_AUTHOR_DATE", "1700000000 +0100").args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn commit(&self, path: &str, text: &str, message: &str) -> CommitId {
        let file = self.work().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", message]);
        self.head()
    }

    fn head(&self) -> CommitId {
        CommitId::new(&self.git(&["rev-parse", "HEAD"])).unwrap()
    }

    fn repository(&self, branch: &str) -> GitRepository {
        self.repository_at(&self.work().display().to_string(), branch, None)
    }

    fn repository_at(&self, location: &str, branch: &str, token: Option<GitToken>) -> GitRepository {
        let (location, branch) = (Location::new(location).unwrap(), Branch::new(branch).unwrap());
        let mirror = self.folder.path().join("data/sources/demo");
        GitRepository::new(Git::find().unwrap(), location, branch, token, mirror)
    }
}

#[test]
fn a_commit_becomes_the_files_it_has() {
    let story = Story::begin();
    let repository = story.repository("main");
    assert!(matches!(repository.head(), Err(GitError::Empty)));

    // None of this may have an effect: attributes would rewrite line ends, names and whole files.
    let attributes =
        "*.csv text eol=crlf\n*.txt ident export-subst\nhidden.txt export-ignore\n*.bin filter=evil\n";
    fs::write(story.work().join(".gitattributes"), attributes).unwrap();
    fs::write(story.work().join("hidden.txt"), "$Id$ $Format:%H$").unwrap();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n";
    fs::write(story.work().join("big.bin"), pointer).unwrap();
    fs::write(story.work().join("train.sh"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(story.work().join("train.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("/etc/passwd", story.work().join("link")).unwrap();
    let first = story.commit("data/train.csv", "a,b\n1,2\n", "first: data\n\nMore about it");
    story.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{first},module")]);
    story.git(&["commit", "--quiet", "--message", "a submodule"]);
    let second = story.head();

    assert_eq!(repository.head().unwrap(), second);
    let unfetched = repository.tree(&second, &story.artifacts, &TreeLimits::default());
    assert!(matches!(unfetched, Err(GitError::NotFetched { .. })), "{unfetched:?}");
    repository.fetch(&second).unwrap();
    let taken = repository.tree(&second, &story.artifacts, &TreeLimits::default()).unwrap();
    let paths: Vec<_> = taken.tree.files().iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, [".gitattributes", "big.bin", "data/train.csv", "hidden.txt", "train.sh"]);
    let content = |path: &str| {
        let digest = taken.tree.file(path).unwrap().digest;
        String::from_utf8(story.artifacts.read(&digest, 1_000).unwrap()).unwrap()
    };
    assert_eq!(content("data/train.csv"), "a,b\n1,2\n");
    assert_eq!(content("hidden.txt"), "$Id$ $Format:%H$");
    assert!(taken.tree.file("train.sh").unwrap().is_executable);
    let over: Vec<_> = taken.passed_over.iter().map(|over| (over.path.as_str(), over.reason)).collect();
    let expected = [
        ("link", PassedOverReason::Link),
        ("module", PassedOverReason::Submodule),
        ("big.bin", PassedOverReason::LargeFilePointer),
    ];
    assert_eq!(over, expected);

    // An older commit is there to be asked for by name.
    repository.fetch(&first).unwrap();
    let info = repository.info(&first).unwrap();
    assert_eq!((info.author.as_str(), info.subject.as_str()), ("Ada", "first: data"));
    assert_eq!(info.time, Timestamp(1_700_000_000_000_000));

    let few = TreeLimits { files: 4, bytes: 1 << 20 };
    let refused = repository.tree(&second, &story.artifacts, &few);
    assert!(matches!(refused, Err(GitError::Tree(TreeError::TooMany { limit: 4 }))), "{refused:?}");
    let little = TreeLimits { files: 9, bytes: 20 };
    let refused = repository.tree(&second, &story.artifacts, &little);
    assert!(matches!(refused, Err(GitError::Tree(TreeError::TooLarge { limit_bytes: 20 }))), "{refused:?}");
}

#[test]
fn a_branch_that_is_missing_or_rewritten_is_told() {
    let story = Story::begin();
    let first = story.commit("a.csv", "1", "first");
    let missing = story.repository("mian").head();
    assert!(
        matches!(&missing, Err(GitError::BranchMissing { meant: Some(meant), .. }) if meant == "main"),
        "{missing:?}"
    );
    story.git(&["commit", "--quiet", "--amend", "--message", "rewritten"]);
    story.git(&["reflog", "expire", "--expire=now", "--all"]);
    story.git(&["gc", "--quiet", "--prune=now"]);
    let repository = story.repository("main");
    let gone = repository.fetch(&first);
    assert!(matches!(&gone, Err(GitError::CommitMissing { commit }) if *commit == first), "{gone:?}");
    // What was fetched before a rewrite stays usable, and the new one is found.
    let second = repository.head().unwrap();
    repository.fetch(&second).unwrap();
    story.git(&["commit", "--quiet", "--amend", "--message", "again"]);
    let third = repository.head().unwrap();
    assert_ne!(second, third);
    repository.fetch(&third).unwrap();
    assert!(repository.tree(&second, &story.artifacts, &TreeLimits::default()).is_ok());

    fs::remove_dir_all(story.work()).unwrap();
    let vanished = repository.head();
    assert!(matches!(vanished, Err(GitError::Failed { operation: "ls-remote", .. })), "{vanished:?}");
    assert!(repository.tree(&third, &story.artifacts, &TreeLimits::default()).is_ok());
}

#[test]
fn nothing_of_the_surroundings_has_a_say() {
    let story = Story::begin();
    let commit = story.commit("a.csv", "1", "first");
    let marker = story.folder.path().join("executed");
    let script = story.folder.path().join("evil");
    fs::write(&script, format!("#!/bin/sh\ntouch {}\n", marker.display())).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    // The mirror's folder stands for the user's home: what a stranger could leave there.
    let mirror = story.folder.path().join("data/sources/demo");
    fs::create_dir_all(mirror.join("hooks")).unwrap();
    fs::copy(&script, mirror.join("hooks/reference-transaction")).unwrap();
    let evil = format!(
        "[core]\n\tpager = {0}\n\tfsmonitor = {0}\n[credential]\n\thelper = !{0}\n",
        script.display()
    );
    fs::write(mirror.join(".gitconfig"), evil).unwrap();
    let repository = story.repository("main");
    repository.fetch(&commit).unwrap();
    repository.tree(&commit, &story.artifacts, &TreeLimits::default()).unwrap();
    repository.info(&commit).unwrap();
    assert!(!marker.exists());
}

/// Serves a folder over HTTP/1.0 to those who bring the right header, and keeps what was asked.
fn serve(folder: PathBuf, needed: String) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let lines: Vec<String> = BufReader::new(connection.try_clone().unwrap())
                .lines()
                .map_while(Result::ok)
                .take_while(|line| !line.is_empty())
                .collect();
            let path = lines[0].split(' ').nth(1).unwrap().split('?').next().unwrap().to_owned();
            log.lock().unwrap().push(path.clone());
            let answer = if !lines.contains(&needed) {
                b"HTTP/1.0 403 Forbidden\r\n\r\n".to_vec()
            } else if path.starts_with("/moved/") {
                format!("HTTP/1.0 302 Found\r\nLocation: /bare.git{}\r\n\r\n", &path[6..]).into_bytes()
            } else {
                match fs::read(folder.join(path.trim_start_matches('/'))) {
                    Ok(bytes) => [b"HTTP/1.0 200 OK\r\n\r\n".to_vec(), bytes].concat(),
                    Err(_) => b"HTTP/1.0 404 Not Found\r\n\r\n".to_vec(),
                }
            };
            let _ = connection.write_all(&answer);
        }
    });
    (port, asked)
}

#[test]
fn a_private_repository_is_read_with_a_token_that_is_never_shown() {
    let story = Story::begin();
    let commit = story.commit("a.csv", "1", "first");
    story.git(&["clone", "--quiet", "--bare", ".", "../bare.git"]);
    story.git(&["-C", "../bare.git", "update-server-info"]);
    // From `printf x-access-token:secret-1 | base64`.
    let header = "Authorization: Basic eC1hY2Nlc3MtdG9rZW46c2VjcmV0LTE=";
    let (port, asked) = serve(story.folder.path().to_owned(), header.into());
    let url = format!("http://127.0.0.1:{port}/bare.git");

    let token = || Some(GitToken::new("secret-1"));
    let repository = story.repository_at(&url, "main", token());
    assert_eq!(repository.head().unwrap(), commit);
    // This server knows neither shallow history nor commits by name.
    repository.fetch(&commit).unwrap();
    assert_eq!(
        repository.tree(&commit, &story.artifacts, &TreeLimits::default()).unwrap().tree.files().len(),
        1
    );
    assert!(!format!("{repository:?}").contains("secret-1"));

    for (url, token) in [(url.clone(), None), (url, Some(GitToken::new("secret-2")))] {
        let refused = story.repository_at(&url, "main", token).head();
        let Err(GitError::Failed { detail, .. }) = &refused else { panic!("{refused:?}") };
        assert!(detail.contains("403") && !detail.contains("secret"), "{detail}");
    }
    // A redirect is not followed, so a token goes to no other place.
    let asked_before = asked.lock().unwrap().len();
    let moved = story.repository_at(&format!("http://127.0.0.1:{port}/moved"), "main", token()).head();
    assert!(matches!(moved, Err(GitError::Failed { .. })), "{moved:?}");
    assert!(asked.lock().unwrap()[asked_before..].iter().all(|path| path.starts_with("/moved/")));
}
