//! One running towpath: from a configuration to sockets, workers and records, and to the next configuration, until a
//! signal ends it.

use std::future::pending;
use std::io;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::available_parallelism;

use sd_notify::NotifyState;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::watch;
use tokio::time::sleep;
use towpath_config::Config;
use towpath_engine::{BindError, Engine, TlsError, Totals};

use crate::admin::{Order, Orders, Wants};
use crate::descriptors;
use crate::discover::DiscoverError;
use crate::explain::explain;
use crate::keeper::Keeper;
use crate::layout::Layout;
use crate::prepare::{Prepared, prepare};
use crate::records::Recorder;
use crate::reload::{Again, summary};
use crate::signals::Signals;

/// A started instance.
#[derive(Debug)]
pub struct Instance {
    runtime: LocalRuntime,
    live: Live,
}

/// All of an instance but the event loop that it runs in.
#[derive(Debug)]
struct Live {
    config: Arc<Config>,
    signals: Signals,
    engine: Engine,
    recorder: Option<Recorder>,
    keeper: Keeper,
    running: watch::Sender<Arc<Layout>>,
    workers: usize,
    again: Option<Again>,
    orders: Option<Orders>,
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
    /// Backends that cannot be found.
    #[error("pool {pool}: {error}")]
    Discover {
        /// Their pool.
        pool: Arc<str>,
        /// What stands against it.
        error: DiscoverError,
    },
    /// The socket on which orders are taken cannot be bound.
    #[error("[admin] socket {}: {error}", path.display())]
    Admin {
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// Clients' addresses that may not be connected from.
    #[error(
        "pool {pool}: source = \"client\" needs the capability CAP_NET_ADMIN: run as root, or \
         `setcap cap_net_admin=+ep` on the towpath binary"
    )]
    Foreign {
        /// The pool that wants them.
        pool: Arc<str>,
    },
    /// Certificates or keys that cannot be used.
    #[error("{what}: tls: {error}")]
    Tls {
        /// Whose.
        what: String,
        /// What is wrong with them.
        error: Box<TlsError>,
    },
    /// Options of sockets that the kernel does not take.
    #[error("{what}: {why}")]
    Segments {
        /// Whose.
        what: String,
        /// What stands against them.
        why: String,
    },
    /// Users of a proxy whose lines are not understood.
    #[error("{what}: users:\n  {faults}")]
    Users {
        /// Whose.
        what: String,
        /// What is wrong, a line each.
        faults: String,
    },
    /// A listener that would feed itself.
    #[error(
        "listener {listener} would forward to itself: its target {target} leads back to it; change one of the two"
    )]
    Loop {
        /// The listener.
        listener: Arc<str>,
        /// The backend.
        target: Arc<str>,
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

/// Why all is as it was before a reload.
enum NotReloaded {
    /// What stands against it.
    Refused(String),
    /// A signal to end came first.
    Signal(&'static str),
}

impl From<String> for NotReloaded {
    fn from(why: String) -> Self {
        Self::Refused(why)
    }
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
        let nothing = Layout::default();
        let (signals, prepared) = runtime.block_on(async {
            // Before anybody can know that this runs, and take it for running.
            let mut signals = Signals::new()?;
            tokio::select! {
                prepared = prepare(&config, &nothing, |_| false, workers) => Ok((signals, prepared?)),
                name = signals.next() => Err(StartError::Interrupted(name)),
            }
        })?;
        let orders = config.admin.as_ref().map(|admin| Orders::start(admin, &runtime)).transpose()?;
        let limits = descriptors::limits(workers, config.max_connections)?;
        let recorder = config.log.records.then(|| Recorder::start(config.log.format)).transpose()?;
        let records = recorder.as_ref().map(Recorder::sink);
        let no_thread =
            |error: io::Error| io::Error::new(error.kind(), format!("cannot start a thread: {error}"));
        let Prepared { running, bound, discoveries } = prepared;
        let engine =
            Engine::start(&config, &running.pools, bound, workers, limits, records).map_err(no_thread)?;
        let (running, told) = watch::channel(running);
        let keeper = Keeper::start(told).map_err(no_thread)?;
        discoveries.into_iter().for_each(|(pool, discovery)| keeper.keep(pool, discovery));
        tracing::debug!("{workers} workers, at most {} connections", limits.max_connections);
        let again = None;
        let live = Live { config, signals, engine, recorder, keeper, running, workers, again, orders };
        Ok(Self { runtime, live })
    }

    /// From now on SIGHUP and orders have the configuration loaded again by `load`; so does a change of a file that it has
    /// read besides, and of `watch`.
    pub fn reloads(&mut self, load: impl Fn() -> Result<Config, String> + 'static, watch: Option<PathBuf>) {
        let _inside = self.runtime.enter();
        self.live.again = Some(Again::new(Box::new(load), watch, &self.live.config));
    }

    /// What has been carried so far.
    pub fn totals(&self) -> Totals {
        self.live.engine.totals()
    }

    /// Serves until SIGTERM or SIGINT, then finishes what is live, up to the drain timeout or a second signal.
    ///
    /// # Errors
    /// When a worker fails.
    pub fn run(self) -> io::Result<()> {
        let Self { runtime, mut live } = self;
        runtime.spawn_local(live.engine.tidy());
        let result = runtime.block_on(async {
            if live.again.is_some() {
                live.signals.take_reloads()?;
            }
            // Without a supervisor there is nobody to tell.
            let _ = sd_notify::notify(&[NotifyState::Ready]);
            let name = live.serve().await?;
            tracing::info!("{name}: draining");
            let _ = sd_notify::notify(&[NotifyState::Stopping]);
            live.orders = None; // who asks now is told at once that nobody answers
            drain(&live.config, &mut live.engine, &mut live.signals).await;
            Ok(())
        });
        // A worker's own error says more than that it has ended.
        live.finish().and(result)
    }

    /// Stops at once; what is live is reset.
    ///
    /// # Errors
    /// When a worker has failed.
    pub fn stop(self) -> io::Result<()> {
        self.live.engine.end();
        self.live.finish()
    }
}

impl Live {
    /// Does what signals and orders say, until a signal ends it: its name.
    async fn serve(&mut self) -> io::Result<&'static str> {
        loop {
            let order = tokio::select! {
                signal = self.signals.any() => match signal {
                    Some(name) => return Ok(name),
                    None => None,
                },
                () = changed(&mut self.again) => None,
                order = next(&mut self.orders) => Some(order),
                _ = self.engine.worker_ended() => {
                    self.engine.end();
                    return Err(io::Error::other("a worker has ended early"));
                }
            };
            match order {
                None => {
                    if let Err(NotReloaded::Signal(name)) = self.reload().await {
                        return Ok(name);
                    }
                }
                Some(order) => match order.wants {
                    Wants::Reload => match self.reload().await {
                        Ok(told) => order.reply(Ok(told)),
                        Err(NotReloaded::Refused(why)) => order.reply(Err(why)),
                        Err(NotReloaded::Signal(name)) => {
                            order.reply(Err(format!("{name}: this instance is ending\n")));
                            return Ok(name);
                        }
                    },
                    Wants::Explain(ref question) => {
                        let told = explain(&self.config, &self.running.borrow().pools, question);
                        order.reply(told);
                    }
                },
            }
        }
    }

    /// Goes over to the configuration as it is now, or leaves all as it is.
    async fn reload(&mut self) -> Result<String, NotReloaded> {
        let result = self.try_reload().await;
        match &result {
            Ok(told) => tracing::info!("{}", told.trim_end()),
            Err(NotReloaded::Refused(why)) => {
                tracing::error!("not reloaded; going on as before: {}", why.trim_end());
            }
            Err(NotReloaded::Signal(_)) => {}
        }
        result
    }

    async fn try_reload(&mut self) -> Result<String, NotReloaded> {
        let again = self.again.as_mut().ok_or("this instance was started without a file".to_owned())?;
        let config = Arc::new(again.load()?);
        let same_names = config.dns == self.config.dns;
        let before = self.running.borrow().clone();
        // It may wait for name servers.
        let Prepared { running, bound, discoveries } = tokio::select! {
            prepared = prepare(&config, &before, |_| same_names, self.workers) => {
                prepared.map_err(|error| error.to_string())?
            }
            name = self.signals.next() => return Err(NotReloaded::Signal(name)),
        };
        let summary = summary(&self.config, &config);
        self.engine.configure(&config, &running.pools, bound).await;
        for (name, pool) in &before.pools {
            let other = running.pools.get(name).filter(|other| !Arc::ptr_eq(pool, other));
            other.inspect(|other| pool.gives_way_to(other));
        }
        let gone = before.pools.keys().filter(|name| !running.pools.contains_key(*name));
        gone.for_each(|name| self.keeper.leave(name.clone()));
        self.running.send_replace(running);
        discoveries.into_iter().for_each(|(pool, discovery)| self.keeper.keep(pool, discovery));
        if let Some(again) = &mut self.again {
            again.goes_over_to(&config);
        }
        self.config = config;
        Ok(summary)
    }

    /// Waits for the workers, and writes what is left to write.
    fn finish(self) -> io::Result<()> {
        let joined = self.engine.join();
        drop(self.keeper);
        if let Some(recorder) = self.recorder {
            recorder.finish();
        }
        joined
    }
}

/// Waits until the file has changed; for ever where it is not watched.
async fn changed(again: &mut Option<Again>) {
    match again {
        Some(again) => again.changed().await,
        None => pending().await,
    }
}

/// The next order; never where none are taken.
async fn next(orders: &mut Option<Orders>) -> Order {
    match orders {
        Some(orders) => orders.next().await,
        None => pending().await,
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
