//! Large buffers that are used again, so that their pages are not faulted in anew.
//!
//! In: a length. Out: a [`Buffer`] of any content, which goes back to its [`BufferPool`] when it is dropped. A pool holds as
//! many as were in use at once.

use std::sync::{Arc, Mutex, PoisonError};

/// Buffers that are free.
#[derive(Clone, Debug, Default)]
pub(crate) struct BufferPool(Arc<Mutex<Vec<Vec<u8>>>>);

/// Bytes of a window, or of what is restored. Goes back to its pool when dropped.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    len: usize,
    pool: BufferPool,
}

impl BufferPool {
    /// A buffer of `len` bytes of any content.
    pub(crate) fn get(&self, len: usize) -> Buffer {
        let mut bytes =
            self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        if bytes.len() < len {
            bytes.resize(len, 0);
        }
        Buffer { bytes, len, pool: self.clone() }
    }
}

impl Buffer {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Leaves out what lies behind the first `len` bytes; a longer one leaves it as it is.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.len).unwrap_or_default()
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.pool.0.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
    }
}
