//! The key that route documents are signed with: a file that only its owner reads.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use thiserror::Error;

use crate::files::{self, Draft};
use crate::ids::operating_system_randomness;

const KEY_BYTES: usize = 32;

/// Signs and verifies. What it holds is never shown.
pub(super) struct Key(Hmac<Sha256>);

/// Why the key cannot be used.
#[derive(Debug, Error)]
pub enum KeyError {
    #[error("cannot use the key {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("the key {} can be read by others; type `chmod 600 {}`", path.display(), path.display())]
    Mode { path: PathBuf },
    #[error("the key {} has not exactly {KEY_BYTES} bytes", path.display())]
    Length { path: PathBuf },
}

impl Key {
    /// The key in `path`, which is made when it is not there. One process at a time: the caller holds a lock.
    pub(super) fn open(path: &Path) -> Result<Self, KeyError> {
        let io = |source| KeyError::Io { path: path.to_owned(), source };
        let file = match files::open_regular(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::make(path).map_err(io),
            file => file.map_err(io)?,
        };
        if is_open_to_others(&file).map_err(io)? {
            return Err(KeyError::Mode { path: path.to_owned() });
        }
        let mut bytes = Vec::new();
        file.take(KEY_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(io)?;
        let bytes: [u8; KEY_BYTES] =
            bytes.try_into().map_err(|_| KeyError::Length { path: path.to_owned() })?;
        Ok(Self::of(&bytes))
    }

    fn make(path: &Path) -> io::Result<Self> {
        let bytes = operating_system_randomness();
        let mut draft = Draft::create(files::folder_of(path))?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            draft.file().set_permissions(fs::Permissions::from_mode(0o600))?;
        }
        draft.write_all(&bytes)?;
        draft.publish(path)?;
        Ok(Self::of(&bytes))
    }

    fn of(bytes: &[u8; KEY_BYTES]) -> Self {
        // A key is filled up to a block of SHA-256 with zeros (RFC 2104).
        let mut block = [0; 64];
        block[..KEY_BYTES].copy_from_slice(bytes);
        Self(Hmac::new(&block.into()))
    }

    /// HMAC-SHA256 of `text` in hexadecimal.
    pub(super) fn sign(&self, text: &str) -> String {
        let mut mac = self.0.clone();
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether `signature` is that of `text`; how long it takes says nothing about where they differ.
    pub(super) fn signed(&self, text: &str, signature: &str) -> bool {
        self.sign(text).as_bytes().ct_eq(signature.as_bytes()).into()
    }
}

fn is_open_to_others(file: &File) -> io::Result<bool> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        Ok(file.metadata()?.mode() & 0o077 != 0)
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_hmac_sha_256() {
        // From `printf 'what do ya want for nothing?' | openssl dgst -sha256 -mac HMAC -macopt hexkey:0b...0b` (32 bytes).
        let key = Key::of(&[0x0b; KEY_BYTES]);
        let signature = "c3f2649c34ea24e4d62a2c7e868bbea0233c9d4c2cc300794db76aa18d6822d8";
        assert_eq!(key.sign("what do ya want for nothing?"), signature);
        assert!(key.signed("what do ya want for nothing?", signature));
        for wrong in ["", &signature[1..], &signature.to_uppercase(), &signature.replace('0', "1")] {
            assert!(!key.signed("what do ya want for nothing?", wrong), "{wrong}");
        }
        assert!(!key.signed("what do ya want for nothing!", signature));
    }

    #[test]
    fn the_first_to_open_makes_the_key_and_others_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("routes.key");
        let made = Key::open(&path).unwrap();
        assert_eq!(Key::open(&path).unwrap().sign("x"), made.sign("x"));
        assert_eq!(fs::read(&path).unwrap().len(), KEY_BYTES);
        let another = Key::open(&folder.path().join("another.key")).unwrap();
        assert_ne!(another.sign("x"), made.sign("x"));
    }

    #[test]
    #[cfg(unix)]
    fn a_key_that_others_can_read_or_that_was_cut_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("routes.key");
        Key::open(&path).unwrap();
        for mode in [0o640, 0o604, 0o660] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(matches!(Key::open(&path), Err(KeyError::Mode { .. })), "{mode:o}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for length in [0, KEY_BYTES - 1, KEY_BYTES + 1] {
            fs::write(&path, vec![7; length]).unwrap();
            assert!(matches!(Key::open(&path), Err(KeyError::Length { .. })), "{length}");
        }
    }
}
