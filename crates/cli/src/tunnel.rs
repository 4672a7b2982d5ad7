//! `towpath tunnel`: the far end of tunnels, and the keys of both.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;

use crate::args::{Instance, Way};
use crate::exit::Failure;
use crate::sockets::Sockets;

/// What its help ends with.
pub(crate) const EXAMPLES: &str = "\
Both ends have the same key file, and nobody else does. Streams of the near end are carried over several connections,
the lanes, which may break and come back without any stream noticing. Loopback and link-local addresses, and port 25, are
closed unless --allow-dest names them.

Examples:
  towpath tunnel --new-key key                          once; then copy the file to the other end
  towpath tunnel :7000 --key-file key                   the far end
  towpath tcp :5432 db:5432 --via 'towpath://far:7000?key-file=key'
  towpath tcp :5432 db:5432 --via 'towpath://far:7000?key-file=key&lanes=8&compress=off'
  towpath tunnel :7000 --key-file key --deny-dest '*' --allow-dest 'db.internal:5432'";

/// The arguments of `towpath tunnel`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Tunnel {
    /// Where to listen; several with commas between
    #[arg(value_name = "LISTEN[,LISTEN…]", required_unless_present = "new_key")]
    pub(crate) listen: Option<String>,
    /// Make a key in a new file, and exit
    #[arg(long, value_name = "FILE", conflicts_with = "listen")]
    pub(crate) new_key: Option<PathBuf>,
    /// The file of the key that both ends have
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<String>,
    /// Neither encrypt nor ask who is there: for ways that nobody else can use
    #[arg(long, conflicts_with = "key_file")]
    pub(crate) plain: bool,
    /// Let streams go there although it is closed, or denied in general; repeatable
    #[arg(long, value_name = "RULE")]
    pub(crate) allow_dest: Vec<String>,
    /// Let no stream go there, with * only where --allow-dest says; repeatable
    #[arg(long, value_name = "RULE")]
    pub(crate) deny_dest: Vec<String>,
    /// Compress what goes to the near end: auto, zstd, lz4 or off [default: auto]
    #[arg(long, value_name = "HOW")]
    pub(crate) compress: Option<String>,
    /// How long streams live on without a connection, off for not at all [default: 30s]
    #[arg(long, value_name = "DURATION")]
    pub(crate) resume_timeout: Option<String>,
    #[command(flatten)]
    pub(crate) way: Way,
    #[command(flatten)]
    pub(crate) instance: Instance,
    /// Print the configuration file for the same thing, with passwords masked, and exit
    #[arg(long)]
    pub(crate) print_config: bool,
    #[command(flatten)]
    pub(crate) sockets: Sockets,
}

/// Makes a key in a new file that only its owner can read.
pub(crate) fn new_key(path: &Path) -> Result<(), Failure> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::Usage(format!("no random bytes are to be had: {error}")))?;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.map_err(|error| {
        let hint = match error.kind() {
            ErrorKind::AlreadyExists => ": it is not overwritten; give another name, or remove it",
            _ => "",
        };
        Failure::Usage(format!("the key file {} cannot be made: {error}{hint}", path.display()))
    })?;
    writeln!(file, "{digits}")?;
    Ok(())
}
