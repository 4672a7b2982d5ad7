//! Streams that break: all that came before arrives, and then a reset, never an end that looks whole.

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::rig::{METHODS, pattern, play, read_all, reset};
use crate::flow::{End, Side};

const RESET: Option<ErrorKind> = Some(ErrorKind::ConnectionReset);

/// The end that breaks and the one that is to learn of it.
fn cast(breaks: Side, client: TcpStream, server: TcpStream) -> (TcpStream, TcpStream) {
    match breaks {
        Side::Client => (client, server),
        Side::Server => (server, client),
    }
}

#[tokio::test]
async fn a_reset_arrives_after_the_bytes_before_it() {
    for breaks in [Side::Client, Side::Server] {
        for (name, settings) in &METHODS {
            for length in [0, 1, 5000, 300_000] {
                let sent = pattern(length, 4);
                let (got, end, _) = play(settings, None, async |client: TcpStream, server: TcpStream| {
                    let (mut breaking, mut other) = cast(breaks, client, server);
                    breaking.write_all(&sent).await.unwrap();
                    reset(breaking).await;
                    read_all(&mut other).await
                })
                .await;
                assert!(got == (sent, RESET), "{name}: {length} bytes and a reset by {breaks:?}");
                assert_eq!(end, End::Broken(breaks, ErrorKind::ConnectionReset), "{name}: {length}");
            }
        }
    }
}

/// The reader is slow, so that bytes wait in the pipe or the spill buffer, and in all queues, when the reset comes.
#[tokio::test]
async fn a_reset_behind_waiting_bytes_lets_them_pass() {
    for breaks in [Side::Client, Side::Server] {
        for (name, settings) in &METHODS {
            let sent = pattern(60_000_000, 5);
            let ((got, error, written), end, _) = play(settings, None, async |client, server| {
                let (mut breaking, mut other) = cast(breaks, client, server);
                let mut written = 0;
                while let Ok(count) =
                    tokio::time::timeout(Duration::from_millis(200), breaking.write(&sent[written..])).await
                {
                    written += count.unwrap();
                }
                // What has not left this end yet is lost by its own reset; all that did must arrive.
                let unsent = towpath_sys::stream::unacknowledged(breaking.as_fd()).unwrap();
                towpath_sys::options::reset_on_close(&breaking, true).unwrap();
                drop(breaking);
                let (got, error) = read_all(&mut other).await;
                (got, error, written - unsent)
            })
            .await;
            assert_eq!(error, RESET, "{name}");
            assert!(got.len() >= written, "{name}: {} of {written} bytes arrived", got.len());
            assert!(sent.starts_with(&got), "{name}");
            assert!(matches!(end, End::Broken(side, _) if side == breaks), "{name}");
        }
    }
}

#[tokio::test]
async fn a_reset_reaches_a_side_that_only_listens() {
    for breaks in [Side::Client, Side::Server] {
        for (name, settings) in &METHODS {
            let (got, end, _) = play(settings, None, async |client: TcpStream, server: TcpStream| {
                let (mut breaking, mut other) = cast(breaks, client, server);
                // The one that will break has ended its stream in order before: only its other half can break.
                breaking.shutdown().await.unwrap();
                assert_eq!(other.read(&mut [0; 1]).await.unwrap(), 0);
                reset(breaking).await;
                told_error(&other).await
            })
            .await;
            // A reset behind an end: the kernel's word for it (tcp_reset in net/ipv4/tcp_input.c).
            assert_eq!(got, ErrorKind::BrokenPipe, "{name}");
            assert!(matches!(end, End::Broken(side, _) if side == breaks), "{name}: {end:?}");
        }
    }
}

/// Waits for the error of a connection whose stream was read to its end, which no read tells.
async fn told_error(peer: &TcpStream) -> ErrorKind {
    loop {
        if let Some(error) = peer.take_error().unwrap() {
            return error.kind();
        }
        tokio::time::sleep(Duration::from_millis(1)).await; // no event tells of it alone
    }
}

/// A server that answers and closes while the client still uploads: the answer arrives whole, then the reset.
#[tokio::test]
async fn an_answer_arrives_though_the_upload_was_refused() {
    for (name, settings) in &METHODS {
        let answer = pattern(50_000, 6);
        let (got, end, _) = play(settings, None, async |mut client: TcpStream, mut server: TcpStream| {
            client.write_all(&[7; 100_000]).await.unwrap();
            server.read_exact(&mut [0; 10]).await.unwrap();
            server.write_all(&answer).await.unwrap();
            drop(server); // with bytes unread: the kernel makes it a reset
            // The client goes on uploading until it is told.
            client.write_all(&[7; 1000]).await.unwrap();
            read_all(&mut client).await
        })
        .await;
        assert_eq!((got.0.len(), got.1), (answer.len(), RESET), "{name}");
        assert!(got.0 == answer, "{name}");
        assert!(matches!(end, End::Broken(Side::Server, _)), "{name}");
    }
}

#[tokio::test]
async fn a_side_that_vanishes_while_the_other_is_stalled_resets_it_in_the_end() {
    for (name, settings) in &METHODS {
        let (error, end, _) = play(settings, None, async |mut client: TcpStream, mut server: TcpStream| {
            let flood = vec![9; 20_000_000];
            let _ = tokio::time::timeout(Duration::from_millis(200), client.write_all(&flood)).await;
            reset_now(client);
            // Only now the server reads: all that waits, and then the reset.
            read_all(&mut server).await.1
        })
        .await;
        assert_eq!(error, RESET, "{name}");
        assert!(matches!(end, End::Broken(Side::Client, _)), "{name}");
    }
}

fn reset_now(peer: TcpStream) {
    towpath_sys::options::reset_on_close(&peer, true).unwrap();
    drop(peer);
}
