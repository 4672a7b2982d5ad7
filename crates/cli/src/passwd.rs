//! `towpath passwd`: makes the line of a user for a file of users.

use std::io::{self, BufRead, IsTerminal, Read, Stdin, Write};

use argon2::{Argon2, PasswordHasher};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use towpath_engine::check_user_name;

use crate::args::Passwd;
use crate::exit::Failure;

/// The cost of bcrypt that is used where none is given.
const BCRYPT_COST: u32 = 10;
/// bcrypt reads no more of a password.
const BCRYPT_BYTES_MAX: usize = 72;
/// Longest password: a SOCKS login counts it in a byte (RFC 1929).
const PASSWORD_BYTES_MAX: usize = 255;

/// How a password is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// bcrypt, of this cost.
    Bcrypt(u32),
    /// argon2id with 19 MiB, two passes and one lane.
    Argon2,
}

pub(crate) fn run(args: &Passwd) -> Result<(), Failure> {
    check_user_name(&args.name).map_err(Failure::Usage)?;
    let kind = if args.argon2 { Kind::Argon2 } else { Kind::Bcrypt(args.cost.unwrap_or(BCRYPT_COST)) };
    let stdin = io::stdin();
    let password = if stdin.is_terminal() { ask(&stdin)? } else { read(&mut stdin.lock())? };
    let line = line(&args.name, &password, kind).map_err(Failure::Usage)?;
    let mut output = io::stdout().lock();
    writeln!(output, "{line}").and_then(|()| output.flush())?;
    Ok(())
}

/// The line `NAME:HASH`. Fails with what is wrong and what to do about it.
pub(crate) fn line(name: &str, password: &[u8], kind: Kind) -> Result<String, String> {
    check_user_name(name)?;
    if password.is_empty() {
        return Err("the password is empty; give another".to_owned());
    }
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(format!("the password is too long; at most {PASSWORD_BYTES_MAX} bytes are taken"));
    }
    let hash = match kind {
        Kind::Bcrypt(_) if password.len() > BCRYPT_BYTES_MAX => {
            return Err(format!("bcrypt takes passwords of at most {BCRYPT_BYTES_MAX} bytes; use --argon2"));
        }
        Kind::Bcrypt(_) if password.contains(&0) => {
            return Err("bcrypt takes no passwords with a NUL; use --argon2".to_owned());
        }
        Kind::Bcrypt(cost) => bcrypt::hash(password, cost).map_err(|error| error.to_string())?,
        Kind::Argon2 => {
            let hash = Argon2::default().hash_password(password).map_err(|error| error.to_string())?;
            hash.to_string()
        }
    };
    Ok(format!("{name}:{hash}"))
}

/// Asks for a password at the terminal, twice, and does not show it.
fn ask(stdin: &Stdin) -> Result<Vec<u8>, Failure> {
    let _hidden = Hidden::begin(stdin)?;
    let mut input = stdin.lock();
    let password = answer("Password: ", &mut input)?;
    if answer("Once more: ", &mut input)? != password {
        return Err(Failure::Usage("the passwords are not the same; try again".to_owned()));
    }
    Ok(password)
}

fn answer(question: &str, input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut terminal = io::stderr().lock();
    write!(terminal, "{question}").and_then(|()| terminal.flush())?;
    read(input)
}

/// Reads a line, without its end. Of one that is too long for a password it may leave the rest.
fn read(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    input.take(PASSWORD_BYTES_MAX as u64 + 3).read_until(b'\n', &mut line)?;
    let length =
        line.strip_suffix(b"\n").map_or(line.len(), |line| line.strip_suffix(b"\r").unwrap_or(line).len());
    line.truncate(length);
    Ok(line)
}

/// A terminal that does not show what is typed, until this is dropped.
struct Hidden<'a> {
    terminal: &'a Stdin,
    before: Termios,
}

impl<'a> Hidden<'a> {
    fn begin(terminal: &'a Stdin) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut modes = before.clone();
        modes.local_modes.remove(LocalModes::ECHO);
        modes.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(terminal, OptionalActions::Flush, &modes)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        // A terminal that is gone shows nothing anyway.
        let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use argon2::PasswordVerifier;

    use super::*;

    #[test]
    fn lines_have_the_name_and_a_hash_of_the_password() {
        let made = line("alice", b"s3cret", Kind::Bcrypt(4)).unwrap();
        let hash = made.strip_prefix("alice:").unwrap();
        assert!(hash.starts_with("$2b$04$") && bcrypt::verify("s3cret", hash).unwrap());
        assert_ne!(made, line("alice", b"s3cret", Kind::Bcrypt(4)).unwrap());
        let made = line("zoë", b"s3cret", Kind::Argon2).unwrap();
        let hash = made.strip_prefix("zoë:").unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m="));
        assert!(Argon2::default().verify_password(b"s3cret", hash).is_ok());
        assert!(line("x", b"s3cret", Kind::Bcrypt(BCRYPT_COST)).unwrap().starts_with("x:$2b$10$"));
    }

    #[test]
    fn what_bcrypt_would_cut_is_refused() {
        let told = |password: &[u8], kind| line("x", password, kind).err();
        let long = told(&[b'a'; 73], Kind::Bcrypt(4)).unwrap();
        assert_eq!(long, "bcrypt takes passwords of at most 72 bytes; use --argon2");
        assert!(told(b"a\0b", Kind::Bcrypt(4)).unwrap().contains("--argon2"));
        assert_eq!(told(&[b'a'; 72], Kind::Bcrypt(4)), None);
        assert_eq!(told(&[0; 255], Kind::Argon2), None);
        assert!(told(&[b'a'; 256], Kind::Argon2).unwrap().contains("too long"));
        assert!(told(b"", Kind::Argon2).unwrap().contains("empty"));
        for name in ["", "a:b", "#a", " a", "a\n"] {
            assert!(line(name, b"s3cret", Kind::Bcrypt(4)).is_err(), "{name:?}");
        }
    }

    #[test]
    fn one_line_is_read_without_its_end() {
        let read = |mut text: &[u8]| read(&mut text).unwrap();
        assert_eq!(read(b"a b \nrest\n"), b"a b ");
        assert_eq!((read(b"ab\r\n"), read(b"ab"), read(b"")), (b"ab".to_vec(), b"ab".to_vec(), vec![]));
        assert_eq!(read(&[b'a'; 9999]).len(), 258, "enough to be refused");
    }
}
