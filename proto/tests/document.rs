//! Holds the tables of PROTOCOL.md to the crate's lists.

#![allow(clippy::unwrap_used, reason = "the helpers of the tests unwrap as the tests do")]

use anomalyd_proto::*;

const DOCUMENT: &str = include_str!("../PROTOCOL.md");

/// The cells of the rows of a section's first table, without its head.
fn table(heading: &str) -> Vec<Vec<&'static str>> {
    let section = DOCUMENT.split("\n## ").find(|section| section.starts_with(heading)).unwrap();
    section
        .lines()
        .skip_while(|line| !line.starts_with("|---"))
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

#[test]
fn statuses_are_those_of_section_8() {
    let ours: Vec<Vec<String>> = Status::ALL
        .iter()
        .map(|status| {
            vec![
                status.code().to_string(),
                status.name().to_owned(),
                status.meaning().to_owned(),
                status.advice().to_owned(),
            ]
        })
        .collect();
    assert_eq!(table("8. Statuses"), ours);
}

#[test]
fn limits_are_those_of_section_10() {
    let max_message_bytes = 1 << 20;
    let ours = [
        (MAX_REQUEST_FRAMES, "400"),
        (MAX_SHORT_REQUEST_BYTES, "413"),
        (max_message_bytes, "413"),
        (MAX_REQUEST_ID_BYTES, "400"),
        (MAX_DEADLINE_MS as usize, "400"),
        (MAX_RUN_BYTES, "400"),
        (MAX_PATH_BYTES, "413"),
        (MAX_OPTION_KEY_BYTES, "400"),
        (MAX_OPTION_VALUE_BYTES, "400"),
        (MAX_NUMBER_BYTES, "bad reply"),
        (MAX_INSTANCE_BYTES, "bad reply"),
        (MAX_TEXT_BYTES, "cut by the daemon"),
        (MAX_ENDPOINT_FILE_BYTES, "refused"),
    ];
    let rows = table("10. Limits");
    assert_eq!(rows.len(), ours.len());
    for (row, (limit, beyond)) in rows.iter().zip(ours) {
        let digits: String = row[1].chars().filter(char::is_ascii_digit).collect();
        if row[1].contains("max_message_bytes") {
            assert_eq!((digits.as_str(), row[2]), ("", beyond), "{row:?}");
        } else {
            assert_eq!((digits.parse(), row[2]), (Ok(limit), beyond), "{row:?}");
        }
    }
}

#[test]
fn commands_and_verdicts_are_those_of_the_grammar() {
    let words = |name: &str| -> Vec<&str> {
        let line = DOCUMENT.lines().find(|line| line.starts_with(name)).unwrap();
        line.split('"').skip(1).step_by(2).collect()
    };
    assert_eq!(words("command "), Command::ALL.map(Command::as_str));
    assert_eq!(words("verdict "), Verdict::ALL.map(Verdict::as_str));
    assert_eq!(words("version ")[0].as_bytes(), VERSION);
}

#[test]
fn sockets_serve_what_section_3_says() {
    for (socket, section) in [(Socket::Service, "3.1."), (Socket::Control, "3.2.")] {
        let paragraph = DOCUMENT.split("\n\n").find(|paragraph| paragraph.starts_with(section)).unwrap();
        let named = |command: &Command| paragraph.contains(&format!("`{command}`"));
        for command in Command::ALL {
            assert_eq!(command.is_served_by(socket), named(&command), "{command} on {socket:?}");
        }
    }
}

#[test]
fn request_of_the_document_is_read() {
    let line = DOCUMENT.lines().find(|line| line.starts_with("socket.send_multipart(")).unwrap();
    let frames: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
    let request = Request::decode(&frames, 1 << 20).unwrap();
    assert_eq!(
        (request.command, request.step, request.run.as_str()),
        (Command::Classify, Some(733), "run_a")
    );
    assert_eq!(
        request.encode().unwrap(),
        frames.iter().map(|frame| frame.as_bytes().to_vec()).collect::<Vec<_>>()
    );
}
