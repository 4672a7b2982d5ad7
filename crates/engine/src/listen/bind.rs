//! Making the sockets that listeners want, or taking those that were handed to the process.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use towpath_config::{Config, Listener};
use towpath_sys::listener::{self as sys, Sharing};
use towpath_sys::options::reset_on_close;
use towpath_sys::stream::{connect_unix, local_address, local_path, unix_socket};
use towpath_wire::addr::{Listen, ListenHost, UnixPath};

use crate::options;
use crate::resolve::{ResolveError, Resolver};

/// The sockets of one address of a listener.
#[derive(Debug)]
pub struct Bound {
    pub(crate) listener: Arc<Listener>,
    /// What the listener calls it.
    pub(crate) listen: Listen,
    /// Place of the port in the listener's range.
    pub(crate) offset: u16,
    /// One for each worker, or one for all.
    pub(crate) sockets: Vec<OwnedFd>,
    pub(crate) unix_path: Option<UnixPathGuard>,
}

impl Bound {
    /// The listener's name.
    pub fn listener(&self) -> &Arc<Listener> {
        &self.listener
    }

    /// What the listener calls the address.
    pub fn listen(&self) -> &Listen {
        &self.listen
    }

    /// Place of the port in the listener's range.
    pub fn offset(&self) -> u16 {
        self.offset
    }

    /// The address as the kernel tells it, which knows the port where any was asked for; `None` for a unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        local_address(self.sockets.first()?).ok().flatten()
    }

    /// The path of a unix socket.
    pub fn path(&self) -> Option<PathBuf> {
        local_path(self.sockets.first()?).ok().flatten()
    }
}

/// Why a listener has no socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The kernel refused the address.
    #[error("listener {listener} cannot bind {address}: {error}")]
    Tcp {
        /// The listener's name.
        listener: Arc<str>,
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        error: io::Error,
    },
    /// The kernel refused the path.
    #[error("listener {listener} cannot bind unix:{}: {error}", path.display())]
    Unix {
        /// The listener's name.
        listener: Arc<str>,
        /// The path.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// There is something at the path that is not a socket.
    #[error("listener {listener} cannot bind unix:{}: a file that is not a socket is there", path.display())]
    NotASocket {
        /// The listener's name.
        listener: Arc<str>,
        /// The path.
        path: PathBuf,
    },
    /// The name to listen on has no address.
    #[error("listener {listener} cannot bind: {error}")]
    Resolve {
        /// The listener's name.
        listener: Arc<str>,
        /// What the look-up said.
        error: ResolveError,
    },
}

impl BindError {
    /// Whether the machine has no such address.
    fn is_absent(&self) -> bool {
        matches!(self, Self::Tcp { error, .. } if has_no_v6(error))
    }
}

/// Binds those addresses of the listeners of `config` that are `wanted`, for `workers` workers. A socket of `inherited`
/// that has a wanted address is used instead of a new one; those that no listener wants are left there.
///
/// # Errors
/// The first address that cannot be bound.
pub async fn bind(
    config: &Config,
    wanted: impl Fn(&Listen) -> bool,
    workers: usize,
    resolver: &Resolver,
    inherited: &mut Vec<OwnedFd>,
) -> Result<Vec<Bound>, BindError> {
    let mut bound = Vec::new();
    for listener in &config.listeners {
        for listen in listener.bind.iter().filter(|listen| wanted(listen)) {
            match listen {
                Listen::Unix(path) => bound.push(bind_unix(listener, listen, path, inherited)?),
                Listen::Tcp { host, ports } => {
                    for (offset, port) in (0..).zip(ports.iter()) {
                        let addresses = addresses(listener, host, port, resolver).await?;
                        for sockets in bind_all(listener, host, &addresses, workers, inherited)? {
                            let (listener, listen) = (listener.clone(), listen.clone());
                            bound.push(Bound { listener, listen, offset, sockets, unix_path: None });
                        }
                    }
                }
            }
        }
    }
    Ok(bound)
}

/// Binds all addresses of a host. A name may have some that this machine has not, but not only those.
fn bind_all(
    listener: &Arc<Listener>,
    host: &ListenHost,
    addresses: &[SocketAddr],
    workers: usize,
    inherited: &mut Vec<OwnedFd>,
) -> Result<Vec<Vec<OwnedFd>>, BindError> {
    let mut bound = Vec::new();
    let mut absent = None;
    for address in addresses {
        match bind_tcp(listener, *address, *host == ListenHost::Any, workers, inherited) {
            Ok(sockets) => bound.push(sockets),
            Err(error) if error.is_absent() => absent = Some(error),
            Err(error) => return Err(error),
        }
    }
    match absent {
        Some(error) if bound.is_empty() => return Err(error),
        Some(error) => tracing::warn!("{error}; going on with the other addresses of the name"),
        None => {}
    }
    Ok(bound)
}

async fn addresses(
    listener: &Listener,
    host: &ListenHost,
    port: u16,
    resolver: &Resolver,
) -> Result<Vec<SocketAddr>, BindError> {
    let ips = match host {
        ListenHost::Any => vec![IpAddr::V6(Ipv6Addr::UNSPECIFIED)],
        ListenHost::Ip(ip) => vec![*ip],
        ListenHost::Name(name) => resolver
            .host(name)
            .await
            .map_err(|error| BindError::Resolve { listener: listener.name.clone(), error })?
            .hosts
            .into_iter()
            .flat_map(|host| host.ips)
            .collect(),
    };
    Ok(ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
}

/// Binds `address`; for `any`, all v4 addresses as well, or those alone where the machine has no v6.
fn bind_tcp(
    listener: &Listener,
    address: SocketAddr,
    any: bool,
    workers: usize,
    inherited: &mut Vec<OwnedFd>,
) -> Result<Vec<OwnedFd>, BindError> {
    let v4 = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port());
    let is_it = |has: SocketAddr| has == address || (any && has == v4);
    let taken = take(inherited, |fd| local_address(fd).is_ok_and(|has| has.is_some_and(is_it)));
    let made = taken.is_empty();
    let is_mptcp = options::wants_mptcp(&listener.socket);
    // Sockets of MPTCP form no groups: one is for all workers.
    let workers = if is_mptcp { 1 } else { workers };
    let group = if !made {
        Ok(taken)
    } else if any {
        match bind_group(&address, true, workers, is_mptcp) {
            Err(error) if has_no_v6(&error) => bind_group(&v4, false, workers, is_mptcp),
            result => result,
        }
    } else {
        bind_group(&address, false, workers, is_mptcp)
    };
    group
        .and_then(|sockets| {
            for socket in &sockets {
                options::prepare_listening(&listener.socket, socket)?;
                reset_on_close(socket, true)?;
                sys::set_nonblocking(socket.as_fd())?;
                sys::listen(socket.as_fd())?;
            }
            if let [first, _, ..] = &*sockets
                && made
            {
                sys::spread_by_client(first.as_fd(), sockets.len())?;
            }
            Ok(sockets)
        })
        .map_err(|error| BindError::Tcp { listener: listener.name.clone(), address, error })
}

/// One socket for each worker, among which the kernel spreads clients.
fn bind_group(address: &SocketAddr, dual: bool, workers: usize, mptcp: bool) -> io::Result<Vec<OwnedFd>> {
    // Any process of this user may join a group. The first socket listens alone, so that it meets whoever was there
    // before; only then it becomes the group that the others join.
    let first = sys::bind_tcp(address, dual, Sharing::Alone, mptcp)?;
    sys::listen(first.as_fd())?;
    let mut group = vec![first];
    if workers > 1 {
        sys::share(group[0].as_fd())?;
        for _ in 1..workers {
            group.push(sys::bind_tcp(address, dual, Sharing::Group, mptcp)?);
        }
    }
    Ok(group)
}

fn has_no_v6(error: &io::Error) -> bool {
    error.kind() == ErrorKind::AddrNotAvailable || sys::is_unknown_family(error)
}

fn bind_unix(
    listener: &Arc<Listener>,
    listen: &Listen,
    path: &UnixPath,
    inherited: &mut Vec<OwnedFd>,
) -> Result<Bound, BindError> {
    let path = path.as_path();
    let refused = |error| BindError::Unix { listener: listener.name.clone(), path: path.to_owned(), error };
    let mut sockets = take(inherited, |fd| local_path(fd).is_ok_and(|has| has.as_deref() == Some(path)));
    let mut unix_path = None;
    if sockets.is_empty() {
        if !remove_stale(path).map_err(refused)? {
            return Err(BindError::NotASocket { listener: listener.name.clone(), path: path.to_owned() });
        }
        sockets.push(sys::bind_unix(path).map_err(refused)?);
        unix_path = UnixPathGuard::new(path);
    }
    for socket in &sockets {
        sys::set_nonblocking(socket.as_fd()).map_err(refused)?;
        sys::listen(socket.as_fd()).map_err(refused)?;
    }
    Ok(Bound { listener: listener.clone(), listen: listen.clone(), offset: 0, sockets, unix_path })
}

/// A unix socket that only its owner may use, and whose path is removed with it.
#[derive(Debug)]
pub struct PrivateSocket {
    socket: OwnedFd,
    _path: Option<UnixPathGuard>,
}

impl PrivateSocket {
    /// Binds `path` and listens there; one that nobody listens on makes way.
    ///
    /// # Errors
    /// What the kernel says; `AlreadyExists` when there is something that is no socket.
    pub fn bind(path: &Path) -> io::Result<Self> {
        if !remove_stale(path)? {
            return Err(io::Error::new(ErrorKind::AlreadyExists, "a file that is not a socket is there"));
        }
        let socket = sys::bind_unix_private(path)?;
        sys::listen(socket.as_fd())?;
        Ok(Self { socket, _path: UnixPathGuard::new(path) })
    }

    /// The socket, to accept from.
    ///
    /// # Errors
    /// When descriptors have run out.
    pub fn listener(&self) -> io::Result<UnixListener> {
        Ok(self.socket.try_clone()?.into())
    }
}

/// Removes a socket that nobody listens on; false when something else is at `path`.
fn remove_stale(path: &Path) -> io::Result<bool> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => return Ok(false),
        Ok(_) => {}
    }
    match connect_unix(unix_socket()?.as_fd(), path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map(|()| true)
        }
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
        _ => Err(ErrorKind::AddrInUse.into()),
    }
}

/// Takes the descriptors out of `from` that listen and that `wanted` knows.
fn take(from: &mut Vec<OwnedFd>, wanted: impl Fn(&OwnedFd) -> bool) -> Vec<OwnedFd> {
    let (taken, left) = from.drain(..).partition(|fd| sys::is_listening(fd.as_fd()) && wanted(fd));
    *from = left;
    taken
}

/// The path of a unix socket that this process made, removed with it unless another is there by then.
#[derive(Debug)]
pub(crate) struct UnixPathGuard {
    path: PathBuf,
    identity: (u64, u64),
}

impl UnixPathGuard {
    fn new(path: &Path) -> Option<Self> {
        Some(Self { path: path.to_owned(), identity: identity(path)? })
    }
}

impl Drop for UnixPathGuard {
    fn drop(&mut self) {
        if identity(&self.path) == Some(self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = path.symlink_metadata().ok()?;
    Some((metadata.dev(), metadata.ino()))
}
