//! The texts that say how the program is used, in zbackup's words where it has them. They go to stderr.

/// Without arguments, and with `--help`.
pub(crate) const GENERAL: &str = "\
zgarret, a versatile deduplicating backup tool with the command line of zbackup

Usage: zgarret [flags] <command [action]> [command args]

  Flags: --non-encrypted|--password-file <file>
          needed by init only: other commands see what a repository needs and
          take GARRET_PASSPHRASE or ask the terminal; for import/export/passwd
          give none or two
         --silent (no progress, no notes)
         --log-json (JSON on stderr, one object on each line)
         --accept-state (go on with a storage in an older state than was seen)
         --from-command <command> (backup only: what it prints is backed up,
          instead of stdin; if it fails, no backup is made)
         --help|-h show this message
         -O <option[=value]> (options of this run, can be specified multiple
          times, -O help lists them)
         -o <option[=value]> (options that zbackup stores in a repository, can
          be specified multiple times, -o help lists them)

  Commands:
    init <storage path> - initializes new storage
    backup <backup file name> - performs a backup from stdin
    backup <input file> <backup file name> - performs a backup from file
    backup <input dir> <backup dir> - performs a backup from directory
    restore <backup file name> - restores a backup to stdout
    restore <backup file name> <output file name> - restores
            a backup to a file or block device
    export <source storage path> <destination storage path> -
            copies the backups of source to destination
    import <source storage path> <destination storage path> -
            copies the backups of destination to source, as zbackup does
    inspect [fast|deep] <backup file name> - inspect backup (default
            is fast)
    info <storage path> - shows a storage
    gc [fast|deep] <storage path> - performs garbage
            collection (default is fast)
    passwd <storage path> - changes the passphrase
    config [show|edit|set|reset] <storage path> - shows the
            configuration (default is show)
    completions bash|fish|zsh - prints what a shell needs
            to complete words at TAB
    man <directory> - writes the manual pages
";

/// `-O help`.
pub(crate) const RUNTIME: &str = "\
Options of this run:

* help:
  Show this message

* threads:
  Most threads that do the work
  Default is one for each processor

* cache-size:
  Checked and not needed: the memory of a restore is bounded without it
  Valid suffixes: B, KiB, MiB, GiB, KB, MB, GB; none is MiB

* exchange:
  What export and import copy. Can be specified multiple times.
  Valid values: backups, bundles, indexes
  Backups bring what they need; without them there is nothing to exchange

* lock-wait:
  Seconds to wait for other programs that use the repository; 0 is not at all
  Default is 86400

* gc.repack, gc.concat:
  Accepted: gc repacks and merges indexes where it is worth it

* paths.respect_tmp:
  Accepted: no temporary files are written outside of the repository

* backup.minimalSize:
  Files below it are passed over by a backup of a directory, with a warning
  Valid suffixes: B, KiB, MiB, GiB, KB, MB, GB; none is MiB
  Default is 0
";

/// `-o help`.
pub(crate) const STORABLE: &str = "\
Options that zbackup stores in a repository; here they are of this run:

* help:
  Show this message

* chunk.max_size, bundle.max_payload_size:
  Accepted without effect: the format has sizes of its own

* bundle.compression_method, compression:
  How new data is compressed: zstd, zstd,LEVEL (-7 to 22), lzma, lzma,PRESET (0 to 9),
  lz4, none; of zbackup's names lzo and lzo1x_1 are lz4, zero is none
  Default is zstd,3

* lzma.compression_level:
  0-19, the strength of what stands for lzma
  Default is 6
";

/// What a command takes, for whoever gave it something else.
pub(crate) fn of(command: &str) -> String {
    let arguments = match command {
        "backup" => {
            return "Usage 1: your_backup_command | zgarret backup <backup file name>\n\
                    Usage 2: zgarret backup <file> <backup file name>\n\
                    Usage 3: zgarret backup <directory> <backup subdirectory>\n"
                .to_owned();
        }
        "restore" => "<backup file name> [output file name]",
        "export" | "import" => "<source storage path> <destination storage path>",
        "gc" => "[fast|deep] <storage path>",
        "inspect" => "[fast|deep] <backup file name>",
        "config" => "[show|edit|set|reset] <storage path>",
        "completions" => "bash|fish|zsh",
        "man" => "<directory>",
        _ => "<storage path>",
    };
    format!("Usage: zgarret {command} {arguments}\n")
}
