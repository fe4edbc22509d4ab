//! What objects are called in a store.
//!
//! In: keys. Out: names as a repository in a directory has them, but for two things: all packs are in one directory, and
//! every byte of an archive's name but `A-Z a-z 0-9 - _ . : + = @` is `%` and two digits, for stores, proxies and libraries
//! between change the others. Promises: each key has one name, and a name is read as the key that would be written so, or
//! not at all.

use garret_core::{Area, Key};
use garret_format::archive::is_archive_name;
use garret_format::{ArchiveHash, PackId, SegmentId, SlotId};

/// Longest name in bytes, with the prefix in the bucket: what S3 takes.
pub(crate) const NAME_LEN_MAX: usize = 1024;

/// What names of leases begin with.
pub(crate) const LEASES: &str = "leases/";
/// What names of claims begin with: those of one name lie in a directory of its own.
pub(crate) const CLAIMS: &str = "claims/";
/// What names of objects begin with that are made to see whether the server keeps a second one from it.
pub(crate) const PROBES: &str = "probe/";
/// Where by SFTP lies what is being put until it has its name.
pub(crate) const TMP: &str = "tmp/";

/// What names of objects begin with that serve only those who are at work.
pub(crate) const PASSING: [&str; 4] = [LEASES, CLAIMS, PROBES, TMP];

/// Whether an object serves only those who are at work.
pub(crate) fn is_passing(name: &str) -> bool {
    PASSING.iter().any(|directory| name.starts_with(directory))
}

/// What an object is called below the repository's prefix.
pub(crate) fn name_of(key: &Key) -> String {
    match key {
        Key::Archive(name) => format!("{}{}", directory_of(Area::Archives), escaped(name)),
        // One directory: a server of SFTP lists it in a hundredth of the requests that one for each first byte takes.
        Key::Pack(id) => format!("{}{id}", directory_of(Area::Packs)),
        key => key.to_string(),
    }
}

/// What all names of a kind begin with.
pub(crate) fn directory_of(area: Area) -> &'static str {
    match area {
        Area::Slots => "keys/",
        Area::Packs => "packs/",
        Area::Index => "index/",
        Area::Archives => "backups/",
        Area::Damage => "damaged/",
        Area::Quarantine => "quarantine/",
        Area::Tags => "tags/",
        Area::Copies => "copies/",
    }
}

/// The key of which this is the name, if there is one.
pub(crate) fn key_of(area: Area, name: &str) -> Option<Key> {
    let rest = name.strip_prefix(directory_of(area))?;
    let key = match area {
        Area::Slots => Key::Slot(SlotId::from_hex(rest)?),
        Area::Packs => Key::Pack(PackId::from_hex(rest)?),
        Area::Index => Key::Index(SegmentId::from_hex(rest)?),
        Area::Archives => Key::Archive(unescaped(rest).filter(|name| is_archive_name(name))?),
        Area::Damage => Key::Damage(PackId::from_hex(rest)?),
        Area::Quarantine => Key::Quarantine(PackId::from_hex(rest)?),
        Area::Tags => Key::Tags(ArchiveHash::from_hex(rest)?),
        Area::Copies => match rest {
            "config" => Key::ConfigCopy,
            "tombstones" => Key::TombstonesCopy,
            rest => SlotId::from_hex(rest)
                .map(Key::SlotCopy)
                .or_else(|| ArchiveHash::from_hex(rest).map(Key::ArchiveCopy))?,
        },
    };
    (name_of(&key) == name).then_some(key)
}

fn escaped(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => escaped.push(char::from(byte)),
            b'-' | b'_' | b'.' | b':' | b'+' | b'=' | b'@' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

fn unescaped(name: &str) -> Option<String> {
    let (mut bytes, mut left) = (Vec::with_capacity(name.len()), name.bytes());
    while let Some(byte) = left.next() {
        let mut digit = || char::from(left.next()?).to_digit(16);
        bytes.push(match byte {
            b'%' => u8::try_from(digit()? << 4 | digit()?).ok()?,
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_archives_come_back_and_hold_nothing_that_is_changed_on_the_way() {
        for name in [
            "plain",
            "vm/2026-11-23 03:00",
            "ends in a space ",
            "100 %",
            "%41",
            "\u{e4}?#&",
            "a+b",
            "a./b.",
        ] {
            let key = Key::Archive(name.to_owned());
            let written = name_of(&key);
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:+=@/%".contains(c);
            assert!(written.chars().all(is_plain), "{written}");
            assert_eq!(key_of(Area::Archives, &written), Some(key), "{written}");
        }
    }

    #[test]
    fn a_name_that_would_be_written_otherwise_is_no_key() {
        for name in [
            "backups/a%41",
            "backups/%e4",
            "backups/%",
            "backups/%4",
            "backups/a b",
            "backups/%FF",
            "backups/.a",
            "backups/a//b",
            "backups/",
            "copies/other",
            "backups/a/b",
            "backups/a%2Eb",
            "elsewhere/a",
        ] {
            assert_eq!(key_of(Area::Archives, name), None, "{name}");
            assert_eq!(key_of(Area::Copies, name), None, "{name}");
        }
        let pack = Key::Pack(PackId::from_bytes([0xab; 32]));
        let name = name_of(&pack);
        assert_eq!(key_of(Area::Packs, &name), Some(pack));
        assert_eq!(key_of(Area::Packs, &name.replace("packs/", "packs/ab/")), None);
        assert_eq!(key_of(Area::Packs, &format!("{name}/x")), None);
    }
}
