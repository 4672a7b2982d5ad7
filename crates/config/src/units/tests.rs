//! Units: what is understood, what is not, and that printing and parsing agree.

use proptest::prelude::*;

use super::{Bad, Rate, Size, Timespan};

#[test]
fn durations_are_understood() {
    for (text, millis) in [
        ("250ms", 250),
        ("2s", 2000),
        ("1m", 60_000),
        ("1h", 3_600_000),
        ("1d", 86_400_000),
        ("1m30s", 90_000),
        ("1d2h3m4s5ms", 93_784_005),
        ("365d", 31_536_000_000),
        ("090s", 90_000),
    ] {
        assert_eq!(text.parse::<Timespan>().map(|time| time.duration().as_millis()), Ok(millis), "{text}");
    }
}

#[test]
fn durations_that_are_none_say_why() {
    for (text, why) in [
        ("", "is empty"),
        ("30", "has no unit"),
        ("30 s", "is not a duration"),
        ("1m30", "a number in it has no unit"),
        ("30s1m", "units do not fall"),
        ("1s1s", "units do not fall"),
        ("5x", "the units are"),
        ("1.5s", "it has a fraction"),
        ("-1s", "is not a duration"),
        ("0s", "zero"),
        ("366d", "longer than a year"),
        ("99999999999999999999d", "longer than a year"),
        ("18446744073709551615d18446744073709551615h", "longer than a year"),
    ] {
        let Bad { message, hint } = text.parse::<Timespan>().unwrap_err();
        assert!(message.contains(why), "{text}: {message}");
        assert!(!hint.is_empty());
    }
}

#[test]
fn sizes_are_understood() {
    for (text, bytes) in [
        ("0B", 0),
        ("512B", 512),
        ("64KiB", 65_536),
        ("1MiB", 1 << 20),
        ("64kB", 64_000),
        ("1GB", 1_000_000_000),
    ] {
        assert_eq!(text.parse::<Size>(), Ok(Size(bytes)), "{text}");
    }
    for (text, why) in [
        ("", "is not a size"),
        ("64", "has no unit"),
        ("64KB", "the units are"),
        ("64K", "the units are"),
        ("1KiB1B", "is not a size"),
        ("18446744073709551615KiB", "too large"),
        ("99999999999999999999B", "too large"),
    ] {
        let message = text.parse::<Size>().unwrap_err().message;
        assert!(message.contains(why), "{text}: {message}");
    }
}

#[test]
fn rates_are_understood() {
    assert_eq!("500/s".parse().map(Rate::per_second), Ok(500.0));
    assert_eq!("30/m".parse().map(Rate::per_second), Ok(0.5));
    assert_eq!("3600/h".parse().map(Rate::per_second), Ok(1.0));
    for text in
        ["", "500", "/s", "500/", "500/d", "-1/s", "1.5/s", "0/s", "1000000001/s", "99999999999999999999/s"]
    {
        assert!(text.parse::<Rate>().is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn no_string_panics(text in any::<String>(), near in "[0-9./smhdkKMGiB]{0,24}") {
        for text in [text, near] {
            let _ = text.parse::<Timespan>();
            let _ = text.parse::<Size>();
            let _ = text.parse::<Rate>();
        }
    }

    #[test]
    fn printed_durations_parse_to_the_same(millis in 1..=31_536_000_000_u64) {
        let time = Timespan(std::time::Duration::from_millis(millis));
        prop_assert_eq!(time.to_string().parse(), Ok(time));
    }

    #[test]
    fn printed_sizes_parse_to_the_same(bytes in prop_oneof![any::<u64>(), (0..64_u32).prop_map(|shift| 1 << shift)]) {
        prop_assert_eq!(Size(bytes).to_string().parse(), Ok(Size(bytes)));
    }

    #[test]
    fn printed_rates_parse_to_the_same(text in "[1-9][0-9]{0,8}/[smh]") {
        let rate: Rate = text.parse().unwrap();
        prop_assert_eq!(rate.to_string(), text);
    }
}
