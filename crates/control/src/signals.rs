//! The signals that end an instance, and the one that has it load its configuration again.

use std::future::pending;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT, which mean the same, and SIGHUP where it is taken.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Option<Signal>,
}

impl Signals {
    /// From here on they no longer end the process by themselves, but for SIGHUP. Within a tokio runtime.
    ///
    /// # Errors
    /// What sigaction(2) says.
    pub(crate) fn new() -> io::Result<Self> {
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt, hangup: None })
    }

    /// SIGHUP does not end the process any more either.
    ///
    /// # Errors
    /// What sigaction(2) says.
    pub(crate) fn take_reloads(&mut self) -> io::Result<()> {
        self.hangup = Some(signal(SignalKind::hangup())?);
        Ok(())
    }

    /// Waits for SIGTERM or SIGINT and tells its name.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// Waits for any of them; `None` is SIGHUP.
    pub(crate) async fn any(&mut self) -> Option<&'static str> {
        let Self { terminate, interrupt, hangup } = self;
        let reload = async {
            match hangup {
                Some(hangup) => drop(hangup.recv().await),
                None => pending().await,
            }
        };
        tokio::select! {
            _ = terminate.recv() => Some("SIGTERM"),
            _ = interrupt.recv() => Some("SIGINT"),
            () = reload => None,
        }
    }
}
