//! `anomalyd label`: an operator's word for an image, told to a daemon.

use super::{Exit, say};
use crate::cli::{LabelArgs, TruthArg};
use crate::client::{ClientError, ask, find, new_request_id};
use crate::config::Surroundings;
use anomalyd_proto::{Command, Request, Socket, Status, Subject, TrueLabel};
use anyhow::bail;
use std::time::Duration;

pub(super) fn run(args: &LabelArgs) -> anyhow::Result<Exit> {
    let found = match find(args.endpoint.as_deref(), Socket::Service, &Surroundings::of_process()?) {
        Ok(Some(found)) => found.with_keys(&args.keys)?,
        Ok(None) => bail!("no daemon to tell: give --endpoint or set ANOMALYD_ENDPOINT_FILE"),
        Err(error) => {
            say(format_args!("{error}"));
            return Ok(Exit::Unavailable);
        }
    };
    let mut request = Request::new(Command::Label, new_request_id());
    request.run = args.run.clone();
    request.step = Some(args.step);
    request.deadline_ms = u32::try_from(args.timeout_ms.clamp(1, 86_400_000)).unwrap_or(86_400_000);
    request.subject = Some(Subject::Label(match args.label {
        TruthArg::Normal => TrueLabel::Normal,
        TruthArg::Anomalous => TrueLabel::Anomalous,
    }));
    if !args.stream.is_empty() {
        request.options.push("stream", args.stream.as_bytes());
    }
    match ask(&found, &request, Duration::from_millis(args.timeout_ms)) {
        Ok(reply) => {
            say(format_args!("{}: {}", reply.status.name(), reply.text));
            Ok(match reply.status {
                Status::Ok => Exit::Success,
                Status::Malformed | Status::NotFound | Status::OutOfOrder => Exit::Input,
                _ => Exit::Unavailable,
            })
        }
        Err(error @ ClientError::Invalid(_)) => Err(error.into()),
        Err(error) => {
            say(format_args!("{error}"));
            Ok(Exit::Unavailable)
        }
    }
}
