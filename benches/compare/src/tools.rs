//! The backup programs, each at its defaults: one entry of [`TOOLS`] each, with the calls a user would make.
//!
//! In: where a tool has its repository and its own files, what to back up, what to restore. Out: calls.
//! Promises: a tool is told only what it cannot do without (a passphrase, a place for its cache); which tools encrypt
//! stands in `mode`; whatever has no cache of files, or needs a process for each file, says so in `notes`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::plan::Step;
use crate::process::Call;

/// One tool's places, in one round.
#[derive(Debug)]
pub(crate) struct Site {
    /// The repository; made by `init`, or an empty directory.
    pub(crate) repository: PathBuf,
    /// Home of its caches and keys; there already.
    pub(crate) home: PathBuf,
}

/// What a backup takes: a directory below the one where calls work, and the files in it.
#[derive(Debug)]
pub(crate) struct Backup<'a> {
    pub(crate) archive: &'a str,
    pub(crate) sources: &'a Path,
    pub(crate) directory: &'a str,
    pub(crate) files: &'a [String],
}

/// What a restore gives: one file of an archive, below a directory that is empty.
#[derive(Debug)]
pub(crate) struct Restore<'a> {
    pub(crate) archive: &'a str,
    pub(crate) directory: &'a str,
    pub(crate) file: &'a str,
    pub(crate) out: &'a Path,
}

impl Restore<'_> {
    fn inside(&self) -> String {
        format!("{}/{}", self.directory, self.file)
    }

    fn flat(&self) -> PathBuf {
        self.out.join(self.file)
    }
}

/// A backup program.
#[derive(Debug)]
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    pub(crate) program: &'static str,
    /// The argument that makes it say its version.
    pub(crate) version: &'static str,
    /// Encryption and compression.
    pub(crate) mode: &'static str,
    pub(crate) notes: &'static str,
    /// Takes part in these steps only; none: in all.
    pub(crate) steps: &'static [Step],
    pub(crate) environment: fn(&Site) -> Vec<(&'static str, OsString)>,
    pub(crate) init: fn(&Site) -> Vec<Call>,
    pub(crate) backup: fn(&Site, &Backup<'_>) -> Vec<Call>,
    /// The file comes back somewhere below `out`, under its own name.
    pub(crate) restore: fn(&Site, &Restore<'_>) -> Vec<Call>,
}

const PASSPHRASE: &str = "compare";

/// Name of the tool that the others are set against.
pub(crate) const OURS: &str = "garret";
/// The tool that only runs when it is asked for: its compression is slow.
pub(crate) const STRONGEST: &str = "garret-strongest";

pub(crate) static TOOLS: [Tool; 10] = [
    Tool {
        name: OURS,
        program: "garret",
        version: "--version",
        mode: "none, zstd 3",
        notes: "",
        steps: &[],
        environment: garret_environment,
        init: |site| vec![Call::new(["init", "-e", "none"]).arg(&site.repository)],
        backup: |site, backup| vec![at_archive(["create"], site, backup)],
        restore: garret_restore,
    },
    Tool {
        name: "garret-passphrase",
        program: "garret",
        version: "--version",
        mode: "encrypted, zstd 3",
        notes: "Argon2id: 256 MiB",
        steps: &[],
        environment: garret_environment,
        init: |site| vec![Call::new(["init", "-e", "passphrase"]).arg(&site.repository)],
        backup: |site, backup| vec![at_archive(["create"], site, backup)],
        restore: garret_restore,
    },
    Tool {
        name: STRONGEST,
        program: "garret",
        version: "--version",
        mode: "none, zstd 19",
        notes: "for size against lzma",
        steps: &[Step::First, Step::Next, Step::Three, Step::ThreeNext],
        environment: garret_environment,
        init: |site| vec![Call::new(["init", "-e", "none"]).arg(&site.repository)],
        backup: |site, backup| {
            vec![at_archive(["create", "--compression", "zstd,19"], site, backup)]
        },
        restore: garret_restore,
    },
    Tool {
        name: "borg",
        program: "borg",
        version: "--version",
        mode: "none, lz4",
        notes: "",
        steps: &[],
        environment: |site| {
            vec![
                ("BORG_BASE_DIR", site.home.clone().into()),
                ("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes".into()),
            ]
        },
        init: |site| vec![Call::new(["init", "-e", "none"]).arg(&site.repository)],
        backup: |site, backup| vec![at_archive(["create"], site, backup)],
        restore: attic_restore,
    },
    Tool {
        name: "attic",
        program: "attic",
        version: "--version",
        mode: "none, zlib",
        notes: "",
        steps: &[],
        environment: |site| {
            vec![
                ("ATTIC_CACHE_DIR", site.home.join("cache").into()),
                ("ATTIC_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "1".into()),
            ]
        },
        init: |site| vec![Call::new(["init"]).arg(&site.repository)],
        backup: |site, backup| vec![at_archive(["create"], site, backup)],
        restore: attic_restore,
    },
    Tool {
        name: "restic",
        program: "restic",
        version: "version",
        mode: "encrypted, zstd",
        notes: "",
        steps: &[],
        environment: |site| {
            vec![
                ("RESTIC_REPOSITORY", site.repository.clone().into()),
                ("RESTIC_PASSWORD", PASSPHRASE.into()),
            ]
        },
        init: |_| vec![Call::new(["init"])],
        backup: |_, backup| vec![Call::new(["backup", "--tag", backup.archive, backup.directory])],
        restore: |_, restore| {
            let inside = format!("/{}", restore.inside());
            let call = Call::new(["restore", "latest", "--tag", restore.archive]);
            vec![call.arg("--include").arg(inside).arg("--target").arg(restore.out)]
        },
    },
    Tool {
        name: "rustic",
        program: "rustic",
        version: "--version",
        mode: "encrypted, zstd",
        notes: "",
        steps: &[],
        environment: |site| {
            vec![
                ("RUSTIC_REPOSITORY", site.repository.clone().into()),
                ("RUSTIC_PASSWORD", PASSPHRASE.into()),
            ]
        },
        init: |_| vec![Call::new(["init"])],
        backup: |_, backup| vec![Call::new(["backup", "--tag", backup.archive, backup.directory])],
        restore: |_, restore| {
            let from = format!("latest:{}", restore.inside());
            let call = Call::new(["--filter-tags", restore.archive, "restore"]);
            vec![call.arg(from).arg(restore.out)]
        },
    },
    Tool {
        name: "bupstash",
        program: "bupstash",
        version: "--version",
        mode: "encrypted, zstd",
        notes: "cannot do without encryption",
        steps: &[],
        environment: |site| {
            vec![
                ("BUPSTASH_REPOSITORY", site.repository.clone().into()),
                ("BUPSTASH_KEY", site.home.join("key").into()),
            ]
        },
        init: |site| {
            vec![Call::new(["init"]), Call::new(["new-key", "-o"]).arg(site.home.join("key"))]
        },
        backup: |_, backup| {
            vec![Call::new(["put", &format!("name={}", backup.archive), backup.directory])]
        },
        restore: |_, restore| {
            let query = format!("name={}", restore.archive);
            vec![Call::new(["get", "--pick", restore.file, &query]).stdout(restore.flat())]
        },
    },
    Tool {
        name: "zbackup",
        program: "zbackup",
        version: "--help",
        mode: "none, lzma",
        notes: "stdin, a process per file, reads all",
        steps: &[],
        environment: |_| Vec::new(),
        init: |site| vec![zbackup("init", site.repository.clone())],
        backup: |site, backup| {
            let one = |file: &String| {
                let name = site.repository.join("backups").join(one_name(backup.archive, file));
                zbackup("backup", name).stdin(backup.sources.join(backup.directory).join(file))
            };
            backup.files.iter().map(one).collect()
        },
        restore: |site, restore| {
            let name = one_name(restore.archive, restore.file);
            let path = site.repository.join("backups").join(name);
            vec![zbackup("restore", path).stdout(restore.flat())]
        },
    },
    Tool {
        name: "casync",
        program: "casync",
        version: "--version",
        mode: "none, zstd",
        notes: "a process per file, reads all",
        steps: &[],
        environment: |_| Vec::new(),
        init: |_| Vec::new(),
        backup: |site, backup| {
            let one = |file: &String| {
                let call = casync("make", site, backup.archive, file);
                call.arg(format!("{}/{file}", backup.directory))
            };
            backup.files.iter().map(one).collect()
        },
        restore: |site, restore| {
            vec![casync("extract", site, restore.archive, restore.file).arg(restore.flat())]
        },
    },
];

fn garret_environment(site: &Site) -> Vec<(&'static str, OsString)> {
    vec![
        ("GARRET_CACHE_DIR", site.home.join("cache").into()),
        ("GARRET_PASSPHRASE", PASSPHRASE.into()),
    ]
}

/// `COMMAND REPO::NAME DIRECTORY`, as attic introduced it.
fn at_archive<const N: usize>(command: [&str; N], site: &Site, backup: &Backup<'_>) -> Call {
    Call::new(command).arg(archive(site, backup.archive)).arg(backup.directory)
}

fn archive(site: &Site, name: &str) -> OsString {
    let mut archive = site.repository.clone().into_os_string();
    archive.push("::");
    archive.push(name);
    archive
}

fn garret_restore(site: &Site, restore: &Restore<'_>) -> Vec<Call> {
    let call = Call::new(["extract", "--destination"]).arg(restore.out);
    vec![call.arg(archive(site, restore.archive)).arg(restore.inside())]
}

/// attic and borg restore into the directory where they are.
fn attic_restore(site: &Site, restore: &Restore<'_>) -> Vec<Call> {
    let call = Call::new(["extract"]).arg(archive(site, restore.archive));
    vec![call.arg(restore.inside()).directory(restore.out)]
}

/// The backup of one file, where each file is a backup.
fn one_name(archive: &str, file: &str) -> String {
    format!("{archive}-{}", file.replace('/', "-"))
}

fn zbackup(command: &str, path: PathBuf) -> Call {
    Call::new(["--non-encrypted", "--silent", command]).arg(path)
}

fn casync(command: &str, site: &Site, archive: &str, file: &str) -> Call {
    let mut store = OsString::from("--store=");
    store.push(site.repository.join("default.castr"));
    let index = site.repository.join(one_name(archive, file) + ".caibx");
    Call::new([command]).arg(store).arg(index)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_is_there_once_and_ours_is_first() {
        let names: BTreeSet<_> = TOOLS.iter().map(|tool| tool.name).collect();
        assert_eq!(names.len(), TOOLS.len());
        assert_eq!(TOOLS[0].name, OURS);
        assert!(names.contains(STRONGEST));
    }

    #[test]
    fn a_backup_by_stdin_is_one_call_per_file() {
        let site = Site { repository: "/r".into(), home: "/h".into() };
        let files = ["a".to_owned(), "c/b".to_owned()];
        let (archive, sources, directory) = ("first", Path::new("/s"), "images");
        let backup = Backup { archive, sources, directory, files: &files };
        let calls = |name: &str| {
            let tool = TOOLS.iter().find(|tool| tool.name == name).unwrap();
            (tool.backup)(&site, &backup)
        };
        assert_eq!(calls("zbackup").len(), 2);
        assert_eq!(calls("borg").len(), 1);
        let text = format!("{:?}", calls("zbackup"));
        assert!(text.contains("/r/backups/first-c-b") && text.contains("/s/images/c/b"), "{text}");
    }
}
