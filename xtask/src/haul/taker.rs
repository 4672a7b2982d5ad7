//! What takes bytes in the far namespace, or answers questions.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener};

use anyhow::Result;
use clap::ValueEnum;

use super::{Arrivals, micros};

/// What has come is noted so often, in microseconds.
const NOTES: u64 = 20_000;

/// Take what one connection brings, and print how much had come by when
#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(value_enum)]
    how: How,
    port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum How {
    /// Counts bytes.
    Bytes,
    /// Answers the first byte of each connection.
    Answers,
}

/// Serves on all addresses; says so with one byte.
///
/// # Errors
///
/// When it cannot listen or print.
pub(crate) fn run(args: &Args) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, args.port))?;
    let mut output = io::stdout().lock();
    output.write_all(b"\n").and_then(|()| output.flush())?;
    if args.how == How::Answers {
        for stream in listener.incoming() {
            let mut stream = stream?;
            // Who asks may have gone.
            let _ = stream.read_exact(&mut [0]).and_then(|()| stream.write_all(b"!"));
        }
        return Ok(());
    }
    let (mut stream, _) = listener.accept()?;
    let mut chunk = vec![0; 1 << 20];
    let (mut arrivals, mut count) = (Arrivals(vec![(micros(), 0)]), 0);
    // It is reset in the end.
    while let Ok(read @ 1..) = stream.read(&mut chunk) {
        count += read as u64;
        let now = micros();
        if arrivals.0.last().is_none_or(|(noted, _)| now >= noted + NOTES) {
            arrivals.0.push((now, count));
        }
    }
    writeln!(output, "{}", serde_json::to_string(&arrivals)?)?;
    Ok(())
}
