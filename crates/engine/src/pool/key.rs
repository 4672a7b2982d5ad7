//! What a connection is hashed by.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;

use towpath_config::{Balance, HashKey};

/// The hash by which a pool of this balance places a client; 0 where it has no use for one. It is the same in every
/// process of this build, so that instances beside each other agree.
pub fn hash_key(balance: Balance, client: Option<SocketAddr>, server_name: Option<&str>) -> u64 {
    let Balance::Hash(key) = balance else { return 0 };
    let mut hasher = DefaultHasher::new();
    let ip = client.map(|client| client.ip().to_canonical());
    match (key, server_name) {
        (HashKey::Sni, Some(name)) => name.hash(&mut hasher),
        (HashKey::SourceAndPort, _) => (ip, client.map(|client| client.port())).hash(&mut hasher),
        (HashKey::Source | HashKey::Sni, _) => ip.hash(&mut hasher),
    }
    hasher.finish()
}
