//! The rules for destinations, by name and by the address that a name turns out to be.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use towpath_config::{DestHost, DestRule, Destinations};

/// The port of mail between servers (RFC 5321): open proxies were made for it.
const SMTP: u16 = 25;

/// Why a destination is not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// A rule of `deny_dest` has it.
    Rule,
    /// `deny_dest` denies all that `allow_dest` does not name, and it does not.
    NotAllowed,
    /// An address of this machine.
    Loopback,
    /// An address of the link, as the data services of clouds have.
    LinkLocal,
    /// No address of one host.
    NoHost,
    /// A port on which this process itself listens.
    Own,
    /// The port of mail between servers.
    Mail,
}

impl Denial {
    /// The words for it in a record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rule => "denied by deny_dest",
            Self::NotAllowed => "denied: not in allow_dest",
            Self::Loopback => "denied: loopback",
            Self::LinkLocal => "denied: link-local",
            Self::NoHost => "denied: no host's address",
            Self::Own => "denied: own listener",
            Self::Mail => "denied: port 25",
        }
    }

    /// What the client is told, and what whoever runs the proxy may do about it.
    pub(crate) fn told(self, host: &str, port: u16) -> String {
        let place = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        match self {
            Self::Rule => format!("{place}:{port} is denied by a rule of this proxy (--deny-dest)"),
            Self::NotAllowed => {
                format!(
                    "this proxy lets nothing through but what it names; --allow-dest {place}:{port} would add this"
                )
            }
            Self::Loopback | Self::LinkLocal | Self::NoHost => format!(
                "{host} is {}; --allow-dest {place} would let it through",
                match self {
                    Self::Loopback => "an address of the proxy's own machine",
                    Self::LinkLocal => "a link-local address",
                    _ => "no address of one host",
                }
            ),
            Self::Own => {
                format!("the proxy itself listens there; --allow-dest {place}:{port} would let it through")
            }
            Self::Mail => "port 25 is for mail servers; --allow-dest '*:25' would let it through".to_owned(),
        }
    }
}

/// The rules as they are for one user.
pub(crate) struct Rules<'a> {
    pub(crate) destinations: &'a Destinations,
    pub(crate) user: Option<&'a str>,
}

impl Rules<'_> {
    /// Judges a name before it is looked up, by what can be told of it by then. `is_left` says that it never is, as a proxy on
    /// the way looks it up: then no network can speak for it.
    pub(crate) fn check_name(&self, name: &str, port: u16, is_left: bool) -> Result<(), Denial> {
        let name = plain(name);
        if is_left && (name == "localhost" || name.ends_with(".localhost")) {
            return Err(Denial::Loopback); // RFC 6761, section 6.3
        }
        let has = |rules: &[DestRule], general: bool| {
            let mut rules =
                rules.iter().filter(|rule| is_general(rule) == general && self.applies(rule, port));
            rules.any(|rule| has_name(&rule.host, &name))
        };
        let Destinations { allow, deny } = self.destinations;
        if has(deny, false) {
            return Err(Denial::Rule);
        }
        // Its addresses may be in a network that is allowed.
        let may_be_allowed = || {
            !is_left
                && allow
                    .iter()
                    .any(|rule| self.applies(rule, port) && matches!(rule.host, DestHost::Network(_)))
        };
        let is_allowed = has(allow, false) || has(allow, true);
        if has(deny, true) && !is_allowed && !may_be_allowed() {
            return Err(Denial::NotAllowed);
        }
        self.check_port(port)
    }

    /// Judges an address, which the client named, or which the `name` that it gave has. `is_own` tells whether this process
    /// listens there.
    pub(crate) fn check(
        &self,
        name: Option<&str>,
        ip: IpAddr,
        port: u16,
        is_own: impl FnOnce() -> bool,
    ) -> Result<(), Denial> {
        let (written, ip, name) = (ip, meant(ip), name.map(plain));
        let has = |rule: &DestRule| {
            self.applies(rule, port)
                && (has_ip(&rule.host, ip) || name.as_ref().is_some_and(|name| has_name(&rule.host, name)))
        };
        let Destinations { allow, deny } = self.destinations;
        let has_written = |rule: &DestRule| self.applies(rule, port) && has_ip(&rule.host, written);
        if deny.iter().any(|rule| !is_general(rule) && (has(rule) || has_written(rule))) {
            return Err(Denial::Rule);
        }
        if deny.iter().any(|rule| is_general(rule) && has(rule)) && !allow.iter().any(has) {
            return Err(Denial::NotAllowed);
        }
        // A name cannot open what is closed: whoever answers for it would choose the address.
        let by_network = |rule: &&DestRule| matches!(rule.host, DestHost::Network(_)) && has(rule);
        if let Some(denial) = closed(ip)
            && !allow.iter().any(|rule| by_network(&rule))
        {
            return Err(denial);
        }
        if !allow.iter().any(|rule| by_network(&rule) && rule.ports.is_some()) && is_own() {
            return Err(Denial::Own);
        }
        self.check_port(port)
    }

    fn check_port(&self, port: u16) -> Result<(), Denial> {
        let opens = |rule: &DestRule| rule.ports.is_some() && self.applies(rule, port);
        if port == SMTP && !self.destinations.allow.iter().any(opens) { Err(Denial::Mail) } else { Ok(()) }
    }

    /// Whether a rule is for this user and this port.
    fn applies(&self, rule: &DestRule, port: u16) -> bool {
        let for_user = rule.user.as_ref().is_none_or(|user| self.user == Some(user));
        for_user && rule.ports.is_none_or(|ports| ports.iter().any(|one| one == port))
    }
}

/// A rule that denies everything, or everything to somebody or on some ports: `allow_dest` makes exceptions to it.
fn is_general(rule: &DestRule) -> bool {
    rule.host == DestHost::Any
}

fn has_ip(host: &DestHost, ip: IpAddr) -> bool {
    match host {
        DestHost::Any => true,
        DestHost::Network(network) => network.contains(&ip),
        DestHost::Name(_) | DestHost::Below(_) => false,
    }
}

fn has_name(host: &DestHost, name: &str) -> bool {
    match host {
        DestHost::Any => true,
        DestHost::Network(_) => false,
        DestHost::Name(wanted) => name == wanted,
        DestHost::Below(end) => name.ends_with(end.as_str()),
    }
}

/// Names of hosts know no case, and the dot of the root does not count.
fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// The address that another form of it leads to: v4 in v6 (RFC 4291, section 2.5.5), NAT64 (RFC 6052, RFC 8215) and 6to4
/// (RFC 3056).
pub(crate) fn meant(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip.to_canonical() else { return ip.to_canonical() };
    let parts = v6.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match parts {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        [0x64, 0xff9b, 1, _, _, _, high, low] => v4(high, low),
        [0x2002, high, low, ..] => v4(high, low),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => v4(high, low),
        _ => IpAddr::V6(v6),
    }
}

/// Where the data services of clouds are in version 6, which are of the link as those of version 4 are.
const METADATA: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)];

/// Why an address is closed unless a network of `allow_dest` has it.
fn closed(ip: IpAddr) -> Option<Denial> {
    match ip {
        IpAddr::V4(ip) if ip.is_loopback() => Some(Denial::Loopback),
        // All of 0.0.0.0/8 is "this network" (RFC 791), and leads to this machine.
        IpAddr::V4(ip) if ip.octets()[0] == 0 => Some(Denial::NoHost),
        IpAddr::V4(ip) if ip.is_link_local() => Some(Denial::LinkLocal),
        IpAddr::V4(ip) if ip.is_multicast() || ip.is_broadcast() || ip.octets()[0] >= 240 => {
            Some(Denial::NoHost)
        }
        IpAddr::V6(Ipv6Addr::LOCALHOST) => Some(Denial::Loopback),
        IpAddr::V6(ip) if ip.is_unspecified() || ip.is_multicast() => Some(Denial::NoHost),
        IpAddr::V6(ip) if ip.is_unicast_link_local() || METADATA.contains(&ip) => Some(Denial::LinkLocal),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn destinations(keys: &str) -> Destinations {
        let text = format!("[[listener]]\nname = 'p'\nmode = 'proxy'\nbind = '127.0.0.1:1'\n{keys}");
        let config = towpath_config::parse(&text, "test").unwrap();
        Arc::clone(&config.listeners[0]).proxy.clone().unwrap().destinations
    }

    fn judge(keys: &str, user: Option<&str>, name: Option<&str>, ip: &str, port: u16) -> Option<Denial> {
        let destinations = destinations(keys);
        let rules = Rules { destinations: &destinations, user };
        let by_name = name.map_or(Ok(()), |name| rules.check_name(name, port, false));
        by_name.and_then(|()| rules.check(name, ip.parse().unwrap(), port, || false)).err()
    }

    #[test]
    fn what_is_closed_is_closed_in_every_form() {
        let closed = [
            ("127.0.0.1", Denial::Loopback),
            ("127.9.9.9", Denial::Loopback),
            ("::1", Denial::Loopback),
            ("::ffff:127.0.0.1", Denial::Loopback),
            ("64:ff9b::7f00:1", Denial::Loopback),
            ("64:ff9b:1::7f00:1", Denial::Loopback),
            ("2002:7f00:1::", Denial::Loopback),
            ("::127.0.0.1", Denial::Loopback),
            ("169.254.169.254", Denial::LinkLocal),
            ("::ffff:169.254.169.254", Denial::LinkLocal),
            ("fe80::1", Denial::LinkLocal),
            ("fd00:ec2::254", Denial::LinkLocal),
            ("0.0.0.0", Denial::NoHost),
            ("0.1.2.3", Denial::NoHost),
            ("::", Denial::NoHost),
            ("224.0.0.1", Denial::NoHost),
            ("255.255.255.255", Denial::NoHost),
            ("250.1.1.1", Denial::NoHost),
            ("ff02::1", Denial::NoHost),
        ];
        for (ip, denial) in closed {
            assert_eq!(judge("", None, None, ip, 80), Some(denial), "{ip}");
            assert_eq!(judge("", None, Some("a.example"), ip, 80), Some(denial), "{ip} behind a name");
        }
        for ip in ["192.0.2.1", "10.0.0.1", "2001:db8::1", "fd00::1"] {
            assert_eq!(judge("", None, None, ip, 80), None, "{ip}");
        }
    }

    #[test]
    fn networks_open_what_is_closed_and_names_do_not() {
        let local = "allow_dest = '127.0.0.0/8'";
        assert_eq!(judge(local, None, None, "127.0.0.1", 80), None);
        assert_eq!(judge(local, None, None, "::ffff:127.0.0.1", 80), None);
        assert_eq!(judge(local, None, None, "::1", 80), Some(Denial::Loopback));
        assert_eq!(judge(local, None, None, "192.0.2.1", 80), None, "all else stays as it is");
        let named = "allow_dest = 'db.internal'";
        assert_eq!(judge(named, None, Some("db.internal"), "127.0.0.1", 80), Some(Denial::Loopback));
    }

    #[test]
    fn denials_go_before_and_a_general_one_has_exceptions() {
        let keys = "deny_dest = ['10.0.0.0/8', '*.secret.example']\nallow_dest = '10.1.0.0/16'";
        assert_eq!(judge(keys, None, None, "10.1.2.3", 80), Some(Denial::Rule));
        assert_eq!(judge(keys, None, Some("A.Secret.Example."), "192.0.2.1", 80), Some(Denial::Rule));
        assert_eq!(judge(keys, None, Some("secret.example"), "192.0.2.1", 80), None);
        assert_eq!(judge("deny_dest = '2002::/16'", None, None, "2002:808:808::1", 80), Some(Denial::Rule));
        let keys = "deny_dest = '*'\nallow_dest = ['*.internal:443', '10.0.0.0/8', 'root@*']";
        assert_eq!(judge(keys, None, Some("db.internal"), "192.0.2.1", 443), None);
        assert_eq!(judge(keys, None, Some("db.internal"), "192.0.2.1", 80), Some(Denial::NotAllowed));
        assert_eq!(judge(keys, None, Some("other"), "10.9.9.9", 80), None);
        assert_eq!(judge(keys, None, Some("other"), "192.0.2.1", 80), Some(Denial::NotAllowed));
        assert_eq!(judge(keys, Some("root"), Some("other"), "192.0.2.1", 80), None);
        assert_eq!(judge(keys, Some("bob"), Some("other"), "192.0.2.1", 80), Some(Denial::NotAllowed));
    }

    #[test]
    fn mail_and_own_ports_want_to_be_named() {
        assert_eq!(judge("", None, None, "192.0.2.1", 25), Some(Denial::Mail));
        assert_eq!(judge("allow_dest = '192.0.2.0/24'", None, None, "192.0.2.1", 25), Some(Denial::Mail));
        assert_eq!(judge("allow_dest = '*:25'", None, Some("mx.example"), "192.0.2.1", 25), None);
        let own = |keys: &str| {
            let destinations = destinations(keys);
            let rules = Rules { destinations: &destinations, user: None };
            rules.check(None, "127.0.0.1".parse().unwrap(), 3128, || true).err()
        };
        assert_eq!(own("allow_dest = '127.0.0.0/8'"), Some(Denial::Own));
        assert_eq!(own("allow_dest = '127.0.0.1:3128'"), None);
    }
}
