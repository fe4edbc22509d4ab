//! Texts and numbers as HTML.
//!
//! In: anything, from whoever named images and hosts. Out: text that is nothing but text, in an element and in an attribute
//! between double quotes.

use garret_cli::render;

/// Text, with everything escaped that HTML would read as something else.
pub(super) fn text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A name from outside: what is not seen is shown as escapes.
pub(super) fn name(bytes: impl AsRef<[u8]>) -> String {
    text(&render::name(bytes))
}

/// A number of bytes in units for people, and as it is for programs.
pub(super) fn size(bytes: u64) -> String {
    format!("<data value=\"{bytes}\">{}</data>", render::size(bytes))
}

/// A number with so many digits behind the point, and as it is for programs.
pub(super) fn number(value: f64, digits: usize) -> String {
    format!("<data value=\"{value}\">{value:.digits$}</data>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_text() {
        let hostile = "<script>alert(1)</script>\"'&\u{202e}x\n\u{0}";
        let shown = name(hostile);
        let expected = "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;\\u{202e}x\\n\\u{0}";
        assert_eq!(shown, expected);
        assert_eq!(name(b"\xff<"), "\\xff&lt;");
    }
}
