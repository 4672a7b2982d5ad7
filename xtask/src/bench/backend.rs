//! What the contenders forward to.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::config::{self, NGINX_HTTP, nginx_process};
use super::process::{self, Process};
use super::tunnel;

/// Servers, each at a port of its own of every loopback address.
pub(super) struct Backend {
    pub(super) ports: Vec<u16>,
    _processes: Vec<Process>,
}

/// The size of the object at the root of an HTTP server.
const OBJECT_BYTES: usize = 1024;
/// The size of the one at [`LARGE_PATH`].
const LARGE_BYTES: usize = 64 * 1024;
/// Where web servers have a large object.
pub(super) const LARGE_PATH: &str = "/large";
/// Where they say how many requests they had.
const STATUS_PATH: &str = "/status";
/// Servers that requests are balanced over.
const WEB_SERVERS: usize = 3;
/// How long a server may take to say how many requests it had.
const PATIENCE: Duration = Duration::from_secs(5);

impl Backend {
    /// An HTTP server with one object of 1 kB.
    pub(super) fn http() -> Result<Backend> {
        Backend::start(1, http_server)
    }

    /// HTTP servers, each a process that counts its requests, with objects of 1 kB and 64 kB.
    pub(super) fn web() -> Result<Backend> {
        Backend::start(WEB_SERVERS, web_server)
    }

    /// An iperf3 server.
    pub(super) fn bulk() -> Result<Backend> {
        Backend::start(1, |port| {
            let mut command = Command::new("iperf3");
            command.args(["-s", "-4", "-p", &port.to_string()]);
            ready("iperf3 (backend)", &command, process::folder(&[])?, port)
        })
    }

    /// A server of this process that sends without end.
    pub(super) fn source() -> Result<Backend> {
        Ok(Backend { ports: vec![tunnel::source()?], _processes: Vec::new() })
    }

    fn start(count: usize, server: impl Fn(u16) -> Result<Process>) -> Result<Backend> {
        let ports = (0..count).map(|_| process::free_port()).collect::<Result<Vec<_>>>()?;
        let processes = ports.iter().map(|port| server(*port)).collect::<Result<Vec<_>>>()?;
        Ok(Backend { ports, _processes: processes })
    }

    /// How many requests each of the web servers has had, these ones included.
    ///
    /// # Errors
    ///
    /// When one does not say.
    pub(super) fn requests(&self) -> Result<Vec<u64>> {
        self.ports.iter().map(|port| requests(SocketAddrV4::new(Ipv4Addr::LOCALHOST, *port))).collect()
    }
}

fn ready(name: &str, command: &Command, folder: tempfile::TempDir, port: u16) -> Result<Process> {
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    Process::start(name, command, folder)?.wait_for(address)
}

fn http_server(port: u16) -> Result<Process> {
    let files = [(config::NGINX, server_config(port, "")), ("index.html", "x".repeat(OBJECT_BYTES))];
    let folder = process::folder(&files)?;
    ready("nginx (backend)", &nginx(folder.path()), folder, port)
}

fn web_server(port: u16) -> Result<Process> {
    let files = [
        (config::NGINX, server_config(port, &web_settings())),
        ("index.html", "x".repeat(OBJECT_BYTES)),
        (LARGE_PATH.trim_start_matches('/'), "x".repeat(LARGE_BYTES)),
    ];
    let folder = process::folder(&files)?;
    ready("nginx (backend)", &nginx(folder.path()), folder, port)
}

/// nginx with the configuration in `folder`.
pub(super) fn nginx(folder: &Path) -> Command {
    let mut command = Command::new("nginx");
    command.arg("-p").arg(folder).args(["-c", config::NGINX, "-e", "stderr"]);
    command
}

fn server_config(port: u16, settings: &str) -> String {
    format!(
        "{}
http {{
{NGINX_HTTP}    open_file_cache max=10;
    server {{
        listen 0.0.0.0:{port} backlog=4096;
        root .;
{settings}    }}
}}
",
        nginx_process()
    )
}

/// As Debian ships it: a head and its file in as few segments as may be.
fn web_settings() -> String {
    format!(
        "        sendfile on;
        tcp_nopush on;
        location {STATUS_PATH} {{
            stub_status;
        }}
"
    )
}

fn requests(server: SocketAddrV4) -> Result<u64> {
    let mut stream = TcpStream::connect(server).context("cannot connect to a web server")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET {STATUS_PATH} HTTP/1.0\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("a web server does not say how many requests it had")?;
    parse_status(&answer)
}

/// The third number under its heading (`ngx_http_stub_status_module`).
fn parse_status(answer: &str) -> Result<u64> {
    let mut lines = answer.lines().skip_while(|line| !line.contains("accepts handled requests"));
    let count = lines.nth(1).and_then(|line| line.split_whitespace().nth(2)?.parse().ok());
    count.with_context(|| format!("cannot understand the status of a web server: {answer:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requests_of_a_server_are_found() {
        let status = "HTTP/1.1 200 OK\r\n\r\nActive connections: 1 \nserver accepts handled requests\n 21 22 71004 \nReading: 0\n";
        assert_eq!(parse_status(status).unwrap(), 71_004);
        assert!(parse_status("HTTP/1.1 404 Not Found\r\n\r\n").is_err());
    }
}
