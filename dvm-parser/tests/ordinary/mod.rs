//! Tests that must hold for root and for an ordinary user.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// Tells a test that it runs as an ordinary user already.
const ORDINARY_ENV: &str = "QFILEXCHG_TEST_ORDINARY_USER";
/// An account that owns nothing.
const ORDINARY_UID: u32 = 54_321;

/// Runs a test, and when this is root runs it again in a process of an ordinary user.
pub fn as_ordinary_user_too(name: &str, test: fn()) {
    test();
    if !rustix::process::geteuid().is_root() || std::env::var_os(ORDINARY_ENV).is_some() {
        return;
    }
    let own = std::env::current_exe().unwrap();
    let again = Command::new(&own)
        .args(["--exact", &format!("tests::{name}")])
        .env(ORDINARY_ENV, "1")
        .current_dir("/")
        .uid(ORDINARY_UID)
        .gid(ORDINARY_UID)
        .output();
    match again {
        Err(error) => testkit::skip(&format!("an ordinary user cannot run the tests' program: {error}")),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && text.contains("1 passed"), "as an ordinary user: {text}");
        }
    }
}
