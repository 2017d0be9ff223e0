/* A request, as frames on a socket; see request.h. */
#include "request.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <zmq.h>

#define MAX_FRAMES 13

/* Frames to be sent; the bytes must outlive it. */
typedef struct frame_list {
    const void *frames[MAX_FRAMES];
    size_t lengths[MAX_FRAMES];
    size_t n_frames;
} frame_list;

static void add_bytes(frame_list *list, const void *bytes, size_t length)
{
    list->frames[list->n_frames] = bytes;
    list->lengths[list->n_frames++] = length;
}

static void add(frame_list *list, const char *frame)
{
    add_bytes(list, frame, strlen(frame));
}

static const char *command_word(anomalyd_command command)
{
    switch (command) {
    case ANOMALYD_COMMAND_CLASSIFY:
    case ANOMALYD_COMMAND_CLASSIFY_FIELD:
        return "CLASSIFY";
    case ANOMALYD_COMMAND_REWIND:
        return "REWIND";
    case ANOMALYD_COMMAND_LABEL:
        return "LABEL";
    case ANOMALYD_COMMAND_PING:
        break;
    }
    return "PING";
}

static anomalyd_sending send_frames(const frame_list *list, void *socket)
{
    size_t idx;

    for (idx = 0; idx < list->n_frames; ++idx) {
        int flags = ZMQ_DONTWAIT | (idx + 1 < list->n_frames ? ZMQ_SNDMORE : 0);
        while (zmq_send(socket, list->frames[idx], list->lengths[idx], flags) < 0) {
            if (zmq_errno() == EINTR)
                continue;
            return idx == 0 && zmq_errno() == EAGAIN ? ANOMALYD_SENDING_AGAIN : ANOMALYD_SENDING_FAILURE;
        }
    }
    return ANOMALYD_SENDING_DONE;
}

anomalyd_sending anomalyd_request_send(const anomalyd_request *request, const char *run, const char *model,
                                       bool want_heatmap, long deadline_ms, void *socket)
{
    char deadline[24], step[24], model_option[ANOMALYD_MAX_MODEL + 8], stream_option[ANOMALYD_MAX_STREAM + 8];
    frame_list list;
    bool is_path = request->command == ANOMALYD_COMMAND_CLASSIFY;
    bool is_field = request->command == ANOMALYD_COMMAND_CLASSIFY_FIELD;

    list.n_frames = 0;
    (void)snprintf(deadline, sizeof deadline, "%ld", deadline_ms);
    (void)snprintf(step, sizeof step, "%" PRId64, request->step);
    add(&list, "ANOM1");
    add(&list, command_word(request->command));
    add(&list, request->id);
    add(&list, deadline);
    if (request->command != ANOMALYD_COMMAND_PING) {
        add(&list, run);
        add(&list, step);
    }
    if (request->command == ANOMALYD_COMMAND_LABEL) {
        add(&list, "label");
        add(&list, request->subject);
    }
    if (is_path) {
        add(&list, "path");
        add(&list, request->subject);
    }
    if (is_field) {
        add(&list, "field");
        add_bytes(&list, request->values, request->values_length);
        add(&list, request->shape);
        add(&list, request->dtype);
    }
    if (is_path || is_field) {
        if (*model != '\0') {
            (void)snprintf(model_option, sizeof model_option, "model=%s", model);
            add(&list, model_option);
        }
        if (want_heatmap)
            add(&list, "want=heatmap");
    }
    if ((is_path || is_field || request->command == ANOMALYD_COMMAND_LABEL) && request->stream[0] != '\0') {
        (void)snprintf(stream_option, sizeof stream_option, "stream=%s", request->stream);
        add(&list, stream_option);
    }
    return send_frames(&list, socket);
}
