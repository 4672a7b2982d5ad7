//! The words that say which clients come in, and how much they may carry.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::de::DeValue;

use super::{no_choice, not_yet, quotes_hint};
use crate::near::excerpt;
use crate::read::Word;
use crate::units::{Bad, Size};

/// Below this no protocol works.
const SLOWEST: Size = Size(1 << 10);

word! {
    /// A network of clients; an address is one of a single client.
    Network(IpNet), "a network", "10.0.0.0/8", "", |text| {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        let network = match (text.parse::<IpNet>(), text.parse::<IpAddr>(), bare.parse::<Ipv6Addr>()) {
            (Ok(network), ..) => network,
            (_, Ok(ip), _) => ip.into(),
            (.., Ok(ip)) => IpAddr::V6(ip).into(),
            _ => {
                let hint = "write it as in \"10.0.0.0/8\", \"2001:db8::/32\" or \"192.0.2.7\"";
                return Err(Bad::new(format!("`{}` is no network", excerpt(text)), hint));
            }
        };
        if network.trunc() != network {
            let message = format!("`{network}` has bits set behind its prefix");
            return Err(Bad::new(message, format!("write \"{}\" for the network, or the address alone", network.trunc())));
        }
        // Clients of version 4 go by their own addresses, also where they come in by a socket of version 6.
        Ok(match network {
            IpNet::V6(v6) if v6.prefix_len() >= 96 => match v6.addr().to_ipv4_mapped() {
                Some(ip) => Ipv4Net::new_assert(ip, v6.prefix_len() - 96).into(),
                None => network,
            },
            _ => network,
        })
    }
}

word! {
    /// Bytes a second.
    ByteRate(u64), "a byte rate", "10MiB/s", "^[0-9]+([KMG]i|[kMG])?B/s$", |text| {
        let hint = "write it as in \"10MiB/s\" or \"500kB/s\"";
        let bad = || Bad::new(format!("`{}` is not a byte rate", excerpt(text)), hint);
        let size: Size = text.strip_suffix("/s").ok_or_else(bad)?.parse()?;
        if size < SLOWEST {
            return Err(Bad::new(format!("`{}` is too slow", excerpt(text)), "give at least \"1KiB/s\""));
        }
        Ok(size.0)
    }
}

choice! {
    /// Which versions of the PROXY header are taken: the first and the second.
    ProxyInWord((bool, bool)), [
        "off" => (false, false),
        "v1" => (true, false),
        "v2" => (false, true),
        "any" => (true, true)
    ], []
}
