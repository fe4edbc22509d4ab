//! The bounds of memory and of what is read from the repository, each with its reason.

/// Bytes of a stream that one worker scans at a time, at least. What is copied out of the page cache costs a third more if
/// those in use do not stay in a cache near the core; shorter ones gain nothing more, and each is a wait for a cold disk.
pub(crate) const WINDOW_LEN: usize = 2 << 20;

/// The same for this lookahead, 320 KiB at default sizes: three times as long at least, so that a third at most is copied.
pub(crate) fn window_len(lookahead: usize) -> usize {
    lookahead.saturating_mul(3).next_multiple_of(WINDOW_LEN).max(WINDOW_LEN)
}

/// The first bytes of a pipe, from which it is told what it is: what a disk has in front of its first file system too.
pub(crate) const HEAD_LEN: usize = 4 << 20;

/// Bytes of a stream that are taken from the recipe of its base at a time, or read if they cannot be. A window is longer than
/// the cuts behind a change take to meet those of the base; a recipe has some 13 chunks for so many bytes.
pub(crate) const SAME_LEN: usize = 1 << 20;

/// Bytes of chunks that a backup puts into a group: less costs 6 % of space and more gains 2 %, and who reads 64 KiB from
/// the middle opens all before it.
pub(crate) const GROUP_LEN: u32 = 1 << 20;

/// Bytes of chunks that a group may have in a repository that init makes, and that compact puts into one: a window of so many
/// bytes costs the strongest compression 50 MiB of memory for each thread.
pub(crate) const GROUP_LEN_MOST: u32 = 4 << 20;

/// Longest file `config`, key slot: far above their fixed lengths, so that a newer version still gets a clear message.
pub(crate) const SMALL_OBJECT_LEN_MAX: u64 = 4096;

/// Key slots of a repository that are tried: each costs up to some seconds, and storage may hold any number. One is usual.
pub(crate) const SLOTS_MAX: usize = 16;

/// Key slots of a repository that are looked at before: those that are none of its own cost nothing more.
pub(crate) const SLOTS_READ_MAX: usize = 1024;

/// Argon2 memory in KiB and passes below which a slot is not tried, unless the key that it must give is known: whoever can
/// put slots there would have passphrases guessed for him at his price.
pub(crate) const KDF_FLOOR: (u32, u32) = (64 << 10, 3);

/// Longest archive file: name, command line and sources at their bounds stay below.
pub(crate) const ARCHIVE_LEN_MAX: u64 = 64 << 20;

/// Longest index segment file: twice the most chunks and a pack more (gc merges segments), each in a group of its own.
pub(crate) const SEGMENT_LEN_MAX: u64 = 64 << 20;

/// Local index files above which they are merged into one: each costs every lookup a search.
pub(crate) const LOCAL_SEGMENTS_MAX: usize = 8;

/// Bytes of sealed groups that may wait for the pack writer, about: while one pack is synced to disk the workers go on. That
/// is 16 groups of the usual length.
pub(crate) const WAITING_LEN: u32 = 16 << 20;

/// Bytes with which a pack of structure ends, if those of files are not shorter: two of them are open at once, and in memory.
pub(crate) const STRUCTURE_PACK_LEN: u32 = 8 << 20;

/// Packs that a chunk of structure lies in.
pub(crate) const STRUCTURE_COPIES: usize = 2;

/// Segments of the index that are read at once, where the store gains from it: each takes 14 MiB of memory at most, or twice
/// that after a gc.
pub(crate) const SEGMENTS_IN_FLIGHT_MAX: usize = 4;

/// Whole packs that are put, or read, at once, where the store gains from it: four of 32 MiB over 50 ms are 2.5 GB/s, and
/// they are in memory.
pub(crate) const PACKS_IN_FLIGHT_MAX: usize = 4;

/// Bytes of opened groups that a repository keeps, unless it is told: 64 of the usual length, whose chunks make 1000 places
/// of 64 KiB that are read again without opening anything.
pub const KEPT_LEN_DEFAULT: u64 = 64 << 20;

/// Longest part of a pack that one request gets: over 50 ms and 1 GB/s it takes as long to come as to be asked for, seven
/// more in flight make up for that, and those together are 64 MiB of memory.
pub(crate) const RUN_LEN_MAX: u64 = 8 << 20;

/// Bytes between two groups that are rather read than asked around: at 50 ms they cost less than a request at any rate above
/// 20 MB/s.
pub(crate) const RUN_GAP_MAX: u64 = 1 << 20;

/// Bytes of a stream that one restore plan covers. Within a plan every group is read and opened once, so a larger plan reads
/// fewer groups twice; a plan takes about 64 bytes of memory per chunk.
pub(crate) const PLAN_LEN: u64 = 16 << 30;

/// Most entries in one restore plan: bounds its memory (12 MiB) for streams of tiny chunks.
pub(crate) const PLAN_ENTRIES: usize = 1 << 18;

/// Bytes of a stored file that are read at a time where they are wanted in order: a read opens every group it needs, so small
/// ones would open many of them twice. One for each thread and one more are in memory.
pub(crate) const FILE_READ_LEN: usize = 8 << 20;

/// Longest read of a stored file, in bytes, that may be a jump: no more of a group is opened then than it needs, which is
/// half on average. What is read ahead, and what the kernel reads for who reads in order (128 KiB; 1 MiB of a mount of
/// root's), is longer.
pub(crate) const JUMP_LEN_MAX: usize = 64 << 10;

/// How far from where an earlier read of a stored file ended another may be, in bytes, and be no jump: clients have several
/// requests under way, and they come in any order.
pub(crate) const WALK_SLACK: u64 = 1 << 20;

/// Walks through a stored file that are remembered for that: those who read ahead of one are on his.
pub(crate) const TRAIL_LEN: usize = 32;

/// Entries of a recipe that one question about the extents of a stored file looks at: 256 MiB of chunks of 64 KiB.
pub(crate) const EXTENT_ENTRIES_MAX: usize = 4096;

/// Longest byte string beside an item: the allocation map of some 100 million holes, the layout of some 50 million clusters.
pub(crate) const SIDE_LEN_MAX: u64 = 256 << 20;

/// What an item stream may hold of chunks that it held before: so many bytes, and so many times the length of its different
/// chunks. Paths differ, so only attributes of more than a chunk repeat; a forged stream would be a list without end.
pub(crate) const REPEATED_LEN_MAX: u64 = 4 << 20;
pub(crate) const REPEATED_TIMES_MAX: u64 = 16;

/// Lengths that others wrote, or that sparse files have, added up; at most the largest number.
pub fn total_len(lens: impl IntoIterator<Item = u64>) -> u64 {
    lens.into_iter().fold(0, u64::saturating_add)
}
