//! Who is measured: towpath, its peers and the direct path.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::backend::{self, Backend};
use super::config;
use super::load::{Kind, Role};
use super::process::{self, Process};
use super::tunnel::Way;
use crate::test;

/// A way from the client to the backend, with one thread for the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
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
        let role = kind.role();
        match self {
            Contender::Towpath => true,
            Contender::Haproxy => role != Role::Proxy,
            Contender::Nginx => role != Role::Proxy && kind != Kind::H2storm,
            Contender::Go => role == Role::Forwarder,
            Contender::Direct => role == Role::Forwarder || matches!(kind, Kind::Http1k | Kind::Http64k),
            Contender::Tinyproxy | Contender::Squid | Contender::Goconnect => role == Role::Proxy,
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

    /// How `contender` is started, with its file in `folder`.
    fn command(
        &self,
        contender: Contender,
        role: Role,
        folder: &Path,
        listen: SocketAddrV4,
        backend: SocketAddrV4,
    ) -> Command {
        let (listen, to) = (listen.to_string(), backend.to_string());
        let command = |program: &Path, words: &[&str]| {
            let mut command = Command::new(program);
            command.args(words);
            command
        };
        let go = |program: &Path, words: &[&str]| {
            let mut command = command(program, words);
            command.env("GOMAXPROCS", "1");
            command
        };
        match contender {
            Contender::Haproxy => command(Path::new("haproxy"), &["-db", "-f", config::HAPROXY]),
            Contender::Nginx => backend::nginx(folder),
            Contender::Go => go(&self.go_forwarder, &[&listen, &to]),
            Contender::Goconnect => go(&self.go_connect, &[&listen]),
            Contender::Tinyproxy => command(Path::new("tinyproxy"), &["-d", "-c", config::TINYPROXY]),
            Contender::Squid => {
                // Its shared memory goes by this name.
                let name = format!("bench{}", std::process::id());
                command(Path::new("squid"), &["-N", "-n", &name, "-f", config::SQUID])
            }
            Contender::Towpath if matches!(role, Role::Balancer { .. }) => {
                command(&self.towpath, &["run", config::TOWPATH])
            }
            Contender::Towpath if role == Role::Proxy => {
                // The others write no log of connections either.
                let words =
                    ["proxy", &listen, "--allow-dest", "127.0.0.0/8", "--workers", "1", "--no-records"];
                command(&self.towpath, &words)
            }
            Contender::Towpath | Contender::Raw | Contender::Direct => {
                command(&self.towpath, &["tcp", &listen, &to, "--workers", "1", "--no-records"])
            }
        }
    }
}

/// A contender at work.
pub(super) struct Running {
    pub(super) contender: Contender,
    /// Where clients connect.
    pub(super) address: SocketAddrV4,
    /// The first server behind it.
    pub(super) backend: SocketAddrV4,
    process: Option<Process>,
}

impl Running {
    /// Starts `contender` in front of `backend`.
    ///
    /// # Errors
    ///
    /// When it does not start, with what it said.
    pub(super) fn start(
        contender: Contender,
        programs: &Programs,
        backend: &Backend,
        role: Role,
    ) -> Result<Running> {
        let own = |port: &u16| SocketAddrV4::new(Ipv4Addr::new(127, 0, 1, contender.own_byte()), *port);
        let backends: Vec<_> = backend.ports.iter().map(own).collect();
        let backend = *backends.first().context("a backend without a server")?;
        if contender == Contender::Direct {
            return Ok(Running { contender, address: backend, backend, process: None });
        }
        let address =
            SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, contender.own_byte()), process::free_port()?);
        let file = config::file(contender, role, address, &backends, programs.descriptors);
        let folder = process::folder(file.as_slice())?;
        let command = programs.command(contender, role, folder.path(), address, backend);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contenders_have_addresses_of_their_own() {
        let bytes = Contender::value_variants().iter().map(|contender| contender.own_byte());
        assert_eq!(bytes.collect::<std::collections::BTreeSet<_>>().len(), Contender::value_variants().len());
    }
}
