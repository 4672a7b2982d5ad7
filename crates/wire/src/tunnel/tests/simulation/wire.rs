//! A lane: bytes in order each way, with a delay, a rate and little room, which may stall, and may end at any byte.

use std::collections::VecDeque;
use std::time::Duration;

use fastrand::Rng;

use crate::tunnel::Path;
use crate::tunnel::frame::{Decoder, Frame};

/// One way of a lane.
#[derive(Debug)]
pub(super) struct Pipe {
    delay: Duration,
    rate: u64,
    room: usize,
    /// What was written since the last [`Self::flush`].
    written: Vec<u8>,
    /// What is under way, with the time when it arrives.
    flight: VecDeque<(Duration, Vec<u8>)>,
    free_at: Duration,
    /// Whether nothing that is written arrives any more.
    is_cut: bool,
    decoder: Decoder,
    scratch: Vec<u8>,
}

/// A lane, as the network sees it.
#[derive(Debug)]
pub(super) struct Wire {
    /// By the side that writes.
    pub(super) pipes: [Pipe; 2],
    /// Whether each side has it open.
    pub(super) is_open: [bool; 2],
}

impl Wire {
    pub(super) fn any(rng: &mut Rng) -> Self {
        let delay = Duration::from_micros(rng.u64(50..120_000));
        let rate = [300_000, 2_000_000, 20_000_000, 200_000_000][rng.usize(..4)];
        Self::new(delay, rate, rng.usize(1..256 * 1024))
    }

    /// `delay` is one way, `rate` in bytes a second, `room` in bytes.
    pub(super) fn new(delay: Duration, rate: u64, room: usize) -> Self {
        let pipe = || Pipe {
            delay,
            rate,
            room,
            written: Vec::new(),
            flight: VecDeque::new(),
            free_at: Duration::ZERO,
            is_cut: false,
            decoder: Decoder::default(),
            scratch: Vec::new(),
        };
        Self { pipes: [pipe(), pipe()], is_open: [false; 2] }
    }

    pub(super) fn delay(&self) -> Duration {
        self.pipes[0].delay
    }

    /// Nothing that is written from now on arrives, nor does some of what is under way.
    pub(super) fn cut(&mut self, rng: &mut Rng) {
        for pipe in &mut self.pipes {
            pipe.cut(rng);
        }
    }

    /// Nothing moves for so long.
    pub(super) fn stall(&mut self, now: Duration, length: Duration) {
        for pipe in &mut self.pipes {
            pipe.free_at = pipe.free_at.max(now) + length;
            pipe.flight.iter_mut().for_each(|(at, _)| *at += length);
        }
    }
}

impl Pipe {
    pub(super) fn write(&mut self, frame: &Frame) {
        frame.write(&mut self.written);
    }

    /// Sends what was written, in pieces of any size; calls `plan` with the times when one has left, and arrives.
    pub(super) fn flush(&mut self, now: Duration, rng: &mut Rng, mut plan: impl FnMut(Duration, Duration)) {
        let written = std::mem::take(&mut self.written);
        if self.is_cut {
            return;
        }
        let mut left = &written[..];
        while !left.is_empty() {
            let most = if rng.u32(..4) == 0 { 40 } else { 150_000 };
            let (piece, rest) = left.split_at(rng.usize(1..=most).min(left.len()));
            left = rest;
            let length = Duration::from_secs_f64(piece.len() as f64 / self.rate as f64);
            self.free_at = self.free_at.max(now) + length;
            let arrives = self.free_at + self.delay;
            self.flight.push_back((arrives, piece.to_vec()));
            plan(self.free_at, arrives);
        }
    }

    /// What has arrived by now, as frames; or when the next will, if there is none.
    pub(super) fn arrive(&mut self, now: Duration) -> Result<Vec<Frame>, Option<Duration>> {
        match self.flight.front() {
            Some((at, _)) if *at <= now => {}
            next => return Err(next.map(|(at, _)| *at)),
        }
        let (_, piece) = self.flight.pop_front().unwrap();
        self.scratch.extend_from_slice(&piece);
        let mut frames = Vec::new();
        while !self.scratch.is_empty() {
            let count = self.decoder.fill(|room| {
                let count = room.len().min(self.scratch.len());
                room[..count].copy_from_slice(&self.scratch[..count]);
                (count, count)
            });
            self.scratch.drain(..count);
            while let Some(frame) = self.decoder.next_frame().expect("what was sent") {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    /// Whether it takes blocks now.
    pub(super) fn takes_blocks(&self, now: Duration) -> bool {
        self.unsent(now) < self.room
    }

    pub(super) fn path(&self, now: Duration) -> Path {
        Path { unsent: self.unsent(now) as u64, rate: self.rate, rtt: 2 * self.delay }
    }

    fn unsent(&self, now: Duration) -> usize {
        let waits = self.flight.iter().rev().take_while(|(at, _)| *at > now + self.delay);
        self.written.len() + waits.map(|(_, piece)| piece.len()).sum::<usize>()
    }

    pub(super) fn cut(&mut self, rng: &mut Rng) {
        if self.is_cut {
            return;
        }
        self.is_cut = true;
        self.written.clear();
        self.flight.truncate(rng.usize(..=self.flight.len()));
        if let Some((_, piece)) = self.flight.back_mut() {
            piece.truncate(rng.usize(..=piece.len()));
        }
    }
}
