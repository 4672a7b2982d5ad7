//! Any bytes are HTTP/1, not yet or never, however they come, and the same of them passes a gate.

use towpath_wire::http1::gate::{Gate, Passage};
use towpath_wire::http1::{FIELDS_MAX, HEAD_BYTES_MAX, HeadFault, framing, head, response};

use super::steady::steady;

/// Longest input that is let through a gate byte by byte.
const BYTE_BY_BYTE_MAX: usize = 1024;

/// Panics when something does not hold for `input`.
pub(crate) fn hold(input: &[u8]) {
    let told = steady(input, |input| {
        let found = head::parse(input)?;
        Ok::<_, HeadFault>(found.map(|(head, length)| (format!("{head:?} {:?}", framing::of(&head)), length)))
    });
    assert!(told != Ok(None) || input.len() < HEAD_BYTES_MAX, "a full buffer waits");
    if let Ok(Some((head, length))) = head::parse(input) {
        assert!(length <= HEAD_BYTES_MAX && head.fields.len() <= FIELDS_MAX);
        assert!(head.target.bytes().all(|byte| byte.is_ascii_graphic()));
        assert!(
            !head.fields.iter().any(|(_, value)| value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)))
        );
    }
    let told = steady(input, |input| {
        let found = response::parse(input)?;
        Ok::<_, HeadFault>(
            found.map(|(head, length)| (format!("{head:?} {:?}", framing::of_answer(&head, "GET")), length)),
        )
    });
    assert!(told != Ok(None) || input.len() < HEAD_BYTES_MAX, "a full buffer waits");
    let sizes: &[usize] = if input.len() <= BYTE_BY_BYTE_MAX { &[1, 2, 7, 64] } else { &[61, 997, 5000] };
    for goes_over in [false, true] {
        let whole = let_through(input, usize::MAX / 2, goes_over);
        assert!(whole.0 <= input.len());
        for size in sizes {
            assert_eq!(let_through(input, *size, goes_over), whole, "{size}");
        }
    }
    let whole = chunks(input, usize::MAX / 2);
    for size in sizes {
        assert_eq!(chunks(input, *size), whole, "{size}");
    }
}

/// How much of a stream passes that comes in pieces of `size`, and how it ends, when its server goes over to other protocols
/// or does not.
fn let_through(stream: &[u8], size: usize, goes_over: bool) -> (usize, Passage) {
    let (mut gate, mut last) = (Gate::default(), Passage::Wait);
    let (mut from, mut to) = (0, 0);
    while to < stream.len() {
        to = to.saturating_add(size).min(stream.len());
        loop {
            last = gate.look(&stream[from..to]);
            if last == Passage::Hold {
                if goes_over {
                    gate.upgraded()
                } else {
                    gate.stays()
                }
                last = gate.look(&stream[from..to]);
            }
            let Passage::Pass(count) = last else { break };
            assert!((1..=to - from).contains(&count));
            from += count;
        }
    }
    (from, last)
}

/// How much of a body in chunks passes that comes in pieces of `size`, and how it ends.
fn chunks(body: &[u8], size: usize) -> (usize, Option<Result<(), HeadFault>>) {
    let (mut chunks, mut at) = (framing::Chunks::default(), 0);
    while at < body.len() {
        match chunks.take(&body[at..at.saturating_add(size).min(body.len())]) {
            Ok((count, true)) => return (at + count, Some(Ok(()))),
            Ok((count, false)) => at += count,
            Err(fault) => return (at, Some(Err(fault))),
        }
    }
    (at, None)
}
