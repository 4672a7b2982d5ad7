//! Messages of the program itself, on the standard error.

use std::env;
use std::io::{self, IsTerminal};

use towpath_config::LogFormat;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// What is told where nobody asks for more or less.
pub(crate) const USUAL: &str = "info";

/// Messages that may wait to be written; more are dropped.
const WAITING_MESSAGES: usize = 4096;

/// Messages go to the standard error in `format`; TOWPATH_LOG chooses which (`warn`, `debug`, …), `usual` and above else.
/// A thread of their own writes them, so that a full disk or a stopped reader stops no connection. Those that wait are
/// written when the guard is dropped.
pub(crate) fn start(format: LogFormat, usual: &str) -> WorkerGuard {
    let (filter, invalid) = match wanted(usual) {
        Ok(filter) => (filter, None),
        Err(text) => (EnvFilter::new(usual), Some(text)),
    };
    let queue = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(WAITING_MESSAGES);
    let (writer, guard) = queue.thread_name("messages").finish(io::stderr());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_target(false);
    // A second start, in one process, keeps the first.
    let _ = match format {
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    if let Some(text) = invalid {
        tracing::warn!(
            "TOWPATH_LOG={text:?} is no level; {usual} is used, of off, error, warn, info, debug and trace"
        );
    }
    guard
}

/// What TOWPATH_LOG says, or its text where that makes no sense. A lone word must be a level: as the name of a module,
/// which it could be too, it would silence everything.
fn wanted(usual: &str) -> Result<EnvFilter, String> {
    let text = env::var_os("TOWPATH_LOG").unwrap_or_default().to_string_lossy().into_owned();
    let text = if text.is_empty() { usual.to_owned() } else { text };
    let sensible = text.contains(['=', ',']) || text.parse::<LevelFilter>().is_ok();
    let filter = EnvFilter::try_new(&text).ok().filter(|_| sensible);
    filter.ok_or(text)
}
