//! How the ends of bodies of HTTP/1 are told.

use towpath_wire::http1::framing::{AnswerFraming, Chunks, Framing};

/// How the body that comes is told from what is behind it.
#[derive(Debug)]
pub(crate) enum Coming {
    /// It was read, or there is none.
    Over,
    /// So many bytes of it are to be read.
    Length(u64),
    /// It comes in chunks.
    Chunked(Box<Chunks>),
    /// It ends with the connection.
    UntilClose,
}

/// How the body that goes is told from what is behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Going {
    /// It was written, or there is none.
    Over,
    /// So many bytes of it are to be written.
    Length(u64),
    /// It goes in chunks.
    Chunked,
    /// It ends with the connection.
    UntilClose,
}

impl From<Framing> for Coming {
    fn from(framing: Framing) -> Self {
        match framing {
            Framing::None => Self::Over,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Box::default()),
        }
    }
}

impl From<AnswerFraming> for Coming {
    fn from(framing: AnswerFraming) -> Self {
        match framing {
            AnswerFraming::None => Self::Over,
            AnswerFraming::Length(length) => Self::Length(length),
            AnswerFraming::Chunked => Self::Chunked(Box::default()),
            AnswerFraming::UntilClose => Self::UntilClose,
        }
    }
}
