//! The messages of every edge: bytes that decode are the only ones that this message has.

use bincode::{Decode, Encode};
use protocol::codec::{decode, decode_settings, encode, encode_settings};
use protocol::{attach, control, dialog, launch, monitor, runner, settings, supervise, unpack};

/// The first byte says which message, the others are its datagram.
pub fn run(untrusted: &[u8]) {
    let Some((which, datagram)) = untrusted.split_first() else { return };
    let one_form = [
        canonical::<attach::AttachRequest>,
        canonical::<dialog::DialogEvent>,
        canonical::<launch::LaunchRequest>,
        canonical::<control::ControlRequest>,
        canonical::<runner::RunRequest>,
        canonical::<runner::RunReply>,
        canonical::<runner::RunnerNotice>,
        canonical::<supervise::SupervisorNotice>,
        canonical::<supervise::SupervisorOrder>,
        canonical::<unpack::UnpackOrder>,
        canonical::<monitor::MonitorEvent>,
        canonical::<attach::AttachReply>,
        canonical::<dialog::DialogCommand>,
        canonical::<launch::LaunchReply>,
        canonical::<control::ControlEvent>,
        canonical::<control::ControlCommand>,
        canonical::<control::ClientReply>,
        canonical::<unpack::UnpackNotice>,
        canonical::<protocol::log::LogLine>,
        settings::<settings::BrokerSettings>,
        settings::<settings::AttacherSettings>,
        settings::<settings::LauncherSettings>,
        settings::<settings::ControlSettings>,
        settings::<settings::DialogSettings>,
        settings::<runner::RunnerSettings>,
        settings::<policy::Policy>,
    ];
    one_form[usize::from(*which) % one_form.len()](datagram);
}

/// Log text is escaped anew when it arrives, and then has one form as well.
fn canonical<M: Encode + Decode<()> + PartialEq + std::fmt::Debug>(untrusted_datagram: &[u8]) {
    let Ok(message) = decode::<M>(untrusted_datagram) else { return };
    let Ok(bytes) = encode(&message) else { panic!("{message:?} arrived and cannot be sent") };
    if bytes != untrusted_datagram {
        assert!(has_log_text(&message), "{message:?} has two forms");
        let again: M = decode(&bytes).expect("what was encoded decodes");
        assert_eq!(again, message);
        assert_eq!(encode(&again), Ok(bytes));
    }
}

fn has_log_text<M: std::fmt::Debug>(message: &M) -> bool {
    format!("{message:?}").contains("LogText(")
}

fn settings<M: Encode + Decode<()> + PartialEq + std::fmt::Debug>(untrusted_file: &[u8]) {
    let Ok(message) = decode_settings::<M>(untrusted_file) else { return };
    let bytes = encode_settings(&message).expect("settings that arrived can be sent");
    let again: M = decode_settings(&bytes).expect("what was encoded decodes");
    assert_eq!(again, message);
}
