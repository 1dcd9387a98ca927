//! Requests and policies.

use crate::{Seeds, seed};

pub fn requests() -> Seeds {
    let longest = format!("{}umount #id", " ".repeat(246));
    let texts = [
        "new",
        "new 64\n",
        "send vault\0",
        "send vault 7 #a-B_9",
        "send disposable 2147483647\n\0",
        "\tumount  #1",
        "killme",
        "send -a",
        "new 2097152",
        "umount #id #id",
        "\n",
        "r1 pending waiting for the person in dom0",
        "r1 ok xvdg",
        longest.as_str(),
    ];
    texts.iter().enumerate().map(|(number, text)| seed(&format!("{number:02}"), *text)).collect()
}

pub fn policies() -> Seeds {
    let tags = "red work\n# a comment\ngreen work untrusted\n";
    let rules = "copy red green allow notify=yes\ndvm * @dispvm ask\ncopy @tag:work @anyvm deny # no\n";
    vec![
        seed("rules", format!("{tags}\0{rules}\0* * * deny notify=no\n")),
        seed("tags", tags),
        seed("empty", "\0\0"),
        seed("default", format!("\0{}", include_str!("../../../../packaging/policy.d/90-default.policy"))),
        seed("unknown-tag", "red work\n\0copy @tag:other * allow"),
        seed("unknown-word", "\0copy red green perhaps\n"),
        seed("line-ends", "\0copy red green allow\r\n"),
        seed("twice", "\0copy red green allow notify=yes notify=no\n"),
    ]
}

pub fn configurations() -> Seeds {
    let shipped = include_str!("../../../../packaging/qfilexchgd.toml");
    let without_comments = |text: &str| {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(|line| format!("{line}\n")).collect::<String>()
    };
    let with = |which: u8, text: &str| [&[which][..], text.as_bytes()].concat();
    let window = "[dialog]\nkind = \"window\"\ndisplay = \":0\"\nscale = 2\n[labels]\nwork = \"red\"\n";
    let vm =
        "open_with = [\"editor\", \"--wait\"]\nhand_over_s = 600\ndisposable = true\noutgoing = \"mount\"\n";
    let cookie = |family: u16, number: &str, data: &[u8]| {
        let strings: [&[u8]; 4] = [b"dom0", number.as_bytes(), b"MIT-MAGIC-COOKIE-1", data];
        let mut bytes = family.to_be_bytes().to_vec();
        for string in strings {
            bytes.extend(u16::try_from(string.len()).expect("a short string").to_be_bytes());
            bytes.extend(string);
        }
        bytes
    };
    vec![
        seed("daemon", with(0, &without_comments(shipped))),
        seed("daemon-window", with(0, window)),
        seed("daemon-unknown", with(0, "[images]\ntotal_maximum = 1\n")),
        seed("vm", with(1, vm)),
        seed("vm-shipped", with(1, &without_comments(include_str!("../../../../packaging/vm.toml")))),
        seed("vm-byte-order-mark", with(1, "\u{feff}")),
        seed("cookies", [vec![2], cookie(0, "7", b"of an address"), cookie(256, "7", &[7; 16])].concat()),
    ]
}
