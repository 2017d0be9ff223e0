//! Reads vectors.txt; its format is described at its head.

use std::collections::HashMap;

/// One message of the file.
pub(crate) struct Vector {
    pub(crate) name: String,
    pub(crate) is_request: bool,
    /// `ok`, a status, or `bad`.
    pub(crate) expect: String,
    pub(crate) max_message_bytes: usize,
    pub(crate) frames: Vec<Vec<u8>>,
    pub(crate) options: Vec<Vec<u8>>,
    /// Values in hex, as bytes.
    pub(crate) bytes: HashMap<String, Vec<u8>>,
    /// All other values, as the word in the file.
    pub(crate) words: HashMap<String, String>,
}

impl Vector {
    pub(crate) fn word(&self, key: &str) -> &str {
        self.words.get(key).unwrap_or_else(|| panic!("vector {} has no line {key}", self.name))
    }

    pub(crate) fn hex(&self, key: &str) -> &[u8] {
        self.bytes.get(key).unwrap_or_else(|| panic!("vector {} has no line {key}", self.name))
    }

    pub(crate) fn step(&self) -> Option<i64> {
        let step = self.word("step");
        (step != "-").then(|| step.parse().unwrap())
    }
}

/// The vectors of the file, in order.
pub(crate) fn vectors() -> Vec<Vector> {
    const HEX_KEYS: [&str; 9] =
        ["frame", "request_id", "run", "subject", "option", "instance", "text", "detail", "heat_map"];
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors.txt");
    let content = std::fs::read_to_string(file).unwrap();
    let mut vectors: Vec<Vector> = Vec::new();
    let mut last = String::new();
    for line in content.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let (key, value) = (words.next().unwrap(), words.next().unwrap_or_default());
        if key == "vector" {
            vectors.push(Vector {
                name: value.to_owned(),
                is_request: false,
                expect: String::new(),
                max_message_bytes: 1_048_576,
                frames: Vec::new(),
                options: Vec::new(),
                bytes: HashMap::new(),
                words: HashMap::new(),
            });
            continue;
        }
        let vector = vectors.last_mut().unwrap();
        match key {
            "message" => vector.is_request = value == "request",
            "expect" => vector.expect = value.to_owned(),
            "max_message_bytes" => vector.max_message_bytes = value.parse().unwrap(),
            "more" | "fill" => {
                let piece = match words.next().filter(|_| key == "fill") {
                    Some(count) => unhex(value).repeat(count.parse().unwrap()),
                    None => unhex(value),
                };
                let grown = match last.as_str() {
                    "frame" => vector.frames.last_mut(),
                    "option" => vector.options.last_mut(),
                    key => vector.bytes.get_mut(key),
                };
                grown.unwrap().extend(piece);
            }
            "end" => {}
            _ if HEX_KEYS.contains(&key) => {
                last = key.to_owned();
                match key {
                    "frame" => vector.frames.push(unhex(value)),
                    "option" => vector.options.push(unhex(value)),
                    _ => drop(vector.bytes.insert(key.to_owned(), unhex(value))),
                }
            }
            _ => drop(vector.words.insert(key.to_owned(), value.to_owned())),
        }
    }
    vectors
}

fn unhex(word: &str) -> Vec<u8> {
    if word == "-" {
        return Vec::new();
    }
    assert!(word.len().is_multiple_of(2), "{word}");
    (0..word.len()).step_by(2).map(|at| u8::from_str_radix(&word[at..at + 2], 16).unwrap()).collect()
}
