use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use serin_core::clock::{ManualClock, Timestamp};
use serin_core::trigger::{DataVersion, Waker, WatchError, WatchLimits, Watcher};

struct Story {
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
}

impl Story {
    fn begin() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), clock: Arc::new(ManualClock::at(Timestamp(0))) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    fn watcher(&self, names: &[&str]) -> Watcher {
        let paths = names.iter().map(|name| self.path(name)).collect();
        Watcher::new(paths, None, WatchLimits::default(), self.clock.clone())
    }

    /// Looks after a second has passed.
    fn look(&self, watcher: &mut Watcher) -> Result<Option<DataVersion>, WatchError> {
        self.clock.advance(Duration::from_secs(1));
        watcher.look()
    }

    /// The version told within five looks.
    fn settled(&self, watcher: &mut Watcher) -> Option<DataVersion> {
        (0..5).find_map(|_| self.look(watcher).unwrap())
    }
}

fn names(version: &DataVersion) -> Vec<&str> {
    version.files.iter().map(|file| file.name.as_str()).collect()
}

#[test]
fn data_counts_once_it_stands_still() {
    let story = Story::begin();
    let mut file = fs::File::create(story.path("train.csv")).unwrap();
    let mut watcher = story.watcher(&["train.csv"]);
    // A copy in progress: every look finds more.
    for _ in 0..10 {
        file.write_all(b"1,2\n").unwrap();
        assert_eq!(story.look(&mut watcher).unwrap(), None);
    }
    assert_eq!(story.look(&mut watcher).unwrap(), None);
    let first = story.look(&mut watcher).unwrap().expect("unchanged for two seconds");
    assert_eq!((first.files[0].bytes, names(&first)), (40, vec!["0"]));
    assert_eq!(story.settled(&mut watcher), None);

    // The same content again is no news, and neither is another time of change.
    story.write("train.csv", &"1,2\n".repeat(10));
    assert_eq!(story.settled(&mut watcher), None);
    // Other content of the same size is.
    story.write("train.csv", &"3,4\n".repeat(10));
    let second = story.settled(&mut watcher).unwrap();
    assert_ne!(first.digest, second.digest);
    // Who was told before a restart is not told again.
    let paths = vec![story.path("train.csv")];
    let limits = WatchLimits::default();
    let mut restarted = Watcher::new(paths, Some(second.digest), limits, story.clock.clone());
    assert_eq!(story.settled(&mut restarted), None);
}

#[test]
fn looks_in_quick_succession_do_not_make_a_copy_look_finished() {
    let story = Story::begin();
    story.write("train.csv", "half of a li");
    let mut watcher = story.watcher(&["train.csv"]);
    for _ in 0..100 {
        story.clock.advance(Duration::from_millis(10));
        assert_eq!(watcher.look().unwrap(), None);
    }
    story.write("train.csv", "half of a line\n");
    assert_eq!(story.settled(&mut watcher).unwrap().files[0].bytes, 15);
}

#[test]
fn folders_and_patterns_are_sets_of_files() {
    let story = Story::begin();
    for name in
        ["in/a.csv", "in/deep/b.csv", "in/.hidden.csv", "in/c.csv.part", "x-1.csv", "x-2.csv", "y.csv"]
    {
        story.write(name, name);
    }
    symlink(story.path("y.csv"), story.path("in/link.csv")).unwrap();
    symlink("..", story.path("in/up")).unwrap();
    let mut watcher = story.watcher(&["in", "x-*.csv"]);
    let version = story.settled(&mut watcher).unwrap();
    assert_eq!(names(&version), ["0/a.csv", "0/deep/b.csv", "0/link.csv", "1/x-1.csv", "1/x-2.csv"]);

    // Links to folders are no way in for patterns either.
    let all = story.settled(&mut story.watcher(&["**/*.csv"])).unwrap();
    let expected = ["0/in/a.csv", "0/in/deep/b.csv", "0/in/link.csv", "0/x-1.csv", "0/x-2.csv", "0/y.csv"];
    assert_eq!(names(&all), expected);

    // Elsewhere the same data is the same version.
    let other = Story::begin();
    for (file, name) in
        version.files.iter().zip(["in/a.csv", "in/deep/b.csv", "in/link.csv", "x-1.csv", "x-2.csv"])
    {
        other.write(name, &fs::read_to_string(&file.path).unwrap());
    }
    let same = other.settled(&mut other.watcher(&["in", "x-*.csv"])).unwrap();
    assert_eq!(same.digest, version.digest);

    // A file more, a file less, another name: each is another version.
    story.write("x-3.csv", "x");
    let more = story.settled(&mut watcher).unwrap();
    fs::remove_file(story.path("x-3.csv")).unwrap();
    assert_eq!(story.settled(&mut watcher).unwrap().digest, version.digest);
    fs::rename(story.path("in/a.csv"), story.path("in/z.csv")).unwrap();
    let renamed = story.settled(&mut watcher).unwrap();
    assert!(renamed.digest != version.digest && renamed.digest != more.digest);

    // The folder replaced by another.
    fs::rename(story.path("in"), story.path("old")).unwrap();
    assert!(matches!(story.look(&mut watcher), Err(WatchError::Nothing { .. })));
    story.write("in/new.csv", "new");
    assert_eq!(names(&story.settled(&mut watcher).unwrap())[0], "0/new.csv");
}

#[test]
fn what_cannot_be_read_is_told_and_recovers() {
    let story = Story::begin();
    for (name, make) in [
        ("missing.csv", (|_| ()) as fn(&Path)),
        ("empty-folder", |path| fs::create_dir(path).unwrap()),
        ("*.none", |_| ()),
        ("only-hidden", |path| {
            fs::create_dir(path).unwrap();
            fs::write(path.join(".x"), "x").unwrap();
        }),
    ] {
        make(&story.path(name));
        let looked = story.look(&mut story.watcher(&[name]));
        assert!(matches!(looked, Err(WatchError::Nothing { .. })), "{name}: {looked:?}");
    }
    symlink("circle", story.path("circle")).unwrap();
    let looked = story.look(&mut story.watcher(&["circle"]));
    assert!(matches!(looked, Err(WatchError::Unreadable { .. })), "{looked:?}");
    fs::create_dir(story.path("in")).unwrap();
    symlink("self.csv", story.path("in/self.csv")).unwrap();
    let mut watcher = story.watcher(&["in"]);
    let looked = story.look(&mut watcher);
    assert!(matches!(looked, Err(WatchError::Unreadable { .. })), "{looked:?}");
    fs::remove_file(story.path("in/self.csv")).unwrap();
    story.write("in/a.csv", "a");
    assert!(story.settled(&mut watcher).is_some());

    story.write("x/[.csv", "a");
    assert!(story.settled(&mut story.watcher(&["x/[.csv"])).is_some());
    let looked = story.look(&mut story.watcher(&["x/[y.csv"]));
    assert!(matches!(looked, Err(WatchError::Pattern { .. })), "{looked:?}");
    story.write(&format!("{}a.csv", "d/".repeat(40)), "a");
    let looked = story.look(&mut story.watcher(&["d"]));
    assert!(matches!(looked, Err(WatchError::TooDeep { .. })), "{looked:?}");
}

#[test]
fn limits_are_kept() {
    let story = Story::begin();
    for number in 0..5 {
        story.write(&format!("in/{number}.csv"), "12345678");
    }
    let look = |files, bytes| {
        let limits = WatchLimits { files, bytes, ..WatchLimits::default() };
        Watcher::new(vec![story.path("in")], None, limits, story.clock.clone()).look()
    };
    assert!(matches!(look(5, 40), Ok(None)));
    assert!(matches!(look(4, 40), Err(WatchError::TooMany { limit: 4 })));
    assert!(matches!(look(5, 39), Err(WatchError::TooLarge { limit_bytes: 39 })));
}

#[test]
fn a_change_wakes_and_reading_does_not() {
    let story = Story::begin();
    story.write("in/a.csv", "a");
    story.write("b.csv", "b");
    let (sender, woken) = mpsc::channel();
    let paths = [story.path("in"), story.path("b.csv"), story.path("missing/x.csv")];
    let waker = Waker::start(&paths, move || {
        let _ = sender.send(());
    });
    assert_eq!(waker.unwatched(), [story.path("missing")]);
    let mut watcher = story.watcher(&["in", "b.csv"]);
    assert!(story.settled(&mut watcher).is_some());
    assert!(woken.recv_timeout(Duration::from_millis(300)).is_err(), "reading woke it");
    for name in ["in/a.csv", "in/new.csv", "b.csv"] {
        story.write(name, "changed");
        assert!(woken.recv_timeout(Duration::from_secs(5)).is_ok(), "{name}");
        while woken.recv_timeout(Duration::from_millis(200)).is_ok() {}
    }
}
