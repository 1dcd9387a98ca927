//! `qfilexchgctl answer` as a person uses it, on a terminal.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use e2e::{Host, programs};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// `qfilexchgctl answer` on a terminal of its own.
struct Person {
    terminal: File,
    program: Child,
    screen: Arc<Mutex<String>>,
}

impl Person {
    fn sits_down(host: &Host) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let slave = OpenOptions::new().read(true).write(true).open(name).unwrap();
        let mut command = Command::new(programs().join("qfilexchgctl"));
        command.arg("answer").arg("--socket").arg(host.path().join("qfilexchgd.control"));
        let (input, output) = (slave.try_clone().unwrap(), slave.try_clone().unwrap());
        let program = command.stdin(input).stdout(output).stderr(Stdio::from(slave)).spawn().unwrap();
        let terminal = File::from(master);
        let screen = Arc::new(Mutex::new(String::new()));
        let (mut shown, to) = (terminal.try_clone().unwrap(), Arc::clone(&screen));
        std::thread::spawn(move || {
            let mut bytes = [0; 1024];
            while let Ok(count) = shown.read(&mut bytes) {
                to.lock().unwrap().push_str(&String::from_utf8_lossy(bytes.get(..count).unwrap()));
            }
        });
        Self { terminal, program, screen }
    }

    fn screen(&self) -> String {
        self.screen.lock().unwrap().clone()
    }

    fn sees(&self, host: &Host, text: &str) {
        host.wait_for(&format!("{text:?} on the terminal"), || self.screen().contains(text));
    }

    fn types(&mut self, line: &str) {
        self.terminal.write_all(line.as_bytes()).unwrap();
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

#[test]
fn a_person_answers_on_a_terminal_what_is_shown_there_and_leaves_with_ctrl_d() {
    if !testkit::require_tools(&["xenstore-write", "xenstore-read"]) {
        return;
    }
    let host = Host::up_with_control(&["work", "vault"]);
    assert_eq!(host.request("work", "new #n"), "ok xvdg");
    let mut person = Person::sits_down(&host);
    person.sees(&host, "Questions are shown here as they come");
    // L13: typed before there was a question.
    person.types("yes 1\nno");
    person.sees(&host, "No question of that number is open");
    host.write_request("work", "send vault #first");
    person.sees(&host, "work wants to send its pendrive");
    let number = |screen: &str| -> u64 {
        let rest = screen.rsplit("uestion ").next().unwrap();
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap_or_else(|_| panic!("no number in {screen}"))
    };
    let first = number(&person.screen());
    // L14: Enter alone, and answers without the number.
    person.types("\nyes\n");
    person.sees(&host, "An answer names the number of its question.");
    assert!(host.reply("work").starts_with("first pending"), "{}", host.reply("work"));
    person.types(&format!("no {first}\n"));
    person.sees(&host, &format!("question {first} is answered: no"));
    assert_eq!(host.final_reply("work", "first"), "denied the person in dom0 said no");
    host.write_request("work", "send vault #second");
    let second = first + 1;
    person.sees(&host, &format!("uestion {second}"));
    person.types(&format!("yes {first}\n"));
    person.types(&format!("yes {second}\n"));
    person.sees(&host, &format!("question {second} is answered: yes"));
    assert_eq!(host.final_reply("work", "second"), "ok done");
    // Ctrl-D.
    person.types("\u{4}");
    assert!(person.program.wait().unwrap().success());
}
