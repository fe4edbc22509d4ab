//! What people write, and what is decided by it: patterns, prune rules, locations, names, templates.
//!
//! In: any bytes. Promises checked: nothing panics or takes long; what is taken for a location says the same when it is
//! written again; a path that is excluded stays so whatever is below it; prune keeps the newest complete archive, counts no
//! rule too far, and does not go by the order in which archives are found.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use garret_cli::placeholders;
use garret_cli::record::{Record, Template};
use garret_core::{Archive, KeepRules, KeptBy, NamedArchive, Patterns, plan_prune};
use garret_format::archive::{Time, is_archive_name};
use garret_format::recipe::{CutterKind, Node, Recipe};

use crate::location;

/// A target: its name, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 3] =
    [("match_patterns", match_patterns), ("plan_prune", prune), ("read_words", read_words)];

/// Longest path that is tried: what a pattern of many stars costs grows with it.
const PATH_LEN_MAX: usize = 256;

/// A file of patterns, a zero, a path.
pub fn match_patterns(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let (text, path) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let path = &path[..path.len().min(PATH_LEN_MAX)];
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
    let path = &path[..end];
    let each: Vec<Patterns> =
        Patterns::lines(text).map(|pattern| Patterns::new([pattern])).collect();
    let all = Patterns::new(Patterns::lines(text));
    let is_excluded = all.exclude(path);
    assert_eq!(is_excluded, each.iter().any(|one| one.exclude(path)), "one of them is enough");
    if is_excluded && !path.is_empty() {
        assert!(all.exclude(&[path, b"/below"].concat()), "what is below goes with it");
    }
    // A path in which nothing has a meaning of its own is a pattern for itself.
    let literal: Vec<u8> = path.iter().flat_map(|byte| escaped(*byte)).collect();
    assert!(path.is_empty() || Patterns::new([literal]).exclude(path), "it excludes itself");
}

fn escaped(byte: u8) -> Vec<u8> {
    match byte {
        b'*' | b'?' | b'[' => vec![b'[', byte, b']'],
        _ => vec![byte],
    }
}

/// Seven bytes of rules, then four for each archive: days, hours, host, what is wrong with it.
pub fn prune(bytes: &[u8]) {
    let Some((rules, rest)) = bytes.split_first_chunk::<7>() else { return };
    let count = |byte: u8| i64::from(byte as i8);
    let mut keep = KeepRules::default();
    keep.within_secs = (rules[0] > 127).then(|| u64::from(rules[0] - 128) * 3600);
    (keep.hourly, keep.daily, keep.weekly) = (count(rules[1]), count(rules[2]), count(rules[3]));
    (keep.monthly, keep.yearly, keep.force) = (count(rules[4]), count(rules[5]), rules[6] % 2 == 1);
    let now = Time { secs: 1_790_000_000, nanos: 0 };
    let archives: Vec<NamedArchive> =
        (0..).zip(rest.as_chunks::<4>().0).map(|(number, row)| archive(number, row, now)).collect();
    let ahead = |secs: i64| i32::from(rules[6]) * 600 - 72_000 + (secs / 3600 % 2) as i32 * 3600;
    let plan = plan_prune(archives.clone(), &keep, now, &ahead);
    let Ok(plan) = plan else {
        assert!(keep.check().is_err());
        return;
    };
    let mut reversed = archives.clone();
    reversed.reverse();
    assert_eq!(plan_prune(reversed, &keep, now, &ahead).ok().as_ref(), Some(&plan));
    assert_eq!(plan.len(), archives.len());
    assert!(plan.is_sorted_by(|a, b| a.archive.archive.end >= b.archive.archive.end));
    let counted = |one: &&garret_core::Decision| {
        one.archive.archive.is_complete() && one.kept != Some(KeptBy::Future)
    };
    if let Some(newest) = plan.iter().find(counted).filter(|_| !keep.force) {
        assert!(newest.kept.is_some(), "the newest complete archive goes");
    }
    let daily = |one: &garret_core::Decision| {
        matches!(one.kept, Some(KeptBy::Rule { rule: "daily", .. }))
            && one.archive.archive.is_complete()
    };
    let kept = plan.iter().filter(|one| daily(one)).count() as i64;
    assert!(keep.daily < 0 || kept <= keep.daily, "{kept} for {} days", keep.daily);
}

fn archive(number: usize, row: &[u8; 4], now: Time) -> NamedArchive {
    let [days, hours, host, wrong] = row.map(i64::from);
    let age = match wrong % 32 {
        30 => i64::MIN,
        31 => i64::MAX,
        _ => (days - 3) * 86_400 + hours * 3600,
    };
    let time = Time { secs: now.secs.saturating_sub(age), nanos: (wrong as u32) * 1000 };
    let items = Recipe { cutter: CutterKind::Page, root: Node::Leaf(Vec::new()) };
    let archive = Archive {
        start: time,
        end: time,
        host: format!("host{}", host % 3),
        file_count: u64::from(wrong % 4 != 1),
        problem_count: u64::from(wrong % 4 == 2),
        ..Archive::new(format!("a{number}"), items)
    };
    NamedArchive { name: format!("a{number}"), archive, fingerprint: [number as u8; 32], len: 0 }
}

/// A word of a command line, for whatever words are read.
pub fn read_words(bytes: &[u8]) {
    let word = OsStr::from_bytes(bytes);
    if let Ok((repository, name)) = location::either(word) {
        let name = name.map_or(Vec::new(), |name| [b"::", name.as_bytes()].concat());
        let again = [repository.to_os_string().as_bytes(), &name].concat();
        // Behind `file://` there may be what is the path of another host without it.
        if let Ok(found) = location::either(OsStr::from_bytes(&again)) {
            assert_eq!(Some(found), location::either(word).ok());
        }
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(name) = placeholders::expand(text) {
        let _ = is_archive_name(&name);
    }
    if let Some(secs) = KeepRules::parse_within(text) {
        assert_eq!(secs % 3600, 0);
    }
    if let Ok(template) = Template::parse(text) {
        let record = Record::default().with("n", 12).with_path(b"p\xff");
        let _ = record.format(&template);
    }
}
