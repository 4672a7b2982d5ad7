//! What a client asks by SOCKS 5 (RFC 1928, RFC 1929) or 4a.

use std::sync::Arc;

use towpath_wire::socks::{Method, Parsed, Reply, SocksFault, v4, v5};

use super::{Answer, Asking, Refusal, Tunnel};
use crate::auth::Verdict;
use crate::error::Misasked;

pub(super) async fn ask_v5(asking: &mut Asking<'_>) -> Result<Tunnel, Refusal> {
    let methods = read(asking, v5::methods).await?;
    let wants_login = asking.users.is_some();
    let method = match wants_login {
        true => methods.password.then_some(Method::Password),
        false if methods.none => Some(Method::None),
        // Nobody needs a login here, and any will do for those who insist.
        false => methods.password.then_some(Method::Password),
    };
    let mut bytes = Vec::new();
    v5::write_method(method, &mut bytes);
    let Some(method) = method else {
        return Err(Refusal { why: Misasked::NoLogin, parting: bytes });
    };
    asking.say(&bytes).await?;
    let user = match method {
        Method::None => None,
        Method::Password => log_in(asking).await?,
    };
    let destination = read(asking, v5::request).await?;
    Ok(Tunnel { destination, user, answer: Answer::Socks5 })
}

async fn log_in(asking: &mut Asking<'_>) -> Result<Option<Arc<str>>, Refusal> {
    let login = read(asking, v5::login).await?;
    let verdict = match asking.users {
        None => Ok(None),
        Some(users) => match asking.check(users, &login.name, &login.password).await {
            Verdict::Welcome(user) => Ok(Some(user)),
            Verdict::Wrong => Err(Misasked::WrongLogin),
            Verdict::Busy => Err(Misasked::BusyLogin),
        },
    };
    let mut bytes = Vec::new();
    v5::write_login_reply(verdict.is_ok(), &mut bytes);
    match verdict {
        Ok(user) => {
            asking.say(&bytes).await?;
            Ok(user)
        }
        Err(why) => Err(Refusal { why, parting: bytes }),
    }
}

pub(super) async fn ask_v4(asking: &mut Asking<'_>) -> Result<Tunnel, Refusal> {
    let request = loop {
        match v4::request(&asking.first.0) {
            Ok(Parsed::Complete { value, length }) => {
                asking.take(length);
                break value;
            }
            Ok(Parsed::Incomplete) => asking.more().await?,
            Err(fault) => return Err(refuse_v4(Misasked::Socks(fault))),
        }
    };
    // It has names, and no passwords.
    if asking.users.is_some() {
        return Err(refuse_v4(Misasked::NoLogin));
    }
    Ok(Tunnel { destination: request.destination, user: None, answer: Answer::Socks4 })
}

fn refuse_v4(why: Misasked) -> Refusal {
    let mut parting = Vec::new();
    v4::write_reply(false, &mut parting);
    Refusal { why, parting }
}

/// Reads one message; a mistake in it is answered as far as the protocol has words for it.
async fn read<T>(
    asking: &mut Asking<'_>,
    parse: impl Fn(&[u8]) -> Result<Parsed<T>, SocksFault>,
) -> Result<T, Refusal> {
    loop {
        match parse(&asking.first.0) {
            Ok(Parsed::Complete { value, length }) => {
                asking.take(length);
                return Ok(value);
            }
            Ok(Parsed::Incomplete) => asking.more().await?,
            Err(fault) => {
                let mut parting = Vec::new();
                let reply: Option<Reply> = fault.reply();
                if let Some(reply) = reply {
                    v5::write_reply(reply, None, &mut parting);
                }
                return Err(Refusal { why: Misasked::Socks(fault), parting });
            }
        }
    }
}
