//! What comes out of a pipe: the item it is stored as, and its first bytes as something to look at.

use std::io::ErrorKind;
use std::path::Path;

use garret_format::archive::{Identity, Item, ItemKind};
use garret_format::recipe::STREAM_LEN_MAX;
use garret_image::{Extent, Source, SourceError};

use super::stat::nothing;
use crate::limits::HEAD_LEN;
use crate::objects::archive::now;

/// What errors call a stream that comes out of a pipe.
pub(super) const PIPE: &str = "standard input";

/// The item of a pipe without a name of its own.
pub(super) fn piped(path: Vec<u8>) -> Item {
    Item {
        path,
        kind: ItemKind::File(nothing()),
        mode: 0o600,
        uid: 0,
        gid: 0,
        user: String::new(),
        group: String::new(),
        size: 0,
        mtime: now(),
        identity: Identity::default(),
        flags: 0,
        xattrs: Vec::new(),
        changed: false,
        linked: false,
        followed: false,
    }
}

/// The first bytes of a pipe, for `detect`: a window, or all there are. What lies behind a window cannot be read, and nobody
/// knows how long it is.
pub(super) struct PipeHead<'a>(pub(super) &'a [u8]);

impl Source for PipeHead<'_> {
    fn len(&self) -> u64 {
        if self.0.len() < HEAD_LEN { self.0.len() as u64 } else { STREAM_LEN_MAX }
    }

    fn extent_at(&self, offset: u64) -> Result<Extent, SourceError> {
        Ok(Extent::Data { offset, len: self.len() - offset })
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), SourceError> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.0.get(offset..));
        let Some(bytes) = rest.and_then(|rest| rest.get(..buf.len())) else {
            let path = Path::new(PIPE);
            return Err(SourceError::new(path, "look ahead", ErrorKind::UnexpectedEof));
        };
        buf.copy_from_slice(bytes);
        Ok(())
    }

    fn changed(&self) -> Result<bool, SourceError> {
        Ok(false)
    }
}
