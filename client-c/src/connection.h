/* One attempt to reach the daemon: a REQ socket, and a monitor that tells "no daemon" from "slow daemon". */
#ifndef ANOMALYD_CONNECTION_H
#define ANOMALYD_CONNECTION_H

#include "endpoint.h"
#include "keys.h"
#include <stdbool.h>

/* How far an attempt has come. It never goes back: what is lost is closed and opened anew, so that a late reply of an
 * earlier attempt has no socket to come by. */
typedef enum anomalyd_reach {
    ANOMALYD_REACH_NONE,      /* nobody has accepted yet */
    ANOMALYD_REACH_TRANSPORT, /* the operating system has connected; a stopped daemon gets no further */
    ANOMALYD_REACH_READY,     /* the ZeroMQ handshake is done */
    ANOMALYD_REACH_LOST       /* refused, or lost */
} anomalyd_reach;

typedef struct anomalyd_connection {
    void *socket; /* NULL: closed */
    void *monitor;
    anomalyd_reach reach;
    bool was_ready;         /* this attempt got as far as the handshake's end */
    bool handshake_refused; /* some attempt was refused since one succeeded */
    unsigned n_opened;      /* names the monitor's endpoint */
    char address[ANOMALYD_MAX_ENDPOINT + 1];
} anomalyd_connection;

/* Begins to connect; does not wait. Closed after a failure. */
anomalyd_status anomalyd_connection_open(anomalyd_connection *connection, void *context,
                                         const anomalyd_endpoint *endpoint, const anomalyd_keys *keys,
                                         anomalyd_problem *problem);

/* Closes the socket without lingering. Harmless if closed. */
void anomalyd_connection_close(anomalyd_connection *connection);

/* Brings `reach` up to date; does not wait. */
void anomalyd_connection_watch(anomalyd_connection *connection);

#endif
