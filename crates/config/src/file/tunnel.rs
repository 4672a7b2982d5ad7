//! The shape of a tunnel's far end.

use schemars::JsonSchema;
use toml::Spanned;
use toml::de::DeValue;

use super::shape::shape;
use crate::read::{Field, Keys, OrOff, Read, Shape, Switch, Whole};
use crate::report::Report;
use crate::words::{CompressionWord, FilePath, Memory, Timespan};

shape! {
    /// The far end of tunnels.
    Tunnel, "tunnel",
    /// The file of the key that both ends have, as `towpath tunnel --new-key FILE` makes it.
    key_file: FilePath,
    /// Neither encrypts nor asks who is there: for ways that nobody else can use.
    plain: Switch = false,
    /// Whether blocks are compressed.
    compress: CompressionWord = "auto",
    /// How long a session lives on without a connection.
    resume_timeout: OrOff<Timespan> = "30s",
    /// Most bytes of one stream that wait here to be read.
    window: Memory = "16MiB",
    /// All such windows of a session together grow no further than this.
    memory: Memory = "64MiB",
    /// Sessions at a time.
    sessions: Whole<1, 100_000> = 256,
    /// Connections of one session.
    lanes: Whole<1, 256> = 64,
    /// Streams of one session.
    streams: Whole<1, 65_536> = 1024,
}
