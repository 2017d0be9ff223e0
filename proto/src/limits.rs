//! The limits of PROTOCOL.md, section 10. A test compares them with that section.

/// Frames of a request, without the envelope.
pub const MAX_REQUEST_FRAMES: usize = 16;
/// Bytes of all frames of a request that carries no image and no field, without the envelope.
pub const MAX_SHORT_REQUEST_BYTES: usize = 65_536;
/// Bytes of a request id.
pub const MAX_REQUEST_ID_BYTES: usize = 64;
/// Milliseconds of a deadline: one day.
pub const MAX_DEADLINE_MS: u32 = 86_400_000;
/// Bytes of a run's name, and of a model's.
pub const MAX_RUN_BYTES: usize = 128;
/// Bytes of a path.
pub const MAX_PATH_BYTES: usize = 4096;
/// Bytes of an option's key.
pub const MAX_OPTION_KEY_BYTES: usize = 32;
/// Bytes of an option's value.
pub const MAX_OPTION_VALUE_BYTES: usize = 1024;
/// Bytes of a score or a threshold; the fewest digits never take more than 25.
pub const MAX_NUMBER_BYTES: usize = 32;
/// Bytes of the name of a life of the daemon.
pub const MAX_INSTANCE_BYTES: usize = 64;
/// Bytes of the text of a reply.
pub const MAX_TEXT_BYTES: usize = 1024;
/// Bytes of an endpoint file.
pub const MAX_ENDPOINT_FILE_BYTES: usize = 65_536;
