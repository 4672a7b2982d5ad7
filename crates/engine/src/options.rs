//! From socket options of the configuration to those of the kernel.

use towpath_config::SocketOptions;
use towpath_sys::options::TcpOptions;

/// What is set on a socket to keep `options`.
pub(crate) fn tcp(options: &SocketOptions) -> TcpOptions {
    TcpOptions {
        nodelay: options.nodelay,
        keepalive: options.keepalive.map(|keepalive| (keepalive.idle, keepalive.interval, keepalive.count)),
        user_timeout: options.user_timeout,
    }
}
