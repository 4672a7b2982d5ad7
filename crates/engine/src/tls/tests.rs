//! Handshakes between both sides of TLS here, over sockets of this machine.

use std::io;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use towpath_config::{ClientTls, Identity, Mode, Pem, Secret, ServerTls};
use towpath_wire::destination::Destination;

use super::{Accepted, TlsError, TlsIn, TlsOut};
use crate::stream::Stream;

/// An authority and what it signs.
struct Authority(CertifiedIssuer<'static, KeyPair>);

fn pem(name: &str, text: String) -> Pem {
    Pem { path: name.into(), text: Secret::new(text) }
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> Pem {
        pem("ca.pem", self.0.pem())
    }

    fn signs(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Identity { cert: pem("cert.pem", certificate.pem()), key: pem("key.pem", key.serialize_pem()) }
    }
}

fn server(identities: Vec<Identity>) -> ServerTls {
    ServerTls { identities, client_ca: None, v1_2: true, alpn: vec!["h2".to_owned(), "http/1.1".to_owned()] }
}

/// Both ends of a handshake with a server that is known as `host`.
async fn shake(
    server: &ServerTls,
    client: &ClientTls,
    host: &str,
) -> (io::Result<Accepted>, io::Result<(Stream, Option<Vec<u8>>)>) {
    let (near, far) = UnixStream::pair().unwrap();
    let stream = |socket: UnixStream| Stream::unix(socket.into_std().unwrap().into());
    let host = Destination::parse(host, Some(443)).unwrap().host;
    let (server, client) = (TlsIn::new(server, Mode::Tcp).unwrap(), TlsOut::new(client, &["h2"]).unwrap());
    tokio::join!(server.accept(stream(far)), client.connect(&host, stream(near)))
}

#[tokio::test]
async fn the_name_that_is_asked_for_chooses_the_certificate() {
    let authority = Authority::new();
    let identities = ["first.example", "*.wild.example", "third.example"].map(|name| authority.signs(name));
    let server = server(identities.into());
    let client = ClientTls { ca: Some(authority.pem()), ..ClientTls::default() };
    for host in ["first.example", "third.example", "THIRD.example.", "a.wild.example"] {
        let (accepted, connected) = shake(&server, &client, host).await;
        let (mut stream, alpn) = connected.unwrap_or_else(|error| panic!("{host}: {error}"));
        let mut accepted = accepted.unwrap();
        assert_eq!(accepted.server_name.as_deref(), Some(host.trim_end_matches('.').to_lowercase().as_str()));
        assert_eq!((alpn.as_deref(), accepted.alpn.as_deref()), (Some(&b"h2"[..]), Some(&b"h2"[..])));
        stream.send_all(b"up", false).await.unwrap();
        let mut said = [0; 2];
        accepted.stream.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"up");
        // An end in order is told from a cut.
        accepted.stream.shutdown().await.unwrap();
        assert_eq!(stream.read(&mut said).await.unwrap(), 0);
        drop(accepted);
    }
    for host in ["a.b.wild.example", "wild.example", "other.example", "127.0.0.1"] {
        let (_, connected) = shake(&server, &client, host).await;
        assert!(connected.is_err(), "the first certificate is not for {host}");
    }
}

#[tokio::test]
async fn a_stream_that_is_cut_is_no_end() {
    let authority = Authority::new();
    let client = ClientTls { ca: Some(authority.pem()), ..ClientTls::default() };
    let (accepted, connected) =
        shake(&server(vec![authority.signs("a.example")]), &client, "a.example").await;
    drop(accepted);
    let (mut stream, _) = connected.unwrap();
    assert!(stream.read(&mut [0; 8]).await.is_err(), "without close_notify it was cut");
}

#[tokio::test]
async fn nobody_is_trusted_without_a_reason() {
    let (ours, others) = (Authority::new(), Authority::new());
    let server = server(vec![ours.signs("a.example")]);
    let trusts = |ca: &Authority| ClientTls { ca: Some(ca.pem()), ..ClientTls::default() };
    assert!(shake(&server, &trusts(&others), "a.example").await.1.is_err());
    assert!(shake(&server, &trusts(&ours), "b.example").await.1.is_err());
    let named = ClientTls { server_name: Some("a.example".to_owned()), ..trusts(&ours) };
    assert!(shake(&server, &named, "10.0.0.1").await.1.is_ok());
    let careless = ClientTls { insecure: true, ..ClientTls::default() };
    assert!(shake(&server, &careless, "b.example").await.1.is_ok());
}

#[tokio::test]
async fn clients_show_certificates_where_they_have_to() {
    let (ours, others) = (Authority::new(), Authority::new());
    let server = ServerTls { client_ca: Some(ours.pem()), ..server(vec![ours.signs("a.example")]) };
    let client = |identity| ClientTls { ca: Some(ours.pem()), identity, ..ClientTls::default() };
    assert!(shake(&server, &client(Some(ours.signs("me"))), "a.example").await.0.is_ok());
    assert!(shake(&server, &client(Some(others.signs("me"))), "a.example").await.0.is_err());
    assert!(shake(&server, &client(None), "a.example").await.0.is_err());
}

#[test]
fn what_is_wrong_with_files_is_told_without_their_content() {
    let authority = Authority::new();
    let (one, two) = (authority.signs("a.example"), authority.signs("a.example"));
    let mixed = Identity { cert: one.cert.clone(), key: two.key.clone() };
    assert!(matches!(TlsIn::new(&server(vec![mixed]), Mode::Tcp), Err(TlsError::Pair { .. })));
    let swapped = Identity { cert: one.key.clone(), key: one.cert.clone() };
    let error = TlsIn::new(&server(vec![swapped]), Mode::Tcp).unwrap_err().to_string();
    assert_eq!(error, "key.pem: there is no certificate in it");
    let no_key = Identity { key: one.cert.clone(), ..one.clone() };
    let error = TlsIn::new(&server(vec![no_key]), Mode::Tcp).unwrap_err().to_string();
    assert!(error.contains("no private key"), "{error}");
    let secret = one.key.text.reveal().lines().nth(1).unwrap();
    assert!(!format!("{one:?}").contains(secret));
}
