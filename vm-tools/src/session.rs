//! The VM's side of the contract: writes a request, waits for dom0's answer to that very request (L23).

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use protocol::reply::Code;
use protocol::request::Verb;
use protocol::types::{Device, ReqId, Seq, VmName};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use xenstore::path::OwnPath;
use xenstore::{Client, Error, Refusal, Token, missing_is_none};

use crate::device::Devices;
use crate::failure::Failure;
use crate::interrupt;
use crate::lock::{LockPlace, REQUEST};
use crate::shown::Line;
use crate::waiting::{Said, Verdict, Waiting};

/// How long `new` and `umount` may take, in seconds.
pub const QUICK_SECONDS_MAX: u64 = 60;
/// How long `send` may take, in seconds: a person must find time to answer.
pub const SEND_SECONDS_MAX: u64 = 600;
/// Longest time-out that can be asked for, in seconds.
pub const TIMEOUT_SECONDS_MAX: u64 = 86_400;
/// Longest wait, in seconds, for dom0 to make the key of requests: right after the VM's start it may not be there.
const KEY_SECONDS_MAX: u64 = 10;
/// Longest wait, in milliseconds, between two looks at the device, which says nothing by itself.
const LOOK_MS_MAX: u64 = 200;
/// Marks the one watch of a session.
const REPLY_TOKEN: Token = Token::plain(1);

/// By what it can be seen that a request was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// The device has appeared.
    Appears(Device),
    /// The device has gone.
    Disappears(Device),
    /// By nothing.
    Invisible,
}

impl Sign {
    /// The sign of each request.
    #[must_use]
    pub fn of(verb: &Verb) -> Self {
        match verb {
            Verb::New { .. } => Self::Appears(Device::Outgoing),
            Verb::Send { .. } | Verb::SendDisposable { .. } => Self::Disappears(Device::Outgoing),
            Verb::Umount => Self::Disappears(Device::Incoming),
            Verb::Killme => Self::Invisible,
        }
    }

    fn holds(self, devices: &Devices) -> bool {
        match self {
            Self::Appears(device) => devices.is_present(device),
            Self::Disappears(device) => !devices.is_present(device),
            Self::Invisible => false,
        }
    }
}

/// The default time-out of each request.
#[must_use]
pub fn timeout_of(verb: &Verb) -> Duration {
    Duration::from_secs(match verb {
        Verb::New { .. } | Verb::Umount | Verb::Killme => QUICK_SECONDS_MAX,
        Verb::Send { .. } | Verb::SendDisposable { .. } => SEND_SECONDS_MAX,
    })
}

/// A connection to xenstore as this VM.
#[derive(Debug)]
pub struct Session {
    client: Client,
    /// The devices of this VM.
    pub devices: Devices,
    /// Where the tools' locks are.
    pub locks: LockPlace,
}

impl Session {
    /// Connects, and watches for replies.
    ///
    /// # Errors
    /// There is no xenstore here.
    pub fn open() -> Result<Self, Failure> {
        let fd = xenstore::connect::connect().map_err(|errno| {
            Failure::failed(&format!("cannot connect to xenstore: {errno}; is this a Xen VM?"))
        })?;
        let mut client = Client::new(fd).map_err(|error| trouble(&error))?;
        client.watch(&OwnPath::reply(), REPLY_TOKEN).map_err(|error| trouble(&error))?;
        Ok(Self { client, devices: Devices::default(), locks: LockPlace::default() })
    }

    /// A value of this VM's own part of xenstore, if it is there.
    ///
    /// # Errors
    /// xenstored failed.
    pub fn read(&mut self, path: &OwnPath) -> Result<Option<Vec<u8>>, Failure> {
        missing_is_none(self.client.read(path)).map_err(|error| trouble(&error))
    }

    /// Makes a request and waits for its end. `on_pending` is told once for each reason why dom0 takes time.
    ///
    /// # Errors
    /// Whatever is no success; [`Failure::NoAnswer`] after `timeout`.
    pub fn request(
        &mut self,
        verb: &Verb,
        timeout: Duration,
        on_pending: &mut dyn FnMut(&Line),
    ) -> Result<(), Failure> {
        let started = Instant::now();
        let sign = Sign::of(verb);
        let mut lock =
            Some(self.locks.take(REQUEST, timeout, "another tool's request to dom0 is in the way")?);
        let mut waiting = Waiting::new(fresh_reqid()?, self.reply()?, sign.holds(&self.devices));
        self.write_request(&request_text(verb, waiting.reqid()), timeout, started)?;
        loop {
            let left = timeout.saturating_sub(started.elapsed());
            let reply = self.reply()?;
            let now_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            match waiting.observe(reply.as_deref(), sign.holds(&self.devices), now_ms) {
                Verdict::Answered(said) => return outcome(verb, said),
                Verdict::DoneWithoutReply => return Ok(()),
                Verdict::Pending(reason) => {
                    // dom0 has taken the request in: another tool may now write its own.
                    drop(lock.take());
                    on_pending(&reason);
                }
                Verdict::Wait if left.is_zero() => {
                    return Err(no_answer(verb, timeout, waiting.is_pending()));
                }
                Verdict::Wait => self.sleep(left.min(Duration::from_millis(LOOK_MS_MAX)))?,
            }
            interrupt::check(&format!("dom0 may still carry out the {} that it was asked for", verb.word()))?;
        }
    }

    fn reply(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        self.read(&OwnPath::reply())
    }

    /// Writes the request, as soon as dom0 lets this VM write there.
    fn write_request(&mut self, text: &str, timeout: Duration, started: Instant) -> Result<(), Failure> {
        let patience = timeout.min(Duration::from_secs(KEY_SECONDS_MAX));
        loop {
            match self.client.write(&OwnPath::qpen(), text.as_bytes()) {
                Ok(()) => return Ok(()),
                Err(Error::Refused(Refusal::NoEntry | Refusal::Access | Refusal::Permission)) => {}
                Err(error) => return Err(trouble(&error)),
            }
            if started.elapsed() >= patience {
                return Err(Failure::NoAnswer(Line::new(
                    "dom0 does not let this VM write to device/qpen: is qfilexchgd running there?",
                )));
            }
            self.sleep(Duration::from_millis(LOOK_MS_MAX))?;
            interrupt::check("nothing was asked of dom0")?;
        }
    }

    /// Waits until something happens in xenstore, or until the time is over, or a signal has come.
    fn sleep(&mut self, longest: Duration) -> Result<(), Failure> {
        let timeout = Timespec::try_from(longest).map_err(|_| Failure::failed("the time-out is too long"))?;
        let fd = self.client.fd();
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Failure::failed(&format!("poll failed: {errno}"))),
        }
        self.drain()
    }

    /// Takes in what has happened in xenstore, and forgets it: whoever waits for a value reads it again.
    ///
    /// # Errors
    /// xenstored failed.
    pub fn drain(&mut self) -> Result<(), Failure> {
        self.client.pump().map_err(|error| trouble(&error))?;
        while self.client.next_event().is_some() {}
        Ok(())
    }

    /// Readable when something has happened in xenstore; then [`Session::drain`] is due.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.client.fd()
    }

    /// Waits until the device is there and may be used by this user, at most this long. One that is there and may not
    /// is no error here: opening it says why.
    ///
    /// # Errors
    /// [`Failure::NoAnswer`] when it is not there.
    pub fn wait_for_device(&mut self, device: Device, longest: Duration) -> Result<(), Failure> {
        let started = Instant::now();
        while !self.devices.is_permitted(device) {
            if started.elapsed() >= longest {
                if self.devices.is_present(device) {
                    return Ok(());
                }
                let text =
                    format!("dom0 gave a pendrive, but {} does not appear", self.devices.shown(device));
                return Err(Failure::NoAnswer(Line::new(&text)));
            }
            self.sleep(Duration::from_millis(20))?;
            interrupt::check(&format!("the pendrive stays at {}", self.devices.shown(device)))?;
        }
        Ok(())
    }
}

fn outcome(verb: &Verb, said: Said) -> Result<(), Failure> {
    match said.code {
        Code::Ok => Ok(()),
        code @ (Code::Pending | Code::Denied | Code::Busy | Code::Unknown | Code::Invalid | Code::Failed) => {
            Err(Failure::Reply { what: verb.word(), code, detail: said.detail })
        }
    }
}

fn no_answer(verb: &Verb, timeout: Duration, is_pending: bool) -> Failure {
    let (verb, seconds) = (verb.word(), timeout.as_secs());
    let text = if is_pending {
        format!("{verb}: no final answer within {seconds} s, but dom0 may still carry it out")
    } else {
        format!("{verb}: no answer within {seconds} s: is qfilexchgd running in dom0?")
    };
    Failure::NoAnswer(Line::new(&text))
}

fn trouble(error: &Error) -> Failure {
    Failure::failed(&error.to_string())
}

/// The words of a request, its id at the end.
#[must_use]
pub fn request_text(verb: &Verb, reqid: &ReqId) -> String {
    let words = match verb {
        Verb::New { size: None } => "new".to_owned(),
        Verb::New { size: Some(size) } => format!("new {}", size.mib()),
        Verb::Send { to, seq: None } => format!("send {to}"),
        Verb::Send { to, seq: Some(seq) } => format!("send {to} {seq}"),
        Verb::SendDisposable { seq } => format!("send disposable {seq}"),
        Verb::Umount => "umount".to_owned(),
        Verb::Killme => "killme".to_owned(),
    };
    format!("{words} #{reqid}")
}

/// An id that no earlier request had.
fn fresh_reqid() -> Result<ReqId, Failure> {
    let text = random_hex()?;
    ReqId::new(text.as_bytes()).map_err(|error| Failure::failed(&error.to_string()))
}

/// 64 random bits as 16 hexadecimal digits.
///
/// # Errors
/// The kernel gives none.
pub fn random_hex() -> Result<String, Failure> {
    let mut bytes = [0; 8];
    let mut filled = 0;
    while filled < bytes.len() {
        let free = bytes.get_mut(filled..).unwrap_or_default();
        match getrandom(free, GetRandomFlags::empty()) {
            Ok(count) => filled = filled.saturating_add(count),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Failure::failed(&format!("no random numbers: {errno}"))),
        }
    }
    Ok(format!("{:016x}", u64::from_ne_bytes(bytes)))
}

/// What the two words of a send mean: a VM of that name, or `disposable`, which needs a SEQ.
///
/// # Errors
/// [`Failure::Usage`].
pub fn parse_send(target: &[u8], seq: Option<Seq>) -> Result<Verb, Failure> {
    match (target, seq) {
        (b"disposable", Some(seq)) => Ok(Verb::SendDisposable { seq }),
        (b"disposable", None) => Err(Failure::usage("send disposable needs a SEQ")),
        (name, seq) => {
            let to = VmName::new(name).map_err(|error| Failure::usage(&error.to_string()))?;
            Ok(Verb::Send { to, seq })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::request::REQUEST_BYTES_MAX;
    use protocol::types::{REQID_BYTES_MAX, SEQ_MAX, SIZE_MIB_MAX, SizeMib, VM_NAME_BYTES_MAX};

    #[test]
    fn requests_are_those_of_the_contract() {
        let reqid = ReqId::new(b"r1").unwrap();
        let seq = Seq::new(7).unwrap();
        let to = VmName::new(b"vault").unwrap();
        for (verb, text) in [
            (Verb::New { size: None }, "new #r1"),
            (Verb::New { size: SizeMib::new(64).ok() }, "new 64 #r1"),
            (Verb::Send { to: to.clone(), seq: None }, "send vault #r1"),
            (Verb::Send { to, seq: Some(seq) }, "send vault 7 #r1"),
            (Verb::SendDisposable { seq }, "send disposable 7 #r1"),
            (Verb::Umount, "umount #r1"),
            (Verb::Killme, "killme #r1"),
        ] {
            assert_eq!(request_text(&verb, &reqid), text);
        }
    }

    #[test]
    fn l19_the_longest_requests_fit() {
        let reqid = ReqId::new(&[b'z'; REQID_BYTES_MAX]).unwrap();
        let to = VmName::new(&[b'v'; VM_NAME_BYTES_MAX]).unwrap();
        let send = Verb::Send { to, seq: Seq::new(SEQ_MAX).ok() };
        assert!(request_text(&send, &reqid).len() <= REQUEST_BYTES_MAX);
        let new = Verb::New { size: SizeMib::new(SIZE_MIB_MAX).ok() };
        assert!(request_text(&new, &reqid).len() <= REQUEST_BYTES_MAX);
    }

    #[test]
    fn each_request_has_its_own_id() {
        let ids: std::collections::BTreeSet<ReqId> = (0..1000).map(|_| fresh_reqid().unwrap()).collect();
        assert_eq!(ids.len(), 1000);
    }

    #[test]
    fn a_send_to_no_name_is_wrong_usage() {
        assert!(matches!(parse_send(b"vault", None), Ok(Verb::Send { .. })));
        assert!(matches!(parse_send(b"disposable", Seq::new(1).ok()), Ok(Verb::SendDisposable { .. })));
        for name in [&b"disposable"[..], b"", b".x", b"a b", b"a\n", &[b'a'; 64]] {
            assert!(matches!(parse_send(name, None), Err(Failure::Usage(_))), "{name:?}");
        }
    }
}
