//! Lists of what a client takes, with how much it likes each (RFC 9110, section 12.4.2).

use hyper::header::{HeaderMap, HeaderName};

/// How much a client likes something, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Quality(u16);

impl Quality {
    /// Not at all.
    pub(super) const NONE: Self = Self(0);
    /// As much as can be.
    pub(super) const FULL: Self = Self(1000);

    /// Reads the value of a parameter `q`.
    fn parse(text: &str) -> Option<Self> {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        if part.len() > 3 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let part = part.bytes().fold((0, 1000), |(sum, unit), digit| {
            let unit = unit / 10;
            (sum + u16::from(digit - b'0') * unit, unit)
        });
        match whole {
            "0" => Some(Self(part.0)),
            "1" if part.0 == 0 => Some(Self::FULL),
            _ => None,
        }
    }
}

/// What the fields `name` list, without parameters, each with its quality. What cannot be read is left out.
pub(super) fn weighed<'a>(
    fields: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = (&'a str, Quality)> {
    let values = fields.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(|element| {
        let mut parts = element.split(';').map(str::trim);
        let listed = parts.next().filter(|listed| !listed.is_empty())?;
        let quality = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            name.trim_end().eq_ignore_ascii_case("q").then_some(value.trim_start())
        });
        Some((listed, quality.map_or(Some(Quality::FULL), Quality::parse)?))
    })
}

#[cfg(test)]
mod tests {
    use hyper::header::{ACCEPT, HeaderValue};

    use super::*;

    #[test]
    fn lists_are_read_and_what_is_odd_is_left_out() {
        let mut fields = HeaderMap::new();
        for value in
            ["a, b;q=0.5 ;x=y,, c ; level=1; Q = 0.125", "d;q=1.000,e;q=0,f;q=.5,g;q=2,h;q=0.1234,i;q=-1,j;q"]
        {
            fields.append(ACCEPT, HeaderValue::from_static(value));
        }
        fields.append(ACCEPT, HeaderValue::from_bytes(b"\xff").unwrap());
        let read: Vec<_> = weighed(&fields, &ACCEPT).map(|(listed, quality)| (listed, quality.0)).collect();
        assert_eq!(read, [("a", 1000), ("b", 500), ("c", 125), ("d", 1000), ("e", 0), ("j", 1000)]);
        assert_eq!(
            ["0.", "1.", "1.001", "", "01"].map(Quality::parse),
            [Some(Quality::NONE), Some(Quality::FULL), None, None, None]
        );
    }
}
