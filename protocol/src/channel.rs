//! One end of an edge: typed messages over a `SOCK_SEQPACKET` socket that somebody else made.

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bincode::{Decode, Encode};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use crate::codec::{self, CodecError, MESSAGE_BYTES_MAX};

/// Most messages that wait for a peer that does not read. A peer that lets more pile up is ended.
pub const QUEUE_MESSAGES_MAX: usize = 2048;
/// Most descriptors that one datagram may carry.
pub const DESCRIPTORS_MAX: usize = 1;

/// Why an edge cannot be used any longer. Every one of them is the peer's end.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The peer is gone.
    #[error("the peer closed the edge")]
    Closed,
    /// The datagram is no permitted message.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The datagram was longer than a message may be.
    #[error("the datagram was cut off")]
    Truncated,
    /// The datagram carried descriptors where none, or not one, belong.
    #[error("the datagram carried unexpected descriptors")]
    Descriptors,
    /// Too many messages wait for the peer.
    #[error("the peer does not read")]
    Overflow,
    /// The kernel refused.
    #[error("socket error: {0}")]
    Os(#[from] Errno),
}

/// Makes the two ends of an edge, neither inherited by accident.
///
/// # Errors
/// What socketpair(2) says.
pub fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
}

/// What goes out and what comes in, without owning either.
type Directions<Out, In> = (fn(Out), fn() -> In);

/// One end of an edge that sends `Out` and receives `In`. It never blocks: what the peer does not read yet
/// waits here, in order, up to [`QUEUE_MESSAGES_MAX`].
#[derive(Debug)]
pub struct Channel<Out, In> {
    socket: OwnedFd,
    queue: VecDeque<(Vec<u8>, Option<OwnedFd>)>,
    buffer: Vec<u8>,
    directions: PhantomData<Directions<Out, In>>,
}

impl<Out: Encode, In: Decode<()>> Channel<Out, In> {
    /// Takes an end. The socket should be non-blocking; every call here asks for that as well.
    #[must_use]
    pub fn new(socket: OwnedFd) -> Self {
        // One byte more than a message may have, so that a longer one is seen as such.
        Self {
            socket,
            queue: VecDeque::new(),
            buffer: vec![0; MESSAGE_BYTES_MAX + 1],
            directions: PhantomData,
        }
    }

    /// Sends a message, or queues it behind those that wait.
    ///
    /// # Errors
    /// [`ChannelError`]; the edge is then of no more use.
    pub fn send(&mut self, message: &Out) -> Result<(), ChannelError> {
        self.push(message, None)
    }

    /// Sends a message together with a descriptor.
    ///
    /// # Errors
    /// [`ChannelError`]; the edge is then of no more use.
    pub fn send_with(&mut self, message: &Out, descriptor: OwnedFd) -> Result<(), ChannelError> {
        self.push(message, Some(descriptor))
    }

    fn push(&mut self, message: &Out, descriptor: Option<OwnedFd>) -> Result<(), ChannelError> {
        if self.queue.len() >= QUEUE_MESSAGES_MAX {
            return Err(ChannelError::Overflow);
        }
        self.queue.push_back((codec::encode(message)?, descriptor));
        self.flush()
    }

    /// Sends as much of the queue as the socket takes now.
    ///
    /// # Errors
    /// [`ChannelError`]; the edge is then of no more use.
    pub fn flush(&mut self) -> Result<(), ChannelError> {
        while let Some((bytes, descriptor)) = self.queue.front() {
            match send_datagram(&self.socket, bytes, descriptor.as_ref()) {
                Ok(()) => drop(self.queue.pop_front()),
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(ChannelError::Closed),
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Whether messages wait for the socket to become writable.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Receives a message that carries no descriptor, if one is there.
    ///
    /// # Errors
    /// [`ChannelError`]; the edge is then of no more use.
    pub fn receive(&mut self) -> Result<Option<In>, ChannelError> {
        match self.receive_with()? {
            None => Ok(None),
            Some((message, None)) => Ok(Some(message)),
            Some((_, Some(_))) => Err(ChannelError::Descriptors),
        }
    }

    /// Receives a message and the descriptor that it may carry, if one is there.
    ///
    /// # Errors
    /// [`ChannelError`]; the edge is then of no more use.
    pub fn receive_with(&mut self) -> Result<Option<(In, Option<OwnedFd>)>, ChannelError> {
        let (length, descriptor) = match receive_datagram(&self.socket, &mut self.buffer) {
            Ok(received) => received,
            Err(ChannelError::Os(Errno::AGAIN)) => return Ok(None),
            Err(ChannelError::Os(Errno::CONNRESET)) => return Err(ChannelError::Closed),
            Err(error) => return Err(error),
        };
        if length == 0 {
            // An empty datagram is no message of any edge, so it can stand for the end of the peer.
            return Err(ChannelError::Closed);
        }
        let untrusted_datagram = self.buffer.get(..length).ok_or(ChannelError::Truncated)?;
        if length > MESSAGE_BYTES_MAX {
            return Err(ChannelError::Truncated);
        }
        Ok(Some((codec::decode(untrusted_datagram)?, descriptor)))
    }
}

impl<Out, In> AsFd for Channel<Out, In> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn send_datagram(socket: &OwnedFd, bytes: &[u8], descriptor: Option<&OwnedFd>) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let borrowed;
    if let Some(descriptor) = descriptor {
        borrowed = [descriptor.as_fd()];
        if !control.push(SendAncillaryMessage::ScmRights(&borrowed)) {
            return Err(Errno::INVAL);
        }
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    retry(|| sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags)).map(drop)
}

fn receive_datagram(socket: &OwnedFd, buffer: &mut [u8]) -> Result<(usize, Option<OwnedFd>), ChannelError> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received = retry(|| recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, flags))?;
    // Taken into ownership first: whatever is refused below is also closed.
    let mut descriptors: Vec<OwnedFd> = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) || descriptors.len() > DESCRIPTORS_MAX {
        return Err(ChannelError::Descriptors);
    }
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(ChannelError::Truncated);
    }
    Ok((received.bytes, descriptors.pop()))
}

fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}
