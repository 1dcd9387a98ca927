//! Files from one guest to another.

use crate::host::Lab;

/// Makes a tree in a guest's home whose names and sizes are of every kind.
pub const MAKE_TREE: &str = "mkdir -p 'tree/Größe/a b' tree/empty; \
    for size in 0 1 511 512 513 4096 70000; do \
        head -c $size /dev/urandom > \"tree/file of $size.bin\"; \
        head -c $size /dev/urandom > \"tree/Größe/a b/$size\"; done; \
    head -c 3000000 /dev/urandom > tree/large";
/// Prints the sums of all files of the tree below the working directory.
pub const SUMS: &str = "find tree -type f | sort | while read -r f; do sha256sum \"$f\"; done";

/// The receiver's udev starts our script, whose fat-reader puts the files in place; nothing is mounted.
pub fn a_tree_arrives_whole(lab: &mut Lab) {
    lab.start_daemon("");
    let sent = lab.user("g1", &format!("{MAKE_TREE}; {SUMS}"));
    assert_eq!(sent.lines().count(), 15, "{sent}");
    let copy = lab.start_as_user("g1", "qvm-copy-to-vm g2 tree");
    let (question, copy) = lab.question_of(copy);
    lab.answer(question, true);
    let ran = copy.finish();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let got = received(lab, "g2", "g1");
    assert_eq!(got, sent);
    lab.wait_until_clean();
    let mounts = lab.guest("g2", "grep -c xvdh /proc/mounts; true");
    assert_eq!(mounts.trim(), "0");
}

/// Waits for a tree, and gives its sums.
pub fn received(lab: &mut Lab, guest: &str, source: &str) -> String {
    let folder = format!("/home/user/QubesIncoming/{source}");
    lab.wait_for("the tree", |lab| lab.try_guest(guest, &format!("ls -d {folder}/*/tree")).code == 0);
    lab.guest(guest, &format!("cd {folder}/*/ && {SUMS}"))
}
