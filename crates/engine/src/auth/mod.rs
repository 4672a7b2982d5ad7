//! stub
use std::net::IpAddr;
use std::sync::Arc;
use towpath_config::Proxy;
#[derive(Debug)]
pub(crate) struct Authenticator;
pub(crate) enum Verdict {
    Welcome(Arc<str>),
    Wrong,
    Busy,
}
pub(crate) struct Credentials {
    pub(crate) name: Vec<u8>,
    pub(crate) password: Vec<u8>,
}
pub(crate) fn basic(_: &[u8]) -> Option<Credentials> {
    None
}
pub(crate) fn of_proxy(p: &Proxy) -> Option<Authenticator> {
    (!p.users.is_empty()).then_some(Authenticator)
}
/// x
pub fn check_users(_: &Proxy) -> Result<(), Vec<String>> {
    Ok(())
}
impl Authenticator {
    pub(crate) async fn check(&self, _: Option<IpAddr>, _: &[u8], _: &[u8]) -> Verdict {
        let _ = Verdict::Wrong;
        let _ = Verdict::Busy;
        Verdict::Welcome("x".into())
    }
    pub(crate) fn renewed(&self, _: &Self) -> Self {
        Self
    }
}
