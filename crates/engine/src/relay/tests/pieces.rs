//! Streams that are written in pieces, with and without time between them.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::rig::{pattern, play, read_all, reset, settings};
use crate::flow::{End, Side};

const GAP: Duration = Duration::from_millis(5);

#[tokio::test]
async fn pieces_of_any_size_make_up_the_stream() {
    for bytes in [1, 7, 100, 65_535] {
        let length = bytes.min(1000) * 1000 + 3;
        let sent = pattern(length, bytes as u64);
        let method = settings(64 * 1024, Some(0)).cut(bytes, None);
        let (got, end, count) = play(&method, None, async |mut client: TcpStream, mut server: TcpStream| {
            client.write_all(&sent).await.unwrap();
            client.shutdown().await.unwrap();
            let got = read_all(&mut server).await;
            drop(server);
            got
        })
        .await;
        assert!(got == (sent, None), "pieces of {bytes}: {} of {length} bytes", got.0.len());
        assert_eq!(end, End::Closed(Side::Client), "pieces of {bytes}");
        assert_eq!((count.up.get(), count.down.get()), (length as u64, 0), "pieces of {bytes}");
    }
}

#[tokio::test]
async fn there_is_time_between_two_pieces_and_none_around_one() {
    for (length, gaps) in [(99, 0), (100, 0), (101, 1), (1000, 9)] {
        let sent = pattern(length, 1);
        let method = settings(64 * 1024, Some(0)).cut(100, Some(GAP));
        let began = Instant::now();
        let (got, end, _) = play(&method, None, async |mut client: TcpStream, mut server: TcpStream| {
            client.write_all(&sent).await.unwrap();
            client.shutdown().await.unwrap();
            let got = read_all(&mut server).await;
            drop(server);
            got
        })
        .await;
        let took = began.elapsed();
        assert!(got == (sent, None), "{length} bytes");
        assert_eq!(end, End::Closed(Side::Client), "{length} bytes");
        assert!(took >= GAP * gaps, "{length} bytes came in {took:?}");
    }
}

#[tokio::test]
async fn a_reset_behind_pieces_that_are_not_due_lets_them_pass() {
    let sent = pattern(2000, 2);
    let method = settings(64 * 1024, None).cut(100, Some(GAP));
    let (got, end, count) = play(&method, None, async |mut client: TcpStream, mut server: TcpStream| {
        client.write_all(&sent).await.unwrap();
        reset(client).await;
        read_all(&mut server).await
    })
    .await;
    assert_eq!((got.0.len(), got.1), (sent.len(), Some(std::io::ErrorKind::ConnectionReset)));
    assert!(got.0 == sent);
    assert!(matches!(end, End::Broken(Side::Client, _)), "{end:?}");
    assert_eq!(count.up.get(), 2000);
}
