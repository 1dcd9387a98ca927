//! What the state of xenstore and of a device says about a request that was made: pure, so that every order of events
//! can be tried.
//!
//! A daemon of this project answers at `qpen/reply`. One of 2010 answers nothing; there the only sign of success is
//! that the device has come or gone.

use protocol::reply::Code;
use protocol::types::ReqId;

use crate::shown::Line;

/// How long the sign must have held, in milliseconds, before it counts without a reply: a daemon that replies does so
/// right after it.
pub const SIGN_ONLY_MS: u64 = 2000;

/// What dom0 said about one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The outcome.
    pub code: Code,
    /// dom0's reason, escaped.
    pub detail: Line,
}

/// Where a request is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing new.
    Wait,
    /// dom0 has accepted the request; its answer takes time. Said once for each reason.
    Pending(Line),
    /// dom0's final answer.
    Answered(Said),
    /// The device says that it was done, and no reply comes.
    DoneWithoutReply,
}

/// One request that was made, and what has been seen since.
#[derive(Debug)]
pub struct Waiting {
    reqid: ReqId,
    /// The reply that was there before: to another request.
    reply_before: Option<Vec<u8>>,
    /// The sign held before, so it says nothing.
    sign_before: bool,
    sign_since_ms: Option<u64>,
    pending: Option<Line>,
}

impl Waiting {
    /// A request that is about to be made. `reply_before` and `sign_before` are what is there now.
    #[must_use]
    pub fn new(reqid: ReqId, reply_before: Option<Vec<u8>>, sign_before: bool) -> Self {
        Self { reqid, reply_before, sign_before, sign_since_ms: None, pending: None }
    }

    /// The request's id.
    #[must_use]
    pub fn reqid(&self) -> &ReqId {
        &self.reqid
    }

    /// Whether dom0 has taken notice.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Looks at what is there now: the value of `qpen/reply`, if there is one, and whether the sign holds.
    #[must_use]
    pub fn observe(&mut self, reply: Option<&[u8]>, sign: bool, now_ms: u64) -> Verdict {
        if let Some(said) = reply.and_then(|value| parse(value, &self.reqid)) {
            if said.code.is_final() {
                return Verdict::Answered(said);
            }
            if self.pending.as_ref() == Some(&said.detail) {
                return Verdict::Wait;
            }
            self.pending = Some(said.detail.clone());
            return Verdict::Pending(said.detail);
        }
        // With the old reply still there, this daemon replies and has not done so yet. With none at all it may be one
        // that never does; with a newer one, the reply to another tool's request may have hidden ours.
        let may_miss_reply = reply.is_none() || reply != self.reply_before.as_deref();
        if !sign || self.sign_before || !may_miss_reply {
            self.sign_since_ms = None;
            return Verdict::Wait;
        }
        let since_ms = *self.sign_since_ms.get_or_insert(now_ms);
        if now_ms.saturating_sub(since_ms) >= SIGN_ONLY_MS {
            Verdict::DoneWithoutReply
        } else {
            Verdict::Wait
        }
    }
}

/// Takes `REQID CODE DETAIL` apart, if it is to this request.
fn parse(value: &[u8], reqid: &ReqId) -> Option<Said> {
    let rest = value.strip_prefix(reqid.as_str().as_bytes())?.strip_prefix(b" ")?;
    let mut parts = rest.splitn(2, |&byte| byte == b' ');
    let word = parts.next()?;
    let code = Code::ALL.into_iter().find(|code| code.word().as_bytes() == word)?;
    Some(Said { code, detail: Line::from_bytes(parts.next().unwrap_or_default()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(reply_before: Option<&[u8]>, sign_before: bool) -> Waiting {
        Waiting::new(ReqId::new(b"r2").unwrap(), reply_before.map(<[u8]>::to_vec), sign_before)
    }

    fn said(code: Code, detail: &str) -> Verdict {
        Verdict::Answered(Said { code, detail: Line::new(detail) })
    }

    #[test]
    fn every_final_code_ends_the_wait_and_pending_does_not() {
        for code in Code::ALL {
            let mut waiting = waiting(Some(b"r1 ok done"), false);
            let value = format!("r2 {} because of this", code.word());
            let verdict = waiting.observe(Some(value.as_bytes()), false, 0);
            if code.is_final() {
                assert_eq!(verdict, said(code, "because of this"));
            } else {
                assert_eq!(verdict, Verdict::Pending(Line::new("because of this")));
                assert_eq!(waiting.observe(Some(value.as_bytes()), true, 9), Verdict::Wait);
                assert!(waiting.is_pending());
                assert_eq!(waiting.observe(Some(b"r2 denied no"), false, 10), said(Code::Denied, "no"));
            }
        }
    }

    #[test]
    fn replies_to_others_and_what_is_no_reply_are_not_ours() {
        let mut waiting = waiting(None, false);
        for value in [
            &b""[..],
            b"r2",
            b"r2 ",
            b"r2 okay",
            b"r21 ok done",
            b"r ok done",
            b"- ok done",
            b"r1 ok r2 ok",
            b"\xff\0",
        ] {
            assert_eq!(waiting.observe(Some(value), false, 0), Verdict::Wait, "{value:?}");
        }
        assert_eq!(waiting.observe(Some(b"r2 ok"), false, 0), said(Code::Ok, ""));
    }

    #[test]
    fn without_any_reply_the_sign_counts_after_a_while() {
        let mut waiting = waiting(None, false);
        assert_eq!(waiting.observe(None, false, 0), Verdict::Wait);
        assert_eq!(waiting.observe(None, true, 100), Verdict::Wait);
        assert_eq!(waiting.observe(None, false, 150), Verdict::Wait);
        assert_eq!(waiting.observe(None, true, 200), Verdict::Wait);
        assert_eq!(waiting.observe(None, true, 199 + SIGN_ONLY_MS), Verdict::Wait);
        assert_eq!(waiting.observe(None, true, 200 + SIGN_ONLY_MS), Verdict::DoneWithoutReply);
    }

    #[test]
    fn a_sign_that_held_before_says_nothing() {
        let mut waiting = waiting(None, true);
        assert_eq!(waiting.observe(None, true, 0), Verdict::Wait);
        assert_eq!(waiting.observe(None, true, 100_000), Verdict::Wait);
    }

    #[test]
    fn a_daemon_that_replies_is_waited_for_even_when_the_sign_holds() {
        let mut waiting = waiting(Some(b"r1 ok done"), false);
        assert_eq!(waiting.observe(Some(b"r1 ok done"), true, 0), Verdict::Wait);
        assert_eq!(waiting.observe(Some(b"r1 ok done"), true, 100_000), Verdict::Wait);
        assert_eq!(waiting.observe(Some(b"r2 failed x"), true, 100_001), said(Code::Failed, "x"));
    }

    #[test]
    fn a_reply_hidden_by_a_newer_one_is_replaced_by_the_sign() {
        let mut waiting = waiting(Some(b"r1 ok done"), false);
        assert_eq!(waiting.observe(Some(b"r2 pending x"), false, 0), Verdict::Pending(Line::new("x")));
        assert_eq!(waiting.observe(Some(b"r3 ok done"), true, 10), Verdict::Wait);
        assert_eq!(waiting.observe(Some(b"r3 ok done"), true, 10 + SIGN_ONLY_MS), Verdict::DoneWithoutReply);
    }

    #[test]
    fn a_hostile_detail_is_escaped() {
        let mut waiting = waiting(None, false);
        let Verdict::Answered(said) = waiting.observe(Some(b"r2 ok \x1b[2J\n"), false, 0) else { panic!() };
        assert!(said.detail.to_string().bytes().all(|byte| byte.is_ascii_graphic()));
    }
}
