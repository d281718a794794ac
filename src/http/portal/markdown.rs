//! Converts the subset of Markdown that READMEs of roles use to HTML: headings, paragraphs, lists, code, links. Everything else
//! stays text, tables included. Pure.

use std::fmt::Write as _;

use askama::filters::{Escaper, Html};

/// The open block.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    None,
    Paragraph,
    List,
    Numbered,
    Table,
}

impl Block {
    const fn end(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Paragraph => "</p>\n",
            Self::List => "</li></ul>\n",
            Self::Numbered => "</li></ol>\n",
            Self::Table => "</pre>\n",
        }
    }
}

/// Converts the text to HTML, with headings below those of the page. The result is well-formed for any input.
pub(super) fn to_html(text: &str) -> String {
    let mut html = String::with_capacity(text.len() * 5 / 4);
    let mut block = Block::None;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let (trimmed, indented) = (line.trim(), line.starts_with([' ', '\t']));
        if let Some(fence) = fence(trimmed) {
            close(&mut html, &mut block);
            html.push_str("<pre class=\"raw\" tabindex=\"0\"><code>");
            for line in lines.by_ref().take_while(|line| line.trim() != fence) {
                escape(&mut html, line);
                html.push('\n');
            }
            html.push_str("</code></pre>\n");
        } else if trimmed.is_empty() {
            close(&mut html, &mut block);
        } else if let Some((level, heading)) = heading(trimmed) {
            close(&mut html, &mut block);
            let level = (level + 2).min(6);
            let _ = write!(html, "<h{level}>");
            inline(&mut html, heading);
            let _ = writeln!(html, "</h{level}>");
        } else if trimmed.starts_with('|') {
            open(
                &mut html,
                &mut block,
                Block::Table,
                "<pre class=\"raw\" tabindex=\"0\">",
            );
            escape(&mut html, trimmed);
            html.push('\n');
        } else if let Some((mark, item)) = item(trimmed) {
            let list = mark.block();
            if block == list {
                html.push_str("</li>\n<li>");
            } else {
                open(&mut html, &mut block, list, &mark.tag());
                html.push_str("<li>");
            }
            inline(&mut html, item);
        } else {
            let in_list = matches!(block, Block::List | Block::Numbered);
            if in_list && indented || block == Block::Paragraph {
                html.push('\n');
            } else {
                open(&mut html, &mut block, Block::Paragraph, "<p>");
            }
            inline(&mut html, trimmed);
        }
    }
    close(&mut html, &mut block);
    html
}

fn open(html: &mut String, block: &mut Block, new: Block, tag: &str) {
    if *block != new {
        close(html, block);
        html.push_str(tag);
        *block = new;
    }
}

fn close(html: &mut String, block: &mut Block) {
    html.push_str(block.end());
    *block = Block::None;
}

/// Returns the fence that ends the code block, if this line begins one.
fn fence(line: &str) -> Option<&'static str> {
    ["```", "~~~"]
        .into_iter()
        .find(|fence| line.starts_with(fence))
}

fn heading(line: &str) -> Option<(usize, &str)> {
    let rest = line.trim_start_matches('#');
    let level = line.len() - rest.len();
    let heading = rest.strip_prefix(' ')?;
    (1..=6).contains(&level).then(|| (level, heading.trim()))
}

/// The marker of a list item.
#[derive(Clone, Copy)]
enum Mark {
    Bullet,
    Number(u32),
}

impl Mark {
    const fn block(self) -> Block {
        match self {
            Self::Bullet => Block::List,
            Self::Number(_) => Block::Numbered,
        }
    }

    /// Returns the tag of a list that starts with this item. A numbered list starts at its number.
    fn tag(self) -> String {
        match self {
            Self::Bullet => "<ul class=\"bullets\">".to_owned(),
            Self::Number(1) => "<ol class=\"bullets\">".to_owned(),
            Self::Number(first) => format!("<ol class=\"bullets\" start=\"{first}\">"),
        }
    }
}

fn item(line: &str) -> Option<(Mark, &str)> {
    let bullet = ["- ", "* ", "+ "]
        .iter()
        .find_map(|mark| line.strip_prefix(mark));
    if let Some(item) = bullet {
        return Some((Mark::Bullet, item));
    }
    let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = line[..line.len() - rest.len()].parse().ok()?;
    let item = rest
        .strip_prefix(". ")
        .or_else(|| rest.strip_prefix(") "))?;
    Some((Mark::Number(number), item))
}

/// Writes inline markup: code, bold, links.
fn inline(html: &mut String, text: &str) {
    let mut rest = text;
    while let Some(at) = rest.find(['`', '*', '[']) {
        escape(html, &rest[..at]);
        rest = &rest[at..];
        let taken = code(html, rest)
            .or_else(|| bold(html, rest))
            .or_else(|| link(html, rest));
        let taken = taken.unwrap_or_else(|| {
            escape(html, &rest[..1]);
            1
        });
        rest = &rest[taken..];
    }
    escape(html, rest);
}

fn code(html: &mut String, text: &str) -> Option<usize> {
    let inner = text.strip_prefix('`')?;
    let end = inner.find('`').filter(|end| *end > 0)?;
    html.push_str("<code>");
    escape(html, &inner[..end]);
    html.push_str("</code>");
    Some(end + 2)
}

fn bold(html: &mut String, text: &str) -> Option<usize> {
    let inner = text.strip_prefix("**")?;
    let end = inner.find("**").filter(|end| *end > 0)?;
    html.push_str("<strong>");
    escape(html, &inner[..end]);
    html.push_str("</strong>");
    Some(end + 4)
}

/// Writes a link to the web. Other links, such as those to files beside the README, lead nowhere here: only their text stays.
fn link(html: &mut String, text: &str) -> Option<usize> {
    let inner = text.strip_prefix('[')?;
    let (name, after) = inner.split_once("](")?;
    let (url, _) = after.split_once(')')?;
    let is_web = url.starts_with("https://") || url.starts_with("http://");
    if is_web && !url.contains([' ', '"', '<']) {
        html.push_str("<a rel=\"noreferrer\" href=\"");
        escape(html, url);
        html.push_str("\">");
        escape(html, name);
        html.push_str("</a>");
    } else {
        escape(html, name);
    }
    Some(name.len() + url.len() + 4)
}

fn escape(html: &mut String, text: &str) {
    // Writing to a string cannot fail.
    let _ = Html.write_escaped_str(html, text);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_readmes_use_becomes_html() {
        for (text, html) in [
            (
                "# Title\n\nOne\ntwo `a<b` **so**.",
                "<h3>Title</h3>\n<p>One\ntwo <code>a&#60;b</code> <strong>so</strong>.</p>\n",
            ),
            (
                "- a\n- b\n  c\n\nd",
                "<ul class=\"bullets\"><li>a</li>\n<li>b\nc</li></ul>\n<p>d</p>\n",
            ),
            (
                "1. a\n2. b\n   c",
                "<ol class=\"bullets\"><li>a</li>\n<li>b\nc</li></ol>\n",
            ),
            (
                "3) a\n- b\n4. c",
                "<ol class=\"bullets\" start=\"3\"><li>a</li></ol>\n<ul class=\"bullets\"><li>b</li></ul>\n\
                 <ol class=\"bullets\" start=\"4\"><li>c</li></ol>\n",
            ),
            ("99999999999. a", "<p>99999999999. a</p>\n"),
            (
                "x\n```yaml\n<k>: *v\n```\ny",
                "<p>x</p>\n<pre class=\"raw\" tabindex=\"0\"><code>&#60;k&#62;: *v\n</code></pre>\n<p>y</p>\n",
            ),
            (
                "```\nnever ended",
                "<pre class=\"raw\" tabindex=\"0\"><code>never ended\n</code></pre>\n",
            ),
            (
                "| a | b |\n| - | - |",
                "<pre class=\"raw\" tabindex=\"0\">| a | b |\n| - | - |\n</pre>\n",
            ),
            (
                "[site](https://e.org/?a=1&b) [file](../x.md) [no]",
                "<p><a rel=\"noreferrer\" href=\"https://e.org/?a=1&#38;b\">site</a> file [no]</p>\n",
            ),
            ("[x](javascript:alert(1))", "<p>x)</p>\n"),
            (
                "<script>x</script> * ` **",
                "<p>&#60;script&#62;x&#60;/script&#62; * ` **</p>\n",
            ),
            ("", ""),
        ] {
            assert_eq!(to_html(text), html, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn junk_brings_no_tags_of_its_own(text in "[\\[\\]()`*#<>\"&|~.1 \n-]{0,60}") {
            let html = to_html(&text);
            let mut open = Vec::new();
            for tag in html.split('<').skip(1) {
                let (tag, _) = tag.split_once('>').unwrap();
                let name = tag.split(' ').next().unwrap();
                match name.strip_prefix('/') {
                    Some(name) => prop_assert_eq!(open.pop(), Some(name), "{}", html),
                    None => open.push(name),
                }
                let known = ["p", "ul", "ol", "li", "pre", "code", "strong", "a", "h3", "h4", "h5", "h6"];
                prop_assert!(known.contains(&name.trim_start_matches('/')), "{}", html);
            }
            prop_assert!(open.is_empty(), "{}", html);
        }
    }
}
