//! Compression of blocks, where it pays.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use bytes::Bytes;
use towpath_config::Compression;
use towpath_wire::tunnel::BLOCK_BYTES_MAX;
use towpath_wire::tunnel::frame::{Block, Coding};
use towpath_wire::tunnel::hello::{self, Features};

/// Shorter parts are sent as they are.
const WORTH_BYTES: usize = 1024;

/// A block has to shrink to this share at most.
const WORTH: f64 = 0.9;

/// After blocks that did not shrink, up to so many are not tried; and so many where compressing was too slow, which it may have been
/// for a moment alone.
const SKIPS_MAX: u32 = 64;

/// The level of Zstandard: the fastest but those that hardly compress.
const LEVEL: i32 = 1;

thread_local! {
    static ZSTD: RefCell<Option<zstd::bulk::Compressor<'static>>> = const { RefCell::new(None) };
    static UNZSTD: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Compresses the blocks of one stream.
#[derive(Debug)]
pub(super) struct Squeeze {
    coding: Option<Coding>,
    /// Whether it is left where it would slow lanes down.
    is_auto: bool,
    /// Blocks that are still not tried, and how many it were last time.
    skips: u32,
    last_skips: u32,
    /// Blocks that were not tried as compressing them would take too long.
    passed: u32,
    /// Bytes a second that compressing takes, as far as that has shown.
    speed: f64,
}

impl Squeeze {
    /// As is wanted, as far as the other end can undo it.
    pub(super) fn new(how: Compression, theirs: Features) -> Self {
        let takes = |feature: Features| theirs & feature != 0;
        let coding = match how {
            Compression::Zstd | Compression::Auto if takes(hello::ZSTD) => Some(Coding::Zstd),
            Compression::Lz4 | Compression::Auto if takes(hello::LZ4) => Some(Coding::Lz4),
            _ => None,
        };
        Self { coding, is_auto: how == Compression::Auto, skips: 0, last_skips: 0, passed: 0, speed: 0.0 }
    }

    /// The block that some bytes make, if it is shorter than they are. `rate` is how many bytes a second the lanes take: what is
    /// quicker than compressing is not to be slowed down.
    pub(super) fn block(&mut self, data: &[u8], rate: f64) -> Option<(Bytes, Coding)> {
        let coding = self.coding?;
        if data.len() < WORTH_BYTES || data.len() > BLOCK_BYTES_MAX {
            return None;
        }
        if self.skips > 0 {
            self.skips -= 1;
            return None;
        }
        let is_slow = self.speed > 0.0 && rate * 2.0 > self.speed;
        if self.is_auto && is_slow && self.passed < SKIPS_MAX {
            self.passed += 1;
            return None;
        }
        self.passed = 0;
        let begun = Instant::now();
        let payload = match coding {
            Coding::Lz4 => Some(lz4_flex::block::compress(data)),
            _ => ZSTD.with_borrow_mut(|kept| {
                if kept.is_none() {
                    *kept = zstd::bulk::Compressor::new(LEVEL).ok();
                }
                kept.as_mut()?.compress(data).ok()
            }),
        }?;
        let time = begun.elapsed().max(Duration::from_micros(1));
        let speed = data.len() as f64 / time.as_secs_f64();
        self.speed = if self.speed > 0.0 { self.speed * 0.7 + speed * 0.3 } else { speed };
        if payload.len() as f64 > data.len() as f64 * WORTH {
            self.last_skips = (self.last_skips * 2 + 1).min(SKIPS_MAX);
            self.skips = self.last_skips;
            return None;
        }
        self.last_skips = 0;
        Some((payload.into(), coding))
    }
}

/// The bytes of a block as they were; `None` if it is not what it says.
pub(super) fn unsqueeze(block: Block) -> Option<Bytes> {
    let whole = match block.coding {
        Coding::Plain => return (block.payload.len() == block.length).then_some(block.payload),
        Coding::Lz4 => lz4_flex::block::decompress(&block.payload, block.length).ok()?,
        Coding::Zstd => UNZSTD.with_borrow_mut(|kept| {
            if kept.is_none() {
                *kept = zstd::bulk::Decompressor::new().ok();
            }
            kept.as_mut()?.decompress(&block.payload, block.length).ok()
        })?,
    };
    (whole.len() == block.length).then(|| whole.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: usize = 16 * 1024;

    /// How many of so many blocks are compressed.
    fn count(squeeze: &mut Squeeze, blocks: usize, data: &[u8], rate: f64) -> usize {
        (0..blocks).filter(|_| squeeze.block(data, rate).is_some()).count()
    }

    fn noise() -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(7);
        (0..LENGTH).map(|_| random.u8(..)).collect()
    }

    #[test]
    fn what_does_not_shrink_is_tried_ever_less_often() {
        let mut squeeze = Squeeze::new(Compression::Zstd, hello::ALL);
        assert_eq!(count(&mut squeeze, 300, &noise(), 0.0), 0);
        assert!(squeeze.last_skips == SKIPS_MAX, "{squeeze:?}");
        let text = b"text ".repeat(LENGTH / 5);
        assert!(count(&mut squeeze, 200, &text, 0.0) > 130, "what shrinks again is found");
        assert_eq!(squeeze.block(&text[..100], 0.0), None, "it is short");
    }

    #[test]
    fn lanes_that_are_quicker_than_compressing_are_not_slowed_down_but_now_and_then() {
        let text = b"text ".repeat(LENGTH / 5);
        let mut squeeze = Squeeze::new(Compression::Auto, hello::ALL);
        let tried = count(&mut squeeze, 131, &text, 1e15);
        assert_eq!(tried, 3, "the first, and one of 65");
        let slow = count(&mut squeeze, 100, &text, 1.0);
        assert_eq!(slow, 100, "all where they are slow");
        let mut asked = Squeeze::new(Compression::Zstd, hello::ALL);
        assert_eq!(count(&mut asked, 10, &text, 1e15), 10, "whoever asks for it gets it");
    }

    #[test]
    fn the_other_end_has_to_understand_it() {
        let text = b"text ".repeat(LENGTH / 5);
        let coding = |how, theirs| Squeeze::new(how, theirs).block(&text, 0.0).map(|(_, coding)| coding);
        assert_eq!(coding(Compression::Auto, hello::ALL), Some(Coding::Zstd));
        assert_eq!(coding(Compression::Auto, hello::LZ4), Some(Coding::Lz4));
        assert_eq!(coding(Compression::Zstd, hello::LZ4), None);
        assert_eq!(coding(Compression::Off, hello::ALL), None);
    }
}
