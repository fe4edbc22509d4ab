//! Numbers of bytes as zbackup writes them.
//!
//! In: `512mb`, `1GiB`, `1024`. Out: bytes, or what is wrong. A bare number counts MiB, and so do the lower-case `kb`, `mb`
//! and `gb` in powers of 1024, as `--cache-size NNmb` always did; the spellings of zbackup's table mean what it says.

const SUFFIXES: [(&str, u64); 15] = [
    ("", 1 << 20),
    ("B", 1),
    ("KB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("b", 1),
    ("kb", 1 << 10),
    ("mb", 1 << 20),
    ("gb", 1 << 30),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
];

/// The bytes that `text` stands for.
///
/// # Errors
/// `None` if it does not begin with a number, or is more than can be counted; otherwise what is wrong with its suffix.
pub(crate) fn bytes(text: &str) -> Result<u64, Option<String>> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(digits).ok_or(None)?;
    let number: u64 = number.parse().map_err(|_| None)?;
    let lower = suffix.to_ascii_lowercase();
    let find = |wanted: &str| SUFFIXES.iter().find(|(suffix, _)| *suffix == wanted);
    let unit = match find(suffix).or_else(|| find(&lower)) {
        Some((_, unit)) => *unit,
        None => {
            let valid = "B, KiB, MiB, GiB, KB, MB, GB";
            return Err(Some(format!(
                "Invalid suffix specified: {suffix}. Valid suffixes: {valid}"
            )));
        }
    };
    number.checked_mul(unit).ok_or(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suffix_has_its_own_size() {
        for (text, expected) in [
            ("1024", 1 << 30),
            ("512mb", 512 << 20),
            ("1gb", 1 << 30),
            ("1GB", 1_000_000_000),
            ("3MB", 3_000_000),
            ("3KB", 3000),
            ("7kb", 7 << 10),
            ("2KiB", 2 << 10),
            ("2MiB", 2 << 20),
            ("2GiB", 2 << 30),
            ("2gib", 2 << 30),
            ("9B", 9),
            ("9b", 9),
            ("5Mb", 5 << 20),
            ("0", 0),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "mb", "-1mb", "x1", "99999999999999999999", "99999999999999gb"] {
            assert_eq!(bytes(text), Err(None), "{text}");
        }
        for (text, suffix) in [("1tb", "tb"), ("1 mb", " mb"), ("1.5gb", ".5gb")] {
            let error = bytes(text).unwrap_err().unwrap();
            assert!(error.starts_with(&format!("Invalid suffix specified: {suffix}. ")), "{error}");
        }
    }
}
