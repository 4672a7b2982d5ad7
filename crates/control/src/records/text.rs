//! A record as one line of `key=value` pairs.

use std::fmt;
use std::io::Write;

use jiff::Timestamp;
use towpath_engine::Record;

/// Appends the line of `record` to `to`.
pub(super) fn write(record: &Record, to: &mut Vec<u8>) {
    // Writing to memory cannot fail.
    let _ = writeln!(to, "{}", Line(record));
}

struct Line<'a>(&'a Record);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let record = self.0;
        if let Ok(start) = Timestamp::try_from(record.start) {
            write!(f, "{start:.3} ")?;
        }
        write!(f, "listener={} client=", record.listener.name)?;
        match record.client {
            Some(client) => write!(f, "{}", super::canonical(client))?,
            None => f.write_str("unix")?,
        }
        if let Some(backend) = &record.backend {
            write!(
                f,
                " pool={} backend={}",
                backend.pool.name, backend.pool.backends[backend.backend].address
            )?;
            if let Some(address) = backend.address {
                write!(f, " address={address}")?;
            }
        }
        write!(f, " duration={:.3}s", record.duration.as_secs_f64())?;
        if let Some(time) = record.connect_time {
            write!(f, " connect={:.6}s", time.as_secs_f64())?;
        }
        let (stage, reason) = (record.stage.as_str(), record.reason.as_str());
        write!(f, " up={} down={} stage={stage} end=\"{reason}\"", record.up_bytes, record.down_bytes)
    }
}
