//! What the kernel says of a process: the CPU time it has used and the memory of its own that it holds.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

/// User and system time of all threads of `pids`, in seconds.
///
/// That of threads which have ended is known in hundredths of a second alone: tinyproxy has one for each connection.
///
/// # Errors
///
/// When the kernel does not tell, or a process is gone.
pub(crate) fn cpu_seconds(pids: &[u32]) -> Result<f64> {
    let mut seconds = 0.0;
    for pid in pids {
        let mut nanoseconds = 0;
        let threads = format!("/proc/{pid}/task");
        for thread in
            fs::read_dir(&threads).with_context(|| format!("cannot list {threads}: has it ended?"))?
        {
            // In nanoseconds, where /proc/PID/stat counts ticks of 10 ms. A thread may end while we look.
            let path = thread?.path().join("schedstat");
            if let Ok(text) = fs::read_to_string(&path) {
                nanoseconds +=
                    first_number(&text).with_context(|| format!("cannot understand {}", path.display()))?;
            }
        }
        let whole = ticks(*pid)? as f64 / TICKS_PER_SECOND;
        seconds += whole.max(nanoseconds as f64 / 1e9);
    }
    Ok(seconds)
}

/// The clock of /proc/PID/stat (USER_HZ), which is the same on all machines that run this.
const TICKS_PER_SECOND: f64 = 100.0;

/// User and system time of a process, threads that have ended included (proc_pid_stat(5), fields 14 and 15).
fn ticks(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}: has it ended?"))?;
    // The name may have spaces and brackets of its own.
    let behind = text.rsplit_once(')').map_or("", |(_, behind)| behind);
    let fields: Vec<u64> =
        behind.split_whitespace().skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    if fields.len() == 2 { Ok(fields.iter().sum()) } else { anyhow::bail!("cannot understand {path}") }
}

/// Memory of `pids` that no file stands behind, in bytes: heap and stacks, without code and without sockets.
/// Waits until it rests.
///
/// # Errors
///
/// When a process is gone.
pub(super) fn resting_memory_bytes(pids: &[u32]) -> Result<u64> {
    let mut last = memory_bytes(pids)?;
    for _ in 0..20 {
        thread::sleep(Duration::from_millis(100));
        let now = memory_bytes(pids)?;
        if now == last {
            break;
        }
        last = now;
    }
    Ok(last)
}

fn memory_bytes(pids: &[u32]) -> Result<u64> {
    let mut kilobytes = 0;
    for pid in pids {
        let path = format!("/proc/{pid}/status");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}: has it ended?"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        kilobytes += line.and_then(first_number).with_context(|| format!("no RssAnon in {path}"))?;
    }
    Ok(kilobytes * 1024)
}

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

/// The kernel's version.
pub(super) fn kernel() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

/// The CPU's name and the number of its cores.
pub(super) fn cpu() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |line: &str| Some(line.strip_prefix("model name")?.split_once(':')?.1.trim().to_owned());
    let model = text.lines().find_map(field).unwrap_or_else(|| "unknown".to_owned());
    format!("{model}, {} cores", cores())
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// What on this machine may spoil the figures, in sentences.
pub(super) fn warnings() -> Vec<String> {
    let mut warnings = Vec::new();
    let load: f64 = fs::read_to_string("/proc/loadavg")
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .unwrap_or_default();
    if load > 0.5 * cores() as f64 {
        warnings.push(format!("the machine is busy (load {load}): figures will be noisy"));
    }
    let reuse = fs::read_to_string("/proc/sys/net/ipv4/tcp_tw_reuse").unwrap_or_default();
    if reuse.trim() == "0" {
        warnings.push("net.ipv4.tcp_tw_reuse is 0: `connect` will run out of ports; set it to 2".to_owned());
    }
    warnings
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn our_own_work_is_counted() {
        let me = [std::process::id()];
        let before = cpu_seconds(&me).unwrap();
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(50) {
            std::hint::spin_loop();
        }
        assert!(cpu_seconds(&me).unwrap() > before);
    }

    #[test]
    fn our_own_memory_is_counted() {
        let me = [std::process::id()];
        let before = memory_bytes(&me).unwrap();
        let block = std::hint::black_box(vec![1u8; 32 << 20]);
        assert!(memory_bytes(&me).unwrap() > before + (16 << 20));
        drop(block);
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        assert!(cpu_seconds(&[u32::MAX]).is_err());
        assert!(memory_bytes(&[u32::MAX]).is_err());
    }
}
