//! The thread that looks after pools: it keeps their backends true and asks how they are.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::spawn_local;
use towpath_engine::Pool;

use crate::discover::Discovery;
use crate::layout::Layout;

/// Looks after pools until it is dropped.
#[derive(Debug)]
pub(crate) struct Keeper {
    orders: Option<UnboundedSender<Order>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Order {
    Keep(Arc<Pool>, Box<Discovery>),
    Leave(Arc<str>),
}

impl Keeper {
    /// Starts it with nothing to do; `running` tells who listens where.
    ///
    /// # Errors
    /// When there can be no thread or event loop.
    pub(crate) fn start(running: watch::Receiver<Arc<Layout>>) -> io::Result<Self> {
        let (orders, inbox) = unbounded_channel();
        let runtime = Builder::new_current_thread();
        let thread = thread::Builder::new().name("keeper".to_owned()).spawn(move || {
            let mut runtime = runtime;
            match runtime.enable_all().build_local(LocalOptions::default()) {
                Ok(runtime) => runtime.block_on(work(inbox, running)),
                Err(error) => tracing::error!("pools are not looked after: {error}"),
            }
        })?;
        Ok(Self { orders: Some(orders), thread: Some(thread) })
    }

    /// Looks after `pool`, in place of the pool that had its name.
    pub(crate) fn keep(&self, pool: Arc<Pool>, discovery: Discovery) {
        self.send(Order::Keep(pool, Box::new(discovery)));
    }

    /// Looks no more after the pool of a name.
    pub(crate) fn leave(&self, name: Arc<str>) {
        self.send(Order::Leave(name));
    }

    fn send(&self, order: Order) {
        // A thread that is gone has said why.
        let _ = self.orders.as_ref().map(|orders| orders.send(order));
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.orders = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

async fn work(mut inbox: UnboundedReceiver<Order>, running: watch::Receiver<Arc<Layout>>) {
    let mut tasks = HashMap::new();
    while let Some(order) = inbox.recv().await {
        let (name, started) = match order {
            Order::Keep(pool, discovery) => {
                let name = pool.config.name.clone();
                let discovering = spawn_local(discovery.go_on(running.clone()));
                let tasks = [discovering, spawn_local(towpath_engine::watch_health(pool))];
                (name, Some(tasks))
            }
            Order::Leave(name) => (name, None),
        };
        if let Some(before) = tasks.remove(&name) {
            let before: [tokio::task::JoinHandle<()>; 2] = before;
            before.iter().for_each(tokio::task::JoinHandle::abort);
        }
        tasks.extend(started.map(|started| (name, started)));
    }
}
