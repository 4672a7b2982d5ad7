//! Libraries that the tests use as clients and that Debian has no packages of: installed below the target directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{packages, test};

/// Where the tests name what they need, with the exact versions.
const NAMED_IN: &str = "crates/cli/tests/support/clients";

/// The folder that the tests find in TOWPATH_CLIENTS.
///
/// # Errors
///
/// When `cargo metadata` fails.
pub(crate) fn clients_dir(root: &Path) -> Result<PathBuf> {
    Ok(test::target_dir(root)?.join("tools/clients"))
}

/// Installs the libraries of node, unless they are there in the versions of the lock file.
///
/// # Errors
///
/// When npm is not here, or fails.
pub(crate) fn install_clients(root: &Path) -> Result<()> {
    let folder = clients_dir(root)?;
    let lock =
        fs::read(root.join(NAMED_IN).join("package-lock.json")).context("cannot read the lock file")?;
    // It is copied last, so it tells what was installed to the end.
    let installed = folder.join("installed.json");
    if fs::read(&installed).is_ok_and(|installed| installed == lock) {
        println!("client libraries: nothing is missing");
        return Ok(());
    }
    if !packages::exists("npm") {
        bail!("npm is not here, though node is: install it, then come again, or add --no-install");
    }
    println!("client libraries: npm installs those of {NAMED_IN}/package.json in {}", folder.display());
    fs::create_dir_all(&folder)?;
    for name in ["package.json", "package-lock.json"] {
        fs::copy(root.join(NAMED_IN).join(name), folder.join(name))?;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&folder);
    let status = npm.status().context("cannot start npm")?;
    if !status.success() {
        bail!("npm could not install the libraries of {NAMED_IN}/package.json ({status})");
    }
    fs::write(&installed, lock)?;
    Ok(())
}
