//! What is known of a thing, by name: shown as JSON, or as a line that the user lays out.
//!
//! In: archives, items, comparisons. Out: JSON values, and with a [`Template`] text. Both use the same names, so a script can
//! go from the one to the other. Promises: a template gives names byte for byte, so that they can be given to a program; JSON
//! has them as they are, and one that is not UTF-8 in full as `..._hex` beside it.

use garret_core::{NamedArchive, Tags, kind_name};
use garret_format::archive::{Item, ItemKind};
use serde_json::{Map, Value};

use crate::failure::Failure;
use crate::render;

/// Names and values, in the order in which they are explained.
#[derive(Clone, Debug, Default)]
pub struct Record(Vec<(&'static str, Field)>);

#[derive(Clone, Debug)]
enum Field {
    Value(Value),
    /// A byte string, and what its digits are called where it is no text.
    Bytes(Vec<u8>, &'static str),
}

impl Record {
    /// With one value more.
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.0.push((name, Field::Value(value.into())));
        self
    }

    /// With all that is in another one, behind what is in this.
    pub fn and(mut self, other: &Record) -> Self {
        self.0.extend(other.0.iter().cloned());
        self
    }

    /// With a path or another byte string: its name, and that of its digits.
    pub fn with_bytes(mut self, names: [&'static str; 2], bytes: &[u8]) -> Self {
        let [name, hex_name] = names;
        self.0.push((name, Field::Bytes(bytes.to_vec(), hex_name)));
        self
    }

    /// With the path of an item.
    pub fn with_path(self, path: &[u8]) -> Self {
        self.with_bytes(["path", "path_hex"], path)
    }

    /// What an archive says of itself, and what its tags are now.
    pub fn of_archive(found: &NamedArchive, tags: &Tags) -> Self {
        let body = &found.archive;
        Record::default()
            .with("name", found.name.as_str())
            .with("made_as", body.name.as_str())
            .with("id", hex(&found.fingerprint))
            .with("start", render::iso_time(body.start))
            .with("end", render::iso_time(body.end))
            .with("hostname", body.host.as_str())
            .with("username", body.user.as_str())
            .with("command_line", render::command_line(&body.command))
            .with("comment", body.comment.as_str())
            .with("tags", tags.of(found).iter().map(String::as_str).collect::<Vec<_>>())
            .with("protected", tags.is_protected(found))
            .with("original_size", body.original_len)
            .with("read", body.read_len)
            .with("new_size", body.new_len)
            .with("stored_size", body.stored_len)
            .with("duration", render::seconds_between(body.start, body.end))
            .with("files", body.file_count)
            .with("complete", body.is_complete())
            .with("problems", body.problem_count)
            .with("problem_texts", body.problems.as_slice())
    }

    /// What an archive says of one path.
    pub fn of_item(item: &Item) -> Self {
        let unreadable = match &item.kind {
            ItemKind::File(content) => content.unreadable_len(),
            _ => 0,
        };
        let record = Record::default()
            .with_path(&item.path)
            .with("type", kind_name(&item.kind))
            .with("mode", render::permissions(item.mode))
            .with("uid", item.uid)
            .with("gid", item.gid)
            .with("user", item.user.as_str())
            .with("group", item.group.as_str())
            .with("size", item.size)
            .with("mtime", render::iso_time(item.mtime))
            .with("unreadable", unreadable);
        match &item.kind {
            ItemKind::Symlink(target) | ItemKind::HardLink(target) => {
                record.with_bytes(["target", "target_hex"], target)
            }
            _ => record.with("target", Value::Null),
        }
    }

    /// As a JSON object.
    pub fn json(self) -> Value {
        let mut map = Map::new();
        for (name, field) in self.0 {
            match field {
                Field::Value(value) => drop(map.insert(name.to_owned(), value)),
                Field::Bytes(bytes, hex_name) => {
                    let text = String::from_utf8_lossy(&bytes);
                    map.insert(name.to_owned(), Value::from(text));
                    if std::str::from_utf8(&bytes).is_err() {
                        map.insert(hex_name.to_owned(), Value::from(hex(&bytes)));
                    }
                }
            }
        }
        Value::Object(map)
    }

    /// Laid out by a template.
    ///
    /// # Errors
    /// Wrong use if the template has a name that there is not.
    pub fn format(&self, template: &Template) -> Result<Vec<u8>, Failure> {
        let mut line = Vec::new();
        for part in &template.0 {
            let (name, align, width) = match part {
                Part::Text(text) => {
                    line.extend_from_slice(text.as_bytes());
                    continue;
                }
                Part::Value { name, align, width } => (name, align, *width),
            };
            let Some((_, field)) = self.0.iter().find(|(known, _)| known == name) else {
                let names: Vec<&str> = self.0.iter().map(|(name, _)| *name).collect();
                let known = names.join(", ");
                let text = format!("--format has no {{{name}}}: there are {known}, NL, TAB, NUL");
                return Err(Failure::Usage(text));
            };
            let bytes = field.bytes();
            let shown = String::from_utf8_lossy(&bytes).chars().count();
            let padding = vec![b' '; width.saturating_sub(shown)];
            line.extend(match align {
                Align::Left => [bytes, padding].concat(),
                Align::Right => [padding, bytes].concat(),
            });
        }
        Ok(line)
    }
}

impl Field {
    /// As a template gives it.
    fn bytes(&self) -> Vec<u8> {
        match self {
            Field::Bytes(bytes, _) => bytes.clone(),
            Field::Value(Value::String(text)) => text.clone().into_bytes(),
            Field::Value(Value::Null) => Vec::new(),
            Field::Value(Value::Array(values)) => {
                let text = |value: &Value| match value {
                    Value::String(text) => render::one_line(text),
                    other => other.to_string(),
                };
                values.iter().map(text).collect::<Vec<_>>().join("; ").into_bytes()
            }
            Field::Value(other) => other.to_string().into_bytes(),
        }
    }
}

/// A path of its own, or null.
pub fn path_or_null(names: [&'static str; 2], path: Option<&[u8]>) -> Record {
    let [name, _] = names;
    match path {
        Some(path) => Record::default().with_bytes(names, path),
        None => Record::default().with(name, Value::Null),
    }
}

/// A JSON document with the line end it is printed with.
pub fn document(value: &Value) -> String {
    format!("{value:#}\n")
}

/// A document of any length, as [`document`] would show it: an object whose last value is a list that is made entry by entry.
pub struct Document {
    /// What comes before the next entry.
    before: String,
    after: &'static str,
}

impl Document {
    /// With what `head`, an object, holds before the list of that name.
    pub fn new(head: &Value, name: &str) -> Self {
        let head = format!("{head:#}");
        let head = head.trim_end_matches("\n}");
        Document { before: format!("{head},\n  \"{name}\": ["), after: "]\n}\n" }
    }

    /// The text of the next entry.
    pub fn entry(&mut self, value: &Value) -> String {
        let text = format!("\n{value:#}").replace('\n', "\n    ");
        self.after = "\n  ]\n}\n";
        std::mem::replace(&mut self.before, ",".to_owned()) + &text
    }

    /// The rest, after the last entry.
    pub fn end(self) -> String {
        if self.before == "," { self.after.to_owned() } else { self.before + self.after }
    }
}

/// Bytes as digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A text with `{name}`, `{name:<20}` or `{name:>20}` where values go, and `{NL}`, `{TAB}`, `{NUL}`, `{{` and `}}` for
/// characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Value { name: String, align: Align, width: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Align {
    Left,
    Right,
}

/// Widest column.
const WIDTH_MAX: usize = 1000;

impl Template {
    /// Reads the text of the option.
    ///
    /// # Errors
    /// What is wrong with it: a brace that stands alone, or two that hold no name and layout.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            parts.push(Part::Text(before.to_owned()));
            let (part, after) = if let Some(after) = from.strip_prefix("{{") {
                (Part::Text("{".to_owned()), after)
            } else if let Some(after) = from.strip_prefix("}}") {
                (Part::Text("}".to_owned()), after)
            } else {
                let inside = from.strip_prefix('{').and_then(|inside| inside.split_once('}'));
                let (inside, after) = inside.ok_or("a brace stands alone: write {{ or }}")?;
                (Part::parse(inside)?, after)
            };
            parts.push(part);
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Template(parts))
    }
}

impl Part {
    /// What stands between braces.
    fn parse(inside: &str) -> Result<Self, String> {
        let (name, layout) = inside.split_once(':').unwrap_or((inside, "<0"));
        let text = |text: &str| Ok(Part::Text(text.to_owned()));
        match inside {
            "NL" | "NEWLINE" => return text("\n"),
            "TAB" => return text("\t"),
            "NUL" => return text("\0"),
            _ => {}
        }
        let (align, width) = match layout.split_at_checked(1) {
            Some(("<", width)) => (Align::Left, width),
            Some((">", width)) => (Align::Right, width),
            _ => (Align::Left, layout),
        };
        match width.parse() {
            Ok(width) if width <= WIDTH_MAX => {
                Ok(Part::Value { name: name.to_owned(), align, width })
            }
            _ => {
                let inside = render::one_line(inside);
                Err(format!("{{{inside}}} is not {{NAME}}, {{NAME:<WIDTH}} or {{NAME:>WIDTH}}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn laid_out(template: &str) -> Vec<u8> {
        let record = Record::default()
            .with("a", "x\ny")
            .with_path(b"p\xff")
            .with("n", 12)
            .with("none", Value::Null);
        record.format(&Template::parse(template).unwrap()).unwrap()
    }

    #[test]
    fn templates_place_values_byte_for_byte() {
        assert_eq!(laid_out("{a}|{n}|{none}{NL}"), b"x\ny|12|\n");
        assert_eq!(laid_out("{n:<4}|{n:>4}|{n:3}|{TAB}{NUL}{{}}"), b"12  |  12|12 |\t\0{}");
        assert_eq!(laid_out("{path}{NUL}{path:>3}|{path:<3}|"), b"p\xff\0 p\xff|p\xff |");
        assert_eq!(laid_out(""), b"");
        for bad in ["{", "}", "{a", "a}b", "{a:x}", "{a:<1001}", "{a:<}"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
        let unknown = Record::default().with("a", 1).format(&Template::parse("{b}").unwrap());
        assert!(matches!(unknown, Err(Failure::Usage(text)) if text.contains("{b}")));
    }

    #[test]
    fn what_is_not_utf_8_is_there_in_full_too() {
        let record = Record::default().with_path(b"a\xff").json();
        assert_eq!(record["path"], "a\u{fffd}");
        assert_eq!(record["path_hex"], "61ff");
        assert_eq!(Record::default().with_path(b"a").json()["path_hex"], Value::Null);
    }

    #[test]
    fn a_document_that_is_made_entry_by_entry_is_the_whole_one() {
        let head = json!({ "archive": { "name": "a", "files": [1, 2] } });
        let entries = [json!({ "path": "x\ny", "sizes": [] }), json!("}"), json!([])];
        for count in 0..=entries.len() {
            let mut document = Document::new(&head, "items");
            let parts = entries[..count].iter().map(|entry| document.entry(entry));
            let text = parts.collect::<String>() + &document.end();
            let mut whole = head.clone();
            whole["items"] = entries[..count].into();
            assert_eq!(text, super::document(&whole));
        }
    }
}
