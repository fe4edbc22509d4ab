//! Numbers as canonical LEB128 varints, for the maps that are stored beside a recipe.
//!
//! In: a `u64`, or the bytes of an encoding. Out: one to ten bytes, or the number. Promise: each
//! number has exactly one encoding, and every other string of bytes is refused.

/// Appends `value`.
pub(crate) fn push_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// Takes one number off the front: at most 64 bits, in the fewest bytes.
pub(crate) fn take_varint(rest: &mut &[u8]) -> Result<u64, &'static str> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, tail) = rest.split_first().ok_or("ends within a number")?;
        *rest = tail;
        let bits = u64::from(byte & 0x7f);
        if bits.leading_zeros() < shift {
            return Err("number exceeds 64 bits");
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            let overlong = byte == 0 && shift > 0;
            return if overlong { Err("number is longer than needed") } else { Ok(value) };
        }
    }
    Err("number exceeds 64 bits")
}
