//! The shipped file, and every way to be refused.

use super::disposables::{COMMAND_WORD_BYTES_MAX, COMMAND_WORDS_MAX};
use super::raw::RawConfig;
use super::*;
use protocol::launch::DISPOSABLES_MAX;

const SHIPPED: &str = include_str!("../../../packaging/qfilexchgd.toml");

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(Path::new("f.toml"), text).map_err(|error| error.to_string())
}

fn refused(text: &str) -> String {
    parse(text).unwrap_err()
}

#[test]
fn the_shipped_file_is_the_defaults() {
    assert_eq!(parse(SHIPPED), parse(""));
}

#[test]
fn the_shipped_file_names_every_key() {
    let raw: RawConfig = toml::from_str(SHIPPED).unwrap();
    assert!(raw.is_complete());
}

#[test]
fn the_shipped_file_documents_every_key() {
    // Each line `key = value` stands below at least one line of comment that names the default.
    let mut above: Vec<&str> = Vec::new();
    for line in SHIPPED.lines() {
        if line.starts_with('#') {
            above.push(line);
        } else if line.is_empty() || line.starts_with('[') {
            above.clear();
        } else {
            let text = above.join(" ");
            assert!(text.len() > 20, "no comment above {line}");
            let (_, value) = line.split_once('=').unwrap();
            let value = value.trim();
            if value.parse::<u32>().is_ok() {
                assert!(text.contains(" to "), "no bounds above {line}");
            }
            above.clear();
        }
    }
}

#[test]
fn an_unknown_key_is_refused_with_its_place() {
    let error = refused("[images]\n\ntotal_max = 3\n  totl_max = 4\n");
    assert!(error.starts_with("f.toml:4:3: unknown field `totl_max`"), "{error}");
    let error = refused("[imges]\n");
    assert!(error.starts_with("f.toml:1:2: unknown field `imges`"), "{error}");
    assert!(refused("x = 1").starts_with("f.toml:1:1: "), "{}", refused("x = 1"));
}

#[test]
fn what_is_not_toml_is_refused_with_its_place() {
    assert!(refused("[host]\nkind = \n").starts_with("f.toml:2:"), "{}", refused("[host]\nkind = \n"));
    assert!(refused("[host\n").starts_with("f.toml:1:"));
    assert!(refused("[host]\n[host]\n").starts_with("f.toml:2:"));
    assert!(refused("[host]\nkind = 3\n").starts_with("f.toml:2:8: "));
}

#[test]
fn l19_numbers_are_bounded_at_both_ends() {
    let cases = [
        ("images", "size_default_mib", 33, 16_384),
        ("images", "size_max_mib", 1024, 32_768),
        ("images", "per_vm_max", 1, 64),
        ("images", "total_max", 4, 64),
        ("images", "per_vm_mib_max", 16_384, 131_072),
        ("images", "total_mib_max", 32_768, 1_073_741_824),
        ("images", "free_mib_min", 0, 1_073_741_824),
        ("images", "connect_ms_max", 100, 25_000),
        ("images", "boot_ms_max", 100, 50_000),
        ("images", "close_ms_max", 100, 25_000),
        ("images", "loop_first", 0, 1_048_000),
        ("images", "loop_count", 64, 256),
        ("dialog", "question_s_max", 5, 3600),
        ("dialog", "wait_s_max", 5, 86_400),
        ("disposables", "memory_mib_min", 0, 1_048_576),
        ("disposables", "total_max", 4, i64::try_from(DISPOSABLES_MAX).unwrap()),
        ("disposables", "per_vm_max", 1, 8),
        ("disposables", "create_s_max", 1, 600),
        ("disposables", "destroy_s_max", 1, 600),
        ("disposables", "rebuild_s_max", 1, 7200),
    ];
    for (section, key, min, max) in cases {
        let with = |number: i64| parse(&format!("[{section}]\n{key} = {number}\n"));
        assert!(with(min).is_ok(), "{key} {min}: {:?}", with(min));
        assert!(with(max).is_ok(), "{key} {max}: {:?}", with(max));
        for outside in [min - 1, max + 1, -1, i64::MIN, i64::MAX, 1 << 32] {
            let error = with(outside).unwrap_err();
            assert!(error.starts_with("f.toml:2:") || error.contains("exceeds"), "{key} {outside}: {error}");
        }
    }
}

#[test]
fn a_value_at_odds_with_another_is_refused_at_its_place() {
    assert_eq!(
        refused("[images]\nsize_max_mib = 512\nsize_default_mib = 1024\n"),
        "f.toml:3:20: size_default_mib exceeds size_max_mib"
    );
    assert!(refused("[images]\ntotal_max = 65\n").contains("loop_count"));
    assert!(parse("[host]\nkind = \"simulated\"\n[images]\ntotal_max = 65\n").is_ok());
}

#[test]
fn a_kind_of_dialog_that_there_is_not_is_refused() {
    assert_eq!(
        refused("[dialog]\nkind = \"windows\"\n"),
        "f.toml:2:8: the kind of dialog is \"terminal\", \"window\", \"control\" or \"none\""
    );
    assert!(refused("[dialog]\nkind = \"\"\n").contains("\"window\", \"control\" or \"none\""));
    assert!(refused("[host]\nkind = \"kvm\"\n").contains("\"xen\" or \"simulated\""));
}

#[test]
fn paths_are_absolute_and_bounded() {
    assert!(
        refused("[images]\ndirectory = \"images\"\n").starts_with("f.toml:2:13: a path must be absolute")
    );
    assert!(refused("[images]\ndirectory = \"\"\n").contains("absolute"));
    assert!(refused("[images]\ndirectory = \"/a\\u0000b\"\n").contains("no NUL"));
    let with = |length: usize| parse(&format!("[journal]\ndirectory = \"/{}\"\n", "a".repeat(length - 1)));
    assert!(with(PATH_BYTES_MAX).is_ok());
    assert!(with(PATH_BYTES_MAX + 1).is_err());
}

#[test]
fn accounts_are_neither_root_nor_shared() {
    let with = |value: &str| parse(&format!("[accounts]\nbroker = \"{value}\"\n"));
    assert_eq!(with("61000").unwrap().accounts.broker, Account::Number(61_000));
    assert_eq!(with("b").unwrap().accounts.broker, Account::Name("b".to_owned()));
    for bad in ["", "0", "root", "65534", "65535", "4294967294", "4294967295", "a b", "qfx-attacher"] {
        assert!(with(bad).is_err(), "{bad}");
    }
    assert!(with(&"a".repeat(32)).is_ok());
    assert!(with(&"a".repeat(33)).is_err());
    let simulated = parse("[host]\nkind = \"simulated\"\n").unwrap();
    assert_eq!(simulated.accounts.of(Role::Broker), &Account::Number(64_301));
    let xen = parse("").unwrap();
    let named: Vec<String> = Role::ALL.iter().map(|role| format!("{:?}", xen.accounts.of(*role))).collect();
    assert!(named.iter().all(|name| name.starts_with("Name(\"qfx-")), "{named:?}");
}

#[test]
fn a_file_that_everybody_may_write_is_not_trusted() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("c.toml");
    std::fs::write(&file, SHIPPED).unwrap();
    assert!(Config::load(&file).is_ok());
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
    assert!(Config::load(&file).unwrap_err().text.contains("everybody"));
    assert!(Config::load(&directory.path().join("none")).unwrap_err().text.starts_with("cannot open"));
    assert!(Config::load(directory.path()).unwrap_err().text.contains("regular"));
}

#[test]
fn l19_a_file_is_read_up_to_its_bound_and_no_further() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("c.toml");
    for (length, fits) in [(0, true), (1, true), (CONFIG_BYTES_MAX, true), (CONFIG_BYTES_MAX + 1, false)] {
        std::fs::write(&file, "#".repeat(length)).unwrap();
        assert_eq!(Config::load(&file).is_ok(), fits, "{length} bytes");
    }
}

#[test]
fn commands_are_lists_of_bounded_words_with_an_absolute_program() {
    let with = |create: &str| {
        parse(&format!("[disposables]\ndestroy = [\"/d\", \"{{name}}\"]\ncreate = {create}\n"))
    };
    let made = with("[\"/c\", 'name=\"{name}\"']").unwrap().disposables;
    assert_eq!(made.create, ["/c", "name=\"{name}\""]);
    assert!(made.are_made());
    assert!(!with("[]").unwrap().disposables.are_made());
    let program = with("[\"c\", \"{name}\"]").unwrap_err();
    assert!(program.starts_with("f.toml:3:11: the program of a command is an absolute path"), "{program}");
    assert!(with("[\"/c{name}\", \"{name}\"]").unwrap_err().contains("absolute path"));
    assert!(with("[\"\", \"{name}\"]").unwrap_err().contains("absolute path"));
    assert!(with("[\"/c\"]").unwrap_err().contains("which VM"));
    assert!(with("[\"/c\", \"{name}\\u0000\"]").unwrap_err().contains("no NUL"));
    assert!(with("\"/c {name}\"").is_err());
    let no_end = refused("[disposables]\ncreate = [\"/c\", \"{name}\"]\n");
    assert_eq!(no_end, "f.toml:2:10: create without destroy: no DisposableVM would ever end");
    for about_none in ["rebuild", "free_memory"] {
        assert!(
            refused(&format!("[disposables]\n{about_none} = [\"/c\", \"{{name}}\"]\n")).contains("no VM")
        );
    }
    assert!(refused("[disposables]\nbase = \"/b\"\n").contains("nothing to compare"));
    assert!(refused("[disposables]\ntemplate = \"b\"\n").contains("absolute"));
    assert!(refused("[disposables]\nper_vm_max = 9\n").contains("exceeds"));
}

#[test]
fn l19_commands_are_bounded_in_words_and_bytes() {
    let with = |words: &[String]| {
        let all: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
        parse(&format!("[disposables]\nfree_memory = [{}]\n", all.join(",")))
    };
    let program = || "/c".to_owned();
    for (count, fits) in [(0, true), (1, true), (COMMAND_WORDS_MAX, true), (COMMAND_WORDS_MAX + 1, false)] {
        let words: Vec<String> = std::iter::repeat_with(program).take(count).collect();
        assert_eq!(with(&words).is_ok(), fits, "{count} words");
    }
    for (length, fits) in
        [(0, true), (1, true), (COMMAND_WORD_BYTES_MAX, true), (COMMAND_WORD_BYTES_MAX + 1, false)]
    {
        assert_eq!(with(&[program(), "a".repeat(length)]).is_ok(), fits, "{length} bytes");
    }
}

#[test]
fn an_order_to_the_launcher_may_take_as_long_as_all_its_commands() {
    let made = parse("[disposables]\ncreate_s_max = 7\nrebuild_s_max = 100\n").unwrap().disposables;
    assert_eq!(made.launch_s_max(), 10 + 100 + 7 + 10);
    let made = parse("[disposables]\ndestroy_s_max = 600\nrebuild_s_max = 1\ncreate_s_max = 1\n").unwrap();
    assert_eq!(made.disposables.launch_s_max(), 600 + 10 + 10);
}

#[test]
fn the_group_of_qfilexchgctl_is_a_name_a_number_or_nobody() {
    let group = |text: &str| parse(text).map(|config| config.control.group);
    assert_eq!(group(""), Ok(Some(Account::Name("qfilexchg".to_owned()))));
    assert_eq!(group("[host]\nkind = \"simulated\"\n"), Ok(None));
    assert_eq!(group("[control]\ngroup = \"\"\n"), Ok(None));
    assert_eq!(group("[control]\ngroup = \"27\"\n"), Ok(Some(Account::Number(27))));
    for bad in ["a:b", "root", "0", "65534", "a b"] {
        assert!(refused(&format!("[control]\ngroup = \"{bad}\"\n")).starts_with("f.toml:2:9: "), "{bad}");
    }
    assert!(refused("[control]\nsocket = \"relative\"\n").contains("absolute"));
}

#[test]
fn l19_the_session_bus_is_a_path_that_a_socket_can_have() {
    let with = |bus: &str| parse(&format!("[notifications]\nbus = \"{bus}\"\n")).map(|c| c.notifications_bus);
    assert_eq!(with(""), Ok(None));
    for text in ["/run/user/1000/bus", "unix:path=/run/user/1000/bus"] {
        assert_eq!(with(text), Ok(Some("/run/user/1000/bus".into())));
    }
    for bad in ["bus", "unix:path=", "unix:abstract=/x", "unix:path=/a,guid=0", "/a%20", "/a;/b", "/a\\u0000"]
    {
        assert!(with(bad).is_err(), "{bad}");
    }
    let longest = |bytes: usize| format!("/{}", "a".repeat(bytes - 1));
    assert!(with(&longest(1)).is_ok());
    assert!(with(&longest(BUS_BYTES_MAX)).is_ok());
    assert!(with(&longest(BUS_BYTES_MAX + 1)).is_err());
}
