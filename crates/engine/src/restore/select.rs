//! Which items of an archive are meant: all, or those at or below given paths.

/// Paths, compared part by part, and which of them matched something.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    paths: Vec<(Vec<u8>, bool)>,
}

impl Selection {
    /// Items at or below any of `paths`; everything if there are none. A leading or trailing `/` is ignored: archives store
    /// relative paths.
    pub fn new(paths: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Selection { paths: paths.into_iter().map(|path| (Self::stored(&path), false)).collect() }
    }

    /// A path that the user gave, as archives store it.
    pub fn stored(path: &[u8]) -> Vec<u8> {
        let parts =
            path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
        parts.collect::<Vec<_>>().join(&b'/')
    }

    pub(crate) fn is_everything(&self) -> bool {
        self.paths.is_empty()
    }

    /// Whether the item at `path` is selected.
    pub(crate) fn selects(&mut self, path: &[u8]) -> bool {
        let mut selected = self.is_everything();
        for (wanted, matched) in &mut self.paths {
            let below = match path.strip_prefix(wanted.as_slice()) {
                Some(rest) => rest.is_empty() || rest.starts_with(b"/") || wanted.is_empty(),
                None => false,
            };
            *matched |= below;
            selected |= below;
        }
        selected
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
}
