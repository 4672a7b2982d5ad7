//! Whether the keys of tunnels are as secret as they should be.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use towpath_config::Config;

/// What lets the group of a file or all others read it.
const OPEN: u32 = 0o044;

/// A warning for each key file of a tunnel that others than its owner can read.
pub fn open_keys(config: &Config) -> Vec<String> {
    let far = config.listeners.iter().filter_map(|listener| Some(&listener.tunnel.as_ref()?.end));
    let hops = config.pools.iter().flat_map(|pool| &pool.via);
    let near = hops.filter_map(|hop| Some(&hop.tunnel.as_ref()?.end));
    let files: BTreeSet<_> = far.chain(near).filter_map(|end| end.key_file.as_ref()).collect();
    let is_open = |file: &&PathBuf| fs::metadata(file).is_ok_and(|metadata| metadata.mode() & OPEN != 0);
    let warning = |file: &PathBuf| {
        let file = file.display();
        format!("others can read the key file {file}, and whoever has the key gets in: chmod 600 {file}")
    };
    files.into_iter().filter(is_open).map(warning).collect()
}
