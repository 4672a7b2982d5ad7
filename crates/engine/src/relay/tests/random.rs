//! Random schedules of writes, pauses, ends and resets on both sides.

use std::io::ErrorKind;
use std::time::Duration;

use proptest::prelude::*;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::rig::{METHODS, pattern, play, read_all, reset};
use crate::flow::{End, Side};

#[derive(Clone, Debug)]
enum Step {
    Write(usize),
    Pause(u64),
}

/// What one side does, and how it ends.
#[derive(Clone, Debug)]
struct Script {
    steps: Vec<Step>,
    resets: bool,
}

fn script(may_reset: bool) -> impl Strategy<Value = Script> {
    let length = prop_oneof![1..100_usize, 1000..70_000_usize, 60_000..600_000_usize];
    let step = prop_oneof![4 => length.prop_map(Step::Write), 1 => (0..8_u64).prop_map(Step::Pause)];
    (proptest::collection::vec(step, 0..12), proptest::bool::weighted(if may_reset { 0.4 } else { 0.0 }))
        .prop_map(|(steps, resets)| Script { steps, resets })
}

/// Plays the script; returns all bytes that were meant to be written, and what was read.
async fn act(peer: TcpStream, script: &Script, seed: u64) -> (Vec<u8>, Option<(Vec<u8>, Option<ErrorKind>)>) {
    let length = script.steps.iter().map(|step| if let Step::Write(bytes) = step { *bytes } else { 0 }).sum();
    let all = pattern(length, seed);
    if script.resets {
        let mut peer = peer;
        write(&mut peer, script, &all).await;
        reset(peer).await;
        return (all, None);
    }
    let (mut reads, mut writes) = peer.into_split();
    let ((got, read_error), write_error) = tokio::join!(read_all(&mut reads), async {
        let error = write(&mut writes, script, &all).await;
        error.or(writes.shutdown().await.err().map(|error| error.kind()))
    });
    // The kernel tells of a reset once, to whoever calls first; a shutdown after it only finds nobody.
    let reset = [read_error, write_error].into_iter().flatten().next().map(|_| ErrorKind::ConnectionReset);
    (all, Some((got, reset)))
}

async fn write(
    to: &mut (impl tokio::io::AsyncWrite + Unpin),
    script: &Script,
    all: &[u8],
) -> Option<ErrorKind> {
    let mut left = all;
    for step in &script.steps {
        match step {
            Step::Pause(millis) => tokio::time::sleep(Duration::from_millis(*millis)).await, // part of the schedule
            Step::Write(bytes) => {
                let (now, later) = left.split_at(*bytes);
                left = later;
                if let Err(error) = to.write_all(now).await {
                    return Some(error.kind()); // the other side has reset
                }
            }
        }
    }
    None
}

fn cases() -> u32 {
    if std::env::var_os("TOWPATH_NIGHTLY").is_some() { 2000 } else { 150 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    /// At most one side resets, and it reads nothing before: what it wrote must arrive whole, and then the reset. A
    /// side that ends in order gets a beginning of what the other wrote, all of it unless one reset.
    #[test]
    fn every_byte_in_order_and_both_sides_end_alike(
        method in 0..METHODS.len(),
        up in script(true),
        down in script(true),
        seed in any::<u64>(),
    ) {
        let down = Script { resets: down.resets && !up.resets, ..down };
        let (name, settings) = &METHODS[method];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let ((client, server), end, count) = runtime.block_on(play(settings, None, async |client, server| {
            tokio::join!(act(client, &up, seed), act(server, &down, !seed))
        }));
        for (side, (wrote, _), (_, read), resets) in
            [(Side::Client, &client, &server, up.resets), (Side::Server, &server, &client, down.resets)]
        {
            let Some((got, error)) = read else { continue };
            prop_assert!(wrote.starts_with(got), "{name}: bytes of {side:?} are out of order");
            if resets {
                prop_assert_eq!(got.len(), wrote.len(), "{}: bytes before the reset are missing", name);
                prop_assert_eq!(*error, Some(ErrorKind::ConnectionReset), "{}", name);
                prop_assert!(matches!(end, End::Broken(broke, _) if broke == side), "{}: {:?}", name, end);
            } else if !up.resets && !down.resets {
                prop_assert_eq!((got.len(), *error), (wrote.len(), None), "{}", name);
                prop_assert!(matches!(end, End::Closed(_)), "{}: {:?}", name, end);
            }
        }
        let no_reset = !up.resets && !down.resets;
        prop_assert!(!no_reset || count.up.get() == client.0.len() as u64, "{name}: miscounted");
    }
}
