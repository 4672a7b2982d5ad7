//! One running towpath: from a configuration to sockets, workers and records, until a signal ends it.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::available_parallelism;

use sd_notify::NotifyState;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::time::sleep;
use towpath_config::Config;
use towpath_engine::{BindError, Engine, ResolveError, Totals};
use towpath_wire::addr::Target;

use crate::descriptors;
use crate::prepare::prepare;
use crate::records::Recorder;
use crate::signals::Signals;

/// A started instance.
#[derive(Debug)]
pub struct Instance {
    config: Arc<Config>,
    runtime: LocalRuntime,
    signals: Signals,
    engine: Engine,
    recorder: Option<Recorder>,
}

/// Why an instance did not start. All but `Interrupted` and `Io` are for the user to mend in what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address that cannot be bound, with what to do.
    #[error("{error}; {hint}")]
    Bind {
        /// Which address, and what the kernel said.
        error: BindError,
        /// What to do.
        hint: String,
    },
    /// A name of the configuration that does not exist.
    #[error("pool {pool}: {error}; check the spelling, or the name servers in /etc/resolv.conf or [dns]")]
    NoSuchHost {
        /// The pool of the backend.
        pool: Arc<str>,
        /// Which name.
        error: ResolveError,
    },
    /// A listener that would feed itself.
    #[error(
        "listener {listener} would forward to itself: its target {target} leads back to it; change one of the two"
    )]
    Loop {
        /// The listener.
        listener: Arc<str>,
        /// The backend.
        target: Target,
    },
    /// Listeners that would feed one another.
    #[error("listeners forward in a circle: {circle}; change the target of one of them")]
    Circle {
        /// Each with its address, the first again at the end.
        circle: String,
    },
    /// A signal came first.
    #[error("{0}: ended before the start was over")]
    Interrupted(&'static str),
    /// The machine has not what it takes.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Instance {
    /// Binds what `config` wants, or takes the sockets that the process was started with, and starts the workers.
    ///
    /// # Errors
    /// What stands in the way; nothing runs then.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let config = Arc::new(config);
        let workers = config.workers.or_else(|| available_parallelism().ok()).map_or(1, NonZeroUsize::get);
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
        let (signals, bound) = runtime.block_on(async {
            // Before anybody can know that this runs, and take it for running.
            let mut signals = Signals::new()?;
            tokio::select! {
                bound = prepare(&config, workers) => Ok((signals, bound?)),
                name = signals.next() => Err(StartError::Interrupted(name)),
            }
        })?;
        let limits = descriptors::limits(workers, config.max_connections)?;
        let recorder = config.log.records.then(|| Recorder::start(config.log.format)).transpose()?;
        let records = recorder.as_ref().map(Recorder::sink);
        let engine = Engine::start(config.clone(), bound, workers, limits, records).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot start a worker thread: {error}"))
        })?;
        tracing::debug!("{workers} workers, at most {} connections", limits.max_connections);
        Ok(Self { config, runtime, signals, engine, recorder })
    }

    /// What has been carried so far.
    pub fn totals(&self) -> Totals {
        self.engine.totals()
    }

    /// Serves until SIGTERM or SIGINT, then finishes what is live, up to the drain timeout or a second signal.
    ///
    /// # Errors
    /// When a worker fails.
    pub fn run(self) -> io::Result<()> {
        let Self { config, runtime, mut signals, mut engine, recorder } = self;
        let result = runtime.block_on(async {
            // Without a supervisor there is nobody to tell.
            let _ = sd_notify::notify(&[NotifyState::Ready]);
            tokio::select! {
                name = signals.next() => tracing::info!("{name}: draining"),
                _ = engine.worker_ended() => {
                    engine.end();
                    return Err(io::Error::other("a worker has ended early"));
                }
            }
            let _ = sd_notify::notify(&[NotifyState::Stopping]);
            drain(&config, &mut engine, &mut signals).await;
            Ok(())
        });
        let joined = engine.join();
        if let Some(recorder) = recorder {
            recorder.finish();
        }
        // A worker's own error says more than that it has ended.
        joined.and(result)
    }

    /// Stops at once; what is live is reset.
    ///
    /// # Errors
    /// When a worker has failed.
    pub fn stop(self) -> io::Result<()> {
        self.engine.end();
        let joined = self.engine.join();
        if let Some(recorder) = self.recorder {
            recorder.finish();
        }
        joined
    }
}

async fn drain(config: &Config, engine: &mut Engine, signals: &mut Signals) {
    let live = engine.totals().live();
    if live > 0 {
        let limit = config.drain_timeout;
        let count = connections(live);
        tracing::info!("waiting up to {limit:?} for {count} to end; a second signal ends at once");
    }
    engine.drain();
    let all_ended = async { while engine.worker_ended().await > 0 {} };
    let cut = tokio::select! {
        () = all_ended => return,
        name = signals.next() => name,
        () = sleep(config.drain_timeout) => "drain timeout",
    };
    match engine.totals().live() {
        0 => tracing::info!("{cut}: ending"),
        live => tracing::warn!("{cut}: resetting {}", connections(live)),
    }
    engine.end();
}

fn connections(count: u64) -> String {
    if count == 1 { "1 connection".to_owned() } else { format!("{count} connections") }
}
