//! What is written on the command line: 200mbit, 100ms, 0.1%, 1bdp.

use std::str::FromStr;
use std::time::Duration;

/// How fast a line sends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rate {
    bits_per_second: u64,
}

impl Rate {
    /// How long it takes to send so many bytes.
    pub(super) fn time_of(self, bytes: usize) -> Duration {
        let nanoseconds = bytes as u128 * 8 * 1_000_000_000 / u128::from(self.bits_per_second);
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }

    /// How many bytes are sent in such a time.
    pub(super) fn bytes_in(self, time: Duration) -> f64 {
        self.bits_per_second as f64 / 8.0 * time.as_secs_f64()
    }

    /// How many times as fast as `other` it is.
    pub(super) fn ratio_to(self, other: Rate) -> f64 {
        self.bits_per_second as f64 / other.bits_per_second as f64
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let units = [("gbit", 1e9), ("mbit", 1e6), ("kbit", 1e3), ("bit", 1.0)];
        let bits = number(text, &units).filter(|bits| *bits >= 1.0).ok_or("a rate is written as 200mbit")?;
        Ok(Rate { bits_per_second: bits as u64 })
    }
}

/// Of packets, between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Share(pub(super) f64);

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let share = number(text, &[("%", 0.01)]).filter(|share| *share <= 1.0);
        share.map(Share).ok_or_else(|| "a share is written as 0.1%".to_owned())
    }
}

/// How much waits for a line before more is dropped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Queue {
    /// So many bandwidth-delay products, and at least 64 KiB.
    Products(f64),
    Bytes(usize),
}

impl Queue {
    /// In bytes, for a line of this rate and round-trip time.
    pub(super) fn limit_bytes(self, rate: Rate, rtt: Duration) -> usize {
        match self {
            Queue::Products(products) => (rate.bytes_in(rtt) * products).max(65_536.0) as usize,
            Queue::Bytes(bytes) => bytes,
        }
    }
}

impl FromStr for Queue {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(products) = number(text, &[("bdp", 1.0)]) {
            return Ok(Queue::Products(products));
        }
        let bytes = text.parse().ok().filter(|bytes| *bytes >= super::MTU_BYTES);
        bytes
            .map(Queue::Bytes)
            .ok_or_else(|| "a queue is written as 1bdp or in bytes, at least 1500".to_owned())
    }
}

/// A time with its unit.
///
/// # Errors
///
/// With how it is written.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let seconds = number(text, &[("us", 1e-6), ("ms", 1e-3), ("s", 1.0)]);
    seconds
        .filter(|seconds| *seconds <= 60.0)
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "a time is written as 100ms, up to 60s".to_owned())
}

/// A number followed by one of `units`, in what those are worth.
fn number(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let (digits, worth) =
        units.iter().find_map(|(unit, worth)| Some((text.strip_suffix(unit)?.trim_end(), worth)))?;
    let is_plain = digits.chars().all(|letter| letter.is_ascii_digit() || letter == '.');
    digits.parse::<f64>().ok().filter(|_| is_plain).map(|value| value * worth)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_a_unit() {
        for (text, bits_per_second) in
            [("200mbit", 200_000_000), ("1.5gbit", 1_500_000_000), ("64kbit", 64_000), ("9bit", 9)]
        {
            assert_eq!(text.parse(), Ok(Rate { bits_per_second }), "{text}");
        }
        for text in ["", "200", "mbit", "0mbit", "-1mbit", "1e3mbit", "infmbit", "200mb", "1 0mbit"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_rate_is_bytes_for_time_and_time_for_bytes() {
        let rate: Rate = "200mbit".parse().unwrap();
        assert_eq!(rate.time_of(1_500), Duration::from_micros(60));
        assert_eq!(rate.bytes_in(Duration::from_millis(100)), 2_500_000.0);
        assert_eq!(rate.ratio_to("50mbit".parse().unwrap()), 4.0);
    }

    #[test]
    fn shares_are_in_per_cent() {
        assert_eq!("0.1%".parse(), Ok(Share(0.001)));
        assert_eq!("100%".parse(), Ok(Share(1.0)));
        for text in ["0.1", "101%", "-1%", "%", "nan%"] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
    }

    #[test]
    fn times_have_a_unit() {
        for (text, micros) in [("100ms", 100_000), ("250us", 250), ("0.5s", 500_000), ("0ms", 0)] {
            assert_eq!(time(text), Ok(Duration::from_micros(micros)), "{text}");
        }
        for text in ["100", "ms", "61s", "1m"] {
            assert!(time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn queues_are_products_or_bytes() {
        let (rate, rtt) = ("200mbit".parse().unwrap(), Duration::from_millis(100));
        let limit = |text: &str| text.parse::<Queue>().unwrap().limit_bytes(rate, rtt);
        assert_eq!(limit("1bdp"), 2_500_000);
        assert_eq!(limit("0.5bdp"), 1_250_000);
        assert_eq!(limit("0.001bdp"), 65_536);
        assert_eq!(limit("3000"), 3_000);
        for text in ["1", "1499", "bdp", "10kb"] {
            assert!(text.parse::<Queue>().is_err(), "{text}");
        }
    }
}
