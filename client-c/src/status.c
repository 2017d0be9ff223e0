/* Words for statuses and labels. */
#include "anomalyd.h"

const char *anomalyd_strerror(anomalyd_status status)
{
    switch (status) {
    case ANOMALYD_TIMEOUT:
        return "no reply came in time";
    case ANOMALYD_UNAVAILABLE:
        return "no daemon answers";
    case ANOMALYD_INVALID:
        return "invalid argument or closed handle";
    case ANOMALYD_NO_MEMORY:
        return "out of memory";
    case ANOMALYD_BAD_REPLY:
        return "the reply does not follow the protocol";
    case ANOMALYD_STALE_ENDPOINT:
        return "the endpoint file cannot be used";
    case ANOMALYD_SYSTEM:
        return "the operating system refused";
    case ANOMALYD_BUSY:
        return "a request is in flight";
    case ANOMALYD_OK:
        return "ok";
    case ANOMALYD_MALFORMED:
        return "malformed request";
    case ANOMALYD_FORBIDDEN:
        return "path forbidden";
    case ANOMALYD_NOT_FOUND:
        return "file or model not found";
    case ANOMALYD_WRONG_SOCKET:
        return "wrong socket for this command";
    case ANOMALYD_DEADLINE_PASSED:
        return "the deadline passed before work began";
    case ANOMALYD_OUT_OF_ORDER:
        return "step out of order";
    case ANOMALYD_TOO_LARGE:
        return "too large";
    case ANOMALYD_UNSUPPORTED:
        return "not a supported image";
    case ANOMALYD_UNDECODABLE:
        return "image truncated or damaged";
    case ANOMALYD_OVERLOADED:
        return "daemon overloaded";
    case ANOMALYD_INTERNAL:
        return "internal fault of the daemon";
    case ANOMALYD_NOT_OFFERED:
        return "not offered by this daemon";
    case ANOMALYD_NOT_READY:
        return "daemon starting or draining";
    case ANOMALYD_VERSION:
        return "protocol version not supported";
    }
    return "unlisted status";
}

const char *anomalyd_label_name(anomalyd_label label)
{
    switch (label) {
    case ANOMALYD_NORMAL:
        return "normal";
    case ANOMALYD_ANOMALOUS:
        return "anomalous";
    case ANOMALYD_UNKNOWN:
        break;
    }
    return "unknown";
}

const char *anomalyd_library_version(void)
{
    return ANOMALYD_VERSION_STRING;
}
