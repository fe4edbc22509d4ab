//! What a person sees on a terminal, at 60, 80 and 200 columns: whole sessions, as they stand there when all is done, with
//! numbers and times masked. `GARRET_SNAPSHOTS=write` writes them anew.

use std::process::{Command, Stdio};

use super::help::is_snapshot;
use super::{Dir, MIB, fill_noise, packs};

/// A night, what is asked about it, a restore, and mistakes.
const SESSION: [&str; 16] = [
    "create --stats --comment 'before 12.3' repo::night-1 images",
    "create --tag weekly --tag golden repo::night-2 images gone",
    "create repo::the-night-before-the-kernel-was-updated-to-6.12 images",
    "protect repo::night-1",
    "list repo",
    "list --long repo",
    "info repo::night-1",
    "prune -n -d 1 repo",
    "prune --list --stats -d 1 repo",
    "check --verify-data repo",
    "report -d 7 repo",
    "extract -C out repo::night-1",
    "restore repo app.raw -o app.raw",
    "extract repo::nihgt-1",
    "delete repo::night-1",
    "check --repair repo",
];

/// A line of shell on a terminal of so many columns; everything that was written to it.
fn typed(dir: &Dir, line: &str, columns: u16, environment: &[(&str, &str)]) -> String {
    let command = dir.command(&[]);
    let line = format!("stty cols {columns} rows 24; {line}");
    let mut script = Command::new("script");
    script.args(["-q", "-e", "-c", &line, "/dev/null"]).current_dir(dir.path("")).env_clear();
    script.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    script.env("PATH", "/usr/bin:/bin").env("TERM", "xterm").envs(environment.iter().copied());
    let output = script.stdin(Stdio::null()).output().expect("this test needs script (util-linux)");
    String::from_utf8(output.stdout).unwrap()
}

/// The lines that stand on a terminal after this was written to it, and the longest line of a bar.
fn screen(written: &str) -> (Vec<String>, usize) {
    let (mut lines, mut line, mut at, mut widest) = (Vec::new(), Vec::<char>::new(), 0, 0);
    let mut characters = written.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\r' => at = 0,
            '\n' => {
                lines.push(line.iter().collect::<String>().trim_end().to_owned());
                (line, at) = (Vec::new(), 0);
            }
            '\u{1b}' => {
                let sequence: String = characters.by_ref().take(3).collect();
                assert_eq!(sequence, "[2K", "the only one that is used");
                widest = widest.max(line.len());
                line.clear();
            }
            shown => {
                line.truncate(at);
                line.push(shown);
                at += 1;
            }
        }
    }
    (lines, widest)
}

/// The same line whatever the time, the machine and its speed: digits behind one space are `#`, in a column they stay where
/// they end; hashes are words.
fn masked(line: &str) -> String {
    for known in ["Command line: ", "Hostname: ", "Username: "] {
        if line.starts_with(known) {
            return format!("{known}#");
        }
    }
    let mut text = String::new();
    for word in line.split_inclusive(' ') {
        let bare = word.trim_end();
        let is_hash = bare.len() >= 40 && bare.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_number = bare.starts_with(|first: char| first.is_ascii_digit())
            && bare.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        // A ratio, of what is compressed by some bytes more or less each time.
        let is_ratio = bare.strip_prefix('(').is_some_and(|ratio| {
            ratio.contains('.') && ratio.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        });
        if is_hash {
            text += "HASH";
        } else if is_ratio {
            text += "(#";
        } else if is_number {
            let is_column = text.ends_with("  ");
            let padding = if is_column { bare.len() - 1 } else { 0 };
            text += &format!("{}#", " ".repeat(padding));
        } else {
            text += bare;
        }
        text += &word[bare.len()..];
    }
    for day in ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"] {
        text = text.replace(&format!(" {day} "), " DAY ");
    }
    for month in
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    {
        text = text
            .replace(&format!("DAY {month} "), "DAY MON ")
            .replace(&format!(" {month} "), " MON ");
    }
    let is_time = |word: &str| {
        word.len() > 4
            && word.contains(':') | word.contains("20")
            && word.bytes().all(|b| b.is_ascii_digit() || b == b':' || b == b'-')
    };
    let words = text.split(' ').map(|word| if is_time(word) { "TIME" } else { word });
    words.collect::<Vec<_>>().join(" ").replace("DAY MON  #", "DAY MON #")
}

/// A repository, and an image that is mostly hole, so that no machine takes seconds for a gigabyte.
fn ready() -> Dir {
    let dir = Dir::with_repository();
    let mut bytes = vec![0; MIB];
    fill_noise(&mut bytes, 1);
    let image = std::fs::File::create(dir.write("images/app.raw", &bytes)).unwrap();
    std::io::Write::write_all(&mut &image, &bytes).unwrap();
    image.set_len(1 << 30).unwrap();
    dir.write("images/notes.txt", b"a line\n");
    dir
}

#[test]
fn sessions_fit_on_terminals_of_all_widths() {
    for columns in [60, 80, 200] {
        let dir = ready();
        let program = dir.command(&[]).get_program().to_str().unwrap().to_owned();
        let mut seen = String::new();
        for line in SESSION {
            let written = typed(&dir, &format!("{program} {line}"), columns, &[]);
            let (lines, widest) = screen(&written);
            assert!(widest <= usize::from(columns), "a bar of {line} at {columns}: {widest}");
            seen += &format!("$ garret {line}\n");
            let mut is_space = false;
            for line in &lines {
                // How much is free, in one line or two.
                is_space = line.contains("] Space: ") || is_space && line.starts_with("      ");
                if is_space {
                    continue;
                }
                let line = masked(line);
                seen += &format!("{}\n", line.replace(&*dir.path("").to_string_lossy(), "/DIR/"));
            }
        }
        is_snapshot(&format!("terminal-{columns}"), &seen);
    }
}

/// Bars are for terminals that can have them; colours are for none.
#[test]
fn a_dumb_terminal_and_a_pipe_get_neither_bars_nor_colours() {
    let dir = ready();
    let program = dir.command(&[]).get_program().to_str().unwrap().to_owned();
    let create = |name: &str| format!("{program} create --stats repo::{name} images");
    let xterm = typed(&dir, &create("a"), 80, &[]);
    assert!(xterm.contains("Backing up ") && xterm.contains("\u{1b}[2K"), "{xterm:?}");
    assert!(!xterm.contains("\u{1b}[3") && !xterm.contains("\u{1b}[0m"), "{xterm:?}");
    let plain = typed(&dir, &create("b"), 80, &[("NO_COLOR", "1")]);
    let sequences = plain.split('\u{1b}').skip(1);
    assert!(plain.contains("Backing up") && sequences.clone().all(|one| one.starts_with("[2K")));
    let dumb = typed(&dir, &create("c"), 80, &[("TERM", "dumb")]);
    assert!(!dumb.contains('\u{1b}') && !dumb.contains("Backing up"), "{dumb:?}");
    let piped = typed(&dir, &format!("{} 2>&1 | cat", create("d")), 80, &[]);
    assert!(!piped.contains('\u{1b}') && !piped.contains("Backing up"), "{piped:?}");
}

#[test]
fn the_bars_of_what_reads_and_mends_fit_too() {
    let dir = ready();
    dir.run(&["create", "repo::a", "images"]).silent();
    let pack = packs(&dir.path("repo")).remove(0);
    let mut bytes = std::fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&pack, bytes).unwrap();
    for file in super::files_below(&dir.path("repo/index")) {
        std::fs::remove_file(file).unwrap();
    }
    std::fs::remove_dir_all(dir.path("cache")).unwrap();
    let program = dir.command(&[]).get_program().to_str().unwrap().to_owned();
    for line in ["list repo", "check --verify-data repo", "check --repair repo", "scrub repo"] {
        for columns in [40, 60, 80] {
            let (_, widest) = screen(&typed(&dir, &format!("{program} {line}"), columns, &[]));
            assert!(widest <= usize::from(columns), "{line} at {columns}: {widest}");
        }
    }
}
