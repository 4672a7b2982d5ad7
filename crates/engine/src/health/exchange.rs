//! A check that sends bytes and waits for others.

use tokio::io::AsyncWriteExt;

use super::{CheckError, Wire, read_until};

pub(super) async fn ask(mut wire: Wire, send: &[u8], expect: &[u8]) -> Result<(), CheckError> {
    wire.write_all(send).await?;
    let has_come =
        |answer: &[u8]| expect.is_empty() || answer.windows(expect.len()).any(|part| part == expect);
    let answer = read_until(&mut wire, has_come).await?;
    if has_come(&answer) { Ok(()) } else { Err(CheckError::bad("it does not say what is expected", &answer)) }
}
