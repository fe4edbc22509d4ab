//! What the program may no longer do, so that whoever takes it over with what it reads gains little.
//!
//! In: what a command writes to. Out: nothing; the limits hold for the rest of the process and for what it starts. Promises:
//! where the kernel has no such limits the command runs without them; reading is never limited.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetCreatedAttr, Scope,
    path_beneath_rules,
};
use libc::c_long;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use crate::cache::{self, variable};
use crate::state;

/// Set, and not empty, runs backups without these limits: for file systems on which they stop what they should not.
const OFF: &str = "GARRET_NO_SANDBOX";

/// The version of Landlock whose rights are asked for, of Linux 6.12; of older ones the kernel gives what it has. What later
/// versions add is not about files.
const LANDLOCK: ABI = ABI::V6;

/// What a backup never does, and what is left to somebody who can write nothing: other programs, other machines, other
/// processes, mounts, the kernel.
const DENIED: [c_long; 33] = [
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
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
];

/// From now on no core of the program is dumped, and nobody but root can look into it or see its environment: keys and
/// passphrases are there.
pub fn hide_memory() {
    // Without /proc and without this, others see what they saw before.
    let _seen = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// From now on nothing is written but below the repository, the cache and the state, no program is started and nothing is
/// connected to. For backups that start no command, before the first thread.
pub fn confine(repository: &Path) {
    if variable(OFF).is_some() {
        return;
    }
    let state = state::directory().inspect(|directory| {
        // What is not there cannot be excepted. Why it cannot be made is told when it is written to.
        let _missing = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    });
    let terminal = Some(PathBuf::from("/dev/tty"));
    let places = [Some(repository.to_owned()), cache::directory(), state, terminal];
    let places: Vec<PathBuf> = places.into_iter().flatten().collect();
    // Where the kernel has no such limits the backup is worth more than they are.
    let _unlimited = confine_to(&places);
}

/// The same for these places; those that are missing are passed over.
///
/// # Errors
/// That the kernel refused. Of one that has no such limits nothing is heard.
pub fn confine_to(places: &[PathBuf]) -> Result<(), Box<dyn std::error::Error>> {
    let files = limit_files(places);
    limit_calls()?;
    files
}

fn limit_files(places: &[PathBuf]) -> Result<(), Box<dyn std::error::Error>> {
    let writes = AccessFs::from_write(LANDLOCK) & !AccessFs::IoctlDev;
    let special = AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::MakeFifo;
    let ours = writes & !(special | AccessFs::MakeSock | AccessFs::MakeSym);
    Ruleset::default()
        .handle_access(writes | AccessFs::Execute)?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?
        .create()?
        .add_rules(path_beneath_rules(places, ours))?
        .restrict_self()?;
    Ok(())
}

fn limit_calls() -> Result<(), Box<dyn std::error::Error>> {
    let denied: BTreeMap<i64, _> = DENIED.iter().map(|&call| (call, Vec::new())).collect();
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    let machine = std::env::consts::ARCH.try_into()?;
    let filter = SeccompFilter::new(denied, SeccompAction::Allow, refused, machine)?;
    let program: BpfProgram = filter.try_into()?;
    Ok(seccompiler::apply_filter(&program)?)
}
