//! cargo-deny, which follows deny.toml as well: its word counts where it can be had.

use std::path::PathBuf;
use std::process::Stdio;

use crate::workspace::{self, cargo};
use crate::{Outcome, run};

/// The version that is installed where there is none. Built from its sources in a little more than three minutes of one
/// processor.
const VERSION: &str = "=0.20.2";
/// How long a server may be silent, in seconds: without a network this must not take long.
const SERVER_S_MAX: &str = "20";

/// Asks it about licences, bans and sources, if it is there or can be installed below the target folder.
pub fn check() -> Outcome<()> {
    let Some(folder) = folder()? else {
        println!(
            "deny.toml holds; cargo-deny, which would say the same, is not there and cannot be installed"
        );
        return Ok(());
    };
    let mut fetch = cargo();
    fetch.args(["fetch", "--quiet", "--locked"]).env("CARGO_NET_RETRY", "0");
    if !fetch.status().is_ok_and(|status| status.success()) {
        println!(
            "deny.toml holds; cargo-deny needs crates of other systems as well, which cannot be had here"
        );
        return Ok(());
    }
    let mut deny = cargo();
    // Cargo looks for its subcommands along PATH.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(folder).chain(std::env::split_paths(&path));
    deny.env("PATH", std::env::join_paths(folders).map_err(|error| format!("PATH: {error}"))?);
    deny.args(["deny", "--offline", "check", "--hide-inclusion-graph", "licenses", "bans", "sources"]);
    run::succeed(&mut deny, "cargo deny check")
}

/// The folder that it is in, to be looked at before all others.
fn folder() -> Outcome<Option<PathBuf>> {
    let tools = workspace::target_folder()?.join("tools");
    let bin = tools.join("bin");
    let is_anywhere =
        cargo().args(["deny", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if bin.join("cargo-deny").exists() || is_anywhere.is_ok_and(|status| status.success()) {
        return Ok(Some(bin));
    }
    println!("installing cargo-deny {VERSION} in {}", tools.display());
    let build = tools.join("build");
    let mut install = cargo();
    install
        .args(["install", "--quiet", "--locked", "--version", VERSION, "cargo-deny", "--root"])
        .arg(&tools);
    install
        .env("CARGO_TARGET_DIR", &build)
        .env("CARGO_NET_RETRY", "0")
        .env("CARGO_HTTP_TIMEOUT", SERVER_S_MAX);
    let is_installed = install.status().is_ok_and(|status| status.success());
    // Large, and of no more use. Where it stays nothing is lost.
    let _ = std::fs::remove_dir_all(build);
    Ok(is_installed.then_some(bin))
}
