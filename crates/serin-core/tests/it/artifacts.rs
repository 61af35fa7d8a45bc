//! Artifacts: whole or absent, checked whenever they are read, one for one content.

use std::fs;
use std::io::{self, Read, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;

use serin_core::artifacts::{ArtifactError, Artifacts, Usage};
use serin_core::clock::{Clock as _, SystemClock};
use serin_core::digest::Digest;
use tempfile::TempDir;

fn opened() -> (TempDir, Artifacts) {
    let folder = tempfile::tempdir().unwrap();
    let artifacts = Artifacts::open(folder.path(), SystemClock::new().now()).unwrap();
    (folder, artifacts)
}

fn drafts(folder: &TempDir) -> Vec<PathBuf> {
    let drafts = fs::read_dir(folder.path().join("artifacts/tmp")).unwrap();
    drafts.map(|entry| entry.unwrap().path()).collect()
}

/// Overwrites a stored file as a failing disk would.
fn damage(path: &Path, bytes: &[u8]) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn content_is_stored_once_under_its_digest() {
    let (folder, artifacts) = opened();
    let digest = artifacts.put(b"a model").unwrap();
    assert_eq!(digest, Digest::of(b"a model"));
    let path = artifacts.path(&digest);
    let name = digest.to_string();
    assert_eq!(path, folder.path().join("artifacts/sha256").join(&name[..2]).join(&name));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o444);

    assert_eq!(artifacts.put_reader(&b"a model"[..], 7).unwrap(), (digest, 7));
    let source = folder.path().join("model.serin");
    fs::write(&source, "a model").unwrap();
    assert_eq!(artifacts.put_file(&source, 1 << 20).unwrap(), (digest, 7));
    assert_eq!(artifacts.usage().unwrap(), Usage { artifacts: 1, bytes: 7 });
    assert_eq!(artifacts.read(&digest, 7).unwrap(), b"a model");

    let copy = folder.path().join("copy");
    artifacts.copy_to(&digest, &copy).unwrap();
    assert_eq!(fs::read(&copy).unwrap(), b"a model");
    fs::write(&copy, "a copy can be written to").unwrap();

    assert!(artifacts.remove(&digest).unwrap());
    assert!(!artifacts.remove(&digest).unwrap());
    assert!(!artifacts.has(&digest));
    assert!(matches!(artifacts.read(&digest, 7), Err(ArtifactError::Missing { .. })));
    assert_eq!(drafts(&folder), [] as [PathBuf; 0]);
}

#[test]
fn a_flipped_bit_is_noticed_and_putting_the_content_again_repairs_it() {
    let (folder, artifacts) = opened();
    let digest = artifacts.put(b"golden").unwrap();
    for damaged in [&b"golddn"[..], b"gold", b"", b"golden and more"] {
        damage(&artifacts.path(&digest), damaged);
        let copy = folder.path().join("copy");
        let refused = [
            artifacts.read(&digest, 100).err(),
            artifacts.open_verified(&digest).err(),
            artifacts.copy_to(&digest, &copy).err(),
        ];
        for error in refused {
            assert!(matches!(error, Some(ArtifactError::Damaged { .. })), "{damaged:?}: {error:?}");
        }
        assert!(!copy.exists());
        assert_eq!(artifacts.put(b"golden").unwrap(), digest);
        let mut text = String::new();
        artifacts.open_verified(&digest).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "golden");
    }
}

#[test]
fn what_is_too_large_or_breaks_off_leaves_nothing() {
    struct BreaksOff(usize);
    impl Read for BreaksOff {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.0 -= 1;
            match self.0 {
                0 => Err(io::ErrorKind::ConnectionReset.into()),
                _ => Ok(into.len()),
            }
        }
    }
    let (folder, artifacts) = opened();
    let refused = artifacts.put_reader(BreaksOff(5), u64::MAX);
    assert!(matches!(refused, Err(ArtifactError::Source(_))), "{refused:?}");
    let refused = artifacts.put_reader(io::repeat(7), 1_000_000);
    assert!(matches!(refused, Err(ArtifactError::TooLarge { limit_bytes: 1_000_000 })), "{refused:?}");
    assert!(matches!(artifacts.put_file(folder.path(), 10), Err(ArtifactError::Source(_))));
    let digest = artifacts.put(b"four").unwrap();
    assert!(matches!(artifacts.read(&digest, 3), Err(ArtifactError::TooLarge { limit_bytes: 3 })));
    assert_eq!(artifacts.list().unwrap().len(), 1);
    assert_eq!(drafts(&folder), [] as [PathBuf; 0]);
}

#[test]
fn many_writers_of_one_content_agree() {
    let (folder, artifacts) = opened();
    let content: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let digests: Vec<Digest> = thread::scope(|scope| {
        let writers: Vec<_> = (0..8).map(|_| scope.spawn(|| artifacts.put(&content).unwrap())).collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    assert!(digests.iter().all(|digest| *digest == Digest::of(&content)));
    assert_eq!(artifacts.usage().unwrap(), Usage { artifacts: 1, bytes: content.len() as u64 });
    assert_eq!(drafts(&folder), [] as [PathBuf; 0]);
}

#[test]
fn drafts_of_writers_that_died_go_after_an_hour_and_strangers_are_passed_over() {
    let (folder, artifacts) = opened();
    let digest = artifacts.put(b"kept").unwrap();
    let now = SystemClock::new().now();
    for (name, age_minutes) in [(".1-0.tmp", 59), (".1-1.tmp", 61)] {
        let mut draft = fs::File::create(folder.path().join("artifacts/tmp").join(name)).unwrap();
        draft.write_all(b"half").unwrap();
        let written = std::time::UNIX_EPOCH + std::time::Duration::from_micros(now.0.unsigned_abs());
        draft.set_modified(written - std::time::Duration::from_secs(age_minutes * 60)).unwrap();
    }
    let shard = artifacts.path(&digest).parent().unwrap().to_owned();
    fs::write(shard.join("README"), "not ours").unwrap();
    fs::write(shard.join("0".repeat(64)), "in a folder that is not its own").unwrap();
    fs::write(folder.path().join("artifacts/sha256/stray"), "not ours").unwrap();

    let artifacts = Artifacts::open(folder.path(), now).unwrap();
    assert_eq!(drafts(&folder), [folder.path().join("artifacts/tmp/.1-0.tmp")]);
    let found: Vec<_> = artifacts.list().unwrap().into_iter().map(|found| found.digest).collect();
    assert_eq!(found, [digest]);
}
