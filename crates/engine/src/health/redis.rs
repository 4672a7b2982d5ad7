//! A check of a Redis server: PING, or ROLE (the Redis serialization protocol, RESP2).

use tokio::io::AsyncWriteExt;
use towpath_config::Secret;

use super::{CheckError, Wire, read_until};

pub(super) async fn ask(mut wire: Wire, master: bool, password: Option<&Secret>) -> Result<(), CheckError> {
    if let Some(password) = password {
        let said = exchange(&mut wire, &["AUTH", password.reveal()]).await?;
        if !said.starts_with(b"+OK") {
            let said = password.hide_in(&String::from_utf8_lossy(&said));
            return Err(CheckError::bad("it does not take the password", said.as_bytes()));
        }
    }
    let said = exchange(&mut wire, &["PING"]).await?;
    // One that wants a password works.
    let works = said.starts_with(b"+PONG") || (said.starts_with(b"-NOAUTH") && !master);
    if !works {
        return Err(CheckError::bad("no answer to PING", &said));
    }
    if master {
        // One that still loads its data tells its role too: hence the PING before.
        let said = exchange(&mut wire, &["ROLE"]).await?;
        // An array whose first element is the role: `*3`, `$6`, `master`.
        return match said.split(|byte| *byte == b'\n').nth(2).map(<[u8]>::trim_ascii_end) {
            Some(b"master") => Ok(()),
            Some(role @ (b"slave" | b"sentinel")) => {
                Err(CheckError::Bad(format!("not a master: {}", String::from_utf8_lossy(role))))
            }
            _ => Err(CheckError::bad("it does not tell its role", &said)),
        };
    }
    Ok(())
}

/// Sends a command and reads what comes up to the end of its third line, or its first one if that says all.
async fn exchange(wire: &mut Wire, words: &[&str]) -> Result<Vec<u8>, CheckError> {
    let mut command = format!("*{}\r\n", words.len());
    for word in words {
        command.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    wire.write_all(command.as_bytes()).await?;
    read_until(wire, |said| {
        let lines = said.iter().filter(|byte| **byte == b'\n').count();
        lines >= if said.first() == Some(&b'*') { 3 } else { 1 }
    })
    .await
}
