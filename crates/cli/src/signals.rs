//! Signals that would end the program without a word.
//!
//! A write beyond the longest file that is allowed (`ulimit -f`) brings SIGXFSZ, which kills. When it is caught the write
//! fails instead, and the error is told like any other. Caught, not ignored: what is ignored stays so in the programs we
//! start. Who has something to put in order before he ends watches the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::process::Signal;

/// Has writes that are too long fail from now on. Where that cannot be they go on to kill, as before.
pub fn catch() {
    let _killed =
        signal_hook::flag::register(Signal::XFSZ.as_raw(), Arc::new(AtomicBool::new(false)));
}

/// Whether somebody wants the program to end.
#[derive(Debug)]
pub struct Ending(Arc<AtomicUsize>);

impl Ending {
    /// From now on hangup, interrupt and termination are noted, and end nothing by themselves.
    pub fn watch() -> Self {
        let came = Arc::new(AtomicUsize::new(0));
        for signal in [Signal::HUP, Signal::INT, Signal::TERM] {
            let number = usize::try_from(signal.as_raw()).unwrap_or(1);
            // Where that cannot be it kills, as before.
            let _kills =
                signal_hook::flag::register_usize(signal.as_raw(), Arc::clone(&came), number);
        }
        Ending(came)
    }

    /// The number of the signal that came last, if one did.
    pub fn signal(&self) -> Option<u8> {
        u8::try_from(self.0.load(Ordering::Relaxed)).ok().filter(|signal| *signal > 0)
    }
}
