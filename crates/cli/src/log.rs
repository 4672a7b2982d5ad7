//! Messages of the program itself, on the standard error.

use std::io::{self, IsTerminal};

use towpath_config::LogFormat;
use tracing_subscriber::EnvFilter;

/// Messages go to the standard error in `format`; TOWPATH_LOG chooses which (`warn`, `debug`, …), info and above else.
pub(crate) fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_env("TOWPATH_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_target(false);
    // A second start, in one process, keeps the first.
    let _ = match format {
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}
