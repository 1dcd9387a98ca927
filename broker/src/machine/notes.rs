//! What the machine has logged.

use protocol::journald::{Event as Happened, Note};
use protocol::launch::DisposableNumber;
use protocol::log::{Level, LogLine};
use protocol::supervise::Role;
use protocol::types::Domid;

use super::{Action, Machine};

impl Machine {
    pub(super) fn log(&mut self, level: Level, note: Note) {
        self.actions.push(Action::Log(level, note));
    }

    /// A line about a VM, whose name is added if it is known.
    pub(super) fn log_of_vm(&mut self, level: Level, event: Happened, domid: Domid, text: String) {
        let vm = self.vms.get(&domid).map(|vm| vm.name.clone());
        self.log(level, Note::about_vm(event, domid, vm, text));
    }

    /// A line about a DisposableVM.
    pub(super) fn log_of_disposable(&mut self, level: Level, number: DisposableNumber, text: String) {
        let vm = number.name().ok();
        self.log(level, Note { vm, ..Note::new(Happened::Disposable, text) });
    }

    /// A line that a worker wants to have logged.
    pub(super) fn said(&mut self, role: Role, line: &LogLine) {
        let text = format!("{role}: {}", line.text.as_str());
        self.log(line.level, Note::about_process(Happened::ProcessSaid, role, text));
    }
}
