//! Which items of an archive are meant: all, or those that given words name; and none that a pattern excludes.
//!
//! In: words of the user, and the paths that there are. Out: whether an item is selected, and which words named nothing. A
//! word is a path as it is stored; if there is none such, the last parts of some; if there are none such either, a shell
//! pattern of whole paths and of their last parts. What lies below is selected with what is named.

use crate::pattern::Patterns;

/// Words, what each stands for, and whether it named something; and patterns, which win.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    words: Vec<Word>,
    exclude: Patterns,
}

#[derive(Clone, Debug)]
struct Word {
    text: Vec<u8>,
    meaning: Meaning,
    matched: bool,
}

/// What a word can stand for.
#[derive(Clone, Debug, Default)]
enum Meaning {
    /// A path, compared part by part.
    #[default]
    Path,
    /// The last parts of paths.
    LastParts,
    /// A pattern over whole paths and over their last parts, so that `app*` finds what `app.raw` would.
    Pattern(Patterns),
}

impl Selection {
    /// Items that any of `words` names, and what is below them; everything if there are none. A leading or trailing `/` is
    /// ignored: archives store relative paths.
    pub fn new(words: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let word = |word: Vec<u8>| {
            let text = Self::stored(&word);
            Word { text, meaning: Meaning::Path, matched: false }
        };
        Selection { words: words.into_iter().map(word).collect(), exclude: Patterns::default() }
    }

    /// The same without what a pattern excludes. Patterns are about paths as archives store them.
    #[must_use]
    pub fn without(mut self, exclude: Patterns) -> Self {
        self.exclude = exclude;
        self
    }

    /// A path that the user gave, as archives store it.
    pub fn stored(path: &[u8]) -> Vec<u8> {
        let parts =
            path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
        parts.collect::<Vec<_>>().join(&b'/')
    }

    /// The words that named nothing, once all paths were seen.
    pub fn unmatched(&self) -> Vec<Vec<u8>> {
        self.words.iter().filter(|word| !word.matched).map(|word| word.text.clone()).collect()
    }

    pub(crate) fn is_everything(&self) -> bool {
        self.words.is_empty() && self.exclude.is_empty()
    }

    /// Decides what each word stands for, by the paths that there are. Looks no further than it needs to.
    pub(crate) fn settle(&mut self, paths: impl Iterator<Item = Vec<u8>>) {
        // Not one is asked for: the first costs a read.
        if self.words.is_empty() {
            return;
        }
        let meanings: Vec<Vec<Meaning>> = self.words.iter().map(Word::meanings).collect();
        // By word: the first of its meanings that some path has.
        let mut best = vec![usize::MAX; meanings.len()];
        for path in paths {
            if best.iter().all(|best| *best == 0) {
                break;
            }
            for ((word, meanings), best) in self.words.iter().zip(&meanings).zip(&mut best) {
                let mut better = meanings.iter().take(*best);
                if let Some(found) = better.position(|meaning| meaning.covers(&word.text, &path)) {
                    *best = found;
                }
            }
        }
        for ((word, meanings), best) in self.words.iter_mut().zip(meanings).zip(best) {
            word.meaning = meanings.into_iter().nth(best).unwrap_or_default();
        }
    }

    /// Whether the item at `path` is selected. A word that names only what is excluded has named something: it is there.
    pub(crate) fn selects(&mut self, path: &[u8]) -> bool {
        let mut selected = self.words.is_empty();
        for Word { text, meaning, matched } in &mut self.words {
            let covers = meaning.covers(text, path);
            *matched |= covers;
            selected |= covers;
        }
        selected && !self.exclude.exclude(path)
    }
}

impl Word {
    /// What it can stand for; the first of these that there is counts.
    fn meanings(&self) -> Vec<Meaning> {
        let mut meanings = vec![Meaning::Path, Meaning::LastParts];
        if self.text.iter().any(|byte| b"*?[".contains(byte)) {
            meanings.push(Meaning::Pattern(Patterns::new([self.text.clone()])));
        }
        meanings
    }
}

impl Meaning {
    /// Whether `path` is what the word names, or below it.
    fn covers(&self, word: &[u8], path: &[u8]) -> bool {
        let begins = |path: &[u8]| match path.strip_prefix(word) {
            Some(rest) => rest.is_empty() || rest.starts_with(b"/") || word.is_empty(),
            None => false,
        };
        match self {
            Meaning::Path => begins(path),
            Meaning::LastParts => last_parts(path).any(begins),
            Meaning::Pattern(pattern) if pattern.exclude(path) => true,
            // What begins with a star has covered the whole path then.
            Meaning::Pattern(_) if word.starts_with(b"*") => false,
            Meaning::Pattern(pattern) => last_parts(path).any(|part| pattern.exclude(part)),
        }
    }
}

/// The ends of a path that begin with a name, the longest first; not the whole path.
fn last_parts(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    slashes.filter_map(|(at, _)| path.get(at + 1..))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_compared_part_by_part() {
        let mut selection = Selection::new([b"/var/lib/".to_vec(), b"none".to_vec()]);
        assert!(selection.selects(b"var/lib"));
        assert!(selection.selects(b"var/lib/vm.img"));
        assert!(!selection.selects(b"var/library"));
        assert!(!selection.selects(b"var"));
        assert_eq!(selection.unmatched(), [b"none".to_vec()]);
        assert!(Selection::new([]).selects(b"anything"));
    }

    /// What is selected of these paths, and what named nothing.
    fn selected(words: &[&str], paths: &[&str]) -> (Vec<String>, Vec<Vec<u8>>) {
        let mut selection = Selection::new(words.iter().map(|word| word.as_bytes().to_vec()));
        selection.settle(paths.iter().map(|path| path.as_bytes().to_vec()));
        let chosen = paths.iter().filter(|path| selection.selects(path.as_bytes()));
        let chosen = chosen.map(|path| path.to_string()).collect();
        (chosen, selection.unmatched())
    }

    #[test]
    fn a_word_is_a_path_or_the_last_parts_of_some_or_a_pattern() {
        let paths = ["a.raw", "d", "d/a.raw", "d/b.raw", "d/[x]", "e", "e/b.raw", "e/f/d"];
        for (words, expected) in [
            (&["a.raw"][..], &["a.raw"][..]),
            (&["b.raw"], &["d/b.raw", "e/b.raw"]),
            (&["d"], &["d", "d/a.raw", "d/b.raw", "d/[x]"]),
            (&["f"], &["e/f/d"]),
            (&["f/d"], &["e/f/d"]),
            (&["[x]"], &["d/[x]"]),
            (&["d/*.raw"], &["d/a.raw", "d/b.raw"]),
            (&["b.*"], &["d/b.raw", "e/b.raw"]),
            (&["f/?"], &["e/f/d"]),
            (&["*.raw"], &["a.raw", "d/a.raw", "d/b.raw", "e/b.raw"]),
            (&["?"], &["d", "d/a.raw", "d/b.raw", "d/[x]", "e", "e/b.raw", "e/f/d"]),
            (&["b.raw", "a.raw"], &["a.raw", "d/b.raw", "e/b.raw"]),
        ] {
            let (chosen, unmatched) = selected(words, &paths);
            assert_eq!(chosen, expected, "{words:?}");
            assert_eq!(unmatched, [b""; 0], "{words:?}");
        }
        assert_eq!(selected(&["raw", "x*", "b.ra"], &paths).1.len(), 3);
        assert_eq!(selected(&["raw"], &paths).0, [""; 0]);
        assert_eq!(selected(&[], &paths).0, paths);
        assert_eq!(selected(&["/"], &paths).0, paths);
    }

    #[test]
    fn an_exclude_beats_an_include_and_the_include_has_matched() {
        let exclude = Patterns::new([b"a/*.o".to_vec()]);
        let mut selection = Selection::new([b"a".to_vec()]).without(exclude.clone());
        assert!(!selection.selects(b"a/x.o"));
        assert!(selection.unmatched().is_empty());
        assert!(selection.selects(b"a/x.c") && !selection.selects(b"b"));
        let mut rest = Selection::default().without(exclude);
        assert!(rest.selects(b"b") && !rest.selects(b"a/x.o") && !rest.is_everything());
    }
}
