//! Checks against small servers that say what they are told to.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::timeout;
use towpath_config::{Check, CheckKind, Secret};

use super::{Door, Way, ask};

/// A server that reads a first time and answers with `says`, again and again for each of them.
async fn server(says: &'static [&'static [u8]]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    spawn_local(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            spawn_local(async move {
                for says in says {
                    // Some servers speak first.
                    let _ = timeout(Duration::from_millis(50), client.read(&mut [0; 4096])).await;
                    let _ = client.write_all(says).await;
                }
            });
        }
    });
    address
}

async fn result(kind: CheckKind, address: SocketAddr) -> Result<(), String> {
    let check = Check {
        kind,
        interval: Duration::from_secs(2),
        down_interval: Duration::from_secs(1),
        timeout: Duration::from_millis(500),
        rise: 2,
        fall: 3,
        port: None,
    };
    ask(&check, Door::Tcp(address), Way::default()).await.map_err(|error| error.to_string())
}

/// What a check of `kind` says of a server that says `says`.
async fn of(kind: CheckKind, says: &'static [&'static [u8]]) -> Result<(), String> {
    LocalSet::new().run_until(async { result(kind, server(says).await).await }).await
}

fn http(status: (u16, u16), body: Option<&str>) -> CheckKind {
    CheckKind::Http {
        path: "/health".to_owned(),
        host: None,
        status: vec![status],
        body: body.map(str::to_owned),
    }
}

fn exchange(send: &[u8], expect: &[u8]) -> CheckKind {
    CheckKind::Exchange { send: send.to_vec(), expect: expect.to_vec() }
}

fn postgres(primary: bool) -> CheckKind {
    CheckKind::Postgres {
        primary,
        user: "u".to_owned(),
        database: "d".to_owned(),
        password: Some(Secret::new("hidden")),
    }
}

const REDIS: CheckKind = CheckKind::Redis { master: false, password: None };
const MASTER: CheckKind = CheckKind::Redis { master: true, password: None };

#[tokio::test]
async fn a_server_that_is_not_there_is_down() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for kind in [CheckKind::Tcp, http((200, 200), None), REDIS, CheckKind::Mysql, postgres(true)] {
        let error = LocalSet::new().run_until(result(kind, closed)).await.unwrap_err();
        assert!(error.to_lowercase().contains("refused"), "{error}");
    }
}

#[tokio::test]
async fn one_that_is_silent_is_down_but_for_a_connection_alone() {
    const SILENT: &[&[u8]] = &[b"", b""];
    assert_eq!(of(CheckKind::Tcp, SILENT).await, Ok(()));
    for kind in [
        http((200, 200), None),
        exchange(b"", b"x"),
        REDIS,
        CheckKind::Mysql,
        postgres(false),
        CheckKind::Tls { server_name: None },
    ] {
        assert!(of(kind, SILENT).await.is_err());
    }
}

#[tokio::test]
async fn http_goes_by_status_and_body() {
    const FINE: &[&[u8]] = &[b"HTTP/1.1 204 Fine\r\nContent-Length: 0\r\n\r\n"];
    const BODY: &[&[u8]] = &[b"HTTP/1.0 200 OK\r\n\r\nall is well"];
    assert_eq!(of(http((200, 299), None), FINE).await, Ok(()));
    assert_eq!(of(http((200, 200), None), FINE).await, Err("HTTP status 204".to_owned()));
    assert_eq!(of(http((200, 200), Some("is well")), BODY).await, Ok(()));
    assert!(of(http((200, 200), Some("is ill")), BODY).await.unwrap_err().contains("body"));
    assert!(
        of(http((200, 200), None), &[b"SSH-2.0-OpenSSH\r\n"])
            .await
            .unwrap_err()
            .contains("no answer of HTTP")
    );
}

#[tokio::test]
async fn an_exchange_waits_for_its_bytes() {
    assert_eq!(of(exchange(b"EHLO x\r\n", b"250"), &[b"220 hi\r\n250 ok\r\n"]).await, Ok(()));
    assert!(of(exchange(b"x", b"250"), &[b"554 no\r\n\x07"]).await.unwrap_err().contains("554 no"));
}

#[tokio::test]
async fn redis_answers_and_may_have_to_be_the_master() {
    assert_eq!(of(REDIS, &[b"+PONG\r\n"]).await, Ok(()));
    assert_eq!(of(REDIS, &[b"-NOAUTH Authentication required.\r\n"]).await, Ok(()));
    assert!(of(REDIS, &[b"-LOADING\r\n"]).await.unwrap_err().contains("LOADING"));
    assert_eq!(of(MASTER, &[b"+PONG\r\n", b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"]).await, Ok(()));
    assert!(of(MASTER, &[b"-LOADING\r\n"]).await.unwrap_err().contains("LOADING"));
    assert_eq!(
        of(MASTER, &[b"+PONG\r\n", b"*5\r\n$5\r\nslave\r\n$9\r\n"]).await,
        Err("not a master: slave".to_owned())
    );
    let kind = CheckKind::Redis { master: false, password: Some(Secret::new("hidden")) };
    let error = of(kind, &[b"-WRONGPASS not hidden\r\n"]).await.unwrap_err();
    assert!(error.contains("WRONGPASS not ***"), "{error}");
}

#[tokio::test]
async fn mysql_lets_in_or_refuses() {
    const GREETING: &[u8] =
        b"\x4a\0\0\0\x0a8.0.36\0aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const STRANGER: &[u8] = b"\x17\0\0\x02\xff\x15\x04#28000Access denied!";
    const OTHER_METHOD: &[u8] = b"\x17\0\0\x02\xfecaching_sha2_password\0";
    let says = async |said: &'static [&'static [u8]]| of(CheckKind::Mysql, said).await;
    assert_eq!(says(&[GREETING, b"\x07\0\0\x02\0\0\0\x02\0\0\0"]).await, Ok(()));
    assert_eq!(says(&[GREETING, STRANGER]).await, Ok(()), "it would let others in");
    assert_eq!(says(&[GREETING, OTHER_METHOD, STRANGER]).await, Ok(()));
    const FULL: &[u8] = b"\x17\0\0\0\xff\x10\x04Too many connections";
    assert!(says(&[FULL]).await.unwrap_err().contains("Too many"));
    assert!(says(&[GREETING, FULL]).await.unwrap_err().contains("Too many"));
    assert!(says(&[GREETING, b""]).await.unwrap_err().contains("no answer"));
    assert!(says(&[b"garbage that is no greeting", b""]).await.is_err());
}

#[tokio::test]
async fn postgres_tells_whether_it_is_a_primary() {
    let message = |kind: u8, payload: &[u8]| {
        let length = u32::try_from(payload.len() + 4).unwrap().to_be_bytes();
        [&[kind], &length[..], payload].concat()
    };
    let says = |parts: &[&[u8]]| -> &'static [&'static [u8]] {
        parts.iter().map(|part| &*Vec::leak(part.to_vec())).collect::<Vec<_>>().leak()
    };
    let starting = message(b'E', b"SFATAL\0C57P03\0Mthe database system is starting up\0\0");
    let login = message(b'E', b"SFATAL\0C28P01\0Mwrong one, hidden\0\0");
    let let_in = [message(b'R', &[0; 4]), message(b'Z', b"I")].concat();
    let answer = |value: u8| [message(b'D', &[0, 1, 0, 0, 0, 1, value]), message(b'Z', b"I")].concat();
    assert!(of(postgres(false), says(&[&starting])).await.unwrap_err().contains("starting up"));
    assert_eq!(of(postgres(false), says(&[&login])).await, Ok(()), "it answers");
    assert!(of(postgres(true), says(&[&login])).await.unwrap_err().contains("wrong one, ***"));
    assert!(of(postgres(false), says(&[&message(b'Z', b"I")])).await.unwrap_err().contains("out of turn"));
    let sasl = message(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0");
    let endless = message(b'R', b"\0\0\0\x0br=x,s=QQ==,i=4000000000");
    let error = of(postgres(true), says(&[&sasl, &endless])).await.unwrap_err();
    assert!(error.contains("too much work"), "{error}");
    assert_eq!(of(postgres(true), says(&[&let_in, &answer(b'f'), b""])).await, Ok(()));
    assert!(of(postgres(true), says(&[&let_in, &answer(b't'), b""])).await.unwrap_err().contains("recovery"));
    for garbage in
        [&[b"HTTP/1.1 400 Bad\r\n\r\n" as &[u8]] as &[&[u8]], &[b"R\x7f\xff\xff\xff"], &[b"R\0\0\0\0"]]
    {
        assert!(of(postgres(true), garbage).await.is_err());
    }
}

#[tokio::test]
async fn a_command_goes_by_its_exit_code_and_may_not_last() {
    let run = |script: &str| CheckKind::Command { argv: ["sh", "-c", script].map(str::to_owned).to_vec() };
    let address = "10.1.2.3:456".parse().unwrap();
    let told = "test \"$TOWPATH_ADDRESS $TOWPATH_PORT\" = '10.1.2.3 456'";
    assert_eq!(result(run(told), address).await, Ok(()));
    assert!(result(run("exit 3"), address).await.unwrap_err().contains("exit status: 3"));
    assert!(result(run("exec sleep 60"), address).await.unwrap_err().contains("no answer within"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let script = format!("sleep 60 & echo $! > {}; wait", file.display());
    assert!(result(run(&script), address).await.unwrap_err().contains("no answer within"));
    let child = std::fs::read_to_string(file).unwrap();
    let has_ended = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z")
    };
    let start = std::time::Instant::now();
    while !has_ended() {
        assert!(start.elapsed().as_secs() < 10, "what the program had started runs on");
        tokio::task::yield_now().await;
    }
    let nothing = CheckKind::Command { argv: vec!["/nonexistent/check".to_owned()] };
    assert!(result(nothing, address).await.unwrap_err().contains("cannot run"));
}
