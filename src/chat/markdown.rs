//! Markdown of a model as HTML: through a list of what is allowed. Raw HTML is shown as the text it is, links lead only to
//! web addresses and to pages of the Hub, pictures are their description.
//!
//! The tags are written here, one by one: what is not on the list has no way to become one.

use pulldown_cmark::{Alignment, CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// Longest text that is rendered, bytes; far above any answer.
const MAX_TEXT: usize = 64 * 1024;
/// Deepest nesting of lists and quotes.
const MAX_DEPTH: usize = 16;

/// HTML of a text.
#[must_use]
pub fn html(markdown: &str) -> String {
    let mut end = markdown.len().min(MAX_TEXT);
    while !markdown.is_char_boundary(end) {
        end -= 1;
    }
    let parser = Parser::new_ext(&markdown[..end], Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH);
    let mut page = Page::default();
    for event in parser {
        page.take(event);
    }
    // What was cut off in the middle is closed all the same.
    while let Some(tag) = page.open.pop() {
        page.out.push_str(tag);
    }
    page.out
}

#[derive(Default)]
struct Page {
    out: String,
    /// End tags, innermost last; empty for what has none.
    open: Vec<&'static str>,
    /// Of the columns of the table.
    alignments: Vec<Alignment>,
    column: usize,
    head: bool,
}

impl Page {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(&tag),
            Event::End(end) => self.end(end),
            Event::Text(text) | Event::Html(text) | Event::InlineHtml(text) => self.text(&text),
            Event::Code(code) | Event::InlineMath(code) | Event::DisplayMath(code) => {
                self.out.push_str("<code>");
                self.text(&code);
                self.out.push_str("</code>");
            }
            Event::SoftBreak => self.out.push('\n'),
            Event::HardBreak => self.out.push_str("<br>"),
            Event::Rule => self.out.push_str("<hr>"),
            Event::FootnoteReference(_) | Event::TaskListMarker(_) => {}
        }
    }

    fn start(&mut self, tag: &Tag<'_>) {
        let nested = self.open.len() >= MAX_DEPTH;
        let (begin, end) = match tag {
            Tag::Paragraph => ("<p>", "</p>"),
            // The page's own headings stand above.
            Tag::Heading { .. } => ("<h3>", "</h3>"),
            Tag::BlockQuote(_) if !nested => ("<blockquote>", "</blockquote>"),
            Tag::CodeBlock(kind) => {
                debug_assert!(matches!(kind, CodeBlockKind::Fenced(_) | CodeBlockKind::Indented));
                ("<pre><code>", "</code></pre>")
            }
            Tag::List(None) if !nested => ("<ul>", "</ul>"),
            Tag::List(Some(first)) if !nested => {
                if *first == 1 {
                    self.out.push_str("<ol>");
                } else {
                    self.out.push_str(&format!("<ol start=\"{first}\">"));
                }
                ("", "</ol>")
            }
            Tag::Item if !nested => ("<li>", "</li>"),
            Tag::Emphasis => ("<em>", "</em>"),
            Tag::Strong => ("<strong>", "</strong>"),
            Tag::Strikethrough => ("<del>", "</del>"),
            Tag::Table(alignments) => {
                self.alignments.clone_from(alignments);
                // Wide tables scroll by themselves instead of the page; the keyboard reaches what scrolls.
                (
                    "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Table\"><table>",
                    "</table></div>",
                )
            }
            Tag::TableHead => {
                (self.column, self.head) = (0, true);
                ("<thead><tr>", "</tr></thead>")
            }
            Tag::TableRow => {
                self.column = 0;
                ("<tr>", "</tr>")
            }
            Tag::TableCell => {
                let alignment = self.alignments.get(self.column).copied().unwrap_or(Alignment::None);
                self.column += 1;
                match (self.head, alignment == Alignment::Right) {
                    (true, false) => ("<th scope=\"col\">", "</th>"),
                    (true, true) => ("<th scope=\"col\" class=\"number\">", "</th>"),
                    (false, false) => ("<td>", "</td>"),
                    (false, true) => ("<td class=\"number\">", "</td>"),
                }
            }
            Tag::Link { dest_url, .. } => match address(dest_url) {
                Some(address) => {
                    self.out.push_str("<a href=\"");
                    self.text(&address);
                    self.out.push_str("\" rel=\"noopener noreferrer nofollow\">");
                    ("", "</a>")
                }
                None => ("", ""),
            },
            _ => ("", ""),
        };
        self.out.push_str(begin);
        self.open.push(end);
    }

    fn end(&mut self, end: TagEnd) {
        if let Some(tag) = self.open.pop() {
            self.out.push_str(tag);
        }
        if end == TagEnd::TableHead {
            self.head = false;
        }
    }

    fn text(&mut self, text: &str) {
        escape(text, &mut self.out);
    }
}

/// Text that no longer means anything to HTML.
fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Control characters show nothing, and some browsers skip them inside of addresses.
            c if c.is_control() && !matches!(c, '\n' | '\t') => {}
            c => out.push(c),
        }
    }
}

/// An address that a link may lead to: the web, or a page of the Hub.
fn address(address: &str) -> Option<String> {
    let plain: String = address.chars().filter(|c| !c.is_control() && !c.is_whitespace()).collect();
    let lower = plain.to_ascii_lowercase();
    let web = lower.starts_with("https://") || lower.starts_with("http://");
    // `//host` and `/\host` lead elsewhere.
    let page = plain.starts_with('/') && !matches!(plain.chars().nth(1), Some('/' | '\\'));
    (web || page || plain.starts_with('#')).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_answers_are_made_of_is_rendered() {
        assert_eq!(
            html("You play **well**, *really*."),
            "<p>You play <strong>well</strong>, <em>really</em>.</p>"
        );
        assert_eq!(html("- a\n- b"), "<ul><li>a</li><li>b</li></ul>");
        let table = html("| scale | score |\n|---|---:|\n| E blues | 76 |");
        assert_eq!(
            table,
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Table\"><table><thead><tr><th scope=\"col\">scale</th>\
             <th scope=\"col\" class=\"number\">score</th></tr></thead><tr><td>E blues</td>\
             <td class=\"number\">76</td></tr></table></div>"
        );
        assert_eq!(html("# Big"), "<h3>Big</h3>");
        assert!(
            html("[plan](/plan)").contains("<a href=\"/plan\" rel=\"noopener noreferrer nofollow\">plan</a>")
        );
    }

    const ATTACKS: &[&str] = &[
        "<script>alert(1)</script>",
        "a <img src=x onerror=alert(1)> b",
        "<b onmouseover=alert(1)>x</b>",
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt:alert(1))",
        "[x](java\u{0}script:alert(1))",
        "[x](&#106;avascript:alert(1))",
        "[x](data:text/html;base64,PHNjcmlwdD4=)",
        "[x](vbscript:msgbox)",
        "[x](//evil.example)",
        "[x](/\\evil.example)",
        "[x](<javascript:alert(1)>)",
        "[x][1]\n\n[1]: javascript:alert(1)",
        "![x](https://evil.example/pixel.png)",
        "![x](javascript:alert(1))",
        "<javascript:alert(1)>",
        "[x](https://a.example/\"onmouseover=\"alert(1))",
        "[x](https://a.example 'title\" onload=\"alert(1)')",
        "```html\n<script>alert(1)</script>\n```",
        "```\" onload=\"alert(1)\nx\n```",
        "`<script>`",
        "| <script> |\n|---|\n| <iframe src=x> |",
        "<!-- --><script>alert(1)</script>",
        "<style>*{display:none}</style>",
        "<svg/onload=alert(1)>",
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "<a href=\"javascript:alert(1)\">x</a>",
        "<form action=/api/chats method=post><input></form>",
        "\\<script>alert(1)\\</script>",
        "> <script>\n> alert(1)",
    ];

    /// Every tag of the text is one of ours, written as we write it.
    fn assert_harmless(html: &str) {
        const TAGS: [&str; 19] = [
            "p",
            "h3",
            "blockquote",
            "pre",
            "code",
            "ul",
            "ol",
            "li",
            "em",
            "strong",
            "del",
            "div",
            "table",
            "thead",
            "tr",
            "th",
            "td",
            "br",
            "hr",
        ];
        for tag in html.split('<').skip(1) {
            let inside = tag.split_once('>').unwrap_or_else(|| panic!("an open tag: {html}")).0;
            let name = inside.trim_start_matches('/');
            let known = TAGS.contains(&name)
                || ["th scope=\"col\"", "th scope=\"col\" class=\"number\"", "td class=\"number\""]
                    .contains(&name)
                || name == "div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Table\""
                || name
                    .strip_prefix("ol start=\"")
                    .is_some_and(|n| n.trim_end_matches('"').parse::<u64>().is_ok())
                || name == "a";
            let link = name.strip_prefix("a href=\"").is_some_and(|rest| {
                let (address, after) = rest.split_once('"').expect("a quoted address");
                let leads =
                    ["http://", "https://", "/", "#"].iter().any(|s| address.to_lowercase().starts_with(s));
                leads && !address.starts_with("//") && after == " rel=\"noopener noreferrer nofollow\""
            });
            assert!(known || link, "the tag <{inside}> in {html}");
        }
    }

    #[test]
    fn no_attack_becomes_markup() {
        for attack in ATTACKS {
            let html = html(attack);
            assert_harmless(&html);
            assert!(
                !html.contains("<img") && !html.to_lowercase().contains("href=\"javascript"),
                "{attack}: {html}"
            );
        }
    }

    proptest! {
        #[test]
        fn nothing_at_all_becomes_foreign_markup(
            parts in prop::collection::vec(
                prop_oneof![
                    prop::sample::select(ATTACKS.to_vec()).prop_map(str::to_owned),
                    prop::sample::select(vec!["\n", "|", "- ", "> ", "`", "[", "](", ")", "<", ">", "\"", "'", "**", "~~", "\n\n", "1. ", "&#x3c;", "\t"]).prop_map(str::to_owned),
                    "\\PC{0,8}",
                ],
                0..20,
            )
        ) {
            assert_harmless(&html(&parts.concat()));
        }
    }
}
