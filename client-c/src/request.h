/* A request, as frames on a socket (PROTOCOL.md, section 5). */
#ifndef ANOMALYD_REQUEST_H
#define ANOMALYD_REQUEST_H

#include "anomalyd.h"
#include <stdbool.h>

typedef enum anomalyd_command {
    ANOMALYD_COMMAND_CLASSIFY,
    ANOMALYD_COMMAND_CLASSIFY_FIELD,
    ANOMALYD_COMMAND_REWIND,
    ANOMALYD_COMMAND_LABEL,
    ANOMALYD_COMMAND_PING
} anomalyd_command;

/* Everything but the deadline, which shrinks from one repetition to the next. */
typedef struct anomalyd_request {
    anomalyd_command command;
    char id[65];
    int64_t step;
    char stream[ANOMALYD_MAX_STREAM + 1]; /* empty: the run's default stream */
    char subject[ANOMALYD_MAX_PATH + 1];
    /* Of a field; the caller's values, so only during its call. */
    const void *values;
    size_t values_length;
    char shape[64];
    const char *dtype;
} anomalyd_request;

typedef enum anomalyd_sending {
    ANOMALYD_SENDING_DONE,
    ANOMALYD_SENDING_AGAIN,  /* no connection to send on yet */
    ANOMALYD_SENDING_FAILURE /* the socket is of no more use */
} anomalyd_sending;

/* Sends the request if the socket can take it now. `run` and `model` may be empty. */
anomalyd_sending anomalyd_request_send(const anomalyd_request *request, const char *run, const char *model,
                                       bool want_heatmap, long deadline_ms, void *socket);

#endif
