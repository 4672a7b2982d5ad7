//! Asking a SOCKS proxy to connect on: version 5 (RFC 1928, RFC 1929) and 4a.

use tokio::io::AsyncReadExt;
use towpath_config::Login;
use towpath_wire::destination::Destination;
use towpath_wire::socks::{Method, Parsed, SocksFault, v4, v5};

use crate::error::HopFault;
use crate::stream::Stream;

pub(super) async fn ask_v5(
    login: Option<&Login>,
    wanted: &Destination,
    mut stream: Stream,
) -> Result<Stream, HopFault> {
    let (mut bytes, mut ahead) = (Vec::new(), Vec::new());
    v5::write_greeting(login.is_some(), &mut bytes);
    send(&bytes, &mut stream).await?;
    match (read(&mut stream, &mut ahead, v5::method_chosen).await?, login) {
        (Some(Method::None), _) => {}
        (Some(Method::Password), Some(login)) => {
            bytes.clear();
            let (name, password) = (login.name.as_bytes(), login.password.reveal().as_bytes());
            v5::write_login(name, password, &mut bytes).map_err(|_| HopFault::Login)?;
            send(&bytes, &mut stream).await?;
            if !read(&mut stream, &mut ahead, v5::login_accepted).await? {
                return Err(HopFault::Login);
            }
        }
        _ => return Err(HopFault::Login),
    }
    bytes.clear();
    v5::write_request(wanted, &mut bytes);
    send(&bytes, &mut stream).await?;
    match read(&mut stream, &mut ahead, v5::reply).await? {
        0 => Ok(stream.unread(&ahead)),
        code => Err(HopFault::Code(code)),
    }
}

pub(super) async fn ask_v4(
    login: Option<&Login>,
    wanted: &Destination,
    mut stream: Stream,
) -> Result<Stream, HopFault> {
    const GRANTED: u8 = 0x5a;
    let (mut bytes, mut ahead) = (Vec::new(), Vec::new());
    let user = login.map_or(&b""[..], |login| login.name.as_bytes());
    v4::write_request(wanted, user, &mut bytes).map_err(|_| HopFault::Unnameable)?;
    send(&bytes, &mut stream).await?;
    match read(&mut stream, &mut ahead, v4::reply).await? {
        GRANTED => Ok(stream.unread(&ahead)),
        _ => Err(HopFault::Refused4),
    }
}

async fn send(bytes: &[u8], stream: &mut Stream) -> Result<(), HopFault> {
    stream.send_all(bytes, false).await.map_err(|_| HopFault::Closed)
}

/// Reads one answer; what came behind it is left in `ahead`.
async fn read<T>(
    stream: &mut Stream,
    ahead: &mut Vec<u8>,
    parse: impl Fn(&[u8]) -> Result<Parsed<T>, SocksFault>,
) -> Result<T, HopFault> {
    loop {
        if let Parsed::Complete { value, length } = parse(ahead).map_err(|_| HopFault::BadAnswer)? {
            ahead.drain(..length);
            return Ok(value);
        }
        if stream.read_buf(ahead).await.unwrap_or(0) == 0 {
            return Err(HopFault::Closed);
        }
    }
}
