//! Processes of a benchmark: started in a folder of their own, ended by their id, on every way out.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use tempfile::TempDir;

/// How long a process may take to listen, and then to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// A process that serves until it is dropped.
pub(super) struct Process {
    name: String,
    child: Child,
    folder: TempDir,
}

impl Process {
    /// Starts `command` with its messages kept in `folder`.
    pub(super) fn start(name: &str, command: &Command, folder: TempDir) -> Result<Process> {
        let log = File::create(folder.path().join("messages"))?;
        let child = tied(command)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Process { name: name.to_owned(), child, folder })
    }

    /// Waits until something listens at `address`. It does not try to connect: a forwarder would pass that on, and
    /// iperf3 takes a connection for the beginning of a test.
    ///
    /// # Errors
    ///
    /// When the process has ended, or nothing listens in time; with what the process said.
    pub(super) fn wait_for(mut self, address: SocketAddrV4) -> Result<Process> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended at once ({status}): {}", self.name, self.messages());
            }
            if is_listening(address)? {
                return Ok(self);
            }
            if start.elapsed() > PATIENCE {
                bail!("{} does not listen at {address}: {}", self.name, self.messages());
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn messages(&self) -> String {
        let text = fs::read_to_string(self.folder.path().join("messages")).unwrap_or_default();
        let start = text.char_indices().nth_back(600).map_or(0, |(index, _)| index);
        text[start..].trim().to_owned()
    }

    /// The ids of the process and of all that descend from it.
    pub(super) fn pids(&self) -> Vec<u32> {
        let mut pids = vec![self.child.id()];
        let parents = parents();
        let mut next = 0;
        while let Some(parent) = pids.get(next).copied() {
            pids.extend(parents.iter().filter(|(_, above)| *above == parent).map(|(pid, _)| *pid));
            next += 1;
        }
        pids
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let pids = self.pids();
        let signal = |pid: u32, signal: Signal| {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                // It may have ended by itself.
                let _ = kill_process(pid, signal);
            }
        };
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        signal(self.child.id(), Signal::TERM);
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        for pid in pids {
            signal(pid, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// Whether the kernel has a listening socket for `address`, or for its port on all addresses.
pub(crate) fn is_listening(address: SocketAddrV4) -> Result<bool> {
    const LISTEN: &str = "0A";
    let table = fs::read_to_string("/proc/net/tcp").context("cannot read /proc/net/tcp")?;
    let local = |ip: Ipv4Addr| format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), address.port());
    let wanted = [local(*address.ip()), local(Ipv4Addr::UNSPECIFIED)];
    Ok(table.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, state) = (fields.next().unwrap_or_default(), fields.nth(1).unwrap_or_default());
        state == LISTEN && wanted.iter().any(|wanted| wanted == local)
    }))
}

/// Every process with its parent.
fn parents() -> Vec<(u32, u32)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let stat = |pid: u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name before it may hold anything, brackets and blanks included.
        let parent = text.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
        Some((pid, parent))
    };
    entries.filter_map(|entry| stat(entry.file_name().to_str()?.parse().ok()?)).collect()
}

/// Runs a client to its end.
///
/// # Errors
///
/// When it fails, or takes longer than `limit`.
pub(super) fn run(name: &str, command: &Command, limit: Duration) -> Result<Output> {
    let mut bounded = Command::new("timeout");
    bounded
        .args(["-k", "1", &limit.as_secs().to_string()])
        .arg(command.get_program())
        .args(command.get_args());
    let output =
        tied(&bounded).stdin(Stdio::null()).output().with_context(|| format!("cannot start {name}"))?;
    if output.status.code() == Some(124) {
        bail!("{name} was not done after {} s", limit.as_secs());
    }
    if !output.status.success() {
        let text =
            String::from_utf8_lossy(if output.stderr.is_empty() { &output.stdout } else { &output.stderr });
        bail!("{name} failed ({}): {}", output.status, text.trim());
    }
    Ok(output)
}

/// `command`, made to end with us, even when we are killed.
fn tied(command: &Command) -> Command {
    let mut tied = Command::new("setpriv");
    tied.args(["--pdeathsig", "TERM", "--"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => tied.env(name, value),
            None => tied.env_remove(name),
        };
    }
    tied
}

/// A new folder, with `files` in it, that goes away with its process.
pub(super) fn folder(files: &[(&str, String)]) -> Result<TempDir> {
    let folder = tempfile::Builder::new().prefix("towpath-bench-").tempdir()?;
    for (name, text) in files {
        fs::write(folder.path().join(name), text)?;
    }
    Ok(folder)
}

/// A port that is free on every loopback address, below those that tests and the kernel give to others.
pub(super) fn free_port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 3_000 + (std::process::id() % 6_000) as u16;
    for _ in 0..1_000 {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed);
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port from {first} on")
}

/// Lets us and our children have as many descriptors as the machine allows, and says how many.
pub(super) fn raise_descriptor_limit() -> Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .context("cannot raise the limit of open files")?;
    Ok(limit.maximum.unwrap_or(u64::MAX))
}

/// The first line of what a program says to `words`, which ask for its version.
pub(super) fn version(program: &Path, words: &[&str]) -> String {
    let Ok(output) = Command::new(program).args(words).output() else {
        return "unknown".to_owned();
    };
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().next().unwrap_or("unknown").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_process_is_gone_with_its_children() {
        let mut command = Command::new("sh");
        command.args(["-c", "trap 'kill $!; exit' TERM; sleep 60 & echo ready >&2; wait"]);
        let process = Process::start("sh", &command, folder(&[]).unwrap()).unwrap();
        while process.messages() != "ready" {
            thread::yield_now();
        }
        let pids = process.pids();
        assert_eq!(pids.len(), 2, "{pids:?}");
        drop(process);
        assert!(parents().iter().all(|(pid, parent)| *pid != pids[0] && *parent != pids[0]));
    }

    #[test]
    fn a_process_that_fails_says_why() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such port >&2; exit 3"]);
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, free_port().unwrap());
        let process = Process::start("sh", &command, folder(&[]).unwrap()).unwrap();
        let error = process.wait_for(address).err().unwrap().to_string();
        assert!(error.contains("sh ended at once") && error.ends_with("no such port"), "{error}");
    }

    #[test]
    fn a_listening_socket_is_seen_without_connecting() {
        let port = free_port().unwrap();
        let address = |last| SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, last), port);
        assert!(!is_listening(address(2)).unwrap());
        let one = TcpListener::bind(address(2)).unwrap();
        assert!(is_listening(address(2)).unwrap() && !is_listening(address(3)).unwrap());
        drop(one);
        let _all = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
        assert!(is_listening(address(3)).unwrap());
    }

    #[test]
    fn a_client_that_hangs_is_ended() {
        let mut command = Command::new("sleep");
        command.arg("60");
        let error = run("sleep", &command, Duration::from_secs(1)).err().unwrap().to_string();
        assert_eq!(error, "sleep was not done after 1 s");
    }
}
