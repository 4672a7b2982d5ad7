//! The thread of a link: it takes packets from two TUN devices and hands them over when their time has come.

use std::io;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use rustix::thread::{gettid, set_current_timer_slack};
use tun_rs::SyncDevice;

use super::link::{Counters, Direction};
use super::order::Order;

/// Packets that are read from a device before others have their turn.
const BATCH: usize = 16;

/// How far from its time a packet may be handed over, before or after: those of one such span share a wake-up.
const TOLERANCE: Duration = Duration::from_micros(50);

/// The two ends of a link.
pub(super) struct Devices {
    pub(super) near: SyncDevice,
    pub(super) far: SyncDevice,
}

/// Both directions of a link: from near to far, and back.
pub(super) struct Directions {
    pub(super) there: Direction,
    pub(super) back: Direction,
}

/// A link that is being carried, until it is stopped.
pub(super) struct Carrier {
    orders: Sender<(Order, Sender<()>)>,
    wake: Arc<OwnedFd>,
    thread: JoinHandle<io::Result<Directions>>,
}

impl Carrier {
    /// Starts the thread. `ended` is called on it when it has ended, whatever the reason.
    ///
    /// # Errors
    ///
    /// When the kernel has no thread or no descriptor left.
    pub(super) fn start(
        devices: Devices,
        directions: Directions,
        ended: impl FnOnce() + Send + 'static,
    ) -> Result<Carrier> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (orders, inbox) = mpsc::channel();
        let woken = Arc::clone(&wake);
        let thread = thread::Builder::new().name("carrier".to_owned()).spawn(move || {
            let _ended = OnDrop(Some(ended));
            carry(&devices, directions, &woken, &inbox)
        });
        Ok(Carrier { orders, wake, thread: thread.context("cannot start a thread")? })
    }

    /// Has the link obey, and waits until it does.
    ///
    /// # Errors
    ///
    /// When the thread has ended.
    pub(super) fn order(&self, order: Order) -> Result<()> {
        let (done, obeyed) = mpsc::channel();
        self.orders.send((order, done)).context("the link has ended")?;
        rustix::io::write(&self.wake, &1_u64.to_ne_bytes())?;
        obeyed.recv().context("the link has ended")
    }

    /// Stops the thread, and says what it has carried there and back.
    ///
    /// # Errors
    ///
    /// Why the thread had ended before.
    pub(super) fn stop(self) -> Result<(Counters, Counters)> {
        drop(self.orders);
        rustix::io::write(&self.wake, &1_u64.to_ne_bytes())?;
        let directions = self.thread.join().map_err(|_| anyhow!("the thread of a link has panicked"))?;
        let directions = directions.context("cannot carry packets")?;
        Ok((directions.there.counters(), directions.back.counters()))
    }
}

/// Calls what it holds on every way out, a panic among them.
struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(call) = self.0.take() {
            call();
        }
    }
}

/// Carries packets until nobody can give orders any more.
fn carry(
    devices: &Devices,
    mut directions: Directions,
    wake: &OwnedFd,
    orders: &Receiver<(Order, Sender<()>)>,
) -> io::Result<Directions> {
    be_punctual()?;
    let Directions { there, back } = &mut directions;
    loop {
        let now = Instant::now() + TOLERANCE;
        there.deliver(now, |packet| send(&devices.far, packet))?;
        back.deliver(now, |packet| send(&devices.near, packet))?;
        let next = [there.next_arrival(), back.next_arrival()].into_iter().flatten().min();
        let timeout = next.map(|next| timespec((next + TOLERANCE).saturating_duration_since(Instant::now())));
        let mut waiting = [
            PollFd::new(&devices.near, PollFlags::IN),
            PollFd::new(&devices.far, PollFlags::IN),
            PollFd::new(wake, PollFlags::IN),
        ];
        match poll(&mut waiting, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [near, far, woken] = waiting.map(|waiting| !waiting.revents().is_empty());
        if near {
            take_all(&devices.near, there)?;
        }
        if far {
            take_all(&devices.far, back)?;
        }
        if woken {
            // What it counts does not matter.
            let _ = rustix::io::read(wake, &mut [0; 8]);
            loop {
                match orders.try_recv() {
                    Ok((order, done)) => {
                        there.obey(Instant::now(), order);
                        back.obey(Instant::now(), order);
                        // Whoever asked may be gone.
                        let _ = done.send(());
                    }
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return Ok(directions),
                }
            }
        }
    }
}

/// Has the kernel wake this thread on time, and before all others: with a nice value alone, a busy machine made it
/// milliseconds late.
fn be_punctual() -> io::Result<()> {
    set_current_timer_slack(NonZeroU64::new(1))?;
    let thread = gettid().as_raw_nonzero().to_string();
    let output = Command::new("chrt").args(["--fifo", "--pid", "1", &thread]).stdin(Stdio::null()).output();
    let reason = match output {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => format!("cannot start chrt, of the package util-linux: {error}"),
    };
    eprintln!("xtask: packets may be late while the machine is busy: {reason}");
    Ok(())
}

fn take_all(device: &SyncDevice, direction: &mut Direction) -> io::Result<()> {
    let mut packet = [0; super::MTU_BYTES];
    for _ in 0..BATCH {
        match device.recv(&mut packet) {
            Ok(length) => direction.take(Instant::now(), &packet[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn send(device: &SyncDevice, packet: &[u8]) -> io::Result<()> {
    match device.send(packet) {
        // The device was taken down: whoever did it wants its packets lost.
        Err(error) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => Ok(()),
        sent => sent.map(drop),
    }
}

fn timespec(time: Duration) -> Timespec {
    Timespec { tv_sec: time.as_secs() as i64, tv_nsec: i64::from(time.subsec_nanos()) }
}
