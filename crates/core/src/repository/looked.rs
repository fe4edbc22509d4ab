//! Archives that were read to compare what is there with what a client saw before.
//!
//! In: what was read. Out: each once, to whoever asks for it next. Promises: no more of them than a bound says; none for who
//! deletes, who reads what he goes by when he does.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::objects::archive::NamedArchive;

/// Bytes of archives' files: some thousand archives.
const LEN_MAX: u64 = 1 << 20;

pub(super) struct Looked {
    is_kept: bool,
    archives: Mutex<HashMap<String, NamedArchive>>,
}

impl Looked {
    /// Keeps what is read, or nothing.
    pub(super) fn new(is_kept: bool) -> Self {
        Looked { is_kept, archives: Mutex::default() }
    }

    /// Keeps these, as far as there is room, in place of those before.
    pub(super) fn note<'a>(&self, found: impl Iterator<Item = &'a NamedArchive>) {
        let mut archives = self.archives();
        archives.clear();
        let mut room = if self.is_kept { LEN_MAX } else { 0 };
        for found in found {
            let Some(left) = room.checked_sub(found.len) else { break };
            room = left;
            archives.insert(found.name.clone(), found.clone());
        }
    }

    /// Names are listed anew: what one stands for may be another by now.
    pub(super) fn clear(&self) {
        self.archives().clear();
    }

    /// The archive of that name, if it was read; it is kept no longer.
    pub(super) fn take(&self, name: &str) -> Option<NamedArchive> {
        self.archives().remove(name)
    }

    fn archives(&self) -> MutexGuard<'_, HashMap<String, NamedArchive>> {
        self.archives.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
