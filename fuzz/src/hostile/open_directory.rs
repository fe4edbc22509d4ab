//! Any files of any type in the directory of a repository.
//!
//! In: bytes, read as changes of the bytes of a sound repository, and then of what its names are: links to what is outside,
//! to each other and to themselves, pipes, directories, sockets, hard links, names that no object has. Out: see
//! [`Subject::try_everything`]. Promise checked beside: nothing outside of the directory is touched.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use garret_core::LocalStore;

use super::attempt::Subject;
use super::base::sealed;
use super::input::Input;
use super::open_repository::altered;
use super::outside::{Scratch, file_name, is_inside, make_pipe, remove};

/// Opens what the bytes describe.
pub fn open_directory(bytes: &[u8]) {
    let input = &mut Input(bytes);
    let sealed = (input.below(2) == 1).then(sealed);
    let objects = altered(sealed.map(|sealed| &sealed.objects), input);
    let archive = objects.iter().find(|(key, _)| matches!(key, garret_core::Key::Archive(_)));
    let scratch = Scratch::new(archive.map_or(&[], |(_, bytes)| bytes));
    let root = scratch.path("repository");
    let mut paths: Vec<PathBuf> = ["tmp", "tmp/00000000000000000000000000000000", "README"]
        .map(|name| root.join(name))
        .into();
    for (key, bytes) in &objects {
        let path = root.join(key.to_string());
        fs::create_dir_all(path.parent().unwrap_or(&root)).unwrap();
        fs::write(&path, bytes).unwrap();
        paths.extend(path.ancestors().take_while(|path| **path != root).map(Path::to_owned));
    }
    for _ in 0..1 + input.below(4) {
        exchange(&root, &paths, input);
    }
    let open = || Ok(Box::new(LocalStore::open(&root)?) as Box<dyn garret_core::Store>);
    Subject { store: &open, sealed }.try_everything();
    scratch.assert_untouched();
}

/// Puts something else in the place of a name.
fn exchange(root: &Path, paths: &[PathBuf], input: &mut Input<'_>) {
    let mut path = paths[input.below(paths.len())].clone();
    if input.below(4) == 0 {
        // A name of any kind beside it.
        let Some(name) = file_name(input.string()) else { return };
        path.set_file_name(name);
    }
    let other = &paths[input.below(paths.len())];
    let named = ["outside", "outside/file", "outside/directory", "outside/object", "outside/pipe"];
    let outside = root.with_file_name(input.pick(&named));
    if path == *root
        || !path.starts_with(root)
        || !is_inside(root, &path)
        || !is_inside(root, other)
    {
        return;
    }
    let kind = input.byte() % 12;
    // Moved and copied before it is removed, should it be in what is removed.
    let bytes =
        fs::symlink_metadata(other).is_ok_and(|found| found.is_file()).then(|| fs::read(other));
    remove(&path);
    let _ = fs::create_dir_all(path.parent().unwrap_or(root));
    let _ = match kind {
        0 | 1 => symlink(&outside, &path),
        2 => symlink(other, &path),
        3 => symlink(path.file_name().unwrap_or_default(), &path),
        4 => fs::hard_link(root.with_file_name("outside/file"), &path),
        5 => fs::hard_link(other, &path),
        6 => fs::create_dir(&path),
        7 => UnixListener::bind(&path).map(drop),
        8 => fs::write(&path, input.string()),
        9 => fs::rename(other, &path),
        10 => bytes.transpose().and_then(|bytes| fs::write(&path, bytes.unwrap_or_default())),
        _ => make_pipe(&path),
    };
}
