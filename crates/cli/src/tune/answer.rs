//! The head of an answer of HTTP/1.1, as far as a measurement has to know it.

/// What the head of an answer says of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// It has the part that was asked for, and not all there is.
    pub(super) is_part: bool,
    /// How long the body is, if that is told.
    pub(super) length: Option<u64>,
}

/// The head that these bytes begin with, behind those that only say that there will be one; and how long all of them are.
/// `None` where more has to come.
///
/// # Errors
/// When it is none, or not of an answer that says yes.
pub(super) fn head(bytes: &[u8]) -> Result<Option<(Head, usize)>, String> {
    let mut from = 0;
    loop {
        let rest = &bytes[from..];
        let Some(length) = rest.windows(4).position(|end| end == b"\r\n\r\n") else { return Ok(None) };
        let text = String::from_utf8_lossy(&rest[..length]);
        from += length + 4;
        let mut lines = text.split("\r\n");
        let line = lines.next().unwrap_or_default();
        let fields: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(':')).collect();
        let field = |name: &str| {
            let found = fields.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.trim())
        };
        let status = line.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok());
        match status.filter(|_| line.starts_with("HTTP/1.")) {
            Some(100..=199) => {}
            Some(status @ 200..=299) => {
                let length = field("content-length").and_then(|length| length.parse().ok());
                let length = if matches!(status, 204 | 205) { Some(0) } else { length };
                return Ok(Some((Head { is_part: status == 206, length }, from)));
            }
            Some(300..=399) if field("location").is_some() => {
                let place = field("location").unwrap_or_default();
                return Err(format!("the server answers `{line}` and points to {place}"));
            }
            Some(_) => return Err(format!("the server answers `{line}`")),
            None => return Err("what comes is no answer of HTTP".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_tell_how_long_the_body_is() {
        let part = b"HTTP/1.1 206 Partial Content\r\ncontent-length:  7 \r\n\r\nabc";
        assert_eq!(head(part), Ok(Some((Head { is_part: true, length: Some(7) }, part.len() - 3))));
        assert_eq!(head(&part[..part.len() - 4]), Ok(None));
        let hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.0 200 OK\r\n\r\n";
        assert_eq!(head(hints), Ok(Some((Head { is_part: false, length: None }, hints.len()))));
        assert_eq!(head(&hints[..50]), Ok(None));
        let nothing = head(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap().unwrap();
        assert_eq!(nothing.0.length, Some(0));
    }

    #[test]
    fn other_answers_are_told() {
        let why = |text: &str| head(text.as_bytes()).unwrap_err();
        let moved = why("HTTP/1.1 301 Moved Permanently\r\nLocation: https://a.example/\r\n\r\n");
        assert_eq!(
            moved,
            "the server answers `HTTP/1.1 301 Moved Permanently` and points to https://a.example/"
        );
        assert_eq!(why("HTTP/1.1 404 Not Found\r\n\r\n"), "the server answers `HTTP/1.1 404 Not Found`");
        assert_eq!(why("SSH-2.0-x\r\n\r\n"), "what comes is no answer of HTTP");
    }
}
