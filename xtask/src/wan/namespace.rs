//! The two network namespaces: made with ip(8), joined by TUN devices, removed on every way out.

use std::fs;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use tun_rs::{DeviceBuilder, SyncDevice};

use super::carrier::Devices;

/// Where ip(8) keeps the namespaces that it has made.
const FOLDER: &str = "/run/netns";

/// Packets that a device holds for its carrier, should it be late: 100 ms of full packets at 1 Gb/s.
const DEVICE_QUEUE: u32 = 10_000;

/// Two namespaces for as long as this lives.
pub(super) struct Namespaces {
    pub(super) near: String,
    pub(super) far: String,
}

impl Namespaces {
    /// Makes both, with their loopback up. Namespaces of processes that did not live to remove them go first.
    ///
    /// # Errors
    ///
    /// With what ip(8) says.
    pub(super) fn make() -> Result<Namespaces> {
        for name in left_over()? {
            // Another process may be just as tidy.
            let _ = ip(&["netns", "delete", &name]);
        }
        let pid = std::process::id();
        let namespaces = Namespaces { near: format!("wan-{pid}-near"), far: format!("wan-{pid}-far") };
        for name in [&namespaces.near, &namespaces.far] {
            ip(&["netns", "add", name])?;
            ip(&["-n", name, "link", "set", "lo", "up"])?;
            // No chatter of IPv6 among the packets, and each connection learns the way anew.
            let settings = ["net.ipv6.conf.default.disable_ipv6=1", "net.ipv4.tcp_no_metrics_save=1"];
            ip(&[&["netns", "exec", name, "sysctl", "-qew"], &settings[..]].concat())?;
        }
        Ok(namespaces)
    }

    /// Joins the namespaces by one more pair of devices, with a network of their own.
    ///
    /// # Errors
    ///
    /// When a device cannot be made, or with what ip(8) says.
    pub(super) fn join(&self, link: u8) -> Result<Devices> {
        let [near_address, far_address] = addresses(link);
        let near = device(&self.near, link, 'n', near_address)?;
        let far = device(&self.far, link, 'f', far_address)?;
        // A socket at the near address leaves here, wherever on the far side it goes. The far side answers by the
        // network of the address, which is the same way back.
        let table = 100 + u32::from(link);
        batch(
            &self.near,
            &format!(
                "route add default dev wan{link} table {table}\n\
                 rule add from {near_address} table {table}\n"
            ),
        )?;
        Ok(Devices { near, far })
    }

    /// Packets that the devices of a link have dropped because the carrier was late, there and back.
    ///
    /// # Errors
    ///
    /// With what ip(8) says.
    pub(super) fn missed(&self, link: u8) -> Result<[u64; 2]> {
        let missed = |namespace: &String| {
            let text = ip(&["-json", "-stats", "-n", namespace, "link", "show", &format!("wan{link}")])?;
            let links: serde_json::Value = serde_json::from_str(&text)?;
            let dropped = links[0]["stats64"]["tx"]["dropped"].as_u64();
            dropped.context("ip does not say what a device has dropped")
        };
        Ok([missed(&self.near)?, missed(&self.far)?])
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in [&self.near, &self.far] {
            // On the way out of a failure there may be nothing to remove.
            let _ = ip(&["netns", "delete", name]);
        }
    }
}

/// The near and the far address of a link.
pub(super) fn addresses(link: u8) -> [Ipv4Addr; 2] {
    [1, 2].map(|last| Ipv4Addr::new(10, 77, link, last))
}

/// A device that is up in `namespace`, and ours to read and write.
fn device(namespace: &str, link: u8, end: char, address: Ipv4Addr) -> Result<SyncDevice> {
    let made_as = format!("w{}{end}{link}", std::process::id());
    let device = DeviceBuilder::new().name(&made_as).inherit_enable_state().build_sync();
    let device = device.context("cannot make a TUN device")?;
    device.set_nonblocking(true)?;
    let name = format!("wan{link}");
    ip(&["link", "set", &made_as, "netns", namespace, "name", &name])?;
    let mtu = super::MTU_BYTES;
    batch(
        namespace,
        &format!(
            "address add {address}/24 dev {name}\n\
             link set {name} mtu {mtu} txqueuelen {DEVICE_QUEUE}\n\
             link set {name} up\n"
        ),
    )?;
    Ok(device)
}

/// Namespaces of processes that are no more.
fn left_over() -> Result<Vec<String>> {
    if !Path::new(FOLDER).exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(FOLDER).with_context(|| format!("cannot list {FOLDER}"))?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let is_alive = |pid: u32| Path::new(&format!("/proc/{pid}")).exists();
    Ok(names.filter(|name| maker(name).is_some_and(|pid| !is_alive(pid))).collect())
}

/// The id of the process that made the namespace, if it was one of ours.
fn maker(name: &str) -> Option<u32> {
    let rest = name.strip_prefix("wan-")?;
    rest.strip_suffix("-near").or_else(|| rest.strip_suffix("-far"))?.parse().ok()
}

/// Runs ip(8), and gives what it prints.
fn ip(words: &[&str]) -> Result<String> {
    let output = Command::new("ip").args(words).stdin(Stdio::null()).output();
    let output = output.context("cannot start ip, of the package iproute2")?;
    if !output.status.success() {
        bail!("ip {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs several commands of ip(8), one a line, in `namespace`.
fn batch(namespace: &str, lines: &str) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(["-n", namespace, "-batch", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("cannot start ip, of the package iproute2")?;
    child.stdin.take().context("ip has no input")?.write_all(lines.as_bytes())?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("ip in {namespace}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_namespaces_of_ours_have_a_maker() {
        assert_eq!(maker("wan-123-near"), Some(123));
        assert_eq!(maker("wan-4194304-far"), Some(4_194_304));
        for name in ["wan-near", "wan-1-middle", "lan-1-near", "wan--near", "wan-x-far", "wan-1-near2"] {
            assert_eq!(maker(name), None, "{name}");
        }
    }

    #[test]
    fn each_link_has_a_network_of_its_own() {
        assert_eq!(addresses(3).map(|address| address.to_string()), ["10.77.3.1", "10.77.3.2"]);
    }
}
