//! Names of archives, and what of Unicode is not seen. docs/format.md, "Files".

use super::{NAME_LEN_MAX, is_safe_path};

/// Longest part of a name between slashes in bytes: what file systems take.
const PART_LEN_MAX: usize = 255;

/// Whether a name can be an archive's: a safe path of at most [`NAME_LEN_MAX`] bytes whose parts do not begin with a dot,
/// hold no control characters and are not `lost+found`, which file systems have of their own.
pub fn is_archive_name(name: &str) -> bool {
    name_fault(name).is_none()
}

/// Why a name can be no archive's, if it cannot.
pub fn name_fault(name: &str) -> Option<&'static str> {
    let mut parts = name.split('/');
    Some(if name.is_empty() {
        "it is empty"
    } else if name.len() > NAME_LEN_MAX as usize {
        "it has more than 1024 bytes"
    } else if name.contains(|character: char| character.is_control()) {
        "it has a control character"
    } else if parts.clone().any(str::is_empty) {
        "it has an empty part: a / at an end of it, or two in a row"
    } else if parts.clone().any(|part| part.starts_with('.')) {
        "a part of it begins with a dot"
    } else if parts.clone().any(|part| part == "lost+found") {
        "a part of it is lost+found, which file systems have of their own"
    } else if parts.any(|part| part.len() > PART_LEN_MAX) {
        "a part of it, up to a /, has more than 255 bytes"
    } else if !is_safe_path(name.as_bytes()) {
        "it is no path that stays in one place"
    } else {
        return None;
    })
}

/// Why a name can be no new archive's. What cannot be seen is kept out; older archives that have it are read.
pub fn new_name_fault(name: &str) -> Option<&'static str> {
    name_fault(name).or_else(|| {
        name.contains(is_unseen)
            .then_some("it has a character that is not seen, or turns round what is")
    })
}

/// Whether a character is not seen itself and changes how those around it are: the categories Cf, Zl and Zp of Unicode.
/// Two names that differ in one look the same, and one that turns round what follows shows a name that it is not.
pub fn is_unseen(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}'
        | '\u{890}'..='\u{891}' | '\u{8e2}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}'
        | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0001}' | '\u{e0020}'..='\u{e007f}')
}
