//! One module per command: its arguments, and from there one library call and its rendering.

mod boot;
mod cat;
mod check;
mod compact;
mod compare;
mod cp;
mod create;
mod delete;
mod diff;
mod drill;
mod extract;
mod find;
mod help;
mod info;
mod init;
mod key;
mod list;
mod ls;
mod manual;
mod mount;
mod nbd;
mod nightly;
mod prune;
mod report;
mod restore;
mod scrub;
mod serve;
mod sync;
mod tag;

use crate::demo;
use garret_cli::failure::Failure;
use garret_cli::packs::Packs;
use garret_cli::pages;
use garret_cli::rates::Rates;
use garret_cli::ui::Ui;

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make a repository
    Init(init::Args),
    /// Back up files, directories, block devices or standard input
    ///
    /// Makes a new archive. What cannot be read is reported and left out; the archive is made of the rest, and the exit code
    /// is 1. Files that did not change since the last archive of the same paths are not read again. Each path is stored once,
    /// however often it is given; a symbolic link that is given as PATH is what is behind it. If standard input or a command
    /// breaks off, no archive is made.
    ///
    /// In NAME, {hostname}, {user}, {pid}, {now} and {utcnow} are filled in; {now:%Y-%m-%d} has a format of strftime; {{ }}
    /// are braces.
    Create(create::Args),
    /// Restore an archive, or some of its paths
    ///
    /// Every byte is verified before it is written. A file gets its name when it is complete, and one that is there already
    /// is replaced only then.
    ///
    /// A PATH is a path as `list` shows it; if there is none such, the last parts of one or of several; if there are none
    /// such either, a shell pattern as for --exclude, of whole paths or of their last parts. REPO::latest is the newest
    /// archive, unless one has that name.
    #[command(after_help = "\
Examples:
  garret extract -C /var/tmp/restored /srv/backup/vms::night-2
  garret extract --as raw -o app.raw /srv/backup/vms::latest app.qcow2")]
    Extract(extract::Args),
    /// Restore an image by its name, or by asking
    ///
    /// IMAGE is found in the newest complete archive that holds it, or in that of --at, and restored as `extract` does: every
    /// byte is verified before it is written, and what is there already is replaced only by what is complete. IMAGE is a path
    /// as `list` shows it, the last parts of one, or a shell pattern; if it stands for several, they are named.
    ///
    /// On a terminal, without IMAGE, it asks: which image, of which night, to where; says how long it will take; and reads
    /// back what it wrote. REPO::NAME, with paths or without, is what it is in `extract`.
    #[command(after_help = "\
Examples:
  garret restore /srv/backup/vms app.raw -o /var/lib/libvirt/images/app.raw
  garret restore /srv/backup/vms app.raw --at 2026-11-20 -C /var/tmp")]
    Restore(restore::Args),
    /// List the archives of a repository, or what is in one
    ///
    /// --format lays out each line: {name}, or {name:<20} and {name:>20} in columns, with {NL}, {TAB} and {NUL} for
    /// characters and {{ }} for braces. Archives have name, made_as, id, start, end, hostname, username, command_line,
    /// comment, tags, protected, original_size, read, new_size (what of that the repository did not have), stored_size,
    /// duration (seconds), files, complete, problems (how many), problem_texts (the first), drilled (when an image of it was
    /// restored by `drill` last, on this host) and drill_restored (whether that went well); their contents have path, type,
    /// mode, uid, gid, user, group, size, mtime, unreadable (bytes), target. --json has the same names. --short and --format
    /// give names byte for byte; elsewhere \ and what is not seen are escapes. An archive that is not complete is marked, as
    /// (1 problem), one that is protected, one that has tags, as `[golden,weekly]`, and one that was drilled, as (drilled 3
    /// days ago). With --verified also since when all that it needs is verified (verified_since).
    ///
    /// A PATH is what it is in `extract`, and REPO::latest too.
    #[command(after_help = "\
Examples:
  garret list /srv/backup/vms
  garret list --format '{size:>12} {path}{NL}' /srv/backup/vms::latest")]
    List(list::Args),
    /// Show details of a repository, an archive, or a file in one
    ///
    /// --format and --json have the names that `list` explains for archives; a file has path, format, size, disk_size,
    /// allocated, zero, backing, unreadable, residue, new; a repository has location, id, encryption, created, archives,
    /// packs, verified_packs, recently_verified_packs (in the last 30 days), verified_since, original_size, stored_size.
    /// --now says of an archive what is stored of it that no older one has, about, after prunes and `compact`; in --json that
    /// is stored_now. A PATH is what it is in `extract`, of one file, and REPO::latest too.
    #[command(after_help = "\
Examples:
  garret info /srv/backup/vms
  garret info --json /srv/backup/vms::latest app.qcow2")]
    Info(info::Args),
    /// Show which archives hold a file, and when it changed
    ///
    /// For each file that PATTERN stands for, a line for each archive that holds it: its name and time, how long the file is
    /// in it, and whether that is the same as in the archive before, changed, or new. PATTERN is what a PATH is in `extract`.
    #[command(after_help = "\
Examples:
  garret find /srv/backup/vms app.raw
  garret find --json /srv/backup/vms '*.qcow2'")]
    Find(find::Args),
    /// Restore an image to see that it can be restored
    ///
    /// Every byte of it is read, verified and put together as for a restore, and with --scratch also written, read back and
    /// compared. Says how long that took, and the BLAKE3 of the image, as `b3sum` has it. `list` shows behind the archive
    /// when that was, and `info REPO` what was restored last. Without IMAGE it is another one each time.
    ///
    /// Exit codes: 0 the image came back; 3 it did, and something should be looked at; 4 another program has the lock; 5 the
    /// disk is full; 6 the passphrase or key is wrong; 7 something is damaged; 2 wrong use; 1 anything else.
    #[command(after_help = "\
Examples:
  garret drill /srv/backup/vms
  garret drill --scratch /var/tmp --at latest /srv/backup/vms app.raw

From cron, each Sunday:
  0 6 * * 0  root  garret drill /srv/backup/vms > /dev/null")]
    Drill(drill::Args),
    /// Delete archives and give back their space
    ///
    /// A whole repository, given without ::NAME, is deleted only after a question on the terminal.
    Delete(delete::Args),
    /// Delete archives by rule and give back their space
    ///
    /// Each rule keeps the latest archive of each of the last N hours, days, weeks, months or years that have one, by local
    /// time; -1 is no limit. What no rule keeps is deleted. Rules count complete archives only. One that is not complete
    /// stays until its host has a newer one that is; the newest complete archive always stays, unless --force is given.
    /// Space is given back in any case, also that of what interrupted runs left; what little an old version takes beside one
    /// that stays, where `compact` put them together, goes when half of such a group is not needed.
    Prune(prune::Args),
    /// Bring a copy of a repository up to date, or make one
    ///
    /// FROM and TO are repositories of any kind: a directory, one on another host, a bucket. Where there is nothing, TO
    /// becomes a copy with the same id, passphrases and key files. Archives that TO does not have come with all that they
    /// need, the oldest first; each pack is checked against its name, and what breaks off goes on the next time. What was
    /// deleted in TO, by a prune with rules of its own, does not come back. Nothing is written to FROM; in TO
    /// nothing is deleted but with --delete.
    #[command(after_help = "\
Examples:
  garret sync /srv/backup/vms backup@elsewhere:/srv/backup/vms
  garret sync --archives 'db-*' /srv/backup/vms s3://backups/vms
  garret sync -n --delete /srv/backup/vms s3://backups/vms")]
    Sync(sync::Args),
    /// Make what is old in a repository small
    ///
    /// Puts all versions of each place of an image into one group, and what is alike from all over it, and compresses them
    /// hard, where that saves enough: what `create` stored fast takes less after that, and a fraction where each night
    /// changes a little in many places. The newest archive is restored to files as fast as before, to a pipe somewhat slower.
    /// Each chunk is read back before its old copy goes. It needs room for what it rewrites, 9 GB at a time or as much as
    /// there is, and runs beside everything else, which may need old copies for so long; killed at any moment it loses its
    /// own work only. What it did once it leaves as it is, until nights have added to it.
    #[command(after_help = "\
Examples:
  garret compact --dry-run /srv/backup/vms
  garret compact --max-duration 2h /srv/backup/vms")]
    Compact(compact::Args),
    /// Add tags to archives, or take them away
    ///
    /// A tag is a word of up to 64 bytes, without commas. `list` shows tags behind an archive, as `[golden,weekly]`; `list
    /// --tag` and `prune --tag` are about the archives that have one. `create --tag` gives one from the start.
    #[command(after_help = "\
Examples:
  garret tag --add golden /srv/backup/vms::night-2
  garret prune --tag hourly --keep-hourly 24 /srv/backup/vms")]
    Tag(tag::Tag),
    /// Protect archives: nothing deletes them
    ///
    /// `delete` refuses, and `prune` and `nightly` keep them, beside what their rules keep, which count them like any other.
    /// `list` marks them, as (protected). A whole repository is deleted with what is protected in it, but only by who answers
    /// a question on the terminal that says how much that is.
    Protect(tag::Protect),
    /// Let protected archives be deleted again
    Unprotect(tag::Protect),
    /// Do the jobs of every night: back up, prune, check
    ///
    /// A job is a table of a file in TOML (docs/nightly.md has every key), or what stands behind --repo. For each: hooks
    /// and a snapshot if there are any, create, prune if it made an archive and there are rules, and a slice of check
    /// --verify-data. One that fails keeps no other from being done, and none is done twice at the same time. Nothing is
    /// printed where nobody looks on and all went well; else each problem is one line that begins with the job.
    ///
    /// Exit codes: 0 all is well; 3 archives were made, and something should be looked at; 4 another program has the lock; 5
    /// the disk is full; 6 the passphrase or key is wrong; 7 something is damaged; 8 the job is being done already; 2 wrong
    /// use; 1 anything else. Of several jobs the worst counts.
    Nightly(nightly::Args),
    /// Check a repository, or some of its archives
    ///
    /// Without options: the length and contents of every pack against the index, every chunk that archives need against what
    /// the packs hold, and whether the keys in keys/ are intact. --verify-data also reads, decrypts and hashes every byte.
    /// Nothing that is there is changed. A damaged pack is noted in damaged/, so that the next create stores again what it
    /// holds. --repair reads every byte too, stores again what is intact in damaged packs, moves these to quarantine/, and
    /// makes a damaged index anew. It removes no archive: what is lost is named, and the next create of the same files mends
    /// it.
    ///
    /// --max-duration 30m ends the reading of every byte after that time; the next run goes on with what was verified longest
    /// ago, whichever client it is of. `info REPO` shows how far that is.
    ///
    /// REPO::NAME, with a PATH in it or without, and --newest N check these archives only: with --verify-data all that they
    /// need is read, as for a restore.
    Check(check::Args),
    /// Read the files of a repository where they are stored, without its key
    ///
    /// Packs and segments of the index are named by the hash of their bytes: each is read, and compared with its name. That
    /// finds what a disk lost or changed, needs no passphrase and writes nothing, so the host that has the storage can do it.
    /// What is in the files, archives and key slots are for `check`, which needs the key.
    ///
    /// --part 3/7 reads the third of seven equal parts: with another part each night everything is read once a week. The
    /// exit code is 1 if anything is damaged.
    Scrub(scrub::Args),
    /// Change the passphrase of a repository or of its key file
    ///
    /// The same as `key change`: other passphrases of the repository stay what they are.
    ChangePassphrase(key::ChangePassphrase),
    /// Show and change what opens a repository
    ///
    /// A repository has up to 16 keys, each with a passphrase of its own, and any number of key files. They all open the same
    /// master key, so who has had access once may have kept it: a key that is removed opens copies made before.
    Key(key::Args),
    /// Show what a repository holds and costs, and what is wrong
    ///
    /// Archives, images and what each night added to them; when the last complete archive was made, how much was verified,
    /// for how long there is room. With rules of `prune`, as --keep-daily 7, also what they keep, and what goes next. Reads
    /// lists and recipes, no contents, and changes nothing. --json has the same numbers, and a map of what changed on each
    /// disk from night to night.
    ///
    /// --html FILE writes them as one page, with drawings and without script, for a browser, a phone or paper. It names
    /// images and sizes, and is as readable as other new files.
    Report(report::Args),
    /// Show what changed from one archive to another
    ///
    /// One line for each path: added, removed or changed, how many bytes, and where. Contents are read only where the
    /// archives name different chunks. Owners, modes and times are not compared. The exit code is 0 if both could be
    /// compared, whether or not they differ.
    ///
    /// --map shows instead, for each disk image, where on the disk: a line for each archive of the same host between the two
    /// that holds it, and one for all of it. It reads recipes only, so it tells by chunks, some 64 KiB each.
    Diff(diff::Args),
    /// Compare an archive with the files on the disk
    ///
    /// Reads both, and shows each path that is not the same, as `diff` does; files that are only on the disk are not looked
    /// for. The exit code is 1 if anything differs.
    Compare(compare::Args),
    /// Serve images of an archive as disks, over NBD
    ///
    /// Nothing is restored: what a client reads is read from the repository, and verified. Prints what clients connect to,
    /// and serves until it is told to end. Each file is there as it is stored, by its path; of a disk image in a format of
    /// its own there is also the guest's disk, as PATH?raw. Nobody can write. Backups and prunes go on beside it.
    ///
    /// Where some of an image is damaged just that cannot be read; stderr says what.
    #[command(after_help = "\
Examples:
  garret nbd --socket /run/vms.sock /srv/backup/vms::night-2
  nbdcopy 'nbd+unix:///app.qcow2%3Fraw?socket=/run/vms.sock' app.raw
  nbdinfo --list -- [ garret nbd /srv/backup/vms::latest ]")]
    Nbd(nbd::Args),
    /// Run a machine on an image of an archive, at once
    ///
    /// Nothing is restored first: the machine reads its disk from the repository, and what it writes goes into an overlay,
    /// which is thrown away in the end or kept. --to FILE restores the disk meanwhile, and the guest runs on that file from
    /// then on. The machine has no network unless options of qemu behind -- give it one: the original may be in there.
    #[command(after_help = "\
Examples:
  garret boot /srv/backup/vms::latest app.qcow2
  garret boot --to /var/lib/libvirt/images/app.raw /srv/backup/vms::night-2 app.raw -- -nographic
  garret boot --overlay look.qcow2 /srv/backup/vms::night-2 app.raw -- -nic user -display vnc=127.0.0.1:1")]
    Boot(boot::Args),
    /// Show an archive, or all of a repository, as directories
    ///
    /// Nothing is restored: what is read there is read from the repository, and verified. Beside each disk image in a
    /// format of its own there is the guest's disk, as NAME.raw. Of a repository each archive is a directory, and by-path
    /// has for each path a directory of its versions. Nobody can write. It stays until it is unmounted, by `umount DIR` or,
    /// for who is not root, by `fusermount3 -u DIR`; backups and prunes go on beside it.
    #[command(after_help = "\
Examples:
  garret mount /srv/backup/vms::night-2 /mnt
  garret mount /srv/backup/vms /mnt && ls -l /mnt/by-path/images/app.raw
  garret mount -f -o allow_other /srv/backup/vms /mnt")]
    Mount(mount::Args),
    /// List what is in a guest's directory, in an image of an archive
    ///
    /// Nothing is restored, mounted or started: the file system is read in the program, as ext4 (ext3, ext2), XFS, NTFS or
    /// FAT, in partitions of GPT and MBR and without any. IMAGE:/PATH is a path in it, and links lead where they lead there.
    /// IMAGE is what a PATH is in `extract`; alone it lists what is on the disk: the number of each partition, its size, what
    /// it holds, and its label.
    ///
    /// A path is looked for in each partition. Where several have it, the one with an operating system is meant, or that of
    /// --partition. A journal of ext4 or XFS is taken into account; NTFS has a log that is not. What cannot be known is `?`.
    #[command(after_help = "\
Examples:
  garret ls /srv/backup/vms::latest app.qcow2
  garret ls /srv/backup/vms::night-2 app.qcow2:/etc")]
    Ls(ls::Args),
    /// Print a file of a guest, in an image of an archive
    ///
    /// IMAGE:/PATH and --partition are what they are in `ls`.
    #[command(after_help = "\
Examples:
  garret cat /srv/backup/vms::latest app.qcow2:/etc/fstab")]
    Cat(cat::Args),
    /// Copy files and directories of a guest, in an image of an archive
    ///
    /// Copies a file, or a directory with all that is below it, into the directory DESTINATION, or under that name where
    /// there is none. A file gets its name when it is complete, and one that is there already is replaced only then. Modes
    /// and times are kept as far as the file system has them; what is copied belongs to who copies it, unless --owners is
    /// given. Pipes, sockets and devices are left out, and told of. IMAGE:/PATH and --partition are what they are in `ls`.
    #[command(after_help = "\
Examples:
  garret cp /srv/backup/vms::latest app.qcow2:/etc/fstab .
  garret cp /srv/backup/vms::night-2 app.qcow2:/home/ada /var/tmp/ada")]
    Cp(cp::Args),
    /// Serve a repository to garret on another host, which starts this by ssh
    ///
    /// A repository on another host is HOST:PATH or ssh://HOST/PATH wherever REPO is written. In ~/.ssh/authorized_keys of
    /// that host, the words before a key say what a client who has it may do there, whatever his program is; see the
    /// example. What he stores is checked without a key: a pack has the bytes that its name says.
    #[command(after_help = "\
Examples:
  garret list backup@host:/srv/backup/vms
  restrict,command=\"garret serve --append-only --restrict-to-path /srv/backup/vms\" ssh-ed25519 AAAA... root@vmhost")]
    Serve(serve::Args),
    /// Two nights of backups and a restore, on sample images or on yours
    ///
    /// Makes a repository in a directory of its own, backs up two images, changes a few per cent of them, backs them up
    /// again, restores one and compares it with the original. Images that you name are only read. --against borg,restic does
    /// the same with these, below the demo's directory, in the same table.
    Demo(demo::Args),
    /// Print what a shell needs to complete words at TAB
    ///
    /// Commands and options, repositories, the archives behind REPO::, and of repositories without encryption the files in
    /// them.
    #[command(after_help = "\
Examples:
  source <(garret completions bash)
  garret completions fish > ~/.config/fish/completions/garret.fish")]
    Completions(manual::Completions),
    /// Write the manual pages: one for the program, one for each command
    #[command(after_help = "\
Examples:
  garret man /usr/local/share/man/man1
  garret man /tmp/garret && man /tmp/garret/garret-restore.1")]
    Man(manual::Pages),
    /// Show help on a command, or on patterns
    Help(help::Args),
}

impl Command {
    /// Why one of the options that all commands have would do nothing here.
    pub(crate) fn passes_over(&self, packs: &Packs, rates: Rates) -> Option<&'static str> {
        match self {
            Command::Serve(_)
            | Command::Demo(_)
            | Command::Completions(_)
            | Command::Man(_)
            | Command::Help(_)
                if packs.is_given() || rates.are_given() =>
            {
                Some("--packs, --limit-upload and --limit-download do nothing for this command")
            }
            Command::Nightly(args) if packs.is_given() && !args.names_repository() => {
                Some("--packs goes with --repo: in a file it is `packs` of the job")
            }
            _ => None,
        }
    }

    /// Whether it has an exit code for each cause; attic's commands have attic's.
    pub(crate) fn exits_by_cause(&self) -> bool {
        matches!(self, Command::Drill(_))
    }

    /// Does it; `program` is the definition of all commands.
    pub(crate) fn run(self, program: clap::Command, ui: &Ui) -> Result<(), Failure> {
        match self {
            Command::Init(args) => init::run(&args, ui),
            Command::Create(args) => create::run(args, ui),
            Command::Extract(args) => extract::run(args, ui),
            Command::Restore(args) => restore::run(args, ui),
            Command::List(args) => list::run(&args, ui),
            Command::Info(args) => info::run(&args, ui),
            Command::Find(args) => find::run(&args, ui),
            Command::Drill(args) => drill::run(&args, ui),
            Command::Delete(args) => delete::run(&args, ui),
            Command::Prune(args) => prune::run(&args, ui),
            Command::Sync(args) => sync::run(&args, ui),
            Command::Compact(args) => compact::run(&args, ui),
            Command::Tag(args) => tag::run(args, ui),
            Command::Protect(args) => tag::protect(&args, true, ui),
            Command::Unprotect(args) => tag::protect(&args, false, ui),
            Command::Nightly(args) => nightly::run(args, ui),
            Command::Check(args) => check::run(&args, ui),
            Command::Scrub(args) => scrub::run(&args, ui),
            Command::ChangePassphrase(args) => key::change_passphrase(&args, ui),
            Command::Key(args) => key::run(args, ui),
            Command::Report(args) => report::run(&args, ui),
            Command::Diff(args) => diff::run(&args, ui),
            Command::Compare(args) => compare::run(&args, ui),
            Command::Boot(args) => boot::run(args, ui),
            Command::Nbd(args) => nbd::run(args, ui),
            Command::Ls(args) => ls::run(&args, ui),
            Command::Cat(args) => cat::run(&args, ui),
            Command::Cp(args) => cp::run(&args, ui),
            Command::Mount(args) => mount::run(&args, ui),
            Command::Serve(args) => serve::run(&args),
            Command::Demo(args) => demo::run(&args, ui),
            Command::Completions(args) => manual::completions(&args, ui),
            Command::Man(args) => pages::write(program, &args.directory),
            Command::Help(args) => help::run(&args, program, ui),
        }
    }
}
