//! Who has a lease: a process of a machine, so that others there know when it is dead.
//!
//! In: what the kernel says of this process and of others. Out: whether one is gone for good. Promises: no process is called
//! dead that may be alive: one of another machine, of another container, or of which the kernel tells nothing.

use std::fs;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    /// Which machine since it was started, and which container of it; 0 if that is not known.
    pub host: u64,
    pub pid: u32,
    /// When it was started, in the machine's ticks: numbers of processes are used again. 0 if that is not known.
    pub start: u64,
}

impl Holder {
    /// This one.
    pub(super) fn this_process() -> Self {
        let pid = std::process::id();
        Holder {
            host: this_host().unwrap_or_default(),
            pid,
            start: start_of(pid).unwrap_or_default(),
        }
    }

    /// Whether another one is known to be dead: it was on the same machine, where there is no such process now.
    pub(super) fn knows_dead(&self, other: &Holder) -> bool {
        if self.host == 0 || self.host != other.host {
            return false;
        }
        let Some(pid) = i32::try_from(other.pid).ok().and_then(Pid::from_raw) else { return false };
        let is_gone = test_kill_process(pid) == Err(Errno::SRCH);
        // Another process may have its number by now. What cannot be read tells nothing.
        is_gone || other.start != 0 && start_of(other.pid).is_some_and(|start| start != other.start)
    }
}

/// The machine, until it is started again, and the spaces of process numbers and of times. Nothing where /proc is of another
/// space than this process: what it says of a number is of another process then.
fn this_host() -> Option<u64> {
    let this = fs::read_link("/proc/self").ok()?;
    if this.as_os_str().to_str()?.parse() != Ok(std::process::id()) {
        return None;
    }
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let space = fs::read_link("/proc/self/ns/pid").ok()?;
    // In another one processes start at other times.
    let times = fs::read_link("/proc/self/ns/time").unwrap_or_default();
    let told = format!("{} {} {}", boot.trim(), space.display(), times.display());
    let (first, _) =
        blake3::hash(told.as_bytes()).as_bytes().split_first_chunk().map(|(a, b)| (*a, b))?;
    Some(u64::from_le_bytes(first))
}

/// Field 22 of /proc/PID/stat (proc_pid_stat(5)). The second, the program's name, may hold anything; the last `)` ends it.
fn start_of(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after) = stat.rsplit_once(')')?;
    after.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The holder that a process of this machine would be.
    fn holder(pid: u32) -> Holder {
        Holder { pid, start: start_of(pid).unwrap(), ..Holder::this_process() }
    }

    #[test]
    fn only_who_is_gone_from_this_machine_is_dead() {
        let this = Holder::this_process();
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let alive = holder(child.id());
        assert!(!this.knows_dead(&this) && !this.knows_dead(&alive));
        let again = Holder { start: alive.start + 1, ..alive.clone() };
        assert!(this.knows_dead(&again), "another process has its number");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(this.knows_dead(&alive));
        let elsewhere = Holder { host: alive.host ^ 1, ..alive.clone() };
        assert!(!this.knows_dead(&elsewhere));
        let nowhere = Holder { host: 0, ..this };
        assert!(!nowhere.knows_dead(&Holder { host: 0, ..alive.clone() }));
        for pid in [0, u32::MAX, i32::MAX as u32 + 1] {
            assert!(!nowhere.knows_dead(&Holder { pid, ..alive.clone() }));
        }
    }
}
