/* CURVE keys, read from files. */
#ifndef ANOMALYD_KEYS_H
#define ANOMALYD_KEYS_H

#include "endpoint.h"

typedef struct anomalyd_keys {
    char server[ANOMALYD_KEY_SIZE]; /* empty: the endpoint file's */
    char public_key[ANOMALYD_KEY_SIZE];
    char secret_key[ANOMALYD_KEY_SIZE];
} anomalyd_keys;

/* Reads the client's key pair; the file must be its owner's alone. */
anomalyd_status anomalyd_keys_read_pair(const char *path, anomalyd_keys *keys, anomalyd_problem *problem);

/* Reads the daemon's public key. */
anomalyd_status anomalyd_keys_read_server(const char *path, anomalyd_keys *keys, anomalyd_problem *problem);

/* Makes a key pair for this client's life. */
anomalyd_status anomalyd_keys_make_pair(anomalyd_keys *keys, anomalyd_problem *problem);

/* Overwrites what held a key, in a way that the compiler keeps. */
void anomalyd_keys_wipe_bytes(void *bytes, size_t length);

#endif
