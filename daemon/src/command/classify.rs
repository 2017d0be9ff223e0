//! `anomalyd classify`: by a daemon, or by an artefact in this very process.

use super::images::expand;
use super::models::open_store;
use super::{Exit, say};
use crate::cli::ClassifyArgs;
use crate::client::{ClientError, ask, find, new_request_id};
use crate::config::Surroundings;
use crate::fault::escaped;
use crate::words::in_words;
use anomalyd_models::Label;
use anomalyd_models::artefact::Artefact;
use anomalyd_models::extractor::DeviceChoice;
use anomalyd_models::image::{Limits, decode};
use anomalyd_proto::{Command, Reply, Request, Socket, Status, Subject, Verdict};
use anyhow::{Context, bail};
use serde::Serialize;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is said of one image.
#[derive(Debug, Serialize)]
struct Line {
    path: String,
    /// As on the wire; absent where there was no reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    verdict: &'static str,
    /// Null where there is none.
    score: Option<f64>,
    threshold: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<i64>,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<serde_json::Value>,
    #[serde(skip)]
    exit: Option<Exit>,
}

impl Line {
    fn failed(path: &Path, exit: Exit, text: String) -> Self {
        Self {
            path: escaped(path.as_os_str().as_bytes()),
            status: None,
            verdict: "unknown",
            score: None,
            threshold: None,
            step: None,
            text,
            detail: None,
            exit: Some(exit),
        }
    }
}

pub(super) fn run(args: &ClassifyArgs) -> anyhow::Result<Exit> {
    // A path that does not exist here may exist on the daemon's host; patterns and directories are this side's.
    let by_artefact = args.model.as_deref().map(Path::new).filter(|dir| dir.is_dir());
    let mut worst = Exit::Normal;
    let mut tell = |line: Line| {
        let exit = line.exit.unwrap_or(Exit::Unavailable);
        if severity(exit) > severity(worst) {
            worst = exit;
        }
        if args.json {
            // Plain strings and numbers: there is nothing in them that JSON cannot hold.
            say(format_args!("{}", serde_json::to_string(&line).unwrap_or_default()));
        } else {
            let status = line
                .status
                .filter(|status| *status != 200)
                .map_or_else(String::new, |status| format!(" (status {status})"));
            say(format_args!("{}: {}{status}: {}", line.path, line.verdict, line.text));
        }
    };
    match by_artefact {
        Some(dir) => {
            if args.run.is_some() {
                bail!("--run asks a daemon, --model with a directory judges here: give one of them");
            }
            in_process(args, dir, &mut tell)?;
        }
        None => by_daemon(args, &mut tell)?,
    }
    Ok(worst)
}

/// Of several images the worst counts: no answer, then bad input, then anomalous, then unknown.
fn severity(exit: Exit) -> u8 {
    match exit {
        Exit::Unavailable => 4,
        Exit::Input => 3,
        Exit::Anomalous => 2,
        Exit::Unknown => 1,
        _ => 0,
    }
}

fn in_process(args: &ClassifyArgs, dir: &Path, tell: &mut dyn FnMut(Line)) -> anyhow::Result<()> {
    let device: DeviceChoice = args.compute.device.parse()?;
    let artefact = Artefact::load(dir, &open_store(&args.compute.weights.weights_dir)?, &device)?;
    let files = match expand(&args.paths) {
        Ok(files) => files,
        Err(error) => {
            let path = args.paths.first().map_or(Path::new(""), PathBuf::as_path);
            tell(Line::failed(path, Exit::Input, error.to_string()));
            return Ok(());
        }
    };
    for path in files {
        let judged = std::fs::read(&path)
            .map_err(anyhow::Error::from)
            .and_then(|bytes| Ok(decode(&bytes, &Limits::default())?))
            .and_then(|image| Ok(artefact.pipeline().judge(&image)?));
        tell(match judged {
            Err(error) => Line::failed(&path, Exit::Input, format!("{error:#}")),
            Ok(judgement) => {
                let (verdict, exit) = match judgement.verdict.label {
                    Label::Normal => ("normal", Exit::Normal),
                    Label::Anomalous => ("anomalous", Exit::Anomalous),
                    Label::Unknown => ("unknown", Exit::Unknown),
                };
                let text = in_words(&judgement);
                Line {
                    verdict,
                    score: number(judgement.verdict.score),
                    threshold: number(judgement.verdict.threshold),
                    detail: judgement.p_value.map(|p_value| serde_json::json!({ "p_value": p_value })),
                    ..Line::failed(&path, exit, text)
                }
            }
        });
    }
    Ok(())
}

fn by_daemon(args: &ClassifyArgs, tell: &mut dyn FnMut(Line)) -> anyhow::Result<()> {
    let found = match find(args.endpoint.as_deref(), Socket::Service, &Surroundings::of_process()?) {
        Ok(Some(found)) => found.with_keys(&args.keys)?,
        Ok(None) => bail!(
            "no daemon and no artefact to judge with: start `anomalyd serve`, give --endpoint or set ANOMALYD_ENDPOINT_FILE; or give --model \
             with a directory written by `anomalyd fit`"
        ),
        Err(error) => {
            for path in &args.paths {
                tell(Line::failed(path, Exit::Unavailable, error.to_string()));
            }
            return Ok(());
        }
    };
    let timeout = Duration::from_millis(args.timeout_ms);
    for (path, offset) in args.paths.iter().zip(0..) {
        // As the daemon sees it: nothing is resolved here.
        let absolute = std::path::absolute(path).with_context(|| path.display().to_string())?;
        let mut request = Request::new(Command::Classify, new_request_id());
        request.run = args.run.clone().unwrap_or_default();
        request.step = Some(args.step.unwrap_or(0).checked_add(offset).context("--step is too large")?);
        request.deadline_ms = u32::try_from(args.timeout_ms.clamp(1, 86_400_000)).unwrap_or(86_400_000);
        request.subject = Some(Subject::Path(absolute.into_os_string().into_vec()));
        if let Some(model) = &args.model {
            request.options.push("model", model.as_bytes());
        }
        if let Some(stream) = &args.stream {
            request.options.push("stream", stream.as_bytes());
        }
        tell(match ask(&found, &request, timeout) {
            Ok(reply) => line_of(path, &reply),
            Err(error @ ClientError::Invalid(_)) => return Err(error.into()),
            Err(error) => Line::failed(path, Exit::Unavailable, error.to_string()),
        });
    }
    Ok(())
}

fn line_of(path: &Path, reply: &Reply) -> Line {
    let exit = match (reply.status, reply.verdict) {
        (Status::Ok, Verdict::Normal) => Exit::Normal,
        (Status::Ok, Verdict::Anomalous) => Exit::Anomalous,
        (Status::Ok, Verdict::Unknown) => Exit::Unknown,
        (
            Status::Malformed
            | Status::Forbidden
            | Status::NotFound
            | Status::OutOfOrder
            | Status::TooLarge
            | Status::Unsupported
            | Status::Undecodable,
            _,
        ) => Exit::Input,
        _ => Exit::Unavailable,
    };
    Line {
        status: Some(reply.status.code()),
        verdict: reply.verdict.as_str(),
        score: number(reply.score),
        threshold: number(reply.threshold),
        step: reply.step,
        detail: serde_json::from_slice(&reply.detail).ok(),
        ..Line::failed(path, exit, reply.text.clone())
    }
}

/// JSON has no NaN.
fn number(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_images_the_worst_counts() {
        let mut exits = [Exit::Input, Exit::Normal, Exit::Unavailable, Exit::Unknown, Exit::Anomalous];
        exits.sort_by_key(|exit| severity(*exit));
        assert_eq!(exits, [Exit::Normal, Exit::Unknown, Exit::Anomalous, Exit::Input, Exit::Unavailable]);
    }
}
