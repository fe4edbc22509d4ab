//! What somebody may have meant: the known name that is nearest to one that is not known.
//!
//! In: a word and the names there are. Out: one of them, if it is near. Promises: the work is bounded, whatever the names.

/// Longest word in bytes that anything is looked up for.
const WORD_LEN_MAX: usize = 255;
/// Most names that are looked at.
const NAMES_MAX: usize = 1 << 16;
/// Most slips that are taken for one; shorter words have fewer, a third of their bytes.
const SLIPS_MAX: usize = 3;

/// The name that is a slip or two of the hand away from `word`: letters too many, missing, other ones, changed places. The
/// first of several that are as near.
pub fn nearest<'n, N: AsRef<[u8]> + ?Sized>(
    word: &[u8],
    names: impl IntoIterator<Item = &'n N>,
) -> Option<&'n N> {
    if word.len() > WORD_LEN_MAX {
        return None;
    }
    let mut best: Option<(usize, &N)> = None;
    for name in names.into_iter().take(NAMES_MAX) {
        let most = match best {
            Some((0, _)) => break,
            Some((slips, _)) => slips - 1,
            None => SLIPS_MAX.min(word.len() / 3),
        };
        if let Some(slips) = slips(word, name.as_ref(), most) {
            best = Some((slips, name));
        }
    }
    best.map(|(_, name)| name)
}

/// The path whose last parts, as many as `word` has, are nearest to it.
pub fn nearest_path<'n>(word: &[u8], paths: impl Iterator<Item = &'n [u8]>) -> Option<&'n [u8]> {
    let parts = word.iter().filter(|byte| **byte == b'/').count() + 1;
    let tails = paths.take(NAMES_MAX).map(|path| Tail { path, start: tail_start(path, parts) });
    let tails: Vec<Tail<'_>> = tails.collect();
    nearest(word, &tails).map(|tail| tail.path)
}

/// A path that is compared by its last parts.
struct Tail<'n> {
    path: &'n [u8],
    start: usize,
}

impl AsRef<[u8]> for Tail<'_> {
    fn as_ref(&self) -> &[u8] {
        self.path.get(self.start..).unwrap_or_default()
    }
}

fn tail_start(path: &[u8], parts: usize) -> usize {
    let mut slashes = path.iter().enumerate().rev().filter(|(_, byte)| **byte == b'/');
    slashes.nth(parts - 1).map_or(0, |(at, _)| at + 1)
}

/// How many slips lie between two words, if they are at most `most`: the optimal string alignment, and of its table only
/// what lies so near to the diagonal that it can count. Large and small letters of ASCII are the same.
fn slips(one: &[u8], two: &[u8], most: usize) -> Option<usize> {
    if one.len().abs_diff(two.len()) > most {
        return None;
    }
    let far = most + 1;
    let byte = |word: &[u8], at: usize| word.get(at).map(u8::to_ascii_lowercase);
    let mut before = vec![far; two.len() + 1];
    let mut above: Vec<usize> = (0..=two.len()).map(|at| at.min(far)).collect();
    for row in 1..=one.len() {
        let mut here = vec![far; two.len() + 1];
        let (first, last) = (row.saturating_sub(most), (row + most).min(two.len()));
        for column in first..=last {
            let cell = |table: &[usize], at: usize| table.get(at).copied().unwrap_or(far);
            let mut slips = cell(&above, column) + 1;
            if column > 0 {
                let differ = byte(one, row - 1) != byte(two, column - 1);
                slips = slips.min(cell(&here, column - 1) + 1);
                slips = slips.min(cell(&above, column - 1) + usize::from(differ));
            }
            if row > 1
                && column > 1
                && byte(one, row - 1) == byte(two, column - 2)
                && byte(one, row - 2) == byte(two, column - 1)
            {
                slips = slips.min(cell(&before, column - 2) + 1);
            }
            if let Some(place) = here.get_mut(column) {
                *place = slips.min(far);
            }
        }
        (before, above) = (above, here);
        if above.iter().all(|slips| *slips >= far) && before.iter().all(|slips| *slips >= far) {
            return None;
        }
    }
    above.last().copied().filter(|slips| *slips <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_counted_as_hands_make_them() {
        for (one, two, expected) in [
            ("night-2", "night-2", Some(0)),
            ("nigth-2", "night-2", Some(1)),
            ("NIGHT-2", "night-2", Some(0)),
            ("nght-2", "night-2", Some(1)),
            ("nnight-2", "night-2", Some(1)),
            ("might-3", "night-2", Some(2)),
            ("abcdef", "fedcba", None),
            ("", "abc", Some(3)),
            ("", "abcd", None),
            ("abc", "", Some(3)),
        ] {
            assert_eq!(slips(one.as_bytes(), two.as_bytes(), 3), expected, "{one} {two}");
            assert_eq!(slips(two.as_bytes(), one.as_bytes(), 3), expected, "{two} {one}");
        }
        assert_eq!(slips(b"might", b"night", 0), None);
    }

    /// The whole table, from its definition.
    fn slips_plainly(one: &[u8], two: &[u8]) -> usize {
        match (one, two) {
            ([], rest) | (rest, []) => rest.len(),
            ([a, left @ ..], [b, right @ ..]) => {
                let other = slips_plainly(left, right) + usize::from(a != b);
                let more = slips_plainly(left, two).min(slips_plainly(one, right)) + 1;
                let swapped = match (one, two) {
                    ([a, b, left @ ..], [c, d, right @ ..]) if (a, b) == (d, c) => {
                        slips_plainly(left, right) + 1
                    }
                    _ => usize::MAX,
                };
                other.min(more).min(swapped)
            }
        }
    }

    #[test]
    fn slips_are_those_of_the_whole_table() {
        let mut words: Vec<Vec<u8>> = vec![Vec::new()];
        for start in 0..40 {
            let Some(word) = words.get(start).cloned() else { break };
            words.extend(b"abc".iter().map(|letter| [&word[..], &[*letter]].concat()));
        }
        assert!(words.iter().any(|word| word.len() == 4));
        for (one, two) in words.iter().flat_map(|one| words.iter().map(move |two| (one, two))) {
            let all = slips_plainly(one, two);
            for most in 0..=3 {
                let expected = (all <= most).then_some(all);
                assert_eq!(slips(one, two, most), expected, "{one:?} {two:?} {most}");
            }
        }
    }

    #[test]
    fn the_nearest_name_is_found_and_none_for_what_is_far_or_short() {
        let names = ["night-1", "night-22", "other"];
        assert_eq!(nearest(b"nigth-1", names), Some("night-1"));
        assert_eq!(nearest(b"night-2", names), Some("night-1"), "the first of the nearest");
        assert_eq!(nearest(b"day", names), None);
        assert_eq!(nearest(b"b", ["a", "c"]), None);
        assert_eq!(nearest(&[b'x'; 300], ["x"]), None);
    }

    #[test]
    fn paths_are_compared_by_their_last_parts() {
        let paths: [&[u8]; 3] = [b"srv/images", b"srv/images/app.raw", b"srv/mail.raw"];
        let near = |word: &[u8]| nearest_path(word, paths.into_iter());
        assert_eq!(near(b"ap.raw"), Some(paths[1]));
        assert_eq!(near(b"image/app.raw"), Some(paths[1]));
        assert_eq!(near(b"srv/image"), Some(paths[0]));
        assert_eq!(near(b"nothing"), None);
    }
}
