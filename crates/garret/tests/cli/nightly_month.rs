//! A month of nights on images that change, by a clock of its own (`faketime`), with misfortunes planted in it: what is
//! kept is what the rules say, a good night is silent, a bad one is told of in one mail that says what to do, and every
//! image of every kept night comes back. Needs root, for a disk that can be full.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use garret_format::config::KeyMode;
use jiff::civil::{Date, date};

use super::full_disk::SmallDisk;
use super::nightly::{configure, private};
use super::{Dir, MIB, PASSPHRASE, Ran, fill_noise, packs, tool};

const DAILY: usize = 7;
const WEEKLY: usize = 3;

/// The images of a night by name.
type Images = BTreeMap<&'static str, Vec<u8>>;

/// One part of each image but one is another every night.
fn change(images: &mut Images, dir: &Dir, night: usize) {
    for (number, name) in ["a.raw", "b.raw"].into_iter().enumerate() {
        let image = images.get_mut(name).unwrap();
        let at = (night * 7 + number) % 30 * (64 << 10);
        fill_noise(&mut image[at..at + (48 << 10)], (night * 10 + number) as u64);
        dir.write(&format!("im/{name}"), image);
    }
}

/// Runs the job on this date, at half past two.
fn run_on(dir: &Dir, day: Date, tool: &[&str]) -> Ran {
    let time = format!("@{day} 02:30:00");
    let faketime = ["faketime", "-f", &time];
    let mut command =
        dir.under(&[&faketime, tool].concat(), &["nightly", "--config", "garret.toml"]);
    // Only what the clock on the wall says is another: neither how long things take nor the times of files.
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("NO_FAKE_STAT", "1");
    Ran::of(format!("the night of {day}"), command.output().unwrap())
}

/// What attic's rules keep of these nights.
fn kept(nights: &BTreeSet<Date>) -> BTreeSet<Date> {
    let mut keep = BTreeSet::new();
    let newest_first = || nights.iter().rev().copied();
    keep.extend(newest_first().take(DAILY));
    let (mut weeks, mut last) = (0, None);
    for night in newest_first() {
        let week = night.iso_week_date();
        let week = (week.year(), week.week());
        if last == Some(week) {
            continue;
        }
        last = Some(week);
        if !keep.contains(&night) && weeks < WEEKLY {
            weeks += 1;
            keep.insert(night);
        }
    }
    keep
}

/// The archives of the job.
fn archives(dir: &Dir) -> Vec<String> {
    let with = [("GARRET_PASSPHRASE", PASSPHRASE)];
    let listed = dir.run_with(&with, b"", &["list", "--short", "disk/repo"]).succeeds();
    let names = listed.lines().filter(|name| name.starts_with("vms-"));
    names.map(str::to_owned).collect()
}

/// The archive of that night has every image as it was.
fn comes_back(dir: &Dir, name: &str, images: &Images) {
    let to = dir.path("to");
    fs::create_dir(&to).unwrap();
    let archive = format!("disk/repo::{name}");
    let with = [("GARRET_PASSPHRASE", PASSPHRASE)];
    dir.run_with(&with, b"", &["extract", "--destination", "to", &archive]).silent();
    let below = dir.path("im").strip_prefix("/").unwrap().to_owned();
    for (image, bytes) in images {
        assert!(fs::read(to.join(&below).join(image)).unwrap() == *bytes, "{image} of {name}");
    }
    fs::remove_dir_all(to).unwrap();
}

/// What is planted in a night.
struct Misfortune {
    night: usize,
    code: i32,
    /// What the mail holds.
    mail: &'static [&'static str],
}

const MISSING: usize = 4;
const FULL: usize = 8;
const DAMAGED: usize = 12;
const KILLED: usize = 16;
const WRONG: usize = 20;
const HANGING: usize = 24;

const MISFORTUNES: [Misfortune; 6] = [
    Misfortune {
        night: MISSING,
        code: 3,
        mail: &["im/b.raw: cannot stat: No such file or directory (os error 2); put it back, or"],
    },
    Misfortune {
        night: FULL,
        code: 5,
        mail: &["disk full, no archive made; make room, then run garret prune"],
    },
    Misfortune {
        night: DAMAGED,
        code: 7,
        // Whether the sample of the backup finds it, or the check, is chance; both say what to run.
        mail: &["is damaged at offset", "run"],
    },
    // By `faketime`, which waits for it.
    Misfortune { night: KILLED, code: 1, mail: &["Killed"] },
    Misfortune {
        night: WRONG,
        code: 6,
        mail: &["repo: wrong passphrase: it opens no key of this repository; correct"],
    },
    Misfortune {
        night: HANGING,
        code: 1,
        mail: &["before hook: not done within 5 s and ended; see what it waits for"],
    },
];

impl Misfortune {
    #[track_caller]
    fn is_told_of(&self, ran: &Ran) {
        assert_eq!(ran.code, Some(self.code), "{}: {}", ran.what, ran.stderr);
        assert!(ran.stdout.is_empty());
        for text in self.mail {
            assert!(ran.stderr.contains(text), "{}: {}", ran.what, ran.stderr);
        }
        let is_one = self.night == DAMAGED || ran.stderr.lines().count() == 1;
        let is_ours = |line: &str| line.starts_with("garret: vms: ") || self.night == KILLED;
        assert!(is_one && ran.stderr.lines().all(is_ours), "{}: {}", ran.what, ran.stderr);
    }
}

/// What is wrong from before this night on.
fn plant(dir: &Dir, night: usize, images: &mut Images) {
    match night {
        MISSING => fs::rename(dir.path("im/b.raw"), dir.path("b.away")).unwrap(),
        FULL => {
            let disk = dir.path("disk").display().to_string();
            let left = super::tool("df", &["--output=avail", "-B1", &disk]);
            let left: usize = left.lines().last().unwrap().trim().parse().unwrap();
            fs::write(dir.path("disk/other"), vec![1; left - (48 << 10)]).unwrap();
        }
        DAMAGED => {
            // An image that is there to be stored again is in a pack of its own.
            let before = packs(&dir.path("disk/repo"));
            let bytes = images.get_mut("c.raw").unwrap();
            fill_noise(bytes, 77);
            dir.write("im/c.raw", bytes);
            let with = [("GARRET_PASSPHRASE", PASSPHRASE)];
            dir.run_with(&with, b"", &["create", "disk/repo::by-hand", "im/c.raw"]).silent();
            let mut new = packs(&dir.path("disk/repo"));
            new.retain(|pack| !before.contains(pack));
            let mut bytes = fs::read(&new[0]).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&new[0], bytes).unwrap();
        }
        WRONG => private(dir, "passphrase", "wrong"),
        HANGING => drop(dir.write("hang", b"")),
        _ => {}
    }
}

/// What somebody who read the mail does.
fn mend(dir: &Dir, night: usize) {
    match night {
        MISSING => fs::rename(dir.path("b.away"), dir.path("im/b.raw")).unwrap(),
        FULL => fs::remove_file(dir.path("disk/other")).unwrap(),
        WRONG => private(dir, "passphrase", PASSPHRASE),
        HANGING => fs::remove_file(dir.path("hang")).unwrap(),
        _ => {}
    }
}

/// Bytes of a repository.
fn stored(dir: &Dir, repository: &str) -> u64 {
    let with = [("GARRET_PASSPHRASE", PASSPHRASE)];
    let said = dir.run_with(&with, b"", &["info", "--json", repository]).succeeds();
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    said["repository"]["stored_size"].as_u64().unwrap()
}

/// The bytes of a repository that never saw other nights than these. It has the keys of the other, so the same bytes are cut
/// alike in both.
fn ideal<'i>(dir: &Dir, nights: impl Iterator<Item = &'i Images>) -> u64 {
    let with = [("GARRET_PASSPHRASE", PASSPHRASE)];
    for (number, images) in nights.enumerate() {
        for (name, bytes) in images {
            dir.write(&format!("im/{name}"), bytes);
        }
        let archive = format!("ideal::{number}");
        dir.run_with(&with, b"", &["create", &archive, "im"]).silent();
    }
    stored(dir, "ideal")
}

/// Three images, the last of which hardly ever changes, and a repository on a disk of its own.
fn begin(dir: &Dir) -> Images {
    dir.cheap_repository("disk/repo", KeyMode::Passphrase);
    let path = |name: &str| dir.path(name).display().to_string();
    tool("cp", &["-a", &path("disk/repo"), &path("ideal")]);
    fs::create_dir(dir.path("im")).unwrap();
    let mut images = Images::new();
    for (number, name) in ["a.raw", "b.raw", "c.raw"].into_iter().enumerate() {
        let mut bytes = vec![0; 2 * MIB];
        fill_noise(&mut bytes, 1000 + number as u64);
        dir.write(&format!("im/{name}"), &bytes);
        images.insert(name, bytes);
    }
    private(dir, "passphrase", PASSPHRASE);
    let defaults = format!(
        "passphrase-file = \"@/passphrase\"\nkeep = {{ daily = {DAILY}, weekly = {WEEKLY} }}\nverify = \"1h\"\n\
         archive = \"{{job}}-{{now:%Y-%m-%d}}\""
    );
    let job = "[job.vms]\nrepository = \"@/disk/repo\"\n\
               paths = [\"@/im/a.raw\", \"@/im/b.raw\", \"@/im/c.raw\"]\n\
               hooks.timeout = \"5s\"\nhooks.before = \"if test -e @/hang; then exec sleep 600; fi\"";
    configure(dir, &defaults, job);
    images
}

/// Killed when the second file that it makes is to get its name.
const KILL: [&str; 9] = [
    "strace",
    "-f",
    "-qq",
    "-o",
    "/dev/null",
    "-e",
    "trace=renameat,renameat2,linkat",
    "-e",
    "inject=renameat,renameat2,linkat:signal=KILL:when=2",
];

#[test]
fn a_month_of_nights_keeps_what_the_rules_say_and_is_silent_unless_something_is_wrong() {
    let dir = Dir::new();
    let disk = SmallDisk::with_size(dir.path("disk"), "40m");
    let mut images = begin(&dir);
    let (mut complete, mut was) = (BTreeSet::new(), BTreeMap::new());
    for night in 0..30 {
        let day = date(2026, 10, 1).checked_add(jiff::Span::new().days(night as i64)).unwrap();
        let name = format!("vms-{day}");
        change(&mut images, &dir, night);
        plant(&dir, night, &mut images);
        let tool = if night == KILLED { &KILL[..] } else { &[] };
        let ran = run_on(&dir, day, tool);
        let planted = MISFORTUNES.iter().find(|found| found.night == night);
        match planted {
            None => ran.silent(),
            Some(planted) => planted.is_told_of(&ran),
        }
        // One that found old damage is as good as any.
        if planted.is_none() || night == DAMAGED {
            complete.insert(day);
            complete = kept(&complete);
        }
        let mut expected: Vec<String> = complete.iter().map(|day| format!("vms-{day}")).collect();
        expected.extend((night == MISSING).then_some(name));
        assert_eq!(archives(&dir), expected, "after night {night}");
        mend(&dir, night);
        was.insert(day, images.clone());
    }
    assert!(complete.len() > DAILY);
    for day in &complete {
        comes_back(&dir, &format!("vms-{day}"), &was[day]);
    }
    let (is, ideal) =
        (stored(&dir, "disk/repo"), ideal(&dir, complete.iter().map(|day| &was[day])));
    assert!(is as f64 <= 1.05 * ideal as f64, "{is} bytes, and {ideal} would do");
    drop(disk);
}
