//! What a store is asked: a few requests on objects that have names.
//!
//! In: names below a repository's prefix, bytes. Out: what the store answers. Promises, which each kind keeps in the file of
//! its name: a request ends, well or not, soon after nothing moves any more; nothing is tried again here; what is read is
//! never longer than was asked for; each error is one line that names the place.

use std::io;
use std::ops::Range;
use std::time::Duration;

use garret_core::StoreError;
use tokio::runtime::{Builder, Runtime};

/// Most characters of what a server says in an error.
const SAID_MAX: usize = 300;

/// An object in a listing.
pub(crate) struct Listed {
    /// Its name below the prefix.
    pub name: String,
    /// Its length in bytes.
    pub len: u64,
    /// When the server got it, by its clock, since 1970.
    pub put: Option<Duration>,
}

/// The way to a store. Any thread may ask, as many at once as like.
pub(crate) trait Service: Send + Sync {
    /// Finds the way there.
    fn connect(&self) -> Result<(), StoreError>;
    /// Stores the parts as one object, in the place of what is there; if `is_new` and the store keeps to it, only where there
    /// is nothing. A reader sees all of it or nothing.
    fn put(&self, name: &str, parts: &[&[u8]], is_new: bool) -> Result<(), StoreError>;
    /// The bytes in a range, which may not be empty.
    fn get(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError>;
    /// A whole object of at most `max` bytes, as it was at one moment.
    fn get_whole(&self, name: &str, max: u64) -> Result<Vec<u8>, StoreError>;
    /// An object's length in bytes.
    fn len(&self, name: &str) -> Result<u64, StoreError>;
    /// When the server got an object, by its clock, since 1970.
    fn put_time(&self, name: &str) -> Result<Option<Duration>, StoreError>;
    /// Everything whose name begins with `directory`, which ends in a slash or is empty; at most `max` of it.
    fn list(&self, directory: &str, max: usize) -> Result<Vec<Listed>, StoreError>;
    /// Removes an object, if it is there.
    fn delete(&self, name: &str) -> Result<(), StoreError>;
    /// Makes the next sync cover an object that another process put.
    fn adopt(&self, name: &str) -> Result<(), StoreError>;
    /// Makes the next sync cover what others did in a directory, whose name ends in a slash.
    fn touch(&self, directory: &str);
    /// Waits until all that was put, deleted and adopted is durable.
    fn sync(&self) -> Result<(), StoreError>;
    /// Removes what is left where nothing is any more, as far as it can.
    fn clear(&self);
    /// Whether a listing may lack what was put a moment ago.
    fn lists_late(&self) -> bool;
    /// Whether a listing of everything shows what has the first names as it was before what has the last.
    fn lists_in_order(&self) -> bool;
    /// What the user should know of the store although nothing failed.
    fn notices(&self) -> Vec<String> {
        Vec::new()
    }
    /// Where it is, for messages.
    fn place(&self) -> String;
}

/// What the libraries run in.
pub(crate) fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(2).thread_name("store").enable_all().build()
}

/// The range ends behind the object, which has `len` bytes.
pub(crate) fn ends_behind(object: String, len: u64, range: &Range<u64>) -> StoreError {
    let Range { start, end } = range;
    let why = format!("it has {len} bytes, and those from {start} to {end} are asked for");
    StoreError::new("read", object, io::Error::new(io::ErrorKind::UnexpectedEof, why))
}

/// As much of what a server says as is shown, as one line.
pub(crate) fn line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().map(|c| if c.is_control() { '?' } else { c }).take(SAID_MAX).collect()
}

/// What is at the bottom of an error, in words.
pub(crate) fn deepest(error: &(dyn std::error::Error + 'static)) -> String {
    let mut deepest = error;
    while let Some(below) = deepest.source() {
        deepest = below;
    }
    deepest.to_string()
}
