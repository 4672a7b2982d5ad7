//! A check of a MySQL server: it greets and says whether it would let somebody in (MySQL client/server protocol,
//! Protocol::HandshakeV10, Protocol::HandshakeResponse41).
//!
//! The answer to a login counts, not the login: servers block the address of one who only hears the greeting and leaves, again
//! and again (`max_connect_errors`), but not of one whose name they do not know.

use tokio::io::AsyncWriteExt;

use super::{CheckError, Wire, read_until};

/// The length of a packet's header: three bytes of length and one of sequence.
const HEADER: usize = 4;

/// The first byte of a packet.
mod kind {
    pub(super) const OK: u8 = 0;
    pub(super) const GREETING: u8 = 10;
    pub(super) const OTHER_METHOD: u8 = 0xfe;
    pub(super) const ERROR: u8 = 0xff;
}

/// CLIENT_PROTOCOL_41, CLIENT_SECURE_CONNECTION and CLIENT_PLUGIN_AUTH.
const CAPABILITIES: u32 = 0x0200 | 0x8000 | 0x0008_0000;

/// utf8mb4_general_ci.
const CHARSET: u8 = 45;

/// ER_CON_COUNT_ERROR, ER_SERVER_SHUTDOWN and ER_TOO_MANY_USER_CONNECTIONS: nobody gets in.
const REFUSES_ALL: [u16; 3] = [1040, 1053, 1203];

/// COM_QUIT, which spares the server a line in its log.
const QUIT: [u8; HEADER + 1] = [1, 0, 0, 0, 1];

pub(super) async fn ask(mut wire: Wire) -> Result<(), CheckError> {
    let said = packet(&mut wire).await?;
    match said.get(HEADER..) {
        Some([kind::GREETING, ..]) => {}
        Some([kind::ERROR, _, _, text @ ..]) => return Err(CheckError::bad("it refuses", text)),
        _ => return Err(CheckError::bad("no greeting of MySQL", &said)),
    }
    wire.write_all(&login()).await?;
    let mut said = packet(&mut wire).await?;
    if let Some([kind::OTHER_METHOD, ..]) = said.get(HEADER..) {
        // An empty packet is an empty password by any method.
        let sequence = said.get(3).map_or(0, |sequence| sequence.wrapping_add(1));
        wire.write_all(&[0, 0, 0, sequence]).await?;
        said = packet(&mut wire).await?;
    }
    match said.get(HEADER..) {
        Some([kind::OK, ..]) => Ok(wire.write_all(&QUIT).await?),
        Some([kind::ERROR, low, high, text @ ..]) => {
            let code = u16::from_le_bytes([*low, *high]);
            if REFUSES_ALL.contains(&code) { Err(CheckError::bad("it refuses", text)) } else { Ok(()) }
        }
        _ => Err(CheckError::bad("no answer of MySQL to a login", &said)),
    }
}

/// One packet with its header, or less if no more comes.
async fn packet(wire: &mut Wire) -> Result<Vec<u8>, CheckError> {
    let is_whole = |said: &[u8]| match said {
        [a, b, c, _, rest @ ..] => rest.len() >= u32::from_le_bytes([*a, *b, *c, 0]) as usize,
        _ => false,
    };
    read_until(wire, is_whole).await
}

/// The login of `towpath` without a password.
fn login() -> Vec<u8> {
    let mut payload = CAPABILITIES.to_le_bytes().to_vec();
    payload.extend((1_u32 << 24).to_le_bytes());
    payload.push(CHARSET);
    payload.extend([0; 23]);
    payload.extend(b"towpath\0\0mysql_native_password\0");
    let length = u8::try_from(payload.len()).unwrap_or(u8::MAX);
    [&[length, 0, 0, 1], &payload[..]].concat()
}
