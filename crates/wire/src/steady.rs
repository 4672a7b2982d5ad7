//! For tests: what bytes come to may not depend on how they come.

use std::fmt::Debug;

/// Longest input of which every beginning is tried; of a longer one, about so many are.
const EVERY_CUT_MAX: usize = 256;

/// What `read` makes of `input`, after it was seen to make nothing of each beginning that is too short, and the same of each
/// other: a message is complete with its last byte, and a fault stays the first one.
pub(crate) fn steady<T, E>(
    input: &[u8],
    read: impl Fn(&[u8]) -> Result<Option<(T, usize)>, E>,
) -> Result<Option<(T, usize)>, E>
where
    T: PartialEq + Debug,
    E: PartialEq + Debug,
{
    let whole = read(input);
    let mut has_answered = false;
    let step = input.len() / EVERY_CUT_MAX + 1;
    for cut in (0..input.len()).step_by(step) {
        let answer = read(&input[..cut]);
        if let Ok(Some((_, length))) = &whole {
            assert!(*length <= input.len(), "{length} of {}", input.len());
            assert_eq!(answer != Ok(None), cut >= *length, "{cut}: {answer:?}");
        }
        assert!(!has_answered || answer != Ok(None), "{cut}: the answer is gone");
        if answer != Ok(None) {
            has_answered = true;
            assert_eq!(answer, whole, "{cut}");
        }
    }
    whole
}
