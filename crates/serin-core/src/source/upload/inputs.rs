//! The two JSON files of an upload.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::{RowSource, Unpacked, UploadError, UploadRules};
use crate::config::{ConfigError, Layers, Settings, closest};
use crate::source::tree::NamedFile;

/// The keys of `[train]` that an upload may set, and what each may be. That these are the settings' own rules is tested.
const ALLOWED: [(&str, &str); 10] = [
    ("budget", "a time such as \"60s\", \"5m\" or \"2h\", at most 168h"),
    ("calibrate", "true or false"),
    ("ensemble", "true or false"),
    ("families", "names of model families, separated by commas"),
    ("folds", "a whole number from 2 to 50"),
    ("metric", "a metric's name, such as \"macro-f1\""),
    ("preset", "\"auto\" or \"reference\""),
    ("seed", "a whole number from 0 to 9223372036854775807"),
    ("threads", "a whole number from 0 to 1024, where 0 means all cores"),
    ("trials", "a whole number from 0 to 10000, where 0 means by time"),
];

/// Longest value taken.
const VALUE_LONGEST_BYTES: usize = 1_000;

/// Numbers up to this one are whole in every program's JSON.
const LARGEST_EXACT: f64 = 9_007_199_254_740_992.0;

/// What `inputData.json` names, not looked up yet.
#[derive(Debug, Default)]
pub(super) struct NamedRows {
    train: Option<String>,
    test: Option<String>,
    baseline: Option<String>,
}

/// Reads `hyperparameters.json`: a flat object whose values are texts, numbers, `true` or `false`.
pub(super) fn hyperparameters(document: Option<&[u8]>) -> Result<BTreeMap<String, String>, UploadError> {
    let refused = |key: &str, problem: String| UploadError::Hyperparameter {
        key: key.chars().take(100).collect(),
        problem,
        allowed: allowed(key),
    };
    let document = document.ok_or_else(|| refused("the file", "is missing".into()))?;
    let fields = fields(document).map_err(|Unread { key, problem }| {
        refused(if key.is_empty() { "the file" } else { &key }, problem)
    })?;
    let mut checked = BTreeMap::new();
    for (key, value) in fields {
        let text = match value {
            Value::String(text) if text.len() <= VALUE_LONGEST_BYTES => text,
            Value::String(_) => return Err(refused(&key, "is too long".into())),
            Value::Bool(value) => value.to_string(),
            Value::Number(number) => match number.as_f64() {
                // Some programs write every number with a fraction.
                Some(value) if number.is_f64() && value.fract() == 0.0 && value.abs() <= LARGEST_EXACT => {
                    format!("{value:.0}")
                }
                _ => number.to_string(),
            },
            _ => return Err(refused(&key, "is neither a text nor a number".into())),
        };
        if !ALLOWED.iter().any(|(known, _)| *known == key) {
            return Err(refused(&key, "is no such setting".into()));
        }
        accept(&key, &text).map_err(|problem| refused(&key, problem))?;
        checked.insert(key, text);
    }
    Ok(checked)
}

/// Asks the settings themselves, as if the value stood in a variable of the environment.
fn accept(key: &str, text: &str) -> Result<(), String> {
    let variable = (format!("SERIN_TRAIN_{}", key.to_ascii_uppercase()), text.to_owned());
    match Settings::load(&Layers { environment: vec![variable], ..Layers::default() }) {
        Ok(_) => Ok(()),
        Err(ConfigError::Value { problem, .. }) => Err(problem),
        Err(other) => Err(other.to_string()),
    }
}

fn allowed(key: &str) -> String {
    let known = ALLOWED.iter().find(|(known, _)| *known == key);
    match (known, closest(key, ALLOWED.iter().map(|(known, _)| *known))) {
        (Some((_, allowed)), _) => (*allowed).to_owned(),
        (None, Some(meant)) => format!("{meant:?} if that is what is meant"),
        (None, None) => {
            let keys: Vec<&str> = ALLOWED.iter().map(|(known, _)| *known).collect();
            format!("an object with some of {}", keys.join(", "))
        }
    }
}

/// Reads `inputData.json`.
pub(super) fn named_rows(document: Option<&[u8]>) -> Result<NamedRows, UploadError> {
    let refused = |problem: String| UploadError::Inputs { problem };
    let document = document.ok_or_else(|| refused("is missing".into()))?;
    let mut named = NamedRows::default();
    let fields = fields(document).map_err(|Unread { key, problem }| refused(format!("{key} {problem}")))?;
    for (key, value) in fields {
        let Value::String(text) = value else { return Err(refused(format!("{key} is not a text"))) };
        match key.as_str() {
            "TrainingUri" => named.train = Some(text),
            "TestUri" => named.test = Some(text),
            "BaselineUri" => named.baseline = Some(text),
            _ => {
                return Err(refused(format!(
                    "{key:?} is unknown; it has TrainingUri, TestUri and BaselineUri"
                )));
            }
        }
    }
    Ok(named)
}

impl NamedRows {
    /// Finds what is named, in the order training, test, baseline; every file of rows must be named.
    pub fn resolve(
        self,
        unpacked: &[Unpacked],
        rules: UploadRules,
    ) -> Result<[Option<RowSource>; 3], UploadError> {
        let refused = |problem: String| UploadError::Inputs { problem };
        let named = [self.train, self.test, self.baseline];
        if named[0].is_none() {
            return Err(refused("TrainingUri is missing".into()));
        }
        let is_named = |file: &Unpacked| named.iter().flatten().any(|name| *name == file.name);
        if let Some(file) = unpacked.iter().find(|file| !is_named(file)) {
            return Err(refused(format!("nothing names {:?}, which is in the archive", file.name)));
        }
        let mut resolved = [None, None, None];
        for (slot, name) in resolved.iter_mut().zip(named) {
            *slot = name.map(|name| row_source(name, unpacked, rules)).transpose()?;
        }
        Ok(resolved)
    }
}

fn row_source(name: String, unpacked: &[Unpacked], rules: UploadRules) -> Result<RowSource, UploadError> {
    if let Some(Unpacked { staged, .. }) = unpacked.iter().find(|file| file.name == name) {
        return Ok(RowSource::File { name, digest: staged.digest(), bytes: staged.bytes() });
    }
    let shown: String = name.chars().take(200).collect();
    let refused = |problem: &str| UploadError::Inputs { problem: format!("{shown:?} {problem}") };
    if name.contains("://") {
        return Err(refused("is an address; rows come from the archive or from this machine"));
    }
    if !rules.allow_paths {
        return Err(refused("is not in the archive, and paths are not allowed here"));
    }
    match NamedFile::new(name.strip_prefix('/').unwrap_or(&name)) {
        Ok(_) => Ok(RowSource::Path { path: name }),
        Err(_) => Err(refused("is not a path that leads straight down")),
    }
}

/// Why an object could not be read, and at which key.
struct Unread {
    key: String,
    problem: String,
}

/// The fields of a flat object. A key that is there twice is refused: readers differ in which value they take.
fn fields(document: &[u8]) -> Result<Vec<(String, Value)>, Unread> {
    struct Fields<'a> {
        at: &'a mut String,
    }
    impl<'de> Visitor<'de> for Fields<'_> {
        type Value = Vec<(String, Value)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
            let mut fields: Vec<(String, Value)> = Vec::new();
            while let Some(key) = map.next_key::<String>()? {
                self.at.clone_from(&key);
                if fields.iter().any(|(known, _)| *known == key) {
                    map.next_value::<IgnoredAny>()?;
                    return Err(serde::de::Error::custom("is there twice"));
                }
                let value = map.next_value()?;
                fields.push((key, value));
            }
            self.at.clear();
            Ok(fields)
        }
    }
    impl<'de> DeserializeSeed<'de> for Fields<'_> {
        type Value = Vec<(String, Value)>;

        fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
            deserializer.deserialize_map(self)
        }
    }
    let mut at = String::new();
    let mut reader = serde_json::Deserializer::from_slice(document);
    let read = Fields { at: &mut at }.deserialize(&mut reader);
    let read = read.and_then(|fields| reader.end().map(|()| fields));
    read.map_err(|error| Unread { key: at, problem: format!("cannot be read: {error}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<BTreeMap<String, String>, String> {
        hyperparameters(Some(text.as_bytes())).map_err(|error| error.to_string())
    }

    #[test]
    fn numbers_and_texts_mean_the_same() {
        let texts = r#"{"trials": "50", "ensemble": "false", "budget": "30s", "seed": "7", "families": "logistic,boosting"}"#;
        let numbers = r#"{"trials": 50.0, "ensemble": false, "budget": "30s", "seed": 7, "families": "logistic,boosting"}"#;
        let expected = [
            ("budget", "30s"),
            ("ensemble", "false"),
            ("families", "logistic,boosting"),
            ("seed", "7"),
            ("trials", "50"),
        ];
        let expected: BTreeMap<String, String> =
            expected.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        assert_eq!(read(texts), Ok(expected.clone()));
        assert_eq!(read(numbers), Ok(expected));
        assert_eq!(read("{}"), Ok(BTreeMap::new()));
    }

    #[test]
    fn what_is_said_to_be_allowed_is_what_the_settings_allow() {
        for (key, good, bad) in [
            ("budget", &["60s", "168h"][..], &["169h", "0s", "60", "-1s"][..]),
            ("calibrate", &["true"], &["yes", "1"]),
            ("ensemble", &["false"], &["no", ""]),
            ("families", &["boosting"], &["boosting,none", ""]),
            ("folds", &["2", "50"], &["1", "51", "5.5"]),
            ("metric", &["macro-f1"], &["macro-f2"]),
            ("preset", &["auto", "reference"], &["best"]),
            ("seed", &["0", "9223372036854775807"], &["-1", "9223372036854775808"]),
            ("threads", &["0", "1024"], &["1025", "-1"]),
            ("trials", &["0", "10000"], &["10001", "-1", "1000000000"]),
        ] {
            assert!(ALLOWED.iter().any(|(known, _)| *known == key), "{key}");
            for value in good {
                assert_eq!(accept(key, value), Ok(()), "{key} = {value}");
            }
            for value in bad {
                assert!(accept(key, value).is_err(), "{key} = {value}");
                let refused = read(&serde_json::json!({ key: value }).to_string()).unwrap_err();
                assert!(
                    refused.contains(&format!("{key}: ")) && refused.contains(&allowed(key)),
                    "{refused}"
                );
            }
        }
    }

    #[test]
    fn the_key_that_cannot_be_used_is_named() {
        for (text, expected) in [
            ("", "the file: cannot be read"),
            ("[1]", "the file: cannot be read"),
            (r#"{"trials": 1e400}"#, "trials: cannot be read: number out of range"),
            (r#"{"trials": -1}"#, "from 0 to 10000"),
            (r#"{"trials": 1000000000}"#, "from 0 to 10000"),
            (r#"{"trials": [1]}"#, "trials: is neither a text nor a number"),
            (r#"{"trials": null}"#, "trials: is neither a text nor a number"),
            (r#"{"trials": 1, "trials": 2}"#, "trials: cannot be read: is there twice"),
            (r#"{"n_estimators": -1}"#, "n_estimators: is no such setting"),
            (r#"{"trails": 3}"#, "write \"trials\" if that is what is meant"),
            (r#"{"trials": 1} {}"#, "the file: cannot be read"),
            (r#"{"trials": 1.5}"#, "trials: has the wrong type"),
        ] {
            let refused = read(text).unwrap_err();
            assert!(refused.contains(expected), "{text}: {refused}");
        }
        assert!(hyperparameters(None).unwrap_err().to_string().contains("is missing"));
    }
}
