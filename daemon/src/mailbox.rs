//! A channel whose receiver can be waited for together with ZeroMQ sockets: values by `mpsc`, the wake-up by a descriptor.

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, mpsc};

/// The sending side; cheap to clone, from any thread.
#[derive(Debug)]
pub struct Sender<T> {
    values: mpsc::Sender<T>,
    bell: Arc<UnixStream>,
}

/// The receiving side, owned by the thread that owns the sockets.
#[derive(Debug)]
pub struct Receiver<T> {
    values: mpsc::Receiver<T>,
    bell: UnixStream,
}

/// A mailbox.
///
/// # Errors
///
/// If the process has no descriptors left.
pub fn mailbox<T>() -> io::Result<(Sender<T>, Receiver<T>)> {
    let (bell, receiver_bell) = UnixStream::pair()?;
    bell.set_nonblocking(true)?;
    receiver_bell.set_nonblocking(true)?;
    let (values, receiver) = mpsc::channel();
    let sender = Sender { values, bell: Arc::new(bell) };
    Ok((sender, Receiver { values: receiver, bell: receiver_bell }))
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { values: self.values.clone(), bell: Arc::clone(&self.bell) }
    }
}

impl<T> Sender<T> {
    /// Sends `value` and wakes the receiver; without a receiver the value is dropped.
    pub fn send(&self, value: T) {
        if self.values.send(value).is_ok() {
            // A full buffer means that the receiver has wake-ups enough before it.
            let _ = (&*self.bell).write(&[1]);
        }
    }
}

impl<T> Receiver<T> {
    /// The descriptor that is readable when there are values.
    pub fn fd(&self) -> RawFd {
        self.bell.as_raw_fd()
    }

    /// Takes what has arrived, without waiting.
    pub fn drain(&self) -> Vec<T> {
        // The bell is silenced before the values are taken: one that comes between the two rings again.
        let mut rings = [0; 256];
        while matches!((&self.bell).read(&mut rings), Ok(n) if n == rings.len()) {}
        self.values.try_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_many_threads_arrive_and_wake_the_receiver() {
        let (sender, receiver) = mailbox::<usize>().unwrap();
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let sender = sender.clone();
                std::thread::spawn(move || (0..1000).for_each(|i| sender.send(thread * 1000 + i)))
            })
            .collect();
        let mut seen = Vec::new();
        while seen.len() < 4000 {
            let mut items = [zmq::PollItem::from_fd(receiver.fd(), zmq::POLLIN)];
            assert!(zmq::poll(&mut items, 10_000).unwrap() > 0, "no wake-up after {} values", seen.len());
            seen.extend(receiver.drain());
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..4000));
    }

    #[test]
    fn drained_mailbox_is_quiet() {
        let (sender, receiver) = mailbox().unwrap();
        sender.send(1);
        assert_eq!(receiver.drain(), [1]);
        let mut items = [zmq::PollItem::from_fd(receiver.fd(), zmq::POLLIN)];
        assert_eq!(zmq::poll(&mut items, 20).unwrap(), 0);
    }
}
