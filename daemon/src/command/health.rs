//! `anomalyd health`: one line and an exit code as the Nagios plug-in guidelines want them.

use super::{Exit, say};
use crate::cli::HealthArgs;
use crate::client::{ClientError, Found, ask, find, new_request_id};
use crate::config::Surroundings;
use anomalyd_proto::{Command, Request, Socket, Status};
use serde::Deserialize;
use std::time::{Duration, Instant};

/// What is read of the detail of `STATUS`, PROTOCOL.md 6.5; every key may be missing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Detail {
    state: String,
    queue: Queue,
    workers: Workers,
    settling: Settling,
    last_progress_age_s: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Queue {
    length: u64,
    capacity: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Workers {
    busy: u64,
    panics: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Settling {
    seconds: f64,
    delayed: u64,
    delayed_s: f64,
}

pub(super) fn run(args: &HealthArgs) -> anyhow::Result<Exit> {
    let surroundings = Surroundings::of_process()?;
    let found = match (&args.control, &args.endpoint) {
        (None, Some(endpoint)) => find(Some(endpoint), Socket::Service, &surroundings),
        (control, _) => find(control.as_deref(), Socket::Control, &surroundings),
    };
    let found = match found {
        Ok(Some(found)) => found.with_keys(&args.keys)?,
        Ok(None) => {
            say(format_args!("CRITICAL - no daemon: no endpoint is given, and there is no endpoint file"));
            return Ok(Exit::HealthCritical);
        }
        // A stale file is a dead daemon.
        Err(error) => {
            say(format_args!("CRITICAL - {error}"));
            return Ok(Exit::HealthCritical);
        }
    };
    let start = Instant::now();
    let (exit, line) = match ask_status(&found, Duration::from_millis(args.timeout_ms)) {
        Ok(detail) => judge(&detail, start.elapsed(), args),
        Err(error @ ClientError::Invalid(_)) => return Err(error.into()),
        Err(error) => (Exit::HealthCritical, error.to_string()),
    };
    let word = match exit {
        Exit::HealthOk => "OK",
        Exit::HealthWarning => "WARNING",
        _ => "CRITICAL",
    };
    say(format_args!("{word} - {line}"));
    Ok(exit)
}

fn ask_status(found: &Found, timeout: Duration) -> Result<Detail, ClientError> {
    let reply = ask(found, &Request::new(Command::Status, new_request_id()), timeout)?;
    let unusable = |reason: String| ClientError::EndpointFile { path: found.endpoint.clone().into(), reason };
    if reply.status != Status::Ok {
        return Err(unusable(format!("answered {}: {}", reply.status.code(), reply.text)));
    }
    serde_json::from_slice(&reply.detail)
        .map_err(|error| unusable(format!("answered what is no status: {error}")))
}

/// The state and the rest of the line, performance data included.
fn judge(detail: &Detail, answered_in: Duration, args: &HealthArgs) -> (Exit, String) {
    let Detail { state, queue, workers, settling, last_progress_age_s } = detail;
    let warn_at = queue.capacity * u64::from(args.warn_queue) / 100;
    let has_work = queue.length > 0 || workers.busy > 0;
    let stalled = last_progress_age_s.filter(|age| has_work && *age > args.stall_s);
    let (exit, reason) = if let Some(age) = stalled {
        (Exit::HealthCritical, format!("no progress for {age:.0} s, {} requests wait", queue.length))
    } else if state != "ready" {
        (Exit::HealthWarning, format!("{state}, {} requests wait", queue.length))
    } else if queue.length > 0 && queue.length >= warn_at {
        (Exit::HealthWarning, format!("{} of {} requests wait", queue.length, queue.capacity))
    } else {
        (Exit::HealthOk, format!("{state}, {} of {} requests wait", queue.length, queue.capacity))
    };
    // label=value[unit];warn;crit;min;max
    let performance = format!(
        "queue={};{warn_at};;0;{} busy={};;;0 panics={}c time={:.6}s last_progress_age={} settling={:.6}s delayed={}c delay={:.6}s",
        queue.length,
        queue.capacity,
        workers.busy,
        workers.panics,
        answered_in.as_secs_f64(),
        last_progress_age_s.map_or_else(|| "U".to_owned(), |age| format!("{age:.3}s")),
        settling.seconds,
        settling.delayed,
        settling.delayed_s,
    );
    (exit, format!("{reason} | {performance}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::KeyArgs;

    fn judged(json: &str) -> (Exit, String) {
        let args = HealthArgs {
            control: None,
            endpoint: None,
            keys: KeyArgs::default(),
            timeout_ms: 1000,
            warn_queue: 80,
            stall_s: 60.0,
        };
        judge(&serde_json::from_str(json).unwrap(), Duration::from_millis(2), &args)
    }

    #[test]
    fn ready_daemon_is_ok_and_tells_its_figures() {
        let (exit, line) = judged(
            r#"{"state":"ready","queue":{"length":3,"capacity":64},"workers":{"busy":1,"panics":2},"last_progress_age_s":0.5,
            "settling":{"runs":0,"done":9,"failed":0,"seconds":0.25,"delayed":3,"delayed_s":0.015}}"#,
        );
        assert_eq!(exit, Exit::HealthOk);
        assert_eq!(
            line,
            "ready, 3 of 64 requests wait | queue=3;51;;0;64 busy=1;;;0 panics=2c time=0.002000s last_progress_age=0.500s settling=0.250000s delayed=3c delay=0.015000s"
        );
    }

    #[test]
    fn queue_nearly_full_and_draining_are_warnings() {
        assert_eq!(judged(r#"{"state":"ready","queue":{"length":51,"capacity":64}}"#).0, Exit::HealthWarning);
        assert_eq!(
            judged(r#"{"state":"draining","queue":{"length":0,"capacity":64}}"#).0,
            Exit::HealthWarning
        );
    }

    #[test]
    fn stall_is_critical_only_while_there_is_work() {
        let stalled = r#"{"state":"ready","queue":{"length":1,"capacity":64},"last_progress_age_s":61}"#;
        assert_eq!(judged(stalled).0, Exit::HealthCritical);
        let idle = r#"{"state":"ready","queue":{"length":0,"capacity":64},"last_progress_age_s":100000}"#;
        assert_eq!(judged(idle).0, Exit::HealthOk);
    }
}
