//! A page of the portal, read by a browser's parser.

use html5ever::tendril::TendrilSink;
use html5ever::{ParseOpts, parse_document};
use markup5ever_rcdom::{Handle, NodeData, RcDom};

use crate::support::{Answer, Server};

/// Elements that are expected in every page, once.
const LANDMARKS: [&str; 4] = ["header", "main", "footer", "h1"];

/// A page without a defect.
pub(crate) struct Page {
    dom: RcDom,
}

/// An element.
#[derive(Clone)]
pub(crate) struct Element(Handle);

impl Page {
    /// Reads a page that the server must have; it must be well-formed, guarded, and say the same to everybody.
    #[track_caller]
    pub(crate) fn get(server: &Server, path: &str) -> Self {
        let answer = server.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        Self::read(&answer)
    }

    #[track_caller]
    pub(crate) fn read(answer: &Answer) -> Self {
        let policy = answer.header("content-security-policy").unwrap_or_default();
        assert!(
            policy.starts_with("default-src 'none';") && !policy.contains("unsafe"),
            "{policy:?}"
        );
        assert_eq!(
            answer.header("content-type"),
            Some("text/html; charset=utf-8")
        );
        let text = answer.text();
        let dom = parse_document(RcDom::default(), ParseOpts::default()).one(text.as_str());
        // The parser knows no custom rules; what it says is a defect of the page.
        let errors = dom.errors.borrow().clone();
        assert!(errors.is_empty(), "{errors:?} in\n{text}");
        let page = Self { dom };
        page.check(&text);
        page
    }

    #[track_caller]
    fn check(&self, text: &str) {
        for name in LANDMARKS {
            assert_eq!(self.all(name).len(), 1, "one <{name}> in\n{text}");
        }
        let mut ids = Vec::new();
        self.walk(&mut |element| {
            for (name, value) in element.attributes() {
                assert!(
                    name != "style" && !name.starts_with("on"),
                    "{name}={value:?} in\n{text}"
                );
                if name == "id" {
                    assert!(!ids.contains(&value), "#{value} stands twice in\n{text}");
                    ids.push(value);
                } else if matches!(name.as_str(), "href" | "src" | "action") {
                    // What leads elsewhere was said by a rule, and is told no more than that.
                    let elsewhere = element.attribute("rel") == "noreferrer";
                    assert!(
                        value.starts_with(['/', '#']) || elsewhere,
                        "{value:?} leads elsewhere, in\n{text}"
                    );
                }
            }
        });
        self.walk(&mut |element| {
            for name in ["for", "aria-labelledby", "aria-describedby", "list"] {
                for id in element.attribute(name).split_whitespace() {
                    assert!(
                        ids.contains(&id.to_owned()),
                        "{name}={id:?} names nothing in\n{text}"
                    );
                }
            }
            let labelled = |id: &str| {
                self.all("label")
                    .iter()
                    .any(|label| label.attribute("for") == id)
            };
            let hidden = element.attribute("type") == "hidden";
            if matches!(element.name().as_str(), "input" | "select" | "textarea") && !hidden {
                let id = element.attribute("id");
                assert!(
                    labelled(&id) || !element.attribute("aria-label").is_empty(),
                    "{id:?} has no label in\n{text}"
                );
            }
        });
        assert!(
            self.all("script")
                .iter()
                .all(|script| script.text().is_empty()),
            "an inline script in\n{text}"
        );
        assert!(self.all("style").is_empty());
    }

    fn walk(&self, see: &mut dyn FnMut(Element)) {
        fn go(handle: &Handle, see: &mut dyn FnMut(Element)) {
            if matches!(handle.data, NodeData::Element { .. }) {
                see(Element(handle.clone()));
            }
            for child in handle.children.borrow().iter() {
                go(child, see);
            }
        }
        go(&self.dom.document, see);
    }

    pub(crate) fn all(&self, name: &str) -> Vec<Element> {
        let mut found = Vec::new();
        self.walk(&mut |element| {
            if element.name() == name {
                found.push(element);
            }
        });
        found
    }

    pub(crate) fn find(&self, id: &str) -> Option<Element> {
        let mut found = None;
        self.walk(&mut |element| {
            if element.attribute("id") == id {
                found = Some(element);
            }
        });
        found
    }

    #[track_caller]
    pub(crate) fn by_id(&self, id: &str) -> Element {
        self.find(id)
            .unwrap_or_else(|| panic!("no #{id} in {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        text_of(&self.dom.document)
    }
}

impl Element {
    pub(crate) fn name(&self) -> String {
        match &self.0.data {
            NodeData::Element { name, .. } => name.local.to_string(),
            _ => String::new(),
        }
    }

    fn attributes(&self) -> Vec<(String, String)> {
        match &self.0.data {
            NodeData::Element { attrs, .. } => attrs
                .borrow()
                .iter()
                .map(|attr| (attr.name.local.to_string(), attr.value.to_string()))
                .collect(),
            _ => Vec::new(),
        }
    }

    pub(crate) fn attribute(&self, name: &str) -> String {
        let mut attributes = self.attributes().into_iter();
        attributes
            .find(|(n, _)| n == name)
            .map_or_else(String::new, |(_, value)| value)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.attributes().iter().any(|(n, _)| n == name)
    }

    pub(crate) fn text(&self) -> String {
        text_of(&self.0)
    }
}

/// The text below a node, with single spaces.
fn text_of(handle: &Handle) -> String {
    fn go(handle: &Handle, text: &mut String) {
        if let NodeData::Text { contents } = &handle.data {
            text.push_str(&contents.borrow());
        }
        for child in handle.children.borrow().iter() {
            go(child, text);
        }
        text.push(' ');
    }
    let mut text = String::new();
    go(handle, &mut text);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
