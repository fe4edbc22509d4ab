//! Disks that do not lie in one file: qcow2 images that need another one, which is not in the archive.
//!
//! In: images that are backed up, then the finished archive. Out: a line for each image whose backing or data file is not
//! there: it is no disk without it. The names are an enemy's words. They are never opened, only compared with the paths of
//! the archive as QEMU would resolve them: relative to the directory of the image.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use garret_format::archive::ItemKind;
use garret_image::Source;
use garret_image::qcow2::{Others, others};

use super::options::{BackupOptions, Input};
use crate::backup::walk::absolute_path;
use crate::objects::archive::NamedArchive;
use crate::progress::Progress;
use crate::repository::Repository;

/// Most files that are looked for: a directory of hostile images must not fill the memory with names.
const ELSEWHERE_MAX: usize = 1000;

/// A file that a disk needs besides its image.
pub(super) struct Elsewhere {
    /// The image, as it is stored.
    image: String,
    /// What it is to the image, in a word.
    part: &'static str,
    /// Its name as the image has it.
    name: String,
    /// The paths under which it may be stored.
    stored: Vec<Vec<u8>>,
}

/// Where the inputs lie: absolute paths and what they are stored as.
pub(super) struct Places {
    base: PathBuf,
    inputs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Places {
    pub(super) fn new(inputs: &[Input], options: &BackupOptions) -> Self {
        let place = |input: &Input| {
            let (path, stored) = input.walked()?;
            Some((absolute_path(&options.base, path), stored))
        };
        let inputs = inputs.iter().filter_map(place).collect();
        Places { base: options.base.clone(), inputs }
    }

    /// The files that the image `file` needs besides itself. It is at `path` and stored as `stored`. None if it is no qcow2
    /// image, or its header cannot be read.
    pub(super) fn needed_by(
        &self,
        file: &dyn Source,
        path: &Path,
        stored: &[u8],
    ) -> Vec<Elsewhere> {
        let Others { backing, data } = others(file).unwrap_or_default();
        let named = [("backing", backing), ("data", data)];
        let other = |(part, name): (&'static str, Option<Vec<u8>>)| {
            let name = name?;
            Some(Elsewhere {
                image: String::from_utf8_lossy(stored).into_owned(),
                part,
                stored: self.stored(&name, path),
                name: String::from_utf8_lossy(&name).into_owned(),
            })
        };
        named.into_iter().filter_map(other).collect()
    }

    /// What the file that the image at `path` calls `name` may be stored as.
    fn stored(&self, name: &[u8], path: &Path) -> Vec<Vec<u8>> {
        let name = name.strip_prefix(b"file:").unwrap_or(name);
        let first = name.split(|byte| *byte == b'/').next().unwrap_or_default();
        if first.contains(&b':') || name.is_empty() {
            // Another protocol, or nothing: no file of this host.
            return Vec::new();
        }
        let name = Path::new(OsStr::from_bytes(name));
        // A link to an image is opened by its own name, but was made beside what it points to.
        let images = [Some(path.to_owned()), path.canonicalize().ok()];
        let directories = images.iter().flatten().filter_map(|image| image.parent());
        let mut found: Vec<Vec<u8>> = Vec::new();
        for directory in directories {
            let absolute = absolute_path(&self.base, &directory.join(name));
            for (input, stored) in &self.inputs {
                let rest = match input.as_slice() {
                    b"/" => absolute.get(1..),
                    input => absolute.strip_prefix(input),
                };
                let path = match rest {
                    Some([]) => stored.clone(),
                    Some([b'/', rest @ ..]) => joined(stored, rest),
                    Some(rest) if input == b"/" => joined(stored, rest),
                    _ => continue,
                };
                found.push(path);
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

fn joined(stored: &[u8], rest: &[u8]) -> Vec<u8> {
    let parts = [stored, rest];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(&b'/')
}

/// Adds to what is looked for.
pub(super) fn remember(all: &mut Vec<Elsewhere>, new: Elsewhere) {
    if all.len() < ELSEWHERE_MAX {
        all.push(new);
    }
}

/// Says which of these files the archive does not have. The items are read only if there are any.
pub(super) fn tell(
    repository: &Repository,
    archive: &NamedArchive,
    needed: &[Elsewhere],
    progress: &dyn Progress,
) {
    if needed.is_empty() {
        return;
    }
    let mut missing: HashSet<&[u8]> =
        needed.iter().flat_map(|one| &one.stored).map(Vec::as_slice).collect();
    // The archive is made: what cannot be read again now is not known to be there.
    for item in repository.items(archive).map_while(Result::ok) {
        if !matches!(item.kind, ItemKind::Directory | ItemKind::Symlink(_)) {
            missing.remove(item.path.as_slice());
        }
    }
    for Elsewhere { image, part, name, stored } in needed {
        if stored.iter().all(|path| missing.contains(path.as_slice())) {
            let name = if name.is_empty() { "(which it does not name)" } else { name };
            progress.notice(&format!(
                "note: {image}: its {part} file {name} is not in this archive: back it up too: \
                 the image is incomplete without it"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_resolved_as_qemu_does_and_only_below_what_is_backed_up() {
        let places = |inputs: &[&str]| {
            let inputs: Vec<Input> = inputs.iter().map(|path| Input::Path(path.into())).collect();
            let options = BackupOptions { base: "/srv".into(), ..BackupOptions::default() };
            Places::new(&inputs, &options)
        };
        let stored = |inputs: &[&str], image: &str, name: &str| -> Vec<String> {
            let found = places(inputs).stored(name.as_bytes(), Path::new(image));
            found.into_iter().map(|path| String::from_utf8(path).unwrap()).collect()
        };
        assert_eq!(stored(&["im"], "im/ov.qcow2", "base.qcow2"), ["im/base.qcow2"]);
        assert_eq!(stored(&["im"], "im/ov.qcow2", "./x/../base.qcow2"), ["im/base.qcow2"]);
        assert_eq!(stored(&["im"], "im/a/ov.qcow2", "../base.qcow2"), ["im/base.qcow2"]);
        assert_eq!(stored(&["im"], "im/ov.qcow2", "/srv/im/b"), ["im/b"]);
        assert_eq!(stored(&["im"], "im/ov.qcow2", "file:/srv/im/b"), ["im/b"]);
        assert_eq!(stored(&["."], "./ov.qcow2", "base"), ["base"]);
        assert_eq!(stored(&["/"], "/srv/ov.qcow2", "/pool/base"), ["pool/base"]);
        assert_eq!(stored(&["/pool/base", "ov"], "ov", "/pool/base"), ["pool/base"]);
        assert_eq!(stored(&["../pool", "ov"], "ov", "/pool/base"), ["pool/base"]);
        for (image, name) in [
            ("im/ov", "/pool/base"),
            ("im/ov", "../image"),
            ("im/ov", "nbd://host/x"),
            ("im/ov", "json:{\"file\":1}"),
            ("im/ov", ""),
        ] {
            assert_eq!(stored(&["im"], image, name), [""; 0], "{name}");
        }
    }
}
