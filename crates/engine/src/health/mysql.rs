//! A check of a MySQL server: its greeting (MySQL client/server protocol, Protocol::HandshakeV10).

use super::{CheckError, Wire, read_until};

/// The length of a packet's header: three bytes of length and one of sequence.
const HEADER: usize = 4;

pub(super) async fn ask(mut wire: Wire) -> Result<(), CheckError> {
    let whole = |said: &[u8]| match said {
        [a, b, c, _, rest @ ..] => rest.len() >= u32::from_le_bytes([*a, *b, *c, 0]) as usize,
        _ => false,
    };
    let said = read_until(&mut wire, whole).await?;
    match said.get(HEADER..) {
        Some([10, ..]) => Ok(()),
        // An error packet: 0xff, two bytes of code, the text.
        Some([0xff, _, _, text @ ..]) => Err(CheckError::bad("it refuses", text)),
        _ => Err(CheckError::bad("no greeting of MySQL", &said)),
    }
}
