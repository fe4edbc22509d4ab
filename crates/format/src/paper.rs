//! A recovery key for paper: 40 bytes as eight groups of ten characters. docs/format.md, "Paper".
//!
//! The last two characters of a group are checks of a Reed-Solomon code over the 32 characters: one wrong character in a
//! group is found and put right, any two are found, and so is a group in the place of another.

use zeroize::Zeroizing;

/// Bytes on a paper.
pub const PAPER_LEN: usize = 40;
/// Groups on a paper.
pub const GROUP_COUNT: usize = 8;
/// Characters of a group.
pub const GROUP_LEN: usize = 10;
/// Bytes in a group.
const GROUP_BYTES: usize = PAPER_LEN / GROUP_COUNT;

/// Crockford's: no letter that looks like a digit or another letter.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// What a group that was typed says.
pub struct Group {
    /// The bytes.
    pub bytes: Zeroizing<[u8; GROUP_BYTES]>,
    /// Which character was wrong and put right, from 0.
    pub corrected: Option<usize>,
}

/// Why a group says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupFault {
    /// It has so many characters.
    Length(usize),
    /// More than one character is wrong, or it is another group.
    Mistyped,
}

/// The lines of a paper: number, colon, two halves of a group.
pub fn write(bytes: &[u8; PAPER_LEN]) -> Zeroizing<String> {
    // All the room at once: what grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(GROUP_COUNT * (GROUP_LEN + 5)));
    for (number, group) in (1..).zip(bytes.as_chunks::<GROUP_BYTES>().0) {
        text.push(char::from(b'0' + number));
        text.push(':');
        for (place, symbol) in symbols(number, group).iter().enumerate() {
            if place % (GROUP_LEN / 2) == 0 {
                text.push(' ');
            }
            text.extend(ALPHABET.get(usize::from(*symbol)).map(|letter| char::from(*letter)));
        }
        text.push('\n');
    }
    text
}

/// Reads group `number`, from 1, as somebody typed it: in small letters, with spaces and hyphens anywhere. A character that
/// is none of ours, as a `?` for one that cannot be read, counts as a wrong one.
///
/// # Errors
/// It is too long or too short, or wrong in more than one place.
pub fn read_group(number: u8, text: &str) -> Result<Group, GroupFault> {
    let typed = text.chars().filter(|character| !matches!(character, ' ' | '-' | '\t' | '\r'));
    let mut group = Zeroizing::new([0; GROUP_LEN]);
    let mut len = 0;
    for character in typed {
        if let Some(place) = group.get_mut(len) {
            *place = symbol(character).unwrap_or(0);
        }
        len += 1;
    }
    if len != GROUP_LEN {
        return Err(GroupFault::Length(len));
    }
    let corrected = match is_whole(number, &group) {
        true => None,
        false => Some(correct(number, &mut group).ok_or(GroupFault::Mistyped)?),
    };
    let bits = group.iter().take(GROUP_LEN - 2).fold(0u64, |bits, s| bits << 5 | u64::from(*s));
    let [_, _, _, bytes @ ..] = bits.to_be_bytes();
    Ok(Group { bytes: Zeroizing::new(bytes), corrected })
}

/// The eight characters of five bytes, and the two that make the group whole: there is one such pair.
fn symbols(number: u8, bytes: &[u8; GROUP_BYTES]) -> Zeroizing<[u8; GROUP_LEN]> {
    let bits = bytes.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
    let mut group = Zeroizing::new([0; GROUP_LEN]);
    for (place, symbol) in group.iter_mut().take(GROUP_LEN - 2).enumerate() {
        *symbol = (bits >> (35 - 5 * place)) as u8 & 31;
    }
    for checks in 0..32 * 32u16 {
        let [.., first, second] = &mut *group;
        (*first, *second) = ((checks / 32) as u8, (checks % 32) as u8);
        if is_whole(number, &group) {
            break;
        }
    }
    group
}

/// Puts right the one character that makes the group whole, if one does: then no other would. Gives its place.
fn correct(number: u8, group: &mut [u8; GROUP_LEN]) -> Option<usize> {
    for place in 0..GROUP_LEN {
        let typed = *group.get(place)?;
        for symbol in 0..32 {
            *group.get_mut(place)? = symbol;
            if is_whole(number, group) {
                return Some(place);
            }
        }
        *group.get_mut(place)? = typed;
    }
    None
}

/// Whether the characters of a group fit each other, and its number: their sum over GF(32) is 0, and their sum with the
/// weights x^9, x^8, .. 1 is the number.
fn is_whole(number: u8, group: &[u8; GROUP_LEN]) -> bool {
    let sum = group.iter().fold(0, |sum, symbol| sum ^ symbol);
    let weighted = group.iter().fold(0, |sum, symbol| times_x(sum) ^ symbol);
    (sum, weighted) == (0, number)
}

/// Multiplies by x modulo x^5 + x^2 + 1.
fn times_x(symbol: u8) -> u8 {
    let shifted = symbol << 1;
    if shifted & 32 == 0 { shifted } else { shifted ^ 0b10_0101 }
}

fn symbol(character: char) -> Option<u8> {
    let letter = match character.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    let place = ALPHABET.iter().position(|ours| char::from(*ours) == letter)?;
    u8::try_from(place).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes() -> [u8; PAPER_LEN] {
        std::array::from_fn(|place| (place as u8).wrapping_mul(37) ^ 0x5a)
    }

    fn groups() -> Vec<String> {
        let text = write(&bytes());
        let groups = text.lines().map(|line| line.split_once(": ").unwrap().1.to_owned());
        groups.collect()
    }

    fn expected(place: usize) -> &'static [u8] {
        let all: &'static [u8; PAPER_LEN] = Box::leak(Box::new(bytes()));
        &all[place * GROUP_BYTES..(place + 1) * GROUP_BYTES]
    }

    #[test]
    fn what_is_written_is_read_however_it_is_typed() {
        let text = write(&bytes());
        assert_eq!(text.capacity(), text.len(), "it did not grow");
        for (place, group) in groups().iter().enumerate() {
            let number = place as u8 + 1;
            for typed in [
                group.clone(),
                group.to_lowercase(),
                group.replace(' ', "-"),
                format!(" {}\r", group.replace('0', "o").replace('1', "l").replace(' ', "")),
            ] {
                let read = read_group(number, &typed).unwrap_or_else(|e| panic!("{typed}: {e:?}"));
                assert_eq!((&read.bytes[..], read.corrected), (expected(place), None), "{typed}");
            }
        }
    }

    #[test]
    fn one_wrong_character_in_a_group_is_put_right() {
        for (at, group) in groups().iter().enumerate() {
            let typed: Vec<char> = group.replace(' ', "").chars().collect();
            for place in 0..GROUP_LEN {
                for wrong in ALPHABET.iter().map(|letter| char::from(*letter)).chain(['?', 'U']) {
                    let mut typed = typed.clone();
                    let is_right = std::mem::replace(&mut typed[place], wrong) == wrong;
                    let read = read_group(at as u8 + 1, &typed.iter().collect::<String>());
                    let read = read.ok().unwrap();
                    assert_eq!(&read.bytes[..], expected(at));
                    let is_zero = wrong == '?' || wrong == 'U';
                    assert!(is_right || is_zero || read.corrected == Some(place));
                }
            }
        }
    }

    /// Two may pass for one wrong character elsewhere; that the paper as a whole is right, its last bytes say.
    #[test]
    fn what_is_wrong_in_two_places_or_too_long_never_passes_for_right() {
        let group: Vec<char> = groups()[2].replace(' ', "").chars().collect();
        for first in 0..GROUP_LEN {
            for second in first + 1..GROUP_LEN {
                let mut typed = group.clone();
                typed.swap(first, second);
                let text: String = typed.iter().collect();
                let is_same = typed == group;
                let read = read_group(3, &text);
                assert!(is_same || read.map_or(true, |group| group.corrected.is_some()), "{text}");
            }
        }
        for text in ["\u{202e}".repeat(10), "\u{e9}".repeat(10), "?".repeat(10)] {
            assert_eq!(read_group(9, &text).err(), Some(GroupFault::Mistyped), "{text:?}");
        }
        assert_eq!(read_group(0, &"0".repeat(1 << 20)).err(), Some(GroupFault::Length(1 << 20)));
        for (number, group) in (1..).zip(groups()) {
            let other = if number == 8 { 1 } else { number + 1 };
            assert_eq!(read_group(other, &group).err(), Some(GroupFault::Mistyped), "{group}");
            assert_eq!(read_group(number, &group[1..]).err(), Some(GroupFault::Length(9)));
            assert_eq!(
                read_group(number, &format!("{group}7")).err(),
                Some(GroupFault::Length(11))
            );
        }
    }
}
