//! The bytes of the two messages that are sent, and the length of those that come (D-Bus Specification 0.43, "Message
//! Protocol" and "Marshaling"; Desktop Notifications Specification 1.2, "org.freedesktop.Notifications.Notify").

/// Longest message that the bus may send, in bytes. It has to answer two calls with a name and a number.
pub const INCOMING_BYTES_MAX: u32 = 64 * 1024;
/// The part of a message that says how long it is, in bytes.
pub const HEADER_BYTES: usize = 16;

const METHOD_CALL: u8 = 1;
const ERROR: u8 = 3;
const PROTOCOL_VERSION: u8 = 1;

/// Says `Hello` to the bus, which must be the first message.
#[must_use]
pub fn hello(serial: u32) -> Vec<u8> {
    let call = Call {
        path: "/org/freedesktop/DBus",
        interface: "org.freedesktop.DBus",
        member: "Hello",
        destination: "org.freedesktop.DBus",
        signature: "",
    };
    call.message(serial, &Bytes::default())
}

/// Has a notification shown, which disappears when the desktop thinks it should.
#[must_use]
pub fn notify(serial: u32, summary: &str, body: &str) -> Vec<u8> {
    let call = Call {
        path: "/org/freedesktop/Notifications",
        interface: "org.freedesktop.Notifications",
        member: "Notify",
        destination: "org.freedesktop.Notifications",
        signature: "susssasa{sv}i",
    };
    let mut arguments = Bytes::default();
    arguments.string("qfilexchgd");
    arguments.u32(0); // replaces no other
    arguments.string(""); // no icon
    arguments.string(summary);
    arguments.string(body);
    arguments.u32(0); // no actions
    arguments.u32(0); // no hints: their length, then their alignment
    arguments.align(8);
    arguments.u32(u32::MAX); // -1: the desktop's own time-out
    call.message(serial, &arguments)
}

struct Call {
    path: &'static str,
    interface: &'static str,
    member: &'static str,
    destination: &'static str,
    signature: &'static str,
}

impl Call {
    fn message(&self, serial: u32, arguments: &Bytes) -> Vec<u8> {
        let mut fields = Bytes::default();
        fields.field(1, "o", self.path);
        fields.field(2, "s", self.interface);
        fields.field(3, "s", self.member);
        fields.field(6, "s", self.destination);
        if !self.signature.is_empty() {
            fields.align(8);
            fields.0.push(8);
            fields.signature("g");
            fields.signature(self.signature);
        }
        let mut message = Bytes(vec![b'l', METHOD_CALL, 0, PROTOCOL_VERSION]);
        message.u32(length(&arguments.0));
        message.u32(serial);
        message.u32(length(&fields.0));
        // 16 bytes so far, so what was aligned in itself stays so.
        message.0.extend_from_slice(&fields.0);
        message.align(8);
        message.0.extend_from_slice(&arguments.0);
        message.0
    }
}

/// Marshalled values, little-endian, aligned to where they begin.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn u32(&mut self, value: u32) {
        self.align(4);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn string(&mut self, text: &str) {
        self.u32(length(text.as_bytes()));
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
    }

    fn signature(&mut self, text: &'static str) {
        self.0.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
    }

    fn field(&mut self, code: u8, kind: &'static str, value: &str) {
        self.align(8);
        self.0.push(code);
        self.signature(kind);
        self.string(value);
    }
}

/// Of texts that are bounded far below 4 GiB.
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

/// What a message of the bus is, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incoming {
    /// Whether it says that a call failed.
    pub is_error: bool,
    /// How many bytes follow its first [`HEADER_BYTES`].
    pub rest_bytes: u32,
}

/// Reads the first bytes of a message. `None`: it is none, or longer than [`INCOMING_BYTES_MAX`].
#[must_use]
pub fn incoming(untrusted_header: [u8; HEADER_BYTES]) -> Option<Incoming> {
    let [order, kind, _flags, version, b0, b1, b2, b3, s0, s1, s2, s3, f0, f1, f2, f3] = untrusted_header;
    let number: fn([u8; 4]) -> u32 = match order {
        b'l' => u32::from_le_bytes,
        b'B' => u32::from_be_bytes,
        _ => return None,
    };
    // Four kinds there are, and others are to be ignored; 0 is none, and neither is a serial number of 0.
    if version != PROTOCOL_VERSION || kind == 0 || number([s0, s1, s2, s3]) == 0 {
        return None;
    }
    let fields = number([f0, f1, f2, f3]).checked_next_multiple_of(8)?;
    let rest_bytes = fields.checked_add(number([b0, b1, b2, b3]))?;
    let limit = INCOMING_BYTES_MAX.saturating_sub(u32::try_from(HEADER_BYTES).ok()?);
    (rest_bytes <= limit).then_some(Incoming { is_error: kind == ERROR, rest_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hello_is_these_bytes() {
        let expected: &[u8] = b"l\x01\0\x01\0\0\0\0\x01\0\0\0\x6d\0\0\0\
            \x01\x01o\0\x15\0\0\0/org/freedesktop/DBus\0\0\0\
            \x02\x01s\0\x14\0\0\0org.freedesktop.DBus\0\0\0\0\
            \x03\x01s\0\x05\0\0\0Hello\0\0\0\
            \x06\x01s\0\x14\0\0\0org.freedesktop.DBus\0\0\0\0";
        assert_eq!(hello(1), expected);
    }

    #[test]
    fn notify_is_these_bytes() {
        let arguments: Vec<u8> = [
            &b"\x0a\0\0\0qfilexchgd\0\0"[..], // app_name
            b"\0\0\0\0",                      // replaces_id
            b"\0\0\0\0\0\0\0\0",              // app_icon
            b"\x01\0\0\0S\0\0\0",             // summary
            b"\x02\0\0\0ab\0\0",              // body
            b"\0\0\0\0",                      // actions
            b"\0\0\0\0\0\0\0\0",              // hints
            b"\xff\xff\xff\xff",              // expire_timeout
        ]
        .concat();
        let message = notify(7, "S", "ab");
        assert!(message.ends_with(&arguments), "{message:?}");
        assert_eq!(message[4..8], length(&arguments).to_le_bytes());
        assert_eq!(message[8..12], 7_u32.to_le_bytes());
        let fields = u32::from_le_bytes(message[12..16].try_into().unwrap());
        let begins = 16 + usize::try_from(fields).unwrap().next_multiple_of(8);
        assert_eq!(begins + arguments.len(), message.len());
        assert!(
            message[..16 + usize::try_from(fields).unwrap()].ends_with(b"\x08\x01g\0\x0dsusssasa{sv}i\0")
        );
    }

    fn header(kind: u8, fields: u32, body: u32) -> [u8; HEADER_BYTES] {
        let mut bytes = vec![b'l', kind, 0, 1];
        for number in [body, 1, fields] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.try_into().unwrap()
    }

    #[test]
    fn l19_a_message_of_the_bus_has_a_longest_length() {
        let rest = |fields, body| incoming(header(2, fields, body)).map(|message| message.rest_bytes);
        let max = INCOMING_BYTES_MAX - 16;
        assert_eq!(rest(0, 0), Some(0));
        assert_eq!(rest(1, 0), Some(8));
        assert_eq!(rest(0, 1), Some(1));
        assert_eq!(rest(0, max), Some(max));
        assert_eq!(rest(0, max + 1), None);
        assert_eq!(rest(8, max), None);
        assert_eq!(rest(u32::MAX, 0), None);
        assert_eq!(rest(u32::MAX - 7, u32::MAX), None);
    }

    #[test]
    fn what_is_no_message_is_refused_and_an_error_is_known_in_both_byte_orders() {
        assert!(incoming(header(3, 0, 0)).unwrap().is_error);
        assert!(!incoming(header(2, 0, 0)).unwrap().is_error);
        assert_eq!(incoming(header(0, 0, 0)), None);
        let big = *b"B\x03\0\x01\0\0\0\x05\0\0\0\x01\0\0\0\x09";
        assert_eq!(incoming(big), Some(Incoming { is_error: true, rest_bytes: 21 }));
        for (at, value) in [(0, b'x'), (3, 2), (8, 0)] {
            let mut bad = header(2, 0, 0);
            bad[at] = value;
            assert_eq!(incoming(bad), None, "byte {at}");
        }
    }
}
