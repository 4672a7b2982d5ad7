//! Real programs as children: servers that run for as long as a test, and clients that run to their end.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::lines::Lines;
use super::{net, wait_for};

/// `name` as a command; fails where it is not installed.
pub(crate) fn program(name: &str) -> Command {
    Command::new(path_of(name))
}

/// The path of a program, also of those that only root has in the PATH.
pub(crate) fn path_of(name: &str) -> PathBuf {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/local/sbin:/usr/sbin:/sbin";
    let found = path.split(':').map(|folder| Path::new(folder).join(name)).find(|path| path.is_file());
    found
        .unwrap_or_else(|| panic!("{name} is not installed: `cargo xtask test` installs what the tests need"))
}

/// A server that runs until it is dropped.
pub(crate) struct Program {
    child: Child,
    name: String,
    log: PathBuf,
    stop: Signal,
}

impl Program {
    /// Starts `command`; what it prints goes to a file in `folder`.
    pub(crate) fn start(mut command: Command, folder: &Path) -> Self {
        let name = Path::new(command.get_program()).file_name().unwrap().to_string_lossy().into_owned();
        let log = folder.join(format!("{name}.log"));
        let output = File::create(&log).unwrap();
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        Self { child, name, log, stop: Signal::TERM }
    }

    /// Has it stopped with another signal than SIGTERM.
    pub(crate) fn stopped_with(mut self, signal: Signal) -> Self {
        self.stop = signal;
        self
    }

    /// Waits until it takes connections on a port of 127.0.0.1.
    pub(crate) fn listening_on(mut self, port: u16) -> Self {
        wait_for(&format!("{} on port {port}", self.name), || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("{} ended with {status}: {}", self.name, self.output());
            }
            net::try_connect(("127.0.0.1", port)).ok()
        });
        self
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// Waits until it has ended of itself, or after a signal.
    pub(crate) fn wait(&mut self) {
        wait_for(&format!("end of {}", self.name), || self.child.try_wait().unwrap());
    }

    /// What it has printed.
    pub(crate) fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Stops it and waits until it is gone.
    pub(crate) fn stop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let _ = kill_process(Pid::from_child(&self.child), self.stop);
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        while self.child.try_wait().is_ok_and(|status| status.is_none()) {
            if Instant::now() > deadline {
                let _ = self.child.kill();
            }
            std::thread::yield_now();
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            eprintln!("--- the output of {}:\n{}\n---", self.name, self.output());
        }
    }
}

/// What a program may take that has to succeed.
const LONG: Duration = Duration::from_secs(120);

/// What a program that has run to its end leaves.
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs `command` to its end, which must come within `limit`.
pub(crate) fn run(command: Command, limit: Duration) -> Ran {
    run_with(command, Stdio::null(), limit)
}

fn run_with(mut command: Command, stdin: Stdio, limit: Duration) -> Ran {
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let mut stdout = Lines::read(child.stdout.take().unwrap());
    let mut stderr = Lines::read(child.stderr.take().unwrap());
    let deadline = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{command:?} does not end: {:#?} {:#?}", stdout.so_far(), stderr.so_far());
        }
        // sleep: the gap between two looks; no event tells that a child has ended.
        std::thread::sleep(Duration::from_millis(2));
    };
    Ran { status, stdout: stdout.all().join("\n"), stderr: stderr.all().join("\n") }
}

/// The same for one that must succeed; returns its standard output.
pub(crate) fn run_well(command: Command) -> String {
    let words = format!("{command:?}");
    let Ran { status, stdout, stderr } = run(command, LONG);
    assert!(status.success(), "{words}: {status}\n{stdout}\n{stderr}");
    stdout
}

/// The same for one that reads a file.
pub(crate) fn run_well_with_input(command: Command, input: &Path) -> String {
    let words = format!("{command:?}");
    let Ran { status, stdout, stderr } = run_with(command, File::open(input).unwrap().into(), LONG);
    assert!(status.success(), "{words}: {status}\n{stdout}\n{stderr}");
    stdout
}
