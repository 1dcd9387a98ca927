//! Command lines, without any host.

use std::process::Command;

const TOOLS: [&str; 4] = [
    env!("CARGO_BIN_EXE_qubes_penctl"),
    env!("CARGO_BIN_EXE_qvm-copy-to-vm"),
    env!("CARGO_BIN_EXE_qubes_add_pendrive_script"),
    env!("CARGO_BIN_EXE_qvm-open-in-dvm"),
];

#[test]
fn l23_wrong_usage_of_each_tool_is_exit_code_2_and_one_line() {
    for tool in TOOLS {
        for words in [&["--nonsense"][..], &["--timeout"], &["--timeout", "0"], &["a", "b\nc", "d", "e"]] {
            // The last line is wrong for all but those that take files: there are none of these names.
            let output = Command::new(tool).args(words).env_remove("ACTION").output().unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            let takes_files = tool.ends_with("qvm-copy-to-vm") || tool.ends_with("qvm-open-in-dvm");
            let is_copy_of_missing = takes_files && words.len() == 4;
            assert_eq!(
                output.status.code(),
                Some(if is_copy_of_missing { 8 } else { 2 }),
                "{tool}: {stderr}"
            );
            assert_eq!(stderr.lines().count(), 1, "{stderr}");
            assert!(output.stdout.is_empty());
        }
    }
}

#[test]
fn each_tool_explains_itself() {
    for tool in TOOLS {
        let name = tool.rsplit('/').next().unwrap();
        let help = Command::new(tool).arg("--help").output().unwrap();
        let text = String::from_utf8(help.stdout).unwrap();
        assert!(help.status.success() && help.stderr.is_empty());
        assert!(text.contains(&format!("Usage: {name}")) && text.contains("Exit codes:"), "{text}");
        assert!(text.lines().all(|line| line.len() <= 82), "{text}");
        let version = Command::new(tool).arg("--version").output().unwrap();
        assert_eq!(String::from_utf8(version.stdout).unwrap().lines().count(), 1);
    }
}

#[test]
fn without_xenstore_each_tool_says_so() {
    let words: [&[&str]; 4] =
        [&["umount"], &["vault", "/proc/self/exe"], &[], &["--view-only", "/proc/self/exe"]];
    for (tool, words) in TOOLS.into_iter().zip(words) {
        let output = Command::new(tool)
            .args(words)
            .env("XENSTORED_PATH", "/nonexistent/socket")
            .env_remove("ACTION")
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        // The one tool that does not follow links.
        let is_link = tool.ends_with("qvm-copy-to-vm");
        assert_eq!(output.status.code(), Some(if is_link { 8 } else { 1 }), "{stderr}");
        assert!(is_link || stderr.contains("cannot connect to xenstore"), "{stderr}");
    }
}
