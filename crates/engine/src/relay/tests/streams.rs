//! Streams that end in order: every byte arrives, and the end after it.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::rig::{METHODS, Peer, pattern, play, read_all, write_all};
use crate::flow::{End, Side};

/// Lengths around the edges of buffers, pages, thresholds and pipes.
const LENGTHS: [usize; 14] = [
    0, 1, 4095, 4096, 4097, 65_535, 65_536, 65_537, 262_143, 262_144, 262_145, 1_048_576, 1_048_577,
    5_000_000,
];

async fn echoes_every_length<P: Peer>() {
    for (name, settings) in &METHODS {
        for length in LENGTHS {
            let sent = pattern(length, length as u64);
            let (echoed, end, count) = play(settings, None, async |mut client: P, mut server: P| {
                let (mut client_reads, mut client_writes) = tokio::io::split(&mut client);
                let echo = async {
                    let (mut reads, mut writes) = tokio::io::split(&mut server);
                    tokio::io::copy(&mut reads, &mut writes).await.unwrap();
                    writes.shutdown().await.unwrap();
                };
                let (echoed, (), ()) =
                    tokio::join!(read_all(&mut client_reads), write_all(&mut client_writes, &sent), echo);
                echoed
            })
            .await;
            assert!(echoed == (sent, None), "{name}: {length} bytes did not come back");
            assert_eq!(end, End::Closed(Side::Client), "{name}: {length}");
            assert_eq!(
                (count.up.get(), count.down.get()),
                (length as u64, length as u64),
                "{name}: {length}"
            );
        }
    }
}

#[tokio::test]
async fn echoes_every_length_over_tcp() {
    echoes_every_length::<TcpStream>().await;
}

#[tokio::test]
async fn echoes_every_length_over_unix_sockets() {
    echoes_every_length::<UnixStream>().await;
}

/// One side ends its stream; minutes later the other still sends, and all of it arrives.
async fn half_closes<P: Peer>(first: Side) {
    for (name, settings) in &METHODS {
        let (early, late) = (pattern(100_000, 1), pattern(3_000_000, 2));
        let ((got_early, got_late), end, _) = play(settings, None, async |client: P, server: P| {
            let (mut closes, mut answers) = match first {
                Side::Client => (client, server),
                Side::Server => (server, client),
            };
            let ((), got_early) = tokio::join!(write_all(&mut closes, &early), read_all(&mut answers));
            tokio::time::sleep(Duration::from_secs(600)).await; // of virtual time
            let ((), got_late) = tokio::join!(write_all(&mut answers, &late), read_all(&mut closes));
            (got_early, got_late)
        })
        .await;
        assert!(got_early == (early, None), "{name}");
        assert!(got_late == (late, None), "{name}");
        assert_eq!(end, End::Closed(first), "{name}");
    }
}

#[tokio::test]
async fn the_server_answers_long_after_the_client_has_ended() {
    tokio::time::pause();
    half_closes::<TcpStream>(Side::Client).await;
    half_closes::<UnixStream>(Side::Client).await;
}

#[tokio::test]
async fn the_client_uploads_long_after_the_server_has_ended() {
    tokio::time::pause();
    half_closes::<TcpStream>(Side::Server).await;
    half_closes::<UnixStream>(Side::Server).await;
}

#[tokio::test]
async fn small_messages_pass_at_once_in_turn() {
    for (name, settings) in &METHODS {
        let ((), _, count) = play(settings, None, async |mut client: TcpStream, mut server: TcpStream| {
            for turn in 0..200_u32 {
                client.write_u32(turn).await.unwrap();
                assert_eq!(server.read_u32().await.unwrap(), turn, "{name}");
                server.write_u32(!turn).await.unwrap();
                assert_eq!(client.read_u32().await.unwrap(), !turn, "{name}");
            }
        })
        .await;
        assert_eq!(count.up.get(), 800, "{name}");
    }
}

#[tokio::test]
async fn a_stalled_reader_stops_the_sender_and_then_gets_all() {
    for (name, settings) in &METHODS {
        let sent = pattern(30_000_000, 3);
        let (got, _, count) = play(settings, None, async |mut client: TcpStream, mut server: TcpStream| {
            let stall = tokio::time::timeout(Duration::from_millis(300), server.write_all(&sent)).await;
            assert!(stall.is_err(), "{name}: 30 MB found room though nobody reads");
            drop(server);
            read_all(&mut client).await.0
        })
        .await;
        assert_eq!(got.len() as u64, count.down.get(), "{name}");
        assert!(sent.starts_with(&got), "{name}");
        assert!(got.len() > 100_000, "{name}");
    }
}

#[tokio::test]
async fn a_connection_without_a_byte_ends_in_order() {
    for (name, settings) in &METHODS {
        let (ends, end, count) = play(settings, None, async |client: TcpStream, mut server: TcpStream| {
            drop(client);
            read_all(&mut server).await
        })
        .await;
        assert_eq!(ends, (Vec::new(), None), "{name}");
        assert_eq!((end, count.up.get()), (End::Closed(Side::Client), 0), "{name}");
    }
}

#[tokio::test]
async fn idle_time_counts_from_the_last_byte_and_resets_both() {
    tokio::time::pause();
    let idle = Some(Duration::from_secs(60));
    for (name, settings) in &METHODS {
        let (errors, end, _) = play(settings, idle, async |mut client: TcpStream, mut server: TcpStream| {
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_secs(50)).await; // of virtual time
                server.write_all(b"alive").await.unwrap();
                client.read_exact(&mut [0; 5]).await.unwrap();
            }
            (read_all(&mut client).await.1, read_all(&mut server).await.1)
        })
        .await;
        let reset = Some(std::io::ErrorKind::ConnectionReset);
        assert_eq!((errors, end), ((reset, reset), End::Idle), "{name}");
    }
}

/// A unix peer that is closed, not only shut down, has still ended in order.
#[tokio::test]
async fn what_a_unix_peer_sent_before_it_closed_arrives_whole() {
    for (name, settings) in &METHODS {
        let sent = pattern(1_500_000, 7);
        let (got, end, _) = play(settings, None, async |mut client: UnixStream, mut server: UnixStream| {
            let send = async {
                server.write_all(&sent).await.unwrap();
                drop(server);
            };
            let receive = async {
                tokio::time::sleep(Duration::from_millis(50)).await; // a slow reader, so that the end comes first
                read_all(&mut client).await
            };
            tokio::join!(receive, send).0
        })
        .await;
        assert!(got == (sent, None), "{name}: {} bytes, {:?}", got.0.len(), got.1);
        assert_eq!(end, End::Closed(Side::Server), "{name}");
    }
}

/// While a slow reader takes what waits in the queues, the connection is not idle.
#[tokio::test]
async fn a_slow_reader_is_not_idle() {
    let sent = pattern(3_000_000, 8);
    let idle = Some(Duration::from_millis(400));
    let (got, _, _) = play(&METHODS[0].1, idle, async |mut client: TcpStream, mut server: TcpStream| {
        let read = async {
            let mut got = Vec::new();
            let mut buffer = vec![0; 100_000];
            loop {
                tokio::time::sleep(Duration::from_millis(50)).await; // the reader's pace
                match client.read(&mut buffer).await.unwrap() {
                    0 => return got,
                    count => got.extend_from_slice(&buffer[..count]),
                }
            }
        };
        tokio::join!(read, write_all(&mut server, &sent)).0
    })
    .await;
    assert!(got == sent, "{} of {} bytes", got.len(), sent.len());
}
