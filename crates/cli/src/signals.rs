//! Signals that would end the program without a word.
//!
//! A write beyond the longest file that is allowed (`ulimit -f`) brings SIGXFSZ, which kills. When it is caught the write
//! fails instead, and the error is told like any other. Caught, not ignored: what is ignored stays so in the programs we
//! start.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

const XFSZ: i32 = rustix::process::Signal::XFSZ.as_raw();

/// Has writes that are too long fail from now on. Where that cannot be they go on to kill, as before.
pub fn catch() {
    let _killed = signal_hook::flag::register(XFSZ, Arc::new(AtomicBool::new(false)));
}
