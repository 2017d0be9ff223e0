/* A reply of the daemon; see reply.h. */
#include "reply.h"
#include "number.h"

#include <errno.h>
#include <math.h>
#include <string.h>

/* Positions of the frames, PROTOCOL.md section 7. */
enum { VERSION, ID, STATUS, VERDICT, SCORE, THRESHOLD, STEP, INSTANCE, TEXT };

anomalyd_reception anomalyd_reply_receive(anomalyd_reply *reply, void *socket)
{
    int more = 1;
    bool first = true;

    while (more) {
        zmq_msg_t frame;
        if (zmq_msg_init(&frame) != 0)
            return ANOMALYD_RECEPTION_FAILURE;
        if (zmq_msg_recv(&frame, socket, ZMQ_DONTWAIT) < 0) {
            int failure = zmq_errno();
            (void)zmq_msg_close(&frame);
            if (failure == EINTR)
                continue;
            return failure == EAGAIN && first ? ANOMALYD_RECEPTION_NONE : ANOMALYD_RECEPTION_FAILURE;
        }
        if (first)
            anomalyd_reply_drop(reply);
        first = false;
        more = zmq_msg_more(&frame);
        if (reply->n_frames < ANOMALYD_N_REPLY_FRAMES) {
            zmq_msg_t *place = &reply->frames[reply->n_frames++];
            (void)zmq_msg_init(place);
            (void)zmq_msg_move(place, &frame);
        }
        (void)zmq_msg_close(&frame);
    }
    return ANOMALYD_RECEPTION_REPLY;
}

void anomalyd_reply_drop(anomalyd_reply *reply)
{
    while (reply->n_frames > 0)
        (void)zmq_msg_close(&reply->frames[--reply->n_frames]);
}

const char *anomalyd_reply_frame(const anomalyd_reply *reply, size_t idx, size_t *length)
{
    if (idx >= reply->n_frames) {
        *length = 0;
        return "";
    }
    *length = zmq_msg_size(&reply->frames[idx]);
    return zmq_msg_data((zmq_msg_t *)&reply->frames[idx]);
}

static bool frame_is(const anomalyd_reply *reply, size_t idx, const char *word)
{
    size_t length;
    const char *bytes = anomalyd_reply_frame(reply, idx, &length);
    return length == strlen(word) && memcmp(bytes, word, length) == 0;
}

/* Says which frame is wrong, with the beginning of what was found. */
static anomalyd_status bad_frame(const anomalyd_reply *reply, size_t idx, const char *wanted, anomalyd_problem *problem)
{
    size_t length;
    const char *bytes = anomalyd_reply_frame(reply, idx, &length);
    return anomalyd_problem_set(problem, ANOMALYD_BAD_REPLY,
                                "reply frame %lu is \"%.*s\" (%lu bytes), expected %s; is "
                                "the endpoint an anomalyd daemon's?",
                                (unsigned long)idx, (int)(length < 40 ? length : 40), bytes, (unsigned long)length,
                                wanted);
}

bool anomalyd_reply_is_for(anomalyd_reply *reply, const char *id)
{
    return reply->n_frames > ID && frame_is(reply, ID, id);
}

static bool read_status(const anomalyd_reply *reply, anomalyd_status *status)
{
    size_t length, idx;
    const char *bytes = anomalyd_reply_frame(reply, STATUS, &length);
    int value = 0;

    if (length != 3)
        return false;
    for (idx = 0; idx < length; ++idx) {
        if (bytes[idx] < '0' || bytes[idx] > '9')
            return false;
        value = value * 10 + (bytes[idx] - '0');
    }
    *status = (anomalyd_status)value;
    switch (*status) {
    case ANOMALYD_OK:
    case ANOMALYD_MALFORMED:
    case ANOMALYD_FORBIDDEN:
    case ANOMALYD_NOT_FOUND:
    case ANOMALYD_WRONG_SOCKET:
    case ANOMALYD_DEADLINE_PASSED:
    case ANOMALYD_OUT_OF_ORDER:
    case ANOMALYD_TOO_LARGE:
    case ANOMALYD_UNSUPPORTED:
    case ANOMALYD_UNDECODABLE:
    case ANOMALYD_OVERLOADED:
    case ANOMALYD_INTERNAL:
    case ANOMALYD_NOT_OFFERED:
    case ANOMALYD_NOT_READY:
    case ANOMALYD_VERSION:
        return true;
    default: /* those below 100 are for this side only and never travel */
        return false;
    }
}

static bool read_label(const anomalyd_reply *reply, anomalyd_label *label)
{
    if (frame_is(reply, VERDICT, "normal"))
        *label = ANOMALYD_NORMAL;
    else if (frame_is(reply, VERDICT, "anomalous"))
        *label = ANOMALYD_ANOMALOUS;
    else if (frame_is(reply, VERDICT, "unknown"))
        *label = ANOMALYD_UNKNOWN;
    else
        return false;
    return true;
}

static bool read_number(const anomalyd_reply *reply, size_t idx, double *value)
{
    size_t length;
    const char *bytes = anomalyd_reply_frame(reply, idx, &length);
    return anomalyd_parse_number(bytes, length, value);
}

/* The step must be the request's; an error may leave it out, since the daemon may not have been able to read it. */
static bool step_agrees(const anomalyd_reply *reply, const anomalyd_expected *expected, const anomalyd_verdict *read)
{
    size_t length;
    const char *bytes = anomalyd_reply_frame(reply, STEP, &length);
    int64_t step;

    if (length == 0)
        return !expected->has_step || (read->status != ANOMALYD_OK && read->label == ANOMALYD_UNKNOWN);
    return anomalyd_parse_step(bytes, length, &step) && (!expected->has_step || step == expected->step);
}

static bool read_instance(const anomalyd_reply *reply, char instance[ANOMALYD_MAX_INSTANCE + 1])
{
    size_t length, idx;
    const char *bytes = anomalyd_reply_frame(reply, INSTANCE, &length);

    if (length < 1 || length > ANOMALYD_MAX_INSTANCE)
        return false;
    for (idx = 0; idx < length; ++idx)
        if (bytes[idx] < 0x21 || bytes[idx] > 0x7e)
            return false;
    memcpy(instance, bytes, length);
    instance[length] = '\0';
    return true;
}

anomalyd_status anomalyd_reply_read(anomalyd_reply *reply, const anomalyd_expected *expected, anomalyd_verdict *verdict,
                                    anomalyd_problem *problem)
{
    anomalyd_verdict read = *verdict;

    if (reply->n_frames <= STATUS)
        return anomalyd_problem_set(problem, ANOMALYD_BAD_REPLY,
                                    "the reply has %lu frames, expected at least %d; is the "
                                    "endpoint an anomalyd daemon's?",
                                    (unsigned long)reply->n_frames, TEXT + 1);
    if (!read_status(reply, &read.status))
        return bad_frame(reply, STATUS, "a status of PROTOCOL.md, section 8", problem);
    if (!frame_is(reply, VERSION, "ANOM1")) {
        /* Every version keeps frames 0 to 2, so that a daemon that speaks another can say so (PROTOCOL.md 5.1). */
        if (read.status != ANOMALYD_VERSION)
            return bad_frame(reply, VERSION, "ANOM1", problem);
        verdict->status = ANOMALYD_VERSION;
        return ANOMALYD_VERSION;
    }
    if (reply->n_frames <= TEXT)
        return anomalyd_problem_set(problem, ANOMALYD_BAD_REPLY, "the reply has %lu frames, expected at least %d",
                                    (unsigned long)reply->n_frames, TEXT + 1);
    if (!read_label(reply, &read.label))
        return bad_frame(reply, VERDICT, "normal, anomalous or unknown", problem);
    if (!read_number(reply, SCORE, &read.score))
        return bad_frame(reply, SCORE, "a number", problem);
    if (!read_number(reply, THRESHOLD, &read.threshold))
        return bad_frame(reply, THRESHOLD, "a number", problem);
    if (!step_agrees(reply, expected, &read))
        return bad_frame(reply, STEP, "the request's step", problem);
    if (!read_instance(reply, read.instance))
        return bad_frame(reply, INSTANCE, "1 to 64 visible characters", problem);
    *verdict = read;
    return read.status;
}
