//! Messages of the program itself, on the standard error.

use std::io::{self, IsTerminal};

use towpath_config::LogFormat;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Messages that may wait to be written; more are dropped.
const WAITING_MESSAGES: usize = 4096;

/// Messages go to the standard error in `format`; TOWPATH_LOG chooses which (`warn`, `debug`, …), info and above else.
/// A thread of their own writes them, so that a full disk or a stopped reader stops no connection. Those that wait are
/// written when the guard is dropped.
pub(crate) fn start(format: LogFormat) -> WorkerGuard {
    let filter = EnvFilter::try_from_env("TOWPATH_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let queue = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(WAITING_MESSAGES);
    let (writer, guard) = queue.thread_name("messages").finish(io::stderr());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_target(false);
    // A second start, in one process, keeps the first.
    let _ = match format {
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    guard
}
