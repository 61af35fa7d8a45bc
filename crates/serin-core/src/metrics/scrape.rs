//! The text that a gateway shows as its metrics: OpenMetrics 1.0, and the older text of Prometheus.
//!
//! Counters, gauges and histograms are read; what has no type is a gauge. Times in the text, exemplars, summaries, info
//! and state sets are skipped. (<https://prometheus.io/docs/specs/om/open_metrics_spec/>)

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use thiserror::Error;

use super::cursor::{Cursor, Unexpected};
use super::series::{Series, is_metric_name, is_of_metric_name};

/// A longer text is refused.
pub const SCRAPE_LARGEST_BYTES: usize = 4 << 20;

/// The greatest whole number below which every whole number is exact.
const LARGEST_COUNT: f64 = 9_007_199_254_740_992.0;

/// What one text says, by series. Counters are named without `_total`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scrape {
    pub(super) counters: BTreeMap<Series, f64>,
    pub(super) gauges: BTreeMap<Series, f64>,
    pub(super) histograms: BTreeMap<Series, Cumulative>,
    bounds: BTreeMap<String, Vec<f64>>,
}

/// A histogram since the start of its process.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cumulative {
    /// Observations up to each bound; the last are all.
    pub counts: Vec<u64>,
    pub sum: f64,
}

/// Why a text was not read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ScrapeError {
    #[error("{bytes} bytes of metrics are more than {SCRAPE_LARGEST_BYTES}")]
    TooLarge { bytes: usize },
    /// Something else was expected in the line.
    #[error("line {line}, {unexpected}")]
    Unexpected { line: usize, unexpected: Unexpected },
    /// The line contradicts another, or is not enough.
    #[error("line {line}: {what}")]
    Contradiction { line: usize, what: &'static str },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
    /// Info, state sets, summaries.
    Skipped,
}

/// A histogram whose lines are still coming.
struct Partial {
    first_line: usize,
    buckets: Vec<(f64, u64)>,
    sum: Option<f64>,
    count: Option<u64>,
}

/// A line, taken apart.
struct Line<'a> {
    number: usize,
    name: &'a str,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Scrape {
    /// Reads a text as a whole.
    ///
    /// # Errors
    /// When the text is too long, a line is malformed, or the last line does not end, as when the text was cut.
    pub fn parse(text: &str) -> Result<Self, ScrapeError> {
        if text.len() > SCRAPE_LARGEST_BYTES {
            return Err(ScrapeError::TooLarge { bytes: text.len() });
        }
        let mut scrape = Self::default();
        let mut kinds: BTreeMap<&str, Kind> = BTreeMap::new();
        let mut partials: BTreeMap<Series, Partial> = BTreeMap::new();
        let mut has_ended = false;
        for (n, text) in text.split_terminator('\n').enumerate() {
            let number = n + 1;
            let contradiction = |what| ScrapeError::Contradiction { line: number, what };
            let text = text.trim_matches([' ', '\t', '\r']);
            if text.is_empty() {
                continue;
            }
            if has_ended {
                return Err(contradiction("there is something after the end"));
            }
            if let Some(comment) = text.strip_prefix('#') {
                let mut words = comment.split([' ', '\t']).filter(|word| !word.is_empty());
                match words.next() {
                    Some("EOF") => has_ended = true,
                    Some("TYPE") => {
                        let (Some(name), Some(kind)) = (words.next(), words.next()) else {
                            return Err(contradiction("a type has a name and a kind"));
                        };
                        if !is_metric_name(name) {
                            return Err(contradiction("the name of a type is no name of a metric"));
                        }
                        let (name, kind) = typed(name, kind).ok_or(contradiction("there is no such type"))?;
                        if kinds.insert(name, kind).is_some() {
                            return Err(contradiction("the metric has a type already"));
                        }
                    }
                    _ => {}
                }
                continue;
            }
            let line = read(number, text)
                .map_err(|unexpected| ScrapeError::Unexpected { line: number, unexpected })?;
            scrape.add(&kinds, &mut partials, line).map_err(contradiction)?;
        }
        if !has_ended && !text.is_empty() && !text.ends_with('\n') {
            let line = text.split('\n').count();
            return Err(ScrapeError::Contradiction { line, what: "the last line does not end" });
        }
        for (series, partial) in partials {
            let line = partial.first_line;
            scrape
                .add_histogram(series, &partial)
                .map_err(|what| ScrapeError::Contradiction { line, what })?;
        }
        Ok(scrape)
    }

    /// The upper bounds of each metric with histograms.
    #[must_use]
    pub fn bounds(&self) -> &BTreeMap<String, Vec<f64>> {
        &self.bounds
    }

    fn add(
        &mut self,
        kinds: &BTreeMap<&str, Kind>,
        partials: &mut BTreeMap<Series, Partial>,
        line: Line<'_>,
    ) -> Result<(), &'static str> {
        let kind = |name| kinds.get(name).copied();
        let Line { name, labels, value, .. } = line;
        let part_of = |suffix: &str| name.strip_suffix(suffix).filter(|base| kind(*base).is_some());
        if let Some(base) = part_of("_total").filter(|base| kind(*base) == Some(Kind::Counter)) {
            return self.add_counter(Series { name: base.to_owned(), labels }, value);
        }
        for suffix in ["_bucket", "_sum", "_count"] {
            if let Some(base) = part_of(suffix).filter(|base| kind(*base) == Some(Kind::Histogram)) {
                return add_part(partials, suffix, base, Line { labels, ..line });
            }
        }
        let is_created = part_of("_created").is_some_and(|base| kind(base) != Some(Kind::Gauge));
        let is_skipped = ["_info", "_sum", "_count", "_bucket", "_gsum", "_gcount"]
            .iter()
            .any(|suffix| part_of(suffix).is_some_and(|base| kind(base) == Some(Kind::Skipped)));
        match kind(name) {
            _ if is_created || is_skipped => Ok(()),
            Some(Kind::Skipped) => Ok(()),
            Some(Kind::Histogram) => Err("a histogram has buckets, a sum and a count"),
            Some(Kind::Counter) => self.add_counter(Series { name: name.to_owned(), labels }, value),
            Some(Kind::Gauge) | None => {
                once(&mut self.gauges, Series { name: name.to_owned(), labels }, value)
            }
        }
    }

    fn add_counter(&mut self, series: Series, value: f64) -> Result<(), &'static str> {
        if !value.is_finite() || value < 0.0 {
            return Err("a counter is a finite number and not negative");
        }
        once(&mut self.counters, series, value)
    }

    fn add_histogram(&mut self, series: Series, partial: &Partial) -> Result<(), &'static str> {
        let Some(((last, all), others)) = partial.buckets.split_last().map(|(last, others)| (*last, others))
        else {
            return Err("a histogram has no buckets");
        };
        if last != f64::INFINITY {
            return Err("a histogram has no bucket up to +Inf");
        }
        if partial.count.is_some_and(|count| count != all) {
            return Err("the count of a histogram is not that of its last bucket");
        }
        let sum = partial.sum.ok_or("a histogram has no sum")?;
        let bounds: Vec<f64> = others.iter().map(|(bound, _)| *bound).collect();
        match self.bounds.get(&series.name) {
            Some(known) if *known != bounds => return Err("histograms of one metric have different bounds"),
            Some(_) => {}
            None => {
                self.bounds.insert(series.name.clone(), bounds);
            }
        }
        let counts = partial.buckets.iter().map(|(_, count)| *count).collect();
        self.histograms.insert(series, Cumulative { counts, sum });
        Ok(())
    }
}

/// The name under which a metric of this type is kept.
fn typed<'a>(name: &'a str, kind: &str) -> Option<(&'a str, Kind)> {
    Some(match kind {
        // The older text has the whole name in its type.
        "counter" => {
            (name.strip_suffix("_total").filter(|base| !base.is_empty()).unwrap_or(name), Kind::Counter)
        }
        "gauge" | "unknown" | "untyped" => (name, Kind::Gauge),
        "histogram" => (name, Kind::Histogram),
        "info" | "stateset" | "summary" | "gaugehistogram" => (name, Kind::Skipped),
        _ => return None,
    })
}

/// `name{labels} value time # exemplar`, of which the last two may be missing and are skipped.
fn read(number: usize, text: &str) -> Result<Line<'_>, Unexpected> {
    let is_of_number = |c: char| !matches!(c, ' ' | '\t');
    let mut cursor = Cursor::new(text);
    let before = cursor.clone();
    let name = cursor.take(is_of_metric_name);
    if !is_metric_name(name) {
        return Err(before.unexpected("the name of a metric"));
    }
    let before_blanks = cursor.clone();
    cursor.skip_blanks();
    let has_labels = cursor.next_is(|c| c == '{');
    let labels = cursor.labels()?;
    let before_value = cursor.clone();
    cursor.skip_blanks();
    if !has_labels && before_blanks.next_is(is_of_number) {
        return Err(before_blanks.unexpected("labels in braces, or a blank"));
    }
    if has_labels && before_value.next_is(is_of_number) {
        return Err(before_value.unexpected("a blank after the labels"));
    }
    let before = cursor.clone();
    let Ok(value) = cursor.take(is_of_number).parse::<f64>() else {
        return Err(before.unexpected("a number"));
    };
    cursor.skip_blanks();
    if !cursor.is_at_end() && !cursor.next_is(|c| c == '#') {
        let before = cursor.clone();
        if cursor.take(is_of_number).parse::<f64>().is_err() {
            return Err(before.unexpected("a time, an exemplar or the end"));
        }
        cursor.skip_blanks();
        if !cursor.is_at_end() && !cursor.next_is(|c| c == '#') {
            return Err(cursor.unexpected("an exemplar or the end"));
        }
    }
    Ok(Line { number, name, labels, value })
}

fn add_part(
    partials: &mut BTreeMap<Series, Partial>,
    suffix: &str,
    base: &str,
    line: Line<'_>,
) -> Result<(), &'static str> {
    let Line { number, mut labels, value, .. } = line;
    let bound = if suffix == "_bucket" {
        let bound = labels.remove("le").and_then(|bound| bound.parse::<f64>().ok());
        Some(bound.filter(|bound| !bound.is_nan()).ok_or("a bucket has no upper bound as its label le")?)
    } else {
        None
    };
    let series = Series { name: base.to_owned(), labels };
    let partial = partials.entry(series).or_insert_with(|| Partial {
        first_line: number,
        buckets: Vec::new(),
        sum: None,
        count: None,
    });
    match bound {
        Some(bound) => {
            let count = whole(value)?;
            if let Some((last, below)) = partial.buckets.last() {
                if *last >= bound {
                    return Err("the buckets of a histogram are not in ascending order");
                }
                if *below > count {
                    return Err("a bucket has fewer than the one before it");
                }
            }
            partial.buckets.push((bound, count));
        }
        None if suffix == "_sum" => {
            if partial.sum.replace(value).is_some() {
                return Err("a series is there twice");
            }
        }
        None => {
            if partial.count.replace(whole(value)?).is_some() {
                return Err("a series is there twice");
            }
        }
    }
    Ok(())
}

fn whole(value: f64) -> Result<u64, &'static str> {
    if value.fract() != 0.0 || !(0.0..=LARGEST_COUNT).contains(&value) {
        return Err("a count is a whole number and not negative");
    }
    Ok(value as u64)
}

fn once(map: &mut BTreeMap<Series, f64>, series: Series, value: f64) -> Result<(), &'static str> {
    match map.entry(series) {
        Entry::Occupied(_) => Err("a series is there twice"),
        Entry::Vacant(vacant) => {
            vacant.insert(value);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAY: &str = r##"# HELP serin_requests Inference requests.
# TYPE serin_requests counter
serin_requests_total{endpoint="prod",variant="v3",outcome="answered"} 7
serin_requests_total{endpoint="a\"b\\c\nd",variant="}, =",outcome="answered"} 2.5
# HELP serin_request_duration_seconds From head to answer.
# TYPE serin_request_duration_seconds histogram
serin_request_duration_seconds_sum{endpoint="prod",variant="v3"} 0.004
serin_request_duration_seconds_count{endpoint="prod",variant="v3"} 7
serin_request_duration_seconds_bucket{le="5e-5",endpoint="prod",variant="v3"} 1
serin_request_duration_seconds_bucket{le="0.0001",endpoint="prod",variant="v3"} 4 # {trace="x y"} 0.00007 1.5
serin_request_duration_seconds_bucket{le="+Inf",endpoint="prod",variant="v3"} 7
# TYPE serin_connections gauge
serin_connections 3
# TYPE serin_build info
serin_build_info{version="0.1.0"} 1
# EOF
"##;

    #[test]
    fn the_text_of_a_gateway_is_read() {
        let scrape = Scrape::parse(GATEWAY).unwrap();
        let prod = [("endpoint", "prod"), ("variant", "v3")];
        let odd = [("endpoint", "a\"b\\c\nd"), ("variant", "}, ="), ("outcome", "answered")];
        let mut answered = prod.to_vec();
        answered.push(("outcome", "answered"));
        let counters =
            [(Series::new("serin_requests", &answered), 7.0), (Series::new("serin_requests", &odd), 2.5)];
        assert_eq!(scrape.counters, BTreeMap::from(counters));
        assert_eq!(scrape.gauges, BTreeMap::from([(Series::new("serin_connections", &[]), 3.0)]));
        let latency = Series::new("serin_request_duration_seconds", &prod);
        let counts = Cumulative { counts: vec![1, 4, 7], sum: 0.004 };
        assert_eq!(scrape.histograms, BTreeMap::from([(latency.clone(), counts)]));
        assert_eq!(scrape.bounds(), &BTreeMap::from([(latency.name, vec![5e-5, 1e-4])]));
    }

    #[test]
    fn what_the_gateways_library_writes_is_read() {
        // From prometheus-client 0.24.1, with the gateway's bounds.
        let scrape = Scrape::parse(include_str!("../../tests/data/metrics/gateway.txt")).unwrap();
        let numbers = [&scrape.counters, &scrape.gauges].map(|map| -> Vec<String> {
            map.iter().map(|(series, value)| format!("{series} {value}")).collect()
        });
        assert_eq!(
            numbers[0],
            [
                "serin_received_bytes 0",
                r#"serin_requests{endpoint="",variant=""} 1"#,
                r#"serin_requests{endpoint="prod",variant="v3"} 7"#,
            ]
        );
        assert_eq!(
            numbers[1],
            [
                "serin_connections -1",
                r#"serin_variant_weight{endpoint="prod",variant="v3"} 0.25"#,
                r#"serin_variant_weight{endpoint="prod",variant="v4"} 0.0000001"#,
            ]
        );
        let bounds = [
            50e-6, 100e-6, 200e-6, 300e-6, 500e-6, 750e-6, 1e-3, 2e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1, 0.5,
            2.0, 10.0,
        ];
        let name = "serin_request_duration_seconds";
        assert_eq!(scrape.bounds(), &BTreeMap::from([(name.to_owned(), bounds.to_vec())]));
        let latency = &scrape.histograms[&Series::new(name, &[("endpoint", "prod"), ("variant", "v3")])];
        let counts = vec![1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 4];
        assert_eq!(*latency, Cumulative { counts, sum: 11.30011 });
    }

    #[test]
    fn the_older_text_and_its_freedoms_are_read() {
        let text = "# TYPE http_requests_total counter\n\
                    http_requests_total { code = \"200\" , } 1027 1395066363000\r\n\
                    # a comment\n\n\
                    # TYPE plain counter\nplain 3\n\
                    untyped_total\t4\n  negative -1e3  \nnothing NaN\n\
                    # TYPE http_requests_created gauge\nhttp_requests_created 5\n\
                    # TYPE rpc summary\nrpc{quantile=\"0.5\"} 1\nrpc_sum 2\nrpc_count 3\n";
        let scrape = Scrape::parse(text).unwrap();
        let counters =
            [(Series::new("http_requests", &[("code", "200")]), 1027.0), (Series::new("plain", &[]), 3.0)];
        assert_eq!(scrape.counters, BTreeMap::from(counters));
        let gauges: Vec<String> =
            scrape.gauges.iter().map(|(series, value)| format!("{series} {value}")).collect();
        assert_eq!(gauges, ["negative -1000", "nothing NaN", "untyped_total 4"]);
        assert_eq!(Scrape::parse(""), Ok(Scrape::default()));
        assert_eq!(Scrape::parse("# EOF"), Ok(Scrape::default()));
    }

    #[test]
    fn a_malformed_line_is_named() {
        let typed = "# TYPE c counter\n# TYPE h histogram\n";
        for (text, message) in [
            ("a", "line 3, position 2: expected a number, found the end"),
            ("a x", "line 3, position 3: expected a number, found \"x\""),
            ("1a 1", "line 3, position 1: expected the name of a metric, found \"1a 1\""),
            ("{\"a.b\"} 1", "line 3, position 1: expected the name of a metric, found \"{\\\"a.b\\\"} 1\""),
            ("a-1", "line 3, position 2: expected labels in braces, or a blank, found \"-1\""),
            ("a{b=\"c\"}1", "line 3, position 9: expected a blank after the labels, found \"1\""),
            ("a{b} 1", "line 3, position 4: expected \"=\" after the name of a label, found \"} 1\""),
            ("a{b=c} 1", "line 3, position 5: expected a value in double quotes, found \"c} 1\""),
            ("a{b=\"ä", "line 3, position 7: expected the quote that ends the value, found the end"),
            (
                "a{b=\"\\x\"} 1",
                "line 3, position 7: expected \"\\\\\", \"\\\"\" or \"n\" after a backslash, found \"x\\\"} 1\"",
            ),
            (
                "a{b=\"1\",b=\"2\"} 1",
                "line 3, position 9: expected every label once, found \"b=\\\"2\\\"} 1\"",
            ),
            ("a{b=\"1\" c=\"2\"} 1", "line 3, position 9: expected \",\" or \"}\", found \"c=\\\"2\\\"} 1\""),
            ("a{,} 1", "line 3, position 3: expected the name of a label, or \"}\", found \",} 1\""),
            ("a 1 b", "line 3, position 5: expected a time, an exemplar or the end, found \"b\""),
            ("a 1 2 3", "line 3, position 7: expected an exemplar or the end, found \"3\""),
            ("a 1\na 1", "line 4: a series is there twice"),
            ("c_total 1\nc_total 1", "line 4: a series is there twice"),
            ("c_total -1", "line 3: a counter is a finite number and not negative"),
            ("c_total NaN", "line 3: a counter is a finite number and not negative"),
            ("# TYPE c gauge", "line 3: the metric has a type already"),
            ("# TYPE c_total counter", "line 3: the metric has a type already"),
            ("# TYPE d", "line 3: a type has a name and a kind"),
            ("# TYPE d odd", "line 3: there is no such type"),
            ("# TYPE - gauge", "line 3: the name of a type is no name of a metric"),
            ("# EOF\n\na 1", "line 5: there is something after the end"),
            ("h 1", "line 3: a histogram has buckets, a sum and a count"),
            ("h_bucket 1", "line 3: a bucket has no upper bound as its label le"),
            ("h_bucket{le=\"NaN\"} 1", "line 3: a bucket has no upper bound as its label le"),
            ("h_bucket{le=\"1\"} 1.5", "line 3: a count is a whole number and not negative"),
            ("h_bucket{le=\"1\"} -1", "line 3: a count is a whole number and not negative"),
            ("h_bucket{le=\"1\"} +Inf", "line 3: a count is a whole number and not negative"),
            (
                "h_bucket{le=\"1\"} 1\nh_bucket{le=\"1\"} 1",
                "line 4: the buckets of a histogram are not in ascending order",
            ),
            (
                "h_bucket{le=\"1\"} 2\nh_bucket{le=\"2\"} 1",
                "line 4: a bucket has fewer than the one before it",
            ),
            ("h_sum 1", "line 3: a histogram has no buckets"),
            ("h_sum 1\nh_sum 1", "line 4: a series is there twice"),
            ("\nh_sum 1\nh_bucket{le=\"1\"} 1", "line 4: a histogram has no bucket up to +Inf"),
            ("h_bucket{le=\"+Inf\"} 1", "line 3: a histogram has no sum"),
            (
                "h_count 2\nh_sum 1\nh_bucket{le=\"+Inf\"} 1",
                "line 3: the count of a histogram is not that of its last bucket",
            ),
            (
                "h_sum 1\nh_bucket{le=\"1\"} 0\nh_bucket{le=\"+Inf\"} 1\n\
                 h_sum{a=\"1\"} 1\nh_bucket{a=\"1\",le=\"2\"} 0\nh_bucket{a=\"1\",le=\"+Inf\"} 1",
                "line 6: histograms of one metric have different bounds",
            ),
        ] {
            let found = Scrape::parse(&format!("{typed}{text}\n")).unwrap_err().to_string();
            assert_eq!(found, message, "{text}");
        }
        assert_eq!(
            Scrape::parse("a 1\na_total 12").unwrap_err().to_string(),
            "line 2: the last line does not end"
        );
        let bytes = SCRAPE_LARGEST_BYTES + 1;
        assert_eq!(Scrape::parse(&"\n".repeat(bytes)), Err(ScrapeError::TooLarge { bytes }));
    }
}
