//! Figures in words that line up.

use std::time::Duration;

/// `12,345`.
pub(super) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate as a whole number.
pub(super) fn rate(value: f64) -> String {
    number(value.round() as u64)
}

/// `12.3 MB`, with powers of 1,000.
pub(super) fn bytes(value: u64) -> String {
    match value {
        0..1_000_000 => format!("{:.1} kB", value as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", value as f64 / 1e6),
        _ => format!("{:.2} GB", value as f64 / 1e9),
    }
}

/// `0.31 ms`.
pub(super) fn millis(value: Duration) -> String {
    format!("{:.2} ms", value.as_secs_f64() * 1e3)
}

/// `1:05`, in minutes and seconds.
pub(super) fn clock(value: Duration) -> String {
    format!("{}:{:02}", value.as_secs() / 60, value.as_secs() % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_commas_between_thousands() {
        let texts = [0, 12, 999, 1_000, 12_345, 123_456, 1_234_567].map(number);
        assert_eq!(texts, ["0", "12", "999", "1,000", "12,345", "123,456", "1,234,567"]);
    }

    #[test]
    fn bytes_keep_three_digits_or_more() {
        let texts = [0, 999_949, 12_345_678, 4_560_000_000].map(bytes);
        assert_eq!(texts, ["0.0 kB", "999.9 kB", "12.3 MB", "4.56 GB"]);
    }

    #[test]
    fn times_are_short() {
        assert_eq!(millis(Duration::from_micros(1_234)), "1.23 ms");
        assert_eq!(clock(Duration::from_secs(65)), "1:05");
    }
}
