//! Hostile counts and lengths do not make a decoder allocate: what it asks for stays in proportion
//! to the bytes it was given.
//!
//! The allocator of this test program adds up, thread by thread, what is asked for. All other suites
//! use the ordinary one, so this file is a program of its own.

#![allow(unsafe_code, reason = "an allocator that counts cannot be written without")]
#![allow(clippy::unwrap_used, reason = "test code, but outside of test functions")]

mod common;
#[path = "../../../fuzz/src/decode.rs"]
mod decode;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use common::samples;

thread_local! {
    /// Bytes asked for by this thread.
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: hands everything to the system's allocator; the counter is a plain thread-local cell that needs no allocation.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ASKED.try_with(|asked| asked.set(asked.get() + layout.size()));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`, and all memory comes from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Asserts that the targets, which decode and encode again, ask for at most 200 bytes per byte
/// given (a leaf entry of 9 bytes becomes 48, vectors double as they grow, what was decoded is
/// encoded again) and 64 KiB.
fn check(bytes: &[u8], what: &str) {
    for (name, target) in decode::TARGETS {
        let before = ASKED.get();
        target(bytes);
        let asked = ASKED.get() - before;
        assert!(asked <= bytes.len() * 200 + (64 << 10), "{name}: {what}: {asked} bytes");
    }
}

#[test]
fn a_number_of_any_size_at_any_place_allocates_no_more_than_the_bytes_are_worth() {
    for sample in samples::all() {
        for number in [u32::MAX, 1 << 31, 1 << 24, 1 << 20, 1 << 16] {
            for place in 0..sample.bytes.len().saturating_sub(3) {
                let mut bytes = sample.bytes.clone();
                bytes[place..place + 4].copy_from_slice(&number.to_le_bytes());
                check(&bytes, sample.name);
                check(bytes.get(4..).unwrap_or_default(), sample.name);
            }
        }
    }
}

#[test]
fn long_inputs_of_counts_allocate_no_more_than_they_are_worth() {
    for word in [[0u8; 4], [0xff; 4], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0], [0, 2, 0, 0]] {
        for len in [16, 1000, 100_000, 1_000_000] {
            let bytes: Vec<u8> = word.iter().copied().cycle().take(len).collect();
            check(&bytes, "repeated word");
        }
    }
}
