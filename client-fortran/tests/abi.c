/* What anomalyd.h says, for test_abi.f90 to compare with. */
#include <anomalyd.h>
#include <stddef.h>

int abi_constant(int idx);
size_t abi_layout(int idx);

/* In the order of test_abi.f90; test_constants.py checks that none is missing. */
static const int constants[] = {
    ANOMALYD_TIMEOUT,      ANOMALYD_UNAVAILABLE,     ANOMALYD_INVALID,      ANOMALYD_NO_MEMORY,
    ANOMALYD_BAD_REPLY,    ANOMALYD_STALE_ENDPOINT,  ANOMALYD_SYSTEM,       ANOMALYD_BUSY,
    ANOMALYD_OK,           ANOMALYD_MALFORMED,       ANOMALYD_FORBIDDEN,    ANOMALYD_NOT_FOUND,
    ANOMALYD_WRONG_SOCKET, ANOMALYD_DEADLINE_PASSED, ANOMALYD_OUT_OF_ORDER, ANOMALYD_TOO_LARGE,
    ANOMALYD_UNSUPPORTED,  ANOMALYD_UNDECODABLE,     ANOMALYD_OVERLOADED,   ANOMALYD_INTERNAL,
    ANOMALYD_NOT_OFFERED,  ANOMALYD_NOT_READY,       ANOMALYD_VERSION,      ANOMALYD_NORMAL,
    ANOMALYD_ANOMALOUS,    ANOMALYD_UNKNOWN,         ANOMALYD_FAIL_OPEN,    ANOMALYD_FAIL_CLOSED,
    ANOMALYD_MAX_PATH,     ANOMALYD_MAX_RUN,         ANOMALYD_MAX_MODEL,    ANOMALYD_MAX_STREAM,
    ANOMALYD_MAX_TEXT,
    ANOMALYD_MAX_INSTANCE, ANOMALYD_MAX_ENDPOINT,    ANOMALYD_MAX_IPC_PATH, ANOMALYD_MAX_TIMEOUT_MS,
};

int abi_constant(int idx)
{
    return idx >= 0 && (size_t)idx < sizeof constants / sizeof constants[0] ? constants[idx] : -1;
}

/* Sizes and offsets of the structs' members, in the order of test_abi.f90. */
size_t abi_layout(int idx)
{
    static const size_t layout[] = {
        sizeof(anomalyd_options),
        offsetof(anomalyd_options, size),
        offsetof(anomalyd_options, endpoint),
        offsetof(anomalyd_options, run),
        offsetof(anomalyd_options, model),
        offsetof(anomalyd_options, timeout_ms),
        offsetof(anomalyd_options, connect_timeout_ms),
        offsetof(anomalyd_options, policy),
        offsetof(anomalyd_options, want_heatmap),
        offsetof(anomalyd_options, client_key_file),
        offsetof(anomalyd_options, server_key_file),
        sizeof(anomalyd_verdict),
        offsetof(anomalyd_verdict, step),
        offsetof(anomalyd_verdict, score),
        offsetof(anomalyd_verdict, threshold),
        offsetof(anomalyd_verdict, status),
        offsetof(anomalyd_verdict, label),
        offsetof(anomalyd_verdict, acted),
        offsetof(anomalyd_verdict, restarted),
        offsetof(anomalyd_verdict, instance),
    };
    return idx >= 0 && (size_t)idx < sizeof layout / sizeof layout[0] ? layout[idx] : (size_t)-1;
}
