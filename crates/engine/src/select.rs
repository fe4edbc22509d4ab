//! Which items of an archive are meant: all, or those at or below given paths; and none that a pattern excludes.

use crate::pattern::Patterns;

/// Paths, compared part by part, and which of them matched something; and patterns, which win.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    paths: Vec<(Vec<u8>, bool)>,
    exclude: Patterns,
}

impl Selection {
    /// Items at or below any of `paths`; everything if there are none. A leading or trailing `/` is ignored: archives store
    /// relative paths.
    pub fn new(paths: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let paths = paths.into_iter().map(|path| (Self::stored(&path), false)).collect();
        Selection { paths, exclude: Patterns::default() }
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

    pub(crate) fn is_everything(&self) -> bool {
        self.paths.is_empty() && self.exclude.is_empty()
    }

    /// Whether the item at `path` is selected. A path that matches only what is excluded has matched: it is there.
    pub(crate) fn selects(&mut self, path: &[u8]) -> bool {
        let mut selected = self.paths.is_empty();
        for (wanted, matched) in &mut self.paths {
            let below = match path.strip_prefix(wanted.as_slice()) {
                Some(rest) => rest.is_empty() || rest.starts_with(b"/") || wanted.is_empty(),
                None => false,
            };
            *matched |= below;
            selected |= below;
        }
        selected && !self.exclude.exclude(path)
    }

    /// The paths that matched nothing.
    pub(crate) fn unmatched(&self) -> Vec<Vec<u8>> {
        self.paths.iter().filter(|(_, matched)| !matched).map(|(path, _)| path.clone()).collect()
    }
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
