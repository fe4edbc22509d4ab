//! Names of things: ids of 32 or 16 bytes, one type per meaning.
//!
//! Ids of different things never convert into each other. `Display` is full lower-case hex, `Debug` the first four bytes.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// The id made of these bytes.
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The bytes of the id.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// The id written as hex digits, if `text` is exactly that.
            pub fn from_hex(text: &str) -> Option<Self> {
                let mut bytes = [0; $len];
                crate::id::decode_hex(text, &mut bytes)?;
                Some(Self(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "("))?;
                self.0.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))?;
                f.write_str("..)")
            }
        }
    };
}

id!(
    /// A chunk: BLAKE3 of its plaintext, keyed with the repository's id key when there is one.
    ChunkId,
    32
);
id!(
    /// A pack: BLAKE3 of the bytes of its file, so that anybody can check it without a key.
    PackId,
    32
);
id!(
    /// An index segment: BLAKE3 of the bytes of its file.
    SegmentId,
    32
);
id!(
    /// A repository: 32 random bytes drawn by init.
    RepositoryId,
    32
);
id!(
    /// A configuration: BLAKE3 of the file `config`.
    ConfigHash,
    32
);
id!(
    /// A master key: what BLAKE3 derives from it for this purpose, which tells nothing of the key.
    KeyId,
    32
);
id!(
    /// An archive: the first 16 bytes of BLAKE3 of the bytes of its file, wherever that lies and however it is called.
    ArchiveId,
    16
);
id!(
    /// The file of an archive: BLAKE3 of its bytes, by which its second copy is found.
    ArchiveHash,
    32
);
id!(
    /// A key slot: 16 random bytes.
    SlotId,
    16
);

/// Fills `bytes` from exactly twice as many lower-case hex digits.
fn decode_hex(text: &str, bytes: &mut [u8]) -> Option<()> {
    let digits = text.as_bytes();
    if digits.len() != bytes.len() * 2 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
        let [high, low] = pair.map(|digit| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        });
        *byte = high? << 4 | low?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trips_and_nothing_else_parses() {
        let id = SlotId::from_bytes(*b"0123456789abcdef");
        assert_eq!(SlotId::from_hex(&id.to_string()), Some(id));
        for bad in
            ["", "30", "3031323334353637383961626364656G", "30313233343536373839616263646566 "]
        {
            assert_eq!(SlotId::from_hex(bad), None, "{bad}");
        }
        assert_eq!(SlotId::from_hex("3031323334353637383961626364656F"), None, "upper case");
    }
}
