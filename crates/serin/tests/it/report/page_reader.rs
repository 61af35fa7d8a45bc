//! A strict reader of the report's HTML, which is written as XML: every tag closed, every attribute quoted, every
//! ampersand an entity, every id once. What it accepts, any browser reads the same way.

#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a reader for tests")]

use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub struct Page {
    pub elements: Vec<Element>,
    /// All text, styles left out, in page order.
    pub text: String,
    pub ids: BTreeSet<String>,
    text_by_id: BTreeMap<String, String>,
}

#[derive(Debug)]
pub struct Element {
    pub name: String,
    attributes: Vec<(String, String)>,
}

impl Element {
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl Page {
    /// Panics with the position where the page is not well-formed.
    pub fn read(html: &str) -> Self {
        let mut page = Self::default();
        let mut open: Vec<(String, Option<String>)> = Vec::new();
        let mut rest = html.strip_prefix("<!DOCTYPE html>").expect("a document type");
        while let Some(start) = rest.find('<') {
            page.add_text(&rest[..start], &open);
            let position = html.len() - rest.len() + start;
            let context: String = html[position..].chars().take(80).collect();
            let end = rest[start..]
                .find('>')
                .unwrap_or_else(|| panic!("tag without an end at {position}: {context}"));
            let tag = &rest[start + 1..start + end];
            rest = &rest[start + end + 1..];
            if let Some(name) = tag.strip_prefix('/') {
                let (expected, _) =
                    open.pop().unwrap_or_else(|| panic!("</{name}> closes nothing at {position}"));
                assert_eq!(expected, name, "at {position}: {context}");
                continue;
            }
            let (tag, is_empty) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
            let element = read_tag(tag, &context);
            let id = element.attribute("id").map(str::to_owned);
            if let Some(id) = &id {
                assert!(page.ids.insert(id.clone()), "id {id} twice");
            }
            if element.name == "style" {
                let end = rest.find("</style>").expect("style without an end");
                rest = &rest[end + "</style>".len()..];
            } else if !is_empty {
                open.push((element.name.clone(), id));
            }
            page.elements.push(element);
        }
        page.add_text(rest, &open);
        assert!(open.is_empty(), "left open: {open:?}");
        page
    }

    /// The text within the element of that id.
    pub fn text_of(&self, id: &str) -> &str {
        self.text_by_id.get(id).map_or("", String::as_str)
    }

    /// Only the elements and attributes a report is made of; no handlers, no addresses but anchors.
    pub fn assert_harmless(&self) {
        const ELEMENTS: &str = " html head meta title style body a header p h1 h2 h3 span nav ol ul li main section b \
            div table thead tbody tr th td figure figcaption svg desc text g rect line circle polyline polygon path \
            details summary dl dt dd article code ";
        const ATTRIBUTES: &str = " lang charset http-equiv content name class href title id aria-label aria-hidden \
            aria-labelledby role tabindex scope xmlns viewBox width height x y x1 y1 x2 y2 cx cy r d points transform \
            font-size text-anchor fill-opacity ";
        let mut n_policies = 0;
        for element in &self.elements {
            assert!(ELEMENTS.contains(&format!(" {} ", element.name)), "<{}>", element.name);
            for (name, value) in &element.attributes {
                assert!(ATTRIBUTES.contains(&format!(" {name} ")), "<{} {name}>", element.name);
                assert!(name != "href" || value.starts_with('#'), "{value}");
            }
            if element.attribute("http-equiv").is_some() {
                assert_eq!(element.attribute("http-equiv"), Some("Content-Security-Policy"));
                assert!(element.attribute("content").unwrap().starts_with("default-src 'none';"));
                n_policies += 1;
            }
        }
        assert_eq!(n_policies, 1);
    }

    fn add_text(&mut self, raw: &str, open: &[(String, Option<String>)]) {
        let text = unescape(raw);
        for id in open.iter().filter_map(|(_, id)| id.as_ref()) {
            self.text_by_id.entry(id.clone()).or_default().push_str(&text);
        }
        self.text.push_str(&text);
    }
}

fn read_tag(tag: &str, context: &str) -> Element {
    let name_end = tag.find(char::is_whitespace).unwrap_or(tag.len());
    let name = tag[..name_end].to_owned();
    assert!(name.chars().all(|c| c.is_ascii_alphanumeric()) && !name.is_empty(), "tag name in {context}");
    let mut attributes: Vec<(String, String)> = Vec::new();
    let mut rest = tag[name_end..].trim();
    while !rest.is_empty() {
        let (attribute, after) =
            rest.split_once("=\"").unwrap_or_else(|| panic!("unquoted attribute in {context}"));
        let (value, after) = after.split_once('"').unwrap_or_else(|| panic!("open quote in {context}"));
        assert!(attribute.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "{attribute} in {context}");
        assert!(attributes.iter().all(|(known, _)| known != attribute), "{attribute} twice in {context}");
        assert!(after.is_empty() || after.starts_with(' '), "no space between attributes in {context}");
        attributes.push((attribute.to_owned(), unescape(value)));
        rest = after.trim();
    }
    Element { name, attributes }
}

fn unescape(raw: &str) -> String {
    let mut parts = raw.split('&');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (entity, after) = part.split_once(';').unwrap_or_else(|| panic!("bare ampersand in {raw}"));
        text.push(match entity {
            "amp" | "#38" => '&',
            "lt" | "#60" => '<',
            "gt" | "#62" => '>',
            "quot" | "#34" => '"',
            "#39" => '\'',
            unknown => panic!("unknown entity {unknown}"),
        });
        text.push_str(after);
    }
    text
}
