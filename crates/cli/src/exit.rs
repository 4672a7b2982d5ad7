//! How the program ends: 0, 1 for a failure, 2 for bad usage or a bad configuration.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use towpath_config::Mistakes;
use towpath_control::{OrderError, StartError};

/// Exit code of a failure that is nobody's mistake.
const FAILURE: u8 = 1;
/// Exit code of bad usage or a bad configuration; clap's too.
const USAGE: u8 = 2;

/// Why the program ends early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A bad file: every mistake with its line.
    File(Mistakes),
    /// A bad argument, or something else for the user to mend, in one line.
    Usage(String),
    /// A signal during the start: none, but there is nothing to go on with.
    Interrupted,
    /// Anything else.
    Other(anyhow::Error),
}

impl Failure {
    /// Tells the user, and picks the exit code.
    pub(crate) fn report(self) -> ExitCode {
        match self {
            Self::File(mistakes) => {
                tell(mistakes.render(io::stderr().is_terminal()).trim_end());
                ExitCode::from(USAGE)
            }
            Self::Usage(message) => {
                tell(&format!("towpath: {message}"));
                ExitCode::from(USAGE)
            }
            Self::Interrupted => ExitCode::SUCCESS,
            Self::Other(error) => {
                tell(&format!("towpath: {error:#}"));
                ExitCode::from(FAILURE)
            }
        }
    }
}

/// Where the standard error is full or closed, the exit code has to do.
pub(crate) fn tell(message: &str) {
    let _ = writeln!(io::stderr(), "{message}");
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Interrupted(_) => {
                tracing::info!("{error}");
                Self::Interrupted
            }
            StartError::Io(error) => Self::Other(error.into()),
            error => Self::Usage(error.to_string()),
        }
    }
}

impl From<OrderError> for Failure {
    fn from(error: OrderError) -> Self {
        match error {
            OrderError::Unreachable { .. } => Self::Other(error.into()),
            OrderError::Refused(_) => Self::Usage(error.to_string()),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Other(error.into())
    }
}
