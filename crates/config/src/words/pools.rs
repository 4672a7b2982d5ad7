//! The words of pools.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::de::DeValue;

use super::{CookieName, FieldName, no_choice, not_yet, quotes_hint};
use crate::near::excerpt;
use crate::read::Word;
use crate::units::{self, Bad};
use crate::{HashKey, Hedge, OnDown, ProxyVersion, Replay, RequestKey};

word! {
    /// The path of a file or socket.
    FilePath(PathBuf), "a path", "/etc/towpath/backends", "^.+$", |text| {
        if text.is_empty() || text.contains('\0') {
            return Err(Bad::new("this is no path", "give the path of a file"));
        }
        Ok(PathBuf::from(text))
    }
}

word! {
    /// When a second backend is asked.
    HedgeWord(Hedge), "a duration, \"auto\" or \"off\"", "100ms", "", |text| match text {
        "auto" => Ok(Hedge::Auto),
        "off" => Ok(Hedge::Off),
        _ => text.parse().map(|time: units::Timespan| Hedge::After(time.duration())),
    }
}

word! {
    /// The address that backends see; `None` is the client's own.
    SourceWord(Option<IpAddr>), "an IP address or \"client\"", "10.0.0.5", "", |text| {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        match (text, text.parse::<IpAddr>().or(bare.parse::<Ipv6Addr>().map(IpAddr::V6))) {
            ("client", _) => Ok(None),
            (_, Ok(ip)) if !ip.is_unspecified() && !ip.is_multicast() => Ok(Some(ip)),
            _ => {
                let hint = "write an IP address of this machine, or \"client\" for the client's own";
                Err(Bad::new(format!("`{}` is no source address", excerpt(text)), hint))
            }
        }
    }
}

word! {
    /// What balance `hash` goes by, and what of a request.
    HashKeyWord((HashKey, Option<RequestKey>)), "\"source\" or another key", "source", "^(source|source_and_port|sni|path|field:.+|cookie:.+)$", |text| {
        let of_request = |key: RequestKey| Ok((HashKey::Request, Some(key)));
        match (text, text.split_once(':')) {
            ("source", _) => Ok((HashKey::Source, None)),
            ("source_and_port", _) => Ok((HashKey::SourceAndPort, None)),
            ("sni", _) => Ok((HashKey::Sni, None)),
            ("path", _) => of_request(RequestKey::Path),
            (_, Some(("field", name))) => of_request(RequestKey::Field(FieldName::from_word(name)?.0)),
            (_, Some(("cookie", name))) => of_request(RequestKey::Cookie(CookieName::from_word(name)?.0)),
            _ => Err(no_choice(text, &["source", "source_and_port", "sni", "path", "field:NAME", "cookie:NAME"])),
        }
    }
}

choice! {
    /// When first bytes may be sent again.
    ReplayWord(Replay), ["safe" => Replay::Safe, "never" => Replay::Never, "always" => Replay::Always], []
}

choice! {
    /// What becomes of the connections of a backend that goes down.
    OnDownWord(OnDown), ["keep" => OnDown::Keep, "reset" => OnDown::Reset], []
}

choice! {
    /// The PROXY header that backends get.
    ProxyOutWord(Option<ProxyVersion>), [
        "off" => None,
        "v1" => Some(ProxyVersion::V1),
        "v2" => Some(ProxyVersion::V2)
    ], []
}
