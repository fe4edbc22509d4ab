//! A call that was done already when it is made again, as over a network when the answer was lost.

use std::fs;

use super::*;
use crate::store::StoreErrorKind;

/// Puts an archive; `before` is what is done to the paths of the temporary file and of the archive in the moment before that
/// gets its name.
fn put_after(before: impl Fn(&Path, &Path), replace: bool) -> (io::Result<()>, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalStore::open(dir.path()).unwrap();
    let (key, parts) = (Key::Archive("a".to_owned()), [&b"what is "[..], b"put"]);
    let staged = store.stage(&parts).unwrap();
    fs::create_dir(dir.path().join(BACKUPS)).unwrap();
    let place = dir.path().join(path_of(&key));
    before(&dir.path().join(TMP).join(&staged.name), &place);
    let put = store.settle(staged, &key, &parts, replace);
    assert_eq!(fs::read_dir(dir.path().join(TMP)).unwrap().count(), 0, "nothing is left");
    (put, fs::read(place).unwrap_or_default())
}

#[test]
fn what_has_its_name_already_was_put_and_what_another_put_there_is_not_ours() {
    let link = |from: &Path, to: &Path| fs::hard_link(from, to).unwrap();
    let rename = |from: &Path, to: &Path| fs::rename(from, to).unwrap();
    for (put, bytes) in [
        put_after(link, false),
        put_after(rename, false),
        put_after(rename, true),
        put_after(|_, _| (), false),
    ] {
        put.unwrap();
        assert_eq!(bytes, b"what is put");
    }
    // The same bytes, but not by us; ours, and somebody wrote into it.
    let same = |_: &Path, to: &Path| fs::write(to, "what is put").unwrap();
    let altered = |from: &Path, to: &Path| {
        fs::hard_link(from, to).unwrap();
        fs::write(to, "what is put, and more").unwrap();
    };
    for (put, _) in [put_after(same, false), put_after(altered, false)] {
        assert_eq!(StoreErrorKind::of(&put.unwrap_err()), StoreErrorKind::AlreadyExists);
    }
    let gone = |from: &Path, _: &Path| fs::remove_file(from).unwrap();
    let (put, _) = put_after(gone, true);
    assert_eq!(StoreErrorKind::of(&put.unwrap_err()), StoreErrorKind::NotFound);
}
