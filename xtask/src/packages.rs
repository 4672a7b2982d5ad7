//! The Debian packages that tests and benchmarks talk to, and how the missing ones are installed.

use std::collections::HashSet;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// A program that something here talks to.
pub(crate) struct Package {
    /// Any one of these will do; the first is what gets installed.
    names: &'static [&'static str],
    /// Who needs it.
    why: &'static str,
}

const fn package(names: &'static [&'static str], why: &'static str) -> Package {
    Package { names, why }
}

/// What the tests talk to.
pub(crate) const FOR_TESTS: &[Package] = &[
    package(&["nginx", "nginx-light"], "the HTTP server behind towpath"),
    package(&["libnginx-mod-stream"], "nginx that sends PROXY headers"),
    package(&["redis-server"], "a backend in which the client speaks first"),
    package(&["redis-tools"], "redis-cli and redis-benchmark"),
    package(&["postgresql"], "a backend with long sessions; brings pgbench"),
    package(&["openssh-server"], "a backend in which the server speaks first"),
    package(&["openssh-client"], "its client"),
    package(&["iperf3"], "bulk streams"),
    package(&["curl"], "the HTTP client, and the client of both kinds of proxy"),
    package(&["haproxy"], "sends and expects PROXY headers"),
    package(&["socat"], "half-closes and odd sockets"),
    package(&["iproute2"], "network namespaces and ss"),
    package(&["nftables"], "drops and rejects packets"),
    package(&["tcpdump"], "sees segments on the wire"),
    package(&["ethtool"], "has each of them be a packet there"),
    package(&["dnsmasq-base"], "a DNS server whose answers change"),
    package(&["tinyproxy"], "an HTTP proxy to go out through"),
    package(&["squid"], "another"),
    package(&["microsocks"], "a SOCKS5 proxy to go out through"),
    package(&["dante-server"], "one that speaks SOCKS4 too"),
    package(&["apache2-utils"], "htpasswd"),
    package(&["git"], "clones and pushes through proxies"),
    package(&["netcat-openbsd"], "takes ssh through proxies"),
    package(&["proxychains4"], "takes other programs through proxies"),
    package(&["chromium-headless-shell"], "the browser behind a proxy"),
    package(&["openssl"], "makes certificates"),
    package(&["python3-pip"], "a client of package indexes"),
    package(&["python3-requests"], "a client of proxies"),
    package(&["python3-socks"], "requests by SOCKS"),
    package(&["python3-httpx"], "a client of proxies"),
    package(&["python3-socksio"], "httpx by SOCKS"),
    package(&["python3-aiohttp"], "a client of proxies, and an HTTP server that speaks WebSocket"),
    package(&["python3-aiohttp-socks"], "aiohttp by SOCKS"),
    package(&["python3-websockets"], "WebSocket, both ends"),
    package(&["python3-grpcio"], "gRPC, both ends"),
    package(&["nghttp2-client"], "h2load: many streams of HTTP/2"),
    package(&["wrk"], "many requests on kept connections"),
    package(&["npm", "nodejs"], "a client of package registries, and node with it"),
    package(&["strace"], "counts system calls"),
    package(&["procps"], "looks at processes"),
];

/// What the benchmarks run.
pub(crate) const FOR_BENCH: &[Package] = &[
    package(&["nginx", "nginx-light"], "the HTTP backend"),
    package(&["libnginx-mod-stream"], "contender: nginx stream"),
    package(&["haproxy"], "contender: HAProxy"),
    package(&["golang-go"], "builds the contender that is io.Copy both ways"),
    package(&["iperf3"], "bulk streams"),
    package(&["wrk"], "HTTP requests"),
    package(&["nghttp2-client"], "h2load: requests by HTTP/2"),
    package(&["tinyproxy"], "contender: tinyproxy"),
    package(&["squid"], "contender: Squid"),
];

/// Installs what is missing of `packages`, and says so.
///
/// # Errors
///
/// When this is no Debian, or apt-get fails.
pub(crate) fn install_missing(packages: &[Package]) -> Result<()> {
    let missing = missing(packages, &installed(packages)?);
    if missing.is_empty() {
        println!("packages: nothing is missing");
        return Ok(());
    }
    for package in &missing {
        println!("packages: {} is missing ({})", package.names[0], package.why);
    }
    let names: Vec<_> = missing.iter().map(|package| package.names[0]).collect();
    if !exists("apt-get") {
        bail!("apt-get is not here: install {} yourself, then add --no-install", names.join(" "));
    }
    let mut install = as_root()?;
    install.args(["sh", "-c", INSTALL, "install"]).args(&names);
    println!("packages: installing {}", names.join(" "));
    let status = install.status().context("cannot start apt-get")?;
    if !status.success() {
        bail!("apt-get could not install {} ({status})", names.join(" "));
    }
    Ok(())
}

/// Installs "$@" without starting any of the services that come along: with a policy that forbids it for as long
/// as apt-get runs, unless the machine has a policy of its own.
const INSTALL: &str = r#"
set -eu
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
apt-get update -qq
apt-get install -qq --no-install-recommends "$@"
"#;

/// The names among `packages` that dpkg has installed.
fn installed(packages: &[Package]) -> Result<HashSet<String>> {
    let names = packages.iter().flat_map(|package| package.names);
    // It fails when it knows nothing of a name, and still answers for the others.
    let output = Command::new("dpkg-query")
        .args(["-W", "-f", "${Package} ${db:Status-Status}\n"])
        .args(names)
        .output()
        .context("dpkg-query is not here, so this is no Debian: install what is needed yourself, then add --no-install")?;
    Ok(parse_installed(&String::from_utf8_lossy(&output.stdout)))
}

fn parse_installed(listing: &str) -> HashSet<String> {
    let lines = listing.lines().filter_map(|line| line.split_once(' '));
    lines.filter(|(_, state)| *state == "installed").map(|(name, _)| name.to_owned()).collect()
}

fn missing<'a>(packages: &'a [Package], installed: &HashSet<String>) -> Vec<&'a Package> {
    packages.iter().filter(|package| !package.names.iter().any(|name| installed.contains(*name))).collect()
}

/// A command that runs its arguments as root.
fn as_root() -> Result<Command> {
    if rustix::process::geteuid().is_root() {
        return Ok(Command::new("env"));
    }
    if !exists("sudo") {
        bail!("installing needs root, and there is no sudo: run as root, or add --no-install");
    }
    Ok(Command::new("sudo"))
}

/// Whether `program` is in the PATH.
pub(crate) fn exists(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_dpkg_calls_installed_counts() {
        let installed = parse_installed("curl installed\nsocat config-files\nnginx-light not-installed\n");
        assert_eq!(installed, HashSet::from(["curl".to_owned()]));
    }

    #[test]
    fn any_of_the_alternatives_will_do() {
        let packages = [package(&["nginx", "nginx-light"], ""), package(&["socat"], "")];
        let missing = missing(&packages, &HashSet::from(["nginx-light".to_owned()]));
        assert_eq!(missing.iter().map(|package| package.names[0]).collect::<Vec<_>>(), ["socat"]);
    }
}
