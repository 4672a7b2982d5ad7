//! What /proc tells of a process and of connections.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Lets this test, and what it starts, have at least so many descriptors open.
pub(crate) fn allow_descriptors(count: u64) {
    let limit = getrlimit(Resource::Nofile);
    assert!(
        limit.maximum.is_none_or(|most| most >= count),
        "this test needs `ulimit -Hn` of {count}: {limit:?}"
    );
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
}

/// How many descriptors the process has open.
pub(crate) fn open_descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("the process lives").count()
}

/// The number that the process's next descriptor will have.
pub(crate) fn lowest_free_descriptor(pid: u32) -> usize {
    let folder = fs::read_dir(format!("/proc/{pid}/fd")).expect("the process lives").flatten();
    let open: Vec<usize> = folder.map(|fd| fd.file_name().to_str().unwrap().parse().unwrap()).collect();
    (0..).find(|number| !open.contains(number)).unwrap()
}

/// Bytes of memory of its own that the process has in use (RssAnon).
pub(crate) fn own_memory_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("RssAnon");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Processor time of all threads of the process so far, in seconds.
pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    cpu_seconds_of(pid, |_| true)
}

/// The same of the threads whose names are `wanted`.
pub(crate) fn cpu_seconds_of(pid: u32, wanted: impl Fn(&str) -> bool) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process lives");
    let is_wanted = |path: &Path| wanted(fs::read_to_string(path.join("comm")).unwrap_or_default().trim());
    let nanos = tasks.flatten().filter(|task| is_wanted(&task.path())).map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        text.split_whitespace().next().and_then(|nanos| nanos.parse::<u64>().ok()).unwrap_or(0)
    });
    nanos.sum::<u64>() as f64 / 1e9
}

/// The names of the process's threads.
pub(crate) fn thread_names(pid: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process lives");
    let names = tasks.flatten().map(|task| fs::read_to_string(task.path().join("comm")).unwrap_or_default());
    names.map(|name| name.trim().to_owned()).collect()
}

/// Whether a signal keeps every thread of the process from running.
pub(crate) fn is_stopped(pid: u32) -> bool {
    let mut tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process lives").flatten();
    // The state is the first letter behind the name, which is in parentheses.
    tasks.all(|task| {
        let text = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        text.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with('T'))
    })
}

/// Bytes that `stream`, over v4, has written and its peer has not acknowledged; `None` once it is no connection any
/// more (tx_queue of /proc/net/tcp).
pub(crate) fn unacknowledged(stream: &TcpStream) -> Option<u64> {
    let (here, there) = (port_of(stream.local_addr())?, port_of(stream.peer_addr())?);
    let table = fs::read_to_string("/proc/net/tcp").expect("/proc/net/tcp");
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let port = |field: Option<&str>| field?.rsplit_once(':').map(|(_, port)| port.to_owned());
        let found = (port(fields.next())?, port(fields.next())?);
        let queues = fields.nth(1)?;
        let matches = found == (here.clone(), there.clone());
        matches.then(|| u64::from_str_radix(queues.split_once(':')?.0, 16).ok()).flatten()
    })
}

fn port_of(address: std::io::Result<SocketAddr>) -> Option<String> {
    Some(format!("{:04X}", address.ok()?.port()))
}
