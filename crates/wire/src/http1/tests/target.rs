//! Whole URLs, and what is written in their place.

use crate::destination::DestinationError;
use crate::http1::target::TargetFault::{Authority, Character, Form, Fragment, Scheme, UserInfo};
use crate::http1::target::absolute;

#[test]
fn urls_are_taken_apart() {
    for (url, destination, path, authority) in [
        ("http://a.example/x?y", "a.example:80", "/x?y", "a.example"),
        ("http://a.example", "a.example:80", "/", "a.example"),
        ("HTTP://a.example:8080?q", "a.example:8080", "/?q", "a.example:8080"),
        ("http://[::1]:81/", "[::1]:81", "/", "[::1]:81"),
        ("http://192.0.2.1//", "192.0.2.1:80", "//", "192.0.2.1"),
        ("http://a/http://u@b:1/", "a:80", "/http://u@b:1/", "a"),
        ("http://a?u@b/c", "a:80", "/?u@b/c", "a"),
    ] {
        let found = absolute(url).unwrap();
        assert_eq!(
            (found.destination.to_string().as_str(), &*found.path, found.authority),
            (destination, path, authority)
        );
    }
}

#[test]
fn what_is_no_url_says_why() {
    for (url, fault) in [
        ("", Form),
        ("/", Form),
        ("*", Form),
        ("a:80", Form),
        ("http:/a", Form),
        ("//a/", Form),
        ("/?u=http://a/", Form),
        ("://a", Form),
        ("1http://a", Form),
        ("https://a/", Scheme),
        ("ftp://a/", Scheme),
        ("httpx://a/", Scheme),
        ("http://u@a/", UserInfo),
        ("http://u:p@a/", UserInfo),
        ("http://@a/", UserInfo),
        ("http://a#f", Fragment),
        ("http://a/x#f", Fragment),
        ("http://a/ b", Character),
        ("http://a/\u{e9}", Character),
        ("http://a/\0", Character),
        ("http://", Authority(DestinationError::Host)),
        ("http:///x", Authority(DestinationError::Host)),
        ("http://:80/", Authority(DestinationError::Host)),
        ("http://a:/", Authority(DestinationError::Port)),
        ("http://a:0/", Authority(DestinationError::Port)),
        ("http://127.1/", Authority(DestinationError::Host)),
        ("http://a\\b/", Authority(DestinationError::Host)),
        ("http://::1/", Authority(DestinationError::Brackets)),
        ("http://a%2eb/", Authority(DestinationError::Host)),
    ] {
        assert_eq!(absolute(url), Err(fault), "{url:?}");
    }
}
