//! Typed ids.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;
use serin_ml::seed::Seed;
use thiserror::Error;
use uuid::{NoContext, Uuid};

use crate::clock::Clock;
use crate::digest::Hasher;

/// The name of one request and its answer: a UUIDv7 that we made, or what the caller gave.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InferenceId(String);

/// Why a caller's inference id was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidInferenceId {
    /// Empty or too long.
    #[error("an inference id has 1 to {} characters, this one has {characters}", InferenceId::LONGEST)]
    Length { characters: usize },
    /// A control character, a byte outside ASCII, or a space in front.
    #[error(
        "an inference id is printable ASCII that does not begin with a space; character {position} is not"
    )]
    Character { position: usize },
    /// It looks like the id of one row of a batch.
    #[error("an inference id must not end in a slash and digits: that is how the rows of a batch are named")]
    RowOfBatch,
}

/// Makes UUIDv7 ids: sorted by time, unguessable enough not to collide, never looked at for secrecy.
#[derive(Debug)]
pub struct InferenceIds {
    clock: Arc<dyn Clock>,
    random: Mutex<ChaCha8Rng>,
}

impl InferenceId {
    /// SageMaker's limit for the header that carries it.
    pub const LONGEST: usize = 64;

    /// The id a caller sent.
    ///
    /// # Errors
    /// When it is not 1 to 64 printable characters (SageMaker's `\A\S[\p{Print}]*\z`, ASCII only), or could be
    /// mistaken for the row of a batch, which would make two rows of the inference table claim one id.
    pub fn from_caller(text: &str) -> Result<Self, InvalidInferenceId> {
        if text.is_empty() || text.len() > Self::LONGEST {
            return Err(InvalidInferenceId::Length { characters: text.chars().count() });
        }
        let refused = |(i, byte): (usize, u8)| !(byte.is_ascii_graphic() || (byte == b' ' && i > 0));
        if let Some(position) = text.bytes().enumerate().position(refused) {
            return Err(InvalidInferenceId::Character { position });
        }
        if let Some((_, tail)) = text.rsplit_once('/')
            && !tail.is_empty()
            && tail.bytes().all(|byte| byte.is_ascii_digit())
        {
            return Err(InvalidInferenceId::RowOfBatch);
        }
        Ok(Self(text.to_owned()))
    }

    /// An id that was stored, whoever made it.
    #[must_use]
    pub fn from_stored(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Whether it is of the form that we make.
    #[must_use]
    pub fn is_uuid_v7(&self) -> bool {
        Uuid::try_parse(&self.0).is_ok_and(|uuid| uuid.get_version_num() == 7)
    }

    /// A UUID for systems that want one: the id itself, or, for what a caller chose, a UUIDv8 that follows from it.
    #[must_use]
    pub fn as_event_id(&self) -> String {
        if self.is_uuid_v7() {
            return self.0.clone();
        }
        let half = |name: &str| Seed(0).child(name).child(&self.0).0.to_be_bytes();
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&half("event id, first half"));
        bytes[8..].copy_from_slice(&half("event id, second half"));
        uuid::Builder::from_custom_bytes(bytes).into_uuid().hyphenated().to_string()
    }

    /// The id as it travels and is stored.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InferenceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl InferenceIds {
    /// Ids that follow from the clock and the seed alone.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, seed: Seed) -> Self {
        Self { clock, random: Mutex::new(seed.child("inference ids").rng()) }
    }

    /// Ids no other process makes: the seed is the operating system's randomness.
    #[must_use]
    pub fn from_entropy(clock: Arc<dyn Clock>) -> Self {
        let bits = operating_system_randomness().into_iter().take(8);
        Self::new(clock, Seed(bits.fold(0, |seed, byte| seed << 8 | u64::from(byte))))
    }

    /// The next id.
    #[must_use]
    pub fn next(&self) -> InferenceId {
        InferenceId(self.next_uuid().hyphenated().to_string())
    }

    /// The next id, bare.
    #[must_use]
    pub fn next_uuid(&self) -> Uuid {
        let mut bytes = [0; 10];
        self.random.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(&mut bytes);
        let milliseconds = u64::try_from(self.clock.now().0 / 1_000).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(milliseconds, &bytes).into_uuid()
    }
}

/// 256 bits of the operating system's randomness, by way of the random parts of UUIDs.
#[must_use]
pub fn operating_system_randomness() -> [u8; 32] {
    let mut hasher = Hasher::default();
    for _ in 0..8 {
        // At least 62 bits of each are random.
        hasher.update(Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, 0, 0)).as_bytes());
    }
    *hasher.finish().as_bytes()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;
    use crate::clock::{ManualClock, Timestamp};

    #[test]
    fn made_ids_are_uuid_version_7_in_the_order_of_time() {
        let clock = Arc::new(ManualClock::at(Timestamp(1_700_000_000_000_000)));
        let ids = InferenceIds::new(clock.clone(), Seed(17));
        let first = ids.next();
        clock.advance(Duration::from_millis(1));
        let second = ids.next();
        assert!(first < second, "{first} before {second}");
        assert_eq!(Uuid::parse_str(first.as_str()).unwrap().get_version_num(), 7);
        assert_eq!(InferenceId::from_caller(first.as_str()), Ok(first));
    }

    #[test]
    fn many_ids_within_one_millisecond_are_distinct_and_two_processes_differ() {
        let clock = Arc::new(ManualClock::at(Timestamp(1_700_000_000_000_000)));
        let ids = InferenceIds::from_entropy(clock.clone());
        let other = InferenceIds::from_entropy(clock);
        let mut seen = BTreeSet::new();
        for _ in 0..100_000 {
            assert!(seen.insert(ids.next_uuid()));
            assert!(seen.insert(other.next_uuid()));
        }
    }

    #[test]
    fn an_event_id_is_the_id_itself_or_follows_from_it() {
        let ours = "018bcfe5-687b-7000-8000-000000000001";
        assert_eq!(InferenceId::from_stored(ours).as_event_id(), ours);
        let theirs = InferenceId::from_stored("r-17");
        let event = Uuid::parse_str(&theirs.as_event_id()).unwrap();
        assert_eq!(event.get_version_num(), 8);
        assert_eq!(theirs.as_event_id(), event.to_string());
        assert_ne!(InferenceId::from_stored("r-18").as_event_id(), event.to_string());
    }

    #[test]
    fn a_callers_id_is_checked() {
        for good in ["r-17", "a", &"x".repeat(64), "two words", "a/b", "2024/x1"] {
            assert!(InferenceId::from_caller(good).is_ok(), "{good:?}");
        }
        for (bad, why) in [
            ("", InvalidInferenceId::Length { characters: 0 }),
            (&"x".repeat(65), InvalidInferenceId::Length { characters: 65 }),
            (" a", InvalidInferenceId::Character { position: 0 }),
            ("a\nb", InvalidInferenceId::Character { position: 1 }),
            ("é", InvalidInferenceId::Character { position: 0 }),
            ("batch/12", InvalidInferenceId::RowOfBatch),
        ] {
            assert_eq!(InferenceId::from_caller(bad), Err(why), "{bad:?}");
        }
    }
}
