/* What a client remembers. */
#ifndef ANOMALYD_CLIENT_H
#define ANOMALYD_CLIENT_H

#include "connection.h"
#include "reply.h"
#include "request.h"
#include <sys/types.h>

/* The request in flight. */
typedef struct anomalyd_exchange {
    anomalyd_request request;
    bool in_flight;
    bool sent;
    int64_t deadline_ns;
    int64_t unconnected_since_ns; /* meaningless while the handshake is done */
    int64_t retry_at_ns;          /* not to connect or send before */
    int64_t retry_pause_ns;
    anomalyd_status endpoint_failure; /* why no connection could be begun at the last attempt; 0: it could */
} anomalyd_exchange;

struct anomalyd_client {
    /* The options, copied; empty strings for what was not given. */
    char endpoint[ANOMALYD_MAX_ENDPOINT + 1];
    char run[ANOMALYD_MAX_RUN + 1];
    char model[ANOMALYD_MAX_MODEL + 1];
    char stream[ANOMALYD_MAX_STREAM + 1]; /* of the requests to come */
    int64_t timeout_ns;
    int64_t connect_timeout_ns;
    anomalyd_policy policy;
    bool want_heatmap;
    anomalyd_keys keys;

    pid_t owner; /* the process that opened the client */
    void *context;
    anomalyd_connection connection;
    anomalyd_exchange exchange;
    char nonce[17];      /* makes request ids unique among clients */
    uint64_t n_requests; /* and among this client's requests */

    anomalyd_reply reply; /* the last one */
    char *detail;         /* its frame 9, NUL-terminated */
    size_t detail_length, detail_capacity;
    char text[ANOMALYD_MAX_TEXT + 1];
    anomalyd_problem problem;
    anomalyd_status submit_failure;                /* kept for the next poll or wait; 0: none */
    char last_instance[ANOMALYD_MAX_INSTANCE + 1]; /* of the last verdict; empty: none yet */
};

#endif
