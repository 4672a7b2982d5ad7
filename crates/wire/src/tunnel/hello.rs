//! How a lane begins: the end that opens it says which session it is of, and the other one whether that will do.

use super::LaneId;

/// What every hello and every answer begin with.
const MAGIC: [u8; 8] = *b"towpath\n";

/// The version of the protocol that this is.
pub const VERSION: u8 = 1;

/// Bytes of a hello.
pub const HELLO_BYTES: usize = 46;

/// Bytes of an answer.
pub const ANSWER_BYTES: usize = 26;

/// The name of a session, which nobody else can guess.
pub type SessionId = [u8; 16];

/// What an end can do beside what all can; bits that the other does not have are not used.
pub type Features = u32;

/// Blocks may be coded with LZ4.
pub const LZ4: Features = 1;
/// Blocks may be coded with Zstandard.
pub const ZSTD: Features = 2;
/// It understands that a session is over.
pub const OVER: Features = 4;
/// All that this version can do.
pub const ALL: Features = LZ4 | ZSTD | OVER;

/// What both ends tell of themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// What it can do.
    pub features: Features,
    /// Bytes of each stream that it takes before it has said so of that stream.
    pub window: u32,
    /// Streams that it takes at a time.
    pub streams: u32,
}

/// What the end says first that opens a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The session of the lane.
    pub session: SessionId,
    /// Whether the session may begin with it; otherwise it is there already, or over.
    pub may_begin: bool,
    /// Which lane this is.
    pub lane: LaneId,
    /// Its terms.
    pub terms: Terms,
}

/// What the other end says to that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The lane is taken, and these are the terms.
    Welcome(Terms),
    /// It is not.
    Refused(Refusal),
}

/// Why a lane is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its end speaks another version.
    #[error("it speaks another version of the protocol: upgrade the older end")]
    Version,
    /// There is no such session, as after a restart.
    #[error("the session is over at the other end")]
    UnknownSession,
    /// There was such a lane before.
    #[error("there was such a lane before")]
    Repeated,
    /// There are too many sessions or lanes.
    #[error("it has too many sessions or lanes")]
    Full,
    /// It is about to end.
    #[error("it is shutting down")]
    Leaving,
}

/// What is wrong with the beginning of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloFault {
    /// Whoever speaks is no end of a tunnel.
    #[error("the peer does not speak the protocol of towpath's tunnels")]
    Stranger,
    /// It speaks a version that this end does not.
    #[error("the peer speaks version {0} of the protocol and this end {VERSION}: upgrade the older end")]
    Version(u8),
}

const REFUSALS: [Refusal; 5] =
    [Refusal::Version, Refusal::UnknownSession, Refusal::Repeated, Refusal::Full, Refusal::Leaving];

impl Hello {
    /// As it is sent.
    pub fn bytes(&self) -> [u8; HELLO_BYTES] {
        let mut bytes = [0; HELLO_BYTES];
        let parts: [&[u8]; 6] = [
            &MAGIC,
            &[VERSION, u8::from(self.may_begin)],
            &self.session,
            &self.lane.to_be_bytes(),
            &self.terms.bytes(),
            &[0; 4],
        ];
        put(&mut bytes, &parts);
        bytes
    }

    /// Reads one. The last four bytes are for later versions.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(bytes: &[u8; HELLO_BYTES]) -> Result<Self, HelloFault> {
        check(bytes)?;
        let mut session = [0; 16];
        session.copy_from_slice(&bytes[10..26]);
        let may_begin = bytes[9] & 1 == 1;
        Ok(Self { session, may_begin, lane: number(&bytes[26..30]), terms: Terms::read(&bytes[30..42]) })
    }
}

impl Answer {
    /// As it is sent.
    pub fn bytes(&self) -> [u8; ANSWER_BYTES] {
        let mut bytes = [0; ANSWER_BYTES];
        let (verdict, terms) = match self {
            Self::Welcome(terms) => (0, terms.bytes()),
            Self::Refused(why) => {
                let place = REFUSALS.iter().position(|refusal| refusal == why).unwrap_or_default();
                (place as u8 + 1, [0; 12])
            }
        };
        put(&mut bytes, &[&MAGIC, &[VERSION, verdict], &terms, &[0; 4]]);
        bytes
    }

    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(bytes: &[u8; ANSWER_BYTES]) -> Result<Self, HelloFault> {
        check(bytes)?;
        Ok(match bytes[9] {
            0 => Self::Welcome(Terms::read(&bytes[10..22])),
            code => Self::Refused(REFUSALS.get(usize::from(code) - 1).copied().unwrap_or(Refusal::Full)),
        })
    }
}

impl Terms {
    fn bytes(&self) -> [u8; 12] {
        let mut bytes = [0; 12];
        put(
            &mut bytes,
            &[self.features, self.window, self.streams]
                .map(u32::to_be_bytes)
                .each_ref()
                .map(|part| &part[..]),
        );
        bytes
    }

    fn read(bytes: &[u8]) -> Self {
        Self { features: number(&bytes[..4]), window: number(&bytes[4..8]), streams: number(&bytes[8..12]) }
    }
}

fn check(bytes: &[u8]) -> Result<(), HelloFault> {
    if !bytes.starts_with(&MAGIC) {
        return Err(HelloFault::Stranger);
    }
    match bytes[8] {
        VERSION => Ok(()),
        version => Err(HelloFault::Version(version)),
    }
}

fn put(bytes: &mut [u8], parts: &[&[u8]]) {
    let mut at = 0;
    for part in parts {
        bytes[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |all, byte| all << 8 | u32::from(*byte))
}
