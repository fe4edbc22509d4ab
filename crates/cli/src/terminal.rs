//! What a terminal can show.

use std::os::fd::AsFd;

/// Columns where nobody says how many there are.
const COLUMNS: usize = 80;

/// How many columns a terminal has; none if it is no terminal.
pub fn columns(of: impl AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(of).ok()?;
    Some(if size.ws_col == 0 { COLUMNS } else { usize::from(size.ws_col) })
}

/// Whether terminals move what they have written, as they say by TERM: a bar needs that.
pub fn moves() -> bool {
    !matches!(std::env::var_os("TERM"), Some(term) if term == "dumb")
}

/// Whether a terminal has fewer columns than tables take: these leave some of theirs out then. What is no terminal gets all.
pub fn is_narrow(of: impl AsFd) -> bool {
    columns(of).is_some_and(|columns| columns < COLUMNS)
}
