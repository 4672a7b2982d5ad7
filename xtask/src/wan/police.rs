//! What each flow may have for itself: a token bucket for every five-tuple.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::units::Rate;

/// How much of its rate a flow that was silent may send at once.
const BURST: Duration = Duration::from_millis(100);
/// With more than these, the flows that are silent are forgotten.
const FLOWS: usize = 1_024;

/// A stand-in for providers that give each flow a rate. What is above it is dropped, not queued.
pub(super) struct Police {
    rate: Rate,
    burst_bytes: f64,
    buckets: HashMap<Flow, Bucket>,
}

struct Bucket {
    bytes: f64,
    filled: Instant,
}

impl Police {
    pub(super) fn new(rate: Rate) -> Self {
        let burst_bytes = rate.bytes_in(BURST).max(2.0 * super::MTU_BYTES as f64);
        Police { rate, burst_bytes, buckets: HashMap::new() }
    }

    /// Whether the packet may pass. One that is of no flow always may.
    pub(super) fn passes(&mut self, now: Instant, packet: &[u8]) -> bool {
        let Some(flow) = Flow::of(packet) else { return true };
        let filled = |bucket: &Bucket| {
            let gained = self.rate.bytes_in(now.saturating_duration_since(bucket.filled));
            (bucket.bytes + gained).min(self.burst_bytes)
        };
        if self.buckets.len() > FLOWS {
            // A full bucket is like one that is made anew.
            self.buckets.retain(|_, bucket| filled(bucket) < self.burst_bytes);
        }
        let bytes = self.buckets.get(&flow).map_or(self.burst_bytes, filled);
        let passes = bytes >= packet.len() as f64;
        let bytes = if passes { bytes - packet.len() as f64 } else { bytes };
        self.buckets.insert(flow, Bucket { bytes, filled: now });
        passes
    }
}

/// A connection of TCP or a pair of UDP sockets, over IPv4, in one direction.
#[derive(PartialEq, Eq, Hash)]
struct Flow {
    protocol: u8,
    /// Source and destination.
    addresses: [u8; 8],
    /// Source and destination.
    ports: [u8; 4],
}

impl Flow {
    /// The flow of an IPv4 packet (RFC 791), by the first four bytes of TCP or UDP.
    fn of(packet: &[u8]) -> Option<Flow> {
        const TCP: u8 = 6;
        const UDP: u8 = 17;
        let first = *packet.first()?;
        let ports_at = usize::from(first & 0x0f) * 4;
        let protocol = *packet.get(9)?;
        // Later fragments have no ports.
        let is_later_fragment = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]) & 0x1fff != 0;
        if first >> 4 != 4 || !matches!(protocol, TCP | UDP) || is_later_fragment {
            return None;
        }
        Some(Flow {
            protocol,
            addresses: packet.get(12..20)?.try_into().ok()?,
            ports: packet.get(ports_at..ports_at + 4)?.try_into().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: u8 = 6;

    fn packet(protocol: u8, port: u16) -> Vec<u8> {
        let mut packet = vec![0; 1_500];
        packet[0] = 0x45;
        packet[9] = protocol;
        packet[22..24].copy_from_slice(&port.to_be_bytes());
        packet
    }

    fn police() -> Police {
        Police::new("20mbit".parse().unwrap())
    }

    /// Bytes that pass of a packet each 100 us, which are 120 Mb/s, over a second.
    fn passed(police: &mut Police, packet: &[u8], start: Instant) -> usize {
        let times = (0..10_000).map(|tick| start + Duration::from_micros(100) * tick);
        times.filter(|now| police.passes(*now, packet)).count() * packet.len()
    }

    #[test]
    fn each_flow_has_the_rate_and_a_burst() {
        let (mut police, start) = (police(), Instant::now());
        for port in [443, 8443] {
            let bytes = passed(&mut police, &packet(TCP, port), start);
            // A second of the rate, and 100 ms of it as burst.
            assert!((2_745_000..=2_750_000).contains(&bytes), "{bytes}");
        }
    }

    #[test]
    fn what_is_no_flow_passes() {
        let (mut police, start) = (police(), Instant::now());
        let mut fragment = packet(TCP, 443);
        fragment[7] = 1;
        let mut six = packet(TCP, 443);
        six[0] = 0x60;
        for packet in [packet(1, 0), fragment, six, vec![0x45; 20]] {
            assert_eq!(passed(&mut police, &packet, start), 10_000 * packet.len());
        }
    }

    #[test]
    fn silent_flows_are_forgotten() {
        let (mut police, mut now) = (police(), Instant::now());
        for port in 0..10_000 {
            now += Duration::from_millis(1);
            assert!(police.passes(now, &packet(TCP, port)));
        }
        assert!(police.buckets.len() <= FLOWS + 1, "{}", police.buckets.len());
    }
}
