//! `towpath demo`: backends, a forwarder and clients in one process, and a table of what they do.

mod backend;
mod figures;
mod load;
mod summary;
mod table;
mod units;

use std::future::{Future, pending};
use std::io::{self, Write};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::anyhow;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};
use towpath_config::Config;
use towpath_control::{Instance, raise_descriptor_limit};

use crate::args::Demo;
use crate::exit::Failure;
use crate::port::Port;
use crate::shorthand;

use backend::Backend;
use figures::{BACKENDS, Figures, Tally};

use table::Table;

/// The table moves so often; its figures are of whole seconds.
const FRAME: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);

/// Open files of the backends, the forwarder and the clients together, with some to spare.
const OPEN_FILES: usize = 150;

/// Runs the demo for as long as asked and tells how it went.
pub(crate) fn run(args: &Demo) -> Result<(), Failure> {
    let allowed = raise_descriptor_limit();
    if allowed < OPEN_FILES {
        return Err(Failure::Other(anyhow!(
            "the demo needs {OPEN_FILES} open files, not {allowed}; raise ulimit -n"
        )));
    }
    let backends: Vec<_> =
        (0..BACKENDS as u16).map(|place| Ok(Arc::new(Backend::new(place)?))).collect::<io::Result<_>>()?;
    let listeners = backends.iter().map(|backend| backend.listen()).collect::<io::Result<Vec<_>>>()?;
    let front = Port::reserve()?;
    let tally = Arc::new(Tally::new().map_err(Failure::Other)?);

    let servers = Part::start("backends", {
        let backends = backends.clone();
        move |stop| async move {
            tokio::select! {
                result = backend::take_turns(backends, listeners) => result,
                () = stopped(stop) => Ok(()),
            }
        }
    })?;
    let forwarder = Instance::start(config(&front, &backends)?)?;
    let clients = Part::start("clients", {
        let (address, tally) = (front.address(), tally.clone());
        move |stop| load::run(address, tally, stop)
    })?;

    let mut figures = Figures::new(tally);
    let parts = [&clients, &servers];
    let shown = runtime()?.block_on(show(args, &front, &backends, &forwarder, &mut figures, parts));
    // In this order nobody loses what it has begun.
    clients.stop()?;
    let summary = figures.summary(forwarder.totals());
    servers.stop()?;
    forwarder.stop()?;
    shown?;
    io::stdout().write_all(summary::text(&summary, &backends).as_bytes())?;
    match summary.failed {
        0 => Ok(()),
        failed => Err(Failure::Other(anyhow!("{failed} requests failed"))),
    }
}

/// The forwarder in front of the backends, as a file would have it.
fn config(front: &Port, backends: &[Arc<Backend>]) -> Result<Config, Failure> {
    let targets: Vec<String> = backends.iter().map(|backend| format!("\"{}\"", backend.address())).collect();
    shorthand::parse(&format!(
        "[log]\nrecords = false\n\n\
         [[listener]]\nname = \"demo\"\nbind = [\"{}\"]\nmode = \"tcp\"\npool = \"demo\"\n\n\
         [[pool]]\nname = \"demo\"\nbalance = \"round_robin\"\nbackend = [{}]\n",
        front.address(),
        targets.join(", "),
    ))
}

/// Keeps the table up to date until the time is over, a signal or key ends it, or a part of the demo does.
async fn show(
    args: &Demo,
    front: &Port,
    backends: &[Arc<Backend>],
    forwarder: &Instance,
    figures: &mut Figures,
    parts: [&Part; 2],
) -> io::Result<()> {
    let mut table = Table::open(front.address());
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let (mut frames, mut seconds) = (interval(FRAME), interval(SECOND));
    frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    seconds.reset();
    let time_over = async {
        match args.seconds {
            Some(seconds) => sleep(SECOND * seconds.get()).await,
            None => pending().await,
        }
    };
    tokio::pin!(time_over);
    loop {
        tokio::select! {
            () = &mut time_over => break,
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            _ = seconds.tick() => table.second(figures.look(forwarder.totals()), backends)?,
            _ = frames.tick() => table.frame(figures.shown(), backends)?,
        }
        if table.left()? || parts.iter().any(|part| part.thread.is_finished()) {
            break;
        }
    }
    table.close()
}

/// A thread of the demo with its own runtime.
struct Part {
    stop: watch::Sender<bool>,
    thread: JoinHandle<io::Result<()>>,
}

impl Part {
    /// Runs `work` until it ends, which it should when what it is given says true.
    fn start<F>(
        name: &str,
        work: impl FnOnce(watch::Receiver<bool>) -> F + Send + 'static,
    ) -> io::Result<Self>
    where
        F: Future<Output = io::Result<()>>,
    {
        let (stop, stopped) = watch::channel(false);
        let thread = thread::Builder::new().name(name.to_owned());
        let thread = thread.spawn(move || runtime()?.block_on(async { work(stopped).await }))?;
        Ok(Self { stop, thread })
    }

    fn stop(self) -> io::Result<()> {
        self.stop.send_replace(true);
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("a part of the demo panicked")))
    }
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // Without anybody who could say so, it is over too.
    let _ = stop.wait_for(|stop| *stop).await;
}

fn runtime() -> io::Result<LocalRuntime> {
    Builder::new_current_thread().enable_all().build_local(LocalOptions::default())
}
