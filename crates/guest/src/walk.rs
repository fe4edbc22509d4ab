//! From a path as somebody in the guest writes it to one without links.
//!
//! In: a file system, a path. Out: the path of what is meant. Links lead where they would lead in the guest if the file
//! system were its root, never outside.

use crate::{Error, FileSystem, Kind, Result};

/// Links that are followed, as by Linux.
const LINKS_MAX: usize = 40;

/// Bytes of a path, as of Linux: a forged directory may be its own.
pub(crate) const PATH_MAX: usize = 4096;

/// The path of what `path` means. A link that it ends with is followed if `follows` is set.
///
/// # Errors
/// `Missing`, `NotADirectory`, `Links`; damage.
pub fn resolve(system: &mut dyn FileSystem, path: &[u8], follows: bool) -> Result<Vec<u8>> {
    let (mut todo, mut done) = (names(path), Vec::new());
    let mut count = 0;
    while let Some(name) = todo.pop() {
        match name.as_slice() {
            b"." => continue,
            b".." => {
                let parent = done.iter().rposition(|byte| *byte == b'/');
                done.truncate(parent.unwrap_or(0));
                continue;
            }
            _ => {}
        }
        let next = [&done, &b"/"[..], &name].concat();
        if next.len() > PATH_MAX {
            return Err(Error::Missing);
        }
        match system.entry(&next)?.kind {
            Kind::Link if follows || !todo.is_empty() => {
                count += 1;
                if count > LINKS_MAX {
                    return Err(Error::Links(LINKS_MAX));
                }
                let target = system.target(&next)?;
                if target.first() == Some(&b'/') {
                    done.clear();
                }
                todo.extend(names(&target));
            }
            Kind::Directory => done = next,
            _ if todo.is_empty() => done = next,
            _ => return Err(Error::NotADirectory),
        }
    }
    Ok(if done.is_empty() { b"/".to_vec() } else { done })
}

/// The names in a path, the last first.
fn names(path: &[u8]) -> Vec<Vec<u8>> {
    let names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
    let mut names: Vec<Vec<u8>> = names.map(<[u8]>::to_vec).collect();
    names.reverse();
    names
}
