//! The wire protocol of anomalyd: bytes in, values out, and back. No sockets, no clock, no disk.
//!
//! - A request is read with [`Request::decode`] and written with [`Request::encode`]; [`Request::peek`] reads what an answer
//!   to a request needs even if the request is refused.
//! - A reply is written with [`Reply::encode`] and read with [`Reply::decode`].
//! - [`split_envelope`] and [`join_envelope`] part the frames of a ROUTER socket from the message.
//! - [`EndpointFile`] is the file by which a client finds its daemon.
//!
//! The document below is normative; where the code differs, the code is wrong. `vectors.txt` beside it holds messages with
//! their meaning, which the tests of all languages read.
//!
//! ```
//! use anomalyd_proto::{Command, Instance, Reply, Request, RequestId, Status, Subject};
//!
//! let mut request = Request::new(Command::Classify, RequestId::new("733-1").unwrap());
//! request.run = "run_a".to_owned();
//! request.step = Some(733);
//! request.subject = Some(Subject::Path(b"/scratch/run_a/entropy_0733.png".to_vec()));
//! let frames = request.encode()?;
//!
//! let request = Request::decode(&frames, 1 << 20)?;
//! let instance = Instance::new("node042-4711").unwrap();
//! let mut reply = Reply::new(Some(request.request_id), request.step, Status::NotReady, instance);
//! reply.text = "draining".to_owned();
//! assert_eq!(reply.encode()[2], b"503");
//! # Ok::<(), anomalyd_proto::DecodeError>(())
//! ```
//!
#![doc = include_str!("../PROTOCOL.md")]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod command;
mod endpoint;
mod error;
mod frames;
mod identity;
mod limits;
mod number;
mod options;
mod reply;
mod request;
mod status;
mod verdict;

pub use command::{Command, Socket};
pub use endpoint::{EndpointError, EndpointFile, StaleEndpoint};
pub use error::DecodeError;
pub use frames::{VERSION, join_envelope, split_envelope};
pub use identity::{Instance, RequestId, is_run_name};
pub use limits::*;
pub use number::{format_number, parse_number};
pub use options::Options;
pub use reply::{Reply, clean_text};
pub use request::{Dtype, Peek, Request, Subject};
pub use status::{Status, UnknownStatus};
pub use verdict::{TrueLabel, Verdict};
