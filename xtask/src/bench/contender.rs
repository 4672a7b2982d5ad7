//! Who is measured: towpath, its peers and the direct path, and the backends behind them.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde::Serialize;

use super::load::Kind;
use super::process::{self, Process};
use super::tunnel::{self, Way};
use crate::test;

/// A way from the client to the backend, with one thread for the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Contender {
    Towpath,
    Haproxy,
    Nginx,
    Go,
    /// No forwarder at all
    Direct,
    Tinyproxy,
    Squid,
    /// A CONNECT proxy of 40 lines
    Goconnect,
    /// towpath as a forwarder, where the others are proxies
    Raw,
}

impl Contender {
    pub(super) fn name(self) -> &'static str {
        match self {
            Contender::Towpath => "towpath",
            Contender::Haproxy => "haproxy",
            Contender::Nginx => "nginx",
            Contender::Go => "go io.Copy",
            Contender::Direct => "direct",
            Contender::Tinyproxy => "tinyproxy",
            Contender::Squid => "squid",
            Contender::Goconnect => "go CONNECT",
            Contender::Raw => "towpath tcp",
        }
    }

    /// Whether it can do this kind of work.
    pub(super) fn takes_part(self, kind: Kind) -> bool {
        match self {
            Contender::Towpath => true,
            Contender::Haproxy | Contender::Nginx | Contender::Go | Contender::Direct => {
                !kind.is_of_proxies()
            }
            Contender::Tinyproxy | Contender::Squid | Contender::Goconnect => kind.is_of_proxies(),
            Contender::Raw => kind == Kind::Tunnelbulk,
        }
    }

    /// Others' forwarders, which towpath is compared with.
    pub(super) fn is_peer(self) -> bool {
        !matches!(self, Contender::Towpath | Contender::Direct | Contender::Raw)
    }

    /// The last byte of its loopback addresses. Each contender has its own, so that the ports which closed
    /// connections keep busy for a while are not taken from the others.
    fn own_byte(self) -> u8 {
        2 + self as u8
    }
}

/// The programs of the contenders.
pub(super) struct Programs {
    towpath: PathBuf,
    go_forwarder: PathBuf,
    go_connect: PathBuf,
    descriptors: u64,
}

impl Programs {
    /// Builds those among `contenders` that come as source.
    ///
    /// # Errors
    ///
    /// When one cannot be built.
    pub(super) fn build(root: &Path, contenders: &[Contender]) -> Result<Programs> {
        let target = test::target_dir(root)?;
        let programs = Programs {
            towpath: target.join("bench-lto/towpath"),
            go_forwarder: target.join("bench/go-forwarder"),
            go_connect: target.join("bench/go-connect"),
            descriptors: process::raise_descriptor_limit()?,
        };
        if contenders.contains(&Contender::Towpath) {
            test::cargo(root, &["build", "--profile", "bench-lto", "-p", "towpath"])?;
        }
        for (contender, program, source) in [
            (Contender::Go, &programs.go_forwarder, "xtask/peers/go-forwarder"),
            (Contender::Goconnect, &programs.go_connect, "xtask/peers/go-connect"),
        ] {
            if !contenders.contains(&contender) {
                continue;
            }
            let status = Command::new("go")
                .args(["build", "-o"])
                .arg(program)
                .arg("main.go")
                .current_dir(root.join(source))
                .envs([("GO111MODULE", "off"), ("GOFLAGS", ""), ("GOPROXY", "off")])
                .env("GOCACHE", target.join("bench/go-cache"))
                .status()
                .context("cannot start go")?;
            if !status.success() {
                bail!("go build of {source} ended with {status}");
            }
        }
        Ok(programs)
    }

    /// What `contender` says of its version; none for the direct path.
    pub(super) fn version(&self, contender: Contender) -> Option<String> {
        Some(match contender {
            Contender::Towpath => process::version(&self.towpath, &["--version"]),
            Contender::Haproxy => process::version(Path::new("haproxy"), &["-v"]),
            Contender::Nginx => process::version(Path::new("nginx"), &["-v"]),
            Contender::Go => process::version(Path::new("go"), &["version"]),
            Contender::Tinyproxy => process::version(Path::new("tinyproxy"), &["-v"]),
            Contender::Squid => process::version(Path::new("squid"), &["-v"]),
            Contender::Goconnect | Contender::Raw | Contender::Direct => return None,
        })
    }
}

/// A contender at work.
pub(super) struct Running {
    pub(super) contender: Contender,
    /// Where clients connect.
    pub(super) address: SocketAddrV4,
    /// What is behind it.
    pub(super) backend: SocketAddrV4,
    process: Option<Process>,
}

impl Running {
    /// Starts `contender` in front of the backend at `backend_port`.
    ///
    /// # Errors
    ///
    /// When it does not start, with what it said.
    pub(super) fn start(
        contender: Contender,
        programs: &Programs,
        backend_port: u16,
        as_proxy: bool,
    ) -> Result<Running> {
        let backend = SocketAddrV4::new(Ipv4Addr::new(127, 0, 1, contender.own_byte()), backend_port);
        if contender == Contender::Direct {
            return Ok(Running { contender, address: backend, backend, process: None });
        }
        let address =
            SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, contender.own_byte()), process::free_port()?);
        let (listen, to) = (address.to_string(), backend.to_string());
        let files = match contender {
            Contender::Haproxy => vec![("haproxy.cfg", haproxy_config(&listen, &to, programs.descriptors))],
            Contender::Nginx => vec![("nginx.conf", nginx_stream_config(&listen, &to))],
            Contender::Tinyproxy => vec![("tinyproxy.conf", tinyproxy_config(address))],
            Contender::Squid => vec![("squid.conf", squid_config(address))],
            _ => Vec::new(),
        };
        let folder = process::folder(&files)?;
        let command = match contender {
            Contender::Haproxy => {
                let mut command = Command::new("haproxy");
                command.args(["-db", "-f", "haproxy.cfg"]);
                command
            }
            Contender::Nginx => nginx(folder.path()),
            Contender::Go => {
                let mut command = Command::new(&programs.go_forwarder);
                command.args([&listen, &to]).env("GOMAXPROCS", "1");
                command
            }
            Contender::Goconnect => {
                let mut command = Command::new(&programs.go_connect);
                command.arg(&listen).env("GOMAXPROCS", "1");
                command
            }
            Contender::Tinyproxy => {
                let mut command = Command::new("tinyproxy");
                command.args(["-d", "-c", "tinyproxy.conf"]);
                command
            }
            Contender::Squid => {
                let mut command = Command::new("squid");
                // Its shared memory goes by this name.
                command.args(["-N", "-n", &format!("bench{}", std::process::id()), "-f", "squid.conf"]);
                command
            }
            Contender::Towpath if as_proxy => {
                let mut command = Command::new(&programs.towpath);
                command.args(["proxy", &listen, "--allow-dest", "127.0.0.0/8", "--workers", "1"]);
                command
            }
            Contender::Towpath | Contender::Raw | Contender::Direct => {
                let mut command = Command::new(&programs.towpath);
                command.args(["tcp", &listen, &to, "--workers", "1"]);
                command
            }
        };
        let process = Process::start(contender.name(), &command, folder)?.wait_for(address)?;
        Ok(Running { contender, address, backend, process: Some(process) })
    }

    /// How clients of a tunnel get through it.
    pub(super) fn way(&self) -> Way {
        match self.contender {
            Contender::Raw | Contender::Direct => Way::Straight(self.address),
            _ => Way::Connect(self.address),
        }
    }

    /// The ids of its processes; none for the direct path.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.process.as_ref().map(Process::pids).unwrap_or_default()
    }
}

/// What the contenders forward to, at one port of every loopback address.
pub(super) struct Backend {
    pub(super) port: u16,
    _process: Option<Process>,
}

/// The size of the object that the HTTP backend serves.
const OBJECT_BYTES: usize = 1024;

impl Backend {
    /// An HTTP server with one object of 1 kB.
    pub(super) fn http() -> Result<Backend> {
        let port = process::free_port()?;
        let files = [("nginx.conf", nginx_http_config(port)), ("index.html", "x".repeat(OBJECT_BYTES))];
        let folder = process::folder(&files)?;
        let command = nginx(folder.path());
        Backend::ready("nginx (backend)", &command, folder, port)
    }

    /// An iperf3 server.
    pub(super) fn bulk() -> Result<Backend> {
        let port = process::free_port()?;
        let mut command = Command::new("iperf3");
        command.args(["-s", "-4", "-p", &port.to_string()]);
        Backend::ready("iperf3 (backend)", &command, process::folder(&[])?, port)
    }

    /// A server of this process that sends without end.
    pub(super) fn source() -> Result<Backend> {
        Ok(Backend { port: tunnel::source()?, _process: None })
    }

    fn ready(name: &str, command: &Command, folder: tempfile::TempDir, port: u16) -> Result<Backend> {
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        Ok(Backend { port, _process: Some(Process::start(name, command, folder)?.wait_for(address)?) })
    }
}

fn nginx(folder: &Path) -> Command {
    let mut command = Command::new("nginx");
    command.arg("-p").arg(folder).args(["-c", "nginx.conf", "-e", "stderr"]);
    command
}

fn haproxy_config(listen: &str, backend: &str, descriptors: u64) -> String {
    // It will not start with more than half the descriptors.
    let connections = 10_000.min(descriptors.saturating_sub(200) / 2);
    format!(
        "global
    nbthread 1
    maxconn {connections}
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen bench
    bind {listen}
    server one {backend}
"
    )
}

fn nginx_stream_config(listen: &str, backend: &str) -> String {
    format!(
        "load_module /usr/lib/nginx/modules/ngx_stream_module.so;
{}
stream {{
    access_log off;
    server {{
        listen {listen};
        proxy_pass {backend};
        proxy_timeout 1h;
    }}
}}
",
        nginx_process()
    )
}

fn tinyproxy_config(listen: SocketAddrV4) -> String {
    let (ip, port) = (listen.ip(), listen.port());
    format!(
        "Port {port}\nListen {ip}\nTimeout 600\nMaxClients 1000\nLogLevel Critical\nDisableViaHeader Yes\n"
    )
}

fn squid_config(listen: SocketAddrV4) -> String {
    format!(
        "http_port {listen}
http_access allow all
access_log none
cache_log /dev/null
cache deny all
pid_filename none
pinger_enable off
coredump_dir none
max_filedescriptors 16384
shutdown_lifetime 0 seconds
"
    )
}

fn nginx_http_config(port: u16) -> String {
    format!(
        "{}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    open_file_cache max=10;
    server {{
        listen 0.0.0.0:{port} backlog=4096;
        root .;
    }}
}}
",
        nginx_process()
    )
}

/// What nginx is told as forwarder and as backend alike.
fn nginx_process() -> String {
    // Its worker would leave root otherwise, and could not read our folder.
    let user = if rustix::process::geteuid().is_root() { "user root;\n" } else { "" };
    format!(
        "{user}daemon off;
pid nginx.pid;
worker_processes 1;
error_log stderr crit;
events {{
    worker_connections 20000;
}}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contenders_have_addresses_of_their_own() {
        let bytes = Contender::value_variants().iter().map(|contender| contender.own_byte());
        assert_eq!(bytes.collect::<std::collections::BTreeSet<_>>().len(), Contender::value_variants().len());
    }

    #[test]
    fn haproxy_stays_within_the_descriptors() {
        assert!(haproxy_config("a", "b", 20_000).contains("maxconn 9900\n"));
        assert!(haproxy_config("a", "b", 1_000_000).contains("maxconn 10000\n"));
    }
}
