/* A reply of the daemon, received and checked (PROTOCOL.md, section 7). */
#ifndef ANOMALYD_REPLY_H
#define ANOMALYD_REPLY_H

#include "problem.h"
#include <stdbool.h>
#include <zmq.h>

#define ANOMALYD_N_REPLY_FRAMES 11

/* The frames of one message; those after frame 10 are dropped. */
typedef struct anomalyd_reply {
    zmq_msg_t frames[ANOMALYD_N_REPLY_FRAMES];
    size_t n_frames; /* of those held */
} anomalyd_reply;

/* What the reply must answer. */
typedef struct anomalyd_expected {
    const char *id;
    bool has_step;
    int64_t step;
} anomalyd_expected;

typedef enum anomalyd_reception {
    ANOMALYD_RECEPTION_NONE,    /* nothing there */
    ANOMALYD_RECEPTION_REPLY,   /* a message is held */
    ANOMALYD_RECEPTION_FAILURE, /* the socket is of no more use */
} anomalyd_reception;

/* Receives one message if there is one; what was held before is dropped. */
anomalyd_reception anomalyd_reply_receive(anomalyd_reply *reply, void *socket);

/* Drops the frames held. */
void anomalyd_reply_drop(anomalyd_reply *reply);

/* Whether the reply says that it is for this request. A reply without a readable id is for no request. */
bool anomalyd_reply_is_for(anomalyd_reply *reply, const char *id);

/* Checks every frame and fills in the verdict's score, threshold, status, label and instance. Returns the daemon's
 * status, or ANOMALYD_BAD_REPLY with the verdict as it was. */
anomalyd_status anomalyd_reply_read(anomalyd_reply *reply, const anomalyd_expected *expected, anomalyd_verdict *verdict,
                                    anomalyd_problem *problem);

/* Frame `idx`, empty where it was left out. */
const char *anomalyd_reply_frame(const anomalyd_reply *reply, size_t idx, size_t *length);

#endif
