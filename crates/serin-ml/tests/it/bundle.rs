//! The bundle: what goes in comes out bit for bit, and nothing that was damaged, cut, foreign or crafted is believed.

use std::path::PathBuf;

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use serin_ml::dataset::Dataset;
use serin_ml::forest::read_foreign;
use serin_ml::matrix::Matrix;
use serin_ml::model::{
    Bundle, BundleError, ContainerError, Contents, FORMAT, Golden, GoldenError, GoldenRows, Note,
};
use serin_ml::observer::Silent;
use serin_ml::prepare::Recipe;
use serin_ml::profile::{DatasetProfile, ProfileOptions};
use serin_ml::seed::Seed;
use serin_ml::train::calibration::Calibration;
use serin_ml::train::{Member, Predictor, Scope, SelectSettings, TrainingRows, select};

use crate::search::{contents, digits, model, settings};

/// Few rows and features with missing values, so that a bundle is small.
pub fn data() -> Dataset {
    let mut data = digits(10);
    data.schema.fields = data.schema.fields[18..30].to_vec();
    data.columns = data.columns[18..30].to_vec();
    data.columns[2].iter_mut().step_by(7).for_each(|value| *value = f64::NAN);
    data.columns[3].iter_mut().step_by(4).for_each(|value| *value = -0.5);
    data
}

/// Every family, each behind another recipe, so that every kind of model and of step is in some bundle.
pub fn every_kind(data: &Dataset) -> Vec<Contents> {
    let impute = json!({"step": "impute", "strategy": "median", "indicators": true});
    let filled = json!({"step": "impute", "strategy": "constant", "value": 2.5});
    let selected = json!({"step": "select-importance", "max_count": 5});
    let cases = [
        (
            json!({"family": "boosting", "rounds": 3}),
            json!([{"step": "drop-constants"}, {"step": "class-weights"}]),
        ),
        (
            json!({"family": "random-forest", "trees": 3}),
            json!([{"step": "resample", "method": "random-over"}]),
        ),
        (
            json!({"family": "extra-trees", "trees": 3}),
            json!([impute, {"step": "scale", "method": "robust"}]),
        ),
        (json!({"family": "logistic"}), json!([impute, {"step": "scale", "method": "yeo-johnson"}])),
        (json!({"family": "neighbours"}), json!([filled, {"step": "scale", "method": "min-max"}])),
        (json!({"family": "naive-bayes"}), json!([filled, {"step": "drop-correlated", "threshold": 0.8}])),
        (json!({"family": "majority"}), json!([])),
        (
            json!({"family": "logistic", "penalty": 0.1}),
            json!([impute, selected, {"step": "pca", "components": 3}]),
        ),
    ];
    cases.into_iter().map(|(family, steps)| trained(data, family, steps)).collect()
}

fn trained(data: &Dataset, family: Value, steps: Value) -> Contents {
    let document = serde_json::Map::from_iter([("steps".to_owned(), steps)]);
    let recipe: Recipe = serde_json::from_value(document.into()).unwrap();
    let scope = Scope::Fixed { recipe: Some(recipe), model: Some(model(family)) };
    let x = data.features();
    let y = &data.labels.as_ref().unwrap().codes;
    let rows = TrainingRows { x: &x, y, n_classes: 3, weights: None, groups: None, times: None };
    let selected = select(&rows, &SelectSettings { scope, ..settings() }, &Silent).unwrap();
    assert!(selected.leaderboard.rows.iter().all(|row| row.reason.is_none()), "{:?}", selected.leaderboard);
    contents(data, &selected)
}

/// All of them in one ensemble, with a baseline.
pub fn ensemble(data: &Dataset, kinds: &[Contents]) -> Contents {
    let share = 1.0 / kinds.len() as f64;
    let members: Vec<Member> =
        kinds.iter().map(|kind| Member { weight: share, ..kind.predictor.members[0].clone() }).collect();
    let predictor =
        Predictor { members, calibration: Calibration::Temperature(1.5), ..kinds[0].predictor.clone() };
    Contents {
        golden: Golden::ask(&predictor, &data.features()),
        predictor,
        baseline: Some(DatasetProfile::of_classes(data, &ProfileOptions::default())),
        ..kinds[0].clone()
    }
}

#[test]
fn what_goes_in_comes_out_bit_for_bit() {
    let data = data();
    let mut all = every_kind(&data);
    all.push(ensemble(&data, &all));
    let x = odd_rows(data.columns.len(), &data.features());
    for contents in all {
        let bundle = Bundle::new(contents.clone()).unwrap();
        let bytes = bundle.encode().unwrap();
        let again = Bundle::decode(&bytes).unwrap();
        assert_eq!((again.digest(), again.encode().unwrap() == bytes), (bundle.digest(), true));
        let (before, after) = (bundle.predictor.predict(&x), again.predictor.predict(&x));
        let bits = |matrix: &Matrix| matrix.values().iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!((bits(&before.0), before.1), (bits(&after.0), after.1));
        assert_eq!((&again.card, &again.predictor), (&contents.card, &contents.predictor));
        assert_eq!((again.baseline, again.golden), (contents.baseline.clone(), contents.golden.clone()));

        let note = Note {
            created: Some("2026-11-22T15:00:00Z".to_owned()),
            sources: vec!["a.csv".to_owned()],
            seconds: vec![("search".to_owned(), 12.5)],
        };
        let noted = Bundle::new(Contents { note: note.clone(), ..contents.clone() }).unwrap();
        let noted = Bundle::decode(&noted.encode().unwrap()).unwrap();
        assert_eq!(
            (noted.digest(), &noted.note),
            (bundle.digest(), &note),
            "a note changes nothing but itself"
        );
        let mut renamed = contents;
        renamed.card.name = "other".to_owned();
        assert_ne!(Bundle::new(renamed).unwrap().digest(), bundle.digest());
    }
}

#[test]
fn every_cut_and_every_flipped_bit_is_refused() {
    let data = data();
    let bytes = Bundle::new(ensemble(&data, &every_kind(&data))).unwrap().encode().unwrap();
    let cuts = (0..300).chain((300..bytes.len()).step_by(bytes.len() / 300)).chain([bytes.len() - 1]);
    for length in cuts {
        assert!(Bundle::decode(&bytes[..length]).is_err(), "cut to {length} bytes");
    }
    let mut rng = Seed(3).rng();
    for _ in 0..2_000 {
        let mut flipped = bytes.clone();
        let position = rng.random_range(0..bytes.len());
        flipped[position] ^= 1 << rng.random_range(0..8);
        assert!(Bundle::decode(&flipped).is_err(), "byte {position}");
    }
    let longer = [bytes.as_slice(), b"\0"].concat();
    assert!(matches!(
        Bundle::decode(&longer),
        Err(BundleError::Container(ContainerError::Trailing { extra: 1 }))
    ));
}

#[test]
fn foreign_and_newer_files_are_told_apart() {
    let zip = b"PK\x03\x04\x14\0\0\0\x08\0model.pkl".as_slice();
    let pickle = b"\x80\x04\x95\x1e\0\0\0\0\0\0\0\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.".as_slice();
    let gzip = b"\x1f\x8b\x08\0\0\0\0\0\0\x03".as_slice();
    for foreign in
        [b"".as_slice(), b"SER", b"{\"version\": 1}", zip, pickle, gzip, b"SERIN\r\n", b"serin\0\x01\0"]
    {
        let error = Bundle::decode(foreign).unwrap_err();
        assert!(
            matches!(error, BundleError::Container(ContainerError::NotABundle)),
            "{foreign:?}: {error:?}"
        );
    }
    let mut bytes = Bundle::new(every_kind(&data()).remove(6)).unwrap().encode().unwrap();
    bytes[6..8].copy_from_slice(&(FORMAT + 1).to_le_bytes());
    let error = Bundle::decode(&bytes).unwrap_err();
    assert!(error.to_string().contains("use a newer serin"), "{error}");

    bytes[6..8].copy_from_slice(&1_u16.to_le_bytes());
    let error = Bundle::decode(&bytes).unwrap_err();
    assert!(error.to_string().contains("bundle format 1 is older than this build reads"), "{error}");

    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().to_owned(), folder.path().join("absent.serin")] {
        assert!(matches!(Bundle::read(&path), Err(BundleError::Unreadable(_))), "{}", path.display());
    }
}

/// The first bundles of this format, made by this test with SERIN_WRITE_EXAMPLES set: as long as the number of the format is
/// the same, they must load, give their golden answers and be written again as they are.
#[test]
fn examples_of_the_format_stay_readable() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let (trained, imported) =
        (format!("bundle-{FORMAT}-trained.serin"), format!("bundle-{FORMAT}-imported.serin"));
    if std::env::var_os("SERIN_WRITE_EXAMPLES").is_some() {
        let (data, file) = (data(), folder.join("foreign/lightgbm-categories.txt"));
        let whole = Contents { baseline: None, ..ensemble(&data, &every_kind(&data)) };
        let whole = Bundle::new(whole).unwrap();
        let model = read_foreign(&std::fs::read(file).unwrap()).unwrap();
        let rows =
            Matrix::new(3, model.n_features(), (0..3 * model.n_features()).map(|i| i as f64).collect());
        let rows = GoldenRows { rows, expected: None };
        let foreign = Bundle::from_foreign(model, None, "categories", Some(&rows)).unwrap();
        for (name, bundle) in [(&trained, whole), (&imported, foreign)] {
            std::fs::write(folder.join("bundle").join(name), bundle.encode().unwrap()).unwrap();
        }
    }
    for (name, members, is_unverified) in [(trained, 8, false), (imported, 1, true)] {
        let bytes = std::fs::read(folder.join("bundle").join(&name)).unwrap();
        let bundle = Bundle::decode(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(
            (bundle.predictor.members.len(), bundle.is_unverified()),
            (members, is_unverified),
            "{name}"
        );
        assert!(!bundle.golden.rows.is_empty() && bundle.encode().unwrap() == bytes, "{name}");
    }
}

/// A bundle file taken apart, to be put together wrongly but with every hash right.
#[derive(Clone)]
struct Parts {
    sections: Vec<(String, Vec<u8>, bool)>,
}

impl Parts {
    fn of(contents: Contents) -> Self {
        let bytes = Bundle::new(contents).unwrap().encode().unwrap();
        let length = u32::from_le_bytes(bytes[8..12].try_into().unwrap()) as usize;
        let listed: Value = serde_json::from_slice(&bytes[44..44 + length]).unwrap();
        let mut rest = &bytes[44 + length..];
        let mut sections = Vec::new();
        for entry in listed["sections"].as_array().unwrap() {
            let (content, after) = rest.split_at(entry["length"].as_u64().unwrap() as usize);
            let is_digested = entry["digested"].as_bool().unwrap();
            sections.push((entry["name"].as_str().unwrap().to_owned(), content.to_vec(), is_digested));
            rest = after;
        }
        Self { sections }
    }

    fn pack(&self) -> Vec<u8> {
        let entry = |(name, content, digested): &(String, Vec<u8>, bool)| {
            let hash: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
            json!({"name": name, "length": content.len(), "sha256": hash, "digested": digested})
        };
        let listed = json!({"sections": self.sections.iter().map(entry).collect::<Vec<_>>()}).to_string();
        let mut bytes = b"SERIN\0".to_vec();
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(listed.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(&Sha256::digest(&listed));
        bytes.extend_from_slice(listed.as_bytes());
        self.sections.iter().for_each(|(_, content, _)| bytes.extend_from_slice(content));
        bytes
    }

    fn decode(&self) -> Result<Bundle, BundleError> {
        Bundle::decode(&self.pack())
    }

    fn names(&self) -> Vec<&str> {
        self.sections.iter().map(|(name, ..)| name.as_str()).collect()
    }

    fn section(&mut self, name: &str) -> &mut Vec<u8> {
        &mut self.sections.iter_mut().find(|(known, ..)| known == name).unwrap().1
    }

    fn with(&self, name: &str, content: Vec<u8>) -> Self {
        let mut other = self.clone();
        *other.section(name) = content;
        other
    }

    fn with_json(&self, name: &str, change: impl FnOnce(&mut Value)) -> Self {
        let mut other = self.clone();
        let mut document = serde_json::from_slice(other.section(name)).unwrap();
        change(&mut document);
        *other.section(name) = document.to_string().into_bytes();
        other
    }
}

#[test]
fn sections_must_be_there_once_and_in_their_place() {
    let data = data();
    let parts = Parts::of(ensemble(&data, &every_kind(&data)));
    assert_eq!(parts.names(), ["card", "predictor", "leaderboard", "baseline", "golden", "note"]);
    let digest = parts.decode().unwrap().digest().to_owned();
    for i in 0..parts.sections.len() {
        let mut without = parts.clone();
        let (name, content, _) = without.sections.remove(i);
        match without.decode() {
            Ok(bundle) => {
                assert!(name == "baseline" && bundle.baseline.is_none());
                assert_ne!(bundle.digest(), digest);
            }
            Err(error) => {
                assert!(matches!(error, BundleError::Missing(missing) if missing == name), "{error:?}");
            }
        }
        let mut twice = parts.clone();
        twice.sections.push((name.clone(), content.clone(), true));
        assert!(
            matches!(twice.decode(), Err(BundleError::Container(ContainerError::Contents { .. }))),
            "{name}"
        );
        // What the digest covers is not for the file to say: otherwise two contents could share one digest.
        let mut undigested = parts.clone();
        undigested.sections[i].2 = !undigested.sections[i].2;
        assert!(undigested.decode().is_err(), "{name}");
        for j in 0..i {
            let mut swapped = parts.clone();
            let other = swapped.sections[j].1.clone();
            swapped.sections[j].1 = std::mem::replace(&mut swapped.sections[i].1, other);
            let error = swapped.decode().err();
            assert!(matches!(error, Some(BundleError::Section(..))), "{name} and {j}: {error:?}");
        }
    }
    let mut slipped_in = parts.clone();
    slipped_in.sections.retain(|(name, ..)| name != "baseline");
    slipped_in.sections.push(("baseline".to_owned(), parts.sections[3].1.clone(), false));
    assert!(slipped_in.decode().is_err(), "a section outside the digest is not believed");
}

#[test]
fn card_predictor_and_golden_rows_must_agree() {
    let data = data();
    let parts = Parts::of(every_kind(&data).remove(3));
    let refusal =
        |name: &str, change: &dyn Fn(&mut Value)| parts.with_json(name, change).decode().unwrap_err();
    let class = refusal("card", &|card| card["classes"].as_array_mut().unwrap().push(json!("3")));
    assert!(matches!(class, BundleError::Shape("classes")), "{class:?}");
    let feature = refusal("card", &|card| drop(card["schema"]["fields"].as_array_mut().unwrap().pop()));
    assert!(matches!(feature, BundleError::Shape("features")), "{feature:?}");
    let unknown = refusal("card", &|card| card["colour"] = json!("red"));
    assert!(matches!(unknown, BundleError::Section("card", _)), "{unknown:?}");

    let golden =
        |change: &dyn Fn(&mut Value)| match refusal("golden", &|golden| change(&mut golden["rows"][1])) {
            BundleError::Golden(error) => error,
            other => panic!("{other:?}"),
        };
    let moved =
        golden(&|row| row["probabilities"][0] = json!(row["probabilities"][0].as_f64().unwrap() + 2e-6));
    assert!(matches!(moved, GoldenError::Probability { row: 1, .. }), "{moved:?}");
    let decided = golden(&|row| row["class"] = json!((row["class"].as_u64().unwrap() + 1) % 3));
    assert!(matches!(decided, GoldenError::Class { row: 1, .. }), "{decided:?}");
    let nowhere = golden(&|row| row["class"] = json!(1_000_000));
    assert!(matches!(nowhere, GoldenError::Class { row: 1, found: _, expected: 1_000_000 }), "{nowhere:?}");
    let narrow = golden(&|row| drop(row["values"].as_array_mut().unwrap().pop()));
    assert!(matches!(narrow, GoldenError::Width { row: 1, expected: 12, found: 11 }), "{narrow:?}");
    let wide = golden(&|row| row["probabilities"].as_array_mut().unwrap().push(json!(0.0)));
    assert!(matches!(wide, GoldenError::Width { row: 1, expected: 3, found: 4 }), "{wide:?}");
    // Less than the tolerance is the same answer.
    let nearly = |golden: &mut Value| {
        let probability = &mut golden["rows"][1]["probabilities"][0];
        *probability = json!(probability.as_f64().unwrap() + 5e-7);
    };
    parts.with_json("golden", nearly).decode().unwrap();

    // The same when a bundle is put together.
    let good = every_kind(&data).remove(3);
    let mut other = good.clone();
    other.predictor.decision.multipliers[0] *= 1e9;
    assert!(matches!(Bundle::new(other), Err(BundleError::Golden(_))));
    let mut other = good;
    other.card.classes.pop();
    assert!(matches!(Bundle::new(other), Err(BundleError::Shape("classes"))));
}

/// Rows that a served model may meet: the given ones, and all that is missing, huge, tiny or negative.
fn odd_rows(width: usize, given: &Matrix) -> Matrix {
    let mut rows = Matrix::zeros(0, width);
    for value in [f64::NAN, 0.0, -0.0, 1e300, -1e300, f64::MAX, f64::MIN_POSITIVE, 0.5] {
        rows.push_row(&vec![value; width]);
    }
    given.rows().take(12).for_each(|row| rows.push_row(row));
    rows
}

/// One step away from valid bytes: bits, bytes, runs, cuts, insertions, and lengths that claim the whole memory.
fn mutated(bytes: &[u8], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    let at = rng.random_range(0..changed.len());
    match rng.random_range(0..7) {
        0 => changed[at] ^= 1 << rng.random_range(0..8),
        1 => changed[at] = rng.random(),
        2 => changed[at] = [0, 1, 0x7f, 0x80, 0xff][rng.random_range(0..5)],
        3 => changed.truncate(at),
        4 => drop(changed.drain(at..(at + rng.random_range(1..9)).min(bytes.len()))),
        5 => changed.insert(at, rng.random()),
        _ => {
            let huge: &[u8] = [
                [0xff, 0xff, 0xff, 0xff, 0x0f].as_slice(),
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
                &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x04],
                &[0x80, 0x80, 0x80, 0x04],
            ][rng.random_range(0..4)];
            changed.splice(at..=at, huge.iter().copied());
        }
    }
    changed
}

#[test]
fn a_crafted_predictor_is_refused_or_can_be_asked_anything() {
    let data = data();
    let mut all = every_kind(&data);
    all.push(ensemble(&data, &all));
    let mut rng = Seed(11).rng();
    let given = data.features();
    let before = peak_bytes();
    let (mut refused, mut usable) = (0, 0);
    for contents in all {
        // Without golden rows nothing stands between a crafted predictor and its use but the check of its own.
        let parts = Parts::of(contents).with("golden", b"{\"rows\":[]}".to_vec());
        let original = parts.clone().section("predictor").clone();
        for _ in 0..500 {
            let crafted = mutated(&original, &mut rng);
            match parts.with("predictor", crafted).decode() {
                Err(_) => refused += 1,
                Ok(bundle) => {
                    usable += 1;
                    assert_sound(&bundle.predictor, &given);
                }
            }
        }
        for length in [0, 1, 10, 100, 10_000] {
            let noise: Vec<u8> = (0..length).map(|_| rng.random()).collect();
            assert!(parts.with("predictor", noise).decode().is_err());
        }
    }
    assert!(refused > 1_000 && usable > 200, "{refused} refused, {usable} usable");
    let grown = peak_bytes().saturating_sub(before);
    assert!(grown < 2 << 30, "{grown} bytes more at the peak");
}

fn assert_sound(predictor: &Predictor, given: &Matrix) {
    let rows = odd_rows(predictor.n_features, given);
    let mut probabilities = vec![f64::NAN; predictor.n_classes];
    for row in rows.rows() {
        let class = predictor.predict_into(row, &mut probabilities);
        assert!(class < predictor.n_classes);
        assert!(probabilities.iter().all(|p| (0.0..=1.0).contains(p)), "{probabilities:?} for {row:?}");
        let sum: f64 = probabilities.iter().sum();
        assert!((sum - 1.0).abs() < 1e-9, "{probabilities:?} for {row:?}");
    }
}

#[test]
fn a_crafted_baseline_or_text_is_refused_or_usable() {
    let data = data();
    let parts = Parts::of(ensemble(&data, &every_kind(&data)[5..7]));
    let mut rng = Seed(12).rng();
    let whole = parts.decode().unwrap().baseline.unwrap();
    for (name, times) in
        [("baseline", 1_000), ("card", 300), ("golden", 300), ("leaderboard", 300), ("note", 100)]
    {
        let original = parts.clone().section(name).clone();
        for _ in 0..times {
            let Ok(bundle) = parts.with(name, mutated(&original, &mut rng)).decode() else { continue };
            let baseline = bundle.baseline.as_ref().unwrap();
            baseline.columns.iter().for_each(|column| drop(column.finish()));
            let mut merged = whole.clone();
            let _ = merged.merge(baseline);
            let again = Bundle::decode(&bundle.encode().unwrap()).unwrap();
            assert_eq!(again.card, bundle.card);
        }
        let deep = "[".repeat(200_000).into_bytes();
        assert!(parts.with(name, deep).decode().is_err(), "{name}");
    }
}

/// The most address space this process has had, where the system says so.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).map_or(0, |kib| kib * 1024)
}
