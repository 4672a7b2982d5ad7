//! Logins in HTTP: the Basic scheme (RFC 7617).

use std::fmt;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Longest value of a field that is read.
const VALUE_BYTES_MAX: usize = 1024;

/// Some clients leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Who a client says it is. Its debug form hides the password.
#[derive(PartialEq, Eq)]
pub(crate) struct Credentials {
    /// The user's name, whatever bytes it has.
    pub(crate) name: Vec<u8>,
    /// The password.
    pub(crate) password: Vec<u8>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:***", self.name.escape_ascii())
    }
}

/// Reads the value of a `Proxy-Authorization` field; `None` if it is of another scheme, too long or malformed.
pub(crate) fn basic(value: &[u8]) -> Option<Credentials> {
    if value.len() > VALUE_BYTES_MAX {
        return None;
    }
    let (scheme, token) = value.trim_ascii().split_at_checked(b"Basic ".len())?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    let mut name = BASE64.decode(token.trim_ascii_start()).ok()?;
    let colon = name.iter().position(|byte| *byte == b':')?;
    let password = name.split_off(colon + 1);
    name.truncate(colon);
    Some(Credentials { name, password })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Option<(String, String)> {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        basic(value.as_bytes()).map(|login| (text(login.name), text(login.password)))
    }

    fn pair(name: &str, password: &str) -> Option<(String, String)> {
        Some((name.to_owned(), password.to_owned()))
    }

    #[test]
    fn logins_are_read() {
        // The examples of RFC 7617, sections 2 and 2.1.
        assert_eq!(read("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), pair("Aladdin", "open sesame"));
        assert_eq!(read("Basic dGVzdDoxMjPCow=="), pair("test", "123£"));
        assert_eq!(read("bAsIc  dGVzdDoxMjPCow "), pair("test", "123£"));
        assert_eq!(read("Basic YTpiOmM="), pair("a", "b:c"));
        assert_eq!(read("Basic Og=="), pair("", ""));
    }

    #[test]
    fn others_are_not() {
        let long = format!("Basic {}", "YTph".repeat(255));
        let longest = &long[..VALUE_BYTES_MAX - 2];
        assert_eq!(read(longest).map(|(name, _)| name), Some("a".to_owned()));
        for value in [
            "",
            "Basic",
            "Basic ",
            "Basic YWI=",
            "Basic Y",
            "Basic ====",
            "Basic YTpi!",
            "Bearer YTpi",
            "BasicYTpi",
            &long,
        ] {
            assert_eq!(read(value), None, "{value}");
        }
    }

    #[test]
    fn the_debug_form_hides_the_password() {
        let login = basic(b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==").unwrap();
        assert_eq!(format!("{login:?}"), "Aladdin:***");
    }
}
