//! Integers of variable length (RFC 9000, section 16).

use super::Fault;

/// The largest.
pub(super) const MAX: u64 = (1 << 62) - 1;

/// Appends a number that is at most [`MAX`].
pub(super) fn write(value: u64, to: &mut Vec<u8>) {
    match value {
        0..0x40 => to.push(value as u8),
        0x40..0x4000 => to.extend_from_slice(&(value as u16 | 0x4000).to_be_bytes()),
        0x4000..0x4000_0000 => to.extend_from_slice(&(value as u32 | 0x8000_0000).to_be_bytes()),
        _ => to.extend_from_slice(&(value.min(MAX) | 0xc000_0000_0000_0000).to_be_bytes()),
    }
}

/// Takes a number off `input`.
///
/// # Errors
/// [`Fault::Form`] if it is not whole.
pub(super) fn read(input: &mut &[u8]) -> Result<u64, Fault> {
    let first = *input.first().ok_or(Fault::Form)?;
    let (number, rest) = input.split_at_checked(1 << (first >> 6)).ok_or(Fault::Form)?;
    *input = rest;
    let all = number.iter().fold(0, |all, byte| all << 8 | u64::from(*byte));
    Ok(all & (u64::MAX >> (66 - 8 * number.len())))
}
