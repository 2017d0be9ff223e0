//! One ROUTER socket: takes requests off it within the protocol's limits, and puts replies on it.

use crate::board::Board;
use crate::job::Answer;
use anomalyd_proto::{
    Command, DecodeError, MAX_REQUEST_FRAMES, MAX_SHORT_REQUEST_BYTES, Reply, Request, RequestId, Socket,
    Status, split_envelope,
};
use std::sync::Arc;
use std::time::Instant;

/// Frames of an envelope that a request may have travelled with; each proxy on the way adds one.
const MAX_ENVELOPE_FRAMES: usize = 16;

/// A socket with its limits.
pub struct Wire {
    socket: zmq::Socket,
    role: Socket,
    max_message_bytes: usize,
    board: Arc<Board>,
}

/// Whom to answer, and what every reply repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Up to and including the delimiter.
    pub envelope: Vec<Vec<u8>>,
    /// The request's id, where it could be read.
    pub request_id: Option<RequestId>,
    /// The request's step, where it has one.
    pub step: Option<i64>,
}

/// A request that follows the protocol and came to the right socket.
#[derive(Debug)]
pub struct Incoming {
    /// Whom to answer.
    pub peer: Peer,
    /// What is asked.
    pub request: Request,
    /// When it was received.
    pub received: Instant,
}

/// What one look at the socket gave.
#[derive(Debug)]
pub enum Received {
    /// A request.
    Request(Box<Incoming>),
    /// A message that was answered, or could not be.
    Settled,
    /// No message.
    Nothing,
}

impl Wire {
    /// Takes the socket over.
    pub fn new(socket: zmq::Socket, role: Socket, max_message_bytes: usize, board: Arc<Board>) -> Self {
        Self { socket, role, max_message_bytes, board }
    }

    /// For waiting until a message is there.
    pub fn poll_item(&self) -> zmq::PollItem<'_> {
        self.socket.as_poll_item(zmq::POLLIN)
    }

    /// Takes the next message, if there is one, and answers it itself if it is no request for this socket.
    pub fn receive(&self) -> Received {
        let Some((frames, n_dropped)) = self.receive_frames() else { return Received::Nothing };
        let received = Instant::now();
        let Some((envelope, frames)) = split_envelope(frames) else {
            self.board.unanswerable.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            tracing::debug!("a message without an empty delimiter frame was dropped");
            return Received::Settled;
        };
        let peek = Request::peek(&frames);
        let peer = Peer { envelope, request_id: peek.request_id, step: peek.step };
        let limit = match self.role {
            Socket::Service => self.max_message_bytes,
            Socket::Control => MAX_SHORT_REQUEST_BYTES,
        };
        let request = if n_dropped > 0 {
            Err(DecodeError::TooManyFrames { limit: MAX_REQUEST_FRAMES, found: frames.len() + n_dropped })
        } else {
            Request::decode(&frames, limit)
        };
        let request = match request {
            Ok(request) => request,
            Err(error) => {
                let answer = Answer { status: error.status(), ..Answer::done(error.to_string()) };
                self.reply(&peer, &answer);
                return Received::Settled;
            }
        };
        if !request.command.is_served_by(self.role) {
            self.reply(&peer, &wrong_socket(request.command, self.role));
            return Received::Settled;
        }
        let n_ignored = request.options.n_ignored() as u64;
        self.board.unknown_options.fetch_add(n_ignored, std::sync::atomic::Ordering::Relaxed);
        Received::Request(Box::new(Incoming { peer, request, received }))
    }

    /// The frames of the next message, and how many more it had than any request may have; those are not kept.
    fn receive_frames(&self) -> Option<(Vec<Vec<u8>>, usize)> {
        let mut frames = Vec::new();
        let mut n_dropped = 0;
        loop {
            let frame = match self.socket.recv_bytes(zmq::DONTWAIT) {
                Ok(frame) => frame,
                Err(zmq::Error::EINTR) => continue,
                // Frames of one message arrive together: between them this does not happen.
                Err(zmq::Error::EAGAIN) => return None,
                Err(error) => {
                    tracing::error!(%error, "a message cannot be received");
                    return None;
                }
            };
            if frames.len() < MAX_ENVELOPE_FRAMES + MAX_REQUEST_FRAMES + 1 {
                frames.push(frame);
            } else {
                n_dropped += 1;
            }
            match self.socket.get_rcvmore() {
                Ok(true) => {}
                _ => return Some((frames, n_dropped)),
            }
        }
    }

    /// Sends `answer` to `peer`; a peer that has gone, or does not read, is not waited for.
    pub fn reply(&self, peer: &Peer, answer: &Answer) {
        let reply = Reply {
            verdict: answer.verdict,
            score: answer.score,
            threshold: answer.threshold,
            text: answer.text.clone(),
            detail: answer.detail.clone().into_bytes(),
            heat_map: answer.heat_map.to_vec(),
            ..Reply::new(peer.request_id.clone(), peer.step, answer.status, self.board.instance.clone())
        };
        let frames = peer.envelope.iter().cloned().chain(reply.encode());
        if let Err(error) = self.socket.send_multipart(frames, zmq::DONTWAIT) {
            tracing::debug!(%error, "a reply was dropped");
        }
        self.board.count_reply(answer.status);
    }
}

fn wrong_socket(command: Command, role: Socket) -> Answer {
    let other = match role {
        Socket::Service => "control",
        Socket::Control => "service",
    };
    let text = format!("{command} belongs to the {other} socket: the endpoint file names it");
    Answer { status: Status::WrongSocket, ..Answer::done(text) }
}
