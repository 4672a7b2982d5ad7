//! The two ends of a tunnel, the near one here and the far one in the far namespace.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::PATIENCE;
use crate::bench::{cpu_seconds, is_listening};

/// Where both listen, each in its namespace.
const FAR_PORT: u16 = 7000;
const NEAR_PORT: u16 = 7001;

/// What an end has used.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) cpu_seconds: f64,
    /// The most memory that it has held, in bytes.
    pub(crate) peak_bytes: u64,
}

/// Both ends, for as long as this lives.
pub(super) struct Ends {
    /// Where the near one takes clients.
    pub(super) listen: SocketAddrV4,
    near: Child,
    far: Child,
    _folder: TempDir,
}

/// A command in the far namespace, or here where there is none.
pub(super) fn in_far(program: &Path) -> Command {
    let Ok(namespace) = std::env::var("WAN_FAR") else { return Command::new(program) };
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &namespace]).arg(program);
    command
}

impl Ends {
    /// Starts both, for clients that go to `port` on the far side.
    pub(super) fn start(towpath: &Path, url: &str, port: u16) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let key = folder.path().join("key").display().to_string();
        let made = Command::new(towpath).args(["tunnel", "--new-key", &key]).status();
        if !made.with_context(|| format!("cannot start {}", towpath.display()))?.success() {
            bail!("{} makes no key", towpath.display());
        }
        let listen = SocketAddrV4::new(Ipv4Addr::LOCALHOST, NEAR_PORT);
        let mut far = in_far(towpath);
        far.args(["tunnel", &format!("0.0.0.0:{FAR_PORT}"), "--key-file", &key, "--no-records"]);
        far.args(["--allow-dest", "127.0.0.0/8"]).stdout(Stdio::null());
        let far = far.spawn().context("cannot start the far end")?;
        let mut near = Command::new(towpath);
        let url = format!("{url}{}key-file={key}", if url.contains('?') { '&' } else { '?' });
        near.args(["tcp", &listen.to_string(), &format!("127.0.0.1:{port}"), "--via", &url]);
        near.args(["--no-records", "--connect-timeout", "10s"]).stdout(Stdio::null());
        let near = near.spawn().context("cannot start the near end")?;
        let ends = Self { listen, near, far, _folder: folder };
        let end = Instant::now() + PATIENCE;
        // The far end is ready before the first lane comes, or the lane comes again.
        while !is_listening(listen)? {
            if Instant::now() > end {
                bail!("the near end does not listen");
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(ends)
    }

    /// What the near and the far end have used.
    pub(super) fn measure(&self) -> Result<[Measured; 2]> {
        let measure = |child: &Child| -> Result<Measured> {
            let path = format!("/proc/{}/status", child.id());
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let peak = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            let peak_bytes = 1024 * peak.with_context(|| format!("no VmHWM in {path}"))?;
            Ok(Measured { cpu_seconds: cpu_seconds(&[child.id()])?, peak_bytes })
        };
        Ok([measure(&self.near)?, measure(&self.far)?])
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        for child in [&mut self.near, &mut self.far] {
            // It may have ended; the second time it ends at once.
            for _ in 0..2 {
                let _ = kill_process(Pid::from_child(child), Signal::TERM);
                thread::sleep(Duration::from_millis(50));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
