//! The training report: complete, well-formed, silent on the network, and proof against its own data.

pub mod page_reader;
mod sample;

use serin::web::report::{
    render,
    view::{ClassCountView, ClassEvaluationView, EvaluationView, Measured, MetricView, ReportView},
};

use self::page_reader::Page;

#[test]
fn a_whole_report_is_well_formed_and_says_what_matters() {
    let html = render(&sample::report()).unwrap();
    let page = Page::read(&html);
    for wanted in
        ["Gate refused", "0.823", "Majority dummy", "Reference recipe", "Ensemble", "241", "stopped after"]
    {
        assert!(page.text.contains(wanted), "{wanted} is missing");
    }
    for figure in [
        "figure-metrics",
        "figure-classes",
        "figure-missing",
        "figure-correlation",
        "figure-leaderboard",
        "figure-by-class",
        "figure-confusion",
        "figure-roc",
        "figure-precision-recall",
        "figure-reliability",
        "figure-importance",
        "figure-learning",
        "figure-time",
    ] {
        assert!(page.ids.contains(figure), "{figure} is missing");
    }
    // For looking at: SERIN_REPORT_SAMPLE=/some/where.html cargo test report
    if let Some(path) = std::env::var_os("SERIN_REPORT_SAMPLE") {
        std::fs::write(path, &html).unwrap();
    }
}

#[test]
fn every_chart_says_what_it_is_and_every_reference_leads_somewhere() {
    let page = Page::read(&render(&sample::report()).unwrap());
    let charts = page.elements.iter().filter(|element| element.name == "svg").collect::<Vec<_>>();
    assert!(charts.len() >= 24, "{} charts", charts.len());
    for chart in charts {
        assert_eq!(chart.attribute("role"), Some("img"));
        for id in chart.attribute("aria-labelledby").unwrap().split(' ') {
            assert!(page.ids.contains(id), "{id}");
            assert!(!page.text_of(id).trim().is_empty(), "{id} is empty");
        }
    }
    for element in page.elements.iter().filter(|element| element.name == "a") {
        let target = element.attribute("href").unwrap().strip_prefix('#').unwrap();
        assert!(page.ids.contains(target), "no {target}");
    }
}

#[test]
fn nothing_is_loaded_and_nothing_runs() {
    let html = render(&sample::report()).unwrap();
    Page::read(&html).assert_harmless();
    let elsewhere = html.replace("http://www.w3.org/2000/svg", "");
    for banned in ["http:", "https:", "//", "url(", "@import", "src="] {
        assert!(!elsewhere.contains(banned), "{banned}");
    }
}

/// T13: markup in names, in every place of the report that shows a name.
#[test]
fn names_that_are_markup_stay_text() {
    for payload in PAYLOADS {
        let html = render(&sample::named(payload)).unwrap();
        let page = Page::read(&html);
        page.assert_harmless();
        let shown: String = payload.chars().take(20).collect();
        let is_plain = !payload.chars().any(|character| character.is_control() || character > '\u{2000}');
        assert!(!is_plain || page.text.contains(&shown), "{payload} is not shown");
    }
    assert_eq!(PAYLOADS.len(), 40);
}

#[test]
fn hidden_and_reordering_characters_are_made_visible() {
    let html = render(&sample::named("a\u{202e}b\0c\u{1b}[31md\u{feff}e\u{2066}f")).unwrap();
    assert!(html.contains("a\u{fffd}b\u{fffd}c\u{fffd}[31md\u{fffd}e\u{fffd}f"));
    assert!(!html.chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
}

#[test]
fn an_empty_run_is_still_a_page() {
    let html = render(&ReportView::default()).unwrap();
    let page = Page::read(&html);
    for wanted in ["No gate", "Not measured", "No trial was run", "0 rows"] {
        assert!(page.text.contains(wanted), "{wanted} is missing");
    }
    assert!(!page.elements.iter().any(|element| element.name == "svg"));
}

#[test]
fn parts_that_are_absent_leave_no_trace() {
    let mut view = sample::report();
    view.importances.clear();
    view.learning_curve.clear();
    view.data.overlap = None;
    view.winner = None;
    let page = Page::read(&render(&view).unwrap());
    for absent in ["figure-importance", "figure-learning", "insight", "model"] {
        assert!(!page.ids.contains(absent), "{absent}");
    }
    view.evaluation = None;
    let page = Page::read(&render(&view).unwrap());
    assert!(page.text.contains("Not measured"));
    assert!(!page.ids.contains("performance"));
}

#[test]
fn numbers_that_are_not_finite_are_not_shown_as_numbers() {
    let mut view = sample::report();
    let evaluation = view.evaluation.as_mut().unwrap();
    for metric in &mut evaluation.metrics {
        metric.value = Some(Measured { value: f64::NAN, interval: Some((f64::NAN, f64::INFINITY)) });
        metric.dummy = Some(f64::NEG_INFINITY);
    }
    for class in &mut evaluation.classes {
        class.f1 = Some(Measured { value: f64::NAN, interval: None });
        class.roc = vec![(f64::NAN, 0.0), (0.5, f64::INFINITY), (1.0, 1.0)];
    }
    for trial in &mut view.selection.trials {
        trial.score = Some(Measured { value: f64::NAN, interval: Some((f64::NAN, f64::NAN)) });
    }
    for importance in &mut view.importances {
        importance.gain = Some(f64::INFINITY);
        importance.permutation = Some(Measured { value: f64::NAN, interval: Some((f64::NAN, 1.0)) });
    }
    for point in &mut view.learning_curve {
        point.score.interval = Some((f64::NEG_INFINITY, f64::NAN));
    }
    for phase in &mut view.phases {
        phase.seconds = f64::NAN;
    }
    let page = Page::read(&render(&view).unwrap());
    for written in ["NaN", "inf ", " inf", "-inf"] {
        assert!(!page.text.contains(written), "{written}");
    }
    let coordinates = page.elements.iter().flat_map(|element| {
        ["x", "y", "x1", "y1", "x2", "y2", "cx", "cy", "r", "width", "height", "points", "d", "viewBox"]
            .into_iter()
            .filter_map(|name| element.attribute(name))
    });
    for coordinate in coordinates {
        assert!(!coordinate.contains("NaN") && !coordinate.contains("inf"), "{coordinate}");
    }
}

#[test]
fn sizes_from_one_class_to_very_many() {
    for (n_classes, n_features) in [(1, 1), (2, 2), (3, 1000), (50, 151), (300, 3)] {
        let html = render(&sample::sized(n_classes, n_features)).unwrap();
        let page = Page::read(&html);
        page.assert_harmless();
        assert!(html.len() < 3_000_000, "{n_classes} classes, {n_features} columns: {} bytes", html.len());
        if n_classes == 300 {
            assert!(page.text.contains("and 100 more classes"));
        }
        if n_features == 1000 {
            assert!(page.text.contains("and 800 more columns"));
        }
    }
}

#[test]
fn very_long_names_are_cut_but_kept_on_hover() {
    let name = "x".repeat(5000);
    let html = render(&sample::named(&name)).unwrap();
    let page = Page::read(&html);
    assert!(!page.text.contains(&"x".repeat(500)), "a name is shown at a length that breaks the page");
    let hover = page
        .elements
        .iter()
        .filter_map(|element| element.attribute("title"))
        .find(|title| title.contains("xxxx"));
    assert_eq!(hover.map(|title| title.chars().count()), Some(400));
}

#[test]
fn the_same_view_gives_the_same_bytes() {
    assert_eq!(render(&sample::report()).unwrap(), render(&sample::report()).unwrap());
}

#[test]
fn without_a_hold_out_the_page_says_what_the_numbers_are() {
    let view = ReportView {
        evaluation: Some(EvaluationView {
            source: serin::web::report::view::EvaluationSource::OutOfFold,
            n_rows: 1234,
            interval_level: 0.9,
            metrics: vec![MetricView {
                name: "accuracy".to_owned(),
                value: Some(Measured { value: 0.9997, interval: Some((0.99, 1.0)) }),
                dummy: Some(0.5),
                cross_validated: None,
            }],
            classes: vec![ClassEvaluationView {
                name: "only".to_owned(),
                n_rows: 1234,
                ..Default::default()
            }],
            ..EvaluationView::default()
        }),
        data: serin::web::report::view::DataView {
            classes: vec![ClassCountView { name: "only".to_owned(), n_training: 1234, n_hold_out: None }],
            n_rows: 1234,
            ..Default::default()
        },
        ..ReportView::default()
    };
    let page = Page::read(&render(&view).unwrap());
    for wanted in ["out of fold on 1,234 rows", "there is no hold-out", "0.9997", "90\u{202f}% interval"] {
        assert!(page.text.contains(wanted), "{wanted} is missing");
    }
}

const PAYLOADS: [&str; 40] = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</svg><script>alert(1)</script>",
    "</desc></svg><img src=x onerror=alert(1)>",
    "<img src=x onerror=alert(1)>",
    "<img/src/onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<svg><animate onbegin=alert(1) attributeName=x></svg>",
    "<iframe src=javascript:alert(1)>",
    "<object data=javascript:alert(1)>",
    "<embed src=javascript:alert(1)>",
    "<a href=javascript:alert(1)>click</a>",
    "<form action=javascript:alert(1)><button>",
    "<math><mtext><script>alert(1)</script></mtext></math>",
    "<details open ontoggle=alert(1)>",
    "<body onload=alert(1)>",
    "<base href=javascript:alert(1)//>",
    "<meta http-equiv=refresh content='0;url=javascript:alert(1)'>",
    "<link rel=stylesheet href=data:,*{x:expression(alert(1))}>",
    "<style>@import 'javascript:alert(1)'</style>",
    "<input autofocus onfocus=alert(1)>",
    "\" onmouseover=\"alert(1)",
    "' onmouseover='alert(1)",
    "\"><script>alert(1)</script>",
    "'><script>alert(1)</script>",
    "--><script>alert(1)</script>",
    "<!--<script>alert(1)</script>",
    "]]><script>alert(1)</script>",
    "<![CDATA[<script>alert(1)</script>]]>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)&#60;/script&#62;",
    "{{7*7}}{% include 'x' %}${alert(1)}",
    "`-alert(1)-`",
    "\0<script>alert(1)</script>",
    "<scr\0ipt>alert(1)</scr\0ipt>",
    "\u{ff1c}script\u{ff1e}alert(1)\u{ff1c}/script\u{ff1e}",
    "=HYPERLINK(\"javascript:alert(1)\")",
];
