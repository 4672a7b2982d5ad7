//! Bytes to send that betray any loss, swap or repetition, and the check of what arrives.

use std::sync::LazyLock;

/// Not a multiple of any buffer, so that a chunk that is sent twice or left out never fits.
const LENGTH: usize = 8 * 1024 * 1024 + 4099;

static BLOCK: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut bytes = vec![0; LENGTH];
    fastrand::Rng::with_seed(0x746f_7770_6174_6821).fill(&mut bytes);
    bytes
});

/// An endless stream of bytes; those of different starts differ.
#[derive(Clone, Debug)]
pub(crate) struct Data {
    at: usize,
    count: u64,
}

impl Data {
    /// The stream that belongs to `start`.
    pub(crate) fn new(start: u64) -> Self {
        Self { at: (start % LENGTH as u64) as usize, count: 0 }
    }

    /// How many bytes were taken or checked.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The next bytes: at least one, at most `most`.
    pub(crate) fn next(&mut self, most: usize) -> &'static [u8] {
        let end = LENGTH.min(self.at + most);
        let bytes = &BLOCK[self.at..end];
        self.at = end % LENGTH;
        self.count += bytes.len() as u64;
        bytes
    }

    /// Checks that `bytes` are the next ones.
    pub(crate) fn check(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let at = self.count;
            let expected = self.next(bytes.len());
            let (found, rest) = bytes.split_at(expected.len());
            if found != expected {
                let place = found.iter().zip(expected).position(|(found, expected)| found != expected);
                panic!("byte {} is wrong", at + place.unwrap_or_default() as u64);
            }
            bytes = rest;
        }
    }

    /// The next `count` bytes in one piece.
    pub(crate) fn take(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count);
        while bytes.len() < count {
            bytes.extend_from_slice(self.next(count - bytes.len()));
        }
        bytes
    }
}
