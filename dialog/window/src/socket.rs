//! The socket to the display, as x11rb wants it: never waited for without an end, and no descriptor is ever taken from it.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags, recvmsg, sendmsg};
use x11rb::rust_connection::{PollMode, Stream};
use x11rb::utils::RawFdContainer;

/// How long the display may take to answer, or to read, in seconds. One that is stuck must not keep the broker waiting.
pub const WAIT_S_MAX: i64 = 10;

/// The connected socket.
#[derive(Debug)]
pub struct DisplaySocket(OwnedFd);

impl DisplaySocket {
    /// Takes a connected socket.
    #[must_use]
    pub fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }
}

impl AsFd for DisplaySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Stream for DisplaySocket {
    fn poll(&self, mode: PollMode) -> io::Result<()> {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, mode.readable());
        flags.set(PollFlags::OUT, mode.writable());
        let limit = Timespec { tv_sec: WAIT_S_MAX, tv_nsec: 0 };
        loop {
            return match poll(&mut [PollFd::new(&self.0, flags)], Some(&limit)) {
                Ok(0) => Err(io::Error::new(ErrorKind::TimedOut, "the display does not answer")),
                Ok(_) => Ok(()),
                Err(Errno::INTR) => continue,
                Err(errno) => Err(errno.into()),
            };
        }
    }

    fn read(&self, buf: &mut [u8], _fd_storage: &mut Vec<RawFdContainer>) -> io::Result<usize> {
        // Without room for descriptors the kernel drops any that come.
        again(|| {
            let mut no_descriptors = RecvAncillaryBuffer::default();
            recvmsg(&self.0, &mut [IoSliceMut::new(buf)], &mut no_descriptors, RecvFlags::DONTWAIT)
                .map(|received| received.bytes)
        })
    }

    fn write(&self, buf: &[u8], fds: &mut Vec<RawFdContainer>) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buf)], fds)
    }

    fn write_vectored(&self, bufs: &[IoSlice<'_>], _fds: &mut Vec<RawFdContainer>) -> io::Result<usize> {
        again(|| {
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            sendmsg(&self.0, bufs, &mut SendAncillaryBuffer::default(), flags)
        })
    }
}

fn again(call: impl FnMut() -> Result<usize, Errno>) -> io::Result<usize> {
    Ok(rustix::io::retry_on_intr(call)?)
}
