//! The binary as a child: started, waited for, watched and ended.

use std::ffi::OsStr;
use std::fs;
use std::ops::{Deref, DerefMut};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::lines::Lines;
use super::turns::Turn;
use super::{PATIENCE, peers, proc, wait_for};

/// The binary under test: the one of the environment, or the one that cargo built with the test.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("TOWPATH_BIN").map_or_else(|| env!("CARGO_BIN_EXE_towpath").into(), PathBuf::from)
}

/// towpath with `arguments`, free of what the environment would tell it.
pub(crate) fn command<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = clean(Command::new(binary()));
    command.args(arguments);
    command
}

/// The same, started by another program that takes the rest of its arguments for a command.
pub(crate) fn command_under(words: &[&str], arguments: &[&str]) -> Command {
    let mut command = clean(Command::new(words[0]));
    command.args(&words[1..]).arg(binary()).args(arguments);
    command
}

fn clean(mut command: Command) -> Command {
    for name in
        ["TOWPATH_WORKERS", "TOWPATH_LOG", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET"]
    {
        command.env_remove(name);
    }
    command.env_remove("RUST_BACKTRACE").stdin(Stdio::null());
    command
}

/// A child that is killed when it is dropped, unless it has ended.
pub(crate) struct Guarded(Child);

impl Guarded {
    pub(crate) fn spawn(command: &mut Command) -> Self {
        Self(command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}")))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).expect("it runs");
    }

    /// Waits until it has ended.
    pub(crate) fn wait(mut self) -> ExitStatus {
        wait_for("end of the child", || self.0.try_wait().unwrap())
    }
}

impl Deref for Guarded {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Guarded {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // It may have ended by now.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running towpath. Dropped, it is killed; a panic of it fails the test.
pub(crate) struct Towpath {
    child: Child,
    pub(crate) stdout: Lines,
    pub(crate) stderr: Lines,
    has_ended: bool,
    folder: TempDir,
    _turn: Option<Turn>,
}

/// What a towpath that has ended leaves.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) records: Vec<Record>,
    pub(crate) stderr: String,
}

/// The record of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Record(pub(crate) Value);

impl Towpath {
    /// `towpath tcp LISTEN TARGET` with more flags.
    pub(crate) fn tcp(listen: &str, target: &str, flags: &[&str]) -> Self {
        let arguments = ["tcp", listen, target, "--log-format", "json"];
        Self::start(command(arguments.iter().chain(flags)))
    }

    /// `towpath run` with a file of this text.
    pub(crate) fn file(text: &str) -> Self {
        Self::file_as(text, Some(Turn::shared()))
    }

    /// The same within a turn that was taken before.
    pub(crate) fn file_as(text: &str, turn: Option<Turn>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("towpath.toml");
        fs::write(&file, text).unwrap();
        let mut command = command([OsStr::new("run"), file.as_os_str()]);
        command.args(["--log-format", "json"]);
        Self::start_as(command, Stdio::piped(), folder, turn)
    }

    /// Runs `command` and waits until it tells its supervisor that it is ready.
    pub(crate) fn start(command: Command) -> Self {
        Self::start_as(command, Stdio::piped(), tempfile::tempdir().unwrap(), Some(Turn::shared()))
    }

    /// The same within a turn that the test holds.
    pub(crate) fn start_alone(command: Command) -> Self {
        Self::start_as(command, Stdio::piped(), tempfile::tempdir().unwrap(), None)
    }

    /// The same with the standard output elsewhere.
    pub(crate) fn start_with_stdout(command: Command, stdout: Stdio) -> Self {
        Self::start_as(command, stdout, tempfile::tempdir().unwrap(), Some(Turn::shared()))
    }

    fn start_as(mut command: Command, stdout: Stdio, folder: TempDir, turn: Option<Turn>) -> Self {
        let notify = folder.path().join("notify");
        let ready = UnixDatagram::bind(&notify).unwrap();
        ready.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        command.env("NOTIFY_SOCKET", &notify).stdout(stdout).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let stdout = child.stdout.take().map_or_else(Lines::none, Lines::read);
        let stderr = Lines::read(child.stderr.take().unwrap());
        let mut towpath = Self { child, stdout, stderr, has_ended: false, folder, _turn: turn };
        wait_for("READY=1", || {
            let status = towpath.child.try_wait().unwrap();
            assert!(status.is_none(), "it ended with {status:?}: {:#?}", towpath.stderr.all());
            let mut message = [0; 256];
            let count = ready.recv(&mut message).ok()?;
            String::from_utf8_lossy(&message[..count]).contains("READY=1").then_some(())
        });
        towpath
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A folder of its own, gone with it.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("towpath runs");
    }

    /// Does `what` while none of its threads run, so that all of it has happened when towpath first looks.
    pub(crate) fn while_stopped<T>(&self, what: impl FnOnce() -> T) -> T {
        self.signal(Signal::STOP);
        wait_for("stop of all threads", || proc::is_stopped(self.child.id()).then_some(()));
        let done = what();
        self.signal(Signal::CONT);
        done
    }

    /// Waits until `count` connections have left their records, and returns all so far.
    pub(crate) fn records(&self, count: usize) -> Vec<Record> {
        let lines = self
            .stdout
            .wait(&format!("{count} records"), |lines| (lines.len() >= count).then(|| lines.to_vec()));
        parse(&lines)
    }

    /// Waits until the only connection has left its record.
    pub(crate) fn record(&self) -> Record {
        let records = self.records(1);
        assert_eq!(records.len(), 1, "one record for one connection: {records:?}");
        records.into_iter().next().unwrap()
    }

    /// Ends it with SIGTERM and expects it to end well, with `count` records in all.
    pub(crate) fn stop(self, count: usize) -> Vec<Record> {
        self.signal(Signal::TERM);
        self.stop_drained(count)
    }

    /// The same where it has got the signal before.
    pub(crate) fn stop_drained(self, count: usize) -> Vec<Record> {
        let ended = self.wait();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
        assert_eq!(ended.records.len(), count, "one record for each connection: {:#?}", ended.records);
        ended.records
    }

    /// Waits until it has ended of itself.
    pub(crate) fn wait(mut self) -> Ended {
        let child = &mut self.child;
        let status = wait_for("end of towpath", || child.try_wait().unwrap());
        self.has_ended = true;
        let records = parse(&self.stdout.all());
        Ended { status, records, stderr: self.stderr.all().join("\n") }
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Towpath {
    fn drop(&mut self) {
        if !self.has_ended {
            // It may have ended by now.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let stderr = self.stderr.all().join("\n");
        if thread::panicking() {
            eprintln!("--- the standard error of towpath:\n{stderr}\n---");
        } else {
            assert!(!stderr.contains("panicked"), "{stderr}");
        }
    }
}

fn parse(lines: &[String]) -> Vec<Record> {
    let parse =
        |line: &String| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
    lines.iter().map(parse).map(Record).collect()
}

impl Record {
    pub(crate) fn text(&self, key: &str) -> &str {
        self.0[key].as_str().unwrap_or_default()
    }

    /// Bytes up and down.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.0["up_bytes"].as_u64().expect("up_bytes"), self.0["down_bytes"].as_u64().expect("down_bytes"))
    }

    /// Stage and reason of the end, as in `relay: client closed`.
    pub(crate) fn end(&self) -> String {
        format!("{}: {}", self.text("stage"), self.text("end"))
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.0["duration_seconds"].as_f64().expect("duration_seconds")
    }
}

/// Runs a towpath that is to end of itself: its exit code, standard output and standard error.
pub(crate) fn output(command: Command) -> (Option<i32>, String, String) {
    let _turn = Turn::shared();
    let ended = peers::run(command, PATIENCE);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    assert_eq!(ended.status.signal(), None, "{}", ended.stderr);
    (ended.status.code(), ended.stdout, ended.stderr)
}
