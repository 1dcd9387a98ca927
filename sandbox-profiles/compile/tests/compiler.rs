//! What the compiler of profiles accepts, and what it refuses to build.

use profile_compiler::names::Arch;
use profile_compiler::{Compiled, condition, generate};

const WORKER: &str = r#"
process = "test"
user = "nobody"
stdio = "null"
descriptors = ["edge", "output"]
root = "empty"
namespaces = ["user", "pid", "net", "ipc", "uts", "cgroup"]
capabilities = []
landlock = [{ descriptor = "output", access = ["make-reg"], reason = "its files" }]

[rlimits]
core = 0

[syscalls]
read = "bytes"
mmap = { when = ["arg2 & PROT_EXEC == 0"], reason = "memory" }
"#;

fn compile(stem: &str, text: &str) -> Result<Compiled, String> {
    profile_compiler::compile(stem, text, Arch::X86_64)
}

/// Compiles [`WORKER`] with one text replaced.
fn with(old: &str, new: &str) -> Result<Compiled, String> {
    assert!(WORKER.contains(old), "{old}");
    compile("test", &WORKER.replace(old, new))
}

fn refusal(old: &str, new: &str) -> String {
    let refused = with(old, new).err();
    assert!(refused.is_some(), "accepted: {new}");
    refused.unwrap_or_default()
}

/// Compiles [`WORKER`] with one more system call.
fn refused_call(line: &str) -> String {
    refusal("read = \"bytes\"\n", &format!("read = \"bytes\"\n{line}\n"))
}

#[test]
fn a_profile_becomes_a_constant_with_its_reasons() {
    let compiled = compile("test-worker", WORKER).unwrap();
    assert!(compiled.program.len() > 5);
    let text = generate::all(&[compiled]).unwrap();
    assert!(text.contains("pub static TEST_WORKER: Profile"), "{text}");
    assert!(text.contains("conditions: &[\"arg2 & PROT_EXEC == 0\"], reason: \"memory\""), "{text}");
    assert!(text.contains("&[&TEST_WORKER]"), "{text}");
}

#[test]
fn unknown_keys_calls_constants_and_rights_are_refused() {
    assert!(refusal("user =", "owner = \"x\"\nuser =").contains("owner"));
    assert!(refused_call("raed = \"typing mistake\"").contains("unknown system call raed"));
    assert!(refused_call("ioctl = { when = [\"int1 == TCGETZ\"], reason = \"x\" }").contains("TCGETZ"));
    assert!(refused_call("write = { wen = [], reason = \"x\" }").contains("wen"));
    assert!(refusal("\"make-reg\"", "\"make-coffee\"").contains("make-coffee"));
    assert!(refusal("core = 0", "cores = 0").contains("cores"));
    assert!(refusal("capabilities = []", "capabilities = [\"CAP_FLY\"]").contains("CAP_FLY"));
    assert!(refusal("stdio = \"null\"", "stdio = \"some\"").contains("some"));
}

#[test]
fn missing_keys_and_reasons_and_empty_lists_are_refused() {
    assert!(refusal("stdio = \"null\"\n", "").contains("stdio"));
    assert!(refusal("read = \"bytes\"", "read = \"  \"").contains("reason"));
    assert!(refused_call("write = { when = [\"arg0 == 1\"] }").contains("reason"));
    assert!(refused_call("write = { when = [], reason = \"x\" }").contains("empty"));
    assert!(refused_call("write = []").contains("wants a reason"));
    assert!(refusal("core = 0", "").contains("empty"));
    let calls = WORKER.find("read =").unwrap();
    assert!(compile("test", &WORKER[..calls]).err().unwrap().contains("empty"));
    assert!(refusal("reason = \"its files\"", "reason = \"\"").contains("landlock"));
}

#[test]
fn what_no_confined_process_may_have_is_refused() {
    for call in
        ["prctl", "clone3", "open", "socket", "connect", "execve", "ptrace", "seccomp", "mount", "kill"]
    {
        assert!(refused_call(&format!("{call} = \"please\"")).contains("no confined process"), "{call}");
    }
    assert!(
        refusal("{ when = [\"arg2 & PROT_EXEC == 0\"], reason = \"memory\" }", "\"memory\"")
            .contains("PROT_EXEC")
    );
    assert!(
        refused_call("mprotect = { when = [\"arg2 & PROT_WRITE == 0\"], reason = \"x\" }")
            .contains("PROT_EXEC")
    );
    assert!(refused_call("tgkill = \"abort\"").contains("SIGABRT"));
    assert!(refused_call("accept4 = \"guests\"").contains("DESCRIPTOR"));
    assert!(refused_call("getsockopt = \"options\"").contains("OPTION"));
    assert!(refused_call("ioctl = \"requests\"").contains("REQUEST"));
    assert!(refusal("\"user\", ", "").contains("User"));
    assert!(refusal("root = \"empty\"", "root = \"inherited\"").contains("empty root"));
    assert!(refusal("capabilities = []", "capabilities = [\"CAP_KILL\"]").contains("no capabilities"));
    let no_rules = WORKER
        .replace("[{ descriptor = \"output\", access = [\"make-reg\"], reason = \"its files\" }]", "[]");
    let by_name = no_rules.replace("read = ", "openat2 = \"files\"\nread = ");
    assert!(compile("test", &by_name).err().unwrap().contains("needs a landlock rule"));
    assert!(refusal("descriptor = \"output\"", "descriptor = \"other\"").contains("other"));
}

#[test]
fn landlock_is_left_out_only_by_a_process_that_starts_others() {
    let rules = "[{ descriptor = \"output\", access = [\"make-reg\"], reason = \"its files\" }]";
    assert!(refusal(rules, "\"not-for-starters\"").contains("root is inherited"));
    let starter = WORKER.replace(rules, "\"not-for-starters\"").replace("\"empty\"", "\"inherited\"");
    assert!(compile("test", &starter).is_ok());
}

#[test]
fn conditions_are_understood_whole_or_not_at_all() {
    let good =
        ["arg0 == 1", "int5 <= 0x10", "arg1 != F_GETFD", "int2 & O_CREAT|O_EXCL == O_CREAT", "arg3 >= 2"];
    for text in good {
        assert!(condition::Condition::parse(text, Arch::X86_64).is_ok(), "{text}");
    }
    let bad = [
        "",
        "arg0",
        "arg6 == 1",
        "arg00 == 1",
        "argx == 1",
        "x0 == 1",
        "arg0 = 1",
        "arg0 < 1",
        "arg0 == -1",
        "arg0 == 1 1",
        "arg0 & 1 != 1",
        "arg0 & 1 == 2",
        "arg0 == 0xg",
        "arg0 == 18446744073709551616",
    ];
    for text in bad {
        assert!(condition::Condition::parse(text, Arch::X86_64).is_err(), "{text}");
    }
}

#[test]
fn a_process_without_a_profile_for_each_architecture_is_refused() {
    let folder = std::env::temp_dir().join(format!("profiles-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let refusal = || profile_compiler::all(&folder).err().unwrap_or_default();
    let nothing = refusal();
    std::fs::write(folder.join("one.x86_64.toml"), WORKER).unwrap();
    let one_architecture = refusal();
    std::fs::write(folder.join("other.aarch64.toml"), WORKER).unwrap();
    let different = refusal();
    std::fs::write(folder.join("other.aarch64.toml"), "").unwrap();
    let empty = refusal();
    std::fs::rename(folder.join("other.aarch64.toml"), folder.join("one.aarch64.toml")).unwrap();
    std::fs::write(folder.join("one.aarch64.toml"), WORKER).unwrap();
    let both = profile_compiler::all(&folder);
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(nothing.contains("no profile for the architecture x86_64"), "{nothing}");
    assert!(one_architecture.contains("no profile for the architecture aarch64"), "{one_architecture}");
    assert!(different.contains("profiles of x86_64: one; but of aarch64: other"), "{different}");
    assert!(empty.contains("other.aarch64.toml"), "{empty}");
    assert_eq!(both.unwrap().len(), 2);
}

#[test]
fn an_aim_is_met_or_its_reason_given_and_not_both() {
    let aim =
        |text: &str| compile("test", &WORKER.replace("[rlimits]", &format!("[aim]\n{text}\n\n[rlimits]")));
    assert!(aim("calls_max = 2").is_ok());
    assert!(aim("calls_max = 1").unwrap_err().contains("say why"));
    assert!(aim("calls_max = 1\nmissed = \"memory\"").is_ok());
    assert!(aim("calls_max = 1\nmissed = \"\"").unwrap_err().contains("empty"));
    assert!(aim("calls_max = 2\nmissed = \"memory\"").unwrap_err().contains("remove"));
    assert!(refused_call("write = { reason = \"x\", rare = \" \" }").contains("rare"));
    assert!(refused_call("write = [{ reason = \"x\" }]").contains("needs conditions"));
}
