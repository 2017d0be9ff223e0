/* Where the daemon is: the caller's endpoint, the environment's, or the endpoint file's (PROTOCOL.md, sections
 * 11, 12.3). */
#ifndef ANOMALYD_ENDPOINT_H
#define ANOMALYD_ENDPOINT_H

#include "problem.h"
#include <stdbool.h>

/* A CURVE key in Z85, with its NUL. */
#define ANOMALYD_KEY_SIZE 41

typedef struct anomalyd_endpoint {
    char address[ANOMALYD_MAX_ENDPOINT + 1];
    char server_key[ANOMALYD_KEY_SIZE]; /* empty: none told */
    bool from_file;
    bool may_change; /* after a failure: the file may be written again by a daemon that is starting */
} anomalyd_endpoint;

/* Checks an endpoint's form: ipc:// with a path that fits sun_path, or tcp:// with host and port; the daemon's public key
 * may stand behind it. */
anomalyd_status anomalyd_endpoint_check(const char *given, anomalyd_problem *problem);

/* Finds the endpoint. `given` may be empty. ANOMALYD_INVALID if none is given anywhere. */
anomalyd_status anomalyd_endpoint_resolve(const char *given, anomalyd_endpoint *endpoint, anomalyd_problem *problem);

/* Reads a whole small text file into `text`, NUL-terminated; returns 0, or an errno value (EFBIG if it does not fit).
 */
int anomalyd_read_small_file(const char *path, char *text, size_t size, bool private_only);

#endif
