//! What the program may no longer do, so that whoever takes it over with what it reads gains little.
//!
//! In: what a command writes to. Out: nothing; the limits hold for the rest of the process and for what it starts. Promises:
//! where the kernel has no such limits the command runs without them; reading is never limited.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, PathBeneath, Ruleset, RulesetAttr, RulesetCreatedAttr, Scope,
};
use libc::c_long;
use rustix::fs::{Mode, OFlags};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

use crate::cache::{self, variable};
use crate::state;

/// Set, and not empty, runs backups without these limits: for file systems on which they stop what they should not.
const OFF: &str = "GARRET_NO_SANDBOX";

/// The version of Landlock whose rights are asked for, of Linux 6.12; of older ones the kernel gives what it has. What later
/// versions add is not about files.
const LANDLOCK: ABI = ABI::V6;

/// What a backup never does, and what is left to somebody who can write nothing: other programs, other machines, other
/// processes, owners and modes and times of any file, mounts, the kernel and its clock.
const DENIED: &[c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_shmget,
    libc::SYS_msgget,
    libc::SYS_semget,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kcmp,
    libc::SYS_setpriority,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchmodat2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_sched_setattr,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_setparam,
    libc::SYS_ioprio_set,
    // Newer than the names: setxattrat, removexattrat, open_tree_attr, file_setattr. The numbers are those of all machines.
    463,
    466,
    467,
    469,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_mount_setattr,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    // Does what is denied here without a call that a filter sees.
    libc::SYS_io_uring_setup,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_personality,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
];

/// The same, where there are such calls: the others have only those by a directory.
#[cfg(target_arch = "x86_64")]
const DENIED_HERE: &[c_long] = &[
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
    libc::SYS_kexec_file_load,
    libc::SYS_iopl,
    libc::SYS_ioperm,
];
#[cfg(not(target_arch = "x86_64"))]
const DENIED_HERE: &[c_long] = &[];

/// What is asked of a file or of the terminal by `ioctl`: its flags, what a device holds, how the terminal is set. Everything
/// else is denied: it would type into the terminal, set flags of files, or talk to a disk.
const ASKED: [u32; 14] = [
    0x8008_6601, // FS_IOC_GETFLAGS
    0x801c_581f, // FS_IOC_FSGETXATTR
    0x8008_1272, // BLKGETSIZE64
    0x0000_1268, // BLKSSZGET
    0x0000_5401, // TCGETS
    0x0000_5402, // TCSETS
    0x0000_5403, // TCSETSW
    0x0000_5404, // TCSETSF
    0x802c_542a, // TCGETS2
    0x402c_542b, // TCSETS2
    0x402c_542c, // TCSETSW2
    0x402c_542d, // TCSETSF2
    0x0000_5413, // TIOCGWINSZ
    0x0000_541b, // FIONREAD
];

/// From now on no core of the program is dumped, and nobody but root can look into it or see its environment: keys and
/// passphrases are there.
pub fn hide_memory() {
    // Without /proc and without this, others see what they saw before.
    let _seen = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// From now on nothing is written but below these directories, the repository's, the cache and the state, no program
/// is started and nothing is connected to. For backups that start no command, before the first thread.
pub fn confine(repository: &[&Path]) {
    // Files are made with the modes they are to have: they can be given none later.
    rustix::process::umask(Mode::empty());
    confine_reader(repository);
}

/// The same for a thread that makes no file in the repository, beside others that go on as they were.
pub fn confine_reader(repository: &[&Path]) {
    // Why a repository cannot be entered is told by who opens it.
    let is_lost = repository.iter().any(|directory| enter(directory).is_err());
    if variable(OFF).is_some() || is_lost {
        return;
    }
    let state = state::directory().inspect(|directory| {
        // What is not there cannot be excepted. Why it cannot be made is told when it is written to.
        let _missing = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    });
    let places = repository.iter().copied().map(Path::to_owned);
    let places: Vec<PathBuf> = places.chain(cache::directory()).chain(state).collect();
    // Where the group is to write too, an ACL may take that away from what is made, and it is given back.
    let is_shared = repository
        .iter()
        .any(|directory| directory.metadata().is_ok_and(|found| found.mode() & 0o020 != 0));
    // Where the kernel has no such limits the backup is worth more than they are.
    let _unlimited = confine_to(&places, is_shared);
}

/// The same for these directories; those that are missing are passed over. `permits` lets the modes of what is open be
/// changed.
///
/// # Errors
/// That the kernel refused. Of one that has no such limits nothing is heard.
pub fn confine_to(places: &[PathBuf], permits: bool) -> Result<(), Box<dyn std::error::Error>> {
    let files = limit_files(places);
    limit_calls(permits)?;
    files
}

/// A directory as who works in it has it: what is to be mounted there is mounted then.
fn enter(place: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(place, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn limit_files(places: &[PathBuf]) -> Result<(), Box<dyn std::error::Error>> {
    let writes = AccessFs::from_write(LANDLOCK) & !AccessFs::IoctlDev;
    let special = AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::MakeFifo;
    let ours = writes & !(special | AccessFs::MakeSock | AccessFs::MakeSym);
    let mut rules = Ruleset::default()
        .handle_access(writes | AccessFs::Execute)?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?
        .create()?;
    for place in places.iter().filter_map(|place| enter(place).ok()) {
        rules = rules.add_rule(PathBeneath::new(place, ours))?;
    }
    // To ask for a passphrase.
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    if let Ok(terminal) = rustix::fs::open("/dev/tty", flags, Mode::empty()) {
        rules = rules.add_rule(PathBeneath::new(terminal, AccessFs::WriteFile))?;
    }
    rules.restrict_self()?;
    Ok(())
}

fn limit_calls(permits: bool) -> Result<(), Box<dyn std::error::Error>> {
    let other = |argument, value| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, value)
    };
    let all = DENIED.iter().chain(DENIED_HERE);
    let mut denied: BTreeMap<i64, _> = all.map(|&call| (call, Vec::new())).collect();
    if permits {
        denied.remove(&libc::SYS_fchmod);
    }
    let not_asked = ASKED.iter().map(|&request| other(1, u64::from(request)));
    let not_asked = SeccompRule::new(not_asked.collect::<Result<_, _>>()?)?;
    denied.insert(libc::SYS_ioctl, vec![not_asked]);
    // Threads ask for their own limits by it.
    denied.insert(libc::SYS_prlimit64, vec![SeccompRule::new(vec![other(0, 0)?])?]);
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    let machine = std::env::consts::ARCH.try_into()?;
    let filter = SeccompFilter::new(denied, SeccompAction::Allow, refused, machine)?;
    let program: BpfProgram = filter.try_into()?;
    Ok(seccompiler::apply_filter(&program)?)
}
