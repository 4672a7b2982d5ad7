//! Who may come in: networks, and how much of a listener one client address may take.

mod clients;
mod requests;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use towpath_config::Admission;

use clients::Clients;
pub(crate) use clients::Pass;
pub(crate) use requests::Rates;

/// The rules of a listener, and who is in.
#[derive(Debug)]
pub(crate) struct Gatekeeper {
    rules: Admission,
    clients: Option<Arc<Clients>>,
}

/// Why a client may not come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A network of `deny` has it.
    Denied,
    /// No network of `allow` has it.
    NotAllowed,
    /// It has as many connections as one client may have.
    TooMany,
    /// It comes too often.
    TooOften,
}

impl Refusal {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::NotAllowed => "not allowed",
            Self::TooMany => "too many connections of one client",
            Self::TooOften => "too many new connections of one client",
        }
    }
}

impl Gatekeeper {
    pub(crate) fn new(rules: Admission) -> Self {
        let counts = rules.max_connections_per_client.is_some() || rules.rate_per_client.is_some();
        let clients = counts.then(|| Arc::new(Clients::new(&rules)));
        Self { rules, clients }
    }

    /// Those who are in under the rules of `before` still count where the limits are the same.
    pub(crate) fn renewed(rules: &Admission, before: &Self) -> Self {
        let mut new = Self::new(rules.clone());
        if let (Some(clients), Some(known)) = (&mut new.clients, &before.clients)
            && clients.has_limits_of(known)
        {
            clients.clone_from(known);
        }
        new
    }

    /// Lets a client in; a pass counts for as long as it lives. A unix client has no address, and nothing keeps it out.
    pub(crate) fn admit(&self, client: Option<IpAddr>, now: Instant) -> Result<Option<Box<Pass>>, Refusal> {
        let Some(client) = client else { return Ok(None) };
        let client = client.to_canonical();
        let has = |networks: &[ipnet::IpNet]| networks.iter().any(|network| network.contains(&client));
        if has(&self.rules.deny) {
            return Err(Refusal::Denied);
        }
        if !self.rules.allow.is_empty() && !has(&self.rules.allow) {
            return Err(Refusal::NotAllowed);
        }
        self.clients.as_ref().map(|clients| Clients::enter(clients, client, now)).transpose()
    }
}
