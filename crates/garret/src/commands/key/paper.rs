//! `garret key export --paper` and `import --paper`: the master key on paper, and back.
//!
//! Promises: a mistyped group is named, and typed again; one wrong character in a group is put right; nothing is changed
//! before the whole key is known to be this repository's.

use std::io::{self, IsTerminal};

use garret_core::{Error, Locked, Opened};
use garret_format::config::KeyMode;
use garret_format::paper::{GROUP_COUNT, GROUP_LEN, Group, GroupFault, PAPER_LEN, read_group};
use zeroize::Zeroizing;

use garret_cli::failure::Failure;
use garret_cli::key_file::read_secret;
use garret_cli::keyring::Keyring;
use garret_cli::secrets;
use garret_cli::ui::Ui;

/// How often a group is asked for.
const ATTEMPTS: u32 = 3;
/// The longest text that is read: a paper is some hundred bytes, and lines of remarks.
const TEXT_LEN_MAX: usize = 64 << 10;

/// Prints the recovery key of what was opened.
pub(super) fn print(keyring: &Keyring<'_>, ui: &Ui) -> Result<(), Failure> {
    ui.print(&format!("# Recovery key of garret repository {}\n", keyring.locked.id()))?;
    ui.print(
        "# It opens the repository without a passphrase, for ever: keep it as safe as the data.\n\
         # `garret key import --paper REPO` reads it. It has no letter O, I, L or U.\n",
    )?;
    ui.print(keyring.locked.paper(&keyring.opened).as_str())
}

/// Opens a repository by what is typed, or comes on standard input.
pub(super) fn open(locked: &Locked, ui: &Ui) -> Result<Opened, Failure> {
    if locked.key_mode() == KeyMode::None {
        return Err(Error::NoPassphrase.into());
    }
    let (bytes, corrected) = match io::stdin().is_terminal() {
        true => typed(ui)?,
        false => piped(ui)?,
    };
    locked.open_paper(&bytes).map_err(|error| match (error, corrected.first()) {
        (Error::WrongKey { .. }, Some(number)) => Failure::Fatal(format!(
            "the recovery key is not one of this repository: group {number} may have more than one wrong character"
        )),
        (error, _) => error.into(),
    })
}

/// What was read, and the numbers of the groups that were put right.
type Read = (Zeroizing<[u8; PAPER_LEN]>, Vec<u8>);

/// Asks for one group after the other.
fn typed(ui: &Ui) -> Result<Read, Failure> {
    let groups = (1..=GROUP_COUNT as u8).map(|number| {
        for left in (0..ATTEMPTS).rev() {
            let prompt = format!("Group {number} of {GROUP_COUNT}: ");
            let line = secrets::ask_shown(&prompt, ui)?
                .ok_or_else(|| fault(number, GroupFault::Length(0)))?;
            match read_group(number, &text(&line)) {
                Ok(group) => return Ok(group),
                Err(why) if left == 0 => return Err(fault(number, why)),
                Err(why) => ui.complain(&format!("{}, try again", said(number, why))),
            }
        }
        Err(fault(number, GroupFault::Mistyped))
    });
    join(groups, ui)
}

/// Reads what `export` prints, or only its groups, a line each.
fn piped(ui: &Ui) -> Result<Read, Failure> {
    let bytes = read_secret(io::stdin().lock(), TEXT_LEN_MAX)
        .map_err(|error| Failure::io("reading standard input", &error))?;
    let text = text(&bytes);
    let lines =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let count = lines.clone().count();
    if count != GROUP_COUNT {
        return Err(Failure::Fatal(format!(
            "standard input has {count} groups of a recovery key, which has {GROUP_COUNT}, one on each line"
        )));
    }
    let groups = (1..).zip(lines).map(|(number, line)| {
        let group = line.split_once(':').map_or(line, |(_, group)| group);
        read_group(number, group).map_err(|why| fault(number, why))
    });
    join(groups, ui)
}

fn join(groups: impl Iterator<Item = Result<Group, Failure>>, ui: &Ui) -> Result<Read, Failure> {
    let (mut bytes, mut corrected) = (Zeroizing::new([0; PAPER_LEN]), Vec::new());
    let places = bytes.chunks_exact_mut(PAPER_LEN / GROUP_COUNT);
    for ((number, place), group) in (1..).zip(places).zip(groups) {
        let group = group?;
        place.copy_from_slice(&group.bytes[..]);
        if let Some(at) = group.corrected {
            corrected.push(number);
            ui.complain(&format!(
                "note: group {number}: character {} was wrong and was put right",
                at + 1
            ));
        }
    }
    Ok((bytes, corrected))
}

/// What is no text is no group either.
fn text(bytes: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(String::from_utf8_lossy(bytes).into_owned())
}

fn fault(number: u8, why: GroupFault) -> Failure {
    Failure::Fatal(said(number, why))
}

fn said(number: u8, why: GroupFault) -> String {
    match why {
        GroupFault::Length(len) => {
            format!("group {number} has {len} characters, and should have {GROUP_LEN}")
        }
        GroupFault::Mistyped => {
            format!("group {number} is mistyped in more than one place, or is another group")
        }
    }
}
