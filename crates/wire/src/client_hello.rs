//! stub
/// x
pub enum Sniffed {
    /// x
    NotTls,
    /// x
    Incomplete,
    /// x
    Hello(ClientHello),
}
/// x
pub struct ClientHello {
    /// x
    pub server_name: Option<String>,
    /// x
    pub early_data: bool,
    /// x
    pub length: usize,
}
/// x
pub fn sniff(_: &[u8]) -> Sniffed {
    Sniffed::NotTls
}
