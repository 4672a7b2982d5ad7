//! One direction of a link: what it loses, holds up and delivers. Times and packets are arguments; nothing here waits.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde::Serialize;

use super::order::Order;
use super::police::Police;
use super::units::{Queue, Rate, Share};

/// What a link is like, in both directions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Settings {
    pub(super) rate: Rate,
    pub(super) rtt: Duration,
    pub(super) loss: Share,
    pub(super) queue: Queue,
    pub(super) police: Option<Rate>,
}

/// What became of the packets of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Counters {
    /// That were delivered.
    pub(super) packets: u64,
    /// Of those.
    pub(super) bytes: u64,
    /// Dropped by chance.
    pub(super) lost: u64,
    /// Above the rate of their flow.
    pub(super) policed: u64,
    pub(super) queue_drops: u64,
    /// Dropped because the link was cut.
    pub(super) cut: u64,
}

/// A packet is lost, or policed, or finds the queue full; or else waits for the line, is on the line for as long as its
/// length takes at the rate, and arrives half a round-trip time later.
pub(super) struct Direction {
    rate: Rate,
    delay: Duration,
    loss: Share,
    police: Option<Police>,
    is_cut: bool,
    rng: Rng,
    /// The first one is on the line.
    queue: VecDeque<Vec<u8>>,
    queued_bytes: usize,
    limit_bytes: usize,
    /// When the first of the queue is off the line; with none, when the last one was.
    sent: Instant,
    /// Packets on their way, and when they arrive.
    flying: VecDeque<(Instant, Vec<u8>)>,
    /// Buffers to use again.
    spare: Vec<Vec<u8>>,
    counters: Counters,
}

impl Direction {
    pub(super) fn new(settings: &Settings, rng: Rng, now: Instant) -> Self {
        Direction {
            rate: settings.rate,
            delay: settings.rtt / 2,
            loss: settings.loss,
            police: settings.police.map(Police::new),
            is_cut: false,
            rng,
            queue: VecDeque::new(),
            queued_bytes: 0,
            limit_bytes: settings.queue.limit_bytes(settings.rate, settings.rtt),
            sent: now,
            flying: VecDeque::new(),
            spare: Vec::new(),
            counters: Counters::default(),
        }
    }

    /// Takes a packet that was sent.
    pub(super) fn take(&mut self, now: Instant, packet: &[u8]) {
        self.advance(now);
        // Before anything else, so that a packet has the same luck whatever else happens.
        let is_lost = self.rng.f64() < self.loss.0;
        if self.is_cut {
            self.counters.cut += 1;
        } else if is_lost {
            self.counters.lost += 1;
        } else if self.police.as_mut().is_some_and(|police| !police.passes(now, packet)) {
            self.counters.policed += 1;
        } else if self.queued_bytes + packet.len() > self.limit_bytes {
            self.counters.queue_drops += 1;
        } else {
            if self.queue.is_empty() {
                self.sent = self.sent.max(now) + self.rate.time_of(packet.len());
            }
            let mut buffer = self.spare.pop().unwrap_or_default();
            buffer.extend_from_slice(packet);
            self.queued_bytes += buffer.len();
            self.queue.push_back(buffer);
        }
    }

    /// Gives every packet that has arrived by `now` to `receive`, in order.
    ///
    /// # Errors
    ///
    /// The first one of `receive`.
    pub(super) fn deliver<E>(
        &mut self,
        now: Instant,
        mut receive: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.advance(now);
        while self.flying.front().is_some_and(|(arrives, _)| *arrives <= now) {
            let Some((_, mut packet)) = self.flying.pop_front() else { break };
            receive(&packet)?;
            self.counters.packets += 1;
            self.counters.bytes += packet.len() as u64;
            packet.clear();
            self.spare.push(packet);
        }
        Ok(())
    }

    /// When the next packet arrives.
    pub(super) fn next_arrival(&self) -> Option<Instant> {
        let first = self.flying.front().map(|(arrives, _)| *arrives);
        first.or_else(|| (!self.queue.is_empty()).then(|| self.sent + self.delay))
    }

    /// Changes what the direction is like. The queue stays as long as it was.
    pub(super) fn obey(&mut self, now: Instant, order: Order) {
        self.advance(now);
        match order {
            Order::Cut => {
                self.is_cut = true;
                self.counters.cut += (self.queue.len() + self.flying.len()) as u64;
                self.queue.clear();
                self.queued_bytes = 0;
                self.flying.clear();
                self.sent = now;
            }
            Order::Heal => self.is_cut = false,
            Order::Loss(share) => self.loss = share,
            Order::Rate(rate) => {
                // What is left of the packet on the line goes at the new rate.
                let left = self.sent.saturating_duration_since(now).as_secs_f64() * self.rate.ratio_to(rate);
                self.sent = now + Duration::from_secs_f64(left);
                self.rate = rate;
            }
        }
    }

    pub(super) fn counters(&self) -> Counters {
        self.counters
    }

    /// Lets the line send what it can have sent by `now`.
    fn advance(&mut self, now: Instant) {
        while self.sent <= now {
            let Some(packet) = self.queue.pop_front() else { return };
            self.queued_bytes -= packet.len();
            self.flying.push_back((self.sent + self.delay, packet));
            if let Some(next) = self.queue.front() {
                self.sent += self.rate.time_of(next.len());
            }
        }
    }
}

#[cfg(test)]
mod tests;
