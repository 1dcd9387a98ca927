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
