//! Text that is safe within HTML.

/// `text` with the characters that mean something in HTML written out.
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// The little Markdown that a page is written in: bold, code.
pub fn marked(text: &str) -> String {
    let mut html = escaped(text);
    for (mark, open, close) in [("**", "<strong>", "</strong>"), ("`", "<code>", "</code>")] {
        let mut parts = html.split(mark);
        let mut out = parts.next().unwrap_or_default().to_owned();
        let rest: Vec<&str> = parts.collect();
        for (place, part) in rest.iter().enumerate() {
            let opens = place % 2 == 0;
            match (opens, place + 1 == rest.len()) {
                // A mark that nothing closes is itself.
                (true, true) => out.push_str(mark),
                (true, false) => out.push_str(open),
                (false, _) => out.push_str(close),
            }
            out.push_str(part);
        }
        html = out;
    }
    html
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    #[rstest]
    #[case(
        "**PAGE** `a<b>` 5 * 3",
        "<strong>PAGE</strong> <code>a&lt;b&gt;</code> 5 * 3"
    )]
    #[case("a ` alone", "a ` alone")]
    fn pages_are_marked_up(#[case] text: &str, #[case] html: &str) {
        assert_eq!(super::marked(text), html);
    }
}
