//! Durations, sizes and rates as they are written in a file: `1m30s`, `256KiB`, `500/s`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::near::excerpt;

/// Why a value of the file cannot be taken, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bad {
    /// What is wrong.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: String,
}

impl Bad {
    pub(crate) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into() }
    }
}

/// A length of time, in whole milliseconds, above zero and at most a year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timespan(Duration);

const TIMESPAN_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

impl Timespan {
    /// The longest.
    pub(crate) const MAX: Self = Self(Duration::from_secs(365 * 86_400));

    /// As the standard library has it.
    pub(crate) fn duration(self) -> Duration {
        self.0
    }
}

impl FromStr for Timespan {
    type Err = Bad;

    fn from_str(text: &str) -> Result<Self, Bad> {
        let bad = |why: &str| {
            Bad::new(
                format!("`{}` is not a duration{why}", excerpt(text)),
                "write it as in \"250ms\", \"30s\" or \"1m30s\"",
            )
        };
        if text.is_empty() {
            return Err(Bad::new("a duration is empty", "write it as in \"250ms\", \"30s\" or \"1m30s\""));
        }
        if text.contains('.') {
            return Err(Bad {
                hint: "use a smaller unit, as in \"1500ms\"".to_owned(),
                ..bad(": it has a fraction")
            });
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            let hint = format!("add a unit (ms, s, m, h, d), as in \"{}s\"", excerpt(text));
            return Err(Bad::new(format!("`{}` has no unit", excerpt(text)), hint));
        }
        let (mut rest, mut units, mut total) = (text, TIMESPAN_UNITS.as_slice(), 0_u64);
        while !rest.is_empty() {
            let (number, unit, tail) = leading(rest).ok_or_else(|| bad(""))?;
            if unit.is_empty() {
                return Err(bad(": a number in it has no unit"));
            }
            let Some(at) = units.iter().position(|(name, _)| *name == unit) else {
                let known = TIMESPAN_UNITS.iter().any(|(name, _)| *name == unit);
                return Err(bad(if known {
                    ": its units do not fall"
                } else {
                    ": the units are ms, s, m, h and d"
                }));
            };
            let part = number.and_then(|number| number.checked_mul(units[at].1));
            total = part.and_then(|part| total.checked_add(part)).unwrap_or(u64::MAX);
            (rest, units) = (tail, &units[at + 1..]);
        }
        match Duration::from_millis(total) {
            Duration::ZERO => Err(Bad::new(
                "a duration of zero is not possible here",
                "give more than zero; a timeout that can be switched off takes \"off\"",
            )),
            long if long > Self::MAX.0 => {
                Err(Bad::new(format!("`{}` is longer than a year", excerpt(text)), "give at most \"365d\""))
            }
            fine => Ok(Self(fine)),
        }
    }
}

impl fmt::Display for Timespan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        for (unit, millis) in TIMESPAN_UNITS {
            if rest >= millis {
                write!(f, "{}{unit}", rest / millis)?;
                rest %= millis;
            }
        }
        Ok(())
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(crate) struct Size(pub(crate) u64);

const SIZE_UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1000),
    ("B", 1),
];

impl FromStr for Size {
    type Err = Bad;

    fn from_str(text: &str) -> Result<Self, Bad> {
        let hint = "write it as in \"64KiB\", \"1MiB\", \"64kB\" (of 1000) or \"512B\"";
        let bad = |why: &str| Bad::new(format!("`{}` is not a size{why}", excerpt(text)), hint);
        let Some((number, unit, "")) = leading(text) else {
            return Err(bad(""));
        };
        if unit.is_empty() {
            let hint = format!("add a unit (B, KiB, MiB, GiB, kB, MB, GB), as in \"{}KiB\"", excerpt(text));
            return Err(Bad::new(format!("`{}` has no unit", excerpt(text)), hint));
        }
        let Some((_, bytes)) = SIZE_UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(bad(": the units are B, KiB, MiB, GiB, kB, MB and GB"));
        };
        let size = number.and_then(|number| number.checked_mul(*bytes));
        size.map(Self)
            .ok_or_else(|| Bad::new(format!("`{}` is too large", excerpt(text)), "sizes end at 16 EiB"))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |bytes: u64| bytes == 1 || (self.0 > 0 && self.0.is_multiple_of(bytes));
        let (unit, bytes) = SIZE_UNITS.into_iter().find(|&(_, bytes)| whole(bytes)).unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / bytes)
    }
}

/// So many of something in each second, minute or hour; at least one, at most a billion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    count: u64,
    unit: RateUnit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RateUnit {
    Second,
    Minute,
    Hour,
}

impl Rate {
    const COUNT_MAX: u64 = 1_000_000_000;

    /// How many in a second.
    pub(crate) fn per_second(self) -> f64 {
        let seconds = match self.unit {
            RateUnit::Second => 1.0,
            RateUnit::Minute => 60.0,
            RateUnit::Hour => 3600.0,
        };
        // At most a billion: exact in 53 bits.
        self.count as f64 / seconds
    }
}

impl FromStr for Rate {
    type Err = Bad;

    fn from_str(text: &str) -> Result<Self, Bad> {
        let hint = "write it as in \"500/s\", \"30/m\" or \"100/h\"";
        let bad = || Bad::new(format!("`{}` is not a rate", excerpt(text)), hint);
        let (count, unit) = text.split_once('/').ok_or_else(bad)?;
        let unit = match unit {
            "s" => RateUnit::Second,
            "m" => RateUnit::Minute,
            "h" => RateUnit::Hour,
            _ => return Err(bad()),
        };
        if count.is_empty() || !count.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(bad());
        }
        match count.parse() {
            Ok(count @ 1..=Self::COUNT_MAX) => Ok(Self { count, unit }),
            Ok(0) => Err(Bad::new("a rate of zero would let nothing in", hint)),
            _ => {
                Err(Bad::new(format!("`{}` is beyond a billion", excerpt(text)), "leave it out for no limit"))
            }
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            RateUnit::Second => "s",
            RateUnit::Minute => "m",
            RateUnit::Hour => "h",
        };
        write!(f, "{}/{unit}", self.count)
    }
}

/// Splits `30s1ms` into 30 (`None` beyond 64 bits), `s` and `1ms`; `None` without a number in front.
fn leading(text: &str) -> Option<(Option<u64>, &str, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at(digits);
    let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
    let (unit, rest) = rest.split_at(letters);
    (digits > 0).then(|| (number.parse().ok(), unit, rest))
}

#[cfg(test)]
mod tests;
