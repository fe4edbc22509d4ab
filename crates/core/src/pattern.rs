//! Which paths are left out: shell patterns over whole paths, as attic has them.
//!
//! In: patterns as the user gave them. Out: whether a path is excluded. `*` stands for any characters and `?` for any one,
//! the `/` included; `[..]` for one of a set, `[!..]` for one that is not in it; there is no escape, `[*]` is a star. A
//! pattern counts if it covers the whole path or a leading part that ends before a `/`, so what is below a directory is left
//! out with it. A pattern that ends in `/` leaves out what is in the directory and keeps the directory.
//!
//! Characters are those of UTF-8; a byte that is none counts as one character, which equals only itself.

/// Patterns of what is to be left out.
#[derive(Clone, Debug, Default)]
pub struct Patterns(Vec<Vec<Token>>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    One(u32),
    Any,
    Run,
    /// Ranges with both ends, and whether it stands for what is not in them.
    Set(Vec<(u32, u32)>, bool),
}

/// Added to bytes that are no UTF-8: above all characters.
const NO_CHARACTER: u32 = 0x11_0000;
const SLASH: u32 = '/' as u32;

impl Patterns {
    /// Each of them excludes.
    pub fn new(patterns: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Patterns(patterns.into_iter().map(|pattern| tokens(&pattern)).collect())
    }

    /// The patterns in a file: one on each line. Empty lines and those that begin with `#` are none; other spaces are part of
    /// the pattern.
    pub fn lines(text: &[u8]) -> impl Iterator<Item = Vec<u8>> {
        text.split(|byte| *byte == b'\n').filter(|line| !line.starts_with(b"#")).filter_map(
            |line| {
                let end = line.iter().rposition(|byte| *byte != b'\r')?;
                line.get(..=end).map(<[u8]>::to_vec)
            },
        )
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `path` is left out. A path ends without `/`.
    pub fn exclude(&self, path: &[u8]) -> bool {
        if self.is_empty() {
            return false;
        }
        let mut text = characters(path);
        text.push(SLASH);
        self.0.iter().any(|pattern| covers(pattern, &text))
    }
}

/// The pattern for a path with a `/` behind it: what is covered may end before any `/`, or with a trailing `/` in the
/// pattern, must be followed by another one.
fn tokens(pattern: &[u8]) -> Vec<Token> {
    let mut text = characters(pattern);
    let tail: &[Token] = match text.last() {
        Some(&SLASH) => &[Token::Run, Token::One(SLASH)],
        _ => &[Token::One(SLASH), Token::Run],
    };
    text.reverse();
    let mut tokens = Vec::new();
    while let Some(character) = text.pop() {
        tokens.push(match char::from_u32(character) {
            Some('*') => Token::Run,
            Some('?') => Token::Any,
            Some('[') => set(&mut text).unwrap_or(Token::One(character)),
            _ => Token::One(character),
        });
    }
    tokens.extend_from_slice(tail);
    tokens
}

/// The set that begins behind a `[`; `rest` is in reverse order. None, and nothing taken, if it does not end: then the `[`
/// stands for itself. A `]` in the first place is a member.
fn set(rest: &mut Vec<u32>) -> Option<Token> {
    let is = |place: usize, wanted: char| {
        let found = rest.len().checked_sub(place + 1).and_then(|place| rest.get(place));
        found == Some(&(wanted as u32))
    };
    let negated = is(0, '!');
    let first = usize::from(negated);
    let mut end = if is(first, ']') { first + 1 } else { first };
    while end < rest.len() && !is(end, ']') {
        end += 1;
    }
    if end >= rest.len() {
        return None;
    }
    let mut members: Vec<u32> = rest.split_off(rest.len() - end);
    rest.pop();
    members.truncate(end - first);
    let mut ranges = Vec::new();
    while let Some(low) = members.pop() {
        // A `-` in the first or last place is a member.
        if members.len() >= 2 && members.last() == Some(&('-' as u32)) {
            members.pop();
            ranges.extend(members.pop().map(|high| (low, high)));
        } else {
            ranges.push((low, low));
        }
    }
    Some(Token::Set(ranges, negated))
}

/// Whether the pattern stands for the whole text. Only the last run seen is tried with other lengths: an earlier one that is
/// longer could cover no more, so the time is at most that of comparing each with each.
fn covers(pattern: &[Token], text: &[u32]) -> bool {
    let (mut token_at, mut text_at) = (0, 0);
    let mut last_run: Option<(usize, usize)> = None;
    while let Some(&character) = text.get(text_at) {
        match pattern.get(token_at) {
            Some(Token::Run) => {
                last_run = Some((token_at, text_at));
                token_at += 1;
            }
            Some(token) if token.stands_for(character) => {
                token_at += 1;
                text_at += 1;
            }
            _ => match &mut last_run {
                None => return false,
                Some((run, end)) => {
                    *end += 1;
                    (token_at, text_at) = (*run + 1, *end);
                }
            },
        }
    }
    pattern.get(token_at..).is_some_and(|rest| rest.iter().all(|token| *token == Token::Run))
}

impl Token {
    fn stands_for(&self, character: u32) -> bool {
        match self {
            Token::One(one) => *one == character,
            Token::Any | Token::Run => true,
            Token::Set(ranges, negated) => {
                let within = |(low, high): &(u32, u32)| (*low..=*high).contains(&character);
                ranges.iter().any(within) != *negated
            }
        }
    }
}

fn characters(bytes: &[u8]) -> Vec<u32> {
    let mut characters = Vec::with_capacity(bytes.len() + 1);
    for chunk in bytes.utf8_chunks() {
        characters.extend(chunk.valid().chars().map(u32::from));
        characters.extend(chunk.invalid().iter().map(|byte| NO_CHARACTER + u32::from(*byte)));
    }
    characters
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn excludes(pattern: &str, path: &str) -> bool {
        Patterns::new([pattern.as_bytes().to_vec()]).exclude(path.as_bytes())
    }

    #[track_caller]
    fn check(pattern: &str, excluded: &[&str], kept: &[&str]) {
        for path in excluded {
            assert!(excludes(pattern, path), "{pattern} excludes {path}");
        }
        for path in kept {
            assert!(!excludes(pattern, path), "{pattern} keeps {path}");
        }
    }

    #[test]
    fn a_pattern_is_a_glob_over_the_whole_path() {
        check("/home/a", &["/home/a"], &["home/a", "x/home/a", "/home/ab", "/home"]);
        check("*.pyc", &["a.pyc", "/x/y/a.pyc"], &["a.pyc2", "a.py"]);
        check("x", &["x"], &["a/x", "xx", ""]);
    }

    #[test]
    fn star_and_question_mark_stand_for_slashes_too() {
        check("/a*z", &["/az", "/a/b/c/z", "/abz"], &["/a/b", "/bz"]);
        check("a?c", &["abc", "a/c", "a\u{e9}c", "a\nc"], &["ac", "abbc"]);
        check("*", &["a", "/a/b"], &[]);
        check("a*b*c", &["abc", "aXbYc", "a/b/b/c"], &["acb", "ab"]);
    }

    #[test]
    fn sets_ranges_and_their_opposites() {
        check("[abc]x", &["ax", "cx"], &["dx", "x", "abx"]);
        check("[!abc]x", &["dx", "/x"], &["ax"]);
        check("[0-9]", &["0", "5", "9"], &["a", "-"]);
        check("[a-]", &["a", "-"], &["b"]);
        check("[-a]", &["a", "-"], &["b"]);
        check("[]x]", &["]", "x"], &["y"]);
        check("[!]x]", &["y"], &["]", "x"]);
        check("[z-a]", &[], &["z", "a", "m"]);
        check("[*]", &["*"], &["a"]);
        check("[^a]", &["^", "a"], &["b"]);
        check("[\u{e0}-\u{e9}]", &["\u{e5}"], &["e"]);
    }

    #[test]
    fn an_open_bracket_without_end_and_a_backslash_are_themselves() {
        check("a[b", &["a[b"], &["ab"]);
        check("[", &["["], &["a"]);
        check("[!", &["[!"], &["a"]);
        check("[]", &["[]"], &["]"]);
        check("\\*", &["\\", "\\abc"], &["*"]);
    }

    #[test]
    fn a_match_covers_the_path_or_a_leading_part_before_a_slash() {
        check("/home/*/cache", &["/home/u/cache", "/home/u/cache/x/y"], &["/home/u/cached"]);
        check("a/b", &["a/b", "a/b/c"], &["a", "a/bc"]);
        check("[ab]", &["a", "b/c/d"], &["ab"]);
    }

    #[test]
    fn a_trailing_slash_keeps_the_directory_and_leaves_out_what_is_in_it() {
        check("/tmp/", &["/tmp/a", "/tmp/a/b"], &["/tmp", "/tmpa", "/tmp2/a"]);
        check("*/cache/", &["a/cache/x"], &["a/cache", "a/cachex"]);
    }

    #[test]
    fn any_of_several_is_enough_and_none_excludes_nothing() {
        let patterns = Patterns::new([b"*.o".to_vec(), b"tmp".to_vec()]);
        assert!(patterns.exclude(b"x/a.o") && patterns.exclude(b"tmp/y"));
        assert!(!patterns.exclude(b"x/tmp"));
        assert!(Patterns::default().is_empty() && !Patterns::default().exclude(b"a"));
    }

    #[test]
    fn bytes_that_are_no_text_are_characters_of_their_own() {
        let patterns = |pattern: &[u8]| Patterns::new([pattern.to_vec()]);
        assert!(patterns(b"a?c").exclude(b"a\xffc"));
        assert!(patterns(b"a\xffc").exclude(b"a\xffc") && !patterns(b"a\xffc").exclude(b"a\xfec"));
        assert!(!patterns(b"a?c").exclude(b"a\xff\xfec"));
    }

    #[test]
    fn files_of_patterns_have_one_on_each_line() {
        let text = b"# comment\n*.o\r\n\n  with spaces \n\r\na#b\nlast";
        let found: Vec<Vec<u8>> = Patterns::lines(text).collect();
        assert_eq!(found, [&b"*.o"[..], b"  with spaces ", b"a#b", b"last"]);
        assert_eq!(Patterns::lines(b"").count(), 0);
    }

    /// What a pattern means, by trying everything.
    fn oracle(pattern: &[Token], text: &[u32]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, _) => text.is_empty(),
            (Some((Token::Run, rest)), _) => {
                (0..=text.len()).any(|skipped| oracle(rest, &text[skipped..]))
            }
            (Some((token, rest)), Some((character, text))) => {
                token.stands_for(*character) && oracle(rest, text)
            }
            (Some(_), None) => false,
        }
    }

    proptest! {
        #[test]
        fn matching_is_what_trying_everything_gives(
            pattern in "[ab/*?]{0,8}", path in "[ab]{1,3}(/[ab]{1,3}){0,3}",
        ) {
            let tokens = tokens(pattern.as_bytes());
            let mut text = characters(path.as_bytes());
            text.push(SLASH);
            prop_assert_eq!(covers(&tokens, &text), oracle(&tokens, &text));
            // The sentence of the page: the whole path, or a part before a slash.
            if !pattern.ends_with('/') {
                let plain = &tokens[..tokens.len() - 2];
                let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
                let mut parts = ends.map(|end| oracle(plain, &characters(&path.as_bytes()[..end])));
                prop_assert_eq!(excludes(&pattern, &path), parts.any(|covered| covered));
            }
        }

        #[test]
        fn no_pattern_panics(pattern: Vec<u8>, path: Vec<u8>) {
            Patterns::new([pattern]).exclude(&path);
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        let pattern = "*a".repeat(200) + "b";
        assert!(!excludes(&pattern, &"a".repeat(5000)));
    }
}
