//! System calls that towpath makes, each behind a safe function: the only crate that may hold `unsafe`.

pub mod limits;
pub mod listener;
pub mod memory;
pub mod options;
pub mod pacing;
pub mod path;
pub mod pipe;
pub mod process;
pub mod segments;
pub mod socket;
pub mod stream;
