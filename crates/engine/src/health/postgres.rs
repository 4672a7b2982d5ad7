//! A check of a PostgreSQL server (PostgreSQL documentation, chapter "Frontend/Backend Protocol", version 3.0).

use std::io;

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::{md5_hash, sasl};
use postgres_protocol::message::backend::{ErrorResponseBody, Message};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use towpath_config::Secret;

use super::{ANSWER_BYTES_MAX, CheckError, Wire};

/// Who asks.
pub(super) struct Login<'a> {
    pub(super) user: &'a str,
    pub(super) database: &'a str,
    pub(super) password: Option<&'a Secret>,
}

/// Codes of a server that starts, stops or recovers (appendix "Error Codes", class 57).
const NOT_NOW: [&str; 3] = ["57P01", "57P02", "57P03"];

/// Any answer but that it cannot take connections now is good. To tell a primary, it must let us in.
pub(super) async fn ask(wire: Wire, primary: bool, login: Login<'_>) -> Result<(), CheckError> {
    let mut talk = Talk { wire, buffer: BytesMut::new() };
    let parameters = [("user", login.user), ("database", login.database), ("application_name", "towpath")];
    talk.send(|buffer| frontend::startup_message(parameters, buffer)).await?;
    let first = talk.next().await?;
    if !primary {
        if let Message::ErrorResponse(error) = &first {
            let (code, text) = told(error)?;
            if NOT_NOW.contains(&code.as_str()) {
                return Err(CheckError::Bad(text));
            }
        }
        return Ok(());
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
            Message::ErrorResponse(error) => return Err(CheckError::Bad(told(&error)?.1)),
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
            if let Some(message) = Message::parse(&mut self.buffer)? {
                return Ok(message);
            }
            if self.buffer.len() > ANSWER_BYTES_MAX {
                return Err(CheckError::Bad("its message is too long".to_owned()));
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
                Message::ErrorResponse(error) => return Err(CheckError::Bad(told(&error)?.1)),
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
                    let Some(scram) = &mut scram else { return Err(out_of_turn()) };
                    scram.update(body.data())?;
                    self.send(|buffer| frontend::sasl_response(scram.message(), buffer)).await?;
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

/// The code and the text of an error.
fn told(error: &ErrorResponseBody) -> Result<(String, String), CheckError> {
    let (mut code, mut text) = (String::new(), String::new());
    let mut fields = error.fields();
    while let Some(field) = fields.next()? {
        match field.type_() {
            b'C' => code = String::from_utf8_lossy(field.value_bytes()).into_owned(),
            b'M' => text = String::from_utf8_lossy(field.value_bytes()).chars().take(200).collect(),
            _ => {}
        }
    }
    Ok((code, format!("{text:?}")))
}
