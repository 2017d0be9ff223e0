//! The commands, and which socket serves which.

/// What a request asks for (PROTOCOL.md, section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    /// Judge one image.
    Classify,
    /// The simulation has gone back to the state right after a step.
    Rewind,
    /// The truth about the image of a step, as an operator sees it.
    Label,
    /// Answer at once.
    Ping,
    /// Tell of the daemon's state.
    Status,
    /// List the models.
    Models,
    /// Read the models on disk again.
    Reload,
    /// Finish the requests in hand, then end.
    Drain,
}

/// The daemon's two sockets (PROTOCOL.md, section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Socket {
    /// Where images are judged.
    Service,
    /// Where no request waits for the judgement of an image.
    Control,
}

impl Command {
    /// Every command, in the order of the document.
    pub const ALL: [Command; 8] = [
        Command::Classify,
        Command::Rewind,
        Command::Label,
        Command::Ping,
        Command::Status,
        Command::Models,
        Command::Reload,
        Command::Drain,
    ];

    /// The word of frame 1.
    pub fn as_str(self) -> &'static str {
        match self {
            Command::Classify => "CLASSIFY",
            Command::Rewind => "REWIND",
            Command::Label => "LABEL",
            Command::Ping => "PING",
            Command::Status => "STATUS",
            Command::Models => "MODELS",
            Command::Reload => "RELOAD",
            Command::Drain => "DRAIN",
        }
    }

    /// The command of a frame 1; None if there is no such command.
    pub fn from_bytes(word: &[u8]) -> Option<Command> {
        Command::ALL.into_iter().find(|command| command.as_str().as_bytes() == word)
    }

    /// Whether the command has a run and a step.
    pub fn has_step(self) -> bool {
        matches!(self, Command::Classify | Command::Rewind | Command::Label)
    }

    /// Whether `socket` serves the command; if not, the answer is 405.
    pub fn is_served_by(self, socket: Socket) -> bool {
        match self {
            Command::Classify | Command::Rewind | Command::Label => socket == Socket::Service,
            Command::Ping | Command::Status | Command::Models => true,
            Command::Reload | Command::Drain => socket == Socket::Control,
        }
    }
}

impl std::fmt::Display for Command {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.as_str())
    }
}
