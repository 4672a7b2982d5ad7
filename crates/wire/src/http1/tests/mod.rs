//! Requests, answers and bodies that are taken, and all that are not.

mod framing;
mod gate;
mod head;
mod path;
mod response;
mod target;

use super::HeadFault;
use super::framing::{Framing, of};
use crate::steady::steady;

/// The framing of a whole head, however it comes.
fn judge(text: impl AsRef<[u8]>) -> Result<Framing, HeadFault> {
    let bytes = text.as_ref();
    let found = steady(bytes, |input| {
        super::head::parse(input).map(|found| found.map(|(head, length)| (of(&head), length)))
    })?;
    found.unwrap_or_else(|| panic!("not whole: {:?}", String::from_utf8_lossy(bytes))).0
}
