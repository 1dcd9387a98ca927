//! The client against a server that follows a script, on the other end of a socketpair.

mod transactions;
mod watches;
mod wire;

use crate::Client;
use crate::wire::{Frame, FrameReader, Kind};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

/// The server's end. Every step fails its test when the client does something else.
struct Server {
    stream: UnixStream,
    reader: FrameReader,
}

impl Server {
    /// The next request, or `None` when the client is gone.
    fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.reader.next_frame().unwrap() {
                return Some(frame);
            }
            let mut buffer = [0; 512];
            match self.stream.read(&mut buffer).unwrap() {
                0 => return None,
                received => self.reader.push(&buffer[..received]),
            }
        }
    }

    /// The next request, which must be of this type.
    fn expect(&mut self, kind: Kind) -> Frame {
        let frame = self.next().unwrap();
        assert_eq!(Kind::of_number(frame.header.kind), Some(kind));
        frame
    }

    fn send(&mut self, kind: Kind, request_id: u32, payload: &[u8]) {
        let frame = Frame::new(kind.number(), request_id, 0, payload.to_vec()).unwrap();
        self.stream.write_all(&frame.encode()).unwrap();
    }

    /// Answers a request with success.
    fn reply(&mut self, request: &Frame, payload: &[u8]) {
        let kind = Kind::of_number(request.header.kind).unwrap();
        self.send(kind, request.header.request_id, payload);
    }

    /// Answers a request with an error.
    fn refuse(&mut self, request: &Frame, name: &str) {
        self.send(Kind::Error, request.header.request_id, format!("{name}\0").as_bytes());
    }

    /// Expects a request of this type and answers it with success.
    fn serve(&mut self, kind: Kind, payload: &[u8]) -> Frame {
        let request = self.expect(kind);
        self.reply(&request, payload);
        request
    }

    fn event(&mut self, path: &str, token: &str) {
        self.send(Kind::WatchEvent, 0, format!("{path}\0{token}\0").as_bytes());
    }
}

/// Runs a script as the server of a fresh client. Join the thread to see the script's own failures.
fn client_of(script: impl FnOnce(&mut Server) + Send + 'static) -> (Client, JoinHandle<()>) {
    let (near, far) =
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    let server = std::thread::spawn(move || {
        script(&mut Server { stream: UnixStream::from(far), reader: FrameReader::default() });
    });
    (Client::new(near).unwrap(), server)
}
