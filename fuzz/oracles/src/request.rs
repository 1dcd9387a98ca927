//! The grammar of requests: two parsers agree, and whoever writes a request is understood as meant.

use protocol::codec;
use protocol::monitor::MonitorEvent;
use protocol::reply::{Code, Detail, Reply};
use protocol::types::{Domid, ReqId};
use vm_tools::session::request_text;
use vm_tools::waiting::{Verdict, Waiting};
use xs_monitor::request::{Parsed, digest, parse};

#[path = "../../../xs-monitor/src/request/tests/opinion.rs"]
mod opinion;

/// The input is a value of `device/qpen`, then one of `qpen/reply`.
pub fn run(untrusted_value: &[u8]) {
    let domid = Domid::new(1).expect("a guest's number");
    let digest = digest(untrusted_value);
    match (parse(untrusted_value), opinion::second_opinion(untrusted_value)) {
        (Parsed::Request(request), Some(opinion)) => {
            assert_eq!(opinion::words_of(&request), opinion);
            if let Some(reqid) = &request.reqid {
                let text = request_text(&request.verb, reqid);
                assert_eq!(parse(text.as_bytes()), Parsed::Request(request.clone()));
            }
            told(&MonitorEvent::RequestSeen { domid, request, digest });
        }
        (Parsed::Invalid { reqid }, None) => told(&MonitorEvent::RequestUnparsable { domid, reqid, digest }),
        (Parsed::Empty, None) => assert!(untrusted_value.len() <= 2),
        (parsed, opinion) => panic!("{parsed:?}, but {opinion:?}"),
    }
    reply(untrusted_value);
}

/// What is told to the broker arrives there.
fn told(event: &MonitorEvent) {
    let datagram = codec::encode(event).expect("a request is short");
    assert_eq!(codec::decode::<MonitorEvent>(&datagram).as_ref(), Ok(event));
}

/// The tool in the VM that waits for an answer: only one to its own request is one.
fn reply(untrusted_value: &[u8]) {
    let reqid = ReqId::new(b"r1").expect("a request's id");
    let mut waiting = Waiting::new(reqid.clone(), None, false);
    match waiting.observe(Some(untrusted_value), false, 0) {
        Verdict::Wait => {}
        Verdict::Pending(_) => assert!(untrusted_value.starts_with(b"r1 pending")),
        Verdict::Answered(said) => {
            assert!(untrusted_value.starts_with(format!("r1 {}", said.code.word()).as_bytes()));
            assert!(said.code.is_final());
        }
        Verdict::DoneWithoutReply => panic!("there was no sign"),
    }
    // What dom0 writes is understood.
    let Some((&which, _)) = untrusted_value.split_first() else { return };
    let code = Code::ALL[usize::from(which) % Code::ALL.len()];
    let detail = Detail::ALL[usize::from(which) % Detail::ALL.len()];
    let value = Reply { reqid: Some(reqid.clone()), code, detail }.to_string();
    match Waiting::new(reqid, None, false).observe(Some(value.as_bytes()), false, 0) {
        Verdict::Pending(line) => {
            assert_eq!((code, line.to_string()), (Code::Pending, detail.text().to_owned()))
        }
        Verdict::Answered(said) => {
            assert_eq!((said.code, said.detail.to_string()), (code, detail.text().to_owned()))
        }
        verdict @ (Verdict::Wait | Verdict::DoneWithoutReply) => panic!("{verdict:?} to {value}"),
    }
}
