//! A check of a PostgreSQL server (PostgreSQL documentation, chapter "Frontend/Backend Protocol", version 3.0).

use std::io;

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::{md5_hash, sasl};
use postgres_protocol::message::backend::{ErrorResponseBody, Header, Message};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::spawn_blocking;
use towpath_config::Secret;

use super::{ANSWER_BYTES_MAX, CheckError, TOLD_CHARS_MAX, Wire};

/// Who asks.
pub(super) struct Login<'a> {
    pub(super) user: &'a str,
    pub(super) database: &'a str,
    pub(super) password: Option<&'a Secret>,
}

/// Codes of a server that starts, stops or recovers (appendix "Error Codes", class 57).
const NOT_NOW: [&str; 3] = ["57P01", "57P02", "57P03"];

/// SCRAM has the server say how much work the proof is; PostgreSQL's own default is 4096 rounds.
const SCRAM_ROUNDS_MAX: u32 = 1_000_000;

/// Any answer but that it cannot take connections now is good. To tell a primary, it must let us in.
pub(super) async fn ask(wire: Wire, primary: bool, login: Login<'_>) -> Result<(), CheckError> {
    let mut talk = Talk { wire, buffer: BytesMut::new() };
    let parameters = [("user", login.user), ("database", login.database), ("application_name", "towpath")];
    talk.send(|buffer| frontend::startup_message(parameters, buffer)).await?;
    let first = talk.next().await?;
    if !primary {
        return match &first {
            Message::ErrorResponse(error) => match told(error, &login)? {
                (code, text) if NOT_NOW.contains(&code.as_str()) => Err(CheckError::Bad(text)),
                _ => Ok(()),
            },
            first if asks_who(first) => Ok(()),
            _ => Err(out_of_turn()),
        };
    }
    talk.log_in(first, &login).await?;
    talk.send(|buffer| frontend::query("SELECT pg_is_in_recovery()", buffer)).await?;
    let mut in_recovery = None;
    loop {
        match talk.next().await? {
            Message::DataRow(row) => {
                let first = row.ranges().next()?.flatten();
                in_recovery = first.and_then(|range| row.buffer().get(range).map(|value| value == b"t"));
            }
            Message::ErrorResponse(error) => return Err(CheckError::Bad(told(&error, &login)?.1)),
            Message::ReadyForQuery(_) => break,
            _ => {}
        }
    }
    talk.send(|buffer| {
        frontend::terminate(buffer);
        Ok(())
    })
    .await?;
    match in_recovery {
        Some(false) => Ok(()),
        Some(true) => Err(CheckError::Bad("not a primary: it is in recovery".to_owned())),
        None => Err(CheckError::Bad("it does not say whether it is in recovery".to_owned())),
    }
}

/// A connection on which messages are exchanged.
struct Talk {
    wire: Wire,
    buffer: BytesMut,
}

impl Talk {
    async fn send(&mut self, write: impl FnOnce(&mut BytesMut) -> io::Result<()>) -> Result<(), CheckError> {
        let mut message = BytesMut::new();
        write(&mut message)?;
        Ok(self.wire.write_all(&message).await?)
    }

    async fn next(&mut self) -> Result<Message, CheckError> {
        loop {
            // Looked at first, as the parser makes room for whatever length is claimed.
            let length = Header::parse(&self.buffer)?.map_or(0, Header::len);
            if usize::try_from(length).is_ok_and(|length| length > ANSWER_BYTES_MAX) {
                return Err(CheckError::Bad("its message is too long".to_owned()));
            }
            if let Some(message) = Message::parse(&mut self.buffer)? {
                return Ok(message);
            }
            if self.wire.read_buf(&mut self.buffer).await? == 0 {
                return Err(CheckError::Bad("it has closed the connection".to_owned()));
            }
        }
    }

    /// Goes on from the first answer until queries are taken.
    async fn log_in(&mut self, first: Message, login: &Login<'_>) -> Result<(), CheckError> {
        let password = login.password.map_or(&[][..], |password| password.reveal().as_bytes());
        let mut message = first;
        let mut scram = None;
        loop {
            match message {
                Message::ReadyForQuery(_) => return Ok(()),
                Message::ErrorResponse(error) => return Err(CheckError::Bad(told(&error, login)?.1)),
                Message::AuthenticationCleartextPassword => {
                    self.send(|buffer| frontend::password_message(password, buffer)).await?;
                }
                Message::AuthenticationMd5Password(body) => {
                    let hash = md5_hash(login.user.as_bytes(), password, body.salt());
                    self.send(|buffer| frontend::password_message(hash.as_bytes(), buffer)).await?;
                }
                Message::AuthenticationSasl(_) => {
                    let begun = sasl::ScramSha256::new(password, sasl::ChannelBinding::unsupported());
                    self.send(|buffer| {
                        frontend::sasl_initial_response(sasl::SCRAM_SHA_256, begun.message(), buffer)
                    })
                    .await?;
                    scram = Some(begun);
                }
                Message::AuthenticationSaslContinue(body) => {
                    let begun = scram.take().ok_or_else(out_of_turn)?;
                    let proven = prove(begun, body.data().to_vec()).await?;
                    self.send(|buffer| frontend::sasl_response(proven.message(), buffer)).await?;
                    scram = Some(proven);
                }
                Message::AuthenticationSaslFinal(body) => {
                    scram.as_mut().ok_or_else(out_of_turn)?.finish(body.data())?;
                }
                _ => {}
            }
            message = self.next().await?;
        }
    }
}

fn out_of_turn() -> CheckError {
    CheckError::Bad("its messages come out of turn".to_owned())
}

/// Whether a server answers the first message in this way, if it does not refuse.
fn asks_who(message: &Message) -> bool {
    matches!(
        message,
        Message::AuthenticationOk
            | Message::AuthenticationCleartextPassword
            | Message::AuthenticationMd5Password(_)
            | Message::AuthenticationSasl(_)
            | Message::AuthenticationGss
            | Message::AuthenticationSspi
            | Message::AuthenticationKerberosV5
            | Message::AuthenticationScmCredential
    )
}

/// Works out the proof that `challenge` asks for, where it keeps no other check waiting.
async fn prove(mut scram: sasl::ScramSha256, challenge: Vec<u8>) -> Result<sasl::ScramSha256, CheckError> {
    // RFC 5802, section 5.1: `i=` and the number of rounds.
    let rounds = challenge.split(|byte| *byte == b',').find_map(|part| part.strip_prefix(b"i="));
    let rounds = rounds.and_then(|digits| str::from_utf8(digits).ok()?.parse::<u32>().ok());
    if rounds.is_none_or(|rounds| rounds > SCRAM_ROUNDS_MAX) {
        return Err(CheckError::Bad("it asks for too much work to log in".to_owned()));
    }
    let working = spawn_blocking(move || scram.update(&challenge).map(|()| scram));
    Ok(working.await.map_err(io::Error::other)??)
}

/// The code and the text of an error.
fn told(error: &ErrorResponseBody, login: &Login<'_>) -> Result<(String, String), CheckError> {
    let (mut code, mut text) = (String::new(), String::new());
    let mut fields = error.fields();
    while let Some(field) = fields.next()? {
        match field.type_() {
            b'C' => code = String::from_utf8_lossy(field.value_bytes()).into_owned(),
            b'M' => text = String::from_utf8_lossy(field.value_bytes()).into_owned(),
            _ => {}
        }
    }
    let text = login.password.map(|password| password.hide_in(&text)).unwrap_or(text);
    Ok((code, format!("{:?}", text.chars().take(TOLD_CHARS_MAX).collect::<String>())))
}
