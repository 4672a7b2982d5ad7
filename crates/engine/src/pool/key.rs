//! What a connection is hashed by.

use std::hash::Hasher;
use std::net::{IpAddr, SocketAddr};

use siphasher::sip::SipHasher13;
use towpath_config::{Balance, HashKey};

/// The hash by which a pool of this balance places a client; 0 where it has no use for one. It is the same in every
/// process of every build, so that instances beside each other agree.
pub fn hash_key(balance: Balance, client: Option<SocketAddr>, server_name: Option<&str>) -> u64 {
    let Balance::Hash(key) = balance else { return 0 };
    let mut hasher = SipHasher13::new();
    match (key, server_name, client) {
        (HashKey::Sni, Some(name), _) => hasher.write(name.as_bytes()),
        (_, _, Some(client)) => {
            match client.ip().to_canonical() {
                IpAddr::V4(ip) => hasher.write(&ip.octets()),
                IpAddr::V6(ip) => hasher.write(&ip.octets()),
            }
            if key == HashKey::SourceAndPort {
                hasher.write(&client.port().to_be_bytes());
            }
        }
        (_, _, None) => {}
    }
    hasher.finish()
}
