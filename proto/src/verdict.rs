//! What a reply says of an image, and what an operator says of it.

/// Frame 3 of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The score is at or below the threshold.
    Normal,
    /// The score is above the threshold.
    Anomalous,
    /// None can be given: a young model, an error, or a command that judges nothing.
    Unknown,
}

impl Verdict {
    /// Every verdict.
    pub const ALL: [Verdict; 3] = [Verdict::Normal, Verdict::Anomalous, Verdict::Unknown];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Normal => "normal",
            Verdict::Anomalous => "anomalous",
            Verdict::Unknown => "unknown",
        }
    }

    /// The verdict of a word on the wire; None if there is no such verdict.
    pub fn from_bytes(word: &[u8]) -> Option<Verdict> {
        Verdict::ALL.into_iter().find(|verdict| verdict.as_str().as_bytes() == word)
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.as_str())
    }
}

/// The subject of a `LABEL`: the truth about an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TrueLabel {
    /// The image shows nothing wrong.
    Normal,
    /// The image shows a fault.
    Anomalous,
}

impl TrueLabel {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            TrueLabel::Normal => "normal",
            TrueLabel::Anomalous => "anomalous",
        }
    }

    /// The label of a word on the wire; None if there is no such label.
    pub fn from_bytes(word: &[u8]) -> Option<TrueLabel> {
        [TrueLabel::Normal, TrueLabel::Anomalous].into_iter().find(|label| label.as_str().as_bytes() == word)
    }
}
