//! How much a backup is going to read, before it begins.

use std::collections::HashSet;

use garret_image::{Metadata, RawFile, Source};

use super::options::{BackupOptions, Input};
use super::plan::rules;
use super::walk::{Walk, stored_path};

/// The sum of the lengths of the inputs, if all of them have one; of what is read once only, once.
pub(super) fn inputs_len(inputs: &[Input], options: &BackupOptions) -> Option<u64> {
    let (mut sum, mut paths, mut linked) = (0u64, HashSet::new(), HashSet::new());
    for input in inputs {
        if let Input::Source { source, .. } = input {
            sum = sum.saturating_add(source.len());
            continue;
        }
        let (path, stored) = input.walked()?;
        if Walk::new(path, rules(options)).is_excluded(&stored_path(path)) || !paths.insert(stored)
        {
            continue;
        }
        let file = RawFile::open(path, true).ok()?;
        let Metadata { dev, ino, nlink, .. } = *file.metadata();
        if nlink <= 1 || linked.insert((dev, ino)) {
            sum = sum.saturating_add(file.len());
        }
    }
    Some(sum)
}
