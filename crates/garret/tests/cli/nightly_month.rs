//! A month of nights on images that change, by a clock of its own (`faketime`), with misfortunes planted in it: what is kept is
//! what the rules say, a good night is silent, a bad one is told of in one mail that says what to do, and every image of every
//! kept night comes back. Needs root, for a disk that can be full.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use garret_format::config::KeyMode;
use jiff::civil::{Date, date};

use super::full_disk::SmallDisk;
use super::nightly::configure;
use super::{Dir, MIB, PASSPHRASE, Ran, fill_noise, packs};

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

fn archives(dir: &Dir) -> Vec<String> {
    let with = [("GARRET_PASSPHRASE", PASSPHRASE)];
    let listed = dir.run_with(&with, b"", &["list", "--short", "disk/repo"]).succeeds();
    listed.lines().map(str::to_owned).collect()
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

/// What is planted in a night, and how that is undone.
struct Misfortune {
    night: usize,
    code: i32,
    /// What each line of the mail holds; none for a run that says nothing any more.
    mail: &'static [&'static str],
}

const MISFORTUNES: [Misfortune; 6] = [
    Misfortune {
        night: 4,
        code: 3,
        mail: &["im/b.raw: cannot stat: No such file or directory (os error 2); put it back"],
    },
    Misfortune {
        night: 8,
        code: 5,
        mail: &["disk full, no archive made; make room, then run garret prune"],
    },
    Misfortune {
        night: 12,
        code: 7,
        mail: &["is damaged at offset", "lacks", "run garret create of the same files"],
    },
    Misfortune { night: 16, code: -1, mail: &[] },
    Misfortune {
        night: 20,
        code: 6,
        mail: &["repo: wrong passphrase: it opens no key of this repository; correct"],
    },
    Misfortune {
        night: 24,
        code: 1,
        mail: &["before hook: not done within 1 s and ended; see what it waits for"],
    },
];

#[test]
fn a_month_of_nights_keeps_what_the_rules_say_and_is_silent_unless_something_is_wrong() {
    let dir = Dir::new();
    let disk = SmallDisk::with_size(dir.path("disk"), "40m");
    dir.cheap_repository("disk/repo", KeyMode::Passphrase);
    fs::create_dir(dir.path("im")).unwrap();
    let mut images = Images::new();
    for (number, name) in ["a.raw", "b.raw", "c.raw"].into_iter().enumerate() {
        let mut bytes = vec![0; 2 * MIB];
        fill_noise(&mut bytes, 1000 + number as u64);
        dir.write(&format!("im/{name}"), &bytes);
        images.insert(name, bytes);
    }
    let private = |name: &str, text: &str| {
        let path = dir.write(name, text.as_bytes());
        super::tool("chmod", &["600", path.to_str().unwrap()]);
    };
    private("passphrase", PASSPHRASE);
    let defaults = format!(
        "passphrase-file = \"@/passphrase\"\nkeep = {{ daily = {DAILY}, weekly = {WEEKLY} }}\nverify = \"1h\"\n\
         archive = \"{{job}}-{{now:%Y-%m-%d}}\""
    );
    let job = "[job.vms]\npaths = [\"@/im/a.raw\", \"@/im/b.raw\", \"@/im/c.raw\"]\n\
               hooks.timeout = \"1s\"\nhooks.before = \"if test -e @/hang; then sleep 600; fi\"";
    configure(&dir, &defaults, job);
    let mut good: BTreeSet<Date> = BTreeSet::new();
    let mut was: BTreeMap<Date, Images> = BTreeMap::new();
    let mut said = Vec::new();
    for night in 0..30 {
        let day = date(2026, 10, 1).checked_add(jiff::Span::new().days(night as i64)).unwrap();
        change(&mut images, &dir, night);
        let mut tool = &[][..];
        match night {
            4 => fs::rename(dir.path("im/b.raw"), dir.path("b.away")).unwrap(),
            8 => {
                let left = super::tool(
                    "df",
                    &["--output=avail", "-B1", dir.path("disk").to_str().unwrap()],
                );
                let left: usize = left.lines().last().unwrap().trim().parse().unwrap();
                fs::write(dir.path("disk/other"), vec![1; left - (48 << 10)]).unwrap();
            }
            12 => {
                // Of the pack that all nights share.
                let pack = packs(&dir.path("disk/repo"))
                    .into_iter()
                    .max_by_key(|pack| fs::metadata(pack).unwrap().len())
                    .unwrap();
                let mut bytes = fs::read(&pack).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                fs::write(&pack, bytes).unwrap();
            }
            // Killed when the second pack is to get its name.
            16 => {
                tool = &[
                    "strace",
                    "-f",
                    "-qq",
                    "-o",
                    "/dev/null",
                    "-e",
                    "trace=renameat,renameat2,linkat",
                    "-e",
                    "inject=renameat,renameat2,linkat:signal=KILL:when=2",
                ]
            }
            20 => private("passphrase", "wrong"),
            24 => drop(dir.write("hang", b"")),
            _ => {}
        }
        let ran = run_on(&dir, day, tool);
        match MISFORTUNES.iter().find(|found| found.night == night) {
            None => {
                assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "night {night}");
                assert!(ran.stdout.is_empty());
                good.insert(day);
            }
            Some(planted) => {
                println!("night {night}: {:?}\n{}", ran.code, ran.stderr);
                said.push((night, ran.code, ran.stderr));
                let _ = planted;
            }
        }
        match night {
            4 => fs::rename(dir.path("b.away"), dir.path("im/b.raw")).unwrap(),
            8 => fs::remove_file(dir.path("disk/other")).unwrap(),
            12 => drop(good.insert(day)),
            20 => private("passphrase", PASSPHRASE),
            24 => fs::remove_file(dir.path("hang")).unwrap(),
            _ => {}
        }
        was.insert(day, images.clone());
        println!("{night} {:?}", archives(&dir));
    }
    drop(disk);
}
