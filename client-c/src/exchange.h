/* One request and its reply, from first connection to verdict, within one deadline. */
#ifndef ANOMALYD_EXCHANGE_H
#define ANOMALYD_EXCHANGE_H

#include "client.h"

/* How long anomalyd_exchange_drive() goes on. */
typedef enum anomalyd_patience {
    ANOMALYD_UNTIL_SENT,
    ANOMALYD_UNTIL_DONE,
    ANOMALYD_NOT_AT_ALL /* do what can be done without waiting */
} anomalyd_patience;

/* Begins a connection if there is none, without waiting and without complaint. */
void anomalyd_exchange_connect(anomalyd_client *client);

/* Puts a request in flight. Its subject and command are set in client->exchange.request already. */
void anomalyd_exchange_begin(anomalyd_client *client, int64_t step);

/* Drives the request in flight. Returns ANOMALYD_BUSY while it still is, else the outcome, with the verdict filled in.
 */
anomalyd_status anomalyd_exchange_drive(anomalyd_client *client, anomalyd_patience patience, anomalyd_verdict *verdict);

/* Gives the request in flight up. */
void anomalyd_exchange_abandon(anomalyd_client *client);

#endif
